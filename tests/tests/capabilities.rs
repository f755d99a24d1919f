//! What a client may negotiate when it logs in works as on a direct connection, or is not offered.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use isthmus_lab::{Flavor, Options};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::command::Command;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::status::Status;
use isthmus_tests::rig::{PASSWORD, Rig, dedicated, shared};
use isthmus_tests::wire::{Answer, Client, USUAL};
use mysql_async::prelude::Queryable;

/// A client of the writer itself, and one of the proxy, with the usual capabilities and these.
async fn both(rig: &Rig, more: Capabilities) -> [Client; 2] {
    rig.wires(USUAL | more).await
}

/// The writer's own address. The server has seen the password of the rig's user: it would ask for
/// more than this client can say otherwise.
async fn writer(rig: &Rig) -> SocketAddr {
    drop(rig.direct_writer().await);
    rig.lab.writer().address()
}

async fn log_in(rig: &Rig, address: SocketAddr, capabilities: Capabilities) -> Client {
    let mut client = Client::connect(address).await.unwrap().unwrap();
    client.capabilities = capabilities;
    log_in_as(&mut client, rig).await;
    client
}

async fn log_in_as(client: &mut Client, rig: &Rig) {
    let login = client.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
    login.await.unwrap().unwrap();
}

/// Asserts that both get the same answer, and returns it.
async fn same(clients: &mut [Client; 2], sql: &str) -> Answer {
    let mut answers = Vec::new();
    for client in clients.iter_mut() {
        answers.push(client.query(sql).await.unwrap());
    }
    assert_eq!(answers[1], answers[0], "{sql}");
    answers.remove(0)
}

/// All packets of an answer that ends with an OK.
async fn packets(client: &mut Client) -> Vec<(u8, Vec<u8>)> {
    let mut packets = Vec::new();
    let mut is_in_result = false;
    let mut is_in_rows = false;
    loop {
        let packet = client.receive().await.unwrap();
        let payload = packet.payload;
        let is_over = !is_in_result
            && match payload[0] {
                0 => !OkPacket::parse(&payload, false)
                    .unwrap()
                    .status
                    .contains(Status::MORE_RESULTS_EXISTS),
                first => first == 0xFF,
            };
        let is_result = is_in_result || !matches!(payload[0], 0 | 0xFF);
        if payload[0] == 0xFE && payload.len() < 9 {
            is_in_result = !is_in_rows;
            is_in_rows = !is_in_rows;
        } else {
            is_in_result = is_result;
        }
        packets.push((packet.sequence, payload));
        if is_over {
            return packets;
        }
    }
}

