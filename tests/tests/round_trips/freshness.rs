//! What a session has seen on the writer costs its next reads no trip: how far the writer was is told
//! with the answer, or asked in the same write.

use isthmus_tests::{Flavor, set, shared_stage};
use mysql_async::prelude::Queryable as _;

use crate::{Ocean, reads_next_door};

async fn what_was_seen_far_away_is_read_next_door(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    stage.schema("trips_fresh").await;
    let table = "CREATE TABLE trips_fresh.t (id INT PRIMARY KEY, a INT)";
    stage.lab.writer().execute(table).await.unwrap();
    stage.caught_up().await;
    let ocean = Ocean::with(stage, |config| {
        set(config, "pool.max_connections", 1);
        set(config, "consistency.source", "gtid");
        // A machine that dawdles makes nobody cross the ocean.
        set(config, "consistency.on_stale", "wait");
    })
    .await;
    let mut a = ocean.connect(Some("trips_fresh")).await;
    a.query_drop("INSERT INTO t VALUES (1, 1)").await.unwrap();
    reads_next_door(&mut a).await;
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

isthmus_tests::on_both! { what_was_seen_far_away_is_read_next_door }
