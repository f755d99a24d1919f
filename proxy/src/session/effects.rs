//! What a response means for the session.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::command::Command;
use isthmus_protocol::packet;
use isthmus_protocol::response::Kind;
use isthmus_protocol::status::Status;

use super::Session;
use super::conversation::{Ended, Flow};
use super::followup::{
    Followup, Told, is_upload, makes_ids, may_have_made_ids, read_answer, write_followups,
};
use super::opening::changes_beginning;
use super::possessions;
use super::stale::Staleness;
use super::touched::Touched;
use super::work::Work;
use crate::config::Pinning;
use crate::consistency::{GtidSet, Token};
use crate::error::SqlError;
use crate::pool::{Lease, State, Tracked};
use crate::rarely::rarely;
use crate::relay::{RelayError, Reply};
use crate::routing::{self, Transaction};
use crate::sql::possessions::Transfer;
use crate::sql::{
    self, Found, Holds, Needs, OwnSchema, Place, Plan, Planned, Releases, TableName,
    TransactionEffect,
};

/// The servers' own.
const USUAL_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

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
        planned: &Planned,
        mut reply: Reply,
        followups: Vec<Followup>,
        work: &Work<'_>,
    ) -> io::Result<Flow> {
        let (plan, sql) = (&*planned.plan, work.sql());
        if plan.is_plain()
            && reply.is_plain()
            && followups.is_empty()
            && self.stays_as_it_is(&reply)
        {
            let is_open = self.transaction != Transaction::None;
            self.diagnostics.note(&reply);
            self.diagnostics.note_found(reply.rows);
            if is_open {
                self.note_transaction(plan, &reply, &lease);
                self.note_deferred(plan, &reply);
            }
            self.note_mark(plan, &reply, None, None, is_open, &lease);
            self.give_back(lease);
            return Ok(Flow::Continue);
        }
        if reply.error.is_none() && self.is_released(plan) {
            // The server closes the connection, and a client expects that.
            lease.abandon();
            return Ok(Flow::End(Ended::Closed));
        }
        if plan.kind == sql::Kind::Use {
            // MySQL counts those of the command before it on this connection.
            reply.warnings = 0;
        }
        self.note_cursor(reply.status);
        match (self.preparing, reply.prepared) {
            (Some(number), Some(prepared)) => {
                lease.add_statement(number, prepared.statement_id, &self.with_cursors());
                self.prepared = Some(prepared);
            }
            (Some(_), None) => lease.note_refused_statement(reply.error.as_ref()),
            (None, _) if may_prepare(plan) => lease.forget_next_statement(),
            (None, _) => {}
        }
        if plan.kind != sql::Kind::Set
            && !reply.session_state.is_empty()
            && sql::possessions::borrows_variables(plan, sql, self.state.dialect)
        {
            reply.forget_variables();
        }
        let state = lease.state.clone();
        lease.has_unnamed_change = false;
        let mut tracked = lease.absorb(&reply);
        self.note_answer(plan, work, &mut reply, &lease);
        if reply.error.is_none() && self.warns(plan) {
            self.shared.metrics.consistency.stale_reads.inc();
            self.diagnostics.note_stale();
        }
        self.note_assigned(plan);
        self.note_unseen(planned);
        let mut told = Told::default();
        let has_asked_id = followups.contains(&Followup::LastInsertId);
        // What few statements need is boxed, so that no other carries the room for it.
        if !followups.is_empty() {
            let found_rows = self.diagnostics.found_rows;
            let reading = Box::pin(self.read_followups(&mut lease, followups));
            match reading.await {
                Ok(answers) => told = answers,
                // The answer is out already; only the connection is lost.
                Err(_) => {
                    self.has_made_ids |= makes_ids(plan) && may_have_made_ids(plan, &reply);
                    let flow = self.lose(plan, &lease);
                    // Without autocommit, it may have begun a transaction.
                    return Ok(match reply.is_in_transaction() {
                        true => Flow::End(Ended::Closed),
                        false => flow,
                    });
                }
            }
            let calculates = plan.needs.contains(Needs::CALC_FOUND_ROWS);
            let has_found = (calculates && reply.error.is_none())
                || match plan.is_script() {
                    true => self.finds_rows_within(sql, &reply, &lease).0,
                    false => reply.has_result_set,
                };
            if !has_found {
                // The connection tells of others.
                self.diagnostics.found_rows = found_rows;
            }
            self.diagnostics.note_question();
        }
        // Behind an upload nothing could be asked.
        let asks_found =
            is_upload(plan) && plan.is_script() && self.finds_rows_within(sql, &reply, &lease).0;
        if self.needs_status(plan, &reply) {
            reply.status = told.status;
            if reply.status.is_none() {
                let asking = rarely(self.ask_status(&mut lease, &mut reply));
                if asking.await.is_err() {
                    self.lose(plan, &lease);
                    // It may have been a transaction that is lost with it.
                    return Ok(Flow::End(Ended::Closed));
                }
                self.diagnostics.are_elsewhere = true;
            }
        }
        // What a statement has changed that failed, MySQL tells with the next answer.
        tracked.has_unnamed_change |= reply.error.is_some() && lease.has_unnamed_change;
        let transfers = self.transfers(plan, work);
        // A connection that was borrowed for a USE may have had that schema before.
        let has_selected = plan.kind == sql::Kind::Use && reply.error.is_none();
        if has_selected {
            self.take_over(&lease.state);
        } else {
            self.take_changes(&state, &lease.state);
        }
        if reply.error.is_none() && changes_beginning(plan) {
            rarely(self.learn_beginning(&lease)).await;
        }
        let was_open = self.transaction != Transaction::None;
        let was_read_only = was_open && self.transaction != Transaction::ReadWrite;
        self.note_transaction(plan, &reply, &lease);
        self.note_deferred(plan, &reply);
        if was_open && ends_transaction(plan) {
            self.holding.release(Holds::TRANSACTION);
        }
        // MariaDB before 10.11.14 begins another one with the next statement.
        lease.needs_rollback |=
            was_open && reply.error.is_some() && self.transaction == Transaction::None;
        self.note_holds(plan, sql, &reply, &tracked);
        if self.was_the_next_transaction(plan, work, &reply) {
            self.holds -= Holds::NEXT_TRANSACTION;
            lease.needs_rollback = true;
        }
        self.note_for_next_transaction(plan, work, &reply);
        if was_read_only && self.leaves_next_read_only(plan) {
            self.holds |= Holds::NEXT_TRANSACTION;
            // Of several statements, others may have ended it, or have used that up.
            if !plan.is_script() {
                self.for_next_transaction = vec![b"SET TRANSACTION READ ONLY".as_slice().into()];
            }
        }
        if let Some(transfers) = transfers {
            self.possessions.note(transfers, reply.error.is_some());
            self.holds -= self.possessions.needless();
        }
        // Whatever ends the transaction that it began itself was not expected to.
        self.has_made_ids |= if self.is_leaving() {
            makes_ids(plan) && !has_asked_id
        } else {
            makes_ids(plan) || is_upload(plan)
        };
        let gtids = tracked.gtids.take();
        self.note_mark(plan, &reply, gtids, told.position, was_open, &lease);
        if sql::changes_accounts(plan, sql, self.state.dialect) {
            if reply.error.is_some() {
                // A part of it may have been done.
                lease.endpoint().renew();
            }
            self.renew_readers();
        }
        // The answer is out.
        self.client.sequence = 0;
        if asks_found && self.is_leaving() {
            let asking = rarely(self.ask_found_rows(&mut lease));
            if asking.await.is_err() {
                return Ok(self.lose(plan, &lease));
            }
        }
        Ok(self.part_from(lease, plan).await)
    }

    /// Gives the connection back or keeps it. What only it knows of the statement, or of those
    /// before it, is fetched first.
    pub(super) async fn part_from(&mut self, mut lease: Lease, plan: &Plan) -> Flow {
        if self.needs_rescue(plan)
            && let Err(error) = rarely(self.rescue(&mut lease, plan)).await
        {
            let flow = self.lose(plan, &lease);
            if matches!(flow, Flow::End(_)) {
                let _ = self.client.send_error(&error).await;
            }
            return flow;
        }
        if self.leaves_tables_locked(plan) {
            self.note_held();
            self.handle.set_at_rest();
            let state = self.state_to_leave(&lease);
            // Nobody waits for it: nothing is open.
            drop(lease.roll_back_and_release(false, state));
        } else {
            self.give_back(lease);
        }
        if self.suspects.have_lost() {
            let _ = self.client.send_error(&SqlError::lost_lock()).await;
            return Flow::End(Ended::Closed);
        }
        Flow::Continue
    }

    /// Whether a statement that has begun no transaction, as one that fails, or that is about tables
    /// which know none, still locks its tables: without autocommit servers keep these metadata locks
    /// until the transaction ends.
    fn leaves_tables_locked(&self, plan: &Plan) -> bool {
        !self.autocommit()
            && plan.may_read_tables()
            // They give theirs back.
            && !matches!(plan.kind, sql::Kind::Prepare | sql::Kind::Show)
            && self.is_leaving()
            && self.cursors.is_empty()
            && !ends_transaction(plan)
    }

    /// Whether a plain read leaves the session as it was: it begins and ends by itself, and no
    /// earlier one has left anything for it, or it is one of an open transaction, which goes on.
    fn stays_as_it_is(&self, reply: &Reply) -> bool {
        let is_open = self.transaction != Transaction::None;
        let has_nothing_open = || {
            self.autocommit()
                && self.holds.is_empty()
                && self.assigned.is_empty()
                && !self.has_made_ids
        };
        is_open == reply.is_in_transaction()
            && (is_open || has_nothing_open())
            && self.preparing.is_none()
            && self.cursors.is_empty()
            && self.asked_cursor.is_none()
            && self.staleness != Staleness::Accepted
    }

    /// Takes note of what the next statement may ask about this one.
    fn note_answer(&mut self, plan: &Plan, work: &Work<'_>, reply: &mut Reply, lease: &Lease) {
        let sql = work.sql();
        if plan.is_diagnostic() && reply.error.is_none() {
            self.diagnostics
                .note_diagnosis(reply, self.most_conditions());
            // It is a row like any other, which those of SHOW WARNINGS are not.
            if reply.is_result_set && sql::counts_conditions(sql) {
                self.diagnostics.note_found(reply.rows);
            }
            return;
        }
        let mut row_count = self.diagnostics.row_count;
        row_count.is_elsewhere |= self.diagnostics.are_elsewhere;
        let (dialect, is_mariadb) = (self.state.dialect, lease.server.is_mariadb);
        let (leaving, counted) = match reply.earlier.is_empty() {
            true => (0, None),
            false => sql::sources(plan, sql, dialect, is_mariadb),
        };
        let behind = |behind: usize| reply.earlier.len().saturating_sub(behind);
        let is_told = reply.error.is_none() && reply.warnings == 0;
        let counted = counted.and_then(|count| reply.earlier.get(behind(count)));
        // To ask for a condition that is not there counts as an error.
        let counted = counted.map(|source| if is_told { source.row_count } else { -1 });
        let counted = counted.filter(|_| reply.error.is_none());
        if is_told {
            let left = reply.earlier.get(behind(leaving)..).unwrap_or_default();
            let last = left.iter().rfind(|source| source.warnings > 0);
            reply.warnings = last.map_or(0, |source| source.warnings);
        }
        // Commands that are no statements, as COM_INIT_DB is none.
        let is_command = matches!(work.kind(), Kind::Fetch | Kind::Simple);
        let is_beside = is_command || (is_mariadb && sql::leaves_conditions(plan, sql, dialect));
        if is_beside {
            self.diagnostics.note_beside(reply, self.is_leaving());
            self.recode_conditions(&lease.state);
        } else if let Some(error) = reply.error.as_ref().filter(|_| reply.is_replaced) {
            self.diagnostics.note_own(error.clone());
        } else {
            self.diagnostics.note(reply);
        }
        if self.preparing.is_some() && reply.error.is_none() {
            self.diagnostics.row_count = row_count;
        }
        if let Some(counted) = counted {
            self.diagnostics.row_count.value = counted;
        }
        if work.kind() != Kind::Fetch {
            self.note_found_rows(plan, sql, reply, lease);
        }
    }

    /// Takes note of what FOUND_ROWS() says.
    fn note_found_rows(&mut self, plan: &Plan, sql: &[u8], reply: &Reply, lease: &Lease) {
        let (finds, shows) = match plan.is_script() {
            true => self.finds_rows_within(sql, reply, lease),
            false => (reply.has_result_set, sql::finds_rows(plan, sql)),
        };
        if reply.error.is_some() {
            // What ran before the error may have found some.
            self.diagnostics.are_found_elsewhere &= !finds;
            return;
        }
        if reply.is_result_set && shows {
            self.diagnostics.note_found(reply.rows);
            return;
        }
        if reply.is_result_set && !plan.is_script() {
            return;
        }
        let rows = match Found::by(plan, sql, self.state.dialect, lease.server.is_mariadb) {
            Some(Found::Number(rows)) => Some(rows),
            Some(Found::Affected) => Some(reply.affected_rows),
            Some(Found::Counted) => reply.counted,
            None => None,
        };
        if let Some(rows) = rows {
            self.diagnostics.note_found(rows);
        } else if finds {
            self.diagnostics.are_found_elsewhere = false;
        }
    }

    fn finds_rows_within(&self, sql: &[u8], reply: &Reply, lease: &Lease) -> (bool, bool) {
        let ran = match reply.error {
            Some(_) => reply.earlier.len() + usize::from(reply.status.is_some()),
            None => usize::MAX,
        };
        sql::finds_rows_within(sql, self.state.dialect, lease.server.is_mariadb, ran)
    }

    /// Whether the statement ends the session, by its RELEASE or by the session's `completion_type`.
    fn is_released(&self, plan: &Plan) -> bool {
        let is_released = |plan: &Plan| match plan.transaction {
            Some(
                TransactionEffect::Commit { chain, release }
                | TransactionEffect::Rollback { chain, release },
            ) => release.unwrap_or_else(|| {
                let habit = self.state.variables.get("completion_type");
                chain != Some(true) && habit.is_some_and(|habit| **habit == *b"RELEASE")
            }),
            _ => false,
        };
        is_released(plan) || plan.parts.iter().any(|part| is_released(part))
    }

    /// Makes what a statement has changed of the connection's state the session's. The rest of it may be
    /// that of a prepared statement, and not the session's.
    pub(super) fn take_changes(&mut self, before: &Arc<State>, after: &Arc<State>) {
        if Arc::ptr_eq(before, after) {
            return;
        }
        if Arc::ptr_eq(before, &self.state) {
            self.take_over(after);
            return;
        }
        let state = self.state.with_changes(before, after);
        self.take_over(&self.shared.states.intern(state));
    }

    /// Makes the connection's state the session's, but for what describes the client's connection.
    pub(super) fn take_over(&mut self, state: &Arc<State>) {
        let Some((state, own)) = state.split() else {
            self.set_state(state.clone());
            return;
        };
        self.set_state(self.shared.states.intern(state));
        self.own_variables.extend(own);
        if let Some(limit) = self.own_timeout("wait_timeout") {
            self.handle.set_idle_limit(Some(limit));
        }
        self.be_patient();
    }

    /// Lets the client take its time to read, as its server would.
    pub(super) fn be_patient(&mut self) {
        let limit = self.own_timeout("net_write_timeout").unwrap_or_else(|| {
            let server = self.server();
            server.map_or(USUAL_WRITE_TIMEOUT, |server| server.net_write_timeout)
        });
        self.client.stream.be_patient(limit, self.handle.clone());
    }

    /// What the session has set for its client's connection, in seconds.
    pub(super) fn own_timeout(&self, variable: &str) -> Option<Duration> {
        let seconds = self.own_variables.get(variable)?;
        let seconds = std::str::from_utf8(seconds).ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// Marks what must be seen after a statement without an answer: it may have written, or shown
    /// something.
    pub(super) fn note_lost_write(&mut self, plan: &Plan) {
        self.has_written |= plan.marks;
        if self.has_written || self.has_seen_elsewhere {
            self.touched = Touched::All;
        }
        self.settle_mark();
    }

    /// The connection broke after the answer was given. What it held is lost.
    fn lose(&mut self, plan: &Plan, lease: &Lease) -> Flow {
        self.handle.set_at_rest();
        self.diagnostics.note_departure();
        self.has_seen_elsewhere |= lease.leads_to_writer() || self.is_guest();
        // What it has begun is lost too, and so are the ids that nobody has read.
        let was_open = self.transaction != Transaction::None
            || !self.holds.is_empty()
            || !self.assigned.is_empty()
            || !plan.holds.is_empty()
            || self.has_made_ids
            || is_upload(plan);
        self.note_lost_write(plan);
        self.cursors.clear();
        if was_open {
            Flow::End(Ended::Closed)
        } else {
            Flow::Continue
        }
    }

    /// Whether nobody knows if a transaction is open: an error packet has no status flags, and
    /// what failed may have begun one.
    fn needs_status(&self, plan: &Plan, reply: &Reply) -> bool {
        use sql::Kind::{Call, Compound, Execute, Script, Unknown};
        let Some(error) = &reply.error else {
            return false;
        };
        // No server knows of the transaction, so none has ended it.
        if self.deferred.begins() && !self.deferred.reads_ahead {
            return false;
        }
        let is_opaque = matches!(plan.kind, Call | Compound | Execute | Script | Unknown);
        // What fails may have ended the transaction before, or because it failed.
        let may_have_ended = self.transaction != Transaction::None
            && (ends_transaction(plan) || ROLLS_BACK.contains(&error.code));
        // Servers begin it before an engine refuses the snapshot.
        let may_have_begun = matches!(plan.transaction, Some(TransactionEffect::Begin { .. }));
        let is_unknown = is_opaque || may_have_ended || may_have_begun;
        is_unknown || (!self.autocommit() && self.lease.is_none())
    }

    async fn ask_status(&mut self, lease: &mut Lease, reply: &mut Reply) -> Result<(), RelayError> {
        let mut out = Vec::new();
        let is_unread = self.diagnostics.conditions.are_unread();
        if is_unread {
            write_followups(lease, &[Followup::Warnings], &mut out);
        }
        packet::put(&mut out, 0, &[Command::Ping as u8]);
        lease
            .stream
            .write_all(&out)
            .await
            .map_err(RelayError::from_backend)?;
        self.last.trips += 1;
        if is_unread {
            let (packets, _) = read_answer(lease).await?;
            self.note_conditions(&packets, lease);
        }
        let pong = lease.swallow(Kind::Simple).await?;
        reply.status = pong.status;
        Ok(())
    }

    fn note_transaction(&mut self, plan: &Plan, reply: &Reply, lease: &Lease) {
        if let Some(status) = reply.status {
            // An error, which has no flags, may be all that the client was told.
            let open = status & Status::TRANSACTION;
            self.client.status = (self.client.status - Status::TRANSACTION) | open;
            let is_reader = !lease.leads_to_writer();
            self.transaction = if !status.contains(Status::IN_TRANS) {
                Transaction::None
            } else if is_reader && !self.deferred.reads_ahead {
                Transaction::ReadOnly
            } else if status.contains(Status::IN_TRANS_READONLY) {
                Transaction::ReadOnlyOnWriter
            } else {
                Transaction::ReadWrite
            };
        }
        if self.transaction != Transaction::None {
            let is_write = lease.leads_to_writer() && plan.marks && !is_boundary(plan);
            self.has_written |= is_write;
            self.has_changed_rows |=
                is_write && reply.affected_rows > 0 && !self.may_count_found(plan);
        }
    }

    /// Whether the rows that the server counts may be those that were found, changed or not.
    fn may_count_found(&self, plan: &Plan) -> bool {
        let is_told_found = self.client.capabilities.contains(Capabilities::FOUND_ROWS);
        is_told_found && plan.kind == sql::Kind::Update
    }

    fn note_holds(&mut self, plan: &Plan, sql: &[u8], reply: &Reply, tracked: &Tracked) {
        let mut new = plan.holds - Holds::TRANSACTION;
        if let Some(error) = &reply.error
            && !plan.is_script()
        {
            new &= match error.is_read_only_refusal() {
                true => Holds::empty(),
                false => EVEN_AFTER_ERRORS,
            };
        }
        // Servers refuse to set it in a transaction.
        if self.transaction != Transaction::None && !ends_transaction(plan) {
            new -= Holds::NEXT_TRANSACTION;
        }
        let is_changed = tracked.has_unnamed_change && self.may_run_unseen(plan);
        if is_changed || (self.may_have_stopped(plan, sql, reply) && is_opaque(plan)) {
            new |= Holds::UNNAMED_CHANGE;
        }
        // `IS NULL` then asks for the row that this connection has inserted last.
        let auto_is_null = || self.state.variables.get("sql_auto_is_null");
        if makes_ids(plan) && auto_is_null().is_some_and(|value| matches!(&**value, b"ON" | b"1")) {
            new |= Holds::ONE_SHOT;
        }
        // Servers do not tell of what a SELECT … INTO assigns when it is executed.
        if reply.error.is_none() && plan.prepares_assignment() {
            new |= Holds::USER_VARIABLE;
        }
        if reply.error.is_none() {
            // It is one of the transaction that begins with the next statement.
            let is_ahead = self.transaction == Transaction::None && !self.autocommit();
            if plan.kind == sql::Kind::Savepoint && is_ahead {
                new |= Holds::NEXT_TRANSACTION;
            }
            self.holds -= released(plan.releases);
            // A statement without a table leaves the setting for the next one, so only the end of a
            // transaction tells that it is used up.
            if self.transaction == Transaction::None && is_boundary(plan) {
                self.holds -= Holds::NEXT_TRANSACTION;
            }
        }
        self.holds |= new;
    }

    /// Whether a change that the server does not name may be that of a routine: on MySQL also of one
    /// that a view calls. MariaDB says so of much that changes nothing.
    fn may_run_unseen(&self, plan: &Plan) -> bool {
        let may_call = plan.kind == sql::Kind::Select && plan.user_variables.is_empty();
        is_opaque(plan) || (may_call && !self.is_mariadb())
    }

    /// Whether SET autocommit has ended a read-only transaction. Servers leave the next one read-only
    /// then, which is told of nowhere, unless the session's are anyway.
    fn leaves_next_read_only(&self, plan: &Plan) -> bool {
        const NAMES: [&str; 2] = ["transaction_read_only", "tx_read_only"];
        let is_set = |plan: &Plan| plan.variables.iter().any(|name| NAMES.contains(&&**name));
        let is_usual = |name: &&str| {
            let value = self.state.variables.get(*name);
            value.is_some_and(|value| matches!(&**value, b"ON" | b"1"))
        };
        self.transaction == Transaction::None
            && routing::may_switch_autocommit_on(plan)
            && !is_set(plan)
            && !NAMES.iter().any(is_usual)
    }

    /// Whether the statement was the transaction that characteristics had been set for: a query of
    /// tables by itself. Should its tables know no transactions, a ROLLBACK takes them back as the
    /// connection is given back.
    fn was_the_next_transaction(&self, plan: &Plan, work: &Work<'_>, reply: &Reply) -> bool {
        self.holds.contains(Holds::NEXT_TRANSACTION)
            && reply.error.is_none()
            && self.transaction == Transaction::None
            && self.autocommit()
            && plan.is_plain()
            && work.kind() != Kind::Fetch
            && !self.names_own_tables(plan)
    }

    /// Whether it names a table of the schemas that servers have for themselves, which begin no
    /// transaction.
    fn names_own_tables(&self, plan: &Plan) -> bool {
        let is_own = |table: &TableName| match &table.schema {
            Some(schema) => OwnSchema::from_name(schema.as_bytes()).is_some(),
            None => self.state.dialect.own_schema.is_some(),
        };
        plan.tables.iter().flatten().any(is_own)
    }

    /// Takes note of a SET TRANSACTION, which a preparation would use up.
    fn note_for_next_transaction(&mut self, plan: &Plan, work: &Work<'_>, reply: &Reply) {
        let sql = work.sql();
        let has_passed = uses_up_characteristics(plan)
            && work.kind() != Kind::Fetch
            && !self.names_own_tables(plan);
        if !self.holds.contains(Holds::NEXT_TRANSACTION) || has_passed {
            self.for_next_transaction = Vec::new();
        } else if sets_characteristics(plan)
            && reply.error.is_none()
            // The value of a parameter is not in the text.
            && !sql.contains(&b'?')
        {
            let statements = &mut self.for_next_transaction;
            statements.retain(|known| **known != *sql);
            if statements.len() == MOST_FOR_NEXT {
                statements.remove(0);
            }
            statements.push(sql.into());
        }
    }

    /// What the statement takes and gives up by name, as it was read where it was sent or prepared;
    /// `None` where it has nothing to do with that.
    fn transfers(&self, plan: &Plan, work: &Work<'_>) -> Option<Vec<Transfer>> {
        let gives = self.holds.intersects(possessions::BY_NAME)
            && matches!(
                plan.kind,
                sql::Kind::Ddl | sql::Kind::Script | sql::Kind::Deallocate
            );
        let concerns = plan.holds.intersects(possessions::BY_NAME) || !plan.releases.is_empty();
        if !gives && !concerns {
            return None;
        }
        let statement = work.executed();
        let state = statement.map_or(&self.state, |statement| &statement.state);
        let schema = state.schema.as_deref().unwrap_or_default();
        let (sql, dialect) = (work.sql(), state.dialect);
        Some(sql::possessions::transfers(sql, plan, dialect, schema))
    }

    /// Marks what must be seen from now on, if the statement or its transaction may have written.
    fn note_mark(
        &mut self,
        plan: &Plan,
        reply: &Reply,
        gtids: Option<String>,
        position: Option<GtidSet>,
        was_open: bool,
        lease: &Lease,
    ) {
        let is_open = self.transaction != Transaction::None;
        let has_ended = was_open && (!is_open || ends_transaction(plan));
        // A reader writes nothing, and what ends a transaction writes only what was in it.
        let is_write = plan.marks && lease.leads_to_writer() && !is_boundary(plan);
        let shows_rows = shows_rows(plan, reply);
        if shows_rows && let Some(pin) = &mut self.mark {
            pin.exact = None;
        }
        let is_elsewhere = shows_rows && (lease.leads_to_writer() || self.is_guest());
        self.has_seen_elsewhere |= is_elsewhere;
        if (is_write || is_elsewhere) && self.world.config.consistency.pin == Pinning::Tables {
            self.touched.add(self.touched_by(plan));
        }
        let has_written = (is_write && !is_open) || (has_ended && self.has_written);
        if !is_open {
            self.has_written = false;
            self.has_changed_rows = false;
        }
        if !has_written && gtids.is_none() {
            // What it has read on the writer, the reader must have before it reads there again.
            if self.has_seen_elsewhere && !is_open {
                self.raise_mark(position.map_or_else(Token::anything, Token::gtids));
            }
            return;
        }
        // A GTID stands for what came before it, and not for what others wrote after it.
        let is_exact = reply.error.is_none() && !(is_write && shows_rows);
        let told = gtids
            .filter(|_| is_exact)
            .and_then(|text| GtidSet::parse(&text, lease.server.is_mariadb).ok());
        self.pin(told.or(position));
    }

    fn is_leaving(&self) -> bool {
        self.transaction == Transaction::None
            && self.holds.is_empty()
            && (self.cursors.is_empty() || self.opens_own_cursor)
    }

    /// Whether the connection is about to be given back and knows something that the session may
    /// be asked for.
    fn needs_rescue(&self, plan: &Plan) -> bool {
        self.is_leaving()
            && (self.loses_warnings()
                || self.loses_id(plan)
                || !self.assigned.is_empty()
                || !self.suspects.is_empty())
    }

    /// Whether the connection that knows how the last statement's warnings read is about to go.
    pub(super) fn loses_warnings(&self) -> bool {
        self.diagnostics.conditions.are_unread()
    }

    fn loses_id(&self, plan: &Plan) -> bool {
        is_upload(plan) || self.has_made_ids
    }

    /// Fetches what could not be asked for in one write with the statement: how its warnings read,
    /// and the insert id and the user variables of an upload or of what ran while the connection
    /// was held. An error if some of that is lost.
    pub(super) async fn rescue(&mut self, lease: &mut Lease, plan: &Plan) -> Result<(), SqlError> {
        let state = lease.state.clone();
        let asked = self.ask_before_leaving(lease, plan).await;
        asked.map_err(|error| SqlError::lost_connection(&lease.endpoint().name, &error))?;
        if !self.assigned.is_empty() {
            return Err(SqlError::variable_too_long());
        }
        self.take_changes(&state, &lease.state);
        Ok(())
    }

    async fn ask_before_leaving(
        &mut self,
        lease: &mut Lease,
        plan: &Plan,
    ) -> Result<(), RelayError> {
        if self.loses_warnings() {
            lease.has_unnamed_change = false;
            self.rescue_warnings(lease).await?;
            if lease.has_unnamed_change && self.may_run_unseen(plan) {
                self.holds |= Holds::UNNAMED_CHANGE;
            }
        }
        if self.loses_id(plan) {
            self.last.trips += 1;
            let packets = ask(lease, &Followup::LastInsertId.sql()).await?;
            self.note_followup(lease, &Followup::LastInsertId, &packets);
        }
        if !self.suspects.is_empty() {
            self.last.trips += 1;
            let packets = ask(lease, &Followup::UserLocks.sql()).await?;
            self.note_followup(lease, &Followup::UserLocks, &packets);
        }
        if !self.assigned.is_empty() {
            self.last.trips += 1;
            let names = self.assigned.clone();
            let question = Followup::UserVariables(names.clone());
            let packets = ask(lease, &question.sql()).await?;
            self.note_user_variables(lease, &names, &packets);
        }
        Ok(())
    }

    /// Asks how many rows were found, and before that how the warnings read, which the question clears.
    async fn ask_found_rows(&mut self, lease: &mut Lease) -> Result<(), RelayError> {
        if self.loses_warnings() {
            self.rescue_warnings(lease).await?;
        }
        self.last.trips += 1;
        let packets = ask(lease, &Followup::FoundRows.sql()).await?;
        self.note_followup(lease, &Followup::FoundRows, &packets);
        Ok(())
    }

    /// Asks how the warnings of the last statement read.
    pub(super) async fn rescue_warnings(&mut self, lease: &mut Lease) -> Result<(), RelayError> {
        self.last.trips += 1;
        let packets = ask(lease, &Followup::Warnings.sql()).await?;
        self.note_conditions(&packets, lease);
        Ok(())
    }

    /// Takes note of the answer to SHOW WARNINGS.
    pub(super) fn note_conditions(&mut self, packets: &[u8], lease: &Lease) {
        let most = self.most_conditions();
        let conditions = &mut self.diagnostics.conditions;
        conditions.note_read(packets, lease.server.is_mariadb, most);
    }
}

