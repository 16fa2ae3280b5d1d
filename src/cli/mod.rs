//! The command line: what `fanwire` and its subcommands do before and beside the node.
//!
//! [`run()`] is the whole program but for the node itself, which is handed in: the command line only makes the
//! configuration that it runs.

mod app;
mod args;
mod check;
mod client;
mod doctor;
mod grant;
mod publish;
mod serve;
mod tail;
mod token;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::node::config::Loaded;
use args::{Args, Command};

/// Exit code of a command that was understood and failed.
const FAILED: u8 = 1;
/// Exit code of a command line that was not understood, as clap has it.
const MISUSED: u8 = 2;

/// Where a command reads its surroundings and writes.
pub struct Surroundings<'a> {
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Results.
    pub out: &'a mut dyn Write,
    /// Problems and remarks.
    pub err: &'a mut dyn Write,
}

impl Surroundings<'_> {
    fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Writes a line of results. A reader that has gone (`| head`) is no failure of ours.
    fn say(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{line}");
    }

    /// Writes a line of problems.
    fn complain(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.err, "{line}");
    }
}

/// Runs the command in `args` (the program's name first) with the process's own surroundings. `serve` runs the node.
pub fn run<I, T>(args: I, serve: impl FnOnce(Loaded) -> ExitCode) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    // Variables that are not Unicode cannot be ours: names are ASCII, and so are all values but paths.
    let environment = std::env::vars_os();
    let environment =
        environment.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let surroundings = Surroundings {
        environment: environment.collect(),
        out: &mut std::io::stdout(),
        err: &mut std::io::stderr(),
    };
    run_in(surroundings, args, serve)
}

/// As [`run()`], in the given surroundings.
pub fn run_in<I, T>(
    mut surroundings: Surroundings<'_>,
    args: I,
    serve: impl FnOnce(Loaded) -> ExitCode,
) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            surroundings.say(error.to_string().trim_end());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            surroundings.complain(error.to_string().trim_end());
            return ExitCode::from(MISUSED);
        }
    };
    let surroundings = &mut surroundings;
    let done = match args.command.unwrap_or(Command::Serve(args.serve)) {
        Command::Serve(args) => match serve::prepare(surroundings, &args) {
            Ok(Some(loaded)) => return serve(loaded),
            Ok(None) => Ok(()),
            Err(message) => Err(message),
        },
        Command::Check(args) => check::run(surroundings, &args),
        Command::Publish(args) => publish::run(surroundings, &args),
        Command::Tail(args) => tail::run(surroundings, &args),
        Command::App(command) => app::run(surroundings, &command),
        Command::Token(command) => token::run(surroundings, &command),
        Command::Revoke(args) => grant::revoke(surroundings, &args),
        Command::Doctor(args) => doctor::run(surroundings, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            if !message.is_empty() {
                surroundings.complain(format_args!("fanwire: {message}"));
            }
            ExitCode::from(FAILED)
        }
    }
}
