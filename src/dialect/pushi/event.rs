//! What a client gets (pushi.md sections 2 to 8). Every frame but the first has a `channel`, for clients look at it
//! without asking (trap 4), and every `data` is a string.

use super::handshake::{SocketId, put_uuid};
use super::stamp::Kept;
use crate::wire::json::{comma, embedded, escape, number, string};
use std::fmt::Write;

/// An event as subscribers and web hooks see it: the *envelope*.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The channel it was published to, never that by which somebody is subscribed (trap 10).
    pub channel: &'a [u8],
    /// Its name.
    pub event: &'a [u8],
    /// Its data. Nothing is sent of an empty one.
    pub data: &'a [u8],
    /// Further members, each with a comma before it.
    pub extra: &'a str,
}

/// Writes an event; `kept` only where it is live, for in history it stands beside the envelope (trap 8).
pub fn envelope(out: &mut Vec<u8>, envelope: &Envelope<'_>, kept: Option<Kept>) {
    out.extend_from_slice(b"{\"event\":");
    string(out, envelope.event);
    out.extend_from_slice(b",\"channel\":");
    string(out, envelope.channel);
    if !envelope.data.is_empty() {
        out.extend_from_slice(b",\"data\":");
        string(out, envelope.data);
    }
    out.extend_from_slice(envelope.extra.as_bytes());
    if let Some(kept) = kept {
        put_kept(out, kept);
    }
    out.push(b'}');
}

/// `,"mid":...,"timestamp":...`
pub(super) fn put_kept(out: &mut Vec<u8>, kept: Kept) {
    let mut text = String::with_capacity(80);
    text.push_str(",\"mid\":\"");
    let _ = put_uuid(&mut text, &kept.mid); // a String takes everything
    let _ = write!(text, "\",\"timestamp\":{}.{:03}", kept.unix_ms / 1000, kept.unix_ms % 1000);
    out.extend_from_slice(text.as_bytes());
}

/// The first frame of every connection, and the only one without a channel.
pub fn connection_established(out: &mut Vec<u8>, socket_id: SocketId) {
    out.extend_from_slice(b"{\"event\":\"pusher:connection_established\",\"data\":");
    embedded(out, |data| {
        data.extend_from_slice(b"{\"socket_id\":");
        string(data, socket_id.to_string().as_bytes());
        data.push(b'}');
    });
    out.push(b'}');
}

/// Which of the frames that carry a channel's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A subscription stands.
    Subscribed,
    /// It does no longer.
    Unsubscribed,
    /// Stored events were asked for.
    Latest,
}

/// What a reply tells of a channel: all four members are always there.
#[derive(Clone, Copy, Debug)]
pub struct ChannelData<'a, M, E> {
    /// Its name.
    pub name: &'a str,
    /// Users of a presence channel with their `channel_data`.
    pub members: M,
    /// Channels that a personal one stands for.
    pub alias: &'a [String],
    /// Stored events, newest first, each a JSON document.
    pub events: E,
}

/// Writes a reply. A member is (user id, `channel_data`), both as the user gave them; one without the latter has come
/// by another dialect.
pub fn reply<'m, M, E>(out: &mut Vec<u8>, which: Reply, channel: ChannelData<'_, M, E>)
where
    M: Iterator<Item = (&'m [u8], &'m [u8])>,
    E: Iterator<Item: AsRef<[u8]>>,
{
    let event: &[u8] = match which {
        Reply::Subscribed => b"subscription_succeeded",
        Reply::Unsubscribed => b"unsubscription_succeeded",
        Reply::Latest => b"latest",
    };
    out.extend_from_slice(b"{\"event\":\"pusher_internal:");
    out.extend_from_slice(event);
    out.extend_from_slice(b"\",\"data\":");
    let name = channel.name.as_bytes();
    embedded(out, |data| channel_data(data, channel));
    out.extend_from_slice(b",\"channel\":");
    string(out, name);
    out.push(b'}');
}

