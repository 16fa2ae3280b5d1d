//! The model: what a publish costs a node of S shards, and which shard is full first.
//!
//! Everything follows from counts (how many mails, deliveries and wake-ups a publish makes, and on which shard) and
//! from costs that were measured. The counts are checked against a simulation with the node's own homes, members and
//! mailboxes; see `simulation`.

use crate::shards::Costs;

/// What happens on a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its name in the output.
    pub name: &'static str,
    /// Channels, all alike.
    pub channels: f64,
    /// Subscribers of each.
    pub subscribers: f64,
    /// Publishes per second, all channels together.
    pub rate: f64,
}

/// What one publish makes, on average over publishers, homes and subscribers that are spread at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Mails that ask the home and answer: two when the publisher lives elsewhere.
    pub asks: f64,
    /// Mails that carry the publication to other shards with subscribers.
    pub delivers: f64,
    /// Wake-ups by eventfd when everybody sleeps: one per mail, but a publisher's shard that gets the publication and
    /// the answer gets them together.
    pub wakes: f64,
}

impl Counts {
    /// Counts with `shards` shards and `subscribers` per channel.
    pub fn of(shards: f64, subscribers: f64) -> Counts {
        let away = 1.0 - 1.0 / shards;
        let reached = interested(1.0 / shards, subscribers);
        let delivers = (shards - 1.0) * reached;
        Counts { asks: 2.0 * away, delivers, wakes: delivers + 2.0 * away - away * reached }
    }

    /// All mails.
    pub fn mails(&self) -> f64 {
        self.asks + self.delivers
    }
}

/// Probability that a shard with this share of the connections has one of so many subscribers.
fn interested(share: f64, subscribers: f64) -> f64 {
    1.0 - (1.0 - share).powf(subscribers)
}

/// Share of the fullest of `bins` when `balls` fall at random: mean plus the expected maximum of as many deviations,
/// taken as normal (the hash of a channel, SO_REUSEPORT). A single ball makes one bin full.
pub fn fullest(balls: f64, bins: f64) -> f64 {
    if bins <= 1.0 || balls <= 1.0 {
        return 1.0;
    }
    let mean = balls / bins;
    let deviation = (mean * (1.0 - 1.0 / bins)).sqrt();
    ((mean + deviation * (2.0 * bins.ln()).sqrt()) / balls).min(1.0)
}

/// What loads one shard, nanoseconds per publish of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Reading requests and answering them, with the mails that takes.
    pub requests: f64,
    /// Keeping channels: order, history.
    pub home: f64,
    /// Posting publications to other shards with subscribers.
    pub posts: f64,
    /// Receiving them, and making their frames.
    pub receipts: f64,
    /// Writing to subscribers.
    pub deliveries: f64,
    /// Extra when it sleeps in between: wake-ups and lone turns.
    pub waking: f64,
    /// Share of the time it sleeps; no nanoseconds.
    pub asleep: f64,
}

impl Load {
    /// Without what only happens when there is time to sleep.
    pub fn busy(&self) -> f64 {
        self.requests + self.home + self.posts + self.receipts + self.deliveries
    }

    /// The part that takes most, by name.
    pub fn most(&self) -> &'static str {
        let parts = [
            (self.requests, "requests"),
            (self.home, "channel home"),
            (self.posts, "mail posts of the home"),
            (self.receipts, "receipt of mail"),
            (self.deliveries, "deliveries"),
        ];
        parts.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).map_or("", |part| part.1)
    }
}

/// A shard by its shares of everything.
#[derive(Clone, Copy, Debug)]
struct Shares {
    /// Of publishes whose channel lives here.
    homes: f64,
    /// Of subscribers. Publishers are spread evenly.
    subscribers: f64,
}

/// A workload on a node with so many shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Shards.
    pub shards: f64,
    /// Mails per publish and their kinds.
    pub counts: Counts,
    /// CPU of the node, nanoseconds per publish, at the workload's rate.
    pub publish_ns: f64,
    /// The same per delivery.
    pub delivery_ns: f64,
    /// Wake-ups by eventfd per publish, at the workload's rate.
    pub wakes: f64,
    /// Load of the busiest shard at the workload's rate: 1 is full.
    pub utilisation: f64,
    /// Publish to the last subscriber with nothing else going on, microseconds.
    pub last_us: f64,
    /// Publishes per second at which the busiest shard is full.
    pub most_publishes: f64,
    /// Which shard that is, and what fills it.
    pub breaks: String,
    /// How long a shard may stand still at the workload's rate before its mailbox refuses publishes, milliseconds.
    pub stall_ms: f64,
}

