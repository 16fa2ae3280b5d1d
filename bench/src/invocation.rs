//! The command line, and what every measuring scenario has around it: the host above, its figures kept for a page.

use crate::Arguments;
use crate::host::{Cores, Host};
use crate::{node, page, profiles, report};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::path::Path;

/// What runs without a command.
const CANONICAL: [&str; 4] = ["fanout", "--floor", "--profile", "canonical"];

/// A command line that has been understood.
pub struct Invocation {
    /// Its options, those of its profile included.
    pub arguments: Arguments,
    /// No command was given: two numbers are wanted.
    pub brief: bool,
    /// As it was typed.
    words: Vec<String>,
    matches: ArgMatches,
}

/// The command line's grammar, with the profiles in its help.
pub fn command() -> Command {
    profiles::with_help(Arguments::command())
}

impl Invocation {
    /// Understands the words of this process, or ends it with help or what is wrong with them.
    pub fn parse() -> Result<Invocation, String> {
        let words: Vec<OsString> = std::env::args_os().collect();
        Invocation::of(words, &|words| command().get_matches_from(words))
    }

    fn of(
        mut words: Vec<OsString>,
        matches_of: &dyn Fn(&[OsString]) -> ArgMatches,
    ) -> Result<Invocation, String> {
        let typed = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        globals_first(&mut words);
        let mut matches = matches_of(&words);
        let brief = matches.subcommand().is_none();
        if brief {
            profiles::words(&matches)?;
            let at = words.len().min(1);
            words.splice(at..at, CANONICAL.map(OsString::from));
            matches = matches_of(&words);
        }
        let more = profiles::words(&matches)?;
        if !more.is_empty() {
            words.extend(more);
            matches = matches_of(&words);
        }
        let arguments = Arguments::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        Ok(Invocation { arguments, brief, words: typed, matches })
    }

    /// Runs `scenario`. One that measures gets the host's description above its figures, the node built if there is none,
    /// and after it the page that was asked for.
    pub fn run(self, scenario: impl FnOnce(Arguments, bool) -> Result<(), String>) -> Result<(), String> {
        let report = self.arguments.report.clone();
        let Some(setting) = self.setting() else {
            return match report {
                Some(_) => Err("--report is for scenarios that measure".to_owned()),
                None => scenario(self.arguments, self.brief),
            };
        };
        if let Some(file) = &report {
            // Better now than after the run.
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                return Err(format!("--report {}: there is no such folder", file.display()));
            }
            report::keep_lines();
        }
        let node = if setting.starts_fanwire { Some(node::ensure()?) } else { None };
        let host = Host::look(setting.cores, &self.words, node);
        if !setting.json {
            print!("{}", host.text());
        }
        report::emit(host.json(), setting.json);
        let outcome = scenario(self.arguments, self.brief);
        host.tell_end(setting.json, setting.foreign, outcome.is_ok());
        outcome?;
        match report {
            Some(file) => write_page(&file, &report::kept_lines()),
            None => Ok(()),
        }
    }

    /// Every scenario that measures has the options of a server under load.
    fn setting(&self) -> Option<Setting> {
        let options = self.matches.subcommand()?.1;
        if let Ok(Some(words)) = options.try_get_many::<OsString>("options") {
            return Setting::of(&words.filter_map(|word| word.to_str()).collect::<Vec<_>>());
        }
        let json = *options.try_get_one::<bool>("json").ok()??;
        let core = |name: &str| options.try_get_one::<usize>(name).ok().flatten().copied();
        let is_given = |name: &str| options.try_contains_id(name).unwrap_or(false);
        Some(Setting {
            json,
            cores: core("server_core").zip(core("client_core")),
            foreign: is_given("pid"),
            starts_fanwire: !is_given("server") && !is_given("pid"),
        })
    }
}

struct Setting {
    json: bool,
    cores: Cores,
    /// The server runs already.
    foreign: bool,
    starts_fanwire: bool,
}

impl Setting {
    /// From the words of a scenario that reads its options itself. None where it is only asked for help.
    fn of(words: &[&str]) -> Option<Setting> {
        if words.iter().any(|word| ["-h", "--help"].contains(word)) {
            return None;
        }
        let value = |name: &str| {
            let assigned = |word: &&str| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
            let next =
                || words.get(words.iter().position(|word| *word == name)? + 1).map(|word| word.to_string());
            words.iter().find_map(assigned).or_else(next)
        };
        let core = |name: &str, usual| value(name).and_then(|core| core.parse().ok()).unwrap_or(usual);
        let foreign = value("--pid").is_some();
        Some(Setting {
            json: words.contains(&"--json"),
            cores: Some((core("--server-core", 0), core("--client-core", 1))),
            foreign,
            starts_fanwire: !foreign && value("--server").is_none(),
        })
    }
}

