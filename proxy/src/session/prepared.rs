//! Binary prepared statements. Their ids are the session's own; on a backend connection a
//! statement is prepared when it is first executed there.

use std::io;
use std::sync::Arc;

use isthmus_protocol::command::{Execute, SendLongData};
use isthmus_protocol::packet;
use isthmus_protocol::response;
use isthmus_protocol::result_set::Form;
use isthmus_protocol::status::Status;

use super::Session;
use super::conversation::{Ended, Flow};
use super::diagnosis::Sending;
use super::long_data::LongData;
use super::prelude::is_prepared;
use super::statements::{SessionStatement, Statement};
use super::work::Work;
use crate::admin::metrics::Route;
use crate::error::SqlError;
use crate::pool::{Lease, State};
use crate::routing::Transaction;
use crate::sql::{self, Diagnosis, Dialect, Kind, Needs, Place, Plan, Planned};

/// MariaDB's clients name the statement that was prepared last with this id.
const LAST: u32 = u32::MAX;

/// The type of a parameter that is NULL: MYSQL_TYPE_NULL.
const NULL_TYPE: u8 = 0x06;

/// What every COM_STMT_EXECUTE has: the statement's id, flags and a count of iterations.
const EXECUTE_HEAD: usize = 9;
/// What every COM_STMT_FETCH has: the statement's id and the number of rows.
const FETCH_HEAD: usize = 8;

/// What servers refuse to set within a transaction, or end it for. None of it decides what a
/// statement of a transaction means.
const OUTSIDE_TRANSACTIONS: [&str; 11] = [
    "autocommit",
    "binlog_direct_non_transactional_updates",
    "binlog_format",
    "binlog_row_value_options",
    "binlog_transaction_compression",
    "binlog_transaction_compression_level_zstd",
    "explicit_defaults_for_timestamp",
    "group_replication_consistency",
    "gtid_domain_id",
    "gtid_seq_no",
    "xa_detach_on_prepare",
];

/// How many a session may have: as many as all sessions of a server together, unless it is told
/// otherwise.
const MOST: usize = 16_382;

impl Session {
    /// COM_STMT_PREPARE, where the statement would run, for its parameters and columns.
    pub(super) async fn prepare(&mut self, framed: &[u8], sql: &[u8]) -> io::Result<Flow> {
        let id = self.next_statement_id();
        // One that is refused has used up the number too, as on a server: the last one is none then.
        self.last_statement_id = id;
        if self.statements.len() >= MOST {
            return self.refuse(&SqlError::too_many_statements(MOST)).await;
        }
        let planned = self.plan(sql, false);
        match (planned.plan.place, planned.plan.kind) {
            (Place::Proxy, Kind::Show) => return self.prepare_show(planned, sql, id).await,
            (Place::Proxy, Kind::Empty | Kind::Kill) => {}
            (Place::Proxy, _) => return self.not_preparable().await,
            (Place::Refused, _) => return self.refuse_statement(&planned.plan).await,
            _ => {}
        }
        let state = self.preparation_state(&planned.plan);
        let statement = self
            .shared
            .statements
            .intern(sql, planned.clone(), &state, false);
        let statement = if self.shares_cursor(&statement) {
            self.shared.statements.another(&statement)
        } else {
            statement
        };
        self.preparing = Some(statement.number);
        self.prepared = None;
        if Box::pin(self.prepare_aside(framed, &planned, sql, id)).await? {
            self.note_prepared(id, statement);
            return Ok(Flow::Continue);
        }
        let asking = Planned {
            plan: Arc::new(planned.plan.preparation()),
            ..planned
        };
        let work = Work::Command {
            framed,
            attributes: 0,
            kind: response::Kind::Prepare,
            statement_id: id,
        };
        let flow = self.run_statement(work, &asking).await?;
        self.note_prepared(id, statement);
        Ok(flow)
    }

    /// Takes the statement that was to be prepared in, if it could be.
    fn note_prepared(&mut self, id: u32, statement: Arc<Statement>) {
        self.preparing = None;
        if let Some(prepared) = self.prepared.take() {
            self.add_statement(id, statement, usize::from(prepared.params));
        }
    }

