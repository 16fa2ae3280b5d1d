//! Long polls: an answer per message, and the next request with the message's id.

use super::talk::excerpt;
use crate::http;
use std::net::SocketAddrV4;

/// One subscriber's polls.
#[derive(Debug)]
pub struct Poll {
    host: SocketAddrV4,
    path: String,
    /// Last-Modified and Etag of the last message.
    id: Option<(String, String)>,
}

impl Poll {
    /// A poll of `path` that has no message yet: the server gives the oldest it has, or the next.
    pub fn new(host: SocketAddrV4, path: &str) -> Poll {
        Poll { host, path: path.to_owned(), id: None }
    }

    /// The request for what is behind the last message.
    pub fn request(&self) -> String {
        let id = match &self.id {
            Some((date, tag)) => format!("If-Modified-Since: {date}\r\nIf-None-Match: {tag}\r\n"),
            None => String::new(),
        };
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n{id}\r\n", self.path, self.host)
    }

    /// Hands on the messages of the answers that are complete in `bytes`, appends the requests behind them to
    /// `replies`, and returns how many bytes are done with.
    pub fn take<E: From<String>>(
        &mut self,
        bytes: &[u8],
        replies: &mut Vec<u8>,
        on: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut used = 0;
        while let Some((status, length)) = http::next_answer(&bytes[used..])? {
            let answer = &bytes[used..used + length];
            let head = http::head_length(answer).unwrap_or(length);
            let (head, body) = answer.split_at(head);
            let head = std::str::from_utf8(head).unwrap_or_default();
            match status {
                200 => {
                    if http::header(head, "content-length").is_none() {
                        return Err(format!("a poll's answer without length: {}", excerpt(answer)).into());
                    }
                    let (date, tag) = (http::header(head, "last-modified"), http::header(head, "etag"));
                    let (Some(date), Some(tag)) = (date, tag) else {
                        return Err(format!("a message without its id: {}", excerpt(answer)).into());
                    };
                    self.id = Some((date.to_owned(), tag.to_owned()));
                    on(body)?;
                }
                // The server's time for holding a poll is over.
                304 | 408 => {}
                _ => return Err(format!("a poll refused: {}", excerpt(answer)).into()),
            }
            used += length;
            replies.extend_from_slice(self.request().as_bytes());
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(poll: &mut Poll, bytes: &str) -> Result<(usize, Vec<String>, String), String> {
        let (mut replies, mut got) = (Vec::new(), Vec::new());
        let used =
            poll.take(bytes.as_bytes(), &mut replies, &mut |message: &[u8]| -> Result<(), String> {
                got.push(String::from_utf8(message.to_vec()).unwrap());
                Ok(())
            })?;
        Ok((used, got, String::from_utf8(replies).unwrap()))
    }

    #[test]
    fn the_next_request_bears_the_id_of_the_last_message() {
        let mut poll = Poll::new("127.0.0.1:80".parse().unwrap(), "/sub/a");
        assert_eq!(poll.request(), "GET /sub/a HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n");
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nLast-Modified: now\r\nEtag: 7\r\n\r\nfw-1";
        for cut in 0..answer.len() {
            assert_eq!(take(&mut poll, &answer[..cut]).unwrap().0, 0, "cut at {cut}");
        }
        let next =
            "GET /sub/a HTTP/1.1\r\nHost: 127.0.0.1:80\r\nIf-Modified-Since: now\r\nIf-None-Match: 7\r\n\r\n";
        let got = take(&mut poll, answer).unwrap();
        assert_eq!(got, (answer.len(), vec!["fw-1".to_owned()], next.to_owned()));
        let timeout = "HTTP/1.1 304 Not Modified\r\n\r\n";
        assert_eq!(take(&mut poll, timeout).unwrap(), (timeout.len(), vec![], next.to_owned()));
    }

    #[test]
    fn refusals_and_messages_without_id_are_errors() {
        for bad in [
            "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLast-Modified: now\r\nEtag: 7\r\n\r\n0\r\n\r\n",
        ] {
            assert!(take(&mut Poll::new("127.0.0.1:80".parse().unwrap(), "/"), bad).is_err(), "{bad}");
        }
    }
}
