//! What a response means for the session.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use isthmus_protocol::command::Command;
use isthmus_protocol::packet;
use isthmus_protocol::response::Kind;
use isthmus_protocol::status::Status;

use super::Session;
use super::conversation::Flow;
use super::diagnostics::Conditions;
use super::followup::{Followup, makes_ids, read_answer};
use super::possessions;
use crate::consistency::GtidSet;
use crate::pool::{Lease, State, Tracked};
use crate::relay::{RelayError, Reply};
use crate::routing::Transaction;
use crate::sql::{self, Holds, Needs, Place, Plan, Releases, TransactionEffect};

/// Holds that a statement may have caused even though it failed.
const EVEN_AFTER_ERRORS: Holds = Holds::USER_VARIABLE
    .union(Holds::USER_LOCK)
    .union(Holds::TEMPORARY_TABLE)
    .union(Holds::TABLE_LOCK)
    .union(Holds::XA);

impl Session {
    /// Takes note of a response and gives the connection back or keeps it.
    pub(super) async fn settle(
        &mut self,
        mut lease: Lease,
        plan: &Plan,
        mut reply: Reply,
        followups: Vec<Followup>,
        sql: &[u8],
    ) -> io::Result<Flow> {
        self.note_cursor(reply.status);
        if let (Some(number), Some(prepared)) = (self.preparing, reply.prepared) {
            lease.add_statement(number, prepared.statement_id);
            self.prepared = Some(prepared);
        }
        if plan.kind != sql::Kind::Set
            && !reply.session_state.is_empty()
            && sql::possessions::borrows_variables(sql, self.state.dialect)
        {
            reply.forget_variables();
        }
        let state = lease.state.clone();
        let mut tracked = lease.absorb(&reply);
        if plan.place != Place::Previous || !plan.needs.contains(Needs::DIAGNOSTICS) {
            self.diagnostics.note(&reply);
        }
        // What few statements need is boxed, so that no other carries the room for it.
        if !followups.is_empty() {
            let reading = Box::pin(self.read_followups(&mut lease, followups, &reply));
            if reading.await.is_err() {
                // The answer is out already; only the connection is lost.
                return Ok(self.lose(plan));
            }
        }
        if self.needs_status(plan, &reply)
            && Box::pin(self.ask_status(&mut lease, &mut reply))
                .await
                .is_err()
        {
            return Ok(self.lose(plan));
        }
        // A connection that was borrowed for a USE may have had that schema before.
        let has_selected = plan.kind == sql::Kind::Use && reply.error.is_none();
        if has_selected || !Arc::ptr_eq(&state, &lease.state) {
            self.take_over(&lease.state);
        }
        let was_open = self.transaction != Transaction::None;
        self.note_transaction(plan, &reply, &lease);
        if was_open && ends_transaction(plan) {
            self.holding.release(Holds::TRANSACTION);
        }
        self.note_holds(plan, &reply, &tracked);
        self.note_possessions(plan, sql, &reply);
        self.has_made_ids |= !self.is_leaving() && makes_ids(plan);
        self.note_mark(plan, &reply, tracked.gtids.take(), was_open, &lease);
        if self.needs_rescue(plan, &reply)
            && Box::pin(self.rescue(&mut lease, plan, &reply))
                .await
                .is_err()
        {
            return Ok(self.lose(plan));
        }
        self.give_back(lease);
        Ok(Flow::Continue)
    }

    /// Makes the connection's state the session's, but for what describes the client's connection.
    fn take_over(&mut self, state: &Arc<State>) {
        let Some((state, own)) = state.split() else {
            self.set_state(state.clone());
            return;
        };
        self.set_state(self.shared.states.intern(state));
        self.own_variables.extend(own);
        if let Some(value) = self.own_variables.get("wait_timeout")
            && let Some(seconds) = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
        {
            self.handle
                .set_idle_limit(Some(Duration::from_secs(seconds)));
        }
    }

    /// Marks what must be seen after a statement without an answer: it may have written.
    pub(super) fn note_lost_write(&mut self, plan: &Plan) {
        if plan.marks || self.has_written {
            self.pin(None);
        }
    }

