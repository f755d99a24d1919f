//! Idle connections near the thread that lent them last: to lend one and to take it back touches
//! nothing that other threads use, which the pool's own semaphore and queue are.
//!
//! For the pool itself they are lent. Whoever waits there, and whoever counts or closes idle
//! connections, has them given back to it first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deadpool::managed::Object;

use super::manager::Manager;
use crate::per_thread::PerThread;

/// The idle connections of one pool that are near a thread.
pub(super) struct Nearby {
    shelves: PerThread<Arc<Shelf>>,
    wanted: Arc<AtomicUsize>,
}

/// Those near one thread.
pub(super) struct Shelf {
    idle: Mutex<Vec<Object<Manager>>>,
    /// How many want connections to go back to the pool itself. It is looked at under the lock, so
    /// that whoever counts first, and clears the shelf then, misses none.
    wanted: Arc<AtomicUsize>,
}

/// While it lives, connections go back to the pool itself.
pub(super) struct Wanted(Arc<AtomicUsize>);

impl Default for Nearby {
    fn default() -> Self {
        let wanted = Arc::<AtomicUsize>::default();
        let shelf = || {
            Arc::new(Shelf {
                idle: Mutex::default(),
                wanted: wanted.clone(),
            })
        };
        Self {
            shelves: PerThread::new(shelf),
            wanted,
        }
    }
}

impl Nearby {
    /// Takes the connection that came back last, of this thread's if there are any.
    pub(super) fn take(&self) -> Option<(Object<Manager>, &Arc<Shelf>)> {
        let own = self.shelves.own();
        let shelves = std::iter::once(own).chain(self.shelves.all());
        for shelf in shelves {
            if let Some(object) = shelf.lock().pop() {
                return Some((object, shelf));
            }
        }
        None
    }

    /// This thread's shelf.
    pub(super) fn own(&self) -> &Arc<Shelf> {
        self.shelves.own()
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.shelves.all().map(|shelf| shelf.lock().len()).sum()
    }

    /// Gives all connections back to the pool itself.
    pub(super) fn clear(&self) {
        for shelf in self.shelves.all() {
            // Bound, so that they are dropped without the lock.
            let idle = std::mem::take(&mut *shelf.lock());
            drop(idle);
        }
    }

    /// The same, with all that come back as long as the result lives.
    pub(super) fn want(&self) -> Wanted {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        let wanted = Wanted(self.wanted.clone());
        self.clear();
        wanted
    }

    /// The same for ever.
    pub(super) fn close(&self) {
        std::mem::forget(self.want());
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shelf {
    /// Takes back a connection that others may be lent.
    pub(super) fn put(&self, object: Object<Manager>) {
        let mut idle = self.lock();
        if self.wanted.load(Ordering::Relaxed) == 0 {
            idle.push(object);
        } else {
            drop(idle);
            drop(object);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Object<Manager>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
