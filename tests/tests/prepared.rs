//! Binary and textual prepared statements where the servers have lost them, have no room for them
//! or refuse what was sent for them: a session cannot tell.

#![allow(clippy::unwrap_used)]

use isthmus_lab::{Flavor, Options};
use isthmus_protocol::command::{Command, SendLongData};
use isthmus_protocol::lenenc;
use isthmus_protocol::packet;
use isthmus_protocol::status::Status;
use isthmus_tests::rig::{PASSWORD, Rig, dedicated};
use isthmus_tests::wire::{Answer, Client, Packet, Refusal, USUAL};
use mysql_async::prelude::Queryable;

const NARROW: &str = "[pool]\nmax_connections = 1";

/// COM_STMT_EXECUTE with these BLOB parameters; `None` was sent ahead.
async fn execute(client: &mut Client, id: u32, parameters: &[Option<&str>]) {
    const BLOB: u8 = 0xFC;
    let mut payload = vec![Command::StmtExecute as u8];
    payload.extend(id.to_le_bytes());
    payload.extend([0, 1, 0, 0, 0]);
    if !parameters.is_empty() {
        payload.extend(vec![0; parameters.len().div_ceil(8)]);
        payload.push(1);
        payload.extend([BLOB, 0].repeat(parameters.len()));
    }
    for value in parameters.iter().flatten() {
        lenenc::put_bytes(&mut payload, value.as_bytes());
    }
    client.send(0, &payload).await.unwrap();
}

/// The error of an execution.
async fn refusal(client: &mut Client, id: u32, parameters: &[Option<&str>]) -> Option<Refusal> {
    execute(client, id, parameters).await;
    client.pass_over_answer().await.unwrap()
}

/// Everything that answers an execution without parameters.
async fn packets(client: &mut Client, id: u32) -> Vec<Packet> {
    execute(client, id, &[]).await;
    result(client).await
}

async fn result(client: &mut Client) -> Vec<Packet> {
    let mut packets = Vec::new();
    loop {
        let packet = client.receive().await.unwrap();
        let is_over = matches!(packet.payload[0], 0xFE | 0xFF);
        packets.push(packet);
        if is_over {
            return packets;
        }
    }
}

async fn send_ahead(client: &mut Client, statement_id: u32, parameter: u16, data: &[u8]) {
    let mut payload = Vec::new();
    SendLongData {
        statement_id,
        parameter,
        data,
    }
    .encode(&mut payload);
    client.send(0, &payload).await.unwrap();
}

/// COM_STMT_RESET.
async fn reset(client: &mut Client, id: u32) {
    let payload = [&[Command::StmtReset as u8], &id.to_le_bytes()[..]].concat();
    client.command(&payload).await.unwrap().expect_ok();
}

async fn a_parameter_that_is_too_long(flavor: Flavor) {
    let rig = Rig::start(flavor, "[limits]\nmax_allowed_packet = \"64KiB\"").await;
    let mut client = rig.wire().await;
    let id = client.prepare("SELECT LENGTH(?), ?").await;
    let part = vec![b'x'; 40_000];
    for _ in 0..3 {
        send_ahead(&mut client, id, 0, &part).await;
    }
    for _ in 0..2 {
        let refused = refusal(&mut client, id, &[None, Some("x")]).await.unwrap();
        assert_eq!((refused.code, refused.state.as_str()), (1105, "HY000"));
        assert!(refused.message.contains("65536"), "{}", refused.message);
    }
    reset(&mut client, id).await;
    send_ahead(&mut client, id, 0, &part).await;
    assert_eq!(refusal(&mut client, id, &[None, Some("x")]).await, None);
}

/// Pieces of two parameters by turns, and of a third one that has nothing in them.
async fn parameters_in_many_pieces(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    let mut seen = Vec::new();
    for mut client in rig.wires(USUAL).await {
        let sql = "SELECT LENGTH(?), SHA2(?, 256), CONCAT('<', ?, '>')";
        let id = client.prepare(sql).await;
        for number in 0..1000u32 {
            for (parameter, length) in [(0, number), (1, 1 + number % 7), (2, 0)] {
                let piece = number.to_string().repeat(length as usize);
                send_ahead(&mut client, id, parameter, piece.as_bytes()).await;
            }
        }
        execute(&mut client, id, &[None, None, None]).await;
        seen.push(result(&mut client).await);
    }
    assert_eq!(seen[1].last(), seen[0].last());
    assert_eq!(seen[1].len(), 6, "{seen:?}");
    assert_eq!(seen[1][4], seen[0][4]);
}

