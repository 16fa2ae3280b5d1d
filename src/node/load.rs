//! What the store has for dialects, read before the node takes its first connection.

use crate::channel::store::{Answer, Job, Table};
use crate::dialect::pushi::Pushi;
use crate::dialect::pushi::registry::Document;
use crate::limits::STORE_READ_ITEMS;
use crate::service::store::{Reply, StoreHandle};
use crate::wire::json::Reader;
use bytes::Bytes;
use std::sync::mpsc;
use tracing::{info, warn};

/// Who and what is registered for channels of Pushi.
///
/// # Errors
/// When the store cannot be read. A document that is none of ours is passed over with a line in the log.
pub fn registrations(store: &StoreHandle, pushi: &Pushi) -> Result<(), String> {
    let (mut reader, mut loaded) = (Reader::default(), 0_u64);
    each(store, Table::PUSHI_SUBSCRIPTIONS, |key, value| {
        let document = Document::kind_of(key).and_then(|kind| Document::parse(kind, &mut reader, value));
        match document {
            Some(document) => {
                pushi.registry.load(document);
                loaded += 1;
            }
            None => warn!(key = %key.escape_ascii(), "a registration in the store cannot be read"),
        }
    })?;
    if loaded > 0 {
        info!(registrations = loaded, "registrations loaded");
    }
    Ok(())
}

/// Calls `take` with each document of a table.
pub(super) fn each(
    store: &StoreHandle,
    table: Table,
    mut take: impl FnMut(&Bytes, &Bytes),
) -> Result<(), String> {
    let failed =
        |what: &dyn std::fmt::Display| format!("cannot read {} from the store: {what}", table.name());
    let mut after = Bytes::new();
    loop {
        let (sender, receiver) = mpsc::sync_channel(1);
        let reply = Reply::call(move |outcome| {
            let _ = sender.send(outcome); // nobody waits any more: the node does not start
        });
        let job = Job::List { table, after: after.clone(), most: STORE_READ_ITEMS };
        store.submit(job, reply).map_err(|error| failed(&error))?;
        let outcome = receiver.recv().map_err(|error| failed(&error))?;
        let Answer::Documents(found) = outcome.map_err(|error| failed(&error))? else {
            return Err(failed(&"not what was asked for"));
        };
        for (key, value) in &found.documents {
            take(key, value);
        }
        match found.documents.last() {
            Some((key, _)) if found.more => after = key.clone(),
            _ => return Ok(()),
        }
    }
}
