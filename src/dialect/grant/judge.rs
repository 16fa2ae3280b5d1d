//! One question, judged: what a request brings along is looked at once, however many channels it is for.

use super::{Act, Admitted, Denied, Pass, Question, Refusal, Revoked, Rule, Way, Ways, signed_text};
use crate::limits::{GRANT_TOKEN_LIFE_S, GRANT_USER_BYTES};
use crate::wire::claims::{BadToken, Claims};
use crate::wire::sign::hmac_sha256;
use crate::wire::token;
use std::rc::Rc;

/// A token or signature that is good.
struct Proof {
    claims: Claims,
    /// When it ends, Unix milliseconds.
    until_ms: u64,
}

type Found = Result<Rc<Proof>, Refusal>;

struct Judging<'q> {
    revoked: &'q Revoked,
    question: &'q Question<'q>,
    signature: Option<Found>,
    token: Option<Found>,
    /// With the rule whose keys it was checked with.
    jwt: Option<(*const Rule, Found)>,
}

/// Whether something may be done under these rules.
pub(super) fn judge(rules: &[Rule], revoked: &Revoked, question: &Question<'_>) -> Result<Admitted, Denied> {
    let mut judging = Judging { revoked, question, signature: None, token: None, jwt: None };
    let mut admitted = Admitted { pass: None, stands: true };
    let mut hook = None;
    for name in question.channels {
        let rule = rules.iter().find(|rule| rule.channels.iter().any(|pattern| pattern.matches(name)));
        let Some(rule) = rule else { continue };
        match judging.one(rule, name) {
            Ok(one) => admitted.join(one),
            Err(Denied::Hook(url)) => {
                if hook.as_ref().is_some_and(|other| *other != url) {
                    return Err(Denied::Refused(Refusal::HOOKS));
                }
                hook = Some(url);
            }
            Err(refused) => return Err(refused),
        }
    }
    match hook {
        Some(_) if question.hooked => Ok(Admitted { stands: false, ..admitted }),
        Some(url) => Err(Denied::Hook(url)),
        None => Ok(admitted),
    }
}

impl Admitted {
    /// For both at a time.
    fn join(&mut self, other: Admitted) {
        self.stands &= other.stands;
        match (&mut self.pass, other.pass) {
            (Some(own), Some(other)) => own.join(&other),
            (None, other) => self.pass = other,
            (Some(_), None) => {}
        }
    }
}