    /// The connection broke after the answer was given. What it held is lost.
    fn lose(&mut self, plan: &Plan) -> Flow {
        self.handle.set_running(None);
        let was_open = self.transaction != Transaction::None || !self.holds.is_empty();
        self.note_lost_write(plan);
        if was_open {
            Flow::End(super::Ended::Closed)
        } else {
            Flow::Continue
        }
    }

    /// Whether nobody knows if a transaction is open: an error packet has no status flags, and
    /// what failed may have begun one.
    fn needs_status(&self, plan: &Plan, reply: &Reply) -> bool {
        use sql::Kind::{Call, Compound, Execute, Script, Unknown};
        let is_opaque = matches!(plan.kind, Call | Compound | Execute | Script | Unknown);
        reply.error.is_some() && (is_opaque || (!self.autocommit() && self.lease.is_none()))
    }

    async fn ask_status(&mut self, lease: &mut Lease, reply: &mut Reply) -> Result<(), RelayError> {
        let mut out = Vec::new();
        packet::put(&mut out, 0, &[Command::Ping as u8]);
        lease
            .stream
            .write_all(&out)
            .await
            .map_err(RelayError::from_backend)?;
        self.last.trips += 1;
        let pong = lease.swallow(Kind::Simple).await?;
        reply.status = pong.status;
        Ok(())
    }

    fn note_transaction(&mut self, plan: &Plan, reply: &Reply, lease: &Lease) {
        if let Some(status) = reply.status {
            self.client
                .status
                .set(Status::IN_TRANS, status.contains(Status::IN_TRANS));
            let is_reader = !self.is_writer(lease);
            self.transaction = if !status.contains(Status::IN_TRANS) {
                Transaction::None
            } else if is_reader {
                Transaction::ReadOnly
            } else if status.contains(Status::IN_TRANS_READONLY) {
                Transaction::ReadOnlyOnWriter
            } else {
                Transaction::ReadWrite
            };
        }
        if self.transaction != Transaction::None {
            self.has_written |= self.is_writer(lease) && plan.marks && !is_boundary(plan);
        }
    }

    pub(super) fn is_writer(&self, lease: &Lease) -> bool {
        let writer = self.world.snapshot.writer.as_ref();
        writer.is_some_and(|writer| Arc::ptr_eq(writer, lease.endpoint()))
    }

    fn note_holds(&mut self, plan: &Plan, reply: &Reply, tracked: &Tracked) {
        let mut new = plan.holds - Holds::TRANSACTION - Holds::FOUND_ROWS;
        if reply.error.is_some() && !plan.is_script() {
            new &= EVEN_AFTER_ERRORS;
        }
        // A routine changed something that the server does not name.
        if tracked.has_unnamed_change && is_opaque(plan) {
            new |= Holds::UNNAMED_CHANGE;
        }
        if reply.error.is_none() {
            self.holds -= released(plan.releases);
            // A statement without a table leaves the setting for the next one, so only the end of a
            // transaction tells that it is used up.
            if self.transaction == Transaction::None && is_boundary(plan) {
                self.holds -= Holds::NEXT_TRANSACTION;
            }
        }
        self.holds |= new;
    }

    /// Ends the holds of what the session has given up by name.
    fn note_possessions(&mut self, plan: &Plan, sql: &[u8], reply: &Reply) {
        let gives = self.holds.intersects(possessions::BY_NAME)
            && matches!(
                plan.kind,
                sql::Kind::Ddl | sql::Kind::Script | sql::Kind::Deallocate
            );
        let concerns = plan.holds.intersects(possessions::BY_NAME) || !plan.releases.is_empty();
        if !gives && !concerns {
            return;
        }
        let schema = self.state.schema.as_deref().unwrap_or_default();
        let transfers = sql::possessions::transfers(sql, self.state.dialect, schema);
        self.possessions.note(transfers, reply.error.is_some());
        self.holds -= self.possessions.needless();
    }

