//! Grants where Pusher passes them ([`crate::dialect::grant`]): a client once for each channel that it subscribes to and
//! each event that it sends, a back end once for each channel of an event. The protocol's own signature of a subscription,
//! and that of a back end's request, are signatures with the app's secret (the way `hmac`); a client's event has none. A
//! grant only closes: what the protocol wants signed has to be signed whatever a grant says. A session does not wait for
//! a back end, so that the way `hook` lets nobody in here; who sets it for an app without locations is told at the start.

use super::Pusher;
use super::api::ApiError;
use super::auth::AuthError;
use super::client::Client;
use super::name::Name;
use super::refusal::Refusal;
use crate::dialect::Context;
use crate::dialect::app::App;
use crate::dialect::grant::revoked::What;
use crate::dialect::grant::{Act, Held, Revocation};

impl Client {
    /// Whether it may subscribe, as far as grants go.
    pub(super) fn may_subscribe(
        &mut self,
        pusher: &Pusher,
        cx: &mut Context<'_>,
        name: Name<'_>,
    ) -> Result<(), AuthError> {
        let (app, before) = (self.app().clone(), self.held.until_ms());
        let judged = self.held.judge(cx, &app, Act::Subscribe, name.text(), name.kind().needs_auth());
        if let Err(why) = judged {
            cx.refused(why.label, format!("{}: {}", name.text(), why.text));
            return Err(AuthError::Grant(why.text));
        }
        if self.held.until_ms() != before {
            self.authorized();
            self.set_deadline(pusher, cx);
        }
        Ok(())
    }

    /// Whether what has let it in is taken back, or who it has signed in as.
    pub fn is_revoked_by(&self, revocation: &Revocation, app: u32) -> bool {
        let user = self.user.as_ref().map(|user| &*user.user.member.id);
        let is_user = revocation.what == What::User && user == Some(&*revocation.id);
        is_user && self.app().number == app || self.held.is_revoked_by(revocation, app)
    }

    /// It is taken back.
    pub fn on_revoked(&self, cx: &mut Context<'_>) {
        cx.refused("grant_revoked", "a session is ended");
        self.refuse(cx, Refusal::Terminated, None);
    }
}

/// Whether a back end may publish in the channel.
pub(super) fn may_publish(cx: &Context<'_>, app: &App, name: &str) -> Result<(), ApiError> {
    let judged = Held::default().judge(cx, app, Act::Publish, name, true);
    judged.map_err(|why| ApiError::Grant(why.text))
}