/// Whether what SET TRANSACTION has set does not count any more behind the statement, as far as the
/// proxy would have to set it again: it has been prepared, or may read tables.
fn uses_up_characteristics(plan: &Plan) -> bool {
    plan.kind == sql::Kind::Prepare || plan.may_read_tables()
}

/// Whether the statement sets what counts for the next transaction, alone or for the whole session, and
/// nothing else.
fn sets_characteristics(plan: &Plan) -> bool {
    let is_one = |name: &String| {
        matches!(
            name.as_str(),
            "transaction_isolation" | "tx_isolation" | "transaction_read_only" | "tx_read_only"
        )
    };
    plan.kind == sql::Kind::SetTransaction
        || (plan.kind == sql::Kind::Set
            && plan.place == Place::Session
            && !plan.variables.is_empty()
            && plan.variables.iter().all(is_one)
            && plan.user_variables.is_empty())
}

/// How many statements are kept that count for the next transaction, which has two characteristics.
const MOST_FOR_NEXT: usize = 8;

/// Errors with which servers may roll the whole transaction back: 1180 and 1181 while it ended, 1205
/// with innodb_rollback_on_timeout, 1213 a deadlock, 3058 another one, 3101 a group that refuses it.
const ROLLS_BACK: [u16; 6] = [1180, 1181, 1205, 1213, 3058, 3101];

