//! WebSocket (RFC 6455) and permessage-deflate (RFC 7692): bytes to messages and back.
//!
//! - [`handshake`] decides about an upgrade request and computes the accept key.
//! - [`reader`] turns received bytes into messages. A frame that is complete in the input is unmasked where it
//!   lies and borrowed from there; only what is incomplete is kept, and an idle reader owns no heap.
//! - [`frame`] encodes frames, with the payload in several parts so that nothing is joined first.
//! - [`close`] knows which close codes may be on the wire. [`mask`] and [`utf8`] are the two inner loops.
//! - [`deflate`] negotiates, compresses and inflates.
//!
//! A connection is read like this; the last step of a loop always has no event, which is also the moment at
//! which the reader gives back the memory of the message before:
//!
//! ```
//! use fanwire::limits::WsLimits;
//! use fanwire::wire::ws::{Event, Opcode, Reader, frame};
//!
//! let mut received = frame::encode_masked(Opcode::Text, true, false, [1, 2, 3, 4], b"hello");
//! let (mut reader, limits, mut at) = (Reader::default(), WsLimits::default(), 0);
//! loop {
//!     let step = reader.step(&mut received[at..], &limits, None)?;
//!     at += step.consumed;
//!     match step.event {
//!         Some(Event::Text(text)) => assert_eq!(text, "hello"),
//!         Some(_) => {}
//!         None => break,
//!     }
//! }
//! # Ok::<(), fanwire::wire::ws::Fault>(())
//! ```

pub mod close;
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod reader;
pub mod utf8;

#[cfg(test)]
mod tests;

pub use close::Fault;
pub use deflate::{Compressor, Inflater};
pub use frame::Opcode;
pub use reader::{Event, Reader, Role, Step};
