//! Message ids in their textual forms, and which position a subscriber's request asks for (nchan sheet section 3,
//! http-push-relay sheet section 3).

use crate::channel::{Position, Start};
use crate::dialect::relay::location::Location;
use crate::dialect::relay::settings::{FirstMessage, Flavour};
use crate::dialect::relay::template::Scope;
use crate::wire::http::date;
use crate::wire::http::response::put_decimal;
use crate::wire::http::target;

/// The id of one message for one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    /// Unix time, seconds.
    pub time: u64,
    /// The count within the second; a list of them when the subscription is to several channels.
    pub tag: &'a [u8],
}

impl Id<'_> {
    /// Appends `time:tag`.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_decimal(out, self.time);
        out.push(b':');
        out.extend_from_slice(self.tag);
    }
}

/// The decimal tag of a message of one channel. Stays on the stack.
pub struct TagText {
    digits: [u8; 10],
    len: usize,
}

impl TagText {
    /// `tag` in decimal.
    pub fn new(mut tag: u32) -> TagText {
        let (mut digits, mut at) = ([0; 10], 10);
        loop {
            at -= 1;
            digits[at] = b'0' + (tag % 10) as u8;
            tag /= 10;
            if tag == 0 {
                break;
            }
        }
        digits.copy_within(at.., 0);
        TagText { digits, len: 10 - at }
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.len]
    }
}

/// A position that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Unix time, seconds; 0 is before everything.
    pub time: u64,
    /// What was seen of that second, one entry per channel in the order of the request; `None` is nothing.
    pub tags: Box<[Option<u32>]>,
}

impl Resume {
    /// The position after which channel number `index` goes on.
    pub fn after(&self, index: usize) -> Position {
        match self.tags.get(index).copied().flatten() {
            _ if self.time == 0 => Position::ZERO,
            Some(tag) => Position { time: self.time, tag },
            // Before the first message of the second.
            None => Position { time: self.time - 1, tag: u32::MAX },
        }
    }

    /// Appends `time:tag` in the form in which it came.
    pub fn text(&self) -> String {
        let tags: Vec<String> =
            self.tags.iter().map(|tag| tag.map_or_else(|| "-".into(), |tag| tag.to_string())).collect();
        format!("{}:{}", self.time, tags.join(","))
    }
}

/// What a request says about where it wants to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing: the location's `first_message` decides.
    Nothing,
    /// From the oldest stored message.
    Oldest,
    /// Only what comes.
    Live,
    /// Behind this position.
    Behind(Resume),
}

impl Wanted {
    /// Where channel number `index` starts.
    pub fn start(&self, index: usize, first: FirstMessage) -> Start {
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        match self {
            Wanted::Behind(resume) if resume.time > 0 => Start::After(resume.after(index)),
            Wanted::Behind(_) | Wanted::Oldest => Start::Oldest,
            Wanted::Live => Start::Live,
            Wanted::Nothing => match first {
                FirstMessage::Oldest => Start::Oldest,
                FirstMessage::Newest => Start::Live,
                FirstMessage::FromOldest(n) => Start::Nth(number(n)),
                FirstMessage::FromNewest(n) => Start::Nth(-number(n)),
            },
        }
    }

    /// The text of the position, `0:0` when there is none.
    pub fn text(&self) -> String {
        match self {
            Wanted::Behind(resume) => resume.text(),
            _ => "0:0".into(),
        }
    }
}

/// The id in the request cannot be understood: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadId;

/// Finds out what the request asks for. `channels` is the number of channels of the subscription.
///
/// The first rule that applies decides: If-Modified-Since with or without If-None-Match (not in compound mode);
/// If-None-Match alone; the location's `last_message_id` values; the `Etag` request header that the nchan browser
/// client sends by mistake. If-Modified-Since alone means "nothing seen of that second yet", as py-hbpush has it;
/// nchan answers it with 400 by accident, which nobody depends on.
///
/// # Errors
/// The id is malformed in a way that both families refuse.
pub fn wanted(location: &Location, scope: &Scope<'_>, channels: usize) -> Result<Wanted, BadId> {
    let headers = &scope.request.headers;
    let (since, tag) = (headers.get("if-modified-since"), headers.get("if-none-match"));
    if location.settings.ignore_queue_on_no_cache && skips_stored(scope) {
        return Ok(Wanted::Live);
    }
    let relay = location.settings.flavour == Flavour::Relay;
    if let (Some(since), false) = (since, location.settings.compound_etag) {
        return dated(since, tag, relay, channels);
    }
    if let Some(tag) = tag {
        return match split(tag) {
            Some(_) => joined(tag, channels),
            None if relay => tags(tag, 1, true).map(|_| Wanted::Oldest),
            None => Ok(Wanted::Nothing),
        };
    }
    let configured = location.last_message_id.iter().map(|template| template.fill(scope));
    if let Some(value) = configured.into_iter().find(|value| !value.is_empty()) {
        let decoded = target::decode(&value).map_err(|_| BadId)?;
        return joined(&decoded, channels);
    }
    match headers.get("etag") {
        Some(value) if split(value).is_some() => joined(value, channels),
        _ => Ok(Wanted::Nothing),
    }
}

