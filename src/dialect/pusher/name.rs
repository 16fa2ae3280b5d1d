//! Channel names and their kinds (pusher.md section 5).

use crate::limits::PUSHER_USER_ID_CHARS;

/// What a channel's name says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No known prefix.
    Public,
    /// `cache-`
    Cache,
    /// `private-`
    Private,
    /// `private-cache-`
    PrivateCache,
    /// `private-encrypted-`
    Encrypted,
    /// `private-encrypted-cache-`
    EncryptedCache,
    /// `presence-`
    Presence,
    /// `presence-cache-`
    PresenceCache,
    /// `#server-to-user-`
    ServerToUser,
}

/// No prefix comes after one that it begins with: the first that fits is the longest.
const PREFIXES: [(&str, Kind); 7] = [
    ("private-encrypted-cache-", Kind::EncryptedCache),
    ("private-encrypted-", Kind::Encrypted),
    ("presence-cache-", Kind::PresenceCache),
    ("private-cache-", Kind::PrivateCache),
    ("presence-", Kind::Presence),
    ("private-", Kind::Private),
    ("cache-", Kind::Cache),
];

/// What the channel of one user begins with; the rest is the user's id.
const USER_PREFIX: &str = "#server-to-user-";

/// What client events begin with.
const CLIENT_EVENT_PREFIX: &str = "client-";

impl Kind {
    /// A subscription has to be signed by the app's back end.
    pub fn needs_auth(self) -> bool {
        !matches!(self, Kind::Public | Kind::Cache | Kind::ServerToUser)
    }

    /// Subscribers are told of each other.
    pub fn is_presence(self) -> bool {
        matches!(self, Kind::Presence | Kind::PresenceCache)
    }

    /// The last event is kept for those who come later.
    pub fn is_cache(self) -> bool {
        matches!(self, Kind::Cache | Kind::PrivateCache | Kind::EncryptedCache | Kind::PresenceCache)
    }

    /// Events are encrypted between the back end and clients.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Kind::Encrypted | Kind::EncryptedCache)
    }

    /// Clients may send events of their own (section 9); encrypted channels know none.
    pub fn takes_client_events(self) -> bool {
        self.needs_auth() && !self.is_encrypted()
    }

    /// Subscribers may be told their number (section 10).
    pub fn tells_subscription_count(self) -> bool {
        !self.is_presence() && self != Kind::ServerToUser
    }
}

/// A channel name that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    text: &'a str,
    kind: Kind,
}

/// Empty, too long, or with characters that are not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl<'a> Name<'a> {
    /// Checks a name: `[A-Za-z0-9_\-=@,.;]`, at most `limit_bytes` of them, or the channel of one user, whose id is
    /// any text of at most [`PUSHER_USER_ID_CHARS`] characters.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn parse(text: &'a str, limit_bytes: usize) -> Result<Self, BadName> {
        if let Some(id) = text.strip_prefix(USER_PREFIX) {
            let fits = !id.is_empty() && within(id, PUSHER_USER_ID_CHARS);
            return fits.then_some(Name { text, kind: Kind::ServerToUser }).ok_or(BadName);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte);
        if text.is_empty() || text.len() > limit_bytes || !text.bytes().all(allowed) {
            return Err(BadName);
        }
        let kind = PREFIXES.iter().find(|(prefix, _)| text.starts_with(prefix)).map_or(Kind::Public, |p| p.1);
        Ok(Name { text, kind })
    }

    /// As it was written.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// What it says of the channel.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Whose channel it is, for [`Kind::ServerToUser`].
    pub fn user_id(self) -> Option<&'a str> {
        self.text.strip_prefix(USER_PREFIX)
    }
}

/// The channel on which one user is spoken to.
pub fn of_user(user_id: &str) -> String {
    format!("{USER_PREFIX}{user_id}")
}

/// Whether an event's name is one that clients may send; the prefix counts at the beginning only.
pub fn is_client_event(event: &str) -> bool {
    event.starts_with(CLIENT_EVENT_PREFIX)
}

