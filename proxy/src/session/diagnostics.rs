//! What the previous statement left for the next one to ask about.
//!
//! While the session keeps its connection, the server answers such questions itself. Otherwise
//! the connection is gone, and what it would have said is kept here.

use isthmus_protocol::packet;

use crate::pool::user_variable;
use crate::relay::{Reply, ServerError};
use crate::sql::rewrite::Values;

/// The values behind ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID() and SHOW WARNINGS.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    /// ROW_COUNT().
    pub(super) row_count: RowCount,
    /// FOUND_ROWS().
    pub(super) found_rows: u64,
    /// The connection that the session keeps knows another number of rows: it has been asked
    /// something by the proxy since, or has been another session's.
    pub(super) are_found_elsewhere: bool,
    /// LAST_INSERT_ID().
    pub(super) last_insert_id: u64,
    /// The conditions of the last statement.
    pub(super) conditions: Conditions,
    /// The connection that the session keeps does not have them: they are of a statement before it
    /// was borrowed, or of one that the proxy answered.
    pub(super) are_elsewhere: bool,
    /// The last statement may have shown an old state: the proxy's own warning stands before the
    /// server's.
    pub(super) is_stale: bool,
}

/// What ROW_COUNT() says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowCount {
    value: i64,
    /// The connection that the session keeps knows another number: the proxy has answered a command
    /// since.
    pub(super) is_elsewhere: bool,
}

/// Warnings and errors of one statement.
#[derive(Debug, Default)]
pub(super) enum Conditions {
    /// None.
    #[default]
    None,
    /// The statement failed.
    Error(ServerError),
    /// The statement had so many warnings. The connection that the session keeps tells how they read.
    Unread {
        /// How many there were.
        count: u16,
    },
    /// The statement had so many warnings. SHOW WARNINGS would answer with these packets (column
    /// count, columns, rows: all but the terminator) of so many rows.
    Warnings {
        /// How many there were.
        count: u16,
        /// The packets, in the dialect of backend connections.
        packets: Vec<u8>,
    },
}

impl Diagnostics {
    /// Notes what a response said. The caller reads warnings before the connection is given back.
    pub(super) fn note(&mut self, reply: &Reply) {
        self.row_count = RowCount {
            value: reply.row_count(),
            is_elsewhere: false,
        };
        self.are_elsewhere = false;
        self.is_stale = false;
        self.conditions = match &reply.error {
            Some(error) => Conditions::Error(error.clone()),
            None if reply.warnings > 0 => Conditions::Unread {
                count: reply.warnings,
            },
            None => Conditions::None,
        };
    }

    /// Notes how many rows the query found that gave the last result.
    pub(super) fn note_found(&mut self, rows: u64) {
        self.found_rows = rows;
        self.are_found_elsewhere = false;
    }

    /// Notes how the last statement's warnings read, if it had some.
    pub(super) fn note_warnings(&mut self, packets: Vec<u8>) {
        if let Conditions::Unread { count } = self.conditions {
            self.conditions = Conditions::Warnings { count, packets };
        }
    }

    /// Notes the answer to a preparation, which is no statement for ROW_COUNT().
    pub(super) fn note_preparation(&mut self, reply: &Reply) {
        let row_count = self.row_count;
        self.note(reply);
        if reply.error.is_none() {
            self.row_count = row_count;
        }
    }

    /// Notes that the proxy has answered what counts for ROW_COUNT() and leaves the rest as it is.
    pub(super) fn note_command(&mut self, row_count: i64) {
        self.row_count = RowCount {
            value: row_count,
            is_elsewhere: true,
        };
    }

    /// Notes the answer to a statement that asks about conditions. To ask for one that is not there
    /// adds one.
    pub(super) fn note_diagnosis(&mut self, reply: &Reply) {
        if reply.warnings > 0 && matches!(self.conditions, Conditions::None) {
            self.conditions = Conditions::Error(ServerError {
                code: 1758,
                state: *b"35000",
                message: b"Invalid condition number".to_vec(),
            });
        }
    }

