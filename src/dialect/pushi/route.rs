//! Paths of the HTTP interface, of both generations (pushi.md sections 9 and 11): in the old one, up to 2014-11, most
//! stand below `/apps/<id>/`.

use crate::wire::http::request::Method;
use crate::wire::http::target::decode_text;
use std::borrow::Cow;

/// Parts of the longest path but those with a URL in it.
const PATH_PARTS: usize = 32;

/// A path that is known, with the method that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The app that a path of the old generation names: it has to be the session's.
    pub old_app: Option<Cow<'a, str>>,
    /// What is asked.
    pub action: Action<'a>,
}

/// What is asked. Nearly everything needs a session ([`Action::needs_session`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Get a session token.
    Login,
    /// End a session.
    Logout,
    /// Make an app.
    CreateApp,
    /// The session's app, in a list.
    ListApps,
    /// One app.
    ShowApp(Cow<'a, str>),
    /// Change an app.
    UpdateApp(Cow<'a, str>),
    /// Whether anybody is there.
    Ping,
    /// Publish an event.
    Publish,
    /// Stored events of all channels.
    ListEvents,
    /// Registrations of a kind.
    List(Kind),
    /// Register somebody or something for a channel.
    Register(Kind),
    /// Undo that.
    Remove {
        /// Of what kind.
        kind: Kind,
        /// Whom; in the old generation the query says it.
        subject: Option<Cow<'a, str>>,
        /// For which channel; none in a path: the query says it, or all channels are meant.
        channel: Option<Cow<'a, str>>,
    },
    /// Connections. The protocol's own server fails here, too.
    ListSockets,
    /// Channels of one connection.
    ShowSocket(Cow<'a, str>),
    /// The public key for web push.
    VapidKey,
    /// Send something outside of channels; with the adapter where the path names it.
    Send(Option<Adapter>),
    /// How the node is.
    Health(Health),
}

impl Action<'_> {
    /// Whether it is for those only who have logged in.
    pub fn needs_session(&self) -> bool {
        !matches!(
            self,
            Action::Login | Action::Logout | Action::CreateApp | Action::VapidKey | Action::Health(_)
        )
    }
}

/// What is registered for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A user, whether connected or not.
    Subscription,
    /// A web hook.
    Web,
    /// A device of Apple's.
    Apn,
    /// A mail address.
    Smtp,
    /// A browser.
    WebPush,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 5] = [Kind::Subscription, Kind::Web, Kind::Apn, Kind::Smtp, Kind::WebPush];

    /// Its first path segment, and its name in the store.
    pub fn path(self) -> &'static str {
        match self {
            Kind::Subscription => "subscriptions",
            Kind::Web => "webs",
            Kind::Apn => "apns",
            Kind::Smtp => "smtps",
            Kind::WebPush => "web_pushes",
        }
    }

    /// The field that says who or what is registered.
    pub fn subject_field(self) -> &'static str {
        match self {
            Kind::Subscription => "user_id",
            Kind::Web => "url",
            Kind::Apn => "token",
            Kind::Smtp => "email",
            Kind::WebPush => "endpoint",
        }
    }

    /// Whether removing what is not there is an error of 500 (section 9.7 and 9.8).
    pub fn misses_loudly(self) -> bool {
        matches!(self, Kind::Web | Kind::Apn | Kind::Smtp)
    }
}

/// A way to send something outside of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// Apple's push service.
    Apn,
    /// Mail.
    Email,
    /// HTTP calls.
    Webhook,
    /// Browsers' push services.
    WebPush,
}

impl Adapter {
    /// The adapter of this name.
    pub fn from_name(name: &str) -> Option<Adapter> {
        Some(match name {
            "apn" => Adapter::Apn,
            "email" => Adapter::Email,
            "webhook" => Adapter::Webhook,
            "web_push" => Adapter::WebPush,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Adapter::Apn => "apn",
            Adapter::Email => "email",
            Adapter::Webhook => "webhook",
            Adapter::WebPush => "web_push",
        }
    }
}

/// Which of the pages about the node's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// `/`
    Info,
    /// `/health`
    Short,
    /// `/health/live`
    Live,
    /// `/health/ready`
    Ready,
    /// `/health/detailed`
    Detailed,
}

/// Finds the route of a path as it was sent; `None` for all that is not part of this interface, among them every path
/// with a slash at its end.
pub fn route(method: Method, path_raw: &str) -> Option<Route<'_>> {
    let parts: Vec<&str> = path_raw.strip_prefix('/')?.split('/').take(PATH_PARTS).collect();
    if let ["apps", app, rest @ ..] = &parts[..]
        && !rest.is_empty()
    {
        let action = old(method, rest)?;
        return Some(Route { old_app: Some(text(app)?), action });
    }
    let action = new(method, &parts, path_raw)?;
    Some(Route { old_app: None, action })
}