    /// The state that decides what a statement means: user variables only if it speaks of them,
    /// since they keep the type that they have when it is prepared.
    pub(super) fn preparation_state(&self, plan: &Plan) -> Arc<State> {
        if self.state.user_variables.is_empty() || names_user_variables(plan) {
            return self.state.clone();
        }
        let state = self.state.with_user_variables(Arc::default());
        self.shared.states.intern(state)
    }

    /// The state in which this connection is to prepare a statement: the one that it was made in.
    /// User variables that do not matter stay as they are, and so do those on a connection that
    /// the session keeps, whose values it may not know; and so does what cannot be set within a
    /// transaction.
    pub(super) fn state_to_prepare(
        &self,
        lease: &Lease,
        statement: &Statement,
        is_held: bool,
    ) -> Arc<State> {
        let made = &self.with_own_outside_transactions(&statement.state);
        let own = if is_held {
            &lease.state.user_variables
        } else if names_user_variables(&statement.planned.plan) {
            return made.clone();
        } else {
            &self.state.user_variables
        };
        if made.user_variables == *own {
            return made.clone();
        }
        let state = made.with_user_variables(own.clone());
        self.shared.states.intern(state)
    }

    /// The state with the session's values of what it has to set outside of transactions.
    fn with_own_outside_transactions(&self, made: &Arc<State>) -> Arc<State> {
        let own = &self.state.variables;
        let is_own = |name: &&str| made.variables.get(*name) == own.get(*name);
        if OUTSIDE_TRANSACTIONS.iter().all(is_own) {
            return made.clone();
        }
        let state = made.with_values_of(&self.state, &OUTSIDE_TRANSACTIONS);
        self.shared.states.intern(state)
    }

    /// A `SHOW ISTHMUS`, which no server has to know.
    async fn prepare_show(&mut self, planned: Planned, sql: &[u8], id: u32) -> io::Result<Flow> {
        match self.about(sql) {
            Ok(result) => {
                let statement = self
                    .shared
                    .statements
                    .intern(sql, planned, &self.state, false);
                self.add_statement(id, statement, 0);
                self.client.send_prepared(id, &result).await?;
            }
            Err(error) => self.client.send_error(&error).await?,
        }
        Ok(Flow::Continue)
    }

    fn add_statement(&mut self, id: u32, statement: Arc<Statement>, params: usize) {
        let entry = SessionStatement {
            original: statement.clone(),
            statement,
            params,
            types: Vec::new(),
            long_data: LongData::default(),
        };
        self.statements.insert(id, entry);
    }

    pub(super) async fn not_preparable(&mut self) -> io::Result<Flow> {
        let error = SqlError::new(
            1295,
            "HY000",
            "This command is not supported in the prepared statement protocol yet",
        );
        self.refuse(&error).await
    }

    fn next_statement_id(&self) -> u32 {
        let mut id = self.last_statement_id;
        loop {
            id = id.wrapping_add(1);
            if id != 0 && id != LAST && !self.statements.contains_key(&id) {
                return id;
            }
        }
    }

    /// The session's statement of this id, where [`LAST`] is the one prepared last.
    fn statement_id(&self, body: &[u8]) -> Option<u32> {
        let id = u32::from_le_bytes(*body.first_chunk()?);
        Some(if id == LAST {
            self.last_statement_id
        } else {
            id
        })
    }

    /// COM_STMT_EXECUTE.
    pub(super) async fn execute(&mut self, payload: &[u8]) -> io::Result<Flow> {
        let body = payload.get(1..).filter(|body| body.len() >= EXECUTE_HEAD);
        let Some(id) = body.and_then(|body| self.statement_id(body)) else {
            return self.too_short("COM_STMT_EXECUTE").await;
        };
        // Taken out while it runs, since running it borrows the session.
        let Some(mut entry) = self.statements.remove(&id) else {
            return self.unknown_statement(id, "execute").await;
        };
        let result = self.execute_entry(payload, id, &mut entry).await;
        entry.long_data.use_up();
        self.statements.insert(id, entry);
        result
    }

