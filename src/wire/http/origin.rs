//! Which pages a browser may come from: the `Origin` header (RFC 6454 section 7) against a list.

/// Whether a request with this `Origin` is welcome: one without it comes from no browser, and an empty list is no list.
/// An entry is `*`, an origin, or one with `*.` in place of the first labels of its host (`https://*.example.com`: any
/// host below, not `example.com` itself). Origins are compared without regard to case.
pub fn is_welcome<T: AsRef<str>>(list: &[T], origin: Option<&[u8]>) -> bool {
    let Some(origin) = origin.filter(|origin| !origin.is_empty() && !list.is_empty()) else { return true };
    list.iter().any(|entry| matches(entry.as_ref(), origin))
}

/// Whether an entry of a list means this origin.
pub fn matches(entry: &str, origin: &[u8]) -> bool {
    let Some((scheme, domain)) = entry.split_once("://*.") else {
        return entry == "*" || entry.as_bytes().eq_ignore_ascii_case(origin);
    };
    // Longer than scheme, `://`, one character and `.` of its own.
    let Some(at) = origin.len().checked_sub(domain.len() + 1).filter(|at| *at > scheme.len() + 3) else {
        return false;
    };
    let (head, tail) = origin.split_at(at);
    let Some(labels) = head.get(scheme.len()..).and_then(|rest| rest.strip_prefix(b"://")) else {
        return false;
    };
    head[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes())
        && tail[0] == b'.'
        && tail[1..].eq_ignore_ascii_case(domain.as_bytes())
        && labels.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte))
}

/// What is wrong with an entry, if anything.
///
/// # Errors
/// What to write instead.
pub fn check(entry: &str) -> Result<(), String> {
    let shown = entry.escape_debug();
    if entry == "*" || entry == "null" {
        return Ok(());
    }
    let host = entry.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, host)| host);
    let host = host.map(|host| host.strip_prefix("*.").unwrap_or(host));
    let plain = |host: &&str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/*?#@,\"".contains(&byte))
    };
    match host.filter(plain) {
        Some(_) => Ok(()),
        None => Err(format!("`{shown}` is no origin: write https://example.com, https://*.example.com or *")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_knows_its_origins() {
        let list = ["https://example.com", "https://*.example.com"];
        let list = &list[..];
        for origin in
            ["https://example.com", "HTTPS://EXAMPLE.com", "https://a.example.com", "https://a.b.Example.com"]
        {
            assert!(is_welcome(list, Some(origin.as_bytes())), "{origin}");
        }
        for origin in [
            "http://example.com",
            "https://example.com:8443",
            "https://a.example.com:8443",
            "https://evilexample.com",
            "https://.example.com",
            "https://example.com.evil.org",
            "https://evil.org/.example.com",
            "https://evil.org?.example.com",
            "https://evil.org:1.example.com",
            "http://a.example.com",
            "xhttps://a.example.com",
            "null",
            "https://",
            "a.example.com",
            ".example.com",
            "\u{e9}://a.example.com",
        ] {
            assert!(!is_welcome(list, Some(origin.as_bytes())), "{origin}");
        }
        assert!(is_welcome(list, None) && is_welcome(list, Some(b"")), "no browser");
        assert!(is_welcome::<&str>(&[], Some(b"https://evil.org")), "no list");
        assert!(is_welcome(&["*"], Some(b"null")));
        assert!(is_welcome(&["https://*.example.com:8443"], Some(b"https://a.example.com:8443")));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for entry in ["https://example.com", "http://*.a.b:8080", "*", "null", "chrome-extension://abc"] {
            assert_eq!(check(entry), Ok(()), "{entry}");
        }
        for entry in [
            "",
            "example.com",
            "https://",
            "https://*.",
            "https://a/",
            "https://a.*.b",
            "://a",
            "https://a b",
        ] {
            assert!(check(entry).is_err(), "{entry}");
        }
    }
}