fn text(raw: &str) -> Option<Cow<'_, str>> {
    decode_text(raw).ok().filter(|text| !text.is_empty())
}

fn new<'a>(method: Method, parts: &[&'a str], path_raw: &'a str) -> Option<Action<'a>> {
    use Method::{Delete, Get, Post, Put};
    let get = if method == Method::Head { Get } else { method };
    Some(match (get, parts) {
        (Get, ["login"]) => Action::Login,
        (Get, ["logout"]) => Action::Logout,
        (Post, ["apps"]) => Action::CreateApp,
        (Get, ["apps"]) => Action::ListApps,
        (Get, ["apps", app]) => Action::ShowApp(text(app)?),
        (Put, ["apps", app]) => Action::UpdateApp(text(app)?),
        (Post, ["events"]) => Action::Publish,
        (Get, ["events"]) => Action::ListEvents,
        (Get, ["sockets"]) => Action::ListSockets,
        (Post | Get, ["sockets", id]) => Action::ShowSocket(text(id)?),
        (Get, ["vapid_key"]) => Action::VapidKey,
        (Post, ["messaging", "send"]) => Action::Send(None),
        (Post, ["messaging", name]) => Action::Send(Some(Adapter::from_name(name)?)),
        (Get, [""]) => Action::Health(Health::Info),
        (Get, ["health"]) => Action::Health(Health::Short),
        (Get, ["health", "live"]) => Action::Health(Health::Live),
        (Get, ["health", "ready"]) => Action::Health(Health::Ready),
        (Get, ["health", "detailed"]) => Action::Health(Health::Detailed),
        (method, [first, rest @ ..]) => {
            let kind = Kind::ALL.into_iter().find(|kind| kind.path() == *first)?;
            match (method, rest) {
                (Get, []) => Action::List(kind),
                (Post, []) => Action::Register(kind),
                (Delete, [_, ..]) => removal(kind, rest, path_raw)?,
                _ => return None,
            }
        }
        (_, []) => return None,
    })
}

/// `/<kind>/<subject>/<channel>`, or without the channel. Pushi's own server knows no slash in either; here a URL may
/// have some, escaped or not: what stands behind the last one is the channel then.
fn removal<'a>(kind: Kind, rest: &[&'a str], path_raw: &'a str) -> Option<Action<'a>> {
    let (subject, channel) = match rest {
        [subject] => (text(subject)?, None),
        [subject, channel] => (text(subject)?, Some(text(channel)?)),
        // The browser's endpoint is followed by a query instead.
        _ if kind == Kind::WebPush => (text(path_raw.split_at_checked("/web_pushes/".len())?.1)?, None),
        _ if kind == Kind::Web => {
            let (subject, channel) = path_raw.split_at_checked("/webs/".len())?.1.rsplit_once('/')?;
            (text(subject)?, Some(text(channel)?))
        }
        _ => return None,
    };
    if kind == Kind::Subscription && channel.is_none() {
        return None;
    }
    Some(Action::Remove { kind, subject: Some(subject), channel })
}

