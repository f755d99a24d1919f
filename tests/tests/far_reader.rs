//! A reader that is some way off itself: a read that waits for it travels there with its wait. What
//! comes too early is not shown, and the writer answers.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use isthmus_lab::{Flavor, Options};
use isthmus_tests::on_both;
use isthmus_tests::rig::{Rig, WHERE, code, dedicated, until};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

on_both! {
    a_wait_travels_with_its_read
    what_comes_too_early_is_not_shown
    what_comes_too_late_is_not_shown
}

const READ: &str = "SELECT n, name FROM t, sign.post WHERE id = 1";
type Shown = Option<(u32, String)>;

/// A row with 0 in it, and a session that knows of no more and reads from the reader.
async fn start(flavor: Flavor, max_wait: &str) -> (Rig, Conn) {
    let options = Options {
        flavor,
        ..Options::default()
    };
    let overlay = format!("[consistency]\non_stale = \"wait\"\nmax_wait = \"{max_wait}\"");
    let rig = Rig::start_on(dedicated(options).await, &overlay).await;
    rig.prepare_data(&[
        "CREATE TABLE t (id INT PRIMARY KEY, n INT)",
        "INSERT INTO t VALUES (1, 0)",
    ])
    .await;
    rig.reader.set_round_trip(Duration::from_millis(20));
    let mut conn = rig.connect().await;
    until(
        "reads go to the reader, and it is known to be far",
        async || {
            let columns = "SHOW ISTHMUS TOPOLOGY";
            let rows: Vec<mysql_async::Row> = conn.query(columns).await.unwrap();
            let is_far = rows.iter().any(|row| {
                row.get::<String, _>("role").unwrap() == "reader"
                    && row.get::<Option<f64>, _>("round_trip_seconds").flatten() > Some(0.015)
            });
            is_far && place(&mut conn).await == "reader"
        },
    )
    .await;
    (rig, conn)
}

async fn place(conn: &mut Conn) -> String {
    conn.query_first(WHERE).await.unwrap().unwrap()
}

/// Whether a connection of the session's user waits on the reader.
async fn is_waiting(rig: &Rig) -> bool {
    let processes = rig.processes(rig.lab.reader()).await;
    let mut running = processes.iter().flatten();
    running.any(|statement| statement.contains("_GTID_"))
}

async fn a_wait_travels_with_its_read(flavor: Flavor) {
    let (rig, mut conn) = start(flavor, "20s").await;
    for n in 1..5 {
        rig.lab.stop_replication().await.unwrap();
        let update = format!("UPDATE t SET n = {n} WHERE id = 1");
        conn.query_drop(update).await.unwrap();
        let is_prepared = n % 2 == 0;
        let reading = tokio::spawn(async move {
            let shown: Shown = if is_prepared {
                conn.exec_first(READ, ()).await.unwrap()
            } else {
                conn.query_first(READ).await.unwrap()
            };
            let counts: Option<(i64, i64, i64)> = conn
                .query_first("SELECT FOUND_ROWS(), ROW_COUNT(), @@warning_count")
                .await
                .unwrap();
            (conn, shown, counts)
        });
        until("the reader waits", async || is_waiting(&rig).await).await;
        rig.lab.start_replication().await.unwrap();
        let (returned, shown, counts) = reading.await.unwrap();
        conn = returned;
        assert_eq!(shown, Some((n, "reader".to_owned())));
        // Of the read, and not of the wait.
        assert_eq!(counts, Some((1, -1, 0)));
    }
}

async fn what_comes_too_early_is_not_shown(flavor: Flavor) {
    let (rig, mut conn) = start(flavor, "300ms").await;
    // Settings that change how a wait is answered.
    conn.query_drop("SET sql_select_limit = 5, sql_mode = 'ANSI_QUOTES'")
        .await
        .unwrap();
    rig.lab.stop_replication().await.unwrap();
    for (n, charset) in (1..4).zip(["utf16", "ucs2", "utf32"]) {
        let update = format!("UPDATE t SET n = {n} WHERE id = 1");
        conn.query_drop(update).await.unwrap();
        let shown: Shown = conn.query_first(READ).await.unwrap();
        assert_eq!(shown, Some((n, "writer".to_owned())));
        // In which the wait is for something else, unless it says how it is written.
        conn.query_drop(format!("SET character_set_connection = {charset}"))
            .await
            .unwrap();
        conn.query_drop(format!("UPDATE t SET n = {n} + 10 WHERE id = 1"))
            .await
            .unwrap();
        let shown: Shown = conn.query_first(READ).await.unwrap();
        assert_eq!(shown, Some((n + 10, "writer".to_owned())), "{charset}");
    }
    rig.lab.start_replication().await.unwrap();
    // Nothing that was not shown is left on a connection.
    until("the reader answers again", async || {
        let shown: Shown = conn.query_first(READ).await.unwrap();
        let (n, name) = shown.unwrap();
        assert_eq!(n, 13);
        name == "reader"
    })
    .await;
}

/// The reader hangs for longer than it was to wait, and answers then what nobody asks any more.
async fn what_comes_too_late_is_not_shown(flavor: Flavor) {
    let (rig, mut conn) = start(flavor, "300ms").await;
    let reader = rig.lab.reader();
    reader.pause().await.unwrap();
    conn.query_drop("UPDATE t SET n = 1 WHERE id = 1")
        .await
        .unwrap();
    let shown: Shown = conn.query_first(READ).await.unwrap();
    assert_eq!(shown, Some((1, "writer".to_owned())));
    reader.resume().unwrap();
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(rig.connect().await);
    }
    let mut number = 100;
    until("the reader answers again", async || {
        let mut places = Vec::new();
        for conn in others.iter_mut().chain([&mut conn]) {
            number += 1;
            let query = format!("SELECT {number}, name FROM sign.post");
            let (shown, name) = conn
                .query_first::<(u32, String), _>(query)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(shown, number);
            places.push(name);
        }
        places.iter().all(|place| place == "reader")
    })
    .await;
}

/// GTIDs that a session happens to know say nothing where the configuration goes by something else.
#[tokio::test]
async fn nothing_waits_for_gtids_where_they_do_not_count() {
    let (rig, mut conn) = start(Flavor::Mysql, "300ms").await;
    let by_promise = "[consistency]\nsource = \"fixed\"\nfixed_lag = \"10m\"";
    let blueprint = rig.blueprint.clone().with(by_promise);
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    // By a connection that is at hand then.
    until("the reader answers", async || {
        place(&mut conn).await == "reader"
    })
    .await;
    conn.query_drop("UPDATE t SET n = 1 WHERE id = 1")
        .await
        .unwrap();
    let shown: Shown = conn.query_first(READ).await.unwrap();
    assert_eq!(shown, Some((1, "writer".to_owned())));
}

#[tokio::test]
async fn a_wait_is_killed_with_its_read() {
    let (rig, mut conn) = start(Flavor::Mysql, "60s").await;
    let id: u64 = conn
        .query_first("SELECT CONNECTION_ID()")
        .await
        .unwrap()
        .unwrap();
    rig.lab.stop_replication().await.unwrap();
    conn.query_drop("UPDATE t SET n = 1 WHERE id = 1")
        .await
        .unwrap();
    let start = Instant::now();
    let reading = tokio::spawn(async move { conn.query_first::<(u32, String), _>(READ).await });
    until("the reader waits", async || is_waiting(&rig).await).await;
    let mut other = rig.connect().await;
    other.query_drop(format!("KILL QUERY {id}")).await.unwrap();
    assert_eq!(code(reading.await.unwrap()), 1317);
    assert!(start.elapsed() < Duration::from_secs(30));
}
