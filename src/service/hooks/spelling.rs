//! Header names on the wire as the caller spelled them.
//!
//! The HTTP client writes every name in lower case. Names mean the same in any case, but a hook hands on what a
//! client sent, and back ends that compare names by byte exist. So this sits between the client and its socket
//! and puts the given spelling back into the head of each request: a name keeps its length, nothing else changes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};

/// Where the names of a connection's next request are put before it is sent.
#[derive(Clone, Default)]
pub(super) struct Names(Arc<Mutex<Option<Vec<Bytes>>>>);

impl Names {
    /// Sets the names of the request about to be sent, in any order, one for each line.
    pub(super) fn set(&self, names: Vec<Bytes>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(names);
    }

    fn take(&self) -> Option<Vec<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A socket that restores header names on the way out.
pub(super) struct Spelling<S> {
    inner: S,
    names: Names,
    /// The head that is being collected, and its names.
    head: Option<(Vec<u8>, Vec<Bytes>)>,
    /// Restored bytes that the socket has not taken yet.
    out: Vec<u8>,
    written: usize,
}

impl<S> Spelling<S> {
    pub(super) fn new(inner: S, names: Names) -> Spelling<S> {
        Spelling { inner, names, head: None, out: Vec::new(), written: 0 }
    }
}

impl<S: Write + Unpin> Spelling<S> {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.out = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: Read + Unpin> Read for Spelling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for Spelling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_out(cx))?;
        if let Some(names) = this.names.take() {
            this.head = Some((Vec::with_capacity(buf.len()), names));
        }
        let Some((mut head, names)) = this.head.take() else {
            return Pin::new(&mut this.inner).poll_write(cx, buf);
        };
        head.extend_from_slice(buf);
        match memchr::memmem::find(&head, b"\r\n\r\n") {
            None => this.head = Some((head, names)),
            Some(end) => {
                respell(&mut head[..end], names);
                this.out = head;
                // What the socket does not take now goes out with the next write or flush.
                if let Poll::Ready(Err(e)) = this.poll_out(cx) {
                    return Poll::Ready(Err(e));
                }
            }
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Puts the spelling of `names` into a head that ends before its empty line.
fn respell(head: &mut [u8], mut names: Vec<Bytes>) {
    // The first line is the request line.
    for line in head.split_mut(|b| *b == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let name = &mut line[..colon];
        if let Some(i) = names.iter().position(|n| n.eq_ignore_ascii_case(name)) {
            name.copy_from_slice(&names.remove(i));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time and says Pending in between.
    struct Narrow {
        got: Vec<u8>,
        step: usize,
        pause: bool,
    }

    impl Write for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.pause = !self.pause;
            if self.pause {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let n = buf.len().min(self.step);
            self.got.extend_from_slice(&buf[..n]);
            Poll::Ready(Ok(n))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn names(list: &[&'static str]) -> Vec<Bytes> {
        list.iter().map(|n| Bytes::from_static(n.as_bytes())).collect()
    }

    #[tokio::test]
    async fn restores_names_at_every_split() {
        let first = b"POST /a:B?x-Id HTTP/1.1\r\nx-eventsource-event: x-eventsource-event: 1\r\nhost: h\r\nx-eventsource-event: 2\r\n\r\nhost: body\r\n\r\n";
        let second = b"GET / HTTP/1.1\r\nhost: h\r\nother: y\r\n\r\n";
        let expected = b"POST /a:B?x-Id HTTP/1.1\r\nX-EventSource-Event: x-eventsource-event: 1\r\nHOST: h\r\nX-eventsource-EVENT: 2\r\n\r\nhost: body\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nother: y\r\n\r\n";
        for chunk in 1..first.len() {
            let slot = Names::default();
            let mut io = Spelling::new(Narrow { got: Vec::new(), step: 7, pause: false }, slot.clone());
            for (bytes, names) in [
                (&first[..], names(&["HOST", "X-EventSource-Event", "X-eventsource-EVENT", "Unused"])),
                (&second[..], names(&["Host"])),
            ] {
                slot.set(names);
                for part in bytes.chunks(chunk) {
                    let mut part = part;
                    while !part.is_empty() {
                        let n =
                            std::future::poll_fn(|cx| Pin::new(&mut io).poll_write(cx, part)).await.unwrap();
                        part = &part[n..];
                    }
                }
                std::future::poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await.unwrap();
            }
            assert_eq!(io.inner.got, expected, "chunks of {chunk}");
        }
    }
}
