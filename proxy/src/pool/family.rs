//! The pools of one user at one endpoint: they share one limit, and what is made ahead for them.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use tokio::sync::OwnedSemaphorePermit;

use super::budget::Budget;
use super::connect::ConnectError;
use super::connection::Connection;
use super::kill::Kills;
use super::pools::{Connections, Kind, Origin};
use super::stock::Stock;
use crate::admin::metrics::CloseReason;

/// How often room for a connection is looked for while there is none.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// How often whoever finds none asks for a connection of another pool that is in use.
const PATIENT_LOOKS: u32 = 40;
/// After a failure it takes so long at most until a connection is made ahead again. The pause
/// doubles from a second on.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pools of one user at one endpoint.
pub(super) struct Family {
    budget: Budget,
    /// How many connections are to be ready for each kind of client.
    min_idle: AtomicUsize,
    pub(super) stock: Stock,
    pub(super) kills: Kills,
    pools: Mutex<Vec<(Weak<Origin>, Connections)>>,
    /// Whether a pool without connections waits for one of the others to give one up.
    is_short: AtomicBool,
    keeping: Mutex<Keeping>,
}

/// How the making of connections ahead of demand goes.
#[derive(Default)]
struct Keeping {
    is_under_way: bool,
    failures: u32,
    /// When it may be tried again after a failure.
    again: Option<Instant>,
}

/// Where a connection comes from that no pool has yet.
pub(super) enum Room {
    /// It may be made.
    Free(OwnedSemaphorePermit),
    /// It was made ahead.
    Taken(Box<Connection>),
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").finish_non_exhaustive()
    }
}

impl Family {
    pub(super) fn new(limit: usize, min_idle: usize) -> Self {
        Self {
            budget: Budget::new(limit),
            min_idle: AtomicUsize::new(min_idle),
            stock: Stock::default(),
            kills: Kills::default(),
            pools: Mutex::default(),
            is_short: AtomicBool::new(false),
            keeping: Mutex::default(),
        }
    }

    /// Takes a new pool in.
    pub(super) fn join(&self, origin: &Arc<Origin>, connections: &Connections) {
        let pool = (Arc::downgrade(origin), connections.clone());
        self.lock().push(pool);
    }

    /// Lets a pool go that nobody uses.
    pub(super) fn leave(&self, origin: &Arc<Origin>) {
        self.lock()
            .retain(|(other, _)| other.as_ptr() != Arc::as_ptr(origin));
    }

    /// How many connections there may be.
    pub(super) fn limit(&self) -> usize {
        self.budget.limit()
    }

    /// Raises the limit, and changes how many are to be ready.
    pub(super) fn grow(&self, limit: usize, min_idle: usize) {
        self.budget.grow(limit);
        self.min_idle.store(min_idle, Ordering::Relaxed);
        for (_, pool) in self.lock().iter() {
            pool.resize(limit);
        }
    }

    /// Closes all connections: those that are lent when they come back.
    pub(super) fn close(&self) {
        for (_, pool) in self.lock().drain(..) {
            pool.manager().nearby.close();
            pool.close();
        }
        self.stock.clear();
    }

    /// Room for one more connection, first come, first served, or one that was made ahead in the
    /// meantime. Takes the place of an idle one in another pool of the family if there is no other
    /// room, or after a while of the next one that comes back, which may never be idle in a busy
    /// pool. The caller limits the time.
    pub(super) async fn room(&self, kind: &Kind) -> Room {
        let mut taking = pin!(self.budget.take());
        let mut looks = 0;
        let room = loop {
            if let Some(connection) = self.stock.take(kind) {
                break Room::Taken(connection);
            }
            if !self.budget.has_room() {
                self.close_one_idle();
            }
            // A connection that becomes idle in another pool wakes nobody here.
            if let Ok(permit) = tokio::time::timeout(ROOM_PAUSE, taking.as_mut()).await {
                break Room::Free(permit);
            }
            looks += 1;
            if looks % PATIENT_LOOKS == 0 {
                self.is_short.store(true, Ordering::Relaxed);
            }
        };
        if looks >= PATIENT_LOOKS {
            // Others who still wait will ask again.
            self.is_short.store(false, Ordering::Relaxed);
        }
        room
    }

    /// Whether a connection that comes back is to make room for one of another pool.
    pub(super) fn takes_room(&self) -> bool {
        self.is_short.load(Ordering::Relaxed) && self.is_short.swap(false, Ordering::Relaxed)
    }

    fn close_one_idle(&self) {
        if self.stock.close_one() {
            return;
        }
        for pool in self.pools() {
            let mut is_closed = false;
            pool.retain(|_, _| std::mem::replace(&mut is_closed, true));
            if is_closed {
                return;
            }
        }
    }

    /// Makes connections ahead, one after the other, until enough are ready for each kind of
    /// client. Returns at once.
    pub(super) fn keep_ready(self: &Arc<Self>) {
        if self.short_pool().is_none() || !self.begin_keeping() {
            return;
        }
        let family = self.clone();
        tokio::spawn(async move {
            let outcome = family.fill_up().await;
            family.end_keeping(outcome.is_ok());
        });
    }

