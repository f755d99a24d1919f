//! What a session begins with: what the servers' `init_connect` sets, and the `init` statements of
//! the configuration.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_lab::{Flavor, Lab, Options};
use isthmus_protocol::command::Command;
use isthmus_tests::rig::{PASSWORD, Rig, dedicated};
use isthmus_tests::wire::{Answer, Client, Refusal, USUAL};

const ON_WRITER: &str = "/* isthmus:writer */ ";
const ON_READER: &str = "/* isthmus:reader */ ";

type Variables = BTreeMap<String, Option<String>>;

/// All variables of a session but those that differ from one connection to the next.
async fn variables(client: &mut Client, hint: &str) -> Variables {
    let question = format!("{hint}SHOW SESSION VARIABLES");
    let Answer::Rows(rows) = client.query(&question).await.unwrap() else {
        panic!("no variables");
    };
    let of_connection = [
        "timestamp",
        "pseudo_thread_id",
        "rand_seed1",
        "rand_seed2",
        "statement_id",
    ];
    // Without a hint the servers would be told apart; these name them.
    let of_server = [
        "gtid_", "server_", "hostname", "port", "report_", "pid_file",
    ];
    rows.into_iter()
        .map(|row| (row[0].clone().unwrap(), row[1].clone()))
        .filter(|(name, value)| {
            let is_path = value.as_ref().is_some_and(|value| value.contains('/'));
            !of_connection.contains(&name.as_str())
                && !of_server.iter().any(|begin| name.starts_with(begin))
                && !name.contains("read_only")
                && !is_path
        })
        .collect()
}

fn difference(seen: &Variables, expected: &Variables) -> Vec<String> {
    let wrong = seen.iter().filter(|(name, value)| {
        expected
            .get(*name)
            .is_some_and(|expected| expected != *value)
    });
    wrong
        .map(|(name, value)| format!("{name}: {value:?}, not {:?}", expected[name]))
        .collect()
}

/// Asserts that both sessions have the same variables, on either server.
async fn same([direct, proxied]: &mut [Client; 2], what: &str) {
    let expected = variables(direct, "").await;
    for hint in [ON_WRITER, ON_READER] {
        let seen = variables(proxied, hint).await;
        let wrong = difference(&seen, &expected);
        assert!(wrong.is_empty(), "{what} {hint}: {wrong:#?}");
    }
}

async fn servers_with(flavor: Flavor, init_connect: &str) -> Arc<Lab> {
    let options = Options {
        flavor,
        arguments: vec![format!("--init-connect={init_connect}")],
        ..Options::default()
    };
    dedicated(options).await
}

/// Whether `init_connect` is for the rig's user.
async fn set_administrator(rig: &Rig, is_one: bool) {
    let right = match rig.lab.flavor() {
        Flavor::Mysql => "CONNECTION_ADMIN",
        Flavor::Mariadb => "CONNECTION ADMIN",
    };
    let statement = if is_one {
        format!("GRANT {right} ON *.* TO {}@'%'", rig.user)
    } else {
        format!("REVOKE {right} ON *.* FROM {}@'%'", rig.user)
    };
    rig.lab.writer().execute(statement).await.unwrap();
    rig.lab.wait_caught_up().await.unwrap();
}

/// On servers that begin sessions without autocommit.
async fn sessions_begin_with_the_servers_autocommit(flavor: Flavor) {
    let options = Options {
        flavor,
        arguments: vec!["--autocommit=0".into()],
        ..Options::default()
    };
    let rig = Rig::start_on(dedicated(options).await, "").await;
    rig.prepare_data(&[
        "CREATE TABLE t (a INT)",
        "INSERT INTO t VALUES (1)",
        "COMMIT",
    ])
    .await;
    let read = "SELECT a, @@autocommit FROM t";
    for is_reset in [false, true] {
        for mut client in rig.wires(USUAL).await {
            if is_reset {
                let reset = client.command(&[Command::ResetConnection as u8]).await;
                reset.unwrap().expect_ok();
            }
            let Answer::Rows(rows) = client.query(read).await.unwrap() else {
                panic!("no rows");
            };
            assert_eq!(rows[0][1].as_deref(), Some("0"));
            let write = "UPDATE t SET a = a + 1";
            client.query(write).await.unwrap().expect_ok();
            client.query("ROLLBACK").await.unwrap().expect_ok();
            assert_eq!(client.query(read).await.unwrap().value(), "1");
            client.query("ROLLBACK").await.unwrap().expect_ok();
        }
    }
}