/// Moves options that every scenario has to the front: one that reads its options itself would take them for its own.
fn globals_first(words: &mut [OsString]) {
    let command = Arguments::command();
    let globals: Vec<String> = command
        .get_arguments()
        .filter(|option| option.is_global_set())
        .filter_map(|option| Some(format!("--{}", option.get_long()?)))
        .collect();
    let (mut front, mut at) = (1, 1);
    while at < words.len() && words[at] != "--" {
        let word = words[at].to_string_lossy().into_owned();
        let assigned =
            globals.iter().any(|name| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
        let length = if assigned { 1 } else { 2 };
        if (assigned || globals.contains(&word)) && at + length <= words.len() {
            words[front..at + length].rotate_right(length);
            front += length;
            at += length;
        } else {
            at += 1;
        }
    }
}

fn write_page(file: &Path, lines: &[String]) -> Result<(), String> {
    let hosts = |line: &&String| line.starts_with(r#"{"scenario":"host""#);
    if lines.iter().filter(hosts).count() == lines.len() {
        return Err("--report: this scenario has figures for a page with --json only".to_owned());
    }
    page::write(file, &page::render(&lines.join("\n"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    fn parse(line: &str) -> Result<Invocation, String> {
        let words = line.split(' ').map(OsString::from).collect();
        let matches_of = |words: &[OsString]| command().try_get_matches_from(words).expect("a command line");
        Invocation::of(words, &matches_of)
    }

    #[test]
    fn without_a_command_the_canonical_load_runs() {
        for line in ["fanwire-bench", "fanwire-bench --report out.html"] {
            let invocation = parse(line).unwrap();
            let Some(Scenario::Fanout(args)) = &invocation.arguments.scenario else { panic!("no fan-out") };
            assert!(invocation.brief && args.floor);
            assert_eq!(invocation.words.join(" "), line);
            assert_eq!(invocation.arguments.report.is_some(), line.contains("report"));
            assert!(invocation.setting().is_some_and(|setting| setting.starts_fanwire && !setting.json));
        }
        assert!(parse("fanwire-bench --profile busy").is_err());
    }

    #[test]
    fn a_profile_sets_options_and_others_win() {
        let invocation =
            parse("fanwire-bench fanout --profile large --payload 64 --json --server-core 3").unwrap();
        let Some(Scenario::Fanout(args)) = &invocation.arguments.scenario else { panic!("no fan-out") };
        let shape = args.load.shape().unwrap();
        assert_eq!((shape.subscribers, shape.payload_bytes), (5000, 64));
        let setting = invocation.setting().unwrap();
        assert!(setting.json && !invocation.brief && setting.cores == Some((3, 1)));
    }

    #[test]
    fn scenarios_may_read_their_options_themselves() {
        let of = |line: &str| Setting::of(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
        let setting = of("--peers ws --json --server-core=2 --client-core 3");
        assert!(setting.json && setting.starts_fanwire && !setting.foreign);
        assert_eq!((setting.cores, of("").cores), (Some((2, 3)), Some((0, 1))));
        assert!(!of("--server x").starts_fanwire && of("--pid=7").foreign);
        assert!(Setting::of(&["--peers", "ws", "--help"]).is_none());
    }

    #[test]
    fn options_of_every_scenario_go_first() {
        let first = |line: &str| {
            let mut words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            globals_first(&mut words);
            words.join(std::ffi::OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(
            first("x compare --json --report a.html --peers ws"),
            "x --report a.html compare --json --peers ws"
        );
        assert_eq!(
            first("x compare --report=a --peers ws --profile b"),
            "x --report=a --profile b compare --peers ws"
        );
        assert_eq!(first("x compare -- --report a"), "x compare -- --report a");
        assert_eq!(first("x compare --report"), "x compare --report");
        assert_eq!(first("x"), "x");
    }

    #[test]
    fn only_what_measures_has_a_host_above_it() {
        assert!(parse("fanwire-bench floor --port 1").unwrap().setting().is_none());
        assert!(parse("fanwire-bench page a.jsonl --output a.html").unwrap().setting().is_none());
        let setting = parse("fanwire-bench idle --server x").unwrap().setting().unwrap();
        assert!(!setting.starts_fanwire && !setting.foreign);
        let attached = parse("fanwire-bench echo --pid 1 --url 127.0.0.1:1").unwrap().setting().unwrap();
        assert!(!attached.starts_fanwire && attached.foreign);
    }
}
