//! A node with a grant of each kind, and a client that says what became of its request.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use fanwire::dialect::grant::{Act, signed_text};
use fanwire::wire::sign::hmac_sha256;
use fanwire::wire::token;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::node::Node;

/// Waiting for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Secret of the development app.
pub const SECRET: &[u8] = b"dev-secret";
pub const KEY: &str = "key-of-the-back-end";
const JWT_SECRET: &str = "thirty-two bytes that nobody has";

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A set with the public half of this key.
pub fn jwks(seed: u8) -> String {
    let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let x = b64(key.public_key());
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"{x}"}}]}}"#)
}

/// The key of the JWKS file.
pub fn ed25519() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Starts a node of three shards with a grant for each way: `key.*`, `token.*` and so on; `hook` answers the hook.
pub fn start(dir: &Path, hook: &str) -> Node {
    let grants = grants(dir, hook);
    Node::start(dir, "shards = 3", &grants)
}

/// Its grants.
pub fn grants(dir: &Path, hook: &str) -> String {
    std::fs::create_dir_all(dir).unwrap();
    let jwks = dir.join("keys.json");
    std::fs::write(&jwks, self::jwks(9)).unwrap();
    let both = |way: &str| format!("subscribe = [\"{way}\"]\npublish = [\"{way}\"]\n");
    let grant = |way: &str, more: &str| format!("[[grant]]\nchannels = [\"{way}.*\"]\n{}{more}\n", both(way));
    let grants = [
        grant("open", ""),
        grant("none", ""),
        grant("key", &format!("keys = [\"another-key-of-the-back-end\", \"{KEY}\"]")),
        grant("hmac", ""),
        grant("token", ""),
        grant(
            "jwt",
            &format!(
                "jwt_algorithms = [\"HS256\", \"EdDSA\"]\njwt_secret = \"{JWT_SECRET}\"\njwks = {:?}\njwt_leeway = \"0\"",
                jwks.display().to_string()
            ),
        ),
        grant("hook", &format!("hook = \"{hook}\"")),
        "[[grant]]\nchannels = [\"any.*\"]\nsubscribe = [\"key\", \"token\"]\npublish = \"none\"\n"
            .to_owned()
            + &format!("keys = [\"{KEY}\"]\n"),
    ];
    grants.concat()
}

// ---- what lets in ----

/// A token of ours for so many seconds.
pub fn our_token(seconds: u64, claims: &str) -> String {
    let claims = format!(r#"{{"exp":{},"iat":{},{claims}}}"#, now_s() + seconds, now_s());
    token::sign(SECRET, claims.as_bytes())
}

/// A JWT with this head.
pub fn jwt(head: &str, seconds: i64, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let exp = now_s() as i64 + seconds;
    let message = format!("{}.{}", b64(head), b64(format!(r#"{{"exp":{exp},{claims}}}"#)));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", b64(signature))
}

/// An HS256 JWT with the node's secret.
pub fn hs256(seconds: i64, claims: &str) -> String {
    jwt(r#"{"alg":"HS256"}"#, seconds, claims, hmac(JWT_SECRET.as_bytes()))
}

pub fn hmac(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    move |message| ring::hmac::sign(&key, message).as_ref().to_vec()
}

/// The query of a signature that holds for so many seconds.
pub fn signature(act: Act, seconds: u64, user: &str, channel: &str) -> String {
    let expires = (now_s() + seconds).to_string();
    let text = signed_text(act, "1", &expires, user, &[channel.as_bytes()]).unwrap();
    format!("expires={expires}&user={user}&signature={}", hmac_sha256(SECRET, &text))
}

// ---- requests ----

/// How somebody subscribes, or publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    WebSocket,
    EventStream,
    LongPoll,
    Publish,
    /// A WebSocket that only publishes.
    PublisherSocket,
}

impl How {
    pub const SUBSCRIBE: [How; 3] = [How::WebSocket, How::EventStream, How::LongPoll];
    pub const ALL: [How; 4] = [How::WebSocket, How::EventStream, How::LongPoll, How::Publish];

    pub fn act(self) -> Act {
        if How::SUBSCRIBE.contains(&self) { Act::Subscribe } else { Act::Publish }
    }
}

/// A request under way.
pub struct Client {
    socket: BufReader<TcpStream>,
}

impl Client {
    /// Sends a request with this query and further header lines.
    pub fn send(node: &Node, how: How, channel: &str, query: &str, lines: &str) -> Client {
        let mut socket = TcpStream::connect(&node.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let what = match how {
            How::WebSocket | How::PublisherSocket => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            }
            How::EventStream => "Accept: text/event-stream\r\n",
            How::LongPoll => "",
            How::Publish => "Content-Length: 2\r\n",
        };
        let (method, place) = match how {
            How::Publish => ("POST", "pub"),
            How::PublisherSocket => ("GET", "pub"),
            _ => ("GET", "sub"),
        };
        let body = if how == How::Publish { "hi" } else { "" };
        let request =
            format!("{method} /{place}/{channel}?{query} HTTP/1.1\r\nHost: a\r\n{what}{lines}\r\n{body}");
        socket.write_all(request.as_bytes()).unwrap();
        Client { socket: BufReader::new(socket) }
    }

    /// Status and reason of the answer. A poll that is held has none.
    pub fn answer(&mut self) -> (u16, String) {
        let (status, body) = read_answer(&mut self.socket);
        (status, body.trim_end().to_owned())
    }

    /// All that comes until the node ends the connection: after the answer.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest).unwrap();
        rest
    }

    /// Waits until something has come that ends so.
    pub fn until(&mut self, end: &str) {
        let mut seen = Vec::new();
        while !seen.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.socket.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
    }

    /// Code and reason of the close frame with which the node ends a WebSocket.
    pub fn close_frame(&mut self) -> (u16, String) {
        loop {
            let mut head = [0; 2];
            self.socket.read_exact(&mut head).unwrap();
            let mut payload = vec![0; usize::from(head[1])];
            assert!(payload.len() < 126, "frames of these tests are short");
            self.socket.read_exact(&mut payload).unwrap();
            if head[0] == 0x88 {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                return (code, String::from_utf8(payload[2..].to_vec()).unwrap());
            }
        }
    }
}

/// What becomes of a request: its status. A poll that is let in finds what was published before.
pub fn status(node: &Node, how: How, channel: &str, query: &str) -> (u16, String) {
    Client::send(node, how, channel, query, "").answer()
}

/// Whether that status means that somebody was let in.
pub fn is_in(status: u16) -> bool {
    matches!(status, 101 | 200 | 201 | 202)
}

/// A back end that answers each call by its query: 200 where that has `yes`, 403 else.
pub fn back_end() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            thread::spawn(move || {
                loop {
                    let mut first = String::new();
                    if stream.read_line(&mut first).unwrap_or(0) == 0 {
                        return;
                    }
                    loop {
                        let mut line = String::new();
                        if stream.read_line(&mut line).unwrap_or(0) <= 2 {
                            break;
                        }
                    }
                    let status = if first.contains("yes") { "200 OK" } else { "403 Forbidden" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}/may")
}

/// Status and body of the answer that comes next.
pub fn read_answer(reader: &mut impl BufRead) -> (u16, String) {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the connection ends");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(rest) = line.strip_prefix("content-length:") {
            length = rest.trim().parse().unwrap();
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap())
}
