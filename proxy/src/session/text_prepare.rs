//! Textual prepared statements: `PREPARE … FROM`, `EXECUTE`, `DEALLOCATE PREPARE`. The session has
//! them by name. On a backend connection a statement is prepared in the same write that executes
//! it there first, under a name of the proxy's.

use std::io;
use std::sync::Arc;

use isthmus_protocol::response::Kind;

use super::Session;
use super::commands::REWRITTEN;
use super::conversation::Flow;
use super::effects::ask;
use super::exchange::Failure;
use super::followup::Followup;
use super::prelude::{NOTHING, not_sent};
use super::work::Work;
use crate::pool::{Lease, State};
use crate::sql::possessions::{Possession, Transfer};
use crate::sql::{self, Holds, Place, Plan, Planned, TextCommand};

/// How many a session may have. Those beyond are the server's, and keep their connection.
const MOST: usize = 1000;

impl Session {
    /// Does what the statement says, if it is about a textual prepared statement that the session
    /// has or may have. Otherwise the server is to do it.
    pub(super) async fn text_statement(
        &mut self,
        planned: &Planned,
        sql: &[u8],
    ) -> io::Result<Option<Flow>> {
        let dialect = self.state.dialect;
        match sql::text_command(sql, dialect) {
            Some(TextCommand::Prepare {
                name,
                literal,
                text,
            }) => {
                let literal = sql.get(literal).unwrap_or_default();
                self.prepare_text(planned, name, literal, &text).await
            }
            Some(TextCommand::PrepareVariable { name, variable }) => {
                let text = self.known_text(&variable);
                let literal = text.as_ref().and_then(|text| sql::literal(text, dialect));
                match (literal, text) {
                    (Some(literal), Some(text)) => {
                        self.prepare_text(planned, name, &literal, &text).await
                    }
                    _ => {
                        self.text_statements.remove(&name);
                        Ok(None)
                    }
                }
            }
            Some(TextCommand::Execute { name, rest }) => {
                let Some(statement) = self.text_statements.get(&name).cloned() else {
                    return Ok(None);
                };
                let mut inner = self.shared.plans.refresh(&statement.planned).into_owned();
                inner.hints = planned.hints.clone();
                let work = Work::Text {
                    statement: &statement,
                    using: Some(sql.get(rest..).unwrap_or_default()),
                };
                self.run_statement(work, &inner).await.map(Some)
            }
            Some(TextCommand::Deallocate { name }) => {
                if self.text_statements.remove(&name).is_none() {
                    return Ok(None);
                }
                self.answer_deallocate().await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// The value of a user variable, if it is known.
    fn known_text(&self, variable: &str) -> Option<Vec<u8>> {
        let is_pending = self.assigned.iter().any(|name| name == variable);
        let value = self.state.user_variables.get(variable)?.text()?;
        (!is_pending).then(|| value.to_vec())
    }

    async fn prepare_text(
        &mut self,
        planned: &Planned,
        name: String,
        literal: &[u8],
        text: &[u8],
    ) -> io::Result<Option<Flow>> {
        // The statement that had the name is gone, even if this one fails.
        self.text_statements.remove(&name);
        let inner = self.plan(text, false);
        match (inner.plan.place, inner.plan.kind) {
            (Place::Proxy, sql::Kind::Empty) => {}
            (Place::Proxy, _) => return self.not_preparable().await.map(Some),
            (Place::Refused, _) => return self.refuse_statement(&inner.plan).await.map(Some),
            _ => {}
        }
        // A routine may have prepared others on the connection, which know nothing of the session's.
        const OTHERS: Holds = Holds::TEXT_PREPARE.union(Holds::UNNAMED_CHANGE);
        let is_own = !self.holds.intersects(OTHERS)
            && !inner.plan.needs.intersects(REWRITTEN)
            && self.text_statements.len() < MOST;
        if !is_own {
            return Ok(None);
        }
        let mut plan = inner.plan.preparation();
        // It runs nothing that could change something unnamed, which servers report of a PREPARE.
        plan.reader_if_allowed = false;
        plan.unknown_functions.clear();
        let asking = Planned {
            plan: Arc::new(plan),
            hints: planned.hints.clone(),
            ..inner.clone()
        };
        let state = self.preparation_state(&inner.plan);
        let statements = &self.shared.statements;
        let statement = statements.intern_text(literal, text, inner, &state);
        let work = Work::Text {
            statement: &statement,
            using: None,
        };
        let flow = self.run_statement(work, &asking).await?;
        if self.last.error.is_none() {
            self.text_statements.insert(name, statement);
        }
        Ok(Some(flow))
    }

    /// Whether a statement has the server find textual prepared statements of the session's. One that
    /// is itself executed as such does without: it would keep its connection for that.
    pub(super) fn hands_over(&self, work: &Work<'_>, plan: &Plan) -> bool {
        !matches!(work, Work::Text { .. }) && self.needs_texts(plan)
    }

    /// Whether the server may need textual prepared statements of the session's for it.
    pub(super) fn needs_texts(&self, plan: &Plan) -> bool {
        !self.text_statements.is_empty()
            && (plan.is_script() || runs_routine(plan) || plan.prepared.is_some())
    }

    /// Selects the schema of a state on this connection, after its role, which may be the only one that
    /// may use it; each by itself, so that it is known what has changed where one is gone.
    async fn enter_schema(&self, lease: &mut Lease, state: &State) -> Result<bool, Failure> {
        let Some(schema) = state.schema.as_deref().filter(|name| name.is_ascii()) else {
            return Ok(true);
        };
        let with_role = lease.state.with_role(state.role.clone());
        let with_schema = with_role.with_schema(schema);
        for next in [with_role, with_schema] {
            let next = self.shared.states.intern(next);
            if lease.change_to(&next).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives the statements that a script names, or that a routine may, to this connection's server,
    /// under the names that the session has for them. From then on they are the server's.
    pub(super) async fn hand_over(
        &mut self,
        lease: &mut Lease,
        plan: &Plan,
        is_held: bool,
    ) -> Result<(), Failure> {
        let names: Vec<String> = match runs_routine(plan) {
            true => self.text_statements.keys().cloned().collect(),
            false => names(plan).collect(),
        };
        for name in names {
            let Some(statement) = self.text_statements.get(&name).cloned() else {
                continue;
            };
            let state = self.state_to_prepare(lease, &statement, is_held);
            if !self.enter_schema(lease, &state).await? {
                // It is not executed then.
                continue;
            }
            if let Some(error) = lease.change_to(&state).await? {
                return Err(Failure::Refused(error));
            }
            let literal = statement.literal.as_deref().unwrap_or_default();
            let quoted = name.replace('`', "``");
            let sql = [b"PREPARE `", quoted.as_bytes(), b"` FROM ", literal].concat();
            let mut out = Vec::new();
            lease.form.put_query(&mut out, &sql);
            lease.stream.write_all(&out).await.map_err(not_sent)?;
            self.last.trips += 1;
            let prepared = lease.swallow(Kind::Simple).await?;
            lease.forget_next_statement();
            if prepared.error.is_some() {
                continue;
            }
            self.text_statements.remove(&name);
            self.holds |= Holds::TEXT_PREPARE;
            if statement.planned.plan.assigns() {
                self.holds |= Holds::USER_VARIABLE;
            }
            let takes = Transfer::Takes(Possession::TextPrepare, name.into_bytes());
            self.possessions.note(vec![takes], false);
        }
        Ok(())
    }

    /// Backend connections keep the statement for others. The answer is that of a server; where
    /// the session has a connection, of that one, so that it forgets the statement before.
    async fn answer_deallocate(&mut self) -> io::Result<Flow> {
        if self.lease.is_none() {
            self.note_nothing();
            self.client.send_ok().await?;
            return Ok(Flow::Continue);
        }
        let is_mariadb = self.is_mariadb();
        if !is_mariadb && !self.diagnostics.are_found_elsewhere {
            self.ask_for_found_rows().await;
        }
        let found_rows = self.diagnostics.found_rows;
        let planned = self.plan(NOTHING, false);
        let flow = self.run_text(NOTHING, &planned).await;
        if !is_mariadb {
            // Which MySQL counts as a row.
            self.diagnostics.found_rows = found_rows;
            self.diagnostics.are_found_elsewhere = true;
        }
        flow
    }

    /// Asks the session's connection for FOUND_ROWS(). Where it is lost, the next statement finds that
    /// out.
    async fn ask_for_found_rows(&mut self) {
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        self.last.trips += 1;
        if let Ok(packets) = ask(&mut lease, &Followup::FoundRows.sql()).await {
            self.note_followup(&mut lease, &Followup::FoundRows, &packets);
        }
        self.lease = Some(lease);
    }
}

/// Whether the statement runs what may execute, prepare and forget statements by their names.
fn runs_routine(plan: &Plan) -> bool {
    matches!(plan.kind, sql::Kind::Call | sql::Kind::Compound)
        || plan.parts.iter().any(|part| runs_routine(part))
}

/// The names of the textual prepared statements that a statement speaks of, in lower case.
fn names(plan: &Plan) -> impl Iterator<Item = String> {
    let plans = std::iter::once(plan).chain(plan.parts.iter().map(|part| &**part));
    plans.filter_map(|plan| Some(plan.prepared.as_ref()?.name.as_ref()?.to_lowercase()))
}