/// Mails that wait for a shard before publishes are refused.
pub fn mailbox_room(mailbox: f64) -> f64 {
    mailbox * 7.0 / 8.0
}

/// Load of a shard with these shares.
fn load(costs: &Costs, work: &Workload, shards: f64, shares: Shares, rate: f64) -> Load {
    let (here, publishers) = (shares.subscribers, 1.0 / shards);
    let away = 1.0 - 1.0 / shards;
    let delivers = (shards - 1.0) * interested(1.0 / shards, work.subscribers);
    let receives = (1.0 - shares.homes) * interested(here, work.subscribers);
    let mut load = Load {
        // A publish whose home is here costs it all at once.
        requests: publishers * (shares.homes * costs.publish + (1.0 - shares.homes) * costs.ask),
        home: shares.homes * away * costs.home,
        posts: shares.homes * delivers * costs.post,
        receipts: receives * costs.receipt,
        deliveries: here * work.subscribers * costs.delivery,
        ..Load::default()
    };
    // Where the shard sleeps, each request and each mail is a turn of its own.
    let mails = publishers * (1.0 - shares.homes) + shares.homes * away + receives;
    let turns = (publishers + mails) * costs.turns * costs.turn_shard * (shards - 1.0);
    let extra = publishers * (costs.publish_lone - costs.publish) + mails * costs.wake + turns.max(0.0);
    // An arrival finds the shard asleep as often as it is idle: u = busy + (1 - u) * extra.
    load.asleep = idle(load.busy(), extra, rate);
    load.waking = load.asleep * extra;
    load
}

/// Share of the time a shard is idle when work costs `busy`, and `extra` more for the share that finds it asleep.
fn idle(busy: f64, extra: f64, rate: f64) -> f64 {
    let (busy, extra) = (busy * rate / 1e9, extra * rate / 1e9);
    ((1.0 - busy) / (1.0 + extra)).clamp(0.0, 1.0)
}

/// Computes a workload on `shards` shards, with mailboxes of `mailbox` mails.
pub fn outcome(costs: &Costs, work: &Workload, shards: f64, mailbox: f64) -> Outcome {
    let counts = Counts::of(shards, work.subscribers);
    let connections = work.channels * work.subscribers;
    let even = Shares { homes: 1.0 / shards, subscribers: 1.0 / shards };
    let hot_home = Shares { homes: fullest(work.channels, shards), ..even };
    let dense = Shares { subscribers: fullest(connections, shards), ..even };
    let dense = if work.channels <= 1.0 { Shares { homes: 0.0, ..dense } } else { dense };
    let candidates = [("home of the hottest channels", hot_home), ("shard with most subscribers", dense)];
    let loads = candidates.map(|(name, shares)| (name, load(costs, work, shards, shares, work.rate)));
    let fullest_at = |measure: &dyn Fn(&Load) -> f64| {
        loads.iter().max_by(|a, b| measure(&a.1).total_cmp(&measure(&b.1))).map(|(name, load)| (*name, *load))
    };
    let (_, at_rate) = fullest_at(&|load| load.busy() + load.waking).unwrap_or_default();
    let (name, at_limit) = fullest_at(&Load::busy).unwrap_or_default();
    // The sum over all shards is that of S average ones, but for the homes of a single channel.
    let average = load(costs, work, shards, even, work.rate);
    let publish_ns = shards * (average.busy() + average.waking);
    let hops = if shards > 1.0 { 2.0 } else { 0.0 };
    let written =
        work.subscribers * fullest(work.subscribers.max(1.0), shards).min(1.0) * costs.delivery / 1e3;
    let posts = counts.delivers * costs.post / 1e3;
    let mails_per_shard = work.rate * counts.mails() / shards;
    Outcome {
        shards,
        counts,
        publish_ns,
        delivery_ns: publish_ns / work.subscribers,
        wakes: counts.wakes * average.asleep,
        utilisation: (at_rate.busy() + at_rate.waking) * work.rate / 1e9,
        last_us: costs.near_us + hops * costs.hop_us + posts + written,
        most_publishes: 1e9 / at_limit.busy(),
        breaks: if shards > 1.0 {
            format!("{name}: {}", at_limit.most())
        } else {
            at_limit.most().to_owned()
        },
        stall_ms: if mails_per_shard > 0.0 {
            mailbox_room(mailbox) / mails_per_shard * 1e3
        } else {
            f64::INFINITY
        },
    }
}
