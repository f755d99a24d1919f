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

    /// Room for one more connection, for as long as the permit lives; `None` if there is none.
    pub(super) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Changes the limit. Where it shrinks, connections beyond it end when they come back.
    pub(super) fn resize(&self, limit: usize) {
        let old = self.limit.swap(limit, Ordering::Relaxed);
        if limit > old {
            self.permits.add_permits(limit - old);
        } else {
            self.permits.forget_permits(old - limit);
        }
    }
}
