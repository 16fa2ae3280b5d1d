//! The two directions of permessage-deflate (RFC 7692 section 7.2), on zlib-rs through flate2.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::negotiation::Params;
use crate::limits::{WS_INFLATE_KEEP_BYTES, WsLimits};
use crate::wire::ws::close::{Fault, INVALID_PAYLOAD, RATIO, TOO_BIG};

/// What a sync flush ends with and a message leaves out (RFC 7692 section 7.2.1).
const FLUSH_TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// The same, then an empty last block: shows that the message ended between two blocks.
const FINAL_TAIL: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
/// The most that one stored block holds, bytes (RFC 1951 section 3.2.4).
const STORED_BYTES: usize = 0xffff;
/// How far back deflate can refer, bytes.
const WINDOW_BYTES: usize = 32 * 1024;
/// Room that is made at a time while compressing, bytes.
const COMPRESS_ROOM_BYTES: usize = 4 * 1024;
/// First guess of how large an inflated message is, bytes.
const INFLATE_ROOM_BYTES: usize = 1024;

/// Compresses messages. One without takeover keeps nothing between messages and serves any number of
/// connections. 245 KiB of heap with the smallest window, 371 KiB with the largest.
#[derive(Debug)]
pub struct Compressor {
    stream: Compress,
    takeover: bool,
}

impl Compressor {
    /// `level` is zlib's, 1-9. `window_bits` is log2 of the window in bytes, 9-15, others are brought into that
    /// range. With `takeover` messages may refer to earlier ones, and the compressor belongs to one connection.
    pub fn new(level: u8, window_bits: u8, takeover: bool) -> Compressor {
        let level = Compression::new(u32::from(level.clamp(1, 9)));
        Compressor {
            stream: Compress::new_with_window_bits(level, false, window_bits.clamp(9, 15)),
            takeover,
        }
    }

    /// The compressor of one connection with these parameters.
    pub fn for_connection(params: &Params, level: u8) -> Compressor {
        Compressor::new(level, params.server_window_bits, !params.server_no_context_takeover)
    }

    /// Appends `payload`, deflated, to `out`: the payload of a frame with RSV1.
    pub fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        // RFC 7692 section 7.2.3.6; and zlib does not flush twice when nothing came between.
        if payload.is_empty() {
            out.push(0);
            return;
        }
        let start = out.len();
        let flushed = self.flush(payload, out) && out.ends_with(&FLUSH_TAIL);
        let deflated = out.len() - start;
        let worth_it = self.takeover || deflated <= stored_len(payload.len()) + FLUSH_TAIL.len();
        if flushed && worth_it {
            out.truncate(out.len() - FLUSH_TAIL.len());
        } else {
            // Stored blocks encode anything, and noise in fewer bytes than zlib's fast levels do.
            out.truncate(start);
            stored_block(payload, out);
            out.push(0);
        }
        // zlib has no reason to fail here, but if it does, its state is of no use any more.
        if !flushed || !self.takeover {
            self.stream.reset();
        }
    }

    /// Compresses all of `payload` up to a sync flush; false if zlib fails.
    fn flush(&mut self, mut payload: &[u8], out: &mut Vec<u8>) -> bool {
        out.reserve(payload.len() / 2 + 32);
        loop {
            let before = self.stream.total_in();
            let Ok(status) = self.stream.compress_vec(payload, out, FlushCompress::Sync) else {
                return false;
            };
            payload = &payload[(self.stream.total_in() - before) as usize..];
            if out.len() < out.capacity() {
                // Room is left, so everything has come out.
                return payload.is_empty() && status != Status::StreamEnd;
            }
            out.reserve(COMPRESS_ROOM_BYTES);
        }
    }
}

/// The five bytes before `len` uncompressed bytes that make them a stored block which is not the last one
/// (RFC 1951 section 3.2.4). Such a block in front of a deflated message is part of that message, if the message
/// was compressed without takeover: its distances do not reach beyond its own beginning.
pub fn stored_block_head(len: u16) -> [u8; 5] {
    let ([a, b], [c, d]) = (len.to_le_bytes(), (!len).to_le_bytes());
    [0, a, b, c, d]
}

/// Appends `bytes` as stored blocks to `out`; nothing for no bytes.
pub fn stored_block(bytes: &[u8], out: &mut Vec<u8>) {
    for block in bytes.chunks(STORED_BYTES) {
        out.extend_from_slice(&stored_block_head(block.len() as u16));
        out.extend_from_slice(block);
    }
}

/// Bytes of a message of `len` bytes in stored blocks, with the empty block that ends it.
fn stored_len(len: usize) -> usize {
    len + len.div_ceil(STORED_BYTES) * stored_block_head(0).len() + 1
}

