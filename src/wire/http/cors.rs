//! Cross-origin headers (Fetch standard, section 3.2), in the two flavours of the sheets: nchan answers an
//! Origin (nchan.md section 6), py-hbpush always sends one configured string (http-push-relay.md section 6).

use super::origin;
use super::response::put_header;

/// Whom Access-Control-Allow-Origin names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowOrigin {
    /// Every origin, echoed.
    Echo,
    /// Every origin, as `*`.
    Star,
    /// This string whatever the origin, which is not checked.
    Fixed(String),
    /// The listed origins, echoed; others are not allowed.
    List(Vec<String>),
}

/// Policy of one location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Which origins.
    pub allow_origin: AllowOrigin,
    /// Credentials: `true` is sent when on; when off nothing is, or the literal `false` if `always`.
    pub allow_credentials: bool,
    /// Send the headers without an Origin, too, and the whole set on every answer: the relay flavour.
    pub always: bool,
    /// Seconds a preflight may be kept; not sent when `None`.
    pub max_age_seconds: Option<u32>,
    /// Request headers a script may set. Not sent when empty.
    pub allow_headers: String,
    /// Answer headers a script may read. Not sent when empty.
    pub expose_headers: String,
}

impl Cors {
    /// nchan's defaults for a subscriber or pubsub location.
    pub fn nchan() -> Self {
        Cors {
            allow_origin: AllowOrigin::Echo,
            allow_credentials: true,
            always: false,
            max_age_seconds: None,
            allow_headers:
                "If-None-Match, If-Modified-Since, Content-Type, Cache-Control, X-EventSource-Event"
                    .to_owned(),
            expose_headers: "Last-Modified, Etag, Content-Type".to_owned(),
        }
    }

    /// py-hbpush's defaults for a subscriber location.
    pub fn relay() -> Self {
        Cors {
            allow_origin: AllowOrigin::Fixed("*".to_owned()),
            allow_credentials: false,
            always: true,
            max_age_seconds: Some(864_000),
            allow_headers: "If-Modified-Since, If-None-Match, X-Cookie".to_owned(),
            expose_headers: "Last-Modified, Etag, Cache-Control".to_owned(),
        }
    }

    /// Whether the policy makes sense; to be called when the configuration is read.
    ///
    /// # Errors
    /// `*` with credentials, which browsers refuse (and py-hbpush at its start).
    pub fn check(&self) -> Result<(), &'static str> {
        let star = match &self.allow_origin {
            AllowOrigin::Star => true,
            AllowOrigin::Fixed(origin) => origin == "*",
            AllowOrigin::Echo | AllowOrigin::List(_) => false,
        };
        match star && self.allow_credentials {
            true => Err("allowed origin * cannot go with credentials"),
            false => Ok(()),
        }
    }

    /// Decides on the Origin header of a request. An empty one counts as absent.
    pub fn decide<'a>(&'a self, origin: Option<&'a [u8]>) -> Decision<'a> {
        let origin = origin.filter(|origin| !origin.is_empty());
        let allowed = match (&self.allow_origin, origin) {
            (AllowOrigin::List(list), Some(origin)) => {
                list.iter().any(|entry| origin::matches(entry, origin))
            }
            _ => true,
        };
        let value = match (&self.allow_origin, origin) {
            (_, None) if !self.always => None,
            (AllowOrigin::Star, _) => Some(b"*".as_slice()),
            (AllowOrigin::Fixed(fixed), _) => Some(fixed.as_bytes()),
            // A refused origin is echoed as well, so that the browser shows the 403 (nchan.md section 6).
            (AllowOrigin::Echo | AllowOrigin::List(_), origin) => origin,
        };
        Decision { allowed, value, policy: self }
    }
}

/// Which answer the lines are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Any but the following: errors, 304, 201...
    Plain,
    /// One that carries a message.
    Message,
    /// The answer to OPTIONS, with the allowed methods (`GET, POST`); empty sends no Allow-Methods.
    Preflight(&'a str),
}

/// What [`Cors::decide`] found.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// False: answer 403, whatever the method.
    pub allowed: bool,
    value: Option<&'a [u8]>,
    policy: &'a Cors,
}