    async fn fill_up(&self) -> Result<(), ConnectError> {
        while let Some(pool) = self.short_pool() {
            let Some(permit) = self.budget.take_now() else {
                break;
            };
            let manager = pool.manager();
            let connection = manager.make(permit).await?;
            manager.origin.metrics.made_ahead.inc();
            self.stock.put(&manager.kind, connection);
        }
        Ok(())
    }

    /// A pool of a kind of which too few connections are ready for long enough.
    fn short_pool(&self) -> Option<Connections> {
        let wanted = self.min_idle.load(Ordering::Relaxed);
        let lasts = |connection: &Connection| !connection.ends_soon();
        let kinds = self.stock.kinds();
        let kind = kinds
            .iter()
            .find(|kind| self.count_ready(kind, lasts) < wanted)?;
        self.pools()
            .into_iter()
            .find(|pool| pool.manager().kind == *kind && pool.manager().origin.endpoint.is_up())
    }

    /// How many connections of a kind nobody uses that pass the test.
    fn count_ready(&self, kind: &Kind, passes: impl Fn(&Connection) -> bool) -> usize {
        let mut count = 0;
        let mut look = |connection: &Connection| {
            count += usize::from(passes(connection));
            true
        };
        for pool in self.pools_of(kind) {
            pool.retain(|connection, _| look(connection));
        }
        self.stock.retain(kind, look);
        count
    }

    /// Closes connections that are too old, that the server has closed, or that waited for longer
    /// than `idle_timeout` and are not among those that are kept ready.
    pub(super) fn prune(&self, idle_timeout: Duration, origin: &Origin) {
        self.stock.forget();
        let mut kinds: Vec<Kind> = Vec::new();
        for pool in self.pools() {
            if !kinds.contains(&pool.manager().kind) {
                kinds.push(pool.manager().kind.clone());
            }
        }
        for kind in &kinds {
            let kept = match self.stock.knows(kind) {
                true => self.min_idle.load(Ordering::Relaxed),
                false => 0,
            };
            let mut ready = self.count_ready(kind, |_| true);
            let now = Instant::now();
            let mut stays = |connection: &Connection| {
                let idle = now.saturating_duration_since(connection.used);
                let reason = match connection.is_over(now) {
                    Some(reason) => reason,
                    None if connection.stream.is_closed() => {
                        origin.endpoint.doubt();
                        CloseReason::Broken
                    }
                    None if idle >= idle_timeout && ready > kept => CloseReason::Idle,
                    None => return true,
                };
                ready = ready.saturating_sub(1);
                origin.metrics.closed.inc(reason);
                false
            };
            for pool in self.pools_of(kind) {
                pool.retain(|connection, _| stays(connection));
            }
            self.stock.retain(kind, stays);
        }
    }

    fn begin_keeping(&self) -> bool {
        let mut keeping = self.keeping();
        let is_too_early = keeping.again.is_some_and(|again| Instant::now() < again);
        if keeping.is_under_way || is_too_early {
            return false;
        }
        keeping.is_under_way = true;
        true
    }

    fn end_keeping(&self, has_succeeded: bool) {
        let mut keeping = self.keeping();
        keeping.is_under_way = false;
        if has_succeeded {
            keeping.failures = 0;
            keeping.again = None;
        } else {
            keeping.again = Some(Instant::now() + pause(keeping.failures));
            keeping.failures = keeping.failures.saturating_add(1);
        }
    }

    fn pools_of(&self, kind: &Kind) -> impl Iterator<Item = Connections> {
        let pools = self.pools().into_iter();
        pools.filter(move |pool| pool.manager().kind == *kind)
    }

    /// Copies, so that nothing is done under the lock, with all idle connections in them.
    fn pools(&self) -> Vec<Connections> {
        let pools = self.lock();
        let mut whole = Vec::with_capacity(pools.len());
        for (_, pool) in pools.iter() {
            pool.manager().nearby.clear();
            whole.push(pool.clone());
        }
        whole
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Weak<Origin>, Connections)>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeping(&self) -> MutexGuard<'_, Keeping> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after so many failures in a row, shortened by up to a half, so that proxies that lost
/// their server together do not come back together.
fn pause(failures: u32) -> Duration {
    let full = Duration::from_secs(1 << failures.min(6)).min(LONGEST_PAUSE);
    let mut random = [0];
    // Without random numbers, the full pause will do.
    let _ = rand::fill(&mut random);
    full - full.mul_f64(f64::from(random[0]) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_not_alike() {
        for (failures, longest) in [(0, 1), (1, 2), (3, 8), (6, 60), (40, 60)] {
            let longest = Duration::from_secs(longest);
            let pauses: Vec<Duration> = (0..64).map(|_| pause(failures)).collect();
            assert!(pauses.iter().all(|pause| *pause <= longest));
            assert!(pauses.iter().all(|pause| *pause >= longest / 2));
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }
}
