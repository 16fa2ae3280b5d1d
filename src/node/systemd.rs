//! A service manager's side of the node: sockets that it has opened (`sd_listen_fds(3)`) and what it wants to know
//! (`sd_notify(3)`). Without its variables in the environment nothing of this happens.

use super::host::fds;
use super::successor::Inherited;
use crate::shard::inherit;
use crate::shard::listen::Place;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tracing::warn;

/// Variables that are meant for one process, and not for one that it starts.
pub const OF_ONE_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// A listening socket that the process was started with.
#[derive(Debug)]
pub struct Passed {
    /// As the manager calls it.
    pub name: String,
    /// Where it listens.
    pub place: Place,
    /// The socket.
    pub fd: OwnedFd,
}

/// The sockets that a service manager has passed to this process. Call once, before anything else opens descriptors.
///
/// # Errors
/// For the person who configured it: what was passed is not what the node can listen on.
pub fn passed() -> Result<Vec<Passed>, String> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    let Some(count) = number("LISTEN_FDS").filter(|_| number("LISTEN_PID") == Some(std::process::id()))
    else {
        return Ok(Vec::new());
    };
    if count as usize > crate::limits::NODE_LISTENERS {
        return Err(format!("{count} sockets were passed (LISTEN_FDS): too many"));
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let fds = fds::inherited_from_three(count).map_err(|e| format!("sockets that were passed: {e}"))?;
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    let describe = |(fd, name): (OwnedFd, String)| {
        let place =
            inherit::place_of(&fd).map_err(|e| format!("the socket `{name}` that was passed: {e}"))?;
        Ok(Passed { name, place, fd })
    };
    fds.into_iter().zip(names).map(describe).collect()
}

/// As [`passed`], for the places of the configuration.
///
/// # Errors
/// As there.
pub(super) fn inherited() -> Result<Inherited, String> {
    let mut inherited = Inherited::default();
    for Passed { name, place, fd } in passed()? {
        inherited.push(name, place, fd);
    }
    Ok(inherited)
}

/// Tells the service manager how the node is.
#[derive(Debug)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that all is well.
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`). Without it nothing is told.
    pub fn from_environment() -> Notify {
        let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let socket = variable("NOTIFY_SOCKET").and_then(|path| {
            let opened = UnixDatagram::unbound().and_then(|socket| Ok((socket, address(path)?)));
            opened.inspect_err(|error| warn!(%error, "NOTIFY_SOCKET")).ok()
        });
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let period_us = number("WATCHDOG_USEC").filter(|&period_us| ours && period_us > 1);
        Notify { socket, watchdog: period_us.map(|period_us| Duration::from_micros(period_us / 2)) }
    }

    /// How often [`Notify::alive`] is to be called, if at all.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The node listens. With `took_over`, it is the service's main process from now on.
    pub fn ready(&self, took_over: bool) {
        match took_over {
            true => self.tell(&format!("MAINPID={}\nREADY=1", std::process::id())),
            false => self.tell("READY=1"),
        }
    }

    /// A new process is being started; [`Notify::ready`] follows, from it or from this one.
    pub fn reloading(&self, monotonic_us: u64) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}"));
    }

    /// The node stops.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// All is well.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            warn!(%error, state, "the service manager does not hear");
        }
    }
}

/// A path, or with a leading `@` a name outside of the file system.
fn address(path: OsString) -> std::io::Result<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(std::path::PathBuf::from(OsString::from_vec(path.into_vec()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_go_to_the_socket_of_the_manager() {
        let name = format!("fanwire-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        let notify =
            Notify { socket: Some((socket, address(format!("@{name}").into()).unwrap())), watchdog: None };
        let mut room = [0; 200];
        let mut said = |tell: &dyn Fn(&Notify)| {
            tell(&notify);
            let len = manager.recv(&mut room).unwrap();
            String::from_utf8(room[..len].to_vec()).unwrap()
        };
        assert_eq!(said(&|n| n.ready(false)), "READY=1");
        assert_eq!(said(&|n| n.ready(true)), format!("MAINPID={}\nREADY=1", std::process::id()));
        assert_eq!(said(&|n| n.reloading(7)), "RELOADING=1\nMONOTONIC_USEC=7");
        assert_eq!(said(&Notify::alive), "WATCHDOG=1");
        assert_eq!(said(&Notify::stopping), "STOPPING=1");
        Notify { socket: None, watchdog: None }.stopping();
    }
}
