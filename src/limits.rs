//! Every bound of the node in one place: the unit is in the name, the value is the default, and what has to
//! hold between bounds is checked at compile time. A layer takes its bounds as a struct, so that configuration
//! can change them and a test can make them small.

mod app;
mod channel;
mod grant;
mod hooks;
mod node;
mod pusher;
mod pushi;
mod rate;
mod relay;
mod shard;
mod store;
mod tls;
mod webhooks;
mod wire;

pub use app::*;
pub use channel::*;
pub use grant::*;
pub use hooks::*;
pub use node::*;
pub use pusher::*;
pub use pushi::*;
pub use rate::*;
pub use relay::*;
pub use shard::*;
pub use store::*;
pub use tls::*;
pub use webhooks::*;
pub use wire::*;

// What has to hold between bounds of different layers.
const _: () = assert!(HTTP_HEAD_BYTES < HOOK_REQUEST_HEAD_BYTES);
// A message that was accepted may go to a back end as it is.
const _: () = assert!(HTTP_BODY_BYTES < HOOK_QUEUE_BYTES);
const _: () = assert!(HTTP_BODY_BYTES < STORE_RECORD_BYTES && STORE_RECORD_BYTES < STORE_BATCH_BYTES);
const _: () = assert!(HTTP_BODY_BYTES < NODE_OUTBOX_BYTES);
const _: () = assert!(RELAY_CHANNEL_ID_BYTES_MAX < HTTP_TARGET_BYTES);
const _: () = assert!(SHARD_STALL_MS >= 10 * TICK_MS);
