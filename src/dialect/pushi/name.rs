//! Channel names (pushi.md section 7): the beginning says the kind, and any other text is allowed.

use crate::limits::PUSHI_CHANNEL_BYTES;

const PERSONAL: &str = "personal-";
const PRESENCE: &str = "presence-";
const PEER: &str = "peer-";

/// What sort of channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anybody may subscribe.
    Public,
    /// Needs a signature.
    Private,
    /// Needs a signature; who says who it is is shown to the others.
    Presence,
    /// Needs a signature; stands for all channels its user is subscribed to.
    Personal,
    /// Needs a signature, unless both are in a presence channel.
    Peer,
}

impl Kind {
    /// The kind of the channel of this name.
    pub fn of(name: &str) -> Kind {
        match name {
            _ if name.starts_with("private-") => Kind::Private,
            _ if name.starts_with(PRESENCE) => Kind::Presence,
            _ if name.starts_with(PERSONAL) => Kind::Personal,
            _ if name.starts_with(PEER) => Kind::Peer,
            _ => Kind::Public,
        }
    }

    /// Whether a subscription has to be signed.
    pub fn is_signed(self) -> bool {
        self != Kind::Public
    }
}

/// Whether the node takes a name. Pushi itself looks at none; names that begin with `#` are the node's own.
pub fn is_allowed(name: &str) -> bool {
    name.len() <= PUSHI_CHANNEL_BYTES && !name.starts_with('#')
}

/// The channel that stands for a user's subscriptions.
pub fn personal(user: &str) -> String {
    format!("{PERSONAL}{user}")
}

/// Whose personal channel it is.
pub fn personal_user(name: &str) -> Option<&str> {
    name.strip_prefix(PERSONAL)
}

/// The channel of two users of a presence channel. Ids are texts, so that "10" comes before "9" (trap 11).
pub fn pair(presence: &str, a: &str, b: &str) -> String {
    let (a, b) = if a.as_bytes() <= b.as_bytes() { (a, b) } else { (b, a) };
    format!("{PEER}{}:{a}&{b}", base(presence))
}

/// Whether `name` is a channel of `user` and somebody else in `presence`. Asked this way an id with `&` or `:` in it
/// does no harm: nothing has to be taken apart.
pub fn is_pair_of(name: &str, presence: &str, user: &str) -> bool {
    let both = name
        .strip_prefix(PEER)
        .and_then(|rest| rest.strip_prefix(base(presence)))
        .and_then(|rest| rest.strip_prefix(':'));
    let Some(both) = both else { return false };
    let first = both.strip_prefix(user).is_some_and(|rest| rest.starts_with('&'));
    first || both.strip_suffix(user).is_some_and(|rest| rest.ends_with('&'))
}

/// Only the first `presence-` goes.
fn base(presence: &str) -> &str {
    presence.strip_prefix(PRESENCE).unwrap_or(presence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_beginning_says_the_kind() {
        for (name, kind) in [
            ("global", Kind::Public),
            ("", Kind::Public),
            ("Private-x", Kind::Public),
            ("private", Kind::Public),
            ("private-x", Kind::Private),
            ("presence-x", Kind::Presence),
            ("personal-u1", Kind::Personal),
            ("peer-x:a&b", Kind::Peer),
        ] {
            assert_eq!((Kind::of(name), Kind::of(name).is_signed()), (kind, kind != Kind::Public), "{name}");
        }
        assert_eq!(personal_user(&personal("u-1")), Some("u-1"));
        assert!(is_allowed("anything at all: é/&") && !is_allowed("#user-1"));
        assert!(!is_allowed(&"x".repeat(PUSHI_CHANNEL_BYTES + 1)));
    }

    #[test]
    fn trap_11_pairs_are_sorted_as_texts_and_lose_one_prefix() {
        assert_eq!(pair("presence-chat", "bob", "alice"), "peer-chat:alice&bob");
        assert_eq!(pair("presence-chat", "9", "10"), "peer-chat:10&9");
        assert_eq!(pair("presence-presence-x", "b", "a"), "peer-presence-x:a&b");
        // Code points and UTF-8 bytes sort alike; UTF-16, which scripts sort by, does not.
        assert_eq!(pair("presence-x", "\u{1f600}", "\u{fffd}"), "peer-x:\u{fffd}&\u{1f600}");
        assert!(is_pair_of("peer-chat:a&b&c", "presence-chat", "b&c"));
        assert!(!is_pair_of("peer-chat:a&b", "presence-chat", "ab"));
        assert!(!is_pair_of("peer-chat:a&b", "presence-cha", "a"));
        assert!(!is_pair_of("peer-chat", "presence-chat", "a") && !is_pair_of("a&b", "presence-chat", "a"));
    }

    proptest! {
        #[test]
        fn a_pair_is_both_ones_whoever_names_it(base: String, a: String, b: String) {
            let presence = format!("presence-{base}");
            let name = pair(&presence, &a, &b);
            prop_assert_eq!(&name, &pair(&presence, &b, &a));
            prop_assert!(is_pair_of(&name, &presence, &a) && is_pair_of(&name, &presence, &b));
        }
    }
}
