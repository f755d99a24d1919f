//! The heartbeat table: a number that travels from the writer to the readers as all writes do.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::in_time;
use crate::config::TableName;
use crate::topology::QueryError;

/// Rows that were not written for so many hours belong to proxies that are gone.
const DEAD_AFTER_HOURS: u32 = 24;

/// One proxy's row of the table.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// The table, ready to stand in a statement.
    table: String,
    /// What the proxy calls itself there: a number of 64 bits that it drew when it started, in
    /// hexadecimal digits.
    proxy: String,
}

impl Heartbeat {
    /// The row of the proxy with this number.
    pub fn new(table: &TableName, proxy: u64) -> Self {
        Self {
            table: table.to_sql(),
            proxy: format!("{proxy:016x}"),
        }
    }

    /// The statements that make the table.
    pub fn definition(table: &TableName) -> [String; 2] {
        [
            format!("CREATE DATABASE IF NOT EXISTS {}", table.schema_to_sql()),
            format!(
                "CREATE TABLE IF NOT EXISTS {} (\n  \
                 proxy CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,\n  \
                 number BIGINT UNSIGNED NOT NULL,\n  \
                 written_at DATETIME NOT NULL,\n  \
                 KEY (written_at)\n) ENGINE = InnoDB",
                table.to_sql()
            ),
        ]
    }

    /// What the monitoring user must be allowed to do with the table.
    pub fn grant(table: &TableName, user: &str) -> String {
        format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO '{}'@'%'",
            table.to_sql(),
            user.replace('\\', "\\\\").replace('\'', "\\'")
        )
    }

    /// Whether the server has the table and this login may read it.
    pub(super) async fn is_there(&self, connection: &mut Conn) -> Result<bool, QueryError> {
        let probe = format!("SELECT number FROM {} LIMIT 0", self.table);
        match in_time(connection.query_drop(probe)).await {
            Ok(()) => Ok(true),
            Err(QueryError::Driver(mysql_async::Error::Server(_))) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a number through the writer. One that arrives late does not undo a later one.
    pub(super) async fn write(&self, connection: &mut Conn, number: u64) -> Result<(), QueryError> {
        let Self { table, proxy } = self;
        let statement = format!(
            "INSERT INTO {table} (proxy, number, written_at) \
             VALUES ('{proxy}', {number}, UTC_TIMESTAMP()) ON DUPLICATE KEY UPDATE \
             number = GREATEST(number, {number}), written_at = UTC_TIMESTAMP()"
        );
        in_time(connection.query_drop(statement)).await
    }

    /// Removes the rows of proxies that are gone.
    pub(super) async fn sweep(&self, connection: &mut Conn) -> Result<(), QueryError> {
        let statement = format!(
            "DELETE FROM {} WHERE written_at < UTC_TIMESTAMP() - INTERVAL {DEAD_AFTER_HOURS} HOUR",
            self.table
        );
        in_time(connection.query_drop(statement)).await
    }

    /// The number that a reader shows of a proxy; 0 if it has none yet.
    pub(super) async fn read(&self, connection: &mut Conn, proxy: u64) -> Result<u64, QueryError> {
        let statement = format!(
            "SELECT number FROM {} WHERE proxy = '{proxy:016x}'",
            self.table
        );
        let number: Option<u64> = in_time(connection.query_first(statement)).await?;
        Ok(number.unwrap_or_default())
    }
}
