//! What arrives, and how it is spelled, signed, grouped and filtered (Pusher sheet section 12).

use std::time::{Duration, Instant};

use bytes::Bytes;
use fanwire::channel::hook::HookUrlError;
use fanwire::channel::notice::What;
use fanwire::channel::{ChannelKey, KeyHasher, Notice, NoticeKind};
use fanwire::service::webhooks::{Endpoint, EndpointError, Lost};
use fanwire::wire::sign;

use crate::bench::{
    Bench, KEY, SECRET, all_events, body, endpoint, events, filter, kinds, miss, notice, one_by_one, sent,
    taking,
};
use crate::support::{PATIENCE, QUIET, back_end, eventually, hang};

#[test]
fn the_example_of_the_sheet_arrives_signed() {
    let (address, log) = taking();
    let bench = Bench::with(vec![endpoint(address, "/hooks?a=b")], |_| {});
    bench.tell("orders", What::Occupied);
    let seen = log.wait_for(1).remove(0);
    let expected = r#"{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"orders"}]}"#;
    assert_eq!(String::from_utf8(body(&seen)).unwrap(), expected);
    let text = seen.text();
    let mut head: Vec<&str> = text.split("\r\n\r\n").next().unwrap().lines().collect();
    assert_eq!(head.remove(0), "POST /hooks?a=b HTTP/1.1");
    head.sort_unstable();
    let signature = "X-Pusher-Signature: 61be614dd7b06106a7c572944b946b44a724b71343800b4296f4cdbc1fb0b6d4";
    let (host, length) = (format!("Host: {address}"), format!("Content-Length: {}", expected.len()));
    assert_eq!(
        head,
        [&length, "Content-Type: application/json", &host, "X-Pusher-Key: app-key-demo", signature]
    );
    eventually("it is counted", || bench.handle.counters().sent() == 1);
    assert_eq!((bench.handle.counters().waiting(), bench.handle.counters().waiting_bytes()), (0, 0));
}

