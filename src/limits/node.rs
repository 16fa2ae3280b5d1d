//! Configuration defaults of the node, its pages, the command line.

use super::relay::RELAY_WEBSOCKET_PING_INTERVAL_MS;

// ---- node (configuration defaults) ----
/// Configuration file, bytes.
pub const NODE_CONFIG_BYTES: usize = 4 * 1024 * 1024;
/// Mistakes in configuration that are told at once.
pub const NODE_CONFIG_MISTAKES: usize = 100;
/// Largest value of a duration in configuration, milliseconds (a year of 366 days).
pub const NODE_DURATION_MS_MAX: u64 = 366 * 24 * 3_600_000;
/// Largest value of a size in configuration, bytes.
pub const NODE_SIZE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Largest value of a shard's memory in configuration, bytes.
pub const NODE_MEMORY_BYTES_MAX: usize = 1 << 40;
/// Largest value of a count in configuration.
pub const NODE_COUNT_MAX: usize = 1_000_000_000;
/// Shards of a node: a channel's home keeps the shards that have members as bits of one word.
pub const NODE_SHARDS_MAX: usize = 64;
/// Listeners of a node, internal ones included.
pub const NODE_LISTENERS: usize = 64;
/// Path of a unix socket, bytes (`sun_path` without its final zero).
pub const NODE_UNIX_PATH_BYTES: usize = 107;
/// Apps of a configuration file.
pub const NODE_APPS: usize = 4096;
/// Time that connections get to leave when the node stops, milliseconds.
pub const NODE_DRAIN_MS: u64 = 5_000;
/// Connections of the whole node.
pub const NODE_CONNECTIONS: usize = 1_000_000;
/// Connections from one address, 0 for no limit: a proxy in front is one address.
pub const NODE_CONNECTIONS_PER_ADDRESS: usize = 0;
/// Connections from one address in a second, 0 for no limit: a proxy in front is one address.
pub const NODE_CONNECTS_PER_S_PER_ADDRESS: usize = 0;
/// Largest value of that limit.
pub const NODE_CONNECTS_PER_S_MAX: usize = 1_000;
/// Connections from one address at once that the limit per second lets through after a pause.
pub const NODE_CONNECTS_BURST: usize = 20;
/// Largest value of that burst.
pub const NODE_CONNECTS_BURST_MAX: usize = 10_000;
/// Origins in one list.
pub const NODE_ORIGINS: usize = 256;
/// Networks and addresses of trusted proxies.
pub const NODE_TRUSTED_PROXIES: usize = 256;
/// Bytes that may wait for one connection.
pub const NODE_OUTBOX_BYTES: usize = 4 * 1024 * 1024;
/// Messages that may wait for one connection.
pub const NODE_OUTBOX_MESSAGES: usize = 16_384;
/// Channels of the whole node.
pub const NODE_CHANNELS: usize = 1_000_000;
/// Messages that may wait in the mailbox of one shard.
pub const NODE_MAILBOX_MESSAGES: usize = 16 * 1024;
/// Time for a request's head to arrive, milliseconds.
pub const NODE_HEADER_TIMEOUT_MS: u64 = 10_000;
/// Time for a request's body to arrive, milliseconds.
pub const NODE_BODY_TIMEOUT_MS: u64 = 30_000;
/// Time that a kept-alive connection may be without a request, milliseconds.
pub const NODE_IDLE_TIMEOUT_MS: u64 = 75_000;
/// Time between WebSocket pings, milliseconds.
pub const NODE_WEBSOCKET_PING_INTERVAL_MS: u64 = RELAY_WEBSOCKET_PING_INTERVAL_MS;
/// A TCP peer that acknowledges nothing for so long, though something was sent or asked, is gone; so is one that takes
/// nothing for so long of what waits for it. Milliseconds.
pub const NODE_PEER_TIMEOUT_MS: u64 = 120_000;
/// The least and the most that a configuration may ask for, milliseconds: the kernel counts some of it in seconds.
pub const NODE_PEER_TIMEOUT_MS_MIN: u64 = 1_000;
/// See [`NODE_PEER_TIMEOUT_MS_MIN`].
pub const NODE_PEER_TIMEOUT_MS_MAX: u64 = 8 * 3_600_000;
/// Questions whether a silent peer is still there before it is given up: they take the second half of the time.
pub const NODE_PEER_PROBES: u64 = 4;
/// Time for a WebSocket pong to arrive, milliseconds.
pub const NODE_WEBSOCKET_PONG_TIMEOUT_MS: u64 = 10_000;

