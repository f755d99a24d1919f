//! What goes into one frame, of what is to be sent.

use super::MAX_FRAME;
use crate::packet::{self, Header};

/// What is written is cut into contents of at most so many bytes where nothing
/// speaks against it: compressing one takes a few milliseconds.
pub const MAX_CONTENT: usize = 256 * 1024;

/// The longest content that a client is sent. Node's mysql2 takes a frame of
/// full length for one that goes on in the next.
pub(super) const LONGEST: usize = MAX_FRAME - 5;

/// What goes into one frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Content<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Whether a command begins with them, and a new count.
    pub is_first: bool,
}

impl<'a> Content<'a> {
    /// Whole commands, cut into what fits in frames. Each has frames of its
    /// own: a server begins to count with each command that it reads, and
    /// would not take the end of one from a frame with a higher number.
    pub fn of_commands(commands: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut rest = commands;
        let messages = std::iter::from_fn(move || {
            let (message, tail) = rest.split_at(message_len(rest));
            rest = tail;
            (!message.is_empty()).then_some(message)
        });
        messages.flat_map(|message| {
            let contents = Self::of_more(message).enumerate();
            contents.map(|(index, content)| Self {
                is_first: index == 0,
                ..content
            })
        })
    }

    /// Whole packets of an answer, as many as fit into each frame. A packet is
    /// in one frame, or in two if it is longer than a frame can be: some
    /// clients do not find it in more of them, or when its header is torn
    /// (mysql-connector-python 9.7).
    pub fn of_packets(packets: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut rest = packets;
        let runs = std::iter::from_fn(move || {
            let (run, tail) = rest.split_at(run_len(rest));
            rest = tail;
            (!run.is_empty()).then_some(run)
        });
        runs.flat_map(|run| run.chunks(LONGEST)).map(|bytes| Self {
            bytes,
            is_first: false,
        })
    }

    /// What goes on with the count, cut into what fits in frames: a part of a
    /// command.
    pub fn of_more(bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        bytes.chunks(MAX_CONTENT).map(|bytes| Self {
            bytes,
            is_first: false,
        })
    }
}

/// The size of the message at the front of `bytes`; all of them if its end is
/// not there.
fn message_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(header) = bytes.get(at..).and_then(Header::parse) {
        at += packet::HEADER_LEN + header.length;
        if !header.is_continued() {
            return at.min(bytes.len());
        }
    }
    bytes.len()
}

/// The size of all the packets at the front of `bytes` that are whole.
pub fn whole_packets(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match packet_end(bytes, at) {
            Some(end) if end <= bytes.len() => at = end,
            _ => return at,
        }
    }
}

/// The size of the packets at the front of `bytes` that go into one frame: the
/// first, and those that fit in beside it.
fn run_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match packet_end(bytes, at) {
            Some(end) if at == 0 || end <= bytes.len().min(MAX_CONTENT) => at = end,
            _ => return at.min(bytes.len()),
        }
    }
}

/// Where the packet ends whose header is at `at`.
fn packet_end(bytes: &[u8], at: usize) -> Option<usize> {
    let header = Header::parse(bytes.get(at..)?)?;
    Some(at + packet::HEADER_LEN + header.length)
}
