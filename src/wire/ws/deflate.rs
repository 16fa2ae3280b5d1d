//! permessage-deflate (RFC 7692): negotiation, compression and inflation.
//!
//! A message that goes to many is compressed once and its frame is shared, so the node's side of a fan-out
//! connection never uses context takeover, and all such connections use one window size. A connection that has
//! its own [`Compressor`] (an echo, say) may use takeover.

mod codec;
mod negotiation;

pub use codec::{Compressor, Inflater, stored_block, stored_block_head};
pub use negotiation::{Params, Policy, negotiate};
