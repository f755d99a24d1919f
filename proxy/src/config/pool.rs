//! Connections to the endpoints.

use std::time::Duration;

use serde::Deserialize;

use super::{size, span};

/// How many connections to the endpoints are kept, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// The most connections to one endpoint for one user, unless the endpoint says otherwise.
    #[serde(deserialize_with = "size::count")]
    pub max_connections: usize,
    /// How many connections to one endpoint are ready for the sessions of one user, unless the
    /// endpoint says otherwise.
    #[serde(deserialize_with = "size::count_or_zero")]
    pub min_idle: usize,
    /// A connection that nobody borrowed for so long is closed.
    #[serde(deserialize_with = "span::positive")]
    pub idle_timeout: Duration,
    /// A connection of that age is closed when it comes back.
    #[serde(deserialize_with = "span::positive")]
    pub max_life: Duration,
    /// How long a statement waits for a connection before its client gets an error.
    #[serde(deserialize_with = "span::positive")]
    pub borrow_timeout: Duration,
    /// The most prepared statements kept open on one connection.
    #[serde(deserialize_with = "size::count")]
    pub prepared_statements: usize,
    /// The connection attributes of clients that the servers are shown, by name. Connections are
    /// shared only by clients that have the same values.
    pub connection_attributes: Vec<String>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_connections: 50,
            min_idle: 2,
            idle_timeout: Duration::from_secs(5 * 60),
            max_life: Duration::from_secs(30 * 60),
            borrow_timeout: Duration::from_secs(10),
            prepared_statements: 256,
            connection_attributes: vec!["program_name".to_owned()],
        }
    }
}
