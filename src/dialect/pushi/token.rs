//! Session tokens (pushi.md section 9.1): 64 hex digits, of which the first say whose app it is. What is known of a
//! token is filed in one of [`PUSHI_TOKEN_SETS`] channels of that app that nobody can subscribe to, so that every
//! shard finds it, it expires by itself and there is a bound of their number.

use super::event::hex;
use crate::channel::{Message, Now, Policy, Publication};
use crate::limits::{PUSHI_TOKEN_IDLE_MS, PUSHI_TOKEN_NOTE_MS, PUSHI_TOKEN_SETS, PUSHI_TOKENS_PER_SET};
use crate::wire::sign::same_text;
use bytes::Bytes;
use std::sync::Arc;

/// A token as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its 64 digits.
    pub text: String,
    /// Number of the app it is for, if it is one of ours.
    pub app: u32,
    set: u32,
}

const DIGITS: usize = 64;
const NOTED: &[u8] = b"in";
const ENDED: &[u8] = b"out";

impl Token {
    /// A new token for the app with this number.
    pub fn new(app: u32, random: [u64; 4]) -> Token {
        let mut bytes = [0; DIGITS / 2];
        for (chunk, random) in bytes.chunks_exact_mut(8).zip(random) {
            chunk.copy_from_slice(&random.to_be_bytes());
        }
        bytes[..4].copy_from_slice(&app.to_be_bytes());
        let text: String = bytes.iter().flat_map(|byte| hex(*byte)).map(char::from).collect();
        Token { set: set_of(&bytes), text, app }
    }

    /// Reads a token; `None` for what cannot be one.
    pub fn parse(text: &str) -> Option<Token> {
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
        let mut bytes = [0; DIGITS / 2];
        if text.len() != DIGITS {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        let [a, b, c, d, ..] = bytes;
        Some(Token { text: text.to_owned(), app: u32::from_be_bytes([a, b, c, d]), set: set_of(&bytes) })
    }

    /// The name of the hidden channel with what is known of it.
    pub fn channel(&self) -> String {
        format!("pushi-tokens-{}", self.set)
    }

    /// The note that it counts.
    pub fn note(&self) -> Message {
        self.message(NOTED)
    }

    /// The note that it counts no longer.
    pub fn end(&self) -> Message {
        self.message(ENDED)
    }

    fn message(&self, event: &'static [u8]) -> Message {
        Message {
            payload: Bytes::copy_from_slice(self.text.as_bytes()),
            event: Some(Bytes::from_static(event)),
            ..Message::default()
        }
    }

    /// What its channel, oldest first, says of it.
    pub fn state(&self, notes: &[Arc<Publication>], now: Now) -> State {
        let is_this = |note: &&Arc<Publication>| {
            std::str::from_utf8(&note.message.payload).is_ok_and(|text| same_text(&self.text, text))
        };
        match notes.iter().rev().find(is_this) {
            Some(note) if note.message.event.as_deref() == Some(NOTED) => {
                let age_ms = now.mono_ms().saturating_sub(note.published_ns / 1_000_000);
                if age_ms > PUSHI_TOKEN_NOTE_MS { State::Aged } else { State::Good }
            }
            _ => State::Unknown,
        }
    }
}

fn set_of(bytes: &[u8; DIGITS / 2]) -> u32 {
    let [.., a, b, c, d] = *bytes;
    u32::from_be_bytes([a, b, c, d]) % PUSHI_TOKEN_SETS
}

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing, or that it was ended.
    Unknown,
    /// It counts.
    Good,
    /// It counts, and is to be noted again, lest it expires while it is in use.
    Aged,
}

