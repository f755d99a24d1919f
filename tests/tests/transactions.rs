//! What transactions need of their connections beyond what their statements say.

#![allow(clippy::unwrap_used)]

use isthmus_lab::Flavor;
use isthmus_tests::beside::holds;
use isthmus_tests::rig::{Rig, code};
use mysql_async::prelude::Queryable;

/// Without autocommit, servers keep the locks on the tables of a statement that failed until the
/// transaction ends, though none has begun.
async fn what_fails_leaves_no_table_locked(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await;
    let mut client = rig.connect().await;
    client.query_drop("SET autocommit = 0").await.unwrap();
    assert_eq!(code(client.query_drop("SELECT missing FROM t").await), 1054);
    client.query_drop("ROLLBACK").await.unwrap();
    let mut direct = rig.direct_writer().await;
    direct
        .query_drop("SET SESSION lock_wait_timeout = 5")
        .await
        .unwrap();
    let alter = direct.query_drop("ALTER TABLE t ADD added INT").await;
    alter.unwrap();
}

/// What others write on a connection whose transaction a deadlock has ended is committed.
async fn nobody_pays_for_a_deadlock(flavor: Flavor) {
    let rig = Rig::start(flavor, "[pool]\nmax_connections = 2").await;
    rig.prepare_data(&[
        "CREATE TABLE t (id INT PRIMARY KEY, a INT)",
        "INSERT INTO t VALUES (1, 0), (2, 0)",
    ])
    .await;
    let (mut first, mut second) = (rig.connect().await, rig.connect().await);
    for (client, id) in [(&mut first, 1), (&mut second, 2)] {
        client.query_drop("BEGIN").await.unwrap();
        let update = format!("UPDATE t SET a = a + 1 WHERE id = {id}");
        client.query_drop(update).await.unwrap();
    }
    let outcomes = tokio::join!(
        first.query_drop("UPDATE t SET a = a + 1 WHERE id = 2"),
        second.query_drop("UPDATE t SET a = a + 1 WHERE id = 1"),
    );
    for (client, outcome) in [(first, outcomes.0), (second, outcomes.1)] {
        let mut client = client;
        if outcome.is_err() {
            assert_eq!(code(outcome), 1213);
            client.query_drop("ROLLBACK").await.unwrap();
        } else {
            client.query_drop("COMMIT").await.unwrap();
        }
    }
    // At once, so that both connections are used.
    let mut others = [rig.connect().await, rig.connect().await];
    let [one, another] = &mut others;
    let outcomes = tokio::join!(
        one.query_drop("INSERT INTO t SELECT 3, SLEEP(0.5)"),
        another.query_drop("INSERT INTO t SELECT 4, SLEEP(0.5)"),
    );
    outcomes.0.unwrap();
    outcomes.1.unwrap();
    for other in others {
        other.disconnect().await.unwrap();
    }
    let mut direct = rig.direct_writer().await;
    let count: Option<u32> = direct.query_first("SELECT COUNT(*) FROM t").await.unwrap();
    assert_eq!(count, Some(4));
}

/// A lock on a reader would protect nothing.
async fn a_read_only_transaction_locks_rows_on_the_writer(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&[
        "CREATE TABLE t (id INT PRIMARY KEY, a INT)",
        "INSERT INTO t VALUES (1, 1)",
    ])
    .await;
    let mut client = rig.connect().await;
    client
        .query_drop("START TRANSACTION READ ONLY")
        .await
        .unwrap();
    client
        .query_drop("SELECT a FROM t WHERE id = 1 LOCK IN SHARE MODE")
        .await
        .unwrap();
    let mut direct = rig.direct_writer().await;
    direct
        .query_drop("SET SESSION innodb_lock_wait_timeout = 1")
        .await
        .unwrap();
    let update = "UPDATE t SET a = 2 WHERE id = 1";
    assert_eq!(code(direct.query_drop(update).await), 1205);
    client.query_drop("COMMIT").await.unwrap();
    direct.query_drop(update).await.unwrap();
}

/// What is set for the next transaction is for the client's statement, not for what the proxy does
/// before it: preparing it, or bringing its connection into another schema.
async fn the_next_transaction_is_the_clients(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let variable = match flavor {
        Flavor::Mysql => "transaction_read_only",
        Flavor::Mariadb => "tx_read_only",
    };
    let insert = format!("INSERT INTO {}.t VALUES (1)", rig.schema);
    for set in [
        format!("SET @@{variable} = 1"),
        "SET TRANSACTION READ ONLY".to_owned(),
    ] {
        for schema in [rig.schema.as_str(), "information_schema"] {
            let mut outcomes = Vec::new();
            for mut client in [rig.direct_writer().await, rig.connect().await] {
                let statement = client.prep(insert.as_str()).await.unwrap();
                // So that it is prepared nowhere else.
                client.query_drop("SET sql_mode = 'ANSI'").await.unwrap();
                client.query_drop(format!("USE {schema}")).await.unwrap();
                client.query_drop(set.as_str()).await.unwrap();
                let outcome = client.exec_drop(&statement, ()).await;
                outcomes.push(outcome.err().map(|error| error.to_string()));
            }
            assert!(outcomes[0].is_some(), "{set} in {schema}");
            assert_eq!(outcomes[1], outcomes[0], "{set} in {schema}");
        }
    }
}

