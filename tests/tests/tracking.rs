//! A client hears of changes in its session what it would hear on a direct connection.

#![allow(clippy::unwrap_used)]

use isthmus_lab::{Flavor, Options};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::command::Command;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::session_track::{Change, changes};
use isthmus_protocol::status::Status;
use isthmus_tests::rig::{Rig, dedicated};
use isthmus_tests::wire::{Client, Packet, USUAL, query_payload};

const TRACKING: Capabilities = USUAL
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::MULTI_STATEMENTS);

/// All packets of the answer to one statement.
async fn packets(client: &mut Client, sql: &str) -> Vec<Packet> {
    client.send(0, &query_payload(sql)).await.unwrap();
    let mut packets = Vec::new();
    loop {
        let first = client.receive().await.unwrap();
        let mut is_over = matches!(first.payload[0], 0x00 | 0xFF);
        packets.push(first);
        while !is_over {
            let packet = client.receive().await.unwrap();
            is_over = matches!(packet.payload[0], 0xFE | 0xFF);
            packets.push(packet);
        }
        let last = &packets.last().unwrap().payload;
        let ok = OkPacket::parse(last, true).unwrap_or_default();
        if !ok.status.contains(Status::MORE_RESULTS_EXISTS) {
            return packets;
        }
    }
}

/// Packets as they may be compared: MariaDB reports variables in the order of their addresses, and
/// every transaction has a GTID of its own. `None` stands for a packet that is to be the same as it is.
fn described(packet: &Packet, flavor: Flavor) -> Option<(OkPacket<'_>, Vec<String>)> {
    let is_ok = matches!(packet.payload.first(), Some(0x00 | 0xFE));
    let mut ok = OkPacket::parse(&packet.payload, true)
        .ok()
        .filter(|_| is_ok)?;
    let heard: Vec<Change<'_>> = changes(ok.session_state).collect::<Result<_, _>>().unwrap();
    let is_gtid = |change: &Change<'_>| match change {
        Change::Gtids(_) => true,
        Change::Variable { name, .. } => *name == b"last_gtid",
        _ => false,
    };
    if flavor == Flavor::Mysql && !heard.iter().any(is_gtid) {
        return None;
    }
    let mut heard: Vec<String> = heard
        .iter()
        .map(|change| match is_gtid(change) {
            true => "a GTID".to_owned(),
            false => format!("{change:?}"),
        })
        .collect();
    if flavor == Flavor::Mariadb {
        heard.sort();
    }
    ok.session_state = &[];
    Some((ok, heard))
}

fn assert_same(direct: &[Packet], proxied: &[Packet], flavor: Flavor, what: &str) {
    assert_eq!(
        direct.len(),
        proxied.len(),
        "{what}: {direct:?} {proxied:?}"
    );
    for (direct, proxied) in direct.iter().zip(proxied) {
        match described(direct, flavor) {
            None => assert_eq!(proxied, direct, "{what}"),
            expected => assert_eq!(described(proxied, flavor), expected, "{what}"),
        }
    }
}

/// Asserts that both are answered with the same packets, byte for byte but for what differs from
/// one connection to the next.
async fn same(clients: &mut [Client; 2], flavor: Flavor, sql: &str) {
    let [direct, proxied] = clients;
    let (direct, proxied) = (packets(direct, sql).await, packets(proxied, sql).await);
    assert_same(&direct, &proxied, flavor, sql);
}

/// Asserts that both get the same rows.
async fn same_rows([direct, proxied]: &mut [Client; 2], sql: &str) {
    let expected = direct.query(sql).await.unwrap();
    assert_eq!(proxied.query(sql).await.unwrap(), expected, "{sql}");
}