    async fn execute_entry(
        &mut self,
        payload: &[u8],
        id: u32,
        entry: &mut SessionStatement,
    ) -> io::Result<Flow> {
        let Ok(execute) = Execute::parse(payload, entry.params, self.client.form()) else {
            let error = SqlError::malformed_execution(self.is_mariadb());
            return self.refuse(&error).await;
        };
        if let Some(types) = &execute.types {
            entry.types = types.to_vec();
        }
        if entry.types.is_empty() && execute.has_only_nulls(entry.params) {
            // NULL needs no type.
            entry.types = [NULL_TYPE, 0].repeat(entry.params);
        }
        if entry.types.len() != entry.params * 2 {
            let error = SqlError::malformed_execution(self.is_mariadb());
            return self.refuse(&error).await;
        }
        if let Some(error) = entry.long_data.error() {
            return self.refuse(error).await;
        }
        let with_cursor = execute.cursor_flags != 0;
        if !with_cursor && let ended @ Flow::End(_) = self.close_cursor(id, &entry.statement).await
        {
            return Ok(ended);
        }
        let original = &entry.original;
        if original.planned.plan.place == Place::Previous
            && self.has_kept_conditions(&original.sql).await
            // A count has a cursor, the conditions have none.
            && !(with_cursor && is_count(&original.sql, self.state.dialect))
            && Box::pin(self.answer_diagnosis(&original.sql, Sending::BINARY)).await?
        {
            return Ok(Flow::Continue);
        }
        // Before it is decided what its connection knows of the statement before.
        if (self.transaction != Transaction::None || self.deferred.reads_ahead)
            && let Err(error) = Box::pin(self.leave_what_is_over(&original.planned)).await
        {
            self.refuse(&error).await?;
            return Ok(Flow::End(Ended::Closed));
        }
        self.choose_executable(entry, with_cursor);
        if self.takes_detour(&entry.statement) {
            self.diagnostics.row_count.is_elsewhere = true;
            self.choose_executable(entry, with_cursor);
        }
        let is_count = with_cursor && self.kept_count(&entry.original.sql).is_some();
        if with_cursor && self.shares_cursor(&entry.statement) {
            entry.statement = self.shared.statements.another(&entry.statement);
        }
        let statement = &*entry.statement;
        let plan = &statement.planned.plan;
        if (plan.place, plan.kind) == (Place::Proxy, Kind::Show) {
            self.shared.metrics.statements.routed.inc(Route::Proxy);
            return self.show_isthmus(&statement.sql, Form::Binary).await;
        }
        if plan.kind == Kind::Kill {
            self.shared.metrics.statements.routed.inc(Route::Proxy);
            return self
                .kill_executed(&entry.original.sql, &execute, &entry.types)
                .await;
        }
        // Its cursor ends with it.
        self.close_own_cursor(id);
        if with_cursor {
            self.open_cursor(id);
        }
        let work = Work::Execute {
            statement,
            execute,
            types: &entry.types,
            long_data: entry.long_data.parameters(),
        };
        // A reader may have refused it as a write since it was prepared.
        let mut planned = self.shared.plans.refresh(&statement.planned);
        self.opens_own_cursor =
            self.asked_cursor.is_some() && self.may_own_connection(&planned.plan);
        if self.opens_own_cursor {
            let flow = self.run_statement(work, &planned).await;
            self.diagnostics.are_elsewhere |= is_count;
            self.opens_own_cursor = false;
            self.note_cursor(None);
            self.part_with_cursor(id, statement.number);
            return flow;
        }
        if self.asked_cursor.is_some() && planned.plan.place != Place::Writer {
            // The cursor keeps its connection, and the session may write before it is read to its
            // end.
            let on_writer = Plan {
                place: Place::Writer,
                reader_if_allowed: false,
                ..(*planned.plan).clone()
            };
            planned.to_mut().plan = Arc::new(on_writer);
        }
        let flow = self.run_statement(work, &planned).await;
        self.diagnostics.are_elsewhere |= is_count;
        // Where it did not get to a server, none was opened.
        self.note_cursor(None);
        flow
    }

