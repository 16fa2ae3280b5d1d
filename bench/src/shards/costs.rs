//! What a run of `shards` says about the parts that a publish is made of: the numbers the model computes with.

use super::Node;
use crate::report::JsonLine;

/// CPU costs of a node's parts, nanoseconds unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// A publish on its channel's home, busy: request, store, answer; no subscriber.
    pub publish: f64,
    /// The same when each is alone, with the wake-up of its shard.
    pub publish_lone: f64,
    /// A publish whose home is elsewhere, at the publisher's shard: request, command, answer; without wake-ups.
    pub ask: f64,
    /// The same at the home; without wake-ups.
    pub home: f64,
    /// What each further shard with subscribers costs the home; without wake-ups.
    pub post: f64,
    /// What it costs that shard, up to the delivery; without wake-ups.
    pub receipt: f64,
    /// A wake-up by eventfd: the write, and what going to sleep and coming back costs the woken shard.
    pub wake: f64,
    /// A delivery: its share of the fan-out and its send.
    pub delivery: f64,
    /// A delivery that shares its send with others: of a busy channel.
    pub joined: f64,
    /// What each further shard of the node adds to a turn of a shard's loop.
    pub turn_shard: f64,
    /// Turns of the loop that a lone publish takes (a number).
    pub turns: f64,
    /// From a mail to a sleeping shard until it works on it, microseconds.
    pub hop_us: f64,
    /// From a lone publish on its home to its delivery, microseconds.
    pub near_us: f64,
}

/// How many they are.
const PARTS: usize = 13;

impl Costs {
    /// Where [`Costs::MEASURED`] comes from.
    pub const MEASURED_WHERE: &str = "of 21 November 2026, a quiet KVM guest whose 2 cores the client shared: only --measure \
        tells of your machine";
    /// What a run of `model --measure` brought; see [`Costs::MEASURED_WHERE`].
    pub const MEASURED: Costs = Costs {
        publish: 5098.1,
        publish_lone: 13052.8,
        ask: 7008.6,
        home: 969.7,
        post: 1862.5,
        receipt: 388.9,
        wake: 6892.0,
        delivery: 4347.8,
        joined: 922.0,
        turn_shard: 22.7,
        turns: 1.0,
        hop_us: 7.8,
        near_us: 24.6,
    };

    /// Name in JSON and meaning of each number, in the order of [`Costs::values`].
    pub const LABELS: [(&str, &str); PARTS] = [
        ("publish_ns", "publish on its home, busy, ns"),
        ("publish_lone_ns", "publish on its home, alone, with its shard's wake-up, ns"),
        ("ask_ns", "publish, home elsewhere: at the publisher's shard, ns"),
        ("home_ns", "publish, home elsewhere: at the home, ns"),
        ("post_ns", "each further shard with subscribers: at the home, ns"),
        ("receipt_ns", "each further shard with subscribers: there, ns"),
        ("wake_ns", "wake-up by eventfd, both ends, ns"),
        ("delivery_ns", "delivery, one message per send, ns"),
        ("joined_ns", "delivery, many messages per send, ns"),
        ("turn_shard_ns", "turn of a loop, for each further shard of the node, ns (0: less than the noise)"),
        ("turns_per_lone_publish", "turns of the loop per lone publish"),
        ("hop_us", "hop to a sleeping shard, us"),
        ("near_us", "lone publish to its delivery on the same shard, us"),
    ];

    /// The costs that these nodes showed. None if a part is missing: it takes one shard, two, and many.
    pub(super) fn of(nodes: &[Node]) -> Option<Costs> {
        let one = nodes.iter().find(|node| node.shards == 1)?;
        let two = nodes.iter().find(|node| node.shards == 2)?;
        let many = nodes.iter().max_by_key(|node| node.shards).filter(|node| node.shards > 2)?;
        let cpu = super::Sample::per_publish;
        let silent = one.spread("silent", cpu)?.median;
        let lone = one.spread("silent, lone", cpu)?.median;
        let wake = solve(
            Equation::of(two, "silent, home away", "silent")?,
            Equation::of(two, "silent, home away, lone", "silent, lone")?,
        )?;
        // What a shard's thread takes for a publish of a cell, without its share of the wake-ups.
        let thread = |name: &str, shard: usize| {
            let all = two.spread(name, |s| s.clocks.shards[shard] as f64 / s.messages)?.median;
            Some(all - two.place(name)?.counted.sleeps / 2.0 * wake)
        };
        let joined = one.difference("near", "silent", cpu)?.median;
        let turns = one.place("silent, lone")?.counted.turns;
        // The thread that works alone: the others of a node with many shards tick.
        let first = |node: &Node| node.spread("silent, lone", |s| s.clocks.shards[0] as f64 / s.messages);
        let slope = (first(many)?.median - first(one)?.median) / (many.shards - 1) as f64;
        let hops = two.difference("home away, lone", "near, lone", |s| s.latencies.us(50.0))?.median;
        Some(Costs {
            publish: silent,
            publish_lone: lone,
            ask: thread("silent, home away", 0)?,
            home: thread("silent, home away", 1)?,
            post: thread("subscriber away", 0)? - thread("silent", 0)?,
            receipt: thread("subscriber away", 1)? - joined,
            wake,
            delivery: one.spread("crowd", super::Sample::per_delivery)?.median,
            joined,
            // Where the noise is larger than the effect it may come out below nothing.
            turn_shard: (slope / turns).max(0.0),
            turns,
            hop_us: hops,
            near_us: one.spread("near, lone", |s| s.latencies.us(50.0))?.median,
        })
    }

