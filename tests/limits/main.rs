//! Every limit of the node: how it is reached, what the peer is told, which figure counts it, and what is logged.

#[allow(dead_code)]
#[path = "../support/node.rs"]
mod node;

mod bomb;
mod cases;
mod client;
mod logs;
mod mailbox;
mod polls;
mod rates;
mod table;

use node::Node;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Refusals so far, by reason.
pub fn refusals(node: &Node) -> BTreeMap<String, u64> {
    // A connection that is slow may be closed without a word.
    let page = || node::Http::connect(&node.address)?.request("GET", "/metrics", b"");
    let page = std::iter::repeat_with(page).take(100).find_map(Result::ok).unwrap().body;
    let lines = page.lines().filter_map(|line| line.strip_prefix("fanwire_refusals_total{reason=\""));
    lines.map(|line| line.split_once("\"} ").unwrap()).map(|(r, n)| (r.into(), n.parse().unwrap())).collect()
}

/// What came on top.
pub fn added(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let more = |(reason, count): (&String, &u64)| (reason.clone(), count - before.get(reason).unwrap_or(&0));
    after.iter().map(more).filter(|(_, count)| *count > 0).collect()
}

/// A node with its log in a file.
pub fn start(name: &str, settings: &str, tables: &str) -> (Node, PathBuf) {
    let dir = node::fresh(&format!("limits-{name}"));
    std::fs::create_dir_all(&dir).unwrap();
    let log = dir.with_extension("log");
    (Node::start_logging(&dir, settings, tables, &log), log)
}

/// Lines of a log that tell of refusals for this reason.
pub fn logged(log: &PathBuf, reason: &str) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let reason = format!("reason=\"{reason}\"");
    text.lines().filter(|line| line.contains(&reason)).map(str::to_owned).collect()
}
