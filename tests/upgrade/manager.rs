//! What a service manager does: it opens sockets before the node is there, and hears how the node is.

use crate::node::{Http, fresh};
use crate::support::{Service, eventually, is_running};
use std::net::TcpListener;

fn bound() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[test]
fn a_socket_of_the_manager_is_served_by_all_shards_and_handed_on() {
    let (socket, address) = bound();
    // It waits in the socket's queue until somebody serves it.
    let mut early = Http::connect(&address).unwrap();
    let settings = format!("listen = [\"{address}\"]\nshards = 3\ndrain = \"200ms\"");
    let watched = [("WATCHDOG_USEC", "1000000")];
    let mut service = Service::spawn("activated", &settings, Some(socket), &watched);
    service.expect_state("READY=1");
    assert!(matches!(early.post("/mem/c", b"x").unwrap().status, 201 | 202));
    service.expect_state("WATCHDOG=1");
    service.signal("USR2");
    let mut states = Vec::new();
    while states.last().is_none_or(|state: &String| !state.starts_with("MAINPID=")) {
        states.push(service.state());
    }
    assert!(states.iter().any(|state| state.starts_with("RELOADING=1\n")), "{states:?}");
    let pid = states.last().unwrap().lines().next().unwrap()["MAINPID=".len()..].parse().unwrap();
    let old = std::mem::replace(&mut service.pid, pid);
    eventually("the old process is gone", || (service.ended().success() && !is_running(old)).then_some(()));
    assert!(matches!(early.post("/mem/c", b"x").unwrap().status, 201 | 202));
    assert!(matches!(Http::connect(&address).unwrap().post("/mem/c", b"x").unwrap().status, 201 | 202));
    // The new process tells that it is alive, although the variable names the old one.
    while service.state() != "WATCHDOG=1" {}
}

#[test]
fn a_socket_that_is_for_nobody_is_told() {
    let (socket, address) = bound();
    let data = fresh("activated-wrong");
    let settings = format!("listen = [\"127.0.0.1:0\"]\nstore = {{ data = {data:?} }}");
    let mut service = Service::spawn("activated-wrong", &settings, Some(socket), &[]);
    assert!(!service.ended().success());
    let said = service.stderr();
    assert!(said.contains("web") && said.contains(&address), "{said}");
}
