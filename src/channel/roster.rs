//! The users of a channel in the order in which they came, as a list that costs almost nothing to hand out.

use crate::channel::presence::User;
use std::sync::Arc;

/// Users in one piece of a roster: what a change copies at most when somebody still holds an earlier list.
const CHUNK_USERS: usize = 64;

/// A list of users in joining order. A clone is one reference: it stays as it is while the channel's own list goes
/// on, and shares with it every piece of up to 64 users that has not changed.
///
/// A change costs a search and a move within one piece; after a list was handed out also a copy of that piece and
/// of the list of pieces, once.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    chunks: Arc<Vec<Arc<Chunk>>>,
    users: usize,
    /// Users and pieces that changes had to copy.
    #[cfg(test)]
    copied: usize,
}

/// Neighbours among the places, ascending; never empty.
type Chunk = Vec<Place>;

#[derive(Clone, Debug)]
struct Place {
    /// Grows with each newcomer.
    number: u64,
    user: Arc<User>,
}

impl Roster {
    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.users == 0
    }

    /// All of them, those who came first first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<User>> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|place| &place.user)
    }

    /// Whether `other` is the same list, unchanged in between: what was made of the one serves for the other.
    pub fn is(&self, other: &Roster) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    /// Appends a user. `number` is above all numbers there are.
    pub(super) fn push(&mut self, number: u64, user: Arc<User>) {
        debug_assert!(self.chunks.last().and_then(|c| c.last()).is_none_or(|last| last.number < number));
        self.users += 1;
        let place = Place { number, user };
        match self.chunks.last() {
            Some(last) if last.len() < CHUNK_USERS => self.chunk(self.chunks.len() - 1).push(place),
            _ => self.chunks().push(Arc::new(vec![place])),
        }
    }

    /// The user with this number.
    pub(super) fn get(&self, number: u64) -> Option<&Arc<User>> {
        let (chunk, at) = self.find(number)?;
        Some(&self.chunks[chunk][at].user)
    }

    /// Puts `user` where the one with this number is.
    pub(super) fn replace(&mut self, number: u64, user: Arc<User>) {
        if let Some((chunk, at)) = self.find(number) {
            self.chunk(chunk)[at].user = user;
        }
    }

    /// Takes out the user with this number.
    pub(super) fn remove(&mut self, number: u64) {
        let Some((chunk, at)) = self.find(number) else { return };
        self.users -= 1;
        if self.chunks[chunk].len() == 1 {
            self.chunks().remove(chunk);
        } else {
            self.chunk(chunk).remove(at);
            self.merge(chunk);
        }
        if let Some(before) = chunk.checked_sub(1) {
            self.merge(before);
        }
    }

    fn find(&self, number: u64) -> Option<(usize, usize)> {
        let chunk = self.chunks.partition_point(|c| c[0].number <= number).checked_sub(1)?;
        let at = self.chunks[chunk].binary_search_by_key(&number, |place| place.number).ok()?;
        Some((chunk, at))
    }

    /// Makes one piece of `chunk` and the next when both are small, so that a quarter of all places is always used.
    fn merge(&mut self, chunk: usize) {
        let Some(next) = self.chunks.get(chunk + 1) else { return };
        if self.chunks[chunk].len() + next.len() <= CHUNK_USERS / 2 {
            let next = self.chunks().remove(chunk + 1);
            self.chunk(chunk).extend_from_slice(&next);
        }
    }

    fn chunks(&mut self) -> &mut Vec<Arc<Chunk>> {
        #[cfg(test)]
        if Arc::strong_count(&self.chunks) > 1 {
            self.copied += self.chunks.len();
        }
        Arc::make_mut(&mut self.chunks)
    }

    fn chunk(&mut self, at: usize) -> &mut Chunk {
        #[cfg(test)]
        let before = Arc::as_ptr(&self.chunks[at]);
        let chunk = &mut self.chunks()[at];
        Arc::make_mut(chunk);
        #[cfg(test)]
        if Arc::as_ptr(&self.chunks[at]) != before {
            self.copied += self.chunks[at].len();
        }
        // Nobody else holds it now.
        Arc::make_mut(&mut self.chunks()[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: u64) -> Arc<User> {
        Arc::new(User { id: n.to_string().into(), info: Default::default() })
    }

    fn ids(roster: &Roster) -> Vec<u64> {
        roster.iter().map(|u| std::str::from_utf8(&u.id).unwrap().parse().unwrap()).collect()
    }

    /// Against a plain vector, with lists handed out in between that must not change any more.
    #[test]
    fn it_is_a_list_whatever_is_added_and_removed() {
        let (mut roster, mut plain) = (Roster::default(), Vec::new());
        let mut handed_out: Vec<(Roster, Vec<u64>)> = Vec::new();
        let mut chance = 12345u64;
        let mut next = move |below: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % below
        };
        for number in 0..20_000u64 {
            // It grows for a while, shrinks for a while.
            let adds = if number % 4_000 < 2_000 { 80 } else { 20 };
            if next(100) < adds {
                roster.push(number, user(number));
                plain.push(number);
            } else if !plain.is_empty() {
                let gone = plain.remove(next(plain.len() as u64) as usize);
                roster.remove(gone);
                roster.remove(gone);
                assert!(roster.get(gone).is_none());
            }
            if next(50) == 0 {
                handed_out.push((roster.clone(), plain.clone()));
            }
            if next(50) == 0 {
                assert_eq!(ids(&roster), plain);
                assert_eq!(roster.len(), plain.len());
                assert!(roster.chunks.len() <= 1 + 4 * plain.len() / CHUNK_USERS, "mostly empty pieces");
                if let Some(&some) = plain.get(plain.len() / 2) {
                    roster.replace(some, user(some));
                    assert_eq!(roster.get(some).unwrap().id, some.to_string());
                }
            }
        }
        for (roster, plain) in handed_out {
            assert_eq!(ids(&roster), plain);
        }
    }

    #[test]
    fn a_list_is_the_same_until_something_changes() {
        let mut roster = Roster::default();
        (0..100).for_each(|n| roster.push(n, user(n)));
        let first = roster.clone();
        assert!(first.is(&roster));
        roster.replace(3, user(3));
        assert!(!first.is(&roster));
        assert!(Arc::ptr_eq(&first.chunks[1], &roster.chunks[1]), "what did not change is shared");
    }

    #[test]
    fn ten_thousand_newcomers_copy_nothing_that_nobody_asked_for() {
        const USERS: usize = 10_000;
        let mut silent = Roster::default();
        (0..USERS as u64).for_each(|n| silent.push(n, user(n)));
        assert_eq!(silent.copied, 0);
        // Everybody asks for the list, and holds on to it for a while.
        let mut asked = Roster::default();
        let mut lists = std::collections::VecDeque::new();
        for n in 0..USERS as u64 {
            asked.push(n, user(n));
            lists.push_back(asked.clone());
            if lists.len() > 100 {
                lists.pop_front();
            }
        }
        let each = asked.copied / USERS;
        assert!(each <= CHUNK_USERS + USERS / CHUNK_USERS, "{each} copied for each");
    }
}
