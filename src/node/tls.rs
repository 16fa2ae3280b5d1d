//! Certificates, keys and rules of the doors that speak TLS: read from files at start and once more at every reload.

use super::config::{CertificateSettings, Config, Loaded, Mistake, TlsVersion};
use crate::limits::{TLS_EXPIRY_WARNING_DAYS, TLS_FILE_BYTES, TLS_TICKETS};
use crate::shard::tls::{Pending, TlsDoor};
use crate::wire::x509;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, version};
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{error, info, warn};

const DAY_S: i64 = 86_400;

/// What is wrong with a file, and which key names it.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    /// `certificate[0].key`.
    path: String,
    message: String,
}

impl Wrong {
    fn new(path: impl Into<String>, file: &str, what: impl fmt::Display) -> Wrong {
        Wrong { path: path.into(), message: format!("{file}: {what}") }
    }
}

/// When a certificate ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The file it is in.
    pub file: String,
    /// Seconds since 1970.
    pub unix_s: i64,
}

/// The TLS of a node.
pub struct Tls {
    settings: Config,
    provider: Arc<CryptoProvider>,
    /// Shared by all shards and kept over a reload, so that a client may resume anywhere and at any time.
    ticketer: Option<Arc<dyn ProducesTickets>>,
    pending: Arc<Pending>,
    /// For addresses that ask nothing of clients.
    open: Option<Arc<TlsDoor>>,
    /// For addresses with `client_certificates`.
    vouched: Option<Arc<TlsDoor>>,
    expiries: Mutex<Vec<Expiry>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("pending", &self.pending).finish_non_exhaustive()
    }
}

/// Takes changed certificates into use. To be called when the node is told to reload.
#[derive(Clone, Debug)]
pub struct Reload(Arc<Tls>);

impl Reload {
    /// Reads all files again. New handshakes use what they hold now; connections that are open go on. When anything
    /// is wrong with a file, everything stays as it was and the log tells why.
    pub fn reload(&self) {
        self.0.reload();
    }
}

impl Tls {
    /// Reads what the doors of `config` need. The message of an error is for the person who started the node.
    pub fn open(config: &Config) -> Result<Arc<Tls>, String> {
        let listens = || config.listen.iter().chain(&config.internal_listen);
        let provider = Arc::new(ring::default_provider());
        let ticketer = match config.tls.tickets && listens().any(|listen| listen.door.tls) {
            true => Some(ring::Ticketer::new().map_err(|error| format!("no session tickets: {error}"))?),
            false => None,
        };
        if listens().any(|listen| listen.door.client_certificates) && config.tls.client_ca.is_none() {
            return Err("an address asks for client certificates and `client_ca` in [tls] is not set".into());
        }
        let pending = Pending::new(config.tls.pending_handshakes, config.tls.handshake_timeout_ms);
        let mut tls = Tls {
            settings: config.clone(),
            provider,
            ticketer,
            pending,
            open: None,
            vouched: None,
            expiries: Mutex::default(),
        };
        if listens().any(|listen| listen.door.tls) {
            let configs = tls.read().map_err(|wrong| wrong.message)?;
            let door = |config| Arc::new(TlsDoor::new(config, tls.pending.clone()));
            (tls.open, tls.vouched) = (Some(door(configs.open)), configs.vouched.map(door));
            *tls.expiries.lock().unwrap_or_else(PoisonError::into_inner) = configs.expiries;
        }
        Ok(Arc::new(tls))
    }

    /// Whether any address speaks TLS.
    pub fn speaks(&self) -> bool {
        self.open.is_some()
    }

    /// The door for an address.
    pub fn door(&self, client_certificates: bool) -> Option<Arc<TlsDoor>> {
        if client_certificates { self.vouched.clone() } else { self.open.clone() }
    }

    /// For the signal that asks for it.
    pub fn reloader(self: &Arc<Tls>) -> Reload {
        Reload(self.clone())
    }

