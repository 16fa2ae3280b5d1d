//! What a peer can cause at will does not flood the log.

use crate::client::{Client, await_that};
use crate::{logged, refusals, start};
use fanwire::limits::REFUSALS_LOGGED;

const TIMES: u64 = 2_000;

#[test]
fn a_few_lines_tell_of_many_refusals() {
    let (mut node, log) = start("logs", "shards = 1", "");
    let mut client = Client::connect(&node.address);
    let begun = std::time::Instant::now();
    for _ in 0..TIMES / 100 {
        client.send("GET /nowhere/at/all HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100));
        (0..100).for_each(|_| assert_eq!(client.answer().status, 404));
    }
    // A different reason still has its line.
    let mut other = Client::connect(&node.address);
    other.send("\r\n\r\n\r\n\r\n\r\n\r\n");
    assert_eq!(other.answer().status, 400);
    assert_eq!(refusals(&node)["unknown_path"], TIMES, "all are counted");
    let told = || {
        let lines = logged(&log, "unknown_path");
        let left_out = lines.iter().filter_map(|line| line.split_once("left_out=").map(|(_, n)| n));
        let left_out: u64 = left_out.map(|n| n.split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        let single = lines.iter().filter(|line| !line.contains("left_out=")).count() as u64;
        (single, left_out)
    };
    await_that("the rest is told", || told().0 + told().1 == TIMES);
    // However slow the machine is: so many a second, and those of the second in which it began.
    let seconds = begun.elapsed().as_secs() + 2;
    assert!(told().0 <= seconds * u64::from(REFUSALS_LOGGED), "{:?} in {seconds} s", told());
    assert_eq!(logged(&log, "http_syntax").len(), 1);
    node.stop();
}
