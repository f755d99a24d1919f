//! Crossing the ocean as rarely as possible: what each thing that a client does costs in round
//! trips to the writer, counted on the link between proxy and writer, and what happens when a part
//! of a write fails.

#![allow(clippy::unwrap_used)]

mod answers;
mod broken;
mod commands;
mod connecting;
mod dead_link;
mod drivers;
mod freshness;
mod optimistic;
mod refused;
mod scripts;
mod switches;
mod warm;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use isthmus_lab::{Proxy, Relay, Server};
use isthmus_tests::rig::{code, until};
use isthmus_tests::{Answered, Stage, Table, connect, set};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

/// The time to the writer and back: 150 ms, or `ISTHMUS_TEST_ROUND_TRIP` milliseconds, in which what
/// is sent without being waited for has to be on its way.
static ROUND_TRIP: LazyLock<Duration> = LazyLock::new(|| {
    let milliseconds = std::env::var("ISTHMUS_TEST_ROUND_TRIP");
    let milliseconds = milliseconds.map_or(150, |text| text.parse().unwrap());
    Duration::from_millis(milliseconds)
});

/// A proxy of its own with a long line of its own to the writer.
struct Ocean {
    proxy: Proxy,
    line: Relay,
}

impl Ocean {
    /// With one connection for each server, so that all sessions share it.
    async fn new(stage: &Stage) -> Self {
        Self::with(stage, |config| set(config, "pool.max_connections", 1)).await
    }

    async fn with(stage: &Stage, adjust: impl Fn(&mut Table)) -> Self {
        let line = Relay::start(stage.lab.writer().address(), *ROUND_TRIP).unwrap();
        let address = line.address().to_string();
        let proxy = stage
            .another_proxy(|config| {
                let endpoints = config
                    .get_mut("endpoints")
                    .and_then(|all| all.as_array_mut());
                let writer = endpoints.unwrap()[0].as_table_mut().unwrap();
                writer.insert("address".to_owned(), address.clone().into());
                // The proxy's own questions to the writer would be counted.
                set(config, "monitor.interval", "1h");
                set(config, "consistency.source", "fixed");
                set(config, "consistency.fixed_lag", "1ms");
                set(config, "pool.borrow_timeout", "20s");
                adjust(config);
            })
            .await;
        let ocean = Self { proxy, line };
        let mut session = ocean.connect(None).await;
        session.query_drop("DO RELEASE_ALL_LOCKS()").await.unwrap();
        ocean
    }

    async fn connect(&self, schema: Option<&str>) -> Conn {
        connect(self.proxy.address(), |options| options.db_name(schema)).await
    }

    /// Runs something, and counts the writes that went to the writer, each of which is a round trip
    /// and has its answer. (That may come in pieces: a COMMIT waits for the disk.)
    async fn cost<T>(&self, work: impl AsyncFnOnce() -> T) -> (T, u64) {
        let before = self.line.traffic();
        let result = work().await;
        // What was not waited for is under way.
        tokio::time::sleep(*ROUND_TRIP / 4).await;
        let passed = || self.line.traffic() - before;
        let trips = passed().to_server.bursts;
        until("each write is answered", async || {
            passed().to_client.bursts >= trips
        })
        .await;
        (result, trips)
    }

    /// Runs a text statement that is to take so many round trips.
    async fn expect(&self, session: &mut Conn, sql: &str, trips: u64) {
        let (result, counted) = self.cost(async || session.query_drop(sql).await).await;
        result.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(counted, trips, "writes for {sql}");
    }
}

/// Returns when the session's reads are answered by the reader.
async fn reads_next_door(session: &mut Conn) {
    until("the reader has seen what the session wrote", async || {
        session.query_drop("SELECT * FROM t").await.unwrap();
        let last: mysql_async::Row = session
            .query_first("SHOW ISTHMUS LAST")
            .await
            .unwrap()
            .unwrap();
        last.get::<String, _>(1).unwrap() == "reader"
    })
    .await;
}

/// The first column of all rows, from the server itself.
async fn column(server: &Server, query: &str) -> Vec<String> {
    server.query(query).await.unwrap()
}

