//! Arguments. Values that are also keys of the configuration stay text here: the loader judges them all alike.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// A push node: takes a message over HTTP once and puts it on every subscriber's wire.
#[derive(Debug, Parser)]
#[command(name = "fanwire", version, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the node (also without a subcommand)
    Serve(ServeArgs),
    /// Say whether a configuration is right, or what is wrong with line and column; or whether a store is whole
    Check(CheckArgs),
    /// Publish one message to a running node
    Publish(PublishArgs),
    /// Print the messages of a channel of a running node
    Tail(TailArgs),
    /// Add, list and remove apps, also while the node runs
    #[command(subcommand)]
    App(AppCommand),
    /// Make and check signatures with the key and secret of an app
    #[command(subcommand)]
    Token(TokenCommand),
    /// Take back what a user or a token was granted, and end the sessions it has let in
    Revoke(RevokeArgs),
    /// Look whether this machine is set up for many connections
    Doctor(ConfigArgs),
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ConfigArgs {
    /// Configuration file [env: FANWIRE_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Read the whole store in this directory instead; no node may be running on it
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub data: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Address to listen on: 127.0.0.1:8080, [::1]:8080 or unix:/path; may be repeated
    #[arg(short, long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Address for metrics and health; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub internal_listen: Vec<String>,
    /// Threads with connections and channels of their own; default: one per processor
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub shards: Option<String>,
    /// auto, uring or epoll
    #[arg(long)]
    pub driver: Option<String>,
    /// Time that connections get to leave when the node stops
    #[arg(long, value_name = "DURATION")]
    pub drain: Option<String>,
    /// Directory of what survives the node: durable channels, apps, subscriptions; without one it is in memory
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Serve /echo, the endpoint for WebSocket conformance suites
    #[arg(long)]
    pub echo: bool,
    /// error, warn, info, debug, trace, or target=level parts between commas
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Print the effective configuration with the origin of each value, and do not start
    #[arg(long)]
    pub print_config: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct PeerArgs {
    /// Where the node is: http://host:port, https://host:port or unix:/path [env: FANWIRE_URL] [default: http://127.0.0.1:8080]
    #[arg(short, long)]
    pub url: Option<String>,
    /// With https, trust the authorities in this file (PEM) besides those of the machine
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Extra request header, "Name: value"; may be repeated
    #[arg(short = 'H', long, value_name = "LINE")]
    pub header: Vec<String>,
    /// Channel, or a path beginning with / for a location of your own
    pub channel: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct PublishArgs {
    #[command(flatten)]
    pub peer: PeerArgs,
    /// The message; - or nothing reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub message: Option<String>,
    /// Its content type
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Its event name for event streams
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    pub peer: PeerArgs,
    /// How the messages travel
    #[arg(short, long, value_enum, default_value_t = TailTransport::Ws)]
    pub transport: TailTransport,
    /// Begin after the message with this id, as tail printed it
    #[arg(long, value_name = "ID")]
    pub from: Option<String>,
    /// Stop after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TailTransport {
    /// WebSocket
    #[value(alias = "websocket")]
    Ws,
    /// Event stream
    #[value(alias = "eventsource")]
    Sse,
    /// One held request per message
    #[value(alias = "long-poll")]
    Longpoll,
}

#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
    /// Add an app: it is stored and known to the whole node when the command returns
    Add(AppAddArgs),
    /// List the apps of the configuration and those that were added
    List(AppListArgs),
    /// Remove an app that was added; its clients are sent away
    Remove(AppRemoveArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct AppPlaceArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The node's data directory, if it does not stand in its configuration ([store] data)
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct AppAddArgs {
    #[command(flatten)]
    pub place: AppPlaceArgs,
    /// Its id: what back ends name it by
    #[arg(long)]
    pub id: String,
    /// What clients name it by; random when it is not given
    #[arg(long)]
    pub key: Option<String>,
    /// What its back ends sign with; random when it is not given
    #[arg(long)]
    pub secret: Option<String>,
    /// Let its clients send events to each other
    #[arg(long)]
    pub client_events: bool,
    /// Tell subscribers their number
    #[arg(long)]
    pub subscription_count: bool,
    /// Any other key of [[app]] in the configuration file, such as max_connections=100; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct AppListArgs {
    #[command(flatten)]
    pub place: AppPlaceArgs,
    /// Show the secrets
    #[arg(long)]
    pub secrets: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct AppRemoveArgs {
    #[command(flatten)]
    pub place: AppPlaceArgs,
    /// Its id
    pub id: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Grants: a token that lets its bearer into some channels until it expires
    Grant(TokenGrantArgs),
    /// Grants: a signature for the query of a URL, which lets into these channels until it expires
    Url(TokenUrlArgs),
    /// Pusher: lets a client subscribe to a private (or encrypted) channel
    Private(TokenChannelArgs),
    /// Pusher: lets a client subscribe to a presence channel as the user that --data tells of
    Presence(TokenPresenceArgs),
    /// Pusher: lets a client sign in as the user that --data tells of
    User(TokenUserArgs),
    /// Pusher: the URL of a signed request to the HTTP API, for curl
    Api(TokenApiArgs),
    /// Pusher: the signature of a web hook
    Webhook(TokenWebhookArgs),
    /// Pusher: the secret of an encrypted channel, which its clients are given beside the signature
    SharedSecret(TokenSharedSecretArgs),
    /// Pushi
    #[command(subcommand)]
    Pushi(TokenPushiCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenPushiCommand {
    /// Lets a client subscribe to a private, presence, personal or peer channel
    Channel(TokenChannelArgs),
    /// Lets a URL, token, mail address or endpoint be registered for such a channel
    Url(TokenPushiUrlArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenKeyArgs {
    /// The app's key; without it that of the app in the configuration, or of the development app
    #[arg(long)]
    pub key: Option<String>,
    /// The app's secret; so too (it is seen in the list of processes: FANWIRE_APP_SECRET is not)
    #[arg(long)]
    pub secret: Option<String>,
    /// Which app, where there are several
    #[arg(long, value_name = "ID")]
    pub app: Option<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Say whether this is the signature, and fail if it is not
    #[arg(long, value_name = "SIGNATURE")]
    pub check: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenChannelArgs {
    #[command(flatten)]
    pub keys: TokenKeyArgs,
    /// Print the JSON that an authorization endpoint answers
    #[arg(long)]
    pub json: bool,
    /// Name of the client's connection, as the client sends it
    pub socket_id: String,
    /// Channel
    pub channel: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenPresenceArgs {
    #[command(flatten)]
    pub channel: TokenChannelArgs,
    /// Who the user is, such as {"user_id":"10"}; each of its bytes is signed
    #[arg(long, value_name = "JSON")]
    pub data: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenUserArgs {
    #[command(flatten)]
    pub keys: TokenKeyArgs,
    /// Print the JSON that an authentication endpoint answers
    #[arg(long)]
    pub json: bool,
    /// Name of the client's connection, as the client sends it
    pub socket_id: String,
    /// Who the user is, such as {"id":"10"}; each of its bytes is signed
    #[arg(long, value_name = "JSON")]
    pub data: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenApiArgs {
    #[command(flatten)]
    pub keys: TokenKeyArgs,
    /// Where the node is: http://host:port [env: FANWIRE_URL] [default: http://127.0.0.1:8080]
    #[arg(short, long)]
    pub url: Option<String>,
    /// Print only what stands behind the question mark
    #[arg(long)]
    pub only_query: bool,
    /// The body, as text
    #[arg(short, long, value_name = "TEXT")]
    pub data: Option<String>,
    /// A file with the body; - reads it from standard input
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub body: Option<PathBuf>,
    /// Further parameters, such as info=user_count
    #[arg(short, long, default_value = "")]
    pub query: String,
    /// When it is signed, Unix time in seconds; otherwise what the query says, or now
    #[arg(long, value_name = "SECONDS")]
    pub timestamp: Option<u64>,
    /// GET or POST
    pub method: String,
    /// /apps/ID/events, or for this app events, channels, channels/NAME, ...
    pub path: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenWebhookArgs {
    #[command(flatten)]
    pub keys: TokenKeyArgs,
    /// The body, as text
    #[arg(short, long, value_name = "TEXT", required_unless_present = "body")]
    pub data: Option<String>,
    /// A file with the body; - reads it from standard input
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub body: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenSharedSecretArgs {
    /// Say whether this is the secret, and fail if it is not
    #[arg(long, value_name = "SECRET")]
    pub check: Option<String>,
    /// The 32 bytes that all secrets are made from, in Base64
    #[arg(long, value_name = "BASE64")]
    pub master_key: String,
    /// Channel
    pub channel: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenPushiUrlArgs {
    #[command(flatten)]
    pub keys: TokenKeyArgs,
    /// What is registered
    pub url: String,
    /// Channel
    pub channel: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenGrantArgs {
    #[command(flatten)]
    pub keys: TokenKeyArgs,
    /// Pattern of channels to subscribe to; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub subscribe: Vec<String>,
    /// Pattern of channels to publish in; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub publish: Vec<String>,
    /// Pattern of channels for both; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub channel: Vec<String>,
    /// Whose it is
    #[arg(long)]
    pub user: Option<String>,
    /// Its id, by which it can be revoked; random when it is not given
    #[arg(long)]
    pub id: Option<String>,
    /// When it expires: 90s, 15m, 1h, 7d from now
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub expires: String,
    /// When it is made, Unix time in seconds; otherwise now
    #[arg(long, value_name = "SECONDS")]
    pub at: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TokenUrlAction {
    /// Listen
    Subscribe,
    /// Publish
    Publish,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TokenUrlArgs {
    #[command(flatten)]
    pub keys: TokenKeyArgs,
    /// Whose it is
    #[arg(long)]
    pub user: Option<String>,
    /// When it expires: 90s, 15m, 1h, 7d from now
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub expires: String,
    /// When it expires, Unix time in seconds
    #[arg(long, value_name = "SECONDS", conflicts_with = "expires")]
    pub until: Option<u64>,
    /// What it lets do
    #[arg(value_enum)]
    pub action: TokenUrlAction,
    /// The channels of the request, in its order
    #[arg(required = true)]
    pub channels: Vec<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    pub place: AppPlaceArgs,
    /// Id of the app, where there are several
    #[arg(long, value_name = "ID")]
    pub app: Option<String>,
    /// All that this user has
    #[arg(long, value_name = "ID", required_unless_present = "token", conflicts_with = "token")]
    pub user: Option<String>,
    /// The token with this id (jti)
    #[arg(long, value_name = "ID")]
    pub token: Option<String>,
}
