//! What operators and their back ends ask of the node itself. Only on internal listeners; on others these paths are
//! unknown, as on a node that has no internal one.
//!
//! `POST /admin/revoke` takes back what a user or a token was granted, as `fanwire revoke` does. The body is a JSON
//! object, with `Content-Type: application/json` (which no web page can send here unasked): `user` or `token`, an id,
//! and `app`, the id of an app; without it the first one is meant. Other members are mistakes.
//!
//! | answer | when |
//! |---|---|
//! | 200 `{"revoked":true,"sessions":3}` | it is revoked, and so many sessions of the node were ended for it; also when there were none, or it was revoked before |
//! | 400, 404, 405, 415 `{"error":".."}` | the body is not understood or has no id that can be; there is no such app; no POST; no JSON |
//! | 500 `{"error":".."}` | it is revoked until the node stops, but the store did not take it |
//! | 503 `{"error":".."}` with `Retry-After` | too many changes wait, or revocations are in force: nothing was done |

use crate::dialect::grant::revoked::{NotRevoked, Order, RevokeError, What};
use crate::dialect::http::{Http, Listeners, finish};
use crate::dialect::{Action, Context};
use crate::limits::TURNED_AWAY_RETRY_AFTER_S;
use crate::wire::http::request::{Method, Request};
use crate::wire::http::response::Response;
use crate::wire::json::{self, Kind, Reader};

const REVOKE: &str = "/admin/revoke";
const TAG: u16 = 0;

/// The endpoints.
#[derive(Clone, Debug)]
pub struct Admin {
    listeners: Listeners,
}

/// One request that waits.
#[derive(Debug)]
pub struct Session {
    http: Http,
}

impl Admin {
    /// The endpoints on these listeners.
    pub fn new(listeners: Listeners) -> Admin {
        Admin { listeners }
    }

    /// Takes requests for its paths; others are left alone.
    pub fn on_request(&self, cx: &mut Context<'_>, request: &Request<'_>) -> Option<Session> {
        let path = request.target.split_once('?').map_or(request.target, |(path, _)| path);
        if path != REVOKE || !self.listeners.has(cx.listener) {
            return None;
        }
        let http = Http::of(request);
        match order(request) {
            Ok(order) => cx.act(Action::Revoke { order: Box::new(order), tag: TAG }),
            Err((405, what)) => finish(cx, http, &failure(405, what).header("Allow", "POST"), &[]),
            Err((status, what)) => finish(cx, http, &failure(status, what), &[]),
        }
        Some(Session { http })
    }
}

impl Session {
    /// What came of a revocation: how many sessions were ended.
    pub fn on_revocation(&self, cx: &mut Context<'_>, outcome: &Result<u64, RevokeError>) {
        let answer = match outcome {
            Ok(sessions) => {
                let body = format!("{{\"revoked\":true,\"sessions\":{sessions}}}\n");
                Response::new(200).body("application/json", body)
            }
            Err(error) => {
                let status = match error {
                    RevokeError::NoApp => 404,
                    RevokeError::Not(NotRevoked::Id) => 400,
                    RevokeError::Not(NotRevoked::Full) | RevokeError::Busy => 503,
                    RevokeError::NotStored(_) => 500,
                };
                let answer = failure(status, &error.to_string());
                if status == 503 { answer.number("Retry-After", TURNED_AWAY_RETRY_AFTER_S) } else { answer }
            }
        };
        finish(cx, self.http, &answer, &[]);
    }
}

fn failure(status: u16, what: &str) -> Response {
    let mut body = b"{\"error\":".to_vec();
    json::string(&mut body, what.as_bytes());
    body.extend_from_slice(b"}\n");
    Response::new(status).header("Cache-Control", "no-store").body("application/json", body)
}

/// What is asked for; or status and reason of the refusal.
fn order(request: &Request<'_>) -> Result<Order, (u16, &'static str)> {
    if request.method != Method::Post {
        return Err((405, "revoking is a POST"));
    }
    let kind = request.headers.get("content-type").unwrap_or_default();
    let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    if !kind.eq_ignore_ascii_case(b"application/json") {
        return Err((415, "the body has to be application/json"));
    }
    let mut reader = Reader::default();
    let document = reader.read_bytes(request.body).map_err(|_| (400, "the body is not JSON"))?;
    let root = document.root();
    if root.kind() != Kind::Object {
        return Err((400, "the body is not a JSON object"));
    }
    let (mut app, mut subject) = (None, None);
    for (name, value) in root.members() {
        let text = value.as_str().ok_or((400, "`app`, `user` and `token` are strings"))?.to_owned();
        let what = match name {
            "app" if app.is_none() => {
                app = Some(text);
                continue;
            }
            "user" => What::User,
            "token" => What::Token,
            _ => return Err((400, "the members are `user` or `token`, and `app`, each once")),
        };
        if subject.replace((what, text)).is_some() {
            return Err((400, "one thing is revoked at a time: `user` or `token`"));
        }
    }
    let (what, id) = subject.ok_or((400, "`user` or `token` is missing"))?;
    Ok(Order { app, what, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HttpLimits;
    use crate::wire::http::request::{Event, Lines, Reader};

    fn read(method: &str, kind: &str, body: &str) -> Result<Order, u16> {
        let length = body.len();
        let text = format!(
            "{method} /admin/revoke HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (mut bytes, mut reader, mut lines) = (text.into_bytes(), Reader::default(), Lines::default());
        let step = reader.step(&mut bytes, &mut lines, &HttpLimits::default()).unwrap();
        let Some(Event::Request(request)) = step.event else { panic!("no request") };
        order(&request).map_err(|(status, _)| status)
    }

    #[test]
    fn orders_name_one_user_or_one_token() {
        let json = |body| read("POST", "application/json", body);
        let order = |app: Option<&str>, what, id: &str| {
            Ok(Order { app: app.map(str::to_owned), what, id: id.to_owned() })
        };
        assert_eq!(json(r#"{"user":"ada"}"#), order(None, What::User, "ada"));
        assert_eq!(json(r#" {"token":"t\u0031","app":"shop"} "#), order(Some("shop"), What::Token, "t1"));
        let charset = read("POST", "Application/JSON; charset=utf-8", r#"{"user":"a"}"#);
        assert_eq!(charset, order(None, What::User, "a"));
        for wrong in [
            "",
            "{",
            "[]",
            "\"user\"",
            "{}",
            r#"{"app":"a"}"#,
            r#"{"user":1}"#,
            r#"{"user":"a","token":"b"}"#,
            r#"{"user":"a","user":"b"}"#,
            r#"{"user":"a","app":"b","app":"c"}"#,
            r#"{"user":"a","usr":"b"}"#,
            r#"{"user":"a","app":null}"#,
        ] {
            assert_eq!(json(wrong), Err(400), "{wrong}");
        }
        assert_eq!(read("POST", "text/plain", r#"{"user":"a"}"#), Err(415));
        assert_eq!(read("POST", "", r#"{"user":"a"}"#), Err(415));
        for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
            assert_eq!(read(method, "application/json", r#"{"user":"a"}"#), Err(405), "{method}");
        }
    }
}
