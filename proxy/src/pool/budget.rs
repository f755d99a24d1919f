//! How many connections one user may have to one endpoint, whichever pools they are in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit on connections that several pools share.
#[derive(Debug)]
pub(super) struct Budget {
    permits: Arc<Semaphore>,
    limit: AtomicUsize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit: AtomicUsize::new(limit),
        }
    }

    /// Whether there is room for one more connection at this moment.
    pub(super) fn has_room(&self) -> bool {
        self.permits.available_permits() > 0
    }

    /// Waits for room for one more connection, which is taken for as long as the permit lives.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        match self.permits.clone().acquire_owned().await {
            Ok(permit) => permit,
            // Only a closed semaphore gives none, and nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Room for one more connection, if there is some at this moment.
    pub(super) fn take_now(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Raises the limit.
    pub(super) fn grow(&self, limit: usize) {
        let old = self.limit.fetch_max(limit, Ordering::Relaxed);
        self.permits.add_permits(limit.saturating_sub(old));
    }
}
