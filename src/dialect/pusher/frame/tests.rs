//! Frames as clients are known to send them, and as nobody should.

use super::super::codes::Code;
use super::*;
use proptest::prelude::*;

fn with<T>(text: &str, look: impl FnOnce(Result<Frame<'_>, Refusal>) -> T) -> T {
    look(Parser::default().parse(text, &PusherLimits::default()))
}

fn refused(text: &str) -> Refusal {
    with(text, |frame| frame.map(|frame| format!("{frame:?}")).unwrap_err())
}

#[test]
fn subscriptions_are_read_from_objects_and_from_strings() {
    for text in [
        r#"{"event":"pusher:subscribe","data":{"auth":"k:s","channel_data":"{\"user_id\": \"é\"}","channel":"presence-a"}}"#,
        r#"{"data":"{\"channel\":\"presence-a\",\"channel_data\":\"{\\\"user_id\\\": \\\"é\\\"}\",\"auth\":\"k:s\"}","event":"pusher:subscribe"}"#,
    ] {
        with(text, |frame| {
            let Ok(Frame::Subscribe(subscribe)) = frame else { panic!("{frame:?}") };
            assert_eq!(subscribe.channel.text(), "presence-a");
            assert_eq!(subscribe.auth, Some("k:s"));
            assert_eq!(subscribe.channel_data, Some(r#"{"user_id": "é"}"#), "byte for byte");
        });
    }
}

#[test]
fn an_auth_that_is_none_is_none() {
    for auth in [r#""auth":"","#, "", r#""auth":null,"#, r#""auth":5,"#, r#""auth":{"a":1},"#] {
        let text = format!(r#"{{"event":"pusher:subscribe","data":{{{auth}"channel":"private-a"}}}}"#);
        with(&text, |frame| {
            assert!(matches!(frame, Ok(Frame::Subscribe(Subscribe { auth: None, channel_data: None, .. }))));
        });
    }
}

#[test]
fn pings_need_no_data_and_take_any() {
    for data in ["", r#","data":"""#, r#","data":{}"#, r#","data":null"#, r#","data":[1]"#, r#","data":"{""#]
    {
        with(&format!(r#"{{"event":"pusher:ping"{data}}}"#), |frame| assert_eq!(frame, Ok(Frame::Ping)));
        with(&format!(r#"{{"event":"pusher:pong"{data}}}"#), |frame| assert_eq!(frame, Ok(Frame::Pong)));
    }
}

#[test]
fn leaving_and_signing_in_are_read() {
    with(r#"{"event":"pusher:unsubscribe","data":{"channel":"orders"}}"#, |frame| {
        assert!(matches!(frame, Ok(Frame::Unsubscribe(name)) if name.text() == "orders"));
    });
    let text = r#"{"event":"pusher:signin","data":{"auth":"k:s","user_data":"{\"id\":\"u1\"}"}}"#;
    with(text, |frame| {
        assert_eq!(frame, Ok(Frame::Signin(Signin { auth: Some("k:s"), user_data: r#"{"id":"u1"}"# })));
    });
}

#[test]
fn client_events_keep_the_type_of_their_data() {
    for (data, expected) in [
        (r#","data":{ "a" : 1.50, "a": [] }"#, Some(Data::Json(br#"{ "a" : 1.50, "a": [] }"#.as_slice()))),
        (r#","data":"{\"a\":1}""#, Some(Data::Text(br#"{"a":1}"#.as_slice()))),
        (r#","data":"""#, Some(Data::Text(b"".as_slice()))),
        (r#","data":null"#, Some(Data::Json(b"null".as_slice()))),
        (r#","data":12345678901234567890123"#, Some(Data::Json(b"12345678901234567890123".as_slice()))),
        ("", None),
    ] {
        let text =
            format!(r#"{{"event":"client-typing","channel":"private-chat"{data},"user_id":"forged"}}"#);
        with(&text, |frame| {
            let Ok(Frame::Client(event)) = frame else { panic!("{frame:?}") };
            assert_eq!((event.event, event.channel.text()), ("client-typing", "private-chat"));
            assert_eq!(event.data, expected);
        });
    }
}

#[test]
fn client_events_go_to_private_and_presence_channels_only() {
    let to = |channel: &str| format!(r#"{{"event":"client-a","channel":"{channel}","data":1}}"#);
    for good in ["private-a", "presence-a", "private-cache-a", "presence-cache-a"] {
        with(&to(good), |frame| assert!(matches!(frame, Ok(Frame::Client(_))), "{good}"));
    }
    for bad in [
        "a",
        "cache-a",
        "my-private-a",
        "private-encrypted-a",
        "private-encrypted-cache-a",
        "#server-to-user-u",
    ] {
        assert_eq!(refused(&to(bad)), Refusal::ClientEventChannel, "{bad}");
    }
    assert_eq!(refused(r#"{"event":"client-a","data":{"channel":"private-a"}}"#), Refusal::NoChannel);
}

#[test]
fn client_events_are_bounded() {
    let limits = PusherLimits::default();
    let event =
        |name: &str, data: &str| format!(r#"{{"event":"{name}","channel":"private-a","data":{data}}}"#);
    let name = |n: usize| format!("client-{}", "é".repeat(n - 7));
    with(&event(&name(200), "1"), |frame| assert!(frame.is_ok()));
    assert_eq!(refused(&event(&name(201), "1")), Refusal::ClientEventName { limit_chars: 200 });
    // The bytes that count are those of the text, not of its escapes.
    let escaped = |n: usize| format!("\"{}\"", "\\u0001".repeat(n));
    with(&event("client-a", &escaped(limits.data_bytes)), |frame| assert!(frame.is_ok()));
    let too_large = Refusal::ClientEventData { limit_bytes: 10_240 };
    assert_eq!(refused(&event("client-a", &escaped(limits.data_bytes + 1))), too_large);
    assert_eq!(refused(&event("client-a", &format!("[{}1]", " ".repeat(limits.data_bytes)))), too_large);
    let long = format!("{}{}", event("client-a", "1"), " ".repeat(limits.frame_bytes()));
    assert_eq!(refused(&long), Refusal::FrameTooLong { limit_bytes: limits.frame_bytes() });
}

#[test]
fn what_is_malformed_has_its_name() {
    for (text, expected) in [
        ("", Refusal::NotJson),
        ("hello", Refusal::NotJson),
        (r#"{"event":"pusher:ping""#, Refusal::NotJson),
        ("[]", Refusal::NoEvent),
        ("null", Refusal::NoEvent),
        ("{}", Refusal::NoEvent),
        (r#"{"event":5}"#, Refusal::NoEvent),
        (r#"{"event":"pusher:subscribe"}"#, Refusal::NoData),
        (r#"{"event":"pusher:subscribe","data":""}"#, Refusal::NoData),
        (r#"{"event":"pusher:subscribe","data":"5"}"#, Refusal::NoData),
        (r#"{"event":"pusher:subscribe","data":[]}"#, Refusal::NoData),
        (r#"{"event":"pusher:subscribe","data":null}"#, Refusal::NoData),
        (r#"{"event":"pusher:subscribe","data":{}}"#, Refusal::NoChannel),
        (r#"{"event":"pusher:subscribe","data":{"channel":7}}"#, Refusal::NoChannel),
        (r#"{"event":"pusher:subscribe","data":{"channel":"a b"}}"#, Refusal::BadChannel),
        (r#"{"event":"pusher:unsubscribe","data":{"channel":""}}"#, Refusal::BadChannel),
        (r#"{"event":"pusher:signin","data":{"auth":"a"}}"#, Refusal::NoUserData),
        (r#"{"event":"pusher:signin","data":{"user_data":{"id":"a"}}}"#, Refusal::NoUserData),
    ] {
        let refusal = refused(text);
        assert_eq!(refusal, expected, "{text}");
        assert_eq!((refusal.code(), refusal.close()), (None, None), "{text}");
    }
}

#[test]
fn events_of_the_protocol_and_of_others_are_not_for_clients() {
    for event in [
        "pusher:error",
        "pusher:connection_established",
        "pusher_internal:member_added",
        "pusher_internal:client-a",
        "my-client-x",
        "order.paid",
        "",
    ] {
        let text = format!(r#"{{"event":"{event}","channel":"private-a","data":{{"channel":"private-a"}}}}"#);
        assert_eq!(refused(&text), Refusal::UnknownEvent, "{event}");
    }
}

#[test]
fn refusals_are_events_and_hardly_ever_close() {
    assert_eq!(Refusal::ClientEventsOff.code(), Some(Code::ClientEvent));
    assert_eq!(Refusal::ClientEventsOff.to_string(), "The app does not have client messaging enabled.");
    assert_eq!(Refusal::ClientEventRate.close(), None);
    assert_eq!(Refusal::WatchlistCut { limit: 100 }.code().unwrap().number(), 4302);
    assert_eq!(Refusal::SignedInAsAnother.close(), None);
    assert_eq!(Refusal::NotAuthorizedInTime.to_string(), "Connection not authorized within timeout.");
    assert_eq!(Refusal::NotAuthorizedInTime.close(), Some(4009));
    assert_eq!(Refusal::Terminated.close(), Some(4009));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text: String, event in "(pusher:|client-)?[a-z]{0,9}") {
        let mut parser = Parser::default();
        let _ = parser.parse(&text, &PusherLimits::default()).is_ok();
        let framed = format!(r#"{{"event":"{event}","channel":{text},"data":{text}}}"#);
        let _ = parser.parse(&framed, &PusherLimits::default()).is_ok();
    }

    #[test]
    fn near_frames_are_read_or_refused(
        event in prop_oneof![
            Just("pusher:subscribe"), Just("pusher:unsubscribe"), Just("pusher:signin"), Just("client-a"),
        ],
        data in r#"[\[\]{}:,"\\ a1]{0,24}|\{("(channel|auth|channel_data|user_data)":("[a-z:\-]{0,9}"|1|null|\{\}),?){0,4}\}"#,
        cut in 0usize..90,
    ) {
        let mut parser = Parser::default();
        let text = format!(r#"{{"event":"{event}","channel":"private-a","data":{data}}}"#);
        if let Ok(frame) = parser.parse(&text, &PusherLimits::default()) {
            let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
            match frame {
                Frame::Subscribe(s) => prop_assert_eq!(&theirs["data"]["channel"], s.channel.text()),
                Frame::Unsubscribe(name) => prop_assert_eq!(&theirs["data"]["channel"], name.text()),
                Frame::Signin(s) => prop_assert_eq!(&theirs["data"]["user_data"], s.user_data),
                Frame::Client(c) => {
                    let data: serde_json::Value = match c.data.unwrap() {
                        Data::Text(text) => std::str::from_utf8(text).unwrap().into(),
                        Data::Json(json) => serde_json::from_slice(json).unwrap(),
                    };
                    prop_assert_eq!(&theirs["data"], &data);
                }
                Frame::Ping | Frame::Pong => prop_assert!(false),
            }
        }
        let short = &text[..cut.min(text.len())];
        let whole = serde_json::from_str::<serde_json::Value>(short).is_ok();
        prop_assert!(whole || parser.parse(short, &PusherLimits::default()) == Err(Refusal::NotJson));
    }
}
