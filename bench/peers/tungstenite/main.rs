//! A broadcast server as one writes it on tokio and tungstenite: a task per connection, a broadcast channel per name.

#[path = "../tokio/front.rs"]
mod front;

use front::{Outcome, Upgraded};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::Receiver;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

async fn talk(upgraded: Upgraded<Utf8Bytes>) -> Outcome {
    let config = WebSocketConfig::default().read_buffer_size(2048).write_buffer_size(4096);
    let socket = WebSocketStream::from_raw_socket(upgraded.stream, Role::Server, Some(config)).await;
    match upgraded.messages {
        Some(messages) => deliver(socket, messages).await,
        None => echo(socket).await,
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
    front::run(|body| Ok(String::from_utf8(body.to_vec())?.into()), talk)
}
