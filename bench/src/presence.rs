//! Scenario `presence`: members of a Pusher presence channel come and go, and everybody there is told of it.

mod crowd;
mod line;
#[cfg(test)]
pub mod server;
pub mod storm;

use crate::contest::{self, Contender, Plan};
use crate::locations::Locations;
use crate::options::{ServerArgs, Setup, SweepArgs, at_least, check_rounds};
use crate::report::{self, JsonLine, progress};
use crate::round::{Round, Work};
use crate::wire::AppArgs;
use clap::Args;
use crowd::{Crowd, PresenceShape};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Options of `presence`.
#[derive(Args, Clone, Debug)]
pub struct PresenceArgs {
    /// Server under load. It must speak Pusher.
    #[command(flatten)]
    server: ServerArgs,
    /// Keys of the application.
    #[command(flatten)]
    app: AppArgs,
    /// The channel.
    #[arg(long, default_value = "presence-bench")]
    channel: String,
    /// Members who stay. With --users they are 100 by default, the most that Pusher itself allows in a channel.
    #[arg(long, default_value_t = 80)]
    watchers: usize,
    /// Members who come, one after the other, and go again, one after the other.
    #[arg(long, default_value_t = 20)]
    users: usize,
    /// Rounds, and how the client looks for what has come.
    #[command(flatten)]
    sweeps: SweepArgs,
}

/// A load that the scenario keeps a hand on.
struct Shared(Rc<RefCell<Crowd>>);

impl Work for Shared {
    fn round(&mut self, time: Duration) -> Result<Round, String> {
        self.0.borrow_mut().round(time)
    }

    fn check_nothing_left(&mut self) -> Result<(), String> {
        self.0.borrow_mut().check_nothing_left()
    }
}

/// Runs the scenario.
pub fn run(args: &PresenceArgs) -> Result<(), String> {
    check_rounds(args.sweeps.rounds, args.sweeps.seconds)?;
    at_least("--watchers", args.watchers, 1)?;
    at_least("--users", args.users, 1)?;
    if !args.channel.starts_with("presence-") {
        return Err("--channel must begin with presence-".to_owned());
    }
    let shape = PresenceShape {
        watchers: args.watchers,
        users: args.users,
        app: args.app.app(),
        channel: args.channel.clone(),
        sources: args.sweeps.sources,
        client: args.sweeps.client,
        pause: args.sweeps.pause(),
    };
    let setup = Setup::prepare(&args.server)?;
    setup.check_descriptors(shape.watchers + shape.users)?;
    let plan = Plan {
        scenario: "presence",
        unit: "announcement",
        units: "announcements",
        facts: vec![("watchers", shape.watchers as f64), ("users", shape.users as f64)],
        rounds: args.sweeps.rounds,
        seconds: args.sweeps.seconds,
        json: args.server.json,
    };
    let members = shape.watchers + shape.users;
    let locations =
        Locations { app: Some(shape.app.clone()), presence_users: Some(members), ..Locations::default() };
    let mut crowd = None;
    let connect = |address| {
        let shared = Rc::new(RefCell::new(Crowd::connect(address, shape.clone())?));
        crowd = Some(shared.clone());
        Ok(Box::new(Shared(shared)) as _)
    };
    let mut contenders = [Contender::start(setup.server_with(&locations, &[])?, connect)?];
    let crowd = crowd.ok_or("no crowd")?;
    contenders[0].wire = "pusher".to_owned();
    contest::compete(&mut contenders, &plan)?;
    progress("everybody comes once more and is cut without a goodbye");
    let [contender] = &mut contenders;
    let cut = crowd.borrow_mut().cut().map_err(|error| contest::explain(&mut contender.server, error))?;
    let latency = |percent| cut.latencies.us(percent);
    if plan.json {
        contest::print_summaries(contender, &[], &[], &plan);
    }
    let line = JsonLine::new("presence", &contender.server.name)
        .text("kind", "cut")
        .number("members_cut", cut.messages as f64)
        .number("announcements", cut.deliveries as f64)
        .number("latency_p50_us", latency(50.0))
        .number("latency_max_us", latency(100.0));
    report::emit(line, plan.json);
    if plan.json {
        return Ok(());
    }
    println!(
        "presence: {} members stay, {} come and go one by one; {} rounds of {} s; every announcement and every list of \
         members checked",
        shape.watchers, shape.users, plan.rounds, plan.seconds
    );
    contest::print_table(&contenders, &plan);
    println!(
        "CPU of a join (with the list for who comes) or leave, divided by the members told; latency: from the request \
         to the last announcement"
    );
    println!(
        "{} members cut without a goodbye: each announced once to all who were left, after p50 {:.0} us, max {:.0} us",
        cut.messages,
        latency(50.0),
        latency(100.0)
    );
    contest::print_verdict(&contenders, &plan);
    Ok(())
}