async fn what_stands_between_columns_and_rows(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&[
        "CREATE PROCEDURE p (OUT a INT) BEGIN SELECT 1; SET a = 7; END",
        "CREATE PROCEDURE q () BEGIN SELECT 1; SELECT 2; END",
    ])
    .await;
    let capabilities = (USUAL | Capabilities::MULTI_STATEMENTS) - Capabilities::DEPRECATE_EOF;
    let mut clients = rig.wires(capabilities).await;
    for sql in [
        "SELECT 1; SELECT 2; DO 1",
        "CALL q()",
        "SELECT 1; CALL q(); DO 1",
    ] {
        let mut transcripts = Vec::new();
        for client in &mut clients {
            let query = isthmus_tests::wire::query_payload(sql);
            client.send(0, &query).await.unwrap();
            transcripts.push(packets(client).await);
        }
        assert_eq!(transcripts[1], transcripts[0], "{sql}");
    }
    // What a parameter has been set to is marked as such.
    let mut transcripts = Vec::new();
    for client in &mut clients {
        let id = client.prepare("CALL p(?)").await;
        let mut execute = vec![Command::StmtExecute as u8];
        execute.extend_from_slice(&id.to_le_bytes());
        // No cursor, once, not NULL, the type of BIGINT, 0.
        execute.extend_from_slice(&[0, 1, 0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        client.send(0, &execute).await.unwrap();
        let mut packets = packets(client).await;
        // To clients with DEPRECATE_EOF, and so to the proxy, MySQL tells more behind these rows.
        if flavor == Flavor::Mysql {
            packets.remove(packets.len() - 2);
        }
        transcripts.push(packets);
    }
    assert_eq!(transcripts[1], transcripts[0]);
}

/// Short answers and long ones end differently within the proxy.
async fn the_end_of_rows(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let capabilities = (USUAL | Capabilities::MULTI_STATEMENTS) - Capabilities::DEPRECATE_EOF;
    let mut clients = rig.wires(capabilities).await;
    for rows in [1, 3, 8, 9, 30, 150, 900] {
        let select = format!(
            "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) \
             SELECT n, REPEAT('x', 100) FROM s"
        );
        for (results, sql) in [
            (1, select.clone()),
            (3, format!("{select}; SELECT 1; {select}")),
            (3, format!("SELECT 1; {select}; DO 1")),
            (1, "SELECT 2".into()),
        ] {
            let mut transcripts = Vec::new();
            for client in &mut clients {
                let query = isthmus_tests::wire::query_payload(&sql);
                client.send(0, &query).await.unwrap();
                transcripts.push(results_of(client, results).await);
            }
            assert!(transcripts[1] == transcripts[0], "{rows} rows: {sql}");
        }
    }
}

/// All packets of so many results, of a client that gets an EOF behind columns and one behind rows.
async fn results_of(client: &mut Client, results: usize) -> Vec<(u8, Vec<u8>)> {
    let mut packets = Vec::new();
    for _ in 0..results {
        let mut ends = 0;
        let mut is_ok = false;
        while ends < 2 && !is_ok {
            let mut packet = client.receive().await.unwrap();
            assert_ne!(packet.payload[0], 0xFF, "{:?}", packet.payload);
            is_ok = ends == 0 && packet.payload[0] == 0;
            if packet.payload[0] == 0xFE && packet.payload.len() < 9 {
                ends += 1;
                // The flags behind columns are made up: a server may say more, and behind rows does.
                packet.payload.truncate(if ends == 1 { 1 } else { 9 });
            }
            packets.push((packet.sequence, packet.payload));
        }
    }
    packets
}

async fn found_rows(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1), (1)"])
        .await;
    for (capability, expected) in [(Capabilities::FOUND_ROWS, 2), (Capabilities::empty(), 0)] {
        for mut client in both(&rig, capability).await {
            let update = isthmus_tests::wire::query_payload("UPDATE t SET a = 1");
            client.send(0, &update).await.unwrap();
            let packet = client.receive().await.unwrap();
            let ok = OkPacket::parse(&packet.payload, false).unwrap();
            assert_eq!(ok.affected_rows, expected, "{capability:?}");
        }
    }
}

async fn a_character_set_that_no_client_can_send(flavor: Flavor) {
    const UCS2_GENERAL_CI: u16 = 35;
    let rig = Rig::start(flavor, "").await;
    let mut refusals = Vec::new();
    for address in [writer(&rig).await, rig.proxy.address()] {
        let mut client = Client::connect(address).await.unwrap().unwrap();
        client.collation = UCS2_GENERAL_CI;
        let login = client.authenticate(&rig.user, PASSWORD, None);
        let refusal = login.await.unwrap().unwrap_err();
        refusals.push((refusal.code, refusal.state, refusal.message));
    }
    assert_eq!(refusals[1], refusals[0]);
}

async fn ignore_space(flavor: Flavor) {
    let rig = Rig::start(flavor, "[pool]\nmax_connections = 2").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let question = "SELECT @@sql_mode LIKE '%IGNORE_SPACE%', COUNT (*) FROM t";
    for _ in 0..2 {
        let mut clients = both(&rig, Capabilities::IGNORE_SPACE).await;
        assert!(matches!(
            same(&mut clients, question).await,
            Answer::Rows(_)
        ));
        same(&mut clients, "SET sql_mode = DEFAULT").await;
        same(&mut clients, question).await;
        same(&mut clients, "SET sql_mode = ''").await;
        same(&mut clients, question).await;
        for client in &mut clients {
            let reset = client.command(&[Command::ResetConnection as u8]).await;
            reset.unwrap().expect_ok();
        }
        same(&mut clients, question).await;
        let mut clients = both(&rig, Capabilities::empty()).await;
        assert!(matches!(same(&mut clients, question).await, Answer::Err(_)));
    }
}

