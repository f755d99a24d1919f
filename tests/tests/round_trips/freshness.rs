//! What a session has seen on the writer costs its next reads no trip: how far the writer was is told
//! with the answer, or asked in the same write.

use isthmus_tests::rig::code;
use isthmus_tests::{Flavor, Stage, set, shared_stage};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::{Ocean, reads_next_door};

/// A session that has a table with a row (1, 1) next door, and goes by GTIDs.
async fn session(stage: &Stage, schema: &str) -> (Ocean, Conn) {
    stage.schema(schema).await;
    let table = format!("CREATE TABLE {schema}.t (id INT PRIMARY KEY, a INT)");
    stage.lab.writer().execute(table).await.unwrap();
    let procedure =
        format!("CREATE PROCEDURE {schema}.p() BEGIN UPDATE t SET a = a + 1; SELECT * FROM t; END");
    stage.lab.writer().execute(procedure).await.unwrap();
    stage.caught_up().await;
    let ocean = Ocean::with(stage, |config| {
        set(config, "pool.max_connections", 1);
        set(config, "consistency.source", "gtid");
        // A machine that dawdles makes nobody cross the ocean.
        set(config, "consistency.on_stale", "wait");
    })
    .await;
    let mut a = ocean.connect(Some(schema)).await;
    a.query_drop("INSERT INTO t VALUES (1, 1)").await.unwrap();
    reads_next_door(&mut a).await;
    (ocean, a)
}

async fn what_was_seen_far_away_is_read_next_door(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let (ocean, mut a) = session(stage, "trips_fresh").await;
    let read = ("SELECT * FROM t", 0);
    let days: [&[(&str, u64)]; 7] = [
        &[("UPDATE t SET a = a + 1", 1), read],
        &[
            ("BEGIN", 0),
            ("UPDATE t SET a = a + 1", 1),
            ("COMMIT", 1),
            read,
        ],
        // No GTID is told of these.
        &[("BEGIN", 0), ("UPDATE t SET a = a", 1), ("COMMIT", 1), read],
        &[("BEGIN", 0), ("SELECT * FROM t", 1), ("COMMIT", 1), read],
        &[
            ("SET autocommit = 0", 0),
            ("SELECT * FROM t", 1),
            ("SET autocommit = 1", 1),
            read,
        ],
        &[("/* isthmus:writer */ SELECT * FROM t", 1), read],
        &[("SELECT * FROM t FOR UPDATE", 1), read],
    ];
    for day in days {
        for (sql, trips) in day {
            ocean.expect(&mut a, sql, *trips).await;
        }
    }
    let statement = a.prep("/* isthmus:fresh */ SELECT * FROM t").await.unwrap();
    a.exec_drop(&statement, ()).await.unwrap();
    ocean.expect(&mut a, read.0, read.1).await;
}

/// No GTID is told of these, or none that stands for what they have shown.
async fn a_write_without_a_gtid_costs_the_next_read_nothing(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let (ocean, mut a) = session(stage, "trips_silent").await;
    let read = "SELECT * FROM t";
    let update = a.prep("UPDATE t SET a = a WHERE id = ?").await.unwrap();
    for id in [1, 7] {
        let (result, trips) = ocean.cost(async || a.exec_drop(&update, (id,)).await).await;
        result.unwrap();
        assert_eq!(trips, 1, "an execution");
        ocean.expect(&mut a, read, 0).await;
    }
    for (sql, error) in [
        ("UPDATE t SET a = a", None),
        ("DELETE FROM t WHERE id = 7", None),
        ("INSERT IGNORE INTO t VALUES (1, 1)", None),
        ("INSERT INTO t SELECT * FROM t WHERE id = 7", None),
        (
            "INSERT INTO t VALUES (1, 1) ON DUPLICATE KEY UPDATE a = a",
            None,
        ),
        ("INSERT INTO t VALUES (1, 2)", Some(1062)),
        ("UPDATE t SET a = a; DELETE FROM t WHERE id = 7", None),
        (
            "UPDATE t SET a = a; INSERT INTO t VALUES (1, 2)",
            Some(1062),
        ),
        ("BEGIN; UPDATE t SET a = a; COMMIT", None),
        ("CALL p()", None),
    ] {
        let (result, trips) = ocean.cost(async || a.query_drop(sql).await).await;
        match error {
            Some(error) => assert_eq!(code(result), error, "{sql}"),
            None => result.unwrap(),
        }
        assert_eq!(trips, 1, "{sql}");
        ocean.expect(&mut a, read, 0).await;
    }
    // What was asked behind it hides nothing that the statement has left.
    let ignored = "INSERT IGNORE INTO t VALUES (1, 1), (2, 2)";
    a.query_drop(ignored).await.unwrap();
    let warnings: Vec<(String, u16, String)> = a.query("SHOW WARNINGS").await.unwrap();
    assert_eq!(warnings[0].1, 1062);
    a.query_drop("UPDATE t SET a = a + 1").await.unwrap();
    let count: Option<i64> = a.query_first("SELECT ROW_COUNT()").await.unwrap();
    assert_eq!(count, Some(2));
}

isthmus_tests::on_both! {
    what_was_seen_far_away_is_read_next_door
    a_write_without_a_gtid_costs_the_next_read_nothing
}
