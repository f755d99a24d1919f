//! Watching whether an endpoint can be reached, and how far a reader is behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::lag::find_lag;
use super::{Endpoint, GtidSet, QueryError, Server, SignOfLife, Trail, query};
use crate::config::Monitor;

/// What is watched, and how.
#[derive(Debug)]
pub struct Watch {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// How it is asked.
    pub settings: Monitor,
    /// Whether it is the writer.
    pub is_writer: bool,
    /// How far it may be behind, if it is a reader for which that is set.
    pub max_lag: Option<Duration>,
    /// Where the writer was.
    pub trail: Arc<Trail>,
}

/// An endpoint that is down is asked again after this time at the most.
const SOON: Duration = Duration::from_secs(1);

/// Asks the endpoint for a sign of life again and again, until the task is aborted.
pub async fn watch(watch: Watch) {
    let Watch {
        endpoint,
        settings,
        is_writer,
        ..
    } = &watch;
    let mut connection = None;
    let mut reported = false;
    loop {
        match query::guarded(check(&watch, &mut connection)).await {
            Ok(sign) => {
                let read_only = sign.read_only;
                endpoint.set_sign_of_life(sign);
                let is_news = endpoint.set_up(true) || !reported;
                if is_news {
                    tracing::info!(endpoint = endpoint.name, read_only, "endpoint is up");
                    if *is_writer && read_only {
                        tracing::warn!(
                            endpoint = endpoint.name,
                            "the writer endpoint is read only: writes will fail; point the writer role at the server that can write"
                        );
                    }
                }
            }
            Err(error) => {
                connection = None;
                if endpoint.set_up(false) || !reported {
                    tracing::warn!(endpoint = endpoint.name, %error, "endpoint is down");
                }
            }
        }
        reported = true;
        let next = Instant::now() + settings.interval;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(SOON)).await;
            // Others notice too that it is down: a connection that is made ahead breaks.
            if left <= SOON || !endpoint.is_up() {
                break;
            }
        }
    }
}

/// How the server is, over the connection kept for this or a new one.
async fn check(watch: &Watch, connection: &mut Option<Conn>) -> Result<SignOfLife, QueryError> {
    let Watch {
        endpoint, settings, ..
    } = watch;
    let connection = match connection {
        Some(connection) => connection,
        // A dozen round trips, with limits of their own.
        None => {
            let mut new = query::connect(endpoint, &settings.credentials).await?;
            endpoint.set_server(Server::read(&mut new).await?);
            connection.insert(new)
        }
    };
    let asking = ask(watch, connection);
    match tokio::time::timeout(settings.timeout, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(QueryError::TimedOut(settings.timeout)),
    }
}

async fn ask(watch: &Watch, connection: &mut Conn) -> Result<SignOfLife, QueryError> {
    let server = watch.endpoint.server();
    let is_mariadb = server.as_ref().is_some_and(|server| server.is_mariadb);
    let question = if is_mariadb {
        "SELECT @@global.read_only, @@global.gtid_current_pos"
    } else {
        "SELECT @@global.read_only, @@global.gtid_executed"
    };
    let start = Instant::now();
    let answer: Option<(bool, String)> = connection.query_first(question).await?;
    watch.endpoint.note_answer(start.elapsed());
    let (read_only, position) = answer.unwrap_or_default();
    // MySQL breaks the line after each server's GTIDs.
    let position = Some(position.replace('\n', "")).filter(|position| !position.is_empty());
    if watch.is_writer
        && let Some(text) = &position
        && let Ok(set) = GtidSet::parse(text, is_mariadb)
    {
        watch.trail.note(start, set);
    }
    let behind = match (watch.max_lag, server) {
        (Some(max_lag), Some(server)) => {
            let (trail, position) = (&watch.trail, position.as_deref());
            find_lag(connection, &server, trail, position, start, max_lag).await?
        }
        _ => None,
    };
    note_lag(&watch.endpoint, behind);
    Ok(SignOfLife {
        read_only,
        position,
    })
}

fn note_lag(endpoint: &Endpoint, behind: Option<String>) {
    let reason = behind.clone();
    if !endpoint.set_behind(behind) {
        return;
    }
    match reason {
        Some(reason) => tracing::warn!(
            endpoint = endpoint.name,
            reason,
            "the reader is further behind than max_lag and answers nobody until it has caught up"
        ),
        None => tracing::info!(endpoint = endpoint.name, "the reader has caught up"),
    }
}
