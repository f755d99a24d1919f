//! `isthmus setup`: what the servers must have for the proxy to prove what readers have seen.

use std::fmt::Write;

use mysql_async::prelude::Queryable;

use crate::config::{Config, Credentials, Role};
use crate::consistency::Heartbeat;
use crate::tls::TlsError;
use crate::topology::{Endpoint, QueryError, connect};

/// Why the servers were not set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration names no writer.
    #[error("the configuration names no writer")]
    NoWriter,
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The writer cannot be reached.
    #[error("the writer endpoint '{endpoint}' cannot be asked: {error}")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// What happened.
        error: QueryError,
    },
    /// The writer refused to make the table.
    #[error(
        "the writer endpoint '{endpoint}' refuses: {error}\n\
         Give a user who may with --user and --password-env, or run by hand:\n\n{statements}"
    )]
    Refused {
        /// The endpoint.
        endpoint: String,
        /// What it says.
        error: QueryError,
        /// What should have run.
        statements: String,
    },
}

/// Makes the heartbeat table on the writer with this login; replication brings it to the readers.
/// Returns what was done and which rights are needed, as text.
pub async fn setup(config: &Config, login: &Credentials) -> Result<String, SetupError> {
    let mut endpoints = config.endpoints.iter();
    let writer = endpoints.find(|endpoint| endpoint.role == Role::Writer);
    let writer = Endpoint::new(writer.ok_or(SetupError::NoWriter)?)?;
    let table = &config.consistency.heartbeat_table;
    let definition = Heartbeat::definition(table);
    let unreachable = |error| SetupError::Unreachable {
        endpoint: writer.name.clone(),
        error,
    };
    let mut connection = connect(&writer, login).await.map_err(unreachable)?;
    for statement in &definition {
        if let Err(error) = connection.query_drop(statement).await {
            let error = QueryError::from(error);
            return Err(match error.is_refusal() {
                true => SetupError::Refused {
                    endpoint: writer.name.clone(),
                    error,
                    statements: statements(&definition) + &grants(config),
                },
                false => unreachable(error),
            });
        }
    }
    // The answer of the last statement is what counts.
    let _ = connection.disconnect().await;
    let mut report = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        report,
        "The writer endpoint '{}' has the heartbeat table {table}.\n\
         The monitoring user needs these rights:\n\n{}",
        writer.name,
        grants(config)
    );
    Ok(report)
}

fn grants(config: &Config) -> String {
    let table = &config.consistency.heartbeat_table;
    let user = &config.monitor.credentials.user;
    statements(&[Heartbeat::grant(table, user)])
}

fn statements(statements: &[String]) -> String {
    statements.iter().map(|one| format!("{one};\n")).collect()
}
