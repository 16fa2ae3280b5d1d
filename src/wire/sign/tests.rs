//! The worked examples of pusher.md (sections 6, 11, 12) and what bends them.

use super::*;
use proptest::prelude::*;

const SECRET: &[u8] = b"app-secret-demo";
const NOW_S: u64 = 1_700_000_000;
const BODY: &str = "{\"name\":\"order.paid\",\"data\":\"{\\\"id\\\":7,\\\"note\\\":\\\"café\\\"}\",\"channels\":[\"orders\"]}";
const SIGNED: &str = "auth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0\
    &body_md5=6ac9cacd4834c64fb13f34a4c79be580\
    &auth_signature=5bb1458a1e81174586e6c14c5164cc9bdd836260ea08daa72c87f92bfa0d2d74";
const POST: ApiCall<'_> = ApiCall { method: "POST", path: "/apps/4242/events", body: BODY.as_bytes() };

fn check(query: &str, call: &ApiCall<'_>) -> Result<(), BadCall> {
    ApiQuery::parse(query).verify(call, SECRET, NOW_S, 600)
}

fn get(path: &str) -> ApiCall<'_> {
    ApiCall { method: "GET", path, body: b"" }
}

/// `query` with its signature at the end.
fn signed(query: &str, call: &ApiCall<'_>) -> String {
    let text = ApiQuery::parse(query).string_to_sign(call.method, call.path);
    format!("{query}&auth_signature={}", hmac_sha256(SECRET, text.as_bytes()))
}

#[test]
fn channel_signatures_are_those_of_the_libraries() {
    for (channel, data, expected) in [
        ("private-foobar", None, "10e3b2e2ede64d621489197ed9d55f418f3acbbf29b93359b0beadae944c8d8a"),
        (
            "presence-foobar",
            Some("{\"user_id\":\"10\",\"user_info\":{\"name\":\"Mr. Channels\"}}"),
            "79612f46511d7d451bcb5dd44426c817e7da549897802109e6ec78e90ad3befa",
        ),
    ] {
        let text = channel_string("1234.1234", channel, data);
        assert_eq!(hmac_sha256(SECRET, text.as_bytes()).as_str(), expected, "{text}");
    }
    // The official page prints the signature of another name than its text has.
    for (name, expected) in [
        ("Mr. Channels", "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"),
        ("Mr. Pusher", "afaed369"),
    ] {
        let data = format!("{{\"user_id\":10,\"user_info\":{{\"name\":\"{name}\"}}}}");
        let text = channel_string("1234.1234", "presence-foobar", Some(&data));
        let signature = hmac_sha256(b"7ad3773142a6692b25b8", text.as_bytes());
        assert!(signature.as_str().starts_with(expected), "{text}");
    }
}

#[test]
fn user_and_webhook_signatures_are_those_of_the_libraries() {
    let text = user_string("1234.1234", "{\"id\":\"12345\"}");
    let expected = "c3a4664180f4ab54b040aee1595bed065edb10533df5a01c1ef192fcd5f7d001";
    assert_eq!(hmac_sha256(SECRET, text.as_bytes()).as_str(), expected);
    let body =
        b"{\"time_ms\":1700000000123,\"events\":[{\"name\":\"channel_occupied\",\"channel\":\"orders\"}]}";
    let expected = "61be614dd7b06106a7c572944b946b44a724b71343800b4296f4cdbc1fb0b6d4";
    assert_eq!(webhook(SECRET, body).as_str(), expected);
}

#[test]
fn the_worked_api_example_is_verified() {
    assert_eq!(BODY.len(), 82);
    assert_eq!(md5(BODY.as_bytes()).as_str(), "6ac9cacd4834c64fb13f34a4c79be580");
    assert_eq!(md5(b"").as_str(), "d41d8cd98f00b204e9800998ecf8427e");
    let query = ApiQuery::parse(SIGNED);
    assert_eq!(
        query.string_to_sign("POST", "/apps/4242/events"),
        "POST\n/apps/4242/events\nauth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0\
         &body_md5=6ac9cacd4834c64fb13f34a4c79be580"
    );
    assert_eq!(query.auth_key().unwrap(), "app-key-demo");
    check(SIGNED, &POST).unwrap();
}

