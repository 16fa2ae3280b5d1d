//! Locations, channel ids, methods, cross-origin rules, group and status pages.

use super::harness::*;
use crate::channel::KeyHasher;
use crate::dialect::relay::Relay;
use crate::dialect::relay::settings::*;

const NCHAN: fn() -> LocationSettings = LocationSettings::nchan;
const RELAY: fn() -> LocationSettings = LocationSettings::relay;

fn regex(
    pattern: &str,
    base: LocationSettings,
    change: impl FnOnce(&mut LocationSettings),
) -> LocationSettings {
    at("/", LocationMethods::Publisher, base, |l| {
        l.path = PathPattern::Regex(pattern.into());
        change(l);
    })
}

/// The channel that a publish to `target` made.
fn made(rig: &mut Rig, target: &str, candidates: &[&str]) -> String {
    assert_eq!(rig.status(&format!("POST {target}"), "x"), 202, "{target}");
    let found = candidates.iter().find(|name| rig.info("", name).is_some());
    found.unwrap_or_else(|| panic!("{target}")).to_string()
}

#[test]
fn paths_and_ids_of_nchan_are_decoded_and_arguments_are_not() {
    let location =
        regex("^/p/(?<rest>[^/]+)/([0-9]+)", NCHAN(), |l| l.channel_id = vec!["$2-${rest}".into()]);
    let mut rig = Rig::new(vec![location]);
    assert_eq!(made(&mut rig, "/p/a%20b//7/and/more", &["7-a b"]), "7-a b");
    assert_eq!(made(&mut rig, "/x/../p/./c/8", &["8-c"]), "8-c");
    let argument = |id: &str| {
        at("/pub", LocationMethods::Publisher, NCHAN(), |l| {
            l.path = PathPattern::Regex("^/pub$".into());
            l.channel_id = vec![id.into()];
        })
    };
    let mut rig = Rig::new(vec![argument("$arg_id")]);
    assert_eq!(made(&mut rig, "/pub?id=a%2Cb", &["a%2Cb"]), "a%2Cb");
    assert_eq!(made(&mut rig, "/pub", &[""]), "", "no id is an id");
}

#[test]
fn paths_of_the_older_family_are_matched_as_sent_and_whole() {
    let mut rig = Rig::new(vec![regex("/send-update/([^/]+)", RELAY(), |_| ())]);
    assert_eq!(made(&mut rig, "/send-update/a%20b%2Fc?_=1", &["a b/c"]), "a b/c");
    for other in ["/send-update/a/b", "/x/send-update/a", "/send-update/"] {
        let number = rig.request("OPTIONS /send-update/a", "");
        assert!(!rig.request_on(number, 0, &format!("POST {other}"), "x"), "{other}");
    }
}

#[test]
fn the_first_location_of_the_listener_has_the_request() {
    let mut rig = Rig::new(vec![
        at("/a/", LocationMethods::Publisher, NCHAN(), |l| l.listeners = vec!["internal".into()]),
        at("/a/", LocationMethods::Status, NCHAN(), |l| l.listeners = vec!["127.0.0.1:80".into()]),
        at("/a/", LocationMethods::Group, NCHAN(), |l| l.group = Some("g".into())),
    ]);
    assert!(rig.ask("GET /a/x", "").contains("total published messages: 7\n"));
    assert!(rig.request_on(0, 1, "POST /a/x", "x"));
    assert!(rig.text(0).starts_with("HTTP/1.1 202 "));
    assert!(!rig.request_on(0, 1, "GET /b", "") && !rig.request_on(0, 0, "GET /a", ""));
}

