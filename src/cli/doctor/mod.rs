//! `fanwire doctor`: is this machine set up for many connections, and what would the node use?

mod facts;
mod judge;
mod ring;

use super::Surroundings;
use super::args::ConfigArgs;
use facts::Facts;
use judge::{Finding, Verdict};

pub(super) fn run(surroundings: &mut Surroundings<'_>, args: &ConfigArgs) -> Result<(), String> {
    let config = super::serve::load(surroundings, args, Vec::new())?.config;
    let findings = judge::judge(&Facts::read(), &config);
    for Finding { verdict, about, cure } in &findings {
        surroundings.say(format_args!("{:<4} {about}", verdict.name()));
        if let Some(cure) = cure {
            surroundings.say(format_args!("       -> {cure}"));
        }
    }
    let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    if bad == 0 { Ok(()) } else { Err(format!("{bad} hard problem(s)")) }
}