    /// The numbers in the order of their names.
    pub fn values(&self) -> [f64; PARTS] {
        [
            self.publish,
            self.publish_lone,
            self.ask,
            self.home,
            self.post,
            self.receipt,
            self.wake,
            self.delivery,
            self.joined,
            self.turn_shard,
            self.turns,
            self.hop_us,
            self.near_us,
        ]
    }

    fn from_values(values: [f64; PARTS]) -> Costs {
        let [
            publish,
            publish_lone,
            ask,
            home,
            post,
            receipt,
            wake,
            delivery,
            joined,
            turn_shard,
            turns,
            hop_us,
            near_us,
        ] = values;
        Costs {
            publish,
            publish_lone,
            ask,
            home,
            post,
            receipt,
            wake,
            delivery,
            joined,
            turn_shard,
            turns,
            hop_us,
            near_us,
        }
    }

    /// As a line of JSON.
    pub fn to_json(self) -> String {
        let line = JsonLine::new("shards", "fanwire").text("kind", "costs");
        Costs::LABELS
            .iter()
            .zip(self.values())
            .fold(line, |line, ((name, _), value)| line.number(name, value))
            .end()
    }

    /// Finds the line in the JSON lines of a run.
    pub fn from_json(text: &str) -> Result<Costs, String> {
        let line = text.lines().find(|line| line.contains("\"kind\":\"costs\"")).ok_or(
            "no line with \"kind\":\"costs\": it takes a run of `shards --json` with one shard, two, and many",
        )?;
        let mut values = [f64::NAN; PARTS];
        for (value, (name, _)) in values.iter_mut().zip(Costs::LABELS) {
            let key = format!("\"{name}\":");
            let rest = line.split_once(&key).ok_or_else(|| format!("no {name}"))?.1;
            let number = rest.split([',', '}']).next().unwrap_or_default();
            *value = number.trim().parse().map_err(|_| format!("{name} is no number: {number}"))?;
        }
        Ok(Costs::from_values(values))
    }
}

/// Extra CPU of a cell for its extra mails and wake-ups, per publish.
struct Equation {
    cpu: f64,
    mails: f64,
    wakes: f64,
}

impl Equation {
    fn of(node: &Node, name: &str, base: &str) -> Option<Equation> {
        let more = node.counted_more(name, base)?;
        let cpu = node.difference(name, base, super::Sample::per_publish)?.median;
        Some(Equation { cpu, mails: more.mails, wakes: more.sleeps })
    }
}

/// Cost of a wake-up from two cells with different shares of mails and wake-ups.
fn solve(a: Equation, b: Equation) -> Option<f64> {
    let determinant = a.mails * b.wakes - b.mails * a.wakes;
    (determinant.abs() > 0.1).then(|| (a.mails * b.cpu - b.mails * a.cpu) / determinant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_are_told_from_mails() {
        // Busy: two mails and a tenth of a wake-up; lone: two mails and two wake-ups.
        let busy = Equation { cpu: 2.0 * 250.0 + 0.1 * 9000.0, mails: 2.0, wakes: 0.1 };
        let lone = Equation { cpu: 2.0 * 250.0 + 2.0 * 9000.0, mails: 2.0, wakes: 2.0 };
        let wake = solve(busy, lone).unwrap();
        assert!((wake - 9000.0).abs() < 1e-6, "{wake}");
        let same = || Equation { cpu: 1.0, mails: 2.0, wakes: 2.0 };
        assert_eq!(solve(same(), same()), None, "two equal equations tell nothing");
    }

    #[test]
    fn costs_come_back_from_json() {
        let costs = Costs::from_values([
            5000.0, 21000.5, 4000.0, 900.0, 250.0, 400.0, 9000.0, 2100.25, 150.0, 12.5, 2.0, 30.0, 60.0,
        ]);
        let text = format!("{{\"scenario\":\"shards\"}}\n{}\n", costs.to_json());
        assert_eq!(Costs::from_json(&text), Ok(costs));
        assert!(Costs::from_json("{}").is_err());
        assert!(Costs::from_json(&text.replace("21000.500", "null")).is_err());
    }
}
