//! What the proxy answers itself.

use std::io;

use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::packet;
use isthmus_protocol::result_set::{Form, ResultSet, Value};

use super::Session;
use super::commands::is_just;
use super::conversation::Flow;
use super::diagnostics::Conditions;
use super::registry::{Running, Signal};
use crate::error::SqlError;
use crate::pool::{KillScope, kill};
use crate::sql::{Kind, Planned};

impl Session {
    /// A statement whose place is the proxy.
    pub(super) async fn answer(&mut self, planned: &Planned, sql: &[u8]) -> io::Result<Flow> {
        if planned.plan.kind != Kind::Show {
            self.last
                .answered_here(&planned.plan, self.started.elapsed(), None);
        }
        match planned.plan.kind {
            Kind::Kill => self.kill_statement(sql).await,
            Kind::Empty => {
                if has_comment(sql) {
                    self.client.send_ok().await?;
                } else {
                    let error = SqlError::new(1065, "42000", "Query was empty");
                    self.client.send_error(&error).await?;
                }
                Ok(Flow::Continue)
            }
            _ => self.show_isthmus(sql, Form::Text).await,
        }
    }

    /// SHOW WARNINGS, SHOW ERRORS and SHOW COUNT(*) of them about a statement whose connection is
    /// gone. Returns whether this was one that could be answered.
    pub(super) async fn answer_warnings(&mut self, sql: &[u8]) -> io::Result<bool> {
        if is_just(sql, &["SHOW", "COUNT(*)", "WARNINGS"]) {
            let count = self.diagnostics.values(0).warning_count;
            return self.answer_count("@@session.warning_count", count).await;
        }
        if is_just(sql, &["SHOW", "COUNT(*)", "ERRORS"]) {
            let count = self.diagnostics.values(0).error_count;
            return self.answer_count("@@session.error_count", count).await;
        }
        let (sql, skipped, limit) = without_limit(sql);
        let is_warnings = is_just(sql, &["SHOW", "WARNINGS"]);
        if !is_warnings && !is_just(sql, &["SHOW", "ERRORS"]) {
            return Ok(false);
        }
        let mut rows = match &self.diagnostics.conditions {
            Conditions::Warnings { packets, .. } if is_warnings => rows(packets),
            Conditions::Error(error) => {
                vec![vec![
                    "Error".into(),
                    Value::integer(error.code),
                    Value::text(&error.message),
                ]]
            }
            Conditions::None | Conditions::Warnings { .. } => Vec::new(),
        };
        rows.drain(..skipped.min(rows.len()));
        rows.truncate(limit);
        let server = self
            .world
            .snapshot
            .all()
            .find_map(|endpoint| endpoint.server());
        let columns = condition_columns(server.is_some_and(|server| server.is_mariadb));
        let result = ResultSet { columns, rows };
        self.client.send_result(&result, Form::Text).await?;
        Ok(true)
    }

    async fn answer_count(&mut self, name: &str, count: Option<u64>) -> io::Result<bool> {
        let result = ResultSet {
            columns: vec![ColumnDefinition::integer(name)],
            rows: vec![vec![Value::integer(count.unwrap_or_default())]],
        };
        self.client.send_result(&result, Form::Text).await?;
        Ok(true)
    }

    /// COM_PROCESS_KILL.
    pub(super) async fn process_kill(&mut self, body: &[u8]) -> io::Result<Flow> {
        let Some(&[a, b, c, d]) = body.first_chunk() else {
            self.client
                .send_error(&SqlError::malformed("COM_PROCESS_KILL without an id"))
                .await?;
            return Ok(Flow::Continue);
        };
        self.kill(
            u64::from(u32::from_le_bytes([a, b, c, d])),
            KillScope::Connection,
        )
        .await
    }

    /// KILL [CONNECTION | QUERY] id, with MariaDB's HARD and SOFT.
    async fn kill_statement(&mut self, sql: &[u8]) -> io::Result<Flow> {
        let text = String::from_utf8_lossy(sql).to_ascii_uppercase();
        let words: Vec<&str> = text
            .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
            .split_whitespace()
            .filter(|word| !matches!(*word, "HARD" | "SOFT"))
            .collect();
        let (scope, id) = match words.as_slice() {
            ["KILL", "QUERY", id] => (KillScope::Query, id.parse().ok()),
            ["KILL", "CONNECTION", id] | ["KILL", id] => (KillScope::Connection, id.parse().ok()),
            _ => (KillScope::Query, None),
        };
        match id {
            Some(id) => self.kill(id, scope).await,
            None => {
                let error = SqlError::new(
                    1235,
                    "42000",
                    "Isthmus understands KILL [CONNECTION | QUERY] with a number: the id that CONNECTION_ID() gives",
                );
                self.client.send_error(&error).await?;
                Ok(Flow::Continue)
            }
        }
    }

