//! A broadcast server as one writes it on tokio and fastwebsockets: a task per connection, a broadcast channel per name.

#[path = "../tokio/front.rs"]
mod front;

use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketRead};
use front::{Outcome, Upgraded};
use std::future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::Receiver;

/// Bytes of frames that are joined into one write.
const JOINED_BYTES: usize = 16 * 1024;

type Message = Arc<[u8]>;

async fn talk(upgraded: Upgraded<Message>) -> Outcome {
    match upgraded.messages {
        Some(messages) => deliver(upgraded.stream, messages).await,
        None => echo(upgraded.stream).await,
    }
}

async fn deliver(stream: TcpStream, mut messages: Receiver<Message>) -> Outcome {
    let (input, output) = stream.into_split();
    let (mut reader, mut writer) =
        fastwebsockets::after_handshake_split(input, Joined { output, held: Vec::new() }, Role::Server);
    reader.set_auto_pong(false);
    // A read that is given up half way loses what it has taken: it stays the same one over many messages.
    let mut coming = Box::pin(next_ping(reader));
    loop {
        tokio::select! {
            message = messages.recv() => {
                let mut message = message?;
                loop {
                    writer.write_frame(Frame::text(Payload::Borrowed(&message))).await?;
                    // What has come meanwhile shares the write.
                    match messages.try_recv() {
                        Ok(next) => message = next,
                        Err(_) => break,
                    }
                }
            }
            came = &mut coming => {
                let (payload, reader) = came?;
                writer.write_frame(Frame::pong(Payload::Owned(payload))).await?;
                coming.set(next_ping(reader));
            }
        }
        writer.flush().await?;
    }
}

/// Reads until a ping comes, and returns its payload. A close is an error.
async fn next_ping(
    mut reader: WebSocketRead<OwnedReadHalf>,
) -> Result<(Vec<u8>, WebSocketRead<OwnedReadHalf>), WebSocketError> {
    loop {
        let mut nothing_to_send = |_: Frame| future::ready(Ok::<(), WebSocketError>(()));
        let frame = reader.read_frame(&mut nothing_to_send).await?;
        match frame.opcode {
            OpCode::Close => return Err(WebSocketError::ConnectionClosed),
            OpCode::Ping => {
                let payload = frame.payload.to_vec();
                return Ok((payload, reader));
            }
            _ => {}
        }
    }
}

async fn echo(stream: TcpStream) -> Outcome {
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => {
                // As it came it would go back with its mask.
                socket.write_frame(Frame::new(frame.fin, frame.opcode, None, frame.payload)).await?
            }
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}

/// The library writes frame by frame; this joins them until the flush.
struct Joined {
    output: OwnedWriteHalf,
    held: Vec<u8>,
}

impl AsyncWrite for Joined {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.len() >= JOINED_BYTES {
            ready!(self.as_mut().poll_flush(cx))?;
        }
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Joined { output, held } = &mut *self;
        while !held.is_empty() {
            let written = ready!(Pin::new(&mut *output).poll_write(cx, held))?;
            held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.output).poll_shutdown(cx)
    }
}

fn main() -> Outcome {
    front::run(|body| Ok(body.into()), talk)
}
