//! One task asks the writer how far it is, whenever that is what a mark waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::Conn;

use super::ledger::NextSample;
use super::position::{Position, Scale};
use super::{
    Heartbeat, Ledger, RETRY_PAUSE, aurora, is_near, read_gtids, written, written_question,
};
use crate::config::Credentials;
use crate::topology::{Endpoint, QueryError, connect, guarded};

/// How often rows of proxies that are gone are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// How long Aurora may keep a table that it has made, by assumption.
const LONGEST_KEPT: Duration = Duration::from_secs(1);
/// The pause between two looks at it.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Between two questions passes at least this long …
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// … and where the writer is near, where sessions that read on it raise their marks with every trip.
const UNHURRIED: Duration = Duration::from_millis(20);

/// Gives marks of unknown position one, until the task is aborted. One question at a time answers
/// for all sessions and all readers. Whatever fails is tried again as long as a mark is
/// outstanding; nothing is asked when none is.
pub async fn sample(
    ledger: Arc<Ledger>,
    writer: Arc<Endpoint>,
    login: Credentials,
    heartbeat: Heartbeat,
) {
    let mut sampler = Sampler {
        ledger,
        writer,
        login,
        heartbeat,
        connection: None,
        swept: None,
    };
    let mut failed = false;
    loop {
        let scale = match sampler.ledger.next_sample() {
            NextSample::Now(scale) => scale,
            NextSample::Later(pause) => {
                let changed = sampler.ledger.unresolved.notified();
                let _ = tokio::time::timeout(pause, changed).await;
                continue;
            }
            NextSample::Never => {
                sampler.ledger.unresolved.notified().await;
                continue;
            }
        };
        let mut outcome = guarded(sampler.take(scale)).await;
        while let Err(error) = outcome {
            if !std::mem::replace(&mut failed, true) {
                tracing::warn!(
                    endpoint = sampler.writer.name,
                    %error,
                    "cannot find out how far the writer is: sessions that have written read from the writer until this works again"
                );
            }
            sampler.connection = None;
            tokio::time::sleep(RETRY_PAUSE).await;
            outcome = guarded(sampler.take(scale)).await;
        }
        if std::mem::take(&mut failed) {
            tracing::info!(
                endpoint = sampler.writer.name,
                "the writer tells how far it is again"
            );
        }
        let pause = match is_near(&sampler.writer) {
            true => UNHURRIED,
            false => LEAST_PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

struct Sampler {
    ledger: Arc<Ledger>,
    writer: Arc<Endpoint>,
    login: Credentials,
    heartbeat: Heartbeat,
    connection: Option<Conn>,
    /// When rows of proxies that are gone were last removed.
    swept: Option<Instant>,
}

impl Sampler {
    async fn take(&mut self, scale: Scale) -> Result<(), QueryError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let new = connect(&self.writer, &self.login).await?;
                self.connection.insert(new)
            }
        };
        match scale {
            Scale::Gtids => {
                let is_mariadb = self.writer.learn(&self.login).await?.is_mariadb;
                let question = written_question(is_mariadb);
                let sampled = self.ledger.begin_sample();
                let set = read_gtids(connection, question, |text| written(text, is_mariadb));
                let set = set.await?;
                self.ledger.resolve(scale, sampled, Position::Gtids(set));
            }
            Scale::Beats => {
                let (sampled, number) = self.ledger.begin_beat();
                let proxy = self.ledger.proxy();
                // The readers may have the number before its acknowledgement is here.
                self.ledger
                    .resolve(scale, sampled, Position::Beat { proxy, number });
                self.heartbeat.write(connection, number).await?;
                if self.swept.is_none_or(|at| at.elapsed() > SWEEP_INTERVAL) {
                    self.heartbeat.sweep(connection).await?;
                    self.swept = Some(Instant::now());
                }
            }
            Scale::Lsns => {
                let sampled = self.ledger.begin_sample();
                let lsn = fresh_lsn(connection).await?;
                self.ledger.resolve(scale, sampled, Position::Lsn(lsn));
            }
            // The readers tell by themselves.
            Scale::Moments => {}
        }
        Ok(())
    }
}

/// The highest LSN that the writer has written, no older than this call.
///
/// Nothing documents that the table is made when it is asked. So a number counts that was not there
/// yet when it was asked before, or that has not moved for longer than a table is kept.
async fn fresh_lsn(connection: &mut Conn) -> Result<u64, QueryError> {
    let start = Instant::now();
    let mut before = None;
    loop {
        let lsn = aurora::highest_lsn(connection).await?;
        let lsn = lsn.ok_or(QueryError::Unusable("it does not tell the highest LSN"))?;
        let is_new = before.is_some_and(|before| before != lsn);
        if is_new || start.elapsed() > LONGEST_KEPT {
            return Ok(lsn);
        }
        before = Some(lsn);
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
