//! Long polling and interval polling (nchan sheet section 4, http-push-relay sheet section 3).
//!
//! When the node drains, a held poll gets 503 with Retry-After and Connection: close. The real clients come back
//! one reconnect delay (1 s) after any error with the position they had: nchan's client treats every status
//! outside 200 to 210 so, updates.js every failure. A 304 would be worse: updates.js takes it for success, and
//! without ids it starts over at the oldest message, with ids it polls again at once. 408 is repeated at once by
//! browsers on connections that were used before.

use crate::channel::{Answer, Class, Ended, Position, Publication, Refusal};
use crate::dialect::grant::Pass;
use crate::dialect::relay::exchange::{Ask, finish, refusal};
use crate::dialect::relay::form::{Forms, Kind, VARY, Variant, poll_head};
use crate::dialect::relay::location::Location;
use crate::dialect::relay::multi::Multi;
use crate::dialect::relay::position::{Id, TagText, Wanted};
use crate::dialect::relay::settings::{Flavour, LongPollMultipart, Transport};
use crate::dialect::relay::subscriber::{Attend, Leave, Plan};
use crate::dialect::relay::{Session, State};
use crate::dialect::{Action, Context, Form};
use crate::limits::{RELAY_SHARED_PAYLOAD_BYTES, TICK_MS};
use crate::wire::http::cors;
use crate::wire::http::response::{Response, put_header};
use bytes::Bytes;
use std::sync::Arc;

/// A poll that has no answer yet.
#[derive(Debug)]
pub struct Poll {
    /// Cross-origin lines of the answer.
    lines: Bytes,
    /// What is not above this is not for it.
    after: Option<Position>,
    rare: Option<Box<Rare>>,
}

/// What few polls need.
#[derive(Debug, Default)]
struct Rare {
    multi: Option<Multi>,
    attend: Option<Box<Attend>>,
    leave: Option<Leave>,
    /// Lines of a 304.
    nothing_new: Vec<u8>,
    /// What lets it in, where that can end.
    pass: Option<Box<Pass>>,
}

/// Starts a poll.
pub fn begin(cx: &mut Context<'_>, ask: &Ask<'_>, session: &mut Session, plan: Plan) {
    let interval = plan.transport == Transport::IntervalPoll;
    let lines = ask.lines(cors::Answer::Message);
    let resume = match &plan.wanted {
        Wanted::Behind(resume) => Some(resume),
        _ => None,
    };
    let after = resume.filter(|_| plan.channels == 1).map(|resume| resume.after(0));
    let class = if interval { Class::Glance } else { Class::OneShot };
    plan.subscribe(cx, ask, class, Form::SESSION);
    let multi = (plan.channels > 1).then(|| Multi::new(plan.channels, plan.keys.len(), resume.cloned()));
    let mut nothing_new = Vec::new();
    if interval {
        echo_ids(ask, &plan.wanted, &mut nothing_new);
    }
    let is_rare = multi.is_some() || plan.attend.is_some() || !nothing_new.is_empty() || plan.pass.is_some();
    let rare = is_rare
        .then(|| Box::new(Rare { multi, attend: plan.attend, leave: None, nothing_new, pass: plan.pass }));
    session.kind = Kind::PollHead;
    session.state = State::Poll(Box::new(Poll { lines, after, rare }));
}

/// The ids of the request, for a 304: as they came, or as the headers say them.
fn echo_ids(ask: &Ask<'_>, wanted: &Wanted, out: &mut Vec<u8>) {
    let settings = &ask.location.settings;
    let etag = settings.custom_etag_header.as_deref().unwrap_or("Etag");
    let headers = &ask.request.headers;
    let (since, tag) = (headers.get("if-modified-since"), headers.get("if-none-match"));
    if since.is_some() || tag.is_some() {
        for (name, value) in [("Last-Modified", since.filter(|_| !settings.compound_etag)), (etag, tag)] {
            value.map(|value| put_header(out, name, value));
        }
    } else if let Wanted::Behind(resume) = wanted {
        let text = resume.text();
        let tag = text.split_once(':').map_or("", |(_, tag)| tag);
        Variant::of(settings, None).put_ids(out, &Id { time: resume.time, tag: tag.as_bytes() });
    }
}

/// Why a poll ends without a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    /// Its channel was deleted.
    Deleted,
    /// Another poll took its place.
    Displaced,
    /// It was held too long.
    Timeout,
    /// The client sent its next request.
    NextRequest,
    /// The node stops.
    Drain,
    /// Nothing is stored, and it does not wait.
    NothingNew,
    /// What let it in has ended,
    Expired,
    /// or was revoked.
    Revoked,
}

