//! What a member of a room is told, and what it knows by that: fifty million announcements are read in a storm of ten
//! thousand members, so texts as fanwire writes them are compared with what they must be, and only others are parsed.

use super::super::line::{self, Members};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Members of a room by number, as one of them knows it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    bits: Vec<u64>,
    count: usize,
}

/// What has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The subscription stands; so many members were listed.
    List(usize),
    /// This one has come.
    Added(usize),
    /// This one has gone.
    Removed(usize),
    /// Nothing that matters.
    Nothing,
    /// To be answered with a pong.
    Ping,
}

/// Reads what comes in one room.
#[derive(Clone, Debug)]
pub struct Reader {
    channel: String,
    list: Vec<u8>,
    added: Vec<u8>,
    removed: Vec<u8>,
}

impl Known {
    /// Enters one. False if it was there.
    pub fn add(&mut self, number: usize) -> bool {
        let (word, bit) = (number / 64, 1 << (number % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        self.count += usize::from(new);
        new
    }

    /// Takes one out. False if it was not there.
    pub fn remove(&mut self, number: usize) -> bool {
        let there = self.has(number);
        if there {
            self.bits[number / 64] &= !(1 << (number % 64));
            self.count -= 1;
        }
        there
    }

    /// Whether it is there.
    pub fn has(&self, number: usize) -> bool {
        self.bits.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.bits.fill(0);
        self.count = 0;
    }
}

/// User id of a member.
pub fn user_id(number: usize) -> String {
    format!("m{number}")
}

/// What it says of itself.
pub fn info(number: usize) -> Value {
    json!({ "name": format!("member m{number}") })
}

/// Number of a user id.
fn number_of(user_id: &str) -> Option<usize> {
    let digits = user_id.strip_prefix('m')?;
    digits.parse().ok().filter(|_| !digits.starts_with('+'))
}

/// Digits at the start of a text as a number, and what follows.
fn leading_number(text: &[u8]) -> Option<(usize, &[u8])> {
    let length = text.iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    let number = digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    (length > 0).then_some((number, rest))
}

impl Reader {
    /// For the room of this channel.
    pub fn new(channel: &str) -> Reader {
        let head = |event: &str, data: &str| {
            let event = format!("pusher_internal:{event}");
            format!(r#"{{"event":"{event}","channel":"{channel}","data":"{data}"#).into_bytes()
        };
        Reader {
            channel: channel.to_owned(),
            list: head("subscription_succeeded", r#"{\"presence\":{\"ids\":["#),
            added: head("member_added", r#"{\"user_id\":\"m"#),
            removed: head("member_removed", r#"{\"user_id\":\"m"#),
        }
    }

    /// Reads a text. Of a list, `on` gets the members; what they say of themselves is looked at where `whole`.
    pub fn read(&self, text: &[u8], whole: bool, mut on: impl FnMut(usize)) -> Result<Told, String> {
        if let Some(number) = self.fast_added(text) {
            return Ok(Told::Added(number));
        }
        if let Some(number) = self.fast_removed(text) {
            return Ok(Told::Removed(number));
        }
        if !whole && let Some(ids) = self.fast_list(text) {
            ids.iter().for_each(|number| on(*number));
            return Ok(Told::List(ids.len()));
        }
        let stranger = |id: &str| format!("{id} is none of the members of this run");
        match line::Notice::parse(&self.channel, text)? {
            line::Notice::List(members) => {
                let numbers = check_list(&members)?;
                numbers.iter().for_each(|number| on(*number));
                Ok(Told::List(numbers.len()))
            }
            line::Notice::Added { user_id, user_info } => {
                let number = number_of(&user_id).ok_or_else(|| stranger(&user_id))?;
                if user_info != info(number) {
                    return Err(format!("{user_id} is announced with other data: {user_info}"));
                }
                Ok(Told::Added(number))
            }
            line::Notice::Removed { user_id } => {
                number_of(&user_id).map(Told::Removed).ok_or_else(|| stranger(&user_id))
            }
            line::Notice::Nothing => Ok(Told::Nothing),
            line::Notice::Ping => Ok(Told::Ping),
        }
    }

    fn fast_added(&self, text: &[u8]) -> Option<usize> {
        let (number, rest) = leading_number(text.strip_prefix(&*self.added)?)?;
        let rest = rest.strip_prefix(br#"\",\"user_info\":{\"name\":\"member m"#)?;
        let (again, rest) = leading_number(rest)?;
        (again == number && rest == br#"\"}}"}"#).then_some(number)
    }

    fn fast_removed(&self, text: &[u8]) -> Option<usize> {
        let (number, rest) = leading_number(text.strip_prefix(&*self.removed)?)?;
        (rest == br#"\"}"}"#).then_some(number)
    }

    /// The ids of a list, and that its count is theirs.
    fn fast_list(&self, text: &[u8]) -> Option<Vec<usize>> {
        let mut rest = text.strip_prefix(&*self.list)?;
        let mut ids = Vec::new();
        loop {
            let (number, behind) = leading_number(rest.strip_prefix(br#"\"m"#)?)?;
            ids.push(number);
            let behind = behind.strip_prefix(br#"\""#)?;
            match behind.split_first()? {
                (b',', next) => rest = next,
                (b']', _) => break,
                _ => return None,
            }
        }
        let count = format!(r#"}},\"count\":{}}}}}"}}"#, ids.len());
        text.ends_with(count.as_bytes()).then_some(ids)
    }
}

/// The members of a list in which ids, data and count agree.
fn check_list(members: &Members) -> Result<Vec<usize>, String> {
    let of = |id: &str| number_of(id).ok_or_else(|| format!("{id} is listed and no member of this run"));
    let numbers: Vec<usize> = members.ids().map(of).collect::<Result<_, _>>()?;
    let expected: BTreeMap<&str, Value> = members.ids().zip(&numbers).map(|(id, n)| (id, info(*n))).collect();
    members.check(&expected)?;
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ids: &[usize], count: usize) -> String {
        let names: Vec<String> = ids.iter().map(|n| user_id(*n)).collect();
        let hash: serde_json::Map<String, Value> = ids.iter().map(|n| (user_id(*n), info(*n))).collect();
        // In the order of the protocol's documentation, which a map of serde_json would not keep.
        let (names, hash) = (json!(names), json!(hash));
        let data = format!(r#"{{"presence":{{"ids":{names},"hash":{hash},"count":{count}}}}}"#);
        let data = json!(data);
        format!(
            r#"{{"event":"pusher_internal:subscription_succeeded","channel":"presence-a","data":{data}}}"#
        )
    }

    fn read(text: &str, whole: bool) -> (Result<Told, String>, Vec<usize>) {
        let mut listed = Vec::new();
        let told = Reader::new("presence-a").read(text.as_bytes(), whole, |number| listed.push(number));
        (told, listed)
    }

    #[test]
    fn the_fast_way_and_the_slow_way_read_the_same() {
        let text = list(&[3, 0, 12], 3);
        assert!(Reader::new("presence-a").fast_list(text.as_bytes()).is_some());
        for whole in [false, true] {
            assert_eq!(read(&text, whole), (Ok(Told::List(3)), vec![3, 0, 12]));
        }
        let added = r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"m7\",\"user_info\":{\"name\":\"member m7\"}}"}"#;
        assert_eq!(Reader::new("presence-a").fast_added(added.as_bytes()), Some(7));
        let removed = r#"{"event":"pusher_internal:member_removed","channel":"presence-a","data":"{\"user_id\":\"m7\"}"}"#;
        assert_eq!(Reader::new("presence-a").fast_removed(removed.as_bytes()), Some(7));
        for (text, expected) in [(added, Told::Added(7)), (removed, Told::Removed(7))] {
            assert_eq!(read(text, false).0.as_ref(), Ok(&expected));
            // Another order of the keys means the same.
            let value: Value = serde_json::from_str(text).unwrap();
            let other = json!({ "data": value["data"], "channel": "presence-a", "event": value["event"] });
            assert_eq!(read(&other.to_string(), false).0, Ok(expected));
        }
    }

    #[test]
    fn what_is_wrong_is_not_read_the_fast_way() {
        for (text, why) in [
            (list(&[1, 2], 3), "do not agree"),
            (list(&[1, 1], 2), "twice"),
            (list(&[1, 2], 2).replace("presence-a", "presence-b"), "not of this channel"),
            (
                r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"m7\",\"user_info\":{\"name\":\"member m8\"}}"}"#.to_owned(),
                "other data",
            ),
            (
                r#"{"event":"pusher_internal:member_removed","channel":"presence-a","data":"{\"user_id\":\"x7\"}"}"#.to_owned(),
                "none of the members",
            ),
        ] {
            let error = read(&text, true).0.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(read(&list(&[1, 2], 3), false).0.unwrap_err().contains("do not agree"), "count");
    }

    #[test]
    fn members_come_and_go_once() {
        let mut known = Known::default();
        assert!(known.add(130) && !known.add(130) && known.add(0));
        assert_eq!((known.len(), known.has(130), known.has(131), known.has(1000)), (2, true, false, false));
        assert!(known.remove(130) && !known.remove(130) && !known.remove(500));
        assert_eq!(known.len(), 1);
        known.clear();
        assert!(known.len() == 0 && known.add(0));
    }
}
