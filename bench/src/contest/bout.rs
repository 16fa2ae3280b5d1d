//! A load that any server can be put under, and the contest of the servers under it.

use super::{Contender, Plan};
use crate::locations::Locations;
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

/// Connects a load to a server.
pub type Connect = dyn Fn(SocketAddrV4, Side) -> Result<Box<dyn Work>, String>;

/// See the module.
pub struct Bout {
    /// What is measured.
    pub plan: Plan,
    /// Connections to each server.
    pub connections: usize,
    /// What the server of the options is set up for, if it is a fanwire that is started here.
    pub locations: Locations,
    /// Its options beside that.
    pub options: &'static [&'static str],
    /// The load in a line.
    pub head: String,
    /// What the latencies mean, in a line.
    pub latency: String,
    /// What subscribers of the server of the options speak, for the JSON lines. Empty: not told, of anybody.
    pub wire: String,
    /// How the load is connected.
    pub connect: Box<Connect>,
    /// The same over plain WebSockets, which is played in turn with it on a server of its own.
    pub plain: Option<Box<Bout>>,
    /// The same in other dialects, each played in turn with it on the same server.
    pub beside: Vec<Bout>,
}

impl Bout {
    /// The server of the options under this load.
    pub fn own(&self, setup: &Setup) -> Result<Contender, String> {
        let server = setup.server_with(&self.locations, self.options)?;
        let mut contender = Contender::start(server, |address| (self.connect)(address, Side::Own))?;
        contender.wire = self.wire.clone();
        Ok(contender)
    }

    /// Puts the same load in another dialect beside this one.
    pub fn stand_beside(&mut self, other: Bout) {
        self.locations = std::mem::take(&mut self.locations).and(other.locations.clone());
        self.beside.push(other);
    }

    /// The server of `own` under this load, too.
    fn guest(&self, own: &Contender) -> Result<Contender, String> {
        let server = own.server.again(&format!("{} ({})", own.server.name, self.wire));
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
        let servers = 1 + usize::from(self.plain.is_some()) + self.beside.len() + if floor { 2 } else { 0 };
        setup.check_descriptors(self.connections * servers)?;
        let mut contenders = vec![self.own(setup)?];
        if let Some(plain) = &self.plain {
            let mut contender = plain.own(setup)?;
            contender.server.name.push_str(" (plain)");
            contenders.push(contender);
        }
        for bout in &self.beside {
            contenders.push(bout.guest(&contenders[0])?);
        }
        if floor {
            for floor in super::floors(setup.server_core)? {
                contenders.push(self.other(floor, Dialect::Relay)?);
            }
        }
        super::compete(&mut contenders, &self.plan)?;
        let Some((first, floors)) = contenders.split_first() else { return Ok(()) };
        let (beside, floors) = match self.plain {
            Some(_) => (&[][..], floors),
            None => floors.split_at(self.beside.len()),
        };
        if self.plan.json {
            super::print_summaries(first, floors, beside, &self.plan);
            super::print_beside(first, beside, &self.plan);
            return Ok(());
        }
        println!("{}", self.head);
        if brief {
            super::print_brief(first, floors, &self.plan);
        } else {
            super::print_table(&contenders, &self.plan);
            println!("{}", self.latency);
            super::print_lags(&contenders);
            super::print_beside(first, beside, &self.plan);
            super::print_ratio(first, floors);
        }
        super::print_signing(&contenders);
        super::print_server_notes(&contenders);
        super::print_verdict(&contenders, &self.plan);
        Ok(())
    }
}
