//! sqlx. What is printed and how it is told where to connect to: ../../README.md

use std::env;
use std::path::Path;

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sqlx::migrate::Migrator;
use sqlx::mysql::{
    MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions, MySqlRow, MySqlSslMode,
};
use sqlx::types::Json;
use sqlx::types::chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Either, Executor, FromRow, QueryBuilder,
    Row, TypeInfo,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn options() -> MySqlConnectOptions {
    MySqlConnectOptions::new()
        .host(&variable("DB_HOST"))
        .port(variable("DB_PORT").parse().expect("a port"))
        .username(&variable("DB_USER"))
        .password(&variable("DB_PASSWORD"))
        .database(&variable("DB_SCHEMA"))
}

async fn connect() -> Result<MySqlConnection> {
    Ok(options().connect().await?)
}

fn report(check: &str, saw: Value) {
    println!("{}", json!({"check": check, "saw": saw}));
}

fn check(truth: bool, what: &str) -> Result {
    if truth {
        Ok(())
    } else {
        Err(format!("not as it should be: {what}").into())
    }
}

/// The server's code, state and message.
fn failure<T>(result: sqlx::Result<T>) -> Result<Value> {
    match result {
        Err(sqlx::Error::Database(error)) => {
            let server = error.downcast_ref::<sqlx::mysql::MySqlDatabaseError>();
            Ok(json!([
                server.number(),
                server.code(),
                server.message(),
                format!("{:?}", error.kind())
            ]))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err("an error was expected".into()),
    }
}

/// A row as text, whatever its types are.
fn texts(row: &MySqlRow) -> Value {
    let texts = (0..row.len()).map(|place| {
        row.try_get_unchecked::<Option<String>, _>(place)
            .unwrap_or_default()
    });
    json!(texts.collect::<Vec<_>>())
}

/// The rows of a statement that is not prepared.
async fn rows(connection: &mut MySqlConnection, statement: &str) -> Result<Value> {
    let rows = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .fetch_all(connection)
        .await?;
    Ok(rows.iter().map(texts).collect())
}

async fn connects() -> Result {
    let mut connection = connect().await?;
    connection.ping().await?;
    let variables = "SELECT VERSION(), @@sql_mode, @@time_zone, @@collation_connection";
    report("connect", json!([rows(&mut connection, variables).await?]));
    Ok(connection.close().await?)
}

async fn connects_with_tls() -> Result {
    let tls = options()
        .ssl_mode(MySqlSslMode::VerifyIdentity)
        .ssl_ca(variable("DB_CA"));
    let mut connection = tls.connect().await?;
    let sum: String = sqlx::query_scalar("SELECT SHA2(?, 256)")
        .bind("x".repeat(300_000))
        .fetch_one(&mut connection)
        .await?;
    report("connect with TLS", json!(sum));
    Ok(connection.close().await?)
}

async fn migrations() -> Result {
    let mut connection = connect().await?;
    let migrator = Migrator::new(Path::new("migrations")).await?;
    migrator.run(&mut connection).await?;
    migrator.undo(&mut connection, 1).await?;
    migrator.run(&mut connection).await?;
    let applied = "SELECT version, description, success FROM _sqlx_migrations ORDER BY version";
    report(
        "migrations",
        json!([
            rows(&mut connection, "SHOW CREATE TABLE cats").await?,
            rows(&mut connection, applied).await?
        ]),
    );
    Ok(connection.close().await?)
}

#[derive(Debug, PartialEq)]
struct Typed {
    small: i8,
    big: u64,
    single: f32,
    approximate: f64,
    truth: bool,
    day: NaiveDate,
    at: DateTime<Utc>,
    took: NaiveTime,
    year: u16,
    text: String,
    bytes: Vec<u8>,
    document: Json<Value>,
    nothing: Option<i32>,
}

impl FromRow<'_, MySqlRow> for Typed {
    fn from_row(row: &MySqlRow) -> sqlx::Result<Self> {
        Ok(Self {
            small: row.try_get("small")?,
            big: row.try_get("big")?,
            single: row.try_get("single")?,
            approximate: row.try_get("approximate")?,
            truth: row.try_get("truth")?,
            day: row.try_get("day")?,
            at: row.try_get("at")?,
            took: row.try_get("took")?,
            year: row.try_get("year")?,
            text: row.try_get("text")?,
            bytes: row.try_get("bytes")?,
            document: row.try_get("document")?,
            nothing: row.try_get("nothing")?,
        })
    }
}

