//! The keys of a `[[grant]]`.

use super::keys::Borrowed;
use super::mistake::hint;
use super::value::{Input, Millis, Refusal, Setting, quote_all};
use crate::dialect::grant::{Way, Ways};
use crate::limits::{GRANT_JWT_LEEWAY_MS, GRANT_JWT_LEEWAY_MS_MAX};
use crate::wire::jwt::Algorithm;
use std::fmt;

/// Who may subscribe and publish in some channels of an app.
#[derive(Clone, PartialEq, Eq)]
pub struct GrantSettings {
    /// Id of the app; `None` = the first one.
    pub app: Option<String>,
    /// Which of its channels, as [`crate::wire::pattern::Pattern::parse`] takes them.
    pub channels: Vec<String>,
    /// What lets somebody listen.
    pub subscribe: Ways,
    /// What lets somebody publish.
    pub publish: Ways,
    /// API keys.
    pub keys: Vec<String>,
    /// Whom to ask, as [`crate::channel::hook::HookTarget::parse`] takes it.
    pub hook: Option<String>,
    /// Algorithms of JWTs that are taken.
    pub jwt_algorithms: Vec<Algorithm>,
    /// Secret for HS256.
    pub jwt_secret: Option<String>,
    /// A file with a public key.
    pub jwt_key: Option<String>,
    /// A file with a set of keys.
    pub jwks: Option<String>,
    /// Issuers of JWTs that are taken; empty: all.
    pub jwt_issuer: Vec<String>,
    /// Audiences of JWTs that are taken; empty: all.
    pub jwt_audience: Vec<String>,
    /// How far the clocks of issuers may be off.
    pub jwt_leeway_ms: u64,
    /// A JWT that does not name channels is good for all of `channels`.
    pub jwt_any_channel: bool,
}

impl Default for GrantSettings {
    fn default() -> Self {
        GrantSettings {
            app: None,
            channels: vec!["*".into()],
            subscribe: Ways::OPEN,
            publish: Ways::OPEN,
            keys: Vec::new(),
            hook: None,
            jwt_algorithms: Vec::new(),
            jwt_secret: None,
            jwt_key: None,
            jwks: None,
            jwt_issuer: Vec::new(),
            jwt_audience: Vec::new(),
            jwt_leeway_ms: GRANT_JWT_LEEWAY_MS,
            jwt_any_channel: false,
        }
    }
}

/// Without what is secret.
impl fmt::Debug for GrantSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantSettings")
            .field("app", &self.app)
            .field("channels", &self.channels)
            .field("subscribe", &self.subscribe)
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}

impl GrantSettings {
    /// Whether the way is asked for at all.
    pub fn uses(&self, way: Way) -> bool {
        self.subscribe.has(way) || self.publish.has(way)
    }
}

/// One key of a grant.
pub(super) struct GrantKey {
    pub name: &'static str,
    /// The field it sets.
    pub slot: for<'a> fn(&'a mut GrantSettings) -> Box<dyn Setting + 'a>,
    /// Not to be printed.
    pub is_secret: bool,
}

macro_rules! keys {
    ($($name:ident$($secret:literal)?: $grant:ident => $slot:expr;)*) => {
        /// All keys, in the order in which they are printed.
        pub(super) const GRANT_KEYS: &[GrantKey] = &[$(GrantKey {
            name: stringify!($name),
            slot: |$grant| Box::new($slot),
            is_secret: false $(|| $secret)?,
        },)*];
    };
}

keys! {
    app: g => Borrowed(&mut g.app);
    channels: g => Borrowed(&mut g.channels);
    subscribe: g => WayList(&mut g.subscribe);
    publish: g => WayList(&mut g.publish);
    keys true: g => Borrowed(&mut g.keys);
    hook: g => Borrowed(&mut g.hook);
    jwt_algorithms: g => Algorithms(&mut g.jwt_algorithms);
    jwt_secret true: g => Borrowed(&mut g.jwt_secret);
    jwt_key: g => Borrowed(&mut g.jwt_key);
    jwks: g => Borrowed(&mut g.jwks);
    jwt_issuer: g => Borrowed(&mut g.jwt_issuer);
    jwt_audience: g => Borrowed(&mut g.jwt_audience);
    jwt_leeway: g => Millis(&mut g.jwt_leeway_ms, 0..=GRANT_JWT_LEEWAY_MS_MAX);
    jwt_any_channel: g => Borrowed(&mut g.jwt_any_channel);
}

/// How the empty set is written.
const NONE: &str = "none";

/// Names of ways.
struct WayList<'a>(&'a mut Ways);

impl Setting for WayList<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let elements = input.list();
        let (mut ways, mut closed) = (Ways::NONE, false);
        for element in &elements {
            let text = element.text()?;
            match Way::ALL.into_iter().find(|way| way.name() == text) {
                Some(way) => ways = ways.with(way),
                None if text == NONE => closed = true,
                None => {
                    let hint = hint(&text, Way::ALL.map(Way::name).into_iter().chain([NONE]));
                    return element.refuse(format!("unknown way `{}`{hint}", text.escape_debug()));
                }
            }
        }
        if elements.is_empty() || closed && ways != Ways::NONE {
            return input.refuse("needs ways in (such as \"key\", \"token\"), or \"none\" alone");
        }
        *self.0 = ways;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        let ways = Way::ALL.into_iter().filter(|&way| self.0.has(way)).map(Way::name);
        Some(quote_all(ways.chain((*self.0 == Ways::NONE).then_some(NONE))))
    }
}

/// Names of algorithms, as they stand in the heads of tokens.
struct Algorithms<'a>(&'a mut Vec<Algorithm>);

impl Setting for Algorithms<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let mut algorithms = Vec::new();
        for element in input.list() {
            let text = element.text()?;
            match Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == text) {
                Some(algorithm) => algorithms.push(algorithm),
                None => {
                    let known = Algorithm::ALL.map(Algorithm::name);
                    let hint = hint(&text, known);
                    let known = known.join(", ");
                    let text = text.escape_debug();
                    return element.refuse(format!("unknown algorithm `{text}`{hint}: there are {known}"));
                }
            }
        }
        *self.0 = algorithms;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote_all(self.0.iter().map(|algorithm| algorithm.name())))
    }
}
