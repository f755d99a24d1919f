//! One task per reader finds out how far it is, while anybody wants to know.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::aurora::Instance;
use super::position::{Position, Scale};
use super::reader::Choice;
use super::{GtidSet, Heartbeat, Ledger, RETRY_PAUSE, Reader, in_time, is_near};
use crate::config::{Consistency, Credentials, Source};
use crate::topology::{Endpoint, QueryError, connect, guarded};

/// How long a reader is asked to wait for GTIDs before it tells how far it came.
const WAIT_SECONDS: f64 = 0.5;
/// How long a position is looked for before it is asked again which one that is.
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// The pauses between two looks at how far the reader is.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// The pause that follows where the writer is near. Whoever waits all the same cuts it short.
const UNHURRIED: Duration = Duration::from_millis(20);

/// Advances the reader's instant until the task is aborted. Whatever fails makes it stand still:
/// sessions that have written then read from the writer.
pub async fn follow(
    ledger: Arc<Ledger>,
    reader: Arc<Reader>,
    writer: Arc<Endpoint>,
    login: Credentials,
    settings: Consistency,
    heartbeat: Heartbeat,
) {
    let mut follower = Follower {
        ledger,
        reader,
        writer,
        login,
        heartbeat,
    };
    let (scale, choice) = follower.choose(settings.source).await;
    let endpoint = follower.reader.endpoint.name.as_str();
    let Choice { source, reason } = &choice;
    tracing::info!(endpoint, source, reason, "how the reader is followed");
    follower.reader.set_choice(choice);
    let Some(scale) = scale else {
        if settings.source == Source::Auto {
            tracing::warn!(
                endpoint,
                fixed_lag = ?settings.fixed_lag,
                "reads after a write trust consistency.fixed_lag, which is a promise and no proof: switch GTIDs on, or make the heartbeat table with `isthmus setup`"
            );
        }
        follower.reader.promise(settings.fixed_lag);
        follower.ledger.abandon(&follower.reader);
        return;
    };
    follower.ledger.adopt(&follower.reader, scale);
    let mut failed = false;
    loop {
        let Err(error) = guarded(follower.run(scale, &mut failed)).await;
        if !error.is_refusal() {
            follower.reader.endpoint.doubt();
        }
        if !std::mem::replace(&mut failed, true) {
            tracing::warn!(
                endpoint = follower.reader.endpoint.name,
                %error,
                "cannot find out how far the reader is: sessions that have written read from the writer until this works again"
            );
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

struct Follower {
    ledger: Arc<Ledger>,
    reader: Arc<Reader>,
    writer: Arc<Endpoint>,
    login: Credentials,
    heartbeat: Heartbeat,
}

impl Follower {
    /// By what the reader's progress is told, where by anything; asks until both servers have
    /// answered.
    async fn choose(&self, source: Source) -> (Option<Scale>, Choice) {
        let configured = "the configuration says so".to_owned();
        let (scale, reason) = match source {
            Source::Gtid => (Some(Scale::Gtids), configured),
            Source::Heartbeat => (Some(Scale::Beats), configured),
            Source::Fixed => (None, configured),
            Source::Aurora => {
                let (scale, reason) = self.wait_for_aurora().await;
                (Some(scale), format!("{configured}, and {reason}"))
            }
            Source::Auto => loop {
                match guarded(self.find_best()).await {
                    Ok(best) => break best,
                    Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
                }
            },
        };
        let source = match scale {
            Some(Scale::Gtids) => Source::Gtid,
            Some(Scale::Beats) => Source::Heartbeat,
            Some(Scale::Lsns | Scale::Moments) => Source::Aurora,
            None => Source::Fixed,
        };
        let source = source.as_str();
        (scale, Choice { source, reason })
    }

    async fn find_best(&self) -> Result<(Option<Scale>, String), QueryError> {
        let (writer, endpoint) = (&*self.writer, &*self.reader.endpoint);
        let mut lacking = Vec::new();
        for server in [writer, endpoint] {
            if !server.learn(&self.login).await?.has_gtids {
                lacking.push(server.name.as_str());
            }
        }
        let mut reading = connect(endpoint, &self.login).await?;
        let is_aurora = Instance::of(&mut reading).await?.is_some();
        if lacking.is_empty() && !is_aurora {
            return Ok((Some(Scale::Gtids), "both servers have GTIDs".to_owned()));
        }
        let lacking = match is_aurora {
            // Its readers share the writer's storage and do not replicate by them.
            true => "GTIDs say nothing about readers of Aurora".to_owned(),
            false => format!("no GTIDs on {}", lacking.join(" and ")),
        };
        let mut writing = connect(writer, &self.login).await?;
        let mut without_table = None;
        for (server, connection) in [(writer, &mut writing), (endpoint, &mut reading)] {
            if !self.heartbeat.is_there(connection).await? {
                without_table.get_or_insert(server.name.as_str());
            }
        }
        let Some(name) = without_table else {
            let reason = format!("{lacking}, but both servers have the heartbeat table");
            return Ok((Some(Scale::Beats), reason));
        };
        let lacking = format!("{lacking}, and no heartbeat table on {name}");
        Ok(match find_aurora(&mut writing, &mut reading).await? {
            Ok((scale, reason)) => (Some(scale), format!("{lacking}, but {reason}")),
            Err(reason) if is_aurora => (None, format!("{lacking}, and {reason}")),
            Err(_) => (None, lacking),
        })
    }

    /// By what Aurora tells how far the reader is. Where it does not, that may come yet.
    async fn wait_for_aurora(&self) -> (Scale, &'static str) {
        let mut reported = false;
        loop {
            let looking = async {
                let mut writing = connect(&self.writer, &self.login).await?;
                let mut reading = connect(&self.reader.endpoint, &self.login).await?;
                find_aurora(&mut writing, &mut reading).await
            };
            match guarded(looking).await {
                Ok(Ok(found)) => return found,
                Ok(Err(reason)) if !std::mem::replace(&mut reported, true) => tracing::warn!(
                    endpoint = self.reader.endpoint.name,
                    reason,
                    "the source aurora does not work: sessions that have written read from the writer until it does"
                ),
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Works until something fails.
    async fn run(&mut self, scale: Scale, failed: &mut bool) -> Result<Infallible, QueryError> {
        let endpoint = self.reader.endpoint.clone();
        let is_mariadb = endpoint.learn(&self.login).await?.is_mariadb;
        let (mut connection, mut instance) = self.connect(scale).await?;
        loop {
            let doubts = endpoint.standing().doubts();
            if doubts != self.reader.answered() {
                self.ledger.start_over(&self.reader, doubts);
                // The server that has given rise to them may not be the one on the other end.
                (connection, instance) = self.connect(scale).await?;
            }
            let Some(wanted) = self.ledger.awaited(&self.reader) else {
                tokio::select! {
                    () = self.reader.work.notified() => {}
                    () = endpoint.doubted() => {}
                }
                continue;
            };
            match scale {
                Scale::Gtids => {
                    self.wait_for_gtids(&mut connection, &wanted, doubts, is_mariadb)
                        .await?;
                }
                Scale::Beats | Scale::Lsns | Scale::Moments => {
                    self.look_for(&mut connection, instance.as_mut(), &wanted, doubts)
                        .await?;
                }
            }
            if std::mem::take(failed) {
                tracing::info!(endpoint = endpoint.name, "the reader is followed again");
            }
        }
    }

    /// Lets the reader wait for GTIDs for a while and looks how far it came. Those who wait for
    /// just these hear of it first.
    async fn wait_for_gtids(
        &self,
        connection: &mut Conn,
        wanted: &Position,
        doubts: u64,
        is_mariadb: bool,
    ) -> Result<(), QueryError> {
        let Position::Gtids(set) = wanted else {
            return Ok(());
        };
        let (function, executed) = if is_mariadb {
            ("MASTER_GTID_WAIT", "SELECT @@global.gtid_current_pos")
        } else {
            (
                "WAIT_FOR_EXECUTED_GTID_SET",
                "SELECT @@global.gtid_executed",
            )
        };
        let questions = format!(
            "SELECT {function}('{}', {WAIT_SECONDS}); {executed}",
            set.to_sql()
        );
        let mut answers = in_time(connection.query_iter(questions)).await?;
        let waited: Vec<Option<i64>> = in_time(answers.collect()).await?;
        if waited == [Some(0)] {
            self.ledger.reached(&self.reader, doubts, wanted);
        }
        let executed: Vec<String> = in_time(answers.collect()).await?;
        let executed = GtidSet::parse(&executed.concat(), is_mariadb);
        let executed = executed.map_err(|error| mysql_async::Error::Other(Box::new(error)))?;
        let position = Position::Gtids(executed);
        self.ledger.reached(&self.reader, doubts, &position);
        self.pause().await;
        Ok(())
    }

    /// Where many write, one question answers for several.
    async fn pause(&self) {
        tokio::time::sleep(PAUSES.0).await;
        if is_near(&self.writer) {
            let waited_for = self.reader.waited_for.notified();
            let _ = tokio::time::timeout(UNHURRIED, waited_for).await;
        }
    }

    /// Looks how far the reader is until it is there. A doubt ends that.
    async fn look_for(
        &self,
        connection: &mut Conn,
        mut instance: Option<&mut Instance>,
        wanted: &Position,
        doubts: u64,
    ) -> Result<(), QueryError> {
        let start = Instant::now();
        loop {
            let position = match (wanted, &mut instance) {
                (&Position::Beat { proxy, .. }, _) => {
                    let number = self.heartbeat.read(connection, proxy).await?;
                    Some(Position::Beat { proxy, number })
                }
                (wanted, Some(instance)) => {
                    let scale = wanted.scale();
                    instance.position(scale, connection, &self.ledger).await?
                }
                (_, None) => None,
            };
            if let Some(position) = &position {
                self.ledger.reached(&self.reader, doubts, position);
            }
            // What was lost is replaced by something else to wait for.
            let is_over = start.elapsed() > LONGEST_LOOK
                || self.reader.endpoint.standing().doubts() != doubts;
            if is_over || position.is_some_and(|position| position.contains(wanted)) {
                return Ok(());
            }
            // Found at most an eighth later than it was there.
            tokio::time::sleep((start.elapsed() / 8).clamp(PAUSES.0, PAUSES.1)).await;
        }
    }

    /// A connection to the reader, and who answers there if that is an instance of Aurora.
    async fn connect(&self, scale: Scale) -> Result<(Conn, Option<Instance>), QueryError> {
        let mut connection = connect(&self.reader.endpoint, &self.login).await?;
        let instance = match scale {
            Scale::Gtids | Scale::Beats => None,
            Scale::Lsns | Scale::Moments => {
                let instance = Instance::of(&mut connection).await?;
                Some(instance.ok_or(QueryError::Unusable("it is no Aurora any more"))?)
            }
        };
        Ok((connection, instance))
    }
}

/// By what Aurora tells how far the reader is, and why by this; or why it does not.
async fn find_aurora(
    writer: &mut Conn,
    reader: &mut Conn,
) -> Result<Result<(Scale, &'static str), &'static str>, QueryError> {
    let Some(instance) = Instance::of(reader).await? else {
        return Ok(Err("the reader is no Aurora: it has no @@aurora_server_id"));
    };
    Ok(match instance.scale(reader, writer).await? {
        Some(Scale::Lsns) => Ok((
            Scale::Lsns,
            "Aurora tells the reader's LSN in aurora_global_db_instance_status",
        )),
        Some(Scale::Moments) => Ok((
            Scale::Moments,
            "Aurora tells the reader's lag in replica_host_status",
        )),
        _ => Err("Aurora does not tell how far the reader is"),
    })
}
