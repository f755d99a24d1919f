//! Packets: the 4-byte header, and messages larger than one packet can hold.
//!
//! Format: "Protocol Basics: MySQL Packets" in the manual. A *message* is one
//! logical packet: a payload of [`MAX_PAYLOAD`] bytes or more travels in
//! several physical packets with consecutive sequence ids, all but the last
//! one full; when the length is a multiple of [`MAX_PAYLOAD`] the last one is
//! empty.

use std::borrow::Cow;

use crate::ProtocolError;

/// The size of a packet's header in bytes.
pub const HEADER_LEN: usize = 4;

/// The largest payload of one physical packet. One of exactly this size is
/// followed by a continuation.
pub const MAX_PAYLOAD: usize = 0xFF_FFFF;

/// A packet's header: 3 bytes of payload length, 1 byte of sequence id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The length of the payload, without the header. At most [`MAX_PAYLOAD`].
    pub length: usize,
    /// The sequence id: 0 in a command's first packet, then counting up by
    /// one, wrapping, in both directions until the response ends.
    pub sequence: u8,
}

impl Header {
    /// The header at the front of `buf`; `None` while fewer than
    /// [`HEADER_LEN`] bytes are there.
    #[inline]
    pub fn parse(buf: &[u8]) -> Option<Self> {
        let &[a, b, c, sequence] = buf.first_chunk::<HEADER_LEN>()?;
        Some(Self {
            length: u32::from_le_bytes([a, b, c, 0]) as usize,
            sequence,
        })
    }

    /// The header's bytes. A length over [`MAX_PAYLOAD`] does not fit and is
    /// written as [`MAX_PAYLOAD`].
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [a, b, c, ..] = self.length.min(MAX_PAYLOAD).to_le_bytes();
        [a, b, c, self.sequence]
    }

    /// True when the message goes on in another packet after this one.
    pub fn is_continued(self) -> bool {
        self.length == MAX_PAYLOAD
    }
}

/// Appends `payload` as one message that begins with the sequence id
/// `sequence`, split into as many packets as it takes. Returns the sequence id
/// that follows.
pub fn put(out: &mut Vec<u8>, sequence: u8, payload: &[u8]) -> u8 {
    let mut sequence = sequence;
    let mut rest = payload;
    loop {
        let (part, tail) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        let header = Header {
            length: part.len(),
            sequence,
        };
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(part);
        sequence = sequence.wrapping_add(1);
        rest = tail;
        if !header.is_continued() {
            return sequence;
        }
    }
}

/// Appends one message whose payload `write` appends to `out` in place, so
/// that nothing is copied unless it has to be split. `write` may only append.
/// Returns the sequence id that follows.
pub fn put_with(out: &mut Vec<u8>, sequence: u8, write: impl FnOnce(&mut Vec<u8>)) -> u8 {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    write(out);
    let length = out.len().saturating_sub(start + HEADER_LEN);
    if length < MAX_PAYLOAD {
        let header = Header { length, sequence };
        if let Some(place) = out.get_mut(start..start + HEADER_LEN) {
            place.copy_from_slice(&header.encode());
        }
        return sequence.wrapping_add(1);
    }
    let payload = out.split_off(start + HEADER_LEN);
    out.truncate(start);
    put(out, sequence, &payload)
}

/// Finds the end of a message in a buffer that grows.
///
/// The reader of a connection keeps one. It remembers how far it has looked,
/// so that a huge message is walked once and not once per read.
#[derive(Clone, Debug)]
pub struct Assembler {
    limit: usize,
    /// Whether sequence ids count for nothing.
    ignores_order: bool,
    /// Bytes of whole packets already walked, headers included.
    framed: usize,
    /// Bytes of payload in them.
    payload: usize,
    /// The sequence id that the next packet must have.
    due: Option<u8>,
}

/// What an [`Assembler`] knows about the message at the front of the buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The message is not all there yet.
    Incomplete {
        /// At least so many more bytes are missing; never 0.
        need: usize,
    },
    /// The whole message is there.
    Complete {
        /// Its size in the buffer, all headers included: what to consume.
        framed: usize,
        /// The size of its payload.
        payload: usize,
        /// The sequence id of its last packet.
        sequence: u8,
    },
}

