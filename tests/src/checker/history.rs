//! What clients did and were told, and whether the promise was kept. This file knows nothing of
//! the proxy, of servers or of SQL.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// Something that only grows: a register, or the length of a list.
pub type Cell = u32;
/// One session, or everybody who shows the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// One client connection.
    Session(u32),
    /// Everybody who shows this key.
    Key(u32),
}

/// One thing that a client did. Times are nanoseconds on one clock.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// Before it was sent.
    pub start: u64,
    /// After its answer had come.
    pub end: u64,
    /// The session.
    pub session: u32,
    /// The key that it showed.
    pub key: Option<u32>,
    /// What it was.
    pub deed: Deed,
}

/// What a client did, and what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The cell has been raised to this value: the write was acknowledged.
    Wrote(Cell, u64),
    /// The cell has shown this value.
    Read(Cell, u64),
    /// A token was given, of this number.
    Gave(u32),
    /// A token was shown.
    Took(u32),
    /// The session has ended.
    Left,
}

/// A read that has shown less than was promised.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The read.
    pub event: Event,
    /// Whose promise it was.
    pub stream: Stream,
    /// What it should have shown at the least.
    pub floor: Floor,
}

/// What a cell must show from some moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// From when on.
    since: u64,
    /// At the least this.
    value: u64,
    /// Whether it was read before, rather than written.
    was_read: bool,
}

impl Floor {
    /// So many that are over may be kept.
    const KEPT: usize = 16;
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deed::Read(cell, value) = self.event.deed else {
            return write!(f, "{:?}", self.event);
        };
        write!(
            f,
            "{:?} at {:.3} s: cell {cell} shows {value}, though {} had been {} {:.3} s before",
            self.stream,
            seconds(self.event.start),
            self.floor.value,
            if self.floor.was_read {
                "read"
            } else {
                "written"
            },
            seconds(self.event.start - self.floor.since),
        )
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people to read")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

type Floors = HashMap<Cell, Vec<Floor>>;

/// Finds every read that has shown less than the same session, or another of the same key, or
/// somebody whose token was shown, had written or read before it began.
#[derive(Debug)]
pub struct Judge {
    /// No event began longer than this before it ended, in nanoseconds.
    longest: u64,
    streams: HashMap<Stream, Floors>,
    tokens: HashMap<u32, HashMap<Cell, Floor>>,
    found: Vec<Violation>,
}

impl Judge {
    /// Only the newest tokens are shown again.
    const TOKENS: u32 = 10_000;

    /// One who has seen nothing yet. No event takes longer than `longest`.
    pub fn new(longest: Duration) -> Self {
        Self {
            longest: u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX),
            streams: HashMap::new(),
            tokens: HashMap::new(),
            found: Vec::new(),
        }
    }

    /// Judges an event. They come in the order of their ends, so what ended before this one began
    /// is known.
    pub fn judge(&mut self, event: Event) {
        let session = Stream::Session(event.session);
        if event.deed == Deed::Left {
            self.streams.remove(&session);
            return;
        }
        // What nobody asks for any more: no event to come began before.
        let past = event.end.saturating_sub(self.longest);
        let key = event.key.map(Stream::Key);
        for stream in [Some(session), key].into_iter().flatten() {
            let floors = self.streams.entry(stream).or_default();
            match event.deed {
                Deed::Wrote(cell, value) => raise(floors, cell, event.end, value, false, past),
                Deed::Read(cell, value) => {
                    if let Some(floor) = floor(floors, cell, event.start)
                        && floor.value > value
                    {
                        self.found.push(Violation {
                            event,
                            stream,
                            floor,
                        });
                    }
                    raise(floors, cell, event.end, value, true, past);
                }
                // It stands for what the session has seen, and not for others of the same key.
                Deed::Gave(token) if stream == session => {
                    let known = floors.keys().filter_map(|cell| {
                        let floor = floor(floors, *cell, event.start)?;
                        Some((*cell, floor))
                    });
                    self.tokens.insert(token, known.collect());
                    self.tokens.remove(&token.wrapping_sub(Self::TOKENS));
                }
                Deed::Took(token) => {
                    for (cell, floor) in self.tokens.get(&token).into_iter().flatten() {
                        let Floor {
                            value, was_read, ..
                        } = *floor;
                        raise(floors, *cell, event.end, value, was_read, past);
                    }
                }
                Deed::Gave(_) | Deed::Left => {}
            }
        }
    }

