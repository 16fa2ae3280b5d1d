//! Who may subscribe and publish: rules for each app and pattern of channels, in one place for all dialects.
//!
//! A dialect asks [`Grants::judge`] once for each subscription and each request that publishes, before it asks a home;
//! never for a delivery. Of an app's rules the first that has a pattern for the channel decides; a channel that none is
//! about is open, as far as the dialect itself lets anybody there. Grants only close: what a dialect refuses stays
//! refused.
//!
//! | way | what lets in |
//! |---|---|
//! | `open` | nothing is needed |
//! | `none` | nobody gets in by it |
//! | `key` | an API key: query `key` or `api_key`, header `X-Api-Key` or `Authorization: Bearer` |
//! | `hmac` | a signature with the app's secret: query `signature`, `expires`, `user` ([`signed_text`]); where a dialect has its own signature with that secret (Pusher, Pushi), it is that one |
//! | `token` | a token of ours ([`crate::wire::token`]): query `token` or `access_token`, header `Authorization: Bearer` |
//! | `jwt` | a JWT ([`crate::wire::jwt`]), in the same places |
//! | `hook` | the application says so; only the relay can wait for it |
//!
//! Sessions that were let in by something that ends carry a [`Pass`]: they end with it, and when its user or token is
//! revoked ([`revoked`]).

pub mod credentials;
mod held;
mod judge;
pub mod revoked;

pub use credentials::Credentials;
pub use held::Held;
pub use revoked::{Revocation, Revoked};

use crate::channel::Now;
use crate::dialect::app::App;
use crate::wire::claims::BadToken;
use crate::wire::jwt;
use crate::wire::pattern::Pattern;
use std::collections::HashMap;
use std::sync::Arc;
use subtle::{Choice, ConstantTimeEq};

/// What somebody wants to do in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Listen.
    Subscribe,
    /// Put something in; also to make, describe and delete a channel by a publisher's request.
    Publish,
}

impl Act {
    /// As it is signed.
    pub fn name(self) -> &'static str {
        match self {
            Act::Subscribe => "subscribe",
            Act::Publish => "publish",
        }
    }
}

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// For everybody.
    Open,
    /// With an API key.
    Key,
    /// With a signature.
    Hmac,
    /// With a token of ours.
    Token,
    /// With a JWT.
    Jwt,
    /// If the application says so.
    Hook,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 6] = [Way::Open, Way::Key, Way::Hmac, Way::Token, Way::Jwt, Way::Hook];

    /// As a configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Way::Open => "open",
            Way::Key => "key",
            Way::Hmac => "hmac",
            Way::Token => "token",
            Way::Jwt => "jwt",
            Way::Hook => "hook",
        }
    }
}

/// A set of ways, any of which lets in; the empty one is `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways(u8);

impl Ways {
    /// Nobody gets in.
    pub const NONE: Ways = Ways(0);
    /// Everybody does.
    pub const OPEN: Ways = Ways(1 << Way::Open as u8);

    /// Whether `way` is one.
    pub fn has(self, way: Way) -> bool {
        self.0 & (1 << way as u8) != 0
    }

    /// The set with `way`.
    pub fn with(self, way: Way) -> Ways {
        Ways(self.0 | 1 << way as u8)
    }
}

/// One rule: what it takes to get into some channels.
#[derive(Debug)]
pub struct Rule {
    /// Which channels.
    pub channels: Box<[Pattern]>,
    /// To listen.
    pub subscribe: Ways,
    /// To publish.
    pub publish: Ways,
    /// API keys.
    pub keys: Box<[Box<str>]>,
    /// Which JWTs.
    pub jwt: Option<jwt::Verifier>,
    /// A JWT that does not name channels is good for those of this rule.
    pub jwt_any_channel: bool,
    /// Whom to ask.
    pub hook: Option<Arc<str>>,
}

impl Rule {
    /// Every key is looked at, whichever it is.
    fn has_key(&self, given: &str) -> bool {
        let same = |key: &str| key.as_bytes().ct_eq(given.as_bytes());
        self.keys.iter().fold(Choice::from(0), |found, key| found | same(key)).into()
    }
}

/// The rules of all apps. Replaced as a whole when keys are read anew; what is revoked stays.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    by_app: Arc<HashMap<Box<str>, Vec<Rule>>>,
    /// Users and tokens that count no longer.
    pub revoked: Arc<Revoked>,
}

/// What is to be judged.
pub struct Question<'a> {
    /// Whose channels.
    pub app: &'a App,
    /// What is wanted.
    pub act: Act,
    /// In which channels: their full names ([`full_name`]), all of which it has to be allowed in.
    pub channels: &'a [&'a [u8]],
    /// What the request brings along.
    pub credentials: &'a Credentials<'a>,
    /// The dialect has checked a signature with the app's secret for this.
    pub signed: bool,
    /// The application was asked ([`Denied::Hook`]) and has said yes.
    pub hooked: bool,
    /// The time.
    pub now: Now,
}

