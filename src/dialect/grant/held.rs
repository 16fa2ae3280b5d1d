//! What a connection with many subscriptions was let in by.

use super::{Act, Credentials, Denied, Pass, Question, Refusal, Revocation};
use crate::dialect::Context;
use crate::dialect::app::{App, Apps};
use crate::wire::http::request::Request;

/// What a client has brought along in its handshake, and what that has let it in by. The connection ends when the first of
/// that does.
#[derive(Debug, Default)]
pub struct Held {
    credentials: Option<Box<Credentials<'static>>>,
    pass: Option<Box<Pass>>,
}

impl Held {
    /// Of a handshake. Where there are no grants nothing is kept.
    pub fn of(request: &Request<'_>, apps: &Apps) -> Held {
        if apps.grants().is_empty() {
            return Held::default();
        }
        let credentials = Some(Credentials::of(request)).filter(|credentials| !credentials.is_empty());
        Held { credentials: credentials.map(|some| Box::new(some.into_owned())), pass: None }
    }

    /// Whether something may be done in a channel; `signed`: the dialect has checked a signature with the app's secret for
    /// it. Afterwards [`Held::until_ms`] may be another time.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(
        &mut self,
        cx: &Context<'_>,
        app: &App,
        act: Act,
        name: &str,
        signed: bool,
    ) -> Result<(), Refusal> {
        let grants = cx.apps.grants();
        if grants.is_empty() {
            return Ok(());
        }
        let none = Credentials::default();
        let credentials = self.credentials.as_deref().unwrap_or(&none);
        let channels = &[name.as_bytes()];
        let judged =
            grants.judge(&Question { app, act, channels, credentials, signed, hooked: false, now: cx.now });
        let admitted = judged.map_err(|denied| match denied {
            Denied::Refused(refusal) => refusal,
            Denied::Hook(_) => Refusal::NO_HOOK,
        })?;
        match (&mut self.pass, admitted.pass) {
            (Some(own), Some(other)) => own.join(&other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
        Ok(())
    }

    /// When the connection ends, monotonic milliseconds; `None`: nothing ends it.
    pub fn until_ms(&self) -> Option<u64> {
        self.pass.as_ref().map(|pass| pass.until_ms)
    }

    /// Whether that time has come.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.until_ms().is_some_and(|until_ms| until_ms <= now_ms)
    }

    /// Whether what has let it in is taken back.
    pub fn is_revoked_by(&self, revocation: &Revocation, app: u32) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.is_revoked_by(revocation, app))
    }
}