impl Assembler {
    /// An assembler that refuses messages with more than `limit` bytes of
    /// payload. [`Assembler::default`] takes any size.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            ignores_order: false,
            framed: 0,
            payload: 0,
            due: None,
        }
    }

    /// The limit for a message's payload in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Changes the limit, for the message under way too: a stranger gets a
    /// smaller one than a client who has logged in.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The sequence id of the answer to a message that was just refused: it
    /// follows that of the packet whose header was.
    pub fn after_refusal(&self) -> u8 {
        self.due.unwrap_or_default().wrapping_add(1)
    }

    /// Whether a message's packets may have any sequence ids: those inside
    /// compressed frames do. [`renumber`] puts them right.
    pub fn ignore_order(&mut self, ignore: bool) {
        self.ignores_order = ignore;
    }

    /// Looks at `buf`, which begins with the message's first header and holds
    /// at least what the previous call was shown. After
    /// [`Progress::Complete`] the assembler is ready for the next message; the
    /// caller takes `framed` bytes off the buffer before it calls again.
    ///
    /// The first packet's sequence id may be any; the caller checks it where
    /// it matters.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfOrder`] when a continuation has the wrong
    /// sequence id, [`ProtocolError::TooLarge`] as soon as a header announces
    /// more payload than the limit, before its bytes need to be buffered.
    pub fn advance(&mut self, buf: &[u8]) -> Result<Progress, ProtocolError> {
        loop {
            let rest = buf.get(self.framed..).unwrap_or_default();
            let Some(header) = Header::parse(rest) else {
                let missing = self.framed + HEADER_LEN - buf.len().min(self.framed + HEADER_LEN);
                return Ok(Progress::Incomplete {
                    need: missing.max(1),
                });
            };
            if let Some(expected) = self.due
                && expected != header.sequence
                && !self.ignores_order
            {
                return Err(ProtocolError::OutOfOrder {
                    expected,
                    found: header.sequence,
                });
            }
            let payload = self.payload.saturating_add(header.length);
            if payload > self.limit {
                return Err(ProtocolError::TooLarge {
                    what: "packet",
                    size: payload,
                    limit: self.limit,
                });
            }
            let packet = HEADER_LEN + header.length;
            if rest.len() < packet {
                return Ok(Progress::Incomplete {
                    need: packet - rest.len(),
                });
            }
            let framed = self.framed + packet;
            if !header.is_continued() {
                (self.framed, self.payload, self.due) = (0, 0, None);
                return Ok(Progress::Complete {
                    framed,
                    payload,
                    sequence: header.sequence,
                });
            }
            self.framed = framed;
            self.payload = payload;
            self.due = Some(header.sequence.wrapping_add(1));
        }
    }
}

impl Default for Assembler {
    fn default() -> Self {
        Self::with_limit(usize::MAX)
    }
}

/// Gives the packets of the message in `framed` the sequence ids from 0 on.
/// Returns the last one.
pub fn renumber(framed: &mut [u8]) -> u8 {
    let mut sequence = 0;
    let mut rest = framed;
    while let Some(header) = Header::parse(rest) {
        if let Some(place) = rest.get_mut(HEADER_LEN - 1) {
            *place = sequence;
        }
        if !header.is_continued() {
            break;
        }
        rest = rest
            .get_mut(HEADER_LEN + header.length..)
            .unwrap_or_default();
        sequence = sequence.wrapping_add(1);
    }
    sequence
}

/// The sequence id of the last packet of the whole message in `framed`, whose
/// first is 0.
pub fn last_sequence(framed: &[u8]) -> u8 {
    let full = framed.len().saturating_sub(1) / (HEADER_LEN + MAX_PAYLOAD);
    full.to_le_bytes()[0]
}

/// The payloads of packets that follow each other, up to one that is cut off.
pub fn payloads(mut packets: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let header = Header::parse(packets)?;
        let (packet, rest) = packets.split_at_checked(HEADER_LEN + header.length)?;
        packets = rest;
        packet.get(HEADER_LEN..)
    })
}

/// The payload of the message in `framed`, which [`Assembler`] found complete:
/// borrowed when it came in one packet, joined otherwise. Bytes that are
/// missing at the end are left out.
pub fn payload(framed: &[u8]) -> Cow<'_, [u8]> {
    let Some((header, rest)) = split_packet(framed) else {
        return Cow::Borrowed(&[]);
    };
    if !header.is_continued() {
        return Cow::Borrowed(rest.get(..header.length).unwrap_or(rest));
    }
    let mut joined = Vec::with_capacity(framed.len());
    let mut framed = framed;
    while let Some((header, rest)) = split_packet(framed) {
        let (part, tail) = rest.split_at(header.length.min(rest.len()));
        joined.extend_from_slice(part);
        framed = if header.is_continued() { tail } else { &[] };
    }
    Cow::Owned(joined)
}

