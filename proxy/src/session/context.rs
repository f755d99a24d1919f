//! What all sessions share.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Registry, StatementTable};
use crate::admin::Metrics;
use crate::config::Config;
use crate::consistency::{Ledger, Reader, SharedMarks};
use crate::pool::{Pools, StateTable};
use crate::sql::PlanCache;
use crate::topology::Snapshot;

/// How many plans are kept.
const PLANS: usize = 10_000;

/// The configuration and what follows from it. Replaced whole when it is reloaded; a statement
/// uses one world from beginning to end.
pub struct World {
    /// The configuration.
    pub config: Arc<Config>,
    /// The endpoints.
    pub snapshot: Snapshot,
    /// The readers of this region, with what they have seen.
    pub readers: Vec<Arc<Reader>>,
}

/// What outlives a reload.
pub struct Shared {
    /// The world of now.
    pub world: ArcSwap<World>,
    /// Backend connections.
    pub pools: Pools,
    /// States of sessions and connections, each once.
    pub states: Arc<StateTable>,
    /// Plans of statements seen before.
    pub plans: PlanCache,
    /// Marks that readers have not reached.
    pub ledger: Arc<Ledger>,
    /// Marks that sessions share.
    pub marks: SharedMarks,
    /// The sessions.
    pub sessions: Arc<Registry>,
    /// Prepared statements, each once.
    pub statements: StatementTable,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Shared {
    /// Everything empty but the world.
    pub fn new(world: World, ledger: Arc<Ledger>, metrics: Arc<Metrics>) -> Self {
        let states = Arc::new(StateTable::default());
        Self {
            world: ArcSwap::from_pointee(world),
            pools: Pools::new(states.clone(), metrics.clone()),
            states,
            plans: PlanCache::new(PLANS),
            ledger,
            marks: SharedMarks::default(),
            sessions: Arc::default(),
            statements: StatementTable::default(),
            metrics,
        }
    }
}
