//! Back ends that are called over TLS.

use crate::support::*;
use fanwire::channel::hook::{HookCall, HookFailure};
use fanwire::service::hooks::Trust;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, Stream, crypto::ring};

/// An authority of its own.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A back end at 127.0.0.1 with a certificate for `name`; counts its handshakes and requests.
fn secure_back_end(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
) -> (SocketAddr, Arc<[AtomicUsize; 2]>) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = counts.clone();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (config, counts) = (config.clone(), counted.clone());
            std::thread::spawn(move || {
                let mut socket = socket.unwrap();
                let mut tls = ServerConnection::new(config).unwrap();
                if tls.complete_io(&mut socket).is_err() {
                    return;
                }
                counts[0].fetch_add(1, SeqCst);
                let (mut stream, mut buffer) = (Stream::new(&mut tls, &mut socket), Vec::new());
                while read_request(&mut stream, &mut buffer).is_some() {
                    counts[1].fetch_add(1, SeqCst);
                    if stream.write_all(OK).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, counts)
}

fn trusting(authority: &CertifiedIssuer<'_, KeyPair>) -> Node {
    Node::trusting(Trust::with(authority.pem().as_bytes()).unwrap(), |_| {})
}

fn outcome_of(node: &Node, url: &str) -> Outcome {
    node.get(HookCall { url: url.into(), ..waiting(refusing(), "/") })
}

#[test]
fn a_named_authority_is_trusted_and_the_connection_kept() {
    let authority = authority();
    let (address, counts) = secure_back_end(&authority, "127.0.0.1");
    let node = trusting(&authority);
    for _ in 0..3 {
        let answer = outcome_of(&node, &format!("https://{address}/a")).unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    }
    assert_eq!(counts[0].load(SeqCst), 1, "handshakes");
    assert_eq!(counts[1].load(SeqCst), 3, "requests");
}

#[test]
fn nobody_who_cannot_prove_its_name_is_told_anything() {
    let (ours, others) = (authority(), authority());
    let (wrong_name, named) = secure_back_end(&ours, "elsewhere.example");
    let (wrong_authority, vouched) = secure_back_end(&others, "127.0.0.1");
    let node = trusting(&ours);
    for address in [wrong_name, wrong_authority] {
        let outcome = outcome_of(&node, &format!("https://{address}/secret"));
        assert_eq!(outcome, Err(HookFailure::Unreachable));
    }
    let requests = [&named, &vouched].map(|counts| counts[1].load(SeqCst));
    assert_eq!(requests, [0, 0]);
}

#[test]
fn a_back_end_that_does_not_speak_tls_costs_its_time_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (plain, log) = back_end(|_, stream| stream.write_all(OK).is_ok());
    let node =
        Node::trusting(Trust::with(authority().pem().as_bytes()).unwrap(), |limits| limits.connect_ms = 100);
    for address in [silent.local_addr().unwrap(), plain] {
        assert_eq!(outcome_of(&node, &format!("https://{address}/")), Err(HookFailure::Unreachable));
    }
    assert!(log.paths().is_empty());
}

#[test]
fn what_is_no_authority_is_refused_at_start() {
    for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(Trust::with(pem.as_bytes()).is_err(), "{pem:?}");
    }
}
