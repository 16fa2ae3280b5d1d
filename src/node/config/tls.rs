//! `[tls]` and `[[certificate]]`: what an address with `tls` behind it needs.

use super::keys::Borrowed;
use super::value::{Choice, Input, Refusal, Setting, quote_all};
use crate::limits;

/// What holds for all addresses that speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// PEM file with the authorities that vouch for clients, for addresses with `client_certificates`.
    pub client_ca: Option<String>,
    /// Whether clients may resume a session without a full handshake.
    pub tickets: bool,
    /// Whether a client that asks for a name that no certificate has, or for none, is refused.
    pub strict_sni: bool,
    /// Time for a handshake.
    pub handshake_timeout_ms: u64,
    /// Handshakes of the node that may be under way.
    pub pending_handshakes: usize,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings {
            min_version: TlsVersion::Tls12,
            client_ca: None,
            tickets: true,
            strict_sni: false,
            handshake_timeout_ms: limits::TLS_HANDSHAKE_MS,
            pending_handshakes: limits::TLS_PENDING_HANDSHAKES,
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Choice for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
}

/// One certificate with its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateSettings {
    /// PEM file with the certificate and what stands between it and an authority.
    pub certificate: String,
    /// PEM file with its key.
    pub key: String,
    /// Host names that it is shown for, `*` for one label. Empty: the names in it.
    pub names: Vec<String>,
}

/// One key of a certificate.
pub(super) struct CertificateKey {
    pub name: &'static str,
    /// The field it sets.
    pub slot: for<'a> fn(&'a mut CertificateSettings) -> Box<dyn Setting + 'a>,
}

/// All keys, in the order in which they are printed.
pub(super) const CERTIFICATE_KEYS: [CertificateKey; 3] = [
    CertificateKey { name: "certificate", slot: |pair| Box::new(Borrowed(&mut pair.certificate)) },
    CertificateKey { name: "key", slot: |pair| Box::new(Borrowed(&mut pair.key)) },
    CertificateKey { name: "names", slot: |pair| Box::new(Names(&mut pair.names)) },
];

/// Host names, kept in lower case.
struct Names<'a>(&'a mut Vec<String>);

impl Setting for Names<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let elements = input.list();
        if elements.len() > limits::TLS_NAMES {
            return input.refuse(format!("needs at most {} names", limits::TLS_NAMES));
        }
        let mut names = Vec::with_capacity(elements.len());
        for element in elements {
            let name = element.text()?.to_ascii_lowercase();
            let labels = name.strip_prefix("*.").unwrap_or(&name);
            let good = |label: &str| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            };
            if !labels.split('.').all(good) {
                return element.refuse(format!(
                    "`{}` is no host name: write push.example.com or *.example.com",
                    name.escape_debug()
                ));
            }
            names.push(name);
        }
        *self.0 = names;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote_all(&*self.0))
    }
}
