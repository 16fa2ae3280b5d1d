//! `fanwire token`: the examples of the protocol sheets (pusher.md sections 6, 11 and 12; pushi.md section 6) as a
//! person types them.

use std::process::ExitCode;

use fanwire::cli::{Surroundings, run_in};

struct Outcome {
    code: ExitCode,
    out: String,
    err: String,
}

fn token_with(environment: &[(&str, &str)], args: &[&str]) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let surroundings = Surroundings {
        environment: environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        out: &mut out,
        err: &mut err,
    };
    let code =
        run_in(surroundings, ["fanwire", "token"].iter().chain(args), |_| unreachable!("no node is run"));
    let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).unwrap());
    Outcome { code, out: out.trim_end().to_owned(), err }
}

/// The app of the examples.
const DEMO: [(&str, &str); 2] =
    [("FANWIRE_APP_KEY", "app-key-demo"), ("FANWIRE_APP_SECRET", "app-secret-demo")];

/// What is printed for the app of the examples.
fn demo(args: &[&str]) -> String {
    let outcome = token_with(&DEMO, args);
    assert_eq!(outcome.code, ExitCode::SUCCESS, "{args:?}: {}", outcome.err);
    outcome.out
}

/// The signature is accepted, and another one is refused with the right one in the message.
fn checks(args: &[&str], signature: &str) {
    assert_eq!(demo(&[args, &["--check", signature]].concat()), "OK");
    let other = format!("{}0", &signature[..signature.len() - 1]);
    let refused = token_with(&DEMO, &[args, &["--check", &other]].concat());
    assert_eq!(refused.code, ExitCode::from(1), "{args:?}");
    assert!(refused.err.contains(signature) && refused.out.is_empty(), "{}", refused.err);
}

const MEMBER: &str = r#"{"user_id":"10","user_info":{"name":"Mr. Channels"}}"#;

