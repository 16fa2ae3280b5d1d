//! Requests as libraries send them, and as they are refused.

use super::*;
use crate::wire::sign::{hmac_sha256, md5};
use proptest::prelude::*;

const KEYS: Keys<'_> = Keys { key: "app-key-demo", secret: "app-secret-demo" };
const NOW_S: u64 = 1_700_000_000;
const AUTH: &str = "auth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0";

/// What comes of a request whose signature is not looked at.
fn ask<T>(
    method: Method,
    target: &str,
    body: &[u8],
    look: impl FnOnce(Result<Request<'_>, ApiError>) -> T,
) -> T {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(route) = route(method, path) else { return look(Err(ApiError::UnknownPath)) };
    let query = ApiQuery::parse(query);
    look(parse(&route, &query, body, &mut Reader::default(), &PusherLimits::default()))
}

fn refused(method: Method, target: &str, body: &str) -> (u16, String) {
    ask(method, target, body.as_bytes(), |asked| {
        let error = asked.map(|request| format!("{request:?}")).expect_err(body);
        (error.status(), error.to_string())
    })
}

fn event<T>(body: &str, look: impl FnOnce(Trigger<'_>) -> T) -> T {
    ask(Method::Post, "/apps/1/events", body.as_bytes(), |asked| match asked {
        Ok(Request::Events(trigger)) => look(trigger),
        other => panic!("{body}: {other:?}"),
    })
}

/// What [`authorize`] says to a call that is signed with `keys` and names its key.
fn knock(
    method: &str,
    path: &str,
    signed: Keys<'_>,
    app: Option<Keys<'_>>,
    extra: &str,
) -> Result<(), ApiError> {
    let query = AUTH.replace("app-key-demo", signed.key) + extra;
    let text = ApiQuery::parse(&query).string_to_sign(method, path);
    let query = format!("{query}&auth_signature={}", hmac_sha256(signed.secret.as_bytes(), text.as_bytes()));
    let call = ApiCall { method, path, body: b"" };
    let route = route(Method::from_text(method), path).unwrap();
    authorize(&route, app, &ApiQuery::parse(&query), &call, NOW_S, &PusherLimits::default())
}

#[test]
fn routes_are_found_with_their_method_only() {
    let app = |path: &str, method| route(method, path).map(|route| route.app_id.map(Cow::into_owned));
    for (method, path) in [
        (Method::Post, "/apps/4242/events"),
        (Method::Post, "/apps/4242/batch_events"),
        (Method::Get, "/apps/4242/channels"),
        (Method::Get, "/apps/4242/channels/a"),
        (Method::Get, "/apps/4242/channels/a/stats"),
        (Method::Get, "/apps/4242/channels/a/users"),
        (Method::Post, "/apps/4242/channels/a/events"),
        (Method::Post, "/apps/4242/users/u/terminate_connections"),
    ] {
        assert_eq!(app(path, method), Some(Some("4242".into())), "{path}");
        let other = if method == Method::Get { Method::Post } else { Method::Get };
        assert_eq!(app(path, other), None, "{path}");
        for beside in
            [format!("{path}/"), format!("/x{path}"), format!("{path}/x/y/z"), path[1..].to_string()]
        {
            assert_eq!(app(&beside, method), None, "{beside}");
        }
    }
    assert_eq!(app("/users/u/terminate_connections", Method::Post), Some(None), "trap 7");
    for other in [
        "",
        "/",
        "/apps",
        "/apps//events",
        "/apps/1",
        "/users/u",
        "/apps/1/users/u",
        "/apps/%f/channels",
        "/events",
    ] {
        assert_eq!(app(other, Method::Get), None, "{other}");
        assert_eq!(app(other, Method::Post), None, "{other}");
    }
    assert_eq!(ApiError::UnknownPath.status(), 404);
    let status = |path| route(Method::Post, path).unwrap().success_status();
    assert_eq!((status("/apps/1/events"), status("/apps/1/channels/a/events")), (200, 202));
}

#[test]
fn keys_belong_to_the_app_of_the_path() {
    let other = Keys { key: "other", secret: "other-secret" };
    let path = "/apps/4242/channels";
    knock("GET", path, KEYS, Some(KEYS), "").unwrap();
    let outcome = |signed, app| {
        let error = knock("GET", path, signed, app, "").unwrap_err();
        (error.status(), error.to_string())
    };
    assert_eq!(outcome(other, Some(KEYS)), (401, "Unknown auth_key".into()), "trap 8");
    assert_eq!(outcome(KEYS, None), (404, "Unknown app".into()));
    let (status, text) = outcome(Keys { secret: "guessed", ..KEYS }, Some(KEYS));
    assert_eq!(status, 401);
    assert!(text.starts_with("Invalid signature: you should have sent HmacSHA256Hex(\"GET\n"), "{text}");
    let alias = "/users/u1/terminate_connections";
    knock("POST", alias, KEYS, Some(KEYS), "").unwrap();
    assert_eq!(knock("POST", alias, KEYS, None, "").unwrap_err().to_string(), "Unknown auth_key");
    let query = ApiQuery::parse("");
    let call = ApiCall { method: "GET", path, body: b"" };
    let route = route(Method::Get, path).unwrap();
    let error = authorize(&route, Some(KEYS), &query, &call, NOW_S, &PusherLimits::default()).unwrap_err();
    assert_eq!((error.status(), error.to_string()), (401, "Missing parameter: auth_key".into()));
}

#[test]
fn pythons_query_is_let_in() {
    let md5 = format!("&body_md5={}&filter_by_prefix=presence-&info=user_count", md5(b""));
    knock("GET", "/apps/4242/channels", KEYS, Some(KEYS), &md5).unwrap();
}

#[test]
fn an_event_is_read() {
    let body = r#"{"name":"order.paid","data":"{\"id\":7,\"note\":\"café\"}","channels":["orders","presence-a","orders"],
        "socket_id":"123.456","info":"user_count,subscription_count"}"#;
    event(body, |trigger| {
        assert_eq!(trigger.name, "order.paid");
        assert_eq!(trigger.data, r#"{"id":7,"note":"café"}"#.as_bytes());
        let names: Vec<_> = trigger.channels.iter().map(|name| name.text()).collect();
        assert_eq!(names, ["orders", "presence-a"], "each channel once");
        assert_eq!(trigger.exclude, Some(SocketId(123 << 32 | 456)));
        assert_eq!(trigger.info, Info { user_count: true, subscription_count: true, cache: false });
    });
    // What Laravel and others leave empty.
    let body = r##"{"name":"e","data":"","channel":"#server-to-user-u 1","channels":null,"socket_id":null,"info":""}"##;
    event(body, |trigger| {
        assert_eq!((trigger.data, trigger.exclude, trigger.info.is_empty()), (b"".as_slice(), None, true));
        assert_eq!(trigger.channels[0].user_id(), Some("u 1"), "trap 17");
    });
    let body = r#"{"name":"e","data":"x","channel":"a","socket_id":"9999999999999.1"}"#;
    event(body, |trigger| assert_eq!(trigger.exclude, None, "trap 19"));
}

#[test]
fn data_that_are_no_string_are_taken_as_their_json() {
    for (data, expected) in [
        (r#""text""#, "text"),
        (r#"{ "a" : [1.0, null] }"#, r#"{ "a" : [1.0, null] }"#),
        ("0", "0"),
        ("null", "null"),
        ("false", "false"),
        (r#"["é"]"#, r#"["é"]"#),
    ] {
        event(&format!(r#"{{"name":"e","channel":"a","data":{data} }}"#), |trigger| {
            assert_eq!(trigger.data, expected.as_bytes(), "{data}");
        });
    }
}

#[test]
fn events_that_are_wrong_are_refused() {
    let post = |body: &str| refused(Method::Post, "/apps/1/events", body);
    for (body, hint) in [
        ("", "JSON"),
        ("[", "JSON"),
        ("[]", "channel"),
        ("{}", "channel"),
        (r#"{"name":"e","data":"x"}"#, "channel"),
        (r#"{"name":"e","data":"x","channels":[]}"#, "channels"),
        (r#"{"name":"e","data":"x","channels":{}}"#, "channels"),
        (r#"{"name":"e","data":"x","channels":"a"}"#, "channels"),
        (r#"{"name":"e","data":"x","channels":["a",1]}"#, "channels"),
        (r#"{"name":"e","data":"x","channels":["a b"]}"#, "Invalid channel name: a b"),
        (r#"{"name":"e","data":"x","channel":"a:b"}"#, "Invalid channel name: a:b"),
        (r#"{"data":"x","channel":"a"}"#, "name"),
        (r#"{"name":"","data":"x","channel":"a"}"#, "name"),
        (r#"{"name":5,"data":"x","channel":"a"}"#, "name"),
        (r#"{"name":"e","channel":"a"}"#, "data"),
        (r#"{"name":"e","data":"x","channel":"a","socket_id":"a.b"}"#, "socket_id"),
        (r#"{"name":"e","data":"x","channel":"a","socket_id":1.2}"#, "socket_id"),
        (r#"{"name":"e","data":"x","channel":"a","info":"users"}"#, "info"),
        (r#"{"name":"e","data":"x","channel":"a","info":["user_count"]}"#, "info"),
    ] {
        let (status, text) = post(body);
        assert_eq!(status, 400, "{body}");
        assert!(text.contains(hint), "{body}: {text}");
    }
    let long = format!(r#"{{"name":"e","data":"x","channel":"{}"}}"#, " ".repeat(10_000));
    assert_eq!(post(&long).1, format!("Invalid channel name: {}...", " ".repeat(64)));
}

#[test]
fn events_are_bounded() {
    let body = |name: &str, data: &str, channels: usize| {
        let list: Vec<String> = (0..channels).map(|n| format!("\"c{n}\"")).collect();
        format!(r#"{{"name":"{name}","data":"{data}","channels":[{}]}}"#, list.join(","))
    };
    let post = |body: &str| refused(Method::Post, "/apps/1/events", body);
    event(&body(&"é".repeat(200), "x", 100), |trigger| assert_eq!(trigger.channels.len(), 100));
    assert_eq!(post(&body(&"é".repeat(201), "x", 1)).0, 400);
    assert_eq!(post(&body("e", "x", 101)), (400, "An event may be triggered on at most 100 channels".into()));
    // Bytes of the decoded string, however long the body is (trap 21).
    event(&body("e", &"\\u0001".repeat(10_240), 100), |trigger| assert_eq!(trigger.data.len(), 10_240));
    event(&body("e", &"é".repeat(5_120), 1), |trigger| assert_eq!(trigger.data.len(), 10_240));
    let (status, text) = post(&body("e", &"a".repeat(10_241), 1));
    assert_eq!(status, 413);
    assert_eq!(text, "The data content of this event exceeds the allowed maximum (10240 bytes).");
}

#[test]
fn batches_are_read_and_bounded() {
    let item = r#"{"name":"e","data":"x","channel":"a","info":"subscription_count"}"#;
    let batch = |n: usize| format!(r#"{{"batch":[{}]}}"#, vec![item; n].join(","));
    for n in [0, 1, 10] {
        ask(Method::Post, "/apps/1/batch_events", batch(n).as_bytes(), |asked| {
            let Ok(Request::BatchEvents(events)) = asked else { panic!("{asked:?}") };
            assert_eq!(events.len(), n);
            assert!(events.iter().all(|e| e.info.subscription_count && e.channels.len() == 1));
        });
    }
    let post = |body: &str| refused(Method::Post, "/apps/1/batch_events", body);
    assert_eq!(post(&batch(11)), (400, "A batch may have at most 10 events".into()));
    for bad in ["{}", r#"{"batch":{}}"#, r#"{"batch":[1]}"#, r#"{"batch":[{"name":"e","data":"x"}]}"#] {
        assert_eq!(post(bad).0, 400, "{bad}");
    }
    let large = format!(r#"{{"batch":[{{"name":"e","data":"{}","channel":"a"}}]}}"#, "a".repeat(10_241));
    assert_eq!(post(&large).0, 413);
}

#[test]
fn channels_are_asked_for() {
    ask(
        Method::Get,
        "/apps/1/channels?filter_by_prefix=presence-&info=user_count%2Csubscription_count",
        b"",
        |a| {
            let info = Info { user_count: true, subscription_count: true, cache: false };
            assert_eq!(a.unwrap(), Request::Channels { prefix: "presence-", info });
        },
    );
    ask(Method::Get, "/apps/1/channels", b"", |a| {
        assert_eq!(a.unwrap(), Request::Channels { prefix: "", info: Info::default() });
    });
    for query in [
        "info=user_count",
        "info=user_count&filter_by_prefix=pres",
        "info=cache",
        "info=x",
        "info=user_count;",
    ] {
        assert_eq!(refused(Method::Get, &format!("/apps/1/channels?{query}"), "").0, 400, "{query}");
    }
}

#[test]
fn one_channel_is_asked_for() {
    for (path, name, info) in [
        ("a", "a", Info { subscription_count: true, ..Info::default() }),
        ("presence-a%40b", "presence-a@b", Info { user_count: true, subscription_count: true, cache: false }),
        (
            "presence-cache-a",
            "presence-cache-a",
            Info { user_count: true, subscription_count: true, cache: true },
        ),
    ] {
        let mut list = String::new();
        for (asked, text) in [
            (info.user_count, "user_count,"),
            (info.subscription_count, "subscription_count,"),
            (info.cache, "cache,"),
        ] {
            list += if asked { text } else { "" };
        }
        ask(Method::Get, &format!("/apps/1/channels/{path}?info={list}"), b"", |asked| {
            let Ok(Request::Channel { name: n, info: i }) = asked else { panic!("{asked:?}") };
            assert_eq!((n.text(), i), (name, info));
        });
    }
    for bad in
        ["a?info=user_count", "presence-a?info=cache", "my-cache-a?info=cache", "a?info=x", "a%20b", "a%23"]
    {
        assert_eq!(refused(Method::Get, &format!("/apps/1/channels/{bad}"), "").0, 400, "{bad}");
    }
}

#[test]
fn users_are_asked_for_and_ended() {
    ask(Method::Get, "/apps/1/channels/presence-a/users", b"", |asked| {
        assert!(matches!(asked, Ok(Request::Users { name }) if name.text() == "presence-a"));
    });
    assert_eq!(refused(Method::Get, "/apps/1/channels/private-a/users", "").0, 400);
    for path in ["/apps/1/users/a%40b%2Fc/terminate_connections", "/users/a@b%2fc/terminate_connections"] {
        ask(Method::Post, path, b"{}", |asked| {
            assert_eq!(asked.unwrap(), Request::Terminate { user_id: "a@b/c" });
        });
    }
    let path = |id: &str| format!("/apps/1/users/{id}/terminate_connections");
    assert_eq!(refused(Method::Post, &path(&"a".repeat(129)), "").0, 400);
    assert_eq!(refused(Method::Post, &path(""), "").0, 404);
}

#[test]
fn the_old_way_to_publish_is_read() {
    let target = "/apps/1/channels/orders/events?name=order.paid&socket_id=1.2";
    ask(Method::Post, target, "{\"café\":1}".as_bytes(), |asked| {
        let Ok(Request::Events(trigger)) = asked else { panic!("{asked:?}") };
        assert_eq!((trigger.name, trigger.data), ("order.paid", "{\"café\":1}".as_bytes()));
        assert_eq!((trigger.channels[0].text(), trigger.exclude), ("orders", Some(SocketId(1 << 32 | 2))));
    });
    let path = "/apps/1/channels/orders/events";
    assert_eq!(refused(Method::Post, path, "x").0, 400);
    assert_eq!(refused(Method::Post, &format!("{path}?name=e"), &"a".repeat(10_241)).0, 413);
    ask(Method::Post, &format!("{path}?name=e"), b"\xff", |asked| {
        assert_eq!(asked.unwrap_err().status(), 400)
    });
}

#[test]
fn errors_of_the_app_have_their_status() {
    for (error, status) in
        [(ApiError::AppDisabled, 403), (ApiError::OverQuota, 403), (ApiError::RateLimited, 429)]
    {
        assert_eq!(error.status(), status);
        assert!(!error.to_string().is_empty());
    }
}

proptest! {
    #[test]
    fn any_request_is_read_or_refused(path: String, query: String, body: Vec<u8>, part in 0usize..8) {
        const PATHS: [&str; 8] = ["", "/apps/1/events", "/apps/1/batch_events", "/apps/1/channels",
            "/apps/1/channels/a", "/apps/1/channels/presence-a/users", "/apps/1/channels/a/events",
            "/users/a/terminate_connections"];
        for method in [Method::Get, Method::Post] {
            let path = if part == 0 { path.as_str() } else { PATHS[part] };
            ask(method, &format!("{path}?{query}"), &body, |asked| {
                if let Err(error) = asked {
                    assert!((400..=499).contains(&error.status()) && !error.to_string().is_empty());
                }
            });
        }
    }

    #[test]
    fn near_events_are_read_or_refused(
        fields in proptest::collection::vec(
            (
                prop_oneof![Just("name"), Just("data"), Just("channel"), Just("channels"), Just("batch"),
                    Just("socket_id"), Just("info")],
                r#""[a-z.1]{0,6}"|[0-9]|null|\["[a-z]{1,2}"(,"[a-z]{1,2}"){0,3}\]|\{"a":[0-9]\}"#,
            ),
            0..8,
        ),
    ) {
        let members: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let body = format!("{{{}}}", members.join(","));
        let theirs: serde_json::Value = serde_json::from_str(&body).unwrap();
        ask(Method::Post, "/apps/1/batch_events", body.as_bytes(), |asked| drop(asked));
        ask(Method::Post, "/apps/1/events", body.as_bytes(), |asked| {
            let Ok(Request::Events(trigger)) = asked else { return };
            assert_eq!(theirs["name"], trigger.name);
            match &theirs["data"] {
                serde_json::Value::String(text) => assert_eq!(text.as_bytes(), trigger.data),
                other => assert_eq!(*other, serde_json::from_slice::<serde_json::Value>(trigger.data).unwrap()),
            }
            for name in &trigger.channels {
                let listed = theirs["channels"].as_array().is_some_and(|list| list.iter().any(|n| n == name.text()));
                assert!(listed || theirs["channel"] == name.text());
            }
        });
    }
}
