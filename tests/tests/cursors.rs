//! Cursors of prepared statements: a read's cursor is on the reader, with a connection of its own,
//! and the session goes on with others.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use isthmus_lab::{Flavor, Options};
use isthmus_protocol::command::Command;
use isthmus_tests::beside::value;
use isthmus_tests::rig::{Rig, WHERE, dedicated, until};
use isthmus_tests::wire::{Answer, Client, USUAL};
use mysql_async::prelude::Queryable;

const READ: &str = "SELECT CONCAT(name, n) FROM sign.post, t ORDER BY n";

/// COM_STMT_EXECUTE without parameters, with a read-only cursor.
async fn open(client: &mut Client, id: u32) -> Answer {
    let mut payload = vec![Command::StmtExecute as u8];
    payload.extend(id.to_le_bytes());
    payload.extend([1, 1, 0, 0, 0]);
    client.command(&payload).await.unwrap()
}

/// COM_STMT_FETCH: the rows' only values, or the number of the error.
async fn fetch(client: &mut Client, id: u32, rows: u32) -> Result<Vec<String>, u16> {
    let mut payload = vec![Command::StmtFetch as u8];
    payload.extend(id.to_le_bytes());
    payload.extend(rows.to_le_bytes());
    client.send(0, &payload).await.unwrap();
    let mut values = Vec::new();
    loop {
        let packet = client.receive().await.unwrap();
        match packet.payload.as_slice() {
            [0xFF, low, high, ..] => return Err(u16::from_le_bytes([*low, *high])),
            [0xFE, ..] => return Ok(values),
            // The header, which values are NULL, and a short string.
            [0, _, length, text @ ..] => {
                values.push(String::from_utf8_lossy(&text[..usize::from(*length)]).into_owned());
            }
            other => panic!("not a row: {other:?}"),
        }
    }
}

async fn holds(client: &mut Client) -> Vec<String> {
    let Answer::Rows(rows) = client.query("SHOW ISTHMUS SESSION").await.unwrap() else {
        panic!("no rows");
    };
    let holds = rows
        .into_iter()
        .filter(|row| row[0].as_deref() == Some("hold"));
    holds.map(|mut row| row[1].take().unwrap()).collect()
}

async fn started(flavor: Flavor, connections: u32) -> Rig {
    started_with(flavor, connections, "").await
}

async fn started_with(flavor: Flavor, connections: u32, pool: &str) -> Rig {
    let overlay =
        format!("[pool]\nmax_connections = {connections}\nborrow_timeout = \"1s\"\n{pool}");
    let rig = Rig::start(flavor, &overlay).await;
    rig.prepare_data(&[
        "CREATE TABLE t (n INT)",
        "INSERT INTO t VALUES (1), (2), (3), (4), (5)",
    ])
    .await;
    drop(rig.direct_writer().await);
    rig
}

async fn a_cursor_has_a_connection_of_its_own(flavor: Flavor) {
    let rig = started(flavor, 2).await;
    let mut client = rig.wire().await;
    let id = client.prepare(READ).await;
    open(&mut client, id).await.expect_ok();
    assert_eq!(holds(&mut client).await, ["cursor"]);
    assert_eq!(
        fetch(&mut client, id, 2).await.unwrap(),
        ["reader1", "reader2"]
    );

    assert_eq!(client.query(WHERE).await.unwrap().value(), "reader");
    for statement in [
        "SET @a = 1",
        "INSERT INTO t VALUES (6)",
        "BEGIN",
        "DELETE FROM t WHERE n = 6",
    ] {
        client.query(statement).await.unwrap().expect_ok();
    }
    assert_eq!(holds(&mut client).await, ["cursor", "transaction"]);
    assert_eq!(fetch(&mut client, id, 1).await.unwrap(), ["reader3"]);
    assert_eq!(client.query(WHERE).await.unwrap().value(), "writer");
    client.query("COMMIT").await.unwrap().expect_ok();
    assert_eq!(
        fetch(&mut client, id, 9).await.unwrap(),
        ["reader4", "reader5"]
    );
    assert_eq!(holds(&mut client).await, [""; 0]);
    assert_eq!(fetch(&mut client, id, 1).await, Err(1421));

    // In a transaction the cursor is where that is.
    client.query("BEGIN").await.unwrap().expect_ok();
    open(&mut client, id).await.expect_ok();
    assert_eq!(fetch(&mut client, id, 1).await.unwrap(), ["writer1"]);
    client.query("ROLLBACK").await.unwrap().expect_ok();
}

