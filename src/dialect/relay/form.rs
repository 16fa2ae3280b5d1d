//! The wire forms of a publication. A form's number is its kind and the variant of the locations that use it, so
//! that all locations with the same wire share their frames.

use crate::channel::{Message, Publication};
use crate::dialect::Form;
use crate::dialect::relay::position::{Id, TagText};
use crate::dialect::relay::settings::{Flavour, LocationSettings};
use crate::limits::WS_DEFLATE_MIN_BYTES;
use crate::wire::http::response::{put_decimal, put_header, put_status_line};
use crate::wire::http::{chunked, date};
use crate::wire::multipart::{Boundary, Part};
use crate::wire::sse;
use crate::wire::ws::deflate::{Compressor, stored_block_head};
use crate::wire::ws::frame::{self, Opcode};
use bytes::Bytes;
use std::sync::Arc;

/// Window of compressed messages, log2 bytes: the largest, so that the handshake need not mention it.
pub const DEFLATE_WINDOW_BITS: u8 = 15;
/// zlib level of compressed messages. Each is compressed once for all subscribers.
const DEFLATE_LEVEL: u8 = 6;

/// How a publication travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// WebSocket message: the body.
    Ws,
    /// WebSocket message: header of subprotocol ws+meta.nchan, body.
    WsMeta,
    /// As `Ws`, compressed if the message was published for it.
    WsDeflate,
    /// As `WsMeta`, with the body compressed if the message was published for it.
    WsMetaDeflate,
    /// Server-sent event.
    Sse,
    /// Part of a multipart stream.
    Multipart,
    /// HTTP chunk; nothing for an empty message.
    Chunked,
    /// Body and separator.
    Raw,
    /// Status line and header lines of a poll's answer, but for those that differ per request.
    PollHead,
    /// Empty line and body of a poll's answer.
    PollTail,
}

const KINDS: [Kind; 10] = [
    Kind::Ws,
    Kind::WsMeta,
    Kind::WsDeflate,
    Kind::WsMetaDeflate,
    Kind::Sse,
    Kind::Multipart,
    Kind::Chunked,
    Kind::Raw,
    Kind::PollHead,
    Kind::PollTail,
];

/// What of a location's settings shows in its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    separator: Box<[u8]>,
    /// Event name that replaces the messages' own.
    event: Option<Box<[u8]>>,
    /// Ids are `time:tag` in the Etag alone.
    compound: bool,
    /// Instead of Etag.
    etag_name: Box<str>,
    /// `Cache-Control: etag=N` (http-push-relay sheet section 3).
    cache_control: bool,
}

impl Variant {
    /// Of these settings; `event` is the override if it is the same for all requests.
    pub fn of(settings: &LocationSettings, event: Option<&[u8]>) -> Variant {
        Variant {
            separator: settings.raw_separator.as_bytes().into(),
            event: event.map(Into::into),
            compound: settings.compound_etag,
            etag_name: settings.custom_etag_header.as_deref().unwrap_or("Etag").into(),
            cache_control: settings.flavour == Flavour::Relay,
        }
    }

    /// The event name that replaces the messages' own.
    pub fn event(&self) -> Option<&[u8]> {
        self.event.as_deref()
    }

    /// Appends the lines that name a message: Last-Modified and Etag.
    pub fn put_ids(&self, out: &mut Vec<u8>, id: &Id<'_>) {
        if self.compound {
            let mut joined = Vec::with_capacity(24);
            id.write(&mut joined);
            put_header(out, &self.etag_name, &joined);
        } else {
            put_header(out, "Last-Modified", &date::format(id.time as i64));
            put_header(out, &self.etag_name, id.tag);
        }
    }
}

/// All forms of the node. Cheap to clone: every shard's encoder has one.
#[derive(Clone, Debug)]
pub struct Forms {
    variants: Arc<[Variant]>,
    boundary: Boundary,
}

impl Forms {
    /// The forms of these variants; multipart messages are cut by `boundary`.
    pub fn new(variants: Vec<Variant>, boundary: Boundary) -> Forms {
        Forms { variants: variants.into(), boundary }
    }

    /// The number of a form.
    pub fn form(kind: Kind, variant: u16) -> Form {
        // What does not depend on the location is shared by all of them.
        let variant =
            if kind as u8 <= Kind::WsMetaDeflate as u8 || matches!(kind, Kind::Chunked | Kind::PollTail) {
                0
            } else {
                variant
            };
        Form(kind as u32 | u32::from(variant) << 8)
    }

    /// The boundary of multipart messages.
    pub fn boundary(&self) -> &Boundary {
        &self.boundary
    }

    /// The variant with this number.
    pub fn variant(&self, number: u16) -> Option<&Variant> {
        self.variants.get(usize::from(number))
    }

    /// The frame of `publication` in `form`, of which the subscriber needs to know no more than one channel.
    /// May be empty: an empty message has no chunk.
    pub fn encode(
        &self,
        form: Form,
        publication: &Arc<Publication>,
        scratch: &mut Vec<u8>,
        compressor: &mut Option<Box<Compressor>>,
    ) -> Bytes {
        let tag = TagText::new(publication.position.tag);
        let id = Id { time: publication.position.time, tag: tag.as_bytes() };
        let kind = KINDS.get((form.0 & 0xff) as usize).copied();
        let variant = self.variants.get((form.0 >> 8) as usize);
        match (kind, variant) {
            (Some(kind), Some(variant)) => {
                let event = variant.event.as_deref();
                self.encode_as(kind, variant, &id, event, publication, scratch, compressor)
            }
            _ => Bytes::new(),
        }
    }

