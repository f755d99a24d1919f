//! `pin = "tables"`: after a write, only reads of a table that the session has written wait for the
//! reader or go to the writer.

#![allow(clippy::unwrap_used)]

use isthmus_lab::{Flavor, Options};
use isthmus_tests::on_both;
use isthmus_tests::rig::{Rig, dedicated, until};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, TxOpts};

on_both! {
    only_what_was_written_is_pinned
}

/// Where a read is answered.
async fn place(conn: &mut Conn, read: &str) -> String {
    conn.query_drop(read).await.unwrap();
    let last: Option<Row> = conn.query_first("SHOW ISTHMUS LAST").await.unwrap();
    last.unwrap().get("route").unwrap()
}

async fn only_what_was_written_is_pinned(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let overlay = "[consistency]\npin = \"tables\"\non_stale = \"writer\"";
    let rig = Rig::start_on(lab.clone(), overlay).await;
    rig.prepare_data(&[
        "CREATE TABLE a (n INT)",
        "CREATE TABLE b (n INT)",
        "CREATE TABLE c (n INT)",
    ])
    .await;
    let schema = &rig.schema;
    let function = format!("CREATE FUNCTION {schema}.f () RETURNS INT NO SQL RETURN 1");
    lab.writer().execute(function).await.unwrap();
    for sql in ["CREATE DATABASE _other", "CREATE TABLE _other.b (n INT)"] {
        let sql = sql.replace("_other", &format!("{schema}_other"));
        lab.writer().execute(sql).await.unwrap();
    }
    lab.wait_caught_up().await.unwrap();
    let read_a = "SELECT n FROM a";
    let read_b = "SELECT n FROM b";
    let read_c = "SELECT n FROM c";

    lab.stop_replication().await.unwrap();
    let mut conn = rig.connect().await;
    conn.query_drop("INSERT INTO a VALUES (1)").await.unwrap();
    assert_eq!(place(&mut conn, read_b).await, "reader");
    assert_eq!(place(&mut conn, read_a).await, "writer");
    let qualified = format!("SELECT n FROM {schema}.a");
    assert_eq!(place(&mut conn, &qualified).await, "writer");
    // What it has read on the writer, it must not see older, and nothing else.
    assert_eq!(place(&mut conn, read_b).await, "reader");
    let both = "SELECT b.n FROM b JOIN a";
    assert_eq!(place(&mut conn, both).await, "writer");
    assert_eq!(place(&mut conn, read_b).await, "writer");
    assert_eq!(place(&mut conn, read_c).await, "reader");
    // Nobody knows what these read.
    let begin = "START TRANSACTION READ ONLY";
    conn.query_drop(begin).await.unwrap();
    assert_eq!(place(&mut conn, read_c).await, "writer");
    conn.query_drop("COMMIT").await.unwrap();

    // A transaction pins what it has written and read.
    let mut conn = rig.connect().await;
    let mut transaction = conn.start_transaction(TxOpts::default()).await.unwrap();
    transaction
        .query_drop("INSERT INTO b VALUES (1)")
        .await
        .unwrap();
    transaction.query_drop(read_c).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(place(&mut conn, read_a).await, "reader");
    assert_eq!(place(&mut conn, read_b).await, "writer");
    assert_eq!(place(&mut conn, read_c).await, "writer");

    // Prepared statements, and another schema of the same table name.
    let mut conn = rig.connect().await;
    let insert = format!("INSERT INTO {schema}.c VALUES (?)");
    conn.exec_drop(insert, (1,)).await.unwrap();
    let count = "SELECT COUNT(*) FROM c WHERE n > ?";
    let counted: Option<u32> = conn.exec_first(count, (0,)).await.unwrap();
    assert_eq!(counted, Some(1));
    assert_eq!(place(&mut conn, read_a).await, "reader");

    // A name means what it meant when the statement was prepared.
    let other = format!("{schema}_other");
    let mut moved = rig.connect().await;
    let insert = moved.prep("INSERT INTO c VALUES (?)").await.unwrap();
    moved.query_drop(format!("USE {other}")).await.unwrap();
    moved.exec_drop(&insert, (1,)).await.unwrap();
    let qualified = format!("SELECT n FROM {schema}.c");
    assert_eq!(place(&mut moved, &qualified).await, "writer");
    assert_eq!(place(&mut moved, read_b).await, "reader");

    // A write of nobody knows what pins all.
    for write in [
        "INSERT INTO c VALUES (f())",
        "INSERT INTO a VALUES (2); INSERT INTO c VALUES (2)",
        "CREATE TABLE IF NOT EXISTS d (n INT)",
    ] {
        let mut conn = rig.connect().await;
        conn.query_drop(write).await.unwrap();
        assert_eq!(place(&mut conn, read_b).await, "writer", "{write}");
    }
    lab.start_replication().await.unwrap();
    until("everything is on the reader again", async || {
        place(&mut conn, read_c).await == "reader"
    })
    .await;
}
