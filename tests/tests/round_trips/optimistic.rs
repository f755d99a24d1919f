//! `optimistic_reads`: reads before the first write of a transaction are answered by the reader.

use isthmus_tests::rig::until;
use isthmus_tests::{Flavor, Stage, Table, set, shared_stage};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::{Ocean, column, figure};

/// Switches it on for the only user.
fn optimistic(config: &mut Table) {
    set(config, "pool.max_connections", 1);
    let users = config.get_mut("users").unwrap().as_array_mut().unwrap();
    let user = users[0].as_table_mut().unwrap();
    user.insert("optimistic_reads".into(), true.into());
}

async fn album(stage: &Stage, schema: &str) {
    stage.schema(schema).await;
    let writer = stage.lab.writer();
    let make = format!("CREATE TABLE {schema}.t (id INT PRIMARY KEY, a INT)");
    writer.execute(make).await.unwrap();
    writer
        .execute(format!("INSERT INTO {schema}.t VALUES (1, 10)"))
        .await
        .unwrap();
    stage.caught_up().await;
}

async fn read(session: &mut Conn) -> Option<i32> {
    session
        .query_first("SELECT a FROM t WHERE id = 1")
        .await
        .unwrap()
}

async fn nothing_crosses_before_the_first_write(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    album(stage, "trips_ahead").await;
    let ocean = Ocean::with(stage, optimistic).await;
    let mut a = ocean.connect(Some("trips_ahead")).await;
    let days: [&[(&str, u64)]; 6] = [
        &[
            ("BEGIN", 0),
            ("SELECT * FROM t", 0),
            ("SHOW TABLES", 0),
            ("COMMIT", 0),
        ],
        &[("BEGIN", 0), ("SELECT * FROM t", 0), ("ROLLBACK", 0)],
        &[
            ("BEGIN", 0),
            ("SELECT * FROM t", 0),
            ("SAVEPOINT a", 0),
            ("SELECT * FROM t", 0),
            ("UPDATE t SET a = a + 1", 1),
            ("SELECT * FROM t", 1),
            ("ROLLBACK TO SAVEPOINT a", 1),
            ("COMMIT", 1),
        ],
        &[
            ("BEGIN", 0),
            ("SELECT * FROM t", 0),
            ("SELECT * FROM t FOR UPDATE", 1),
            ("COMMIT", 1),
        ],
        &[
            ("SET autocommit = 0", 0),
            ("SELECT * FROM t", 0),
            ("COMMIT", 0),
            ("SELECT * FROM t", 0),
            ("UPDATE t SET a = a + 1", 1),
            ("COMMIT", 1),
            ("SET autocommit = 1", 0),
        ],
        &[
            ("BEGIN", 0),
            ("SELECT * FROM t", 0),
            ("BEGIN", 0),
            ("SELECT * FROM t", 0),
            ("COMMIT", 0),
        ],
    ];
    a.query_drop("UPDATE t SET a = a + 0").await.unwrap();
    for day in days {
        until("the reader has what the session has seen", async || {
            let _ = read(&mut a).await;
            let last: mysql_async::Row = a.query_first("SHOW ISTHMUS LAST").await.unwrap().unwrap();
            last.get::<String, _>(1).unwrap() == "reader"
        })
        .await;
        for (sql, trips) in day {
            ocean.expect(&mut a, sql, *trips).await;
        }
    }
    assert_eq!(
        column(
            stage.lab.writer(),
            "SELECT CAST(a AS CHAR) FROM trips_ahead.t"
        )
        .await,
        ["11"]
    );
    let saved = figure(
        &mut a,
        "isthmus_round_trips_saved_total{by=\"optimistic_read\"}",
    )
    .await;
    assert!(saved >= 10.0, "{saved}");
}

async fn reads_before_the_first_write_see_one_state(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    album(stage, "trips_snapshot").await;
    let ocean = Ocean::with(stage, optimistic).await;
    let mut a = ocean.connect(Some("trips_snapshot")).await;
    a.query_drop("BEGIN").await.unwrap();
    assert_eq!(read(&mut a).await, Some(10));
    let writer = stage.lab.writer();
    writer
        .execute("UPDATE trips_snapshot.t SET a = 20")
        .await
        .unwrap();
    stage.caught_up().await;
    assert_eq!(read(&mut a).await, Some(10), "as it was at the first read");
    for statement in ["SAVEPOINT s", "SHOW ISTHMUS LAST", "/* nothing */"] {
        a.query_drop(statement).await.unwrap();
        assert_eq!(read(&mut a).await, Some(10), "behind {statement}");
    }
    a.query_drop("INSERT INTO t VALUES (2, 0)").await.unwrap();
    assert_eq!(read(&mut a).await, Some(20), "as the writer has it");
    a.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(
        column(writer, "SELECT CAST(id AS CHAR) FROM trips_snapshot.t").await,
        ["1"]
    );
    // Nothing is left on the reader's only connection.
    until("the reader has what the session has seen", async || {
        read(&mut a).await == Some(20)
    })
    .await;
}

