//! Bad input, from clients and from servers: each gets its error, nobody else notices, and no
//! backend connection is used again with something left on it.

#![allow(clippy::unwrap_used)]

mod nonsense;
mod uploads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isthmus_lab::{Direction, Flavor, Process, proxy_binary};
use isthmus_tests::garbling;
use isthmus_tests::rig::{Blueprint, PASSWORD, PATIENCE, Rig, WHERE, code, shared, until};
use isthmus_tests::wire::{Answer, Client, Packet, query_payload};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row};

const ON_WRITER: &str = "/* isthmus:writer */ ";

/// A fast end for what cannot be had. Nothing is made ahead, so that statements ask for connections.
const IMPATIENT: &str = "[pool]\nborrow_timeout = \"700ms\"\nmin_idle = 0";

async fn refused(rig: &Rig, user: &str, password: &str) -> (u16, Vec<Packet>) {
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    let refusal = client
        .authenticate(user, password, None)
        .await
        .unwrap()
        .unwrap_err();
    client.closed().await.unwrap();
    (refusal.code, client.transcript)
}

#[tokio::test]
async fn an_unknown_user_looks_like_a_wrong_password() {
    for plugin in ["caching_sha2_password", "mysql_native_password"] {
        let rig = Rig::start(
            Flavor::Mysql,
            &format!("[listen]\nauth_plugin = \"{plugin}\""),
        )
        .await;
        let stranger = "x".repeat(rig.user.len());
        for password in ["wrong", ""] {
            let (code, mut known) = refused(&rig, &rig.user, password).await;
            assert_eq!(code, 1045);
            let (code, unknown) = refused(&rig, &stranger, password).await;
            assert_eq!(code, 1045);
            // The name itself is all that differs.
            let last = known.last_mut().unwrap();
            let text = String::from_utf8_lossy(&last.payload[9..]).replace(&rig.user, &stranger);
            last.payload.splice(9.., text.into_bytes());
            // A request to change the plugin carries a nonce, which differs each time.
            let shape = |packets: &[Packet]| -> Vec<Vec<u8>> {
                let shown = |packet: &Packet| match packet.payload[0] {
                    0xFE => packet.payload[..plugin.len()].to_vec(),
                    _ => packet.payload.clone(),
                };
                packets.iter().map(shown).collect()
            };
            assert_eq!(
                shape(&known),
                shape(&unknown),
                "{plugin}, password {password:?}"
            );
        }
        // And the right one still works.
        rig.wire()
            .await
            .query("SELECT 1")
            .await
            .unwrap()
            .expect_ok();
    }
}

async fn an_unknown_schema(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    let refusal = client
        .authenticate(&rig.user, PASSWORD, Some("nowhere"))
        .await
        .unwrap();
    assert_eq!(refusal.unwrap_err().code, 1049);

    let mut client = rig.wire().await;
    assert_eq!(client.query("USE nowhere").await.unwrap().code(), 1049);
    assert_eq!(client.command(b"\x02nowhere").await.unwrap().code(), 1049);
    for hint in ["", ON_WRITER] {
        let schema = client
            .query(&format!("{hint}SELECT DATABASE()"))
            .await
            .unwrap()
            .value();
        assert_eq!(schema, rig.schema, "an error changes nothing");
    }
}

#[tokio::test]
async fn an_unknown_schema_on_mysql() {
    an_unknown_schema(Flavor::Mysql).await;
}

#[tokio::test]
async fn an_unknown_schema_on_mariadb() {
    an_unknown_schema(Flavor::Mariadb).await;
}

#[tokio::test]
async fn too_many_connections() {
    let rig = Rig::start(Flavor::Mysql, "[limits]\nmax_client_connections = 2").await;
    let first = rig.wire().await;
    let mut second = rig.wire().await;
    let third = Client::connect(rig.proxy.address()).await.unwrap();
    assert_eq!(third.err().unwrap().code, 1040);
    second.query("SELECT 1").await.unwrap().expect_ok();
    let driver = Conn::new(Opts::from(rig.options())).await;
    assert_eq!(code(driver), 1040);

    drop(first);
    until("there is room for another", async || {
        Client::connect(rig.proxy.address()).await.unwrap().is_ok()
    })
    .await;
}

