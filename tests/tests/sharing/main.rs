//! Few backend connections for many sessions: what drivers and frameworks say when they connect
//! follows each session to whatever connection runs its next statement, keeps none of them, and
//! shows in nobody else's.

#![allow(clippy::unwrap_used)]

mod crowd;
mod preambles;

use std::collections::BTreeMap;
use std::time::Duration;

use isthmus_lab::Flavor;
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::command::Command;
use isthmus_tests::rig::{PASSWORD, Rig, WHERE, until};
use isthmus_tests::wire::{Answer, Client};
use preambles::PREAMBLES;
use tokio::task::JoinSet;

/// What sets people apart. MariaDB 10.11 does not know transaction_isolation.
fn variables(flavor: Flavor) -> Vec<&'static str> {
    let mut variables = vec![
        "autocommit",
        "character_set_client",
        "character_set_connection",
        "character_set_results",
        "collation_connection",
        "div_precision_increment",
        "foreign_key_checks",
        "group_concat_max_len",
        "lc_time_names",
        "sql_auto_is_null",
        "sql_mode",
        "sql_select_limit",
        "time_zone",
        "unique_checks",
        "wait_timeout",
    ];
    variables.push(match flavor {
        Flavor::Mysql => "transaction_isolation",
        Flavor::Mariadb => "tx_isolation",
    });
    variables
}

/// Odd settings that must stay with whoever made them.
const SABOTAGE: [&str; 12] = [
    "SET NAMES gbk",
    "SET time_zone = '-11:00'",
    "SET sql_mode = 'ANSI,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
    "SET sql_select_limit = 1",
    "SET group_concat_max_len = 4",
    "SET div_precision_increment = 0, lc_time_names = 'de_DE'",
    "SET foreign_key_checks = 0, unique_checks = 0",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    "SET character_set_results = NULL",
    "SET collation_connection = latin1_bin",
    "SET wait_timeout = 1000",
    "USE information_schema",
];

type Settings = BTreeMap<&'static str, Option<String>>;

/// One row: schema, then the variables.
fn question(flavor: Flavor, hint: &str) -> String {
    let columns: Vec<_> = variables(flavor)
        .iter()
        .map(|name| format!("@@SESSION.{name}"))
        .collect();
    format!("{hint}SELECT DATABASE(), {}", columns.join(", "))
}

async fn settings(client: &mut Client, flavor: Flavor, hint: &str) -> Settings {
    match client.query(&question(flavor, hint)).await.unwrap() {
        Answer::Rows(mut rows) => {
            let names = std::iter::once("schema").chain(variables(flavor));
            names.zip(rows.remove(0)).collect()
        }
        other => panic!("no settings: {other:?}"),
    }
}

/// What is not as it should be: name, what was seen, what was expected.
fn difference(
    seen: &Settings,
    expected: &Settings,
) -> Vec<(&'static str, Option<String>, Option<String>)> {
    let wrong = seen
        .iter()
        .filter(|(name, value)| expected[*name] != **value);
    wrong
        .map(|(name, value)| (*name, value.clone(), expected[name].clone()))
        .collect()
}

/// Sends a preamble. What a server refuses, it refuses here too.
async fn send(client: &mut Client, statements: &[&str]) -> Vec<Option<u16>> {
    let mut errors = Vec::new();
    for statement in statements {
        let answer = client.query(statement).await.unwrap();
        errors.push(match answer {
            Answer::Err(refusal) => Some(refusal.code),
            _ => None,
        });
    }
    errors
}

/// What the same statements do on the server itself.
async fn oracle(rig: &Rig, statements: &[&str]) -> (Vec<Option<u16>>, Settings) {
    let address = rig.lab.writer().address();
    let mut client = Client::log_in(address, &rig.user, PASSWORD, &rig.schema).await;
    let errors = send(&mut client, statements).await;
    (errors, settings(&mut client, rig.lab.flavor(), "").await)
}