#[test]
fn the_example_of_the_official_page_is_verified() {
    let body = b"{\"name\":\"foo\",\"channels\":[\"project-3\"],\"data\":\"{\\\"some\\\":\\\"data\\\"}\"}";
    let query = ApiQuery::parse(
        "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
         &body_md5=ec365a775a4cd0599faeb73354201b6f\
         &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
    );
    let call = ApiCall { method: "POST", path: "/apps/3/events", body };
    query.verify(&call, b"7ad3773142a6692b25b8", 1_353_088_179, 600).unwrap();
}

#[test]
fn values_may_come_raw_or_escaped_and_in_any_order() {
    let signature = "auth_signature=3a44b378b77d4e094068f638f86a3692d960fdfa339a3956d5dc10446254d07e";
    let auth = "auth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0";
    for query in [
        format!("{auth}&filter_by_prefix=presence-&info=user_count,subscription_count&{signature}"),
        format!("{auth}&{signature}&info=user_count%2Csubscription_count&filter_by_prefix=presence%2d"),
        format!("INFO=user_count%2csubscription_count&{auth}&filter_by_prefix=presence-&{signature}"),
    ] {
        check(&query, &get("/apps/4242/channels")).unwrap();
    }
    let twice =
        format!("{auth}&filter_by_prefix=presence-&info=user_count%252Csubscription_count&{signature}");
    assert!(
        matches!(check(&twice, &get("/apps/4242/channels")), Err(BadCall::Signature { .. })),
        "decoded once"
    );
    let array = format!("{auth}&filter_by_prefix=presence-&info[]=user_count&info[]=subscription_count");
    let text = ApiQuery::parse(&array).string_to_sign("GET", "/a");
    assert!(text.ends_with("&info[]=user_count&info[]=subscription_count"), "{text}");
}

#[test]
fn names_are_sorted_by_their_bytes_after_lowering() {
    let query = ApiQuery::parse("b=1&A=2&a_=3&a1=4&Z&B=0&&auth_signature=x");
    assert_eq!(query.string_to_sign("GET", "/"), "GET\n/\na=2&a1=4&a_=3&b=1&b=0&z=");
    assert_eq!(query.get("b"), Some("1"));
}

#[test]
fn an_md5_of_no_body_is_signed_and_checked_too() {
    let auth = "auth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0";
    let call = get("/apps/4242/channels");
    check(
        &signed(&format!("{auth}&body_md5=d41d8cd98f00b204e9800998ecf8427e&info=user_count"), &call),
        &call,
    )
    .unwrap();
    let wrong = signed(&format!("{auth}&body_md5=6ac9cacd4834c64fb13f34a4c79be580"), &call);
    assert!(matches!(check(&wrong, &call), Err(BadCall::Body { .. })));
}

#[test]
fn a_body_has_to_be_signed() {
    let other = ApiCall { body: b"{}", ..POST };
    let error = check(SIGNED, &other).unwrap_err();
    assert!(matches!(&error, BadCall::Body { .. }), "{error}");
    let auth = "auth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0";
    assert!(matches!(check(&signed(auth, &POST), &POST), Err(BadCall::Missing { name: "body_md5" })));
}

#[test]
fn the_path_is_signed_as_sent_or_decoded() {
    let auth = "auth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0";
    let sent = "/apps/4242/users/a%40b%2520c/x";
    check(&signed(auth, &get(sent)), &get(sent)).unwrap();
    check(&signed(auth, &get("/apps/4242/users/a@b%20c/x")), &get(sent)).unwrap();
    for other in ["/apps/4242/users/a@b c/x", "/apps/4242/users/x", ""] {
        assert!(check(&signed(auth, &get(other)), &get(sent)).is_err(), "{other}");
    }
    let method = ApiCall { method: "POST", ..get(sent) };
    assert!(check(&signed(auth, &get(sent)), &method).is_err());
}