/// Whether the request wants to skip what is stored (push_ignore_queue_on_no_cache).
fn skips_stored(scope: &Scope<'_>) -> bool {
    let headers = &scope.request.headers;
    ["cache-control", "pragma"].iter().any(|name| headers.list_contains(name, "no-cache"))
}

/// If-Modified-Since and, if it is there, If-None-Match.
fn dated(since: &[u8], tag: Option<&[u8]>, relay: bool, channels: usize) -> Result<Wanted, BadId> {
    let time = match date::parse(since) {
        Some(time) if time > 0 => time as u64,
        // The epoch is how updates.js asks for everything.
        Some(_) if relay => {
            return tag.map_or(Ok(()), |tag| tags(tag, 1, true).map(drop)).map(|()| Wanted::Oldest);
        }
        None if relay => return Err(BadId),
        _ => return Ok(Wanted::Nothing),
    };
    let tags = match tag {
        Some(tag) => tags(tag, channels, relay)?,
        None => vec![None; channels].into(),
    };
    Ok(Wanted::Behind(Resume { time, tags }))
}

/// `time:tag`; without a colon it is no id.
fn joined(id: &[u8], channels: usize) -> Result<Wanted, BadId> {
    let Some((time, tag)) = split(id) else { return Ok(Wanted::Nothing) };
    let time = time.trim_ascii();
    let time = time.strip_prefix(b"W/").unwrap_or(time);
    let time = time.strip_prefix(b"\"").unwrap_or(time);
    let time = std::str::from_utf8(time).ok().filter(|time| time.bytes().all(|byte| byte.is_ascii_digit()));
    let time = time.and_then(|time| time.parse().ok()).ok_or(BadId)?;
    Ok(Wanted::Behind(Resume { time, tags: tags(tag, channels, false)? }))
}

fn split(id: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', id)?;
    Some((&id[..colon], &id[colon + 1..]))
}

/// The tag or list of tags. Only digits, `-`, `,`, `[` and `]` count, so quotes and `W/` do no harm; `strict`
/// wants an integer inside them, as py-hbpush does.
fn tags(text: &[u8], channels: usize, strict: bool) -> Result<Box<[Option<u32>]>, BadId> {
    let text = text.trim_ascii();
    if strict && channels == 1 {
        let bare = text.strip_prefix(b"W/").unwrap_or(text);
        let bare = bare.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(bare);
        let digits = bare.strip_prefix(b"-").unwrap_or(bare);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(BadId);
        }
    }
    let kept: Vec<u8> =
        text.iter().copied().filter(|byte| byte.is_ascii_digit() || b"-,[]".contains(byte)).collect();
    let is_list = kept.iter().any(|byte| b",[]".contains(byte));
    if !is_list {
        let mut tags = vec![None; channels];
        if let Some(first) = tags.first_mut() {
            *first = entry(&kept)?;
        }
        return Ok(tags.into());
    }
    let entries: Vec<&[u8]> = kept.split(|byte| *byte == b',').collect();
    let brackets = entries.iter().filter(|entry| entry.starts_with(b"[") && entry.ends_with(b"]")).count();
    if channels < 2 || entries.len() != channels || brackets != 1 {
        return Err(BadId);
    }
    entries
        .into_iter()
        .map(|text| match text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
            Some(inner) => entry(inner),
            None => entry(text),
        })
        .collect()
}

/// One tag: nothing, `-` and negative numbers are "nothing seen"; numbers beyond the range are its end.
fn entry(text: &[u8]) -> Result<Option<u32>, BadId> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadId);
    }
    if digits.is_empty() || text[0] == b'-' {
        return Ok(None);
    }
    let value =
        text.iter().fold(0u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    Ok(Some(value))
}
