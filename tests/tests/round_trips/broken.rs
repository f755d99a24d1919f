//! The connection to the writer breaks behind an answer that was given at once: what the server has
//! not been told of goes over the next connection, and what was open on the one that broke is lost
//! as a whole, with an error.

use isthmus_tests::rig::until;
use isthmus_tests::{Flavor, Stage, shared_stage};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use crate::{Ocean, column, figure, reads_next_door};

/// A new schema with a table `t`, and a session there.
async fn session(stage: &Stage, schema: &str) -> (Ocean, Conn) {
    stage.schema(schema).await;
    let table = format!("CREATE TABLE {schema}.t (a INT)");
    stage.lab.writer().execute(table).await.unwrap();
    stage.caught_up().await;
    let ocean = Ocean::new(stage).await;
    let session = ocean.connect(Some(schema)).await;
    (ocean, session)
}

/// Breaks the connections to the writer, and returns when the proxy has made another one ahead.
async fn break_connections(ocean: &Ocean, session: &mut Conn) {
    let made = "isthmus_backend_connections_created_total{endpoint=\"tokyo\"}";
    let before = figure(session, made).await;
    ocean.line.reset_connections().await;
    until("there is another connection", async || {
        figure(session, made).await > before
    })
    .await;
}

async fn rows(stage: &Stage, schema: &str) -> Vec<String> {
    let rows = format!("SELECT CAST(a AS CHAR) FROM {schema}.t ORDER BY a");
    column(stage.lab.writer(), &rows).await
}

async fn what_the_server_does_not_know_goes_over_the_next_connection(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let (ocean, mut a) = session(stage, "trips_reconnect").await;
    let days: [(&[&str], &[&str], &[&str]); 7] = [
        (&["BEGIN"], &["INSERT INTO t VALUES (1)"], &["COMMIT"]),
        (
            &["START TRANSACTION READ WRITE", "SAVEPOINT a"],
            &[
                "INSERT INTO t VALUES (99)",
                "ROLLBACK TO SAVEPOINT a",
                "INSERT INTO t VALUES (2)",
            ],
            &["COMMIT"],
        ),
        (
            &["BEGIN", "SAVEPOINT a", "RELEASE SAVEPOINT a"],
            &["INSERT INTO t VALUES (3); UPDATE t SET a = a"],
            &["COMMIT"],
        ),
        (&["BEGIN", "SAVEPOINT a"], &[], &["COMMIT"]),
        (&["BEGIN", "COMMIT"], &[], &["INSERT INTO t VALUES (4)"]),
        (&["BEGIN", "ROLLBACK"], &[], &["INSERT INTO t VALUES (5)"]),
        (
            &["SET autocommit = 0"],
            &["INSERT INTO t VALUES (6)"],
            &["COMMIT", "SET autocommit = 1"],
        ),
    ];
    for (before, open, end) in days {
        let already = rows(stage, "trips_reconnect").await;
        for sql in before {
            a.query_drop(*sql).await.unwrap();
        }
        break_connections(&ocean, &mut a).await;
        for sql in open {
            a.query_drop(*sql).await.unwrap();
        }
        let now = rows(stage, "trips_reconnect").await;
        assert_eq!(
            now, already,
            "{before:?}, {open:?}: outside its transaction"
        );
        for sql in end {
            a.query_drop(*sql).await.unwrap();
        }
    }
    // ROLLBACK is on its way when the connection breaks, or comes after.
    let open = ["BEGIN", "INSERT INTO t VALUES (99)", "SAVEPOINT a"];
    let left = ["ROLLBACK", "INSERT INTO t VALUES (7)"];
    for on_its_way in [1, 0] {
        let (before, after) = left.split_at(on_its_way);
        for sql in open.iter().chain(before) {
            a.query_drop(*sql).await.unwrap();
        }
        ocean.line.reset_connections().await;
        for sql in after {
            a.query_drop(*sql).await.unwrap();
        }
    }
    let rows = rows(stage, "trips_reconnect").await;
    assert_eq!(rows, ["1", "2", "3", "4", "5", "6", "7", "7"]);
}

