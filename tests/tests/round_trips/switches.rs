//! Each kind of saved trip can be had back: then it is made, as on a direct connection, and the
//! answers are the same.

use std::time::{Duration, Instant};

use isthmus_tests::rig::http;
use isthmus_tests::{Flavor, Stage, connect, set, shared_stage};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Statement};

use crate::{Ocean, ROUND_TRIP, column, figure, reads_next_door};

/// All of them.
const ALL: [&str; 7] = [
    "state",
    "first_execution",
    "begin",
    "savepoints",
    "empty_transactions",
    "rollback",
    "prepare",
];

/// The same as the figures call them.
const KINDS: [&str; 7] = [
    "state",
    "first_execution",
    "begin",
    "savepoint",
    "empty_transaction",
    "rollback",
    "prepare",
];

/// A proxy without these.
async fn without(stage: &Stage, switches: &[&str]) -> Ocean {
    Ocean::with(stage, |config| {
        set(config, "pool.max_connections", 1);
        for switch in switches {
            set(config, &format!("round_trips.{switch}"), false);
        }
    })
    .await
}

/// A new schema with a table `t`.
async fn table(stage: &Stage, schema: &str) {
    stage.schema(schema).await;
    let table = format!("CREATE TABLE {schema}.t (a INT)");
    stage.lab.writer().execute(table).await.unwrap();
    stage.caught_up().await;
}

async fn each_deferral_can_be_switched_off(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    table(stage, "trips_off").await;
    let day = [
        "BEGIN",
        "SAVEPOINT a",
        "INSERT INTO t VALUES (1)",
        "RELEASE SAVEPOINT a",
        "COMMIT",
        "BEGIN",
        "COMMIT",
    ];
    let cases = [
        ("begin", [1, 0, 1, 0, 1, 1, 1]),
        ("savepoints", [0, 1, 1, 1, 1, 0, 0]),
        ("empty_transactions", [0, 0, 1, 0, 1, 0, 1]),
    ];
    for (switch, trips) in cases {
        let ocean = without(stage, &[switch]).await;
        let mut a = ocean.connect(Some("trips_off")).await;
        a.query_drop("DELETE FROM t").await.unwrap();
        for (sql, trips) in day.iter().zip(trips) {
            ocean.expect(&mut a, sql, trips).await;
        }
    }
}

async fn a_rollback_can_be_waited_for(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    table(stage, "trips_off_rollback").await;
    for (switches, is_waited_for) in [(&[][..], false), (&["rollback"][..], true)] {
        let ocean = without(stage, switches).await;
        let mut a = ocean.connect(Some("trips_off_rollback")).await;
        a.query_drop("BEGIN").await.unwrap();
        a.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
        // Longer than any machine dawdles.
        ocean.line.set_round_trip(Duration::from_secs(3));
        let start = Instant::now();
        a.query_drop("ROLLBACK").await.unwrap();
        let was_waited_for = start.elapsed() > Duration::from_secs(2);
        assert_eq!(was_waited_for, is_waited_for, "without {switches:?}");
        ocean.line.set_round_trip(*ROUND_TRIP);
        a.query_drop("UPDATE t SET a = 2").await.unwrap();
        let rows = column(
            stage.lab.writer(),
            "SELECT CAST(a AS CHAR) FROM trips_off_rollback.t",
        );
        assert_eq!(rows.await, [""; 0], "without {switches:?}");
    }
}

async fn a_write_can_be_prepared_by_the_writer(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    table(stage, "trips_off_prepare").await;
    // What it costs to prepare, to execute for the first time, and once more.
    let cases = [
        (&[][..], [0, 1, 1]),
        (&["prepare"], [1, 1, 1]),
        (&["first_execution"], [0, 2, 1]),
        (&["prepare", "first_execution"], [1, 1, 1]),
    ];
    for (switches, expected) in cases {
        let ocean = without(stage, switches).await;
        let mut a = ocean.connect(Some("trips_off_prepare")).await;
        a.query_drop("DELETE FROM t").await.unwrap();
        reads_next_door(&mut a).await;
        let insert = "INSERT INTO t VALUES (?)";
        let (statement, prepared) = ocean.cost(async || a.prep(insert).await).await;
        let statement: Statement = statement.unwrap();
        let mut trips = vec![prepared];
        for value in [1, 2] {
            let (result, executed) = ocean
                .cost(async || a.exec_drop(&statement, (value,)).await)
                .await;
            result.unwrap();
            trips.push(executed);
        }
        assert_eq!(trips, expected, "without {switches:?}");
        let rows = column(
            stage.lab.writer(),
            "SELECT CAST(a AS CHAR) FROM trips_off_prepare.t ORDER BY a",
        );
        assert_eq!(rows.await, ["1", "2"], "without {switches:?}");
    }
}

