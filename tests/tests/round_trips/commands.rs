//! Commands that are no statements: nobody waits for the ocean because of them.

use std::time::{Duration, Instant};

use isthmus_tests::{Flavor, shared_stage};
use mysql_async::prelude::Queryable as _;

use crate::{Ocean, ROUND_TRIP, column};

async fn a_ping_and_the_close_of_a_statement_are_free(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    stage.schema("trips_ping").await;
    let writer = stage.lab.writer();
    writer
        .execute("CREATE TABLE trips_ping.t (a INT)")
        .await
        .unwrap();
    stage.caught_up().await;
    let ocean = Ocean::new(stage).await;
    let mut a = ocean.connect(Some("trips_ping")).await;
    a.query_drop("DELETE FROM t").await.unwrap();
    for transaction in [None, Some("BEGIN")] {
        if let Some(begin) = transaction {
            ocean.expect(&mut a, begin, 0).await;
        }
        let insert = a.prep("INSERT INTO t VALUES (?)").await.unwrap();
        a.exec_drop(&insert, (1,)).await.unwrap();
        let (result, trips) = ocean.cost(async || a.ping().await).await;
        result.unwrap();
        assert_eq!(trips, 0, "a ping, {transaction:?}");
        let (result, trips) = ocean.cost(async || a.close(insert).await).await;
        result.unwrap();
        assert_eq!(trips, 0, "a close, {transaction:?}");
        // The server hears of it with what follows.
        ocean.expect(&mut a, "INSERT INTO t VALUES (2)", 1).await;
    }
    ocean.expect(&mut a, "COMMIT", 1).await;
    let rows = column(writer, "SELECT CAST(a AS CHAR) FROM trips_ping.t").await;
    assert_eq!(rows, ["1", "2", "1", "2"]);
}

async fn a_reset_is_not_waited_for(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    stage.schema("trips_reset").await;
    let writer = stage.lab.writer();
    writer
        .execute("CREATE TABLE trips_reset.t (a INT)")
        .await
        .unwrap();
    stage.caught_up().await;
    let ocean = Ocean::new(stage).await;
    let mut a = ocean.connect(Some("trips_reset")).await;
    a.query_drop("DELETE FROM t").await.unwrap();
    a.query_drop("SET time_zone = '+03:00'").await.unwrap();
    let (result, trips) = ocean.cost(async || a.reset().await).await;
    assert!(result.unwrap());
    assert_eq!(trips, 0, "nothing was open");
    let insert = "INSERT INTO t SELECT @@time_zone = '+03:00'";
    ocean.expect(&mut a, insert, 1).await;
    ocean.expect(&mut a, "BEGIN", 0).await;
    let (result, trips) = ocean.cost(async || a.reset().await).await;
    assert!(result.unwrap());
    assert_eq!(trips, 0, "the server does not know of the transaction");
    ocean.expect(&mut a, insert, 1).await;
    // What is open on the server is rolled back while the client goes on.
    a.query_drop("BEGIN").await.unwrap();
    a.query_drop("INSERT INTO t VALUES (7)").await.unwrap();
    // Longer than any machine dawdles.
    ocean.line.set_round_trip(Duration::from_secs(3));
    let start = Instant::now();
    assert!(a.reset().await.unwrap());
    assert!(start.elapsed() < Duration::from_secs(2));
    ocean.line.set_round_trip(*ROUND_TRIP);
    a.query_drop(insert).await.unwrap();
    let rows = column(writer, "SELECT CAST(a AS CHAR) FROM trips_reset.t").await;
    assert_eq!(rows, ["0", "0", "0"]);
}

isthmus_tests::on_both! {
    a_ping_and_the_close_of_a_statement_are_free
    a_reset_is_not_waited_for
}
