//! Leaving a transaction without waiting for the server: by ROLLBACK, which is answered at once and
//! sent at once, and so is the reset of a session, and from a reader by a statement that is for the
//! writer.

use tokio::sync::oneshot;

use super::Session;
use super::lending::Interrupted;
use crate::admin::metrics::SavedTrip;
use crate::error::SqlError;
use crate::pool::{Lease, only_value};
use crate::routing::{self, Transaction};
use crate::sql::{Holds, Plan, TransactionEffect};

/// A connection that the session has left and whose ROLLBACK or reset the server has yet to answer.
#[derive(Debug)]
pub(super) struct Parting {
    /// The answer to `SELECT LAST_INSERT_ID()` there, if it was asked; an error if the connection
    /// was reset or closed.
    answered: oneshot::Receiver<Vec<u8>>,
    /// Whether that is the session's still.
    tells_id: bool,
}

impl Session {
    /// Leaves the open transaction to be rolled back, if the answer is certain. The connection is
    /// not lent again before the server has answered; if that fails it is closed, which rolls the
    /// transaction back too.
    pub(super) fn roll_back_at_once(&mut self) -> Option<(SavedTrip, Vec<u8>)> {
        let is_plain = self.world.config.round_trips.rollback
            && self.held() == Holds::TRANSACTION
            && self.transaction == Transaction::ReadWrite
            && !self.deferred.reads_ahead
            && !self.deferred.has_warned()
            && !self.deferred.hides_changes()
            // Their values are still to be asked for.
            && self.assigned.is_empty()
            && self.suspects.is_empty()
            && !(self.deferred.is_doubtful() && self.client.tracks_session());
        if !is_plain || self.parting.is_some() {
            return None;
        }
        let lease = self.lease.take()?;
        self.diagnostics.note_departure();
        let asks_id = std::mem::take(&mut self.has_made_ids);
        let state = self.state_to_leave(&lease);
        self.handle.set_at_rest();
        self.parting = Some(Parting {
            answered: lease.roll_back_and_release(asks_id, state),
            tells_id: true,
        });
        let changes = match self.autocommit() || self.deferred.is_explicit() {
            true => self.transaction_change(b"________"),
            false => Vec::new(),
        };
        self.forget_transaction();
        // What is not transactional has been written, and what was read has been seen.
        self.settle_mark();
        Some((SavedTrip::Rollback, changes))
    }

    /// Leaves the connection that the session keeps to be reset. What was left before is not the
    /// session's own any more.
    pub(super) fn reset_at_once(&mut self) {
        if let Some(parting) = &mut self.parting {
            parting.tells_id = false;
        }
        let Some(lease) = self.lease.take() else {
            return;
        };
        self.diagnostics.note_departure();
        self.handle.set_at_rest();
        let is_writer = lease.leads_to_writer();
        let may_stay = !self.holds.contains(Holds::RESOURCE_GROUP);
        let answered = lease.reset_and_release(may_stay);
        // Nobody waits for the locks of a reader.
        if is_writer {
            self.parting = Some(Parting {
                answered,
                tells_id: false,
            });
        }
    }

    /// Leaves a transaction on a reader for a statement that is for the writer, or whose connection the
    /// session may have to keep. Whether such a transaction is committed or rolled back is the same. What
    /// begins another one ends it; behind anything else one like it goes on on the writer. With an error,
    /// user variables were lost, and the session has to end.
    pub(super) async fn leave_reader(&mut self, plan: &Plan) -> Result<(), SqlError> {
        if self.transaction != Transaction::ReadOnly {
            return Ok(());
        }
        let allowed = &self.world.config.routing.reader_functions;
        let goes_on = routing::leaves_reader(plan, self.autocommit(), allowed);
        let is_over = match plan.transaction {
            // Without a word about it, MySQL stays read-only.
            Some(TransactionEffect::Begin { read_only, .. }) if plan.is_certain => {
                read_only == Some(false) || (read_only.is_none() && self.is_mariadb())
            }
            _ => false,
        };
        let has_cursors = self.has_open_cursors();
        let may_leave = self.held() - Holds::CURSOR == Holds::TRANSACTION;
        if !(goes_on || is_over) || !may_leave {
            return Ok(());
        }
        let Some(mut lease) = self.lease.take() else {
            return Ok(());
        };
        let rescued = self.rescue_before(&mut lease, plan).await;
        let is_told = rescued.is_ok();
        if !self.assigned.is_empty() {
            return rescued;
        }
        if has_cursors {
            lease.is_clean = false;
            self.last.trips += 1;
            let is_rolled_back =
                is_told && matches!(lease.roll_back(false, None).await, Ok(Some(_)));
            self.handle.set_at_rest();
            self.leave_to_cursors(lease, is_rolled_back);
        } else {
            self.handle.set_at_rest();
            let state = self.state_to_leave(&lease);
            match is_told {
                true => drop(lease.roll_back_and_release(false, state)),
                false => drop(lease),
            }
        }
        self.diagnostics.note_departure();
        if goes_on {
            self.deferred.begin_read_only();
            self.transaction = Transaction::ReadOnlyOnWriter;
            return Ok(());
        }
        self.forget_transaction();
        Ok(())
    }

    /// Fetches what only this connection knows of the statements before this one, none of which has run
    /// here.
    pub(super) async fn rescue_before(
        &mut self,
        lease: &mut Lease,
        plan: &Plan,
    ) -> Result<(), SqlError> {
        let mut untouched = plan.preparation();
        untouched.unknown_functions.clear();
        self.rescue(lease, &untouched).await
    }

    /// Waits until the server has answered to what the session has left behind: what follows may
    /// need its locks, or the insert id.
    pub(super) async fn finish_parting(&mut self) -> Result<(), Interrupted> {
        let Some(parting) = &mut self.parting else {
            return Ok(());
        };
        let answered = tokio::select! {
            biased;
            answered = &mut parting.answered => answered,
            () = self.handle.interrupted() => return Err(Interrupted),
        };
        let tells_id = parting.tells_id;
        self.parting = None;
        if let Ok(packets) = answered
            && tells_id
            && let Some(id) = only_value(&packets)
            && let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok())
        {
            self.diagnostics.last_insert_id = id;
            // Another connection may have been given the one before.
            self.has_own_id = false;
        }
        Ok(())
    }
}
