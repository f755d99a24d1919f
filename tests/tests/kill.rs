//! KILL by the proxy's own numbers: what is refused is refused as on a direct connection, and what
//! stands behind one in the same command runs.

#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isthmus_lab::{Flavor, Options};
use isthmus_tests::rig::{PASSWORD, Rig, WHERE, code, dedicated, make_user, until};
use isthmus_tests::wire::{Answer, Client};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// What is said of something: the error's number, state and text.
type Said = Option<(u16, String, String)>;

fn said(answer: Answer) -> Said {
    match answer {
        Answer::Err(refusal) => Some((refusal.code, refusal.state, refusal.message)),
        Answer::Ok | Answer::Rows(_) => None,
    }
}

async fn id(client: &mut Client) -> u64 {
    let id = client.query("SELECT CONNECTION_ID()").await.unwrap();
    id.value().parse().unwrap()
}

async fn what_may_not_be_killed_is_not(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let other = make_user(&rig.lab).await;
    let blueprint = rig.blueprint.clone().with_user(&other);
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    drop(rig.direct_writer().await);
    let mut direct =
        Client::log_in(rig.lab.writer().address(), &rig.user, PASSWORD, &rig.schema).await;
    let mut client = rig.wire().await;
    for command in ["KILL 999999999", "KILL QUERY 999999999"] {
        let expected = said(direct.query(command).await.unwrap());
        assert_eq!(said(client.query(command).await.unwrap()), expected);
    }
    let mut stranger = Client::log_in(rig.proxy.address(), &other, PASSWORD, &other).await;
    let number = id(&mut client).await;
    for command in [format!("KILL {number}"), format!("KILL QUERY {number}")] {
        let refused = said(stranger.query(&command).await.unwrap()).unwrap();
        assert_eq!(
            (refused.0, refused.1.as_str()),
            (1095, "HY000"),
            "{refused:?}"
        );
    }
    client.query("DO 1").await.unwrap().expect_ok();

    let blueprint = blueprint.with_right(&other, "kills_all_sessions");
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let kill = format!("KILL {number}");
    stranger.query(&kill).await.unwrap().expect_ok();
    client.closed().await.unwrap();
    let mut client = rig.wire().await;
    let own = id(&mut stranger).await;
    let refused = said(client.query(&format!("KILL {own}")).await.unwrap()).unwrap();
    assert_eq!(refused.0, 1095, "{refused:?}");
}

/// A read that is killed with its session is not run again elsewhere.
async fn a_killed_read_is_over(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)"])
        .await;
    let mut victim = rig.connect().await;
    let mut killer = rig.connect().await;
    let number = victim.id();
    let long = "/* isthmus:reader */ SELECT a, SLEEP(300) FROM t";
    let reading = tokio::spawn(async move { victim.query_drop(long).await });
    let runs_on = async |server| {
        let running = rig.processes(server).await;
        running
            .iter()
            .flatten()
            .any(|sql| sql.contains("SLEEP(300)"))
    };
    until("the reader runs it", async || {
        runs_on(rig.lab.reader()).await
    })
    .await;
    killer.query_drop(format!("KILL {number}")).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), reading).await;
    ended.expect("it is over").unwrap().unwrap_err();
    assert!(!runs_on(rig.lab.writer()).await);
}

/// Whoever kills what runs hears of it where the server does not let the proxy in.
async fn a_kill_that_the_server_does_not_take_is_no_success(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut victim = rig.connect().await;
    let mut killer = rig.connect().await;
    let kill = format!("KILL QUERY {}", victim.id());
    let long = "/* isthmus:writer */ SELECT SLEEP(300)";
    let sleeping = tokio::spawn(async move { victim.query_drop(long).await });
    until("the writer runs it", async || {
        let running = rig.processes(rig.lab.writer()).await;
        running
            .iter()
            .flatten()
            .any(|sql| sql.contains("SLEEP(300)"))
    })
    .await;
    let set_account = async |what| {
        let alter = format!("ALTER USER {}@'%' ACCOUNT {what}", rig.user);
        rig.lab.writer().execute(alter).await.unwrap();
    };
    set_account("LOCK").await;
    assert_eq!(code(killer.query_drop(&kill).await), 1105);
    set_account("UNLOCK").await;
    killer.query_drop(&kill).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), sleeping).await;
    let _ = ended.expect("it is over").unwrap();
}

/// A session that waits for a connection hears at once that it was killed.
async fn who_waits_can_be_killed(flavor: Flavor) {
    let rig = Rig::start(
        flavor,
        "[pool]\nmax_connections = 1\nborrow_timeout = \"10m\"",
    )
    .await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let (mut holder, mut killer) = (rig.connect().await, rig.connect().await);
    let mut victim = rig.connect().await;
    let number = victim.id();
    holder.query_drop("BEGIN").await.unwrap();
    holder.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    let waiting = tokio::spawn(async move { victim.query_drop("DELETE FROM t").await });
    until("it waits", async || {
        let sessions: Vec<Row> = killer.query("SHOW ISTHMUS SESSIONS").await.unwrap();
        let mut its = sessions.iter().filter(|row| row.get("id") == Some(number));
        its.any(|row| row.get("state") == Some("working".to_owned()))
    })
    .await;
    killer.query_drop(format!("KILL {number}")).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    let ended = ended.expect("it is over").unwrap();
    assert_eq!(code(ended), 1317);
    holder.query_drop("COMMIT").await.unwrap();
}

