//! Options that say what subscribers speak.

use super::{App, Carrier, Dialect, Wire};
use clap::Args;

/// What subscribers speak, and on which channel.
#[derive(Args, Clone, Debug)]
pub struct WireArgs {
    /// What subscribers speak.
    #[arg(long, value_enum, default_value_t = Dialect::Relay)]
    pub dialect: Dialect,
    /// What carries the messages of the relay dialect.
    #[arg(long, value_enum, default_value_t = Carrier::Websocket)]
    pub carrier: Carrier,
    /// Offer permessage-deflate, and fail if nothing comes compressed. A fanwire started here is set up to compress.
    #[arg(long)]
    pub deflate: bool,
    /// Name of the channel.
    #[arg(long, default_value = "bench")]
    pub channel: String,
    /// Keys of the Pusher application.
    #[command(flatten)]
    pub app: AppArgs,
}

/// Keys of the Pusher application.
#[derive(Args, Clone, Debug)]
pub struct AppArgs {
    /// Id of the Pusher application.
    #[arg(long, value_name = "ID", default_value = "app-id")]
    app_id: String,
    /// Key of the Pusher application.
    #[arg(long, value_name = "KEY", default_value = "app-key")]
    app_key: String,
    /// Secret of the Pusher application.
    #[arg(long, value_name = "SECRET", default_value = "app-secret")]
    app_secret: String,
}

impl AppArgs {
    /// The keys.
    pub fn app(&self) -> App {
        App { id: self.app_id.clone(), key: self.app_key.clone(), secret: self.app_secret.clone() }
    }
}

impl WireArgs {
    /// The same over WebSockets of `dialect`.
    pub fn speaking(self, dialect: Dialect) -> WireArgs {
        WireArgs { dialect, carrier: Carrier::Websocket, deflate: false, ..self }
    }

    /// The same over WebSockets of `dialect` on a channel of its own: dialects hear each other on one.
    pub fn beside(self, dialect: Dialect) -> WireArgs {
        let channel = format!("{}-{}", self.channel, dialect.name());
        WireArgs { channel, ..self.speaking(dialect) }
    }

    /// What these options ask for, on `path` or where servers of the dialect have it.
    pub fn wire(&self, path: Option<&str>) -> Result<Wire, String> {
        check_channel(&self.channel)?;
        let mut wire = Wire::of(self.dialect, &self.channel, &self.app.app()).on(self.carrier);
        wire.deflate = self.deflate;
        if let Some(path) = path {
            wire.path = path.to_owned();
        }
        wire.check()?;
        Ok(wire)
    }
}

/// Refuses a channel name that would need escapes in a path or in JSON.
fn check_channel(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(format!("--channel {name}: letters, digits and -_. only"));
    }
    Ok(())
}
