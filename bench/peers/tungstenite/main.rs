//! A broadcast server as one writes it on tokio and tungstenite: a task per connection, a broadcast channel per name.

use futures_util::{SinkExt, StreamExt};
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Messages that may wait for one subscriber.
const QUEUE: usize = 1024;
/// Longest head or body of a request, bytes.
const REQUEST_BYTES: usize = 1 << 20;

type Channels = Rc<RefCell<HashMap<String, Sender<Utf8Bytes>>>>;
type Outcome = Result<(), Box<dyn Error>>;

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

async fn serve(mut stream: TcpStream, channels: Channels) -> Outcome {
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
            let body = String::from_utf8(inbox[head_end..end].to_vec())?;
            inbox.drain(..end);
            if let Some(channel) = channels.borrow().get(channel) {
                let _ = channel.send(body.into());
            }
            stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await?;
            continue;
        }
        let key = header(&head, "sec-websocket-key").ok_or("no WebSocket")?;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        // Before the answer: whoever has it may count on every message from then on.
        let messages = path.strip_prefix("/sub/").map(|channel| {
            let mut channels = channels.borrow_mut();
            channels.entry(channel.to_owned()).or_insert_with(|| broadcast::channel(QUEUE).0).subscribe()
        });
        drop(inbox);
        stream.write_all(answer.as_bytes()).await?;
        let config = WebSocketConfig::default().read_buffer_size(2048).write_buffer_size(4096);
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        return match messages {
            Some(messages) => deliver(socket, messages).await,
            None => echo(socket).await,
        };
    }
}

async fn deliver(mut socket: WebSocketStream<TcpStream>, mut messages: Receiver<Utf8Bytes>) -> Outcome {
    loop {
        tokio::select! {
            message = messages.recv() => {
                socket.feed(Message::Text(message?)).await?;
                // What has come meanwhile shares the write.
                while let Ok(message) = messages.try_recv() {
                    socket.feed(Message::Text(message)).await?;
                }
                socket.flush().await?;
            }
            came = socket.next() => match came {
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(came) => drop(came?),
            }
        }
    }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Outcome {
    while let Some(message) = socket.next().await {
        match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            Message::Close(_) => break,
            _ => {}
        }
    }
    Ok(())
}

fn main() -> Outcome {
    let port: u16 = std::env::var("PORT")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let channels = Channels::default();
        loop {
            let (stream, _) = listener.accept().await?;
            let channels = channels.clone();
            tokio::task::spawn_local(async move {
                let _ = serve(stream, channels).await;
            });
        }
    })
}
