//! Signatures (pushi.md section 6): of a connection's name and a channel, and of nothing else. What a client says
//! about itself is not signed, other than in the Pusher protocol (trap 1).

use crate::wire::sign::{hmac_sha256, same_text};

/// What signs and names an app. Both are taken as texts, also where they look like numbers.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// Public.
    pub key: &'a str,
    /// Not.
    pub secret: &'a str,
}

/// The `auth` for `subject` (the name of a connection; for hooks a URL, token, mail address or endpoint) on `channel`.
pub fn sign(keys: Keys<'_>, subject: &str, channel: &str) -> String {
    let signature = hmac_sha256(keys.secret.as_bytes(), signed(subject, channel).as_bytes());
    format!("{}:{signature}", keys.key)
}

/// Whether `auth` allows `subject` on `channel`. Beside UTF-8 the Latin-1 bytes of the text may have been signed: that
/// is what Pushi's own libraries do (trap 20).
pub fn is_allowed(keys: Keys<'_>, auth: &str, subject: &str, channel: &str) -> bool {
    let Some((key, signature)) = auth.split_once(':') else { return false };
    let text = signed(subject, channel);
    let good = |message: &[u8]| hmac_sha256(keys.secret.as_bytes(), message).matches(signature.as_bytes());
    let by_bytes = || !text.is_ascii() && latin1(&text).is_some_and(|bytes| good(&bytes));
    same_text(keys.key, key) && (good(text.as_bytes()) || by_bytes())
}

fn signed(subject: &str, channel: &str) -> String {
    format!("{subject}:{channel}")
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = "11111111-2222-3333-4444-555555555555";

    fn with_keys<R>(test: impl FnOnce(Keys<'_>) -> R) -> R {
        let (key, secret) = ("a".repeat(64), "b".repeat(64));
        test(Keys { key: &key, secret: &secret })
    }

    #[test]
    fn trap_1_the_examples_of_the_sheet_and_no_channel_data() {
        with_keys(|keys| {
            for (subject, channel, signature) in [
                (SOCKET, "private-room", "8a97e721732af1e04e28823ab1172afcd3dc1ea5d9b6bea4d191019c79fdf881"),
                (SOCKET, "presence-chat", "100352b0d7b70a9c33847a62a977a10ef48ba5abb754fbfd1bd0543c6c1fca69"),
                (SOCKET, "personal-u1", "44c1d8f09f2fe5fead5437b55b324e58ebb59bde27903abd074bf08d19bb31d9"),
                (
                    "http://127.0.0.1:9/hook",
                    "private-room",
                    "cb4d10892fbc0a386838b1b0e6027eeff877fbec4b1326adb4d396ef736a49b8",
                ),
            ] {
                let auth = format!("{}:{signature}", keys.key);
                assert_eq!(sign(keys, subject, channel), auth);
                assert!(is_allowed(keys, &auth, subject, channel));
                assert!(!is_allowed(keys, &auth, subject, "private-other"));
                assert!(!is_allowed(keys, &auth.to_uppercase(), subject, channel));
                assert!(!is_allowed(keys, signature, subject, channel));
                assert!(!is_allowed(keys, &format!(":{signature}"), subject, channel));
            }
            assert!(!is_allowed(keys, "", SOCKET, "private-room"));
        });
    }

    #[test]
    fn trap_20_latin_1_bytes_may_be_signed_instead() {
        with_keys(|keys| {
            let by_latin1 = |channel: &str| {
                let bytes: Vec<u8> = format!("{SOCKET}:{channel}").chars().map(|c| c as u8).collect();
                format!("{}:{}", keys.key, hmac_sha256(keys.secret.as_bytes(), &bytes))
            };
            let channel = "private-caf\u{e9}";
            assert!(is_allowed(keys, &by_latin1(channel), SOCKET, channel));
            assert!(is_allowed(keys, &sign(keys, SOCKET, channel), SOCKET, channel));
            assert_ne!(by_latin1(channel), sign(keys, SOCKET, channel));
            // U+2764 has no such byte: cutting it to 0x64 would let `d` stand for it.
            assert!(!is_allowed(keys, &by_latin1("private-\u{2764}"), SOCKET, "private-\u{2764}"));
        });
    }
}
