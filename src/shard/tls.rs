//! TLS of a connection (RFC 8446, RFC 5246), driven by hand on the shard's read and flush path.
//!
//! There is no task and no buffer per connection. What is received lies in the shard's one buffer and is decrypted
//! there; only a record that has not come whole is kept. What is sent is encrypted when the socket is about to take
//! it, many frames in one record, into another buffer of the shard; only what the socket did not take is kept, as the
//! first frame of the outbox. So the rules for slow consumers go on working on plaintext.
//!
//! The end of TCP without a `close_notify` is an ordinary end of input: WebSocket and HTTP bodies with a length or in
//! chunks say themselves where they end, so nobody gains by cutting a connection short.

mod carry;

pub use carry::Desk;

use crate::limits::{TLS_KEPT_BYTES, TLS_RECORD_BYTES, TLS_RECORD_EXTRA_BYTES, TLS_SEALED_EXTRA_BYTES};
use bytes::Bytes;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{CertificateError, Error, HandshakeKind, PeerIncompatible, ServerConfig};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// First byte of every record of a handshake.
const HANDSHAKE_RECORD: u8 = 22;
const HEADER_BYTES: usize = 5;
/// A fatal `internal_error` alert as it is sent before any key is agreed on: for those who are not let in.
pub const REFUSAL: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// Handshakes under way, of all shards and doors.
#[derive(Debug)]
pub struct Pending {
    now: AtomicUsize,
    most: usize,
    /// Time for each, milliseconds.
    pub handshake_ms: u64,
}

impl Pending {
    /// At most so many at a time, each within `handshake_ms`.
    pub fn new(most: usize, handshake_ms: u64) -> Arc<Pending> {
        Arc::new(Pending { now: AtomicUsize::new(0), most, handshake_ms })
    }

    /// How many there are.
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }
}

/// A handshake that is counted; no longer when it is dropped.
struct Seat(Arc<Pending>);

impl Seat {
    fn take(pending: &Arc<Pending>) -> Option<Seat> {
        let before = pending.now.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(pending.clone());
        (before < pending.most).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a door that speaks TLS needs. Shared by all shards.
pub struct TlsDoor {
    config: RwLock<Arc<ServerConfig>>,
    pending: Arc<Pending>,
}

impl fmt::Debug for TlsDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsDoor").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl TlsDoor {
    /// A door with its certificates and rules.
    pub fn new(config: Arc<ServerConfig>, pending: Arc<Pending>) -> TlsDoor {
        TlsDoor { config: RwLock::new(config), pending }
    }

    /// From now on handshakes begin with this one; those that have begun go on as they are.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// A handshake that has not begun yet; none when too many are under way.
    fn begin(&self) -> Option<Box<Tls>> {
        let seat = Seat::take(&self.pending)?;
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        let connection = UnbufferedServerConnection::new(config).ok()?;
        Some(Box::new(Tls {
            connection,
            kept: Vec::new(),
            seat: Some(seat),
            sealed: false,
            begun: false,
            ended: false,
            carried: Bytes::new(),
        }))
    }
}

/// Why a connection cannot go on.
#[derive(Debug)]
struct Failure {
    /// For the metric.
    label: &'static str,
    /// For the log.
    detail: String,
}

impl Failure {
    fn new(label: &'static str, detail: &str) -> Failure {
        Failure { label, detail: detail.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let label = match &error {
            Error::NoCertificatesPresented => {
                return Failure::new("tls_client_certificate", "client certificate missing");
            }
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                return Failure::new("tls_client_certificate", "client certificate of an unknown issuer");
            }
            Error::InvalidCertificate(_) => "tls_client_certificate",
            // What rustls says when there is no certificate for the name, or none whose key goes with a cipher and a
            // signature that both know.
            Error::General(_) => {
                return Failure::new("tls_no_certificate", "no certificate for the name, or no shared cipher");
            }
            Error::NoApplicationProtocol => {
                return Failure::new("tls_alpn", "the client wants another protocol than http/1.1");
            }
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
                return Failure::new("tls_no_shared_cipher", "no shared cipher");
            }
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // An older client's hello has no such thing.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => return Failure::new("tls_version", "no shared version"),
            Error::AlertReceived(_) => "tls_alert",
            Error::DecryptError => return Failure::new("tls_record", "a record was changed on its way"),
            Error::InvalidMessage(_) | Error::PeerSentOversizedRecord => "tls_record",
            _ => "tls_handshake",
        };
        Failure { label, detail: error.to_string() }
    }
}

/// Records that are ready to be sent. It only grows, to what one send takes, and belongs to the shard.
#[derive(Debug, Default)]
struct Sealed {
    bytes: Vec<u8>,
    len: usize,
}

impl Sealed {
    fn clear(&mut self) {
        self.len = 0;
    }

