//! What the model knows of clients and events.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a client wants to be in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As whom, where it is a member.
    pub user: Option<&'static str>,
}

/// An answer that a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// As whom, where it is a member.
    Subscribed(Option<&'static str>),
    Unsubscribed,
    Latest,
}

/// One client.
#[derive(Debug, Default)]
pub struct Client {
    /// Its connection.
    pub number: usize,
    pub closed: bool,
    /// It has done what ends a connection.
    pub doomed: bool,
    /// Its channels, once all that it has asked is answered.
    pub channels: BTreeMap<&'static str, Wanted>,
    /// Answers to come, by channel.
    pub owed: BTreeMap<String, VecDeque<Reply>>,
    /// Users of the channels, as far as it was told; of those that it is a member of, always.
    pub views: BTreeMap<String, BTreeSet<String>>,
    /// Channels of which it is a member, as it was told.
    pub memberships: BTreeSet<String>,
    /// Events that it got, by number and channel.
    pub seen: BTreeSet<(usize, String)>,
    /// What the last `latest` said: numbers, newest first.
    pub latest: Option<Vec<usize>>,
}

/// One event.
#[derive(Debug)]
pub struct Event {
    /// Where it was published, in order.
    pub channels: Vec<String>,
    pub persist: bool,
    /// The client that sent it; it gets it back only if it wants to.
    pub sender: Option<usize>,
    pub echo: bool,
    /// False if its sender was gone before it was out for certain.
    pub certain: bool,
    /// For clients of which it is known: by which channel they get it, if by any.
    pub due: BTreeMap<usize, Option<String>>,
    /// Its id, by channel.
    pub mids: BTreeMap<String, String>,
}

impl Client {
    /// Whether it has all answers about this channel.
    pub fn is_settled(&self, channel: &str) -> bool {
        self.owed.get(channel).is_none_or(VecDeque::is_empty)
    }

    /// Whether nothing has been done that ends it.
    pub fn is_well(&self) -> bool {
        !self.closed && !self.doomed
    }

    /// It was answered about a channel.
    pub fn on_reply(&mut self, channel: &str, reply: &str, data: &Value) {
        let owed = self.owed.get_mut(channel).and_then(VecDeque::pop_front);
        let Some(owed) = owed else { panic!("{reply} of {channel}, which it has not asked for") };
        assert_eq!(data["name"], channel);
        let members = data["members"].as_object().expect("members");
        for (id, member) in members {
            assert_eq!(member["user_id"], **id, "the data of a member is that member's");
        }
        match (owed, reply) {
            (Reply::Subscribed(user), "subscription_succeeded") => {
                self.views.insert(channel.to_owned(), members.keys().cloned().collect());
                assert!(channel.starts_with("personal-") || data["events"] == Value::Array(Vec::new()));
                assert!(user.is_none_or(|user| members.contains_key(user)), "it is there itself");
                self.memberships.remove(channel);
                self.memberships.extend(user.map(|_| channel.to_owned()));
            }
            (Reply::Unsubscribed, "unsubscription_succeeded") => {
                self.views.remove(channel);
                self.memberships.remove(channel);
            }
            (Reply::Latest, "latest") => {}
            _ => panic!("{reply} of {channel}, but {owed:?} is due"),
        }
    }

    /// A member has come or gone.
    pub fn on_member(&mut self, channel: &str, is_added: bool, user: &str) {
        assert!(self.memberships.contains(channel), "only members are told");
        let view = self.views.get_mut(channel).expect("a list of members");
        let is_news = if is_added { view.insert(user.to_owned()) } else { view.remove(user) };
        assert!(is_news, "{user} was told of before in {channel}: {is_added}");
    }
}

impl Event {
    /// The events of these numbers have not happened to `client` for certain: it changes its mind about `channel`.
    pub fn is_doubtful(&mut self, client: usize, channel: Option<&str>) {
        if channel.is_none_or(|channel| self.channels.iter().any(|there| there == channel)) {
            self.due.remove(&client);
        }
    }
}