async fn interactive(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    for server in rig.lab.servers() {
        // Nobody else looks at it.
        let set = "SET GLOBAL interactive_timeout = 28801";
        server.execute(set.to_owned()).await.unwrap();
    }
    let question = "SELECT @@wait_timeout, @@interactive_timeout";
    let mut clients = both(&rig, Capabilities::INTERACTIVE).await;
    let answer = same(&mut clients, question).await;
    assert_eq!(answer.value(), "28801");
    let mut clients = both(&rig, Capabilities::empty()).await;
    assert_eq!(same(&mut clients, question).await.value(), "28800");

    // A reset takes the session's own limit back.
    let mut spared = both(&rig, Capabilities::INTERACTIVE).await;
    same(&mut spared, "SET wait_timeout = 1").await;
    for client in &mut spared {
        let reset = client.command(&[Command::ResetConnection as u8]).await;
        reset.unwrap().expect_ok();
    }
    // Only wait_timeout counts once the session has begun.
    let mut clients = both(&rig, Capabilities::INTERACTIVE).await;
    same(
        &mut clients,
        "SET interactive_timeout = 100, wait_timeout = 1",
    )
    .await;
    for client in &mut clients {
        client.closed().await.unwrap();
    }
    same(&mut spared, "SELECT 1").await.expect_ok();
}

async fn no_schema(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut clients = both(&rig, Capabilities::NO_SCHEMA).await;
    same(&mut clients, "SELECT t.a FROM t").await.expect_ok();
    let long = format!("SELECT {}.t.a FROM t", rig.schema);
    same(&mut clients, &long).await;
    same(&mut clients, "SELECT nowhere.t.a FROM t").await;
}

async fn local_files(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut clients = [writer(&rig).await, rig.proxy.address()].map(|address| (address, None));
    for (address, client) in &mut clients {
        *client = Some(log_in(&rig, *address, USUAL - Capabilities::LOCAL_FILES).await);
    }
    let mut clients = clients.map(|(_, client)| client.unwrap());
    let answer = same(&mut clients, "LOAD DATA LOCAL INFILE 'x' INTO TABLE t").await;
    assert!(matches!(answer, Answer::Err(_)), "{answer:?}");
}

/// A client that cannot take several results gets none.
async fn multi_results(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE PROCEDURE p() SELECT 1"]).await;
    let without = USUAL - Capabilities::MULTI_RESULTS - Capabilities::PS_MULTI_RESULTS;
    for address in [writer(&rig).await, rig.proxy.address()] {
        let mut client = log_in(&rig, address, without).await;
        assert_eq!(client.query("CALL p()").await.unwrap().code(), 1312);
        let mut client = log_in(&rig, address, USUAL).await;
        assert_eq!(client.query("CALL p()").await.unwrap().value(), "1");
    }
}

/// What would change the format of packets, and is not understood, is not offered.
async fn what_is_not_offered(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let offered = rig.wire().await.greeting.capabilities;
    let not = Capabilities::OPTIONAL_RESULTSET_METADATA
        | Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS
        | Capabilities::MULTI_FACTOR_AUTH
        | Capabilities::PROGRESS
        | Capabilities::COM_MULTI
        | Capabilities::STMT_BULK_OPERATIONS
        | Capabilities::EXTENDED_METADATA
        | Capabilities::CACHE_METADATA
        | Capabilities::BULK_UNIT_RESULTS;
    assert_eq!(offered & not, Capabilities::empty());
    assert_eq!(
        offered.contains(Capabilities::QUERY_ATTRIBUTES),
        flavor == Flavor::Mysql
    );
    // A client that asks all the same is not given it.
    let everything = USUAL | not;
    for mut client in both(&rig, Capabilities::empty()).await {
        assert_eq!(client.query("SELECT 1").await.unwrap().value(), "1");
    }
    let mut client = log_in(&rig, rig.proxy.address(), everything).await;
    assert_eq!(client.query("SELECT 1").await.unwrap().value(), "1");
    if flavor == Flavor::Mysql {
        let mut clients = both(&rig, Capabilities::empty()).await;
        let answer = same(&mut clients, "SET resultset_metadata = 'NONE'").await;
        assert!(matches!(answer, Answer::Err(_)), "{answer:?}");
    }
}

