//! The effective configuration as a TOML file, each line with its origin.

use std::fmt::Write;

use super::app::APP_KEYS;
use super::grant::GRANT_KEYS;
use super::keys::KEYS;
use super::location::LOCATION_KEYS;
use super::tls::CERTIFICATE_KEYS;
use super::webhook::WEBHOOK_KEYS;
use super::{Config, DEVELOPMENT_SECRET, Loaded};

/// Column in which the comments begin, if the value leaves room.
const COMMENT_COLUMN: usize = 48;

/// The configuration as a file that would give the same values. Secrets other than the well-known one are left
/// out: a comment stands in their place.
pub fn print(loaded: &Loaded) -> String {
    let mut config = loaded.config.clone();
    let mut out = String::new();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            out.push_str(&format!("\n[{section}]\n"));
        }
        let shown = (key.slot)(&mut config).show();
        line(&mut out, key.name, shown, &loaded.origin(&key.path()).to_string());
    }
    for (index, certificate) in config.certificates.iter_mut().enumerate() {
        out.push_str("\n[[certificate]]\n");
        for key in &CERTIFICATE_KEYS {
            let shown = (key.slot)(certificate).show();
            let origin = loaded.origin(&format!("certificate[{index}].{}", key.name)).to_string();
            line(&mut out, key.name, shown, &origin);
        }
    }
    for (index, app) in config.apps.iter_mut().enumerate() {
        out.push_str("\n[[app]]\n");
        for key in APP_KEYS {
            let origin = loaded.origin(&format!("app[{index}].{}", key.name)).to_string();
            if key.name == "secret" && app.secret != DEVELOPMENT_SECRET {
                line(&mut out, key.name, None, &format!("{origin}, not shown"));
            } else {
                let shown = (key.slot)(app).show();
                line(&mut out, key.name, shown, &origin);
            }
        }
    }
    for (index, grant) in config.grants.iter_mut().enumerate() {
        out.push_str("\n[[grant]]\n");
        for key in GRANT_KEYS {
            let origin = loaded.origin(&format!("grant[{index}].{}", key.name)).to_string();
            let shown = (key.slot)(grant).show().filter(|_| !key.is_secret);
            let origin = if key.is_secret { format!("{origin}, not shown") } else { origin };
            line(&mut out, key.name, shown, &origin);
        }
    }
    for (index, webhook) in config.webhooks.iter_mut().enumerate() {
        out.push_str("\n[[webhook]]\n");
        for key in &WEBHOOK_KEYS {
            let shown = (key.slot)(webhook).show();
            let origin = loaded.origin(&format!("webhook[{index}].{}", key.name)).to_string();
            line(&mut out, key.name, shown, &origin);
        }
    }
    for (index, location) in config.relay.locations.iter_mut().enumerate() {
        out.push_str("\n[[location]]\n");
        for key in LOCATION_KEYS {
            // Where it was not said, the origins of the app or the node hold; saying it would end that.
            let follows = key.name == "allow_origin" && !location.origins.is_empty();
            let shown = (key.slot)(location).show().filter(|_| !follows);
            let origin = loaded.origin(&format!("location[{index}].{}", key.name)).to_string();
            line(&mut out, key.name, shown, &origin);
        }
    }
    out
}

fn line(out: &mut String, name: &str, value: Option<String>, origin: &str) {
    let text = match value {
        Some(value) => format!("{name} = {value}"),
        None => format!("# {name} is not set"),
    };
    // Nothing can go wrong when writing to a String.
    let _ = writeln!(out, "{text:COMMENT_COLUMN$} # {origin}");
}

/// What is served where, in a few lines.
pub fn summary(config: &Config) -> String {
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    let mut out = format!("listen {}", listen.join(", "));
    if !config.internal_listen.is_empty() {
        let internal: Vec<String> = config.internal_listen.iter().map(ToString::to_string).collect();
        let _ = write!(out, "\ninternal {}", internal.join(", "));
    }
    let (shards, apps) = (config.shards, config.apps.len());
    let _ = write!(out, "\n{shards} shard(s), {apps} app(s), {} location(s)", config.relay.locations.len());
    for location in &config.relay.locations {
        let mut shown = location.clone();
        let find = |name: &str| LOCATION_KEYS.iter().find(|key| key.name == name);
        let methods = find("methods").and_then(|key| (key.slot)(&mut shown).show()).unwrap_or_default();
        let _ = write!(out, "\n  {:<12} {}", methods.trim_matches('"'), location.path.text());
    }
    out
}