/// To switch autocommit off that is off ends nothing: a transaction keeps what it reads.
async fn a_snapshot_stays(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut client = rig.connect().await;
    client.query_drop("SET autocommit = 0").await.unwrap();
    client
        .query_drop("START TRANSACTION READ ONLY")
        .await
        .unwrap();
    let count = "SELECT COUNT(*) FROM t";
    assert_eq!(client.query_first(count).await.unwrap(), Some(0));
    let mut direct = rig.direct_writer().await;
    direct.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    client.query_drop("SET autocommit = 0").await.unwrap();
    assert_eq!(client.query_first(count).await.unwrap(), Some(0));
}

/// A reader says of a write that it is read-only, which is not why a transaction refuses it.
async fn a_refused_write_is_explained_once(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut client = rig.connect().await;
    client
        .query_drop("START TRANSACTION READ ONLY")
        .await
        .unwrap();
    for statement in ["DELETE FROM t", "INSERT INTO t VALUES (1)"] {
        assert_eq!(code(client.query_drop(statement).await), 1792);
        let shown: Vec<(String, u16, String)> = client.query("SHOW WARNINGS").await.unwrap();
        let codes: Vec<u16> = shown.iter().map(|row| row.1).collect();
        assert_eq!(codes, [1792], "{statement}: {shown:?}");
    }
}

/// What SET GLOBAL sets, it sets where the writes go.
async fn a_global_variable_is_the_writers(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let right = match flavor {
        Flavor::Mysql => "SYSTEM_VARIABLES_ADMIN",
        Flavor::Mariadb => "SUPER",
    };
    let grant = format!("GRANT {right} ON *.* TO {}", rig.user);
    rig.lab.writer().execute(grant).await.unwrap();
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut client = rig.connect().await;
    let mut direct = rig.direct_writer().await;
    let read = "SELECT @@GLOBAL.max_prepared_stmt_count";
    let before: u32 = direct.query_first(read).await.unwrap().unwrap();
    for statement in [
        "START TRANSACTION READ ONLY".to_owned(),
        "SELECT * FROM t".to_owned(),
        format!("SET GLOBAL max_prepared_stmt_count = {}", before - 1),
        "COMMIT".to_owned(),
    ] {
        client.query_drop(statement).await.unwrap();
    }
    let now: Option<u32> = direct.query_first(read).await.unwrap();
    assert_eq!(now, Some(before - 1));
    let back = format!("SET GLOBAL max_prepared_stmt_count = {before}");
    rig.lab.writer().execute(back).await.unwrap();
}

/// Reads of a SERIALIZABLE transaction lock what they read, which is of use on the writer alone.
async fn a_serializable_transaction_locks_on_the_writer(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)"])
        .await;
    let mut client = rig.connect().await;
    for statement in [
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "START TRANSACTION READ ONLY",
        "SELECT * FROM t",
    ] {
        client.query_drop(statement).await.unwrap();
    }
    let mut direct = rig.direct_writer().await;
    direct
        .query_drop("SET SESSION innodb_lock_wait_timeout = 1")
        .await
        .unwrap();
    assert_eq!(code(direct.query_drop("UPDATE t SET a = 2").await), 1205);
}

/// A query of tables is the transaction that SET TRANSACTION is for: the session does not keep its
/// connection any longer, nor does anybody else find it read-only.
async fn a_query_was_the_next_transaction(flavor: Flavor) {
    let rig = Rig::start(flavor, "[pool]\nmax_connections = 1").await;
    let no_transactions = "CREATE TABLE plain (a INT) ENGINE = MyISAM";
    rig.prepare_data(&["CREATE TABLE t (a INT)", no_transactions])
        .await;
    for table in ["t", "plain"] {
        let (mut client, mut other) = (rig.connect().await, rig.connect().await);
        client
            .query_drop("SET TRANSACTION READ ONLY")
            .await
            .unwrap();
        client.query_drop("SELECT 1").await.unwrap();
        assert_eq!(holds(&mut client).await, ["next_transaction"]);
        let read = format!("SELECT * FROM {table}");
        client.query_drop(read).await.unwrap();
        assert!(holds(&mut client).await.is_empty());
        for session in [&mut other, &mut client] {
            session
                .query_drop("INSERT INTO t VALUES (1)")
                .await
                .unwrap();
        }
    }
}

isthmus_tests::on_both! {
    a_snapshot_stays
    a_global_variable_is_the_writers
    a_serializable_transaction_locks_on_the_writer
    a_refused_write_is_explained_once
    a_query_was_the_next_transaction
    nobody_pays_for_a_deadlock
    what_fails_leaves_no_table_locked
    a_read_only_transaction_locks_rows_on_the_writer
    the_next_transaction_is_the_clients
}