async fn a_cursor_shows_what_was_written(flavor: Flavor) {
    let options = Options {
        flavor,
        ..Options::default()
    };
    let overlay =
        "[monitor]\ninterval = \"100ms\"\n[consistency]\non_stale = \"wait\"\nmax_wait = \"200ms\"";
    let rig = Rig::start_on(dedicated(options).await, overlay).await;
    rig.prepare_data(&["CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)"])
        .await;
    let mut conn = rig.connect().await;
    let mut client = rig.wire().await;
    let id = client.prepare(READ).await;
    rig.lab.stop_replication().await.unwrap();
    for far in [0, 20] {
        rig.reader.set_round_trip(Duration::from_millis(far));
        until("the distance is known", async || {
            let rows: Vec<mysql_async::Row> = conn.query("SHOW ISTHMUS TOPOLOGY").await.unwrap();
            let mut rows = rows.iter();
            let reader = rows.find(|row| row.get::<String, _>("role").unwrap() == "reader");
            let trip: Option<f64> = reader.unwrap().get("round_trip_seconds").unwrap();
            (trip > Some(0.015)) == (far > 0)
        })
        .await;
        client
            .query("UPDATE t SET n = n + 1")
            .await
            .unwrap()
            .expect_ok();
        open(&mut client, id).await.expect_ok();
        let expected = format!("writer{}", 2 + far / 20);
        assert_eq!(fetch(&mut client, id, 9).await.unwrap(), [expected]);
    }
    rig.lab.start_replication().await.unwrap();
    until("the reader answers", async || {
        open(&mut client, id).await.expect_ok();
        fetch(&mut client, id, 9).await.unwrap() == ["reader3"]
    })
    .await;
}

async fn closed_cursors_leave_nothing(flavor: Flavor) {
    let rig = started(flavor, 2).await;
    for way in ["close", "reset", "again", "connection", "gone"] {
        let mut client = rig.wire().await;
        let id = client.prepare(READ).await;
        open(&mut client, id).await.expect_ok();
        assert_eq!(fetch(&mut client, id, 1).await.unwrap(), ["reader1"]);
        let command = |command: Command| [&[command as u8][..], &id.to_le_bytes()].concat();
        match way {
            "close" => drop(client.send(0, &command(Command::StmtClose)).await.unwrap()),
            "reset" => client
                .command(&command(Command::StmtReset))
                .await
                .unwrap()
                .expect_ok(),
            "again" => {
                open(&mut client, id).await.expect_ok();
                assert_eq!(fetch(&mut client, id, 1).await.unwrap(), ["reader1"]);
                client
                    .command(&command(Command::StmtReset))
                    .await
                    .unwrap()
                    .expect_ok();
            }
            "connection" => {
                let reset = [Command::ResetConnection as u8];
                client.command(&reset).await.unwrap().expect_ok();
            }
            _ => {
                client.say_goodbye().await;
                client = rig.wire().await;
            }
        }
        assert_eq!(holds(&mut client).await, [""; 0], "{way}");
        // Both connections to the reader are free.
        let mut others = [rig.wire().await, rig.wire().await];
        for other in &mut others {
            isthmus_tests::rig::until("a connection to the reader is free", async || {
                other
                    .query("START TRANSACTION READ ONLY")
                    .await
                    .unwrap()
                    .expect_ok();
                let is_reader = other.query(WHERE).await.unwrap().value() == "reader";
                if !is_reader {
                    other.query("COMMIT").await.unwrap().expect_ok();
                }
                is_reader
            })
            .await;
        }
    }
}