    /// The frame of `publication` under the id that one subscriber knows it by. `event` replaces the message's own
    /// event name.
    #[allow(clippy::too_many_arguments)] // what a frame depends on
    pub fn encode_as(
        &self,
        kind: Kind,
        variant: &Variant,
        id: &Id<'_>,
        event: Option<&[u8]>,
        publication: &Publication,
        scratch: &mut Vec<u8>,
        compressor: &mut Option<Box<Compressor>>,
    ) -> Bytes {
        let message = &publication.message;
        scratch.clear();
        match kind {
            Kind::Ws => frame::encode(opcode(message), false, &[&message.payload]),
            Kind::WsMeta => {
                put_meta(scratch, id, message);
                frame::encode(opcode(message), false, &[scratch, &message.payload])
            }
            Kind::WsDeflate => match deflated(publication, compressor) {
                Some(body) => frame::encode(opcode(message), true, &[body]),
                None => frame::encode(opcode(message), false, &[&message.payload]),
            },
            Kind::WsMetaDeflate => {
                put_meta(scratch, id, message);
                match (deflated(publication, compressor), u16::try_from(scratch.len())) {
                    // A stored block in front is part of the same message.
                    (Some(body), Ok(len)) => {
                        frame::encode(opcode(message), true, &[&stored_block_head(len), scratch, body])
                    }
                    _ => frame::encode(opcode(message), false, &[scratch, &message.payload]),
                }
            }
            Kind::Sse => {
                let mut text = Vec::with_capacity(24);
                id.write(&mut text);
                let event = event.or(message.event.as_deref());
                sse::event(scratch, event, Some(&text), &message.payload);
                Bytes::copy_from_slice(scratch)
            }
            Kind::Multipart => self.multipart(variant, id, message, scratch),
            Kind::Chunked => {
                if !message.payload.is_empty() {
                    chunked::chunk(scratch, &message.payload);
                }
                Bytes::copy_from_slice(scratch)
            }
            Kind::Raw => {
                scratch.extend_from_slice(&message.payload);
                scratch.extend_from_slice(&variant.separator);
                Bytes::copy_from_slice(scratch)
            }
            Kind::PollHead => {
                poll_head(variant, id, message.content_type.as_deref(), message.payload.len(), scratch);
                Bytes::copy_from_slice(scratch)
            }
            Kind::PollTail => {
                scratch.extend_from_slice(b"\r\n");
                scratch.extend_from_slice(&message.payload);
                Bytes::copy_from_slice(scratch)
            }
        }
    }

    fn multipart(&self, variant: &Variant, id: &Id<'_>, message: &Message, scratch: &mut Vec<u8>) -> Bytes {
        let mut joined = Vec::with_capacity(24);
        id.write(&mut joined);
        let modified = date::format(id.time as i64);
        let part = Part {
            last_modified: (!variant.compound).then_some(&modified),
            etag: Some(if variant.compound { &joined } else { id.tag }),
            content_type: message.content_type.as_deref(),
            body: &message.payload,
        };
        self.boundary.part(scratch, &part);
        Bytes::copy_from_slice(scratch)
    }
}

/// Binary if and only if the type is exactly this one (nchan sheet, trap 9).
fn opcode(message: &Message) -> Opcode {
    match message.content_type.as_deref() {
        Some(b"application/octet-stream") => Opcode::Binary,
        _ => Opcode::Text,
    }
}

/// The header of subprotocol ws+meta.nchan.
fn put_meta(out: &mut Vec<u8>, id: &Id<'_>, message: &Message) {
    out.extend_from_slice(b"id: ");
    id.write(out);
    out.push(b'\n');
    if let Some(content_type) = &message.content_type {
        out.extend_from_slice(b"content-type: ");
        out.extend_from_slice(content_type);
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// The body as deflate data, if it was published for that: made by the first shard that needs it.
fn deflated<'p>(publication: &'p Publication, compressor: &mut Option<Box<Compressor>>) -> Option<&'p Bytes> {
    let message = &publication.message;
    if !message.deflate || message.payload.len() < WS_DEFLATE_MIN_BYTES {
        return None;
    }
    Some(publication.deflated.get_or_init(|| {
        let make = || Box::new(Compressor::new(DEFLATE_LEVEL, DEFLATE_WINDOW_BITS, false));
        let mut out = Vec::new();
        compressor.get_or_insert_with(make).compress(&message.payload, &mut out);
        out.shrink_to_fit();
        out.into()
    }))
}

/// Appends a poll's answer up to the lines that differ per request.
pub fn poll_head(
    variant: &Variant,
    id: &Id<'_>,
    content_type: Option<&[u8]>,
    body_bytes: usize,
    out: &mut Vec<u8>,
) {
    put_status_line(out, 200);
    if let Some(content_type) = content_type {
        put_header(out, "Content-Type", content_type);
    }
    out.extend_from_slice(b"Content-Length: ");
    put_decimal(out, body_bytes as u64);
    out.extend_from_slice(b"\r\n");
    variant.put_ids(out, id);
    if variant.cache_control {
        put_header(out, "Cache-Control", &[b"etag=", id.tag].concat());
    }
    out.extend_from_slice(VARY);
}

/// On every answer to a poll.
pub const VARY: &[u8] = b"Vary: If-None-Match, If-Modified-Since\r\n";
