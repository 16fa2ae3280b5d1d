//! What the node tells back ends (pusher.md section 12). The body is signed with [`crate::wire::sign::webhook`] as it
//! is sent, in `X-Pusher-Signature` beside `X-Pusher-Key`, and its type is [`CONTENT_TYPE`].

use super::frame::Data;
use super::handshake::SocketId;
use crate::wire::json::{comma, number, string};

/// Exactly this: Node's library refuses it with a character set.
pub const CONTENT_TYPE: &str = "application/json";

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The first subscriber came.
    ChannelOccupied {
        /// Where.
        channel: &'a str,
    },
    /// The last subscriber went.
    ChannelVacated {
        /// Where.
        channel: &'a str,
    },
    /// Somebody found nothing in a cache channel.
    CacheMiss {
        /// Where.
        channel: &'a str,
    },
    /// A user's first connection came.
    MemberAdded {
        /// Where.
        channel: &'a str,
        /// Who.
        user_id: &'a str,
    },
    /// A user's last connection went.
    MemberRemoved {
        /// Where.
        channel: &'a str,
        /// Who.
        user_id: &'a str,
    },
    /// A client sent an event.
    ClientEvent {
        /// Where.
        channel: &'a str,
        /// Its name.
        event: &'a str,
        /// What; told as a string, also where it is none.
        data: Option<Data<'a>>,
        /// Who sent it.
        socket_id: SocketId,
        /// As whom, on presence channels.
        user_id: Option<&'a str>,
    },
    /// The number of subscribers changed.
    SubscriptionCount {
        /// Where.
        channel: &'a str,
        /// To how many.
        count: u64,
    },
}

impl<'a> Notice<'a> {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Notice::ChannelOccupied { .. } => "channel_occupied",
            Notice::ChannelVacated { .. } => "channel_vacated",
            Notice::CacheMiss { .. } => "cache_miss",
            Notice::MemberAdded { .. } => "member_added",
            Notice::MemberRemoved { .. } => "member_removed",
            Notice::ClientEvent { .. } => "client_event",
            Notice::SubscriptionCount { .. } => "subscription_count",
        }
    }

    /// Its channel.
    pub fn channel(&self) -> &'a str {
        match self {
            Notice::ChannelOccupied { channel }
            | Notice::ChannelVacated { channel }
            | Notice::CacheMiss { channel }
            | Notice::MemberAdded { channel, .. }
            | Notice::MemberRemoved { channel, .. }
            | Notice::ClientEvent { channel, .. }
            | Notice::SubscriptionCount { channel, .. } => channel,
        }
    }
}

/// Writes the body of a call.
pub fn body<'n>(out: &mut Vec<u8>, time_ms: u64, notices: impl Iterator<Item = Notice<'n>>) {
    out.extend_from_slice(b"{\"time_ms\":");
    number(out, time_ms);
    out.extend_from_slice(b",\"events\":[");
    let mut first = true;
    for notice in notices {
        comma(out, &mut first);
        write(out, &notice);
    }
    out.extend_from_slice(b"]}");
}

fn write(out: &mut Vec<u8>, notice: &Notice<'_>) {
    out.extend_from_slice(b"{\"name\":");
    string(out, notice.name().as_bytes());
    field(out, "channel", notice.channel().as_bytes());
    match *notice {
        Notice::ChannelOccupied { .. } | Notice::ChannelVacated { .. } | Notice::CacheMiss { .. } => {}
        Notice::MemberAdded { user_id, .. } | Notice::MemberRemoved { user_id, .. } => {
            field(out, "user_id", user_id.as_bytes());
        }
        Notice::ClientEvent { event, data, socket_id, user_id, .. } => {
            field(out, "event", event.as_bytes());
            field(out, "data", data.map_or(b"", Data::bytes));
            field(out, "socket_id", socket_id.to_string().as_bytes());
            if let Some(user_id) = user_id {
                field(out, "user_id", user_id.as_bytes());
            }
        }
        Notice::SubscriptionCount { count, .. } => {
            out.extend_from_slice(b",\"subscription_count\":");
            number(out, count);
        }
    }
    out.push(b'}');
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sign;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn bytes(notices: &[Notice<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        body(&mut out, 1_700_000_000_123, notices.iter().copied());
        out
    }

    #[test]
    fn the_example_of_the_sheet_is_written_and_signed() {
        let written = bytes(&[Notice::ChannelOccupied { channel: "orders" }]);
        let expected =
            r#"{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"orders"}]}"#;
        assert_eq!(std::str::from_utf8(&written).unwrap(), expected);
        let signature = sign::webhook(b"app-secret-demo", &written);
        assert_eq!(signature.as_str(), "61be614dd7b06106a7c572944b946b44a724b71343800b4296f4cdbc1fb0b6d4");
    }

    #[test]
    fn every_notice_has_its_fields() {
        let channel = "presence-a";
        let client = |data, user_id| Notice::ClientEvent {
            channel,
            event: "client-a",
            data,
            socket_id: SocketId(1 << 32 | 2),
            user_id,
        };
        let written = bytes(&[
            Notice::ChannelVacated { channel },
            Notice::CacheMiss { channel },
            Notice::MemberAdded { channel, user_id: "1" },
            Notice::MemberRemoved { channel, user_id: "1" },
            client(Some(Data::Json(b"{\"a\":1}")), Some("1")),
            client(Some(Data::Text(b"text")), None),
            Notice::SubscriptionCount { channel, count: 3 },
        ]);
        let expected = json!({"time_ms": 1_700_000_000_123_u64, "events": [
            {"name": "channel_vacated", "channel": channel},
            {"name": "cache_miss", "channel": channel},
            {"name": "member_added", "channel": channel, "user_id": "1"},
            {"name": "member_removed", "channel": channel, "user_id": "1"},
            {"name": "client_event", "channel": channel, "event": "client-a", "data": "{\"a\":1}",
             "socket_id": "1.2", "user_id": "1"},
            {"name": "client_event", "channel": channel, "event": "client-a", "data": "text", "socket_id": "1.2"},
            {"name": "subscription_count", "channel": channel, "subscription_count": 3},
        ]});
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(channel: String, event: String, data: String) {
            let written = bytes(&[Notice::ClientEvent {
                channel: &channel,
                event: &event,
                data: Some(Data::Text(data.as_bytes())),
                socket_id: SocketId(0),
                user_id: Some(&data),
            }]);
            let read: Value = serde_json::from_slice(&written).unwrap();
            prop_assert_eq!(&read["events"][0], &json!({"name": "client_event", "channel": channel, "event": event,
                "data": data, "socket_id": "0.0", "user_id": data}));
        }
    }
}
