//! mysql_async, the Rust driver.

use std::sync::Arc;

use isthmus_lab::{APP, Flavor, Lab};
use isthmus_tests::Stage;
use mysql_async::prelude::{FromValue, Queryable as _};
use mysql_async::{
    Conn, Error, Params, Row, ServerError, SslOpts, TxOpts, Value, WhiteListFsHandler, params,
};

/// The largest payload of a single packet.
const LARGEST_PACKET: usize = 0xff_ffff;

/// A column of each type, and a value for it as SQL text and as a parameter.
fn types(flavor: Flavor) -> Vec<(&'static str, &'static str, Value)> {
    let bytes = |text: &str| Value::Bytes(text.into());
    let mut types = vec![
        ("TINYINT", "-128", Value::Int(-128)),
        ("TINYINT UNSIGNED", "255", Value::Int(255)),
        ("SMALLINT", "-32768", Value::Int(-32768)),
        ("MEDIUMINT", "-8388608", Value::Int(-8_388_608)),
        ("INT", "-2147483648", Value::Int(-2_147_483_648)),
        ("INT UNSIGNED", "4294967295", Value::Int(4_294_967_295)),
        ("BIGINT", "-9223372036854775808", Value::Int(i64::MIN)),
        (
            "BIGINT UNSIGNED",
            "18446744073709551615",
            Value::UInt(u64::MAX),
        ),
        (
            "DECIMAL(30,10)",
            "-12345678901234567890.0123456789",
            bytes("-12345678901234567890.0123456789"),
        ),
        ("FLOAT", "0.5", Value::Float(0.5)),
        ("DOUBLE", "-2.25e300", Value::Double(-2.25e300)),
        ("BIT(5)", "b'10101'", Value::Bytes(vec![0x15])),
        (
            "BIT(64)",
            "x'0102030405060708'",
            Value::Bytes(vec![1, 2, 3, 4, 5, 6, 7, 8]),
        ),
        ("DATE", "'1000-01-01'", Value::Date(1000, 1, 1, 0, 0, 0, 0)),
        (
            "DATETIME(6)",
            "'9999-12-31 23:59:59.999999'",
            Value::Date(9999, 12, 31, 23, 59, 59, 999_999),
        ),
        (
            "DATETIME",
            "'2026-02-28 00:00:00'",
            Value::Date(2026, 2, 28, 0, 0, 0, 0),
        ),
        (
            "TIMESTAMP(6) NULL",
            "'2026-11-22 10:11:12.123456'",
            Value::Date(2026, 11, 22, 10, 11, 12, 123_456),
        ),
        (
            "TIME(6)",
            "'-837:59:58.000001'",
            Value::Time(true, 34, 21, 59, 58, 1),
        ),
        ("TIME", "'00:00:00'", Value::Time(false, 0, 0, 0, 0, 0)),
        ("YEAR", "2155", Value::Int(2155)),
        ("CHAR(10)", "'fixed'", bytes("fixed")),
        (
            "VARCHAR(200)",
            "'naïve 海峡 🌉 ''quoted'' \\\\'",
            bytes("naïve 海峡 🌉 'quoted' \\"),
        ),
        ("VARCHAR(10)", "''", bytes("")),
        ("BINARY(4)", "x'00FF0001'", Value::Bytes(vec![0, 255, 0, 1])),
        (
            "VARBINARY(300)",
            "REPEAT(x'00FF', 130)",
            Value::Bytes([0, 255].repeat(130)),
        ),
        ("TINYTEXT", "'tiny'", bytes("tiny")),
        (
            "TEXT",
            "REPEAT('text', 10000)",
            Value::Bytes(b"text".repeat(10_000)),
        ),
        (
            "MEDIUMTEXT",
            "REPEAT('long', 50000)",
            Value::Bytes(b"long".repeat(50_000)),
        ),
        ("LONGBLOB", "x'00'", Value::Bytes(vec![0])),
        ("ENUM('one', 'two')", "'two'", bytes("two")),
        ("SET('a', 'b', 'c')", "'a,c'", bytes("a,c")),
        ("GEOMETRY", "ST_GeomFromText('POINT(1 2)')", Value::NULL),
        ("INT", "NULL", Value::NULL),
        ("VARCHAR(10)", "NULL", Value::NULL),
        (
            "JSON",
            "'{\"a\": [1, 2.5, null, \"x\"]}'",
            bytes("{\"a\": [1, 2.5, null, \"x\"]}"),
        ),
    ];
    match flavor {
        Flavor::Mysql => types.push(("VECTOR(2)", "STRING_TO_VECTOR('[1,2]')", Value::NULL)),
        Flavor::Mariadb => {
            let id = "123e4567-e89b-12d3-a456-426655440000";
            types.push(("UUID", "'123e4567-e89b-12d3-a456-426655440000'", bytes(id)));
            types.push((
                "INET6",
                "'2001:db8::ff00:42:8329'",
                bytes("2001:db8::ff00:42:8329"),
            ));
        }
    }
    types
}

