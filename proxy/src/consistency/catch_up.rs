//! How long a reader took lately to catch up with a mark.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::reader::nanos;

/// How many times are remembered.
const LENGTH: usize = 64;

/// The last times that passed between a mark and the moment when it was reached, in nanoseconds.
/// They are read far more often than noted.
#[derive(Debug, Default)]
pub struct CatchUps {
    /// As they were noted.
    times: Mutex<VecDeque<u64>>,
    /// The shortest first.
    sorted: ArcSwap<Vec<u64>>,
}

impl CatchUps {
    /// Notes how long it took with each of several marks.
    pub(super) fn note(&self, new: &[Duration]) {
        if new.is_empty() {
            return;
        }
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.extend(new.iter().copied().map(nanos));
        let excess = times.len().saturating_sub(LENGTH);
        times.drain(..excess);
        let mut sorted: Vec<u64> = times.iter().copied().collect();
        sorted.sort_unstable();
        self.sorted.store(sorted.into());
    }

    /// How much longer it will probably take, when it has taken `elapsed` so far: the mean of what
    /// was left at that age. Where nothing was ever that old, or nothing is known, as long again.
    pub fn expected_rest(&self, elapsed: Duration) -> Duration {
        let elapsed = nanos(elapsed);
        let times = self.sorted.load();
        let rests = longer_than(&times, elapsed)
            .iter()
            .map(|time| time - elapsed);
        let count = rests.len() as u64;
        let sum = rests.fold(0_u64, u64::saturating_add);
        Duration::from_nanos(sum.checked_div(count).unwrap_or(elapsed))
    }

    /// How much longer to wait, when it has taken `elapsed` so far and going to the writer takes
    /// `trip`, so that the time until there is an answer is the shortest to be expected, by what was
    /// left at that age; zero where waiting does not pay. Times count that were longer than `others`
    /// have taken so far, since they come first. Where none was, or none is known, it will be as
    /// long again, if that is shorter than the trip.
    pub fn best_wait(&self, elapsed: Duration, others: Duration, trip: Duration) -> Duration {
        // Those that are late by a little are no sign of a long one.
        let age = nanos(elapsed.max(others - others / 8));
        let (elapsed, trip) = (nanos(elapsed), nanos(trip));
        let times = self.sorted.load();
        let rests = longer_than(&times, age).iter().map(|time| time - elapsed);
        match rests.clone().next() {
            None => return Duration::from_nanos(if age < trip { age } else { 0 }),
            Some(shortest) if shortest >= trip => return Duration::ZERO,
            Some(_) => {}
        }
        let count = rests.len() as u64;
        // Whoever waits until one of them is over has waited for the shorter ones to their end, and
        // crosses the ocean after the longer ones.
        let (mut best, mut least) = (0, count.saturating_mul(trip));
        let mut shorter = 0_u64;
        for (longer, rest) in (0..count).rev().zip(rests) {
            shorter = shorter.saturating_add(rest);
            let beyond = longer.saturating_mul(rest.saturating_add(trip));
            let cost = shorter.saturating_add(beyond);
            if cost < least {
                (best, least) = (rest, cost);
            }
        }
        // What was just as long before is late by a little now.
        Duration::from_nanos(best.saturating_add(best / 8))
    }

    /// The one in the middle; `None` if nothing was noted yet.
    pub fn median(&self) -> Option<Duration> {
        let times = self.sorted.load();
        times
            .get(times.len() / 2)
            .map(|time| Duration::from_nanos(*time))
    }
}

/// Those of sorted times that are longer.
fn longer_than(times: &[u64], time: u64) -> &[u64] {
    times
        .get(times.partition_point(|one| *one <= time)..)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_is_left_is_expected_from_what_took_longer() {
        let catch_ups = CatchUps::default();
        assert_eq!(catch_ups.median(), None);
        assert_eq!(catch_ups.expected_rest(ms(7)), ms(7));
        catch_ups.note(&[10, 20, 30, 400].map(ms));
        for (elapsed, rest) in [(0, 115), (15, 135), (25, 190), (30, 370), (500, 500)] {
            assert_eq!(
                catch_ups.expected_rest(ms(elapsed)),
                ms(rest),
                "{elapsed} ms"
            );
        }
        assert_eq!(catch_ups.median(), Some(ms(30)));
    }

    #[test]
    fn waiting_pays_for_as_long_as_it_is_likely_to_end() {
        type Case = (&'static [(u64, usize)], u64, u64, u64, u64);
        let cases: [Case; 15] = [
            // Nothing is known.
            (&[], 0, 0, 150, 0),
            (&[], 4, 0, 150, 4),
            (&[], 4, 64, 150, 56),
            (&[], 150, 0, 150, 0),
            // It always takes as long.
            (&[(80, 64)], 0, 0, 150, 80),
            (&[(80, 64)], 10, 70, 150, 70),
            (&[(80, 64)], 0, 85, 150, 80),
            (&[(400, 64)], 0, 0, 150, 0),
            // Seldom long: waiting for the short ones pays though their mean is beyond the trip.
            (&[(40, 48), (900, 16)], 0, 0, 150, 40),
            (&[(40, 48), (900, 16)], 60, 0, 150, 0),
            (&[(40, 48), (900, 16)], 800, 0, 150, 100),
            // Those before wait longer than the short ones took: this is one of the long ones.
            (&[(40, 48), (900, 16)], 0, 30, 150, 40),
            (&[(40, 48), (900, 16)], 0, 60, 150, 0),
            (&[(40, 48), (900, 16)], 0, 800, 150, 0),
            // Seldom short: it does not.
            (&[(40, 8), (900, 56)], 0, 0, 40, 0),
        ];
        for (times, elapsed, others, trip, expected) in cases {
            let catch_ups = CatchUps::default();
            for (time, count) in times {
                catch_ups.note(&vec![ms(*time); *count]);
            }
            let wait = catch_ups.best_wait(ms(elapsed), ms(others), ms(trip));
            let is_right = wait >= ms(expected) && wait <= ms(expected) * 9 / 8;
            assert!(
                is_right,
                "{times:?} at {elapsed} ms, others at {others} ms: {wait:?}, not {expected} ms"
            );
        }
    }

    #[test]
    fn old_times_are_forgotten() {
        let catch_ups = CatchUps::default();
        catch_ups.note(&[ms(9000)]);
        assert_eq!(catch_ups.expected_rest(ms(0)), ms(9000));
        for _ in 0..LENGTH {
            catch_ups.note(&[ms(50)]);
        }
        assert_eq!(catch_ups.expected_rest(ms(0)), ms(50));
        catch_ups.note(&[ms(70); LENGTH + 1]);
        assert_eq!(catch_ups.expected_rest(ms(0)), ms(70));
    }
}