async fn a_parameter_that_there_is_not(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    let [mut direct, mut proxied] = rig.wires(USUAL).await;
    let mut other = rig.wire().await;
    let mut seen = Vec::new();
    for client in [&mut direct, &mut proxied] {
        let id = client.prepare("SELECT ?").await;
        send_ahead(client, id, 7, b"x").await;
        let mut said = Vec::new();
        for _ in 0..2 {
            said.push(refusal(client, id, &[Some("a")]).await);
        }
        reset(client, id).await;
        said.push(refusal(client, id, &[Some("a")]).await);
        seen.push(said);
    }
    assert_eq!(seen[1], seen[0]);
    let id = other.prepare("SELECT ?").await;
    assert_eq!(refusal(&mut other, id, &[Some("a")]).await, None);
}

/// What a server refuses of long data spoils its statement, which is nobody's alone.
async fn a_server_that_takes_less(flavor: Flavor) {
    let arguments = vec!["--max-allowed-packet=65536".into()];
    let options = Options {
        flavor,
        arguments,
        ..Options::default()
    };
    let rig = Rig::start_on(dedicated(options).await, NARROW).await;
    let mut client = rig.wire().await;
    let mut other = rig.wire().await;
    let (own, others) = (
        client.prepare("SELECT LENGTH(?)").await,
        other.prepare("SELECT LENGTH(?)").await,
    );
    for _ in 0..3 {
        send_ahead(&mut client, own, 0, &[b'x'; 40_000]).await;
    }
    let refused = refusal(&mut client, own, &[None]).await.unwrap();
    assert_eq!(refused.code, 1105, "{refused:?}");
    assert_eq!(refusal(&mut other, others, &[Some("a")]).await, None);
    assert_eq!(refusal(&mut client, own, &[Some("a")]).await, None);
}

async fn there_is_room_for_few(flavor: Flavor) {
    let arguments = vec!["--max-prepared-stmt-count=3".into()];
    let options = Options {
        flavor,
        arguments,
        ..Options::default()
    };
    let rig = Rig::start_on(dedicated(options).await, NARROW).await;
    let mut client = rig.wire().await;
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(client.prepare(&format!("SELECT {number}")).await);
    }
    for id in ids.iter().chain(&ids) {
        assert_eq!(refusal(&mut client, *id, &[]).await, None);
    }
    for number in 0..5 {
        let prepare = format!("PREPARE s{number} FROM 'SELECT {number}'");
        let answer = client.query(&prepare).await.unwrap();
        // There is nothing else that could make room.
        if number < 3 {
            answer.expect_ok();
        }
    }
}

/// What connections have that nobody uses makes room on others.
async fn room_is_made_elsewhere(flavor: Flavor) {
    let arguments = vec!["--max-prepared-stmt-count=3".into()];
    let options = Options {
        flavor,
        arguments,
        ..Options::default()
    };
    let rig = Rig::start_on(dedicated(options).await, "[pool]\nmax_connections = 2").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let (mut client, mut other) = (rig.wire().await, rig.wire().await);
    client.query("BEGIN").await.unwrap().expect_ok();
    let insert = "INSERT INTO t VALUES (1)";
    client.query(insert).await.unwrap().expect_ok();
    for number in 0..3 {
        let id = other
            .prepare(&format!("/* isthmus:writer */ SELECT {number}"))
            .await;
        assert_eq!(refusal(&mut other, id, &[]).await, None);
    }
    // On a connection without statements.
    let id = client.prepare(insert).await;
    assert_eq!(refusal(&mut client, id, &[]).await, None);
    client.query("COMMIT").await.unwrap().expect_ok();
    let count = "/* isthmus:writer */ SELECT COUNT(*) FROM t";
    assert_eq!(client.query(count).await.unwrap().value(), "2");
}

/// A statement that there is no room for does not run another session's in its place.
async fn there_is_room_for_one(flavor: Flavor) {
    let arguments = vec!["--max-prepared-stmt-count=1".into()];
    let options = Options {
        flavor,
        arguments,
        ..Options::default()
    };
    let rig = Rig::start_on(dedicated(options).await, NARROW).await;
    rig.prepare_data(&["CREATE TABLE own (a INT)", "CREATE TABLE others (a INT)"])
        .await;
    let (mut client, mut other) = (rig.wire().await, rig.wire().await);
    let own = client.prepare("INSERT INTO own VALUES (1)").await;
    assert_eq!(refusal(&mut client, own, &[]).await, None);
    other.prepare("INSERT INTO others VALUES (1)").await;
    assert_eq!(refusal(&mut client, own, &[]).await, None);
    let mut direct = rig.direct_writer().await;
    for (table, expected) in [("own", 2), ("others", 0)] {
        let count = format!("SELECT COUNT(*) FROM {table}");
        let count: Option<u64> = direct.query_first(count).await.unwrap();
        assert_eq!(count, Some(expected), "{table}");
    }
}

