//! All marks that some reader has not reached yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::reader::nanos;
use super::{GtidSet, Mark, Reader};
use crate::topology::Endpoint;

/// What a reader must have applied for a mark to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Position {
    /// The writer said so.
    Known(Arc<GtidSet>),
    /// The writer did not say: whatever it has applied at some moment after the mark.
    Unknown,
}

#[derive(Debug)]
struct Entry {
    mark: Mark,
    position: Position,
}

/// The marks in the order of their instants, for each reader those it has not reached.
///
/// The lock is taken once per write and by each reader's follower, never by a read.
#[derive(Debug)]
pub struct Ledger {
    origin: Instant,
    queues: Mutex<Vec<(Arc<Reader>, VecDeque<Entry>)>>,
}

/// What a follower has to find out next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Nothing is outstanding.
    Rest,
    /// Ask the writer for its position.
    Resolve,
    /// Wait for this position on the reader.
    Await(Arc<GtidSet>),
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            queues: Mutex::default(),
        }
    }
}

impl Ledger {
    /// More outstanding marks than this are merged into one of unknown position.
    const LIMIT: usize = 65_536;

    /// Makes `endpoints` the readers that are followed from now on. What was acknowledged before
    /// is outstanding on each of them, whether it was followed before or not.
    pub fn follow(&self, endpoints: &[Arc<Endpoint>]) -> Vec<Arc<Reader>> {
        let mut queues = self.lock();
        let start = self.now();
        *queues = endpoints
            .iter()
            .map(|endpoint| {
                let reader = Arc::new(Reader::new(endpoint.clone(), self.origin));
                (
                    reader,
                    VecDeque::from([Entry {
                        mark: start,
                        position: Position::Unknown,
                    }]),
                )
            })
            .collect();
        queues.iter().map(|(reader, _)| reader.clone()).collect()
    }

    /// A mark for a write that was acknowledged just now. `position` is what the writer said of
    /// it; `None` if it said nothing.
    pub fn mark(&self, position: Option<GtidSet>) -> Mark {
        let position = position.map_or(Position::Unknown, |set| Position::Known(Arc::new(set)));
        let mut queues = self.lock();
        let mark = self.now();
        for (reader, queue) in queues.iter_mut() {
            if queue.len() >= Self::LIMIT {
                queue.clear();
                queue.push_back(Entry {
                    mark,
                    position: Position::Unknown,
                });
            } else {
                queue.push_back(Entry {
                    mark,
                    position: position.clone(),
                });
            }
            reader.work.notify_one();
        }
        mark
    }

    /// How long ago the oldest mark was that the reader has not reached; zero where there is none.
    pub fn age(&self, reader: &Arc<Reader>) -> Duration {
        let oldest = self.with_queue(reader, |queue| queue.front().map(|entry| entry.mark));
        oldest
            .flatten()
            .map_or(Duration::ZERO, |mark| self.since(mark))
    }

    /// How long ago the mark was set.
    pub fn since(&self, mark: Mark) -> Duration {
        self.origin
            .elapsed()
            .saturating_sub(Duration::from_nanos(mark.0))
    }

    /// The present, as a mark.
    pub(super) fn now(&self) -> Mark {
        Mark(nanos(self.origin.elapsed()).max(1))
    }

    pub(super) fn next_task(&self, reader: &Arc<Reader>) -> Task {
        self.with_queue(reader, |queue| match queue.front() {
            None => Task::Rest,
            Some(Entry {
                position: Position::Unknown,
                ..
            }) => Task::Resolve,
            Some(Entry {
                position: Position::Known(set),
                ..
            }) => Task::Await(set.clone()),
        })
        .unwrap_or(Task::Rest)
    }

    /// The writer had applied `position` at some moment after `sampled`: good for every mark
    /// before that.
    pub(super) fn resolve(&self, reader: &Arc<Reader>, sampled: Mark, position: GtidSet) {
        let position = Arc::new(position);
        self.with_queue(reader, |queue| {
            for entry in queue.iter_mut().take_while(|entry| entry.mark <= sampled) {
                if entry.position == Position::Unknown {
                    entry.position = Position::Known(position.clone());
                }
            }
        });
    }

    /// The reader has applied `executed`: publishes how far that reaches.
    pub(super) fn reached(&self, reader: &Arc<Reader>, executed: &GtidSet) {
        let last = self.with_queue(reader, |queue| {
            let mut last = None;
            while let Some(Entry {
                mark,
                position: Position::Known(set),
            }) = queue.front()
                && executed.contains(set)
            {
                last = Some(*mark);
                queue.pop_front();
            }
            last
        });
        if let Some(mark) = last.flatten() {
            reader.advance(mark);
        }
    }

    /// Forgets what is outstanding on a reader whose position nobody follows.
    pub(super) fn abandon(&self, reader: &Arc<Reader>) {
        self.lock().retain(|(other, _)| !Arc::ptr_eq(other, reader));
    }

    fn with_queue<T>(
        &self,
        reader: &Arc<Reader>,
        action: impl FnOnce(&mut VecDeque<Entry>) -> T,
    ) -> Option<T> {
        let mut queues = self.lock();
        let (_, queue) = queues
            .iter_mut()
            .find(|(other, _)| Arc::ptr_eq(other, reader))?;
        Some(action(queue))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Reader>, VecDeque<Entry>)>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
