//! Grants where Pushi passes them ([`crate::dialect::grant`]): a client once for each channel that it subscribes to and
//! each event that it sends, a back end once for each channel of an event. The protocol's own signature, and a back end's
//! session token, are signatures with the app's secret (the way `hmac`). A grant only closes: what the protocol wants
//! signed has to be signed whatever a grant says. A session does not wait for a back end, so that the way `hook` lets
//! nobody in here; who sets it for an app without locations is told at the start.

use super::answer::ApiError;
use super::channels::Role;
use super::client::{Client, fail};
use super::name::Kind;
use crate::dialect::app::App;
use crate::dialect::grant::revoked::What;
use crate::dialect::grant::{Act, Held, Revocation};
use crate::dialect::{Action, Context};
use crate::wire::ws::close;

impl Client {
    /// Whether it may subscribe. The connection has ended if not.
    pub(super) fn may_join(&mut self, cx: &mut Context<'_>, channel: &str, role: Role) -> bool {
        // What stands for another channel was signed with that one.
        let signed = Kind::of(channel).is_signed() || role != Role::Asked;
        self.may(cx, Act::Subscribe, channel, signed)
    }

    /// Whether it may send an event. The connection has ended if not.
    pub(super) fn may_publish(&mut self, cx: &mut Context<'_>, channel: &str) -> bool {
        self.may(cx, Act::Publish, channel, false)
    }

    fn may(&mut self, cx: &mut Context<'_>, act: Act, channel: &str, signed: bool) -> bool {
        let Some(app) = self.app().cloned() else { return false };
        let before = self.held.until_ms();
        match self.held.judge(cx, &app, act, channel, signed) {
            Ok(()) => {
                if let Some(until_ms) = self.held.until_ms().filter(|_| self.held.until_ms() != before) {
                    cx.act(Action::Deadline(until_ms));
                }
                true
            }
            Err(refusal) => {
                fail(cx, close::POLICY, refusal.label, refusal.text);
                false
            }
        }
    }

    /// Its deadline is the end of what has let it in.
    pub fn on_deadline(&self, cx: &mut Context<'_>) {
        match self.held.until_ms() {
            Some(_) if self.held.is_over(cx.now.mono_ms()) => {
                fail(cx, close::POLICY, "grant_expired", "the authorization has expired");
            }
            Some(until_ms) => cx.act(Action::Deadline(until_ms)),
            None => {}
        }
    }

    /// Whether what has let it in is taken back, or who it says it is.
    pub fn is_revoked_by(&self, revocation: &Revocation, app: u32) -> bool {
        let is_user = |user: &str| revocation.what == What::User && *revocation.id == *user;
        let own = self.app().is_some_and(|own| own.number == app);
        own && self.users().any(is_user) || self.held.is_revoked_by(revocation, app)
    }

    /// It is taken back.
    pub fn on_revoked(&self, cx: &mut Context<'_>) {
        fail(cx, close::POLICY, "grant_revoked", "the authorization was revoked");
    }
}

/// Whether a back end may publish in all of these channels.
pub(super) fn may_publish(cx: &Context<'_>, app: &App, channels: &[String]) -> Result<(), ApiError> {
    let mut held = Held::default();
    let judged = channels.iter().try_for_each(|name| held.judge(cx, app, Act::Publish, name, true));
    judged.map_err(|refusal| ApiError::Forbidden(refusal.text))
}
