//! Dialects over WebSocket: what is said until the subscription stands, and which of the texts behind it are messages.

use super::{Dialect, Wire, centrifuge, pusher, socketio};

/// What a text brought after the subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A message's payload.
    Message(&'a [u8]),
    /// To be answered with this text.
    Answer(&'static str),
    /// Nothing to do.
    Nothing,
}

/// What a text brought while the subscription is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Say this and listen on.
    Say(String),
    /// The subscription stands.
    Open,
}

/// One subscriber's side of a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Talk {
    /// Every text is a message.
    Relay,
    /// Every text is a message behind a head.
    RelayMeta,
    /// See [`pusher`].
    Pusher {
        /// Subscribed.
        channel: String,
    },
    /// See [`socketio`].
    Socketio {
        /// Room to be in.
        channel: String,
    },
    /// See [`centrifuge`].
    Centrifuge {
        /// Subscribed.
        channel: String,
    },
}

impl Talk {
    /// The talk on `wire`.
    pub fn new(wire: &Wire) -> Talk {
        let channel = wire.channel.clone();
        match wire.dialect {
            Dialect::Relay => Talk::Relay,
            Dialect::RelayMeta => Talk::RelayMeta,
            Dialect::Pusher => Talk::Pusher { channel },
            Dialect::Socketio => Talk::Socketio { channel },
            Dialect::Centrifuge => Talk::Centrifuge { channel },
        }
    }

    /// Whether the subscription stands with the WebSocket.
    pub fn is_open_at_once(&self) -> bool {
        matches!(self, Talk::Relay | Talk::RelayMeta)
    }

    /// What the client says first, if it has the first word.
    pub fn first(&self) -> Option<&'static str> {
        matches!(self, Talk::Centrifuge { .. }).then_some(centrifuge::CONNECT)
    }

    /// Takes a text while the subscription is under way.
    pub fn step(&self, text: &[u8]) -> Result<Step, String> {
        match self {
            Talk::Relay | Talk::RelayMeta => Ok(Step::Open),
            Talk::Pusher { channel } => pusher::step(channel, text),
            Talk::Socketio { channel } => socketio::step(channel, text),
            Talk::Centrifuge { channel } => centrifuge::step(channel, text),
        }
    }

    /// Takes a text behind that, and hands on what it holds.
    pub fn hear<E: From<String>>(
        &self,
        text: &[u8],
        mut on: impl FnMut(Heard<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Talk::Relay => on(Heard::Message(text)),
            Talk::RelayMeta => on(Heard::Message(behind_meta(text)?)),
            Talk::Pusher { channel } => pusher::hear(channel, text, on),
            Talk::Socketio { .. } => socketio::hear(text, on),
            Talk::Centrifuge { channel } => {
                // Several replies and pushes may share a frame, a line each.
                for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    centrifuge::hear(channel, line, &mut on)?;
                }
                Ok(())
            }
        }
    }
}

/// The message behind `id: ..`, perhaps `content-type: ..`, and an empty line.
fn behind_meta(text: &[u8]) -> Result<&[u8], String> {
    let bad = || {
        let start = String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned();
        format!("a frame without the head of ws+meta.nchan: {start}")
    };
    let rest = text.strip_prefix(b"id: ").ok_or_else(bad)?;
    let rest = behind_line(rest).ok_or_else(bad)?;
    let rest = match rest.strip_prefix(b"content-type: ") {
        Some(rest) => behind_line(rest).ok_or_else(bad)?,
        None => rest,
    };
    rest.strip_prefix(b"\n").ok_or_else(bad)
}

fn behind_line(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    (end > 0).then(|| &text[end + 1..])
}

/// Start of a text, for an error.
pub fn excerpt(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(160)]).into_owned()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Messages and answers that `talk` finds in a text.
    pub fn heard(talk: &Talk, text: &str) -> Result<Vec<String>, String> {
        let mut all = Vec::new();
        talk.hear(text.as_bytes(), |heard| -> Result<(), String> {
            match heard {
                Heard::Message(payload) => all.push(String::from_utf8(payload.to_vec()).unwrap()),
                Heard::Answer(answer) => all.push(format!("> {answer}")),
                Heard::Nothing => {}
            }
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn the_head_of_a_meta_frame_is_taken_off() {
        let talk = Talk::RelayMeta;
        assert_eq!(heard(&talk, "id: 17:0\ncontent-type: text/plain\n\nbody").unwrap(), ["body"]);
        assert_eq!(heard(&talk, "id: 17:0\n\nid: x\n\n").unwrap(), ["id: x\n\n"]);
        for bad in ["body", "id: 17:0\nbody", "id: \n\nbody", "id: 17:0\ncontent-type: a\nbody", "id: 17"] {
            assert!(heard(&talk, bad).is_err(), "{bad}");
        }
        assert_eq!(heard(&Talk::Relay, "id").unwrap(), ["id"]);
    }
}
