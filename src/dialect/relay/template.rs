//! Templates compiled and filled in: what `$variables` are worth for one request.

use crate::dialect::relay::location::Captures;
use crate::dialect::relay::settings::{Piece, pieces};
use crate::wire::http::request::Request;

/// A template whose variables are known to exist.
#[derive(Clone, Debug)]
pub struct Template(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Group(usize),
    /// `$arg_x`: not decoded (nchan sheet section 1).
    Argument(Box<str>),
    Header(Box<str>),
    Cookie(Box<str>),
    Variable(Variable),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    /// The n-th of several ids, counted from 0.
    ChannelId(usize),
    ChannelGroup,
    SubscriberType,
    PublisherType,
    MessageId,
    PreviousMessageId,
    ChannelEvent,
    /// Figures of a channel, which only its home knows: empty.
    Figure,
    Version,
    RequestUri,
    Uri,
    Args,
    Method,
    RemoteAddr,
    RemotePort,
}

/// What a template can see. Everything but the request may be empty.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The request.
    pub request: &'a Request<'a>,
    /// What the location's pattern found.
    pub captures: &'a Captures<'a>,
    /// Who sent it.
    pub peer: &'a dyn std::fmt::Display,
    /// The channel ids, once they are known.
    pub channel_ids: &'a [Vec<u8>],
    /// The channel group.
    pub group: &'a [u8],
    /// Name of the subscriber's transport.
    pub subscriber_type: &'a str,
    /// `http` or `websocket`.
    pub publisher_type: &'a str,
    /// Where the subscriber wants to go on.
    pub message_id: &'a str,
    /// Name of the event that happened.
    pub event: &'a str,
}

impl Template {
    /// Compiles `text`; `names` are the named groups of the location's pattern with their numbers.
    ///
    /// # Errors
    /// A one-line text: the syntax is wrong, or a variable is not known.
    pub fn compile(text: &str, names: &[(String, usize)]) -> Result<Template, String> {
        let parts = pieces(text).map_err(|error| format!("`{text}`: {error}"))?;
        let parts = parts.into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text.as_bytes().into())),
            Piece::Group(number) => Ok(Part::Group(usize::from(number))),
            Piece::Variable(name) => match names.iter().find(|(known, _)| known == name) {
                Some((_, number)) => Ok(Part::Group(*number)),
                None => variable(name).ok_or_else(|| format!("`{text}`: `${name}` is not known")),
            },
        });
        Ok(Template(parts.collect::<Result<_, String>>()?))
    }

    /// The text, if it is the same for every request.
    pub fn constant(&self) -> Option<&[u8]> {
        match &*self.0 {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether the text depends on the request alone, not on who sent it.
    pub fn is_of_request(&self) -> bool {
        let of_peer =
            |part: &Part| matches!(part, Part::Variable(Variable::RemoteAddr | Variable::RemotePort));
        !self.0.iter().any(of_peer)
    }

    /// The text for one request.
    pub fn fill(&self, scope: &Scope<'_>) -> Vec<u8> {
        // The usual template is one group of the pattern.
        if let [Part::Group(number)] = &*self.0 {
            return scope.captures.get(*number).to_vec();
        }
        let mut out = Vec::new();
        for part in &self.0 {
            part.fill(scope, &mut out);
        }
        out
    }
}

fn variable(name: &str) -> Option<Part> {
    if let Some(argument) = name.strip_prefix("arg_") {
        return Some(Part::Argument(argument.into()));
    }
    if let Some(header) = name.strip_prefix("http_") {
        return Some(Part::Header(header.replace('_', "-").into()));
    }
    if let Some(cookie) = name.strip_prefix("cookie_") {
        return Some(Part::Cookie(cookie.into()));
    }
    Some(Part::Variable(match name.strip_prefix("nchan_").unwrap_or(name) {
        "channel_id" | "channel_id1" | "push_channel_id" => Variable::ChannelId(0),
        "channel_id2" => Variable::ChannelId(1),
        "channel_id3" => Variable::ChannelId(2),
        "channel_id4" => Variable::ChannelId(3),
        "channel_group" => Variable::ChannelGroup,
        "subscriber_type" => Variable::SubscriberType,
        "publisher_type" => Variable::PublisherType,
        "message_id" => Variable::MessageId,
        "prev_message_id" => Variable::PreviousMessageId,
        "channel_event" => Variable::ChannelEvent,
        "channel_subscriber_count" | "channel_message_count" => Variable::Figure,
        "version" => Variable::Version,
        "request_uri" => Variable::RequestUri,
        "uri" => Variable::Uri,
        "args" | "query_string" => Variable::Args,
        "request_method" => Variable::Method,
        "host" => return Some(Part::Header("host".into())),
        "content_type" => return Some(Part::Header("content-type".into())),
        "remote_addr" => Variable::RemoteAddr,
        "remote_port" => Variable::RemotePort,
        _ => return None,
    }))
}

impl Part {
    fn fill(&self, scope: &Scope<'_>, out: &mut Vec<u8>) {
        match self {
            Part::Text(text) => out.extend_from_slice(text),
            Part::Group(number) => out.extend_from_slice(scope.captures.get(*number)),
            Part::Argument(name) => {
                let value = scope.request.target_parts().arg(name);
                out.extend_from_slice(value.unwrap_or_default().as_bytes());
            }
            Part::Header(name) => {
                out.extend_from_slice(scope.request.headers.get(name).unwrap_or_default());
            }
            Part::Cookie(name) => out.extend_from_slice(cookie(scope.request, name)),
            Part::Variable(variable) => variable.fill(scope, out),
        }
    }
}

impl Variable {
    fn fill(self, scope: &Scope<'_>, out: &mut Vec<u8>) {
        let target = scope.request.target_parts();
        let text = match self {
            Variable::ChannelId(n) => {
                return out.extend_from_slice(scope.channel_ids.get(n).map_or(b"".as_slice(), |id| id));
            }
            Variable::ChannelGroup => return out.extend_from_slice(scope.group),
            Variable::SubscriberType => scope.subscriber_type,
            Variable::PublisherType => scope.publisher_type,
            Variable::MessageId | Variable::PreviousMessageId => scope.message_id,
            Variable::ChannelEvent => scope.event,
            Variable::Figure => "",
            Variable::Version => env!("CARGO_PKG_VERSION"),
            Variable::RequestUri => scope.request.target,
            Variable::Uri => target.path_raw,
            Variable::Args => target.query_raw.unwrap_or_default(),
            Variable::Method => scope.request.method_text,
            Variable::RemoteAddr | Variable::RemotePort => {
                let peer = scope.peer.to_string();
                let (address, port) = peer.rsplit_once(':').unwrap_or((&peer, ""));
                let part = if self == Variable::RemotePort { port } else { address.trim_matches(['[', ']']) };
                return out.extend_from_slice(part.as_bytes());
            }
        };
        out.extend_from_slice(text.as_bytes());
    }
}

fn cookie<'a>(request: &Request<'a>, name: &str) -> &'a [u8] {
    let lines = request.headers.all("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
    lines
        .map(<[u8]>::trim_ascii)
        .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .unwrap_or_default()
}