    fn ready(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn room(&mut self, needed: usize) -> &mut [u8] {
        if self.bytes.len() < self.len + needed {
            self.bytes.resize(self.len + needed, 0);
        }
        &mut self.bytes[self.len..]
    }

    /// Adds a message that rustls has ready.
    fn encode<D>(&mut self, data: &mut EncodeTlsData<'_, D>) {
        if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut [])
            && let Ok(written) = data.encode(self.room(size.required_size))
        {
            self.len += written;
        }
    }

    /// Adds what `write` puts into a slice of at least `needed` bytes.
    fn write(
        &mut self,
        needed: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Failure> {
        let written = match write(self.room(needed)) {
            Err(EncryptError::InsufficientSize(size)) => write(self.room(size.required_size)),
            other => other,
        };
        self.len += written.map_err(|_| Failure::new("tls_keys", "keys are used up"))?;
        Ok(())
    }
}

/// One connection's TLS.
pub struct Tls {
    connection: UnbufferedServerConnection,
    /// What has come and was not used yet: a part of a record, seldom of several. No allocation when there is none.
    kept: Vec<u8>,
    /// Until the handshake is complete.
    seat: Option<Seat>,
    /// The first byte was a handshake's.
    begun: bool,
    /// The first frame of the outbox is of records, not plaintext.
    pub sealed: bool,
    /// The peer has said that no more will come.
    ended: bool,
    /// The records that the other shard has to send first, while the connection moves.
    carried: Bytes,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, sealed) = (self.kept.len(), self.sealed);
        f.debug_struct("Tls").field("kept", &kept).field("sealed", &sealed).finish_non_exhaustive()
    }
}

impl Tls {
    /// Whether no plaintext can go either way yet.
    pub fn is_handshaking(&self) -> bool {
        self.seat.is_some()
    }

    /// Whether anything of the handshake was read.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the session was resumed.
    fn was_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the peer has shown, DER.
    fn peer_certificate(&self) -> Option<&[u8]> {
        self.connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|certificate| certificate.as_ref())
    }

    /// Puts `new` to what is kept if that cannot make the record whole. A record that comes in small pieces is looked
    /// at once, not with each piece.
    fn keep(&mut self, new: &[u8]) -> bool {
        let Some(header) = self.kept.get(..HEADER_BYTES) else { return false };
        let record = HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
        let short =
            self.kept.len() + new.len() < record && record <= TLS_RECORD_BYTES + TLS_RECORD_EXTRA_BYTES;
        if short {
            self.kept.extend_from_slice(new);
        }
        short
    }

    /// Reads records from `bytes`, which begin with what was kept: data goes to `plain`, what has to be answered to
    /// `answer`.
    fn take_in(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, answer: &mut Sealed) -> Result<(), Failure> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(&mut bytes[at..]);
            let mut over = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => answer.encode(&mut data),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => over = true,
                Err(error) => {
                    self.last_words(&mut bytes[at + discard..], answer);
                    return Err(error.into());
                }
            }
            at += discard;
            if over {
                break;
            }
        }
        let rest = if self.ended { &[] } else { &bytes[at..] };
        if rest.len() > TLS_KEPT_BYTES {
            return Err(Failure::new("tls_record", "a message is too large"));
        }
        if rest.is_empty() {
            self.kept = Vec::new();
        } else {
            self.kept.clear();
            self.kept.extend_from_slice(rest);
        }
        if !self.connection.is_handshaking() {
            self.seat = None;
        }
        Ok(())
    }

    /// The alert that tells the peer what was wrong. It is asked for once: to a second question rustls would read on.
    fn last_words(&mut self, rest: &mut [u8], answer: &mut Sealed) {
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = self.connection.process_tls_records(rest).state
        {
            answer.encode(&mut data);
        }
    }

    /// Encrypts `plain` to the end of `out`.
    fn seal(&mut self, plain: &[u8], out: &mut Sealed) -> Result<(), Failure> {
        let records = plain.len().div_ceil(TLS_RECORD_BYTES) + 1;
        let needed = plain.len() + records * TLS_SEALED_EXTRA_BYTES;
        self.write(out, |out, traffic| out.write(needed, |to| traffic.encrypt(plain, to)))
    }

    /// Says to the end of `out` that no more will come.
    fn say_goodbye(&mut self, out: &mut Sealed) -> Result<(), Failure> {
        self.write(out, |out, traffic| {
            out.write(2 * TLS_SEALED_EXTRA_BYTES, |to| traffic.queue_close_notify(to))
        })
    }

    fn write(
        &mut self,
        out: &mut Sealed,
        write: impl FnOnce(&mut Sealed, &mut Traffic<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            // Always with what is kept: it may be a part of a message that rustls has begun to put together in it.
            let status = self.connection.process_tls_records(&mut self.kept);
            let discard = status.discard;
            match status.state.map_err(Failure::from)? {
                ConnectionState::WriteTraffic(mut traffic) => return write(out, &mut traffic),
                ConnectionState::EncodeTlsData(mut data) => out.encode(&mut data),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                _ => return Err(Failure::new("tls_closed", "nothing can be sent any more")),
            }
            self.kept.drain(..discard.min(self.kept.len()));
        }
    }
}

type Traffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;

#[cfg(test)]
mod tests;
