//! What Aurora MySQL tells about itself in tables of its own.
//!
//! Format: Amazon Aurora User Guide, "Aurora MySQL-specific information_schema tables". Columns are
//! found by name, since versions differ in them and in their order.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

use super::position::{Position, Scale};
use super::reader::nanos;
use super::{Ledger, Mark, in_time};
use crate::topology::QueryError;

const ALL_INSTANCES: &str = "SELECT * FROM information_schema.aurora_global_db_instance_status";
const ALL_REGIONS: &str = "SELECT * FROM information_schema.aurora_global_db_status";
const ONE_CLUSTER: &str = "SELECT * FROM information_schema.replica_host_status";

/// How the lag is rounded is not documented.
const ROUNDING: Duration = Duration::from_millis(1);

/// The highest LSN that the writer has written; `None` if it does not say.
///
/// There is one row for each region. The writer's region has the highest one, and one that is too
/// high proves too little rather than too much.
pub(super) async fn highest_lsn(writer: &mut Conn) -> Result<Option<u64>, QueryError> {
    let rows = rows(writer, ALL_REGIONS).await?;
    let lsns = rows
        .iter()
        .filter_map(|row| lsn(row, "HIGHEST_LSN_WRITTEN"));
    Ok(lsns.max())
}

/// One instance, as it speaks of itself over one connection.
#[derive(Debug)]
pub(super) struct Instance {
    /// Its SERVER_ID in the tables.
    id: String,
    /// The time of its row when it was last asked, and when that was.
    updated: Option<(String, Mark)>,
}

/// What replica_host_status says of an instance of the writer's cluster.
#[derive(Debug)]
struct Lag {
    /// LAST_UPDATE_TIMESTAMP, by some server's clock.
    updated: String,
    /// REPLICA_LAG_IN_MILLISECONDS at that time.
    milliseconds: f64,
}

impl Instance {
    /// Who answers over this connection; `None` if that is no Aurora.
    pub(super) async fn of(connection: &mut Conn) -> Result<Option<Self>, QueryError> {
        let id = connection.query_first("SELECT @@aurora_server_id");
        let id: Option<String> = match in_time(id).await {
            Err(error) if error.is_refusal() => None,
            answer => answer?,
        };
        Ok(id.map(|id| Self { id, updated: None }))
    }

    /// By what it tells how far it is behind this writer: by LSNs in a global database, by its lag
    /// in the writer's own cluster; `None` if by neither.
    pub(super) async fn scale(
        &self,
        connection: &mut Conn,
        writer: &mut Conn,
    ) -> Result<Option<Scale>, QueryError> {
        let has_lsn = self.lsn(connection).await?.is_some();
        if has_lsn && highest_lsn(writer).await?.is_some() {
            return Ok(Some(Scale::Lsns));
        }
        let Some(writer) = Self::of(writer).await? else {
            return Ok(None);
        };
        let rows = rows(connection, ONE_CLUSTER).await?;
        let has_writer = rows.iter().any(|row| is_writer(row) && writer.is_in(row));
        Ok((has_writer && self.lag(&rows).is_some()).then_some(Scale::Moments))
    }

    /// How far it is now, on this scale; `None` if what it says proves nothing.
    pub(super) async fn position(
        &mut self,
        scale: Scale,
        connection: &mut Conn,
        ledger: &Ledger,
    ) -> Result<Option<Position>, QueryError> {
        match scale {
            Scale::Lsns => Ok(self.lsn(connection).await?.map(Position::Lsn)),
            Scale::Moments => {
                let asked = ledger.now();
                let lag = self.lag(&rows(connection, ONE_CLUSTER).await?);
                let moment = lag.and_then(|lag| self.moment(lag, asked));
                Ok(moment.map(Position::Moment))
            }
            Scale::Gtids | Scale::Beats => Ok(None),
        }
    }