fn split_packet(framed: &[u8]) -> Option<(Header, &[u8])> {
    Some((Header::parse(framed)?, framed.get(HEADER_LEN..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_packet_is_known_from_the_length() {
        for length in [
            1,
            MAX_PAYLOAD - 1,
            MAX_PAYLOAD,
            MAX_PAYLOAD + 1,
            2 * MAX_PAYLOAD,
        ] {
            let mut framed = Vec::new();
            let next = put(&mut framed, 0, &vec![0; length]);
            assert_eq!(last_sequence(&framed), next - 1, "{length} bytes");
        }
    }

    #[test]
    fn headers() {
        let header = Header {
            length: 0x03_0201,
            sequence: 9,
        };
        assert_eq!(header.encode(), [1, 2, 3, 9]);
        assert_eq!(Header::parse(&[1, 2, 3, 9, 8]), Some(header));
        assert_eq!(Header::parse(&[1, 2, 3]), None);
    }

    #[test]
    fn messages_are_split_where_the_manual_says() {
        for (size, packets) in [
            (0, vec![0]),
            (1, vec![1]),
            (MAX_PAYLOAD - 1, vec![MAX_PAYLOAD - 1]),
            (MAX_PAYLOAD, vec![MAX_PAYLOAD, 0]),
            (MAX_PAYLOAD + 1, vec![MAX_PAYLOAD, 1]),
            (2 * MAX_PAYLOAD, vec![MAX_PAYLOAD, MAX_PAYLOAD, 0]),
        ] {
            let content = vec![7; size];
            let mut framed = b"before".to_vec();
            let next = put(&mut framed, 254, &content);
            assert_eq!(next, 254_u8.wrapping_add(packets.len() as u8));

            let mut in_place = b"before".to_vec();
            let next_in_place = put_with(&mut in_place, 254, |out| out.extend_from_slice(&content));
            assert!(in_place == framed && next_in_place == next);

            let framed = framed.split_off(6);
            let mut at = 0;
            for (i, &length) in packets.iter().enumerate() {
                let header = Header::parse(&framed[at..]).unwrap();
                assert_eq!(header.length, length);
                assert_eq!(header.sequence, 254_u8.wrapping_add(i as u8));
                at += HEADER_LEN + length;
            }
            assert_eq!(at, framed.len());
            let joined = payload(&framed);
            assert!(joined == content);
            assert_eq!(matches!(joined, Cow::Borrowed(_)), packets.len() == 1);

            let mut assembler = Assembler::default();
            let complete = Progress::Complete {
                framed: framed.len(),
                payload: size,
                sequence: next.wrapping_sub(1),
            };
            assert_eq!(assembler.advance(&framed), Ok(complete));
            // It is ready for the next message at once.
            assert_eq!(assembler.advance(&framed), Ok(complete));
            if packets.len() > 1 {
                // Resumed between the packets.
                let first = HEADER_LEN + MAX_PAYLOAD;
                for (shown, need) in [(3, 1), (4, MAX_PAYLOAD), (first, 4), (first + 1, 3)] {
                    assert_eq!(
                        assembler.advance(&framed[..shown]),
                        Ok(Progress::Incomplete { need })
                    );
                }
                assert_eq!(assembler.advance(&framed), Ok(complete));
            }
        }
    }

    #[test]
    fn a_limit_is_noticed_at_the_header() {
        let mut assembler = Assembler::with_limit(10);
        assert_eq!(
            assembler.advance(&[11, 0, 0, 0]),
            Err(ProtocolError::TooLarge {
                what: "packet",
                size: 11,
                limit: 10
            })
        );
        assert_eq!(
            assembler.advance(&[10, 0, 0, 0]),
            Ok(Progress::Incomplete { need: 10 })
        );
    }

    #[test]
    fn continuations_must_be_in_order() {
        let mut framed = Vec::new();
        put(&mut framed, 0, &vec![0; MAX_PAYLOAD]);
        let last = framed.len() - 1;
        framed[last] = 2;
        assert_eq!(
            Assembler::default().advance(&framed),
            Err(ProtocolError::OutOfOrder {
                expected: 1,
                found: 2
            })
        );
    }

    #[test]
    fn packets_are_put_in_order() {
        let mut ordered = Vec::new();
        put(&mut ordered, 0, &vec![0; 2 * MAX_PAYLOAD + 1]);
        let mut framed = ordered.clone();
        for (index, sequence) in [3, 0, 9].into_iter().enumerate() {
            framed[index * (HEADER_LEN + MAX_PAYLOAD) + 3] = sequence;
        }
        let mut assembler = Assembler::default();
        assembler.ignore_order(true);
        for _ in 0..2 {
            let progress = assembler.advance(&framed).unwrap();
            assert!(matches!(progress, Progress::Complete { sequence: 9, .. }));
        }
        assert_eq!(renumber(&mut framed), 2);
        assert!(framed == ordered);
        assert_eq!(renumber(&mut []), 0);
        let mut part = [0xFF, 0xFF, 0xFF, 7, 1];
        assert_eq!(renumber(&mut part), 1);
        assert_eq!(part, [0xFF, 0xFF, 0xFF, 0, 1]);
    }

    #[test]
    fn payload_of_a_fragment() {
        assert_eq!(&*payload(&[]), b"");
        assert_eq!(&*payload(&[5, 0, 0]), b"");
        assert_eq!(&*payload(&[5, 0, 0, 0, b'a']), b"a");
    }
}