/// Ids over 255 do not fit in the byte that the format has for them.
async fn collations_over_255(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let question = "SELECT @@collation_connection, @@character_set_client, 'a' = 'A'";
    let collations: Vec<(u16, String)> = {
        let query = match flavor {
            Flavor::Mysql => {
                "SELECT ID, COLLATION_NAME FROM information_schema.COLLATIONS WHERE ID > 255 ORDER BY ID"
            }
            Flavor::Mariadb => {
                "SELECT ID, FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID > 255 AND CHARACTER_SET_NAME = 'utf8mb4' ORDER BY ID"
            }
        };
        rig.direct_writer().await.query(query).await.unwrap()
    };
    for index in [0, collations.len() / 2, collations.len() - 1] {
        let (id, name) = &collations[index];
        let mut clients = both(&rig, Capabilities::empty()).await;
        same(&mut clients, &format!("SET NAMES utf8mb4 COLLATE {name}"))
            .await
            .expect_ok();
        for hint in ["", "/* isthmus:writer */ "] {
            let answer = same(&mut clients, &format!("{hint}{question}")).await;
            assert_eq!(&answer.value(), name);
        }
        let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        client.collation = *id;
        log_in_as(&mut client, &rig).await;
        assert_eq!(&client.query(question).await.unwrap().value(), name);
    }
}

/// The servers see which of the configured attributes a client has set, and who really connects.
async fn connection_attributes() {
    let lab = dedicated(Options {
        arguments: vec!["--performance-schema=ON".into()],
        ..Options::default()
    });
    let rig = Rig::start_on(
        lab.await,
        "[pool]\nmin_idle = 0\nconnection_attributes = [\"program_name\", \"team\"]",
    )
    .await;
    let shown = async |attributes: &[(&str, &str)]| -> Vec<(String, String)> {
        let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        client.capabilities |= Capabilities::CONNECT_ATTRS;
        let bytes =
            |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        client.attributes = attributes.iter().map(bytes).collect();
        log_in_as(&mut client, &rig).await;
        // A transaction, so that it is one connection's.
        client.query("BEGIN").await.unwrap().expect_ok();
        client.query("DO 1").await.unwrap().expect_ok();
        let running = client.query("SHOW ISTHMUS SESSION").await.unwrap();
        let Answer::Rows(facts) = running else {
            panic!("{running:?}")
        };
        let connection = facts
            .iter()
            .find(|fact| fact[1].as_deref() == Some("connection"));
        let id = connection.unwrap()[2].clone().unwrap();
        let question = format!(
            "SELECT ATTR_NAME, ATTR_VALUE FROM performance_schema.session_connect_attrs \
             WHERE PROCESSLIST_ID = {id} AND ATTR_NAME <> '_client_version' ORDER BY ATTR_NAME"
        );
        let answer = rig.lab.writer().query(question).await.unwrap();
        client.query("COMMIT").await.unwrap().expect_ok();
        answer
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        shown(&[
            ("team", "album"),
            ("_pid", "7"),
            ("program_name", "rails"),
            ("note", "x")
        ])
        .await,
        [
            pair("_client_name", "isthmus"),
            pair("program_name", "rails"),
            pair("team", "album")
        ]
    );
    assert_eq!(
        shown(&[("note", "x")]).await,
        [
            pair("_client_name", "isthmus"),
            pair("program_name", "isthmus")
        ]
    );
    assert_eq!(
        shown(&[("team", "album"), ("program_name", "rails")])
            .await
            .len(),
        3
    );
    let connections = rig.processes(rig.lab.writer()).await.len();
    assert_eq!(connections, 2, "the same attributes, the same connection");
}

#[tokio::test]
async fn connection_attributes_on_mysql() {
    connection_attributes().await;
}

