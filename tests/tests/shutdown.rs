//! SIGTERM: nobody new, transactions and answers under way are finished, everybody else hears
//! 1053; and there is an end to the patience.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use isthmus_lab::{Flavor, Signal};
use isthmus_protocol::packet;
use isthmus_tests::rig::{PATIENCE, Rig, until};
use isthmus_tests::wire::{Answer, Client, query_payload};
use mysql_async::prelude::Queryable;
use tokio::net::TcpStream;

/// A deadline that no test here waits for.
const FAR: &str = "[timeouts]\nshutdown = \"60s\"";

/// Reads the farewell, which nobody asked for, and the end of the connection.
async fn hears_1053(client: &mut Client) {
    let Answer::Err(refusal) = client.answer().await.unwrap() else {
        panic!("no error")
    };
    assert_eq!(
        (refusal.code, refusal.sequence),
        (1053, 0),
        "{}",
        refusal.message
    );
    client.closed().await.unwrap();
}

async fn ends(rig: &Rig) {
    until("the proxy ends", async || rig.proxy.ended().is_some()).await;
    assert!(
        rig.proxy.ended().unwrap().success(),
        "{:?}",
        rig.proxy.ended()
    );
}

async fn refuses(rig: &Rig) {
    until("nobody is accepted", async || {
        TcpStream::connect(rig.proxy.address()).await.is_err()
    })
    .await;
}

async fn a_transaction_is_finished(flavor: Flavor) {
    let rig = Rig::start(flavor, FAR).await;
    rig.prepare_data(&["CREATE TABLE t (id INT)"]).await;
    let mut idle = rig.wire().await;
    let mut used = rig.wire().await;
    used.query("SET time_zone = '+01:00'")
        .await
        .unwrap()
        .expect_ok();
    used.query("SELECT * FROM t").await.unwrap().expect_ok();
    let mut driver = rig.connect().await;
    let mut writing = rig.wire().await;
    let mut reading = rig.wire().await;
    let mut begun = rig.wire().await;
    begun.query("BEGIN").await.unwrap().expect_ok();
    for statement in ["BEGIN", "INSERT INTO t VALUES (1)"] {
        writing.query(statement).await.unwrap().expect_ok();
    }
    for statement in ["START TRANSACTION READ ONLY", "SELECT * FROM t"] {
        reading.query(statement).await.unwrap().expect_ok();
    }

    // Half of a command inside a transaction: the other half comes later.
    let mut insert = Vec::new();
    packet::put(&mut insert, 0, &query_payload("INSERT INTO t VALUES (3)"));
    begun.send_raw(&insert[..15]).await.unwrap();

    rig.proxy.signal(Signal::TERM).unwrap();
    hears_1053(&mut idle).await;
    hears_1053(&mut used).await;
    let farewell = driver.query_drop("SELECT 1").await;
    match farewell {
        // Which of the two a driver makes of it is a matter of time.
        Err(mysql_async::Error::Server(error)) => assert_eq!(error.code, 1053),
        Err(mysql_async::Error::Io(_) | mysql_async::Error::Driver(_)) => {}
        other => panic!("{other:?}"),
    }
    refuses(&rig).await;
    assert!(
        rig.proxy.ended().is_none(),
        "it did not wait for the transactions"
    );

    writing
        .query("INSERT INTO t VALUES (2)")
        .await
        .unwrap()
        .expect_ok();
    assert_eq!(
        writing
            .query("SELECT COUNT(*) FROM t")
            .await
            .unwrap()
            .value(),
        "2"
    );
    writing.query("COMMIT").await.unwrap().expect_ok();
    hears_1053(&mut writing).await;
    reading
        .query("SELECT COUNT(*) FROM t")
        .await
        .unwrap()
        .expect_ok();
    reading.query("COMMIT").await.unwrap().expect_ok();
    hears_1053(&mut reading).await;
    begun.send_raw(&insert[15..]).await.unwrap();
    begun.answer().await.unwrap().expect_ok();
    begun.query("ROLLBACK").await.unwrap().expect_ok();
    hears_1053(&mut begun).await;
    ends(&rig).await;
    let mut direct = rig.direct_writer().await;
    let ids: Vec<u32> = direct.query("SELECT id FROM t ORDER BY id").await.unwrap();
    assert_eq!(ids, [1, 2]);
}

#[tokio::test]
async fn a_transaction_is_finished_on_mysql() {
    a_transaction_is_finished(Flavor::Mysql).await;
}

#[tokio::test]
async fn a_transaction_is_finished_on_mariadb() {
    a_transaction_is_finished(Flavor::Mariadb).await;
}

