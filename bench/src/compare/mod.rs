//! Scenario `compare`: another scenario's load on one server, the floors and other servers, in turn.

mod profile;
mod table;

use crate::contest::{self, Bout, Contender};
use crate::options::Setup;
use crate::peers::{self, Peer};
use crate::report::progress;
use crate::server::{self, Server};
use crate::wire::Dialect;
pub use profile::HELP;
use profile::{Field, Load};
use std::ffi::OsString;

/// Servers that were left out of a scenario, and why.
type Skipped = Vec<(String, String)>;

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
    let peers = installed(first, &mut missing)?;
    for field in &fields {
        let setup = Setup::prepare(&field.server)?;
        let mut skipped = missing.clone();
        match &field.load {
            Load::Bouts(bouts) => {
                for bout in bouts {
                    skipped.truncate(missing.len());
                    play(bout, &setup, &peers, &mut skipped)?;
                }
            }
        }
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
    match start(&peer, core).and_then(|server| bout.other(server, peer.dialect)) {
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

fn start(peer: &Peer, core: usize) -> Result<Server, String> {
    let address = server::free_address()?;
    Server::start(&peer.name, peer.command(address), address, core)
}

fn skip(skipped: &mut Skipped, name: &str, reason: &str) {
    let reason = reason.trim_end().replace('\n', " | ");
    let reason = reason.strip_prefix(&format!("{name}: ")).map_or(reason.clone(), str::to_owned);
    progress(&format!("{name}: skipped: {reason}"));
    skipped.push((name.to_owned(), reason));
}