/// What is asked on the writer about the reads before is what they have left on the reader.
async fn the_writer_knows_what_was_read(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    album(stage, "trips_known").await;
    let ocean = Ocean::with(stage, optimistic).await;
    let mut a = ocean.connect(Some("trips_known")).await;
    for statement in [
        "BEGIN",
        "SELECT id FROM t UNION SELECT 5 UNION SELECT 6",
        "SET @n = FOUND_ROWS()",
        "UPDATE t SET a = FOUND_ROWS() WHERE id = 1",
        "INSERT INTO t VALUES (2, @n)",
        "COMMIT",
    ] {
        a.query_drop(statement).await.unwrap();
    }
    let all = "SELECT CAST(a AS CHAR) FROM trips_known.t ORDER BY id";
    assert_eq!(column(stage.lab.writer(), all).await, ["3", "3"]);
    let prepared = a.prep("UPDATE t SET a = FOUND_ROWS()").await.unwrap();
    a.query_drop("BEGIN").await.unwrap();
    a.query_drop("SELECT id FROM t UNION SELECT 5 UNION SELECT 6")
        .await
        .unwrap();
    a.exec_drop(&prepared, ()).await.unwrap();
    a.query_drop("COMMIT").await.unwrap();
    assert_eq!(column(stage.lab.writer(), all).await, ["4", "4"]);
}

async fn it_is_refused_where_it_would_break_a_promise(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    album(stage, "trips_refused").await;
    let ocean = Ocean::with(stage, optimistic).await;
    let beginnings: [&[&str]; 5] = [
        &[
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "BEGIN",
        ],
        &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN"],
        &["START TRANSACTION WITH CONSISTENT SNAPSHOT"],
        &[
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET autocommit = 0",
        ],
        &["BEGIN", "SELECT * FROM t FOR UPDATE"],
    ];
    for beginning in beginnings {
        let mut a = ocean.connect(Some("trips_refused")).await;
        for sql in beginning {
            a.query_drop(*sql).await.unwrap();
        }
        assert_eq!(whereabouts(&mut a).await, "writer", "{beginning:?}");
        a.query_drop("ROLLBACK").await.unwrap();
    }
    // A session that has written must see it.
    let mut a = ocean.connect(Some("trips_refused")).await;
    a.query_drop("BEGIN").await.unwrap();
    assert_eq!(whereabouts(&mut a).await, "reader");
    a.query_drop("COMMIT").await.unwrap();
    a.query_drop("UPDATE t SET a = 11").await.unwrap();
    a.query_drop("BEGIN").await.unwrap();
    assert_eq!(read(&mut a).await, Some(11));
    a.query_drop("COMMIT").await.unwrap();
}

async fn a_hint_asks_for_it_in_one_transaction(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let ocean = Ocean::new(stage).await;
    let mut a = ocean.connect(None).await;
    let cases = [
        ("BEGIN", "", "writer"),
        ("BEGIN /* isthmus:optimistic */", "", "reader"),
        (
            "BEGIN /* isthmus:optimistic */",
            "/* isthmus:writer */",
            "writer",
        ),
        ("BEGIN", "/* isthmus:optimistic */", "reader"),
        ("BEGIN", "", "writer"),
    ];
    for (begin, hint, expected) in cases {
        // What it has seen on the writer, the reader must have.
        until("the session reads on the reader", async || {
            whereabouts(&mut a).await == "reader"
        })
        .await;
        a.query_drop(begin).await.unwrap();
        let query = format!("{hint} SELECT server FROM app.here");
        let server: Option<String> = a.query_first(query).await.unwrap();
        assert_eq!(server.as_deref(), Some(expected), "{begin}; {hint}");
        a.query_drop("COMMIT").await.unwrap();
    }
}

async fn whereabouts(session: &mut Conn) -> String {
    let server: Option<String> = session
        .query_first("SELECT server FROM app.here")
        .await
        .unwrap();
    server.unwrap()
}

isthmus_tests::on_both! {
    nothing_crosses_before_the_first_write
    reads_before_the_first_write_see_one_state
    the_writer_knows_what_was_read
    it_is_refused_where_it_would_break_a_promise
    a_hint_asks_for_it_in_one_transaction
}