    /// Whether the connection that the session keeps has to be brought into another state to prepare
    /// or execute a statement that asks for ROW_COUNT(), for which the SETs would count.
    fn takes_detour(&self, statement: &Statement) -> bool {
        let plan = &statement.planned.plan;
        plan.needs.contains(Needs::ROW_COUNT)
            && self.lease.as_ref().is_some_and(|lease| {
                let prepares_elsewhere = || {
                    let state = self.state_to_prepare(lease, statement, true);
                    !is_prepared(lease, statement) && !Arc::ptr_eq(&state, &lease.state)
                };
                let schema = statement.state.schema.as_deref();
                schema.is_some_and(|schema| lease.state.schema.as_deref() != Some(schema))
                    || self.asks_for_own_variables(plan, &statement.sql)
                    || prepares_elsewhere()
            })
    }

    /// Chooses what is executed of a statement that the client prepared: with the session's values in
    /// place of the calls that ask for them. Mostly that is what it was, which other sessions share.
    fn choose_executable(&self, entry: &mut SessionStatement, with_cursor: bool) {
        let original = &entry.original;
        let count = || self.kept_count(&original.sql).filter(|_| with_cursor);
        let rewritten = self
            .rewritten(&original.planned.plan, &original.sql)
            .or_else(count);
        if rewritten.is_some() || with_cursor {
            let sql = rewritten.as_deref().unwrap_or(&original.sql);
            let planned = original.planned.clone();
            let statements = &self.shared.statements;
            entry.statement = statements.intern(sql, planned, &original.state, with_cursor);
        } else if !Arc::ptr_eq(original, &entry.statement) {
            entry.statement = original.clone();
        }
    }

    /// COM_STMT_SEND_LONG_DATA, which is kept until the statement is executed and has no answer.
    pub(super) fn send_long_data(&mut self, payload: &[u8]) -> io::Result<Flow> {
        let limit = self.world.config.limits.max_allowed_packet;
        let is_mariadb = self.is_mariadb();
        let id = payload.get(1..).and_then(|body| self.statement_id(body));
        if let Ok(piece) = SendLongData::parse(payload)
            && let Some(entry) = id.and_then(|id| self.statements.get_mut(&id))
        {
            match usize::from(piece.parameter) < entry.params {
                true => entry.long_data.add(&piece, limit),
                false => entry
                    .long_data
                    .refuse(SqlError::no_such_parameter(is_mariadb)),
            }
        }
        Ok(Flow::Continue)
    }

    /// COM_STMT_RESET: forgets long data and closes the cursor.
    pub(super) async fn reset_statement(&mut self, body: &[u8]) -> io::Result<Flow> {
        let Some(id) = self.statement_id(body) else {
            return self.too_short("COM_STMT_RESET").await;
        };
        let Some(entry) = self.statements.get_mut(&id) else {
            return self.unknown_statement(id, "reset").await;
        };
        entry.long_data = LongData::default();
        let statement = entry.statement.clone();
        if let ended @ Flow::End(_) = self.close_cursor(id, &statement).await {
            return Ok(ended);
        }
        self.diagnostics.note_command(0);
        self.client.send_ok().await?;
        Ok(Flow::Continue)
    }

    /// COM_STMT_CLOSE, which has no answer. Backend connections keep the statement for others.
    pub(super) async fn close_statement(&mut self, body: &[u8]) -> Flow {
        let id = self.statement_id(body).unwrap_or_default();
        let Some(entry) = self.statements.remove(&id) else {
            return Flow::Continue;
        };
        // The client waits for nothing.
        self.client.sequence = 0;
        self.close_cursor(id, &entry.statement).await
    }

    /// Whether a cursor is open of another statement that is the same one to the server.
    fn shares_cursor(&self, statement: &Statement) -> bool {
        self.with_cursors().contains(&statement.number)
    }

    /// The proxy's numbers of the statements with a cursor on the session's connection.
    pub(super) fn with_cursors(&self) -> Vec<u64> {
        let entries = self.cursors.iter().filter_map(|id| self.statements.get(id));
        entries.map(|entry| entry.statement.number).collect()
    }

