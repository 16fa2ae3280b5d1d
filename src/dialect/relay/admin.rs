//! Group and status locations (nchan sheet section 5).

use crate::channel::command::GroupInfo;
use crate::channel::{Answer, Command};
use crate::dialect::grant::{Act, Denied};
use crate::dialect::relay::admission::{self, Passed};
use crate::dialect::relay::exchange::{Ask, finish, refusal};
use crate::dialect::relay::location::group_limits;
use crate::dialect::relay::{Session, State, info};
use crate::dialect::{Action, Context};
use crate::wire::http::accept::{InfoFormat, info_format};
use crate::wire::http::cors;
use crate::wire::http::request::Method;
use crate::wire::http::response::Response;
use bytes::Bytes;

/// A question about a group that its home has to answer.
#[derive(Debug)]
pub struct Question {
    lines: Bytes,
    format: InfoFormat,
}

/// A request to a group location.
pub fn group(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session) {
    let Some(limits) = ask.location.settings.group_limits else {
        return ask.refuse(cx, 403, "group_accounting", "Channel group accounting is off here.");
    };
    let command = match ask.request.method {
        Method::Get | Method::Head => Command::GroupInfo { set: None },
        Method::Post | Method::Put => Command::GroupInfo { set: Some(group_limits(limits)) },
        Method::Delete => Command::GroupDelete,
        Method::Options => return ask.options(cx, "GET, POST, DELETE, OPTIONS"),
        _ => return ask.refuse_method(cx, 405, "GET, POST, DELETE, OPTIONS"),
    };
    let group = ask.location.group(&ask.scope(cx));
    let group = match group {
        Ok(group) => group,
        Err(bad) => return ask.refuse(cx, 403, bad.label(), bad.text()),
    };
    // A group is to grants what its channels' names begin with; nobody is asked for it.
    match admission::judge(cx, ask, Act::Publish, &group, &[Vec::new()], Passed::default()) {
        Ok(_) => {}
        Err(Denied::Refused(refusal)) => return admission::refuse(cx, ask, refusal),
        Err(Denied::Hook(_)) => return ask.refuse(cx, 403, "grant_hooks", "A group cannot be asked for."),
    }
    let format = info_format(ask.request.headers.all("accept"));
    let question = Question { lines: ask.lines(cors::Answer::Plain), format };
    session.state = State::Question(Box::new(question));
    cx.act(Action::Command { key: ask.location.key(ask.hasher, &group, b""), command, tag: 0 });
}

impl Question {
    /// The home has answered.
    pub fn on_answer(&self, cx: &mut Context<'_>, session: &Session, answer: &Answer) {
        let info = match answer {
            Answer::Group(info) => *info,
            Answer::Refused(why) => {
                cx.refused(why.label(), "group");
                return finish(cx, session.http, &refusal(*why, false), &self.lines);
            }
            _ => GroupInfo::default(),
        };
        let body = info::group(&info, self.format);
        finish(cx, session.http, &Response::new(200).body(self.format.content_type(), body), &self.lines);
    }
}

/// A request to a status location.
pub fn status(cx: &mut Context<'_>, ask: &Ask<'_>) {
    match ask.request.method {
        Method::Get | Method::Head => {
            let body = info::status(cx.figures);
            ask.answer(cx, &Response::new(200).body("text/plain", body));
        }
        Method::Options => ask.options(cx, "GET, OPTIONS"),
        _ => ask.refuse_method(cx, 405, "GET, OPTIONS"),
    }
}
