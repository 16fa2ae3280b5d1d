//! Who vouches for back ends that are called over TLS: the authorities that this machine trusts, and those that the
//! configuration names.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::ClientConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{Error, RootCertStore};

/// Certificates of authorities. Those of the machine are read when the first `https://` back end is called: most
/// nodes have none.
#[derive(Default)]
pub struct Trust {
    named: Vec<CertificateDer<'static>>,
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("named", &self.named.len()).finish_non_exhaustive()
    }
}

impl Trust {
    /// Trusts the certificates in `pem` besides those of the machine.
    ///
    /// # Errors
    /// When there is none, or one that is broken or no authority's.
    pub fn with(pem: &[u8]) -> Result<Trust, String> {
        let named: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let named = named.map_err(|error| format!("not PEM: {error}"))?;
        let mut probe = RootCertStore::empty();
        for certificate in &named {
            probe
                .add(certificate.clone())
                .map_err(|error| format!("not an authority's certificate: {error}"))?;
        }
        if named.is_empty() {
            return Err("there is no certificate in it".into());
        }
        Ok(Trust { named, config: OnceLock::new() })
    }

    /// What makes a TLS connection to `host`, and the name that its certificate has to have.
    pub(super) fn connector(&self, host: &str) -> io::Result<(TlsConnector, ServerName<'static>)> {
        let invalid = |cause: String| io::Error::new(io::ErrorKind::InvalidInput, cause);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| invalid(error.to_string()))?;
        let config = self.client().map_err(invalid)?;
        Ok((TlsConnector::from(config), name))
    }

    /// What a connection to any host is made with.
    ///
    /// # Errors
    /// When nobody is trusted; the text tells.
    pub fn client(&self) -> Result<Arc<ClientConfig>, String> {
        self.config.get_or_init(|| self.build()).clone()
    }

    fn build(&self) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        let machine = rustls_native_certs::load_native_certs();
        for error in &machine.errors {
            tracing::warn!(%error, "a certificate of this machine's authorities cannot be read");
        }
        roots.add_parsable_certificates(machine.certs);
        roots.add_parsable_certificates(self.named.iter().cloned());
        if roots.is_empty() {
            return Err("this machine trusts no authority: name one (`ca` in [hooks], --ca)".into());
        }
        let text = |error: Error| error.to_string();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(text)?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