    /// Notes that the next answer tells whether this statement has an open cursor.
    fn open_cursor(&mut self, id: u32) {
        if !self.cursors.contains(&id) {
            self.cursors.push(id);
        }
        self.asked_cursor = Some(id);
    }

    /// Takes note of what the server said of the cursor that was asked about, if one was.
    pub(super) fn note_cursor(&mut self, status: Option<Status>) {
        let Some(id) = self.asked_cursor.take() else {
            return;
        };
        let status = status.unwrap_or(Status::empty());
        let is_open =
            status.contains(Status::CURSOR_EXISTS) && !status.contains(Status::LAST_ROW_SENT);
        if !is_open {
            self.cursors.retain(|open| *open != id);
        }
    }

    /// Ends the hold of a cursor; the server forgets it with the statement.
    async fn close_cursor(&mut self, id: u32, statement: &Statement) -> Flow {
        self.close_own_cursor(id);
        if !self.cursors.contains(&id) {
            return Flow::Continue;
        }
        self.cursors.retain(|open| *open != id);
        let Some(mut lease) = self.lease.take() else {
            return Flow::Continue;
        };
        lease.close_statement(statement.number);
        self.part_from(lease, &statement.planned.plan).await
    }

    /// COM_STMT_FETCH: more rows of the open cursor, from the connection that has it.
    pub(super) async fn fetch(&mut self, framed: &[u8], body: &[u8]) -> io::Result<Flow> {
        let whole = Some(body).filter(|body| body.len() >= FETCH_HEAD);
        let Some(id) = whole.and_then(|body| self.statement_id(body)) else {
            return self.too_short("COM_STMT_FETCH").await;
        };
        if let Some(flow) = self.fetch_own(framed, id).await? {
            return Ok(flow);
        }
        let statement = self
            .statements
            .get(&id)
            .map(|entry| entry.statement.clone());
        let Some(statement) = statement else {
            return self.unknown_statement(id, "fetch").await;
        };
        let lease = self.lease.as_ref().filter(|_| self.cursors.contains(&id));
        let backend_id = lease.and_then(|lease| lease.prepared.get(statement.number));
        let Some(backend_id) = backend_id else {
            return self.no_cursor(id).await;
        };
        let mut framed = framed.to_vec();
        if let Some(bytes) = framed.get_mut(packet::HEADER_LEN + 1..packet::HEADER_LEN + 5) {
            bytes.copy_from_slice(&backend_id.to_le_bytes());
        }
        self.open_cursor(id);
        let work = Work::Command {
            framed: &framed,
            attributes: 0,
            kind: response::Kind::Fetch,
            statement_id: 0,
        };
        self.run_statement(work, &statement.planned).await
    }

    async fn too_short(&mut self, command: &str) -> io::Result<Flow> {
        let error = SqlError::malformed(&format!("{command} without all that it begins with"));
        self.client.send_error(&error).await?;
        Ok(Flow::Continue)
    }

    async fn no_cursor(&mut self, id: u32) -> io::Result<Flow> {
        let point = match self.is_mariadb() {
            true => "",
            false => ".",
        };
        let message = format!("The statement ({id}) has no open cursor{point}");
        self.refuse(&SqlError::new(1421, "HY000", message)).await
    }

    /// The error that tells of a statement that the session does not have, in the server's words:
    /// MySQL looks all of them up in one place.
    async fn unknown_statement(&mut self, id: u32, deed: &str) -> io::Result<Flow> {
        let place = match self.is_mariadb() {
            true => format!("mysqld_stmt_{deed}"),
            false => "mysql_stmt_precheck".to_owned(),
        };
        self.refuse(&SqlError::unknown_statement(id, &place)).await
    }
}

/// Whether it shows how many conditions there are.
fn is_count(sql: &[u8], dialect: Dialect) -> bool {
    matches!(sql::diagnosis(sql, dialect), Some(Diagnosis::Count { .. }))
}

fn names_user_variables(plan: &Plan) -> bool {
    plan.needs.contains(Needs::USER_VARIABLE) || !plan.user_variables.is_empty()
}
