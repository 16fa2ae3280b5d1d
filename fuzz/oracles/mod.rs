//! What has to hold for any bytes, one oracle per target. The fuzz targets call them with what the fuzzer makes up,
//! `tests/fuzz_seeds.rs` of the node with the seeds.
//!
//! An input is [`input::CHOICE_BYTES`] of choices (flags, limits, split points) and then a body.

pub mod certificate;
pub mod config;
pub mod control;
pub mod doors;
pub mod grant;
pub mod http_repeat;
pub mod http_request;
pub mod http_response;
pub mod input;
pub mod json;
pub mod judge;
pub mod proxy;
pub mod pusher;
pub mod pusher_api;
pub mod pusher_frame;
pub mod pusher_session;
pub mod pushi;
pub mod pushi_api;
pub mod pushi_frame;
pub mod pushi_session;
pub mod relay;
pub mod relay_headers;
pub mod relay_ids;
pub mod relay_requests;
pub mod relay_session;
pub mod sign;
pub mod stored_record;
pub mod streams;
pub mod ws_deflate;
pub mod ws_reader;

/// Panics when something does not hold.
pub type Oracle = fn(&[u8]);

/// Every target: its name, which is that of its seed folder, and its oracle.
pub const TARGETS: [(&str, Oracle); 25] = [
    ("ws_reader", ws_reader::check),
    ("ws_deflate", ws_deflate::check),
    ("http_request", http_request::check),
    ("http_response", http_response::check),
    ("relay_headers", relay_headers::check),
    ("config", config::check),
    ("pusher_frame", pusher_frame::check),
    ("pusher_api", pusher_api::check),
    ("sign", sign::check),
    ("pusher_session", pusher_session::check),
    ("pushi_frame", pushi_frame::check),
    ("pushi_api", pushi_api::check),
    ("pushi_session", pushi_session::check),
    ("grant", grant::check),
    ("proxy", proxy::check),
    ("relay_session", relay_session::check),
    ("http_repeat", http_repeat::check),
    ("stored_record", stored_record::check),
    ("json", json::check),
    ("streams", streams::check),
    ("control", control::check),
    ("doors", doors::check),
    ("judge", judge::check),
    ("certificate", certificate::check),
    ("relay_requests", relay_requests::check),
];
