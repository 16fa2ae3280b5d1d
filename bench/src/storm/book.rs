//! The messages of a storm, and how a subscriber sees them in the subprotocol `ws+meta.nchan`: header lines, an empty
//! line, the body.

/// Subprotocol that tells the ids of messages.
pub const META: &str = "ws+meta.nchan";
/// Longest header of a message, bytes.
pub const META_BYTES: usize = 1024;

/// All messages of one channel, in order.
pub struct Book {
    run: u32,
    payload_bytes: usize,
    messages: Vec<Vec<u8>>,
}

impl Book {
    /// `run` tells this channel's messages from others'.
    pub fn new(run: u32, payload_bytes: usize) -> Book {
        Book { run, payload_bytes, messages: Vec::new() }
    }

    /// Enters the next message and returns its payload.
    pub fn publish(&mut self) -> &[u8] {
        let number = self.messages.len();
        let mut payload = format!("fw-{:08x}-storm-{number:06}-", self.run).into_bytes();
        let padding = self.payload_bytes.saturating_sub(payload.len());
        payload.extend((0..padding).map(|i| b'a' + ((i + number) % 26) as u8));
        payload.truncate(self.payload_bytes);
        self.messages.push(payload);
        &self.messages[number]
    }

    /// Messages so far.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Checks that `message`, as it came over the wire, is the one with this number. Returns its id.
    pub fn check<'a>(&self, number: usize, message: &'a [u8]) -> Result<&'a str, String> {
        let (id, body) = split(message).ok_or("a message without an id")?;
        if self.messages.get(number).is_some_and(|due| due == body) {
            return Ok(id);
        }
        match self.messages.iter().position(|known| known == body) {
            Some(came) if came < number => Err(format!("message {came} twice or out of order")),
            Some(came) => Err(format!("message {came} where {number} was due")),
            None => Err(format!("something that is not message {number}")),
        }
    }
}

/// Id and body of a message.
fn split(message: &[u8]) -> Option<(&str, &[u8])> {
    let end = message.windows(2).take(META_BYTES).position(|window| window == b"\n\n")?;
    let head = std::str::from_utf8(&message[..end]).ok()?;
    let id = head.lines().find_map(|line| line.strip_prefix("id:"))?.trim();
    (!id.is_empty()).then_some((id, &message[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_bodies_are_told_apart() {
        let message = b"id: 1795277188:3\ncontent-type: text/plain\n\na\n\nb";
        assert_eq!(split(message), Some(("1795277188:3", &b"a\n\nb"[..])));
        assert_eq!(split(b"content-type: text/plain\nid:7:1\n\n"), Some(("7:1", &b""[..])));
        for bad in [&b"body"[..], b"\n\nbody", b"id: \n\nbody", b"id: 7:1\nbody", b"\xff\n\nbody"] {
            assert_eq!(split(bad), None);
        }
    }

    #[test]
    fn a_message_must_be_the_one_that_is_due() {
        let mut book = Book::new(7, 64);
        let wire: Vec<Vec<u8>> = (0..3)
            .map(|number| [format!("id: 5:{number}\n\n").as_bytes(), book.publish()].concat())
            .collect();
        assert_eq!((book.len(), wire[0].len()), (3, 9 + 64));
        assert_eq!(book.check(1, &wire[1]), Ok("5:1"));
        assert!(book.check(1, &wire[0]).unwrap_err().contains("twice"));
        assert!(book.check(1, &wire[2]).unwrap_err().contains("message 2 where 1 was due"));
        assert!(book.check(3, &wire[2]).unwrap_err().contains("twice"));
        assert!(book.check(1, b"id: 5:1\n\nhello").unwrap_err().contains("not message 1"));
        assert!(book.check(1, b"hello").is_err());
    }
}
