//! Pushi's sessions as sequences of operations on a node of several shards, against a model of what each client has to
//! believe ([`super::pushi::play`]). The input has no choices in front: all of it is choices.

pub fn check(data: &[u8]) {
    super::pushi::play::play(data);
}
