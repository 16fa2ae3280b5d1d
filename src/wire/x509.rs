//! What a log line, a metric and the choice of a certificate need of an X.509 certificate (RFC 5280 section 4.1): its
//! names and when it ends. Whether it is to be trusted is not decided here, and nothing here is told of one that was
//! not verified, or is the node's own.

use std::net::{Ipv4Addr, Ipv6Addr};

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]` of the version, `[3]` of the extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Alternatives of GeneralName: rfc822Name, dNSName, uniformResourceIdentifier, iPAddress.
const MAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Attribute types below 2.5.4 with their short names (RFC 4514 section 3).
const ATTRIBUTES: [(u8, &str); 6] = [(3, "CN"), (6, "C"), (7, "L"), (8, "ST"), (10, "O"), (11, "OU")];

/// What is told of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The subject, `CN=a, O=b`; attributes without a short name are left out.
    pub subject: String,
    /// When it ends, seconds since 1970.
    pub not_after_unix_s: i64,
    /// The DNS names it is for, in lower case.
    pub dns: Vec<String>,
    /// Its other names: addresses, URIs, mailboxes.
    pub others: Vec<String>,
}

/// A part of DER that was not read yet (X.690 section 8.1, definite lengths only).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and its content.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which has to have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The same, if it is there.
    fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.take(tag) } else { None }
    }
}

/// Reads a certificate in DER; `None` when it is not one.
pub fn read(der: &[u8]) -> Option<Certificate> {
    let mut whole = Der(Der(der).take(SEQUENCE)?);
    let mut body = Der(whole.take(SEQUENCE)?);
    body.optional(VERSION);
    body.take(INTEGER)?;
    body.take(SEQUENCE)?; // algorithm
    body.take(SEQUENCE)?; // issuer
    let mut validity = Der(body.take(SEQUENCE)?);
    validity.any()?;
    let (kind, end) = validity.any()?;
    let mut certificate = Certificate {
        subject: subject(body.take(SEQUENCE)?)?,
        not_after_unix_s: time(kind, end)?,
        ..Certificate::default()
    };
    body.take(SEQUENCE)?; // key
    while let Some((tag, content)) = body.any() {
        if tag == EXTENSIONS {
            alternative_names(Der(content).take(SEQUENCE)?, &mut certificate)?;
        }
    }
    Some(certificate)
}

/// Who a client is by its certificate, for a log line of at most `most` bytes.
pub fn identity(der: &[u8], most: usize) -> String {
    let Some(certificate) = read(der) else { return "not readable".into() };
    let mut text = certificate.subject;
    for name in certificate.dns.iter().chain(&certificate.others) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Whether a certificate for `name` (perhaps with `*` as its first label, RFC 6125 section 6.4.3) is one for `host`.
/// Both in lower case.
pub fn matches(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(label, tail)| !label.is_empty() && tail == rest),
        None => name == host,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn subject(der: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Der(der);
    while !sets.0.is_empty() {
        let mut pair = Der(Der(sets.take(SET)?).take(SEQUENCE)?);
        let kind = pair.take(OID)?;
        let (_, value) = pair.any()?;
        if let [0x55, 0x04, number] = kind
            && let Some((_, name)) = ATTRIBUTES.iter().find(|(known, _)| known == number)
        {
            parts.push(format!("{name}={}", text(value)));
        }
    }
    Some(parts.join(", "))
}

fn alternative_names(der: &[u8], certificate: &mut Certificate) -> Option<()> {
    let mut extensions = Der(der);
    while !extensions.0.is_empty() {
        let mut extension = Der(extensions.take(SEQUENCE)?);
        if extension.take(OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        extension.optional(0x01); // critical
        let mut names = Der(Der(extension.take(OCTET_STRING)?).take(SEQUENCE)?);
        while let Some((tag, name)) = names.any() {
            match (tag, name) {
                (DNS, _) => certificate.dns.push(text(name).to_ascii_lowercase()),
                (MAIL | URI, _) => certificate.others.push(text(name)),
                (IP, &[a, b, c, d]) => certificate.others.push(Ipv4Addr::new(a, b, c, d).to_string()),
                (IP, _) => {
                    let address = <[u8; 16]>::try_from(name).ok().map(Ipv6Addr::from);
                    certificate.others.extend(address.map(|address| address.to_string()));
                }
                _ => {}
            }
        }
    }
    Some(())
}

/// UTCTime and GeneralizedTime as RFC 5280 section 4.1.2.5 allows them: to the second, in UTC.
fn time(kind: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let two = |at: usize| -> Option<i64> {
        let pair = digits.get(at..at + 2)?;
        pair.iter()
            .all(u8::is_ascii_digit)
            .then(|| i64::from(pair[0] - b'0') * 10 + i64::from(pair[1] - b'0'))
    };
    let (year, at) = match (kind, digits.len()) {
        (UTC_TIME, 12) => (two(0)? + if two(0)? < 50 { 2000 } else { 1900 }, 2),
        (GENERALIZED_TIME, 14) => (two(0)? * 100 + two(2)?, 4),
        _ => return None,
    };
    let (month, day) = (two(at)?, two(at + 2)?);
    let (hour, minute, second) = (two(at + 4)?, two(at + 6)?, two(at + 8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_before(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. Years begin in March here, so that the day that only some
/// have is their last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            len @ 0..=0x7f => out.push(len as u8),
            len => out.extend([0x82, (len >> 8) as u8, len as u8]),
        }
        out.extend_from_slice(content);
        out
    }

    fn attribute(number: u8, value: &str) -> Vec<u8> {
        let pair = [element(OID, &[0x55, 4, number]), element(0x0c, value.as_bytes())].concat();
        element(SET, &element(SEQUENCE, &pair))
    }

    fn certificate() -> Vec<u8> {
        let names = [
            element(DNS, b"Push.Example"),
            element(DNS, b"*.example"),
            element(IP, &[127, 0, 0, 1]),
            element(IP, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            element(URI, b"spiffe://a/b"),
        ]
        .concat();
        let alternative = [
            element(OID, SUBJECT_ALT_NAME),
            element(0x01, &[0xff]),
            element(OCTET_STRING, &element(SEQUENCE, &names)),
        ]
        .concat();
        let other = [element(OID, &[0x55, 0x1d, 0x13]), element(OCTET_STRING, &[0x30, 0])].concat();
        let extensions = [element(SEQUENCE, &other), element(SEQUENCE, &alternative)].concat();
        let dates = [element(UTC_TIME, b"260101000000Z"), element(UTC_TIME, b"260228235959Z")].concat();
        let body = [
            element(VERSION, &element(INTEGER, &[2])),
            element(INTEGER, &[1]),
            element(SEQUENCE, &[]),
            element(SEQUENCE, &[]),
            element(SEQUENCE, &dates),
            element(SEQUENCE, &[attribute(3, "a\nb"), attribute(10, "c"), attribute(99, "d")].concat()),
            element(SEQUENCE, &[0; 200]),
            element(EXTENSIONS, &element(SEQUENCE, &extensions)),
        ]
        .concat();
        element(SEQUENCE, &[element(SEQUENCE, &body), element(SEQUENCE, &[])].concat())
    }

    #[test]
    fn a_certificate_tells_its_names_and_its_end() {
        let read = read(&certificate()).unwrap();
        assert_eq!(read.subject, "CN=a?b, O=c");
        assert_eq!(read.dns, ["push.example", "*.example"]);
        assert_eq!(read.others, ["127.0.0.1", "::1", "spiffe://a/b"]);
        assert_eq!(read.not_after_unix_s, 1_772_323_199);
        let who = identity(&certificate(), 1000);
        assert_eq!(who, "CN=a?b, O=c, push.example, *.example, 127.0.0.1, ::1, spiffe://a/b");
        assert_eq!(identity(&certificate(), 6), "CN=a?b");
    }

    #[test]
    fn anything_else_is_none_and_never_a_panic() {
        let whole = certificate();
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end}");
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let _ = identity(&changed, 40);
            }
        }
    }

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(GENERALIZED_TIME, b"20000229120000Z"), Some(951_825_600));
        assert_eq!(time(GENERALIZED_TIME, b"99991231235959Z"), Some(253_402_300_799));
        for (kind, text) in [
            (UTC_TIME, &b"7001010000Z"[..]),
            (UTC_TIME, b"701301000000Z"),
            (UTC_TIME, b"70010100000aZ"),
            (UTC_TIME, b"700101000000"),
            (GENERALIZED_TIME, b"20000229120000.5Z"),
            (0x0c, b"700101000000Z"),
        ] {
            assert_eq!(time(kind, text), None);
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(matches("a.example", "a.example") && matches("*.example", "a.example"));
        assert!(!matches("*.example", "example") && !matches("*.example", "b.a.example"));
        assert!(!matches("*.example", ".example") && !matches("a.example", "b.example"));
    }
}
