//! Addresses to listen on.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::limits;

/// One address to listen on, written as `127.0.0.1:8080`, `[::1]:8080` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A unix stream socket at an absolute path.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only programs on this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            ListenAddress::Tcp(address) => address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix(_) => true,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(out),
            ListenAddress::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
                return Err(format!("`{}` needs the absolute path of a socket", text.escape_debug()));
            }
            if path.len() > limits::NODE_UNIX_PATH_BYTES {
                return Err(format!(
                    "the path of a socket has at most {} bytes",
                    limits::NODE_UNIX_PATH_BYTES
                ));
            }
            return Ok(ListenAddress::Unix(path.into()));
        }
        text.parse().map(ListenAddress::Tcp).map_err(|_| {
            let shown = text.escape_debug();
            format!("`{shown}` is not an address: write 127.0.0.1:8080, [::1]:8080 or unix:/path")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_are_written() {
        for text in ["127.0.0.1:8080", "[::1]:8080", "0.0.0.0:1", "unix:/run/fanwire.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        let long = format!("unix:/{}", "x".repeat(limits::NODE_UNIX_PATH_BYTES));
        for text in [
            "",
            "8080",
            ":8080",
            "localhost:8080",
            "::1:8080",
            "unix:",
            "unix:x",
            "unix:/x/",
            "1.2.3.4:70000",
            &long,
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_unix_are_local() {
        let local = |text: &str| text.parse::<ListenAddress>().unwrap().is_local();
        assert!(
            local("127.3.2.1:80") && local("[::1]:80") && local("unix:/a") && local("[::ffff:127.0.0.1]:80")
        );
        assert!(
            !local("0.0.0.0:80")
                && !local("[::]:80")
                && !local("10.0.0.1:80")
                && !local("[::ffff:10.0.0.1]:80")
        );
    }
}