/// Whether the statement may run code that its text does not show: routines and triggers.
pub(super) fn is_opaque(plan: &Plan) -> bool {
    use sql::Kind::{
        Analyze, Call, Compound, Delete, Execute, Insert, LoadData, Replace, Unknown, Update,
    };
    matches!(
        plan.kind,
        Analyze
            | Call
            | Compound
            | Execute
            | Unknown
            | Insert
            | Replace
            | Update
            | Delete
            | LoadData
    ) || !plan.unknown_functions.is_empty()
        || plan.parts.iter().any(|part| is_opaque(part))
}

/// Whether the statement may prepare others that nobody sees.
pub(super) fn may_prepare(plan: &Plan) -> bool {
    use sql::Kind::{Call, Compound, Execute, Prepare, Unknown};
    matches!(plan.kind, Call | Compound | Execute | Prepare | Unknown)
        || !plan.is_certain
        || plan.parts.iter().any(|part| may_prepare(part))
}

/// Whether the answer may have shown data: by a result set, of which only the last one is known, or
/// in user variables.
fn shows_rows(plan: &Plan, reply: &Reply) -> bool {
    use sql::Kind::{Call, Compound, Do, Execute, Script, Select, Set};
    let is_opaque = matches!(plan.kind, Call | Compound | Execute | Script);
    let is_query = matches!(plan.kind, Do | Select | Set);
    plan.place != Place::Session
        && (reply.is_result_set || is_opaque || (is_query && !plan.user_variables.is_empty()))
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
                    | TransactionEffect::Rollback { .. }
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
pub(super) async fn ask(lease: &mut Lease, sql: &str) -> Result<Vec<u8>, RelayError> {
    let mut out = Vec::new();
    lease.form.put_query(&mut out, sql.as_bytes());
    lease
        .stream
        .write_all(&out)
        .await
        .map_err(RelayError::from_backend)?;
    let (packets, _) = read_answer(lease).await?;
    Ok(packets)
}