#[tokio::test]
async fn what_runs_is_finished() {
    let rig = Rig::start(Flavor::Mysql, FAR).await;
    rig.prepare_data(&[
        "CREATE TABLE t (id INT)",
        "CREATE TABLE loaded (line VARCHAR(20))",
    ])
    .await;
    // A statement that takes its time.
    let mut slow = rig.wire().await;
    slow.send(
        0,
        &query_payload("/* isthmus:writer */ SELECT SLEEP(1.5) + 7"),
    )
    .await
    .unwrap();
    // A large result, of which nearly nothing is read yet: 64 MB.
    const ROWS: usize = 64;
    let mut large = rig.wire().await;
    let statement = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 64) SELECT REPEAT('x', 1000000) FROM n";
    large.send(0, &query_payload(statement)).await.unwrap();
    // The column count, as a sign that it has begun.
    assert_eq!(large.receive().await.unwrap().payload, [1]);
    // An upload that has begun.
    let mut upload = rig.wire().await;
    upload
        .send(
            0,
            &query_payload("LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded"),
        )
        .await
        .unwrap();
    let asked = upload.receive().await.unwrap();
    assert_eq!(asked.payload[0], 0xFB);
    until("all of them run", async || {
        rig.processes(rig.lab.writer())
            .await
            .into_iter()
            .flatten()
            .any(|sql| sql.contains("SLEEP"))
    })
    .await;

    rig.proxy.signal(Signal::TERM).unwrap();
    refuses(&rig).await;
    assert_eq!(slow.answer().await.unwrap().value(), "7");
    hears_1053(&mut slow).await;

    upload
        .send(asked.sequence + 1, b"one\ntwo\n")
        .await
        .unwrap();
    upload.send(asked.sequence + 2, b"").await.unwrap();
    upload.answer().await.unwrap().expect_ok();
    hears_1053(&mut upload).await;

    large.receive().await.unwrap();
    for row in 0..ROWS {
        let packet = large.receive().await.unwrap();
        assert_eq!(
            packet.payload.len(),
            1_000_000 + packet::HEADER_LEN,
            "row {row}"
        );
    }
    assert_eq!(large.receive().await.unwrap().payload[0], 0xFE);
    hears_1053(&mut large).await;
    ends(&rig).await;
    let mut direct = rig.direct_writer().await;
    assert_eq!(
        direct
            .query_first::<u32, _>("SELECT COUNT(*) FROM loaded")
            .await
            .unwrap(),
        Some(2)
    );
}

#[tokio::test]
async fn patience_has_an_end() {
    let rig = Rig::start(Flavor::Mysql, "[timeouts]\nshutdown = \"1s\"").await;
    rig.prepare_data(&["CREATE TABLE t (id INT)"]).await;
    let mut open = rig.wire().await;
    for statement in ["BEGIN", "INSERT INTO t VALUES (1)"] {
        open.query(statement).await.unwrap().expect_ok();
    }
    let mut running = rig.wire().await;
    running
        .send(0, &query_payload("/* isthmus:writer */ SELECT SLEEP(50)"))
        .await
        .unwrap();
    // A result that nobody reads.
    let mut stuck = rig.wire().await;
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT REPEAT('x', 1000000) FROM n";
    stuck.send(0, &query_payload(endless)).await.unwrap();
    stuck.receive().await.unwrap();
    until("the statement runs", async || {
        rig.processes(rig.lab.writer())
            .await
            .into_iter()
            .flatten()
            .any(|sql| sql.contains("SLEEP"))
    })
    .await;
    let start = Instant::now();
    rig.proxy.signal(Signal::TERM).unwrap();
    hears_1053(&mut open).await;
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(900),
        "it ended the transaction after {took:?}"
    );
    ends(&rig).await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "it ended after {took:?}");
    let mut direct = rig.direct_writer().await;
    assert_eq!(
        direct
            .query_first::<u32, _>("SELECT COUNT(*) FROM t")
            .await
            .unwrap(),
        Some(0)
    );
}

#[tokio::test]
async fn a_second_signal_is_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let rig = Rig::start(Flavor::Mysql, FAR).await;
        let mut open = rig.wire().await;
        open.query("BEGIN").await.unwrap().expect_ok();
        open.query("CREATE TEMPORARY TABLE x (id INT)")
            .await
            .unwrap()
            .expect_ok();
        open.query("INSERT INTO x VALUES (1)")
            .await
            .unwrap()
            .expect_ok();
        rig.proxy.signal(signal).unwrap();
        refuses(&rig).await;
        open.query("INSERT INTO x VALUES (2)")
            .await
            .unwrap()
            .expect_ok();
        assert!(rig.proxy.ended().is_none());
        let start = Instant::now();
        rig.proxy.signal(signal).unwrap();
        until("the proxy ends", async || rig.proxy.ended().is_some()).await;
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "after {:?}",
            start.elapsed()
        );
        open.closed().await.unwrap();
    }
}

/// Somebody who never logs in holds up nobody; what has no transaction open, neither.
#[tokio::test]
async fn strangers_are_not_waited_for() {
    let rig = Rig::start(Flavor::Mysql, FAR).await;
    let _stranger = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    let mut half = rig.wire().await;
    half.send_raw(&[50, 0, 0]).await.unwrap();
    let start = Instant::now();
    rig.proxy.signal(Signal::TERM).unwrap();
    until("the proxy ends", async || {
        rig.proxy.ended().is_some() || start.elapsed() > PATIENCE / 2
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "it waited for a stranger"
    );
}
