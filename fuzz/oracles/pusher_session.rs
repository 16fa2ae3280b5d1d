//! Pusher's sessions as sequences of operations on a node of several shards, against a model of what each client and
//! each back end has to believe ([`super::pusher::play`]). The input has no choices in front: all of it is choices.

pub fn check(data: &[u8]) {
    super::pusher::play::play(data);
}