#[test]
fn subscriptions_and_sign_ins() {
    let examples: [(&[&str], &str); 3] = [
        (
            &["private", "1234.1234", "private-foobar"],
            "10e3b2e2ede64d621489197ed9d55f418f3acbbf29b93359b0beadae944c8d8a",
        ),
        (
            &["presence", "1234.1234", "presence-foobar", "--data", MEMBER],
            "79612f46511d7d451bcb5dd44426c817e7da549897802109e6ec78e90ad3befa",
        ),
        (
            &["user", "1234.1234", "--data", r#"{"id":"12345"}"#],
            "c3a4664180f4ab54b040aee1595bed065edb10533df5a01c1ef192fcd5f7d001",
        ),
    ];
    for (args, signature) in examples {
        assert_eq!(demo(args), format!("app-key-demo:{signature}"));
        checks(args, signature);
        checks(args, &format!("app-key-demo:{signature}"));
        let other_key = format!("another-key:{signature}");
        let refused = token_with(&DEMO, &[args, &["--check", &other_key]].concat());
        assert_eq!(refused.code, ExitCode::from(1), "the key counts");
    }
}

#[test]
fn the_presence_example_of_the_official_documentation() {
    let sign = |name: &str| {
        let data = format!(r#"{{"user_id":10,"user_info":{{"name":"{name}"}}}}"#);
        let keys = ["--key", "278d425bdf160c739803", "--secret", "7ad3773142a6692b25b8"];
        let args = ["presence", "1234.1234", "presence-foobar", "--data", &data];
        token_with(&[], &[&args[..], &keys].concat()).out
    };
    let text = "278d425bdf160c739803:31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80";
    assert_eq!(sign("Mr. Channels"), text);
    assert!(sign("Mr. Pusher").starts_with("278d425bdf160c739803:afaed369"));
}

#[test]
fn what_an_endpoint_answers() {
    let answer = demo(&["presence", "1234.1234", "presence-foobar", "--data", MEMBER, "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["channel_data"], MEMBER, "each byte as it was signed");
    assert_eq!(
        answer["auth"],
        "app-key-demo:79612f46511d7d451bcb5dd44426c817e7da549897802109e6ec78e90ad3befa"
    );
    let answer = demo(&["user", "1.2", "--data", r#"{"id":"1"}"#, "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap()["user_data"], r#"{"id":"1"}"#);
    let answer = demo(&["private", "1.2", "private-a", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap().as_object().unwrap().len(), 1);
}

#[test]
fn secrets_of_encrypted_channels() {
    let master_key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let args = ["shared-secret", "private-encrypted-x", "--master-key", master_key];
    let secret = "QBLmxUha0AEqZM0+A5PNJXDxZBx3jy3Nx0o1EY1y36I=";
    assert_eq!(token_with(&[], &args).out, secret);
    assert_eq!(token_with(&[], &[&args[..], &["--check", secret]].concat()).out, "OK");
    let short = token_with(&[], &["shared-secret", "private-encrypted-x", "--master-key", "BwcH"]);
    assert!(short.code == ExitCode::from(1) && short.err.contains("32 bytes"), "{}", short.err);
}

const ORDER: &str = r#"{"name":"order.paid","data":"{\"id\":7,\"note\":\"café\"}","channels":["orders"]}"#;
const AT: [&str; 2] = ["--timestamp", "1700000000"];

#[test]
fn requests_to_the_http_api() {
    let signature = "5bb1458a1e81174586e6c14c5164cc9bdd836260ea08daa72c87f92bfa0d2d74";
    let post = ["api", "POST", "/apps/4242/events", "--data", ORDER, AT[0], AT[1]];
    let query = "auth_key=app-key-demo&auth_timestamp=1700000000&auth_version=1.0\
                 &body_md5=6ac9cacd4834c64fb13f34a4c79be580";
    let url = demo(&post);
    assert_eq!(url, format!("http://127.0.0.1:8080/apps/4242/events?{query}&auth_signature={signature}"));
    checks(&post, signature);

    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("order.json");
    std::fs::write(&path, ORDER).unwrap();
    let file = ["--body", path.to_str().unwrap(), "--url", "https://push.example/", "--app", "1"];
    let by_file = demo(&[&["api", "post", "/apps/4242/events"][..], &AT, &file].concat());
    assert_eq!(by_file, url.replace("http://127.0.0.1:8080", "https://push.example"));

    let args = ["filter_by_prefix=presence-&info=user_count,subscription_count", "--only-query"];
    let listed = demo(&[&["api", "GET", "/apps/4242/channels", "--query"][..], &args, &AT].concat());
    assert!(
        listed.ends_with("&auth_signature=3a44b378b77d4e094068f638f86a3692d960fdfa339a3956d5dc10446254d07e"),
        "{listed}"
    );
    assert!(listed.starts_with("filter_by_prefix=presence-&info=user_count,subscription_count&auth_key="));

    // A request that was refused, taken from a log.
    let told = format!("{query}&auth_signature=wrong");
    checks(&["api", "POST", "/apps/4242/events", "--query", &told], signature);
    let other_body = ["api", "POST", "/apps/4242/events", "--query", &told, "--data", "{}"];
    let refused = token_with(&DEMO, &other_body);
    assert!(refused.err.contains("body_md5=6ac9cacd4834c64fb13f34a4c79be580"), "{}", refused.err);
}

#[test]
fn the_request_of_the_official_documentation() {
    let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    let keys = ["--key", "278d425bdf160c739803", "--secret", "7ad3773142a6692b25b8", "--app", "3"];
    let args = ["api", "POST", "events", "--data", body, "--timestamp", "1353088179", "--url", "http://h"];
    assert_eq!(
        token_with(&[], &[&args[..], &keys].concat()).out,
        "http://h/apps/3/events?auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
         &body_md5=ec365a775a4cd0599faeb73354201b6f\
         &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
    );
}

#[test]
fn values_are_signed_decoded_and_sent_encoded() {
    let plain = demo(&["api", "GET", "channels", "--query", "filter_by_prefix=a b", AT[0], AT[1]]);
    let encoded = demo(&["api", "GET", "channels", "--query", "filter_by_prefix=a%20b", AT[0], AT[1]]);
    assert_eq!(plain, encoded);
    assert!(plain.starts_with("http://127.0.0.1:8080/apps/1/channels?filter_by_prefix=a%20b&auth_key="));
}

#[test]
fn web_hooks() {
    let body = r#"{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"orders"}]}"#;
    let signature = "61be614dd7b06106a7c572944b946b44a724b71343800b4296f4cdbc1fb0b6d4";
    assert_eq!(demo(&["webhook", "--data", body]), signature);
    checks(&["webhook", "--data", body], signature);
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("hook.json");
    std::fs::write(&path, body).unwrap();
    checks(&["webhook", "--body", path.to_str().unwrap()], signature);
}

#[test]
fn pushi() {
    let (key, secret) = ("a".repeat(64), "b".repeat(64));
    let keys = ["--key", &key, "--secret", &secret];
    let socket = "11111111-2222-3333-4444-555555555555";
    for (kind, subject, channel, signature) in [
        (
            "channel",
            socket,
            "private-room",
            "8a97e721732af1e04e28823ab1172afcd3dc1ea5d9b6bea4d191019c79fdf881",
        ),
        (
            "channel",
            socket,
            "presence-chat",
            "100352b0d7b70a9c33847a62a977a10ef48ba5abb754fbfd1bd0543c6c1fca69",
        ),
        (
            "channel",
            socket,
            "personal-u1",
            "44c1d8f09f2fe5fead5437b55b324e58ebb59bde27903abd074bf08d19bb31d9",
        ),
        (
            "url",
            "http://127.0.0.1:9/hook",
            "private-room",
            "cb4d10892fbc0a386838b1b0e6027eeff877fbec4b1326adb4d396ef736a49b8",
        ),
    ] {
        let args = [&["pushi", kind, subject, channel][..], &keys].concat();
        assert_eq!(token_with(&[], &args).out, format!("{key}:{signature}"));
        let checked = token_with(&[], &[&args[..], &["--check", signature]].concat());
        assert_eq!((checked.code, checked.out.as_str()), (ExitCode::SUCCESS, "OK"));
    }
}

#[test]
fn the_development_app_signs_when_nothing_is_said() {
    assert!(token_with(&[], &["private", "1.2", "private-a"]).out.starts_with("dev-key:"));
    let several = "[[app]]\nid='a'\nkey='ka'\nsecret='sa'\n[[app]]\nid='b'\nkey='kb'\nsecret='sb'\n";
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("token-apps.toml");
    std::fs::write(&path, several).unwrap();
    let config = ["private", "1.2", "private-a", "--config", path.to_str().unwrap()];
    let which = token_with(&[], &config);
    assert!(which.code == ExitCode::from(1) && which.err.contains("--app takes a, b"), "{}", which.err);
    assert!(token_with(&[], &[&config[..], &["--app", "b"]].concat()).out.starts_with("kb:"));
    let none = token_with(&[], &[&config[..], &["--app", "c"]].concat());
    assert!(none.err.contains("has no app `c`"), "{}", none.err);
}

#[test]
fn what_cannot_be_signed_is_refused() {
    for socket in ["1234", "1234.", "a.b", "1.2.3:private-x", ""] {
        let refused = token_with(&DEMO, &["private", socket, "private-a"]);
        assert_eq!(refused.code, ExitCode::from(1), "{socket}");
    }
    let query = token_with(&DEMO, &["api", "GET", "/apps/1/channels?info=user_count"]);
    assert!(query.err.contains("--query"), "{}", query.err);
    let missing = token_with(&DEMO, &["webhook", "--body", "/nowhere/at/all"]);
    assert!(missing.code == ExitCode::from(1) && missing.err.contains("/nowhere/at/all"));
    assert_eq!(token_with(&DEMO, &["webhook"]).code, ExitCode::from(2));
}

#[test]
fn grants_are_made_and_read() {
    let token = demo(&[
        "grant",
        "--subscribe",
        "news.*",
        "--publish",
        "chat",
        "--user",
        "u",
        "--id",
        "t",
        "--at",
        "1700000000",
    ]);
    let (head, rest) = token.split_once('.').unwrap();
    let claims = rest.split_once('.').unwrap().0;
    let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims).unwrap();
    let expected = r#"{"exp":1700003600,"iat":1700000000,"jti":"t","sub":"u","subscribe":["news.*"],"publish":["chat"]}"#;
    assert_eq!((head, std::str::from_utf8(&claims).unwrap()), ("fw1", expected));
    let checked = token_with(&DEMO, &["grant", "--check", &token]);
    assert_eq!(checked.code, ExitCode::from(1));
    assert!(checked.out == expected && checked.err.contains("expired"), "{}", checked.err);
    let fresh = demo(&["grant", "--channel", "*", "--expires", "2m"]);
    assert!(demo(&["grant", "--check", &fresh]).contains(r#""channels":["*"]"#));
    assert_ne!(fresh, demo(&["grant", "--channel", "*", "--expires", "2m"]), "their ids differ");
    let forged = format!("{}A", &fresh[..fresh.len() - 2]);
    for (args, reason) in [
        (&["grant"][..], "--channel"),
        (&["grant", "--channel", r"a\b"], "pattern"),
        (&["grant", "--channel", "a", "--expires", "soon"], "duration"),
        (&["grant", "--channel", "a", "--expires", "400d"], "too long"),
        (&["grant", "--check", &forged], ""),
        (&["grant", "--check", "x"], "malformed"),
    ] {
        let outcome = token_with(&DEMO, args);
        assert!(
            outcome.code == ExitCode::from(1) && outcome.err.contains(reason),
            "{args:?}: {}",
            outcome.err
        );
    }
}

/// Made with `printf 'fanwire-grant\nsubscribe\n1\n1700000000\nbob\na\nb' | openssl dgst -sha256 -hmac app-secret-demo`.
#[test]
fn signatures_of_urls() {
    let args = ["url", "subscribe", "a", "b", "--app", "1", "--until", "1700000000", "--user", "bob"];
    let signature = "8dfd808d941a3dfcd0550770b526785b78694585f8ac0880bd772c2c2f925a01";
    let secret = ["--secret", "app-secret-demo"];
    let printed = demo(&[&args[..], &secret].concat());
    assert_eq!(printed, format!("expires=1700000000&user=bob&signature={signature}"));
    checks(&[&args[..], &secret].concat(), signature);
}
