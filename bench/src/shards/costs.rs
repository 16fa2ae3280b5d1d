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
    /// The part of it that the home does, when the publisher is elsewhere.
    pub home: f64,
    /// One mail between shards, both ends, without a wake-up.
    pub mail: f64,
    /// A wake-up by eventfd: the write, and what going to sleep and coming back costs the woken shard.
    pub wake: f64,
    /// What a further shard with subscribers adds to a publish, both ends and its mail, without a wake-up.
    pub reach: f64,
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
const PARTS: usize = 12;

impl Costs {
    /// Where [`Costs::MEASURED`] comes from.
    pub const MEASURED_WHERE: &str = "PLACEHOLDER";
    /// What a run of `model --measure` brought; see [`Costs::MEASURED_WHERE`].
    pub const MEASURED: Costs = Costs {
        publish: 2800.0,
        publish_lone: 12000.0,
        home: 800.0,
        mail: 250.0,
        wake: 9000.0,
        reach: 500.0,
        delivery: 2100.0,
        joined: 200.0,
        turn_shard: 10.0,
        turns: 1.0,
        hop_us: 30.0,
        near_us: 20.0,
    };

    /// Name in JSON and meaning of each number, in the order of [`Costs::values`].
    pub const LABELS: [(&str, &str); PARTS] = [
        ("publish_ns", "publish on its home, busy, ns"),
        ("publish_lone_ns", "publish on its home, alone, with its shard's wake-up, ns"),
        ("home_ns", "of a publish: what the home does, ns"),
        ("mail_ns", "mail between shards, both ends, ns"),
        ("wake_ns", "wake-up by eventfd, both ends, ns"),
        ("reach_ns", "further shard with subscribers, mail included, ns"),
        ("delivery_ns", "delivery, one message per send, ns"),
        ("joined_ns", "delivery, many messages per send, ns"),
        ("turn_shard_ns", "turn of a loop, for each further shard of the node, ns"),
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
        let (mail, wake) = solve(
            Equation::of(two, "silent, home away", "silent")?,
            Equation::of(two, "silent, home away, lone", "silent, lone")?,
        )?;
        // The home's thread has one end of both mails, and its own share of the wake-ups.
        let home = two.spread("silent, home away", |s| s.clocks.shards[1] as f64 / s.messages)?.median;
        let home_wakes = two.place("silent, home away")?.counted.sleeps / 2.0;
        let spread = Equation::of(two, "spread", "gathered")?;
        let turns = one.place("silent, lone")?.counted.turns;
        let slope = (many.spread("silent, lone", cpu)?.median - lone) / (many.shards - 1) as f64;
        let hops = two.difference("home away, lone", "near, lone", |s| s.latencies.us(50.0))?.median;
        Some(Costs {
            publish: silent,
            publish_lone: lone,
            home: home - mail - home_wakes * wake,
            mail,
            wake,
            reach: spread.cpu - spread.wakes * wake,
            delivery: one.spread("crowd", super::Sample::per_delivery)?.median,
            joined: one.difference("near", "silent", cpu)?.median,
            turn_shard: slope / turns,
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
            self.home,
            self.mail,
            self.wake,
            self.reach,
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
            home,
            mail,
            wake,
            reach,
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
            home,
            mail,
            wake,
            reach,
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

/// Cost of a mail and of a wake-up from two cells with different shares of both.
fn solve(a: Equation, b: Equation) -> Option<(f64, f64)> {
    let determinant = a.mails * b.wakes - b.mails * a.wakes;
    (determinant.abs() > 0.1).then(|| {
        let mail = (a.cpu * b.wakes - b.cpu * a.wakes) / determinant;
        let wake = (a.mails * b.cpu - b.mails * a.cpu) / determinant;
        (mail, wake)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_and_wake_are_told_apart() {
        // Busy: two mails and a tenth of a wake-up; lone: two mails and two wake-ups.
        let busy = Equation { cpu: 2.0 * 250.0 + 0.1 * 9000.0, mails: 2.0, wakes: 0.1 };
        let lone = Equation { cpu: 2.0 * 250.0 + 2.0 * 9000.0, mails: 2.0, wakes: 2.0 };
        let (mail, wake) = solve(busy, lone).unwrap();
        assert!((mail - 250.0).abs() < 1e-6 && (wake - 9000.0).abs() < 1e-6, "{mail} {wake}");
        let same = || Equation { cpu: 1.0, mails: 2.0, wakes: 2.0 };
        assert_eq!(solve(same(), same()), None, "two equal equations tell nothing");
    }

    #[test]
    fn costs_come_back_from_json() {
        let costs = Costs::from_values([
            5000.0, 21000.5, 900.0, 250.0, 9000.0, 400.0, 2100.25, 150.0, 12.5, 2.0, 30.0, 60.0,
        ]);
        let text = format!("{{\"scenario\":\"shards\"}}\n{}\n", costs.to_json());
        assert_eq!(Costs::from_json(&text), Ok(costs));
        assert!(Costs::from_json("{}").is_err());
        assert!(Costs::from_json(&text.replace("21000.500", "null")).is_err());
    }
}
