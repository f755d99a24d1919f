//! What one reader has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::topology::Endpoint;

/// The moment after which a session has written: nanoseconds on the ledger's clock, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(super) u64);

/// A reader, with the instant up to which everything that was acknowledged is visible on it.
#[derive(Debug)]
pub struct Reader {
    /// The server.
    pub endpoint: Arc<Endpoint>,
    origin: Instant,
    /// Nanoseconds on the ledger's clock.
    seen_through: AtomicU64,
    /// The operator's promise in nanoseconds, where there is no better source; else `NO_PROMISE`.
    fixed_lag: AtomicU64,
    advanced: Notify,
    pub(super) work: Notify,
}

const NO_PROMISE: u64 = u64::MAX;

impl Reader {
    pub(super) fn new(endpoint: Arc<Endpoint>, origin: Instant) -> Self {
        Self {
            endpoint,
            origin,
            seen_through: AtomicU64::new(0),
            fixed_lag: AtomicU64::new(NO_PROMISE),
            advanced: Notify::new(),
            work: Notify::new(),
        }
    }

    /// Whether everything that `mark` stands for is visible here.
    pub fn has_seen(&self, mark: Mark) -> bool {
        self.seen_through.load(Ordering::Acquire) >= mark.0 || self.is_promised(mark)
    }

    fn is_promised(&self, mark: Mark) -> bool {
        let lag = self.fixed_lag.load(Ordering::Relaxed);
        lag != NO_PROMISE && nanos(self.origin.elapsed()) >= mark.0.saturating_add(lag)
    }

    /// Waits until everything that `mark` stands for is visible, `patience` long at the most.
    /// Returns whether it is.
    pub async fn wait(&self, mark: Mark, patience: Duration) -> bool {
        let lag = self.fixed_lag.load(Ordering::Relaxed);
        if lag != NO_PROMISE {
            let left = mark
                .0
                .saturating_add(lag)
                .saturating_sub(nanos(self.origin.elapsed()));
            let left = Duration::from_nanos(left);
            tokio::time::sleep(left.min(patience)).await;
            return left <= patience;
        }
        let waiting = async {
            loop {
                let advanced = self.advanced.notified();
                tokio::pin!(advanced);
                // Registered before the look, so that no advance in between is missed.
                advanced.as_mut().enable();
                if self.has_seen(mark) {
                    return;
                }
                advanced.await;
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }

    /// Publishes that everything up to `mark` is visible. Never goes back.
    pub(super) fn advance(&self, mark: Mark) {
        self.seen_through.fetch_max(mark.0, Ordering::Release);
        self.advanced.notify_waiters();
    }

    /// Takes the operator's word for how long replication takes.
    pub(super) fn promise(&self, lag: Duration) {
        self.fixed_lag.store(nanos(lag), Ordering::Relaxed);
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}