async fn what_was_open_is_lost_as_a_whole(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let insert = "INSERT INTO t VALUES (1)";
    let (ocean, _) = session(stage, "trips_lost").await;
    for before in [
        &["BEGIN", insert, "SAVEPOINT a"][..],
        &["BEGIN", insert, "SAVEPOINT a", "RELEASE SAVEPOINT a"],
        &["SET autocommit = 0", insert, "SAVEPOINT a"],
    ] {
        for next in [
            "COMMIT",
            "INSERT INTO t VALUES (2)",
            "INSERT INTO t VALUES (2); COMMIT",
            "SELECT * FROM t",
            "ROLLBACK TO SAVEPOINT a",
            "BEGIN",
        ] {
            let mut a = ocean.connect(Some("trips_lost")).await;
            for sql in before {
                a.query_drop(*sql).await.unwrap();
            }
            ocean.line.reset_connections().await;
            let error = a.query_drop(next).await.unwrap_err();
            // Whoever goes on all the same writes nothing outside of the transaction.
            let after = a.query_drop("INSERT INTO t VALUES (3)").await;
            after.expect_err("the session is over");
            let rows = rows(stage, "trips_lost").await;
            assert_eq!(rows, [""; 0], "{before:?}, {next}: {error}");
        }
    }
}

/// A read that breaks is run again, but not outside of the transaction that had begun with it.
async fn what_breaks_with_its_first_statement_is_lost_too(flavor: Flavor) {
    const READ: &str = "SELECT SLEEP(60)";
    let stage = shared_stage(flavor).await;
    let (_ocean, mut a) = session(stage, "trips_first").await;
    a.query_drop("BEGIN").await.unwrap();
    let reading = a.query_drop(READ);
    let killing = async {
        let runs = format!(
            "SELECT CAST(ID AS CHAR) FROM information_schema.PROCESSLIST WHERE INFO = '{READ}'"
        );
        let mut threads = Vec::new();
        until("it runs", async || {
            threads = column(stage.lab.writer(), &runs).await;
            !threads.is_empty()
        })
        .await;
        let kill = format!("KILL {}", threads[0]);
        stage.lab.writer().execute(kill).await.unwrap();
    };
    let (read, ()) = tokio::join!(reading, killing);
    read.unwrap_err();
    let after = a.query_drop("INSERT INTO t VALUES (1)").await;
    after.expect_err("the session is over");
    assert_eq!(rows(stage, "trips_first").await, [""; 0]);
}

async fn what_was_prepared_next_door_runs_once_over_the_next_connection(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let (ocean, mut a) = session(stage, "trips_reprepared").await;
    reads_next_door(&mut a).await;
    let insert = a.prep("INSERT INTO t VALUES (?)").await.unwrap();
    break_connections(&ocean, &mut a).await;
    a.exec_drop(&insert, (1,)).await.unwrap();
    let other = loop {
        a.query_drop("BEGIN").await.unwrap();
        let other = a.prep("INSERT INTO t VALUES (? + 10)").await.unwrap();
        let last: Row = a.query_first("SHOW ISTHMUS LAST").await.unwrap().unwrap();
        // A reader that dawdles is not waited for, and then the transaction has begun.
        if last.get::<String, _>("endpoint").unwrap() == "virginia" {
            break other;
        }
        // The driver would take it for prepared.
        a.close(other).await.unwrap();
        a.query_drop("ROLLBACK").await.unwrap();
    };
    break_connections(&ocean, &mut a).await;
    a.exec_drop(&insert, (2,)).await.unwrap();
    a.exec_drop(&other, (3,)).await.unwrap();
    assert_eq!(rows(stage, "trips_reprepared").await, ["1"]);
    a.query_drop("COMMIT").await.unwrap();
    assert_eq!(rows(stage, "trips_reprepared").await, ["1", "2", "13"]);
    a.query_drop("BEGIN").await.unwrap();
    a.exec_drop(&insert, (4,)).await.unwrap();
    let third = a.prep("INSERT INTO t VALUES (? + 20)").await.unwrap();
    ocean.line.reset_connections().await;
    a.exec_drop(&third, (5,)).await.unwrap_err();
    a.query_drop("COMMIT")
        .await
        .expect_err("the session is over");
    assert_eq!(rows(stage, "trips_reprepared").await, ["1", "2", "13"]);
}

isthmus_tests::on_both! {
    what_the_server_does_not_know_goes_over_the_next_connection
    what_was_open_is_lost_as_a_whole
    what_breaks_with_its_first_statement_is_lost_too
    what_was_prepared_next_door_runs_once_over_the_next_connection
}
