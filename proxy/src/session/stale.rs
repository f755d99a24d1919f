//! Old states that a user's sessions may read while the writer cannot be reached:
//! `stale_reads = "when_writer_is_down"`.

use super::Session;
use super::conditions::{Condition, Level};
use super::lending::Destination;
use crate::config::StaleReads;
use crate::routing::{self, Transaction, View};
use crate::sql::{Hints, Kind, Place, Plan};

/// Whether what a session reads may be older than its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staleness {
    /// It is not.
    Excluded,
    /// The statement goes to the writer, but may go to the reader if the writer cannot be reached.
    Allowed,
    /// It may be: the reader answers, whatever it has.
    Accepted,
}

/// The warning of it.
pub(super) fn warning() -> Condition {
    const TEXT: &str = "The writer cannot be reached, and the reader may not have all that this session \
                        has written or seen: the user's stale_reads is \"when_writer_is_down\"";
    Condition {
        level: Level::Warning,
        code: 1105,
        state: *b"HY000",
        message: TEXT.into(),
    }
}

impl Session {
    /// Finds out whether a statement that goes to the writer because the reader is behind may go to
    /// the reader instead. It does at once if the writer is known to be down: there then.
    pub(super) fn settle_for_stale(
        &mut self,
        reader: Option<usize>,
        plan: &Plan,
        hints: &Hints,
    ) -> Option<Destination> {
        if self.stale_reads != StaleReads::WhenWriterIsDown || self.transaction != Transaction::None
        {
            return None;
        }
        let unpinned = View {
            transaction: self.transaction,
            autocommit: self.autocommit(),
            holds: self.holds,
            pinned: false,
            reads_ahead: false,
            locks_reads: false,
            allowed_functions: &self.world.config.routing.reader_functions,
        };
        let target = routing::route(plan, hints, &unpinned).target;
        let destination = self.assign(target, reader, plan, false);
        if !matches!(destination, Destination::Reader(_)) {
            return None;
        }
        self.staleness = Staleness::Allowed;
        let writer = self.world.snapshot.writer.as_ref();
        if writer.is_some_and(|writer| writer.is_up()) {
            return None;
        }
        self.stale_destination()
    }

    /// Where a statement can run whose writer could not be reached.
    pub(super) fn stale_destination(&mut self) -> Option<Destination> {
        if self.staleness != Staleness::Allowed {
            return None;
        }
        let (reader, _) = self.reader()?;
        self.staleness = Staleness::Accepted;
        self.last.made_do_with_reader();
        Some(Destination::Reader(reader))
    }

    /// Whether the client has to be warned of what this statement shows.
    pub(super) fn warns(&self, plan: &Plan) -> bool {
        self.staleness == Staleness::Accepted
            && plan.place == Place::Reader
            && plan.kind != Kind::Prepare
    }
}
