//! Scenario `compare`: the fan-out of one server, the floor and other servers, in turn.

use crate::contest::{self, Contender};
use crate::fanout;
use crate::options::{CompareArgs, FanoutArgs, Setup};
use crate::peers::{self, Peer};
use crate::report::progress;
use crate::server::{self, Server};

/// Runs the scenario. Peers that cannot be installed or do not take the load are left out, and that is told.
pub fn run(args: &CompareArgs) -> Result<(), String> {
    let mut skipped = Vec::new();
    let fanout_args = FanoutArgs { server: args.server.clone(), load: args.load.clone(), floor: true };
    let shape = args.load.shape()?;
    let plan = fanout::plan("compare", &fanout_args, &shape);
    let run = contest::run_number();
    // Before the client is pinned: what it starts would be pinned with it.
    let peers = installed(args, &mut skipped)?;
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors((shape.subscribers + shape.publishers) * (3 + peers.len()))?;
    let mut contenders = vec![Contender::start(setup.server_with(shape.locations())?, |address| {
        fanout::connect(address, shape.clone(), run)
    })?];
    let common = shape.clone().at_default_paths();
    for floor in contest::floors(setup.server_core)? {
        contenders.push(Contender::start(floor, |address| fanout::connect(address, common.clone(), run))?);
    }
    let floors = contenders.len() - 1;
    for peer in peers {
        let started = start(&peer, setup.server_core).and_then(|server| {
            Contender::start(server, |address| fanout::connect(address, common.clone(), run))
        });
        match started {
            Ok(contender) => contenders.push(contender),
            Err(reason) => skip(&mut skipped, &peer, reason),
        }
    }
    contest::compete(&mut contenders, &plan)?;
    let Some((first, others)) = contenders.split_first() else { return Ok(()) };
    if plan.json {
        let (floors, peers) = others.split_at(floors);
        contest::print_summaries(first, floors, peers, &plan);
        return Ok(());
    }
    fanout::print_head(&shape, &plan);
    contest::print_table(&contenders, &plan);
    fanout::print_notes(&contenders, &shape);
    contest::print_against_first(first, others);
    contest::print_verdict(&contenders, &plan);
    for (name, reason) in &skipped {
        println!("{name}: SKIPPED: {reason}");
    }
    Ok(())
}

fn installed(args: &CompareArgs, skipped: &mut Vec<(String, String)>) -> Result<Vec<Peer>, String> {
    let folder = args.peers_folder.clone().unwrap_or_else(peers::default_folder);
    let mut ready = Vec::new();
    for peer in peers::find(&folder, &args.peers)? {
        progress(&format!("{}: installing what is missing", peer.name));
        match peer.install() {
            Ok(()) => ready.push(peer),
            Err(reason) => skip(skipped, &peer, reason),
        }
    }
    Ok(ready)
}

fn start(peer: &Peer, core: usize) -> Result<Server, String> {
    let address = server::free_address()?;
    Server::start(&peer.name, peer.command(address), address, core)
}

fn skip(skipped: &mut Vec<(String, String)>, peer: &Peer, reason: String) {
    let reason = reason.trim_end().replace('\n', " | ");
    progress(&format!("{}: skipped: {reason}", peer.name));
    skipped.push((peer.name.clone(), reason));
}
