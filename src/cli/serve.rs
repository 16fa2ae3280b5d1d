//! `fanwire serve` up to the point where the node starts.

use std::path::PathBuf;

use super::Surroundings;
use super::args::{ConfigArgs, ServeArgs};
use crate::node::config::{self, Flag, Loaded, Mistake, Sources};
use crate::node::tls;

/// Makes the configuration. `None`: it was only to be printed, which is done.
pub(super) fn prepare(
    surroundings: &mut Surroundings<'_>,
    args: &ServeArgs,
) -> Result<Option<Loaded>, String> {
    let loaded = load(surroundings, &args.config, flags(args))?;
    if args.print_config {
        let printed = config::print(&loaded);
        surroundings.say(printed.trim_end());
        return Ok(None);
    }
    Ok(Some(loaded))
}

/// Loads from the file, the environment and `flags`. Mistakes and warnings are written out here; after mistakes the
/// message only counts them.
pub(super) fn load(
    surroundings: &mut Surroundings<'_>,
    args: &ConfigArgs,
    flags: Vec<Flag>,
) -> Result<Loaded, String> {
    let path = args.config.clone().or_else(|| surroundings.variable("FANWIRE_CONFIG").map(PathBuf::from));
    let file = match &path {
        Some(path) => Some((
            path.display().to_string(),
            config::read_file(path).map_err(|mistake| mistake.to_string())?,
        )),
        None => None,
    };
    let sources = Sources {
        file: file.as_ref().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
        environment: surroundings.environment.clone(),
        flags,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    };
    match config::load(&sources) {
        Ok(loaded) => {
            check_certificates(surroundings, &loaded)?;
            loaded
                .warnings
                .iter()
                .for_each(|warning: &Mistake| surroundings.complain(format_args!("warning: {warning}")));
            Ok(loaded)
        }
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| surroundings.complain(mistake));
            Err(match mistakes.len() {
                1 => "1 mistake in the configuration".into(),
                count => format!("{count} mistakes in the configuration"),
            })
        }
    }
}

/// Says what is wrong with the files of certificates, and which will expire soon.
fn check_certificates(surroundings: &mut Surroundings<'_>, loaded: &Loaded) -> Result<(), String> {
    let (mistakes, warnings) = tls::check(loaded);
    for warning in warnings {
        surroundings.complain(format_args!("warning: {warning}"));
    }
    mistakes.iter().for_each(|mistake| surroundings.complain(mistake));
    match mistakes.len() {
        0 => Ok(()),
        1 => Err("1 mistake in the configuration".into()),
        count => Err(format!("{count} mistakes in the configuration")),
    }
}

fn flags(args: &ServeArgs) -> Vec<Flag> {
    let list = |values: &[String]| (!values.is_empty()).then(|| values.join(","));
    let given = [
        ("--listen", "listen", list(&args.listen)),
        ("--internal-listen", "internal_listen", list(&args.internal_listen)),
        ("--shards", "shards", args.shards.clone()),
        ("--driver", "driver", args.driver.clone()),
        ("--drain", "drain", args.drain.clone()),
        ("--data", "store.data", args.data.clone()),
        ("--echo", "echo", args.echo.then(|| "true".into())),
        ("--log", "log", args.log.clone()),
        ("--log-format", "log_format", args.log_format.clone()),
    ];
    let given = given.into_iter();
    given.filter_map(|(name, key, value)| Some(Flag { name, key, value: value? })).collect()
}