impl Poll {
    /// A home has answered. True: the exchange is over.
    pub fn on_answer(
        &mut self,
        cx: &mut Context<'_>,
        forms: &Forms,
        location: &Location,
        session: &Session,
        tag: u16,
        answer: Answer,
    ) -> bool {
        let settings = &location.settings;
        let anybody_may_come = settings.create_on_get && !settings.existing_channels_only;
        let (backlog, waits) = match answer {
            Answer::Subscribed(subscribed) => (subscribed.backlog, subscribed.registered.is_some()),
            // An interval poll does not make a channel; there is nothing in it either way.
            Answer::Refused(Refusal::NotFound) if settings.interval_polling() && anybody_may_come => {
                (Vec::new(), false)
            }
            Answer::Refused(why) => {
                cx.refused(why.label(), "subscribe");
                let answer = refusal(why, settings.existing_channels_only);
                finish(cx, session.http, &answer, &self.lines);
                return true;
            }
            _ => return false,
        };
        match self.rare.as_mut().and_then(|rare| rare.multi.as_mut()) {
            None if backlog.is_empty() => self.nothing_stored(cx, location, session, waits),
            None => {
                let stored = backlog.into_iter().map(|publication| (0, publication)).collect();
                self.arrive(cx, false);
                self.respond(cx, forms, location, session, stored);
                true
            }
            Some(multi) => {
                if !multi.answered(tag, backlog) {
                    return false;
                }
                let stored = multi.take();
                if stored.is_empty() {
                    return self.nothing_stored(cx, location, session, waits);
                }
                self.arrive(cx, false);
                self.respond(cx, forms, location, session, stored);
                true
            }
        }
    }

    fn nothing_stored(
        &mut self,
        cx: &mut Context<'_>,
        location: &Location,
        session: &Session,
        waits: bool,
    ) -> bool {
        if !waits {
            self.end(cx, location, session, Void::NothingNew);
            return true;
        }
        self.arrive(cx, true);
        let settings = &location.settings;
        let times = [settings.subscriber_timeout_ms, settings.poll_hold_ms].into_iter().filter(|&ms| ms > 0);
        let timeout = times.min().map(|ms| cx.now.mono_ms().saturating_add(ms));
        let until = self.pass().map(|pass| pass.until_ms);
        if let Some(at) = [timeout, until].into_iter().flatten().min() {
            cx.act(Action::Deadline(at));
        }
        false
    }

    /// Something was published. True: the exchange is over.
    pub fn on_publication(
        &mut self,
        cx: &mut Context<'_>,
        forms: &Forms,
        location: &Location,
        session: &Session,
        tag: u16,
        publication: &Arc<Publication>,
    ) -> bool {
        if self.after.is_some_and(|after| publication.position <= after) {
            return false;
        }
        if let Some(multi) = self.rare.as_mut().and_then(|rare| rare.multi.as_mut()) {
            if multi.is_waiting() {
                multi.hold_back(tag, publication.clone());
                return false;
            }
            if !multi.is_wanted(tag, publication.position) {
                return false;
            }
        }
        self.respond(cx, forms, location, session, vec![(tag, publication.clone())]);
        true
    }

    /// Answers with the first of `messages`, or with all of them where the location has it so.
    fn respond(
        &mut self,
        cx: &mut Context<'_>,
        forms: &Forms,
        location: &Location,
        session: &Session,
        messages: Vec<(u16, Arc<Publication>)>,
    ) {
        let Some(variant) = forms.variant(location.variant) else { return };
        let together = location.settings.longpoll_multipart;
        if messages.len() > 1 && together != LongPollMultipart::Off {
            self.respond_together(cx, forms, location, session, &messages, together);
        } else if let Some((channel, publication)) = messages.first() {
            let multi = self.rare.as_mut().and_then(|rare| rare.multi.as_mut());
            let head = match multi {
                None => cx.encoder.frame(Forms::form(Kind::PollHead, location.variant), None, publication),
                Some(multi) => {
                    let (time, tags) = multi.advance(*channel, publication.position);
                    let message = &publication.message;
                    let mut head = Vec::with_capacity(256);
                    let id = Id { time, tag: &tags };
                    poll_head(
                        variant,
                        &id,
                        message.content_type.as_deref(),
                        message.payload.len(),
                        &mut head,
                    );
                    head.into()
                }
            };
            let payload = &publication.message.payload;
            if payload.len() < RELAY_SHARED_PAYLOAD_BYTES {
                let tail = cx.encoder.frame(Forms::form(Kind::PollTail, location.variant), None, publication);
                self.send(cx, session, head, tail);
            } else {
                // Polls that come one after the other would each have a copy until they have taken it.
                self.send(cx, session, head, Bytes::from_static(b"\r\n"));
                cx.send(payload.clone());
            }
            cx.act(Action::Delivered);
        }
        cx.act(if session.http.keep_alive() { Action::Done } else { Action::Close });
        self.leave(cx);
    }