/// Whether `text` has at most so many characters.
pub fn within(text: &str, chars: usize) -> bool {
    text.len() <= chars || text.chars().nth(chars).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PUSHER_CHANNEL_NAME_BYTES;

    fn kind(text: &str) -> Result<Kind, BadName> {
        Name::parse(text, PUSHER_CHANNEL_NAME_BYTES).map(Name::kind)
    }

    #[test]
    fn the_longest_prefix_at_the_beginning_is_the_kind() {
        for (text, expected) in [
            ("orders", Kind::Public),
            ("a_-=@,.;Z9", Kind::Public),
            ("my-cache-x", Kind::Public),
            ("my-private-x", Kind::Public),
            ("Private-x", Kind::Public),
            ("private", Kind::Public),
            ("encrypted-x", Kind::Public),
            ("cache-x", Kind::Cache),
            ("private-x", Kind::Private),
            ("private-", Kind::Private),
            ("private-presence-x", Kind::Private),
            ("private-my-cache-x", Kind::Private),
            ("private-cache-x", Kind::PrivateCache),
            ("private-cache-encrypted-x", Kind::PrivateCache),
            ("private-encrypted-x", Kind::Encrypted),
            ("private-encrypted-cache-x", Kind::EncryptedCache),
            ("presence-x", Kind::Presence),
            ("presence-cache-x", Kind::PresenceCache),
            ("presence-encrypted-x", Kind::Presence),
            ("#server-to-user-u1", Kind::ServerToUser),
            ("#server-to-user-a b:é#", Kind::ServerToUser),
        ] {
            assert_eq!(kind(text), Ok(expected), "{text}");
        }
        for (at, (prefix, _)) in PREFIXES.iter().enumerate() {
            assert!(
                PREFIXES[..at].iter().all(|(earlier, _)| !prefix.starts_with(earlier)),
                "{prefix} is hidden"
            );
        }
    }

    #[test]
    fn other_names_are_refused() {
        for bad in
            ["", "a b", "a:b", "#a", "a#", "#server-to-user-", "x#server-to-user-u", "a/b", "é", "a\n", "[a]"]
        {
            assert_eq!(kind(bad), Err(BadName), "{bad}");
        }
        assert!(kind(&"a".repeat(200)).is_ok() && kind(&"a".repeat(201)).is_err());
        let user = |n| of_user(&"é".repeat(n));
        assert!(kind(&user(128)).is_ok() && kind(&user(129)).is_err());
    }

    #[test]
    fn kinds_differ_in_what_they_allow() {
        let all = |f: fn(Kind) -> bool| -> Vec<Kind> {
            let mut kinds: Vec<Kind> = PREFIXES.iter().map(|p| p.1).collect();
            kinds.extend([Kind::Public, Kind::ServerToUser]);
            kinds.into_iter().filter(|kind| f(*kind)).collect()
        };
        use Kind::*;
        assert_eq!(
            all(Kind::needs_auth),
            [EncryptedCache, Encrypted, PresenceCache, PrivateCache, Presence, Private]
        );
        assert_eq!(all(Kind::is_presence), [PresenceCache, Presence]);
        assert_eq!(all(Kind::is_cache), [EncryptedCache, PresenceCache, PrivateCache, Cache]);
        assert_eq!(all(Kind::is_encrypted), [EncryptedCache, Encrypted]);
        assert_eq!(all(Kind::takes_client_events), [PresenceCache, PrivateCache, Presence, Private]);
        assert_eq!(
            all(Kind::tells_subscription_count),
            [EncryptedCache, Encrypted, PrivateCache, Private, Cache, Public]
        );
    }

    #[test]
    fn a_users_channel_gives_the_user_back() {
        let text = of_user("u1");
        let name = Name::parse(&text, 10).unwrap();
        assert_eq!((name.text(), name.user_id()), ("#server-to-user-u1", Some("u1")));
        assert_eq!(Name::parse("user-u1", 10).unwrap().user_id(), None);
    }

    #[test]
    fn client_events_begin_with_their_prefix() {
        assert!(is_client_event("client-typing"));
        for other in ["my-client-x", "client", "Client-x", "pusher:client-x", ""] {
            assert!(!is_client_event(other), "{other}");
        }
        assert!(within("éé", 2) && !within("ééé", 2) && within("", 0));
    }
}