/// The rules of channels with tokens.
pub fn policy() -> Policy {
    Policy {
        max_messages: PUSHI_TOKENS_PER_SET,
        min_messages: 0,
        message_timeout_ms: PUSHI_TOKEN_IDLE_MS,
        channel_timeout_ms: 0,
        ..Policy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{ChannelKey, KeyHasher, Position};
    use proptest::prelude::*;

    fn noted(message: Message, at_ms: u64) -> Arc<Publication> {
        Arc::new(Publication {
            position: Position::ZERO,
            previous: Position::ZERO,
            message,
            published_ns: at_ms * 1_000_000,
            expires_ms: u64::MAX,
            deflated: Default::default(),
            replay: Default::default(),
        })
    }

    fn at(ms: u64) -> Now {
        Now { mono_ns: ms * 1_000_000, unix_ms: 0 }
    }

    #[test]
    fn the_newest_note_counts() {
        let (token, other) = (Token::new(3, [1, 2, 3, 4]), Token::new(3, [1, 2, 4, 4]));
        let mut notes = vec![noted(other.note(), 5)];
        assert_eq!(token.state(&notes, at(10)), State::Unknown);
        notes.push(noted(token.note(), 10));
        assert_eq!(token.state(&notes, at(10 + PUSHI_TOKEN_NOTE_MS)), State::Good);
        assert_eq!(token.state(&notes, at(11 + PUSHI_TOKEN_NOTE_MS)), State::Aged);
        notes.push(noted(token.end(), 20));
        assert_eq!(token.state(&notes, at(20)), State::Unknown);
        assert_eq!(other.state(&notes, at(20)), State::Good);
    }

    /// What a home still has of a token's set, `later_ms` after everything in `notes` was filed.
    fn filed(notes: impl IntoIterator<Item = Message>, later_ms: u64) -> Vec<Arc<Publication>> {
        use crate::channel::command::{Answer, Command, Effect, ReplyTo, ShardSet};
        let (key, policy) = (ChannelKey::new(&KeyHasher::new(1), 0, b"", b"set"), Arc::new(policy()));
        let mut home = crate::channel::core::Home::new(Default::default());
        let mut effects = Vec::new();
        for message in notes {
            let command = Command::Publish { message, policy: policy.clone(), create: true };
            home.apply(&key, command, ReplyTo::default(), at(1), ShardSet::default(), &mut effects);
        }
        effects.clear();
        let ask = super::super::asks::glance(&policy, policy.max_messages);
        let command = Command::Subscribe(Box::new(ask));
        home.apply(&key, command, ReplyTo::default(), at(1 + later_ms), ShardSet::default(), &mut effects);
        effects
            .into_iter()
            .find_map(|effect| match effect {
                Effect::Answer { answer: Answer::Subscribed(found), .. } => Some(found.backlog),
                _ => None,
            })
            .unwrap_or_default()
    }

    #[test]
    fn tokens_expire_after_31_days_and_the_oldest_of_a_set_make_room() {
        let token = Token::new(3, [1, 2, 3, 4]);
        let day_ms = 24 * 3_600_000;
        assert_eq!(token.state(&filed([token.note()], 31 * day_ms - 1), at(1)), State::Good);
        assert_eq!(token.state(&filed([token.note()], 31 * day_ms), at(1)), State::Unknown);
        let others = |count: u32| (0..count).map(|n| Token::new(3, [1, 2, u64::from(n) << 32, 4]).note());
        let with = |count| filed(std::iter::once(token.note()).chain(others(count)), 1);
        assert_eq!(token.state(&with(PUSHI_TOKENS_PER_SET - 1), at(1)), State::Good);
        assert_eq!(token.state(&with(PUSHI_TOKENS_PER_SET), at(1)), State::Unknown);
    }

    #[test]
    fn what_is_no_token_is_not_looked_for() {
        let good = Token::new(1, [1, 2, 3, 4]).text;
        for bad in ["", &good[1..], &format!("{}g", &good[1..]), &format!("{}é", &good[2..])] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_token_is_read_back(app: u32, random: [u64; 4]) {
            let token = Token::new(app, random);
            prop_assert_eq!(token.text.len(), DIGITS);
            prop_assert_eq!(Token::parse(&token.text), Some(token));
        }
    }
}