/// As a server that all others have left room.
#[tokio::test]
async fn a_session_has_only_so_many() {
    const MOST: usize = 16_382;
    // Fits into the buffers of a connection.
    const AT_ONCE: usize = 100;
    let rig = Rig::start(Flavor::Mysql, NARROW).await;
    let mut client = rig.wire().await;
    let prepare = |sql: &str| [&[Command::StmtPrepare as u8], sql.as_bytes()].concat();
    let mut framed = Vec::new();
    // No server hears of it.
    packet::put(&mut framed, 0, &prepare("SHOW ISTHMUS LAST"));
    let mut last = 0;
    for done in (0..MOST).step_by(AT_ONCE) {
        let count = AT_ONCE.min(MOST - done);
        client.send_raw(&framed.repeat(count)).await.unwrap();
        for _ in 0..count {
            last = client.prepared().await;
        }
    }
    let Answer::Err(refused) = client.command(&prepare("SELECT 1")).await.unwrap() else {
        panic!("there was room for one more");
    };
    assert_eq!((refused.code, refused.state.as_str()), (1461, "42000"));
    assert!(refused.message.contains("16382"), "{}", refused.message);
    let close = [&[Command::StmtClose as u8], &last.to_le_bytes()[..]].concat();
    client.send(0, &close).await.unwrap();
    client.prepare("SELECT 1").await;
}

/// A procedure can drop a textual statement of the proxy's.
async fn a_statement_that_is_gone(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    rig.prepare_data(&[
        "CREATE PROCEDURE drops(n INT) BEGIN DECLARE CONTINUE HANDLER FOR 1243 DO 0; \
         CASE n WHEN 1 THEN DEALLOCATE PREPARE isthmus_1; ELSE DEALLOCATE PREPARE isthmus_2; END CASE; END",
        "CREATE TABLE t (n INT)",
    ])
    .await;
    let mut client = rig.wire().await;
    for sql in [
        "PREPARE s FROM 'INSERT INTO t VALUES (1)'",
        "EXECUTE s",
        "CALL drops(1)",
        "CALL drops(2)",
        "EXECUTE s",
    ] {
        client.query(sql).await.unwrap().expect_ok();
    }
    let rows = client.query("SELECT COUNT(*) FROM t").await.unwrap();
    assert_eq!(rows.value(), "2");
}

/// The server has found too often that what the statement is about has changed while it prepared it
/// anew. A view says so once on every connection.
async fn a_statement_that_changes_too_often(flavor: Flavor) {
    let rig = Rig::start(flavor, "[pool]\nmax_connections = 2").await;
    let schema = &rig.schema;
    let view = format!(
        "USE {schema}; CREATE FUNCTION changes() RETURNS INT DETERMINISTIC
         BEGIN
             IF @has_changed IS NULL THEN
                 SET @has_changed = 1;
                 SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1615, MESSAGE_TEXT = 'changed';
             END IF;
             RETURN 7;
         END;
         CREATE VIEW seen AS SELECT changes() AS n"
    );
    rig.lab.writer().execute(&view).await.unwrap();
    rig.lab.wait_caught_up().await.unwrap();
    let mut direct = rig.wires(USUAL).await;
    let id = direct[0].prepare("SELECT n FROM seen").await;
    let refused = refusal(&mut direct[0], id, &[]).await.unwrap();
    assert_eq!(refused.code, 1615);

    let mut clients = [rig.wire().await, rig.wire().await];
    for (client, begin) in clients
        .iter_mut()
        .zip(["BEGIN", "START TRANSACTION READ ONLY"])
    {
        client.query(begin).await.unwrap().expect_ok();
        let id = client.prepare("SELECT n FROM seen").await;
        for _ in 0..2 {
            let rows = packets(client, id).await;
            assert_eq!(rows.len(), 4, "{rows:?}");
            assert_eq!(rows[2].payload, [0, 0, 7, 0, 0, 0]);
        }
    }
}