/// They arrive with the statement that they were given with, and with no other.
async fn query_attributes() {
    let options = Options::default();
    let overlay = "[routing]\nreader_functions = [\"mysql_query_attribute_string\"]";
    let rig = Rig::start_on(dedicated(options).await, overlay).await;
    let install = "INSTALL COMPONENT 'file://component_query_attributes'";
    rig.lab.writer().execute(install.to_owned()).await.unwrap();
    rig.lab.reader().set_read_only(false).await.unwrap();
    rig.lab.reader().execute(install.to_owned()).await.unwrap();
    rig.lab.reader().set_read_only(true).await.unwrap();
    rig.prepare_data(&["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, k VARCHAR(9))"])
        .await;
    let mut client = log_in(
        &rig,
        rig.proxy.address(),
        USUAL | Capabilities::QUERY_ATTRIBUTES,
    )
    .await;
    let asks = |hint: &str| {
        format!("{hint}SELECT mysql_query_attribute_string('k'), CONNECTION_ID() > 0, @@time_zone")
    };
    let expected = |value: Option<&str>, zone: &str| {
        let row = [value, Some("1"), Some(zone)];
        Answer::Rows(vec![row.map(|value| value.map(str::to_owned)).to_vec()])
    };
    for zone in ["+01:00", "+02:00"] {
        // The next statement on each server comes behind a prelude.
        client
            .query(&format!("SET time_zone = '{zone}'"))
            .await
            .unwrap()
            .expect_ok();
        for hint in ["", "/* isthmus:writer */ ", "/* isthmus:reader */ "] {
            let with = client.query_with("k", "v", &asks(hint)).await.unwrap();
            assert_eq!(with, expected(Some("v"), zone), "{hint}");
            let without = client.query(&asks(hint)).await.unwrap();
            assert_eq!(without, expected(None, zone), "{hint}");
        }
    }
    // With questions of the proxy's own behind it, in a transaction, and over 16 MiB.
    let insert = "INSERT INTO t (k) VALUES (mysql_query_attribute_string('k'))";
    client
        .query_with("k", "w", insert)
        .await
        .unwrap()
        .expect_ok();
    client.query("BEGIN").await.unwrap().expect_ok();
    let stored = "SELECT k FROM t WHERE id = LAST_INSERT_ID()";
    assert_eq!(client.query(stored).await.unwrap().value(), "w");
    let with = client.query_with("k", "v", &asks("")).await.unwrap();
    assert_eq!(with, expected(Some("v"), "+02:00"));
    client.query("COMMIT").await.unwrap().expect_ok();
    let long = format!("SELECT LENGTH('{}')", "x".repeat(17 << 20));
    let length = client.query_with("k", "v", &long).await.unwrap().value();
    assert_eq!(length, (17 << 20).to_string());
    let last = client
        .query_with("k", "v", "SHOW ISTHMUS LAST")
        .await
        .unwrap();
    assert_eq!(last.value(), "select");

    // What is no list of attributes is an error, and no more.
    assert_eq!(
        client.command(b"\x03\x01\x01\0\x01").await.unwrap().code(),
        1835
    );
    assert_eq!(client.query("SELECT 1").await.unwrap().value(), "1");
}

#[tokio::test]
async fn query_attributes_on_mysql() {
    query_attributes().await;
}

/// The same with COM_STMT_EXECUTE, as drivers frame it, and with a parameter beside the attribute.
async fn attributes_of_prepared_statements() {
    let rig = Rig::start_on(dedicated(Options::default()).await, "").await;
    let install = "INSTALL COMPONENT 'file://component_query_attributes'";
    rig.lab.writer().execute(install.to_owned()).await.unwrap();
    for mut client in both(&rig, Capabilities::QUERY_ATTRIBUTES).await {
        let id = client
            .prepare("SELECT ?, mysql_query_attribute_string('k')")
            .await;
        let cases: [(&[u8], &[u8]); 3] = [
            // Parameter P, attribute k = V.
            (
                b"\x08\x01\0\0\0\x02\0\x01\xFD\0\0\xFD\0\x01k\x01P\x01V",
                b"\0\0\x01P\x01V",
            ),
            // The parameter with the types of the last time.
            (b"\x08\x01\0\0\0\x01\0\0\x01Q", b"\0\x08\x01Q"),
            // The parameter bound anew.
            (b"\x08\x01\0\0\0\x01\0\x01\xFD\0\0\x01R", b"\0\x08\x01R"),
        ];
        for (values, row) in cases {
            let head = [&[Command::StmtExecute as u8], &id.to_le_bytes()[..]].concat();
            client.send(0, &[&head, values].concat()).await.unwrap();
            for _ in 0..3 {
                client.receive().await.unwrap();
            }
            assert_eq!(client.receive().await.unwrap().payload, row);
            client.receive().await.unwrap();
        }
    }
}

