//! What the proxy must know about a server before it can lend connections to it.

use std::collections::HashMap;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::QueryError;

/// Session variables whose change says nothing about the session, or that change by themselves.
const NOT_CARRIED: [&str; 20] = [
    "error_count",
    "external_user",
    "gtid_next",
    "identity",
    "in_transaction",
    "insert_id",
    "last_gtid",
    "last_insert_id",
    "original_commit_timestamp",
    "proxy_user",
    "pseudo_slave_mode",
    "pseudo_replica_mode",
    "pseudo_thread_id",
    "rand_seed1",
    "rand_seed2",
    "resultset_metadata",
    "skip_replication",
    "sql_log_bin",
    "timestamp",
    "warning_count",
];

/// Of those that say what the session tracking reports, the one that is a session's like any other:
/// the proxy needs the rest for itself.
const CARRIED_TRACKING: &str = "session_track_transaction_info";

/// Changes with every statement.
const STATEMENT_ID: &str = "statement_id";

/// Whether a session's value of this variable, whose name is in lower case, goes with the session
/// to its next connection.
pub fn is_carried(variable: &str) -> bool {
    match variable.strip_prefix("session_track_") {
        Some(_) => variable == CARRIED_TRACKING,
        None => variable != STATEMENT_ID && !NOT_CARRIED.contains(&variable),
    }
}

/// How long the server may take to answer all of it.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A collation that every version of MySQL and MariaDB knows.
pub const UTF8MB4_GENERAL_CI: u16 = 45;

/// Facts about one server that hold as long as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The version that it shows, such as `9.7.0` or `10.11.6-MariaDB-0+deb12u1`.
    pub version: String,
    /// Whether it is a MariaDB.
    pub is_mariadb: bool,
    /// Whether it takes query attributes.
    pub has_query_attributes: bool,
    /// Whether its transactions have GTIDs.
    pub has_gtids: bool,
    /// The id of its default collation, which some clients take over from the greeting.
    pub collation: u16,
    /// Collation ids with character set and collation.
    pub collations: HashMap<u16, (String, String)>,
    /// The SQL mode that sessions begin with.
    pub sql_mode: String,
    /// The time zone that sessions begin with.
    pub time_zone: String,
    /// The `autocommit` that sessions begin with.
    pub autocommit: String,
    /// The variable that makes a session's transactions read-only, if it can be tracked.
    pub read_only_variable: Option<&'static str>,
    /// Whether transactions may write unless they say otherwise, and end without another one
    /// beginning.
    pub has_usual_transactions: bool,
    /// Whether transactions are SERIALIZABLE unless they say otherwise.
    pub is_serializable: bool,
    /// Names of the variables to be tracked, separated by commas.
    pub tracked_variables: String,
    /// How long it lets a client take to read something of an answer, unless the session says
    /// otherwise.
    pub net_write_timeout: Duration,
    /// Whether sessions of most users begin with statements of its own.
    pub has_init_connect: bool,
    /// What sessions begin with of the variables that say what the session tracking reports.
    pub session_tracking: Vec<(String, String)>,
}

impl Server {
    /// Asks the server.
    pub async fn read(connection: &mut Conn) -> Result<Self, QueryError> {
        match tokio::time::timeout(READ_TIMEOUT, Self::ask(connection)).await {
            Ok(result) => result,
            Err(_) => Err(QueryError::TimedOut(READ_TIMEOUT)),
        }
    }

