//! What goes in front of a statement, as far as possible in the same write.

use std::io;
use std::sync::Arc;

use isthmus_protocol::command::Command;
use isthmus_protocol::error::ProtocolError;
use isthmus_protocol::packet;
use isthmus_protocol::response::Kind;

use super::Session;
use super::exchange::Failure;
use super::followup::{Followup, has_own_tracking, read_answer, touches_ids};
use super::statements::Statement;
use super::waiting::{Awaited, LEFTOVER};
use super::work::Work;
use crate::admin::metrics::SavedTrip;
use crate::pool::{Lease, State};
use crate::relay::ServerError;
use crate::sql::{self, Holds, Needs, Place, Plan, TransactionEffect};

/// What goes in front of one statement.
#[derive(Default)]
pub(super) struct Front {
    /// The bytes that are not sent yet.
    pub(super) out: Vec<u8>,
    /// Whether the server is to wait before all else.
    pub(super) waits: bool,
    /// How many commands bring the connection into the session's state.
    prelude: usize,
    /// The statement is prepared on the way, and this id is expected for it.
    pub(super) preparing: Option<u32>,
    /// The sequence id of the last packet that prepares it.
    last_of_preparation: u8,
    /// Whether one that was prepared before it is no more the last.
    forgets_last: bool,
    /// How many statements the client had the answer to already.
    deferred: usize,
    /// How many commands bring back what the previous statement left.
    pub(super) restored: usize,
    /// Whether the session had the connection before.
    is_held: bool,
}

impl Front {
    /// Nothing yet.
    pub(super) fn new(is_held: bool) -> Self {
        Self {
            is_held,
            ..Self::default()
        }
    }
}

/// How the answers to what goes in front leave the statement.
pub(super) enum Way {
    /// It runs as it was sent.
    Clear,
    /// The server does not take it any more, as after a DROP TABLE. It did not run.
    NotPrepared(ServerError),
    /// It was prepared under another id than expected, so it did not run.
    OtherId,
    /// The server is behind, so the answer to it does not count.
    TooEarly {
        /// Whether nothing but that answer is on its way.
        is_next: bool,
    },
}

impl Session {
    /// Writes the prelude and the preparation. Where a statement may write and cannot be kept from
    /// it by the gate, it must not run in the wrong state, so the prelude is sent and answered
    /// before anything else.
    pub(super) async fn write_front(
        &mut self,
        lease: &mut Lease,
        work: &Work<'_>,
        plan: &Plan,
        state: &Arc<State>,
        front: &mut Front,
    ) -> Result<(), Failure> {
        // The gate would take the place of what SET TRANSACTION has set.
        let is_meant = self.world.config.round_trips.state
            && is_gated(plan)
            && !self.holds.contains(Holds::NEXT_TRANSACTION)
            && !Arc::ptr_eq(&lease.state, state);
        let gate = lease.gate(state).filter(|_| is_meant);
        let is_safe = gate.is_some() || is_harmless(plan);
        let is_gated = gate.is_some();
        front.prelude = lease.write_prelude(state, gate, &mut front.out);
        if front.prelude > 0 && !is_safe {
            lease.stream.write_all(&front.out).await.map_err(not_sent)?;
            front.out.clear();
            self.last.trips += 1;
            let commands = std::mem::take(&mut front.prelude);
            if let Some(error) = lease.read_prelude(commands, state).await? {
                return Err(Failure::Refused(error));
            }
        } else if is_gated {
            self.save(SavedTrip::State, lease.endpoint());
        }
        if front.preparing.is_some()
            && let Some(statement) = work.executed()
        {
            front.forgets_last = front.preparing == Some(LAST_PREPARED) && lease.has_statements();
            if front.forgets_last {
                forget_last_prepared(&mut front.out);
            }
            let next = put_prepare(lease, statement, &mut front.out);
            front.last_of_preparation = next.wrapping_sub(1);
            self.save(SavedTrip::FirstExecution, lease.endpoint());
        }
        // MySQL goes on with the transaction if it is executed with a cursor.
        let ends = plan.is_certain && matches!(plan.kind, sql::Kind::Commit | sql::Kind::Rollback);
        if ends && !work.opens_cursor() {
            self.deferred.end();
        }
        for owed in self.deferred.due(front.is_held) {
            lease.form.put_query(&mut front.out, owed.sql().as_bytes());
            front.deferred += 1;
        }
        Ok(())
    }

