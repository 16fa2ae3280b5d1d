//! Addresses to listen on, each with what its door asks for.

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

/// What every connection that comes in by an address has to do. Written behind the address: `0.0.0.0:443 tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorSettings {
    /// It speaks TLS (`tls`).
    pub tls: bool,
    /// It has a certificate that `client_ca` in `[tls]` vouches for (`client_certificates`). Only with `tls`.
    pub client_certificates: bool,
    /// It begins with a PROXY protocol header, version 1 or 2 (`proxy_protocol`).
    pub proxy_protocol: bool,
    /// Permissions of a unix socket's file (`mode=660`, octal). None: what the umask leaves.
    pub mode: Option<u32>,
}

/// One entry of `listen` or `internal_listen`: an address and its door's options between spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: ListenAddress,
    /// How.
    pub door: DoorSettings,
}

impl Listen {
    /// An address without options.
    pub fn plain(address: ListenAddress) -> Listen {
        Listen { address, door: DoorSettings::default() }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(out)?;
        let DoorSettings { tls, client_certificates, proxy_protocol, mode } = self.door;
        for (word, set) in
            [("tls", tls), ("client_certificates", client_certificates), ("proxy_protocol", proxy_protocol)]
        {
            if set {
                write!(out, " {word}")?;
            }
        }
        mode.map_or(Ok(()), |mode| write!(out, " mode={mode:03o}"))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, options) = text.split_once(' ').unwrap_or((text, ""));
        let mut listen = Listen::plain(address.parse()?);
        let door = &mut listen.door;
        for word in options.split(' ').filter(|word| !word.is_empty()) {
            match word.split_once('=').unwrap_or((word, "")) {
                ("tls", "") => door.tls = true,
                ("client_certificates", "") => door.client_certificates = true,
                ("proxy_protocol", "") => door.proxy_protocol = true,
                ("mode", octal) => door.mode = Some(mode(octal, &listen.address)?),
                _ => {
                    return Err(format!(
                        "`{}` is no option of an address: they are tls, client_certificates, proxy_protocol, mode=660",
                        word.escape_debug()
                    ));
                }
            }
        }
        if door.client_certificates && !door.tls {
            return Err("`client_certificates` goes with `tls`".into());
        }
        Ok(listen)
    }
}

fn mode(octal: &str, address: &ListenAddress) -> Result<u32, String> {
    let mode = u32::from_str_radix(octal, 8).ok().filter(|mode| *mode <= 0o777);
    let mode = mode.ok_or_else(|| format!("`mode={}` needs three octal digits", octal.escape_debug()))?;
    match address {
        ListenAddress::Unix(_) => Ok(mode),
        ListenAddress::Tcp(_) => Err("`mode` is for unix sockets".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_print_as_they_are_written() {
        for text in [
            "127.0.0.1:8080",
            "0.0.0.0:443 tls",
            "[::]:443 tls client_certificates proxy_protocol",
            "unix:/run/x.sock proxy_protocol mode=660",
            "unix:/run/x.sock mode=007",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1:1  tls ".parse::<Listen>().unwrap().to_string(), "127.0.0.1:1 tls");
        for text in [
            "127.0.0.1:1 ssl",
            "127.0.0.1:1 tls=1",
            "127.0.0.1:1 client_certificates",
            "127.0.0.1:1 mode=660",
            "unix:/x mode",
            "unix:/x mode=888",
            "unix:/x mode=1777",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

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