async fn preambles_share(flavor: Flavor) {
    const EACH: usize = 6;
    const ROUNDS: usize = 5;
    let rig = Rig::start(
        flavor,
        "[pool]\nmax_connections = 3\nborrow_timeout = \"20s\"",
    )
    .await;
    rig.prepare_data(&["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, who INT)"])
        .await;
    // A login without a cached password takes a key exchange that the client here cannot do.
    drop(rig.direct_writer().await);

    let mut tasks = Vec::new();
    for (number, (name, statements)) in PREAMBLES.into_iter().enumerate() {
        let (errors, expected) = oracle(&rig, statements).await;
        for copy in 0..EACH {
            let mut client = rig.wire().await;
            let (errors, expected) = (errors.clone(), expected.clone());
            let who = number * EACH + copy;
            // Some preambles select another schema.
            let table = format!("`{}`.t", rig.schema);
            tasks.push(tokio::spawn(async move {
                assert_eq!(send(&mut client, statements).await, errors, "{name}");
                for round in 0..ROUNDS {
                    for hint in ["", "/* isthmus:writer */ "] {
                        let seen = settings(&mut client, flavor, hint).await;
                        let wrong = difference(&seen, &expected);
                        assert!(
                            wrong.is_empty(),
                            "{name}, round {round}, hint {hint:?}: {wrong:?}"
                        );
                    }
                    let insert = format!("INSERT INTO {table} (who) VALUES ({who})");
                    client.query(&insert).await.unwrap().expect_ok();
                    let count = format!("SELECT COUNT(*) FROM {table} WHERE who = {who}");
                    let count = client.query(&count).await.unwrap().value();
                    assert_eq!(count, (round + 1).to_string(), "{name}");
                    client.query("COMMIT").await.unwrap().expect_ok();
                    tokio::task::yield_now().await;
                }
                client
            }));
        }
    }
    let sabotage = tokio::spawn({
        let address = rig.proxy.address();
        let user = rig.user.clone();
        async move {
            for _ in 0..3 {
                for statement in SABOTAGE {
                    let mut client = Client::log_in(address, &user, PASSWORD, &user).await;
                    client.query(statement).await.unwrap().expect_ok();
                    // So that the setting gets to both servers.
                    client.query(WHERE).await.unwrap().expect_ok();
                    client
                        .query("/* isthmus:writer */ SELECT 1")
                        .await
                        .unwrap()
                        .expect_ok();
                }
            }
        }
    });
    let mut clients = Vec::new();
    for task in tasks {
        clients.push(task.await.unwrap());
    }
    sabotage.await.unwrap();
    for server in rig.lab.servers() {
        let connections = rig.processes(server).await.len();
        assert!(
            connections <= 3,
            "{connections} connections to {}",
            server.name()
        );
    }
}

#[tokio::test]
async fn connects_share_on_mysql() {
    preambles_share(Flavor::Mysql).await;
}

#[tokio::test]
async fn connects_share_on_mariadb() {
    preambles_share(Flavor::Mariadb).await;
}

/// With one connection to each server, a session that kept one would stop all others.
async fn nobody_keeps_a_connection(flavor: Flavor) {
    let rig = Rig::start(
        flavor,
        "[pool]\nmax_connections = 1\nborrow_timeout = \"1s\"",
    )
    .await;
    drop(rig.direct_writer().await);
    let mut clients = Vec::new();
    for (name, statements) in PREAMBLES
        .into_iter()
        .chain(SABOTAGE.iter().map(|s| (*s, std::slice::from_ref(s))))
    {
        let (errors, expected) = oracle(&rig, statements).await;
        let mut client = rig.wire().await;
        assert_eq!(send(&mut client, statements).await, errors, "{name}");
        clients.push((name, client, expected));
    }
    for round in 0..3 {
        for (name, client, expected) in &mut clients {
            for hint in ["", "/* isthmus:writer */ "] {
                let seen = settings(client, flavor, hint).await;
                let wrong = difference(&seen, expected);
                assert!(
                    wrong.is_empty(),
                    "{name}, round {round}, hint {hint:?}: {wrong:?}"
                );
            }
        }
        // From the last to the first the next time: other neighbours.
        clients.reverse();
    }
}

#[tokio::test]
async fn nobody_keeps_a_connection_on_mysql() {
    nobody_keeps_a_connection(Flavor::Mysql).await;
}

#[tokio::test]
async fn nobody_keeps_a_connection_on_mariadb() {
    nobody_keeps_a_connection(Flavor::Mariadb).await;
}

/// A short wait_timeout is between the client and the proxy: a backend connection that took it
/// over would die in the pool.
async fn a_short_wait_timeout_kills_no_pooled_connection(flavor: Flavor) {
    let rig = Rig::start(
        flavor,
        "[pool]\nmax_connections = 1\nborrow_timeout = \"1s\"",
    )
    .await;
    let mut client = rig.wire().await;
    let id = "/* isthmus:writer */ SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%PROCESSLIST%'";
    client
        .query("SET wait_timeout = 1, interactive_timeout = 1")
        .await
        .unwrap()
        .expect_ok();
    let before = client.query(id).await.unwrap().value();
    // Longer than the timeout: this is about time itself.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut other = rig.wire().await;
    let after = other.query(id).await.unwrap().value();
    assert_eq!(before, after, "the pooled connection is another one");
}

