//! Text statements and the small commands.

use std::io;

use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::query_attributes::put_query;
use isthmus_protocol::response::Kind;
use isthmus_protocol::status::Status;

use super::conversation::{Ended, Flow};
use super::diagnosis::Sending;
use super::diagnostics::Diagnostics;
use super::followup::{has_own_tracking, touches_ids};
use super::script::begins_here;
use super::work::Work;
use super::{Session, identity};
use crate::admin::metrics::{CacheOutcome, Route};
use crate::error::SqlError;
use crate::pool::State;
use crate::routing::Transaction;
use crate::sql::rewrite::{self, Values};
use crate::sql::{self, Holds, Needs, Place, Plan, Planned};

/// What a session only asks the proxy about, because the connection that knows may be gone.
pub(super) const REWRITTEN: Needs = Needs::ROW_COUNT
    .union(Needs::FOUND_ROWS)
    .union(Needs::CONNECTION_ID)
    .union(Needs::DIAGNOSTICS);

/// Whether the statement sets which variables the client hears of.
fn lists_tracked_variables(plan: &Plan) -> bool {
    let is_list = |name: &String| name == "session_track_system_variables";
    plan.variables.iter().any(is_list)
}

impl Session {
    /// COM_QUERY. `framed` is the whole command, `body` what follows the command byte.
    pub(super) async fn query(&mut self, framed: &[u8], body: &[u8]) -> io::Result<Flow> {
        let (attributes, sql) = match self.client.form().attributes_len(body) {
            Ok(length) => body.split_at(length),
            Err(error) => {
                let error = SqlError::malformed(&error.to_string());
                self.client.send_error(&error).await?;
                return Ok(Flow::Continue);
            }
        };
        let planned = self.plan(sql, self.state.multi_statements);
        self.query_planned(framed, attributes, sql, &planned).await
    }

    /// The same once it has been read.
    pub(super) async fn query_planned(
        &mut self,
        framed: &[u8],
        attributes: &[u8],
        sql: &[u8],
        planned: &Planned,
    ) -> io::Result<Flow> {
        if planned.plan.is_plain() {
            let work = Work::Command {
                framed,
                attributes: attributes.len(),
                kind: Kind::Query,
                statement_id: 0,
            };
            return self.run_statement(work, planned).await;
        }
        // Boxed, so that a plain read does not carry the room for what it does not need.
        Box::pin(self.query_that_tells(framed, attributes, sql, planned)).await
    }

    /// A statement that may ask for what the proxy knows, or change what it has to know.
    async fn query_that_tells(
        &mut self,
        framed: &[u8],
        attributes: &[u8],
        sql: &[u8],
        planned: &Planned,
    ) -> io::Result<Flow> {
        // Before it is decided what its connection knows of the statement before. What is executed by
        // name is another statement.
        if self.transaction == Transaction::ReadOnly
            && planned.plan.prepared.is_none()
            && let Err(error) = Box::pin(self.leave_reader(&planned.plan)).await
        {
            self.refuse(&error).await?;
            return Ok(Flow::End(Ended::Closed));
        }
        if begins_here(&planned.plan) {
            let answering = Box::pin(self.answer_first(attributes, sql, &planned.hints));
            if let Some(flow) = answering.await? {
                return Ok(flow);
            }
        }
        match planned.plan.place {
            Place::Proxy => {
                self.shared.metrics.statements.routed.inc(Route::Proxy);
                return Box::pin(self.answer(planned, sql)).await;
            }
            Place::Refused => {
                self.shared.metrics.statements.routed.inc(Route::Refused);
                self.last
                    .answered_here(&planned.plan, self.started.elapsed(), Some(1235));
                return self.refuse_statement(&planned.plan).await;
            }
            Place::Previous
                if self.has_kept_conditions(sql).await
                    && Box::pin(self.answer_diagnosis(sql, Sending::TEXT)).await? =>
            {
                self.last
                    .answered_here(&planned.plan, self.started.elapsed(), None);
                return Ok(Flow::Continue);
            }
            _ => {}
        }
        if planned.plan.prepared.is_some()
            && let Some(flow) = Box::pin(self.text_statement(planned, sql)).await?
        {
            return Ok(flow);
        }
        if planned.plan.transaction.is_some() && Box::pin(self.answer_at_once(planned)).await? {
            return Ok(Flow::Continue);
        }
        if self.deferred.reads_ahead
            && let Err(error) =
                Box::pin(self.stop_reading_ahead(&planned.plan, &planned.hints)).await
        {
            self.refuse(&error).await?;
            return Ok(Flow::End(Ended::Closed));
        }
        let lists_variables = lists_tracked_variables(&planned.plan);
        let announced = lists_variables.then(|| sql::without_announcement(sql));
        let wants_token = announced.as_ref().map(Option::is_some);
        let rewritten = match announced.flatten() {
            Some(sql) => Some(sql),
            None => self.rewritten(&planned.plan, sql),
        };
        let mut replaced = Vec::new();
        if let Some(sql) = &rewritten {
            put_query(&mut replaced, attributes, sql);
        }
        let framed = if rewritten.is_some() {
            &replaced
        } else {
            framed
        };
        let work = Work::Command {
            framed,
            attributes: attributes.len(),
            kind: Kind::Query,
            statement_id: 0,
        };
        let flow = self.run_statement(work, planned).await?;
        if let Some(wants_token) = wants_token
            && self.last.error.is_none()
        {
            self.client.tracking.set_token(wants_token);
        }
        Ok(flow)
    }

