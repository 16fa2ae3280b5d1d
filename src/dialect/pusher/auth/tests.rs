//! Signatures as libraries make them, and everything else.

use super::super::name::Name;
use super::*;

const KEYS: Keys<'_> = Keys { key: "app-key-demo", secret: "app-secret-demo" };
const SOCKET: &str = "1234.1234";
const MR_CHANNELS: &str = r#"{"user_id":"10","user_info":{"name":"Mr. Channels"}}"#;

fn asked<'a>(channel: &'a str, auth: Option<&'a str>, channel_data: Option<&'a str>) -> Subscribe<'a> {
    Subscribe { channel: Name::parse(channel, 200).unwrap(), auth, channel_data }
}

fn try_subscribe(channel: &str, auth: Option<&str>, data: Option<&str>) -> Result<Option<Member>, AuthError> {
    subscribe(KEYS, SOCKET, &asked(channel, auth, data), None, &mut Reader::default())
}

fn signed(text: &str) -> String {
    format!("{}:{}", KEYS.key, hmac_sha256(KEYS.secret.as_bytes(), text.as_bytes()))
}

fn join(data: &str) -> Result<Member, AuthError> {
    let auth = signed(&channel_string(SOCKET, "presence-a", Some(data)));
    try_subscribe("presence-a", Some(&auth), Some(data)).map(|member| member.unwrap())
}

fn sign_in(data: &str) -> Result<User, AuthError> {
    let auth = signed(&user_string(SOCKET, data));
    signin(KEYS, SOCKET, &Signin { auth: Some(&auth), user_data: data }, &mut Reader::default())
}