/// Statements that change what sessions hear, and statements that let them hear it.
fn script(flavor: Flavor) -> Vec<&'static str> {
    let mut script = vec![
        "SELECT @@session.session_track_system_variables, @@session_track_schema",
        "SHOW SESSION VARIABLES LIKE 'session%track%'",
        "SET NAMES latin1",
        "SET time_zone = '+01:00', sql_mode = 'ANSI'",
        "USE information_schema",
        "SET autocommit = 0",
        "SET autocommit = 1",
        "SET session_track_schema = OFF",
        "USE mysql",
        "SELECT @@session_track_schema, @@session_track_state_change",
        "SET SESSION session_track_schema = ON",
        "SET session_track_state_change = ON",
        "SET time_zone = '+02:00'",
        "SET sql_mode = 'ANSI'",
        "SET session_track_state_change = OFF",
        "SET SESSION session_track_system_variables = 'sql_mode,time_zone'",
        "SET NAMES utf8mb4",
        "SET sql_mode = ''",
        "SELECT @@session_track_system_variables",
        "SHOW VARIABLES LIKE 'session_track_system_variables'",
        "SET session_track_system_variables = CONCAT(@@session_track_system_variables, ',autocommit')",
        "SELECT @@session_track_system_variables",
        "SET autocommit = 1, sql_mode = 'ANSI', time_zone = '+01:00'",
        "SET session_track_system_variables = ' SQL_Mode , session_track_system_variables'",
        "SET sql_mode = ''",
        "SET session_track_system_variables = 'time_zone', time_zone = '+03:00', sql_mode = 'ANSI'",
        "SET sql_mode = 'TRADITIONAL', session_track_system_variables = 'sql_mode'",
        "SET session_track_system_variables = 'no_such_variable,sql_mode'",
        "SET sql_mode = DEFAULT",
        "SET session_track_system_variables = 'timestamp,sql_mode,time_zone'; SET timestamp = 5; SET time_zone = DEFAULT",
        "SET timestamp = DEFAULT",
        "SET session_track_system_variables = ''",
        "SET NAMES latin1",
        "SET session_track_system_variables = DEFAULT",
        "SET NAMES utf8mb4",
        "SET @a = 1",
        "SET session_track_state_change = ON",
        "SET @a = 2",
        "SET session_track_state_change = OFF",
        "SET session_track_transaction_info = STATE",
        "SELECT @@session_track_transaction_info",
        "BEGIN",
        "SELECT * FROM album.t",
        "INSERT INTO album.t VALUES (1)",
        "COMMIT",
        "START TRANSACTION READ ONLY",
        "SELECT * FROM album.t",
        "COMMIT",
        "SET session_track_transaction_info = CHARACTERISTICS",
        "START TRANSACTION READ ONLY",
        "COMMIT",
        "SET TRANSACTION READ ONLY",
        "BEGIN",
        "ROLLBACK",
        "SET session_track_transaction_info = OFF",
        "BEGIN",
        "ROLLBACK",
    ];
    match flavor {
        Flavor::Mysql => script.extend([
            "SET session_track_gtids = OWN_GTID",
            "INSERT INTO album.t VALUES (2)",
            "SELECT @@session_track_gtids",
            "SHOW VARIABLES LIKE '%gtids'",
            "SET session_track_gtids = OFF",
            "INSERT INTO album.t VALUES (3)",
        ]),
        Flavor::Mariadb => script.extend([
            "SET session_track_system_variables = '*'",
            "SET sql_mode = ''",
            "INSERT INTO album.t VALUES (2)",
            "SET session_track_system_variables = DEFAULT",
            "INSERT INTO album.t VALUES (3)",
        ]),
    }
    script
}

async fn as_on_a_direct_connection(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut clients = rig.wires(TRACKING).await;
    for sql in script(flavor) {
        let sql = sql.replace("album", &rig.schema);
        same(&mut clients, flavor, &sql).await;
    }
}

async fn nothing_for_those_that_did_not_ask(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut clients = rig.wires(USUAL).await;
    for sql in [
        "SET session_track_state_change = ON, session_track_transaction_info = STATE",
        "SET session_track_system_variables = '*'",
        "SET sql_mode = ''",
        "SET @a = 1",
        "BEGIN",
        "COMMIT",
        "SHOW VARIABLES LIKE 'session_track_s%'",
    ] {
        same(&mut clients, flavor, sql).await;
        let [_, proxied] = &mut clients;
        let last = packets(proxied, "SET time_zone = '+01:00'").await;
        let ok = OkPacket::parse(&last[0].payload, true).unwrap();
        assert!(!ok.status.contains(Status::SESSION_STATE_CHANGED), "{sql}");
    }
}

/// Two sessions on one connection to each server, which neither of them keeps.
async fn each_session_hears_its_own(flavor: Flavor) {
    let rig = Rig::start(flavor, "[pool]\nmax_connections = 1").await;
    let mut usual = rig.wires(TRACKING).await;
    let mut other = rig.wires(TRACKING).await;
    let own = "SET session_track_system_variables = 'sql_mode', session_track_schema = OFF, \
               session_track_state_change = ON, session_track_transaction_info = STATE";
    same(&mut other, flavor, own).await;
    for clients in [&mut usual, &mut other] {
        for sql in [
            "SET sql_mode = 'ANSI', time_zone = '+05:00'",
            "USE information_schema",
            "BEGIN",
            "SET @@session.time_zone = '+06:00'",
            "ROLLBACK",
            "SHOW VARIABLES LIKE 'session_track%'",
            "/* isthmus:writer */ SHOW VARIABLES LIKE 'session_track%'",
        ] {
            same(clients, flavor, sql).await;
        }
    }
    same(&mut usual, flavor, "SET sql_mode = ''").await;
}

