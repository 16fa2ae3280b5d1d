//! Where things are: connections on a shard of one's choice, channels whose home is a known shard, and the node's own
//! count of what its shards tell each other.

use crate::client::{check_handshake, handshake_request};
use crate::http;
use crate::sys;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::thread::sleep;
use std::time::Duration;

/// An answer may take so long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The node's counters of mail are brought up to date once per tick of 100 ms.
const COUNTERS_TIME: Duration = Duration::from_millis(230);
/// Channels looked at together: each gets twice the publishes of the one before, so that their sum tells them apart.
const CANDIDATES: usize = 9;
/// So many lots of them are tried.
const LOTS_MAX: usize = 64;

/// A connection that was put on a shard.
pub struct Placed {
    stream: TcpStream,
    target: SocketAddrV4,
    /// What came behind the last answer.
    rest: Vec<u8>,
}

impl Placed {
    /// Connects and has the node move the connection to `shard`: `/echo?shard=N` does that, and its answer to a plain
    /// request leaves the connection open. Needs a node with `--echo`.
    pub fn connect(target: SocketAddrV4, shard: usize) -> Result<Placed, String> {
        let socket = sys::connect_from(Ipv4Addr::UNSPECIFIED, target).map_err(|e| format!("connect: {e}"))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(|e| e.to_string())?;
        let mut placed = Placed { stream, target, rest: Vec::new() };
        let (status, _) =
            placed.ask(&format!("GET /echo?shard={shard} HTTP/1.1\r\nHost: {target}\r\n\r\n"))?;
        match status {
            426 => Ok(placed),
            other => Err(format!(
                "/echo?shard={shard} answered {other} instead of 426: was it started with --echo?"
            )),
        }
    }

    /// Makes it a WebSocket on `path`.
    pub fn subscribe(mut self, path: &str) -> Result<Placed, String> {
        let request = handshake_request(self.target, path, None);
        self.stream.write_all(request.as_bytes()).map_err(|e| format!("handshake: {e}"))?;
        while http::head_length(&self.rest).is_none() {
            self.fill()?;
        }
        let head = http::head_length(&self.rest).unwrap_or(0);
        check_handshake(&self.rest[..head])?;
        self.rest.drain(..head);
        Ok(self)
    }

    /// Sends a request and reads its answer: status and the whole of it.
    pub fn ask(&mut self, request: &str) -> Result<(u16, String), String> {
        self.stream.write_all(request.as_bytes()).map_err(|e| format!("request: {e}"))?;
        loop {
            if let Some((status, length)) = http::next_answer(&self.rest)? {
                let answer = self.rest.drain(..length).collect();
                return Ok((status, String::from_utf8(answer).map_err(|_| "answer is not text")?));
            }
            self.fill()?;
        }
    }

    /// Sends a request that has to succeed.
    fn ask_well(&mut self, request: &str) -> Result<(), String> {
        match self.ask(request)? {
            (200..300, _) => Ok(()),
            (_, answer) => Err(format!("refused: {answer}")),
        }
    }

    fn fill(&mut self) -> Result<(), String> {
        let mut buffer = [0; 16 * 1024];
        match sys::read(&mut self.stream, &mut buffer) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(got) => {
                self.rest.extend_from_slice(&buffer[..got]);
                Ok(())
            }
            Err(error) => Err(format!("no answer: {error}")),
        }
    }

    /// What had come behind the last answer.
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    /// Descriptor of the socket.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// A request that publishes `payload` to `channel`.
pub fn publish_request(target: SocketAddrV4, channel: &str, payload: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /pub/{channel} HTTP/1.1\r\nHost: {target}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    )
    .into_bytes();
    request.extend_from_slice(payload);
    request
}

/// The node's own counts, all shards together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Mails between shards.
    pub mails: u64,
    /// Times a shard went to sleep.
    pub sleeps: u64,
    /// Turns of all loops.
    pub turns: u64,
}

impl Counts {
    fn parse(text: &str) -> Result<Counts, String> {
        let sum = |name: &str| {
            let values = text.lines().filter(|line| line.starts_with(name));
            let values: Vec<f64> =
                values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).collect();
            if values.is_empty() {
                return Err(format!("/metrics has no {name}"));
            }
            Ok(values.iter().sum::<f64>() as u64)
        };
        Ok(Counts {
            mails: sum("fanwire_mailbox_sent_total")?,
            sleeps: sum("fanwire_loop_sleeps_total")?,
            turns: sum("fanwire_loop_turns_total")?,
        })
    }

    /// What came since `before`.
    pub fn since(self, before: Counts) -> Counts {
        Counts {
            mails: self.mails.saturating_sub(before.mails),
            sleeps: self.sleeps.saturating_sub(before.sleeps),
            turns: self.turns.saturating_sub(before.turns),
        }
    }
}