    /// The oldest LSN that any of its reads sees. What it has received, and what its region's
    /// storage has, may not be visible yet; its VISIBILITY_LAG_IN_MSEC is the one behind that
    /// storage, and not the one behind the writer.
    async fn lsn(&self, connection: &mut Conn) -> Result<Option<u64>, QueryError> {
        let rows = rows(connection, ALL_INSTANCES).await?;
        let own = rows.iter().find(|row| self.is_in(row));
        Ok(own.and_then(|row| lsn(row, "OLDEST_READ_VIEW_LSN")))
    }

    /// Its lag, if it is in the cluster of a writer: in others, it is the one behind that cluster's
    /// storage.
    fn lag(&self, rows: &[Row]) -> Option<Lag> {
        let own = rows.iter().find(|row| self.is_in(row))?;
        let lag = Lag {
            updated: text(own, "LAST_UPDATE_TIMESTAMP")?,
            milliseconds: text(own, "REPLICA_LAG_IN_MILLISECONDS")?.parse().ok()?,
        };
        rows.iter().any(is_writer).then_some(lag)
    }

    /// The instant up to which it shows what was written, by what it said when it was `asked`.
    ///
    /// No server's clock is believed. But a row that had an older time when it was last asked for
    /// was updated after that question. A lag of exactly 0 is what an instance says that does not
    /// know it.
    fn moment(&mut self, lag: Lag, asked: Mark) -> Option<Mark> {
        let Lag {
            updated,
            milliseconds,
        } = lag;
        let (before, since) = self.updated.replace((updated.clone(), asked))?;
        if updated <= before || milliseconds <= 0.0 {
            return None;
        }
        let lag = Duration::try_from_secs_f64(milliseconds / 1000.0).ok()? + ROUNDING;
        since.0.checked_sub(nanos(lag)).map(Mark)
    }

    fn is_in(&self, row: &Row) -> bool {
        text(row, "SERVER_ID").as_ref() == Some(&self.id)
    }
}

fn is_writer(row: &Row) -> bool {
    text(row, "SESSION_ID").is_some_and(|session| session == "MASTER_SESSION_ID")
}

async fn rows(connection: &mut Conn, query: &str) -> Result<Vec<Row>, QueryError> {
    match in_time(connection.query(query)).await {
        Err(error) if error.is_refusal() => Ok(Vec::new()),
        answer => answer,
    }
}

/// A value of a row of the text protocol; `None` if it is NULL, or if there is no such column.
fn text(row: &Row, name: &str) -> Option<String> {
    let columns = row.columns_ref();
    let is_it = |column: &mysql_async::Column| column.name_str().eq_ignore_ascii_case(name);
    match row.as_ref(columns.iter().position(is_it)?)? {
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

/// An LSN; 0 is what an instance says that does not know it.
fn lsn(row: &Row, name: &str) -> Option<u64> {
    let lsn = text(row, name)?.parse().ok();
    lsn.filter(|lsn| *lsn > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_row_with_a_lag_proves_something() {
        let mut instance = Instance {
            id: "reader".into(),
            updated: None,
        };
        const SECOND: u64 = 1_000_000_000;
        let second = "2026-11-26 10:00:0";
        for (asked, updated, milliseconds, expected) in [
            // How old the first row is, nobody knows.
            (10, "1", 20.0, None),
            (11, "1", 20.0, None),
            // Updated after the second question, in which it was not there yet.
            (13, "2", 499.0, Some(10_500_000_000)),
            (14, "3", 0.0, None),
            (15, "4", -1.0, None),
            (16, "5", f64::NAN, None),
            (17, "6", 1e300, None),
            // The clock was set back.
            (18, "1", 20.0, None),
            (19, "2", 999.0, Some(17 * SECOND)),
            // More than there was time for.
            (20, "3", 30_000.0, None),
        ] {
            let lag = Lag {
                updated: format!("{second}{updated}.000000"),
                milliseconds,
            };
            let moment = instance.moment(lag, Mark(asked * SECOND));
            assert_eq!(moment, expected.map(Mark), "asked at {asked} s");
        }
    }
}
