//! What the previous statement left for the next one to ask about.
//!
//! While the session keeps its connection, the server answers such questions itself. Where the
//! connection is gone, or has been asked something else since, what it would have said is kept here.

use super::conditions::{Condition, Conditions, Level};
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
    pub(super) value: i64,
    /// The connection that the session keeps knows another number: the proxy has answered a command
    /// since.
    pub(super) is_elsewhere: bool,
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
        self.conditions = match reply.error.is_some() || reply.warnings > 0 {
            true => Conditions::Unread {
                // An error tells no count: that is of a result before it.
                count: reply.error.as_ref().map_or(reply.warnings, |_| 0),
                error: reply.error.clone(),
            },
            false => Conditions::None,
        };
    }

    /// Notes an error of which the connection that the session keeps, if any, knows nothing.
    pub(super) fn note_own(&mut self, error: ServerError) {
        let conditions = Conditions::only(&error);
        self.note(&Reply {
            error: Some(error),
            ..Reply::default()
        });
        self.conditions = conditions;
        self.are_elsewhere = true;
    }

    /// Notes how many rows the query found that gave the last result.
    pub(super) fn note_found(&mut self, rows: u64) {
        self.found_rows = rows;
        self.are_found_elsewhere = false;
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

    /// Notes the server's answer to a statement that asks about conditions. To ask for one that is
    /// not there adds one.
    pub(super) fn note_diagnosis(&mut self, reply: &Reply, most: usize) {
        if reply.is_result_set {
            self.row_count = RowCount {
                value: -1,
                is_elsewhere: false,
            };
        }
        if reply.warnings == 0 {
            return;
        }
        self.row_count = RowCount {
            value: -1,
            is_elsewhere: false,
        };
        match &mut self.conditions {
            Conditions::None => {
                self.conditions = Conditions::Unread {
                    count: reply.warnings,
                    error: None,
                };
            }
            Conditions::Unread { count, .. } => *count = count.saturating_add(reply.warnings),
            Conditions::Read { .. } => self.add_invalid_number(most),
        }
    }

    /// Notes that there is no condition of the number that was asked for, which the connection that the
    /// session keeps has not been asked. Servers keep `most` at the most.
    pub(super) fn note_invalid_number(&mut self, most: usize) {
        self.note_command(-1);
        self.add_invalid_number(most);
    }

    fn add_invalid_number(&mut self, most: usize) {
        let condition = Condition {
            level: Level::Error,
            code: 1758,
            state: *b"35000",
            message: b"Invalid condition number".to_vec(),
        };
        self.conditions.add_error(condition, most);
    }

    /// Notes that the connection is gone that the session has kept.
    pub(super) fn note_departure(&mut self) {
        self.conditions.settle();
        self.are_elsewhere = true;
    }

    /// Notes that the proxy asked something of its own after the statement.
    pub(super) fn note_question(&mut self) {
        self.are_found_elsewhere = true;
        self.are_elsewhere = true;
    }

    /// The same for a statement that leaves the conditions of the one before it, unless it has
    /// some of its own.
    pub(super) fn note_beside(&mut self, reply: &Reply, was_without_connection: bool) {
        if self.are_elsewhere || was_without_connection {
            self.conditions.settle();
        }
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
        Values {
            connection_id: Some(u64::from(connection_id)),
            last_insert_id: None,
            row_count: Some(self.row_count()),
            found_rows: Some(self.found_rows),
            warning_count: Some(self.conditions.count() + u64::from(self.is_stale)),
            error_count: Some(self.conditions.errors()),
        }
    }

    /// ROW_COUNT().
    pub(super) fn row_count(&self) -> i64 {
        self.row_count.value
    }
}
