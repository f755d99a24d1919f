//! How long a reader took lately to catch up with a mark.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::reader::nanos;

/// How many times are remembered.
const LENGTH: usize = 64;

/// The last times that passed between a mark and the moment when it was reached.
#[derive(Debug)]
pub struct CatchUps {
    /// In nanoseconds; 0 where none was noted yet.
    times: [AtomicU64; LENGTH],
    next: AtomicUsize,
}

impl Default for CatchUps {
    fn default() -> Self {
        Self {
            times: [const { AtomicU64::new(0) }; LENGTH],
            next: AtomicUsize::new(0),
        }
    }
}

impl CatchUps {
    /// Notes how long it took.
    pub(super) fn note(&self, time: Duration) {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % LENGTH;
        if let Some(slot) = self.times.get(index) {
            slot.store(nanos(time).max(1), Ordering::Relaxed);
        }
    }

    /// How much longer it will probably take, when it has taken `elapsed` so far: the mean of what
    /// was left at that age. Where nothing was ever that old, or nothing is known, as long again.
    pub fn expected_rest(&self, elapsed: Duration) -> Duration {
        let elapsed = nanos(elapsed);
        let (mut sum, mut count) = (0_u64, 0_u64);
        for time in self.times() {
            if let Some(rest) = time.checked_sub(elapsed).filter(|rest| *rest > 0) {
                sum = sum.saturating_add(rest);
                count += 1;
            }
        }
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
        let longer = self.times().filter(|time| *time > age);
        let mut rests: Vec<u64> = longer.map(|time| time - elapsed).collect();
        if rests.is_empty() {
            return Duration::from_nanos(if age < trip { age } else { 0 });
        }
        rests.sort_unstable();
        let count = rests.len() as u64;
        // Whoever waits until one of them is over has waited for the shorter ones to their end, and
        // crosses the ocean after the longer ones.
        let (mut best, mut least) = (0, count.saturating_mul(trip));
        let mut shorter = 0_u64;
        for (longer, rest) in (0..count).rev().zip(&rests) {
            shorter = shorter.saturating_add(*rest);
            let beyond = longer.saturating_mul(rest.saturating_add(trip));
            let cost = shorter.saturating_add(beyond);
            if cost < least {
                (best, least) = (*rest, cost);
            }
        }
        // What was just as long before is late by a little now.
        Duration::from_nanos(best.saturating_add(best / 8))
    }

    /// The one in the middle; `None` if nothing was noted yet.
    pub fn median(&self) -> Option<Duration> {
        let mut times: Vec<u64> = self.times().collect();
        times.sort_unstable();
        times
            .get(times.len() / 2)
            .map(|time| Duration::from_nanos(*time))
    }

    fn times(&self) -> impl Iterator<Item = u64> {
        let times = self.times.iter().map(|slot| slot.load(Ordering::Relaxed));
        times.filter(|time| *time > 0)
    }
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
        for time in [10, 20, 30, 400] {
            catch_ups.note(ms(time));
        }
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
                for _ in 0..*count {
                    catch_ups.note(ms(*time));
                }
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
        catch_ups.note(ms(9000));
        for _ in 0..LENGTH {
            catch_ups.note(ms(50));
        }
        assert_eq!(catch_ups.expected_rest(ms(0)), ms(50));
    }
}