#[tokio::test]
async fn tls_is_required() {
    let lab = shared(Flavor::Mysql).await;
    let certificates = lab.certificates();
    let overlay = format!(
        "[listen]\ntls_required = true\ntls = {{ certificate = {:?}, key = {:?} }}",
        certificates.server, certificates.server_key
    );
    let rig = Rig::start(Flavor::Mysql, &overlay).await;
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    let refusal = client
        .authenticate(&rig.user, PASSWORD, None)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refusal.code, 3159);
    assert_eq!(
        client.transcript.len(),
        1,
        "the password was asked for without TLS"
    );
    assert_eq!(code(Conn::new(Opts::from(rig.options())).await), 3159);
}

#[tokio::test]
async fn malformed_commands() {
    let rig = Rig::start(Flavor::Mysql, "").await;
    let mut client = rig.wire().await;
    let cases: [(&str, &[u8], u16); 8] = [
        ("an empty packet", b"", 1835),
        ("an unknown command", b"\x7f", 1047),
        ("COM_PROCESS_KILL without an id", b"\x0c", 1835),
        ("COM_SET_OPTION without an option", b"\x1b", 1835),
        ("COM_SET_OPTION with another option", b"\x1b\x07\x00", 1047),
        ("COM_STMT_EXECUTE without an id", b"\x17\x01", 1835),
        ("COM_STMT_RESET without an id", b"\x1a", 1835),
        ("COM_STMT_FETCH without an id", b"\x1c\x01\x02", 1835),
    ];
    let mut wrong = Vec::new();
    for (name, command, expected) in cases {
        let code = client.command(command).await.unwrap().code();
        if code != expected {
            wrong.push(format!("{name}: {code}, not {expected}"));
        }
        assert_eq!(
            client.query("SELECT 1").await.unwrap().value(),
            "1",
            "after {name}"
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // No answer belongs to these.
    client.send(0, b"\x18\x01").await.unwrap();
    client.send(0, b"\x19").await.unwrap();
    assert_eq!(client.query("SELECT 1").await.unwrap().value(), "1");

    // An execution that ends in the middle of its parameters.
    client.send(0, b"\x16SELECT ?").await.unwrap();
    let prepared = client.receive().await.unwrap();
    let id = prepared.payload[1..5].to_vec();
    client.receive().await.unwrap();
    client.receive().await.unwrap();
    let header = [&[0x17], &id[..], &[0, 1, 0, 0, 0]].concat();
    for rest in [&b""[..], b"\x00", b"\x00\x01", b"\x00\x01\x08\x00\x01\x02"] {
        let answer = client.command(&[&header[..], rest].concat()).await.unwrap();
        assert!(
            matches!(answer.clone().code(), 1835 | 1210),
            "{rest:?}: {answer:?}"
        );
    }
    for length in 1..10 {
        // Whether there is such a statement does not matter yet.
        for id in [&id[..], &[0xEE; 4]] {
            let execution = [&[0x17], id, &[0, 1, 0, 0, 0]].concat();
            let answer = client.command(&execution[..length]).await.unwrap();
            assert_eq!(answer.code(), 1835, "{length} bytes");
        }
    }
    for length in 1..9 {
        let fetch = [&[0x1C], &id[..], &[1, 0, 0, 0]].concat();
        let answer = client.command(&fetch[..length]).await.unwrap();
        assert_eq!(answer.code(), 1835, "{length} bytes");
    }
    let whole = [&header[..], b"\x00\x01\x08\x00\x07\0\0\0\0\0\0\0"].concat();
    assert!(matches!(
        client.command(&whole).await.unwrap(),
        Answer::Rows(_)
    ));
}

#[tokio::test]
async fn packets_out_of_order() {
    let rig = Rig::start(Flavor::Mysql, "").await;
    let mut client = rig.wire().await;
    client.send(3, &query_payload("SELECT 1")).await.unwrap();
    assert_eq!(client.answer().await.unwrap().code(), 1156);
    client.closed().await.unwrap();

    // The second of the packets of one large command.
    let mut client = rig.wire().await;
    let mut bytes = vec![0xFF, 0xFF, 0xFF, 0];
    bytes.extend(query_payload("SELECT '"));
    bytes.resize(4 + 0xFF_FFFF, b'x');
    bytes.extend([1, 0, 0, 7, b'\'']);
    client.send_raw(&bytes).await.unwrap();
    assert_eq!(client.answer().await.unwrap().code(), 1156);

    // A login that begins with a wrong number, and one that is none.
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    client.send(5, b"x").await.unwrap();
    assert_eq!(client.answer().await.unwrap().code(), 1156);
    for nonsense in [&b""[..], b"x", &[0xFF; 31], &[0; 200]] {
        let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        client.send(1, nonsense).await.unwrap();
        let answer = client.answer().await.unwrap();
        assert!(
            matches!(answer.clone().code(), 1043 | 1045 | 1835),
            "{nonsense:?}: {answer:?}"
        );
    }
    // One that says that it is longer than any login, and one that speaks another protocol.
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (nonsense, code) in [(&[0xFF, 0xFF, 0xFE, 1, 0, 0][..], 1043), (http, 1156)] {
        let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        client.send_raw(nonsense).await.unwrap();
        assert_eq!(client.answer().await.unwrap().code(), code);
        client.closed().await.unwrap();
    }
    // And one that never says what it wants.
    let rig = Rig::start(Flavor::Mysql, "[timeouts]\nhandshake = \"500ms\"").await;
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    client.send_raw(&[9]).await.unwrap();
    let start = Instant::now();
    client.closed().await.unwrap();
    // The default is ten.
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_packet_over_the_limit() {
    const LIMIT: usize = 1 << 20;
    let rig = Rig::start(Flavor::Mysql, "[limits]\nmax_allowed_packet = \"1MiB\"").await;
    let statement = |length: usize| {
        let rest = length - 1 - "SELECT LENGTH('')".len();
        query_payload(&format!("SELECT LENGTH('{}')", "x".repeat(rest)))
    };
    let mut client = rig.wire().await;
    let whole = client.command(&statement(LIMIT)).await.unwrap();
    assert_eq!(whole.value(), (LIMIT - 18).to_string());

    for length in [LIMIT + 1, 3 * LIMIT, 20 * LIMIT] {
        let mut client = rig.wire().await;
        // The proxy need not read what it will not take: sending may fail.
        let _ = client.send(0, &statement(length)).await;
        let answer = client.answer().await;
        assert_eq!(answer.unwrap().code(), 1153, "{length} bytes");
    }
    let mut driver = Conn::new(Opts::from(rig.options().max_allowed_packet(Some(1 << 30))))
        .await
        .unwrap();
    // It minds the numbers of packets, whatever those of the answer before were.
    let _: Vec<Row> = driver.query("SHOW ISTHMUS STATUS").await.unwrap();
    let sent = driver
        .query_drop(format!("SELECT LENGTH('{}')", "x".repeat(3 * LIMIT)))
        .await;
    assert_eq!(code(sent), 1153);
}

#[tokio::test]
async fn refused_logins_are_in_the_log() {
    let rig = Rig::start(Flavor::Mysql, "[log]\nlevel = \"info\"").await;
    let long = "y".repeat(5000);
    let forged = "eve\n2026-01-01T00:00:00Z  INFO isthmus: all is well";
    for user in [rig.user.as_str(), "nobody-at-all", &long, forged] {
        assert_eq!(refused(&rig, user, "not-the-password").await.0, 1045);
    }
    // Another session becomes somebody else, or tries to.
    let mut client = rig.wire().await;
    let change = client.change_to(&rig.user, "not-the-password", &rig.schema);
    let changed = client.change_user(&change, "not-the-password").await;
    assert_eq!(changed.unwrap().unwrap_err().code, 1045);
    let log = rig.proxy.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("client refused"))
        .collect();
    assert_eq!(lines.len(), 5, "{log}");
    for (line, user) in lines
        .iter()
        .zip([&rig.user, "nobody-at-all", "yyy", "eve", &rig.user])
    {
        for part in ["WARN", "127.0.0.1:", "1045", "Access denied for user", user] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(line.len() < 1000, "{line}");
    }
    assert!(!log.contains("not-the-password"), "{log}");

    // Who guesses all day does not fill the disk.
    let start = Instant::now();
    for _ in 0..300 {
        refused(&rig, "nobody-at-all", "not-the-password").await;
    }
    let log = rig.proxy.log();
    let lines = log.matches("client refused").count();
    let allowed = 15 + start.elapsed().as_secs() as usize + 1;
    assert!(lines <= allowed, "{lines} lines");
    let metrics = isthmus_tests::rig::http(rig.proxy.admin_address(), "GET", "/metrics")
        .await
        .1;
    let counted = "isthmus_client_connections_refused_total{reason=\"authentication\"} 304";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn refused_commands_are_named() {
    let rig = Rig::start(Flavor::Mysql, "").await;
    let mut client = rig.wire().await;
    let cases: [(&[u8], &str); 11] = [
        (b"\x07\x01", "COM_REFRESH"),
        (b"\x08", "COM_SHUTDOWN"),
        (b"\x0a", "COM_PROCESS_INFO"),
        (b"\x0d", "COM_DEBUG"),
        (b"\x12\0\0\0\0\0\0\x01\0\0\0", "COM_BINLOG_DUMP"),
        (b"\x13", "COM_TABLE_DUMP"),
        (b"\x15\x01\0\0\0", "COM_REGISTER_SLAVE"),
        (b"\x1d", "COM_DAEMON"),
        (b"\x1e\0\0", "COM_BINLOG_DUMP_GTID"),
        (b"\x20", "COM_CLONE"),
        (b"\x05x", "COM_CREATE_DB"),
    ];
    let mut wrong = Vec::new();
    for (command, name) in cases {
        match client.command(command).await.unwrap() {
            Answer::Err(refusal) if refusal.message.contains(name) => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
        assert_eq!(
            client.query("SELECT 1").await.unwrap().value(),
            "1",
            "after {name}"
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    for (statement, name) in [
        ("shutdown", "SHUTDOWN"),
        ("/* now */ RESTART", "RESTART"),
        ("CLONE LOCAL DATA DIRECTORY = '/x'", "CLONE"),
        ("PREPARE s FROM 'SHUTDOWN'", "SHUTDOWN"),
    ] {
        match client.query(statement).await.unwrap() {
            Answer::Err(refusal) => {
                assert_eq!(refusal.code, 1235, "{refusal:?}");
                let beginning = format!("{name} is refused by Isthmus: ");
                assert!(refusal.message.starts_with(&beginning), "{refusal:?}");
                assert!(refusal.message.contains("; connect to"), "{refusal:?}");
            }
            other => panic!("{statement}: {other:?}"),
        }
    }
}

/// 9501 after the borrow timeout, while reads go on.
#[tokio::test]
async fn the_writer_cannot_be_reached() {
    for is_silent in [false, true] {
        let rig = Rig::start(Flavor::Mysql, IMPATIENT).await;
        rig.prepare_data(&["CREATE TABLE t (id INT)"]).await;
        let mut client = rig.wire().await;
        if is_silent {
            rig.writer.silence().await;
        } else {
            rig.writer.cut().await;
        }
        for _ in 0..2 {
            let start = Instant::now();
            let answer = client.query("INSERT INTO t VALUES (1)").await.unwrap();
            let took = start.elapsed();
            assert_eq!(answer.code(), 9501, "silent: {is_silent}");
            assert!(
                took > Duration::from_millis(300) && took < Duration::from_secs(8),
                "silent: {is_silent}: after {took:?}"
            );
            assert_eq!(client.query(WHERE).await.unwrap().value(), "reader");
        }
        rig.writer.restore().await;
        until("writes work again", async || {
            matches!(
                client.query("INSERT INTO t VALUES (1)").await.unwrap(),
                Answer::Ok
            )
        })
        .await;
    }
}

/// A transaction whose connection is lost does not go on as if nothing had happened.
#[tokio::test]
async fn the_writer_goes_away_in_a_transaction() {
    let rig = Rig::start(Flavor::Mysql, IMPATIENT).await;
    rig.prepare_data(&["CREATE TABLE t (id INT)"]).await;
    let mut client = rig.wire().await;
    for statement in ["BEGIN", "INSERT INTO t VALUES (1)"] {
        client.query(statement).await.unwrap().expect_ok();
    }
    rig.writer.reset_connections().await;
    let answer = client.query("INSERT INTO t VALUES (2)").await.unwrap();
    assert!(matches!(answer.clone().code(), 1158 | 9501), "{answer:?}");
    client.closed().await.unwrap();
    let mut checker = rig.wire().await;
    let count = format!("{ON_WRITER}SELECT COUNT(*) FROM t");
    assert_eq!(checker.query(&count).await.unwrap().value(), "0");
}

#[tokio::test]
async fn without_a_reader_the_writer_answers() {
    let rig = Rig::start(Flavor::Mysql, IMPATIENT).await;
    let mut client = rig.wire().await;
    assert_eq!(client.query(WHERE).await.unwrap().value(), "reader");
    for is_silent in [false, true] {
        if is_silent {
            rig.reader.silence().await;
            // Nobody notices that a silent line is dead but by waiting.
            rig.reader.reset_connections().await;
        } else {
            rig.reader.cut().await;
        }
        for _ in 0..3 {
            assert_eq!(
                client.query(WHERE).await.unwrap().value(),
                "writer",
                "silent: {is_silent}"
            );
        }
        rig.reader.restore().await;
        until("the reader is back", async || {
            client.query(WHERE).await.unwrap().value() == "reader"
        })
        .await;
    }
    // None in the configuration, from the start.
    let alone = Blueprint::new(&rig.user, rig.writer.address(), &[]).with("region = \"tokyo\"");
    assert_eq!(rig.reload(&alone).await.0, 200);
    assert_eq!(client.query(WHERE).await.unwrap().value(), "writer");
    assert_eq!(
        rig.wire().await.query(WHERE).await.unwrap().value(),
        "writer"
    );
}

/// Relays to a server, and spoils what it answers as long as it is told to.
async fn spoiler(target: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let is_spoiling = Arc::new(AtomicBool::new(false));
    let flag = is_spoiling.clone();
    let address = garbling(target, move |direction, bytes| {
        if direction == Direction::ToClient && flag.load(Ordering::Relaxed) {
            for byte in bytes {
                *byte = byte.wrapping_mul(167) ^ 0x5A;
            }
        }
    });
    (address.await, is_spoiling)
}

#[tokio::test]
async fn a_server_that_goes_mad() {
    let rig = Rig::start(Flavor::Mysql, IMPATIENT).await;
    rig.prepare_data(&[
        "CREATE TABLE t (id INT PRIMARY KEY, filler VARCHAR(1000))",
        "INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i, REPEAT('x', 1000) FROM n",
    ])
    .await;
    let (address, is_spoiling) = spoiler(rig.reader.address()).await;
    let mut blueprint = rig.blueprint.clone();
    blueprint.set_endpoints(&[
        ("tokyo", rig.writer.address(), "writer"),
        ("virginia", address, "reader"),
    ]);
    blueprint = blueprint.with("[server_tls]\nmode = \"disabled\"");
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let mut client = rig.wire().await;
    until("the reader answers", async || {
        client.query(WHERE).await.unwrap().value() == "reader"
    })
    .await;
    is_spoiling.store(true, Ordering::Relaxed);
    // The client has seen nothing of it, so the read is simply run elsewhere.
    for _ in 0..5 {
        assert_eq!(client.query(WHERE).await.unwrap().value(), "writer");
    }
    is_spoiling.store(false, Ordering::Relaxed);
    until("the reader answers again", async || {
        client.query(WHERE).await.unwrap().value() == "reader"
    })
    .await;

    // In the middle of a result: the client's connection ends; no row is invented.
    let statement = "SELECT a.id, a.filler FROM t a JOIN t b JOIN (SELECT 1 UNION ALL SELECT 2) c";
    client.send(0, &query_payload(statement)).await.unwrap();
    client.receive_bytes(200_000).await.unwrap();
    is_spoiling.store(true, Ordering::Relaxed);
    client.closed().await.unwrap();
    let mut other = rig.wire().await;
    assert_eq!(other.query(WHERE).await.unwrap().value(), "writer");
}

/// A pool with one connection to each server, on which each client in turn vanishes.
async fn one_connection(flavor: Flavor) -> Rig {
    let rig = Rig::start(
        flavor,
        "[pool]\nmax_connections = 1\nborrow_timeout = \"20s\"",
    )
    .await;
    let numbers = "SELECT a.i * 10 + b.i FROM (SELECT 0 i UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) a \
                   JOIN (SELECT 0 i UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) b";
    rig.prepare_data(&[
        "CREATE TABLE t (id INT PRIMARY KEY, n INT)",
        "INSERT INTO t VALUES (1, 0)",
        "CREATE TABLE loaded (line VARCHAR(100))",
        "CREATE TABLE numbers (i INT PRIMARY KEY)",
        &format!("INSERT INTO numbers {numbers}"),
    ])
    .await;
    rig
}

/// Whatever the last client left must be gone for the next one, on the same connection or another.
async fn assert_clean(rig: &Rig, after: &str) {
    let mut client = rig.wire().await;
    let writer = |sql: &str| format!("{ON_WRITER}{sql}");
    // Waits for the lock that an open transaction would have.
    let update = client
        .query("UPDATE t SET n = n + 0 WHERE id = 1")
        .await
        .unwrap();
    assert!(matches!(update, Answer::Ok), "after {after}: {update:?}");
    let cases = [
        (writer("SELECT n FROM t WHERE id = 1"), "0"),
        (writer("SELECT COUNT(*) FROM loaded"), "0"),
        (writer("SELECT @@autocommit"), "1"),
        (writer("SELECT @@sql_mode LIKE '%ANSI%'"), "0"),
        (writer("SELECT @@character_set_client"), "utf8mb4"),
        (writer("SELECT DATABASE()"), &rig.schema),
        ("SELECT @@sql_mode LIKE '%ANSI%'".into(), "0"),
        ("SELECT DATABASE()".into(), &rig.schema),
        ("SELECT @left IS NULL".into(), "1"),
        ("SELECT IS_FREE_LOCK('left')".into(), "1"),
    ];
    for (question, expected) in cases {
        let answer = rig.wire().await.query(&question).await.unwrap();
        match answer {
            Answer::Rows(rows) => assert_eq!(
                rows[0][0].as_deref(),
                Some(expected),
                "{question} after {after}"
            ),
            other => panic!("{question} after {after}: {other:?}"),
        }
    }
    let gone = client
        .query("INSERT INTO left_over VALUES (1)")
        .await
        .unwrap();
    assert_eq!(gone.code(), 1146, "the temporary table, after {after}");
}

async fn clients_that_vanish(flavor: Flavor) {
    let rig = one_connection(flavor).await;
    assert_clean(&rig, "nothing").await;

    // In the middle of the login.
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    let login = client.login(&rig.user, vec![7; 32], None);
    let mut payload = Vec::new();
    login.encode(&mut payload).unwrap();
    client
        .send_raw(&[payload.len() as u8, 0, 0, 1])
        .await
        .unwrap();
    client.send_raw(&payload[..20]).await.unwrap();
    drop(client);
    assert_clean(&rig, "half a login").await;

    // With things on the connection.
    let leftovers: [&[&str]; 6] = [
        &["BEGIN", "UPDATE t SET n = n + 1 WHERE id = 1"],
        &["SET autocommit = 0", "UPDATE t SET n = n + 1 WHERE id = 1"],
        &[
            "SET @left = 1",
            "SET sql_mode = 'ANSI'",
            "SET NAMES latin1",
            "USE information_schema",
        ],
        &[
            "CREATE TEMPORARY TABLE left_over (id INT)",
            "BEGIN",
            "UPDATE t SET n = n + 1 WHERE id = 1",
        ],
        &["SELECT GET_LOCK('left', 0)"],
        &["LOCK TABLES t WRITE", "UPDATE t SET n = n + 0"],
    ];
    for statements in leftovers {
        let mut client = rig.wire().await;
        for statement in statements {
            client.query(statement).await.unwrap().expect_ok();
        }
        drop(client);
        assert_clean(&rig, statements.last().unwrap()).await;
        // In the middle of a command too.
        let mut client = rig.wire().await;
        for statement in statements {
            client.query(statement).await.unwrap().expect_ok();
        }
        client
            .send_raw(&[200, 0, 0, 0, 3, b'S', b'E'])
            .await
            .unwrap();
        drop(client);
        assert_clean(&rig, "half a command").await;
    }

    // While a statement runs: the server must get rid of it.
    for (server, hint) in [(rig.lab.reader(), ""), (rig.lab.writer(), ON_WRITER)] {
        for is_queueing in [false, true] {
            let mut client = rig.wire().await;
            if !hint.is_empty() {
                client.query("BEGIN").await.unwrap().expect_ok();
                client
                    .query("UPDATE t SET n = n + 1 WHERE id = 1")
                    .await
                    .unwrap()
                    .expect_ok();
            }
            let sleep = format!("{hint}SELECT SLEEP(100), COUNT(*) FROM t");
            client.send(0, &query_payload(&sleep)).await.unwrap();
            runs(&rig, server, true).await;
            if is_queueing {
                // The next command is on its way already.
                client.send(0, &query_payload("SELECT 1")).await.unwrap();
                // So that it comes before the end of the connection, not with it.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            drop(client);
            runs(&rig, server, false).await;
            assert_clean(&rig, &format!("{sleep}, queueing: {is_queueing}")).await;
        }
    }

    // With the result half read.
    for hint in ["", ON_WRITER] {
        let mut client = rig.wire().await;
        client
            .query("SET sql_mode = 'ANSI'")
            .await
            .unwrap()
            .expect_ok();
        let large = format!(
            "{hint}SELECT REPEAT('x', 1000) FROM numbers a JOIN numbers b JOIN numbers c JOIN numbers d"
        );
        client.send(0, &query_payload(&large)).await.unwrap();
        client.receive_bytes(100_000).await.unwrap();
        drop(client);
        assert_clean(&rig, "half a result").await;
    }

    // In the middle of an upload.
    let mut client = rig.wire().await;
    client.query("BEGIN").await.unwrap().expect_ok();
    client
        .send(
            0,
            &query_payload("LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded"),
        )
        .await
        .unwrap();
    let asked = client.receive().await.unwrap();
    assert_eq!(asked.payload[0], 0xFB, "{asked:?}");
    client
        .send(asked.sequence + 1, b"one\ntwo\n")
        .await
        .unwrap();
    client
        .send_raw(&[100, 0, 0, asked.sequence + 2, b'x'])
        .await
        .unwrap();
    drop(client);
    assert_clean(&rig, "half an upload").await;
}

/// Waits until a statement of the rig's user runs on the server, or none does.
async fn runs(rig: &Rig, server: &isthmus_lab::Server, expected: bool) {
    until("a statement runs, or ends", async || {
        let running = rig
            .processes(server)
            .await
            .into_iter()
            .flatten()
            .any(|sql| sql.contains("SLEEP(100)"));
        running == expected
    })
    .await;
}

#[tokio::test]
async fn clients_that_vanish_on_mysql() {
    clients_that_vanish(Flavor::Mysql).await;
}

#[tokio::test]
async fn clients_that_vanish_on_mariadb() {
    clients_that_vanish(Flavor::Mariadb).await;
}

/// Runs the proxy with a configuration that keeps it from starting; returns what it says.
async fn does_not_start(rig: &Rig, overlay: &str) -> String {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let config = rig.lab.directory().join(format!("broken-{number}.toml"));
    let log = config.with_extension("log");
    let text = rig.render(&rig.blueprint);
    let table = text.parse::<toml::Table>().unwrap();
    let table = Blueprint::of(table).with(overlay).into_text();
    std::fs::write(&config, table).unwrap();
    let arguments = ["serve", "--config", config.to_str().unwrap()];
    let process = Process::spawn(
        rig.lab.sandbox(),
        "isthmus",
        &proxy_binary().unwrap(),
        arguments,
        &log,
    )
    .unwrap();
    let status = process.wait(PATIENCE).await.unwrap();
    assert!(!status.success(), "{status}");
    std::fs::read_to_string(&log).unwrap()
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said() {
    let rig = Rig::start(Flavor::Mysql, "").await;
    let said = does_not_start(&rig, "").await;
    assert!(
        said.contains("in use") && said.contains(&rig.proxy.address().to_string()),
        "{said}"
    );

    let free = "[listen]\naddresses = [\"127.0.0.1:0\"]";
    let said = does_not_start(&rig, free).await;
    assert!(
        said.contains("in use") && said.contains("admin.address"),
        "{said}"
    );

    let certificates = rig.lab.certificates();
    let missing = rig.lab.directory().join("missing.pem");
    let garbage = rig.lab.directory().join("garbage.pem");
    std::fs::write(&garbage, "-----BEGIN PRIVATE KEY-----\nnonsense\n").unwrap();
    for key in [&missing, &garbage, &certificates.client_key] {
        let tls = format!(
            "{free}\ntls = {{ certificate = {:?}, key = {key:?} }}\n[admin]\naddress = \"off\"",
            certificates.server
        );
        let said = does_not_start(&rig, &tls).await;
        assert!(said.contains(key.to_str().unwrap()), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn it_starts_before_its_servers() {
    for flavor in Flavor::ALL {
        let lab = shared(flavor).await;
        let rig = Rig::prepare(lab, IMPATIENT).await;
        // The endpoints of a second proxy are down when it starts.
        rig.writer.cut().await;
        rig.reader.cut().await;
        let proxy = isthmus_lab::Proxy::start(rig.lab.sandbox(), |addresses| {
            rig.blueprint.render(addresses)
        });
        let proxy = proxy.await.unwrap();
        proxy.logged("endpoint is down").await.unwrap();
        let mut client = Client::connect(proxy.address()).await.unwrap().unwrap();
        client
            .authenticate(&rig.user, PASSWORD, None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(client.query("SELECT 1").await.unwrap().code(), 9501);
        let (status, _) = isthmus_tests::rig::http(proxy.admin_address(), "GET", "/readyz").await;
        assert_eq!(status, 503);

        rig.writer.restore().await;
        rig.reader.restore().await;
        until("the same session is served", async || {
            matches!(client.query(WHERE).await.unwrap(), Answer::Rows(rows) if rows[0][0].as_deref() == Some("reader"))
        })
        .await;
        client
            .query(&format!("CREATE TABLE {}.t (id INT)", rig.schema))
            .await
            .unwrap()
            .expect_ok();
    }
}
