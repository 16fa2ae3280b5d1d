//! How long a poll is held, and what may come behind it.

use crate::client::{Client, await_that};
use crate::{refusals, start};
use fanwire::limits::{HTTP_PIPELINE_BYTES, RECV_BYTES, RECVS_PER_TURN};
use std::net::TcpListener;

const TABLES: &str = r#"
[limits]
poll_hold = "300ms"

[[location]]
prefix = "/sub/"
methods = "subscriber"
subscriber_timeout = "1h"

[[location]]
prefix = "/relay/"
methods = "subscriber"
flavour = "relay"
create_on_get = true
"#;

#[test]
fn a_poll_is_held_for_so_long_and_no_longer() {
    let (mut node, _) = start("hold", "shards = 1", TABLES);
    for (path, status) in [("/sub/a", 408), ("/relay/a", 304)] {
        let mut client = Client::connect(&node.address);
        for _ in 0..2 {
            let answer = client.ask(&format!("GET {path}"), b"");
            assert!(answer.status == status && !answer.closes(), "{path}: {answer:?}");
        }
    }
    // That is the end of a poll, no refusal.
    assert!(refusals(&node).is_empty());
    node.stop();
}

#[test]
fn what_is_behind_a_request_is_bounded() {
    const REQUESTS: usize = 256;
    // A back end that takes its time.
    let back_end = TcpListener::bind("127.0.0.1:0").unwrap();
    let tables = format!(
        "[hooks]\ntimeout = \"60s\"\n[[location]]\nprefix = \"/sub/\"\nmethods = \"subscriber\"\nauthorize = \"http://{}/\"",
        back_end.local_addr().unwrap()
    );
    let (mut node, _) = start("behind", "shards = 1", &tables);
    let received = || node.metric("fanwire_received_bytes_total") as usize;
    let mut client = Client::connect(&node.address);
    client.send("GET /sub/a HTTP/1.1\r\nHost: a\r\n\r\n");
    let asked = back_end.accept().unwrap();
    let mut sender = client.twin();
    let padding = "x".repeat(4_000);
    let sender = std::thread::spawn(move || {
        sender.send(format!("GET /nowhere HTTP/1.1\r\nHost: a\r\nX: {padding}\r\n\r\n").repeat(REQUESTS));
    });
    await_that("what may wait", || received() >= HTTP_PIPELINE_BYTES);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let most = HTTP_PIPELINE_BYTES + RECVS_PER_TURN * RECV_BYTES;
    assert!(received() <= most && most < 4_000 * REQUESTS, "{}", received());
    drop((asked, back_end));
    assert!(client.answer().status >= 500, "the back end has gone without an answer");
    (0..REQUESTS).for_each(|_| assert_eq!(client.answer().status, 404));
    sender.join().unwrap();
    node.stop();
}
