//! Subscriptions to several channels at once: one order over all of them, and ids that carry the progress in
//! each (nchan sheet section 3, trap 16).
//!
//! The id of a message is the second and, per channel, the tag of the last message of that second; `-` where there
//! was none yet. The entry of the message's own channel is in brackets. Homes are different shards, so just after
//! the turn of a second a message of the second before can arrive behind one of the new second. It is then
//! delivered under the new second's time with its own entry still `-`: whoever resumes there gets everything
//! after it, once.

use crate::channel::{Position, Publication};
use crate::dialect::relay::position::{Resume, TagText};
use std::sync::Arc;

/// The progress of one subscriber in several channels.
#[derive(Debug)]
pub struct Multi {
    /// The second of the last message.
    time: u64,
    /// What was seen of that second, per channel in the order of the request.
    seen: Box<[Option<u32>]>,
    /// Where it started: what is not above that is not for it.
    from: Option<Resume>,
    /// Homes that have not answered yet. Until then everything is kept back, so that it can be put in order.
    unanswered: u16,
    held_back: Vec<(u16, Arc<Publication>)>,
}

impl Multi {
    /// The state of a subscriber to `channels` channels, of which `distinct` are different ones.
    pub fn new(channels: usize, distinct: usize, from: Option<Resume>) -> Multi {
        let (time, seen) = match &from {
            Some(resume) => (resume.time, resume.tags.clone()),
            None => (0, vec![None; channels].into()),
        };
        Multi { time, seen, from, unanswered: distinct as u16, held_back: Vec::new() }
    }

    /// A home has answered with what it had stored. True: all have.
    pub fn answered(&mut self, channel: u16, stored: Vec<Arc<Publication>>) -> bool {
        self.held_back.extend(stored.into_iter().map(|publication| (channel, publication)));
        self.unanswered = self.unanswered.saturating_sub(1);
        self.unanswered == 0
    }

    /// Whether homes still have to answer.
    pub fn is_waiting(&self) -> bool {
        self.unanswered > 0
    }

    /// Keeps a publication until all homes have answered.
    pub fn hold_back(&mut self, channel: u16, publication: Arc<Publication>) {
        self.held_back.push((channel, publication));
    }

    /// What was kept back, in order: by time, then tag, then channel.
    pub fn take(&mut self) -> Vec<(u16, Arc<Publication>)> {
        let mut taken = std::mem::take(&mut self.held_back);
        taken.retain(|(channel, publication)| self.is_wanted(*channel, publication.position));
        taken.sort_by_key(|(channel, publication)| (publication.position, *channel));
        taken
    }

    /// Whether a message is above where the subscriber started.
    pub fn is_wanted(&self, channel: u16, position: Position) -> bool {
        self.from.as_ref().is_none_or(|from| position > from.after(usize::from(channel)))
    }

    /// Notes that the message at `position` of `channel` goes out now; its id is returned: the second and the list
    /// of tags.
    pub fn advance(&mut self, channel: u16, position: Position) -> (u64, Vec<u8>) {
        let channel = usize::from(channel);
        if position.time > self.time {
            self.time = position.time;
            self.seen.fill(None);
        }
        if position.time == self.time
            && let Some(seen) = self.seen.get_mut(channel)
        {
            *seen = Some(position.tag);
        }
        let mut tags = Vec::with_capacity(self.seen.len() * 3 + 8);
        for (at, tag) in self.seen.iter().enumerate() {
            if at > 0 {
                tags.push(b',');
            }
            let own = at == channel;
            if own {
                tags.push(b'[');
            }
            match tag {
                Some(tag) => tags.extend_from_slice(TagText::new(*tag).as_bytes()),
                None => tags.push(b'-'),
            }
            if own {
                tags.push(b']');
            }
        }
        (self.time, tags)
    }
}
