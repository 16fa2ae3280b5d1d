//! Rules and names for a run, and how answers are compared.

use crate::model::Expected;
use crate::rng::Rng;
use fanwire::channel::{Answer, ChannelKey, GroupLimits, Policy, Position, PresenceLimits, ReplyTo, Token};

pub fn nobody(shard: usize) -> ReplyTo {
    ReplyTo { shard: shard as u16, token: Token { slot: u32::MAX, generation: 0, tag: 0 } }
}

pub fn key_name(key: &ChannelKey) -> String {
    format!("{}/{}", String::from_utf8_lossy(key.group()), String::from_utf8_lossy(key.name()))
}

pub fn policy(rng: &mut Rng) -> Policy {
    let max_messages = *rng.pick(&[0, 1, 2, 5, 100]);
    let limit = |rng: &mut Rng, most: usize| if rng.chance(60) { 0 } else { 1 + rng.below(most) as u64 };
    Policy {
        max_messages,
        min_messages: if rng.chance(70) { 0 } else { rng.below(4) as u32 },
        message_timeout_ms: *rng.pick(&[0, 500, 3_000, 60_000]),
        channel_timeout_ms: *rng.pick(&[0, 100, 5_000]),
        delete_oldest_received: rng.chance(20),
        max_bytes: u64::MAX,
        durable: false,
        group_limits: rng.chance(60).then(|| GroupLimits {
            channels: limit(rng, 3),
            subscribers: limit(rng, 6),
            messages: limit(rng, 8),
            memory_bytes: limit(rng, 4_000),
        }),
        presence: PresenceLimits::default(),
    }
}

pub fn check_answer(expected: &Expected, is: &Answer) {
    let is = match is {
        Answer::Published { position, info } => Expected::Published(*position, *info),
        Answer::Subscribed(s) => Expected::Subscribed {
            backlog: s.backlog.iter().map(|p| p.position).collect::<Vec<Position>>(),
            class: s.registered.map(|(class, _)| class),
            last: s.last,
            recovered: s.recovered,
            info: s.info,
        },
        Answer::Info(info) => Expected::Info(*info),
        Answer::Group(info) => Expected::Group(*info),
        Answer::Refused(refusal) => Expected::Refused(*refusal),
        #[allow(unreachable_patterns)] // answers to come belong to commands to come
        other => panic!("not modelled: {other:?}"),
    };
    assert_eq!(&is, expected, "answer (left) against model (right)");
}
