//! What a session finds around it and has not done itself: servers with settings of their own, what
//! others have dropped, readers that are busy, and what is read in another way than before.

#![allow(clippy::unwrap_used)]

use isthmus_lab::{Flavor, Options};
use isthmus_tests::on_both;
use isthmus_tests::rig::{Rig, WHERE, code, dedicated, until};
use isthmus_tests::wire::query_payload;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

on_both! {
    the_mode_of_the_servers_is_the_sessions
    servers_of_different_modes_and_zones_are_one
    another_global_mode_is_that_of_new_sessions
    what_follows_another_mode_is_read_in_that
    a_schema_that_is_gone_takes_nothing_with_it
    a_role_that_is_gone_takes_nothing_with_it
    a_role_that_was_just_made_can_be_set
    a_busy_reader_is_replaced
    an_upload_that_stalls_ends_as_on_a_server
    what_speaks_of_one_server_can_be_asked_of_the_reader
}

/// One connection for each endpoint, so that all sessions have the same.
const NARROW: &str = "[pool]\nmax_connections = 1\nborrow_timeout = \"6s\"";

async fn number(conn: &mut Conn, sql: &str) -> Option<i64> {
    conn.query_first(sql).await.unwrap().unwrap()
}

async fn the_mode_of_the_servers_is_the_sessions(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        arguments: vec!["--sql-mode=NO_BACKSLASH_ESCAPES,ANSI_QUOTES".into()],
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab, NARROW).await;
    let mut conn = rig.connect().await;
    // Two columns, of which the second assigns; with the usual mode it would be one.
    conn.query_drop("SELECT 'x\\', @mine := 7 -- '")
        .await
        .unwrap();
    assert_eq!(number(&mut conn, "SELECT @mine").await, Some(7));
    for server in ["reader", "writer"] {
        let mut other = rig.connect().await;
        let sql = format!("/* isthmus:{server} */ SELECT @mine");
        assert_eq!(number(&mut other, &sql).await, None, "{server}");
    }
    conn.query_drop("SELECT 'x\\', GET_LOCK('mine', 0) -- '")
        .await
        .unwrap();
    let mut other = rig.direct_writer().await;
    assert_eq!(
        number(&mut other, "SELECT IS_FREE_LOCK('mine')").await,
        Some(0),
        "the lock is held on the writer"
    );
}

async fn servers_of_different_modes_and_zones_are_one(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let reader = lab.reader();
    for setting in ["sql_mode = 'ANSI_QUOTES'", "time_zone = '+09:00'"] {
        reader
            .execute(&format!("SET GLOBAL {setting}"))
            .await
            .unwrap();
    }
    let rig = Rig::start_on(lab, "").await;
    let sql = "SELECT CONCAT(@@sql_mode, @@time_zone), \"text\"";
    let mut direct = rig.direct_writer().await;
    let expected: Option<(String, String)> = direct.query_first(sql).await.unwrap();
    let mut conn = rig.connect().await;
    for round in ["at first", "after a reset"] {
        for server in ["reader", "writer"] {
            let sql = format!("/* isthmus:{server} */ {sql}");
            let found: Option<(String, String)> = conn.query_first(&sql).await.unwrap();
            assert_eq!(found, expected, "{server} {round}");
        }
        assert!(conn.reset().await.unwrap());
    }
}

/// Sessions that began before stay with theirs, whichever connection they get, and so nobody's
/// statements are read otherwise than the server reads them.
async fn another_global_mode_is_that_of_new_sessions(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab, NARROW).await;
    let right = match flavor {
        Flavor::Mysql => "SYSTEM_VARIABLES_ADMIN",
        Flavor::Mariadb => "SUPER",
    };
    let grant = format!("GRANT {right} ON *.* TO {}@'%'", rig.user);
    rig.lab.writer().execute(&grant).await.unwrap();
    rig.lab.wait_caught_up().await.unwrap();
    // With ANSI_QUOTES it is a column that is not there.
    let sql = "SELECT \"text\"";
    let mut old = rig.connect().await;
    old.query_drop(sql).await.unwrap();
    let mut admin = rig.connect().await;
    admin
        .query_drop("SET GLOBAL sql_mode = 'ANSI_QUOTES'")
        .await
        .unwrap();
    drop(admin);
    until("new sessions have the new mode", async || {
        let mut new = rig.connect().await;
        new.query_drop(sql).await.is_err()
    })
    .await;
    for server in [rig.lab.writer(), rig.lab.reader()] {
        let sql = "SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'";
        server.execute(sql).await.unwrap();
    }
    // All connections are new ones.
    let blueprint = rig.blueprint.clone().with_endpoints("compression", "zlib");
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let mut new = rig.connect().await;
    for server in ["reader", "writer"] {
        let sql = format!("/* isthmus:{server} */ SELECT \"a\\\\b\"");
        for (conn, expected) in [(&mut old, "a\\b"), (&mut new, "a\\\\b")] {
            let found: Option<String> = conn.query_first(&sql).await.unwrap();
            assert_eq!(found.as_deref(), Some(expected), "{server}");
        }
    }
}