fn old<'a>(method: Method, rest: &[&'a str]) -> Option<Action<'a>> {
    use Method::{Get, Post};
    let gone = |kind| Action::Remove { kind, subject: None, channel: None };
    Some(match (method, rest) {
        (Post, ["events"]) => Action::Publish,
        (Get, ["events"]) => Action::ListEvents,
        (Get, ["subscriptions"]) => Action::List(Kind::Subscription),
        (Get, ["subscribe"]) => Action::Register(Kind::Subscription),
        (Get, ["unsubscribe"]) => gone(Kind::Subscription),
        (Get, ["subscribe_web"]) => Action::Register(Kind::Web),
        (Get, ["unsubscribe_web"]) => gone(Kind::Web),
        (Get, ["subscribe_apn"]) => Action::Register(Kind::Apn),
        (Get, ["unsubscribe_apn"]) => gone(Kind::Apn),
        (Get, ["sockets"]) => Action::ListSockets,
        (Get | Post, ["sockets", id]) => Action::ShowSocket(text(id)?),
        (Get, ["ping"]) => Action::Ping,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(method: Method, path: &str) -> Option<Action<'_>> {
        route(method, path).map(|route| route.action)
    }

    fn removed<'a>(kind: Kind, subject: &'a str, channel: Option<&'a str>) -> Option<Action<'a>> {
        Some(Action::Remove { kind, subject: Some(subject.into()), channel: channel.map(Into::into) })
    }

    #[test]
    fn todays_paths_are_known() {
        use Method::{Delete, Get, Post, Put};
        for (method, path, wanted) in [
            (Get, "/login", Action::Login),
            (Get, "/logout", Action::Logout),
            (Post, "/apps", Action::CreateApp),
            (Get, "/apps", Action::ListApps),
            (Get, "/apps/id", Action::ShowApp("id".into())),
            (Put, "/apps/id", Action::UpdateApp("id".into())),
            (Post, "/events", Action::Publish),
            (Get, "/events", Action::ListEvents),
            (Get, "/subscriptions", Action::List(Kind::Subscription)),
            (Post, "/subscriptions", Action::Register(Kind::Subscription)),
            (Post, "/webs", Action::Register(Kind::Web)),
            (Get, "/web_pushes", Action::List(Kind::WebPush)),
            (Post, "/sockets/a-b", Action::ShowSocket("a-b".into())),
            (Get, "/sockets", Action::ListSockets),
            (Get, "/vapid_key", Action::VapidKey),
            (Post, "/messaging/send", Action::Send(None)),
            (Post, "/messaging/web_push", Action::Send(Some(Adapter::WebPush))),
            (Get, "/health", Action::Health(Health::Short)),
            (Get, "/health/detailed", Action::Health(Health::Detailed)),
            (Get, "/", Action::Health(Health::Info)),
        ] {
            assert_eq!(action(method, path), Some(wanted.clone()), "{path}");
            let open = matches!(
                wanted,
                Action::Login | Action::Logout | Action::CreateApp | Action::VapidKey | Action::Health(_)
            );
            assert_eq!(wanted.needs_session(), !open, "{path}");
        }
        for (method, path) in [
            (Post, "/login"),
            (Get, "/login/"),
            (Get, "/apps/"),
            (Delete, "/apps/id"),
            (Get, "/subscribe"),
            (Get, "/channels"),
            (Delete, "/subscriptions"),
            (Delete, "/subscriptions/u"),
            (Delete, "/subscriptions/u/c/d"),
            (Delete, "/subscriptions/u/%zz"),
            (Post, "/messaging/bogus"),
            (Get, "/health/"),
            (Get, ""),
            (Get, "login"),
        ] {
            assert_eq!(action(method, path), None, "{path}");
        }
    }

    #[test]
    fn what_is_removed_is_found_in_the_path() {
        let delete = |path: &'static str| action(Method::Delete, path);
        assert_eq!(delete("/subscriptions/u%201/news"), removed(Kind::Subscription, "u 1", Some("news")));
        assert_eq!(delete("/webs/http%3A%2F%2Fh%2Fx/news"), removed(Kind::Web, "http://h/x", Some("news")));
        assert_eq!(delete("/webs/http://h/x/news"), removed(Kind::Web, "http://h/x", Some("news")));
        assert_eq!(delete("/webs/h"), removed(Kind::Web, "h", None));
        assert_eq!(delete("/web_pushes/https%3A%2F%2Fp%2Fe"), removed(Kind::WebPush, "https://p/e", None));
        assert_eq!(delete("/web_pushes/https://p/e"), removed(Kind::WebPush, "https://p/e", None));
        assert_eq!(delete("/apns/token/c"), removed(Kind::Apn, "token", Some("c")));
        assert_eq!(delete("/smtps/a@b/c"), removed(Kind::Smtp, "a@b", Some("c")));
    }

    #[test]
    fn both_generations_are_known() {
        let old = |method, path: &'static str| {
            let route = route(method, path).unwrap();
            assert_eq!(route.old_app.as_deref(), Some("a b"), "{path}");
            route.action
        };
        let gone = |kind| Action::Remove { kind, subject: None, channel: None };
        for (path, wanted) in [
            ("/apps/a%20b/events", Action::ListEvents),
            ("/apps/a%20b/subscribe", Action::Register(Kind::Subscription)),
            ("/apps/a%20b/unsubscribe", gone(Kind::Subscription)),
            ("/apps/a%20b/subscribe_web", Action::Register(Kind::Web)),
            ("/apps/a%20b/unsubscribe_web", gone(Kind::Web)),
            ("/apps/a%20b/subscribe_apn", Action::Register(Kind::Apn)),
            ("/apps/a%20b/unsubscribe_apn", gone(Kind::Apn)),
            ("/apps/a%20b/subscriptions", Action::List(Kind::Subscription)),
            ("/apps/a%20b/sockets", Action::ListSockets),
            ("/apps/a%20b/sockets/s", Action::ShowSocket("s".into())),
            ("/apps/a%20b/ping", Action::Ping),
        ] {
            assert_eq!(old(Method::Get, path), wanted, "{path}");
            assert!(wanted.needs_session());
        }
        assert_eq!(old(Method::Post, "/apps/a%20b/events"), Action::Publish);
        for path in ["/apps/a/batch_events", "/apps/a/channels", "/apps/a/", "/apps//events", "/apps/a/ping/"]
        {
            assert!(route(Method::Get, path).is_none() && route(Method::Post, path).is_none(), "{path}");
        }
    }
}