/// Asks a node for its counts.
pub struct Gauge(Placed);

impl Gauge {
    /// Connects, to shard 0.
    pub fn connect(target: SocketAddrV4) -> Result<Gauge, String> {
        Placed::connect(target, 0).map(Gauge)
    }

    /// The counts after everything that was done before this call.
    pub fn read(&mut self) -> Result<Counts, String> {
        sleep(COUNTERS_TIME);
        let (status, text) =
            self.0.ask(&format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", self.0.target))?;
        if status != 200 {
            return Err(format!("/metrics answered {status}"));
        }
        Counts::parse(&text)
    }
}

/// Finds channels whose home is a known shard. A publish from the home's own shard sends no mail, one from another
/// shard sends two: the command and its answer.
pub struct Finder {
    target: SocketAddrV4,
    run: u32,
    used: usize,
    /// Found and not given away yet: home and name.
    found: Vec<(usize, String)>,
}

impl Finder {
    /// Looks on the node at `target`; `run` tells its channels from those of other runs.
    pub fn new(target: SocketAddrV4, run: u32) -> Finder {
        Finder { target, run, used: 0, found: Vec::new() }
    }

    /// An empty channel whose home is the shard `home`.
    pub fn channel(&mut self, gauge: &mut Gauge, home: usize) -> Result<String, String> {
        for _ in 0..LOTS_MAX {
            if let Some(at) = self.found.iter().position(|found| found.0 == home) {
                return Ok(self.found.swap_remove(at).1);
            }
            self.look(gauge, home)?;
        }
        Err(format!("no channel found whose home is shard {home}"))
    }

    /// Publishes to a lot of channels from the shard `home`: which of them sent no mail?
    fn look(&mut self, gauge: &mut Gauge, home: usize) -> Result<(), String> {
        let mut publisher = Placed::connect(self.target, home)?;
        let names: Vec<String> =
            (0..CANDIDATES).map(|n| format!("bench-{:08x}-{}", self.run, self.used + n)).collect();
        self.used += CANDIDATES;
        let before = gauge.read()?;
        for (candidate, name) in names.iter().enumerate() {
            let request = publish_request(self.target, name, b"where are you");
            let request = String::from_utf8(request).map_err(|_| "request is not text")?;
            for _ in 0..1 << candidate {
                publisher.ask_well(&request)?;
            }
        }
        let mails = gauge.read()?.since(before).mails;
        let local = local_of(mails)
            .ok_or_else(|| format!("{mails} mails for publishes to {CANDIDATES} channels make no sense"))?;
        for name in local.into_iter().map(|candidate| &names[candidate]) {
            // Subscribers get what is stored: nothing may be.
            publisher.ask_well(&format!("DELETE /pub/{name} HTTP/1.1\r\nHost: {}\r\n\r\n", self.target))?;
            self.found.push((home, name.clone()));
        }
        Ok(())
    }
}

/// The candidates that are missing from the mails; None if no set of candidates explains them.
fn local_of(mails: u64) -> Option<Vec<usize>> {
    let sum = mails / 2;
    if mails % 2 == 1 || sum >= 1 << CANDIDATES {
        return None;
    }
    Some((0..CANDIDATES).filter(|candidate| sum & (1 << candidate) == 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_channel_is_read_from_the_mails() {
        let all = (1 << CANDIDATES) - 1;
        assert_eq!(local_of(2 * all), Some(vec![]), "all are elsewhere");
        assert_eq!(local_of(2 * (all - 4 - 16)), Some(vec![2, 4]));
        assert_eq!(local_of(0), Some((0..CANDIDATES).collect()));
        assert_eq!(local_of(7), None, "every command has its answer");
        assert_eq!(local_of(2 * (all + 1)), None, "somebody else publishes, too");
    }

    #[test]
    fn counts_are_summed_over_shards() {
        let text = "# TYPE fanwire_loop_turns counter\nfanwire_loop_turns_total{shard=\"0\"} 5\n\
                    fanwire_loop_turns_total{shard=\"1\"} 7\nfanwire_mailbox_sent_total 4\nfanwire_loop_sleeps_total 3\n";
        assert_eq!(Counts::parse(text), Ok(Counts { mails: 4, sleeps: 3, turns: 12 }));
        assert!(Counts::parse("fanwire_mailbox_sent_total 4\n").is_err());
    }
}
