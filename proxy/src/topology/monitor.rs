//! Watching whether an endpoint can be reached.

use std::sync::Arc;
use std::time::Instant;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::{Endpoint, QueryError, Server, SignOfLife, query};
use crate::config::Monitor;

/// Asks the endpoint for a sign of life again and again, until the task is aborted.
pub async fn watch(endpoint: Arc<Endpoint>, settings: Monitor, is_writer: bool) {
    let mut connection = None;
    let mut reported = false;
    loop {
        match check(&endpoint, &settings, &mut connection).await {
            Ok(sign) => {
                let read_only = sign.read_only;
                endpoint.set_sign_of_life(sign);
                let is_news = endpoint.set_up(true) || !reported;
                if is_news {
                    tracing::info!(endpoint = endpoint.name, read_only, "endpoint is up");
                    if is_writer && read_only {
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
        tokio::time::sleep(settings.interval).await;
    }
}

/// How the server is, over the connection kept for this or a new one.
async fn check(
    endpoint: &Endpoint,
    settings: &Monitor,
    connection: &mut Option<Conn>,
) -> Result<SignOfLife, QueryError> {
    let connection = match connection {
        Some(connection) => connection,
        // A dozen round trips, with limits of their own.
        None => {
            let mut new = query::connect(endpoint, &settings.credentials).await?;
            endpoint.set_server(Server::read(&mut new).await?);
            connection.insert(new)
        }
    };
    let is_mariadb = endpoint.server().is_some_and(|server| server.is_mariadb);
    let question = if is_mariadb {
        "SELECT @@global.read_only, @@global.gtid_current_pos"
    } else {
        "SELECT @@global.read_only, @@global.gtid_executed"
    };
    let start = Instant::now();
    let asking = connection.query_first::<(bool, String), _>(question);
    let answer = match tokio::time::timeout(settings.timeout, asking).await {
        Ok(answer) => answer?,
        Err(_) => return Err(QueryError::TimedOut(settings.timeout)),
    };
    let (read_only, position) = answer.unwrap_or_default();
    Ok(SignOfLife {
        read_only,
        // MySQL breaks the line after each server's GTIDs.
        position: Some(position.replace('\n', "")).filter(|position| !position.is_empty()),
        round_trip: start.elapsed(),
    })
}
