//! Grants (dialect/grant), the tokens they take (wire/token, wire/jwt), revocations.

/// `[[grant]]` tables of a configuration.
pub const GRANTS: usize = 256;
/// Patterns of channels in one grant, or in one list of a token's claims.
pub const GRANT_PATTERNS: usize = 64;
/// One pattern, bytes.
pub const GRANT_PATTERN_BYTES: usize = 512;
/// API keys of one grant.
pub const GRANT_KEYS: usize = 256;
/// An API key, bytes.
pub const GRANT_KEY_BYTES: usize = 256;
/// The shortest API key, bytes: shorter ones can be guessed.
pub const GRANT_KEY_BYTES_MIN: usize = 16;
/// A token or JWT as it is presented, bytes. Longer ones are refused unread.
pub const GRANT_TOKEN_BYTES: usize = 8 * 1024;
/// Arrays and objects within each other in the claims of a token.
pub const GRANT_CLAIMS_DEPTH: usize = 16;
/// Id of the user that a token is for, bytes.
pub const GRANT_USER_BYTES: usize = 256;
/// Id of a token, bytes.
pub const GRANT_TOKEN_ID_BYTES: usize = 128;
/// How far ahead a token may expire, seconds: a revocation is kept at least as long as any token can live.
pub const GRANT_TOKEN_LIFE_S: u64 = 366 * 24 * 3600;
/// The shortest secret for HS256, bytes (RFC 7518 section 3.2).
pub const GRANT_JWT_SECRET_BYTES_MIN: usize = 32;
/// How far clocks of others may be off, milliseconds, where a configuration does not say it.
pub const GRANT_JWT_LEEWAY_MS: u64 = 5_000;
/// The most that a configuration may say for it, milliseconds.
pub const GRANT_JWT_LEEWAY_MS_MAX: u64 = 600_000;
/// Issuers or audiences of one grant, and audiences of a token.
pub const GRANT_JWT_NAMES: usize = 16;
/// A file with a key in PEM, bytes.
pub const GRANT_PEM_BYTES: usize = 64 * 1024;
/// A file with a set of keys (JWKS), bytes.
pub const GRANT_JWKS_BYTES: usize = 256 * 1024;
/// Keys of such a set.
pub const GRANT_JWKS_KEYS: usize = 64;
/// Revocations that are in force at a time. More are refused to who wants to revoke.
pub const GRANT_REVOCATIONS: usize = 65_536;

// A token comes in a header line or in the query, and its patterns have to fit into it.
const _: () = assert!(GRANT_PATTERN_BYTES < GRANT_TOKEN_BYTES);
const _: () = assert!(GRANT_CLAIMS_DEPTH <= super::wire::JSON_DEPTH);
