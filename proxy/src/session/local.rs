//! What the proxy answers itself.

use std::io;
use std::sync::Arc;

use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::lenenc::Reader;
use isthmus_protocol::packet;
use isthmus_protocol::result_set::{Form, ResultSet, Value};

use super::Session;
use super::commands::is_just;
use super::conversation::Flow;
use super::diagnostics::Conditions;
use super::stale;
use crate::error::SqlError;
use crate::pool::{RESULTS_CHARSET, RESULTS_COLLATION};
use crate::relay::{Reply, ServerError};
use crate::sql::{Kind, Planned};
use crate::topology::Server;

impl Session {
    /// A statement whose place is the proxy.
    pub(super) async fn answer(&mut self, planned: &Planned, sql: &[u8]) -> io::Result<Flow> {
        if planned.plan.kind != Kind::Show {
            self.last
                .answered_here(&planned.plan, self.started.elapsed(), None);
        }
        match planned.plan.kind {
            Kind::Kill => self.kill_statement(sql).await,
            Kind::GiveToken => self.give_token().await,
            Kind::TakeToken => self.take_token(sql).await,
            Kind::Empty => {
                if has_comment(sql) {
                    self.client.send_ok().await?;
                } else {
                    let error = SqlError::new(1065, "42000", "Query was empty");
                    return self.refuse(&error).await;
                }
                match self.server() {
                    Some(server) if server.is_mariadb => {
                        self.diagnostics.note_beside(&Reply::default(), true);
                    }
                    _ => {
                        self.diagnostics.note(&Reply::default());
                        self.diagnostics.are_elsewhere = true;
                    }
                }
                Ok(Flow::Continue)
            }
            _ => self.show_isthmus(sql, Form::Text).await,
        }
    }

    /// Answers with an error of the proxy's own, which SHOW WARNINGS tells like any other.
    pub(super) async fn refuse(&mut self, error: &SqlError) -> io::Result<Flow> {
        let reply = Reply {
            error: Some(ServerError::from(error)),
            ..Reply::default()
        };
        self.diagnostics.note(&reply);
        self.diagnostics.are_elsewhere = true;
        self.client.send_error(error).await?;
        Ok(Flow::Continue)
    }

    /// What is known of a server of this world: of any, as they are alike.
    pub(super) fn server(&self) -> Option<Arc<Server>> {
        self.world
            .snapshot
            .all()
            .find_map(|endpoint| endpoint.server())
    }

    /// SHOW WARNINGS, SHOW ERRORS and SHOW COUNT(*) of them about a statement whose connection is
    /// gone. Returns whether this was one that could be answered.
    pub(super) async fn answer_warnings(&mut self, sql: &[u8], form: Form) -> io::Result<bool> {
        if is_just(sql, &["SHOW", "COUNT(*)", "WARNINGS"]) {
            let count = self.diagnostics.values(0).warning_count;
            return self
                .answer_count("@@session.warning_count", count, form)
                .await;
        }
        if is_just(sql, &["SHOW", "COUNT(*)", "ERRORS"]) {
            let count = self.diagnostics.values(0).error_count;
            return self
                .answer_count("@@session.error_count", count, form)
                .await;
        }
        let (sql, skipped, limit) = without_limit(sql);
        let is_warnings = is_just(sql, &["SHOW", "WARNINGS"]);
        if !is_warnings && !is_just(sql, &["SHOW", "ERRORS"]) {
            return Ok(false);
        }
        let mut rows = match &self.diagnostics.conditions {
            Conditions::Warnings { packets, .. } => {
                let mut rows = rows(packets);
                rows.retain(|row| is_warnings || row.first() == Some(&"Error".into()));
                rows
            }
            Conditions::Error(error) => {
                vec![vec![
                    "Error".into(),
                    Value::Small(error.code.into()),
                    Value::text(&error.message),
                ]]
            }
            Conditions::None | Conditions::Unread { .. } => Vec::new(),
        };
        if is_warnings && self.diagnostics.is_stale {
            let (code, text) = stale::WARNING;
            let row = vec!["Warning".into(), Value::integer(code), Value::text(text)];
            rows.insert(0, row);
        }
        rows.drain(..skipped.min(rows.len()));
        rows.truncate(limit);
        let server = self.server();
        let is_mariadb = server.as_ref().is_some_and(|server| server.is_mariadb);
        let (collation, longest) = self.described_texts(server.as_deref());
        let columns = condition_columns(is_mariadb, collation, longest);
        self.send_conditions(&ResultSet { columns, rows }, form)
            .await
    }

