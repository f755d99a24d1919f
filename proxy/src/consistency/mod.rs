//! Read your writes: what a session must see, what each reader has seen, and waiting.
//!
//! A [`Mark`] is a local instant. Each reader publishes the instant up to which everything that
//! was acknowledged is visible on it; a mark is reached when that instant is not before it. So the
//! data path needs one atomic load, whatever the source is that advances the instant.
//!
//! The [`Ledger`] has the marks that are outstanding. One task gives them positions of the writer
//! ([`sample`]), one task per reader finds out which of these it has reached ([`follow`]).

mod aurora;
mod catch_up;
mod follower;
mod heartbeat;
mod ledger;
mod position;
mod reader;
mod sampler;
mod shared;
mod token;
mod written;

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

pub use catch_up::CatchUps;
pub use follower::follow;
pub use heartbeat::Heartbeat;
pub use ledger::Ledger;
pub use position::{Position, Scale};
pub use reader::{Choice, Guesses, Mark, Reader, Waited};
pub use sampler::sample;
pub use shared::{Keys, SharedMark, SharedMarks};
pub use token::{Token, TokenError};
pub use written::{written, written_question};

pub use crate::topology::{GtidError, GtidSet};

use crate::topology::{Endpoint, QueryError};

/// How long one question to a server may stay unanswered before the connection is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// A writer that answers within this time is so near that reads which go there lose nothing, even where
/// most of it is what a busy server takes. How far the servers are is asked less often then: it would
/// cost them and the proxy more than it saves.
const NEAR: Duration = Duration::from_millis(5);

fn is_near(writer: &Endpoint) -> bool {
    writer.round_trip().is_some_and(|trip| trip < NEAR)
}

async fn in_time<T>(
    answer: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, QueryError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(QueryError::TimedOut(ANSWER_TIMEOUT)),
    }
}

/// Asks for GTIDs, and reads the answer as `parse` does.
async fn read_gtids(
    connection: &mut Conn,
    query: &str,
    parse: impl FnOnce(&str) -> Result<GtidSet, GtidError>,
) -> Result<GtidSet, QueryError> {
    let text: Option<String> = in_time(connection.query_first(query)).await?;
    let set = parse(&text.unwrap_or_default());
    set.map_err(|error| mysql_async::Error::Other(Box::new(error)).into())
}