isthmus_tests::on_each_flavor! {
    async fn state_goes_with_the_write(stage) {
        stage.schema("trips_state").await;
        stage.schema("trips_state_2").await;
        stage.lab.writer().execute("CREATE TABLE trips_state.t (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(60))").await.unwrap();
        stage.caught_up().await;
        let ocean = Ocean::new(stage).await;
        let mut a = ocean.connect(Some("trips_state")).await;
        let mut other = ocean.connect(Some("trips_state_2")).await;
        a.query_drop("SET time_zone = '+07:00', sql_mode = 'ANSI_QUOTES'").await.unwrap();
        let insert = "INSERT INTO t (a) VALUES (CONCAT_WS(' ', DATABASE(), @@time_zone, @@sql_mode))";
        for sql in [insert, "UPDATE t SET a = CONCAT(a, '!')", "DELETE FROM t WHERE id < 0", "REPLACE INTO t VALUES (7, @@SESSION.transaction_read_only)"] {
            let sql = match stage.flavor() {
                isthmus_tests::Flavor::Mysql => sql.to_owned(),
                isthmus_tests::Flavor::Mariadb => sql.replace("transaction_read_only", "tx_read_only"),
            };
            other.query_drop("DELETE FROM trips_state.t WHERE id < 0").await.unwrap();
            ocean.expect(&mut a, &sql, 1).await;
        }
        for sql in [
            "CREATE TABLE made (a INT)",
            "CREATE INDEX i ON made (a)",
            "ALTER TABLE made ADD COLUMN b INT",
            "RENAME TABLE made TO renamed",
            "CREATE VIEW seen AS SELECT * FROM renamed",
            "DROP VIEW seen",
            "DROP TABLE renamed",
        ] {
            other.query_drop("DELETE FROM trips_state.t WHERE id < 0").await.unwrap();
            ocean.expect(&mut a, sql, 1).await;
        }
        other.query_drop("DELETE FROM trips_state.t WHERE id < 0").await.unwrap();
        let statement = a.prep(insert).await.unwrap();
        other.query_drop("DELETE FROM trips_state.t WHERE id < 0").await.unwrap();
        let (result, trips) = ocean.cost(async || a.exec_drop(&statement, ()).await).await;
        result.unwrap();
        assert_eq!(trips, 1);
        let rows = column(stage.lab.writer(), "SELECT a FROM trips_state.t ORDER BY id").await;
        assert_eq!(rows, ["trips_state +07:00 ANSI_QUOTES!", "0", "trips_state +07:00 ANSI_QUOTES"]);
    }

    async fn a_role_goes_with_the_write(stage) {
        stage.schema("trips_role").await;
        let writer = stage.lab.writer();
        for sql in [
            "CREATE TABLE trips_role.t (a VARCHAR(60))",
            "CREATE ROLE trips_role",
            "GRANT trips_role TO app",
        ] {
            writer.execute(sql).await.unwrap();
        }
        stage.caught_up().await;
        let ocean = Ocean::new(stage).await;
        let mut with_role = ocean.connect(Some("trips_role")).await;
        let mut without = ocean.connect(Some("trips_role")).await;
        with_role.query_drop("SET ROLE trips_role").await.unwrap();
        let insert = "INSERT INTO t VALUES (IFNULL(CURRENT_ROLE(), 'NONE'))";
        without.query_drop(insert).await.unwrap();
        ocean.expect(&mut with_role, insert, 1).await;
        ocean.expect(&mut without, insert, 1).await;
        writer.execute("REVOKE trips_role FROM app").await.unwrap();
        // A role only adds rights. Without it the session goes on, as on one server.
        with_role.query_drop(insert).await.unwrap();
        without.query_drop(insert).await.unwrap();
        let roles = column(writer, "SELECT REPLACE(REPLACE(a, '@`%`', ''), '`', '') FROM trips_role.t").await;
        assert_eq!(roles, ["NONE", "trips_role", "NONE", "NONE", "NONE"]);
        writer.execute("DROP ROLE trips_role").await.unwrap();
    }

    async fn a_locking_read_takes_its_state_along(stage) {
        stage.schema("trips_locking").await;
        stage.schema("trips_locking_2").await;
        stage.lab.writer().execute("CREATE TABLE trips_locking.t (a INT)").await.unwrap();
        stage.caught_up().await;
        let ocean = Ocean::new(stage).await;
        let mut a = ocean.connect(Some("trips_locking")).await;
        let mut other = ocean.connect(Some("trips_locking_2")).await;
        other.query_drop("SELECT 1 FROM trips_locking.t FOR UPDATE").await.unwrap();
        ocean.expect(&mut a, "SELECT * FROM t FOR UPDATE", 1).await;
    }

    async fn writes_go_on_beside_a_schema_that_is_gone(stage) {
        stage.schema("trips_gone").await;
        stage.schema("trips_here").await;
        stage.lab.writer().execute("CREATE TABLE trips_here.t (a INT)").await.unwrap();
        stage.caught_up().await;
        let ocean = Ocean::new(stage).await;
        let mut here = ocean.connect(Some("trips_here")).await;
        let mut gone = ocean.connect(Some("trips_gone")).await;
        let insert = gone.prep("INSERT INTO trips_here.t VALUES (2)").await.unwrap();
        here.query_drop("INSERT INTO t VALUES (0)").await.unwrap();
        stage.lab.writer().execute("DROP DATABASE trips_gone").await.unwrap();
        // Each once, and nothing in the schema of somebody else.
        gone.query_drop("TRUNCATE trips_here.t").await.unwrap();
        gone.query_drop("INSERT INTO trips_here.t VALUES (1)").await.unwrap();
        // It was prepared where nothing can be prepared any more.
        assert_eq!(code(gone.exec_drop(&insert, ()).await), 1049);
        assert_eq!(code(gone.query_drop("INSERT INTO t VALUES (4)").await), 1049);
        for sql in ["CREATE TABLE made (a INT)", "ALTER TABLE t ADD b INT", "DROP TABLE t"] {
            here.query_drop("DELETE FROM t WHERE a = 99").await.unwrap();
            assert_eq!(code(gone.query_drop(sql).await), 1049, "{sql}");
        }
        let warning: Option<(String, u16, String)> = gone.query_first("SHOW WARNINGS").await.unwrap();
        assert_eq!(warning.unwrap(), ("Error".into(), 1049, "Unknown database 'trips_gone'".into()));
        gone.query_drop("BEGIN").await.unwrap();
        gone.query_drop("INSERT INTO trips_here.t VALUES (5)").await.unwrap();
        assert_eq!(code(gone.query_drop("INSERT INTO t VALUES (6)").await), 1049);
        gone.query_drop("COMMIT").await.unwrap();
        here.query_drop("INSERT INTO t VALUES (3)").await.unwrap();
        assert_eq!(column(stage.lab.writer(), "SELECT a FROM trips_here.t").await, ["1", "5", "3"]);
        // It is there again, and the session in it.
        assert_eq!(code(gone.query_drop("SELECT * FROM t").await), 1049);
        stage.lab.writer().execute("CREATE DATABASE trips_gone; CREATE TABLE trips_gone.t (a INT)").await.unwrap();
        gone.query_drop("INSERT INTO t VALUES (7)").await.unwrap();
        assert_eq!(column(stage.lab.writer(), "SELECT a FROM trips_gone.t").await, ["7"]);
    }

    async fn nothing_is_written_when_the_writer_refuses_a_value(stage) {
        stage.schema("trips_zone").await;
        stage.lab.writer().execute("CREATE TABLE trips_zone.t (a INT)").await.unwrap();
        stage.caught_up().await;
        let reader = stage.lab.reader();
        for sql in [
            "SET sql_log_bin = 0; INSERT INTO mysql.time_zone (Time_zone_id, Use_leap_seconds) VALUES (99990, 'N')",
            "SET sql_log_bin = 0; INSERT INTO mysql.time_zone_name (Name, Time_zone_id) VALUES ('Isthmus/Reader', 99990)",
            "SET sql_log_bin = 0; INSERT INTO mysql.time_zone_transition_type (Time_zone_id, Transition_type_id, `Offset`, Is_DST, Abbreviation) VALUES (99990, 0, 3600, 0, 'IST')",
        ] {
            reader.set_read_only(false).await.unwrap();
            reader.execute(sql).await.unwrap();
        }
        reader.set_read_only(true).await.unwrap();
        let ocean = Ocean::new(stage).await;
        let mut session = ocean.connect(Some("trips_zone")).await;
        let insert = session.prep("INSERT INTO t VALUES (2)").await.unwrap();
        session.query_drop("SET time_zone = 'Isthmus/Reader'").await.unwrap();
        assert_eq!(code(session.query_drop("INSERT INTO t VALUES (1)").await), 1298);
        assert_eq!(code(session.exec_drop(&insert, ()).await), 1298);
        for script in ["INSERT INTO t VALUES (5); INSERT INTO t VALUES (6)", "SELECT 1; BEGIN; INSERT INTO t VALUES (7); COMMIT"] {
            assert_eq!(code(session.query_drop(script).await), 1298, "{script}");
        }
        session.query_drop("BEGIN").await.unwrap();
        assert_eq!(code(session.query_drop("INSERT INTO t VALUES (4)").await), 1298);
        session.query_drop("COMMIT").await.unwrap();
        session.query_drop("SET time_zone = '+01:00'").await.unwrap();
        session.query_drop("INSERT INTO t VALUES (3)").await.unwrap();
        assert_eq!(column(stage.lab.writer(), "SELECT a FROM trips_zone.t").await, ["3"]);
    }

    async fn a_write_is_prepared_and_executed_in_one_trip(stage) {
        stage.schema("trips_prepared").await;
        stage.lab.writer().execute("CREATE TABLE trips_prepared.t (a INT)").await.unwrap();
        stage.caught_up().await;
        let ocean = Ocean::with(stage, |config| {
            set(config, "pool.max_connections", 1);
            // Each one takes the place of the one before it.
            set(config, "pool.prepared_statements", 1);
        })
        .await;
        let mut a = ocean.connect(Some("trips_prepared")).await;
        a.query_drop("DELETE FROM t").await.unwrap();
        let first = a.prep("INSERT INTO t VALUES (?)").await.unwrap();
        let second = a.prep("INSERT INTO t VALUES (? + 10)").await.unwrap();
        let mut execute = async |statement: &mysql_async::Statement, value: i32, trips| {
            let (result, counted) = ocean.cost(async || a.exec_drop(statement, (value,)).await).await;
            result.unwrap();
            assert_eq!(counted, trips, "the {value}th execution");
        };
        execute(&first, 1, 1).await;
        execute(&first, 2, 1).await;
        execute(&second, 3, 1).await;
        execute(&first, 4, 1).await;
        // A failed preparation uses a number up.
        assert_eq!(code(a.prep("INSERT INTO nowhere VALUES (?)").await.map(drop)), 1146);
        let third = a.prep("INSERT INTO t VALUES (? + 20)").await.unwrap();
        let (result, counted) = ocean.cost(async || a.exec_drop(&second, (5,)).await).await;
        result.unwrap();
        assert_eq!(counted, 1);
        stage.lab.writer().execute("DROP TABLE trips_prepared.t").await.unwrap();
        assert_eq!(code(a.exec_drop(&first, (6,)).await), 1146);
        stage.lab.writer().execute("CREATE TABLE trips_prepared.t (a INT, b INT DEFAULT 1)").await.unwrap();
        assert_eq!(code(a.exec_drop(&third, (7,)).await), 1136);
        stage.lab.writer().execute("ALTER TABLE trips_prepared.t DROP b").await.unwrap();
        let (result, counted) = ocean.cost(async || a.exec_drop(&first, (8,)).await).await;
        result.unwrap();
        assert_eq!(counted, 1);
        assert_eq!(column(stage.lab.writer(), "SELECT a FROM trips_prepared.t").await, ["8"]);
    }

    async fn a_preparation_leaves_the_transaction_open(stage) {
        stage.schema("trips_autocommit").await;
        stage.lab.writer().execute("CREATE TABLE trips_autocommit.t (a INT)").await.unwrap();
        stage.caught_up().await;
        let ocean = Ocean::new(stage).await;
        let mut a = ocean.connect(Some("trips_autocommit")).await;
        for (before, begin, after) in [("DO 1", "SET autocommit = 0", "SET autocommit = 1"), ("SET autocommit = 0", "SET autocommit = 1; BEGIN", "DO 1")] {
            a.query_drop(before).await.unwrap();
            // Prepared with another autocommit than that it is executed with.
            let insert = a.prep(format!("INSERT INTO t VALUES (? + {})", begin.len())).await.unwrap();
            for sql in begin.split("; ") {
                a.query_drop(sql).await.unwrap();
            }
            a.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
            a.exec_drop(&insert, (2,)).await.unwrap();
            assert_eq!(column(stage.lab.writer(), "SELECT CAST(a AS CHAR) FROM trips_autocommit.t").await, [""; 0], "{begin}");
            a.query_drop("ROLLBACK").await.unwrap();
            a.query_drop(after).await.unwrap();
        }
        drop(a);
        assert_eq!(column(stage.lab.writer(), "SELECT CAST(a AS CHAR) FROM trips_autocommit.t").await, [""; 0]);
    }

    async fn statements_that_a_procedure_prepared_are_counted(stage) {
        stage.schema("trips_procedure").await;
        let writer = stage.lab.writer();
        writer.execute("CREATE TABLE trips_procedure.t (a INT)").await.unwrap();
        writer.execute("CREATE PROCEDURE trips_procedure.p() BEGIN PREPARE s FROM 'DO 1'; EXECUTE s; DEALLOCATE PREPARE s; END").await.unwrap();
        stage.caught_up().await;
        let ocean = Ocean::with(stage, |config| {
            set(config, "pool.max_connections", 1);
            set(config, "pool.prepared_statements", 1);
        })
        .await;
        let mut a = ocean.connect(Some("trips_procedure")).await;
        let first = a.prep("INSERT INTO t VALUES (?)").await.unwrap();
        let second = a.prep("INSERT INTO t VALUES (? + 10)").await.unwrap();
        for round in 1..=3 {
            a.query_drop("CALL p()").await.unwrap();
            a.exec_drop(&first, (round,)).await.unwrap();
            a.exec_drop(&second, (round,)).await.unwrap();
        }
        let rows = column(writer, "SELECT CAST(a AS CHAR) FROM trips_procedure.t ORDER BY a").await;
        assert_eq!(rows, ["1", "2", "3", "11", "12", "13"]);
    }

    async fn a_transaction_costs_its_statements_and_its_commit(stage) {
        stage.schema("trips_begin").await;
        stage.lab.writer().execute("CREATE TABLE trips_begin.t (a INT)").await.unwrap();
        stage.caught_up().await;
        let ocean = Ocean::new(stage).await;
        let mut a = ocean.connect(Some("trips_begin")).await;
        a.query_drop("DELETE FROM t").await.unwrap();
        let days: [&[(&str, u64)]; 13] = [
            &[("BEGIN", 0), ("INSERT INTO t VALUES (1)", 1), ("UPDATE t SET a = 2", 1), ("COMMIT", 1)],
            &[("START TRANSACTION", 0), ("SAVEPOINT sa_savepoint_1", 0), ("INSERT INTO t VALUES (3)", 1), ("RELEASE SAVEPOINT sa_savepoint_1", 0), ("COMMIT", 1)],
            &[("BEGIN", 0), ("COMMIT", 0), ("BEGIN WORK", 0), ("ROLLBACK", 0), ("COMMIT", 0), ("ROLLBACK", 0)],
            &[("BEGIN", 0), ("SAVEPOINT a", 0), ("RELEASE SAVEPOINT a", 0), ("ROLLBACK", 0)],
            &[("SET autocommit = 0", 0), ("INSERT INTO t VALUES (4)", 1), ("COMMIT", 1), ("COMMIT", 0), ("SET autocommit = 1", 0)],
            &[("SET autocommit = 0", 0), ("INSERT INTO t VALUES (4)", 1), ("SAVEPOINT a", 0), ("INSERT INTO t VALUES (4)", 1), ("RELEASE SAVEPOINT a", 0), ("COMMIT", 1), ("ROLLBACK", 0), ("SET autocommit = 1", 0)],
            &[("SET autocommit = 0", 0), ("BEGIN", 0), ("INSERT INTO t VALUES (4)", 1), ("COMMIT", 1), ("SET autocommit = 1", 0)],
            // Their moments matter.
            &[("START TRANSACTION WITH CONSISTENT SNAPSHOT", 1), ("INSERT INTO t VALUES (4)", 1), ("COMMIT", 1)],
            &[("START TRANSACTION READ ONLY", 0), ("SELECT 1", 0), ("COMMIT", 0)],
            &[("START TRANSACTION READ WRITE", 0), ("SELECT * FROM t", 1), ("SELECT * FROM t FOR UPDATE", 1), ("COMMIT", 1)],
            // A savepoint that is rolled back to has to be there.
            &[("BEGIN", 0), ("SAVEPOINT a", 0), ("INSERT INTO t VALUES (5)", 1), ("SAVEPOINT b", 0), ("ROLLBACK TO SAVEPOINT a", 1), ("COMMIT", 1)],
            &[("BEGIN", 0), ("BEGIN", 0), ("INSERT INTO t VALUES (6)", 1), ("BEGIN", 1), ("ROLLBACK", 1)],
            &[("SET time_zone = '+03:00'", 0), ("BEGIN", 0), ("INSERT INTO t SELECT 7 FROM DUAL WHERE @@time_zone = '+03:00'", 1), ("COMMIT", 1)],
        ];
        for day in days {
            for (sql, trips) in day {
                ocean.expect(&mut a, sql, *trips).await;
            }
        }
        let insert = a.prep("INSERT INTO t VALUES (? + 0)").await.unwrap();
        for (begin, values) in [("BEGIN", [8, 9]), ("SET autocommit = 0", [10, 11])] {
            ocean.expect(&mut a, begin, 0).await;
            for value in values {
                let (result, trips) = ocean.cost(async || a.exec_drop(&insert, (value,)).await).await;
                result.unwrap();
                assert_eq!(trips, 1, "the execution with {value}");
                ocean.expect(&mut a, "SAVEPOINT a", 0).await;
            }
            ocean.expect(&mut a, "COMMIT", 1).await;
        }
        let rows = column(stage.lab.writer(), "SELECT CAST(a AS CHAR) FROM trips_begin.t ORDER BY a").await;
        assert_eq!(rows, ["2", "3", "4", "4", "4", "4", "4", "6", "7", "8", "9", "10", "11"]);
    }

    async fn a_transaction_is_on_the_writer_from_its_first_statement(stage) {
        let ocean = Ocean::new(stage).await;
        let mut a = ocean.connect(None).await;
        a.query_drop("BEGIN").await.unwrap();
        let facts: Vec<(String, String, Option<String>)> = a
            .query("SHOW ISTHMUS SESSION")
            .await
            .map(|rows: Vec<mysql_async::Row>| rows.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap())).collect())
            .unwrap();
        let fact = |name: &str| facts.iter().find(|fact| fact.0 == "session" && fact.1 == name).and_then(|fact| fact.2.clone());
        assert_eq!(fact("deferred").as_deref(), Some("START TRANSACTION"));
        assert_eq!(fact("transaction").as_deref(), Some("read write"));
        assert!(!facts.iter().any(|fact| fact.0 == "hold"), "{facts:?}");
        assert_eq!(Stage::answered(&mut a, "SELECT server FROM app.here").await, Answered::Writer);
        a.query_drop("COMMIT").await.unwrap();
        a.query_drop("BEGIN").await.unwrap();
        a.query_drop("START TRANSACTION READ ONLY").await.unwrap();
        assert_eq!(Stage::answered(&mut a, "SELECT server FROM app.here").await, Answered::Reader);
        a.query_drop("COMMIT").await.unwrap();
        assert_eq!(Stage::answered(&mut a, "SELECT server FROM app.here").await, Answered::Reader);
    }

    async fn a_rollback_is_not_waited_for(stage) {
        stage.schema("trips_rollback").await;
        stage.lab.writer().execute("CREATE TABLE trips_rollback.t (id INT AUTO_INCREMENT PRIMARY KEY, a INT)").await.unwrap();
        stage.caught_up().await;
        let ocean = Ocean::new(stage).await;
        let mut a = ocean.connect(Some("trips_rollback")).await;
        a.query_drop("INSERT INTO t (a) VALUES (1)").await.unwrap();
        let rolled_back = async |a: &mut Conn, sql: &str| {
            ocean.line.set_round_trip(*ROUND_TRIP);
            a.query_drop("BEGIN").await.unwrap();
            a.query_drop(sql).await.unwrap();
            // Longer than any machine dawdles.
            ocean.line.set_round_trip(Duration::from_secs(3));
            let start = Instant::now();
            a.query_drop("ROLLBACK").await.unwrap();
            start.elapsed() < Duration::from_secs(2)
        };
        assert!(rolled_back(&mut a, "INSERT INTO t (a) VALUES (2)").await);
        let start = Instant::now();
        let id: Option<u64> = a.query_first("SELECT LAST_INSERT_ID()").await.unwrap();
        assert_eq!(id, Some(2), "the rolled back one");
        assert!(start.elapsed() > Duration::from_millis(500), "it comes from the writer");
        assert!(!rolled_back(&mut a, "INSERT IGNORE INTO t VALUES (1, 7)").await, "it had warnings");
        ocean.line.set_round_trip(*ROUND_TRIP);
        a.query_drop("UPDATE t SET a = a + 10").await.unwrap();
        assert_eq!(column(stage.lab.writer(), "SELECT CAST(a AS CHAR) FROM trips_rollback.t").await, ["11"]);
        // Broken before the server has answered, it is rolled back all the same.
        assert!(rolled_back(&mut a, "UPDATE t SET a = 99").await);
        ocean.line.reset_connections().await;
        ocean.line.set_round_trip(*ROUND_TRIP);
        a.query_drop("UPDATE t SET a = a + 10").await.unwrap();
        assert_eq!(column(stage.lab.writer(), "SELECT CAST(a AS CHAR) FROM trips_rollback.t").await, ["21"]);
    }

    async fn a_write_is_prepared_next_door(stage) {
        stage.schema("trips_aside").await;
        stage.lab.writer().execute("CREATE TABLE trips_aside.t (a INT)").await.unwrap();
        stage.caught_up().await;
        let ocean = Ocean::new(stage).await;
        let mut a = ocean.connect(Some("trips_aside")).await;
        a.query_drop("DELETE FROM t").await.unwrap();
        let prepared = async |a: &mut Conn, sql: &str| {
            let (statement, trips) = ocean.cost(async || a.prep(sql).await).await;
            assert_eq!(trips, 0, "{sql}");
            statement.unwrap()
        };
        let executed = async |a: &mut Conn, statement: &mysql_async::Statement, value: i32| {
            let (result, trips) = ocean.cost(async || a.exec_drop(statement, (value,)).await).await;
            assert_eq!(trips, 1, "the execution with {value}");
            result.unwrap();
        };
        reads_next_door(&mut a).await;
        let insert = prepared(&mut a, "INSERT INTO t VALUES (?)").await;
        executed(&mut a, &insert, 1).await;
        ocean.expect(&mut a, "BEGIN", 0).await;
        executed(&mut a, &insert, 2).await;
        let update = prepared(&mut a, "UPDATE t SET a = a + ?").await;
        executed(&mut a, &update, 3).await;
        let read = prepared(&mut a, "SELECT a FROM t WHERE a > ? ORDER BY a FOR UPDATE").await;
        let rows: Vec<i32> = a.exec(&read, (0,)).await.unwrap();
        assert_eq!(rows, [4, 5]);
        ocean.expect(&mut a, "COMMIT", 1).await;
        assert_eq!(column(stage.lab.writer(), "SELECT CAST(a AS CHAR) FROM trips_aside.t ORDER BY a").await, ["4", "5"]);
    }

    async fn a_deferred_transaction_is_lost_without_a_trace(stage) {
        let ocean = Ocean::new(stage).await;
        let mut a = ocean.connect(None).await;
        let (_, trips) = ocean.cost(async || {
            a.query_drop("BEGIN").await.unwrap();
            a.query_drop("SAVEPOINT a").await.unwrap();
            drop(a);
        }).await;
        assert_eq!(trips, 0);
        let mut other = ocean.connect(None).await;
        ocean.expect(&mut other, "DO RELEASE_ALL_LOCKS()", 1).await;
    }
}

/// One of the figures of SHOW ISTHMUS STATUS.
async fn figure(session: &mut Conn, name: &str) -> f64 {
    let figures: Vec<(String, f64)> = session.query("SHOW ISTHMUS STATUS").await.unwrap();
    let found = figures.iter().find(|(known, _)| known == name);
    found
        .unwrap_or_else(|| panic!("{name} is not in {figures:?}"))
        .1
}