// ---- apps at run time (node/apps, node/control) ----
/// Apps that wait to be made or removed. More are refused.
pub const APPS_WAITING: usize = 64;
/// Time for every shard to take note that an app has come or gone, milliseconds; then only a line in the log tells.
pub const APPS_NOTED_MS: u64 = 10_000;
/// Connections to the control socket at once. More are closed.
pub const CONTROL_CONNECTIONS: usize = 8;
/// One line of a request, bytes.
pub const CONTROL_LINE_BYTES: usize = 16 * 1024;
/// One line of an answer, bytes: it tells of one app, which may fill a configuration file.
pub const CONTROL_ANSWER_BYTES: usize = 4 * NODE_CONFIG_BYTES;
/// Time for a request to arrive, and for an answer to be taken, milliseconds.
pub const CONTROL_PATIENCE_MS: u64 = 10_000;
/// Pause after the control socket could not take a connection, milliseconds.
pub const CONTROL_PAUSE_MS: u64 = 100;

// ---- command line (cli) ----
/// Time that a node which has the store open gets to open its control socket, milliseconds.
pub const CLI_CONTROL_MS: u64 = 5_000;
/// Time to connect to a node, milliseconds.
pub const CLI_CONNECT_MS: u64 = 5_000;
/// Time for the answer to a publish, milliseconds.
pub const CLI_ANSWER_MS: u64 = 30_000;
/// Pause between polls that were answered without a message, milliseconds.
pub const CLI_POLL_PAUSE_MS: u64 = 1_000;
/// Bytes read from a node at a time.
pub const CLI_READ_BYTES: usize = 16 * 1024;
/// One message, or one line of an event stream, bytes.
pub const CLI_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Descriptors that the node needs besides those of connections, as `doctor` counts them.
pub const DOCTOR_RESERVED_FILES: u64 = 256;
/// Smallest accept queue (net.core.somaxconn) that `doctor` is content with, connections.
pub const DOCTOR_ACCEPT_QUEUE: u64 = 4096;
/// Smallest queue of handshakes (net.ipv4.tcp_max_syn_backlog) that `doctor` is content with, connections.
pub const DOCTOR_SYN_QUEUE: u64 = 1024;
/// Smallest number of local ports that `doctor` is content with.
pub const DOCTOR_LOCAL_PORTS: u64 = 28_000;

// ---- pages of the node (node/pages) ----
/// A shard whose loop has not turned for so long stands still, milliseconds: its tick alone turns it ten times a
/// second. Liveness is answered with 503 from then on.
pub const SHARD_STALL_MS: u64 = 5_000;
/// Open files up to which they are counted one by one where the kernel cannot tell their number.
pub const METRICS_OPEN_FILES: usize = 4_096;

// ---- shards that stand still (node/watch) ----
/// A shard that has stood still for so long ends the process when the configuration says nothing, milliseconds.
pub const SHARD_STALL_EXIT_MS: u64 = 30_000;
/// How often shards are looked at, milliseconds.
pub const STALL_LOOK_MS: u64 = 500;
/// Time for a shard that stands still to write down where it is, milliseconds.
pub const STALL_BACKTRACE_MS: u64 = 2_000;

// ---- hand-over to a new process (node/upgrade, node/successor) ----
/// Time for a new process to be ready when the configuration says nothing, milliseconds: it reads its configuration
/// and opens the store (0.3 s for a million messages).
pub const UPGRADE_MS: u64 = 60_000;
/// Time for open requests to be answered before the store changes hands, milliseconds. What is not answered by then is
/// refused when it wants to store something.
pub const UPGRADE_QUIET_MS: u64 = 5_000;
/// A process that takes nothing of what it is handed for so long is given up, milliseconds.
pub const UPGRADE_SEND_MS: u64 = 5_000;
/// How often the process that hands over looks whether it was told to stop, milliseconds.
pub const UPGRADE_LOOK_MS: u64 = 50;
/// What goes to the new process at a time, bytes.
pub const UPGRADE_RECORD_BYTES: usize = 64 * 1024;
/// What was read of a request that moves to the new process, bytes; else its connection is closed.
pub const UPGRADE_UNREAD_BYTES: usize = NODE_SIZE_BYTES_MAX + NODE_CONFIG_BYTES;
/// Tries to open the store again after a new process has failed, one [`UPGRADE_LOOK_MS`] apart.
pub const UPGRADE_RESUME_ATTEMPTS: u32 = 100;

const _: () = assert!(SHARD_STALL_MS < SHARD_STALL_EXIT_MS);
const _: () = assert!(NODE_OUTBOX_BYTES < NODE_SIZE_BYTES_MAX);
const _: () = assert!(NODE_WEBSOCKET_PONG_TIMEOUT_MS < NODE_WEBSOCKET_PING_INTERVAL_MS);
