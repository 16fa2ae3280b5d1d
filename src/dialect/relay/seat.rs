//! Connections of an app: those that last, where its location has one whose connections are limited.

use crate::dialect::relay::exchange::Ask;
use crate::dialect::{Action, Context, upgrade};
use crate::limits::TURNED_AWAY_RETRY_AFTER_S;
use crate::wire::http::response::Response;

const REASON: &str = "the app has as many connections as it may";

/// Counts what lasts (a subscriber, as long as it is there, or a WebSocket that publishes) as a connection of the
/// location's app. False: that has as many as it may, and the client was told: 503, or 1013.
pub fn take(cx: &mut Context<'_>, ask: &Ask<'_>) -> bool {
    let Some(app) = cx.apps.get(ask.location.app).filter(|app| app.settings.max_connections > 0) else {
        return true;
    };
    if let Some(seat) = app.connect() {
        cx.act(Action::Count(seat));
        return true;
    }
    cx.refused("app_connections", format!("{} {}: {REASON}", ask.request.method_text, ask.path()));
    if ask.request.upgrade_websocket {
        upgrade::turn_away(cx, ask.request, REASON);
    } else {
        let answer = Response::new(503).number("Retry-After", TURNED_AWAY_RETRY_AFTER_S);
        ask.answer(cx, &answer.body("text/plain", format!("{REASON}\n")));
    }
    false
}