/// What costs a direct connection a trip costs one here too.
async fn without_any_it_is_as_far_as_directly(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    table(stage, "trips_off_all").await;
    let ocean = without(stage, &ALL).await;
    let address = ocean.line.address();
    let mut direct = connect(address, |options| options.db_name(Some("trips_off_all"))).await;
    let mut proxied = ocean.connect(Some("trips_off_all")).await;
    proxied.query_drop("DELETE FROM t").await.unwrap();
    let day = [
        "BEGIN",
        "INSERT INTO t VALUES (1)",
        "SAVEPOINT a",
        "INSERT INTO t VALUES (2)",
        "RELEASE SAVEPOINT a",
        "SELECT * FROM t FOR UPDATE",
        "COMMIT",
        "START TRANSACTION",
        "SAVEPOINT a",
        "INSERT INTO t VALUES (3)",
        "ROLLBACK TO SAVEPOINT a",
        "ROLLBACK",
        "BEGIN",
        "COMMIT",
        "BEGIN",
        "ROLLBACK",
        "BEGIN; INSERT INTO t VALUES (4)",
        "COMMIT",
    ];
    let mut costs = Vec::new();
    for sql in day {
        let (result, trips) = ocean.cost(async || direct.query_drop(sql).await).await;
        result.unwrap();
        costs.push(trips);
    }
    for (sql, trips) in day.iter().zip(costs) {
        ocean.expect(&mut proxied, sql, trips).await;
    }
    let mut trips = Vec::new();
    for session in [&mut direct, &mut proxied] {
        let insert = "INSERT INTO t VALUES (5)";
        let (statement, prepared) = ocean.cost(async || session.prep(insert).await).await;
        let statement = statement.unwrap();
        let (result, executed) = ocean
            .cost(async || session.exec_drop(&statement, ()).await)
            .await;
        result.unwrap();
        trips.push([prepared, executed]);
    }
    assert_eq!(trips, [[1, 1], [1, 1]]);
    let rows = "SELECT CAST(a AS CHAR) FROM trips_off_all.t ORDER BY a";
    let rows = column(stage.lab.writer(), rows).await;
    assert_eq!(rows, ["1", "1", "2", "2", "4", "4", "5", "5"]);
}

async fn each_kind_of_saved_trip_is_counted(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    table(stage, "trips_kinds").await;
    let ocean = without(stage, &[]).await;
    let mut a = ocean.connect(Some("trips_kinds")).await;
    a.query_drop("DELETE FROM t").await.unwrap();
    reads_next_door(&mut a).await;
    let saved = async |a: &mut Conn, kind: &str| {
        let name = format!("isthmus_round_trips_saved_total{{by=\"{kind}\"}}");
        figure(a, &name).await
    };
    for (sql, kind) in [
        ("BEGIN", "begin"),
        ("SAVEPOINT a", "savepoint"),
        ("RELEASE SAVEPOINT a", "savepoint"),
        ("COMMIT", "empty_transaction"),
        ("ROLLBACK", "empty_transaction"),
        ("SET time_zone = '+03:00'", ""),
        ("INSERT INTO t VALUES (1)", "state"),
        ("INSERT INTO t VALUES (2)", ""),
        ("START TRANSACTION", "begin"),
        ("INSERT INTO t VALUES (3)", ""),
        ("ROLLBACK", "rollback"),
    ] {
        let mut before = Vec::new();
        for known in KINDS {
            before.push(saved(&mut a, known).await);
        }
        a.query_drop(sql).await.unwrap();
        for (known, before) in KINDS.iter().zip(before) {
            let more = saved(&mut a, known).await - before;
            let expected = f64::from(u8::from(*known == kind));
            assert_eq!(more, expected, "{known} by {sql}");
        }
    }
    let insert = a.prep("INSERT INTO t VALUES (?)").await.unwrap();
    assert_eq!(saved(&mut a, "prepare").await, 1.0);
    for value in [4, 5] {
        a.exec_drop(&insert, (value,)).await.unwrap();
        assert_eq!(saved(&mut a, "first_execution").await, 1.0);
    }
}

async fn saved_trips_are_counted_and_can_be_had_back(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    table(stage, "trips_counted").await;
    stage.schema("trips_counted_2").await;
    for is_on in [true, false] {
        let ocean = without(stage, if is_on { &[] } else { &["state"] }).await;
        let mut a = ocean.connect(Some("trips_counted")).await;
        let mut other = ocean.connect(Some("trips_counted_2")).await;
        a.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
        other
            .query_drop("INSERT INTO trips_counted.t VALUES (2)")
            .await
            .unwrap();
        let by_state = "isthmus_round_trips_saved_total{by=\"state\"}";
        let before = figure(&mut a, by_state).await;
        let trips = if is_on { 1 } else { 2 };
        ocean
            .expect(&mut a, "INSERT INTO t VALUES (3)", trips)
            .await;
        let saved = figure(&mut a, by_state).await - before;
        assert_eq!(saved, if is_on { 1.0 } else { 0.0 });
        let name = "isthmus_round_trips_saved_seconds_total";
        let seconds = figure(&mut a, name).await;
        assert_eq!(seconds >= ROUND_TRIP.as_secs_f64(), is_on, "{seconds}");
        let (_, metrics) = http(ocean.proxy.admin_address(), "GET", "/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        assert_eq!(line.unwrap().trim().parse::<f64>().unwrap(), seconds);
    }
}

isthmus_tests::on_both! {
    each_deferral_can_be_switched_off
    a_rollback_can_be_waited_for
    a_write_can_be_prepared_by_the_writer
    without_any_it_is_as_far_as_directly
    each_kind_of_saved_trip_is_counted
    saved_trips_are_counted_and_can_be_had_back
}