/// KILL QUERY ends what waits within the proxy, for a connection or for the reader to catch up, and
/// the session goes on.
async fn who_waits_can_be_interrupted(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    });
    let overlay = "[pool]\nmax_connections = 1\nborrow_timeout = \"10m\"\n\
                   [consistency]\non_stale = \"wait\"\nmax_wait = \"10m\"";
    let rig = Rig::start_on(lab.await, overlay).await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let (mut holder, mut killer) = (rig.connect().await, rig.connect().await);
    let mut victim = rig.connect().await;
    until("the reader answers", async || {
        victim.query_first(WHERE).await.unwrap() == Some("reader".to_owned())
    })
    .await;
    holder.query_drop("BEGIN").await.unwrap();
    holder.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    interrupt(&mut victim, &mut killer, "DELETE FROM t").await;
    holder.query_drop("COMMIT").await.unwrap();

    rig.lab.stop_replication().await.unwrap();
    victim.query_drop("INSERT INTO t VALUES (2)").await.unwrap();
    interrupt(&mut victim, &mut killer, "SELECT a FROM t").await;
    rig.lab.start_replication().await.unwrap();
    let rows: Vec<i32> = victim.query("SELECT a FROM t ORDER BY a").await.unwrap();
    assert_eq!(rows, [1, 2]);

    // What follows a ROLLBACK waits until the server has answered to that.
    victim.query_drop("BEGIN").await.unwrap();
    victim.query_drop("DELETE FROM t").await.unwrap();
    rig.lab.writer().pause().await.unwrap();
    victim.query_drop("ROLLBACK").await.unwrap();
    interrupt(&mut victim, &mut killer, "UPDATE t SET a = 3").await;
    rig.lab.writer().resume().unwrap();
}

/// A KILL QUERY that arrives after its statement has ended is not for whoever has the connection next.
async fn a_late_kill_hits_nobody_else(flavor: Flavor) {
    let rig = Rig::start(flavor, "[pool]\nmax_connections = 1").await;
    let (mut victim, mut bystander) = (rig.connect().await, rig.connect().await);
    let mut killer = rig.connect().await;
    let kill = format!("KILL QUERY {}", victim.id());
    let is_over = Arc::new(AtomicBool::new(false));
    // Whoever is interrupted while it sleeps gets a 1 for it, or an error.
    let sleep = "/* isthmus:writer */ SELECT SLEEP(0.002)";
    let ends = is_over.clone();
    let sleeping = tokio::spawn(async move {
        while !ends.load(Ordering::Relaxed) {
            // The KILL is for this one.
            let _ = victim.query_drop(sleep).await;
        }
    });
    let ends = is_over.clone();
    let unharmed = tokio::spawn(async move {
        let mut unharmed = 0;
        while !ends.load(Ordering::Relaxed) {
            let slept: Option<i32> = bystander.query_first(sleep).await.unwrap();
            assert_eq!(slept, Some(0), "after {unharmed}");
            unharmed += 1;
        }
        unharmed
    });
    for _ in 0..500 {
        killer.query_drop(&kill).await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    sleeping.await.unwrap();
    assert!(unharmed.await.unwrap() > 50);
}

/// Who would rather see an old state than none has not asked for one by that.
async fn an_interrupted_read_shows_nothing_old(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    });
    let overlay = "[pool]\nmax_connections = 1\nborrow_timeout = \"10m\"\n\
                   [consistency]\non_stale = \"writer\"";
    let rig = Rig::start_on(lab.await, overlay).await;
    let blueprint = rig.blueprint.clone();
    let blueprint = blueprint.with_user_setting(&rig.user, "stale_reads", "when_writer_is_down");
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let (mut holder, mut killer) = (rig.connect().await, rig.connect().await);
    let mut victim = rig.connect().await;
    rig.lab.stop_replication().await.unwrap();
    victim.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    holder.query_drop("BEGIN").await.unwrap();
    holder.query_drop("INSERT INTO t VALUES (2)").await.unwrap();
    interrupt(&mut victim, &mut killer, "SELECT a FROM t").await;
    holder.query_drop("COMMIT").await.unwrap();
}

/// Runs a statement that would wait for minutes, and interrupts it until it is over.
async fn interrupt(victim: &mut Conn, killer: &mut Conn, statement: &str) {
    let number = victim.id();
    let waiting = victim.query_drop(statement);
    tokio::pin!(waiting);
    let start = Instant::now();
    let outcome = loop {
        assert!(start.elapsed() < Duration::from_secs(30), "{statement}");
        let pause = tokio::time::timeout(Duration::from_millis(50), &mut waiting);
        match pause.await {
            Ok(outcome) => break outcome,
            Err(_) => {
                let kill = format!("KILL QUERY {number}");
                killer.query_drop(kill).await.unwrap();
            }
        }
    };
    assert_eq!(code(outcome), 1317, "{statement}");
}

