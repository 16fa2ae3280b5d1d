//! `fanwire app`: apps of a running node through its control socket; of one that does not run, in its store.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::args::{AppAddArgs, AppCommand, AppPlaceArgs, ConfigArgs};
use super::{Surroundings, serve};
use crate::channel::store::StoreError;
use crate::dialect::app::{AppRefusal, AppSettings};
use crate::limits::{CLI_ANSWER_MS, CLI_CONTROL_MS, CONTROL_ANSWER_BYTES, CONTROL_PAUSE_MS};
use crate::node::apps::{Change, Roster};
use crate::node::config::{Config, Flag, app_differences, app_of, read_app};
use crate::node::control::{self, Lines, Request};
use crate::node::{grants, host};
use crate::service::store::Store;
use crate::wire::json::{self, Reader};

/// Random bytes of a key or secret that is not given; each is two hex digits.
const RANDOM_BYTES: usize = 32;

/// `fanwire app`.
pub(super) fn run(surroundings: &mut Surroundings<'_>, command: &AppCommand) -> Result<(), String> {
    match command {
        AppCommand::Add(args) => {
            let app = settings(args)?;
            app.check().map_err(|refusal| refusal.to_string())?;
            let shown = [("id", &app.id), ("key", &app.key), ("secret", &app.secret)]
                .map(|(name, value)| format!("{name} = {}", toml_text(value)));
            let request = Request::Change(Change::Add(Box::new(app)));
            let config = load(surroundings, &args.place)?;
            ask(surroundings, &config, &request)?;
            shown.iter().for_each(|line| surroundings.say(line));
            Ok(())
        }
        AppCommand::Remove(args) => {
            let config = load(surroundings, &args.place)?;
            ask(surroundings, &config, &Request::Change(Change::Remove(args.id.clone())))?;
            surroundings.say(format_args!("removed {}", args.id));
            Ok(())
        }
        AppCommand::List(args) => {
            let config = load(surroundings, &args.place)?;
            let lines = ask(surroundings, &config, &Request::List { secrets: args.secrets })?;
            let rows = lines.iter().map(|line| row(line, args.secrets)).collect::<Result<Vec<_>, _>>()?;
            table(&rows, args.secrets).iter().for_each(|line| surroundings.say(line));
            Ok(())
        }
    }
}

