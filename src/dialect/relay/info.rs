//! Bodies that describe channels, groups and the node (nchan sheet sections 2 and 5).

use crate::channel::command::{ChannelInfo, GroupInfo};
use crate::dialect::Figures;
use crate::wire::http::accept::InfoFormat;
use crate::wire::http::response::put_decimal;
use std::fmt::Write;

/// What several channels look like together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    messages: u64,
    subscribers: u64,
    requested_s: Option<u64>,
    last: Option<crate::channel::Position>,
    channels: u32,
}

impl Sum {
    /// Adds one channel.
    pub fn add(&mut self, info: &ChannelInfo) {
        // As nchan does it: subscribers add up, of the stored messages the largest number is told.
        self.messages = self.messages.max(info.messages.into());
        self.subscribers += u64::from(info.subscribers);
        self.requested_s = match (self.requested_s, info.requested_s) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.last = Some(info.last);
        self.channels += 1;
    }

    /// Channels that were added.
    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// Subscribers of all of them.
    pub fn subscribers(&self) -> u64 {
        self.subscribers
    }

    /// Appends the body in a format. Every publisher waits for one: no formatting machinery.
    pub fn write(&self, format: InfoFormat, out: &mut Vec<u8>) {
        let texts = match format {
            InfoFormat::Plain => &PLAIN,
            InfoFormat::Json => &JSON,
            InfoFormat::Yaml => &YAML,
            InfoFormat::Xml => &XML,
        };
        out.extend_from_slice(texts[0].as_bytes());
        put_decimal(out, self.messages);
        out.extend_from_slice(texts[1].as_bytes());
        match self.requested_s {
            Some(seconds) => put_decimal(out, seconds),
            None => out.extend_from_slice(b"-1"),
        }
        out.extend_from_slice(texts[2].as_bytes());
        put_decimal(out, self.subscribers);
        out.extend_from_slice(texts[3].as_bytes());
        match self.last {
            Some(last) if self.channels == 1 => {
                put_decimal(out, last.time);
                out.push(b':');
                put_decimal(out, last.tag.into());
            }
            // The ids of several channels have nothing in common.
            _ => out.push(b'0'),
        }
        out.extend_from_slice(texts[4].as_bytes());
    }
}

/// What stands around messages, requested, subscribers and last message id.
type Texts = [&'static str; 5];

const PLAIN: Texts = [
    "queued messages: ",
    "\r\nlast requested: ",
    " sec. ago\r\nactive subscribers: ",
    "\r\nlast message id: ",
    "",
];
const JSON: Texts =
    ["{\"messages\": ", ", \"requested\": ", ", \"subscribers\": ", ", \"last_message_id\": \"", "\" }"];
const YAML: Texts =
    ["---\r\nmessages: ", "\r\nrequested: ", "\r\nsubscribers: ", "\r\nlast_message_id: \"", "\"\r\n\r\n"];
const XML: Texts = [
    "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<channel>\r\n  <messages>",
    "</messages>\r\n  <requested>",
    "</requested>\r\n  <subscribers>",
    "</subscribers>\r\n  <last_message_id>",
    "</last_message_id>\r\n</channel>",
];

/// The body that describes a group. Messages are never on disk here.
pub fn group(info: &GroupInfo, format: InfoFormat) -> String {
    let limits = &info.limits;
    let have = [info.channels, info.subscribers, info.messages, info.memory_bytes, 0];
    let most = [limits.channels, limits.subscribers, limits.messages, limits.memory_bytes, 0];
    let names = ["channels", "subscribers", "messages", "messages_memory", "messages_disk"];
    match format {
        InfoFormat::Plain => group_plain(&have, &most),
        InfoFormat::Json => {
            let object = |values: &[u64; 5]| {
                let pairs = names.iter().zip(values).map(|(name, value)| format!("\"{name}\": {value}"));
                pairs.collect::<Vec<_>>().join(", ")
            };
            format!("{{{}, \"limits\": {{{}}}}}", object(&have), object(&most))
        }
        InfoFormat::Yaml => {
            let mut out = "---\r\n".to_owned();
            for (name, value) in names.iter().zip(have) {
                let _ = write!(out, "{name}: {value}\r\n");
            }
            out.push_str("limits:\r\n");
            for (name, value) in names.iter().zip(most) {
                let _ = write!(out, "  {name}: {value}\r\n");
            }
            out + "\r\n"
        }
        InfoFormat::Xml => {
            let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<group>\r\n".to_owned();
            for (name, value) in names.iter().zip(have) {
                let _ = write!(out, "  <{name}>{value}</{name}>\r\n");
            }
            out.push_str("  <limits>\r\n");
            for (name, value) in names.iter().zip(most) {
                let _ = write!(out, "    <{name}>{value}</{name}>\r\n");
            }
            out + "  </limits>\r\n</group>"
        }
    }
}

fn group_plain(have: &[u64; 5], most: &[u64; 5]) -> String {
    let mut out = format!(
        "channels: {}\r\nsubscribers: {}\r\nmessages: {}\r\nshared memory used by messages: {} bytes\r\n\
         disk space used by messages: {} bytes\r\nlimits:\r\n",
        have[0], have[1], have[2], have[3], have[4]
    );
    let names = ["channels", "subscribers", "messages", "messages shared memory", "messages disk space"];
    for (name, value) in names.iter().zip(most) {
        let _ = write!(out, "  max {name}: {value}\r\n");
    }
    out
}

/// The counters page (nchan_stub_status). Redis figures are always 0: there is none.
pub fn status(figures: &dyn Figures) -> String {
    let kilobytes = |bytes: u64| format!("{}K", bytes.div_ceil(1024));
    let lines = [
        ("total published messages", figures.published().to_string()),
        ("stored messages", figures.stored().to_string()),
        ("shared memory used", kilobytes(figures.history_bytes())),
        ("shared memory limit", kilobytes(figures.history_limit_bytes())),
        ("channels", figures.channels().to_string()),
        ("subscribers", figures.subscribers().to_string()),
        ("redis pending commands", "0".into()),
        ("redis connected servers", "0".into()),
        ("redis unhealthy upstreams", "0".into()),
        ("total redis commands sent", "0".into()),
        ("total interprocess alerts received", figures.mailed().to_string()),
        ("interprocess alerts in transit", figures.mail_waiting().to_string()),
        ("interprocess queued alerts", "0".into()),
        ("total interprocess send delay", "0".into()),
        ("total interprocess receive delay", "0".into()),
        ("nchan version", env!("CARGO_PKG_VERSION").into()),
    ];
    let mut out = String::new();
    for (name, value) in lines {
        let _ = writeln!(out, "{name}: {value}");
    }
    out
}
