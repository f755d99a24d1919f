//! Compression: after the login, the bytes of the packets travel in *frames*.
//!
//! Format: "Compression" and "Compressed Packet" in the manual. A frame has a
//! header of 7 bytes and holds any piece of the byte stream: a part of a
//! packet, one, or several. Each is compressed by itself, or left as it is
//! where that would not pay.
//!
//! The sequence ids of frames begin at 0 with each command and count up in
//! both directions. Those of the packets inside say nothing: servers go on
//! from a frame's number where they send one, libmariadb gives 0 to every
//! packet of a long command, and neither looks at the other's.

mod content;
mod tables;
#[cfg(test)]
mod tests;

use tables::TABLES;

use crate::ProtocolError;
use crate::packet;

pub use content::{Content, MAX_CONTENT, whole_packets};

/// The size of a frame's header in bytes.
pub const FRAME_HEADER_LEN: usize = 7;

/// The most bytes that a frame can hold, before or after compression.
pub const MAX_FRAME: usize = 0xFF_FFFF;

/// Shorter contents are not compressed, as MySQL does it (its
/// `MIN_COMPRESS_LENGTH`).
pub const MIN_COMPRESS_LENGTH: usize = 50;

/// The zstd levels that a login can ask for.
pub const ZSTD_LEVELS: std::ops::RangeInclusive<u8> = 1..=22;

/// How contents are compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// COMPRESS: the format of zlib.
    Zlib,
    /// ZSTD_COMPRESSION, with the level to write with.
    Zstd(u8),
}

/// One compressed connection: what is agreed, and where the count stands.
#[derive(Clone, Debug)]
pub struct Compression {
    algorithm: Algorithm,
    /// The sequence id of the next frame, of either side.
    sequence: u8,
    /// Whether frames must come in order.
    is_strict: bool,
    /// The most bytes of a packet that a frame may hold.
    limit: usize,
}

/// A whole frame that was received.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// The algorithm, unless the content travelled as it is.
    algorithm: Option<Algorithm>,
    payload: &'a [u8],
    content_len: usize,
}

impl Compression {
    /// The connection of a client, which is held to the order of frames as
    /// servers do it.
    pub fn of_client(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            sequence: 0,
            is_strict: true,
            limit: MAX_FRAME,
        }
    }

    /// The connection to a server. Several commands may be under way on it,
    /// and each answer counts for itself, so the order is not checked.
    pub fn of_server(algorithm: Algorithm) -> Self {
        Self {
            is_strict: false,
            ..Self::of_client(algorithm)
        }
    }

    /// Whether it leads to a server.
    pub fn is_of_server(&self) -> bool {
        !self.is_strict
    }

    /// Begins a new count: the next frame is the first of a command. From now
    /// on frames that hold more than one packet of `limit` bytes are refused,
    /// as a server refuses them.
    pub fn expect_command(&mut self, limit: usize) {
        self.sequence = 0;
        self.limit = limit;
    }

    /// The frame at the front of `raw`; `None` while it is not all there.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfOrder`] from a client that lost count,
    /// [`ProtocolError::TooLarge`] as soon as the header announces more than
    /// the limit, before its bytes need to be buffered.
    pub fn next<'a>(&mut self, raw: &'a [u8]) -> Result<Option<Frame<'a>>, ProtocolError> {
        let Some((header, rest)) = raw.split_first_chunk::<FRAME_HEADER_LEN>() else {
            return Ok(None);
        };
        let &[a, b, c, sequence, d, e, f] = header;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        let unpacked = u32::from_le_bytes([d, e, f, 0]) as usize;
        if self.is_strict && sequence != self.sequence {
            return Err(ProtocolError::OutOfOrder {
                expected: self.sequence,
                found: sequence,
            });
        }
        let size = length.max(unpacked);
        if size > self.limit.saturating_add(packet::HEADER_LEN) {
            return Err(ProtocolError::TooLarge {
                what: "compressed packet",
                size,
                limit: self.limit,
            });
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        self.sequence = sequence.wrapping_add(1);
        let is_compressed = unpacked > 0;
        Ok(Some(Frame {
            algorithm: is_compressed.then_some(self.algorithm),
            payload,
            content_len: if is_compressed { unpacked } else { length },
        }))
    }

    /// Appends a frame with this content.
    pub fn put(&mut self, content: Content<'_>, out: &mut Vec<u8>) {
        if content.is_first {
            self.sequence = 0;
        }
        put_frame(self.algorithm, self.sequence, content.bytes, out);
        self.sequence = self.sequence.wrapping_add(1);
    }
}

impl Frame<'_> {
    /// Its size with its header, in bytes: what to consume.
    pub fn framed_len(&self) -> usize {
        FRAME_HEADER_LEN + self.payload.len()
    }

    /// The size of what it holds, in bytes, as its header says.
    pub fn content_len(&self) -> usize {
        self.content_len
    }

    /// Writes what it holds to `out`, of [`Frame::content_len`] bytes.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Uncompressible`] when that is not what the payload
    /// yields, to the byte; `out` may be written to.
    pub fn unpack(&self, out: &mut [u8]) -> Result<(), ProtocolError> {
        let length = match self.algorithm {
            None => {
                if let Some(out) = out.get_mut(..self.payload.len()) {
                    out.copy_from_slice(self.payload);
                }
                Some(self.payload.len())
            }
            Some(Algorithm::Zlib) => {
                TABLES.with_borrow_mut(|tables| tables.inflate(self.payload, out))
            }
            Some(Algorithm::Zstd(_)) => {
                TABLES.with_borrow_mut(|tables| tables.unzstd(self.payload, out))
            }
        };
        if length == Some(self.content_len) && out.len() == self.content_len {
            Ok(())
        } else {
            Err(ProtocolError::Uncompressible)
        }
    }
}

fn put_frame(algorithm: Algorithm, sequence: u8, content: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let payload = start + FRAME_HEADER_LEN;
    let packed = if content.len() < MIN_COMPRESS_LENGTH {
        None
    } else {
        // Whatever is not shorter than the content is not worth its while.
        out.resize(payload + content.len() - 1, 0);
        let room = out.get_mut(payload..).unwrap_or_default();
        TABLES.with_borrow_mut(|tables| match algorithm {
            Algorithm::Zlib => tables.deflate(content, room),
            Algorithm::Zstd(level) => tables.zstd(level, content, room),
        })
    };
    let unpacked = match packed {
        Some(length) => {
            out.truncate(payload + length);
            content.len()
        }
        None => {
            out.truncate(start);
            out.extend_from_slice(&[0; FRAME_HEADER_LEN]);
            out.extend_from_slice(content);
            0
        }
    };
    let [a, b, c, ..] = (out.len() - payload).to_le_bytes();
    let [d, e, f, ..] = unpacked.to_le_bytes();
    if let Some(header) = out.get_mut(start..payload) {
        header.copy_from_slice(&[a, b, c, sequence, d, e, f]);
    }
}
