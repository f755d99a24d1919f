//! Reads that come before the first write of a transaction, answered by the reader: opt-in, by
//! `optimistic_reads` of a user or by a hint.
//!
//! The transaction begins on the reader, so that all these reads see one state, and with them the
//! client's status flags are the server's own. At the first statement that is not such a read it is
//! rolled back there, where it has changed nothing, and begins on the writer.

use super::Session;
use crate::error::SqlError;
use crate::routing::Transaction;
use crate::sql::{Hints, Kind, Place, Plan, TransactionEffect};

impl Session {
    /// Whether a statement of a transaction that no server knows of yet may be answered by the
    /// reader.
    pub(super) fn may_read_ahead(&self, plan: &Plan, hints: &Hints) -> bool {
        let has_not_begun = match self.transaction {
            Transaction::None => !self.autocommit(),
            _ => self.deferred.begins(),
        };
        has_not_begun
            && self.lease.is_none()
            && is_plain_read(plan, hints)
            && self.is_optimistic(hints)
            && self.holds.is_empty()
            && self.is_serializable() == Some(false)
    }

    fn is_optimistic(&self, hints: &Hints) -> bool {
        let user = self.world.config.user(&self.identity.user.name);
        hints.optimistic
            || self.deferred.is_optimistic
            || user.is_some_and(|user| user.optimistic_reads)
    }

    /// Whether reads of a transaction lock what they read, if that is known.
    pub(super) fn is_serializable(&self) -> Option<bool> {
        let variables = &self.state.variables;
        let set = variables.get("transaction_isolation");
        match set.or_else(|| variables.get("tx_isolation")) {
            Some(level) => Some(level.eq_ignore_ascii_case(b"SERIALIZABLE")),
            None => {
                let writer = self.world.snapshot.writer.as_ref();
                let server = writer.and_then(|writer| writer.server());
                server.map(|server| server.is_serializable)
            }
        }
    }

    /// Leaves the reader that the transaction has read on, if the statement belongs on the writer. With
    /// an error, user variables were lost, and the session has to end.
    pub(super) async fn stop_reading_ahead(
        &mut self,
        plan: &Plan,
        hints: &Hints,
    ) -> Result<(), SqlError> {
        if !self.deferred.reads_ahead || is_plain_read(plan, hints) {
            return Ok(());
        }
        match &plan.transaction {
            Some(TransactionEffect::Commit { .. } | TransactionEffect::Rollback { .. })
                if plan.is_certain =>
            {
                return Ok(());
            }
            Some(TransactionEffect::Begin {
                read_only: None | Some(false),
                consistent_snapshot: false,
            }) if plan.is_certain => {
                // The next transaction begins on the reader as this one has.
                self.deferred.end();
                return Ok(());
            }
            Some(TransactionEffect::Begin { .. }) => self.forget_transaction(),
            _ if plan.place == Place::Previous => return Ok(()),
            _ => {}
        }
        self.deferred.reads_ahead = false;
        let Some(mut lease) = self.lease.take() else {
            return Ok(());
        };
        let rescued = self.rescue_before(&mut lease, plan).await;
        if !self.assigned.is_empty() {
            return rescued;
        }
        self.diagnostics.note_departure();
        self.handle.set_at_rest();
        let state = self.state_to_leave(&lease);
        match rescued {
            // Nobody waits for it: nothing on the writer depends on it.
            Ok(()) => drop(lease.roll_back_and_release(false, state)),
            Err(_) => drop(lease),
        }
        Ok(())
    }
}

/// Whether the statement only reads, takes no locks and leaves nothing behind.
fn is_plain_read(plan: &Plan, hints: &Hints) -> bool {
    plan.place == Place::Reader
        && plan.is_certain
        && matches!(plan.kind, Kind::Select | Kind::Show)
        && plan.holds.is_empty()
        && plan.user_variables.is_empty()
        && hints.target.is_none()
        && !hints.fresh
}