#[test]
fn a_batch_carries_what_comes_soon_after_each_other_and_is_signed_whole() {
    let (address, log) = taking();
    let bench = Bench::with(vec![endpoint(address, "/")], |limits| {
        limits.batch_ms = 200;
        limits.batch_events = 10;
    });
    for n in 0..25 {
        bench.tell("c", What::Count(n));
    }
    let seen = log.wait_for(3);
    assert_eq!(seen.iter().map(|s| events(s).len()).collect::<Vec<_>>(), [10, 10, 5]);
    assert!(seen[2].came - seen[0].came >= Duration::from_millis(100), "the last one waits for more");
    for seen in &seen {
        let signature = sign::webhook(SECRET.as_bytes(), &body(seen));
        assert!(seen.text().contains(&format!("X-Pusher-Signature: {}\r\n", signature.as_str())));
        assert!(seen.text().contains(&format!("X-Pusher-Key: {KEY}\r\n")));
    }
    let numbers: Vec<u64> = seen
        .iter()
        .flat_map(|seen| {
            let body: serde_json::Value = serde_json::from_slice(&body(seen)).unwrap();
            let events = body["events"].as_array().unwrap().clone();
            events.into_iter().map(|event| event["subscription_count"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(numbers, (0..25).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_limited_by_bytes_and_one_large_event_is_a_batch() {
    let (address, log) = taking();
    let bench = Bench::with(vec![endpoint(address, "/")], |limits| limits.batch_bytes = 10_000);
    for _ in 0..4 {
        bench.tell("private-a", sent("client-a", &"x".repeat(4_000)));
    }
    bench.tell("private-a", sent("client-a", &"x".repeat(50_000)));
    let sizes: Vec<_> = log.wait_for(3).iter().map(|s| events(s).len()).collect();
    assert_eq!(sizes, [2, 2, 1]);
}

#[test]
fn an_endpoint_without_batches_gets_one_event_per_call_on_one_connection() {
    let (address, log) = taking();
    let bench = Bench::with(vec![one_by_one(address)], |_| {});
    for n in 0..20 {
        bench.tell(&format!("c{n}"), What::Occupied);
    }
    let seen = log.wait_for(20);
    let expected: Vec<_> = (0..20).map(|n| format!("channel_occupied c{n}")).collect();
    assert_eq!(seen.iter().flat_map(events).collect::<Vec<_>>(), expected);
    assert!(seen.iter().all(|s| s.connection == 0 && events(s).len() == 1));
}

#[test]
fn endpoints_get_only_what_they_want_and_sign_what_they_get() {
    let (address, log) = taking();
    let only = |path, kinds, prefix, suffix| Endpoint {
        filter: filter(kinds, prefix, suffix),
        ..endpoint(address, path)
    };
    let all = fanwire::channel::NoticeKinds::all();
    let bench = Bench::with(
        vec![
            only("/kinds", kinds(&[NoticeKind::CacheMiss]), "", ""),
            only("/prefix", all, "private-", ""),
            only("/suffix", all, "", "-x"),
            only("/both", all, "private-", "-x"),
        ],
        |_| {},
    );
    for channel in ["private-a", "a-x", "private-b-x"] {
        bench.tell(channel, What::Occupied);
        bench.tell(channel, miss(0));
    }
    let seen = log.wait_for(4);
    let of = |path: &str| events(seen.iter().find(|s| s.path() == path).unwrap());
    assert_eq!(of("/kinds"), ["cache_miss private-a", "cache_miss a-x", "cache_miss private-b-x"]);
    let both = |channel: &str| [format!("channel_occupied {channel}"), format!("cache_miss {channel}")];
    assert_eq!(of("/prefix"), [both("private-a"), both("private-b-x")].concat());
    assert_eq!(of("/suffix"), [both("a-x"), both("private-b-x")].concat());
    assert_eq!(of("/both"), both("private-b-x"));
    for seen in &seen {
        assert!(seen.text().contains(sign::webhook(SECRET.as_bytes(), &body(seen)).as_str()));
    }
}

#[test]
fn nothing_is_taken_that_nobody_wants() {
    let (address, log) = taking();
    let some = Endpoint { filter: filter(kinds(&[NoticeKind::Vacated]), "", ""), ..endpoint(address, "/") };
    let bench = Bench::with(vec![some], |_| {});
    assert!(bench.handle.wants(0, NoticeKind::Vacated));
    assert!(bench.handle.wants(0, NoticeKind::Occupied), "it may undo a vacated");
    assert!(!bench.handle.wants(0, NoticeKind::Joined) && !bench.handle.wants(1, NoticeKind::Vacated));
    assert!(!bench.handle.wants(u32::MAX, NoticeKind::Vacated));
    bench.tell("a", miss(0));
    bench.handle.notify(notice(1, "a", What::Vacated));
    bench.tell("#server-to-user-1", What::Vacated);
    let grouped = ChannelKey::new(&KeyHasher::new(1), 0, b"group", b"a");
    bench.handle.notify(Notice { channel: grouped, what: What::Vacated });
    assert_eq!(bench.handle.counters().taken(), 0);
    bench.tell("a", What::Occupied);
    std::thread::sleep(2 * QUIET);
    assert!(log.all().is_empty(), "{:?}", all_events(&log));
}

#[test]
fn what_is_undone_within_the_grace_time_is_not_sent() {
    let (address, log) = taking();
    let bench = Bench::with(vec![endpoint(address, "/")], |limits| limits.grace_ms = 800);
    let user = || Bytes::from_static(b"u");
    let begun = Instant::now();
    bench.tell("a", What::Vacated);
    bench.tell("a", What::Left(user()));
    bench.tell("b", What::Vacated);
    eventually("all are held", || bench.handle.counters().held() == 3);
    bench.tell("a", What::Joined(user()));
    bench.tell("a", What::Occupied);
    let seen = log.wait_for(1).remove(0);
    assert_eq!(events(&seen), ["channel_vacated b"]);
    assert!(seen.came - begun >= Duration::from_millis(800), "after {:?}", seen.came - begun);
    assert_eq!(bench.handle.counters().undone(), 4);
    std::thread::sleep(2 * QUIET);
    bench.tell("b", What::Occupied);
    log.wait_for(2);
    assert_eq!(all_events(&log), ["channel_vacated b", "channel_occupied b"]);
}

#[test]
fn endpoints_are_replaced_while_the_node_runs() {
    let (address, log) = taking();
    let bench = Bench::new(|_| {});
    bench.tell("a", What::Occupied);
    bench.handle.set_endpoints(3, vec![endpoint(address, "/old"), endpoint(address, "/kept")]).unwrap();
    bench.handle.notify(notice(3, "a", What::Occupied));
    log.wait_for(2);
    let kept = Endpoint { secret: "another".into(), ..endpoint(address, "/kept") };
    bench.handle.set_endpoints(3, vec![endpoint(address, "/new"), kept]).unwrap();
    bench.handle.notify(notice(3, "b", What::Occupied));
    let seen = log.wait_for(4);
    let mut paths: Vec<_> = seen[2..].iter().map(|s| s.path()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/kept", "/new"]);
    let kept = seen[2..].iter().find(|s| s.path() == "/kept").unwrap();
    assert!(kept.text().contains(sign::webhook(b"another", &body(kept)).as_str()));
    bench.handle.set_endpoints(3, Vec::new()).unwrap();
    assert!(!bench.handle.wants(3, NoticeKind::Occupied));
    bench.handle.notify(notice(3, "c", What::Occupied));
    std::thread::sleep(QUIET);
    assert_eq!(log.all().len(), 4);
}

#[test]
fn a_channel_that_is_still_empty_is_missed_once() {
    let (address, log) = taking();
    let bench = Bench::with(vec![one_by_one(address)], |limits| limits.misses = 3);
    for (channel, last) in [("a", 1), ("a", 1), ("b", 1), ("a", 2), ("a", 2), ("b", 1)] {
        bench.tell(channel, miss(last));
    }
    let events =
        |log| all_events(log).iter().map(|event| event.replace("cache_miss ", "")).collect::<Vec<_>>();
    log.wait_for(3);
    for channel in ["c", "a"] {
        bench.tell(channel, miss(2));
    }
    log.wait_for(5);
    assert_eq!(events(&log), ["a", "b", "a", "c", "a"], "more than are known are told again");
}

#[test]
fn apps_may_have_any_number() {
    let (address, log) = taking();
    let bench = Bench::new(|_| {});
    for (n, app) in [5, 5 + (1 << 20), u32::MAX].into_iter().enumerate() {
        bench.handle.set_endpoints(app, vec![endpoint(address, &format!("/{app}"))]).unwrap();
        bench.handle.notify(notice(app, "a", What::Occupied));
        assert_eq!(log.wait_for(n + 1).last().unwrap().path(), format!("/{app}"));
    }
    bench.handle.set_endpoints(5, Vec::new()).unwrap();
    bench.handle.notify(notice(5, "a", What::Occupied));
    std::thread::sleep(QUIET);
    assert_eq!(log.all().len(), 3);
    assert!(bench.handle.wants(5 + (1 << 20), NoticeKind::Occupied));
    bench.handle.set_endpoints(5 + (1 << 20), Vec::new()).unwrap();
    assert!(!bench.handle.wants(5, NoticeKind::Occupied));
}

#[test]
fn the_queue_of_an_endpoint_outlives_a_change_and_ends_with_the_endpoint() {
    let (address, log) = back_end(|_, stream| hang(stream));
    let bench = Bench::with(vec![one_by_one(address)], |_| {});
    for n in 0..5 {
        bench.tell(&n.to_string(), What::Occupied);
    }
    log.wait_for(1);
    bench.handle.set_endpoints(0, vec![Endpoint { secret: "x".into(), ..one_by_one(address) }]).unwrap();
    bench.tell("5", What::Occupied);
    eventually("all wait", || bench.handle.counters().waiting() == 6);
    bench.handle.set_endpoints(0, Vec::new()).unwrap();
    eventually("nothing waits", || bench.handle.counters().waiting() == 0);
    assert_eq!(
        (bench.handle.counters().lost(Lost::Removed), bench.handle.counters().waiting_bytes()),
        (6, 0)
    );
}

#[test]
fn what_is_no_endpoint_is_refused() {
    let (address, log) = taking();
    let bench = Bench::new(|limits| limits.endpoints = 1);
    let other = Endpoint { url: "ftp://h/".into(), ..endpoint(address, "/") };
    let refused = bench.handle.set_endpoints(0, vec![endpoint(address, "/"), other]);
    assert_eq!(refused, Err(EndpointError::Url(HookUrlError::Scheme)));
    assert!(!bench.handle.wants(0, NoticeKind::Occupied));
    bench.handle.set_endpoints(0, vec![endpoint(address, "/one"), endpoint(address, "/too-many")]).unwrap();
    bench.tell("a", What::Occupied);
    log.wait_for(1);
    std::thread::sleep(QUIET);
    assert_eq!(log.paths(), ["/one"]);
    assert!(!format!("{:?}", endpoint(address, "/")).contains(SECRET), "secrets are not printed");
}

#[test]
fn stopping_tells_what_was_held() {
    let (address, log) = taking();
    let mut bench = Bench::with(vec![endpoint(address, "/")], |limits| limits.grace_ms = 60_000);
    bench.tell("a", What::Occupied);
    bench.tell("a", What::Vacated);
    bench.tell("b", What::Left(Bytes::from_static(b"u")));
    assert_eq!(bench.webhooks.take().unwrap().shutdown(PATIENCE), 0);
    assert_eq!(all_events(&log), ["channel_occupied a", "channel_vacated a", "member_removed b"]);
    bench.tell("c", What::Occupied);
    assert_eq!(bench.handle.counters().lost(Lost::Removed), 1, "too late");
}
