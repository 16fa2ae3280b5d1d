//! A configuration for the fanwire that is started here, where its own defaults do not do what a scenario needs.

use crate::wire::pusher::json_string;
use crate::wire::{App, Carrier, Dialect, Wire};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the configuration is to have beside /pub/CHANNEL and /sub/CHANNEL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations {
    /// Messages are sent compressed on WebSockets that agree.
    pub deflate: bool,
    /// /sub/CHANNEL gives raw streams instead of long polls.
    pub raw: bool,
    /// /raw/CHANNEL gives raw streams.
    pub raw_beside: bool,
    /// The app of Pusher clients, in place of the one for development.
    pub app: Option<App>,
    /// So many users must fit into one of its presence channels.
    pub presence_users: Option<usize>,
    /// So many bytes must fit into what waits for one connection.
    pub outbox_bytes: Option<usize>,
}

/// Users of a presence channel that Pusher itself allows, as does fanwire unless told otherwise.
const PRESENCE_USERS: usize = 100;

/// A configuration file that is removed when this is dropped. The node reads it at its start.
pub struct ConfigFile(PathBuf);

impl Locations {
    /// For subscribers on `wires`, which may be raw streams only if all are.
    pub fn of(wires: &[Wire]) -> Locations {
        Locations {
            deflate: wires.iter().any(|wire| wire.deflate),
            raw: !wires.is_empty() && wires.iter().all(|wire| wire.carrier == Carrier::Raw),
            raw_beside: false,
            app: wires.iter().find(|wire| wire.dialect == Dialect::Pusher).map(|wire| wire.app.clone()),
            ..Locations::default()
        }
    }

    /// For what either needs.
    pub fn and(self, other: Locations) -> Locations {
        Locations {
            deflate: self.deflate || other.deflate,
            raw: self.raw || other.raw,
            raw_beside: self.raw_beside || other.raw_beside,
            app: self.app.or(other.app),
            presence_users: self.presence_users.max(other.presence_users),
            outbox_bytes: self.outbox_bytes.max(other.outbox_bytes),
        }
    }

    /// As TOML.
    fn toml(&self) -> String {
        let mut text = String::new();
        if let Some(bytes) = self.outbox_bytes {
            text += &format!("[limits]\noutbox_bytes = {bytes}\n\n");
        }
        if let Some(App { id, key, secret }) = &self.app {
            // A TOML string in quotes takes what JSON escapes.
            let [id, key, secret] = [id, key, secret].map(|word| json_string(word));
            text += &format!("[[app]]\nid = {id}\nkey = {key}\nsecret = {secret}\n");
            if let Some(users) = self.presence_users.filter(|users| *users > PRESENCE_USERS) {
                text += &format!("max_presence_users = {users}\n");
            }
            text.push('\n');
        }
        if self.deflate || self.raw || self.raw_beside {
            text += &self.own_locations();
        }
        text
    }

    /// Locations that come in place of the node's own.
    fn own_locations(&self) -> String {
        let subscribers = |raw: &str| {
            format!(
                "methods = \"subscriber\"\nsubscribers = [\"websocket\", \"eventsource\", \"chunked\", \"multipart\", \
                 \"{raw}\"]\n"
            )
        };
        let polls = if self.raw { "http-raw-stream" } else { "longpoll" };
        let mut text = format!(
            "[[location]]\nurl = '^/pub/(.+)$'\nmethods = \"publisher\"\ndeflate = {}\n\n\
             [[location]]\nurl = '^/sub/(.+)$'\n{}",
            self.deflate,
            subscribers(polls)
        );
        if self.raw_beside {
            text += &format!("\n[[location]]\nurl = '^/raw/(.+)$'\n{}", subscribers("http-raw-stream"));
        }
        text
    }

    /// Writes the file, if there is anything that needs one.
    pub fn write(&self) -> Result<Option<ConfigFile>, String> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        if *self == Locations::default() {
            return Ok(None);
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanwire-bench-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, self.toml()).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(Some(ConfigFile(path)))
    }
}

impl ConfigFile {
    /// Options that make fanwire read it.
    pub fn options(&self) -> [&str; 2] {
        ["--config", self.0.to_str().unwrap_or_default()]
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_where_one_is_needed_and_goes_with_its_owner() {
        assert!(Locations::default().write().unwrap().is_none());
        let locations = Locations { deflate: true, raw_beside: true, ..Locations::default() };
        let file = locations.write().unwrap().unwrap();
        let [_, path] = file.options();
        let (path, text) = (path.to_owned(), fs::read_to_string(path).unwrap());
        assert!(
            text.contains("deflate = true") && text.contains("^/raw/") && text.contains("longpoll"),
            "{text}"
        );
        drop(file);
        assert!(fs::metadata(path).is_err());
    }

    #[test]
    fn the_keys_of_pusher_clients_are_those_of_the_node() {
        let wires = [Wire::relay("/"), Wire::of(Dialect::Pusher, "bench", &App::default())];
        let text = Locations::of(&wires).toml();
        assert_eq!(text, "[[app]]\nid = \"app-id\"\nkey = \"app-key\"\nsecret = \"app-secret\"\n\n");
        assert_eq!(Locations::of(&wires[..1]), Locations::default());
        let many = Locations { presence_users: Some(101), ..Locations::of(&wires) };
        assert!(many.toml().contains("\nmax_presence_users = 101\n"));
        assert_eq!(Locations { presence_users: Some(100), ..Locations::of(&wires) }.toml(), text);
    }
}