    /// Marks what must be seen from now on, if the statement or its transaction may have written.
    fn note_mark(
        &mut self,
        plan: &Plan,
        reply: &Reply,
        gtids: Option<String>,
        was_open: bool,
        lease: &Lease,
    ) {
        let is_open = self.transaction != Transaction::None;
        let has_ended = was_open && (!is_open || ends_transaction(plan));
        // A reader writes nothing, and what ends a transaction writes only what was in it.
        let is_write = plan.marks && self.is_writer(lease) && !is_boundary(plan);
        let has_written = (is_write && !is_open) || (has_ended && self.has_written);
        if !is_open {
            self.has_written = false;
        }
        if !has_written && gtids.is_none() {
            return;
        }
        let position = gtids.filter(|_| reply.error.is_none()).and_then(|text| {
            let set = if lease.server.is_mariadb {
                GtidSet::parse_mariadb(&text)
            } else {
                GtidSet::parse_mysql(&text)
            };
            set.ok()
        });
        self.pin(position);
    }

    fn is_leaving(&self) -> bool {
        self.transaction == Transaction::None && self.holds.is_empty() && self.cursors.is_empty()
    }

    /// Whether the connection is about to be given back and knows something that the session may
    /// be asked for.
    fn needs_rescue(&self, plan: &Plan, reply: &Reply) -> bool {
        self.is_leaving() && (self.loses_warnings(plan, reply) || self.loses_id(plan))
    }

    fn loses_warnings(&self, plan: &Plan, reply: &Reply) -> bool {
        let is_known = matches!(self.diagnostics.conditions, Conditions::Warnings { .. });
        plan.place != Place::Previous && reply.warnings > 0 && reply.error.is_none() && !is_known
    }

    fn loses_id(&self, plan: &Plan) -> bool {
        plan.kind == sql::Kind::LoadData || self.has_made_ids
    }

    /// Fetches what could not be asked for in one write with the statement: how its warnings read,
    /// and the insert id of an upload or of what ran while the connection was held.
    async fn rescue(
        &mut self,
        lease: &mut Lease,
        plan: &Plan,
        reply: &Reply,
    ) -> Result<(), RelayError> {
        if self.loses_warnings(plan, reply) {
            self.last.trips += 1;
            let packets = ask(lease, &Followup::Warnings.sql()).await?;
            self.note_warnings(reply, packets);
        }
        if self.loses_id(plan) {
            self.last.trips += 1;
            let packets = ask(lease, &Followup::LastInsertId.sql()).await?;
            self.note_followup(lease, &Followup::LastInsertId, &packets);
        }
        Ok(())
    }
}

/// Whether the statement may run code that its text does not show: routines and triggers.
pub(super) fn is_opaque(plan: &Plan) -> bool {
    use sql::Kind::{Call, Compound, Delete, Execute, Insert, LoadData, Replace, Unknown, Update};
    matches!(
        plan.kind,
        Call | Compound | Execute | Unknown | Insert | Replace | Update | Delete | LoadData
    ) || !plan.unknown_functions.is_empty()
        || plan.parts.iter().any(|part| is_opaque(part))
}

/// Whether the statement begins or ends a transaction and writes only what was in it.
fn is_boundary(plan: &Plan) -> bool {
    matches!(
        plan.kind,
        sql::Kind::Begin | sql::Kind::Commit | sql::Kind::Rollback
    )
}

pub(super) fn ends_transaction(plan: &Plan) -> bool {
    let ends = |plan: &Plan| {
        matches!(
            plan.transaction,
            Some(
                TransactionEffect::Begin { .. }
                    | TransactionEffect::Commit { .. }
                    | TransactionEffect::ImplicitCommit
                    | TransactionEffect::SetAutocommit(_)
            )
        )
    };
    ends(plan) || plan.parts.iter().any(|part| ends(part))
}

/// The holds that are over for certain.
fn released(releases: Releases) -> Holds {
    let mut holds = Holds::empty();
    for (release, hold) in [
        (Releases::USER_LOCKS_ALL, Holds::USER_LOCK),
        (Releases::TABLE_LOCK, Holds::TABLE_LOCK),
        (Releases::INSTANCE_LOCK, Holds::INSTANCE_LOCK),
        (Releases::XA, Holds::XA),
    ] {
        if releases.contains(release) {
            holds |= hold;
        }
    }
    holds
}

/// Asks a question of the proxy's own; the packets of the result before its terminator.
async fn ask(lease: &mut Lease, sql: &str) -> Result<Vec<u8>, RelayError> {
    let mut out = Vec::new();
    lease.form.put_query(&mut out, sql.as_bytes());
    lease
        .stream
        .write_all(&out)
        .await
        .map_err(RelayError::from_backend)?;
    read_answer(lease).await
}