    /// What was found.
    pub fn violations(self) -> Vec<Violation> {
        self.found
    }
}

/// From now on, the cell must show this.
fn raise(floors: &mut Floors, cell: Cell, since: u64, value: u64, was_read: bool, past: u64) {
    let steps = floors.entry(cell).or_default();
    if steps.last().is_none_or(|last| last.value < value) {
        let over = steps.partition_point(|step| step.since < past);
        // One of them is what had to be shown at that time.
        if over > Floor::KEPT {
            steps.drain(..over - 1);
        }
        steps.push(Floor {
            since,
            value,
            was_read,
        });
    }
}

/// What the cell had to show at this moment.
fn floor(floors: &Floors, cell: Cell, at: u64) -> Option<Floor> {
    let steps = floors.get(&cell)?;
    let before = steps.partition_point(|step| step.since < at);
    steps.get(before.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(start: u64, end: u64, session: u32, deed: Deed) -> Event {
        Event {
            start,
            end,
            session,
            key: None,
            deed,
        }
    }

    fn with_key(event: Event, key: u32) -> Event {
        Event {
            key: Some(key),
            ..event
        }
    }

    fn violations(events: &[Event]) -> Vec<Violation> {
        let mut judge = Judge::new(Duration::from_nanos(100));
        for event in events {
            judge.judge(*event);
        }
        judge.violations()
    }

    fn count(events: &[Event]) -> usize {
        violations(events).len()
    }

    #[test]
    fn a_session_sees_what_it_wrote_and_read() {
        use Deed::{Read, Wrote};
        let wrote = event(0, 10, 1, Wrote(7, 5));
        assert_eq!(count(&[wrote, event(11, 12, 1, Read(7, 5))]), 0);
        assert_eq!(count(&[wrote, event(11, 12, 1, Read(7, 4))]), 1);
        assert_eq!(count(&[wrote, event(11, 12, 1, Read(8, 0))]), 0);
        assert_eq!(count(&[wrote, event(11, 12, 2, Read(7, 4))]), 0);
        // It began before the write was acknowledged.
        assert_eq!(count(&[wrote, event(9, 12, 1, Read(7, 4))]), 0);
        let read = event(0, 10, 1, Read(7, 5));
        let found = violations(&[read, event(11, 12, 1, Read(7, 3))]);
        assert!(found[0].to_string().contains("though 5 had been read"));
    }

    #[test]
    fn a_key_is_shared() {
        use Deed::{Read, Wrote};
        let wrote = with_key(event(0, 10, 1, Wrote(7, 5)), 3);
        let read = |key, value| with_key(event(11, 12, 2, Read(7, value)), key);
        assert_eq!(count(&[wrote, read(3, 4)]), 1);
        assert_eq!(count(&[wrote, read(3, 5)]), 0);
        assert_eq!(count(&[wrote, read(4, 4)]), 0);
    }

    #[test]
    fn a_token_carries_what_was_seen_before_it_was_asked_for() {
        use Deed::{Gave, Read, Took, Wrote};
        let events = [
            event(0, 10, 1, Wrote(7, 5)),
            event(11, 12, 1, Gave(1)),
            event(13, 14, 1, Wrote(7, 6)),
            event(15, 16, 2, Took(1)),
        ];
        let with = |read| [&events[..], &[read]].concat();
        assert_eq!(count(&with(event(17, 18, 2, Read(7, 5)))), 0);
        assert_eq!(count(&with(event(17, 18, 2, Read(7, 4)))), 1);
        assert_eq!(count(&with(event(15, 18, 2, Read(7, 4)))), 0);
    }
    #[test]
    fn what_is_long_over_is_forgotten_and_what_holds_is_not() {
        use Deed::{Left, Read, Wrote};
        let mut judge = Judge::new(Duration::from_nanos(100));
        for time in 1..=1000 {
            judge.judge(event(time, time, 1, Wrote(7, time)));
        }
        assert!(judge.streams[&Stream::Session(1)][&7].len() <= 100 + Floor::KEPT + 1);
        judge.judge(event(901, 1001, 1, Read(7, 900)));
        assert!(judge.found.is_empty());
        judge.judge(event(901, 1001, 1, Read(7, 899)));
        assert_eq!(judge.found.len(), 1);
        judge.judge(event(5000, 5001, 1, Read(7, 999)));
        assert_eq!(judge.found.len(), 2);
        judge.judge(event(5001, 5001, 1, Left));
        assert!(judge.streams.is_empty());
    }
}