async fn types() -> Result {
    let mut connection = connect().await?;
    connection
        .execute(
            "CREATE TABLE types (small TINYINT, big BIGINT UNSIGNED, `single` FLOAT, approximate DOUBLE, truth BOOLEAN,
             day DATE, at TIMESTAMP(6), took TIME(6), year YEAR, text VARCHAR(200), bytes VARBINARY(300), document JSON,
             nothing INT, exact DECIMAL(30,10))",
        )
        .await?;
    let values = Typed {
        small: -128,
        big: u64::MAX,
        single: 0.5,
        approximate: -2.25e300,
        truth: true,
        day: NaiveDate::from_ymd_opt(1000, 1, 1).ok_or("a day")?,
        at: DateTime::from_timestamp_micros(1_700_000_000_123_456).ok_or("a moment")?,
        took: NaiveTime::from_hms_micro_opt(23, 59, 58, 1).ok_or("a time")?,
        year: 2155,
        text: "naïve 海峡 🌉 'q' \"d\" \\ \n \0 ?".into(),
        bytes: (0..=255).collect(),
        document: Json(json!({"a": [1, null]})),
        nothing: None,
    };
    let insert = sqlx::query("INSERT INTO types VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    insert
        .bind(values.small)
        .bind(values.big)
        .bind(values.single)
        .bind(values.approximate)
        .bind(values.truth)
        .bind(values.day)
        .bind(values.at)
        .bind(values.took)
        .bind(values.year)
        .bind(&values.text)
        .bind(&values.bytes)
        .bind(&values.document)
        .bind(values.nothing)
        .bind("-12345678901234567890.0123456789")
        .execute(&mut connection)
        .await?;
    let back: Typed = sqlx::query_as("SELECT * FROM types")
        .fetch_one(&mut connection)
        .await?;
    check(back == values, &format!("{back:?}"))?;
    let row = connection.fetch_one("SELECT * FROM types").await?;
    let columns: Vec<_> = row
        .columns()
        .iter()
        .map(|column| json!([column.name(), column.type_info().name()]))
        .collect();
    report("types", json!([texts(&row), columns]));
    Ok(connection.close().await?)
}

async fn prepared_statements() -> Result {
    let mut connection = connect().await?;
    connection
        .execute("CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50))")
        .await?;
    for number in 1..=20 {
        let insert =
            sqlx::query("INSERT INTO prepared (text) VALUES (?)").bind(format!("text {number}"));
        let done = insert.execute(&mut connection).await?;
        check(
            (done.last_insert_id(), done.rows_affected()) == (number, 1),
            "the id",
        )?;
    }
    let mut saw = Vec::new();
    for (from, to) in [(1, 3), (5, 5), (19, 100)] {
        let select =
            sqlx::query_as("SELECT id, text FROM prepared WHERE id >= ? AND id < ? ORDER BY id");
        let found: Vec<(i32, String)> = select
            .bind(from)
            .bind(to)
            .fetch_all(&mut connection)
            .await?;
        saw.push(json!(found));
    }
    connection.clear_cached_statements().await?;
    saw.push(failure(
        sqlx::query("SELECT * FROM missing WHERE id = ?")
            .bind(1)
            .fetch_all(&mut connection)
            .await,
    )?);
    report("prepared statements", json!(saw));
    Ok(connection.close().await?)
}

async fn transactions() -> Result {
    let (mut connection, mut other) = (connect().await?, connect().await?);
    connection
        .execute("CREATE TABLE transactions (id INT PRIMARY KEY)")
        .await?;
    let (look, look_outside) = (
        "SELECT id FROM transactions",
        "/* isthmus:writer */ SELECT id FROM transactions",
    );
    let mut saw = Vec::new();
    let mut transaction = connection.begin().await?;
    transaction
        .execute("INSERT INTO transactions VALUES (1)")
        .await?;
    saw.push(rows(&mut transaction, look).await?);
    saw.push(rows(&mut other, look_outside).await?);
    transaction.rollback().await?;
    saw.push(rows(&mut connection, look).await?);
    let mut transaction = connection.begin().await?;
    sqlx::query("INSERT INTO transactions VALUES (?)")
        .bind(2)
        .execute(&mut *transaction)
        .await?;
    let mut savepoint = transaction.begin().await?;
    savepoint
        .execute("INSERT INTO transactions VALUES (3)")
        .await?;
    savepoint.rollback().await?;
    transaction.commit().await?;
    // Dropped, and rolled back before the next statement.
    connection
        .begin()
        .await?
        .execute("DELETE FROM transactions")
        .await?;
    saw.push(rows(&mut connection, look).await?);
    saw.push(rows(&mut other, look_outside).await?);
    check(
        json!(saw) == json!([[["1"]], [], [], [["2"]], [["2"]]]),
        &json!(saw).to_string(),
    )?;
    report("transactions", json!(saw));
    Ok(connection.close().await?)
}

