//! Scenario `compare`: another scenario's load on one server, the floors and other servers, in turn.

mod profile;
mod table;

use crate::contest::{self, Bout, Contender};
use crate::options::{Setup, StormArgs};
use crate::peers::{self, Peer};
use crate::report::progress;
use crate::server::Server;
use crate::wire::Dialect;
use crate::{idle, storm, watchdog};
pub use profile::HELP;
use profile::{Field, Load};
use std::ffi::OsString;
use std::time::Duration;

/// Servers that were left out of a scenario, and why.
type Skipped = Vec<(String, String)>;

/// Installing and building all peers may take so long.
const INSTALL: Duration = Duration::from_secs(2 * 3600);
/// One server's turn in a storm is over within this.
const STORM_ROUND: Duration = Duration::from_secs(30);
/// A just-in-time compiler gets so long before the first round.
const JIT_WARM_UP: Duration = Duration::from_secs(1);

/// Whoever is compared with the first server.
enum Other {
    Floor(Server),
    Peer(Peer),
}

/// Runs the scenarios that `options` name, one after the other. Peers that cannot be installed or do not take a load are
/// left out, and that is told.
pub fn run(options: &[OsString]) -> Result<(), String> {
    let fields = profile::parse(options)?;
    let Some(first) = fields.first() else { return Ok(()) };
    // Before the client is pinned: what it starts would be pinned with it.
    let mut missing = Skipped::new();
    watchdog::plan(INSTALL);
    let peers = installed(first, &mut missing)?;
    for field in &fields {
        let mut skipped = missing.clone();
        match &field.load {
            Load::Bouts(bouts) => {
                let setup = Setup::prepare(&field.server)?;
                for bout in bouts {
                    skipped.truncate(missing.len());
                    let contenders = 3 + peers.len();
                    let rounds = Duration::from_secs_f64(bout.plan.seconds) * bout.plan.rounds as u32;
                    watchdog::plan(rounds * contenders as u32);
                    play(bout, &setup, &peers, &mut skipped)?;
                }
            }
            Load::Storm(args) => {
                watchdog::plan(STORM_ROUND * (args.rounds * (3 + peers.len())) as u32);
                storm_over(args, &peers, &mut skipped)?;
                print_skipped(&skipped, args.server.json);
            }
            Load::Idle(args) => {
                for (name, reason) in idle::compare(args, &peers)? {
                    skip(&mut skipped, &name, &reason);
                }
                print_skipped(&skipped, args.server.json);
            }
        }
    }
    Ok(())
}

/// Connects only: what was missed is asked for differently everywhere. That is for plain WebSocket.
fn storm_over(args: &StormArgs, peers: &[Peer], skipped: &mut Skipped) -> Result<(), String> {
    let setup = Setup::prepare(&args.server)?;
    let mut servers = Vec::new();
    for peer in peers {
        let plain = peer.dialect == Dialect::Relay;
        let started = if plain {
            peer.start(setup.server_core)
        } else {
            Err(format!("speaks {}, not plain WebSocket", peer.dialect.name()))
        };
        match started {
            Ok(server) => servers.push(server),
            Err(reason) => skip(skipped, &peer.name, &reason),
        }
    }
    for (name, reason) in storm::compete(args, &setup, contest::floors(setup.server_core)?, servers)? {
        skip(skipped, &name, &reason);
    }
    Ok(())
}

/// One load on everybody. Where the connections to all are too many for this process, the others come in heats, each
/// with the first server anew.
fn play(bout: &Bout, setup: &Setup, peers: &[Peer], skipped: &mut Skipped) -> Result<(), String> {
    setup.check_descriptors(2 * bout.connections)?;
    let at_once = setup.servers_at_once(bout.connections);
    let floors = contest::floors(setup.server_core)?;
    let mut others =
        floors.into_iter().map(Other::Floor).chain(peers.iter().cloned().map(Other::Peer)).peekable();
    let mut heats: Vec<Vec<Contender>> = Vec::new();
    while others.peek().is_some() {
        let mut heat = vec![bout.own(setup)?];
        while heat.len() < at_once
            && let Some(other) = others.next()
        {
            heat.extend(enter(bout, other, setup.server_core, skipped)?);
        }
        if heat.len() == 1 && !heats.is_empty() {
            break;
        }
        contest::compete(&mut heat, &bout.plan)?;
        heat.iter_mut().for_each(Contender::leave);
        heat.retain(|contender| match &contender.failure {
            Some(reason) => {
                skip(skipped, &contender.server.name, reason);
                false
            }
            None => true,
        });
        heats.push(heat);
    }
    table::print(&heats, bout, skipped);
    Ok(())
}

/// Puts a server under the load; None for a peer that does not take it.
fn enter(bout: &Bout, other: Other, core: usize, skipped: &mut Skipped) -> Result<Option<Contender>, String> {
    let peer = match other {
        Other::Floor(server) => return bout.other(server, Dialect::Relay).map(Some),
        Other::Peer(peer) => peer,
    };
    match peer.start(core).and_then(|server| bout.other(server, peer.dialect)).and_then(warm) {
        Ok(mut contender) => {
            contender.spare = true;
            Ok(Some(contender))
        }
        Err(reason) => {
            skip(skipped, &peer.name, &reason);
            Ok(None)
        }
    }
}

fn warm(mut contender: Contender) -> Result<Contender, String> {
    contender.warm(JIT_WARM_UP)?;
    Ok(contender)
}

fn installed(field: &Field, skipped: &mut Skipped) -> Result<Vec<Peer>, String> {
    let folder = field.peers_folder.clone().unwrap_or_else(peers::default_folder);
    let mut ready = Vec::new();
    for peer in peers::find(&folder, &field.peers)? {
        progress(&format!("{}: installing what is missing", peer.name));
        match peer.install() {
            Ok(()) => ready.push(peer),
            Err(reason) => skip(skipped, &peer.name, &reason),
        }
    }
    Ok(ready)
}

fn print_skipped(skipped: &Skipped, json: bool) {
    for (name, reason) in skipped.iter().filter(|_| !json) {
        println!("{name}: SKIPPED: {reason}");
    }
}

fn skip(skipped: &mut Skipped, name: &str, reason: &str) {
    let reason = reason.trim_end().replace('\n', " | ");
    let reason = reason.strip_prefix(&format!("{name}: ")).map_or(reason.clone(), str::to_owned);
    progress(&format!("{name}: skipped: {reason}"));
    skipped.push((name.to_owned(), reason));
}