/// What a session sets is carried to its next connection even where the client does not want to
/// hear of it.
async fn what_is_not_heard_is_carried(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let cases = [
        "SET sql_mode = 'ANSI_QUOTES', session_track_system_variables = ''",
        "SET session_track_system_variables = 'time_zone', sql_mode = 'ANSI_QUOTES', NAMES latin1",
        "SET session_track_schema = OFF; SET session_track_system_variables = ''; \
         SET sql_mode = 'ANSI_QUOTES'; USE information_schema; SET NAMES latin1",
        "SET session_track_system_variables = ''; SET wait_timeout = 77; SET SQL_MODE = ANSI_QUOTES",
    ];
    for sql in cases {
        let mut clients = rig.wires(TRACKING).await;
        same(&mut clients, flavor, sql).await;
        for hint in ["", "/* isthmus:writer */ "] {
            let question = "SELECT @@sql_mode, @@character_set_results, @@collation_connection, \
                            @@wait_timeout, DATABASE()";
            same_rows(&mut clients, &format!("{hint}{question}")).await;
        }
        same(&mut clients, flavor, "SELECT 1 AS \"one\"").await;
    }
}

/// The questions behind a SET leave its warnings in place.
async fn warnings_stay(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut clients = rig.wires(TRACKING).await;
    let sql = "SET session_track_system_variables = 'no_such_variable'";
    same(&mut clients, flavor, sql).await;
    same_rows(&mut clients, "SHOW WARNINGS").await;
}

/// The login reports the schema; a reset brings back what the server begins with.
async fn logins_and_resets(flavor: Flavor) {
    let arguments = [
        "--session-track-system-variables=sql_mode,time_zone",
        "--session-track-state-change=ON",
    ];
    let options = Options {
        flavor,
        arguments: arguments.map(str::to_owned).to_vec(),
        ..Options::default()
    };
    for lab in [None, Some(dedicated(options).await)] {
        let rig = match lab {
            Some(lab) => Rig::start_on(lab, "").await,
            None => Rig::start(flavor, "").await,
        };
        let mut clients = rig.wires(TRACKING).await;
        let [direct, proxied] = &clients;
        let login = |client: &Client| client.transcript.last().unwrap().payload.clone();
        assert_eq!(login(proxied), login(direct));
        let statements = [
            "SELECT @@session_track_system_variables, @@session_track_state_change, @@session_track_schema",
            "SET sql_mode = '', time_zone = '+01:00'",
            "BEGIN",
            "COMMIT",
        ];
        for _ in 0..2 {
            for sql in statements {
                same(&mut clients, flavor, sql).await;
            }
            let other = "SET session_track_system_variables = '', session_track_state_change = OFF";
            same(&mut clients, flavor, other).await;
            for client in &mut clients {
                let reset = client.command(&[Command::ResetConnection as u8]).await;
                reset.unwrap().expect_ok();
            }
        }
    }
}

/// In a transaction MySQL lets nobody switch `session_track_gtids`.
async fn a_transaction_outlives_questions(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&[
        "CREATE TABLE t (a INT PRIMARY KEY, b INT)",
        "INSERT INTO t VALUES (1, 0)",
    ])
    .await;
    let mut clients = rig.wires(TRACKING).await;
    let questions = [
        "SHOW VARIABLES LIKE 'session_track_s%'",
        "SELECT @@session_track_schema, @@session_track_state_change",
        "SET session_track_state_change = 1",
        "SET session_track_gtids = 'ALL_GTIDS'",
        "SET session_track_state_change = 0",
    ];
    for (begin, statement, end) in [
        ("BEGIN", "UPDATE t SET b = b + 1", "COMMIT"),
        ("SET autocommit = 0", "UPDATE t SET b = b + 1", "COMMIT"),
        ("START TRANSACTION READ ONLY", "SELECT a FROM t", "ROLLBACK"),
    ] {
        let script: Vec<&str> = questions
            .into_iter()
            .flat_map(|question| [statement, question])
            .collect();
        let mut answers = Vec::new();
        // One after the other: both change the same row.
        for client in &mut clients {
            let mut answered = vec![packets(client, begin).await];
            for sql in &script {
                answered.push(packets(client, sql).await);
            }
            answered.push(packets(client, end).await);
            answers.push(answered);
        }
        let asked = [&[begin], &script[..], &[end]].concat();
        for ((sql, direct), proxied) in asked.iter().zip(&answers[0]).zip(&answers[1]) {
            assert_same(direct, proxied, flavor, &format!("{begin}: {sql}"));
        }
    }
}

isthmus_tests::on_both! {
    a_transaction_outlives_questions
    as_on_a_direct_connection
    nothing_for_those_that_did_not_ask
    each_session_hears_its_own
    what_is_not_heard_is_carried
    warnings_stay
    logins_and_resets
}
