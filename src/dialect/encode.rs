//! Frames: one publication in one form, made once and shared by every connection that uses the form.

use crate::channel::members::Form;
use crate::channel::{Announcement, ChannelKey, Publication};
use crate::dialect::{pusher, pushi, relay};
use crate::wire::http::date;
use crate::wire::http::response::put_header;
use crate::wire::ws::deflate::Compressor;
use bytes::Bytes;
use std::sync::Arc;

/// The number of a form's dialect stands above this bit, that of its kind below.
pub const DIALECT_SHIFT: u32 = 28;
/// Forms of [`relay`].
pub const RELAY: u32 = 0;
/// Forms of [`pusher`].
pub const PUSHER: u32 = 1;
/// Forms of [`pushi`].
pub const PUSHI: u32 = 2;

/// Whether members with this form get `publication` by their session ([`crate::dialect::Dialects::on_publication`]).
pub fn is_by_session(form: Form, publication: &Publication) -> bool {
    form.is_session() || (form.0 >> DIALECT_SHIFT == PUSHI && publication.message.was_elsewhere())
}

/// Whether sessions with this form are told of an announcement beside the frame that they get.
pub fn is_told_too(form: Form, announcement: &Announcement) -> bool {
    form == pushi::form::MEMBERS && pushi::form::is_about_peers(announcement)
}

/// Makes frames, and keeps those of the publication at hand so that each form is made once. One per shard.
pub struct Encoder {
    /// For publications that go out compressed.
    pub compressor: Option<Box<Compressor>>,
    /// Encoding space, reused.
    pub scratch: Vec<u8>,
    of: Option<Arc<Publication>>,
    frames: Vec<(Form, Bytes)>,
    forms: relay::form::Forms,
    date: Option<Date>,
}

/// A second as HTTP spells it.
struct Date {
    unix_s: u64,
    text: [u8; 29],
    line: Bytes,
}

impl Date {
    fn new(unix_s: u64) -> Date {
        let text = date::format(unix_s as i64);
        let mut line = Vec::with_capacity(40);
        put_header(&mut line, "Date", &text);
        Date { unix_s, text, line: line.into() }
    }
}

impl Encoder {
    /// An encoder for these forms.
    pub fn new(forms: relay::form::Forms) -> Encoder {
        Encoder { compressor: None, scratch: Vec::new(), of: None, frames: Vec::new(), forms, date: None }
    }

    /// An encoder that knows no form: for tests of what sends no publications.
    #[cfg(test)]
    pub fn without_forms() -> Encoder {
        Encoder::new(relay::form::Forms::new(Vec::new(), crate::wire::multipart::Boundary::new(&[0; 24])))
    }

    /// The frame of `publication` in `form`. Forms of WebSocket dialects name the channel.
    pub fn frame(
        &mut self,
        form: Form,
        channel: Option<&ChannelKey>,
        publication: &Arc<Publication>,
    ) -> Bytes {
        if !self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, publication)) {
            self.frames.clear();
            self.of = Some(publication.clone());
        }
        if let Some((_, frame)) = self.frames.iter().find(|(f, _)| *f == form) {
            return frame.clone();
        }
        let frame = match (form.0 >> DIALECT_SHIFT, channel) {
            (PUSHER, Some(channel)) => pusher::form::encode(channel, publication, &mut self.scratch),
            (PUSHI, Some(channel)) => pushi::form::encode(form, channel, publication, &mut self.scratch),
            _ => self.forms.encode(form, publication, &mut self.scratch, &mut self.compressor),
        };
        self.frames.push((form, frame.clone()));
        frame
    }

    /// The frame that tells members with this form who has come to or gone from the channel `key`. `None`: the form
    /// does not tell, as all of the relay's.
    pub fn announced(
        &mut self,
        form: Form,
        channel: &ChannelKey,
        announcement: &Announcement,
    ) -> Option<Bytes> {
        match form.0 >> DIALECT_SHIFT {
            PUSHER => pusher::form::announced(channel, announcement, &mut self.scratch),
            PUSHI => pushi::form::announced(form, channel, announcement, &mut self.scratch),
            _ => None,
        }
    }

    /// As [`Encoder::frame`], for a stored publication: the frame stays with it.
    pub fn replayed(
        &mut self,
        form: Form,
        channel: Option<&ChannelKey>,
        publication: &Arc<Publication>,
    ) -> Bytes {
        if let Some(frame) = publication.replay.get(form) {
            return frame;
        }
        let frame = self.frame(form, channel, publication);
        publication.replay.put(form, &frame);
        frame
    }

    fn date_of(&mut self, unix_s: u64) -> &Date {
        let date = self.date.take().filter(|date| date.unix_s == unix_s);
        self.date.insert(date.unwrap_or_else(|| Date::new(unix_s)))
    }

    /// The header line `Date:` with its CRLF, made once per second.
    pub fn date_line(&mut self, unix_s: u64) -> Bytes {
        self.date_of(unix_s).line.clone()
    }

    /// The value of `Date`, made once per second.
    pub fn date(&mut self, unix_s: u64) -> [u8; 29] {
        self.date_of(unix_s).text
    }

    /// Lets go of the publication at hand.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.of = None;
    }
}
