//! Requests that publish.

use super::App;
use super::pusher::{self, json_string};
use std::net::SocketAddrV4;

/// How messages are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Post {
    /// The message is the body of a POST; all are of one length.
    Plain {
        /// Request head.
        head: String,
    },
    /// A signed POST to Pusher's HTTP API.
    Pusher {
        /// Where to.
        host: SocketAddrV4,
        /// Keys.
        app: App,
        /// Body up to the message.
        body: String,
    },
}

impl Post {
    /// POSTs of `payload_bytes` to `path`.
    pub fn plain(host: SocketAddrV4, path: &str, payload_bytes: usize) -> Post {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n\
             Content-Length: {payload_bytes}\r\n\r\n"
        );
        Post::Plain { head }
    }

    /// Events of `channel` through Pusher's HTTP API.
    pub fn pusher(host: SocketAddrV4, app: &App, channel: &str) -> Post {
        let body = format!(
            r#"{{"name":{},"channels":[{}],"data":""#,
            json_string(pusher::EVENT),
            json_string(channel)
        );
        Post::Pusher { host, app: app.clone(), body }
    }

    /// Whether requests carry a signature.
    pub fn is_signed(&self) -> bool {
        matches!(self, Post::Pusher { .. })
    }

    /// Appends a request with `payload`, which has no character that JSON escapes, at `unix_seconds`.
    pub fn append(&self, out: &mut Vec<u8>, payload: &[u8], unix_seconds: impl FnOnce() -> u64) {
        match self {
            Post::Plain { head } => {
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(payload);
            }
            Post::Pusher { host, app, body } => {
                let body = [body.as_bytes(), payload, b"\"}"].concat();
                let path = pusher::signed_path(app, "events", &body, unix_seconds());
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n",
                    body.len()
                );
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(&body);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    #[test]
    fn a_pusher_event_is_json_with_the_payload_as_it_is() {
        let mut ledger = Ledger::new(u32::MAX, 1, 1, 1, 200);
        let payload = ledger.publish(0).unwrap();
        let mut out = Vec::new();
        Post::pusher("127.0.0.1:80".parse().unwrap(), &App::default(), "bench").append(
            &mut out,
            payload,
            || 7,
        );
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let body_json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body_json["data"].as_str().unwrap().as_bytes(), payload);
        assert_eq!((&body_json["name"], &body_json["channels"][0]), (&"m".into(), &"bench".into()));
        assert!(head.starts_with("POST /apps/app-id/events?auth_key=app-key&auth_timestamp=7&"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    }
}
