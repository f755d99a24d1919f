//! Several statements in one packet: what is deferred goes in front of them, and what they leave
//! open goes on.

use isthmus_tests::rig::code;
use isthmus_tests::{Flavor, shared_stage};
use mysql_async::prelude::Queryable as _;

use crate::{Ocean, column};

async fn what_is_deferred_goes_in_front_of_a_script(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    stage.schema("trips_scripts").await;
    let writer = stage.lab.writer();
    writer
        .execute("CREATE TABLE trips_scripts.t (a INT)")
        .await
        .unwrap();
    stage.caught_up().await;
    let ocean = Ocean::new(stage).await;
    let mut a = ocean.connect(Some("trips_scripts")).await;
    a.query_drop("DELETE FROM t; DO 1").await.unwrap();
    let days: [&[(&str, u64)]; 6] = [
        &[
            ("BEGIN", 0),
            ("INSERT INTO t VALUES (1); UPDATE t SET a = a + 1", 1),
            ("SAVEPOINT a", 0),
            ("INSERT INTO t VALUES (3); SELECT * FROM t", 1),
            ("RELEASE SAVEPOINT a", 0),
            ("COMMIT", 1),
        ],
        // The savepoint that the client has been told of is there.
        &[
            ("START TRANSACTION", 0),
            ("SAVEPOINT a", 0),
            (
                "INSERT INTO t VALUES (99); ROLLBACK TO SAVEPOINT a; INSERT INTO t VALUES (4)",
                1,
            ),
            ("COMMIT", 1),
        ],
        &[(
            "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (5); RELEASE SAVEPOINT a; COMMIT",
            1,
        )],
        &[
            ("BEGIN; INSERT INTO t VALUES (6)", 1),
            ("SAVEPOINT a", 0),
            ("INSERT INTO t VALUES (7); COMMIT", 1),
            ("COMMIT", 0),
        ],
        &[
            ("SET autocommit = 0", 0),
            ("INSERT INTO t VALUES (8); INSERT INTO t VALUES (9)", 1),
            ("COMMIT", 1),
            ("COMMIT", 0),
            ("SET autocommit = 1", 0),
        ],
        &[
            ("BEGIN", 0),
            ("INSERT INTO t VALUES (99); INSERT INTO t VALUES (99)", 1),
            ("ROLLBACK; INSERT INTO t VALUES (10)", 1),
        ],
    ];
    for day in days {
        for (sql, trips) in day {
            ocean.expect(&mut a, sql, *trips).await;
        }
    }
    let rows = column(
        writer,
        "SELECT CAST(a AS CHAR) FROM trips_scripts.t ORDER BY a",
    )
    .await;
    assert_eq!(rows, ["2", "3", "4", "5", "6", "7", "8", "9", "10"]);
}

async fn a_script_that_breaks_off_leaves_the_transaction_open(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    stage.schema("trips_broken_off").await;
    let writer = stage.lab.writer();
    writer
        .execute("CREATE TABLE trips_broken_off.t (a INT PRIMARY KEY)")
        .await
        .unwrap();
    stage.caught_up().await;
    let ocean = Ocean::new(stage).await;
    let mut a = ocean.connect(Some("trips_broken_off")).await;
    let script = "INSERT INTO t VALUES (1); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)";
    for (end, left) in [("ROLLBACK", &[][..]), ("COMMIT", &["1", "3"][..])] {
        a.query_drop("BEGIN").await.unwrap();
        a.query_drop("SAVEPOINT a").await.unwrap();
        assert_eq!(code(a.query_drop(script).await), 1062);
        a.query_drop("INSERT INTO t VALUES (3)").await.unwrap();
        let rows = "SELECT CAST(a AS CHAR) FROM trips_broken_off.t ORDER BY a";
        assert_eq!(
            column(writer, rows).await,
            [""; 0],
            "nothing is committed yet"
        );
        a.query_drop(end).await.unwrap();
        // ROLLBACK is answered before the server has done it.
        a.query_drop("DO RELEASE_ALL_LOCKS()").await.unwrap();
        assert_eq!(column(writer, rows).await, left, "{end}");
    }
}

isthmus_tests::on_both! {
    what_is_deferred_goes_in_front_of_a_script
    a_script_that_breaks_off_leaves_the_transaction_open
}