async fn bulk_insert() -> Result {
    let mut connection = connect().await?;
    connection
        .execute(
            "CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)",
        )
        .await?;
    let mut insert = QueryBuilder::new("INSERT INTO bulk (text, number) ");
    insert.push_values(0..5000, |mut row, number| {
        row.push_bind(format!("text {number}")).push_bind(number);
    });
    let done = insert.build().execute(&mut connection).await?;
    check(done.rows_affected() == 5000, "the rows")?;
    let counted = rows(&mut connection, "SELECT COUNT(*), SUM(number) FROM bulk").await?;
    report("bulk insert", json!([done.last_insert_id(), counted]));
    Ok(connection.close().await?)
}

async fn errors() -> Result {
    let pool: MySqlPool = MySqlPoolOptions::new()
        .max_connections(2)
        .connect_with(options())
        .await?;
    let (mut connection, mut holder) = (pool.acquire().await?, pool.begin().await?);
    connection
        .execute("CREATE TABLE errors (id INT PRIMARY KEY)")
        .await?;
    let parts = "CREATE TABLE parts (id INT NOT NULL, CONSTRAINT part FOREIGN KEY (id) REFERENCES errors (id))";
    connection.execute(parts).await?;
    connection.execute("INSERT INTO errors VALUES (1)").await?;
    holder.execute("INSERT INTO errors VALUES (2)").await?;
    let mut saw = Vec::new();
    for statement in [
        "SELEKT 1",
        "SELECT * FROM missing",
        "INSERT INTO errors VALUES (1)",
        "USE missing_schema",
        "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'",
        "INSERT INTO parts VALUES (3)",
        "INSERT INTO parts VALUES (NULL)",
        "SELECT * FROM errors WHERE id = 2 FOR UPDATE NOWAIT",
    ] {
        saw.push(failure(connection.execute(statement).await)?);
    }
    holder.rollback().await?;
    let codes: Vec<_> = saw.iter().filter_map(|error| error[0].as_u64()).collect();
    check(
        codes[..7] == [1064, 1146, 1062, 1049, 1644, 1452, 1048],
        &format!("{codes:?}"),
    )?;
    check(
        failure(options().password("wrong").connect().await)?[0] == 1045,
        "a wrong password",
    )?;
    check(
        failure(options().database("missing_schema").connect().await)?[0] == 1049,
        "a wrong schema",
    )?;
    report("errors", json!(saw));
    Ok(())
}

async fn big_results() -> Result {
    let mut connection = connect().await?;
    let digits: Vec<_> = (1..10)
        .map(|digit| format!(" UNION ALL SELECT {digit}"))
        .collect();
    let numbers = format!("(SELECT 0 AS d{})", digits.concat());
    let query = format!(
        "SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d, REPEAT('x', 3000)
         FROM {numbers} a, {numbers} b, {numbers} c, {numbers} e"
    );
    let (mut count, mut sum, mut length) = (0, 0, 0);
    let mut found = sqlx::query_as::<_, (i64, String)>(AssertSqlSafe(query)).fetch(&mut connection);
    while let Some((number, text)) = found.try_next().await? {
        (count, sum, length) = (count + 1, sum + number, length + text.len());
    }
    check((count, sum) == (10_000, 49_995_000), "the sum")?;
    report("big results", json!([count, sum, length]));
    Ok(())
}

async fn big_packets() -> Result {
    let mut connection = connect().await?;
    connection
        .execute("CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)")
        .await?;
    let data = b"some data".repeat(17 * 1024 * 1024 / 9);
    sqlx::query("INSERT INTO packets VALUES (1, ?)")
        .bind(&data)
        .execute(&mut connection)
        .await?;
    let back: Vec<u8> = sqlx::query_scalar("SELECT data FROM packets")
        .fetch_one(&mut connection)
        .await?;
    check(back == data, "the data")?;
    report(
        "big packets",
        rows(
            &mut connection,
            "SELECT LENGTH(data), SHA2(data, 256) FROM packets",
        )
        .await?,
    );
    Ok(connection.close().await?)
}

async fn several_results() -> Result {
    let mut connection = connect().await?;
    connection
        .execute("CREATE PROCEDURE several() BEGIN SELECT 4; SELECT 5, 6; END")
        .await?;
    let mut saw = Vec::new();
    for statement in ["SELECT 1; SET @a = 2; SELECT @a, 3", "CALL several()"] {
        let mut results = sqlx::raw_sql(statement).fetch_many(&mut connection);
        while let Some(result) = results.try_next().await? {
            saw.push(match result {
                Either::Left(done) => json!(done.rows_affected()),
                Either::Right(row) => texts(&row),
            });
        }
    }
    report("several results", json!(saw));
    Ok(connection.close().await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    connects().await?;
    connects_with_tls().await?;
    migrations().await?;
    types().await?;
    prepared_statements().await?;
    transactions().await?;
    bulk_insert().await?;
    errors().await?;
    big_results().await?;
    big_packets().await?;
    several_results().await
}