    /// Reads the answers to what went in front.
    pub(super) async fn read_front(
        &mut self,
        lease: &mut Lease,
        work: &Work<'_>,
        state: &Arc<State>,
        front: &Front,
    ) -> Result<Way, Failure> {
        let awaited = match front.waits {
            true => self.read_wait(lease).await?,
            false => Awaited::Reached,
        };
        match awaited {
            Awaited::Reached => self.read_rest_of_front(lease, work, state, front).await,
            Awaited::Behind => {
                let reading = self.read_rest_of_front(lease, work, state, front);
                let rest = tokio::time::timeout(LEFTOVER, Box::pin(reading)).await;
                let is_next = matches!(rest, Ok(Ok(Way::Clear)));
                Ok(Way::TooEarly { is_next })
            }
            // Its answer may come yet.
            Awaited::Silent => Ok(Way::TooEarly { is_next: false }),
        }
    }

    async fn read_rest_of_front(
        &mut self,
        lease: &mut Lease,
        work: &Work<'_>,
        state: &Arc<State>,
        front: &Front,
    ) -> Result<Way, Failure> {
        if let Some(error) = lease.read_prelude(front.prelude, state).await? {
            return Err(Failure::Refused(error));
        }
        if front.forgets_last {
            match lease.swallow(Kind::Prepare).await?.error {
                // What was closed is the one before.
                Some(_) => lease.prepared.forget_last(),
                None => lease.prepared.forget_order(),
            }
        }
        let mut way = Way::Clear;
        if let (Some(expected), Some(statement)) = (front.preparing, work.executed()) {
            way = match self
                .read_prepared(lease, statement, front.last_of_preparation)
                .await?
            {
                Ok(id) if id == expected || expected == LAST_PREPARED => Way::Clear,
                Ok(_) => Way::OtherId,
                Err(error) => Way::NotPrepared(error),
            };
        }
        for index in 0..front.deferred {
            if let Some(error) = lease.swallow(Kind::Simple).await?.error {
                return Err(self.not_begun(index, error));
            }
        }
        if front.deferred > 0 {
            self.deferred.settle();
        }
        for _ in 0..front.restored {
            lease.swallow(Kind::Query).await?;
        }
        Ok(way)
    }

    /// One of the deferred statements has failed, against all expectation. Outside of its
    /// transaction, what stands behind may have had an effect that lasts.
    fn not_begun(&self, index: usize, error: ServerError) -> Failure {
        if index == 0 && self.deferred.begins() {
            return Failure::Lost {
                cause: io::Error::other(format!("the transaction did not begin: {error}")).into(),
                untouched: true,
            };
        }
        Failure::Refused(error)
    }

    /// The id that the server will give to a statement if it is prepared on this connection in the
    /// write that executes it; a textual one has none, which is 0. `None` where that takes a write
    /// of its own.
    pub(super) fn expected_id(
        &self,
        lease: &Lease,
        statement: &Statement,
        state: &Arc<State>,
        is_held: bool,
    ) -> Option<u32> {
        let is_meant = self.world.config.round_trips.first_execution
            // A prelude leads to one state.
            && Arc::ptr_eq(&self.state_to_prepare(lease, statement, is_held), state);
        let next = match &statement.literal {
            Some(_) => Some(0),
            // One with a cursor may have to go.
            None if lease.server.is_mariadb => {
                Some(LAST_PREPARED).filter(|_| !self.has_open_cursors())
            }
            None => lease.next_statement(),
        };
        next.filter(|_| is_meant)
    }

    /// Prepares the statement on this connection, in the state it was made in.
    /// Returns the error if the server does not take it any more, as after a DROP TABLE.
    pub(super) async fn prepare_on(
        &mut self,
        lease: &mut Lease,
        statement: &Statement,
        is_held: bool,
    ) -> Result<Option<ServerError>, Failure> {
        let mut out = Vec::new();
        let state = self.state_to_prepare(lease, statement, is_held);
        let commands = lease.write_prelude(&state, None, &mut out);
        let last = put_prepare(lease, statement, &mut out).wrapping_sub(1);
        lease.stream.write_all(&out).await.map_err(not_sent)?;
        self.last.trips += 1;
        if let Some(error) = lease.read_prelude(commands, &state).await? {
            return Err(Failure::Refused(error));
        }
        Ok(self.read_prepared(lease, statement, last).await?.err())
    }