    /// When the certificates in use end.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.expiries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Handshakes under way.
    pub fn pending(&self) -> usize {
        self.pending.now()
    }

    fn reload(&self) {
        let Some(open) = &self.open else { return };
        match self.read() {
            Err(wrong) => {
                error!(
                    key = wrong.path,
                    reason = "tls_reload",
                    "certificates not reloaded: {}",
                    wrong.message
                );
            }
            Ok(configs) => {
                open.replace(configs.open);
                if let (Some(door), Some(config)) = (&self.vouched, configs.vouched) {
                    door.replace(config);
                }
                info!(certificates = configs.expiries.len(), "certificates reloaded");
                for expiry in &configs.expiries {
                    if let Some(message) = expiry.warning(unix_s()) {
                        warn!("{message}");
                    }
                }
                *self.expiries.lock().unwrap_or_else(PoisonError::into_inner) = configs.expiries;
            }
        }
    }

    fn read(&self) -> Result<Configs, Wrong> {
        let certificates = Certificates::read(&self.settings, &self.provider)?;
        let expiries = certificates.expiries.clone();
        let certificates = Arc::new(certificates);
        let open = self.server_config(certificates.clone(), None)?;
        let vouched = match &self.settings.tls.client_ca {
            Some(file) => Some(self.server_config(certificates, Some(file))?),
            None => None,
        };
        Ok(Configs { open, vouched, expiries })
    }

    fn server_config(
        &self,
        certificates: Arc<Certificates>,
        client_ca: Option<&str>,
    ) -> Result<Arc<ServerConfig>, Wrong> {
        let wrong = |error: &dyn fmt::Display| Wrong { path: "tls".into(), message: error.to_string() };
        let versions: &[_] = match self.settings.tls.min_version {
            TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            TlsVersion::Tls13 => &[&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| wrong(&error))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(authorities(file)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, self.provider.clone()).build();
                let verifier = verifier.map_err(|error| Wrong::new("tls.client_ca", file, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(certificates);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Who has a certificate shows it every time: a ticket would outlive the authority that vouched for it.
        match self.ticketer.as_ref().filter(|_| client_ca.is_none()) {
            Some(ticketer) => {
                config.ticketer = ticketer.clone();
                config.send_tls13_tickets = TLS_TICKETS;
            }
            None => config.send_tls13_tickets = 0,
        }
        Ok(Arc::new(config))
    }
}

/// What is wrong with the files that a configuration names, and what will be soon. Nothing when no address has `tls`
/// and no certificate is named.
pub fn check(loaded: &Loaded) -> (Vec<Mistake>, Vec<Mistake>) {
    let config = &loaded.config;
    let said = |wrong: Wrong| Mistake { origin: loaded.origin(&wrong.path).clone(), message: wrong.message };
    let provider = ring::default_provider();
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    for (index, pair) in config.certificates.iter().enumerate() {
        match Named::read(index, pair, &provider) {
            Err(wrong) => mistakes.push(said(wrong)),
            Ok((_, expiry)) => {
                let path = format!("certificate[{index}].certificate");
                warnings.extend(expiry.warning(unix_s()).map(|message| said(Wrong { path, message })));
            }
        }
    }
    if let Some(file) = &config.tls.client_ca {
        mistakes.extend(authorities(file).err().map(said));
    }
    (mistakes, warnings)
}

impl Expiry {
    /// What is to be said of it at `now`, if anything.
    fn warning(&self, now_unix_s: i64) -> Option<String> {
        let left = self.unix_s - now_unix_s;
        let (file, days) = (&self.file, left.div_euclid(DAY_S));
        match left {
            ..=0 => {
                Some(format!("{file}: the certificate has expired {} days ago: clients refuse it", -days - 1))
            }
            _ if days < TLS_EXPIRY_WARNING_DAYS => {
                Some(format!("{file}: the certificate expires in {days} days"))
            }
            _ => None,
        }
    }
}

fn unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// What doors are made of.
struct Configs {
    open: Arc<ServerConfig>,
    vouched: Option<Arc<ServerConfig>>,
    expiries: Vec<Expiry>,
}

/// A certificate with the names it is shown for.
#[derive(Debug)]
struct Named {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Named {
    fn read(
        index: usize,
        pair: &CertificateSettings,
        provider: &CryptoProvider,
    ) -> Result<(Named, Expiry), Wrong> {
        let path = |key: &str| format!("certificate[{index}].{key}");
        let (of_chain, of_key) = (path("certificate"), path("key"));
        let text = read_file(&of_chain, &pair.certificate)?;
        let chain = certificates(&of_chain, &pair.certificate, &text)?;
        let read = chain.first().and_then(|first| x509::read(first));
        let read =
            read.ok_or_else(|| Wrong::new(&of_chain, &pair.certificate, "the certificate is damaged"))?;
        let text = read_file(&of_key, &pair.key)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
            let what = match error {
                pem::Error::NoItemsFound => {
                    "there is no private key in it (an encrypted one cannot be used)".into()
                }
                error => format!("not PEM: {error}"),
            };
            Wrong::new(&of_key, &pair.key, what)
        })?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let what = match error {
                rustls::Error::InconsistentKeys(_) => format!("is not the key of {}", pair.certificate),
                error => error.to_string(),
            };
            Wrong::new(&of_key, &pair.key, what)
        })?;
        let names = if pair.names.is_empty() { read.dns } else { pair.names.clone() };
        let expiry = Expiry { file: pair.certificate.clone(), unix_s: read.not_after_unix_s };
        Ok((Named { names, key: Arc::new(key) }, expiry))
    }
}

