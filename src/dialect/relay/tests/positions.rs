//! Which message a request asks for: the tables of both sheets.

use super::harness::*;
use crate::dialect::relay::settings::*;

const NCHAN: fn() -> LocationSettings = LocationSettings::nchan;
const RELAY: fn() -> LocationSettings = LocationSettings::relay;
/// A second before the messages.
const BEFORE: &str = "Sat, 21 Nov 2026 10:30:21 GMT";
const AFTER: &str = "Sat, 21 Nov 2026 10:30:29 GMT";
const EPOCH: &str = "Thu, 1 Jan 1970 00:00:00 GMT";

/// Three messages m0 to m2 of one second, m3 a second later.
fn filled(base: fn() -> LocationSettings, change: impl Fn(&mut LocationSettings)) -> Rig {
    let mut rig = pair(base, change);
    for body in ["m0", "m1", "m2"] {
        rig.publish("a", body);
    }
    rig.wait_ms(1_000);
    rig.publish("a", "m3");
    rig
}

/// What a request gets: a message, a status, or nothing yet.
fn got(rig: &mut Rig, target: &str, headers: &[(&str, &str)]) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("\n{name}: {value}")).collect();
    let number = rig.request(&format!("GET {target}{lines}"), "");
    let text = rig.text(number);
    match text.split(' ').nth(1) {
        None => "waits".into(),
        Some("200") => text.rsplit("\r\n\r\n").next().unwrap().into(),
        Some(status) => status.into(),
    }
}

#[test]
fn conditional_headers() {
    let (ims, inm) = ("If-Modified-Since", "If-None-Match");
    let mut nchan = filled(NCHAN, |_| ());
    let mut relay = filled(RELAY, |_| ());
    for (headers, in_nchan, in_relay) in [
        (vec![], "m0", "m0"),
        (vec![(ims, EPOCH), (inm, "0")], "m0", "m0"),
        (vec![(ims, DATE), (inm, "0")], "m1", "m1"),
        (vec![(ims, DATE), (inm, "2")], "m3", "m3"),
        (vec![(ims, DATE), (inm, "77")], "m3", "m3"),
        (vec![(ims, DATE), (inm, "\"1\"")], "m2", "m2"),
        (vec![(ims, DATE), (inm, "W/\"1\"")], "m2", "m2"),
        (vec![(ims, DATE), (inm, "-1")], "m0", "m0"),
        (vec![(ims, BEFORE), (inm, "5")], "m0", "m0"),
        (vec![(ims, AFTER), (inm, "0")], "waits", "waits"),
        // Only the date: the first message of that second again.
        (vec![(ims, DATE)], "m0", "m0"),
        (vec![(ims, "abcd"), (inm, "0")], "m0", "400"),
        (vec![(ims, DATE), (inm, "abcd")], "m0", "400"),
        (vec![(inm, "0")], "m0", "m0"),
        (vec![(inm, "abcd")], "m0", "400"),
        (vec![(inm, "1795257022:1")], "m2", "m2"),
        (vec![(inm, "\"1795257022:1\"")], "m2", "m2"),
        (vec![(inm, "abcd:1")], "400", "400"),
        (vec![(inm, "1795257022:99999999999999")], "m3", "m3"),
        // If-* beat everything else.
        (vec![(ims, DATE), (inm, "1"), ("Last-Event-ID", "1795257022:0")], "m2", "m2"),
        (vec![(inm, "1795257022:1"), ("Last-Event-ID", "1795257022:0")], "m2", "m2"),
        // What the nchan client sends by mistake.
        (vec![("Etag", "1795257022:1")], "m2", "m2"),
        (vec![("Etag", "1")], "m0", "m0"),
    ] {
        assert_eq!(got(&mut nchan, "/sub/a", &headers), in_nchan, "nchan {headers:?}");
        assert_eq!(got(&mut relay, "/sub/a", &headers), in_relay, "relay {headers:?}");
    }
}

#[test]
fn last_event_ids() {
    let mut rig = filled(NCHAN, |_| ());
    let header = |value| [("Last-Event-ID", value)];
    assert_eq!(got(&mut rig, "/sub/a", &header("1795257022:1")), "m2");
    assert_eq!(got(&mut rig, "/sub/a?last_event_id=1795257022%3A1", &[]), "m2");
    assert_eq!(got(&mut rig, "/sub/a?last_event_id=1795257022:1", &[]), "m2");
    assert_eq!(
        got(&mut rig, "/sub/a?last_event_id=1795257022%3A0", &header("1795257022:2")),
        "m3",
        "header wins"
    );
    assert_eq!(got(&mut rig, "/sub/a", &header("abc")), "m0", "no colon");
    assert_eq!(got(&mut rig, "/sub/a", &header("0:0")), "m0");
    assert_eq!(got(&mut rig, "/sub/a", &header("")), "m0");
    for bad in ["abc:1", "-1:0", "1795257022:0,[1]", "1795257022:[1]", "%", ":0", "99999999999999999999:1"] {
        assert_eq!(got(&mut rig, "/sub/a", &header(bad)), "400", "{bad}");
    }
    assert_eq!(rig.refused[0], "message_id");
}

#[test]
fn where_to_begin_without_a_position() {
    for (first, expected) in [
        (FirstMessage::Oldest, "m0"),
        (FirstMessage::Newest, "waits"),
        (FirstMessage::FromOldest(2), "m1"),
        (FirstMessage::FromOldest(9), "waits"),
        (FirstMessage::FromNewest(1), "m3"),
        (FirstMessage::FromNewest(2), "m2"),
        (FirstMessage::FromNewest(u32::MAX), "m0"),
    ] {
        let mut rig = filled(NCHAN, |l| l.first_message = first);
        assert_eq!(got(&mut rig, "/sub/a", &[]), expected, "{first:?}");
        assert_eq!(got(&mut rig, "/sub/a", &[("Last-Event-ID", "1795257022:0")]), "m1");
    }
}

#[test]
fn no_cache_skips_what_is_stored_where_allowed() {
    for name in ["Cache-Control", "Pragma"] {
        let mut rig = filled(RELAY, |_| ());
        assert_eq!(got(&mut rig, "/sub/a", &[(name, "max-age=0, no-cache")]), "m0");
        let mut rig = filled(RELAY, |l| l.ignore_queue_on_no_cache = true);
        assert_eq!(got(&mut rig, "/sub/a", &[(name, "max-age=0, no-cache")]), "waits");
    }
}

#[test]
fn what_is_gone_does_not_stop_anybody() {
    let mut rig = filled(NCHAN, |l| l.buffer_messages = 2);
    assert_eq!(got(&mut rig, "/sub/a", &[("Last-Event-ID", "1795257022:0")]), "m2");
    let mut small = filled(NCHAN, |l| l.buffer_bytes = 1);
    assert_eq!(got(&mut small, "/sub/a", &[("Last-Event-ID", "1795257022:0")]), "m3", "the newest stays");
    rig.wait_ms(3_700_000);
    assert_eq!(got(&mut rig, "/sub/a", &[("Last-Event-ID", "1795257022:0")]), "waits", "expired");
    assert_eq!(rig.publish("a", "m4"), 201);
}

#[test]
fn deletion_does_not_reuse_ids() {
    let mut rig = Rig::default_locations();
    rig.publish("a", "old");
    rig.ask("DELETE /pub/a", "");
    rig.publish("a", "new");
    assert_eq!(got(&mut rig, "/sub/a", &[("Last-Event-ID", "1795257022:0")]), "new");
}
