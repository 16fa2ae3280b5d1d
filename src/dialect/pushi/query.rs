//! Parameters of a request: its query, and the body where that is a form (pushi.md section 9).

use crate::wire::http::headers::Headers;
use crate::wire::http::target::{decode_form, pairs};

/// The names under which a session's token may come.
const SID_NAMES: [&str; 3] = ["sid", "session_id", "_sid"];

/// Parameters, decoded, in their order. The first of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query, then a form. What is not well escaped is taken as it is.
    pub fn parse(query: &str, form: &str) -> Params {
        let text = |raw: &str| decode_form(raw).map_or_else(|_| raw.to_owned(), |text| text.into_owned());
        let all = pairs(query).chain(pairs(form));
        Params(all.map(|(name, value)| (text(name), text(value.unwrap_or_default()))).collect())
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| &**value)
    }

    /// As [`Params::get`], but an empty value is none.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// A flag: everything is true but four texts.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "" | "0" | "false" | "False"))
    }

    /// The session's token: a parameter, else the cookie `sid`, else a header (section 9.1).
    pub fn token<'a>(&'a self, headers: &Headers<'a>) -> Option<&'a str> {
        let text = |value: &'a [u8]| std::str::from_utf8(value).ok();
        SID_NAMES
            .iter()
            .find_map(|name| self.filled(name))
            .or_else(|| headers.all("cookie").filter_map(text).find_map(cookie_sid))
            .or_else(|| headers.get("x-session-id").and_then(text))
            .filter(|token| !token.is_empty())
    }
}

fn cookie_sid(cookie: &str) -> Option<&str> {
    cookie
        .split(';')
        .filter_map(|piece| piece.trim().split_once('='))
        .find(|(name, _)| *name == "sid")
        .map(|(_, v)| v)
}

/// The body as text where its type says that it is a form.
pub fn form_of<'a>(headers: &Headers<'_>, body: &'a [u8]) -> &'a str {
    let is_form = headers.get("content-type").is_some_and(|value| {
        let name = value.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    });
    if is_form { std::str::from_utf8(body).unwrap_or_default() } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_the_first_counts() {
        let params = Params::parse("a=1%202&a=3&b+c&d=%zz&e=", "f=x+y&b=form");
        for (name, value) in [("a", "1 2"), ("b c", ""), ("d", "%zz"), ("e", ""), ("f", "x y"), ("b", "form")]
        {
            assert_eq!(params.get(name), Some(value), "{name}");
        }
        assert_eq!((params.get("g"), params.filled("e")), (None, None));
    }

    #[test]
    fn nearly_everything_is_true() {
        let params = Params::parse("a=True&b=1&c=no&d=0&e=false&f=False&g=", "");
        let flags: Vec<bool> = "abcdefgh".chars().map(|name| params.is_true(&name.to_string())).collect();
        assert_eq!(flags, [true, true, true, false, false, false, false, false]);
    }

    #[test]
    fn a_token_comes_in_many_ways() {
        use crate::wire::http::request::{Event, Lines, Reader};
        let token = |query: &str, lines_text: &str, form: &str| {
            let mut input = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines_text}\r\n").into_bytes();
            let (mut reader, mut lines) = (Reader::default(), Lines::default());
            let step = reader.step(&mut input, &mut lines, &Default::default()).unwrap();
            let Some(Event::Request(request)) = step.event else { panic!() };
            Params::parse(query, form).token(&request.headers).map(str::to_owned)
        };
        for (query, lines, form) in [
            ("sid=t", "", ""),
            ("x=1&session_id=t", "", ""),
            ("_sid=t", "Cookie: sid=other\r\n", ""),
            ("", "", "sid=t"),
            ("sid=", "Cookie: lang=en; sid=t\r\n", ""),
            ("", "Cookie: a=b\r\nCookie: sid=t\r\n", ""),
            ("", "X-Session-Id: t\r\n", ""),
        ] {
            assert_eq!(token(query, lines, form).as_deref(), Some("t"), "{query} {lines} {form}");
        }
        assert_eq!(token("", "Cookie: xsid=t\r\n", ""), None);
    }
}