/// All certificates. The first is for clients that name nobody.
#[derive(Debug)]
struct Certificates {
    all: Vec<Named>,
    strict: bool,
    expiries: Vec<Expiry>,
}

impl Certificates {
    fn read(config: &Config, provider: &CryptoProvider) -> Result<Certificates, Wrong> {
        let read =
            config.certificates.iter().enumerate().map(|(index, pair)| Named::read(index, pair, provider));
        let (all, expiries) = read.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        Ok(Certificates { all, strict: config.tls.strict_sni, expiries })
    }

    /// The certificate for `host` that a client understands, which knows `schemes`.
    fn choose(&self, host: Option<&str>, schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let host = host.map(str::to_ascii_lowercase);
        let fits = |named: &Named, wild: bool| {
            let host = host.as_deref().unwrap_or_default();
            named.names.iter().any(|name| name.starts_with('*') == wild && x509::matches(name, host))
        };
        let usable = |named: &&Named| named.key.key.choose_scheme(schemes).is_some();
        let of = |wild: bool| self.all.iter().filter(|named| fits(named, wild)).find(usable);
        let default = || self.all.iter().find(usable).filter(|_| !self.strict);
        of(false).or_else(|| of(true)).or_else(default).map(|named| named.key.clone())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

fn read_file(path: &str, file: &str) -> Result<Vec<u8>, Wrong> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file)
        .map_err(|error| Wrong::new(path, file, format!("cannot be opened: {error}")))?;
    opened
        .take(TLS_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Wrong::new(path, file, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > TLS_FILE_BYTES {
        return Err(Wrong::new(path, file, format!("is larger than {TLS_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

fn certificates(path: &str, file: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| Wrong::new(path, file, format!("not PEM: {error}")))?;
    if found.is_empty() {
        return Err(Wrong::new(path, file, "there is no certificate in it"));
    }
    Ok(found)
}

/// Whose certificates clients may have.
fn authorities(file: &str) -> Result<RootCertStore, Wrong> {
    let path = "tls.client_ca";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, file, &read_file(path, file)?)? {
        roots.add(certificate).map_err(|error| Wrong::new(path, file, error))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
