//! Whom a proxy says a request comes from: `Forwarded` (RFC 7239), `X-Forwarded-For` and `X-Real-IP`.
//!
//! One header is believed, the one that the proxy in front is known to write: what a client has put into another one
//! passes through a proxy that does not know it. Every proxy appends whom it has seen, so the last address that is no
//! trusted proxy's is the client; what stands before it is the client's word.

use super::headers::Headers;
use super::list::{items, parameter};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The header that is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// `X-Forwarded-For`
    #[default]
    XForwardedFor,
    /// `Forwarded`
    Forwarded,
    /// `X-Real-IP`
    XRealIp,
}

/// The header is there and does not say what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The client of a request with these headers; its port is 0 where none is said. `None`: nothing is said, or that it
/// is not known (RFC 7239 section 6.2 and 6.3). If everybody named is trusted, it is the first one.
///
/// # Errors
/// [`Malformed`]: what stands in the place that counts is no address.
pub fn client(
    headers: &Headers<'_>,
    kind: Kind,
    trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<SocketAddr>, Malformed> {
    let name = match kind {
        Kind::XForwardedFor => "x-forwarded-for",
        Kind::Forwarded => "forwarded",
        Kind::XRealIp => "x-real-ip",
    };
    let (mut first, mut found) = (None, None);
    for item in headers.all(name).flat_map(items) {
        let node = match kind {
            Kind::Forwarded => parameter(item, "for").ok_or(Malformed).and_then(unquoted),
            Kind::XForwardedFor | Kind::XRealIp => Ok(Cow::Borrowed(item)),
        };
        let node = node.and_then(|node| address(&node));
        first.get_or_insert(node);
        if !matches!(node, Ok(Some(address)) if trusted(address.ip())) {
            found = Some(node);
        }
    }
    found.or(first).unwrap_or(Ok(None))
}

/// The content of a quoted string (RFC 9110 section 5.6.4), or a token.
fn unquoted(value: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    let Some(inner) = value.strip_prefix(b"\"") else { return Ok(Cow::Borrowed(value)) };
    let inner = inner.strip_suffix(b"\"").ok_or(Malformed)?;
    if !inner.contains(&b'\\') {
        return Ok(Cow::Borrowed(inner));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        out.push(if byte == b'\\' { *bytes.next().ok_or(Malformed)? } else { byte });
    }
    Ok(Cow::Owned(out))
}

/// `192.0.2.7`, `192.0.2.7:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`; `unknown` and `_hidden` are nobody.
fn address(node: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let text = std::str::from_utf8(node).map_err(|_| Malformed)?;
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Ok(None);
    }
    let (ip, port) =
        match text.strip_prefix('[').map(|rest| rest.split_once(']').ok_or(Malformed)).transpose()? {
            Some((ip, port)) => (ip.parse::<Ipv6Addr>().map(IpAddr::V6).ok(), port),
            None => match text.parse::<IpAddr>() {
                Ok(ip) => (Some(ip), ""),
                Err(_) => {
                    let (ip, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                    (ip.parse().ok(), port)
                }
            },
        };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => 0,
        // A port may be hidden, too.
        Some(hidden) if hidden.starts_with('_') => 0,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().map_err(|_| Malformed)?
        }
        _ => return Err(Malformed),
    };
    let ip = ip.ok_or(Malformed)?.to_canonical();
    Ok(Some(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HttpLimits;
    use crate::wire::http::request::{Event, Lines, Reader};
    use proptest::prelude::*;

    fn of(lines: &str, kind: Kind) -> Result<Option<String>, Malformed> {
        let mut input = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").into_bytes();
        let (mut reader, mut positions) = (Reader::default(), Lines::default());
        let step = reader.step(&mut input, &mut positions, &HttpLimits::default()).unwrap();
        let Some(Event::Request(request)) = step.event else { panic!("a request") };
        let trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        client(&request.headers, kind, trusted).map(|client| client.map(|address| address.to_string()))
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_client() {
        for (value, client) in [
            ("192.0.2.7", "192.0.2.7:0"),
            ("1.1.1.1, 192.0.2.7", "192.0.2.7:0"),
            ("1.1.1.1, 192.0.2.7, 10.0.0.1,10.0.0.2", "192.0.2.7:0"),
            ("garbage, 192.0.2.7", "192.0.2.7:0"),
            ("10.0.0.3, 10.0.0.1", "10.0.0.3:0"),
            ("192.0.2.7:4711", "192.0.2.7:4711"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]:4711", "[2001:db8::1]:4711"),
            ("::ffff:192.0.2.7", "192.0.2.7:0"),
        ] {
            let line = format!("X-Forwarded-For: {value}");
            assert_eq!(of(&line, Kind::XForwardedFor), Ok(Some(client.into())), "{value}");
        }
        let lines = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.7\r\nx-forwarded-for: 10.0.0.1";
        assert_eq!(of(lines, Kind::XForwardedFor), Ok(Some("192.0.2.7:0".into())));
        assert_eq!(of("X-Real-IP: 192.0.2.7", Kind::XRealIp), Ok(Some("192.0.2.7:0".into())));
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_has_it() {
        for (value, client) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60:0"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "[2001:db8:cafe::17]:4711"),
            ("for=192.0.2.43, for=198.51.100.17;by=203.0.113.60", "198.51.100.17:0"),
            ("for=192.0.2.43, for=10.0.0.1", "192.0.2.43:0"),
            ("proto=https; for=\"192.0.2.4\\3:_x\"", "192.0.2.43:0"),
            ("for=\"a,b\", for=192.0.2.43", "192.0.2.43:0"),
        ] {
            assert_eq!(
                of(&format!("Forwarded: {value}"), Kind::Forwarded),
                Ok(Some(client.into())),
                "{value}"
            );
        }
        for nobody in ["for=unknown", "for=_SEVKISEK", "for=\"_x\", for=10.0.0.1"] {
            assert_eq!(of(&format!("Forwarded: {nobody}"), Kind::Forwarded), Ok(None), "{nobody}");
        }
    }

    #[test]
    fn what_is_no_address_is_malformed_and_other_headers_are_nothing() {
        for value in
            ["x", "192.0.2.7, x", "1.2.3", "1.2.3.4:", "1.2.3.4:99999", "[::1", "[1.2.3.4]", "[::1]x", "::1]"]
        {
            assert_eq!(
                of(&format!("X-Forwarded-For: {value}"), Kind::XForwardedFor),
                Err(Malformed),
                "{value}"
            );
        }
        for value in
            ["by=1.2.3.4", "for=\"1.2.3.4", "for=1.2.3.4, proto=http", "for=", "for=\"1.2.3.4, for=10.0.0.1"]
        {
            assert_eq!(of(&format!("Forwarded: {value}"), Kind::Forwarded), Err(Malformed), "{value}");
        }
        assert_eq!(of("Forwarded: for=1.2.3.4", Kind::XForwardedFor), Ok(None));
        assert_eq!(of("X-Forwarded-For: 1.2.3.4", Kind::Forwarded), Ok(None));
        assert_eq!(of("X-Forwarded-For: ,, ,", Kind::XForwardedFor), Ok(None));
    }

    proptest! {
        #[test]
        fn whatever_a_client_says_before_the_proxy_changes_nothing(said in "[ -~&&[^\"]]{0,60}") {
            let line = format!("X-Forwarded-For: {said}, 192.0.2.7, 10.0.0.1");
            prop_assert_eq!(of(&line, Kind::XForwardedFor), Ok(Some("192.0.2.7:0".into())));
        }

        #[test]
        fn addresses_are_read_as_they_are_written(ip: IpAddr, port: u16) {
            prop_assume!(!ip.to_string().starts_with("10."));
            let address = SocketAddr::new(ip.to_canonical(), port).to_string();
            let line = format!("Forwarded: for=\"{}\"", SocketAddr::new(ip, port));
            prop_assert_eq!(of(&line, Kind::Forwarded), Ok(Some(address)));
        }

        #[test]
        fn no_bytes_are_too_much(value: Vec<u8>) {
            let _ = address(&value);
            let _ = unquoted(&value);
        }
    }
}