    /// Reads the answer to a preparation whose last packet had the sequence id `last`: the server's id
    /// of the statement.
    async fn read_prepared(
        &self,
        lease: &mut Lease,
        statement: &Statement,
        last: u8,
    ) -> Result<Result<u32, ServerError>, Failure> {
        if statement.literal.is_some() {
            let reply = lease.swallow_after(Kind::Simple, last).await?;
            // It has used up a number all the same.
            lease.forget_next_statement();
            return Ok(match reply.error {
                Some(error) => {
                    lease.texts.remove(statement.number);
                    Err(error)
                }
                None => Ok(0),
            });
        }
        let reply = lease.swallow_after(Kind::Prepare, last).await?;
        match (reply.prepared, reply.error) {
            (Some(prepared), _) => {
                lease.add_statement(
                    statement.number,
                    prepared.statement_id,
                    &self.with_cursors(),
                );
                Ok(Ok(prepared.statement_id))
            }
            (None, Some(error)) => {
                lease.note_refused_statement(Some(&error));
                Ok(Err(error))
            }
            (None, None) => Err(astray("a preparation that has no answer")),
        }
    }

    /// Takes note of what a connection knows of the statement before, and of what this one will make
    /// of it.
    pub(super) fn note_arrival(&mut self, lease: &mut Lease, plan: &Plan, is_held: bool) {
        if !is_held {
            self.diagnostics.are_found_elsewhere = true;
            // What is there is another session's, unless it is the same by chance.
            self.has_own_id = lease.last_insert_id == Some(self.diagnostics.last_insert_id);
        }
        // What a trigger makes is not to be seen outside of it.
        let leaves_ids = matches!(plan.kind, sql::Kind::Update | sql::Kind::Delete);
        if !plan.is_plain() && (touches_ids(plan) || (plan.marks && !leaves_ids)) {
            lease.last_insert_id = None;
        }
    }

    /// Whether the statement needs something of what the previous one left on another connection.
    pub(super) fn restores(&self, plan: &Plan, is_held: bool) -> bool {
        !plan.is_plain()
            && (has_own_tracking(plan)
                || self.restores_id(plan)
                || self.restores_count(plan, is_held)
                || self.restores_conditions(plan, is_held))
    }

    fn restores_id(&self, plan: &Plan) -> bool {
        !self.has_own_id && touches_ids(plan)
    }

    fn restores_count(&self, plan: &Plan, is_held: bool) -> bool {
        !is_held
            && plan.kind == sql::Kind::Call
            && self.server().is_some_and(|server| !server.is_mariadb)
    }

    fn restores_conditions(&self, plan: &Plan, is_held: bool) -> bool {
        let asks =
            plan.is_diagnostic() || (plan.is_script() && plan.needs.contains(Needs::DIAGNOSTICS));
        asks && (!is_held || self.diagnostics.are_elsewhere)
    }

    /// Writes what brings back to this connection what the previous statement left on another;
    /// returns how many answers to skip.
    pub(super) fn write_restoration(
        &mut self,
        lease: &Lease,
        plan: &Plan,
        is_held: bool,
        out: &mut Vec<u8>,
    ) -> usize {
        let mut commands = 0;
        if has_own_tracking(plan) {
            let has_gtids = self.may_switch_gtids(plan);
            lease.write_tracking_of(&self.client.tracking, has_gtids, out);
            commands += 1;
        }
        if self.restores_id(plan) {
            self.has_own_id = true;
            let sql = format!(
                "SET @@SESSION.last_insert_id={}",
                self.diagnostics.last_insert_id
            );
            lease.form.put_query(out, sql.as_bytes());
            commands += 1;
        }
        if self.restores_count(plan, is_held) && commands == 0 {
            lease.form.put_query(out, NOTHING);
            commands += 1;
        }
        if self.restores_conditions(plan, is_held) {
            lease.form.put_query(out, NO_CONDITIONS);
            commands += 1;
        }
        commands
    }
}

/// Whether a statement that ran in a state it was not meant for has done no harm.
fn is_harmless(plan: &Plan) -> bool {
    let only_locks = plan.kind == sql::Kind::Select
        && plan.is_certain
        && plan.needs.contains(Needs::ROW_LOCKS)
        && !plan.needs.contains(Needs::DESTINATION);
    use sql::Kind::{Begin, Prepare};
    !plan.marks
        && (only_locks
            || matches!(plan.place, Place::Reader | Place::Previous | Place::Session)
            || matches!(plan.kind, Begin | Prepare))
}

