//! What a client does before its first write: nobody waits for the ocean because of that, with TLS
//! and without, over both protocols.

use isthmus_protocol::command::Command;
use isthmus_tests::wire::Client;
use isthmus_tests::{Flavor, connect, shared_stage};
use mysql_async::SslOpts;
use mysql_async::prelude::Queryable as _;

use crate::Ocean;

async fn until_the_first_write_nothing_crosses(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    for schema in ["trips_connect", "trips_connect_2"] {
        stage.schema(schema).await;
        let table = format!("CREATE TABLE {schema}.t (a INT)");
        stage.lab.writer().execute(table).await.unwrap();
    }
    stage.caught_up().await;
    let ocean = Ocean::new(stage).await;
    let address = ocean.proxy.address();
    // There is one connection, and this is the first session with a schema.
    let mut first = ocean.connect(Some("trips_connect")).await;
    first.query_drop("DELETE FROM t").await.unwrap();
    for tls in [false, true] {
        let tls = tls.then(|| SslOpts::default().with_danger_accept_invalid_certs(true));
        let (mut a, trips) = ocean
            .cost(async || {
                connect(address, |options| {
                    options.db_name(Some("trips_connect")).ssl_opts(tls.clone())
                })
                .await
            })
            .await;
        assert_eq!(trips, 0, "to connect with {tls:?}");
        for sql in [
            "SET NAMES utf8mb4",
            "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES'), @@wait_timeout = 2147483",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET @a = 1",
            "SHOW VARIABLES LIKE 'sql_mode'",
            "SHOW VARIABLES LIKE 'lower_case_%'",
            "SELECT @@version_comment LIMIT 1",
            "SELECT @@session.auto_increment_increment AS a, @@max_allowed_packet AS b",
            "SELECT VERSION()",
            "SELECT DATABASE()",
            "SET NAMES utf8mb4; SET time_zone = '+00:00'; SELECT @@sql_mode",
            "USE trips_connect_2",
            "SELECT * FROM t",
            "SHOW FULL FIELDS FROM t",
        ] {
            ocean.expect(&mut a, sql, 0).await;
        }
        let (rows, trips) = ocean
            .cost(async || a.exec_drop("SELECT * FROM t WHERE a > ?", (0,)).await)
            .await;
        rows.unwrap();
        assert_eq!(trips, 0, "to prepare and execute a read");
        // The state that the session has found goes with it.
        ocean.expect(&mut a, "INSERT INTO t VALUES (1)", 1).await;
        let (result, trips) = ocean.cost(async || a.disconnect().await).await;
        result.unwrap();
        assert_eq!(trips, 0, "to leave");
    }
}

/// As drivers do that have a command for it, and none of their own questions.
async fn another_schema_by_command_costs_nothing(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    stage.schema("trips_init_db").await;
    let table = "CREATE TABLE trips_init_db.t (a INT)";
    stage.lab.writer().execute(table).await.unwrap();
    stage.caught_up().await;
    let ocean = Ocean::new(stage).await;
    let account = isthmus_lab::APP;
    let address = ocean.proxy.address();
    let (user, password) = (account.user, account.password);
    // There is one connection, and this is the first client of its kind.
    let mut first = Client::log_in(address, user, password, "trips_init_db").await;
    first.query("DELETE FROM t").await.unwrap().expect_ok();
    let mut a = Client::connect(address).await.unwrap().unwrap();
    let logging_in = async || a.authenticate(user, password, None).await;
    let (result, trips) = ocean.cost(logging_in).await;
    result.unwrap().unwrap();
    assert_eq!(trips, 0, "to log in");
    let init_db = [&[Command::InitDb as u8][..], b"trips_init_db"].concat();
    let (answer, trips) = ocean.cost(async || a.command(&init_db).await).await;
    answer.unwrap().expect_ok();
    assert_eq!(trips, 0, "to select a schema");
    let insert = "INSERT INTO t VALUES (1)";
    let (answer, trips) = ocean.cost(async || a.query(insert).await).await;
    answer.unwrap().expect_ok();
    assert_eq!(trips, 1, "{insert}");
}

isthmus_tests::on_both! {
    until_the_first_write_nothing_crosses
    another_schema_by_command_costs_nothing
}