/// The app as it was told, with what is random.
fn settings(args: &AppAddArgs) -> Result<AppSettings, String> {
    let random = || {
        let mut bytes = [0; RANDOM_BYTES];
        host::random(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
        Ok::<_, String>(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let key = args.key.clone().map_or_else(random, Ok)?;
    let secret = args.secret.clone().map_or_else(random, Ok)?;
    let mut values = vec![("id", args.id.as_str()), ("key", &key), ("secret", &secret)];
    values.extend(args.client_events.then_some(("client_events", "true")));
    values.extend(args.subscription_count.then_some(("subscription_count", "true")));
    for setting in &args.set {
        let pair = setting.split_once('=');
        values.push(pair.ok_or_else(|| format!("--set needs KEY=VALUE, not `{}`", setting.escape_debug()))?);
    }
    app_of(values)
}

/// The configuration of the node that is meant.
pub(super) fn load(surroundings: &mut Surroundings<'_>, place: &AppPlaceArgs) -> Result<Config, String> {
    let flag = place.data.clone().map(|value| Flag { name: "--data", key: "store.data", value });
    Ok(serve::load(surroundings, &place.config, flag.into_iter().collect())?.config)
}

/// The app with this id; without one, the only app of the configuration. Apps that were added count where the node has
/// a data directory.
pub(super) fn find(
    surroundings: &mut Surroundings<'_>,
    config: &ConfigArgs,
    id: Option<&str>,
) -> Result<AppSettings, String> {
    let config = serve::load(surroundings, config, Vec::new())?.config;
    let configured = |id: &str| config.apps.iter().find(|app| app.id == id);
    match (id, &config.apps[..]) {
        (None, [app]) => Ok(app.clone()),
        (None, []) => Err("the configuration has no app: --key and --secret name one".into()),
        (None, apps) => {
            let ids: Vec<&str> = apps.iter().map(|app| app.id.as_str()).collect();
            Err(format!("which app? --app takes {}", ids.join(", ")))
        }
        (Some(id), _) if configured(id).is_some() || config.store.data.is_none() => configured(id)
            .cloned()
            .ok_or_else(|| format!("the configuration has no app `{}`", id.escape_debug())),
        (Some(id), _) => {
            let lines = ask(surroundings, &config, &Request::List { secrets: true })?;
            let apps = lines.iter().filter_map(|line| {
                let mut reader = Reader::default();
                read_app(reader.read(line).ok()?.root().get("app")?).ok()
            });
            let mut found = apps.filter(|app| app.id == id);
            found.next().ok_or_else(|| format!("there is no app `{}`", id.escape_debug()))
        }
    }
}

/// Has the request answered, by the node if it runs. Returns the lines of a list.
pub(super) fn ask(
    surroundings: &mut Surroundings<'_>,
    config: &Config,
    request: &Request,
) -> Result<Vec<String>, String> {
    let Some(data) = config.store.data.clone() else {
        return Err("a node without a data directory keeps its apps in memory and has no control socket: start it \
                    with `--data DIR`, or put `data = \"DIR\"` under [store] in its configuration; and say the \
                    same here"
            .into());
    };
    let data = Path::new(&data);
    let until = Instant::now() + Duration::from_millis(CLI_CONTROL_MS);
    loop {
        let socket = control::path(data);
        match UnixStream::connect(&socket) {
            Ok(stream) => {
                let lines = converse(&stream, request);
                return lines.map_err(|error| match error.kind() {
                    ErrorKind::Other => error.to_string(),
                    _ => format!("no answer from the node at {}: {error}", socket.display()),
                });
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(format!("cannot reach the node at {}: {error}", socket.display())),
        }
        match in_store(config, data, request)? {
            Some(lines) => {
                let note = "no node runs on that directory: this is what its store has";
                surroundings.complain(format_args!("{}: {note}", data.display()));
                return Ok(lines);
            }
            // A node that starts or stops.
            None if Instant::now() < until => thread::sleep(Duration::from_millis(CONTROL_PAUSE_MS)),
            None => {
                let what =
                    "somebody has the store open, and there is no control socket (the node's log tells why)";
                return Err(format!("{}: {what}", data.display()));
            }
        }
    }
}

/// Speaks with the node. What the node refuses is an error of kind `Other`.
fn converse(stream: &UnixStream, request: &Request) -> io::Result<Vec<String>> {
    let patience = Duration::from_millis(CLI_ANSWER_MS);
    stream.set_write_timeout(Some(patience))?;
    (&mut &*stream).write_all(&request.line())?;
    let (mut lines, mut found, mut reader) =
        (Lines::new(CONTROL_ANSWER_BYTES), Vec::new(), Reader::default());
    while let Some(line) = lines.next(stream, patience)? {
        let document = reader.read(&line).map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        if let Some(error) = document.root().get("error") {
            return Err(io::Error::other(error.as_str().unwrap_or_default()));
        }
        if document.root().get("done").is_some() {
            return Ok(found);
        }
        drop(document);
        found.push(line);
    }
    Err(ErrorKind::UnexpectedEof.into())
}

/// Carries the request out in the store. `None`: it is open elsewhere.
fn in_store(config: &Config, data: &Path, request: &Request) -> Result<Option<Vec<String>>, String> {
    let adds = matches!(request, Request::Change(Change::Add(_)));
    if !adds && !Store::is_in(data) {
        return Err(format!("{}: no node runs there, and there is no store", data.display()));
    }
    let limits = config.store.limits(config.limits.body_bytes.max(config.limits.message_bytes));
    let store = match Store::open(data, limits, Arc::new(|_, _| {})) {
        Ok((store, _)) => store,
        Err(StoreError::InUse) => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", data.display())),
    };
    let mut roster = Roster::load(&config.apps, store.handle())?;
    let done = match request {
        Request::Change(Change::Add(app)) => roster.add((**app).clone()).map(drop),
        Request::Change(Change::Remove(id)) => roster.remove(id).map(drop),
        Request::List { .. } => Ok(()),
        Request::Revoke(order) => {
            let revocation = grants::revocation(roster.apps(), order).map_err(|why| why.to_string())?;
            roster.note_revocation(&revocation).map_err(AppRefusal::Store)
        }
    };
    done.map_err(|refusal| refusal.to_string())?;
    let secrets = matches!(request, Request::List { secrets: true });
    let lines = roster.apps().iter().map(|app| control::entry(app, roster.is_configured(app), secrets));
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect();
    drop(roster);
    store.shutdown().map_err(|error| format!("{}: {error}", data.display()))?;
    Ok(Some(lines))
}

/// What the list tells of one app.
struct Row {
    cells: Vec<String>,
    settings: String,
}

fn row(line: &str, secrets: bool) -> Result<Row, String> {
    let mut reader = Reader::default();
    let document = reader.read(line).map_err(|_| "the node's answer is not JSON".to_owned())?;
    let entry = document.root();
    let app = entry.get("app").ok_or("the node's answer has no app")?;
    let app = read_app(app)?;
    let raw = |name: &str| entry.get(name).map_or("", json::Value::raw).to_owned();
    let origin = if raw("configured") == "true" { "configured" } else { "added" };
    let differences = app_differences(&app).into_iter();
    let settings: Vec<String> = differences.map(|(name, value)| format!("{name} = {value}")).collect();
    let mut cells = vec![app.id, app.key];
    cells.extend(secrets.then_some(app.secret));
    cells.extend([origin.to_owned(), raw("connections")]);
    Ok(Row { cells, settings: settings.join(", ") })
}

/// Columns as wide as they need to be.
fn table(rows: &[Row], secrets: bool) -> Vec<String> {
    let heads: &[&str] = match secrets {
        true => &["ID", "KEY", "SECRET", "ORIGIN", "CONNECTIONS"],
        false => &["ID", "KEY", "ORIGIN", "CONNECTIONS"],
    };
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column)).map(|cell| cell.chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &[&str], last: &str| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  "));
        format!("{}{last}", cells.collect::<String>()).trim_end().to_owned()
    };
    let mut lines = vec![line(heads, "SETTINGS")];
    for row in rows {
        let cells: Vec<&str> = row.cells.iter().map(String::as_str).collect();
        lines.push(line(&cells, &row.settings));
    }
    lines
}

/// `text` as a string of the configuration file.
fn toml_text(text: &str) -> String {
    let mut out = Vec::new();
    json::string(&mut out, text.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}