#[test]
fn stores_and_groups_keep_channels_apart() {
    let mut rig = Rig::new(vec![
        at("/pub/", LocationMethods::Publisher, NCHAN(), |_| ()),
        at("/other/", LocationMethods::Subscriber, NCHAN(), |l| l.store = "second".into()),
        at("/g/", LocationMethods::Pubsub, NCHAN(), |l| l.group = Some("$arg_g".into())),
    ]);
    rig.publish("a", "x");
    let other = rig.request("GET /other/a", "");
    assert_eq!(rig.text(other), "", "held");
    rig.ask("POST /g/a?g=one", "y");
    let two = rig.request("GET /g/a?g=two", "");
    assert_eq!(rig.text(two), "");
    assert!(rig.ask("GET /g/a?g=one", "").ends_with("\r\n\r\ny"));
    for bad in ["m", "a/b"] {
        assert_eq!(rig.status(&format!("GET /g/a?g={bad}"), ""), 403, "{bad}");
    }
}

#[test]
fn long_ids() {
    let mut rig = pair(NCHAN, |_| ());
    assert_eq!(rig.status(&format!("POST /pub/{}", "a".repeat(1024)), "x"), 202);
    assert_eq!(rig.status(&format!("POST /pub/{}", "a".repeat(1025)), "x"), 403);
    assert_eq!(rig.status(&format!("GET /sub/{}", "a".repeat(1025)), ""), 403);
    let mut rig = pair(RELAY, |l| {
        (l.max_channel_id_bytes, l.channel_id_overflow) = (3, ChannelIdOverflow::Truncate);
    });
    assert_eq!(made(&mut rig, "/pub/abcd", &["abc"]), "abc");
}

#[test]
fn malformed_paths_and_any_bytes() {
    let mut rig = Rig::default_locations();
    let number = rig.request("OPTIONS /pub/a", "");
    for path in ["/pub/%", "/pub/%zz", "/../pub/a", "*"] {
        assert!(!rig.request_on(number, 0, &format!("OPTIONS {path}"), ""), "{path}");
    }
    assert_eq!(rig.status("POST /pub/%00%ff%0d%0a", "x"), 202);
    assert!(rig.ask("GET /sub/%00%ff%0d%0a", "").ends_with("\r\n\r\nx"));
}

#[test]
fn subscriber_methods() {
    let mut rig = Rig::default_locations();
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(rig.status(&format!("{method} /sub/a"), ""), 403, "{method}");
    }
    for method in ["HEAD", "PATCH", "BREW"] {
        assert_eq!(rig.status(&format!("{method} /sub/a"), ""), 405, "{method}");
    }
    let mut rig = pair(RELAY, |_| ());
    for method in ["POST", "PUT", "DELETE", "HEAD", "PATCH"] {
        let text = rig.ask(&format!("{method} /sub/a"), "");
        assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("Allow: GET, OPTIONS\r\n"), "{text}");
    }
}

#[test]
fn preflights() {
    let options = |rig: &mut Rig, path: &str| {
        rig.ask(&format!("OPTIONS {path}\nOrigin: http://x\nAccess-Control-Request-Method: GET"), "")
    };
    let mut rig = Rig::default_locations();
    assert_eq!(
        options(&mut rig, "/pub/a"),
        "HTTP/1.1 200 OK\r\nAllow: GET, POST, PUT, DELETE\r\nContent-Length: 0\r\n\
         Access-Control-Allow-Origin: http://x\r\nAccess-Control-Allow-Credentials: true\r\n\
         Access-Control-Allow-Methods: GET, POST, PUT, DELETE\r\nAccess-Control-Allow-Headers: Content-Type\r\n\r\n"
    );
    let text = options(&mut rig, "/sub/a");
    assert!(
        text.contains("Allow: GET\r\n") && text.contains("Access-Control-Allow-Methods: GET\r\n"),
        "{text}"
    );
    assert!(text.contains(
        "Allow-Headers: If-None-Match, If-Modified-Since, Content-Type, Cache-Control, X-EventSource-Event, "
    ));
    assert_eq!(
        rig.ask("OPTIONS /sub/a", ""),
        "HTTP/1.1 200 OK\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n",
        "no Origin, no cross-origin lines"
    );
    assert_eq!(rig.info("", "a"), None, "nothing was touched");
    let mut rig = pair(RELAY, |_| ());
    let text = rig.ask("OPTIONS /sub/a", "");
    assert!(text.contains("Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: false\r\n"));
    assert!(text.contains("Access-Control-Max-Age: 864000\r\n") && !text.contains("Allow-Methods"));
}