    /// How servers describe texts in results: the collation, and the bytes of the longest character.
    fn described_texts(&self, server: Option<&Server>) -> (u16, u32) {
        let value = |name| self.state.variables.get(name).map(|value| &**value);
        let by_default = server
            .map(|server| server.collation)
            .filter(|_| value(RESULTS_CHARSET).is_none());
        let named = value(RESULTS_COLLATION).and_then(|name| server?.collation_named(name));
        let charset = value(RESULTS_CHARSET).unwrap_or(b"utf8mb4");
        let known = CHARSETS.iter().find(|(name, ..)| *name == charset);
        let (_, usual, longest) = known.copied().unwrap_or(UTF8MB4);
        (named.or(by_default).unwrap_or(usual), longest)
    }

    async fn answer_count(
        &mut self,
        name: &str,
        count: Option<u64>,
        form: Form,
    ) -> io::Result<bool> {
        let result = ResultSet {
            columns: vec![ColumnDefinition {
                flags: ColumnDefinition::UNSIGNED | ColumnDefinition::BINARY,
                ..ColumnDefinition::integer(name)
            }],
            rows: vec![vec![Value::integer(count.unwrap_or_default())]],
        };
        // It is a row like any other, which those of SHOW WARNINGS are not.
        self.diagnostics.found_rows = 1;
        self.diagnostics.are_found_elsewhere = true;
        self.send_conditions(&result, form).await
    }

    /// Answers with a result, as whose ROW_COUNT() servers give -1. The conditions stay.
    async fn send_conditions(&mut self, result: &ResultSet, form: Form) -> io::Result<bool> {
        self.diagnostics.note_command(-1);
        self.client.send_result(result, form).await?;
        Ok(true)
    }
}

/// Decimals of a value that has as many as it has, as MariaDB counts.
const MARIADB_NOT_FIXED: u8 = 39;

const UTF8MB4: (&[u8], u16, u32) = (b"utf8mb4", ColumnDefinition::UTF8MB4, 4);

/// Character sets of results: name, collation by default and bytes of the longest character. In any
/// other, the columns are described as in utf8mb4.
const CHARSETS: [(&[u8], u16, u32); 11] = [
    (b"binary", 63, 1),
    UTF8MB4,
    (b"utf8mb3", 33, 3),
    (b"utf8", 33, 3),
    // NULL: texts stay as they are.
    (b"", 33, 3),
    (b"latin1", 8, 1),
    (b"ascii", 11, 1),
    (b"cp1251", 51, 1),
    (b"gbk", 28, 2),
    (b"sjis", 13, 2),
    (b"gb18030", 248, 4),
];

/// The columns of SHOW WARNINGS, as servers describe them.
fn condition_columns(is_mariadb: bool, collation: u16, longest: u32) -> Vec<ColumnDefinition> {
    let text = |name, characters: u32| ColumnDefinition {
        collation,
        length: longest * characters,
        flags: ColumnDefinition::NOT_NULL,
        decimals: if is_mariadb {
            MARIADB_NOT_FIXED
        } else {
            ColumnDefinition::NOT_FIXED
        },
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
    let rows = packet::payloads(packets).skip(1 + COLUMNS);
    rows.map(|payload| {
        let mut reader = Reader::new(payload, "row");
        let mut value = || {
            reader
                .lenenc_bytes_or_null()
                .ok()
                .flatten()
                .unwrap_or_default()
        };
        let (level, code, message) = (value(), value(), value());
        let code = std::str::from_utf8(code)
            .ok()
            .and_then(|code| code.parse().ok());
        vec![
            Value::text(level),
            code.map_or(Value::Null, Value::Small),
            Value::text(message),
        ]
    })
    .collect()
}
