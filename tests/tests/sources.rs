//! How it is known what a reader has seen: what `auto` chooses, the heartbeat table from `isthmus
//! setup` to its loss, and what the estimate of `fastest` leads to.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_lab::{Flavor, Lab, Options};
use isthmus_tests::rig::{Rig, WHERE, dedicated, setup, until};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

/// What SHOW ISTHMUS TOPOLOGY says of the reader.
async fn reader_facts(conn: &mut Conn) -> Row {
    let rows: Vec<Row> = conn.query("SHOW ISTHMUS TOPOLOGY").await.unwrap();
    let mut rows = rows.into_iter();
    rows.find(|row| row.get::<String, _>("name").unwrap() == "virginia")
        .unwrap()
}

async fn source(conn: &mut Conn) -> Option<(String, String)> {
    let row = reader_facts(conn).await;
    let source = row.get::<Option<String>, _>("source").unwrap();
    source.zip(row.get::<Option<String>, _>("source_reason").unwrap())
}

async fn chosen(conn: &mut Conn) -> (String, String) {
    until("the source is chosen", async || {
        source(conn).await.is_some()
    })
    .await;
    source(conn).await.unwrap()
}

async fn place(conn: &mut Conn) -> String {
    conn.query_first(WHERE).await.unwrap().unwrap()
}

async fn back_on_the_reader(conn: &mut Conn) {
    until("reads are back on the reader", async || {
        place(conn).await == "reader"
    })
    .await;
}

/// How many times the proxies have written to the heartbeat table.
async fn beats(lab: &Lab) -> u64 {
    let sum = "SELECT CAST(IFNULL(SUM(number), 0) AS UNSIGNED) FROM isthmus.heartbeat";
    lab.writer().query_value(sum).await.unwrap().unwrap()
}

async fn without_gtids() -> Arc<Lab> {
    dedicated(Options {
        gtids: false,
        ..Options::default()
    })
    .await
}