    fn send(&self, cx: &mut Context<'_>, session: &Session, head: Bytes, tail: Bytes) {
        cx.send(head);
        let date = cx.encoder.date_line(cx.now.unix_s());
        cx.send(date);
        let connection = Bytes::from_static(session.http.connection_line());
        for lines in [self.lines.clone(), connection] {
            if !lines.is_empty() {
                cx.send(lines);
            }
        }
        cx.send(tail);
    }

    /// Several stored messages in one answer, under the id of the last.
    fn respond_together(
        &mut self,
        cx: &mut Context<'_>,
        forms: &Forms,
        location: &Location,
        session: &Session,
        messages: &[(u16, Arc<Publication>)],
        together: LongPollMultipart,
    ) {
        let Some(variant) = forms.variant(location.variant) else { return };
        let mut multi = self.rare.as_mut().and_then(|rare| rare.multi.as_mut());
        let (mut time, mut tags) = (0, Vec::new());
        for (channel, publication) in messages {
            let position = publication.position;
            (time, tags) = match &mut multi {
                Some(multi) => multi.advance(*channel, position),
                None => (position.time, TagText::new(position.tag).as_bytes().to_vec()),
            };
        }
        let (content_type, body) = if together == LongPollMultipart::Raw {
            let separator = location.settings.raw_separator.as_bytes();
            (
                Vec::new(),
                messages.iter().flat_map(|(_, p)| [&p.message.payload, separator].concat()).collect(),
            )
        } else {
            let parts =
                messages.iter().map(|(_, p)| (p.message.content_type.as_deref(), p.message.payload.as_ref()));
            (forms.boundary().content_type(), forms.boundary().answer(parts))
        };
        let mut head = Vec::with_capacity(256);
        let content_type = Some(content_type.as_slice()).filter(|text| !text.is_empty());
        poll_head(variant, &Id { time, tag: &tags }, content_type, body.len(), &mut head);
        self.send(cx, session, head.into(), [b"\r\n".as_slice(), &body].concat().into());
        for _ in messages {
            cx.act(Action::Delivered);
        }
    }

    /// Ends the poll without a message.
    pub fn end(&mut self, cx: &mut Context<'_>, location: &Location, session: &Session, why: Void) {
        let relay = location.settings.flavour == Flavour::Relay;
        let status = match why {
            Void::Deleted => 410,
            Void::Displaced => 409,
            Void::Timeout if relay => 304,
            Void::Timeout => 408,
            Void::NextRequest => 400,
            Void::Drain => 503,
            Void::NothingNew => 304,
            Void::Expired | Void::Revoked => 401,
        };
        let mut answer = Response::new(status).lines(VARY);
        if status == 401 {
            answer = answer.header("WWW-Authenticate", "Bearer");
        }
        if why == Void::NothingNew
            && let Some(rare) = &self.rare
        {
            answer = Response::new(status).lines(&rare.nothing_new).lines(VARY);
        }
        let mut http = session.http;
        if why == Void::Drain {
            answer = answer.header("Retry-After", "1");
            http = http.closing();
        }
        finish(cx, http, &answer, &self.lines);
        self.leave(cx);
    }

    /// What lets it in, where that can end.
    pub fn pass(&self) -> Option<&Pass> {
        self.rare.as_ref()?.pass.as_deref()
    }

    /// Why it ends when its deadline has passed, which may be a tick early.
    pub fn over_at(&self, now_ms: u64) -> Void {
        let is_over = self.pass().is_some_and(|pass| pass.until_ms <= now_ms + TICK_MS);
        if is_over { Void::Expired } else { Void::Timeout }
    }

    fn arrive(&mut self, cx: &mut Context<'_>, waits: bool) {
        if let Some(rare) = &mut self.rare
            && let Some(attend) = rare.attend.take()
        {
            rare.leave = Some(attend.arrive(cx, waits));
        }
    }

    /// Tells whoever wants to know that the poll is over.
    pub fn leave(&mut self, cx: &mut Context<'_>) {
        if let Some(leave) = self.rare.as_mut().and_then(|rare| rare.leave.take()) {
            leave.go(cx);
        }
    }
}

impl From<Ended> for Void {
    fn from(reason: Ended) -> Void {
        match reason {
            Ended::Deleted | Ended::Terminated => Void::Deleted,
            Ended::Displaced => Void::Displaced,
        }
    }
}
