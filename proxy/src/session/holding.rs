//! Since when a session keeps its backend connection, and by which statements.

use std::time::Instant;

use super::Session;
use crate::admin::Metrics;
use crate::admin::metrics::Held;
use crate::routing::Transaction;
use crate::sql::{Holds, Kind};

/// The reasons for which a session keeps its connection, each counted as long as it is there.
#[derive(Debug, Default)]
pub(super) struct Holding {
    holds: Holds,
    taken: Vec<Taken>,
}

/// One reason.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) hold: Holds,
    pub(super) since: Instant,
    /// The statement that brought it.
    pub(super) by: Kind,
    _counted: Held,
}

impl Holding {
    /// The reasons, in the order in which they came.
    pub(super) fn taken(&self) -> &[Taken] {
        &self.taken
    }

    fn update(&mut self, holds: Holds, by: Kind, metrics: &Metrics) {
        if holds == self.holds {
            return;
        }
        self.release(self.holds - holds);
        for hold in (holds - self.holds).iter() {
            self.taken.push(Taken {
                hold,
                since: Instant::now(),
                by,
                _counted: Held::new(metrics.holding.of_value(hold)),
            });
        }
        self.holds = holds;
    }

    /// Forgets these: they are over, whether or not the same come again.
    pub(super) fn release(&mut self, holds: Holds) {
        self.holds -= holds;
        self.taken.retain(|taken| !holds.contains(taken.hold));
    }
}

impl Session {
    /// Why the session keeps its connection, the open transaction and cursors among it.
    pub(super) fn held(&self) -> Holds {
        let mut held = self.holds;
        let has_begun = !self.deferred.begins() || self.deferred.reads_ahead;
        let is_open = self.transaction != Transaction::None && has_begun;
        held.set(Holds::TRANSACTION, is_open);
        held.set(Holds::CURSOR, !self.cursors.is_empty());
        held
    }

    /// Takes note of what the last statement changed in it.
    pub(super) fn note_held(&mut self) {
        let mut held = self.held();
        held.set(
            Holds::CURSOR,
            held.contains(Holds::CURSOR) || !self.own_cursors.is_empty(),
        );
        let by = self.last.kind.unwrap_or(Kind::Unknown);
        self.holding.update(held, by, &self.shared.metrics);
        self.handle.set_held(held);
    }
}
