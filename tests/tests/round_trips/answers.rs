//! What is answered at once is answered as the server would, byte for byte.

use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::status::Status;
use isthmus_tests::Flavor;
use isthmus_tests::rig::Rig;
use isthmus_tests::wire::{Client, USUAL, query_payload};

/// The payloads of all packets that answer one statement.
async fn packets(client: &mut Client, sql: &str) -> Vec<Vec<u8>> {
    client.send(0, &query_payload(sql)).await.unwrap();
    let ends = if client.capabilities.contains(Capabilities::DEPRECATE_EOF) {
        1
    } else {
        2
    };
    let mut packets = Vec::new();
    loop {
        let mut left = ends;
        while left > 0 {
            let payload = client.receive().await.unwrap().payload;
            let is_first = packets.is_empty() || left == ends;
            match payload[0] {
                0x00 if is_first => left = 0,
                0xFF => left = 0,
                0xFE => left -= 1,
                _ => {}
            }
            packets.push(payload);
        }
        let last = packets.last().unwrap();
        let ok = OkPacket::parse(last, true).unwrap_or_default();
        if last[0] == 0xFF || !ok.status.contains(Status::MORE_RESULTS_EXISTS) {
            return packets;
        }
    }
}

/// Transactions of every kind, with `{t}` for a table of one column.
const DAY: &[&str] = &[
    "BEGIN",
    "COMMIT",
    "BEGIN",
    "ROLLBACK",
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
    "BEGIN",
    "ROLLBACK",
    "START TRANSACTION",
    "INSERT INTO {t} VALUES (1)",
    "SAVEPOINT a",
    "RELEASE SAVEPOINT a",
    "SELECT ROW_COUNT()",
    "COMMIT",
    "BEGIN WORK",
    "SELECT ROW_COUNT()",
    "SHOW WARNINGS",
    "SAVEPOINT a",
    "SAVEPOINT `b`",
    "INSERT INTO {t} VALUES (2)",
    "ROLLBACK TO SAVEPOINT a",
    "RELEASE SAVEPOINT b",
    "RELEASE SAVEPOINT A",
    "RELEASE SAVEPOINT A",
    "INSERT INTO {t} VALUES (3)",
    "COMMIT",
    "SELECT * FROM {t}",
    "BEGIN",
    "INSERT INTO {t} VALUES (1)",
    "SAVEPOINT x",
    "SHOW WARNINGS",
    "RELEASE SAVEPOINT x",
    "ROLLBACK",
    "BEGIN",
    "INSERT INTO nowhere VALUES (1)",
    "ROLLBACK",
    "SET autocommit = 0",
    "COMMIT",
    "SAVEPOINT q",
    "RELEASE SAVEPOINT q",
    "INSERT INTO {t} VALUES (5)",
    "SAVEPOINT q",
    "RELEASE SAVEPOINT q",
    "COMMIT",
    "BEGIN",
    "ROLLBACK",
    "BEGIN",
    "SELECT * FROM {t}",
    "ROLLBACK",
    "SET autocommit = 1",
    "START TRANSACTION READ WRITE",
    "SELECT ROW_COUNT()",
    "COMMIT",
    "BEGIN",
    "CREATE TABLE {t}2 (a INT)",
    "ROLLBACK",
    "BEGIN",
    "DROP TABLE {t}2",
    "COMMIT",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "COMMIT",
    "BEGIN",
    "SELECT * FROM {t}",
    "COMMIT AND CHAIN",
    "SAVEPOINT s",
    "RELEASE SAVEPOINT s",
    "ROLLBACK AND NO CHAIN",
    "BEGIN",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET TRANSACTION READ ONLY",
    "ROLLBACK",
    "SET TRANSACTION READ ONLY",
    "BEGIN",
    "INSERT INTO {t} VALUES (6)",
    "COMMIT",
    "SET SESSION TRANSACTION READ ONLY",
    "BEGIN",
    "INSERT INTO {t} VALUES (6)",
    "COMMIT",
    "SET SESSION TRANSACTION READ WRITE",
    "SET completion_type = CHAIN",
    "BEGIN",
    "COMMIT",
    "SET completion_type = DEFAULT",
    "COMMIT",
    "BEGIN",
    "USE information_schema",
    "SELECT DATABASE()",
    "ROLLBACK",
    "START TRANSACTION FORTHWITH",
    "COMMIT AND",
    "COMMIT NO",
    "ROLLBACK SOON",
    "SAVEPOINT",
    "SAVEPOINT a b",
    "BEGIN /* of a day */",
    "COMMIT /* of a day */;",
    "SET @a = 1",
    "BEGIN",
    "SELECT ROW_COUNT()",
    "SAVEPOINT a",
    "COMMIT",
    "SELECT ROW_COUNT()",
    "BEGIN",
    "COMMIT",
    "SELECT ROW_COUNT()",
];

async fn same(flavor: Flavor, overlay: &str) {
    same_on(&Rig::start(flavor, overlay).await).await;
}

async fn same_on(rig: &Rig) {
    rig.prepare_data(&[
        "CREATE TABLE d (a INT PRIMARY KEY)",
        "CREATE TABLE p (a INT PRIMARY KEY)",
    ])
    .await;
    let without_eof = USUAL - Capabilities::DEPRECATE_EOF;
    for capabilities in [USUAL, USUAL | Capabilities::SESSION_TRACK, without_eof] {
        rig.prepare_data(&["DELETE FROM d", "DELETE FROM p"]).await;
        let [mut direct, mut proxied] = rig.wires(capabilities).await;
        let schema = format!("USE {}", rig.schema);
        let day = DAY
            .iter()
            .map(|sql| sql.replace("{t}", &format!("{}.{{t}}", rig.schema)));
        for sql in std::iter::once(schema).chain(day) {
            let expected = packets(&mut direct, &sql.replace("{t}", "d")).await;
            let found = packets(&mut proxied, &sql.replace("{t}", "p")).await;
            // Columns and errors name the table.
            let comparable = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                let is_plain = |packet: &Vec<u8>| !packet.starts_with(b"\x03def");
                let ends = packets.iter().filter(|packet| is_plain(packet));
                ends.map(|packet| match packet[0] {
                    0xFF => packet[..9].to_vec(),
                    // MariaDB knows before the rows that it used no index.
                    0xFE if packet.len() == 5 => {
                        let flags = [packet[3] & !0x20, packet[4]];
                        [&packet[..3], &flags[..]].concat()
                    }
                    _ => packet.clone(),
                })
                .collect()
            };
            assert_eq!(
                comparable(&found),
                comparable(&expected),
                "{sql} with {capabilities:?}"
            );
        }
    }
}

async fn at_once_as_the_server_would(flavor: Flavor) {
    same(flavor, "").await;
}

async fn later_as_the_server_does(flavor: Flavor) {
    let off = "[round_trips]\nbegin = false\nsavepoints = false\nempty_transactions = false";
    same(flavor, off).await;
}

/// What reads before the first write show of the session is what the writer would have shown.
async fn ahead_as_the_server_would(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let blueprint = rig
        .blueprint
        .clone()
        .with_right(&rig.user, "optimistic_reads");
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    same_on(&rig).await;
}

isthmus_tests::on_both! { ahead_as_the_server_would at_once_as_the_server_would later_as_the_server_does }
