//! What the log says of clients that were not let in.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::SqlError;

/// How many lines may come at once.
const BURST: u32 = 10;
/// How long it takes until one more may come.
const PACE: Duration = Duration::from_secs(1);
/// How many characters of a name or a sentence are shown: strangers choose how long they are.
const SHOWN: usize = 200;

/// Writes refusals to the log, so many at the most that who guesses passwords cannot fill a disk.
/// The metric `isthmus_client_connections_refused_total` counts all of them.
pub struct RefusalLog {
    budget: Mutex<Budget>,
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self {
            budget: Mutex::new(Budget::full(Instant::now())),
        }
    }
}

impl RefusalLog {
    /// A client of this address was refused with this error. `user` is whom it claims to be; empty
    /// if it did not get to say so.
    pub(super) fn note(&self, peer: SocketAddr, user: &[u8], error: &SqlError) {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left_out) = budget.spend(Instant::now()) else {
            return;
        };
        drop(budget);
        let user = shown(&String::from_utf8_lossy(user));
        let reason = shown(&error.message);
        tracing::warn!(%peer, user, code = error.code, reason, left_out, "client refused");
    }
}

/// Lines that may still be written.
struct Budget {
    lines: u32,
    /// When the last of them was earned.
    earned_at: Instant,
    /// How many were not written since the last one that was.
    left_out: u64,
}

impl Budget {
    fn full(now: Instant) -> Self {
        Self {
            lines: BURST,
            earned_at: now,
            left_out: 0,
        }
    }

    /// Takes a line, and returns how many were left out before it; `None` if there is none to take.
    fn spend(&mut self, now: Instant) -> Option<u64> {
        while self.lines < BURST && now >= self.earned_at + PACE {
            self.lines += 1;
            self.earned_at += PACE;
        }
        if self.lines == BURST {
            self.earned_at = now;
        }
        match self.lines.checked_sub(1) {
            Some(rest) => {
                self.lines = rest;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out += 1;
                None
            }
        }
    }
}

/// The beginning of a text, on one line whatever is in it.
fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(SHOWN).collect();
    beginning
        .chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_few_lines() {
        let start = Instant::now();
        let mut budget = Budget::full(start);
        let mut lines = Vec::new();
        // A thousand a second for ten seconds.
        for number in 0..10_000 {
            let now = start + Duration::from_millis(number);
            lines.extend(budget.spend(now));
        }
        assert!((19..=20).contains(&lines.len()), "{lines:?}");
        assert_eq!(lines[..10], [0; 10]);
        assert!(
            lines[10..].iter().all(|left_out| *left_out > 900),
            "{lines:?}"
        );
        // After a silence there is room again, and nothing was forgotten.
        let later = start + Duration::from_secs(3600);
        assert!(budget.spend(later).is_some_and(|left_out| left_out > 900));
        for _ in 1..BURST {
            assert_eq!(budget.spend(later), Some(0));
        }
        assert_eq!(budget.spend(later), None);
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(shown("ann\n2026 WARN"), "ann\u{FFFD}2026 WARN");
        assert_eq!(shown(&"x".repeat(5000)).len(), SHOWN);
    }
}
