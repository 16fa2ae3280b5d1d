//! Bounds, order and the end of the service.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fanwire::channel::hook::{HookCall, HookFailure, HookMethod};

use crate::support::*;

#[test]
fn a_full_queue_refuses_at_once() {
    let (address, _) = back_end(|_, s| hang(s));
    let node = Node::new(|l| {
        l.queue_calls = 4;
        l.queue_bytes = 10_000;
    });
    for tag in 0..4 {
        node.ask(tag, HookCall { timeout_ms: 300, ..waiting(address, "/") });
    }
    let start = Instant::now();
    assert_eq!(node.handle.call(token(9), waiting(address, "/")), Err(HookFailure::QueueFull));
    assert!(start.elapsed() < Duration::from_millis(100));
    for _ in 0..4 {
        assert_eq!(node.next().1, Err(HookFailure::Timeout));
    }
    eventually("the queue is empty", || node.handle.counters().queue_bytes() == 0);
    // Bytes count as well.
    let big = |bytes: usize| HookCall {
        method: HookMethod::Post,
        body: vec![b'x'; bytes].into(),
        timeout_ms: 100,
        ..waiting(address, "/")
    };
    assert_eq!(node.handle.call(token(9), big(10_000)), Err(HookFailure::QueueFull));
    node.ask(1, big(6_000));
    assert_eq!(node.handle.call(token(9), big(6_000)), Err(HookFailure::QueueFull));
    assert_eq!(node.next(), (1, Err(HookFailure::Timeout)));
    node.nothing_more();
    assert_eq!(node.failures(HookFailure::QueueFull), 3);
    assert_eq!(node.handle.counters().queue_depth(), 0);
    assert_eq!(node.handle.counters().in_flight(), 0);
}

#[test]
fn one_back_end_cannot_take_the_whole_queue() {
    let (hanging, _) = back_end(|_, s| hang(s));
    let (fine, _) = back_end(|_, s| ok(s));
    let node = Node::new(|l| {
        l.backend_queue_calls = 3;
        l.circuit_failures = 100;
    });
    for tag in 0..8 {
        node.ask(tag, HookCall { timeout_ms: 300, ..waiting(hanging, "/") });
    }
    for tag in 3..8 {
        assert_eq!(node.next(), (tag, Err(HookFailure::QueueFull)));
    }
    node.get(waiting(fine, "/")).unwrap();
    for _ in 0..3 {
        assert_eq!(node.next().1, Err(HookFailure::Timeout));
    }
}

#[test]
fn only_so_many_back_ends_are_known() {
    let backends: Vec<_> = (0..4).map(|_| back_end(|_, s| ok(s)).0).collect();
    let hanging = back_end(|_, s| hang(s)).0;
    let node = Node::new(|l| l.backends = 1);
    for address in backends.iter().chain(&backends) {
        node.get(waiting(*address, "/")).unwrap();
        // The call still counts for a moment after its answer.
        eventually("the call is over", || node.handle.counters().queue_bytes() == 0);
    }
    node.ask(1, HookCall { timeout_ms: 300, ..waiting(hanging, "/") });
    node.ask(2, waiting(backends[0], "/"));
    assert_eq!(node.next(), (2, Err(HookFailure::QueueFull)));
    assert_eq!(node.next(), (1, Err(HookFailure::Timeout)));
}

#[test]
fn calls_with_a_key_keep_their_order() {
    // The answers take different times, and two servers take part.
    let times = |seen: &Seen, s: &mut TcpStream| {
        let n: u64 = seen.path().rsplit('/').next().unwrap().parse().unwrap();
        std::thread::sleep(Duration::from_millis(if n.is_multiple_of(2) { 8 } else { 1 }));
        ok(s)
    };
    let (one, log_one) = back_end(times);
    let (two, log_two) = back_end(times);
    let node = Node::new(|_| {});
    for n in 0..20 {
        for key in 0..5 {
            let address = if n % 3 == 0 { two } else { one };
            node.ask(0, HookCall { order: Some(key), ..forgotten(address, &format!("/{key}/{n}")) });
        }
    }
    eventually("all are answered", || node.handle.counters().answers() == 100);
    let mut all = log_one.all();
    all.extend(log_two.all());
    all.sort_by_key(|seen| seen.came);
    for key in 0..5 {
        let prefix = format!("/{key}/");
        let came: Vec<u64> = all
            .iter()
            .filter_map(|seen| seen.path().strip_prefix(&prefix).map(|n| n.parse().unwrap()))
            .collect();
        assert_eq!(came, (0..20).collect::<Vec<u64>>());
    }
    assert!(log_one.most_under_way.load(SeqCst) > 1, "keys do not wait for each other");
}

