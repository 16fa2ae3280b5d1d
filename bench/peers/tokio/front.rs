//! What the small servers on tokio have in common: the HTTP in front of a WebSocket library, and a broadcast channel per
//! name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::broadcast::{self, Receiver, Sender};

/// Messages that may wait for one subscriber.
const QUEUE: usize = 1024;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Longest head or body of a request, bytes.
const REQUEST_BYTES: usize = 1 << 20;
/// Hashed with the client's key (RFC 6455, section 1.3).
const HANDSHAKE_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub type Outcome = Result<(), Box<dyn Error>>;
type Channels<M> = Rc<RefCell<HashMap<String, Sender<M>>>>;

/// A connection that has become a WebSocket.
pub struct Upgraded<M> {
    pub stream: TcpStream,
    /// The messages of its channel; None if it is there for its echo.
    pub messages: Option<Receiver<M>>,
}

/// Serves 127.0.0.1:$PORT on this thread. `make` turns a body into a message; `talk` does the rest of a WebSocket.
pub fn run<M: Clone + 'static, F: Future<Output = Outcome> + 'static>(
    make: fn(&[u8]) -> Result<M, Box<dyn Error>>,
    talk: fn(Upgraded<M>) -> F,
) -> Outcome {
    let port: u16 = std::env::var("PORT")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
        let listener = socket.listen(BACKLOG)?;
        let channels = Channels::default();
        loop {
            let (stream, _) = listener.accept().await?;
            let channels = channels.clone();
            tokio::task::spawn_local(async move {
                if let Ok(upgraded) = answer(stream, channels, make).await {
                    let _ = talk(upgraded).await;
                }
            });
        }
    })
}

/// Takes publishes until the connection becomes a WebSocket.
async fn answer<M: Clone>(
    mut stream: TcpStream,
    channels: Channels<M>,
    make: fn(&[u8]) -> Result<M, Box<dyn Error>>,
) -> Result<Upgraded<M>, Box<dyn Error>> {
    stream.set_nodelay(true)?;
    let mut inbox = Vec::new();
    loop {
        let head_end = loop {
            match inbox.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => read_more(&mut stream, &mut inbox).await?,
            }
        };
        let head = String::from_utf8(inbox[..head_end].to_vec())?;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if let Some(channel) = path.strip_prefix("/pub/") {
            let length: usize = header(&head, "content-length").unwrap_or("0").parse()?;
            let end = head_end + length.min(REQUEST_BYTES);
            while inbox.len() < end {
                read_more(&mut stream, &mut inbox).await?;
            }
            let message = make(&inbox[head_end..end])?;
            inbox.drain(..end);
            if let Some(channel) = channels.borrow().get(channel) {
                let _ = channel.send(message);
            }
            stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await?;
            continue;
        }
        let key = header(&head, "sec-websocket-key").ok_or("no WebSocket")?;
        let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(HANDSHAKE_GUID).finalize());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        // Before the answer: whoever has it may count on every message from then on.
        let messages = path.strip_prefix("/sub/").map(|channel| {
            let mut channels = channels.borrow_mut();
            channels.entry(channel.to_owned()).or_insert_with(|| broadcast::channel(QUEUE).0).subscribe()
        });
        stream.write_all(answer.as_bytes()).await?;
        return Ok(Upgraded { stream, messages });
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

async fn read_more(stream: &mut TcpStream, inbox: &mut Vec<u8>) -> Outcome {
    if inbox.len() > 2 * REQUEST_BYTES || stream.read_buf(inbox).await? == 0 {
        return Err("closed, or too long".into());
    }
    Ok(())
}
