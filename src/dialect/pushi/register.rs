//! Who and what is registered for channels (pushi.md sections 9.4, 9.7 and 9.8): what back ends list, add and remove.
//! It counts at once; the answer is given when the store has it.

use super::Pushi;
use super::answer::{Answer, ApiError};
use super::auth::{self, Keys};
use super::backend::{Asked, Next, Step, TAG, named};
use super::body::Registration;
use super::name::Kind as ChannelKind;
use super::publish::Random;
use super::registry::Document;
use super::route::Kind;
use crate::channel::store::{Job, Table};
use crate::dialect::app::App;
use crate::dialect::{Action, Context};

/// What is undone when the store does not take it.
#[derive(Debug)]
pub enum Undo {
    /// It was there before, and stays.
    Nothing,
    /// It was added.
    Added(Box<Document>),
    /// These were removed.
    Removed(Vec<Document>),
}

impl Pushi {
    /// What is registered.
    pub(super) fn list(&self, app: &App, kind: Kind, asked: &Asked) -> Answer {
        let (subject, channel) = (asked.params.filled(kind.subject_field()), asked.params.filled("event"));
        let found = self.registry.list(&app.settings.id, kind, subject, channel);
        Answer::list("subscriptions", found.iter().map(Document::value))
    }

    pub(super) fn register(
        &self,
        cx: &mut Context<'_>,
        app: &App,
        kind: Kind,
        asked: &Asked,
        is_old: bool,
    ) -> Result<Next, ApiError> {
        let mut tools = cx.tools.pushi.take().unwrap_or_default();
        let read = Registration::parse(kind, &asked.params, &mut tools.reader, &asked.body);
        cx.tools.pushi = Some(tools);
        let registration = read?;
        let settings = &app.settings;
        let keys = Keys { key: &settings.key, secret: &settings.secret };
        let (subject, channel) = (&registration.subject, &registration.channel);
        // The session may say whatever it wants about its users; the others are told to people outside.
        if kind != Kind::Subscription && ChannelKind::of(channel).is_signed() {
            let auth = asked.params.get("auth").unwrap_or_default();
            if !auth::is_allowed(keys, auth, subject, channel) {
                return Err(ApiError::Runtime("Invalid signature for the channel"));
            }
        }
        if kind != Kind::Subscription && asked.params.is_true("unsubscribe") {
            // One of those of the same subject, whatever its channel.
            let first = self.registry.list(&settings.id, kind, Some(subject), None).into_iter().next();
            if let Some(old) =
                first.and_then(|old| self.registry.remove(&settings.id, kind, subject, &old.channel))
            {
                cx.act(store(remove_job(&old), None));
            }
        }
        let mut random = Random(cx.random);
        let mut object_id = [0; 12];
        object_id[..4].copy_from_slice(&(cx.now.unix_s() as u32).to_be_bytes());
        object_id[4..].copy_from_slice(&random.next().to_be_bytes());
        let (document, is_new) =
            self.registry.register(&settings.id, kind, registration, object_id, cx.now.unix_s())?;
        let job = Job::Put {
            table: Table::PUSHI_SUBSCRIPTIONS,
            key: document.key().into(),
            value: document.value().into(),
        };
        // Also where it was there: who is told so may rely on it, and the one who made it may still wait.
        cx.act(store(job, Some(TAG)));
        let answer = if is_old { Answer::success() } else { Answer::json(document.value()) };
        let undo = if is_new { Undo::Added(Box::new(document)) } else { Undo::Nothing };
        Ok(Next::Wait(Step::Store(answer, undo)))
    }

    /// Removes one registration, or all of a subject where no channel is named.
    pub(super) fn remove(
        &self,
        cx: &mut Context<'_>,
        app: &App,
        kind: Kind,
        (subject, channel): (Option<&str>, Option<&str>),
        asked: &Asked,
        is_old: bool,
    ) -> Result<Next, ApiError> {
        let app = &*app.settings.id;
        let subject = named(kind, subject, &asked.params)?;
        let channel = channel.or_else(|| asked.params.filled("event"));
        let found = self.registry.list(app, kind, Some(subject), channel);
        let removed: Vec<Document> =
            found.iter().filter_map(|old| self.registry.remove(app, kind, subject, &old.channel)).collect();
        let answer = match (&removed[..], channel) {
            (_, _) if is_old => Answer::success(),
            (removed, None) => Answer::list("subscriptions", removed.iter().map(Document::value)),
            ([document, ..], Some(_)) => Answer::json(document.value()),
            ([], Some(_)) if asked.params.is_true("force") => {
                return Err(ApiError::NotFound("Registration not found"));
            }
            ([], Some(_)) if kind.misses_loudly() => {
                return Err(ApiError::Runtime("Registration not found"));
            }
            ([], Some(_)) => Answer::success(),
        };
        let Some((last, others)) = removed.split_last() else { return Ok(Next::Answer(answer)) };
        for document in others {
            cx.act(store(remove_job(document), None));
        }
        cx.act(store(remove_job(last), Some(TAG)));
        Ok(Next::Wait(Step::Store(answer, Undo::Removed(removed))))
    }

    /// The store has not taken it.
    pub(super) fn undo(&self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Added(document) => {
                let Document { app, kind, subject, channel, .. } = &*document;
                self.registry.remove(app, *kind, subject, channel);
            }
            Undo::Removed(documents) => {
                documents.into_iter().for_each(|document| self.registry.load(document))
            }
        }
    }
}

fn remove_job(document: &Document) -> Job {
    Job::Remove { table: Table::PUSHI_SUBSCRIPTIONS, key: document.key().into() }
}

fn store(job: Job, tag: Option<u16>) -> Action {
    Action::Store { job: Box::new(job), tag }
}
