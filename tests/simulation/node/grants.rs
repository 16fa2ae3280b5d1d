//! Tokens that let subscribers into the closed channel, and which of them count no longer.

use fanwire::dialect::grant::{Rule, Way, Ways, revoked::What};
use fanwire::wire::pattern::Pattern;
use fanwire::wire::token;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The channel that needs a token where [`super::world::Shape::closed`] is set.
pub const CLOSED: usize = 1;

/// The rule that closes it.
pub fn rule() -> Rule {
    Rule {
        channels: [Pattern::parse(super::world::NAMES[CLOSED]).expect("a pattern")].into(),
        subscribe: Ways::NONE.with(Way::Token),
        publish: Ways::OPEN,
        keys: [].into(),
        jwt: None,
        jwt_any_channel: false,
        hook: None,
    }
}

/// A token, and what it says.
#[derive(Clone, Debug)]
pub struct Pass {
    pub user: String,
    pub id: String,
    issued_ms: u64,
    pub token: String,
}

impl Pass {
    /// For a user; no other one has this number.
    pub fn new(user: &str, number: u64, now_s: u64) -> Pass {
        let id = format!("t{number}");
        let claims = json!({
            "exp": now_s + 86_400, "iat": now_s, "sub": user, "jti": id, "subscribe": super::world::NAMES[CLOSED],
        });
        let token = token::sign(b"secret", claims.to_string().as_bytes());
        Pass { user: user.into(), id, issued_ms: now_s * 1000, token }
    }
}

/// Everything that was revoked.
#[derive(Default)]
pub struct Taken {
    users: BTreeMap<String, u64>,
    tokens: BTreeSet<String>,
}

impl Taken {
    pub fn take(&mut self, what: What, id: &str, at_ms: u64) {
        match what {
            What::User => {
                // A clock that is set back gives nobody anything back.
                let before = self.users.entry(id.into()).or_default();
                *before = at_ms.max(*before);
            }
            What::Token => drop(self.tokens.insert(id.into())),
        }
    }

    /// Whether it counts no longer.
    pub fn covers(&self, pass: &Pass) -> bool {
        self.tokens.contains(&pass.id)
            || self.users.get(&pass.user).is_some_and(|at_ms| pass.issued_ms <= *at_ms)
    }

    /// Whether anything of this user was ever revoked.
    pub fn knows(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }
}
