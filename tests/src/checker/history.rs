//! What clients did and were told, and whether the promise was kept. This file knows nothing of
//! the proxy, of servers or of SQL.

use std::collections::HashMap;
use std::fmt;

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
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// The cell has been raised to this value: the write was acknowledged.
    Wrote(Cell, u64),
    /// The cell has shown this value.
    Read(Cell, u64),
    /// A token was given, of this number.
    Gave(u32),
    /// A token was shown.
    Took(u32),
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

/// Every read that has shown less than the same session, or another of the same key, or somebody
/// whose token was shown, had written or read before it began.
pub fn violations(mut events: Vec<Event>) -> Vec<Violation> {
    // What ended before an event began stands before it then.
    events.sort_by_key(|event| event.end);
    let mut streams: HashMap<Stream, Floors> = HashMap::new();
    let mut tokens: HashMap<u32, HashMap<Cell, Floor>> = HashMap::new();
    let mut found = Vec::new();
    for event in events {
        let session = Stream::Session(event.session);
        let key = event.key.map(Stream::Key);
        for stream in [Some(session), key].into_iter().flatten() {
            let floors = streams.entry(stream).or_default();
            match event.deed {
                Deed::Wrote(cell, value) => raise(floors, cell, event.end, value, false),
                Deed::Read(cell, value) => {
                    if let Some(floor) = floor(floors, cell, event.start)
                        && floor.value > value
                    {
                        let event = event.clone();
                        found.push(Violation {
                            event,
                            stream,
                            floor,
                        });
                    }
                    raise(floors, cell, event.end, value, true);
                }
                // It stands for what the session has seen, and not for others of the same key.
                Deed::Gave(token) if stream == session => {
                    let known = tokens.entry(token).or_default();
                    for cell in floors.keys() {
                        if let Some(floor) = floor(floors, *cell, event.start) {
                            known.insert(*cell, floor);
                        }
                    }
                }
                Deed::Gave(_) => {}
                Deed::Took(token) => {
                    for (cell, floor) in tokens.get(&token).into_iter().flatten() {
                        raise(floors, *cell, event.end, floor.value, floor.was_read);
                    }
                }
            }
        }
    }
    found
}

/// From now on, the cell must show this.
fn raise(floors: &mut Floors, cell: Cell, since: u64, value: u64, was_read: bool) {
    let steps = floors.entry(cell).or_default();
    if steps.last().is_none_or(|last| last.value < value) {
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

    fn count(events: &[Event]) -> usize {
        violations(events.to_vec()).len()
    }

    #[test]
    fn a_session_sees_what_it_wrote_and_read() {
        use Deed::{Read, Wrote};
        let wrote = event(0, 10, 1, Wrote(7, 5));
        assert_eq!(count(&[wrote.clone(), event(11, 12, 1, Read(7, 5))]), 0);
        assert_eq!(count(&[wrote.clone(), event(11, 12, 1, Read(7, 4))]), 1);
        assert_eq!(count(&[wrote.clone(), event(11, 12, 1, Read(8, 0))]), 0);
        assert_eq!(count(&[wrote.clone(), event(11, 12, 2, Read(7, 4))]), 0);
        // It began before the write was acknowledged.
        assert_eq!(count(&[wrote, event(9, 12, 1, Read(7, 4))]), 0);
        let read = event(0, 10, 1, Read(7, 5));
        let found = violations(vec![read, event(11, 12, 1, Read(7, 3))]);
        assert!(found[0].to_string().contains("though 5 had been read"));
    }

    #[test]
    fn a_key_is_shared() {
        use Deed::{Read, Wrote};
        let wrote = with_key(event(0, 10, 1, Wrote(7, 5)), 3);
        let read = |key, value| with_key(event(11, 12, 2, Read(7, value)), key);
        assert_eq!(count(&[wrote.clone(), read(3, 4)]), 1);
        assert_eq!(count(&[wrote.clone(), read(3, 5)]), 0);
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
}
