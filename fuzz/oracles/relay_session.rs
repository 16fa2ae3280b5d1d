//! The relay's sessions as sequences of operations on a node of several shards, against a model of what each subscriber
//! has to get ([`super::relay::play`]). The input has no choices in front: all of it is choices.

pub fn check(data: &[u8]) {
    super::relay::play::play(data);
}
