//! What has to hold between values, once all sources have spoken.

use regex::RegexBuilder;

use super::super::mistake::nearest;
use super::super::{ListenAddress, Mistake, Origin, is_development};
use super::Loader;
use crate::channel::hook::HookTarget;
use crate::dialect::app::AppSettings;
use crate::dialect::relay::settings::{
    DEFAULT_STORE, LocationSettings, PathPattern, Piece, pieces, variables,
};
use crate::limits;

impl Loader<'_> {
    pub(super) fn check(&mut self) {
        self.apps();
        self.exposure();
        self.grants();
        self.webhooks();
        self.tls();
        self.bounds();
        self.inherit_pings();
        self.inherit_origins();
        self.api_listeners();
        self.locations();
        self.open_publishers();
        self.durable_in_memory();
        self.apps_of_locations();
    }

    pub(super) fn origin_of(&self, path: &str) -> Origin {
        self.origins.get(path).cloned().unwrap_or(Origin::Default)
    }

    pub(super) fn said(&self, path: &str) -> bool {
        self.origins.contains_key(path)
    }

    fn apps(&mut self) {
        for index in 0..self.config.apps.len() {
            let app = self.config.apps[index].clone();
            let origin = self.origin_of(&format!("app[{index}]"));
            for (name, value) in [("id", &app.id), ("key", &app.key), ("secret", &app.secret)] {
                let path = format!("app[{index}].{name}");
                let place = if self.said(&path) { self.origin_of(&path) } else { origin.clone() };
                if self.mistakes.iter().any(|mistake| mistake.origin == place) && self.said(&path) {
                    continue; // it was said, and refused
                }
                if let Some(message) = AppSettings::check_name(name, value) {
                    self.wrong(place, message);
                } else if name != "secret"
                    && self.config.apps[..index]
                        .iter()
                        .any(|other| other.id == app.id || other.key == app.key)
                {
                    self.wrong(place, "another app has the same id or key");
                }
            }
        }
    }

    /// After the apps are settled: each web hook has an app and a URL that can be called.
    fn webhooks(&mut self) {
        for index in 0..self.config.webhooks.len() {
            let hook = self.config.webhooks[index].clone();
            let whole = self.origin_of(&format!("webhook[{index}]"));
            let path = |key: &str| format!("webhook[{index}].{key}");
            if !self.said(&path("url")) {
                self.wrong(whole.clone(), "a webhook needs `url`");
            } else if let Err(error) = HookTarget::parse(&hook.url) {
                self.wrong(self.origin_of(&path("url")), error.to_string());
            }
            let known = |id: &String| self.config.apps.iter().any(|app| app.id == *id);
            match &hook.app {
                Some(id) if !known(id) => {
                    let meant = nearest(id, self.config.apps.iter().map(|app| app.id.as_str()));
                    let hint = meant.map_or(String::new(), |meant| {
                        format!(" (did you mean `{}`?)", meant.escape_debug())
                    });
                    let message = format!("there is no app `{}`{hint}", id.escape_debug());
                    self.wrong(self.origin_of(&path("app")), message);
                }
                None if self.config.apps.is_empty() => {
                    self.wrong(whole, "there is no app whose events it could get");
                }
                _ => {}
            }
        }
    }

    /// Development keys are known to everybody, so nobody else may reach a node that takes them.
    fn exposure(&mut self) {
        let apps_said = self.said("app");
        let addresses = self.config.listen.iter().map(|listen| ("listen", &listen.address));
        let addresses = addresses
            .chain(self.config.internal_listen.iter().map(|listen| ("internal_listen", &listen.address)));
        let public = addresses.clone().find(|(_, address)| !address.is_local());
        let listens =
            |address: &ListenAddress| self.config.listen.iter().any(|listen| listen.address == *address);
        let twice = self.config.internal_listen.iter().find(|listen| listens(&listen.address));
        let twice = twice.map(|listen| format!("`{}` is also in `listen`", listen.address));
        let refusal = public.map(|(key, address)| (key, address.to_string()));
        if let Some(message) = twice {
            self.wrong(self.origin_of("internal_listen"), message);
        }

        if !self.said("development") {
            self.config.development = !apps_said;
        } else if !self.config.development && !apps_said {
            self.config.apps.clear();
        }
        let known = self.config.apps.iter().position(is_development);
        let cause = match (self.config.development, known) {
            (true, _) if self.said("development") => "development",
            (_, Some(_)) if apps_said => "app",
            (false, None) => return,
            _ => "",
        };
        let Some((key, address)) = refusal else { return };
        let local = format!("`{key} = [\"127.0.0.1:8080\"]`");
        let cure = match cause {
            "development" => format!("Change {} to `development = false`", self.origin_of("development")),
            "app" => format!("Change {}: give the app a key and a secret of its own", self.origin_of("app")),
            _ => "Add `development = false` (FANWIRE_DEVELOPMENT=false), or an [[app]] with keys of its own"
                .into(),
        };
        let known =
            if cause == "app" { "an app has the development keys" } else { "this is development mode" };
        let message = format!(
            "{address} is open to others and {known}: everybody knows its keys. {cure}, or listen on {local}"
        );
        self.wrong(self.origin_of(key), message);
    }

    fn bounds(&mut self) {
        let limits = self.config.limits;
        if limits.target_bytes >= limits.head_bytes {
            let key = if self.said("limits.target_bytes") { "target_bytes" } else { "head_bytes" };
            let origin = self.origin_of(&format!("limits.{key}"));
            self.wrong(
                origin,
                "`target_bytes` needs to be less than `head_bytes`: the target is a part of the head",
            );
        }
        let (ping, pong) = (limits.websocket_ping_interval_ms, limits.websocket_pong_timeout_ms);
        if ping != 0 && pong > ping {
            let said = self.said("limits.websocket_pong_timeout");
            let key = if said { "websocket_pong_timeout" } else { "websocket_ping_interval" };
            let origin = self.origin_of(&format!("limits.{key}"));
            self.wrong(origin, "`websocket_pong_timeout` needs to be at most `websocket_ping_interval`");
        }
    }

    /// Locations that say nothing about pings follow the node.
    fn inherit_pings(&mut self) {
        if !self.said("limits.websocket_ping_interval") {
            return;
        }
        let interval = self.config.limits.websocket_ping_interval_ms;
        for index in 0..self.config.relay.locations.len() {
            if !self.said(&format!("location[{index}].websocket_ping_interval")) {
                self.config.relay.locations[index].websocket_ping_interval_ms = interval;
            }
        }
    }

    /// Apps and locations that say nothing about origins follow the node; locations follow their app first.
    fn inherit_origins(&mut self) {
        let all = self.config.origins.clone();
        self.config.pusher.origins.clone_from(&all);
        self.config.pushi.origins.clone_from(&all);
        for index in 0..self.config.relay.locations.len() {
            let location = &self.config.relay.locations[index];
            if self.said(&format!("location[{index}].allow_origin")) {
                continue;
            }
            let app = self.config.apps.iter().find(|app| location.app.as_ref() == Some(&app.id));
            let own = app.map(|app| &app.origins).filter(|origins| !origins.is_empty());
            self.config.relay.locations[index].origins = own.unwrap_or(&all).clone();
        }
    }

    /// Listeners of the HTTP interfaces are there.
    fn api_listeners(&mut self) {
        let both = [
            ("pusher.api_listener", self.config.pusher.api_listeners.clone()),
            ("pushi.api_listener", self.config.pushi.api_listeners.clone()),
        ];
        for (key, names) in both {
            for name in names {
                let mut addresses = self.config.listen.iter().chain(&self.config.internal_listen);
                if name != "internal" && !addresses.any(|listen| listen.address.to_string() == name) {
                    let message = format!(
                        "`{}` is neither in `listen` nor in `internal_listen`, nor `internal`",
                        name.escape_debug()
                    );
                    self.wrong(self.origin_of(key), message);
                } else if name == "internal" && self.config.internal_listen.is_empty() {
                    self.wrong(self.origin_of(key), "there is no `internal_listen`: nobody could reach it");
                }
            }
        }
    }

    fn locations(&mut self) {
        for mistake in self.config.relay.validate() {
            let origin = self.location_origin(mistake.location, mistake.key);
            self.wrong(origin, mistake.message);
        }
        let locations = std::mem::take(&mut self.config.relay.locations);
        for (index, location) in locations.iter().enumerate() {
            let both = ["url", "prefix"].map(|key| format!("location[{index}].{key}"));
            if both.iter().all(|path| self.said(path)) {
                let origin = self.origin_of(&both[1]);
                self.wrong(origin, "a location has `url` or `prefix`, not both");
            }
            for name in &location.listeners {
                let addresses = self.config.listen.iter().chain(&self.config.internal_listen);
                if name != "internal"
                    && !addresses.into_iter().any(|listen| listen.address.to_string() == *name)
                {
                    let origin = self.location_origin(index, "listener");
                    self.wrong(
                        origin,
                        format!(
                            "`{}` is neither in `listen` nor in `internal_listen`, nor `internal`",
                            name.escape_debug()
                        ),
                    );
                }
            }
            self.variables(index, location);
        }
        self.config.relay.locations = locations;
    }

    /// The key's place, or where the location begins when the key was not said.
    fn location_origin(&self, index: usize, key: &str) -> Origin {
        let path = format!("location[{index}].{key}");
        if self.said(&path) { self.origin_of(&path) } else { self.origin_of(&format!("location[{index}]")) }
    }

    /// Compiles the expression and looks whether every template names groups and variables that exist.
    fn variables(&mut self, index: usize, location: &LocationSettings) {
        let (groups, names) = match &location.path {
            PathPattern::Prefix(_) => (1, Vec::new()),
            PathPattern::Regex(text) => {
                match RegexBuilder::new(text).size_limit(limits::RELAY_PATTERN_BYTES).build() {
                    Ok(regex) => {
                        let names = regex.capture_names().flatten().map(str::to_owned).collect();
                        (regex.captures_len() - 1, names)
                    }
                    Err(error) => {
                        let origin = self.location_origin(index, "url");
                        let reason = error.to_string();
                        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
                        return self.wrong(origin, format!("`url` is not a regular expression: {reason}"));
                    }
                }
            }
        };
        let methods = location.methods;
        let own = |key: &'static str, templates: &[String]| {
            templates.iter().map(|text| (key, text.clone())).collect::<Vec<_>>()
        };
        let mut request = Vec::new();
        if methods.publishes() {
            let key =
                if location.publisher_channel_id.is_empty() { "channel_id" } else { "publisher_channel_id" };
            request.extend(own(key, location.publisher_ids()));
        }
        if methods.subscribes() {
            let key = if location.subscriber_channel_id.is_empty() {
                "channel_id"
            } else {
                "subscriber_channel_id"
            };
            request.extend(own(key, location.subscriber_ids()));
            request.extend(own("last_message_id", &location.last_message_id));
        }
        request.extend(location.group.iter().map(|text| ("group", text.clone())));
        request.extend(location.eventsource_event.iter().map(|text| ("eventsource_event", text.clone())));
        request.extend(location.channel_events.iter().map(|text| ("channel_events", text.clone())));
        let mut channel = vec![("channel_event_string", location.channel_event_string.clone())];
        channel.extend(location.hook_headers.iter().map(|(_, text)| ("hook_headers", text.clone())));

        for (about_channel, templates) in [(false, request), (true, channel)] {
            for (key, template) in templates {
                for piece in pieces(&template).unwrap_or_default() {
                    let problem = match piece {
                        Piece::Group(number) if usize::from(number) > groups => {
                            format!("`${number}`: the location's path has {groups} groups in parentheses")
                        }
                        Piece::Variable(name)
                            if !names.iter().any(|group| group == name)
                                && !variables::known(name, about_channel) =>
                        {
                            let meant = nearest(name, variables::all(about_channel));
                            let hint =
                                meant.map_or(String::new(), |meant| format!(" (did you mean `${meant}`?)"));
                            format!("unknown variable `${name}`{hint}")
                        }
                        _ => continue,
                    };
                    let origin = self.location_origin(index, key);
                    self.wrong(origin, problem);
                }
            }
        }
    }

    fn apps_of_locations(&mut self) {
        for index in 0..self.config.relay.locations.len() {
            let location = &self.config.relay.locations[index];
            let Some(id) = location.app.clone() else { continue };
            let origin = self.origin_of(&format!("location[{index}].app"));
            if location.store != DEFAULT_STORE {
                self.wrong(origin, format!("`app` needs the store `{DEFAULT_STORE}`: others are no app's"));
            } else if !self.config.apps.iter().any(|app| app.id == id) {
                self.wrong(origin, format!("no [[app]] has the id `{id}`"));
            }
        }
    }

    /// Warns when what is to survive the node is kept nowhere.
    fn durable_in_memory(&mut self) {
        if self.config.store.data.is_some() {
            return;
        }
        for index in 0..self.config.relay.locations.len() {
            if self.config.relay.locations[index].durable {
                let origin = self.location_origin(index, "durable");
                let message =
                    "survives nothing while the store is in memory: set `data` in [store], or --data";
                self.warnings.push(Mistake { origin, message: message.into() });
            }
        }
    }

    /// Warns when strangers may publish.
    fn open_publishers(&mut self) {
        let public =
            self.config.listen.iter().map(|listen| &listen.address).find(|address| !address.is_local());
        let Some(public) = public.cloned() else {
            return;
        };
        for index in 0..self.config.relay.locations.len() {
            let location = &self.config.relay.locations[index];
            let elsewhere = !location.listeners.is_empty()
                && !self.config.listen.iter().any(|listen| {
                    !listen.address.is_local() && location.listeners.contains(&listen.address.to_string())
                });
            if location.methods.publishes()
                && location.authorize.is_none()
                && location.upstream.is_none()
                && !self.is_guarded(location.app.as_ref())
                && !elsewhere
            {
                let path = location.path.text();
                let message = format!(
                    "everybody who reaches {public} can publish at `{path}`: add `authorize`, or `listener = [\"internal\"]`"
                );
                let origin = self.origin_of(&format!("location[{index}]"));
                self.warnings.push(Mistake { origin, message });
            }
        }
    }
}
