//! What a driver sees of statements, to compare it with what another one sees.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};

/// What a client sees of an answer: columns and rows, or the error's number.
#[derive(Debug, PartialEq)]
pub enum Seen {
    /// A result: columns and rows.
    Rows(Vec<Column>, Vec<Vec<Value>>),
    /// An OK packet: affected rows and warnings.
    Done(u64, u16),
    /// The number of an error.
    Error(u16),
}

/// Name, type, flags, character set, decimals, length.
pub type Column = (String, u8, u16, u16, u8, u32);

/// Runs a statement.
///
/// # Panics
/// If the connection breaks.
pub async fn see(session: &mut Conn, sql: &str) -> Seen {
    let result = match session.query_iter(sql).await {
        Ok(result) => result,
        Err(mysql_async::Error::Server(error)) => return Seen::Error(error.code),
        Err(error) => panic!("{sql}: {error}"),
    };
    let columns: Vec<Column> = result
        .columns_ref()
        .iter()
        .map(|column| {
            (
                column.name_str().into_owned(),
                column.column_type() as u8,
                column.flags().bits(),
                column.character_set(),
                column.decimals(),
                column.column_length(),
            )
        })
        .collect();
    if columns.is_empty() {
        return Seen::Done(result.affected_rows(), result.warnings());
    }
    let rows: Result<Vec<Row>, _> = result.collect_and_drop().await;
    match rows {
        Ok(rows) => Seen::Rows(columns, rows.into_iter().map(Row::unwrap).collect()),
        Err(mysql_async::Error::Server(error)) => Seen::Error(error.code),
        Err(error) => panic!("{sql}: {error}"),
    }
}

/// The first value of the first row, as text.
///
/// # Panics
/// If there is none.
pub async fn value(session: &mut Conn, sql: &str) -> Option<String> {
    let value: Result<Option<Option<String>>, _> = session.query_first(sql).await;
    value
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .unwrap()
}

/// The names of the session's holds.
///
/// # Panics
/// If the proxy does not tell.
pub async fn holds(session: &mut Conn) -> Vec<String> {
    let rows: Vec<Row> = session.query("SHOW ISTHMUS SESSION").await.unwrap();
    let rows = rows.into_iter().filter_map(|row| {
        let kind: String = row.get(0)?;
        (kind == "hold").then(|| row.get(1))?
    });
    rows.collect()
}