/// A user lock that a routine took for a cursor ends with the cursor, and the session hears that it
/// has lost it, however the cursor is closed.
async fn a_lock_does_not_outlive_its_cursor(flavor: Flavor) {
    let rig = started(flavor, 2).await;
    let schema = &rig.schema;
    let ways: [(Command, &[u8], u8, &str); 3] = [
        (Command::StmtClose, &[], 0, "closes"),
        (Command::StmtReset, &[], 1, "resets"),
        (Command::StmtExecute, &[0, 1, 0, 0, 0], 1, "executes"),
    ];
    for (command, rest, sequence, name) in ways {
        let function = format!(
            "CREATE FUNCTION {schema}.{name}(n INT) RETURNS INT DETERMINISTIC RETURN GET_LOCK('{schema}_{name}', 0)"
        );
        rig.lab.writer().execute(&function).await.unwrap();
        let mut client = rig.wire().await;
        let id = client
            .prepare(&format!("SELECT CONCAT({name}(n)) FROM t"))
            .await;
        open(&mut client, id).await.expect_ok();
        assert_eq!(fetch(&mut client, id, 1).await.unwrap(), ["1"]);
        let end = [&[command as u8][..], &id.to_le_bytes(), rest].concat();
        client.send(0, &end).await.unwrap();
        let lost = client.receive().await.unwrap();
        assert_eq!(lost.sequence, sequence, "{name}");
        assert_eq!(lost.payload[..3], [0xFF, 0x61, 0x0C], "{name}: {lost:?}");
        client.closed().await.unwrap();
        let mut other = rig.direct_writer().await;
        let free = format!("SELECT IS_FREE_LOCK('{schema}_{name}')");
        assert_eq!(value(&mut other, &free).await.as_deref(), Some("1"));
    }
}

/// The warnings of a statement with a cursor are there as long as with a server.
async fn a_cursor_leaves_its_warnings(flavor: Flavor) {
    let rig = started(flavor, 2).await;
    let mut seen = Vec::new();
    for mut client in rig.wires(USUAL).await {
        let id = client
            .prepare("SELECT CONCAT(n, CAST('x' AS SIGNED)) FROM t FOR UPDATE")
            .await;
        open(&mut client, id).await.expect_ok();
        assert_eq!(fetch(&mut client, id, 1).await.unwrap(), ["10"]);
        let before = client.query("SHOW WARNINGS").await.unwrap();
        let close = [&[Command::StmtClose as u8][..], &id.to_le_bytes()].concat();
        client.send(0, &close).await.unwrap();
        seen.push([before, client.query("SHOW WARNINGS").await.unwrap()]);
    }
    assert_eq!(seen[1], seen[0]);
    assert_ne!(seen[0][1], Answer::Rows(Vec::new()));
}

async fn many_cursors_are_bounded(flavor: Flavor) {
    let rig = started(flavor, 8).await;
    let mut client = rig.wire().await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        let id = client.prepare(READ).await;
        open(&mut client, id).await.expect_ok();
        ids.push(id);
    }
    client
        .query("INSERT INTO t VALUES (6)")
        .await
        .unwrap()
        .expect_ok();
    for (number, id) in ids.iter().enumerate() {
        let expected = if number < 4 { "reader1" } else { "writer1" };
        let rows = fetch(&mut client, *id, 1).await;
        assert_eq!(rows, Ok(vec![expected.to_owned()]), "cursor {number}");
    }
    for id in ids {
        let rest = fetch(&mut client, id, 9).await.unwrap();
        assert_eq!(rest.len(), 4);
    }
    assert_eq!(holds(&mut client).await, [""; 0]);
}

/// However many statements are prepared beside it.
async fn a_cursor_is_not_closed_to_make_room(flavor: Flavor) {
    let rig = started_with(flavor, 1, "prepared_statements = 2").await;
    let mut client = rig.wire().await;
    client.query("BEGIN").await.unwrap().expect_ok();
    let id = client.prepare(READ).await;
    open(&mut client, id).await.expect_ok();
    assert_eq!(fetch(&mut client, id, 1).await.unwrap(), ["writer1"]);
    for number in 0..5 {
        let other = format!("UPDATE t SET n = n WHERE n = {number}");
        let other = client.prepare(&other).await;
        let payload = [
            &[Command::StmtExecute as u8],
            &other.to_le_bytes()[..],
            &[0; 5],
        ]
        .concat();
        client.command(&payload).await.unwrap().expect_ok();
    }
    assert_eq!(fetch(&mut client, id, 9).await.unwrap().len(), 4);
    client.query("COMMIT").await.unwrap().expect_ok();
    assert_eq!(holds(&mut client).await, [""; 0]);
}

