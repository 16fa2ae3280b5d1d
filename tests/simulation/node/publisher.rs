//! Those who publish, ask and delete over HTTP, by the interfaces of three protocols, over one connection after another.

use super::client::place_of;
use super::counts::{Counts, Did};
use super::kernel::Simulated;
use super::peer::{Got, Peer};
use super::truth::Fate;
use super::world::{Channels, NAMES};
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};

/// A request without an answer.
pub enum Asked {
    /// In these channels, one after the other.
    Publish { channels: Vec<usize>, id: u64 },
    /// Who is there, for the check at rest.
    Info { channel: usize, subscribers: usize },
    /// To delete a channel that has had this.
    Delete { channel: usize, there: Vec<u64> },
    /// To delete the room.
    DeleteRoom,
    /// To be answered by another shard, from which the connection goes on.
    Elsewhere,
    /// A session token of Pushi.
    Login,
    /// For the check at rest: the channels of a client of Pushi.
    Socket { channels: BTreeSet<String>, pairs: Vec<String> },
}

/// Publishes over one connection after another.
#[derive(Default)]
pub struct Publisher {
    pub peer: Option<Peer>,
    pub asked: VecDeque<Asked>,
}

/// What everybody knows while answers are read.
pub struct Known<'a> {
    pub channels: &'a mut Channels,
    /// The session token of Pushi's back ends.
    pub token: &'a mut Option<String>,
    pub counts: &'a mut Counts,
    /// The last publication's id.
    pub published: u64,
    /// Subscribers that a channel may have.
    pub most: usize,
    pub draining: bool,
}

impl Publisher {
    /// Sends a request; `line` is its method and target, `headers` has a line end after each.
    pub fn ask(&mut self, kernel: &Simulated, asked: Asked, line: &str, headers: &str, body: &str) {
        let Some(peer) = &self.peer else { return };
        let length = match body.len() {
            0 if !line.starts_with("POST") => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let head = format!("{line} HTTP/1.1\r\nHost: n\r\nAccept: text/json\r\n{headers}{length}\r\n");
        kernel.write(peer.fd, (head + body).as_bytes());
        self.asked.push_back(asked);
    }

    /// Looks at an answer.
    pub fn got(&mut self, got: &Got, known: &mut Known<'_>) {
        let Got::Response { status, body, .. } = got else { return self.lost(known.channels) };
        let Some(asked) = self.asked.pop_front() else {
            assert!(known.draining && *status == 503, "nobody asked for {got:?}"); // there is no room for it any more
            return;
        };
        let field = |name: &str| serde_json::from_slice::<Value>(body).ok()?.get(name).cloned();
        let there = || field("subscribers").and_then(|v| v.as_u64()).unwrap_or(0) as usize;
        match (asked, status) {
            (Asked::Publish { channels, id }, 201 | 202) => {
                let there = there();
                let most = known.most;
                assert!((*status == 201) == (there > 0) && there <= most, "{got:?}: {there} of {most}");
                let place = field("last_message_id").and_then(|v| place_of(v.as_str()?));
                known.counts.note(Did::Accepted);
                known.channels[channels[0]].answered(id, Fate::Accepted, place);
            }
            // The answers of the other protocols tell nothing.
            (Asked::Publish { channels, id }, 200) => {
                known.counts.note(Did::Accepted);
                channels.iter().for_each(|&at| known.channels[at].answered(id, Fate::Accepted, None));
            }
            (Asked::Publish { channels, id }, 503 | 507 | 429) => {
                known.counts.note(Did::Refused);
                // Of several channels the first may have it.
                let fate = if channels.len() > 1 { Fate::Unknown } else { Fate::Refused };
                channels.iter().for_each(|&at| known.channels[at].answered(id, fate, None));
            }
            (Asked::Info { subscribers, channel }, 200) => {
                assert_eq!(there(), subscribers, "subscribers of {}", NAMES[channel]);
            }
            (Asked::Info { subscribers, channel }, 404) => {
                assert_eq!(subscribers, 0, "subscribers of {}", NAMES[channel]);
            }
            (Asked::Delete { channel, there }, 200 | 404) => {
                known.counts.note(Did::Deleted);
                let behind = self.asked.iter().filter_map(|asked| match asked {
                    Asked::Publish { id, .. } => Some(*id),
                    _ => None,
                });
                known.channels[channel].deleted(there, known.published, behind.collect());
            }
            (Asked::DeleteRoom, 200) => known.counts.note(Did::RoomDeleted),
            (Asked::DeleteRoom, 404) => {}
            (Asked::Delete { .. } | Asked::DeleteRoom, 503 | 507) => {}
            (Asked::Elsewhere, 426) => {}
            (Asked::Elsewhere, 503) if known.draining => {}
            (Asked::Login, 200) => {
                *known.token = field("token").and_then(|token| Some(token.as_str()?.to_owned()));
            }
            (Asked::Login, 503) => {}
            (Asked::Socket { channels, pairs }, 200) => {
                let told: Value = serde_json::from_slice(body).expect("JSON");
                let told = told["channels"].as_array().expect("a list").iter();
                let told: BTreeSet<String> =
                    told.map(|name| name.as_str().expect("a name").to_owned()).collect();
                known.counts.note(Did::Asked);
                known.counts.more(Did::Pair, pairs.len() as u64);
                assert!(pairs.iter().all(|pair| told.contains(pair)), "{pairs:?} are not among {told:?}");
                let others: BTreeSet<_> =
                    told.into_iter().filter(|name| !name.starts_with("peer-")).collect();
                assert_eq!(others, channels, "channels of a client, as a back end is told");
            }
            _ => panic!("{got:?}"),
        }
    }

    /// The connection is gone.
    pub fn lost(&mut self, channels: &mut Channels) {
        self.peer = None;
        for asked in self.asked.drain(..) {
            match asked {
                Asked::Publish { channels: of, id } => {
                    of.iter().for_each(|&at| channels[at].answered(id, Fate::Unknown, None));
                }
                Asked::Delete { channel, .. } => channels[channel].deletion_lost(),
                _ => {}
            }
        }
    }
}