#[tokio::test]
async fn a_heartbeat_does_without_gtids() {
    let lab = without_gtids().await;
    let overlay = "[consistency]\non_stale = \"writer\"\nfixed_lag = \"30s\"";
    let rig = Rig::start_on(lab.clone(), overlay).await;
    rig.prepare_data(&["CREATE TABLE r (id INT PRIMARY KEY, n INT)"])
        .await;
    let mut conn = rig.connect().await;
    let (source, reason) = chosen(&mut conn).await;
    assert_eq!(source, "fixed", "{reason}");
    rig.proxy.logged("isthmus setup").await.unwrap();

    // The monitoring user may not make it, and is told what to do.
    let refused = setup(rig.proxy.config(), &[]);
    assert!(!refused.status.success());
    let message = String::from_utf8(refused.stderr).unwrap();
    for part in ["CREATE TABLE IF NOT EXISTS", "GRANT SELECT, INSERT"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    rig.set_up_heartbeat().await;
    rig.set_up_heartbeat().await;

    let rig = Rig::start_on(lab.clone(), overlay).await;
    rig.prepare_data(&["CREATE TABLE r (id INT PRIMARY KEY, n INT)"])
        .await;
    let mut conn = rig.connect().await;
    let (source, reason) = chosen(&mut conn).await;
    assert_eq!(source, "heartbeat", "{reason}");
    assert!(reason.contains("tokyo"), "{reason}");

    lab.stop_replication().await.unwrap();
    conn.query_drop("INSERT INTO r VALUES (1, 1)")
        .await
        .unwrap();
    assert_eq!(place(&mut conn).await, "writer");
    // Another session has written nothing and does not pay.
    assert_eq!(place(&mut rig.connect().await).await, "reader");
    lab.start_replication().await.unwrap();
    back_on_the_reader(&mut conn).await;
    let n: Option<u32> = conn.query_first("SELECT n FROM r").await.unwrap();
    assert_eq!(n, Some(1));

    // Nobody waits for anything, so nothing is written.
    let before = beats(&lab).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(place(&mut conn).await, "reader");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(beats(&lab).await, before);
}

#[tokio::test]
async fn many_sessions_share_a_heartbeat() {
    let lab = without_gtids().await;
    let rig = Rig::start_on(lab.clone(), "[consistency]\non_stale = \"writer\"").await;
    rig.set_up_heartbeat().await;
    let rig = Rig::start_on(lab.clone(), "[consistency]\non_stale = \"writer\"").await;
    rig.prepare_data(&["CREATE TABLE r (id INT PRIMARY KEY, n INT)"])
        .await;
    assert_eq!(chosen(&mut rig.connect().await).await.0, "heartbeat");
    rig.writer
        .set_delays(Duration::from_millis(100), Duration::from_millis(100));
    let before = beats(&lab).await;
    let start = Instant::now();
    let mut tasks = Vec::new();
    for id in 0..50 {
        let mut conn = rig.connect().await;
        tasks.push(tokio::spawn(async move {
            for n in 0..4 {
                let insert = format!("REPLACE INTO r VALUES ({id}, {n})");
                conn.query_drop(insert).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // One at a time, and each takes a round trip.
    let limit = start.elapsed().as_millis() / 200 + 2;
    let written = beats(&lab).await - before;
    assert!(
        u128::from(written) <= limit,
        "{written} heartbeats for 200 writes, not {limit}"
    );
}

#[tokio::test]
async fn rows_of_proxies_that_are_gone_are_removed() {
    let lab = without_gtids().await;
    let rig = Rig::start_on(lab.clone(), "").await;
    rig.set_up_heartbeat().await;
    lab.writer()
        .execute(
            "INSERT INTO isthmus.heartbeat VALUES ('gone', 1, UTC_TIMESTAMP() - INTERVAL 25 HOUR), \
             ('idle', 1, UTC_TIMESTAMP() - INTERVAL 23 HOUR)",
        )
        .await
        .unwrap();
    let rig = Rig::start_on(lab.clone(), "[consistency]\nsource = \"heartbeat\"").await;
    rig.prepare_data(&["CREATE TABLE r (id INT PRIMARY KEY, n INT)"])
        .await;
    let mut conn = rig.connect().await;
    conn.query_drop("INSERT INTO r VALUES (1, 1)")
        .await
        .unwrap();
    until("only what is gone has been removed", async || {
        let known = "SELECT proxy FROM isthmus.heartbeat WHERE proxy IN ('gone', 'idle')";
        let known: Vec<String> = lab.writer().query(known).await.unwrap();
        known == ["idle"]
    })
    .await;
}

#[tokio::test]
async fn without_its_table_a_heartbeat_proves_nothing() {
    let lab = dedicated(Options::default()).await;
    let overlay = "[consistency]\nsource = \"heartbeat\"\non_stale = \"writer\"";
    let rig = Rig::start_on(lab.clone(), overlay).await;
    rig.set_up_heartbeat().await;
    rig.prepare_data(&["CREATE TABLE r (id INT PRIMARY KEY, n INT)"])
        .await;
    let mut conn = rig.connect().await;
    conn.query_drop("INSERT INTO r VALUES (1, 1)")
        .await
        .unwrap();
    back_on_the_reader(&mut conn).await;

    lab.writer()
        .execute("DROP TABLE isthmus.heartbeat")
        .await
        .unwrap();
    lab.wait_caught_up().await.unwrap();
    conn.query_drop("INSERT INTO r VALUES (2, 2)")
        .await
        .unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        assert_eq!(place(&mut conn).await, "writer");
    }
    assert_eq!(place(&mut rig.connect().await).await, "reader");
    rig.set_up_heartbeat().await;
    back_on_the_reader(&mut conn).await;
}

/// Inserts and reads at once, `count` times; how long the reads took together, and how many of
/// them the reader has answered.
async fn read_after_writes(conn: &mut Conn, count: u32) -> (Duration, u32) {
    let (mut time, mut from_reader) = (Duration::ZERO, 0);
    for n in 0..count {
        conn.query_drop(format!("REPLACE INTO r VALUES (1, {n})"))
            .await
            .unwrap();
        let start = Instant::now();
        from_reader += u32::from(place(conn).await == "reader");
        time += start.elapsed();
    }
    (time, from_reader)
}

#[tokio::test]
async fn the_quicker_way_is_taken() {
    const COUNT: u32 = 10;
    let lab = dedicated(Options::default()).await;
    let rig = Rig::start_on(lab.clone(), "[monitor]\ninterval = \"50ms\"").await;
    rig.prepare_data(&["CREATE TABLE r (id INT PRIMARY KEY, n INT)"])
        .await;
    let mut conn = rig.connect().await;

    // An ocean, and replication that is there before the writer's answer or soon after.
    rig.writer
        .set_delays(Duration::from_millis(200), Duration::from_millis(200));
    until("the distance is known", async || {
        let rows: Vec<Row> = conn.query("SHOW ISTHMUS TOPOLOGY").await.unwrap();
        rows[0].get::<Option<f64>, _>("round_trip_seconds").unwrap() > Some(0.35)
    })
    .await;
    lab.delay_replication(Duration::from_millis(250))
        .await
        .unwrap();
    let (time, from_reader) = read_after_writes(&mut conn, COUNT).await;
    // Most of them: a busy machine makes some waits longer than they were expected to be.
    assert!(from_reader > COUNT / 2, "{from_reader} from the reader");
    assert!(time < COUNT * Duration::from_millis(400), "{time:?}");
    let facts = reader_facts(&mut conn).await;
    let catch_up: Option<f64> = facts.get("catch_up_seconds").unwrap();
    assert!(
        catch_up > Some(0.01) && catch_up < Some(1.0),
        "{catch_up:?}"
    );
    assert!(facts.get::<u64, _>("guesses").unwrap() > 0);

    // No ocean, and replication that takes its time: after some experience it is not waited for.
    rig.writer.set_delays(Duration::ZERO, Duration::ZERO);
    lab.delay_replication(Duration::from_secs(1)).await.unwrap();
    until("the distance is known", async || {
        let rows: Vec<Row> = conn.query("SHOW ISTHMUS TOPOLOGY").await.unwrap();
        rows[0].get::<Option<f64>, _>("round_trip_seconds").unwrap() < Some(0.1)
    })
    .await;
    let (time, from_reader) = read_after_writes(&mut conn, COUNT).await;
    assert!(from_reader <= 1, "{from_reader} from the reader");
    assert!(time < COUNT * Duration::from_millis(300), "{time:?}");
}

#[tokio::test]
async fn what_others_read_on_the_writer_holds_nobody_up() {
    const COUNT: u32 = 10;
    for flavor in [Flavor::Mysql, Flavor::Mariadb] {
        let rig = Rig::start(flavor, "[consistency]\non_stale = \"wait\"").await;
        rig.prepare_data(&["CREATE TABLE r (id INT PRIMARY KEY, n INT)"])
            .await;
        let mut conn = rig.connect().await;
        read_after_writes(&mut conn, 1).await;
        let ocean = Duration::from_millis(200);
        rig.writer.set_delays(ocean, ocean);
        // Each of these raises a mark, which the writer has to be asked about.
        let mut others = Vec::new();
        for _ in 0..5 {
            let mut conn = rig.connect().await;
            others.push(tokio::spawn(async move {
                let there = format!("/* isthmus:writer */ {WHERE}");
                while conn.query_drop(&there).await.is_ok() {}
            }));
        }
        let (time, from_reader) = read_after_writes(&mut conn, COUNT).await;
        for other in others {
            other.abort();
        }
        assert_eq!(from_reader, COUNT, "{flavor}");
        // A question to the writer takes longer than that.
        assert!(time < COUNT * Duration::from_millis(250), "{time:?}");
    }
}

#[tokio::test]
async fn gtids_are_the_first_choice() {
    for flavor in [Flavor::Mysql, Flavor::Mariadb] {
        let rig = Rig::start(flavor, "").await;
        let (source, reason) = chosen(&mut rig.connect().await).await;
        assert_eq!(source, "gtid", "{reason}");
    }
}
