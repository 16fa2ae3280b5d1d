//! A node on one of the drivers.

use crate::node::{self, Http, Node, fresh};
use crate::rng::Rng;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

pub const KEY: &str = "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd";
pub const SECRET: &str = "ssssssssssssssssttttttttttttttttuuuuuuuuuuuuuuuuvvvvvvvvvvvvvvvv";

/// So much of a body or a message is too much.
pub const LIMIT_BYTES: usize = 128 << 10;

const SETTINGS: &str = r#"
shards = 2
echo = true
limits.body_bytes = "128KiB"
limits.message_bytes = "128KiB"
"#;

const TABLES: &str = r#"
[[location]]
prefix = "/pub/"
methods = "publisher"

[[location]]
prefix = "/sub/"
methods = "subscriber"

[[location]]
prefix = "/new/"
methods = "subscriber"
first_message = "newest"

[[location]]
prefix = "/raw/"
methods = "subscriber"
subscribers = ["raw"]
"#;

/// A certificate for localhost.
pub struct Certificate {
    settings: String,
    client: Arc<ClientConfig>,
}

impl Certificate {
    pub fn new() -> Certificate {
        let folder = fresh("drivers-certificate");
        std::fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled(); // or who comes first would decide about the other's handshake
        let settings = format!("[[certificate]]\ncertificate = {certificate:?}\nkey = {key:?}\n");
        Certificate { settings, client: Arc::new(client) }
    }
}

/// See the module.
pub struct Target {
    pub name: &'static str,
    pub node: Node,
    pub secure: String,
    pub tls: Arc<ClientConfig>,
    /// Requests that were made only to see how far it is.
    probes: AtomicU64,
}

impl Target {
    /// Starts it. Errors: what it said when it did not start.
    pub fn start(driver: &'static str, certificate: &Certificate) -> Result<Target, String> {
        let app =
            format!("[[app]]\nid = \"1\"\nkey = \"{KEY}\"\nsecret = \"{SECRET}\"\nclient_events = true\n");
        let dir = fresh(&format!("drivers-{driver}"));
        let tables = format!("{TABLES}{app}{}", certificate.settings);
        let mut command = node::command(&dir, SETTINGS, &tables);
        let file = dir.with_extension("toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let plain = "listen = [\"127.0.0.1:0\"";
        std::fs::write(&file, text.replace(plain, &format!("{plain}, \"127.0.0.2:0 tls\""))).unwrap();
        command.args(["--driver", driver]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = child.stderr.take().unwrap();
        let mut node = Node { child, address: String::new() };
        let mut secure = String::new();
        while node.address.is_empty() || secure.is_empty() {
            let Some(line) = lines.next() else {
                let mut said = String::new();
                let _ = stderr.read_to_string(&mut said);
                return Err(said);
            };
            let line = line.unwrap();
            let at = |scheme: &str| line.split_once(scheme).map(|(_, address)| address.trim().to_owned());
            if let Some(address) = at("listening on http://") {
                node.address = address;
            }
            if let Some(address) = at("listening on https://") {
                secure = address;
            }
        }
        // The rest of what it says goes nowhere, and nobody waits for it.
        thread::spawn(move || lines.for_each(drop));
        thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Ok(Target { name: driver, node, secure, tls: certificate.client.clone(), probes: AtomicU64::new(0) })
    }

    /// Counts a request that the other node may have got more or less often.
    pub fn probes(&self) {
        self.probes.fetch_add(1, Ordering::Relaxed);
    }

    /// What it has counted, without what cannot be the same twice. Waits until everybody has left.
    pub fn totals(&self) -> Vec<String> {
        let mut http = Http::connect(&self.node.address).unwrap();
        let until = std::time::Instant::now() + crate::frame::PATIENCE;
        loop {
            let page = http.request("GET", "/metrics", b"").unwrap().body;
            self.probes();
            let lines = page.lines().filter(|line| !line.starts_with('#'));
            let lines: Vec<(&str, f64)> = lines
                .map(|line| line.rsplit_once(' ').unwrap())
                .map(|(name, value)| (name, value.parse().unwrap()))
                .collect();
            let figure = |name: &str| lines.iter().find(|(n, _)| *n == name).map_or(f64::NAN, |(_, v)| *v);
            let gone = figure("fanwire_connections{carrier=\"http\"}") == 1.0
                && figure("fanwire_connections{carrier=\"websocket\"}") == 0.0
                && figure("fanwire_connections{carrier=\"stream\"}") == 0.0
                && figure("fanwire_subscriptions") == 0.0;
            if gone {
                let moved = figure("fanwire_connections_moved_total");
                let same = lines.iter().filter(|(name, _)| is_comparable(name));
                return same.map(|&(name, value)| self.total(name, value, moved)).collect();
            }
            assert!(std::time::Instant::now() < until, "{} is not left by everybody: {page}", self.name);
            thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// `moved`: connections that have come to another shard with a request; both are counted there once more.
    fn total(&self, name: &str, value: f64, moved: f64) -> String {
        let more = match name {
            "fanwire_requests_total" => moved + self.probes.load(Ordering::Relaxed) as f64,
            "fanwire_connections_accepted_total" => moved,
            _ => 0.0,
        };
        format!("{name} {}", value - more)
    }
}

/// Neither about time, nor about what the kernel decides: how bytes are cut, and which shard a connection comes to.
fn is_comparable(name: &str) -> bool {
    const SAME: [&str; 12] = [
        "fanwire_connections",
        "fanwire_connections_accepted_total",
        "fanwire_slow_consumers_closed_total",
        "fanwire_requests_total",
        "fanwire_websocket_messages_total",
        "fanwire_publications_total",
        "fanwire_deliveries_total",
        "fanwire_dropped_total",
        "fanwire_refusals_total",
        "fanwire_subscriptions",
        "fanwire_panics_total",
        "fanwire_tls_handshakes_total",
    ];
    let (bare, _) = name.split_once('{').unwrap_or((name, ""));
    SAME.contains(&bare)
}

/// Random bytes that are letters.
pub fn letters(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend(rng.next().to_be_bytes().map(|byte| b'a' + byte % 26));
    }
    out.truncate(len);
    out
}
