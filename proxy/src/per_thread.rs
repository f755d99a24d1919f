//! A value for each thread, so that what all threads change with every statement is not one cache
//! line that travels between them.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// There are no more values than this, however many processors there are.
const MOST: usize = 64;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// As many values as there are processors. Threads beyond that share them, so a value has to stand
/// being used by several threads at once.
pub struct PerThread<T> {
    values: Box<[Apart<T>]>,
}

/// Two cache lines, since processors fetch them in pairs.
#[repr(align(128))]
struct Apart<T>(T);

impl<T> PerThread<T> {
    /// Makes each of the values.
    pub fn new(make: impl Fn() -> T) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let values = (0..processors.min(MOST)).map(|_| Apart(make()));
        Self {
            values: values.collect(),
        }
    }

    /// The value of this thread.
    pub fn own(&self) -> &T {
        let number = NUMBER.with(|number| *number);
        &self.values[number % self.values.len()].0
    }

    /// All values.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.values.iter().map(|apart| &apart.0)
    }
}

impl<T: Default> Default for PerThread<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T> fmt::Debug for PerThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerThread").finish_non_exhaustive()
    }
}
