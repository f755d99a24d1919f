//! Text statements and the small commands.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use isthmus_protocol::query_attributes::put_query;
use isthmus_protocol::response::Kind;

use super::conversation::Flow;
use super::exchange::Work;
use super::lending::Destination;
use super::{Session, identity};
use crate::admin::metrics::{CacheOutcome, Route};
use crate::error::SqlError;
use crate::pool::State;
use crate::relay::ServerError;
use crate::sql::rewrite::{self, Values};
use crate::sql::{Holds, Needs, Place, Plan, Planned};

/// What a session only asks the proxy about, because the connection that knows may be gone.
const REWRITTEN: Needs = Needs::ROW_COUNT
    .union(Needs::FOUND_ROWS)
    .union(Needs::CONNECTION_ID)
    .union(Needs::DIAGNOSTICS);

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
        match planned.plan.place {
            Place::Proxy => {
                self.shared.metrics.statements.routed.inc(Route::Proxy);
                return Box::pin(self.answer(&planned, sql)).await;
            }
            Place::Refused => {
                self.shared.metrics.statements.routed.inc(Route::Refused);
                self.last
                    .answered_here(&planned.plan, self.started.elapsed(), Some(1235));
                let error = SqlError::new(1235, "42000", planned.plan.reason.clone());
                self.client.send_error(&error).await?;
                return Ok(Flow::Continue);
            }
            Place::Previous
                if self.lease.is_none() && Box::pin(self.answer_warnings(sql)).await? =>
            {
                self.last
                    .answered_here(&planned.plan, self.started.elapsed(), None);
                return Ok(Flow::Continue);
            }
            _ => {}
        }
        let rewritten = self.rewritten(&planned.plan, sql);
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
        self.run_statement(work, &planned).await
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
        if self.lease.is_some() {
            // The connection is still there and knows better.
            values = Values {
                connection_id: values.connection_id,
                found_rows: values
                    .found_rows
                    .filter(|_| self.diagnostics.has_asked_found_rows),
                ..Values::default()
            };
        }
        if plan.holds.contains(Holds::USER_LOCK) && mentions(sql, b"is_used_lock") {
            // What that returns is to be compared with the server's own number.
            values.connection_id = None;
        }
        rewrite::substitute(sql, self.state.dialect, &values)
    }

    pub(super) async fn ping(&mut self) -> io::Result<Flow> {
        self.client.send_ok().await?;
        Ok(Flow::Continue)
    }

    /// COM_INIT_DB: as USE, on a real server.
    pub(super) async fn init_db(&mut self, framed: &[u8], schema: &[u8]) -> io::Result<Flow> {
        if schema.is_empty() {
            self.client
                .send_error(&SqlError::new(1046, "3D000", "No database selected"))
                .await?;
            return Ok(Flow::Continue);
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
        let state = self.state.with_multi_statements(multi_statements);
        self.set_state(self.shared.states.intern(state));
        if let Some(mut lease) = self.lease.take() {
            let _ = lease
                .change_to(&self.state)
                .await
                .map_err(io::Error::other)?;
            self.lease = Some(lease);
        }
        self.client.send_eof().await?;
        Ok(Flow::Continue)
    }

    /// COM_RESET_CONNECTION: the session as it was after the login, but for its schema.
    pub(super) async fn reset_connection(&mut self) -> io::Result<Flow> {
        self.drop_lease();
        let server = self
            .world
            .snapshot
            .all()
            .find_map(|endpoint| endpoint.server());
        let state = State::new(
            self.state.schema.clone(),
            self.state.multi_statements,
            self.identity.reset_variables(server.as_deref()),
        );
        self.set_state(self.shared.states.intern(state));
        self.client.tracking = identity::tracking(server.as_deref());
        self.diagnostics = Default::default();
        self.own_variables.clear();
        self.handle.set_idle_limit(None);
        self.statements.clear();
        self.client.status = isthmus_protocol::status::Status::AUTOCOMMIT;
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

    /// Selects the schema that the client asked for when it logged in. On failure the client has
    /// been told, and `false` is returned.
    pub async fn select_schema(&mut self, schema: &[u8]) -> io::Result<bool> {
        let planned = self.shared.plans.plan(b"USE a", self.state.dialect, false);
        let mut destination = self.destination(&planned.plan, &planned.hints).await;
        let wanted = self.state.with_schema(schema);
        let wanted = self.shared.states.intern(wanted);
        loop {
            let outcome = self.try_state(&mut destination, &wanted).await;
            match outcome {
                Ok(()) => {
                    self.set_state(wanted);
                    return Ok(true);
                }
                Err(SelectError::Refused(error))
                    if error.is_for_the_writer()
                        && matches!(destination, Destination::Reader(_)) =>
                {
                    destination = Destination::Writer;
                }
                Err(SelectError::Refused(error)) => {
                    self.client.send(&error.encode()).await?;
                    return Ok(false);
                }
                Err(SelectError::Unavailable(error)) => {
                    self.client.send_error(&error).await?;
                    return Ok(false);
                }
            }
        }
    }

    /// Whether a server takes this state.
    async fn try_state(
        &mut self,
        destination: &mut Destination,
        wanted: &Arc<State>,
    ) -> Result<(), SelectError> {
        // The login has a deadline of its own, and the client should hear why it failed.
        let patience = self.world.config.timeouts.handshake / 2;
        let borrowing = self.borrow(destination, true, Instant::now());
        let mut lease = match tokio::time::timeout(patience, borrowing).await {
            Ok(lease) => lease.map_err(SelectError::Unavailable)?,
            Err(_) => {
                return Err(SelectError::Unavailable(SqlError::borrow_timeout(
                    "writer",
                    &format!("none within {patience:?}, half of timeouts.handshake"),
                )));
            }
        };
        lease.is_clean = false;
        let outcome = lease.change_to(wanted).await;
        self.handle.set_running(None);
        match outcome {
            Ok(None) => {
                lease.is_clean = true;
                Ok(())
            }
            Ok(Some(error)) => {
                lease.is_clean = lease.fits_its_pool();
                Err(SelectError::Refused(error))
            }
            Err(error) => Err(SelectError::Unavailable(SqlError::lost_connection(
                &lease.endpoint().name,
                &error,
            ))),
        }
    }

    /// Tells the client that its login is complete.
    pub async fn welcome(&mut self) -> io::Result<()> {
        let changes = self.client.tracking.opening(self.state.schema.as_deref());
        self.client.send_ok_with(&changes).await
    }
}

/// Why a schema was not selected.
enum SelectError {
    /// The server says no.
    Refused(ServerError),
    /// There was no server to ask.
    Unavailable(SqlError),
}

/// Whether the text has this word, in any case.
fn mentions(sql: &[u8], word: &[u8]) -> bool {
    sql.windows(word.len())
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// Whether the text is just `words`, in any case, with any space and an optional semicolon.
pub(super) fn is_just(sql: &[u8], words: &[&str]) -> bool {
    let Ok(text) = std::str::from_utf8(sql) else {
        return false;
    };
    let text = text.trim().trim_end_matches(';');
    let mut found = text.split_ascii_whitespace();
    words.iter().all(|word| {
        found
            .next()
            .is_some_and(|found| found.eq_ignore_ascii_case(word))
    }) && found.next().is_none()
}