/// Inflates messages. One with takeover belongs to one connection; one without keeps nothing between messages
/// and may be shared by all connections of a shard. 46 KiB of heap, whatever the window.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    takeover: bool,
    /// The message that was inflated last.
    out: Vec<u8>,
}

impl Inflater {
    /// An inflater for any window size, with or without context takeover.
    pub fn new(takeover: bool) -> Inflater {
        // zlib-rs allocates the largest window whatever is asked for, and resets only that one without
        // allocating; so a smaller one would save nothing.
        Inflater { stream: Decompress::new(false), takeover, out: Vec::new() }
    }

    /// The inflater of one connection with these parameters, on the server's side.
    pub fn for_connection(params: &Params) -> Inflater {
        Inflater::new(!params.client_no_context_takeover)
    }

    /// Whether it carries context from message to message, and so belongs to one connection.
    pub fn has_takeover(&self) -> bool {
        self.takeover
    }

    /// Inflates the payload of one message.
    ///
    /// # Errors
    /// 1007 if it is not deflate data, 1009 if more come out than [`WsLimits::inflated_bytes`] says. After an error a
    /// connection with takeover cannot go on.
    pub fn inflate(&mut self, payload: &[u8], limits: &WsLimits) -> Result<&[u8], Fault> {
        self.release();
        if !self.takeover {
            self.stream.reset(false);
        }
        let (limit, ratio) = limits.inflated_bytes(payload.len());
        let over = |fault: Fault| if ratio && fault.code == TOO_BIG { RATIO } else { fault };
        // A peer that ends with a last block owes a padding byte (RFC 7692 section 7.2.3.4); one that forgot it
        // has sent a complete message all the same.
        if self.feed(payload, limit).map_err(over)? {
            return Ok(&self.out);
        }
        let tail = if self.takeover { &FLUSH_TAIL[..] } else { &FINAL_TAIL[..] };
        let ended = self.feed(tail, limit).map_err(over)?;
        if ended == self.takeover {
            return Err(invalid());
        }
        Ok(&self.out)
    }

    /// Gives back the memory of the last message, but for a small buffer if the inflater may be shared.
    pub fn release(&mut self) {
        let keep = if self.takeover { 0 } else { WS_INFLATE_KEEP_BYTES };
        self.out.clear();
        self.out.shrink_to(keep);
    }

    /// Heap bytes of the output buffer; the window of zlib comes on top.
    pub fn buffer_bytes(&self) -> usize {
        self.out.capacity()
    }

    /// Inflates all of `input`; true if the input ended exactly with a last block.
    fn feed(&mut self, mut input: &[u8], limit: usize) -> Result<bool, Fault> {
        while !input.is_empty() || self.out.len() == self.out.capacity() {
            if self.out.len() > limit {
                return Err(Fault::too_big());
            }
            self.make_room(input.len(), limit);
            let (before, had) = (self.stream.total_in(), self.out.len());
            let status = self
                .stream
                .decompress_vec(input, &mut self.out, FlushDecompress::Sync)
                .map_err(|_| invalid())?;
            let used = (self.stream.total_in() - before) as usize;
            input = &input[used..];
            if status == Status::StreamEnd {
                // A last block in the midst of a message: zlib stops there, the message goes on.
                self.stream.reset(false);
                let window = &self.out[self.out.len().saturating_sub(WINDOW_BYTES)..];
                if !window.is_empty() {
                    self.stream.set_dictionary(window).map_err(|_| invalid())?;
                }
                if input.is_empty() {
                    return if self.out.len() > limit { Err(Fault::too_big()) } else { Ok(true) };
                }
            } else if used == 0 && self.out.len() == had {
                // No progress with input and room, or nothing more to come out.
                if input.is_empty() { break } else { return Err(invalid()) }
            }
        }
        if self.out.len() > limit { Err(Fault::too_big()) } else { Ok(false) }
    }

    /// Makes room for more output: a guess from the input at first, then twice as much, never more than one byte
    /// beyond `limit`, which is enough to see that it was passed.
    fn make_room(&mut self, input_len: usize, limit: usize) {
        if self.out.len() < self.out.capacity() {
            return;
        }
        let guess = (self.out.len() * 2).max(input_len.saturating_mul(3)).max(INFLATE_ROOM_BYTES);
        let goal = guess.min(limit.saturating_add(1)).max(self.out.len() + 1);
        self.out.reserve_exact(goal - self.out.len());
    }
}

fn invalid() -> Fault {
    Fault { code: INVALID_PAYLOAD, reason: "message does not inflate" }
}
