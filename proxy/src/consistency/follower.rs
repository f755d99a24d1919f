//! One task per reader finds out what it has applied, while anybody wants to know.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::ledger::Task;
use super::{GtidSet, Ledger, Reader};
use crate::config::{Consistency, Credentials, Source};
use crate::topology::{Endpoint, QueryError, connect};

/// How long one question to a server may stay unanswered before the connection is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a reader is asked to wait for a position before it tells how far it came.
const WAIT_SECONDS: f64 = 0.5;
/// The pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Advances the reader's instant until the task is aborted. Whatever fails makes it stand still:
/// sessions that have written then read from the writer.
pub async fn follow(
    ledger: Arc<Ledger>,
    reader: Arc<Reader>,
    writer: Arc<Endpoint>,
    login: Credentials,
    settings: Consistency,
) {
    let is_fixed = settings.source == Source::Fixed
        || (settings.source == Source::Auto && !has_gtids(&reader.endpoint, &writer, &login).await);
    if is_fixed {
        if settings.source == Source::Auto {
            tracing::warn!(
                endpoint = reader.endpoint.name,
                fixed_lag = ?settings.fixed_lag,
                "no GTIDs here: reads after a write trust consistency.fixed_lag, which is a promise and no proof; switch GTIDs on"
            );
        }
        reader.promise(settings.fixed_lag);
        ledger.abandon(&reader);
        return;
    }
    let mut follower = Follower {
        ledger,
        reader,
        writer,
        login,
        is_mariadb: false,
    };
    let mut failed = false;
    loop {
        let Err(error) = follower.run(&mut failed).await;
        if !failed {
            failed = true;
            tracing::warn!(
                endpoint = follower.reader.endpoint.name,
                %error,
                "cannot follow the reader's position: sessions that have written read from the writer until this works again"
            );
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Whether both servers have GTIDs; asks until both have answered.
async fn has_gtids(reader: &Endpoint, writer: &Endpoint, login: &Credentials) -> bool {
    loop {
        if let (Ok(reader), Ok(writer)) = (reader.learn(login).await, writer.learn(login).await) {
            return reader.has_gtids && writer.has_gtids;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

struct Follower {
    ledger: Arc<Ledger>,
    reader: Arc<Reader>,
    writer: Arc<Endpoint>,
    login: Credentials,
    is_mariadb: bool,
}

impl Follower {
    /// Works until something fails.
    async fn run(&mut self, failed: &mut bool) -> Result<std::convert::Infallible, QueryError> {
        self.is_mariadb = self.reader.endpoint.learn(&self.login).await?.is_mariadb;
        let mut reader = connect(&self.reader.endpoint, &self.login).await?;
        let mut writer = None;
        loop {
            match self.ledger.next_task(&self.reader) {
                Task::Rest => self.reader.work.notified().await,
                Task::Resolve => self.resolve(&mut writer).await?,
                Task::Await(position) => self.wait(&mut reader, &position).await?,
            }
            if std::mem::take(failed) {
                tracing::info!(
                    endpoint = self.reader.endpoint.name,
                    "the reader's position is followed again"
                );
            }
        }
    }

    /// Asks the writer what it has applied by now.
    async fn resolve(&self, writer: &mut Option<Conn>) -> Result<(), QueryError> {
        let connection = match writer {
            Some(connection) => connection,
            None => writer.insert(connect(&self.writer, &self.login).await?),
        };
        let sampled = self.ledger.now();
        let query = if self.is_mariadb {
            "SELECT @@global.gtid_binlog_pos"
        } else {
            "SELECT @@global.gtid_executed"
        };
        let position = self.position(connection, query).await?;
        self.ledger.resolve(&self.reader, sampled, position);
        Ok(())
    }

    /// Lets the reader wait for `position` for a while and looks how far it came.
    async fn wait(&self, reader: &mut Conn, position: &GtidSet) -> Result<(), QueryError> {
        let position = position.to_sql();
        let (wait, executed) = if self.is_mariadb {
            (
                format!("SELECT MASTER_GTID_WAIT('{position}', {WAIT_SECONDS})"),
                "SELECT @@global.gtid_current_pos",
            )
        } else {
            (
                format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {WAIT_SECONDS})"),
                "SELECT @@global.gtid_executed",
            )
        };
        in_time(reader.query_drop(wait)).await?;
        let executed = self.position(reader, executed).await?;
        self.ledger.reached(&self.reader, &executed);
        Ok(())
    }

    async fn position(&self, connection: &mut Conn, query: &str) -> Result<GtidSet, QueryError> {
        let text: Option<String> = in_time(connection.query_first(query)).await?;
        let text = text.unwrap_or_default();
        let set = if self.is_mariadb {
            GtidSet::parse_mariadb(&text)
        } else {
            GtidSet::parse_mysql(&text)
        };
        set.map_err(|error| mysql_async::Error::Other(Box::new(error)).into())
    }
}

async fn in_time<T>(
    answer: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, QueryError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(QueryError::TimedOut(ANSWER_TIMEOUT)),
    }
}
