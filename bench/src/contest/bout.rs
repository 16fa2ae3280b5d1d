//! A load that any server can be put under, and the contest of the servers under it.

use super::{Contender, Plan};
use crate::options::Setup;
use crate::round::Work;
use crate::server::Server;
use crate::wire::{App, Dialect, Wire};
use std::net::SocketAddrV4;

/// Whom a load is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The server of the options, at the paths and in the dialect they name.
    Own,
    /// A floor or a peer, at the paths that `peers/common.sh` and its dialect tell.
    Other(Dialect),
}

/// Starts or attaches the server of the options.
pub type Start = dyn Fn(&Setup) -> Result<Server, String>;
/// Connects a load to a server.
pub type Connect = dyn Fn(SocketAddrV4, Side) -> Result<Box<dyn Work>, String>;

/// See the module.
pub struct Bout {
    /// What is measured.
    pub plan: Plan,
    /// Connections to each server.
    pub connections: usize,
    /// How the server of the options is started.
    pub start: Box<Start>,
    /// The load in a line.
    pub head: String,
    /// What the latencies mean, in a line.
    pub latency: String,
    /// What subscribers of the server of the options speak, for the JSON lines. Empty: not told, of anybody.
    pub wire: String,
    /// How the load is connected.
    pub connect: Box<Connect>,
}

impl Bout {
    /// The server of the options under this load.
    pub fn own(&self, setup: &Setup) -> Result<Contender, String> {
        let server = (self.start)(setup)?;
        let mut contender = Contender::start(server, |address| (self.connect)(address, Side::Own))?;
        contender.wire = self.wire.clone();
        Ok(contender)
    }

    /// Another server under this load.
    pub fn other(&self, server: Server, dialect: Dialect) -> Result<Contender, String> {
        let mut contender =
            Contender::start(server, |address| (self.connect)(address, Side::Other(dialect)))?;
        if !self.wire.is_empty() {
            contender.wire = Wire::of(dialect, "", &App::default()).label();
        }
        Ok(contender)
    }

    /// Plays it: the server of the options, and with `floor` the floors. `brief` prints two numbers instead of the table.
    pub fn play(&self, setup: &Setup, floor: bool, brief: bool) -> Result<(), String> {
        setup.check_descriptors(self.connections * if floor { 3 } else { 1 })?;
        let mut contenders = vec![self.own(setup)?];
        if floor {
            for floor in super::floors(setup.server_core)? {
                contenders.push(self.other(floor, Dialect::Relay)?);
            }
        }
        super::compete(&mut contenders, &self.plan)?;
        let Some((first, floors)) = contenders.split_first() else { return Ok(()) };
        if self.plan.json {
            super::print_summaries(first, floors, &[], &self.plan);
            return Ok(());
        }
        println!("{}", self.head);
        if brief {
            super::print_brief(first, floors, &self.plan);
        } else {
            super::print_table(&contenders, &self.plan);
            println!("{}", self.latency);
            super::print_lags(&contenders);
            super::print_ratio(first, floors);
        }
        super::print_server_notes(&contenders);
        super::print_verdict(&contenders, &self.plan);
        Ok(())
    }
}
