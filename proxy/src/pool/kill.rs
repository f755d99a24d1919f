//! KILL on a server, over a connection of its own.

use mysql_async::prelude::Queryable;

use crate::config::Credentials;
use crate::topology::{Endpoint, QueryError, connect, guarded};

/// What KILL ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    /// The statement that runs now.
    Query,
    /// The connection, and with it the transaction.
    Connection,
}

/// Ends what runs on the server's connection `thread_id`, with the rights of `login`. Connecting
/// takes a while: `is_still_meant` is asked right before the command is sent.
pub async fn kill(
    endpoint: &Endpoint,
    login: &Credentials,
    thread_id: u32,
    scope: KillScope,
    is_still_meant: impl Fn() -> bool,
) -> Result<(), QueryError> {
    let mut connection = connect(endpoint, login).await?;
    let what = match scope {
        KillScope::Query => "QUERY",
        KillScope::Connection => "CONNECTION",
    };
    if !is_still_meant() {
        return Ok(());
    }
    guarded(async {
        let kill = format!("KILL {what} {thread_id}");
        connection.query_drop(kill).await?;
        Ok(connection.disconnect().await?)
    })
    .await
}
