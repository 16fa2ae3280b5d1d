//! `fanwire check`: the configuration, or with `--data` a store.

use std::path::Path;

use super::args::CheckArgs;
use super::{Surroundings, serve};
use crate::node::config;
use crate::service::store;

/// `fanwire check`.
pub(super) fn run(surroundings: &mut Surroundings<'_>, args: &CheckArgs) -> Result<(), String> {
    match &args.data {
        Some(dir) => check_store(surroundings, dir),
        None => {
            let loaded = serve::load(surroundings, &args.config, Vec::new())?;
            let summary = config::summary(&loaded.config);
            surroundings.say(format_args!("OK: {summary}"));
            Ok(())
        }
    }
}

fn check_store(surroundings: &mut Surroundings<'_>, dir: &Path) -> Result<(), String> {
    let report = store::check(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for table in &report.tables {
        let (name, documents, bytes) = (&table.table, table.documents, table.bytes);
        surroundings.say(format_args!("table {name}: {documents} documents, {bytes} bytes"));
    }
    for log in &report.logs {
        let (name, records, bytes) = (log.log.escape_ascii(), log.records, log.bytes.unwrap_or(0));
        let (oldest, last) = (log.oldest, log.last);
        surroundings.say(format_args!(
            "log {name}: {records} records, {bytes} bytes, {}:{} to {}:{}",
            oldest.time, oldest.tag, last.time, last.tag
        ));
    }
    let records: u64 = report.logs.iter().map(|log| log.records).sum();
    let documents: u64 = report.tables.iter().map(|table| table.documents).sum();
    let total = format!(
        "{} logs with {records} records, {documents} documents, {} bytes on disk",
        report.logs.len(),
        report.file_bytes
    );
    if report.damage.is_empty() {
        surroundings.say(format_args!("OK: {total}"));
        return Ok(());
    }
    report.damage.iter().for_each(|damage| surroundings.complain(damage));
    surroundings.say(total);
    Err(match report.damage.len() as u64 + report.more_damage {
        1 => "1 damage in the store".into(),
        count => format!("{count} damages in the store"),
    })
}
