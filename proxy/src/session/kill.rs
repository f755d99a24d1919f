//! `KILL`: ending other sessions of the same user, by the ids that the proxy gave them.

use std::io;

use isthmus_protocol::query_attributes::put_query;

use super::Session;
use super::conversation::Flow;
use super::registry::{Running, Signal};
use crate::error::SqlError;
use crate::pool::{self, KillScope};
use crate::relay::Reply;
use crate::sql::{self, Script};

impl Session {
    /// COM_PROCESS_KILL.
    pub(super) async fn process_kill(&mut self, body: &[u8]) -> io::Result<Flow> {
        let Some(&[a, b, c, d]) = body.first_chunk() else {
            self.client
                .send_error(&SqlError::malformed("COM_PROCESS_KILL without an id"))
                .await?;
            return Ok(Flow::Continue);
        };
        let id = u32::from_le_bytes([a, b, c, d]);
        let outcome = self.kill(u64::from(id), KillScope::Connection).await;
        self.answer_kill(outcome, false).await?;
        Ok(Flow::Continue)
    }

    /// KILL [CONNECTION | QUERY] id, with MariaDB's HARD and SOFT.
    pub(super) async fn kill_statement(&mut self, sql: &[u8]) -> io::Result<Flow> {
        let outcome = self.run_kill(sql).await;
        self.answer_kill(outcome, false).await?;
        Ok(Flow::Continue)
    }

    /// A KILL with other statements behind it, which run if it succeeds.
    pub(super) async fn kill_and_go_on(
        &mut self,
        script: &Script,
        attributes: &[u8],
        sql: &[u8],
    ) -> io::Result<Flow> {
        let range = |index: usize| script.statements.get(index).map(|one| one.range.clone());
        let first = range(0).and_then(|range| sql.get(range));
        let rest = range(1).and_then(|range| sql.get(range.start..));
        let (Some(first), Some(rest)) = (first, rest) else {
            return self.kill_statement(sql).await;
        };
        let outcome = self.run_kill(first).await;
        if !self.answer_kill(outcome, true).await? {
            return Ok(Flow::Continue);
        }
        let mut framed = Vec::new();
        put_query(&mut framed, attributes, rest);
        let body = isthmus_protocol::packet::payload(&framed);
        let body = body.get(1..).unwrap_or_default();
        Box::pin(self.query(&framed, body)).await
    }

    async fn run_kill(&mut self, sql: &[u8]) -> Result<(), SqlError> {
        let text = String::from_utf8_lossy(sql).to_ascii_uppercase();
        let text = text.replace("CONNECTION_ID()", &self.handle.id.to_string());
        let Some(sql::Kill { query_only, id }) = sql::kill(text.as_bytes(), self.state.dialect)
        else {
            return Err(SqlError::new(
                1235,
                "42000",
                "Isthmus understands KILL [CONNECTION | QUERY] with a number: the id that CONNECTION_ID() gives",
            ));
        };
        let scope = if query_only {
            KillScope::Query
        } else {
            KillScope::Connection
        };
        self.kill(id, scope).await
    }

    /// Tells the client what came of it, and whether there is `more` to come if it succeeded.
    /// Returns whether it did.
    async fn answer_kill(&mut self, outcome: Result<(), SqlError>, more: bool) -> io::Result<bool> {
        if let Err(error) = outcome {
            self.refuse(&error).await?;
            return Ok(false);
        }
        self.diagnostics.note(&Reply::default());
        self.diagnostics.are_elsewhere = true;
        if more {
            self.client.send_ok_before_more().await?;
        } else {
            self.client.send_ok().await?;
        }
        Ok(true)
    }

    /// Ends another session of the same user, or what it runs.
    async fn kill(&mut self, id: u64, scope: KillScope) -> Result<(), SqlError> {
        let own = &self.identity.user.name;
        let target = u32::try_from(id)
            .ok()
            .and_then(|id| self.shared.sessions.get(id));
        let target = match target {
            Some(target) if target.who().user == *own => target,
            Some(_) => {
                let message = format!("You are not owner of thread {id}");
                return Err(SqlError::new(1095, "HY000", message));
            }
            None => {
                let message = format!("Unknown thread id: {id}");
                return Err(SqlError::new(1094, "HY000", message));
            }
        };
        if scope == KillScope::Connection {
            target.send(Signal::Kill);
        }
        if let Some(running) = target.running() {
            let Running { origin, thread_id } = &running;
            let is_still_meant = || {
                target
                    .running()
                    .is_some_and(|now| now.thread_id == *thread_id)
            };
            let ended = pool::kill(
                &origin.endpoint,
                &origin.login,
                *thread_id,
                scope,
                is_still_meant,
            )
            .await;
            if let Err(error) = ended {
                tracing::debug!(session = id, %error, "the server did not end a statement");
            }
        }
        if target.id == self.handle.id {
            return Err(SqlError::interrupted());
        }
        Ok(())
    }
}
