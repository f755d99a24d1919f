//! How far away a server is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A server is as far as the quickest of so many answers in a row: what a busy processor or a full
/// queue adds to some of them is no distance.
const ANSWERS: usize = 4;
/// No answer.
const NONE: u64 = u64::MAX;

/// How long a server's last answers took, in nanoseconds.
#[derive(Debug)]
pub(super) struct Distance {
    answers: [AtomicU64; ANSWERS],
    next: AtomicUsize,
}

impl Distance {
    /// Of a server that has not answered yet.
    pub(super) fn unknown() -> Self {
        Self {
            answers: [const { AtomicU64::new(NONE) }; ANSWERS],
            next: AtomicUsize::new(0),
        }
    }

    /// Notes how long an answer took.
    pub(super) fn note(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(NONE - 1);
        let next = self.next.fetch_add(1, Ordering::Relaxed) % ANSWERS;
        self.answers[next].store(nanos, Ordering::Relaxed);
    }

    /// How long the slowest of the last answers took; `None` if there was none yet.
    pub(super) fn slowest(&self) -> Option<Duration> {
        let answers = self.answers.iter();
        let answers = answers.map(|answer| answer.load(Ordering::Relaxed));
        let slowest = answers.filter(|nanos| *nanos != NONE).max();
        slowest.map(Duration::from_nanos)
    }

    /// How long a question and its answer take; `None` if there was none yet.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let answers = self.answers.iter();
        let quickest = answers.map(|answer| answer.load(Ordering::Relaxed)).min();
        quickest
            .filter(|nanos| *nanos != NONE)
            .map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_answer_is_no_distance_and_four_are() {
        let distance = Distance::unknown();
        assert_eq!(distance.round_trip(), None);
        let note = |millis: u64| {
            distance.note(Duration::from_millis(millis));
            distance.round_trip().unwrap().as_millis()
        };
        assert_eq!(note(90), 90);
        assert_eq!(note(80), 80);
        assert_eq!([note(300), note(300), note(300)], [80, 80, 80]);
        assert_eq!(note(300), 300);
        assert_eq!(note(2), 2);
        assert_eq!(distance.slowest(), Some(Duration::from_millis(300)));
    }
}
