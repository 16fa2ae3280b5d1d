//! What a subscriber speaks: how it opens itself on a channel, how the bytes that come back turn into message
//! payloads, and how a message is published where that differs. Pure: bytes in, bytes out; sockets are `client`'s.
//!
//! Sources: RFC 6455, RFC 7692, RFC 9112, the event stream format of the HTML standard, nchan's subscriber transports,
//! Pusher Channels protocol 7, Engine.IO 4 with Socket.IO 5, Centrifugo's JSON protocol.

mod args;
mod centrifuge;
mod deflate;
mod opening;
mod poll;
mod post;
pub mod pusher;
mod socketio;
mod stream;
mod talk;

pub use args::{AppArgs, WireArgs};
pub use deflate::Inflater;
#[cfg(test)]
pub use deflate::tests::deflated;
#[cfg(test)]
pub use opening::ACCEPT;
pub use opening::{Opening, check_handshake, handshake_request};
pub use poll::Poll;
pub use post::Post;
pub use stream::Stream;
pub use talk::{Heard, Talk};

use std::net::SocketAddrV4;

/// What is said on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// GET on the channel's path; a message is a frame, an event, a chunk ..: see the carriers.
    Relay,
    /// The same over WebSocket with the subprotocol ws+meta.nchan: id and type in front of each message.
    RelayMeta,
    /// Pusher Channels, protocol 7.
    Pusher,
    /// Socket.IO 5 on Engine.IO 4, WebSocket from the start. The server joins a room on the event "sub".
    Socketio,
    /// JSON protocol of the centrifuge library.
    Centrifuge,
}

/// What carries the messages of the relay dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Carrier {
    /// One message per frame.
    Websocket,
    /// One event per message.
    Eventsource,
    /// One HTTP chunk per message.
    Chunked,
    /// One part of multipart/mixed per message.
    Multipart,
    /// Bodies with a line feed behind each. The server's location must have it.
    Raw,
    /// One answer per message, and the next request with its id.
    Longpoll,
}

/// Keys of a Pusher application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Id in the path of the HTTP API.
    pub id: String,
    /// Public key.
    pub key: String,
    /// Key of the signatures.
    pub secret: String,
}

impl Default for App {
    fn default() -> App {
        App { id: "app-id".into(), key: "app-key".into(), secret: "app-secret".into() }
    }
}

/// How a subscriber listens, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// What is said.
    pub dialect: Dialect,
    /// On what. Dialects other than the relay know WebSocket only.
    pub carrier: Carrier,
    /// Whether permessage-deflate is offered. A server that does not agree is an error.
    pub deflate: bool,
    /// Target of the request.
    pub path: String,
    /// Name of the channel, where the dialect says it and not the path.
    pub channel: String,
    /// Keys, for Pusher.
    pub app: App,
}

impl Wire {
    /// A WebSocket whose frames are the messages.
    pub fn relay(path: &str) -> Wire {
        Wire {
            dialect: Dialect::Relay,
            carrier: Carrier::Websocket,
            deflate: false,
            path: path.to_owned(),
            channel: String::new(),
            app: App::default(),
        }
    }

    /// A WebSocket of `dialect` on `channel`, at the path its servers have.
    pub fn of(dialect: Dialect, channel: &str, app: &App) -> Wire {
        let path = match dialect {
            Dialect::Relay | Dialect::RelayMeta => format!("/sub/{channel}"),
            Dialect::Pusher => {
                format!(
                    "/app/{}?protocol=7&client=fanwire-bench&version={}",
                    app.key,
                    env!("CARGO_PKG_VERSION")
                )
            }
            Dialect::Socketio => "/socket.io/?EIO=4&transport=websocket".to_owned(),
            Dialect::Centrifuge => "/connection/websocket".to_owned(),
        };
        Wire { dialect, channel: channel.to_owned(), app: app.clone(), ..Wire::relay(&path) }
    }

    /// The same on another carrier.
    pub fn on(self, carrier: Carrier) -> Wire {
        Wire { carrier, ..self }
    }

    /// The same with permessage-deflate.
    pub fn deflated(self) -> Wire {
        Wire { deflate: true, ..self }
    }

    /// Name for tables.
    pub fn name(&self) -> &'static str {
        match (self.dialect, self.carrier) {
            (Dialect::Relay, Carrier::Websocket) if self.deflate => "deflate",
            (Dialect::Relay, carrier) => carrier.name(),
            (dialect, _) => dialect.name(),
        }
    }

    /// Name for JSON lines: all that is spoken.
    pub fn label(&self) -> String {
        let more = if self.deflate && self.dialect != Dialect::Relay { "+deflate" } else { "" };
        format!("{}{more}", self.name())
    }

    /// Refuses what does not go together.
    pub fn check(&self) -> Result<(), String> {
        if self.carrier != Carrier::Websocket && (self.deflate || self.dialect != Dialect::Relay) {
            let what = if self.deflate { "permessage-deflate" } else { self.dialect.name() };
            return Err(format!("{what} needs the carrier websocket, not {}", self.carrier.name()));
        }
        Ok(())
    }

    /// How messages of `payload_bytes` are published to it. `path` is where they are posted, for all but Pusher.
    pub fn post(&self, host: SocketAddrV4, path: &str, payload_bytes: usize) -> Post {
        match self.dialect {
            Dialect::Pusher => Post::pusher(host, &self.app, &self.channel),
            _ => Post::plain(host, path, payload_bytes),
        }
    }
}

impl Dialect {
    /// Name as in the options.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Relay => "relay",
            Dialect::RelayMeta => "relay-meta",
            Dialect::Pusher => "pusher",
            Dialect::Socketio => "socketio",
            Dialect::Centrifuge => "centrifuge",
        }
    }
}

impl Carrier {
    /// Name as in the options.
    pub fn name(self) -> &'static str {
        match self {
            Carrier::Websocket => "websocket",
            Carrier::Eventsource => "eventsource",
            Carrier::Chunked => "chunked",
            Carrier::Multipart => "multipart",
            Carrier::Raw => "raw",
            Carrier::Longpoll => "longpoll",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn names_are_those_of_the_options() {
        for dialect in Dialect::value_variants() {
            assert_eq!(dialect.to_possible_value().unwrap().get_name(), dialect.name());
        }
        for carrier in Carrier::value_variants() {
            assert_eq!(carrier.to_possible_value().unwrap().get_name(), carrier.name());
        }
    }

    #[test]
    fn other_carriers_are_the_relay_s_alone() {
        assert!(Wire::relay("/").on(Carrier::Longpoll).check().is_ok());
        assert!(Wire::relay("/").deflated().check().is_ok());
        for wire in [
            Wire::relay("/").on(Carrier::Raw).deflated(),
            Wire::of(Dialect::Pusher, "a", &App::default()).on(Carrier::Eventsource),
            Wire::of(Dialect::RelayMeta, "a", &App::default()).on(Carrier::Chunked),
        ] {
            assert!(wire.check().is_err(), "{wire:?}");
        }
    }
}