async fn what_stands_behind_a_kill_runs(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut victim = rig.connect().await;
    let number: u64 = victim
        .query_first("SELECT CONNECTION_ID()")
        .await
        .unwrap()
        .unwrap();
    let mut conn = rig.connect().await;
    let script = format!("KILL {number}; SELECT 7; SELECT 8");
    let mut result = conn.query_iter(script).await.unwrap();
    for expected in [vec![], vec![7], vec![8]] {
        assert_eq!(result.collect::<i32>().await.unwrap(), expected);
    }
    drop(result);
    assert!(victim.query_drop("DO 1").await.is_err());

    let script = "KILL 999999999; CREATE TABLE behind (id INT)";
    assert_eq!(code(conn.query_drop(script).await), 1094);
    assert_eq!(code(conn.query_drop("DROP TABLE behind").await), 1051);
}

/// The number may be in a user variable, or come as a parameter, as drivers that prepare everything
/// send it.
async fn numbers_come_in_other_clothes(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut killer = rig.connect().await;
    for place in 0..4 {
        let mut victim = rig.connect().await;
        let number = victim.id();
        match (place, flavor) {
            (0, _) => {
                let sql = format!("KILL CONNECTION {number}");
                killer.exec_drop(sql, ()).await.unwrap();
            }
            (1, _) => {
                let sql = format!("SET @Victim = {number}");
                killer.query_drop(sql).await.unwrap();
                killer.query_drop("KILL @victim").await.unwrap();
            }
            // MySQL takes none.
            (_, Flavor::Mysql) => {
                assert_eq!(code(killer.exec_drop("KILL ?", (number,)).await), 6413);
                continue;
            }
            (2, _) => killer.exec_drop("KILL ?", (number,)).await.unwrap(),
            (_, _) => {
                let sql = "KILL CONNECTION ?";
                killer.exec_drop(sql, (number.to_string(),)).await.unwrap();
            }
        }
        assert!(victim.query_drop("DO 1").await.is_err(), "{place}");
    }
    assert_eq!(code(killer.exec_drop("KILL 999999999", ()).await), 1094);
    assert_eq!(code(killer.query_drop("KILL @unset").await), 1235);
    killer.query_drop("BEGIN").await.unwrap();
    killer.query_drop("SELECT 1 INTO @victim").await.unwrap();
    assert_eq!(code(killer.query_drop("KILL @victim").await), 1235);
}

/// Ctrl-C in a terminal, in the client of each server: it kills its statement from a connection of
/// its own.
async fn ctrl_c_interrupts_a_statement(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let client = flavor.client_command().unwrap();
    let program = client.get_program().display();
    let (no_tls, killed) = match flavor {
        Flavor::Mysql => ("--ssl-mode=DISABLED", "query aborted"),
        Flavor::Mariadb => ("--ssl=0", "query killed"),
    };
    let command = format!(
        "exec {program} --no-defaults --host=127.0.0.1 --port={} --user={} --password={PASSWORD} {no_tls} --unbuffered",
        rig.proxy.address().port(),
        rig.user
    );
    // `script` gives it a terminal; a shell that stayed between them would end with the signal.
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let mut screen = terminal.stdout.take().unwrap();
    keys.write_all(b"SELECT SLEEP(100), 'slept';\n")
        .await
        .unwrap();
    let is_sleeping = async || {
        let mut all = rig.processes(rig.lab.writer()).await;
        all.extend(rig.processes(rig.lab.reader()).await);
        all.iter().flatten().any(|sql| sql.contains("SLEEP"))
    };
    until("the statement runs", &is_sleeping).await;
    const CTRL_C: &[u8] = b"\x03";
    keys.write_all(CTRL_C).await.unwrap();
    until("the statement has ended", async || !is_sleeping().await).await;
    keys.write_all(b"SELECT CONCAT('goes', ' on');\nexit\n")
        .await
        .unwrap();
    let mut seen = Vec::new();
    screen.read_to_end(&mut seen).await.unwrap();
    let seen = String::from_utf8_lossy(&seen);
    for part in [killed, "goes on"] {
        assert!(seen.contains(part), "{seen}");
    }
    assert!(terminal.wait().await.unwrap().success(), "{seen}");
}

isthmus_tests::on_both! {
    a_killed_read_is_over
    a_kill_that_the_server_does_not_take_is_no_success
    who_waits_can_be_killed
    who_waits_can_be_interrupted
    an_interrupted_read_shows_nothing_old
    a_late_kill_hits_nobody_else
    ctrl_c_interrupts_a_statement
    what_may_not_be_killed_is_not
    what_stands_behind_a_kill_runs
    numbers_come_in_other_clothes
}
