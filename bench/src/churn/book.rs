//! The messages of a churn: a numbered series in the channel that visitors share, and one in each visitor's own.

/// See the module.
pub struct Book {
    run: u32,
    /// Shared messages published so far.
    published: u64,
}

impl Book {
    /// `run` tells this run's channels and messages from others'.
    pub fn new(run: u32) -> Book {
        Book { run, published: 0 }
    }

    /// Enters the next shared message and returns its payload.
    pub fn publish(&mut self) -> Vec<u8> {
        self.published += 1;
        self.shared(self.published - 1)
    }

    /// Name of the channel that visitors share.
    pub fn shared_channel(&self) -> String {
        format!("churn-{:08x}", self.run)
    }

    /// Name of a visitor's own channel.
    pub fn own_channel(&self, visitor: u64) -> String {
        format!("churn-{:08x}-{visitor}", self.run)
    }

    /// Payload in a visitor's own channel.
    pub fn own(&self, visitor: u64) -> Vec<u8> {
        format!("own-{:08x}-{visitor:010}-abcdefghijklmnopqrstuvwxyz", self.run).into_bytes()
    }

    fn shared(&self, number: u64) -> Vec<u8> {
        format!("fw-{:08x}-{number:010}-abcdefghijklmnopqrstuvwxyz", self.run).into_bytes()
    }

    /// Number of the shared message that `payload` is. It must be `due`, or any for a visitor that has had none.
    pub fn check(&self, due: Option<u64>, payload: &[u8]) -> Result<u64, String> {
        let digits = payload.get(12..22).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = digits.and_then(|digits| digits.parse().ok());
        let Some(number) = number.filter(|&number| payload == self.shared(number)) else {
            return Err("something that is not a shared message".to_owned());
        };
        match due {
            _ if number >= self.published => Err("a message that was never published".to_owned()),
            Some(due) if number < due => Err("a message twice or out of order".to_owned()),
            Some(due) if number > due => Err("a message where an earlier one was due".to_owned()),
            _ => Ok(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_goes_on_from_wherever_a_visitor_came_in() {
        let mut book = Book::new(7);
        let sent: Vec<_> = (0..3).map(|_| book.publish()).collect();
        assert_eq!(book.check(None, &sent[1]), Ok(1));
        assert_eq!(book.check(Some(2), &sent[2]), Ok(2));
        assert!(book.check(Some(1), &sent[0]).unwrap_err().contains("twice"));
        assert!(book.check(Some(1), &sent[2]).unwrap_err().contains("earlier one was due"));
        let mut other = Book::new(7);
        let later = (0..4).map(|_| other.publish()).last().unwrap();
        assert!(book.check(Some(3), &later).unwrap_err().contains("never published"));
        for strange in [&b"hello"[..], &Book::new(8).publish(), &[sent[0].as_slice(), b"!"].concat()] {
            assert!(book.check(None, strange).unwrap_err().contains("not a shared message"));
        }
    }
}