fn values(row: Option<Row>) -> Vec<Value> {
    row.expect("a row").unwrap()
}

async fn value<T: FromValue + Send + 'static>(connection: &mut Conn, query: &str) -> T {
    let value: Option<T> = connection
        .query_first(query)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    value.unwrap_or_else(|| panic!("{query} returns no row"))
}

fn server_error(error: Error) -> ServerError {
    match error {
        Error::Server(error) => error,
        other => panic!("an error of the server was expected: {other}"),
    }
}

/// The code, the state and the text.
fn parts(error: ServerError) -> (u16, String, String) {
    (error.code, error.state, error.message)
}

fn trusting(stage: &Stage) -> SslOpts {
    SslOpts::default().with_root_certs(vec![stage.lab.certificates().authority.clone().into()])
}

isthmus_tests::on_each_flavor! {
    async fn connects_without_tls(stage) {
        let mut connection = stage.connect().await;
        assert!(connection.id() > 0);
        connection.ping().await.unwrap();
        assert_eq!(value::<u64>(&mut connection, "SELECT CONNECTION_ID()").await, u64::from(connection.id()));
        connection.disconnect().await.unwrap();
    }

    async fn connects_with_tls_and_verifies_the_proxy(stage) {
        let tls = trusting(stage);
        let mut connection = stage.connect_with(|options| options.ssl_opts(Some(tls))).await;
        let big = "x".repeat(100_000);
        let back: Option<String> = connection.exec_first("SELECT ?", (&big,)).await.unwrap();
        assert_eq!(back.unwrap(), big);
        connection.disconnect().await.unwrap();

        let stranger = SslOpts::default().with_root_certs(vec![stage.lab.certificates().stranger.clone().into()]);
        let refused = Lab::connect(stage.proxy.address(), APP, |options| options.ssl_opts(Some(stranger))).await;
        assert!(refused.is_err(), "a client that trusts somebody else connects");
    }

    async fn greets_as_the_servers_do(stage) {
        let direct = stage.connect_to_writer().await;
        let proxied = stage.connect().await;
        assert_eq!(proxied.server_version(), direct.server_version());
    }

    async fn values_of_all_types_there_and_back(stage) {
        let schema = stage.schema("rust_types").await;
        let types = types(stage.flavor());
        let columns: Vec<String> =
            types.iter().enumerate().map(|(number, (name, ..))| format!("c{number} {name}")).collect();
        let literals: Vec<&str> = types.iter().map(|(_, literal, _)| *literal).collect();
        let mut proxied = stage.connect_with(|options| options.db_name(Some(&schema))).await;
        let mut direct = stage.connect_to_writer().await;
        let columns = columns.join(", ");
        let created = format!("CREATE TABLE t (id INT PRIMARY KEY, {columns}) CHARACTER SET utf8mb4");
        proxied.query_drop(created).await.unwrap();

        proxied.query_drop(format!("INSERT INTO t VALUES (1, {})", literals.join(", "))).await.unwrap();
        let marks = vec!["?"; types.len() + 1].join(", ");
        let mut parameters = vec![Value::Int(2)];
        parameters.extend(types.iter().map(|(.., value)| value.clone()));
        proxied.exec_drop(format!("INSERT INTO t VALUES ({marks})"), Params::Positional(parameters)).await.unwrap();

        for id in 1..=2 {
            let text = format!("SELECT * FROM rust_types.t WHERE id = {id}");
            let binary = "SELECT * FROM rust_types.t WHERE id = ?";
            let expected_text = values(direct.query_first(&text).await.unwrap());
            let expected = values(direct.exec_first(binary, (id,)).await.unwrap());
            assert_eq!(values(proxied.query_first(&text).await.unwrap()), expected_text);
            assert_eq!(values(proxied.exec_first(binary, (id,)).await.unwrap()), expected);

            for ((name, _, put), got) in types.iter().zip(&expected[1..]) {
                match (put, got) {
                    // Written as SQL only, or by the server in a form of its own.
                    (Value::NULL, _) => {}
                    _ if name.starts_with("JSON") => {}
                    (Value::Bytes(put), Value::Bytes(got)) => assert_eq!(got, put, "{name}"),
                    (Value::Int(put), got) => assert_eq!(i64::from_value(got.clone()), *put, "{name}"),
                    (put, got) => assert_eq!(got, put, "{name}"),
                }
            }
        }
    }

    async fn columns_are_described_as_by_the_server(stage) {
        let query = "SELECT 1 AS a, 'text' AS b, NOW(6) AS c, NULL AS d, server FROM app.here";
        let mut described = Vec::new();
        for mut connection in [stage.connect_to_writer().await, stage.connect().await] {
            let statement = connection.prep(query).await.unwrap();
            let row: Option<Row> = connection.query_first(query).await.unwrap();
            let columns = |columns: &[mysql_async::Column]| {
                columns
                    .iter()
                    .map(|column| {
                        (column.name_str().into_owned(), column.column_type(), column.flags(), column.character_set())
                    })
                    .collect::<Vec<_>>()
            };
            described.push((columns(&statement.columns()), columns(row.unwrap().columns_ref())));
        }
        assert_eq!(described[1], described[0]);
    }

    async fn texts_are_described_with_the_collation_of_the_session(stage) {
        for statement in ["DO 0", "SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET NAMES utf8mb4", "SET NAMES latin1"] {
            let mut described = Vec::new();
            for mut connection in [stage.connect_to_writer().await, stage.connect().await] {
                connection.query_drop(statement).await.unwrap();
                // The second time on a connection to which all of it was carried.
                for hint in ["writer", "reader"] {
                    let query = format!("/* isthmus:{hint} */ SELECT 'text', server FROM app.here");
                    let row: Option<Row> = connection.query_first(query).await.unwrap();
                    let columns = row.unwrap().columns();
                    described.push(columns.iter().map(mysql_async::Column::character_set).collect::<Vec<_>>());
                }
            }
            assert_eq!(described[2..], described[..2], "after {statement}");
        }
    }

    async fn warnings_are_described_as_by_the_server(stage) {
        let mut described = Vec::new();
        for mut connection in [stage.connect_to_writer().await, stage.connect().await] {
            let _: Option<Row> = connection.query_first("SELECT 1 + 'one'").await.unwrap();
            let row: Option<Row> = connection.query_first("SHOW WARNINGS").await.unwrap();
            let row = row.expect("a warning");
            let columns: Vec<_> = row
                .columns_ref()
                .iter()
                .map(|column| {
                    (column.name_str().into_owned(), column.column_type(), column.flags(), column.column_length())
                })
                .collect();
            described.push((columns, row.unwrap()));
        }
        assert_eq!(described[1], described[0]);
    }

    async fn a_reader_refuses_writes_of_a_read_only_transaction_as_the_writer_does(stage) {
        let mut refusals = Vec::new();
        for mut connection in [stage.connect_to_writer().await, stage.connect().await] {
            connection.query_drop("START TRANSACTION READ ONLY").await.unwrap();
            let server: Option<String> = connection.query_first("SELECT server FROM app.here").await.unwrap();
            let write = "UPDATE app.here SET server = 'neither'";
            let text = server_error(connection.query_drop(write).await.unwrap_err());
            let binary = server_error(connection.exec_drop(write, ()).await.unwrap_err());
            // The transaction goes on.
            let again: Option<String> = connection.query_first("SELECT server FROM app.here").await.unwrap();
            connection.query_drop("COMMIT").await.unwrap();
            refusals.push(((parts(text), parts(binary)), server, again));
        }
        let [(direct, ..), (proxied, server, again)] = &refusals[..] else { unreachable!() };
        assert_eq!((server.as_deref(), again.as_deref()), (Some("reader"), Some("reader")));
        assert_eq!(proxied, direct);
        assert_eq!((direct.0.0, direct.0.1.as_str()), (1792, "25006"));
    }

    async fn prepared_statements_live_as_long_as_wanted(stage) {
        let schema = stage.schema("rust_prepared").await;
        let mut connection = stage.connect_with(|options| options.db_name(Some(schema)).stmt_cache_size(Some(0))).await;
        connection.query_drop("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, text TEXT)").await.unwrap();
        let insert = connection.prep("INSERT INTO t (text) VALUES (?)").await.unwrap();
        let select = connection.prep("SELECT text FROM t WHERE id = :id").await.unwrap();
        for id in 1..=50_u64 {
            connection.exec_drop(&insert, (format!("text {id}"),)).await.unwrap();
            assert_eq!((connection.affected_rows(), connection.last_insert_id()), (1, Some(id)));
            let text: Option<String> = connection.exec_first(&select, params! { "id" => id }).await.unwrap();
            assert_eq!(text, Some(format!("text {id}")));
        }
        // The type of a parameter may change from one execution to the next.
        let mut direct = stage.connect_to_writer().await;
        let query = "SELECT ?, CONCAT(?, 'x')";
        let (echo, direct_echo) = (connection.prep(query).await.unwrap(), direct.prep(query).await.unwrap());
        for value in [Value::Bytes("seven".into()), Value::Int(7), Value::NULL, Value::Double(7.5)] {
            let parameters = (value.clone(), value.clone());
            let expected = values(direct.exec_first(&direct_echo, &parameters).await.unwrap());
            assert_eq!(values(connection.exec_first(&echo, &parameters).await.unwrap()), expected, "{value:?}");
        }
        let many: Vec<_> = {
            let mut many = Vec::new();
            for number in 0..300 {
                many.push(connection.prep(format!("SELECT {number} + ?")).await.unwrap());
            }
            many
        };
        for (number, statement) in many.iter().enumerate().rev() {
            let sum: Option<u64> = connection.exec_first(statement, (1,)).await.unwrap();
            assert_eq!(sum, Some(number as u64 + 1));
        }
        for statement in many {
            connection.close(statement).await.unwrap();
        }
        let rows: Vec<(u32, String)> = connection.exec("SELECT id, text FROM t ORDER BY id", ()).await.unwrap();
        assert_eq!(rows.len(), 50);
        let wrong = server_error(connection.prep("SELECT * FROM nothing_like_it").await.unwrap_err());
        assert_eq!((wrong.code, wrong.state.as_str()), (1146, "42S02"));
        let still: Option<String> = connection.exec_first(&select, params! { "id" => 3 }).await.unwrap();
        assert_eq!(still.as_deref(), Some("text 3"));
    }

    async fn tables_are_migrated_and_filled(stage) {
        let mut seen = Vec::new();
        for (schema, mut connection) in [
            ("rust_filled_directly", stage.connect_to_writer().await),
            ("rust_filled", stage.connect().await),
        ] {
            stage.schema(schema).await;
            for migration in [
                "USE SCHEMA",
                "CREATE TABLE owners (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL)",
                "CREATE TABLE things (id INT AUTO_INCREMENT PRIMARY KEY, owner INT, note TEXT)",
                "ALTER TABLE things ADD COLUMN made DATETIME(6) NULL, ADD INDEX by_owner (owner)",
                "ALTER TABLE things ADD CONSTRAINT owned FOREIGN KEY (owner) REFERENCES owners (id)",
                "ALTER TABLE owners RENAME COLUMN name TO title",
                "CREATE VIEW titles AS SELECT title FROM owners",
                "ALTER TABLE things DROP COLUMN note",
            ] {
                connection.query_drop(migration.replace("SCHEMA", schema)).await.unwrap();
            }
            // In one command where a server takes that, as MariaDB's bulk execution.
            connection.exec_batch("INSERT INTO owners (title) VALUES (?)", (0..500).map(|n| (format!("owner {n}"),))).await.unwrap();
            let rows: Vec<String> = (1..=500).map(|n| format!("({n}, '2026-11-28 00:00:00.{n:06}')")).collect();
            connection.query_drop(format!("INSERT INTO things (owner, made) VALUES {}", rows.join(", "))).await.unwrap();
            let affected = connection.affected_rows();
            let refused = connection.query_drop("INSERT INTO things (owner) VALUES (501)").await.unwrap_err();
            let titles: Vec<String> = connection.query("SELECT title FROM titles ORDER BY title LIMIT 9").await.unwrap();
            let sum: Option<(u64, String)> =
                connection.query_first("SELECT COUNT(*), MAX(made) FROM things JOIN owners ON owner = owners.id").await.unwrap();
            seen.push((affected, server_error(refused).code, titles, sum));
        }
        assert_eq!(seen[1], seen[0]);
    }

    async fn transactions_commit_and_roll_back(stage) {
        let schema = stage.schema("rust_transactions").await;
        let mut connection = stage.connect_with(|options| options.db_name(Some(&schema))).await;
        connection.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
        let visible = "SELECT id FROM rust_transactions.t ORDER BY id";
        let seen = || async { stage.lab.writer().query::<u32>(visible).await.unwrap() };

        let mut transaction = connection.start_transaction(TxOpts::default()).await.unwrap();
        transaction.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
        assert_eq!(transaction.query::<u32, _>(visible).await.unwrap(), [1]);
        assert_eq!(seen().await, [0; 0]);
        transaction.rollback().await.unwrap();
        assert_eq!(connection.query::<u32, _>(visible).await.unwrap(), [0; 0]);

        let mut transaction = connection.start_transaction(TxOpts::default()).await.unwrap();
        transaction.query_drop("INSERT INTO t VALUES (2)").await.unwrap();
        transaction.query_drop("SAVEPOINT here").await.unwrap();
        transaction.exec_drop("INSERT INTO t VALUES (?)", (3,)).await.unwrap();
        transaction.query_drop("ROLLBACK TO SAVEPOINT here").await.unwrap();
        transaction.query_drop("INSERT INTO t VALUES (4)").await.unwrap();
        transaction.query_drop("RELEASE SAVEPOINT here").await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(seen().await, [2, 4]);
        assert_eq!(connection.query::<u32, _>(visible).await.unwrap(), [2, 4], "a session reads its own writes");

        // An error inside leaves the transaction open.
        let mut transaction = connection.start_transaction(TxOpts::default()).await.unwrap();
        transaction.query_drop("INSERT INTO t VALUES (5)").await.unwrap();
        assert_eq!(server_error(transaction.query_drop("INSERT INTO t VALUES (5)").await.unwrap_err()).code, 1062);
        assert_eq!(transaction.query::<u32, _>(visible).await.unwrap(), [2, 4, 5]);
        transaction.rollback().await.unwrap();

        let mut options = TxOpts::default();
        options.with_readonly(true);
        let mut transaction = connection.start_transaction(options).await.unwrap();
        assert_eq!(transaction.query::<u32, _>(visible).await.unwrap(), [2, 4]);
        let refused = server_error(transaction.query_drop("INSERT INTO t VALUES (6)").await.unwrap_err());
        assert_eq!((refused.code, refused.state.as_str()), (1792, "25006"));
        transaction.commit().await.unwrap();

        for (end, expected) in [("ROLLBACK", vec![2, 4]), ("COMMIT", vec![2, 4, 7])] {
            connection.query_drop("SET autocommit = 0").await.unwrap();
            connection.query_drop("INSERT INTO t VALUES (7)").await.unwrap();
            assert_eq!(seen().await, [2, 4]);
            connection.query_drop(end).await.unwrap();
            connection.query_drop("SET autocommit = 1").await.unwrap();
            assert_eq!(seen().await, expected, "{end}");
        }
    }

    async fn errors_are_those_of_the_server(stage) {
        let schema = stage.schema("rust_errors").await;
        let created = "CREATE TABLE rust_errors.t (id INT PRIMARY KEY, n TINYINT NOT NULL)";
        stage.lab.writer().execute(created).await.unwrap();
        stage.lab.writer().execute("INSERT INTO rust_errors.t VALUES (1, 1)").await.unwrap();
        stage.caught_up().await;
        let adjust = |options: mysql_async::OptsBuilder| options.db_name(Some(schema.clone()));
        let mut proxied = stage.connect_with(adjust).await;
        let mut direct = isthmus_tests::connect(stage.lab.writer().address(), adjust).await;
        for (code, state, statement) in [
            (1064, "42000", "SELEKT 1"),
            (1064, "42000", "SELECT 1 FROM"),
            (1146, "42S02", "SELECT * FROM missing"),
            (1054, "42S22", "SELECT missing FROM t"),
            (1062, "23000", "INSERT INTO t VALUES (1, 1)"),
            (1264, "22003", "INSERT INTO t VALUES (2, 1000)"),
            (1048, "23000", "INSERT INTO t VALUES (3, NULL)"),
            (1049, "42000", "USE missing_schema"),
            (1193, "HY000", "SET no_such_variable = 1"),
            (1305, "42000", "CALL missing_procedure()"),
            (1644, "45000", "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'"),
            (1242, "21000", "SELECT (SELECT 1 UNION SELECT 2)"),
        ] {
            let from_writer = parts(server_error(direct.query_drop(statement).await.unwrap_err()));
            let from_proxy = parts(server_error(proxied.query_drop(statement).await.unwrap_err()));
            assert_eq!((from_writer.0, from_writer.1.as_str()), (code, state), "{statement}: {}", from_writer.2);
            assert_eq!(from_proxy, from_writer, "{statement}");
            assert_eq!(value::<u32>(&mut proxied, "SELECT 1").await, 1, "after {statement}");
        }
        let query = "SELECT id, (SELECT id FROM t UNION SELECT ?) FROM t";
        assert_eq!(server_error(proxied.exec_drop(query, (9,)).await.unwrap_err()).code, 1242);
        let wrong = Lab::connect(stage.proxy.address(), isthmus_lab::Account { password: "wrong", ..APP }, |o| o).await;
        let Err(isthmus_lab::Error::Query { source, .. }) = wrong else { panic!("a wrong password is accepted") };
        assert_eq!(server_error(source).code, 1045);
        let wrong = Lab::connect(stage.proxy.address(), APP, |options| options.db_name(Some("missing_schema"))).await;
        let Err(isthmus_lab::Error::Query { source, .. }) = wrong else { panic!("an unknown schema is accepted") };
        assert_eq!(server_error(source).code, 1049);
    }

    async fn a_statement_that_is_none_is_answered_as_by_the_server(stage) {
        let mut proxied = stage.connect().await;
        let mut direct = stage.connect_to_writer().await;
        for statement in ["", " \n", ";", "-- text", "/* ping */", "# text\n", "/* text */;", "/*! */", "/*!99999 text */"] {
            let expected = direct.query_drop(statement).await.map_err(server_error).map_err(parts);
            let answered = proxied.query_drop(statement).await.map_err(server_error).map_err(parts);
            assert_eq!(answered, expected, "{statement:?}");
        }
    }

    async fn a_big_result_streams(stage) {
        let mut connection = stage.connect().await;
        // 110 MB in rows of 10 KB, and the same by the binary protocol in rows of 1 MB.
        let query = |rows: u32, size: u32| format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             SELECT i, REPEAT(CHAR(65 + i % 26), {size}) FROM n"
        );
        connection.query_drop(match stage.flavor() {
            Flavor::Mysql => "SET SESSION cte_max_recursion_depth = 1000000",
            Flavor::Mariadb => "SET SESSION max_recursive_iterations = 1000000",
        }).await.unwrap();
        for (rows, size, prepared) in [(11_000, 10_000, false), (110, 1_000_000, true)] {
            let query = query(rows, size);
            let mut seen = 0_u32;
            let check = |seen: u32, row: Row| {
                let (number, text): (u32, Vec<u8>) = mysql_async::from_row(row);
                assert_eq!(number, seen + 1);
                assert_eq!(text.len(), size as usize);
                assert!(text.iter().all(|byte| u32::from(*byte) == 65 + number % 26), "row {number} is damaged");
                number
            };
            if prepared {
                let mut result = connection.exec_iter(query, ()).await.unwrap();
                while let Some(row) = result.next().await.unwrap() {
                    seen = check(seen, row);
                }
            } else {
                let mut result = connection.query_iter(query).await.unwrap();
                while let Some(row) = result.next().await.unwrap() {
                    seen = check(seen, row);
                }
            }
            assert_eq!(seen, rows);
        }
        assert_eq!(value::<u32>(&mut connection, "SELECT 1").await, 1);
    }

    async fn packets_of_every_length_around_the_limit(stage) {
        let schema = stage.schema("rust_packets").await;
        let mut connection = stage.connect_with(|options| options.db_name(Some(schema))).await;
        connection.query_drop("CREATE TABLE t (id INT PRIMARY KEY, data LONGBLOB)").await.unwrap();
        // COM_QUERY: its byte and the text make up the payload.
        let around = "SELECT LENGTH('')".len() + 1;
        for payload in [LARGEST_PACKET - 1, LARGEST_PACKET, LARGEST_PACKET + 1, 2 * LARGEST_PACKET] {
            let length = payload - around;
            let query = format!("SELECT LENGTH('{}')", "x".repeat(length));
            assert_eq!(value::<usize>(&mut connection, &query).await, length, "a statement of {payload} bytes");
            assert_eq!(value::<u32>(&mut connection, "SELECT 1").await, 1);
        }
        // A row of one column: four bytes of length and the value make up the payload.
        for payload in [LARGEST_PACKET - 1, LARGEST_PACKET, LARGEST_PACKET + 1, 2 * LARGEST_PACKET] {
            let length = payload - 4;
            let back: Vec<u8> = value(&mut connection, &format!("SELECT REPEAT('y', {length})")).await;
            assert!(back.len() == length && back.iter().all(|byte| *byte == b'y'), "a row of {payload} bytes");
        }
        // There and back by the binary protocol, through the writer and then from the reader.
        let data: Arc<[u8]> = (0..40_000_000_u32).map(|number| (number % 251) as u8).collect();
        connection.exec_drop("INSERT INTO t VALUES (?, ?)", (1, &data[..])).await.unwrap();
        let back: Option<Vec<u8>> = connection.exec_first("SELECT data FROM t WHERE id = ?", (1,)).await.unwrap();
        assert!(back.as_deref() == Some(&data[..]), "40 MB come back changed");
        stage.caught_up().await;
        let read = "/* isthmus:reader */ SELECT data FROM t";
        let back: Option<Vec<u8>> = connection.query_first(read).await.unwrap();
        assert!(back.as_deref() == Some(&data[..]), "40 MB come back changed from the reader");
    }

    async fn a_local_file_is_loaded(stage) {
        let schema = stage.schema("rust_infile").await;
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let lines: String = (0..100_000).map(|number| format!("{number}\ttext {number}\n")).collect();
        std::fs::write(file("lines.tsv"), &lines).unwrap();
        std::fs::write(file("empty.tsv"), "").unwrap();
        let handler = WhiteListFsHandler::new([file("lines.tsv"), file("empty.tsv"), file("missing.tsv")]);
        let adjust = |options: mysql_async::OptsBuilder| {
            options.db_name(Some(schema)).local_infile_handler(Some(handler))
        };
        let mut connection = stage.connect_with(adjust).await;
        connection.query_drop("CREATE TABLE t (id INT PRIMARY KEY, text VARCHAR(100))").await.unwrap();
        let load = |name: &str| format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE t", file(name).display());

        connection.query_drop(load("lines.tsv")).await.unwrap();
        assert_eq!(connection.affected_rows(), 100_000);
        let sums = "SELECT COUNT(*), CAST(SUM(id) AS UNSIGNED), CAST(SUM(LENGTH(text)) AS UNSIGNED) FROM t";
        let (count, sum, length): (u64, u64, u64) = connection.query_first(sums).await.unwrap().unwrap();
        assert_eq!((count, sum), (100_000, 4_999_950_000));
        assert_eq!(length, 100_000 * 5 + 10 + 90 * 2 + 900 * 3 + 9_000 * 4 + 90_000 * 5);

        connection.query_drop(load("empty.tsv")).await.unwrap();
        assert_eq!(connection.affected_rows(), 0);
        // A refusal comes before any byte of the file.
        let refused = connection.query_drop(load("lines.tsv").replace("TABLE t", "TABLE missing")).await;
        assert_eq!(server_error(refused.unwrap_err()).code, 1146);
        assert_eq!(value::<u32>(&mut connection, "SELECT COUNT(*) FROM t").await, 100_000);
        // Without its file, this driver closes the connection in the middle of the exchange.
        connection.query_drop(load("missing.tsv")).await.unwrap_err();
        stage.caught_up().await;
        let mut connection = stage.connect().await;
        assert_eq!(value::<u32>(&mut connection, "SELECT COUNT(*) FROM rust_infile.t").await, 100_000);
    }

    async fn several_statements_give_several_results(stage) {
        let schema = stage.schema("rust_multi").await;
        let mut connection = stage.connect_with(|options| options.db_name(Some(schema))).await;
        let script = "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1), (2); SELECT id FROM t; \
                      UPDATE t SET id = id + 10; SELECT id, id * 2 FROM t WHERE id > 11";
        let mut result = connection.query_iter(script).await.unwrap();
        let mut seen = Vec::new();
        while !result.is_empty() {
            let affected = result.affected_rows();
            let rows: Vec<Row> = result.collect().await.unwrap();
            seen.push((affected, rows.into_iter().map(Row::unwrap).map(|row| row.len()).collect::<Vec<_>>()));
        }
        drop(result);
        let rows = |columns: &[usize]| columns.to_vec();
        let widths: Vec<_> = seen.iter().map(|(_, widths)| widths.clone()).collect();
        assert_eq!(widths, [rows(&[]), rows(&[]), rows(&[1, 1]), rows(&[]), rows(&[2])]);
        assert_eq!((seen[1].0, seen[3].0), (2, 2));

        // What follows an error does not run.
        let mut result = connection.query_iter("SELECT 1; SELECT * FROM missing; DROP TABLE t").await.unwrap();
        assert_eq!(result.collect::<u32>().await.unwrap(), [1]);
        let missing = server_error(result.collect::<u32>().await.unwrap_err());
        assert_eq!(missing.code, 1146);
        drop(result);
        assert_eq!(value::<u32>(&mut connection, "SELECT COUNT(*) FROM t").await, 2);
    }

    async fn procedures_return_several_results(stage) {
        let schema = stage.schema("rust_procedures").await;
        let procedure = "CREATE PROCEDURE rust_procedures.p(IN n INT, OUT twice INT)
             BEGIN
                 SELECT n AS first; SELECT n + 1, n + 2; SET twice = 2 * n;
             END";
        stage.lab.writer().execute(procedure).await.unwrap();
        stage.caught_up().await;
        let mut connection = stage.connect_with(|options| options.db_name(Some(schema))).await;
        for _ in 0..2 {
            let mut result = connection.query_iter("CALL p(20, @twice)").await.unwrap();
            assert_eq!(result.collect::<u32>().await.unwrap(), [20]);
            assert_eq!(result.collect::<(u32, u32)>().await.unwrap(), [(21, 22)]);
            drop(result);
            assert_eq!(value::<u32>(&mut connection, "SELECT @twice").await, 40);
        }
        let mut result = connection.exec_iter("CALL p(?, @twice)", (5,)).await.unwrap();
        assert_eq!(result.collect::<u32>().await.unwrap(), [5]);
        assert_eq!(result.collect::<(u32, u32)>().await.unwrap(), [(6, 7)]);
        drop(result);
        assert_eq!(value::<u32>(&mut connection, "SELECT @twice").await, 10);
    }

    async fn a_connection_can_be_reset_and_change_its_user(stage) {
        let schema = stage.schema("rust_reset").await;
        let mut connection = stage.connect_with(|options| options.db_name(Some(&schema))).await;
        connection.query_drop("SET @a = 1, time_zone = '+05:00'").await.unwrap();
        connection.query_drop("CREATE TEMPORARY TABLE t (a INT)").await.unwrap();
        assert!(connection.reset().await.unwrap(), "the driver sends COM_RESET_CONNECTION");
        let state: (Option<u32>, String, String) = connection
            .query_first("SELECT @a, @@time_zone, DATABASE()").await.unwrap().unwrap();
        assert_eq!(state, (None, "SYSTEM".to_owned(), schema.clone()));
        assert_eq!(server_error(connection.query_drop("SELECT a FROM t").await.unwrap_err()).code, 1146);

        connection.query_drop("SET time_zone = '+06:00'").await.unwrap();
        connection.change_user(mysql_async::ChangeUserOpts::default()).await.unwrap();
        let zone: String = value(&mut connection, "SELECT @@time_zone").await;
        assert_eq!(zone, "SYSTEM");
        let user: String = value(&mut connection, "SELECT CURRENT_USER()").await;
        assert!(user.starts_with("app@"), "{user}");
    }
}
