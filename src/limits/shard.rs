//! Shards (shard).

/// What one recv(2) takes at most, bytes. One such buffer per shard.
pub const RECV_BYTES: usize = 64 * 1024;
/// Reads of one connection in one turn; then others have theirs.
pub const RECVS_PER_TURN: usize = 4;
/// Frames that go out in one sendmsg(2).
pub const SEND_FRAMES: usize = 64;
/// Connections written to with one submit.
pub const SENDS_PER_SUBMIT: usize = 256;
/// Fewer dirty connections than this are written to with plain send(2).
pub const SENDS_WORTH_A_SUBMIT: usize = 8;
/// Submission queue entries of a shard's net ring.
pub const NET_RING_ENTRIES: u32 = 512;
/// Completion queue entries of a shard's net ring.
pub const NET_RING_COMPLETIONS: u32 = 4096;
/// Submission queue entries of the runtime's own ring.
pub const RUNTIME_RING_ENTRIES: u32 = 256;
/// Events taken from epoll at once.
pub const EPOLL_EVENTS: usize = 1024;
/// Turns in a row before the runtime's other tasks have theirs.
pub const TURNS_BEFORE_YIELD: usize = 64;
/// Connections whose deadline is over that are looked at in one turn; then others have theirs.
pub const DEADLINES_PER_TURN: usize = 256;
/// Such connections for which room is kept once all were looked at.
pub const DUE_KEYS_KEPT: usize = 1_024;
/// Mails taken from the mailbox in one turn.
pub const MAILS_PER_TURN: usize = 256;
/// This part of a mailbox (one in so many mails) is kept for answers and teardown: publications are refused with 503
/// before it is touched.
pub const MAILBOX_RESERVE_PART: usize = 8;
/// Emptied queues kept for reuse by a shard.
pub const SPARE_QUEUES: usize = 1_024;
/// Longest request head that a connection keeps to recognise the next one like it, bytes.
pub const REPEATED_HEAD_BYTES: usize = 1_024;
/// After so many heads in a row that were not like the one before, a connection keeps none any more.
pub const REPEATED_HEAD_MISSES: u8 = 8;
/// Channel keys a shard keeps for the next publisher of the same channel.
pub const KEYS_CACHED: usize = 256;
/// Subscriptions of one session.
pub const SUBSCRIPTIONS_PER_SESSION: usize = 1_024;
/// Connections shed at once when file descriptors run out.
pub const SHED_PER_TICK: usize = 256;
/// Connections over a limit that are heard all the same, of the whole node: so many at once are told in the words of
/// their protocol. More get an answer without being heard. They take descriptors of [`FILES_RESERVE`].
pub const TURNED_AWAY: usize = 128;
/// Time for such a connection to say what it wants, milliseconds; then it is answered all the same.
pub const TURNED_AWAY_MS: u64 = 1_000;
/// When who is over a limit shall come back, seconds (Retry-After).
pub const TURNED_AWAY_RETRY_AFTER_S: u64 = 5;
/// Addresses whose connections in a second are counted; more push out those that were idle longest.
pub const CONNECT_RATE_ADDRESSES: usize = 64 * 1024;
/// Descriptors kept for everything but connections: rings, listeners, calls to back ends, files.
pub const FILES_RESERVE: usize = 256;
/// Before a ring that can take nothing just now is entered again, milliseconds.
pub const RING_BUSY_PAUSE_MS: u64 = 1;
/// Times that an address in use is tried again at start.
pub const BIND_ATTEMPTS: u32 = 5;
/// Pause between them, milliseconds.
pub const BIND_PAUSE_MS: u64 = 100;
/// Length of the kernel's queue of connections to be accepted.
pub const LISTEN_BACKLOG: i32 = 4096;
/// Unsent data that the kernel keeps per socket before it says "not writable", bytes (TCP_NOTSENT_LOWAT).
pub const NOTSENT_LOWAT_BYTES: i32 = 64 * 1024;
/// Resolution of all deadlines, milliseconds.
pub const TICK_MS: u64 = 100;
/// Slots of the deadline wheel; deadlines farther away are looked at once per round.
pub const WHEEL_SLOTS: usize = 1_024;
/// Deadlines a slot of the wheel keeps room for once it was emptied, so that a storm leaves no memory behind.
pub const WHEEL_KEYS_KEPT: usize = 128;
/// After our close frame the peer's is awaited for so long, milliseconds.
pub const WS_CLOSE_MS: u64 = 2_000;
/// After our last byte the peer's end of stream is awaited for so long, milliseconds.
pub const LINGER_MS: u64 = 2_000;
/// A peer that takes nothing for so long is not waited for when its connection is idle or ends, milliseconds.
pub const SEND_STALL_MS: u64 = 30_000;
/// Sessions ended per shard and second when the node drains, unless the drain time asks for more.
pub const DRAIN_SESSIONS_PER_S: u64 = 1_000;

const _: () = assert!(TURNED_AWAY < FILES_RESERVE);
const _: () = assert!(SENDS_PER_SUBMIT <= NET_RING_ENTRIES as usize);
const _: () = assert!(NET_RING_COMPLETIONS as usize > 4 * SENDS_PER_SUBMIT);
