//! Which round trips are saved.

use serde::Deserialize;

/// The round trips to a server that the proxy does without, each of which can be had back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoundTrips {
    /// The session's state goes in one write with a statement that may write.
    pub state: bool,
    /// A statement is prepared and executed in one write.
    pub first_execution: bool,
    /// BEGIN is answered at once and goes with the statement that follows.
    pub begin: bool,
    /// So are SAVEPOINT and RELEASE SAVEPOINT.
    pub savepoints: bool,
    /// COMMIT and ROLLBACK are answered at once where no server knows of a transaction.
    pub empty_transactions: bool,
    /// ROLLBACK is answered at once, and sent at once.
    pub rollback: bool,
    /// Statements of the writer's are prepared on the reader.
    pub prepare: bool,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self {
            state: true,
            first_execution: true,
            begin: true,
            savepoints: true,
            empty_transactions: true,
            rollback: true,
            prepare: true,
        }
    }
}