    /// Tells the client why the proxy does not let this statement through.
    pub(super) async fn refuse_statement(&mut self, plan: &Plan) -> io::Result<Flow> {
        let error = SqlError::new(1235, "42000", plan.reason.clone());
        self.refuse(&error).await
    }

    /// The plan of a text that the client sent.
    pub(super) fn plan(&self, sql: &[u8], multi_statements: bool) -> Planned {
        let planned = self
            .shared
            .plans
            .plan(sql, self.state.dialect, multi_statements);
        let outcome = if planned.is_known {
            CacheOutcome::Hit
        } else {
            CacheOutcome::Miss
        };
        self.shared.metrics.plan_cache.inc(outcome);
        planned
    }

    /// The statement with the session's values in place of the calls that ask for them.
    pub(super) fn rewritten(&self, plan: &Plan, sql: &[u8]) -> Option<Vec<u8>> {
        if !plan.needs.intersects(REWRITTEN) {
            return None;
        }
        let mut values = self.diagnostics.values(self.handle.id);
        if self.lease.is_some() && !self.diagnostics.are_found_elsewhere {
            // No SET changes what the connection knows of that.
            values.found_rows = None;
        }
        // What brings LAST_INSERT_ID(), variables or statements back would be the statement before.
        let has_front = (touches_ids(plan) && !self.has_own_id)
            || !self.for_next_transaction.is_empty()
            || has_own_tracking(plan)
            || self.needs_texts(plan)
            || self.asks_for_own_variables(plan, sql);
        if self.is_in_state() && !has_front && !self.diagnostics.are_elsewhere {
            // The connection is still there and knows better.
            values = Values {
                connection_id: values.connection_id,
                found_rows: values.found_rows,
                row_count: values
                    .row_count
                    .filter(|_| self.diagnostics.row_count.is_elsewhere),
                ..Values::default()
            };
        }
        let compares_locks =
            plan.holds.contains(Holds::USER_LOCK) && mentions(sql, b"is_used_lock");
        if compares_locks || sql::names_any(sql, self.state.dialect, &THREADS) {
            // What they tell is to be compared with the server's own number.
            values.connection_id = None;
        }
        rewrite::substitute(sql, self.state.dialect, &values, self.is_mariadb())
    }

    pub(super) async fn ping(&mut self) -> io::Result<Flow> {
        self.diagnostics.note_command(0);
        self.client.send_ok().await?;
        Ok(Flow::Continue)
    }