impl Decision<'_> {
    /// Whether there are lines to send at all.
    pub fn has_lines(&self) -> bool {
        self.value.is_some()
    }

    /// Appends the header lines.
    pub fn write(&self, out: &mut Vec<u8>, answer: Answer<'_>) {
        let Some(origin) = self.value else { return };
        let policy = self.policy;
        put_header(out, "Access-Control-Allow-Origin", origin);
        match (policy.allow_credentials, policy.always) {
            (true, _) => put_header(out, "Access-Control-Allow-Credentials", b"true"),
            (false, true) => put_header(out, "Access-Control-Allow-Credentials", b"false"),
            (false, false) => false,
        };
        let is_preflight = matches!(answer, Answer::Preflight(_));
        if let Answer::Preflight(methods) = answer
            && !policy.always
        {
            put_unless_empty(out, "Access-Control-Allow-Methods", methods);
        }
        if is_preflight || policy.always {
            put_unless_empty(out, "Access-Control-Allow-Headers", &policy.allow_headers);
        }
        if answer == Answer::Message || policy.always {
            put_unless_empty(out, "Access-Control-Expose-Headers", &policy.expose_headers);
        }
        if let Some(seconds) = policy.max_age_seconds
            && (is_preflight || policy.always)
        {
            put_header(out, "Access-Control-Max-Age", seconds.to_string().as_bytes());
        }
    }
}

fn put_unless_empty(out: &mut Vec<u8>, name: &str, value: &str) {
    if !value.is_empty() {
        put_header(out, name, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(cors: &Cors, origin: Option<&str>, answer: Answer<'_>) -> (bool, String) {
        let decision = cors.decide(origin.map(str::as_bytes));
        let mut out = Vec::new();
        decision.write(&mut out, answer);
        assert_eq!(decision.has_lines(), !out.is_empty());
        (decision.allowed, String::from_utf8(out).unwrap().replace("Access-Control-", ""))
    }

    #[test]
    fn nchan_answers_an_origin() {
        let cors = Cors::nchan();
        assert_eq!(lines(&cors, None, Answer::Message), (true, String::new()));
        assert_eq!(lines(&cors, Some(""), Answer::Message), (true, String::new()));
        let base = "Allow-Origin: http://a\r\nAllow-Credentials: true\r\n";
        assert_eq!(lines(&cors, Some("http://a"), Answer::Plain), (true, base.to_owned()));
        let message = format!("{base}Expose-Headers: Last-Modified, Etag, Content-Type\r\n");
        assert_eq!(lines(&cors, Some("http://a"), Answer::Message), (true, message));
        let preflight = format!(
            "{base}Allow-Methods: GET\r\nAllow-Headers: If-None-Match, If-Modified-Since, Content-Type, \
             Cache-Control, X-EventSource-Event\r\n"
        );
        assert_eq!(lines(&cors, Some("http://a"), Answer::Preflight("GET")), (true, preflight));
    }

    #[test]
    fn a_list_refuses_others_and_still_echoes() {
        let cors = Cors {
            allow_origin: AllowOrigin::List(vec!["http://a".to_owned(), "https://B".to_owned()]),
            allow_credentials: false,
            ..Cors::nchan()
        };
        let echo = |origin: &str| format!("Allow-Origin: {origin}\r\n");
        assert_eq!(lines(&cors, Some("http://a"), Answer::Plain), (true, echo("http://a")));
        assert_eq!(lines(&cors, Some("https://b"), Answer::Plain), (true, echo("https://b")));
        assert_eq!(lines(&cors, Some("http://a.evil"), Answer::Plain), (false, echo("http://a.evil")));
        assert_eq!(lines(&cors, None, Answer::Plain), (true, String::new()));
        let star = Cors { allow_origin: AllowOrigin::Star, ..cors };
        assert_eq!(lines(&star, Some("http://x"), Answer::Plain), (true, echo("*")));
    }

    #[test]
    fn the_relay_always_sends_its_string() {
        let fixed = AllowOrigin::Fixed("http://127.0.0.1:8000".to_owned());
        let cors = Cors { allow_origin: fixed, allow_credentials: true, ..Cors::relay() };
        let expected = "Allow-Origin: http://127.0.0.1:8000\r\nAllow-Credentials: true\r\n\
             Allow-Headers: If-Modified-Since, If-None-Match, X-Cookie\r\n\
             Expose-Headers: Last-Modified, Etag, Cache-Control\r\nMax-Age: 864000\r\n";
        for (origin, answer) in [
            (None, Answer::Message),
            (Some("http://evil"), Answer::Message),
            (None, Answer::Preflight("GET")),
            (None, Answer::Plain),
        ] {
            assert_eq!(lines(&cors, origin, answer), (true, expected.to_owned()));
        }
        let (_, default) = lines(&Cors::relay(), None, Answer::Message);
        assert!(default.starts_with("Allow-Origin: *\r\nAllow-Credentials: false\r\n"));
    }

    #[test]
    fn star_with_credentials_is_a_configuration_error() {
        assert!(Cors::nchan().check().is_ok() && Cors::relay().check().is_ok());
        assert!(Cors { allow_credentials: true, ..Cors::relay() }.check().is_err());
        assert!(Cors { allow_origin: AllowOrigin::Star, ..Cors::nchan() }.check().is_err());
    }
}