/// Several cursors of a transaction that may only read leave the session's writes to the writer.
async fn cursors_outlive_a_transaction_together(flavor: Flavor) {
    let rig = started(flavor, 2).await;
    for end in ["COMMIT", "START TRANSACTION READ WRITE"] {
        // One that has written nothing yet.
        let mut client = rig.wire().await;
        let begin = "START TRANSACTION READ ONLY";
        client.query(begin).await.unwrap().expect_ok();
        let mut ids = Vec::new();
        for _ in 0..2 {
            let id = client.prepare(READ).await;
            open(&mut client, id).await.expect_ok();
            assert_eq!(fetch(&mut client, id, 1).await.unwrap(), ["reader1"]);
            ids.push(id);
        }
        client.query(end).await.unwrap().expect_ok();
        for statement in [
            "INSERT INTO t VALUES (9)",
            "DELETE FROM t WHERE n = 9",
            "COMMIT",
        ] {
            client.query(statement).await.unwrap().expect_ok();
        }
        assert_eq!(holds(&mut client).await, ["cursor"]);
        assert_eq!(fetch(&mut client, ids[1], 1).await.unwrap(), ["reader2"]);
        assert_eq!(fetch(&mut client, ids[0], 9).await.unwrap().len(), 4);
        assert_eq!(fetch(&mut client, ids[1], 9).await.unwrap().len(), 3);
        assert_eq!(holds(&mut client).await, [""; 0]);
    }
}

/// What it tells of the session is not that of its connection.
async fn rows_come_with_the_flags_of_the_session(flavor: Flavor) {
    let rig = started(flavor, 2).await;
    let mut seen = Vec::new();
    for mut client in rig.wires(USUAL).await {
        let id = client.prepare("SELECT n FROM t").await;
        open(&mut client, id).await.expect_ok();
        for statement in [
            "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
            "SET autocommit = 0",
        ] {
            client.query(statement).await.unwrap().expect_ok();
        }
        let payload = [
            &[Command::StmtFetch as u8],
            &id.to_le_bytes()[..],
            &[9, 0, 0, 0],
        ]
        .concat();
        client.send(0, &payload).await.unwrap();
        let last = loop {
            let packet = client.receive().await.unwrap();
            if packet.payload[0] != 0 {
                break packet.payload;
            }
        };
        seen.push(last);
    }
    assert_eq!(seen[1], seen[0]);
}

/// What follows a read-only transaction is for the writer, also where there are many cursors already.
async fn one_cursor_more_leaves_writes_to_the_writer(flavor: Flavor) {
    let rig = started(flavor, 8).await;
    for end in ["COMMIT", "START TRANSACTION READ WRITE"] {
        let mut client = rig.wire().await;
        let mut ids = Vec::new();
        for number in 0..5 {
            if number == 4 {
                let begin = "START TRANSACTION READ ONLY";
                client.query(begin).await.unwrap().expect_ok();
            }
            let id = client.prepare(READ).await;
            open(&mut client, id).await.expect_ok();
            ids.push(id);
        }
        for statement in [
            end,
            "INSERT INTO t VALUES (9)",
            "DELETE FROM t WHERE n = 9",
            "COMMIT",
        ] {
            client.query(statement).await.unwrap().expect_ok();
        }
        for id in ids {
            assert_eq!(fetch(&mut client, id, 9).await.unwrap().len(), 5, "{end}");
        }
        assert_eq!(holds(&mut client).await, [""; 0]);
    }
}

isthmus_tests::on_both! {
    one_cursor_more_leaves_writes_to_the_writer
    a_cursor_is_not_closed_to_make_room
    cursors_outlive_a_transaction_together
    rows_come_with_the_flags_of_the_session
    a_cursor_has_a_connection_of_its_own
    a_cursor_shows_what_was_written
    closed_cursors_leave_nothing
    a_lock_does_not_outlive_its_cursor
    a_cursor_leaves_its_warnings
    many_cursors_are_bounded
}
