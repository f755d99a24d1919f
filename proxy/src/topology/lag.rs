//! Whether a reader is further behind than it may be.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::{GtidSet, QueryError, Server};

/// Where the writer was at which moment, as its monitor saw it.
#[derive(Debug, Default)]
pub struct Trail {
    samples: Mutex<VecDeque<(Instant, GtidSet)>>,
}

impl Trail {
    /// Older ones are forgotten.
    const LENGTH: usize = 1024;

    /// Notes where the writer was, asked at `at`.
    pub(super) fn note(&self, at: Instant, position: GtidSet) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() >= Self::LENGTH {
            samples.pop_front();
        }
        samples.push_back((at, position));
    }

    /// Whether a server that was at `position` at `at` lacks what the writer had that long before.
    /// Without a sample of that age, nobody knows.
    fn is_missing(&self, position: &GtidSet, at: Instant, lag: Duration) -> Option<bool> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest_first = samples.iter().rev();
        let (_, then) = newest_first.find(|(taken, _)| *taken + lag <= at)?;
        Some(!position.contains(then))
    }
}

/// Why the reader is further behind than `max_lag`; `None` if it is not.
///
/// The server's own figure alone does not do: it is 0 while the server does not hear that there is
/// more. So the GTIDs are compared with those that the writer had that long ago.
pub(super) async fn find_lag(
    connection: &mut Conn,
    server: &Server,
    trail: &Trail,
    position: Option<&str>,
    asked: Instant,
    max_lag: Duration,
) -> Result<Option<String>, QueryError> {
    let is_missing = position
        .and_then(|text| GtidSet::parse(text, server.is_mariadb).ok())
        .and_then(|position| trail.is_missing(&position, asked, max_lag));
    if is_missing == Some(true) {
        return Ok(Some(format!(
            "it lacks what the writer had {max_lag:?} ago"
        )));
    }
    // SHOW SLAVE STATUS is a syntax error since MySQL 8.4, SHOW REPLICA STATUS before 8.0.22.
    let question = if server.is_mariadb {
        "SHOW SLAVE STATUS"
    } else {
        "SHOW REPLICA STATUS"
    };
    let row: Option<Row> = match connection.query_first(question).await {
        Ok(row) => row,
        Err(mysql_async::Error::Server(error)) if error.code == 1064 => {
            connection.query_first("SHOW SLAVE STATUS").await?
        }
        // 1227: REPLICATION CLIENT (MariaDB: REPLICA MONITOR) is missing. The GTIDs have to do.
        Err(mysql_async::Error::Server(error)) if error.code == 1227 => {
            return Ok(is_missing.is_none().then(|| {
                "the monitoring user may not see how far it is behind: grant REPLICATION CLIENT \
                 (MariaDB: REPLICA MONITOR)"
                    .to_owned()
            }));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(find_fault(row.as_ref(), max_lag))
}

/// What the replication status says against the reader.
fn find_fault(row: Option<&Row>, max_lag: Duration) -> Option<String> {
    let Some(row) = row else {
        return Some("it does not replicate".to_owned());
    };
    let text = |names: [&str; 2]| -> Option<String> {
        let mut values = names.into_iter().filter_map(|name| {
            let value: Result<Option<String>, _> = row.get_opt(name)?;
            value.ok().flatten()
        });
        values.next()
    };
    let is_running = |names| text(names).is_some_and(|state| state.eq_ignore_ascii_case("yes"));
    if !is_running(["Replica_IO_Running", "Slave_IO_Running"]) {
        let error = text(["Last_IO_Error", "Last_Error"]).unwrap_or_default();
        return Some(format!(
            "it does not receive what the writer writes: {error}"
        ));
    }
    if !is_running(["Replica_SQL_Running", "Slave_SQL_Running"]) {
        let error = text(["Last_SQL_Error", "Last_Error"]).unwrap_or_default();
        return Some(format!("it does not apply what it receives: {error}"));
    }
    let names = ["Seconds_Behind_Source", "Seconds_Behind_Master"];
    match text(names).and_then(|seconds| seconds.parse().ok()) {
        None => Some("it does not know how far it is behind".to_owned()),
        Some(seconds) if Duration::from_secs(seconds) > max_lag => {
            Some(format!("it says that it is {seconds} s behind"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_measured_by_where_the_writer_was() {
        let set = |text: &str| GtidSet::parse(text, true).unwrap();
        let trail = Trail::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        for (after, position) in [(0, "0-1-10"), (1, "0-1-20"), (2, "0-1-30")] {
            trail.note(start + second * after, set(position));
        }
        let missing = |position, after: u32, lag: u32| {
            trail.is_missing(&set(position), start + second * after, second * lag)
        };
        assert_eq!(missing("0-1-15", 2, 2), Some(false));
        assert_eq!(missing("0-1-15", 2, 1), Some(true));
        assert_eq!(missing("0-1-20", 2, 1), Some(false));
        assert_eq!(missing("0-1-20", 9, 1), Some(true));
        assert_eq!(missing("0-1-30", 9, 1), Some(false));
        assert_eq!(missing("0-1-5", 1, 2), None);
    }
}