#[test]
fn every_status_has_its_cross_origin_lines() {
    for (base, path) in [(NCHAN, "nchan"), (RELAY, "relay")] {
        let mut rig = pair(base, |l| l.max_channel_id_bytes = 4);
        for (head, body, status) in [
            ("POST /pub/a", "x", 202),
            ("GET /pub/zzz", "", 404),
            ("POST /pub/abcde", "x", 403),
            ("GET /sub/a\nLast-Event-ID: x:1", "", 400),
            ("HEAD /sub/a", "", 405),
        ] {
            let text = rig.ask(&format!("{head}\nOrigin: http://x"), body);
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {head}: {text}");
            assert!(text.contains("\r\nAccess-Control-Allow-Origin: "), "{path} {head}: {text}");
        }
    }
}

#[test]
fn origins_that_are_not_listed_are_refused_whatever_they_do() {
    let mut rig = pair(NCHAN, |l| l.allow_origin = AllowOrigin::List(vec!["http://good".into()]));
    for head in ["GET /sub/a", "OPTIONS /sub/a", "POST /pub/a", "DELETE /pub/a"] {
        let text = rig.ask(&format!("{head}\nOrigin: http://bad"), "");
        assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
        assert!(text.contains("Access-Control-Allow-Origin: http://bad\r\n"), "the page sees why: {text}");
    }
    assert_eq!(rig.status("POST /pub/a\nOrigin: http://good", "x"), 202);
    assert_eq!(rig.status("POST /pub/a", "x"), 202, "no browser");
    let socket = rig.request(&format!("GET /sub/a\n{SHAKE}\nOrigin: http://good"), "");
    assert!(rig.text_lossy(socket).contains("\r\nAccess-Control-Allow-Origin: http://good\r\n"));
}

#[test]
fn groups() {
    let group = |l: &mut LocationSettings| {
        l.group = Some("g".into());
        l.group_limits = Some(GroupLimits { channels: 2, subscribers: 2, messages: 5, memory_bytes: 0 });
    };
    let mut rig = Rig::new(vec![
        at("/pub/", LocationMethods::Publisher, NCHAN(), group),
        at("/group/", LocationMethods::Group, NCHAN(), |l| {
            group(l);
            l.listeners = vec!["127.0.0.1:80".into()];
        }),
        at("/off/", LocationMethods::Group, NCHAN(), |l| {
            l.group = Some("g".into());
            l.listeners = vec!["127.0.0.1:80".into()];
        }),
    ]);
    let json = |rig: &mut Rig, method: &str| {
        let text = rig.ask(&format!("{method} /group/x\nAccept: text/json"), "");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/json\r\n"), "{text}");
        text.rsplit("\r\n\r\n").next().unwrap().to_owned()
    };
    let with = |channels, messages, memory, most: [u32; 3]| {
        format!(
            "{{\"channels\": {channels}, \"subscribers\": 0, \"messages\": {messages}, \"messages_memory\": {memory}, \
             \"messages_disk\": 0, \"limits\": {{\"channels\": {}, \"subscribers\": {}, \"messages\": {}, \
             \"messages_memory\": 0, \"messages_disk\": 0}}}}",
            most[0], most[1], most[2]
        )
    };
    assert_eq!(json(&mut rig, "GET"), with(0, 0, 0, [0; 3]));
    assert_eq!(json(&mut rig, "POST"), with(0, 0, 0, [2, 2, 5]));
    assert_eq!(rig.publish("a", "x"), 202);
    assert!(json(&mut rig, "GET").starts_with("{\"channels\": 1, \"subscribers\": 0, \"messages\": 1, "));
    let plain = rig.ask("GET /group/x", "");
    assert!(
        plain.contains("channels: 1\r\nsubscribers: 0\r\nmessages: 1\r\nshared memory used by messages: ")
    );
    assert!(plain.ends_with(
        "limits:\r\n  max channels: 2\r\n  max subscribers: 2\r\n  max messages: 5\r\n  \
         max messages shared memory: 0\r\n  max messages disk space: 0\r\n"
    ));
    assert!(json(&mut rig, "DELETE").starts_with("{\"channels\": 1,"), "as it was before");
    assert!(rig.info("g", "a").is_none());
    assert_eq!(rig.status("GET /off/x", ""), 403);
    assert_eq!(rig.status("PATCH /group/x", ""), 405);
}