/// Somebody is let in.
#[derive(Debug, Default, PartialEq)]
pub struct Admitted {
    /// By something that ends.
    pub pass: Option<Box<Pass>>,
    /// The same request may be let in without asking again.
    pub stands: bool,
}

/// What somebody was let in by, for as long as the session lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Number of the app.
    pub app: u32,
    /// When it ends, monotonic milliseconds.
    pub until_ms: u64,
    /// The user.
    pub user: Option<Box<str>>,
    /// Id of the token.
    pub token: Option<Box<str>>,
}

impl Pass {
    /// Whether the revocation is about it.
    pub fn is_revoked_by(&self, revocation: &Revocation, app: u32) -> bool {
        let own = match revocation.what {
            revoked::What::User => &self.user,
            revoked::What::Token => &self.token,
        };
        self.app == app && own.as_deref() == Some(&*revocation.id)
    }
}

/// Somebody is not let in, yet or at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The application has to be asked at this URL.
    Hook(Arc<str>),
    /// No.
    Refused(Refusal),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 401: something else has to be brought along; 403: that will not help.
    pub status: u16,
    /// For metrics.
    pub label: &'static str,
    /// For the log and the answer.
    pub text: &'static str,
}

impl Refusal {
    const NONE: Refusal = Refusal { status: 403, label: "grant_none", text: "this channel is closed" };
    const MISSING: Refusal =
        Refusal { status: 401, label: "grant_missing", text: "this channel needs an authorization" };
    const KEY: Refusal = Refusal { status: 401, label: "grant_key", text: "the API key is not known here" };
    const SIGNATURE: Refusal =
        Refusal { status: 401, label: "grant_signature", text: "the signature is wrong" };
    const EXPIRED: Refusal =
        Refusal { status: 401, label: "grant_expired", text: "the signature has expired" };
    const REVOKED: Refusal =
        Refusal { status: 401, label: "grant_revoked", text: "the authorization was revoked" };
    const CHANNEL: Refusal =
        Refusal { status: 403, label: "grant_channel", text: "the authorization is for other channels" };
    const NO_HOOK: Refusal =
        Refusal { status: 403, label: "grant_hooks", text: "nobody can be asked for this channel here" };
    const HOOKS: Refusal = Refusal {
        status: 403,
        label: "grant_hooks",
        text: "these channels cannot be asked for in one request",
    };
}

impl From<BadToken> for Refusal {
    fn from(bad: BadToken) -> Refusal {
        Refusal { status: 401, label: bad.label(), text: bad.text() }
    }
}

/// The name by which rules and tokens know a channel: its id, behind the group and a `/` where it is in one.
pub fn full_name(group: &[u8], id: &[u8]) -> Vec<u8> {
    if group.is_empty() { id.to_vec() } else { [group, b"/", id].concat() }
}

/// What is signed for the way `hmac`: the lines `fanwire-grant`, `subscribe` or `publish`, id of the app, when it ends
/// (Unix seconds as in the query), the user (decoded; empty without one), and the full name of each channel in the order
/// of the request. HMAC-SHA256 with the app's secret, lower-case hex. `None`: a part has a line break, so that it is not
/// clear what is signed.
pub fn signed_text(act: Act, app: &str, expires: &str, user: &str, channels: &[&[u8]]) -> Option<Vec<u8>> {
    let head = ["fanwire-grant", act.name(), app, expires, user];
    let lines = head.iter().map(|line| line.as_bytes()).chain(channels.iter().copied());
    let mut out = Vec::new();
    for (number, line) in lines.enumerate() {
        if line.contains(&b'\n') {
            return None;
        }
        if number > 0 {
            out.push(b'\n');
        }
        out.extend_from_slice(line);
    }
    Some(out)
}

impl Grants {
    /// Rules, each with the id of its app, in the order in which they are asked.
    pub fn new(rules: Vec<(String, Rule)>, revoked: Arc<Revoked>) -> Grants {
        let mut by_app: HashMap<Box<str>, Vec<Rule>> = HashMap::new();
        for (app, rule) in rules {
            by_app.entry(app.into()).or_default().push(rule);
        }
        Grants { by_app: Arc::new(by_app), revoked }
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.by_app.is_empty()
    }

    /// Whether there are rules for the app with this id.
    pub fn concern(&self, app: &str) -> bool {
        self.by_app.contains_key(app)
    }

    /// Whether something may be done.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn judge(&self, question: &Question<'_>) -> Result<Admitted, Denied> {
        match self.by_app.get(&*question.app.settings.id) {
            Some(rules) => judge::judge(rules, &self.revoked, question),
            None => Ok(Admitted { pass: None, stands: true }),
        }
    }
}

impl Pass {
    /// For both at a time: the one that ends first, and whoever is known.
    pub fn join(&mut self, other: &Pass) {
        self.until_ms = self.until_ms.min(other.until_ms);
        self.user = self.user.take().or_else(|| other.user.clone());
        self.token = self.token.take().or_else(|| other.token.clone());
    }
}

#[cfg(test)]
mod tests;