#[tokio::test]
async fn attributes_of_prepared_statements_on_mysql() {
    attributes_of_prepared_statements().await;
}

/// A client that was offered attributes by MySQL goes on when the endpoints become MariaDBs.
#[tokio::test]
async fn servers_without_attributes_get_the_statement_without() {
    let rig = Rig::start(Flavor::Mysql, "").await;
    let capabilities = USUAL | Capabilities::QUERY_ATTRIBUTES;
    let mut client = log_in(&rig, rig.proxy.address(), capabilities).await;
    let id = client.prepare("SELECT CONCAT(?, 'x')").await;

    let mariadb = shared(Flavor::Mariadb).await;
    // Not the name of any rig's on that lab.
    for statement in [
        format!("CREATE DATABASE {}", rig.schema),
        format!("CREATE USER {}@'%' IDENTIFIED BY '{PASSWORD}'", rig.user),
        format!("GRANT ALL ON *.* TO {}@'%'", rig.user),
    ] {
        mariadb.writer().execute(statement).await.unwrap();
    }
    mariadb.wait_caught_up().await.unwrap();
    let mut blueprint = rig.blueprint.clone();
    let (writer, reader) = (mariadb.writer().address(), mariadb.reader().address());
    blueprint.set_endpoints(&[("tokyo", writer, "writer"), ("virginia", reader, "reader")]);
    assert_eq!(rig.reload(&blueprint).await.0, 200);

    let version = client
        .query_with("k", "v", "SELECT VERSION()")
        .await
        .unwrap();
    assert!(version.value().contains("MariaDB"));
    let values = b"\x08\x01\0\0\0\x02\0\x01\xFD\0\0\xFD\0\x01k\x01P\x01V";
    let head = [&[Command::StmtExecute as u8], &id.to_le_bytes()[..]].concat();
    client
        .send(0, &[&head, &values[..]].concat())
        .await
        .unwrap();
    for _ in 0..2 {
        client.receive().await.unwrap();
    }
    assert_eq!(client.receive().await.unwrap().payload, b"\0\0\x02Px");
}

/// An expired password is named for what it is, without waiting for a better one.
async fn expired_password(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let expire = format!("ALTER USER {}@'%' PASSWORD EXPIRE", rig.user);
    rig.lab.writer().execute(expire).await.unwrap();
    rig.lab.wait_caught_up().await.unwrap();
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    let login = client.authenticate(&rig.user, PASSWORD, None);
    login.await.unwrap().unwrap();
    let expected = match flavor {
        Flavor::Mysql => 1862,
        // Its servers let the user in, to nothing but a new password.
        Flavor::Mariadb => 1820,
    };
    for sql in ["SELECT 1", "/* isthmus:writer */ SELECT 1"] {
        let Answer::Err(refusal) = client.query(sql).await.unwrap() else {
            panic!("{sql} ran")
        };
        assert_eq!((refusal.code, refusal.state.as_str()), (expected, "HY000"));
        let has_remedy = refusal.message.contains("configuration");
        assert_eq!(has_remedy, flavor == Flavor::Mysql, "{refusal:?}");
    }
}

/// Clients that know only the older plugin go no further than a greeting with another one.
#[tokio::test]
async fn the_greeting_names_the_plugin_of_the_configuration() {
    for plugin in ["mysql_native_password", "caching_sha2_password"] {
        let overlay = format!("[listen]\nauth_plugin = \"{plugin}\"");
        let rig = Rig::start(Flavor::Mariadb, &overlay).await;
        let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        assert_eq!(client.greeting.auth_plugin, plugin);
        log_in_as(&mut client, &rig).await;
    }
}

isthmus_tests::on_both! {
    what_stands_between_columns_and_rows
    the_end_of_rows
    found_rows
    a_character_set_that_no_client_can_send
    ignore_space
    interactive
    no_schema
    local_files
    multi_results
    what_is_not_offered
    collations_over_255
    expired_password
}
