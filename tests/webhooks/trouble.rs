//! Endpoints that fail, hang and vanish.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use fanwire::channel::hook::HookFailure;
use fanwire::channel::notice::What;
use fanwire::service::webhooks::Lost;

use crate::bench::{Bench, all_events, body, endpoint, events, failing_first, one_by_one, sent, taking};
use crate::support::{PATIENCE, back_end, eventually, hang, ok, refusing, serve};

#[test]
fn a_call_that_fails_is_made_again_unchanged_and_later_ones_wait_for_it() {
    let (address, log) = failing_first(4);
    let bench = Bench::with(vec![one_by_one(address)], |limits| limits.retry_ms = 60_000);
    for n in 0..3 {
        bench.tell(&n.to_string(), What::Occupied);
    }
    let seen = log.wait_for(7);
    let names: Vec<_> = seen.iter().flat_map(events).map(|e| e.replace("channel_occupied ", "")).collect();
    assert_eq!(names, ["0", "0", "0", "0", "0", "1", "2"]);
    assert!(seen[..5].iter().all(|s| body(s) == body(&seen[0])));
    let pauses: Vec<_> = seen.windows(2).take(4).map(|two| (two[1].came - two[0].came).as_millis()).collect();
    for (pause, least) in pauses.iter().zip([10, 20, 40, 40]) {
        assert!(
            *pause >= least,
            "{pauses:?}: twice as long each time, up to the limit, half of it at random"
        );
    }
    let counters = bench.handle.counters();
    eventually("all are sent", || counters.sent() == 3);
    assert_eq!((counters.refused(), counters.retried(), counters.calls().calls()), (4, 4, 7));
}

#[test]
fn every_status_but_2xx_is_a_failure() {
    for status in ["301 Moved", "400 No", "410 Gone", "503 Later"] {
        let first = AtomicBool::new(true);
        let (address, log) = back_end(move |_, stream| match first.swap(false, SeqCst) {
            true => stream
                .write_all(
                    format!("HTTP/1.1 {status}\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n").as_bytes(),
                )
                .is_ok(),
            false => stream.write_all(b"HTTP/1.1 204 Fine\r\n\r\n").is_ok(),
        });
        let bench = Bench::with(vec![endpoint(address, "/hook")], |_| {});
        bench.tell("a", What::Occupied);
        assert_eq!(log.wait_for(2).iter().map(|s| s.path()).collect::<Vec<_>>(), ["/hook", "/hook"]);
        eventually("204 is enough", || bench.handle.counters().sent() == 1);
    }
}

#[test]
fn an_endpoint_that_comes_back_gets_everything_in_order() {
    let address = refusing();
    let bench = Bench::with(vec![endpoint(address, "/")], |limits| limits.retry_ms = 60_000);
    for n in 0..300 {
        bench.tell(&n.to_string(), What::Occupied);
    }
    let counters = bench.handle.counters();
    eventually("it fails", || counters.calls().failures(HookFailure::Unreachable) >= 3);
    let (_, log) = serve(std::net::TcpListener::bind(address).unwrap(), |_, stream| ok(stream));
    eventually("it gets all", || counters.sent() == 300);
    let expected: Vec<_> = (0..300).map(|n| format!("channel_occupied {n}")).collect();
    assert_eq!(all_events(&log), expected);
}

#[test]
fn a_call_is_given_up_when_its_time_is_over_and_the_next_one_has_its_own() {
    let (address, log) = back_end(|seen, stream| match events(seen)[0].ends_with(" poison") {
        true => stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").is_ok(),
        false => ok(stream),
    });
    let bench = Bench::with(vec![one_by_one(address)], |limits| limits.retry_ms = 400);
    bench.tell("poison", What::Occupied);
    bench.tell("cure", What::Occupied);
    let counters = bench.handle.counters();
    eventually("the other is taken", || counters.sent() == 1);
    let seen = log.all();
    let tries = seen.len() - 1;
    assert!((3..20).contains(&tries), "{tries} tries in 400 ms with pauses of 10 to 80 ms");
    let took = seen[tries - 1].came - seen[0].came;
    assert!(took >= Duration::from_millis(380), "tried until the end: {took:?}");
    assert_eq!((counters.lost(Lost::GivenUp), counters.waiting(), counters.waiting_bytes()), (1, 0, 0));
}

#[test]
fn endpoints_that_hang_or_fail_hold_up_nobody_else() {
    let (hanging, _) = back_end(|_, stream| hang(stream));
    let (failing, _) = failing_first(u32::MAX);
    let (slow, slow_log) = back_end(|_, stream| {
        std::thread::sleep(Duration::from_millis(100));
        ok(stream)
    });
    let (good, log) = taking();
    let mut endpoints = vec![one_by_one(failing), one_by_one(slow), one_by_one(refusing())];
    // More than there are places for calls to one back end elsewhere.
    endpoints.extend((0..60).map(|n| endpoint(hanging, &format!("/{n}"))));
    endpoints.push(one_by_one(good));
    let bench = Bench::with(endpoints, |limits| limits.call.timeout_ms = 60_000);
    for n in 0..50 {
        let begun = Instant::now();
        bench.tell(&n.to_string(), What::Occupied);
        let seen = log.wait_for(n + 1);
        let took = seen[n].came - begun;
        assert!(took < Duration::from_secs(5), "number {n} took {took:?}");
    }
    let expected: Vec<_> = (0..50).map(|n| format!("channel_occupied {n}")).collect();
    assert_eq!(all_events(&log), expected);
    slow_log.wait_for(5);
}