/// Columns come and go between the executions of one statement.
async fn columns_that_change(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)"])
        .await;
    let changes = [
        "ALTER TABLE t ADD COLUMN a VARCHAR(10) DEFAULT 'x'",
        "ALTER TABLE t MODIFY n BIGINT UNSIGNED NOT NULL",
        "ALTER TABLE t RENAME COLUMN a TO b",
        "ALTER TABLE t DROP COLUMN b",
        "DROP TABLE t",
        "CREATE TABLE t (c DATE)",
        "INSERT INTO t VALUES ('2024-01-02')",
        "RENAME TABLE t TO other",
        "CREATE VIEW t AS SELECT c, 1 AS one FROM other",
    ];
    let mut seen = Vec::new();
    for (mut client, schema) in rig.wires(USUAL).await.into_iter().zip(["left", "same"]) {
        for sql in [
            &format!("CREATE DATABASE {}_{schema}", rig.schema),
            &format!("USE {}_{schema}", rig.schema),
            "CREATE TABLE t (n INT)",
            "INSERT INTO t VALUES (1)",
        ] {
            client.query(sql).await.unwrap().expect_ok();
        }
        let id = client.prepare("SELECT * FROM t").await;
        let mut answers = vec![packets(&mut client, id).await];
        for change in changes {
            client.query(change).await.unwrap().expect_ok();
            answers.push(packets(&mut client, id).await);
        }
        let drop = format!("DROP DATABASE {}_{schema}", rig.schema);
        client.query(&drop).await.unwrap().expect_ok();
        let same_name = |mut packet: Packet| {
            // Behind the rows, a server also tells that the columns are others than when the statement
            // was prepared, which it may have been just now.
            if let [0xFE, _, _, _, status, ..] = &mut packet.payload[..] {
                *status &= !Status::METADATA_CHANGED.bits().to_le_bytes()[1];
            }
            let text = packet.payload.escape_ascii().to_string();
            (packet.sequence, text.replace(&format!("_{schema}"), ""))
        };
        let answers = answers.into_iter().map(|answer| {
            let described: Vec<_> = answer.into_iter().map(same_name).collect();
            described
        });
        seen.push(answers.collect::<Vec<_>>());
    }
    for (number, (direct, proxied)) in seen[0].iter().zip(&seen[1]).enumerate() {
        assert_eq!(proxied, direct, "after {} changes", number);
    }
}

/// An execution of more than one packet, sent together with a preparation that the server refuses.
async fn a_long_execution_of_what_is_gone(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    rig.prepare_data(&["CREATE TABLE gone (a INT, b LONGBLOB)"])
        .await;
    let mut client = rig.wire().await;
    let id = client.prepare("INSERT INTO gone VALUES (1, ?)").await;
    let mut others = rig.direct_writer().await;
    others.query_drop("DROP TABLE gone").await.unwrap();
    let long = "x".repeat(17 << 20);
    let refused = refusal(&mut client, id, &[Some(&long)]).await.unwrap();
    assert_eq!(refused.code, 1146, "{refused:?}");
    assert_eq!(client.query("SELECT 1").await.unwrap().value(), "1");
}

/// A client of MariaDB's executes what it has prepared in the same write. What the proxy has not let
/// it prepare is not the statement before.
#[tokio::test]
async fn what_is_refused_is_not_the_one_before() {
    let rig = Rig::start(Flavor::Mariadb, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    for text in ["SHUTDOWN", "SHOW ISTHMUS NONSENSE", "SELECT @isthmus_token"] {
        let mut client = rig.wire().await;
        let insert = client.prepare("INSERT INTO t VALUES (1)").await;
        assert_eq!(refusal(&mut client, insert, &[]).await, None);
        let payload = [&[Command::StmtPrepare as u8], text.as_bytes()].concat();
        let refused = client.command(&payload).await.unwrap();
        assert!(matches!(refused, Answer::Err(_)), "{text}: {refused:?}");
        let refused = refusal(&mut client, u32::MAX, &[]).await.unwrap();
        assert_eq!(refused.code, 1243, "{text}");
    }
    let mut direct = rig.direct_writer().await;
    let count: Option<u64> = direct.query_first("SELECT COUNT(*) FROM t").await.unwrap();
    assert_eq!(count, Some(3));
}

/// Clients may not guess them, but some tests do. Those of MariaDB have gaps.
#[tokio::test]
async fn numbers_are_those_of_mysql() {
    let rig = Rig::start(Flavor::Mysql, "").await;
    let address = rig.lab.writer().address();
    let direct = Client::log_in(address, &rig.user, PASSWORD, &rig.schema).await;
    let mut numbers = Vec::new();
    for mut client in [direct, rig.wire().await] {
        let first = client.prepare("SELECT 1").await;
        let payload = [&[Command::StmtPrepare as u8], &b"SELECT nowhere"[..]].concat();
        let refused = client.command(&payload).await.unwrap();
        assert!(matches!(refused, Answer::Err(_)), "{refused:?}");
        numbers.push([first, client.prepare("SELECT 2").await]);
    }
    assert_eq!(numbers[1], numbers[0]);
}

isthmus_tests::on_both! {
    a_long_execution_of_what_is_gone
    a_parameter_that_is_too_long
    a_parameter_that_there_is_not
    parameters_in_many_pieces
    a_server_that_takes_less
    there_is_room_for_few
    room_is_made_elsewhere
    there_is_room_for_one
    a_statement_that_is_gone
    a_statement_that_changes_too_often
    columns_that_change
}