impl Judging<'_> {
    fn one(&mut self, rule: &Rule, name: &[u8]) -> Result<Admitted, Denied> {
        let ways = match self.question.act {
            Act::Subscribe => rule.subscribe,
            Act::Publish => rule.publish,
        };
        if ways.has(Way::Open) || self.question.signed && ways.has(Way::Hmac) {
            return Ok(Admitted { pass: None, stands: ways.has(Way::Open) });
        }
        let credentials = self.question.credentials;
        // The last thing that was brought along and is not good enough says why.
        let mut refusal = if ways == Ways::NONE { Refusal::NONE } else { Refusal::MISSING };
        if let (true, Some(given)) = (ways.has(Way::Key), &credentials.key) {
            if rule.has_key(given) {
                return Ok(Admitted { pass: None, stands: true });
            }
            refusal = Refusal::KEY;
        }
        if let (true, Some(given)) = (ways.has(Way::Hmac), &credentials.signature) {
            match self.signature(given) {
                Ok(proof) => return Ok(self.admit(&proof)),
                Err(why) => refusal = why,
            }
        }
        if let Some(given) = &credentials.token
            && (ways.has(Way::Token) || ways.has(Way::Jwt))
        {
            match self.proof(rule, ways, given) {
                Ok(proof) => {
                    let any = rule.jwt_any_channel
                        && !proof.claims.names_channels
                        && !given.starts_with(token::PREFIX);
                    if any || proof.claims.cover(self.question.act == Act::Publish, name) {
                        return Ok(self.admit(&proof));
                    }
                    refusal = Refusal::CHANNEL;
                }
                Err(why) => refusal = why,
            }
        }
        match &rule.hook {
            Some(url) if ways.has(Way::Hook) => Err(Denied::Hook(url.clone())),
            _ => Err(Denied::Refused(refusal)),
        }
    }

    /// The claims of a token of either kind, if it holds.
    fn proof(&mut self, rule: &Rule, ways: Ways, given: &str) -> Found {
        if given.starts_with(token::PREFIX) {
            return match ways.has(Way::Token) {
                true => self.token(given),
                false => Err(BadToken::Malformed.into()),
            };
        }
        match &rule.jwt {
            Some(verifier) if ways.has(Way::Jwt) => {
                if let Some((of, found)) = &self.jwt
                    && std::ptr::eq(*of, rule)
                {
                    return found.clone();
                }
                let claims = verifier.verify(given, self.question.now.unix_ms);
                let found = self.holding(claims, verifier.leeway_ms);
                self.jwt = Some((rule, found.clone()));
                found
            }
            _ => Err(BadToken::Malformed.into()),
        }
    }

    fn token(&mut self, given: &str) -> Found {
        if self.token.is_none() {
            let now_ms = self.question.now.unix_ms;
            let claims = token::verify(self.question.app.settings.secret.as_bytes(), given);
            let claims = claims.and_then(|claims| claims.hold(now_ms, 0).map(|()| claims));
            self.token = Some(self.holding(claims, 0));
        }
        self.token.clone().unwrap_or(Err(Refusal::MISSING))
    }

    fn holding(&self, claims: Result<Claims, BadToken>, leeway_ms: u64) -> Found {
        let claims = claims.map_err(Refusal::from)?;
        if self.revoked.covers(&self.question.app.settings.id, &claims, self.question.now.unix_ms) {
            return Err(Refusal::REVOKED);
        }
        Ok(Rc::new(Proof { until_ms: claims.expires_ms.saturating_add(leeway_ms), claims }))
    }

    /// A signature is for all channels of the request.
    fn signature(&mut self, given: &str) -> Found {
        if self.signature.is_none() {
            self.signature = Some(self.checked_signature(given));
        }
        self.signature.clone().unwrap_or(Err(Refusal::MISSING))
    }

    fn checked_signature(&self, given: &str) -> Found {
        let Question { app, act, channels, credentials, now, .. } = self.question;
        let expires = credentials.expires.as_deref().unwrap_or_default();
        let user = credentials.user.as_deref().unwrap_or_default();
        let is_number = !expires.is_empty() && expires.bytes().all(|byte| byte.is_ascii_digit());
        let expires_s: Option<u64> = is_number.then(|| expires.parse().ok()).flatten();
        let expires_s = expires_s.filter(|_| user.len() <= GRANT_USER_BYTES).ok_or(Refusal::SIGNATURE)?;
        let text = signed_text(*act, &app.settings.id, expires, user, channels).ok_or(Refusal::SIGNATURE)?;
        if !hmac_sha256(app.settings.secret.as_bytes(), &text).matches(given.as_bytes()) {
            return Err(Refusal::SIGNATURE);
        }
        let claims = Claims {
            expires_ms: expires_s.saturating_mul(1000),
            user: (!user.is_empty()).then(|| user.into()),
            ..Claims::default()
        };
        match claims.hold(now.unix_ms, 0) {
            Err(BadToken::Expired) => Err(Refusal::EXPIRED),
            held => self.holding(held.map(|()| claims), 0),
        }
    }

    fn admit(&self, proof: &Proof) -> Admitted {
        let now = self.question.now;
        let left_ms = proof.until_ms.saturating_sub(now.unix_ms);
        debug_assert!(left_ms <= 2 * GRANT_TOKEN_LIFE_S * 1000, "judged before");
        let pass = Pass {
            app: self.question.app.number,
            until_ms: now.mono_ms().saturating_add(left_ms).max(1),
            user: proof.claims.user.clone(),
            token: proof.claims.id.clone(),
        };
        Admitted { pass: Some(Box::new(pass)), stands: false }
    }
}