async fn sessions_begin_with_init_connect(flavor: Flavor) {
    let scripts = [
        "SET time_zone = '+05:00', wait_timeout = 1000; SET SESSION sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')",
        "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
        "SET NAMES latin1",
        "SET character_set_results = NULL, foreign_key_checks = 0",
    ];
    let lab = servers_with(flavor, scripts[0]).await;
    for script in scripts {
        for server in lab.servers() {
            let set = format!("SET GLOBAL init_connect = \"{script}\"");
            server.execute(set).await.unwrap();
        }
        for is_administrator in [false, true] {
            let what = format!("{script}, administrator: {is_administrator}");
            let rig = Rig::start_on(lab.clone(), "[pool]\nmax_connections = 2").await;
            if is_administrator || flavor == Flavor::Mysql {
                set_administrator(&rig, is_administrator).await;
            }
            drop(rig.direct_writer().await);
            let address = rig.lab.writer().address();
            let mut pair = [
                Client::log_in(address, &rig.user, PASSWORD, &rig.schema).await,
                rig.wire().await,
            ];
            same(&mut pair, &format!("{what}, login")).await;

            // A session that is reset or changes its user begins without it.
            for client in &mut pair {
                let reset = client.command(&[Command::ResetConnection as u8]).await;
                reset.unwrap().expect_ok();
            }
            same(&mut pair, &format!("{what}, reset")).await;
            for client in &mut pair {
                let change = client.change_to(&rig.user, PASSWORD, &rig.schema);
                client
                    .change_user(&change, PASSWORD)
                    .await
                    .unwrap()
                    .unwrap();
            }
            same(&mut pair, &format!("{what}, change of user")).await;

            // The connections of the pool have been reset meanwhile.
            let mut holder = rig.wire().await;
            holder.query("SET @a = 1").await.unwrap().expect_ok();
            drop(holder);
            let direct = Client::log_in(address, &rig.user, PASSWORD, &rig.schema).await;
            for _ in 0..3 {
                pair[1] = rig.wire().await;
            }
            pair[0] = direct;
            same(&mut pair, &format!("{what}, later")).await;
        }
    }
}

/// A login through the proxy that may be refused.
async fn try_log_in(rig: &Rig) -> Result<Client, Refusal> {
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    let login = client.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
    login.await.unwrap().map(|()| client)
}

/// Its first statement begins a transaction that may write.
async fn sessions_begin_without_autocommit(flavor: Flavor) {
    let rig = Rig::start(flavor, "[listen]\ninit = [\"SET autocommit = 0\"]").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)"])
        .await;
    let mut client = try_log_in(&rig).await.unwrap();
    assert_eq!(client.query("SELECT a FROM t").await.unwrap().value(), "1");
    for statement in ["UPDATE t SET a = 2", "ROLLBACK"] {
        client.query(statement).await.unwrap().expect_ok();
    }
    assert_eq!(client.query("SELECT a FROM t").await.unwrap().value(), "1");
}

async fn sessions_begin_with_init(flavor: Flavor) {
    let init = [
        "SET NAMES latin1 COLLATE latin1_bin",
        "SET time_zone = '+05:00', wait_timeout = 1000",
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ];
    let set_init = |init: &[&str]| format!("[listen]\ninit = {init:?}");
    let rig = Rig::start(flavor, &set_init(&init)).await;
    drop(rig.direct_writer().await);
    let address = rig.lab.writer().address();
    let mut pair = [
        Client::log_in(address, &rig.user, PASSWORD, &rig.schema).await,
        try_log_in(&rig).await.unwrap(),
    ];
    for statement in init {
        pair[0].query(statement).await.unwrap().expect_ok();
    }
    same(&mut pair, "login").await;
    let Answer::Rows(facts) = pair[1].query("SHOW ISTHMUS SESSION").await.unwrap() else {
        panic!("the proxy says nothing");
    };
    assert!(facts.iter().all(|fact| fact[0].as_deref() != Some("hold")));

    for client in &mut pair {
        let change = client.change_to(&rig.user, PASSWORD, &rig.schema);
        client
            .change_user(&change, PASSWORD)
            .await
            .unwrap()
            .unwrap();
    }
    for statement in init {
        pair[0].query(statement).await.unwrap().expect_ok();
    }
    same(&mut pair, "change of user").await;
    for client in &mut pair {
        let reset = client.command(&[Command::ResetConnection as u8]).await;
        reset.unwrap().expect_ok();
    }
    same(&mut pair, "reset").await;

    // New sessions begin as the configuration says now, open ones go on.
    let refused = set_init(&["SET time_zone = '+06:00'", "SET no_such_variable = 1"]);
    let (status, _) = rig.reload(&rig.blueprint.clone().with(&refused)).await;
    assert_eq!(status, 200);
    let refusal = try_log_in(&rig).await.err().unwrap();
    assert_eq!((refusal.code, refusal.state.as_str()), (1184, "08S01"));
    assert!(
        refusal.message.contains("no_such_variable") && refusal.message.contains("init"),
        "{refusal:?}"
    );
    pair[1].query("DO 1").await.unwrap().expect_ok();

    let (status, answer) = rig
        .reload(
            &rig.blueprint
                .clone()
                .with(&set_init(&["INSERT INTO t VALUES (1)"])),
        )
        .await;
    assert!(
        status >= 400 && answer.contains("INSERT INTO t"),
        "{answer}"
    );

    let new = set_init(&["SET time_zone = '+07:00'"]);
    rig.reload(&rig.blueprint.clone().with(&new)).await;
    let mut client = try_log_in(&rig).await.unwrap();
    for hint in [ON_WRITER, ON_READER] {
        let zone = client.query(&format!("{hint}SELECT @@time_zone")).await;
        assert_eq!(zone.unwrap().value(), "+07:00");
    }
}

isthmus_tests::on_both! {
    sessions_begin_with_the_servers_autocommit
    sessions_begin_with_init_connect
    sessions_begin_with_init
    sessions_begin_without_autocommit
}
