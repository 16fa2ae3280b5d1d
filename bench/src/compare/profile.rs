//! The scenarios that can be compared: each is another scenario with some options set.

use crate::contest::Bout;
use crate::options::{EchoArgs, FanoutArgs, IdleArgs, PublishArgs, ServerArgs, StormArgs};
use crate::{echo, fanout, publish, storm};
use clap::{Args, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// Name, scenario, and what of its options is set; the user's come behind.
const PROFILES: [(&str, Kind, &[&str]); 8] = [
    ("fanout", Kind::Fanout, &[]),
    ("busy", Kind::Fanout, &["--busy", "8"]),
    ("rate", Kind::Fanout, &["--rate", "20", "--subscribers", "5000", "--seconds", "2"]),
    ("echo", Kind::Echo, &[]),
    ("publish", Kind::Publish, &["--connections", "8"]),
    ("pipeline", Kind::Publish, &["--connections", "8", "--pipeline", "16"]),
    ("storm", Kind::Storm, &["--connections", "5000", "--missed", "0"]),
    ("idle", Kind::Idle, &[]),
];

/// How the command line is described.
pub const HELP: &str = "[--scenario NAMES] [--peers NAMES] [--peers-folder FOLDER] [OPTIONS OF THE SCENARIO]";

#[derive(Clone, Copy)]
enum Kind {
    Fanout,
    Echo,
    Publish,
    Storm,
    Idle,
}

/// Options of `compare` itself.
#[derive(Args, Clone, Debug)]
struct CompareArgs {
    /// What to compare, one after the other; other options are those of the scenario. fanout; busy: 8 publishers that
    /// write 8 publishes at once; rate: 5000 subscribers at 20 messages a second; echo; publish: 8 connections; pipeline:
    /// the same, 16 publishes at once; storm: the connects of 5000 clients; idle: bytes per connection, one server at a
    /// time.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_value = "fanout")]
    scenario: Vec<String>,
    /// Servers to compare with. Missing ones are installed first, system packages included when run as root. Default: all
    /// that have a script.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    peers: Vec<String>,
    /// Folder with the peers' scripts. Default: `bench/peers` of the source tree this program was built from.
    #[arg(long, value_name = "FOLDER")]
    peers_folder: Option<PathBuf>,
}

/// Measures a server, the floors and other servers under the same load, in turn: costs, rates, latencies and their
/// ratios.
#[derive(Parser, Debug)]
#[command(name = "fanwire-bench compare", args_override_self = true)]
struct Both<T: Args> {
    #[command(flatten)]
    compare: CompareArgs,
    #[command(flatten)]
    load: T,
}

/// One scenario to be compared.
pub struct Field {
    /// The server of the options.
    pub server: ServerArgs,
    /// Names of the peers wanted; all without any.
    pub peers: Vec<String>,
    /// Where their scripts are, if not where they usually are.
    pub peers_folder: Option<PathBuf>,
    /// What everybody gets to do.
    pub load: Load,
}

/// What everybody gets to do.
pub enum Load {
    /// One contest after the other.
    Bouts(Vec<Bout>),
    /// Connects of a storm.
    Storm(StormArgs),
    /// Idle connections.
    Idle(IdleArgs),
}

/// The scenarios named in `options`, each with the rest of the options.
pub fn parse(options: &[OsString]) -> Result<Vec<Field>, String> {
    names(options).iter().map(|name| field(name, options)).collect()
}

/// The value of `--scenario`, before it is known which options there are.
fn names(options: &[OsString]) -> Vec<String> {
    let mut value = "fanout".to_owned();
    for (at, option) in options.iter().enumerate() {
        match option.to_str() {
            Some("--scenario") => {
                value = options.get(at + 1).map_or(value, |next| next.to_string_lossy().into())
            }
            Some(option) => value = option.strip_prefix("--scenario=").map_or(value, str::to_owned),
            None => {}
        }
    }
    value.split(',').map(str::to_owned).collect()
}

fn field(name: &str, options: &[OsString]) -> Result<Field, String> {
    let Some((name, kind, set)) = PROFILES.iter().find(|profile| profile.0 == name) else {
        let known: Vec<&str> = PROFILES.iter().map(|profile| profile.0).collect();
        return Err(format!("no scenario {name} to compare; there are {}", known.join(", ")));
    };
    let line: Vec<OsString> =
        ["compare"].iter().chain(*set).map(OsString::from).chain(options.iter().cloned()).collect();
    let (compare, server, load) = match kind {
        Kind::Fanout => {
            let Both { compare, load } = both::<FanoutArgs>(line);
            (compare, load.server.clone(), Load::Bouts(vec![fanout::bout(name, &load)?]))
        }
        Kind::Echo => {
            let Both { compare, load } = both::<EchoArgs>(line);
            (compare, load.server.clone(), Load::Bouts(echo::bouts(name, &load)?))
        }
        Kind::Publish => {
            let Both { compare, load } = both::<PublishArgs>(line);
            (compare, load.server.clone(), Load::Bouts(vec![publish::bout(name, &load)?]))
        }
        Kind::Storm => {
            let Both { compare, load } = both::<StormArgs>(line);
            storm::check(&load)?;
            (compare, load.server.clone(), Load::Storm(load))
        }
        Kind::Idle => {
            let Both { compare, load } = both::<IdleArgs>(line);
            (compare, load.server.clone(), Load::Idle(load))
        }
    };
    Ok(Field { server, peers: compare.peers, peers_folder: compare.peers_folder, load })
}

/// Ends the program where the options are wrong, or ask for help.
fn both<T: Args>(line: Vec<OsString>) -> Both<T> {
    Both::try_parse_from(line).unwrap_or_else(|error| error.exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn bouts(line: &str) -> Vec<Vec<(&'static str, f64)>> {
        let plans = |field: Field| match field.load {
            Load::Bouts(bouts) => bouts.into_iter().map(|bout| bout.plan.facts).collect(),
            Load::Storm(_) | Load::Idle(_) => Vec::new(),
        };
        parse(&words(line)).unwrap().into_iter().flat_map(plans).collect()
    }

    #[test]
    fn scenarios_are_found_wherever_they_stand() {
        assert_eq!(names(&words("--peers ws")), ["fanout"]);
        assert_eq!(names(&words("--peers ws --scenario busy,echo --rounds 1")), ["busy", "echo"]);
        assert_eq!(names(&words("--scenario=rate")), ["rate"]);
        let error = parse(&words("--scenario busy,slow")).err().unwrap();
        assert!(error.contains("no scenario slow") && error.contains("fanout, busy, rate"), "{error}");
    }

    #[test]
    fn options_are_the_profile_s_and_then_the_user_s() {
        let fact = |line: &str, name: &str| {
            let facts = bouts(line).remove(0);
            facts.iter().find(|fact| fact.0 == name).map(|fact| fact.1)
        };
        assert_eq!(fact("", "subscribers"), Some(1000.0));
        assert_eq!(fact("--scenario rate", "subscribers"), Some(5000.0));
        assert_eq!(fact("--scenario rate", "rate_per_second"), Some(20.0));
        assert_eq!(fact("--scenario rate --subscribers 7", "subscribers"), Some(7.0));
        assert_eq!(fact("--scenario busy", "publishers"), Some(8.0));
        assert_eq!(fact("--scenario pipeline --connections 2", "pipeline"), Some(16.0));
        assert_eq!(fact("--scenario publish --peers ws,nchan", "connections"), Some(8.0));
    }

    #[test]
    fn every_profile_is_one() {
        let all: Vec<&str> = PROFILES.iter().map(|profile| profile.0).collect();
        let fields = parse(&words(&format!("--scenario {} --peers nchan", all.join(",")))).unwrap();
        assert_eq!(fields.len(), PROFILES.len());
        assert!(fields.iter().all(|field| field.peers == ["nchan"]));
        assert_eq!(bouts("--scenario echo").len(), 4, "two numbers of connections, two sizes");
    }
}