#[tokio::test]
async fn a_short_wait_timeout_kills_no_pooled_connection_on_mysql() {
    a_short_wait_timeout_kills_no_pooled_connection(Flavor::Mysql).await;
}

#[tokio::test]
async fn a_short_wait_timeout_kills_no_pooled_connection_on_mariadb() {
    a_short_wait_timeout_kills_no_pooled_connection(Flavor::Mariadb).await;
}

/// Connections are shared by those who negotiated the same, under a limit for all of them. Where
/// some keep theirs busy, the others still get one.
async fn nobody_starves_for_having_negotiated_otherwise(flavor: Flavor) {
    let overlay = "[pool]\nmax_connections = 1\nborrow_timeout = \"4s\"";
    let rig = Rig::start(flavor, overlay).await;
    let mut busy = JoinSet::new();
    for _ in 0..4 {
        let mut client = rig.wire().await;
        busy.spawn(async move {
            loop {
                let nap = "/* isthmus:writer */ SELECT SLEEP(0.3)";
                client.query(nap).await.unwrap().expect_ok();
            }
        });
    }
    let mut other = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    other.capabilities |= Capabilities::FOUND_ROWS;
    let login = other.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
    login.await.unwrap().unwrap();
    for _ in 0..3 {
        let answer = other.query("/* isthmus:writer */ SELECT 1").await.unwrap();
        assert_eq!(answer.value(), "1");
    }
    assert!(busy.try_join_next().is_none(), "somebody else starved");
}

#[tokio::test]
async fn nobody_starves_for_having_negotiated_otherwise_on_mysql() {
    nobody_starves_for_having_negotiated_otherwise(Flavor::Mysql).await;
}

#[tokio::test]
async fn nobody_starves_for_having_negotiated_otherwise_on_mariadb() {
    nobody_starves_for_having_negotiated_otherwise(Flavor::Mariadb).await;
}

/// What cannot be carried over keeps its connection, and leaves nothing on it in the end.
async fn what_is_held_is_cleaned(flavor: Flavor) {
    let rig = Rig::start(
        flavor,
        "[pool]\nmax_connections = 1\nborrow_timeout = \"300ms\"",
    )
    .await;
    rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await;
    let held: [&[&str]; 6] = [
        &["BEGIN", "INSERT INTO t VALUES (1)"],
        &["SET @`é` = 1"],
        &["CREATE TEMPORARY TABLE mine (id INT)"],
        &["SELECT GET_LOCK('sharing', 0)"],
        &["LOCK TABLES t WRITE"],
        &["SET autocommit = 0", "INSERT INTO t VALUES (2)"],
    ];
    for statements in held {
        let last = statements.last().unwrap();
        for ending in ["goodbye", "reset"] {
            let mut holder = rig.wire().await;
            for statement in statements {
                holder.query(statement).await.unwrap().expect_ok();
            }
            let mut other = rig.wire().await;
            let refused = other.query("/* isthmus:writer */ SELECT 1").await.unwrap();
            assert_eq!(refused.code(), 9501, "{last}: the connection is not kept");
            match ending {
                "goodbye" => drop(holder),
                _ => holder
                    .command(&[Command::ResetConnection as u8])
                    .await
                    .unwrap()
                    .expect_ok(),
            }
            let clean = [
                ("/* isthmus:writer */ SELECT COUNT(*) FROM t", "0"),
                ("/* isthmus:writer */ SELECT @@autocommit", "1"),
                ("SELECT IS_FREE_LOCK('sharing')", "1"),
                ("SELECT @`é` IS NULL", "1"),
            ];
            for (question, expected) in clean {
                let mut checker = rig.wire().await;
                let answer = ask(&mut checker, question).await;
                assert_eq!(
                    answer.value(),
                    expected,
                    "{question} after {last} and {ending}"
                );
            }
            let gone = ask(&mut other, "/* isthmus:writer */ SELECT * FROM mine")
                .await
                .code();
            assert_eq!(gone, 1146, "the temporary table, after {last} and {ending}");
        }
    }
}

/// Asks until a connection is free.
async fn ask(client: &mut Client, sql: &str) -> Answer {
    let mut last = Answer::Ok;
    until("a connection is free", async || {
        last = client.query(sql).await.unwrap();
        !matches!(&last, Answer::Err(refusal) if refusal.code == 9501)
    })
    .await;
    last
}

#[tokio::test]
async fn what_is_held_is_cleaned_on_mysql() {
    what_is_held_is_cleaned(Flavor::Mysql).await;
}

#[tokio::test]
async fn what_is_held_is_cleaned_on_mariadb() {
    what_is_held_is_cleaned(Flavor::Mariadb).await;
}