    /// COM_INIT_DB: as USE, on a real server.
    pub(super) async fn init_db(&mut self, framed: &[u8], schema: &[u8]) -> io::Result<Flow> {
        if schema.is_empty() {
            let error = SqlError::new(1046, "3D000", "No database selected");
            return self.refuse(&error).await;
        }
        let planned = self.shared.plans.plan(b"USE a", self.state.dialect, false);
        let work = Work::Command {
            framed,
            attributes: 0,
            kind: Kind::Simple,
            statement_id: 0,
        };
        self.run_statement(work, &planned).await
    }

    /// COM_FIELD_LIST, which old clients send to complete names.
    pub(super) async fn field_list(&mut self, framed: &[u8]) -> io::Result<Flow> {
        let planned = self
            .shared
            .plans
            .plan(b"SHOW COLUMNS FROM a", self.state.dialect, false);
        let work = Work::Command {
            framed,
            attributes: 0,
            kind: Kind::FieldList,
            statement_id: 0,
        };
        self.run_statement(work, &planned).await
    }

    /// COM_SET_OPTION: whether several statements may come in one command.
    pub(super) async fn set_option(&mut self, body: &[u8]) -> io::Result<Flow> {
        let multi_statements = match body {
            [0, 0] => true,
            [1, 0] => false,
            [] | [_] => {
                let error = SqlError::malformed("COM_SET_OPTION without an option");
                self.client.send_error(&error).await?;
                return Ok(Flow::Continue);
            }
            _ => {
                self.client
                    .send_error(&SqlError::new(
                        1047,
                        "08S01",
                        "Unknown option of COM_SET_OPTION: 0 and 1 are known",
                    ))
                    .await?;
                return Ok(Flow::Continue);
            }
        };
        // COM_CHANGE_USER leaves it as it is.
        let option = Capabilities::MULTI_STATEMENTS;
        self.client.capabilities.set(option, multi_statements);
        let state = self.state.with_multi_statements(multi_statements);
        self.set_state(self.shared.states.intern(state));
        if let Some(mut lease) = self.lease.take() {
            let _ = lease
                .change_to(&self.state)
                .await
                .map_err(io::Error::other)?;
            self.lease = Some(lease);
        }
        self.diagnostics.note_command(-1);
        self.client.send_eof().await?;
        Ok(Flow::Continue)
    }

    /// COM_RESET_CONNECTION: the session as it was after the login, but for its schema.
    pub(super) async fn reset_connection(&mut self) -> io::Result<Flow> {
        self.drop_lease();
        let server = self.server();
        let state = State::new(
            self.state.schema.clone(),
            self.state.multi_statements,
            self.identity.reset_variables(&self.world.snapshot),
        );
        // Servers leave the role as it is.
        let state = state.with_role(self.state.role.clone());
        self.client.status = Status::AUTOCOMMIT;
        self.set_state(self.shared.states.intern(state));
        self.client.tracking = identity::tracking(server.as_deref());
        self.diagnostics = Diagnostics {
            found_rows: self.diagnostics.found_rows,
            ..Diagnostics::default()
        };
        self.own_variables.clear();
        self.handle.set_idle_limit(None);
        self.be_patient();
        self.statements.clear();
        self.text_statements.clear();
        self.sharing.clear();
        self.client.send_ok().await?;
        Ok(Flow::Continue)
    }

    /// COM_STATISTICS, in the form that clients take apart.
    pub(super) async fn statistics(&mut self) -> io::Result<Flow> {
        let text = format!(
            "Uptime: {}  Threads: {}  Questions: {}  Slow queries: 0  Opens: 0  Flush tables: 0  Open tables: 0  Queries per second avg: 0.000",
            self.shared.sessions.uptime().as_secs(),
            self.shared.sessions.len(),
            self.shared.metrics.statements.total(),
        );
        self.client.send(text.as_bytes()).await?;
        Ok(Flow::Continue)
    }
}

/// Where servers show their connections by their own numbers.
const THREADS: [&str; 3] = ["innodb_trx", "processlist", "performance_schema"];

/// Whether the text has this word, in any case.
pub(super) fn mentions(sql: &[u8], word: &[u8]) -> bool {
    sql.windows(word.len())
        .any(|part| part.eq_ignore_ascii_case(word))
}
