//! What a request brings along to be let in.

use crate::limits::{GRANT_KEY_BYTES, GRANT_TOKEN_BYTES};
use crate::wire::http::request::Request;
use crate::wire::http::target::decode_text;
use std::borrow::Cow;
use std::fmt;

/// What a request brings along. Nothing of it is checked yet, but for its length: what is too long to be good is cut off,
/// which keeps it from being good.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// An API key.
    pub key: Option<Cow<'a, str>>,
    /// A token of ours, or a JWT.
    pub token: Option<Cow<'a, str>>,
    /// A signature,
    pub signature: Option<Cow<'a, str>>,
    /// when that ends,
    pub expires: Option<Cow<'a, str>>,
    /// and for whom it was made.
    pub user: Option<Cow<'a, str>>,
}

/// All of it is secret.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl<'a> Credentials<'a> {
    /// Those of a request. The query goes before headers: who can say both has chosen.
    pub fn of(request: &Request<'a>) -> Credentials<'a> {
        let target = request.target_parts();
        let query = |name: &str| decode_text(target.arg(name)?).ok().filter(|value| !value.is_empty());
        let header = |name: &str| std::str::from_utf8(request.headers.get(name)?).ok().map(Cow::Borrowed);
        let bearer = || {
            let value = std::str::from_utf8(request.headers.get("authorization")?).ok()?;
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| Cow::Borrowed(token.trim()))
        };
        let key = query("key").or_else(|| query("api_key")).or_else(|| header("x-api-key")).or_else(bearer);
        let token = query("token").or_else(|| query("access_token")).or_else(bearer);
        Credentials {
            key: key.map(|key| cut(key, GRANT_KEY_BYTES)),
            token: token.map(|token| cut(token, GRANT_TOKEN_BYTES)),
            signature: query("signature").map(|signature| cut(signature, GRANT_KEY_BYTES)),
            expires: query("expires").map(|expires| cut(expires, GRANT_KEY_BYTES)),
            user: query("user").map(|user| cut(user, GRANT_TOKEN_BYTES)),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.key.is_none() && self.token.is_none() && self.signature.is_none()
    }

    /// The same to keep.
    pub fn into_owned(self) -> Credentials<'static> {
        let own = |value: Option<Cow<'a, str>>| value.map(|value| Cow::Owned(value.into_owned()));
        Credentials {
            key: own(self.key),
            token: own(self.token),
            signature: own(self.signature),
            expires: own(self.expires),
            user: own(self.user),
        }
    }
}

/// One byte more than may be is left, so that it is still too long.
fn cut(value: Cow<'_, str>, most: usize) -> Cow<'_, str> {
    if value.len() <= most {
        return value;
    }
    let mut end = most + 1;
    while !value.is_char_boundary(end) {
        end += 1;
    }
    match value {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}