#[test]
fn status_page() {
    let mut rig = Rig::new(vec![
        at("/s", LocationMethods::Status, NCHAN(), |l| l.path = PathPattern::Regex("^/s$".into())),
        at("/pub/", LocationMethods::Publisher, NCHAN(), |_| ()),
    ]);
    let number = rig.request("POST /pub/x", "m");
    // It names no listener, and there is one that is not public.
    assert!(!rig.request_on(number, 0, "GET /s", "") && rig.request_on(number, 1, "GET /s", ""));
    let text = rig.text(number);
    let lines: Vec<&str> = text.rsplit("\r\n\r\n").next().unwrap().lines().collect();
    assert_eq!(lines.len(), 16);
    assert_eq!(lines[0], "total published messages: 7");
    assert_eq!(lines[2], "shared memory used: 2K");
    assert!(lines[15].starts_with("nchan version: "));
}

proptest::proptest! {
    /// Whatever a client sends, it gets an answer or waits, and nothing breaks.
    #[test]
    fn anything_goes(
        method in "(GET|POST|PUT|DELETE|HEAD|OPTIONS|PATCH|X)",
        path in "/(ps|many|x)/[a-c,%0-9/.]{0,12}([?](last_event_id|id)=[0-9:,%\\[\\]-]{0,16})?",
        id in "(|[0-9]{1,12}|1795257022|-1)(|:)(|-|[0-9]{0,12})[\\[\\],0-9-]{0,8}",
        name in "(If-None-Match|Last-Event-ID|Etag|If-Modified-Since)",
        accept in "(text/event-stream|multipart/mixed|application/json|,;/)",
        body in "[a-z]{0,3}",
    ) {
        let mut rig = Rig::new(vec![
            at("/ps/", LocationMethods::Pubsub, NCHAN(), |_| ()),
            at("/many/", LocationMethods::Pubsub, NCHAN(), |l| {
                l.split_delimiter = Some(",".into());
                l.longpoll_multipart = LongPollMultipart::Multipart;
            }),
            regex("^/x/(.*)", RELAY(), |l| l.methods = LocationMethods::Subscriber),
        ]);
        let first = rig.request("POST /ps/a", "x");
        let number = rig.request("OPTIONS /ps/a", "");
        rig.request_on(number, 0, &format!("{method} {path}\n{name}: {id}\nAccept: {accept}"), &body);
        rig.request_on(first, 0, &format!("GET {path}\n{name}: {DATE}\nIf-None-Match: {id}\n{SHAKE}"), "");
        for channel in ["a", "b", "c", "a"] {
            rig.ask(&format!("POST /ps/{channel}"), "y");
        }
    }
}

#[test]
fn mistakes_in_settings_are_all_told() {
    let settings = RelaySettings {
        locations: vec![
            regex("(", NCHAN(), |_| ()),
            regex("^/a", NCHAN(), |l| l.channel_id = vec!["$nobody".into()]),
            regex("^/a", NCHAN(), |l| l.listeners = vec!["10.0.0.1:1".into()]),
        ],
    };
    let Err(mistakes) =
        Relay::new(&settings, &[("127.0.0.1:80", true)], &["app"], KeyHasher::new(1), &[0; 24])
    else {
        panic!("accepted")
    };
    let told: Vec<_> = mistakes.iter().map(|mistake| (mistake.location, mistake.key)).collect();
    for expected in [(0, "url"), (2, "listen")] {
        assert!(told.contains(&expected), "{told:?}");
    }
    assert!(told.iter().any(|(location, _)| *location == 1), "{told:?}");
}