    async fn ask(connection: &mut Conn) -> Result<Self, QueryError> {
        let version: String = first(connection, "SELECT VERSION()").await?;
        let is_mariadb = version.contains("MariaDB");
        let has_gtids = if is_mariadb {
            first::<u8>(connection, "SELECT @@global.log_bin").await? == 1
        } else {
            let mode: String = first(connection, "SELECT @@global.gtid_mode").await?;
            mode == "ON"
        };
        let collations = if is_mariadb {
            "SELECT CAST(ID AS UNSIGNED), CHARACTER_SET_NAME, FULL_COLLATION_NAME FROM \
             information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID IS NOT NULL"
        } else {
            "SELECT CAST(ID AS UNSIGNED), CHARACTER_SET_NAME, COLLATION_NAME FROM \
             information_schema.COLLATIONS WHERE ID IS NOT NULL"
        };
        let collations: Vec<(u64, String, String)> = connection.query(collations).await?;
        let collations: HashMap<u16, (String, String)> = collations
            .into_iter()
            .filter_map(|(id, charset, name)| Some((u16::try_from(id).ok()?, (charset, name))))
            .collect();
        let variables: Vec<(String, Option<Vec<u8>>)> =
            connection.query("SHOW SESSION VARIABLES").await?;
        let session_tracking = connection
            .query("SHOW GLOBAL VARIABLES LIKE 'session\\_track\\_%'")
            .await?;
        let sql_mode = first(connection, "SELECT @@global.sql_mode").await?;
        let time_zone = first(connection, "SELECT @@global.time_zone").await?;
        let autocommit = "SELECT IF(@@global.autocommit, 'ON', 'OFF')";
        let autocommit = first(connection, autocommit).await?;
        let net_write_timeout = first(connection, "SELECT @@global.net_write_timeout").await?;
        let init_connect: String = first(connection, "SELECT @@global.init_connect").await?;
        let collation: String = first(connection, "SELECT @@global.collation_server").await?;
        Ok(Self {
            has_query_attributes: !is_mariadb && connection.server_version() >= (8, 0, 23),
            version,
            is_mariadb,
            has_gtids,
            collation: collations
                .iter()
                .find(|(_, (_, name))| *name == collation)
                .map_or(UTF8MB4_GENERAL_CI, |(id, _)| *id),
            collations,
            sql_mode,
            time_zone,
            autocommit,
            net_write_timeout: Duration::from_secs(net_write_timeout),
            has_init_connect: !init_connect.is_empty(),
            session_tracking,
            read_only_variable: read_only_variable(&variables),
            is_serializable: is_serializable(&variables),
            has_usual_transactions: has_usual_transactions(&variables),
            tracked_variables: tracked(variables.into_iter().map(|(name, _)| name), is_mariadb),
        })
    }

    /// The id of a collation.
    pub fn collation_named(&self, name: &[u8]) -> Option<u16> {
        let mut all = self.collations.iter();
        all.find(|(_, (_, known))| known.as_bytes() == name)
            .map(|(id, _)| *id)
    }

    /// The variables that no session leaves to a server, since their global values may change: the
    /// names and what sessions begin with.
    pub fn beginning(&self) -> [(Box<str>, Box<[u8]>); 3] {
        [
            ("autocommit", &self.autocommit),
            ("sql_mode", &self.sql_mode),
            ("time_zone", &self.time_zone),
        ]
        .map(|(name, value)| (name.into(), value.as_bytes().into()))
    }

    /// The version as a greeting shows it: MariaDB puts an old MySQL version in front, because old
    /// replicas took 10 for 1.
    pub fn greeting_version(&self) -> String {
        if self.is_mariadb {
            format!("5.5.5-{}", self.version)
        } else {
            self.version.clone()
        }
    }
}

fn has_usual_transactions(variables: &[(String, Option<Vec<u8>>)]) -> bool {
    variables.iter().all(|(name, value)| match name.as_str() {
        "completion_type" => value.as_deref() == Some(b"NO_CHAIN"),
        "transaction_read_only" | "tx_read_only" => value.as_deref() == Some(b"OFF"),
        _ => true,
    })
}

fn is_serializable(variables: &[(String, Option<Vec<u8>>)]) -> bool {
    variables.iter().any(|(name, value)| {
        matches!(name.as_str(), "transaction_isolation" | "tx_isolation")
            && value.as_deref() == Some(b"SERIALIZABLE")
    })
}

/// MySQL 5.7.20 renamed it, MariaDB 11.1 has both.
fn read_only_variable(variables: &[(String, Option<Vec<u8>>)]) -> Option<&'static str> {
    let has = |wanted: &&str| variables.iter().any(|(name, _)| name == wanted);
    ["transaction_read_only", "tx_read_only"]
        .into_iter()
        .find(has)
}

async fn first<T: mysql_async::prelude::FromValue + Send + Sync + 'static>(
    connection: &mut Conn,
    query: &str,
) -> Result<T, QueryError> {
    let value: Option<T> = connection.query_first(query).await?;
    value.ok_or_else(|| mysql_async::Error::Other(format!("{query} returned no row").into()).into())
}

/// Whether the server reports a change of it: those that are not carried too, for clients that ask
/// to hear of them.
fn is_tracked(name: &str) -> bool {
    name == CARRIED_TRACKING
        || (name != STATEMENT_ID && name != "last_gtid" && !name.starts_with("session_track_"))
}

fn tracked(names: impl Iterator<Item = String>, is_mariadb: bool) -> String {
    let mut names: Vec<String> = names
        .map(|name| name.to_ascii_lowercase())
        .filter(|name| is_tracked(name))
        .collect();
    if is_mariadb {
        names.push("last_gtid".into());
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_with_every_statement_is_left_out() {
        let names = ["SQL_MODE", "statement_id", "time_zone"].map(String::from);
        assert_eq!(
            tracked(names.clone().into_iter(), false),
            "sql_mode,time_zone"
        );
        assert_eq!(
            tracked(names.into_iter(), true),
            "sql_mode,time_zone,last_gtid"
        );
    }
}
