//! Who vouches for back ends that are called over TLS, and for nodes that commands talk to: the authorities that this machine trusts, and those that the
//! configuration names.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::ClientConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConnection, Error, RootCertStore, StreamOwned};

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
        let (config, name) = self.parts(host)?;
        Ok((TlsConnector::from(config), name))
    }

    /// Shakes hands over `stream` with `host`, and waits for that: for commands, which have nothing else to do.
    ///
    /// # Errors
    /// When nobody vouches for the host, or it does not speak TLS.
    pub fn shake_hands(&self, mut stream: TcpStream, host: &str) -> io::Result<impl Read + Write + use<>> {
        let (config, name) = self.parts(host)?;
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    fn parts(&self, host: &str) -> io::Result<(Arc<ClientConfig>, ServerName<'static>)> {
        let invalid = |cause: String| io::Error::new(io::ErrorKind::InvalidInput, cause);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| invalid(error.to_string()))?;
        let config = self.config.get_or_init(|| self.build()).clone().map_err(invalid)?;
        Ok((config, name))
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
