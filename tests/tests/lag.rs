//! Readers that are behind: `max_lag`, with which one that is too far behind, or that does not
//! replicate, answers nobody until it has caught up; and errors that only say that it is behind.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use isthmus_lab::{Flavor, Options};
use isthmus_tests::on_both;
use isthmus_tests::rig::{Blueprint, Rig, WHERE, code, dedicated, until};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

on_both! {
    a_reader_that_is_behind_answers_nobody
    a_reader_that_does_not_replicate_answers_nobody
    what_the_reader_does_not_have_yet_is_found_on_the_writer
}

async fn place(conn: &mut Conn) -> String {
    conn.query_first(WHERE).await.unwrap().unwrap()
}

/// Why the reader answers nobody.
async fn behind(conn: &mut Conn) -> Option<String> {
    let rows: Vec<Row> = conn.query("SHOW ISTHMUS TOPOLOGY").await.unwrap();
    rows[1].get("behind").unwrap()
}

async fn answered_by(conn: &mut Conn, name: &str) {
    until("the reader is known to be behind, or not", async || {
        place(conn).await == name
    })
    .await;
}

async fn start(flavor: Flavor, max_lag: &str) -> Rig {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab, "").await;
    rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT)"])
        .await;
    let mut table: toml::Table = toml::from_str(&rig.blueprint.clone().into_text()).unwrap();
    table["endpoints"][1]
        .as_table_mut()
        .unwrap()
        .insert("max_lag".into(), max_lag.into());
    assert_eq!(rig.reload(&Blueprint::of(table)).await.0, 200);
    rig
}

async fn a_reader_that_is_behind_answers_nobody(flavor: Flavor) {
    let rig = start(flavor, "1s").await;
    let mut conn = rig.connect().await;
    answered_by(&mut conn, "reader").await;
    assert_eq!(behind(&mut conn).await, None);

    rig.lab
        .delay_replication(Duration::from_secs(60))
        .await
        .unwrap();
    let mut writer = rig.direct_writer().await;
    writer.query_drop("INSERT INTO t VALUES ()").await.unwrap();
    until("it is known what is wrong", async || {
        let reason = behind(&mut conn).await.unwrap_or_default();
        reason.contains("lacks") || reason.contains("s behind")
    })
    .await;
    answered_by(&mut conn, "writer").await;
    rig.proxy
        .logged("further behind than max_lag")
        .await
        .unwrap();

    rig.lab.delay_replication(Duration::ZERO).await.unwrap();
    answered_by(&mut conn, "reader").await;
    rig.proxy.logged("has caught up").await.unwrap();
}

async fn a_reader_that_does_not_replicate_answers_nobody(flavor: Flavor) {
    let rig = start(flavor, "1h").await;
    let mut conn = rig.connect().await;
    answered_by(&mut conn, "reader").await;
    let (receiver, applier, again) = match flavor {
        Flavor::Mysql => (
            "STOP REPLICA IO_THREAD",
            "STOP REPLICA SQL_THREAD",
            "START REPLICA",
        ),
        Flavor::Mariadb => (
            "STOP SLAVE IO_THREAD",
            "STOP SLAVE SQL_THREAD",
            "START SLAVE",
        ),
    };
    for (stop, reason) in [(receiver, "receive"), (applier, "apply")] {
        rig.lab.reader().execute(stop).await.unwrap();
        answered_by(&mut conn, "writer").await;
        let found = behind(&mut conn).await.unwrap();
        assert!(found.contains(reason), "{stop}: {found}");
        rig.lab.reader().execute(again).await.unwrap();
        answered_by(&mut conn, "reader").await;
    }
    // Without a limit it may be as old as it likes.
    rig.lab.stop_replication().await.unwrap();
    answered_by(&mut conn, "writer").await;
    assert_eq!(rig.reload(&rig.blueprint).await.0, 200);
    answered_by(&mut conn, "reader").await;
}

async fn what_the_reader_does_not_have_yet_is_found_on_the_writer(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab, "").await;
    rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await;
    rig.lab.stop_replication().await.unwrap();
    let mut writer = rig.direct_writer().await;
    for ddl in [
        "CREATE TABLE new (id INT PRIMARY KEY)",
        "INSERT INTO new VALUES (7)",
        "ALTER TABLE t ADD COLUMN new INT NOT NULL DEFAULT 8",
        "INSERT INTO t VALUES (1, 9)",
    ] {
        writer.query_drop(ddl).await.unwrap();
    }
    // A session that has written nothing, as after a migration by somebody else.
    for (sql, expected) in [
        ("SELECT id FROM new", 7),
        ("SELECT new FROM t", 9),
        ("SELECT COUNT(*) FROM new", 1),
    ] {
        let mut conn = rig.connect().await;
        assert_eq!(place(&mut conn).await, "reader");
        let found: Option<i64> = conn.query_first(sql).await.unwrap();
        assert_eq!(found, Some(expected), "{sql}");
        let mut conn = rig.connect().await;
        let found: Option<i64> = conn.exec_first(sql, ()).await.unwrap();
        assert_eq!(found, Some(expected), "{sql}, prepared");
    }
    // What is nowhere is an error as ever.
    let mut conn = rig.connect().await;
    for (sql, expected) in [
        ("SELECT * FROM nothing", 1146),
        ("SELECT nothing FROM t", 1054),
    ] {
        assert_eq!(code(conn.query_drop(sql).await), expected, "{sql}");
        assert_eq!(code(conn.exec_drop(sql, ()).await), expected, "{sql}");
    }
}