async fn what_follows_another_mode_is_read_in_that(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    rig.prepare_data(&["CREATE TABLE t (id INT)"]).await;
    let mut conn = rig.connect().await;
    conn.query_drop(
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES'; SELECT 'a\\'; INSERT INTO t VALUES (3), (4); SET @mine = 5; -- '",
    )
    .await
    .unwrap();
    assert_eq!(number(&mut conn, "SELECT COUNT(*) FROM t").await, Some(2));
    assert_eq!(number(&mut conn, "SELECT @mine").await, Some(5));
    drop(conn);
    for server in ["reader", "writer"] {
        let mut other = rig.connect().await;
        let sql = format!("/* isthmus:{server} */ SELECT @mine");
        assert_eq!(number(&mut other, &sql).await, None, "{server}");
    }
}

async fn a_schema_that_is_gone_takes_nothing_with_it(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    let gone = format!("{}_gone", rig.schema);
    let mut conn = rig.connect().await;
    let mut other = rig.connect().await;
    for sql in [format!("CREATE DATABASE {gone}"), format!("USE {gone}")] {
        conn.query_drop(sql).await.unwrap();
    }
    other
        .query_drop(format!("DROP DATABASE {gone}"))
        .await
        .unwrap();
    // The connections have been elsewhere since.
    for server in ["reader", "writer"] {
        let sql = format!("/* isthmus:{server} */ SELECT 1");
        other.query_drop(&sql).await.unwrap();
        assert_eq!(number(&mut conn, &sql).await, Some(1), "{server}");
    }
    conn.query_drop(format!("USE {}", rig.schema))
        .await
        .unwrap();
    let schema: Option<String> = conn.query_first("SELECT DATABASE()").await.unwrap();
    assert_eq!(schema.as_deref(), Some(rig.schema.as_str()));
}

/// A role of the rig's user, by the name of its schema.
async fn make_role(rig: &Rig) -> String {
    let role = format!("{}_role", rig.schema);
    let user = &rig.user;
    for sql in [
        format!("CREATE ROLE {role}"),
        format!("GRANT {role} TO {user}@'%'"),
    ] {
        rig.lab.writer().execute(&sql).await.unwrap();
    }
    role
}

async fn a_role_that_is_gone_takes_nothing_with_it(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    let role = make_role(&rig).await;
    let mut conn = rig.connect().await;
    let mut other = rig.connect().await;
    conn.query_drop(format!("SET ROLE {role}")).await.unwrap();
    let drop_role = format!("DROP ROLE {role}");
    rig.lab.writer().execute(&drop_role).await.unwrap();
    rig.ready().await;
    for server in ["writer", "reader"] {
        let sql = format!("/* isthmus:{server} */ SELECT 1");
        other.query_drop(&sql).await.unwrap();
        assert_eq!(number(&mut conn, &sql).await, Some(1), "{server}");
    }
}

async fn a_role_that_was_just_made_can_be_set(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab, "").await;
    rig.prepare_data(&["CREATE TABLE t (id INT)"]).await;
    rig.lab.stop_replication().await.unwrap();
    let mut conn = rig.connect().await;
    conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    let role = make_role(&rig).await;
    conn.query_drop(format!("SET ROLE {role}")).await.unwrap();
}

async fn a_busy_reader_is_replaced(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    let mut busy = rig.connect().await;
    busy.query_drop("START TRANSACTION READ ONLY")
        .await
        .unwrap();
    assert_eq!(place(&mut busy).await, "reader");
    let mut conn = rig.connect().await;
    assert_eq!(place(&mut conn).await, "writer");
    busy.query_drop("COMMIT").await.unwrap();
    until("the reader answers again", async || {
        place(&mut conn).await == "reader"
    })
    .await;
}

async fn place(conn: &mut Conn) -> String {
    conn.query_first(WHERE).await.unwrap().unwrap()
}

async fn an_upload_that_stalls_ends_as_on_a_server(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    rig.prepare_data(&["CREATE TABLE loaded (a INT)"]).await;
    let mut client = rig.wire().await;
    let patience = client.query("SET net_read_timeout = 1").await.unwrap();
    patience.expect_ok();
    let upload = "LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded";
    client.begin_command(&query_payload(upload)).await.unwrap();
    assert_eq!(client.receive().await.unwrap().payload, b"\xFBx");
    client.closed().await.unwrap();
    // The writer's only connection is free again.
    let mut conn = rig.connect().await;
    conn.query_drop("INSERT INTO loaded VALUES (1)")
        .await
        .unwrap();
}

async fn what_speaks_of_one_server_can_be_asked_of_the_reader(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut conn = rig.connect().await;
    for (hint, expected) in [("", "tokyo"), ("/* isthmus:reader */ ", "virginia")] {
        conn.query_drop(format!("{hint}SHOW PROCESSLIST"))
            .await
            .unwrap();
        let endpoint: Option<String> = conn
            .query_first::<mysql_async::Row, _>("SHOW ISTHMUS LAST")
            .await
            .unwrap()
            .unwrap()
            .get("endpoint");
        assert_eq!(endpoint.as_deref(), Some(expected), "{hint}");
    }
    assert_eq!(code(conn.query_drop("SHOW NOTHING").await), 1064);
}