#[test]
fn time_and_version_are_checked() {
    let query = ApiQuery::parse(SIGNED);
    for now_s in [NOW_S - 600, NOW_S + 600] {
        query.verify(&POST, SECRET, now_s, 600).unwrap();
    }
    for now_s in [0, NOW_S - 601, NOW_S + 601, u64::MAX] {
        assert!(matches!(query.verify(&POST, SECRET, now_s, 600), Err(BadCall::Expired { .. })), "{now_s}");
    }
    let error = query.verify(&POST, SECRET, NOW_S + 86_400 * 60, 600).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Timestamp expired: Given timestamp (2023-11-14T22:13:20Z) not within 600s of server time \
         (2024-01-13T22:13:20Z)"
    );
    for bad in ["", "-1", "+5", "1e9", "99999999999999999999999", "1700000000 "] {
        let query = SIGNED.replace("=1700000000", &format!("={bad}"));
        assert!(matches!(check(&query, &POST), Err(BadCall::Timestamp { .. })), "{bad}");
    }
    assert!(matches!(check(&SIGNED.replace("=1.0", "=1.1"), &POST), Err(BadCall::Version { .. })));
}

#[test]
fn nothing_may_be_left_out_or_changed() {
    for name in ["auth_timestamp", "auth_version", "auth_signature", "body_md5"] {
        let query = SIGNED.replace(name, "x");
        assert!(matches!(check(&query, &POST), Err(BadCall::Missing { name: n }) if n == name), "{name}");
    }
    let other = check(&SIGNED.replace("d2d74", "d2d75"), &POST).unwrap_err();
    assert_eq!(
        other.to_string(),
        "Invalid signature: you should have sent HmacSHA256Hex(\"POST\n/apps/4242/events\n\
         auth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0\
         &body_md5=6ac9cacd4834c64fb13f34a4c79be580\", your_secret_key), but you sent \
         \"5bb1458a1e81174586e6c14c5164cc9bdd836260ea08daa72c87f92bfa0d2d75\""
    );
    for bent in ["&x=1", "&auth_key=other"] {
        assert!(check(&format!("{SIGNED}{bent}"), &POST).is_err(), "{bent}");
    }
    let upper = SIGNED.replace("5bb1458a1e", "5BB1458A1E");
    assert!(matches!(check(&upper, &POST), Err(BadCall::Signature { .. })));
    assert!(ApiQuery::parse(SIGNED).verify(&POST, b"other", NOW_S, 600).is_err());
}

#[test]
fn a_part_of_a_digest_is_not_the_digest() {
    let digest = md5(b"");
    assert!(digest.matches(b"d41d8cd98f00b204e9800998ecf8427e"));
    for other in ["", "d", "d41d8cd98f00b204e9800998ecf8427", "d41d8cd98f00b204e9800998ecf8427e0"] {
        assert!(!digest.matches(other.as_bytes()), "{other}");
    }
    assert!(same_text("key", "key") && !same_text("key", "kez") && !same_text("key", "ke"));
}

proptest! {
    #[test]
    fn any_query_is_read_without_harm(query: String, path: String, body: Vec<u8>) {
        let call = ApiCall { method: "GET", path: &path, body: &body };
        prop_assert!(check(&query, &call).is_err());
    }

    #[test]
    fn what_was_signed_is_verified_and_nothing_else(
        pairs in proptest::collection::vec(("[a-z]{1,6}", "[a-zA-Z0-9_,=-]{0,12}"), 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..40),
        flip in 0usize..64,
    ) {
        let mut query = format!(
            "auth_key=k&auth_timestamp=1700000000&auth_version=1.0&body_md5={}", md5(&body)
        );
        for (name, value) in pairs {
            query.push_str(&format!("&{name}={value}"));
        }
        let call = ApiCall { body: &body, ..POST };
        let query = signed(&query, &call);
        prop_assert!(check(&query, &call).is_ok());
        let mut bytes = query.into_bytes();
        let at = bytes.len() - 64 + flip;
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        let bent = String::from_utf8(bytes).unwrap();
        let refused = matches!(check(&bent, &call), Err(BadCall::Signature { .. }));
        prop_assert!(refused);
    }
}
