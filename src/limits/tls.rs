//! TLS (shard/tls, node/tls).

use super::{RECV_BYTES, TICK_MS};

/// Time for a TLS handshake, milliseconds.
pub const TLS_HANDSHAKE_MS: u64 = 10_000;
/// Handshakes of the whole node that are under way. More are refused.
pub const TLS_PENDING_HANDSHAKES: usize = 4_096;
/// Steps of handshakes in one turn of a shard (a full one has two): they are the one thing that costs milliseconds,
/// and deliveries go out between turns.
pub const TLS_HANDSHAKE_STEPS_PER_TURN: u32 = 4;
/// Largest plaintext of one record, bytes (RFC 8446 section 5.1).
pub const TLS_RECORD_BYTES: usize = 16 * 1024;
/// What a record may add to its plaintext, bytes (RFC 5246 section 6.2.3, with the header).
pub const TLS_RECORD_EXTRA_BYTES: usize = 2_048 + 5;
/// What one of ours adds at most, bytes: header, explicit nonce, content type, tag.
pub const TLS_SEALED_EXTRA_BYTES: usize = 64;
/// What has come and is not yet a whole record, or not yet a whole message of a handshake, bytes.
pub const TLS_KEPT_BYTES: usize = 32 * 1024;
/// Plaintext that is encrypted for one send, bytes. So much, encrypted, may wait for a slow peer.
pub const TLS_SEND_BYTES: usize = 4 * TLS_RECORD_BYTES;
/// `[[certificate]]` tables.
pub const TLS_CERTIFICATES: usize = 1_024;
/// Names of one certificate.
pub const TLS_NAMES: usize = 1_024;
/// A file with certificates or a key, bytes.
pub const TLS_FILE_BYTES: u64 = 1024 * 1024;
/// Days left of a certificate from which on it is a warning.
pub const TLS_EXPIRY_WARNING_DAYS: i64 = 14;
/// Tickets given to a TLS 1.3 client after a full handshake and after a resumed one.
pub const TLS_TICKETS: usize = 2;
/// What a log line tells of a client's certificate, bytes.
pub const TLS_IDENTITY_BYTES: usize = 256;

const _: () = assert!(TLS_KEPT_BYTES >= TLS_RECORD_BYTES + TLS_RECORD_EXTRA_BYTES);
const _: () = assert!(RECV_BYTES >= 2 * TLS_KEPT_BYTES);
const _: () = assert!(TLS_HANDSHAKE_MS > 10 * TICK_MS);
