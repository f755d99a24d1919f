//! The world changes under busy connections: not one error, no stale read, nobody is cut off.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use isthmus_lab::{Flavor, Options, Relay, Signal};
use isthmus_tests::rig::{
    Blueprint, PASSWORD, PATIENCE, Rig, WHERE, code, dedicated, driver_options, http, make_user,
    until,
};
use isthmus_tests::wire::{Client, closed};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row, TxOpts};
use tokio::net::TcpStream;

const BUSY: u32 = 64;
const ON_WRITER: &str = "/* isthmus:writer */ ";

/// Connections that never rest, until they are told to.
struct Crowd {
    stop: Arc<AtomicBool>,
    /// While set, nobody begins to write.
    only_reads: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Result<(), String>>>,
}

impl Crowd {
    async fn gather(rig: &Rig) -> Self {
        rig.prepare_data(&["CREATE TABLE registers (id INT PRIMARY KEY, n INT)"])
            .await;
        let values: Vec<String> = (0..BUSY).map(|id| format!("({id}, 0)")).collect();
        rig.prepare_data(&[&format!(
            "INSERT INTO registers VALUES {}",
            values.join(", ")
        )])
        .await;
        let (stop, only_reads) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let rounds = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for id in 0..BUSY {
            let mut conn = rig.connect().await;
            let (stop, only_reads, rounds) = (stop.clone(), only_reads.clone(), rounds.clone());
            tasks.push(tokio::spawn(async move {
                let mut expected = 0;
                while !stop.load(Ordering::Relaxed) {
                    let writes = !only_reads.load(Ordering::Relaxed);
                    let seen = work(&mut conn, id, writes, &mut expected).await;
                    let seen = seen.map_err(|error| format!("connection {id}: {error}"))?;
                    if seen != Some(expected) {
                        return Err(format!(
                            "connection {id} read {seen:?} after write {expected}"
                        ));
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        Self {
            stop,
            only_reads,
            rounds,
            tasks,
        }
    }

    /// Waits until everybody has had some more turns.
    async fn turn(&self) {
        let goal = self.rounds.load(Ordering::Relaxed) + 2 * u64::from(BUSY);
        until("the connections go on", async || {
            self.rounds.load(Ordering::Relaxed) >= goal || self.has_failed()
        })
        .await;
    }

    fn has_failed(&self) -> bool {
        self.tasks.iter().any(tokio::task::JoinHandle::is_finished)
    }

    async fn dismiss(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut errors = Vec::new();
        for task in self.tasks {
            errors.extend(task.await.unwrap().err());
        }
        assert!(
            errors.is_empty(),
            "{} of {BUSY} connections had an error: {errors:#?}",
            errors.len()
        );
        self.rounds.load(Ordering::Relaxed)
    }
}

/// One turn of a connection; returns what its register says.
async fn work(
    conn: &mut Conn,
    id: u32,
    writes: bool,
    expected: &mut u32,
) -> mysql_async::Result<Option<u32>> {
    if writes {
        match id % 3 {
            0 => {
                conn.query_drop(format!("UPDATE registers SET n = n + 1 WHERE id = {id}"))
                    .await?
            }
            1 => {
                conn.exec_drop("UPDATE registers SET n = n + 1 WHERE id = ?", (id,))
                    .await?
            }
            _ => {
                let mut transaction = conn.start_transaction(TxOpts::default()).await?;
                transaction
                    .query_drop(format!("UPDATE registers SET n = n + 1 WHERE id = {id}"))
                    .await?;
                transaction
                    .exec_drop("UPDATE registers SET n = n WHERE id = ?", (id,))
                    .await?;
                transaction.commit().await?;
            }
        }
        *expected += 1;
    }
    conn.query_drop("SELECT COUNT(*) FROM registers").await?;
    match id % 2 {
        0 => {
            conn.query_first(format!("SELECT n FROM registers WHERE id = {id}"))
                .await
        }
        _ => {
            conn.exec_first("SELECT n FROM registers WHERE id = ?", (id,))
                .await
        }
    }
}

/// Few connections, so that most sessions are waiting for one at any time.
const TIGHT: &str =
    "[pool]\nmax_connections = 6\nborrow_timeout = \"20s\"\n[reload]\nwatch = true\n";

/// How a reload is asked for.
#[derive(Debug, Clone, Copy)]
enum Way {
    Http,
    Hangup,
    Watch,
}

#[tokio::test]
async fn a_smaller_pool_is_smaller_while_it_is_busy() {
    let size = |connections: usize| format!("[pool]\nmax_connections = {connections}");
    let rig = Rig::start(Flavor::Mysql, &size(12)).await;
    let crowd = Crowd::gather(&rig).await;
    let open = async || rig.processes(rig.lab.writer()).await.len();
    until("all connections are open", async || open().await == 12).await;
    for connections in [3, 12, 5] {
        let smaller = rig.blueprint.clone().with(&size(connections));
        assert_eq!(rig.reload(&smaller).await.0, 200);
        until("the pool has its new size", async || {
            open().await == connections
        })
        .await;
        crowd.turn().await;
        assert_eq!(open().await, connections);
    }
    // Nor does it make and close them all the time.
    let made = async || {
        let (_, metrics) = http(rig.proxy.admin_address(), "GET", "/metrics").await;
        let name = "isthmus_backend_connections_created_total{endpoint=\"tokyo\"}";
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{metrics}")).to_owned()
    };
    let before = made().await;
    crowd.turn().await;
    assert_eq!(made().await, before);
    crowd.dismiss().await;
}

/// Applies a configuration and waits until it is in force.
async fn apply(rig: &Rig, blueprint: &Blueprint, way: Way) {
    let before = rig.proxy.log().matches("reloaded:").count();
    match way {
        Way::Http => {
            let (status, body) = rig.reload(blueprint).await;
            assert_eq!(status, 200, "{body}");
        }
        Way::Hangup => rig.proxy.reload(&rig.render(blueprint)).unwrap(),
        Way::Watch => rig.write_config(&rig.render(blueprint)),
    }
    until("the reload is in the log", async || {
        rig.proxy.log().matches("reloaded:").count() > before
    })
    .await;
}

async fn endpoints_change(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        readers: 2,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab.clone(), TIGHT).await;
    let second_writer = Relay::start(lab.writer().address(), Duration::ZERO).unwrap();
    let other_reader = lab.readers()[1].address();
    let second_reader = Relay::start(other_reader, Duration::ZERO).unwrap();

    let crowd = Crowd::gather(&rig).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(rig.wire().await);
    }
    // Transactions that are open all the time, on the writer and on the reader.
    let mut open = rig.wire().await;
    for statement in [
        "CREATE TABLE slow (id INT)",
        "BEGIN",
        "INSERT INTO slow VALUES (1)",
    ] {
        open.query(statement).await.unwrap().expect_ok();
    }
    let mut reading = rig.wire().await;
    reading
        .query("START TRANSACTION READ ONLY")
        .await
        .unwrap()
        .expect_ok();
    assert_eq!(reading.query(WHERE).await.unwrap().value(), "reader");

    let (w1, w2) = (rig.writer.address(), second_writer.address());
    let (r1, r2) = (rig.reader.address(), second_reader.address());
    let base = |endpoints: &[(&str, SocketAddr, &str)]| {
        let mut blueprint = rig.blueprint.clone();
        blueprint.set_endpoints(endpoints);
        blueprint
    };
    let worlds: Vec<(&str, Blueprint)> = vec![
        (
            "the reader moved",
            base(&[("tokyo", w1, "writer"), ("virginia", r2, "reader")]),
        ),
        (
            "a reader added",
            base(&[
                ("tokyo", w1, "writer"),
                ("virginia", r2, "reader"),
                ("extra", r1, "reader"),
            ]),
        ),
        (
            "a reader removed",
            base(&[("tokyo", w1, "writer"), ("extra", r1, "reader")]),
        ),
        (
            "the reader renamed",
            base(&[("tokyo", w1, "writer"), ("ashburn", r1, "reader")]),
        ),
        (
            "the writer moved",
            base(&[("tokyo", w2, "writer"), ("ashburn", r1, "reader")]),
        ),
        (
            "no reader",
            base(&[("tokyo", w2, "writer")]).with("region = \"tokyo\""),
        ),
        (
            "both back",
            base(&[("tokyo", w1, "writer"), ("virginia", r1, "reader")]),
        ),
        (
            "a small pool",
            rig.blueprint.clone().with("[pool]\nmax_connections = 3"),
        ),
        (
            "a large pool",
            rig.blueprint.clone().with("[pool]\nmax_connections = 20"),
        ),
        (
            "short lives",
            rig.blueprint
                .clone()
                .with("[pool]\nmax_connections = 6\nmax_life = \"1s\""),
        ),
        ("another user", rig.blueprint.clone().with_user("newcomer")),
        ("without the other user", rig.blueprint.clone()),
        (
            "waiting",
            rig.blueprint
                .clone()
                .with("[consistency]\non_stale = \"wait\"\nmax_wait = \"200ms\""),
        ),
        (
            "another source",
            rig.blueprint
                .clone()
                .with("[consistency]\nsource = \"gtid\""),
        ),
        (
            "other timeouts",
            rig.blueprint
                .clone()
                .with("[timeouts]\nconnect = \"3s\"\n[log]\nlevel = \"info\""),
        ),
    ];
    let ways = [Way::Http, Way::Hangup, Way::Watch];
    for ((name, world), way) in worlds.iter().zip(ways.into_iter().cycle()) {
        println!("{name}, by {way:?}");
        apply(&rig, world, way).await;
        crowd.turn().await;
        if crowd.has_failed() {
            break;
        }
    }
    let rounds = crowd.dismiss().await;
    println!(
        "{flavor}: {rounds} turns of {BUSY} connections, {} reloads, no error",
        worlds.len()
    );

    for client in &mut idle {
        comes_to(client, "reader").await;
    }
    open.query("INSERT INTO slow VALUES (2)")
        .await
        .unwrap()
        .expect_ok();
    let own = open
        .query("SELECT COUNT(*) FROM slow")
        .await
        .unwrap()
        .value();
    assert_eq!(own, "2", "the transaction is where it was");
    let others = format!("{ON_WRITER}SELECT COUNT(*) FROM slow");
    assert_eq!(rig.wire().await.query(&others).await.unwrap().value(), "0");
    open.query("COMMIT").await.unwrap().expect_ok();
    assert_eq!(rig.wire().await.query(&others).await.unwrap().value(), "2");
    assert_eq!(
        open.query("SELECT COUNT(*) FROM slow")
            .await
            .unwrap()
            .value(),
        "2"
    );
    assert_eq!(reading.query(WHERE).await.unwrap().value(), "reader");
    reading.query("COMMIT").await.unwrap().expect_ok();

    // Nothing is left on addresses that are no endpoints any more.
    for relay in [&second_writer, &second_reader] {
        until("connections to former endpoints are closed", async || {
            relay.traffic().open == 0
        })
        .await;
    }
}

/// A session reads on this server, as soon as that has what the session has seen elsewhere.
async fn comes_to(client: &mut Client, server: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let place = client.query(WHERE).await.unwrap().value();
        if place == server {
            return;
        }
        assert!(Instant::now() < deadline, "still on the {place}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn endpoints_change_on_mysql() {
    endpoints_change(Flavor::Mysql).await;
}

#[tokio::test]
async fn endpoints_change_on_mariadb() {
    endpoints_change(Flavor::Mariadb).await;
}

/// The roles are swapped on the servers and in the file, under readers that do not notice.
async fn roles_are_swapped(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab.clone(), TIGHT).await;
    let crowd = Crowd::gather(&rig).await;
    crowd.turn().await;
    let (first, second) = (rig.writer.address(), rig.reader.address());
    for round in 0..2 {
        crowd.only_reads.store(true, Ordering::Relaxed);
        // Those that write finish what they are at.
        crowd.turn().await;
        lab.wait_caught_up().await.unwrap();
        lab.promote(0).await.unwrap();
        let mut swapped = rig.blueprint.clone();
        let (writer, reader) = if round == 0 {
            (second, first)
        } else {
            (first, second)
        };
        let names = if round == 0 {
            ("virginia", "tokyo")
        } else {
            ("tokyo", "virginia")
        };
        swapped.set_endpoints(&[(names.0, writer, "writer"), (names.1, reader, "reader")]);
        apply(&rig, &swapped, Way::Http).await;
        crowd.only_reads.store(false, Ordering::Relaxed);
        crowd.turn().await;
        let sign = if round == 0 {
            ("reader", "writer")
        } else {
            ("writer", "reader")
        };
        let mut client = rig.wire().await;
        assert_eq!(
            client
                .query(&format!("{ON_WRITER}{WHERE}"))
                .await
                .unwrap()
                .value(),
            sign.0
        );
        comes_to(&mut client, sign.1).await;
    }
    let rounds = crowd.dismiss().await;
    println!("{flavor}: {rounds} turns of {BUSY} connections, the roles swapped twice, no error");
}

/// A transaction on the former writer ends there, however it ends.
async fn a_transaction_ends_where_it_began(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut conn = rig.connect().await;
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    let mut swapped = rig.blueprint.clone();
    let (writer, reader) = (rig.reader.address(), rig.writer.address());
    swapped.set_endpoints(&[("virginia", writer, "writer"), ("tokyo", reader, "reader")]);
    apply(&rig, &swapped, Way::Http).await;
    conn.query_drop("SELECT 1").await.unwrap();
    // Which commits what was open.
    for sql in [
        "START TRANSACTION READ WRITE",
        "INSERT INTO t VALUES (2)",
        "ROLLBACK",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    let rows: Vec<i32> = rig
        .direct_writer()
        .await
        .query("SELECT a FROM t")
        .await
        .unwrap();
    assert_eq!(rows, [1]);
}

#[tokio::test]
async fn a_transaction_ends_where_it_began_on_mysql() {
    a_transaction_ends_where_it_began(Flavor::Mysql).await;
}

#[tokio::test]
async fn a_transaction_ends_where_it_began_on_mariadb() {
    a_transaction_ends_where_it_began(Flavor::Mariadb).await;
}

#[tokio::test]
async fn roles_are_swapped_on_mysql() {
    roles_are_swapped(Flavor::Mysql).await;
}

#[tokio::test]
async fn roles_are_swapped_on_mariadb() {
    roles_are_swapped(Flavor::Mariadb).await;
}

/// A write that waits for a writer that is down runs on the one that takes its place.
async fn what_waits_for_the_writer_follows_a_reload(flavor: Flavor, names: [&str; 2]) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab.clone(), "[pool]\nborrow_timeout = \"60s\"").await;
    rig.prepare_data(&["CREATE TABLE t (a INT PRIMARY KEY)"])
        .await;
    let (mut session, mut watching) = (rig.connect().await, rig.connect().await);
    let id = session.id();
    lab.wait_caught_up().await.unwrap();
    let mut last = TcpStream::connect(rig.writer.address()).await.unwrap();
    lab.writer().kill();
    // Before it is gone, with its connections, it would still take the write, and lose it.
    until("the writer is gone", async || {
        TcpStream::connect(lab.writer().address()).await.is_err()
    })
    .await;
    closed(&mut last).await.unwrap();
    let writing = tokio::spawn(async move {
        session
            .query_drop("INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        session
            .query_first::<u8, _>("SELECT a FROM t")
            .await
            .unwrap()
    });
    until("the write waits for the writer", async || {
        let sessions: Vec<Row> = watching.query("SHOW ISTHMUS SESSIONS").await.unwrap();
        let mut its = sessions.iter().filter(|row| row.get("id") == Some(id));
        its.any(|row| row.get("state") == Some("working".to_owned()))
    })
    .await;
    let old = lab.writer();
    lab.promote(0).await.unwrap();
    let mut promoted = rig.blueprint.clone();
    let [old_name, new_name] = names;
    let (address, new) = (rig.writer.address(), rig.reader.address());
    promoted.set_endpoints(&[(old_name, address, "reader"), (new_name, new, "writer")]);
    apply(&rig, &promoted, Way::Http).await;
    // It would take the write.
    old.start().await.unwrap();
    let shown = tokio::time::timeout(Duration::from_secs(30), writing).await;
    assert_eq!(shown.unwrap().unwrap(), Some(1));
    let written = format!("SELECT CAST(COUNT(*) AS CHAR) FROM {}.t", rig.schema);
    let written: Option<String> = lab.writer().query_value(&written).await.unwrap();
    assert_eq!(written.as_deref(), Some("1"), "{names:?}");
}

#[tokio::test]
async fn what_waits_for_the_writer_follows_a_reload_on_mysql() {
    // Under another name, the former writer is another endpoint.
    for names in [["tokyo", "virginia"], ["virginia", "tokyo"]] {
        what_waits_for_the_writer_follows_a_reload(Flavor::Mysql, names).await;
    }
}

#[tokio::test]
async fn what_waits_for_the_writer_follows_a_reload_on_mariadb() {
    // Under another name, the former writer is another endpoint.
    for names in [["tokyo", "virginia"], ["virginia", "tokyo"]] {
        what_waits_for_the_writer_follows_a_reload(Flavor::Mariadb, names).await;
    }
}

/// A session that has written, and has seen its write on the reader, is not sent into the past by
/// another reader that takes its place.
#[tokio::test]
async fn a_new_reader_may_be_behind() {
    let lab = dedicated(Options {
        readers: 2,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab.clone(), "").await;
    rig.prepare_data(&["CREATE TABLE t (n INT)", "INSERT INTO t VALUES (0)"])
        .await;
    let behind = lab.readers()[1];
    behind.execute("STOP REPLICA SQL_THREAD").await.unwrap();
    let mut client = rig.wire().await;
    client
        .query("UPDATE t SET n = 1")
        .await
        .unwrap()
        .expect_ok();
    until("the first reader has the write", async || {
        client.query(WHERE).await.unwrap().value() == "reader"
    })
    .await;
    let mut moved = rig.blueprint.clone();
    moved.set_endpoints(&[
        ("tokyo", rig.writer.address(), "writer"),
        ("virginia", behind.address(), "reader"),
    ]);
    assert_eq!(rig.reload(&moved).await.0, 200);
    assert_eq!(
        client.query("SELECT n FROM t").await.unwrap().value(),
        "1",
        "a stale read"
    );
    // Others, who have written nothing, see that the reader is behind: the test has a reason.
    assert_eq!(
        rig.wire()
            .await
            .query("SELECT n FROM t")
            .await
            .unwrap()
            .value(),
        "0"
    );
    behind.execute("START REPLICA SQL_THREAD").await.unwrap();
    until("the second reader answers", async || {
        client.query(WHERE).await.unwrap().value() == "reader"
    })
    .await;
}

#[tokio::test]
async fn users_come_and_go() {
    let rig = Rig::start(Flavor::Mysql, "").await;
    let name = make_user(&rig.lab).await;
    let log_in = || {
        Conn::new(Opts::from(driver_options(
            rig.proxy.address(),
            &name,
            PASSWORD,
        )))
    };
    assert_eq!(code(log_in().await), 1045);
    let with_both = rig.blueprint.clone().with_user(&name);
    assert_eq!(rig.reload(&with_both).await.0, 200);
    let mut guest = log_in().await.unwrap();
    let mut in_transaction = log_in().await.unwrap();
    in_transaction
        .query_drop(format!("CREATE TABLE {name}.t (id INT)"))
        .await
        .unwrap();
    in_transaction.query_drop("BEGIN").await.unwrap();
    in_transaction
        .query_drop(format!("INSERT INTO {name}.t VALUES (1)"))
        .await
        .unwrap();
    guest.query_drop("SELECT 1").await.unwrap();
    let mut own = rig.wire().await;

    assert_eq!(rig.reload(&rig.blueprint).await.0, 200);
    assert_eq!(code(log_in().await), 1045);
    assert_eq!(code(guest.query_drop("SELECT 1").await), 1045);
    in_transaction
        .query_drop(format!("INSERT INTO {name}.t VALUES (2)"))
        .await
        .unwrap();
    in_transaction.query_drop("COMMIT").await.unwrap();
    assert_eq!(code(in_transaction.query_drop("SELECT 1").await), 1045);
    let count = format!("{ON_WRITER}SELECT COUNT(*) FROM {name}.t");
    assert_eq!(
        own.query(&count).await.unwrap().value(),
        "2",
        "the transaction was finished"
    );

    // A new password is for new logins.
    let changed = rig.blueprint.clone().with(&format!(
        "[[users]]\nname = \"{}\"\npassword = \"new\"\nbackend_password = \"{PASSWORD}\"",
        rig.user
    ));
    assert_eq!(rig.reload(&changed).await.0, 200);
    own.query("SELECT 1").await.unwrap().expect_ok();
    let with = |password: &str| {
        Conn::new(Opts::from(driver_options(
            rig.proxy.address(),
            &rig.user,
            password,
        )))
    };
    assert_eq!(code(with(PASSWORD).await), 1045);
    with("new")
        .await
        .unwrap()
        .query_drop("SELECT 1")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_file_with_an_error_changes_nothing() {
    let rig = Rig::start(Flavor::Mysql, "[reload]\nwatch = true").await;
    let mut client = rig.wire().await;
    let good = rig.render(&rig.blueprint);
    let cases = [
        ("no TOML", "region = ".to_owned(), "isthmus.toml:1:"),
        (
            "an unknown field",
            format!("{good}\n[pool]\nmax_conections = 1\n"),
            "max_conections",
        ),
        (
            "a wrong value",
            format!("{good}\n[pool]\nborrow_timeout = \"soon\"\n"),
            "soon",
        ),
        (
            "two writers",
            good.replace("\"reader\"", "\"writer\""),
            "writer",
        ),
        ("no users", good.replace("[[users]]", "[[other]]"), "other"),
        (
            "a missing file",
            format!("{good}\n[server_tls]\nmode = \"verify-ca\"\nca = \"nowhere.pem\"\n"),
            "nowhere.pem",
        ),
        ("nothing", String::new(), ""),
    ];
    for (name, text, named) in cases {
        let before = rig.proxy.log().matches("not reloaded").count();
        rig.write_config(&text);
        let (status, body) = http(rig.proxy.admin_address(), "POST", "/api/reload").await;
        assert_eq!(status, 422, "{name}: {body}");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["applied"], false, "{name}");
        assert!(
            answer["error"].as_str().unwrap().contains(named),
            "{name}: {body}"
        );
        until("it is in the log", async || {
            rig.proxy.log().matches("not reloaded").count() > before
        })
        .await;
        rig.proxy.signal(Signal::HUP).unwrap();
        until("it is in the log again", async || {
            rig.proxy.log().matches("not reloaded").count() > before + 1
        })
        .await;
        assert_eq!(
            client.query(WHERE).await.unwrap().value(),
            "reader",
            "{name}"
        );
        assert_eq!(
            rig.wire().await.query(WHERE).await.unwrap().value(),
            "reader",
            "{name}"
        );
    }
    rig.write_config(&good);
    let (status, body) = http(rig.proxy.admin_address(), "POST", "/api/reload").await;
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["changes"].as_array().unwrap().len(), 0, "{body}");
    let moved = rig
        .blueprint
        .clone()
        .with("[pool]\nborrow_timeout = \"3s\"");
    let (_, body) = rig.reload(&moved).await;
    assert!(
        body.contains("borrow_timeout"),
        "the answer says what has changed: {body}"
    );
    assert_eq!(
        http(rig.proxy.admin_address(), "GET", "/api/reload")
            .await
            .0,
        405
    );

    // A connection that has never logged in survives all this, too.
    let waiting = Client::connect(rig.proxy.address()).await.unwrap();
    assert_eq!(rig.reload(&rig.blueprint).await.0, 200);
    let mut waiting = waiting.unwrap();
    waiting
        .authenticate(&rig.user, PASSWORD, None)
        .await
        .unwrap()
        .unwrap();
}