fn channel_data<'m, M, E>(out: &mut Vec<u8>, channel: ChannelData<'_, M, E>)
where
    M: Iterator<Item = (&'m [u8], &'m [u8])>,
    E: Iterator<Item: AsRef<[u8]>>,
{
    out.extend_from_slice(b"{\"name\":");
    string(out, channel.name.as_bytes());
    out.extend_from_slice(b",\"members\":{");
    let mut first = true;
    for (id, info) in channel.members {
        comma(out, &mut first);
        string(out, id);
        out.push(b':');
        member(out, id, info);
    }
    out.extend_from_slice(b"},\"alias\":[");
    let mut first = true;
    for alias in channel.alias {
        comma(out, &mut first);
        string(out, alias.as_bytes());
    }
    out.extend_from_slice(b"],\"events\":[");
    let mut first = true;
    for event in channel.events {
        comma(out, &mut first);
        out.extend_from_slice(event.as_ref());
    }
    out.extend_from_slice(b"]}");
}

/// Writes `channel_data` of a member. What other dialects say of a user has no `user_id` in it: it becomes the
/// `user_info` beside one.
fn member(out: &mut Vec<u8>, id: &[u8], info: &[u8]) {
    const FIELD: &[u8] = b"\"user_id\"";
    if memchr::memmem::find(info, FIELD).is_some() {
        return out.extend_from_slice(info);
    }
    out.extend_from_slice(b"{\"user_id\":");
    string(out, id);
    if !info.is_empty() {
        out.extend_from_slice(b",\"user_info\":");
        out.extend_from_slice(info);
    }
    out.push(b'}');
}

/// Tells the other members of a user's first connection, or that the last one is gone. The payload is in `member`
/// (trap 3), and once more in `data` for clients that look for that (trap 5).
pub fn member_changed(out: &mut Vec<u8>, channel: &[u8], is_added: bool, id: &[u8], info: &[u8]) {
    out.extend_from_slice(b"{\"event\":\"pusher:member_");
    out.extend_from_slice(if is_added { b"added" } else { b"removed" });
    let mut plain = Vec::with_capacity(info.len() + id.len() + 32);
    member(&mut plain, id, info);
    let mut escaped = Vec::with_capacity(plain.len() + 16);
    escape(&mut escaped, &plain);
    for field in [&b"\",\"member\":\""[..], b"\",\"data\":\""] {
        out.extend_from_slice(field);
        out.extend_from_slice(&escaped);
    }
    out.extend_from_slice(b"\",\"channel\":");
    string(out, channel);
    out.push(b'}');
}

/// One stored event (section 8).
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Grows with every event of a channel, and with time over all of them.
    pub id: u64,
    /// Id of the app.
    pub instance: &'a str,
    /// Id and time.
    pub kept: Kept,
    /// Who sent it.
    pub owner: Option<SocketId>,
    /// What was delivered.
    pub envelope: Envelope<'a>,
}

/// Writes a stored event; `_id` is there over HTTP only.
pub fn stored(out: &mut Vec<u8>, event: &Stored<'_>, with_id: bool) {
    let seconds = event.kept.unix_ms / 1000;
    out.push(b'{');
    if with_id {
        out.extend_from_slice(b"\"_id\":\"");
        out.extend(event.kept.mid[..12].iter().flat_map(|byte| hex(*byte)));
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(b"\"id\":");
    number(out, event.id);
    out.extend_from_slice(b",\"enabled\":true,\"description\":null,\"created\":");
    number(out, seconds);
    out.extend_from_slice(b",\"modified\":");
    number(out, seconds);
    out.extend_from_slice(b",\"meta\":{},\"instance\":");
    string(out, event.instance.as_bytes());
    out.extend_from_slice(b",\"channel\":");
    string(out, event.envelope.channel);
    out.extend_from_slice(b",\"owner_id\":");
    match event.owner {
        Some(owner) => string(out, owner.to_string().as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    put_kept(out, event.kept);
    out.extend_from_slice(b",\"data\":");
    envelope(out, &event.envelope, None);
    out.push(b'}');
}

/// The two digits of a byte.
pub(super) fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests;