#[test]
fn a_failed_call_does_not_hold_up_its_key() {
    let (hanging, _) = back_end(|_, s| hang(s));
    let (fine, log) = back_end(|_, s| ok(s));
    let node = Node::new(|_| {});
    let start = Instant::now();
    let keyed = |call: HookCall, timeout_ms| HookCall { order: Some(1), timeout_ms, ..call };
    node.ask(1, keyed(waiting(hanging, "/"), 300));
    // Gives up while it waits for its turn; the one behind it still comes after the first.
    node.ask(2, keyed(waiting(fine, "/2"), 100));
    node.ask(3, keyed(waiting(fine, "/3"), 5_000));
    assert_eq!(node.next(), (2, Err(HookFailure::Timeout)));
    assert_eq!(node.next(), (1, Err(HookFailure::Timeout)));
    let (tag, outcome) = node.next();
    assert_eq!((tag, body(outcome)), (3, b"ok".to_vec()));
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(log.paths(), ["/3"]);
}

#[test]
fn every_waiting_call_is_answered_exactly_once() {
    let count = AtomicUsize::new(0);
    let (flaky, _) = back_end(move |_, s| match count.fetch_add(1, SeqCst) % 7 {
        0 => false,
        1 => s.write_all(b"rubbish\r\n\r\n").is_err(),
        2 => {
            std::thread::sleep(Duration::from_millis(20));
            ok(s)
        }
        _ => ok(s),
    });
    let node = Node::new(|l| {
        l.circuit_failures = 4;
        l.circuit_open_ms = 20;
    });
    let dead = refusing();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let node = &node.handle;
            scope.spawn(move || {
                for i in 0..250 {
                    let address = if i % 25 == 0 { dead } else { flaky };
                    let call = if i % 3 == 0 { forgotten(address, "/") } else { waiting(address, "/") };
                    let order = (i % 5 == 0).then_some(u64::from(i % 2));
                    node.call(token(thread * 1_000 + i), HookCall { order, ..call }).unwrap();
                    if i % 10 == 0 {
                        std::thread::sleep(Duration::from_millis(3));
                    }
                }
            });
        }
    });
    let mut expected: Vec<u32> =
        (0..4).flat_map(|t| (0..250).filter(|i| i % 3 != 0).map(move |i| t * 1_000 + i)).collect();
    let mut answered: Vec<u32> = expected.iter().map(|_| node.next().0).collect();
    answered.sort_unstable();
    expected.sort_unstable();
    assert_eq!(answered, expected);
    node.nothing_more();
    let counters = node.handle.counters();
    eventually("all have ended", || {
        counters.queue_depth() + counters.in_flight() + counters.queue_bytes() == 0
    });
    let failed: u64 = HookFailure::ALL.iter().map(|f| counters.failures(*f)).sum();
    assert_eq!(counters.calls(), 1_000);
    assert_eq!(counters.answers() + failed, 1_000);
    assert!(counters.answers() > 0 && failed > 0);
}

#[test]
fn shutdown_sends_what_is_queued() {
    let (address, log) = back_end(|_, s| {
        std::thread::sleep(Duration::from_millis(10));
        ok(s)
    });
    let mut node = Node::new(|l| l.backend_concurrent = 2);
    for n in 0..20 {
        let call = if n % 2 == 0 { waiting(address, "/") } else { forgotten(address, "/") };
        node.ask(n, HookCall { order: (n < 4).then_some(1), ..call });
    }
    assert_eq!(node.shutdown(PATIENCE), 0);
    assert_eq!(log.all().len(), 20);
    assert_eq!(node.outcomes.try_iter().filter(|(_, outcome)| outcome.is_ok()).count(), 10);
    assert_eq!(node.handle.call(token(1), waiting(address, "/")), Err(HookFailure::Stopped));
    node.nothing_more();
}

#[test]
fn shutdown_gives_up_after_its_grace() {
    let (address, _) = back_end(|_, s| hang(s));
    let mut node = Node::new(|l| l.backend_concurrent = 2);
    for n in 0..6 {
        let call = if n % 2 == 0 { waiting(address, "/") } else { forgotten(address, "/") };
        node.ask(n, call);
    }
    let start = Instant::now();
    assert_eq!(node.shutdown(Duration::from_millis(100)), 6);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(2), "{took:?}");
    let mut stopped: Vec<u32> = (0..3)
        .map(|_| {
            let (tag, outcome) = node.next();
            assert_eq!(outcome, Err(HookFailure::Stopped));
            tag
        })
        .collect();
    stopped.sort_unstable();
    assert_eq!(stopped, [0, 2, 4]);
    node.nothing_more();
    assert_eq!(node.failures(HookFailure::Stopped), 6);
    assert_eq!(node.handle.counters().in_flight(), 0);
}
