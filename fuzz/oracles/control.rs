//! The control socket: lines that come in pieces, and what they ask.
//!
//! - The lines are the same however they are cut, and none is longer than it may be.
//! - A request that is taken is JSON to another parser as well, and what is written of it is read as the same request.
//! - Every line of an answer is one line of JSON; an app that is listed reads as the app that was asked for.

use fanwire::dialect::app::Apps;
use fanwire::dialect::grant::Revocation;
use fanwire::dialect::grant::revoked::{Order, What};
use fanwire::node::apps::Change;
use fanwire::node::config::{app_differences, app_of, read_app};
use fanwire::node::control::{Lines, Request, entry, outcome_line};
use fanwire::wire::json::Reader;

use super::input::{Input, single};

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let most = input.pick(0, &[4096, 16 * 1024, 0, 7, 100]);
    let lines = split(most, &[input.body]);
    assert_eq!(split(most, &input.cut(input.body)), lines, "in pieces");
    assert_eq!(split(most, &single(input.body)), lines, "byte by byte");
    let (mut plain, faulty) = plainly(most, input.body);
    assert_eq!(lines.1, faulty, "an error");
    plain.truncate(lines.0.len());
    assert_eq!(lines.0, plain, "lines");
    lines.0.iter().take(64).for_each(|line| request(line));
}

/// The lines, and whether they end in an error.
fn split(most: usize, pieces: &[&[u8]]) -> (Vec<String>, bool) {
    let (mut lines, mut found) = (Lines::new(most), Vec::new());
    for piece in pieces {
        lines.add(piece);
        loop {
            match lines.take() {
                Ok(Some(line)) => found.push(line),
                Ok(None) => break,
                Err(_) => {
                    assert!(lines.take().is_err(), "an error that passes");
                    return (found, true);
                }
            }
        }
    }
    (found, false)
}

/// The same by the rule.
fn plainly(most: usize, bytes: &[u8]) -> (Vec<String>, bool) {
    let mut parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let rest = parts.pop().unwrap_or_default();
    let mut lines = Vec::new();
    for part in parts {
        match std::str::from_utf8(part) {
            Ok(line) if line.len() <= most => lines.push(line.to_owned()),
            _ => return (lines, true),
        }
    }
    (lines, rest.len() > most)
}

fn one_line(line: &[u8]) -> serde_json::Value {
    let line = line.strip_suffix(b"\n").expect("a line has an end");
    assert!(!line.contains(&b'\n'), "and only one");
    serde_json::from_slice(line).expect("JSON")
}

fn request(line: &str) {
    let request = match Request::read(line) {
        Ok(request) => request,
        Err(why) => {
            assert!(!why.is_empty(), "refused without a reason");
            let answer = one_line(&outcome_line(&Err(why.clone())));
            assert_eq!(answer["error"], *why);
            return;
        }
    };
    let json: serde_json::Value = serde_json::from_str(line).expect("what is taken is JSON");
    assert!(json["command"].is_string());
    let again = request.line();
    one_line(&again);
    let text = std::str::from_utf8(&again).expect("UTF-8").trim_end_matches('\n');
    assert_eq!(Request::read(text).as_ref(), Ok(&request), "{text}");
    match request {
        Request::Change(Change::Add(settings)) => {
            if settings.check().is_ok() {
                listed(&settings);
            }
        }
        Request::Change(Change::Remove(id)) => assert!(json["id"] == *id),
        Request::List { secrets } => assert_eq!(json["secrets"] == true, secrets),
        Request::Revoke(Order { app, what, id }) => revoked(app.as_deref().unwrap_or("app"), what, &id),
    }
}

fn listed(settings: &fanwire::dialect::app::AppSettings) {
    let apps = Apps::new([settings.clone()]).expect("one app");
    let app = apps.iter().next().expect("it is there");
    for secret in [true, false] {
        let line = entry(app, secret, secret);
        let json = one_line(&line);
        assert!(json["configured"] == secret && json["connections"] == 0);
        assert_eq!(json["app"].get("secret").is_some(), secret, "a secret");
        let (mut reader, mut expected) = (Reader::default(), settings.clone());
        if !secret {
            expected.secret.clear();
        }
        let document = reader.read_bytes(&line[..line.len() - 1]).expect("own lines are readable");
        let read = read_app(document.root().get("app").expect("an app"));
        assert_eq!(read.as_ref(), Ok(&expected));
    }
    // What the list shows of it is TOML for the same values.
    for (name, value) in app_differences(settings) {
        let shown: toml::Table = toml::from_str(&format!("{name} = {value}")).expect("TOML");
        let plain = match &shown[name] {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(texts) => {
                texts.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        let one = app_of([(name, plain.as_str())]).expect("a value that was shown");
        assert_eq!(app_differences(&one).len(), 1, "{name} = {value}");
    }
}

fn revoked(app: &str, what: What, id: &str) {
    let revocation = Revocation { app: app.into(), what, id: id.into(), at_ms: u64::MAX };
    assert_eq!(Revocation::read(&revocation.document()), Some(revocation));
}
