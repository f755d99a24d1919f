//! Connections made ahead of demand, so that a burst of sessions after a quiet night does not wait
//! for TCP, TLS and a login over the ocean.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::pools::Kind;

/// For so many kinds of clients connections are made ahead: they choose themselves what they are
/// told apart by.
const KINDS: usize = 4;
/// A kind of which nobody was seen for so long may lose its place to another one …
const REPLACED_AFTER: Duration = Duration::from_secs(60);
/// … and after so long nothing is kept for it any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The connections that were made ahead for one user at one endpoint. They belong to no pool yet:
/// whether a session wants a schema does not matter before it has one.
#[derive(Default)]
pub(super) struct Stock {
    shelves: Mutex<Vec<Shelf>>,
}

/// What is kept for one kind of client.
struct Shelf {
    kind: Kind,
    seen: Instant,
    #[expect(clippy::vec_box, reason = "they come and go in boxes")]
    connections: Vec<Box<Connection>>,
}

impl Stock {
    /// Notes that there is a client of this kind.
    pub(super) fn note(&self, kind: &Kind) {
        let mut shelves = self.lock();
        if let Some(shelf) = shelves.iter_mut().find(|shelf| shelf.kind == *kind) {
            shelf.seen = Instant::now();
            return;
        }
        if shelves.len() >= KINDS {
            let oldest = shelves.iter().enumerate().min_by_key(|(_, one)| one.seen);
            match oldest {
                Some((index, shelf)) if shelf.seen.elapsed() >= REPLACED_AFTER => {
                    shelves.swap_remove(index);
                }
                _ => return,
            }
        }
        shelves.push(Shelf {
            kind: kind.clone(),
            seen: Instant::now(),
            connections: Vec::new(),
        });
    }

    /// Whether connections are kept for this kind.
    pub(super) fn knows(&self, kind: &Kind) -> bool {
        self.lock().iter().any(|shelf| shelf.kind == *kind)
    }

    /// The kinds for which connections are kept.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let shelves = self.lock();
        shelves.iter().map(|shelf| shelf.kind.clone()).collect()
    }

    /// Puts in a connection. One that nobody wants any more is closed.
    pub(super) fn put(&self, kind: &Kind, connection: Box<Connection>) {
        if let Some(shelf) = self.lock().iter_mut().find(|shelf| shelf.kind == *kind) {
            shelf.connections.push(connection);
        }
    }

    /// Takes out the newest connection of a kind.
    pub(super) fn take(&self, kind: &Kind) -> Option<Box<Connection>> {
        let mut shelves = self.lock();
        let shelf = shelves.iter_mut().find(|shelf| shelf.kind == *kind)?;
        shelf.connections.pop()
    }

    /// Closes the oldest connection of any kind. Returns whether there was one.
    pub(super) fn close_one(&self) -> bool {
        let mut shelves = self.lock();
        let shelf = shelves
            .iter_mut()
            .find(|shelf| !shelf.connections.is_empty());
        shelf.map(|shelf| shelf.connections.remove(0)).is_some()
    }

    /// How many connections are in it.
    pub(super) fn len(&self) -> usize {
        self.lock()
            .iter()
            .map(|shelf| shelf.connections.len())
            .sum()
    }

    /// Looks at every connection of a kind and drops those that `keep` does not want.
    pub(super) fn retain(&self, kind: &Kind, keep: impl FnMut(&Connection) -> bool) {
        let mut keep = keep;
        if let Some(shelf) = self.lock().iter_mut().find(|shelf| shelf.kind == *kind) {
            shelf.connections.retain(|connection| keep(connection));
        }
    }

    /// Gives up the kinds of which nobody was seen for a long time.
    pub(super) fn forget(&self) {
        self.lock()
            .retain(|shelf| shelf.seen.elapsed() < FORGOTTEN_AFTER);
    }

    /// Closes everything.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