    /// Notes that the proxy asked something of its own after the statement.
    pub(super) fn note_question(&mut self) {
        self.are_found_elsewhere = true;
        self.are_elsewhere = true;
    }

    /// The same for a statement that leaves the conditions of the one before it, unless it has
    /// some of its own.
    pub(super) fn note_beside(&mut self, reply: &Reply, was_without_connection: bool) {
        let before = std::mem::take(&mut self.conditions);
        let (were_elsewhere, was_stale) = (self.are_elsewhere, self.is_stale);
        self.note(reply);
        if reply.error.is_none() && reply.warnings == 0 {
            self.conditions = before;
            self.are_elsewhere = were_elsewhere || was_without_connection;
            self.is_stale = was_stale;
        }
    }

    /// The last statement may have shown an old state.
    pub(super) fn note_stale(&mut self) {
        self.is_stale = true;
        self.are_elsewhere = true;
    }

    /// The values for a statement that asks for them on another connection.
    pub(super) fn values(&self, connection_id: u32) -> Values {
        let (warnings, errors) = match &self.conditions {
            Conditions::None => (0, 0),
            Conditions::Error(_) => (1, 1),
            Conditions::Unread { count } => (u64::from(*count), 0),
            Conditions::Warnings { count, packets } => (u64::from(*count), errors(packets)),
        };
        Values {
            connection_id: Some(u64::from(connection_id)),
            last_insert_id: None,
            row_count: Some(self.row_count.value),
            found_rows: Some(self.found_rows),
            warning_count: Some(warnings + u64::from(self.is_stale)),
            error_count: Some(errors),
        }
    }

    /// A statement that leaves the same condition on another connection, where there is one:
    /// SIGNAL sets the diagnostics area to just that error.
    pub(super) fn signal(&self, is_mariadb: bool) -> Option<Vec<u8>> {
        let Conditions::Error(error) = &self.conditions else {
            return None;
        };
        let mut sql = b"SIGNAL SQLSTATE '".to_vec();
        sql.extend(error.state.iter().filter(|b| b.is_ascii_alphanumeric()));
        sql.extend_from_slice(b"' SET MESSAGE_TEXT=x'");
        sql.extend(hexadecimal(message_text(error, is_mariadb).as_bytes()).bytes());
        sql.extend_from_slice(format!("',MYSQL_ERRNO={}", error.code).as_bytes());
        Some(sql)
    }

    /// A statement that puts the whole text of the last error into variables that have got what a
    /// SIGNAL takes of it, where that is less.
    pub(super) fn completion(&self, variables: &[String], is_mariadb: bool) -> Option<String> {
        let Conditions::Error(error) = &self.conditions else {
            return None;
        };
        let cut = message_text(error, is_mariadb);
        if cut.len() >= error.message.len() || variables.is_empty() {
            return None;
        }
        let [cut, whole] = [cut.as_bytes(), &error.message].map(hexadecimal);
        let assignments = variables.iter().map(|name| {
            let name = user_variable::quoted(name);
            format!("@{name}=IF(@{name}=_utf8mb4 x'{cut}',_utf8mb4 x'{whole}',@{name})")
        });
        Some(format!("SET {}", assignments.collect::<Vec<_>>().join(",")))
    }
}

/// What of an error's text has room in the MESSAGE_TEXT of a SIGNAL.
fn message_text(error: &ServerError, is_mariadb: bool) -> String {
    let most = if is_mariadb { 500 } else { 128 };
    let message = String::from_utf8_lossy(&error.message);
    message.chars().take(most).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How many of the rows of SHOW WARNINGS are errors.
fn errors(packets: &[u8]) -> u64 {
    const BEFORE_ROWS: usize = 4;
    let rows = packet::payloads(packets).skip(BEFORE_ROWS);
    rows.filter(|row| row.starts_with(b"\x05Error")).count() as u64
}