#[test]
fn signatures_of_the_libraries_let_in() {
    let auth = "app-key-demo:10e3b2e2ede64d621489197ed9d55f418f3acbbf29b93359b0beadae944c8d8a";
    assert_eq!(try_subscribe("private-foobar", Some(auth), None), Ok(None));
    let auth = "app-key-demo:79612f46511d7d451bcb5dd44426c817e7da549897802109e6ec78e90ad3befa";
    let member = try_subscribe("presence-foobar", Some(auth), Some(MR_CHANNELS)).unwrap().unwrap();
    assert_eq!(&*member.id, "10");
    assert_eq!(member.info.as_deref(), Some(r#"{"name":"Mr. Channels"}"#));
    let auth = "app-key-demo:c3a4664180f4ab54b040aee1595bed065edb10533df5a01c1ef192fcd5f7d001";
    let asked = Signin { auth: Some(auth), user_data: r#"{"id":"12345"}"# };
    let user = signin(KEYS, SOCKET, &asked, &mut Reader::default()).unwrap();
    assert_eq!((&*user.member.id, user.member.info, user.watchlist.len()), ("12345", None, 0));
}

#[test]
fn public_channels_need_nothing_and_all_private_ones_do() {
    for channel in ["orders", "cache-a", "my-private-a"] {
        assert_eq!(try_subscribe(channel, None, None), Ok(None), "{channel}");
        assert_eq!(try_subscribe(channel, Some("nonsense"), Some("{")), Ok(None), "{channel}");
    }
    for channel in [
        "private-a",
        "private-cache-a",
        "private-encrypted-a",
        "private-encrypted-cache-a",
        "presence-a",
        "presence-cache-a",
    ] {
        assert_eq!(try_subscribe(channel, None, Some(MR_CHANNELS)), Err(AuthError::Missing), "{channel}");
        let auth = signed(&channel_string(SOCKET, channel, Some(MR_CHANNELS)));
        assert!(try_subscribe(channel, Some(&auth), Some(MR_CHANNELS)).is_ok(), "{channel}");
    }
}

#[test]
fn a_signature_is_for_one_channel_socket_app_and_text() {
    let good = signed(&channel_string(SOCKET, "private-a", None));
    assert!(try_subscribe("private-a", Some(&good), None).is_ok());
    let digest = good.rsplit_once(':').unwrap().1;
    for (channel, auth, data) in [
        ("private-b", good.clone(), None),
        ("private-a", good.clone(), Some("x")),
        ("private-a", signed(&channel_string("1234.1235", "private-a", None)), None),
        ("private-a", good.to_uppercase().replace("APP-KEY-DEMO", "app-key-demo"), None),
        ("private-a", good[..good.len() - 1].to_string(), None),
        ("private-a", format!("{}:", KEYS.key), None),
    ] {
        let error = try_subscribe(channel, Some(&auth), data).unwrap_err();
        assert!(matches!(error, AuthError::Signature { .. }), "{channel} {auth} {error}");
        assert_eq!((error.kind(), error.status()), ("AuthError", 401));
    }
    let error = try_subscribe("private-a", Some(&format!("other:{digest}")), None).unwrap_err();
    assert_eq!(error, AuthError::Key { given: "other".into() });
    for auth in [digest, "", "app-key-demo"] {
        assert_eq!(try_subscribe("private-a", Some(auth), None), Err(AuthError::Format), "{auth}");
    }
    let long = format!("{}:{}", KEYS.key, "a".repeat(PUSHER_AUTH_BYTES));
    assert_eq!(try_subscribe("private-a", Some(&long), None), Err(AuthError::Format));
    // Spaces, as Python writes them, are signed as they are.
    let spaced = r#"{"user_id": "10", "user_info": {"name": "é"}}"#;
    assert_eq!(join(spaced).unwrap().info.as_deref(), Some(r#"{"name": "é"}"#));
}

#[test]
fn a_wrong_signature_says_what_should_have_been_signed() {
    let error = try_subscribe("presence-a", Some("app-key-demo:beef"), Some("{}")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Invalid signature: Expected HMAC SHA256 hex digest of 1234.1234:presence-a:{}, but got beef"
    );
}

#[test]
fn ids_are_text_whatever_they_were() {
    for (data, id, info) in [
        (r#"{"user_id":1}"#, "1", None),
        (r#"{"user_id":"1","user_info":null}"#, "1", None),
        (r#"{"user_id":-5,"user_info":{}}"#, "-5", Some("{}")),
        (
            r#"{"user_id":12345678901234567890123,"user_info":[1, 2]}"#,
            "12345678901234567890123",
            Some("[1, 2]"),
        ),
        (r#"{"user_info":"x","user_id":"\u00e9"}"#, "é", Some("\"x\"")),
    ] {
        let member = join(data).unwrap();
        assert_eq!((&*member.id, member.info.as_deref()), (id, info), "{data}");
    }
    for bad in ["", "{}", "[]", "5", "{", r#"{"user_id":""}"#, r#"{"user_id":null}"#, r#"{"user_id":[1]}"#] {
        assert_eq!(join(bad), Err(AuthError::ChannelData), "{bad}");
    }
}

#[test]
fn users_are_bounded() {
    let id = |n: usize| format!(r#"{{"user_id":"{}"}}"#, "é".repeat(n));
    assert!(join(&id(128)).is_ok());
    assert_eq!(join(&id(129)), Err(AuthError::UserIdTooLong));
    let info = |n: usize| format!(r#"{{"user_id":1,"user_info":"{}"}}"#, "a".repeat(n - 2));
    assert!(join(&info(PUSHER_USER_INFO_BYTES)).is_ok());
    let error = join(&info(PUSHER_USER_INFO_BYTES + 1)).unwrap_err();
    assert_eq!((error.kind(), error.status()), ("LimitReached", 4301));
    assert_eq!(AuthError::TooManyMembers.status(), 4100);
}

#[test]
fn who_is_signed_in_needs_no_channel_data() {
    let user = sign_in(r#"{"id":"u1","user_info":{"n":1}}"#).unwrap();
    let auth = signed(&channel_string(SOCKET, "presence-a", None));
    let asked = asked("presence-a", Some(&auth), None);
    let mut reader = Reader::default();
    let member = subscribe(KEYS, SOCKET, &asked, Some(&user), &mut reader).unwrap().unwrap();
    assert_eq!(member, user.member);
    assert_eq!(subscribe(KEYS, SOCKET, &asked, None, &mut reader), Err(AuthError::ChannelData));
}

#[test]
fn a_users_channel_is_for_that_user_only() {
    let user = sign_in(r#"{"id":"u1"}"#).unwrap();
    let mut reader = Reader::default();
    let mut try_it = |channel, user| subscribe(KEYS, SOCKET, &asked(channel, None, None), user, &mut reader);
    assert_eq!(try_it("#server-to-user-u1", Some(&user)), Ok(None));
    for (channel, user) in [
        ("#server-to-user-u1", None),
        ("#server-to-user-u2", Some(&user)),
        ("#server-to-user-u", Some(&user)),
    ] {
        assert_eq!(try_it(channel, user), Err(AuthError::NotThatUser), "{channel}");
    }
}

#[test]
fn watchlists_are_read_and_cut() {
    let user = sign_in(r#"{"id":"u1","watchlist":["u2",3]}"#).unwrap();
    assert_eq!(user.watchlist, ["u2".into(), "3".into()]);
    assert!(!user.watchlist_cut);
    assert_eq!(sign_in(r#"{"id":"u1","watchlist":null}"#).unwrap().watchlist.len(), 0);
    let many = |n: usize| {
        let ids: Vec<String> = (0..n).map(|n| n.to_string()).collect();
        format!(r#"{{"id":"u1","watchlist":[{}]}}"#, ids.join(","))
    };
    assert_eq!(sign_in(r#"{"id":"u1","watchlist":["1",1,"1"]}"#).unwrap().watchlist, ["1".into()]);
    let long = format!(r#"{{"id":"u1","watchlist":["{}"]}}"#, "a".repeat(129));
    assert_eq!(sign_in(&long).unwrap_err(), AuthError::UserIdTooLong);
    assert!(!sign_in(&many(100)).unwrap().watchlist_cut);
    let user = sign_in(&many(101)).unwrap();
    assert_eq!((user.watchlist.len(), user.watchlist_cut), (100, true));
    for bad in
        [r#"{"id":"u1","watchlist":"u2"}"#, r#"{"id":"u1","watchlist":[null]}"#, r#"{"id":""}"#, "{}", "x"]
    {
        assert_eq!(sign_in(bad), Err(AuthError::UserData), "{bad}");
    }
}

#[test]
fn a_sign_in_is_for_one_socket_and_text() {
    let data = r#"{"id":"u1"}"#;
    let other = signed(&user_string("1.1", data));
    // A channel's signature is no user's, whatever the channel is called.
    let channel = signed(&channel_string(SOCKET, "private-a", Some(data)));
    for auth in [other, channel] {
        let asked = Signin { auth: Some(&auth), user_data: data };
        let error = signin(KEYS, SOCKET, &asked, &mut Reader::default()).unwrap_err();
        assert!(matches!(error, AuthError::Signature { .. }));
    }
    let asked = Signin { auth: None, user_data: data };
    assert_eq!(signin(KEYS, SOCKET, &asked, &mut Reader::default()), Err(AuthError::Missing));
}