    /// Ends another session of the same user, or what it runs, by the id that the proxy gave it.
    async fn kill(&mut self, id: u64, scope: KillScope) -> io::Result<Flow> {
        let own = &self.identity.user.name;
        let target = u32::try_from(id)
            .ok()
            .and_then(|id| self.shared.sessions.get(id));
        let target = match target {
            Some(target) if target.who().user == *own => target,
            Some(_) => {
                let error =
                    SqlError::new(1095, "HY000", format!("You are not owner of thread {id}"));
                self.client.send_error(&error).await?;
                return Ok(Flow::Continue);
            }
            None => {
                let error = SqlError::new(1094, "HY000", format!("Unknown thread id: {id}"));
                self.client.send_error(&error).await?;
                return Ok(Flow::Continue);
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
            let ended = kill(
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
            let error = SqlError::new(1317, "70100", "Query execution was interrupted");
            self.client.send_error(&error).await?;
        } else {
            self.client.send_ok().await?;
        }
        Ok(Flow::Continue)
    }
}

/// The columns of SHOW WARNINGS, as servers describe them.
fn condition_columns(is_mariadb: bool) -> Vec<ColumnDefinition> {
    let text = |name, characters: u32| ColumnDefinition {
        length: 4 * characters,
        flags: ColumnDefinition::NOT_NULL,
        ..ColumnDefinition::text(name)
    };
    let code = ColumnDefinition {
        kind: ColumnDefinition::LONG,
        // MySQL counts the sign too.
        length: if is_mariadb { 4 } else { 5 },
        flags: ColumnDefinition::NOT_NULL | ColumnDefinition::UNSIGNED | ColumnDefinition::BINARY,
        ..ColumnDefinition::integer("Code")
    };
    vec![text("Level", 7), code, text("Message", 512)]
}

/// The statement without a `LIMIT rows` or `LIMIT skipped, rows` at its end, and these numbers.
fn without_limit(sql: &[u8]) -> (&[u8], usize, usize) {
    let whole = (sql, 0, usize::MAX);
    let upper = sql.to_ascii_uppercase();
    let Some(at) = upper.windows(7).position(|part| part == b" LIMIT ") else {
        return whole;
    };
    let (statement, limit) = sql.split_at(at);
    let Ok(limit) = std::str::from_utf8(limit) else {
        return whole;
    };
    let numbers = limit.get(7..).unwrap_or_default();
    let numbers = numbers.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    let (skipped, rows) = numbers.split_once(',').unwrap_or(("0", numbers));
    match (skipped.trim().parse(), rows.trim().parse()) {
        (Ok(skipped), Ok(rows)) => (statement, skipped, rows),
        _ => whole,
    }
}

/// Whether a text without a statement has a comment: to the servers that makes it one that does
/// nothing, where it would be an error otherwise.
fn has_comment(sql: &[u8]) -> bool {
    !sql.iter()
        .all(|&byte| byte.is_ascii_whitespace() || matches!(byte, b';' | 0x0b))
}

/// The rows of a kept result of three columns: behind the column count and the definitions.
fn rows(packets: &[u8]) -> Vec<Vec<Value>> {
    const COLUMNS: usize = 3;
    let mut rest = packets;
    let mut rows = Vec::new();
    let mut index = 0;
    while let Some(header) = packet::Header::parse(rest) {
        let (packet, tail) = rest.split_at((packet::HEADER_LEN + header.length).min(rest.len()));
        if index > COLUMNS {
            let payload = packet.get(packet::HEADER_LEN..).unwrap_or_default();
            let mut reader = isthmus_protocol::lenenc::Reader::new(payload, "row");
            let row = (0..COLUMNS).map(|_| {
                let value = reader.lenenc_bytes_or_null().ok().flatten();
                value.map_or(Value::Null, Value::text)
            });
            rows.push(row.collect());
        }
        index += 1;
        rest = tail;
    }
    rows
}
