//! KILL on a server, over a connection of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::pools::Origin;
use crate::topology::{QueryError, connect, guarded};

/// How long a server may take to answer.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// What KILL ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    /// The statement that runs now.
    Query,
    /// The connection, and with it the transaction.
    Connection,
}

/// The connections to which a KILL is on its way, by the server's ids. They are not lent any more:
/// it is not meant for the next session.
#[derive(Debug, Default)]
pub(super) struct Kills {
    /// How many there are, so that who lends a connection need not look at them.
    count: AtomicUsize,
    thread_ids: Mutex<Vec<u32>>,
}

impl Kills {
    /// Whether one is on its way to this connection, which is closed then and not asked about again.
    pub(super) fn take(&self, thread_id: u32) -> bool {
        self.count.load(Ordering::SeqCst) != 0 && self.withdraw(thread_id)
    }

    fn announce(&self, thread_id: u32) {
        let mut thread_ids = self.lock();
        thread_ids.push(thread_id);
        self.count.store(thread_ids.len(), Ordering::SeqCst);
    }

    fn withdraw(&self, thread_id: u32) -> bool {
        let mut thread_ids = self.lock();
        let place = thread_ids.iter().position(|other| *other == thread_id);
        let known = place.map(|place| thread_ids.swap_remove(place));
        self.count.store(thread_ids.len(), Ordering::SeqCst);
        known.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        self.thread_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// Ends what runs on the server's connection `thread_id`. Connecting takes a while:
    /// `is_still_meant` is asked right before the command is sent.
    pub async fn kill(
        &self,
        thread_id: u32,
        scope: KillScope,
        is_still_meant: impl Fn() -> bool,
    ) -> Result<(), QueryError> {
        let connection = connect(&self.endpoint, &self.login).await?;
        let kills = &self.family.kills;
        kills.announce(thread_id);
        if !is_still_meant() {
            kills.withdraw(thread_id);
            return Ok(());
        }
        let killed = send(connection, thread_id, scope).await;
        // What the server has not answered to may still come.
        if killed.as_ref().err().is_none_or(QueryError::is_refusal) {
            kills.withdraw(thread_id);
        }
        killed
    }

    /// Ends what runs on a connection that nobody will be lent.
    pub(super) async fn kill_abandoned(&self, thread_id: u32) -> Result<(), QueryError> {
        let connection = connect(&self.endpoint, &self.login).await?;
        send(connection, thread_id, KillScope::Connection).await
    }
}

async fn send(mut connection: Conn, thread_id: u32, scope: KillScope) -> Result<(), QueryError> {
    let what = match scope {
        KillScope::Query => "QUERY",
        KillScope::Connection => "CONNECTION",
    };
    let killing = guarded(async {
        let kill = format!("KILL {what} {thread_id}");
        Ok(connection.query_drop(kill).await?)
    });
    in_time(killing).await?;
    let _ = in_time(guarded(async { Ok(connection.disconnect().await?) })).await;
    Ok(())
}

async fn in_time(work: impl Future<Output = Result<(), QueryError>>) -> Result<(), QueryError> {
    let outcome = tokio::time::timeout(KILL_TIMEOUT, work).await;
    outcome.unwrap_or(Err(QueryError::TimedOut(KILL_TIMEOUT)))
}