#[test]
fn a_hanging_endpoint_is_tried_again_after_the_time_of_a_call() {
    let first = AtomicBool::new(true);
    let (address, log) = back_end(move |_, stream| match first.swap(false, SeqCst) {
        true => hang(stream),
        false => ok(stream),
    });
    let bench = Bench::with(vec![endpoint(address, "/")], |limits| limits.retry_ms = 60_000);
    bench.tell("a", What::Occupied);
    let seen = log.wait_for(2);
    assert!(seen[1].came - seen[0].came >= Duration::from_millis(300));
    eventually("it is taken", || bench.handle.counters().sent() == 1);
    assert_eq!(bench.handle.counters().calls().failures(HookFailure::Timeout), 1);
}

#[test]
fn a_full_queue_drops_what_comes_and_loses_nothing_else() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let (address, log) = back_end(move |_, stream| {
        let end = Instant::now() + PATIENCE;
        while !gate.load(SeqCst) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        ok(stream)
    });
    let bench = Bench::with(vec![endpoint(address, "/")], |limits| {
        limits.queue_events = 500;
        limits.call.timeout_ms = 30_000;
    });
    for n in 0..2_000 {
        bench.tell(&n.to_string(), What::Occupied);
    }
    let counters = bench.handle.counters();
    eventually("the rest is dropped", || counters.lost(Lost::Queue) == 1_500);
    assert_eq!(counters.waiting(), 500);
    open.store(true, SeqCst);
    eventually("the others are sent", || counters.sent() == 500);
    let expected: Vec<_> = (0..500).map(|n| format!("channel_occupied {n}")).collect();
    assert_eq!(all_events(&log), expected);
    bench.tell("again", What::Occupied);
    eventually("there is room again", || counters.sent() == 501);
}

#[test]
fn queues_are_bounded_by_bytes_for_one_and_for_all() {
    let (hanging, _) = back_end(|_, stream| hang(stream));
    let (good, log) = taking();
    let greedy = (0..3).map(|n| endpoint(hanging, &format!("/{n}")));
    let bench = Bench::with(greedy.chain([endpoint(good, "/")]).collect(), |limits| {
        limits.queue_bytes = 100_000;
        limits.total_bytes = 250_000;
        limits.reserve_bytes = 20_000;
        limits.retry_ms = 60_000;
        limits.call.timeout_ms = 60_000;
    });
    let counters = bench.handle.counters();
    for n in 0..200 {
        bench.tell("private-a", sent("client-a", &"x".repeat(10_000)));
        eventually("the good one gets its own", || counters.sent() == n + 1);
        assert!(counters.waiting_bytes() <= 250_000 + 4 * 20_000);
    }
    assert_eq!(all_events(&log).len(), 200);
    assert!(counters.lost(Lost::Queue) >= 3 * 190);
}

#[test]
fn handing_over_never_waits_and_is_bounded() {
    const NOTICES: u64 = 200_000;
    let (hanging, _) = back_end(|_, stream| hang(stream));
    let bench = Bench::with(vec![endpoint(hanging, "/")], |limits| {
        limits.intake_events = 10_000;
        limits.queue_events = 1_000;
        limits.call.timeout_ms = 60_000;
    });
    let counters = bench.handle.counters();
    let ready = crate::bench::notice(0, "a", What::Count(1));
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..NOTICES {
        let one = Instant::now();
        bench.handle.notify(ready.clone());
        longest = longest.max(one.elapsed());
    }
    let each = begun.elapsed() / NOTICES as u32;
    println!("{NOTICES} notices to a hanging endpoint: {each:?} each, the longest {longest:?}");
    assert!(each < Duration::from_micros(50) && longest < Duration::from_secs(1));
    eventually("all are accounted for", || {
        counters.waiting() + counters.lost(Lost::Queue) + counters.lost(Lost::Intake) == NOTICES
    });
    assert_eq!(counters.waiting(), 1_000);
}

#[test]
fn stopping_waits_for_no_endpoint_longer_than_it_may() {
    let (hanging, log) = back_end(|_, stream| hang(stream));
    let mut bench = Bench::with(vec![one_by_one(hanging)], |limits| limits.call.timeout_ms = 60_000);
    for n in 0..10 {
        bench.tell(&n.to_string(), What::Occupied);
    }
    log.wait_for(1);
    let begun = Instant::now();
    assert_eq!(bench.webhooks.take().unwrap().shutdown(Duration::from_millis(200)), 10);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(3), "{took:?}");
}
