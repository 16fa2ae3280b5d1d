//! How much one connection may send: a greedy client is refused, a modest one beside it is not.

use crate::client::{Client, Frame, PATIENCE, await_that};
use crate::{added, refusals, start};
use fanwire::wire::ws::frame::Opcode;
use std::time::Instant;

/// Ten messages and 100 kB at once, then one and 10 kB in a second.
const TABLES: &str = r#"
[limits]
messages_in_per_second = 1
bytes_in_per_second = 10000
rate_burst = "10s"
"#;

const AT_ONCE: u64 = 10;

#[test]
fn a_publisher_is_told_to_come_again() {
    let (mut node, _) = start("publisher", "shards = 1", TABLES);
    let mut modest = Client::connect(&node.address);
    let mut greedy = Client::connect(&node.address);
    let begun = Instant::now();
    greedy.send("POST /pub/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".repeat(100));
    let mut taken = 0;
    for n in 0..100 {
        let answer = greedy.answer();
        match answer.status {
            202 => taken += 1,
            429 => assert!(n as u64 >= AT_ONCE && answer.says_when() && !answer.closes(), "{n}: {answer:?}"),
            _ => panic!("{answer:?}"),
        }
        if n % 10 == 0 && n < 50 {
            assert_eq!(modest.ask("POST /pub/b", b"x").status, 202, "the other one is not asked to wait");
        }
    }
    // All but the first were like the one before it, which is a way of their own through the node.
    assert!(taken >= AT_ONCE && taken <= AT_ONCE + begun.elapsed().as_secs() + 1, "{taken}");
    assert_eq!(refusals(&node)["messages_in_rate"], 100 - taken);
    assert_eq!(node.metric("fanwire_publications_total"), (taken + 5) as f64, "refused is not published");
    await_that("it may come again", || greedy.ask("POST /pub/a", b"x").status == 202);
    node.stop();
}

#[test]
fn a_connection_over_its_bytes_is_refused() {
    let (mut node, _) = start("bytes", "shards = 1", TABLES);
    let mut greedy = Client::connect(&node.address);
    let statuses: Vec<u16> = (0..9).map(|_| greedy.ask("POST /pub/a", &[b'x'; 30_000]).status).collect();
    assert_eq!(statuses[..3], [202; 3], "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    // One message that is larger than all that may come at once, in pieces.
    let mut socket = Client::open(&node.address, "/pub/a");
    socket.frame(Opcode::Binary, &[b'x'; 500_000]);
    assert_eq!(socket.end(), Frame::Close(1008, "too many bytes in a second".into()));
    // What a reader of an event stream sends is ignored; it still has to be received.
    let mut reader = Client::connect(&node.address);
    reader.send("GET /sub/a HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
    await_that("a subscriber", || node.metric("fanwire_subscriptions") == 1.0);
    reader.send(vec![b'x'; 500_000]);
    await_that("nobody subscribed", || node.metric("fanwire_subscriptions") == 0.0);
    let told = refusals(&node);
    assert_eq!(told["bytes_in_rate"], 2 + statuses.iter().filter(|status| **status == 429).count() as u64);
    assert_eq!(told.len(), 1, "{told:?}");
    // The first one is taken from again once its debt is paid.
    let begun = Instant::now();
    while greedy.ask("POST /pub/a", b"x").status != 202 {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    node.stop();
}

#[test]
fn a_socket_that_sends_too_much_is_closed() {
    let (mut node, _) = start("socket", "shards = 1", TABLES);
    let before = refusals(&node);
    let mut modest = Client::open(&node.address, "/pub/a");
    for opcode in [Opcode::Text, Opcode::Ping] {
        let mut greedy = Client::open(&node.address, "/pub/a");
        // Slower than a machine that stands still for a while allows none to be refused.
        let begun = Instant::now();
        let end = loop {
            (0..100).for_each(|_| greedy.frame(opcode, b"x"));
            match greedy.end() {
                Frame::End => assert!(begun.elapsed() < PATIENCE),
                other => break other,
            }
        };
        assert_eq!(end, Frame::Close(1008, "too many messages in a second".into()));
        modest.text("x");
        assert!(matches!(modest.next(), Frame::Data(_)));
    }
    assert_eq!(added(&before, &refusals(&node)), [("messages_in_rate".to_owned(), 2)]);
    node.stop();
}
