//! Named loads: `--profile NAME` sets options of a scenario, and options given beside it win.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use std::ffi::OsString;
use std::fmt::Write as _;

/// A named load.
pub struct Profile {
    /// The scenario it belongs to.
    pub scenario: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Long options with their values.
    pub sets: &'static [(&'static str, &'static str)],
}

const fn profile(
    scenario: &'static str,
    name: &'static str,
    about: &'static str,
    sets: &'static [(&'static str, &'static str)],
) -> Profile {
    Profile { scenario, name, about, sets }
}

/// All of them. A new scenario adds its rows here.
pub const PROFILES: &[Profile] = &[
    profile(
        "fanout",
        "canonical",
        "what runs without a command",
        &[("subscribers", "1000"), ("payload", "128"), ("inflight", "1")],
    ),
    profile("fanout", "large", "more sockets than caches hold", &[("subscribers", "5000")]),
    profile("fanout", "busy", "everything coalesces", &[("busy", "8"), ("inflight", "8")]),
    profile(
        "fanout",
        "steady",
        "latency by the clock, 20 messages/s",
        &[("subscribers", "5000"), ("rate", "20"), ("seconds", "4"), ("rounds", "5")],
    ),
    profile("fanout", "heavy", "16 KiB messages", &[("subscribers", "200"), ("payload", "16384")]),
    profile("publish", "keepalive", "a publish in flight each", &[("connections", "8"), ("pipeline", "1")]),
    profile("publish", "pipelined", "16 in one write", &[("connections", "8"), ("pipeline", "16")]),
    profile("publish", "single", "one publisher alone", &[("connections", "1"), ("pipeline", "1")]),
    profile("echo", "small", "100 connections, 64 B", &[("connections", "100"), ("payload", "64")]),
    profile("echo", "large", "1,000 connections, 512 B", &[("connections", "1000"), ("payload", "512")]),
    profile("storm", "quick", "a look in seconds", &[("connections", "1000"), ("rounds", "3")]),
    profile(
        "storm",
        "reconnect",
        "everybody comes back for 10 messages",
        &[("connections", "15000"), ("missed", "10"), ("rounds", "3")],
    ),
    profile("idle", "one", "all on one channel", &[("subscribers", "9000"), ("channels", "one")]),
    profile("idle", "each", "a channel each", &[("subscribers", "9000"), ("channels", "each")]),
];

/// Adds each scenario's profiles to its help.
pub fn with_help(command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let with = |command: Command, name: String| match help(&name) {
        Some(text) => command.mut_subcommand(&name, |sub| sub.after_help(text)),
        None => command,
    };
    let all = PROFILES.iter().fold(String::from("Profiles (--profile):\n"), |mut out, profile| {
        let _ = writeln!(out, "  {:<8} {:<10} {}", profile.scenario, profile.name, profile.about);
        out
    });
    names.into_iter().fold(command.after_help(all), with)
}

fn help(scenario: &str) -> Option<String> {
    let of = || PROFILES.iter().filter(|profile| profile.scenario == scenario);
    of().next()?;
    let mut out = String::from("Profiles (--profile; options given beside it win):\n");
    for profile in of() {
        let sets: Vec<String> =
            profile.sets.iter().map(|(name, value)| format!("--{name} {value}")).collect();
        let _ = writeln!(out, "  {:<10} {:<36} {}", profile.name, profile.about, sets.join(" "));
    }
    Some(out)
}

/// Words to add to the command line for the profile that `matches` names: its options that were not given.
pub fn words(matches: &ArgMatches) -> Result<Vec<OsString>, String> {
    let Some(name) = matches.get_one::<String>("profile") else { return Ok(Vec::new()) };
    let Some((scenario, given)) = matches.subcommand() else {
        return Err("--profile needs a scenario: fanout, echo ..".to_owned());
    };
    let of = || PROFILES.iter().filter(|profile| profile.scenario == scenario);
    let profile = of().find(|profile| profile.name == name).ok_or_else(|| {
        let names: Vec<&str> = of().map(|profile| profile.name).collect();
        match names[..] {
            [] => format!("{scenario} has no profiles"),
            _ => format!("{scenario} has no profile {name}; there are {}", names.join(", ")),
        }
    })?;
    let is_given = |name: &str| given.value_source(&id(name)) == Some(ValueSource::CommandLine);
    let missing = profile.sets.iter().filter(|(name, _)| !is_given(name));
    Ok(missing.map(|(name, value)| format!("--{name}={value}").into()).collect())
}

/// Under which name clap keeps an option.
fn id(option: &str) -> String {
    option.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation::command;

    fn words_of(line: &str) -> Result<Vec<String>, String> {
        let matches = command().try_get_matches_from(line.split(' ')).map_err(|error| error.to_string())?;
        let words = words(&matches)?;
        Ok(words.into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn every_profile_sets_what_its_scenario_has() {
        for profile in PROFILES {
            let line = format!("fanwire-bench {} --profile {}", profile.scenario, profile.name);
            let words = words_of(&line).unwrap();
            assert_eq!(words.len(), profile.sets.len(), "{line}");
            let full = format!("{line} {}", words.join(" "));
            words_of(&full).unwrap_or_else(|error| panic!("{full}: {error}"));
            let same = |other: &&Profile| other.scenario == profile.scenario && other.name == profile.name;
            assert_eq!(PROFILES.iter().filter(same).count(), 1, "{line}");
        }
    }

    #[test]
    fn options_win_over_a_profile() {
        let steady = words_of("fanwire-bench fanout --rate 50 --profile steady --seconds=1").unwrap();
        assert_eq!(steady, ["--subscribers=5000", "--rounds=5"]);
        assert!(words_of("fanwire-bench fanout --rate 50").unwrap().is_empty());
        let error = words_of("fanwire-bench echo --profile canonical").unwrap_err();
        assert!(error.contains("there are small, large"), "{error}");
        assert!(words_of("fanwire-bench --profile canonical").is_err());
        assert!(words_of("fanwire-bench floor --port 1 --profile x").unwrap_err().contains("no profiles"));
    }

    #[test]
    fn help_lists_them_with_what_they_set() {
        let help = help("fanout").unwrap();
        assert!(help.contains("busy") && help.contains("--busy 8 --inflight 8"), "{help}");
        assert!(super::help("floor").is_none());
        let text = command().render_help().to_string();
        assert!(text.contains("steady") && text.contains("reconnect"), "{text}");
    }
}
