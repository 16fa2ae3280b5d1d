//! What back ends get (pushi.md sections 9.1 to 9.3 and 9.10).

use super::handshake::put_uuid;
use super::route::Health;
use crate::limits::PUSHI_COOKIE_S;
use crate::wire::http::date;
use crate::wire::http::headers::Headers;
use crate::wire::http::response::Response;
use crate::wire::json::{comma, number, string};
use std::borrow::Cow;

const JSON: &str = "application/json";
/// The version whose interface this is.
pub const VERSION: &str = "0.6.10";
const METHODS: &str = "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS";
/// Where credentials are allowed `*` stands for nothing but itself: what browsers ask for is named.
const HEADERS: &str = "*, X-Requested-With, X-Secret-Key, X-Session-Id, Content-Type";

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// No such path, or not with this method.
    NoRoute {
        /// As sent.
        method: String,
        /// As sent, without the query.
        path: String,
    },
    /// What is asked for is not there.
    NotFound(&'static str),
    /// No token, or none that counts (trap 12: 403 makes the Python client log in).
    NotAuthenticated,
    /// The node is not set up to do that.
    Forbidden(&'static str),
    /// Fields that are missing or wrong, each with what is wrong.
    Validation(Vec<(&'static str, &'static str)>),
    /// A limit of the node.
    Limit(&'static str),
    /// What the protocol's own server stumbles over.
    Runtime(&'static str),
    /// Parameters that are missing.
    Type(&'static str),
    /// The node cannot take it just now.
    Busy(&'static str),
}

impl ApiError {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            ApiError::NoRoute { .. } | ApiError::NotFound(_) => 404,
            ApiError::NotAuthenticated | ApiError::Forbidden(_) => 403,
            ApiError::Validation(_) | ApiError::Limit(_) => 400,
            ApiError::Runtime(_) | ApiError::Type(_) => 500,
            ApiError::Busy(_) => 503,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            ApiError::NoRoute { .. } | ApiError::NotFound(_) => "NotFoundError",
            ApiError::NotAuthenticated | ApiError::Forbidden(_) => "AppierException",
            ApiError::Validation(_) => "ValidationError",
            ApiError::Limit(_) | ApiError::Runtime(_) | ApiError::Busy(_) => "RuntimeError",
            ApiError::Type(_) => "TypeError",
        }
    }

    /// Its text.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            ApiError::NoRoute { method, path } => format!("Request {method} '{path}' not handled").into(),
            ApiError::NotAuthenticated => "User not authenticated".into(),
            ApiError::Validation(_) => "Validation of submitted data failed".into(),
            ApiError::NotFound(text)
            | ApiError::Forbidden(text)
            | ApiError::Limit(text)
            | ApiError::Runtime(text)
            | ApiError::Type(text)
            | ApiError::Busy(text) => (*text).into(),
        }
    }

    /// The answer. `uid` is of this error alone, `session` the token of the request.
    pub fn answer(&self, uid: [u8; 16], session: Option<&str>) -> Answer {
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(b"{\"result\":\"error\",\"name\":");
        string(&mut body, self.name().as_bytes());
        body.extend_from_slice(b",\"message\":");
        string(&mut body, self.message().as_bytes());
        body.extend_from_slice(b",\"code\":");
        number(&mut body, self.status().into());
        body.extend_from_slice(b",\"traceback\":[],\"uid\":");
        let mut text = String::with_capacity(36);
        let _ = put_uuid(&mut text, &super::handshake::as_version_4(uid)); // a String takes everything
        string(&mut body, text.as_bytes());
        match self {
            ApiError::Validation(errors) => {
                body.extend_from_slice(b",\"errors\":");
                fields(&mut body, errors);
                body.extend_from_slice(b",\"meta\":{\"errors\":");
                fields(&mut body, errors);
                body.push(b'}');
            }
            _ => body.extend_from_slice(b",\"meta\":null"),
        }
        body.extend_from_slice(b",\"session\":");
        match session {
            Some(session) => string(&mut body, session.as_bytes()),
            None => body.extend_from_slice(b"null"),
        }
        body.push(b'}');
        Answer { status: self.status(), content_type: JSON, body, cookie: None }
    }
}

fn fields(out: &mut Vec<u8>, errors: &[(&'static str, &'static str)]) {
    out.push(b'{');
    let mut first = true;
    let mut told: Vec<&str> = Vec::new();
    for (name, _) in errors {
        if told.contains(name) {
            continue;
        }
        told.push(name);
        comma(out, &mut first);
        string(out, name.as_bytes());
        out.extend_from_slice(b":[");
        let mut first = true;
        for (_, text) in errors.iter().filter(|(other, _)| other == name) {
            comma(out, &mut first);
            string(out, text.as_bytes());
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    content_type: &'static str,
    /// Its body.
    pub body: Vec<u8>,
    cookie: Option<String>,
}

impl Answer {
    /// It is done, and there is nothing to tell.
    pub fn success() -> Answer {
        Answer::json(b"{\"result\":\"success\"}".to_vec())
    }

    /// A JSON document.
    pub fn json(body: Vec<u8>) -> Answer {
        Answer { status: 200, content_type: JSON, body, cookie: None }
    }

    /// A text (trap 13).
    pub fn text(text: &str) -> Answer {
        Answer { status: 200, content_type: "text/plain", body: text.as_bytes().to_vec(), cookie: None }
    }

    /// `{"NAME":[..]}` of JSON documents.
    pub fn list<I: AsRef<[u8]>>(name: &str, items: impl Iterator<Item = I>) -> Answer {
        let mut body = b"{".to_vec();
        string(&mut body, name.as_bytes());
        body.extend_from_slice(b":[");
        let mut first = true;
        for item in items {
            comma(&mut body, &mut first);
            body.extend_from_slice(item.as_ref());
        }
        body.extend_from_slice(b"]}");
        Answer::json(body)
    }

    /// `{"channels":[..]}` of names.
    pub fn channels<'c>(names: impl Iterator<Item = &'c str>) -> Answer {
        Answer::list(
            "channels",
            names.map(|name| {
                let mut out = Vec::with_capacity(name.len() + 2);
                string(&mut out, name.as_bytes());
                out
            }),
        )
    }

    /// A session begins.
    pub fn login(token: &str, now_s: u64) -> Answer {
        let mut body = b"{\"token\":".to_vec();
        string(&mut body, token.as_bytes());
        body.push(b'}');
        let expires = date::format(i64::try_from(now_s.saturating_add(PUSHI_COOKIE_S)).unwrap_or(i64::MAX));
        let expires = String::from_utf8_lossy(&expires);
        let cookie = format!("sid={token};lang=en;path=/;expires={expires};");
        Answer { cookie: Some(cookie), ..Answer::json(body) }
    }

    /// A page about the node's health (section 9.10). `is_stored`: what is registered and kept survives a restart.
    pub fn health(which: Health, is_stored: bool) -> Answer {
        let mut body = Vec::new();
        let short = format!("\"service\":\"pushi\",\"version\":\"{VERSION}\"");
        let text = match which {
            Health::Info => format!("{{\"name\":\"pushi\",{short}}}"),
            Health::Short => format!("{{\"status\":\"ok\",{short}}}"),
            Health::Live => "{\"status\":\"ok\"}".to_owned(),
            Health::Ready => "{\"status\":\"ok\",\"ready\":true}".to_owned(),
            Health::Detailed => {
                let database = if is_stored { "ok" } else { "memory" };
                format!(
                    "{{\"status\":\"ok\",{short},\"checks\":{{\"database\":{{\"status\":\"{database}\"}},\
                     \"websocket\":{{\"status\":\"ok\"}},\"handlers\":{{\"status\":\"ok\"}}}}}}"
                )
            }
        };
        body.extend_from_slice(text.as_bytes());
        Answer::json(body)
    }

    /// The answer to a browser that asks what it may send.
    pub fn preflight() -> Answer {
        Answer { status: 204, content_type: "", body: Vec::new(), cookie: None }
    }

    /// The whole response. A browser sends cookies only where its own origin is named and credentials are allowed
    /// (trap 18); without an Origin the answer is that of the protocol's server.
    pub fn response(self, origin: Option<&[u8]>) -> Response {
        let mut response = Response::new(self.status);
        response = match origin.filter(|origin| !origin.is_empty()) {
            Some(origin) => response
                .header("Access-Control-Allow-Origin", origin)
                .header("Access-Control-Allow-Credentials", "true")
                .header("Vary", "Origin"),
            None => response.header("Access-Control-Allow-Origin", "*"),
        };
        response = response
            .header("Access-Control-Allow-Headers", HEADERS)
            .header("Access-Control-Allow-Methods", METHODS);
        if let Some(cookie) = self.cookie {
            response = response.header("Set-Cookie", cookie);
        }
        if self.status == 503 {
            response = response.header("Retry-After", "1");
        }
        response.body(self.content_type, self.body)
    }
}

/// Whether an OPTIONS request is a browser's question; any other has no answer here (section 9.2).
pub fn is_preflight(headers: &Headers<'_>) -> bool {
    headers.get("access-control-request-method").is_some() && headers.get("origin").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::response::Context;
    use serde_json::{Value, json};

    fn text(answer: Answer, origin: Option<&str>) -> String {
        let context = Context { head: false, minor_version: 1, keep_alive: true, date: None };
        let mut out = Vec::new();
        answer.response(origin.map(str::as_bytes)).write(&mut out, &context);
        String::from_utf8(out).unwrap()
    }

    fn read(answer: &Answer) -> Value {
        serde_json::from_slice(&answer.body).unwrap()
    }

    #[test]
    fn errors_are_those_of_the_sheet() {
        let answer = ApiError::Runtime("No data set for event").answer([7; 16], Some("token"));
        assert_eq!(answer.status, 500);
        assert_eq!(
            read(&answer),
            json!({"result": "error", "name": "RuntimeError", "message": "No data set for event", "code": 500,
                   "traceback": [], "uid": "07070707-0707-4707-8707-070707070707", "meta": null, "session": "token"})
        );
        let errors =
            vec![("name", "value is not set"), ("event", "value is empty"), ("event", "value is duplicate")];
        let answer = ApiError::Validation(errors).answer([0; 16], None);
        let body = read(&answer);
        let fields = json!({"name": ["value is not set"], "event": ["value is empty", "value is duplicate"]});
        assert_eq!((answer.status, &body["name"]), (400, &json!("ValidationError")));
        assert_eq!((&body["errors"], &body["meta"]["errors"]), (&fields, &fields));
        assert_eq!(body["session"], Value::Null);
        let missing = ApiError::NoRoute { method: "GET".into(), path: "/x".into() };
        assert_eq!(
            (missing.status(), missing.name(), &*missing.message()),
            (404, "NotFoundError", "Request GET '/x' not handled")
        );
    }

    #[test]
    fn trap_12_no_session_is_403() {
        let answer = ApiError::NotAuthenticated.answer([0; 16], None);
        assert_eq!((answer.status, &read(&answer)["message"]), (403, &json!("User not authenticated")));
    }

    #[test]
    fn trap_18_browsers_with_cookies_are_named() {
        let answer = text(Answer::success(), Some("http://page"));
        assert!(answer.contains("\r\nAccess-Control-Allow-Origin: http://page\r\n"));
        assert!(answer.contains("\r\nAccess-Control-Allow-Credentials: true\r\n"));
        assert!(answer.ends_with("\r\n\r\n{\"result\":\"success\"}"));
        for origin in [None, Some("")] {
            let answer = text(Answer::success(), origin);
            assert!(
                answer.contains("\r\nAccess-Control-Allow-Origin: *\r\n") && !answer.contains("Credentials")
            );
            assert!(
                answer.contains("Access-Control-Allow-Methods: GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS")
            );
        }
        let preflight = text(Answer::preflight(), Some("http://page"));
        assert!(preflight.starts_with("HTTP/1.1 204 ") && preflight.contains("X-Secret-Key"));
        assert!(text(ApiError::Busy("x").answer([0; 16], None), None).contains("Retry-After: 1\r\n"));
    }

    #[test]
    fn a_login_sets_a_cookie_for_a_year() {
        let answer = text(Answer::login("abc", 1_795_257_384), None);
        assert!(
            answer.contains("\r\nSet-Cookie: sid=abc;lang=en;path=/;expires=Sun, 21 Nov 2027 "),
            "{answer}"
        );
        assert!(answer.ends_with("{\"token\":\"abc\"}"));
    }

    #[test]
    fn trap_13_some_answers_are_plain_text() {
        assert!(text(Answer::text("demo"), None).contains("Content-Type: text/plain\r\n"));
        assert_eq!(read(&Answer::channels(["a", "b\""].into_iter())), json!({"channels": ["a", "b\""]}));
        assert_eq!(read(&Answer::list("events", ["{}", "1"].iter())), json!({"events": [{}, 1]}));
    }

    #[test]
    fn health_is_told_as_recorded() {
        let page = |which| read(&Answer::health(which, true));
        assert_eq!(page(Health::Short), json!({"status": "ok", "service": "pushi", "version": "0.6.10"}));
        assert_eq!(page(Health::Live), json!({"status": "ok"}));
        assert_eq!(page(Health::Ready), json!({"status": "ok", "ready": true}));
        assert_eq!(page(Health::Detailed)["checks"]["database"]["status"], "ok");
        assert_eq!(read(&Answer::health(Health::Detailed, false))["checks"]["database"]["status"], "memory");
        assert_eq!(page(Health::Info)["service"], "pushi");
    }
}
