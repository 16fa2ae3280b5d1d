//! Somebody who follows one channel over as many sessions as it takes, and knows what must come next.

use crate::model::SubId;
use crate::rng::Rng;
use fanwire::channel::command::{Subscribe, Subscribed};
use fanwire::channel::{Class, Concurrency, Policy, Position, Publication, Start};
use std::sync::Arc;

/// How a reader goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// A stream that starts anew whenever it is cut.
    Stream,
    /// A stream that resumes where it was cut.
    Resume,
    /// Held polls, each with the position of the one before.
    Poll,
    /// Polls that are never held.
    Interval,
    /// Glances and streams from odd places; has no memory.
    Stray,
}

pub struct Reader {
    pub name: usize,
    pub habit: Habit,
    /// The subscription under way.
    pub active: Option<SubId>,
    /// Some of its answers get lost on the wire.
    pub loses_answers: bool,
    concurrency: Concurrency,
    /// Where to resume.
    cursor: Option<Position>,
    /// Index (in the order of acceptance) of the publication that has to come next.
    next: usize,
    /// It was told that something is missing: the next one may be a later one.
    gap: bool,
    /// It asked for a position that was still to come.
    odd: bool,
}

/// What a reader asks for.
pub struct Want {
    pub ask: Subscribe,
    /// Whether it shares frames with others.
    pub shared_form: bool,
}

impl Reader {
    pub fn new(rng: &mut Rng, names: usize) -> Reader {
        let habits = [
            Habit::Stream,
            Habit::Resume,
            Habit::Resume,
            Habit::Poll,
            Habit::Poll,
            Habit::Interval,
            Habit::Stray,
        ];
        let concurrency = match rng.below(20) {
            0 => Concurrency::First,
            1 => Concurrency::Last,
            _ => Concurrency::Broadcast,
        };
        Reader {
            name: rng.below(names),
            habit: *rng.pick(&habits),
            active: None,
            loses_answers: rng.chance(30),
            concurrency,
            cursor: None,
            next: 0,
            gap: false,
            odd: false,
        }
    }

    /// The next question, `newest` being the newest position there ever was.
    pub fn want(&mut self, rng: &mut Rng, policy: Arc<Policy>, newest: Position) -> Want {
        let fresh = match rng.below(8) {
            0 => Start::Newest,
            1 => Start::Nth(rng.below(7) as i32 - 3),
            2 | 3 => Start::Oldest,
            4 => Start::After(odd(rng, newest)),
            5 => Start::After(Position::ZERO),
            _ => Start::Live,
        };
        let start = match (self.habit, self.cursor) {
            (Habit::Stream | Habit::Stray, _) | (_, None) => fresh,
            (_, Some(cursor)) => Start::After(cursor),
        };
        let class = match self.habit {
            Habit::Stream | Habit::Resume => Class::Stream,
            Habit::Poll => Class::OneShot,
            Habit::Interval => Class::Glance,
            Habit::Stray => *rng.pick(&[Class::Stream, Class::OneShot, Class::Glance]),
        };
        let few = rng.chance(if class == Class::Stream { 10 } else { 50 });
        let ask = Subscribe {
            start,
            class,
            backlog: if few { 1 + rng.below(3) as u32 } else { u32::MAX },
            create: rng.chance(80),
            max_subscribers: if rng.chance(85) { 0 } else { 1 + rng.below(4) as u32 },
            concurrency: self.concurrency,
            policy,
            user: None,
            list_users: false,
        };
        Want { ask, shared_form: class == Class::Stream }
    }

    /// The home has answered; `seam` publications had been made by then.
    pub fn begin(&mut self, start: Start, answer: &Subscribed, made: &[(Position, u64)], seam: usize) {
        let above = |p: Position| made.partition_point(|&(m, _)| m <= p);
        if let (Start::After(p), Some(cursor), false) = (start, self.cursor, self.odd)
            && p == cursor
        {
            assert_eq!(above(p), self.next, "the place to resume from is not where it was left");
        }
        self.odd = matches!(start, Start::After(p) if p > answer.last);
        self.gap = !answer.recovered;
        self.next = match start {
            Start::After(p) => above(p).min(seam),
            // Where it starts is the home's to say (and the model has checked it); from there on all has to come.
            _ => answer.backlog.first().map_or(seam, |first| above(first.position) - 1),
        };
        self.cursor = Some(match start {
            Start::After(p) if p > answer.last => p,
            _ => answer.last,
        });
    }

    /// The end of the answer's backlog: deliveries join on without a seam.
    pub fn seam(&mut self, answer: &Subscribed, seam: usize) {
        // A cut backlog goes on from where it was cut.
        if let Some(last) = answer.backlog.last() {
            self.cursor = Some(last.position);
        }
        if answer.registered.is_none() && !answer.backlog.is_empty() {
            return;
        }
        if answer.recovered {
            assert!(self.next >= seam, "lost between backlog and deliveries: has {} of {seam}", self.next);
        } else {
            self.next = self.next.max(seam);
            self.gap = false;
        }
        if answer.registered.is_some_and(|(class, _)| class == Class::Stream) {
            self.cursor = Some(self.cursor.unwrap().max(answer.last));
        }
    }

    /// One publication reaches the reader.
    pub fn receive(&mut self, publication: &Publication, made: &[(Position, u64)]) {
        let index = made
            .binary_search_by_key(&publication.position, |&(p, _)| p)
            .expect("a publication that nobody accepted");
        let id = u64::from_le_bytes(publication.message.payload[..8].try_into().unwrap());
        assert_eq!(id, made[index].1, "another message under this position");
        assert!(index >= self.next, "{index} came again, or out of order: {} was next", self.next);
        assert!(index == self.next || self.gap, "{} was skipped: {index} came", self.next);
        self.next = index + 1;
        self.gap = false;
        self.cursor = Some(publication.position);
    }

    /// A publication at or below the position to come that was asked for.
    pub fn pass_over(&mut self, publication: &Publication, made: &[(Position, u64)]) {
        self.next = made.partition_point(|&(p, _)| p <= publication.position);
    }

    /// Nothing more is on its way: the last of `made` publications has come.
    pub fn caught_up(&self, made: usize) {
        assert!(self.next >= made, "lost at the end: has {} of {made}", self.next);
    }
}

/// A position around `newest`: one of before, or one that is still to come.
fn odd(rng: &mut Rng, newest: Position) -> Position {
    let time = (newest.time + rng.below(7) as u64).saturating_sub(4);
    Position { time, tag: rng.below(4) as u32 }
}