/// Whether a read-only session keeps a statement of this kind from having any effect. Of several
/// statements, the server runs none behind the first that it refuses.
fn is_gated(plan: &Plan) -> bool {
    use sql::Kind::{Ddl, Delete, Insert, Replace, Truncate, Update};
    let is_gated = |plan: &Plan| {
        plan.is_certain
            && matches!(
                plan.kind,
                Insert | Replace | Update | Delete | Truncate | Ddl
            )
            && !plan.needs.contains(Needs::RIGHT_STATE)
    };
    let is_idle = |plan: &Plan| is_read(plan) || is_control(plan);
    match &plan.parts[..] {
        [] => is_gated(plan),
        parts => parts.iter().all(|part| is_gated(part) || is_idle(part)),
    }
}

fn is_read(plan: &Plan) -> bool {
    plan.is_certain && plan.kind == sql::Kind::Select && plan.place == Place::Reader
}

/// Whether the statement is about transactions, and leaves a read-only session what it is.
fn is_control(plan: &Plan) -> bool {
    use TransactionEffect::{Begin, Commit, ReleaseSavepoint, Rollback, RollbackTo, Savepoint};
    plan.is_certain
        && matches!(
            plan.transaction,
            Some(
                Begin {
                    read_only: None,
                    ..
                } | Commit { .. }
                    | Rollback { .. }
                    | Savepoint(_)
                    | RollbackTo(_)
                    | ReleaseSavepoint(_)
            )
        )
}

/// What MariaDB takes for the id of the statement that was prepared last. Its own ids have gaps.
const LAST_PREPARED: u32 = u32::MAX;

/// Has MariaDB know of no statement that was prepared last. Where there is no room for another one
/// (1461), that would be the one before still, and be executed in its place.
fn forget_last_prepared(out: &mut Vec<u8>) {
    packet::put(out, 0, &[&[Command::StmtPrepare as u8], NOTHING].concat());
    let [a, b, c, d] = LAST_PREPARED.to_le_bytes();
    packet::put(out, 0, &[Command::StmtClose as u8, a, b, c, d]);
}

/// Does nothing. It sets ROW_COUNT() to 0, with which MySQL answers the CALL of a procedure that has
/// changed nothing: without it, that would be the count of another session's statement.
pub(super) const NOTHING: &[u8] = b"DO 0";

/// Reads a table and has no warnings, so that what cannot be answered from what the proxy has kept
/// finds no conditions of other sessions.
const NO_CONDITIONS: &[u8] = b"SELECT 1 FROM information_schema.ENGINES LIMIT 0";

/// Whether the connection has the statement.
pub(super) fn is_prepared(lease: &Lease, statement: &Statement) -> bool {
    match &statement.literal {
        Some(_) => lease.texts.name(statement.number).is_some(),
        None => lease.prepared.get(statement.number).is_some(),
    }
}

/// Writes the preparation of a statement; returns the sequence id that follows.
pub(super) fn put_prepare(lease: &mut Lease, statement: &Statement, out: &mut Vec<u8>) -> u8 {
    match &statement.literal {
        Some(literal) => {
            let name = lease.texts.assign(statement.number);
            let sql = [b"PREPARE ", name.as_bytes(), b" FROM ", literal].concat();
            lease.form.put_query(out, &sql)
        }
        None => packet::put_with(out, 0, |out| {
            out.push(Command::StmtPrepare as u8);
            out.extend_from_slice(&statement.sql);
        }),
    }
}

/// Reads the answer to an execution that the server must have refused, and whose last packet had the
/// sequence id `last`.
pub(super) async fn skip_refused(lease: &mut Lease, last: u8) -> Result<(), Failure> {
    match lease.swallow_after(Kind::Query, last).await?.error {
        Some(_) => Ok(()),
        None => Err(astray("an execution of a statement that was not prepared")),
    }
}

/// Reads the answers to the questions behind a statement that did not run.
pub(super) async fn skip_followups(
    lease: &mut Lease,
    followups: &[Followup],
) -> Result<(), Failure> {
    for _ in followups {
        read_answer(lease).await?;
    }
    Ok(())
}

fn astray(what: &'static str) -> Failure {
    Failure::Lost {
        cause: ProtocolError::Malformed { what }.into(),
        untouched: true,
    }
}

pub(super) fn not_sent(error: io::Error) -> Failure {
    Failure::NotSent(error.into())
}
