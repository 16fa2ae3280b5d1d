//! Grants as the relay passes them ([`crate::dialect::grant`]): once for each request that subscribes or publishes, when
//! its channels are known and before the location's own `authorize`. A request like an earlier one does not come by here
//! ([`crate::dialect::Standing`]): only those stand that nothing can end.

use crate::dialect::Context;
use crate::dialect::grant::{Act, Admitted, Credentials, Denied, Question, Refusal, full_name};
use crate::dialect::relay::exchange::Ask;
use crate::wire::http::response::Response;

/// What a request has got behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The application has said yes for the grant.
    pub grant: bool,
    /// It has said yes for the location.
    pub location: bool,
}

/// Whether the request may do that in all of these channels.
///
/// # Errors
/// See [`Denied`].
pub fn judge(
    cx: &Context<'_>,
    ask: &Ask<'_>,
    act: Act,
    group: &[u8],
    ids: &[Vec<u8>],
    passed: Passed,
) -> Result<Admitted, Denied> {
    let open = Admitted { pass: None, stands: true };
    let grants = cx.apps.grants();
    if grants.is_empty() {
        return Ok(open);
    }
    let app = cx.apps.get(ask.location.app).filter(|app| grants.concern(&app.settings.id));
    let Some(app) = app else { return Ok(open) };
    let names: Vec<Vec<u8>> = ids.iter().map(|id| full_name(group, id)).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    grants.judge(&Question {
        app,
        act,
        channels: &names,
        credentials: &Credentials::of(ask.request),
        signed: false,
        hooked: passed.grant,
        now: cx.now,
    })
}

/// Tells that it may not.
pub fn refuse(cx: &mut Context<'_>, ask: &Ask<'_>, refusal: Refusal) {
    cx.refused(refusal.label, format!("{} {}: {}", ask.request.method_text, ask.path(), refusal.text));
    ask.answer(cx, &answer(refusal));
}

/// The answer to who may not.
fn answer(refusal: Refusal) -> Response {
    let answer = Response::new(refusal.status).body("text/plain", format!("{}\n", refusal.text));
    // RFC 9110 section 11.6.1: a 401 says how.
    if refusal.status == 401 { answer.header("WWW-Authenticate", "Bearer") } else { answer }
}
