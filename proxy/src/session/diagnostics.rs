//! What the previous statement left for the next one to ask about.
//!
//! While the session keeps its connection, the server answers such questions itself. Otherwise
//! the connection is gone, and what it would have said is kept here.

use crate::relay::{Reply, ServerError};
use crate::sql::rewrite::Values;

/// The values behind ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID() and SHOW WARNINGS.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    /// ROW_COUNT().
    pub(super) row_count: i64,
    /// FOUND_ROWS().
    pub(super) found_rows: u64,
    /// The proxy asked for `found_rows`, so that the connection knows of that question only.
    pub(super) has_asked_found_rows: bool,
    /// LAST_INSERT_ID().
    pub(super) last_insert_id: u64,
    /// The conditions of the last statement.
    pub(super) conditions: Conditions,
}

/// Warnings and errors of one statement.
#[derive(Debug, Default)]
pub(super) enum Conditions {
    /// None.
    #[default]
    None,
    /// The statement failed.
    Error(ServerError),
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
    /// Notes what a response said. Warnings are fetched by the caller.
    pub(super) fn note(&mut self, reply: &Reply) {
        self.row_count = reply.row_count();
        if reply.is_result_set {
            self.found_rows = reply.rows;
            self.has_asked_found_rows = false;
        }
        self.conditions = match &reply.error {
            Some(error) => Conditions::Error(error.clone()),
            None => Conditions::None,
        };
    }

    /// The values for a statement that asks for them on another connection.
    pub(super) fn values(&self, connection_id: u32) -> Values {
        let (warnings, errors) = match &self.conditions {
            Conditions::None => (0, 0),
            Conditions::Error(_) => (1, 1),
            Conditions::Warnings { count, .. } => (u64::from(*count), 0),
        };
        Values {
            connection_id: Some(u64::from(connection_id)),
            last_insert_id: None,
            row_count: Some(self.row_count),
            found_rows: Some(self.found_rows),
            warning_count: Some(warnings),
            error_count: Some(errors),
        }
    }

    /// A statement that leaves the same condition on another connection, where there is one:
    /// SIGNAL sets the diagnostics area to just that error.
    pub(super) fn signal(&self) -> Option<Vec<u8>> {
        let Conditions::Error(error) = &self.conditions else {
            return None;
        };
        let mut sql = b"SIGNAL SQLSTATE '".to_vec();
        sql.extend(error.state.iter().filter(|b| b.is_ascii_alphanumeric()));
        sql.extend_from_slice(b"' SET MESSAGE_TEXT=x'");
        // MESSAGE_TEXT takes 128 characters.
        let message = String::from_utf8_lossy(&error.message);
        for byte in message.chars().take(128).collect::<String>().bytes() {
            sql.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        sql.extend_from_slice(format!("',MYSQL_ERRNO={}", error.code).as_bytes());
        Some(sql)
    }
}
