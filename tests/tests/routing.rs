//! Which server answers, as users see it: `app.here` says something else on each. The
//! whole table of statements is tested beside the classifier; here are those of its
//! rows that can show where they ran, on real servers.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use isthmus_lab::Flavor;
use isthmus_tests::{Answered, Stage};
use mysql_async::Row;
use mysql_async::prelude::Queryable as _;

use Answered::{Reader, Writer};

/// Statements of one session; the last one tells where it ran.
struct Case {
    only: Option<Flavor>,
    statements: &'static [&'static str],
    expected: Answered,
    /// Whether a statement before the last may have written, for all that the proxy knows.
    after_write: bool,
}

/// The reader answers as soon as it has caught up.
const fn back(statements: &'static [&'static str]) -> Case {
    Case {
        after_write: true,
        ..case(Reader, statements)
    }
}

const fn case(expected: Answered, statements: &'static [&'static str]) -> Case {
    Case {
        only: None,
        statements,
        expected,
        after_write: false,
    }
}

const fn only(flavor: Flavor, expected: Answered, statements: &'static [&'static str]) -> Case {
    Case {
        only: Some(flavor),
        statements,
        expected,
        after_write: false,
    }
}

const HERE: &str = "SELECT server FROM app.here";

const CASES: &[Case] = &[
    // Reads, in several spellings.
    case(Reader, &[HERE]),
    case(
        Reader,
        &["select server from app.here where server <> 'for update'"],
    ),
    case(
        Reader,
        &["-- a comment\n# another\n/* and one more */ (SELECT server FROM app.here)"],
    ),
    case(
        Reader,
        &["WITH x AS (SELECT server FROM app.here) SELECT server FROM x"],
    ),
    case(
        Reader,
        &["SELECT server FROM app.here UNION SELECT server FROM app.here"],
    ),
    case(
        Reader,
        &["SELECT server, NOW(), CONCAT(server, 'x'), @@sql_mode FROM app.here"],
    ),
    only(Flavor::Mysql, Reader, &["TABLE app.here"]),
    // Locking reads.
    case(Writer, &["SELECT server FROM app.here FOR UPDATE"]),
    case(
        Writer,
        &["SELECT server FROM app.here\nFOR/* a comment */\n update"],
    ),
    case(Writer, &["SELECT server FROM app.here LOCK IN SHARE MODE"]),
    case(
        Writer,
        &["SELECT * FROM (SELECT server FROM app.here FOR UPDATE) AS x"],
    ),
    case(
        Writer,
        &["SELECT server FROM app.here /*!50000 FOR UPDATE */"],
    ),
    only(
        Flavor::Mysql,
        Writer,
        &["SELECT server FROM app.here FOR SHARE"],
    ),
    only(
        Flavor::Mysql,
        Writer,
        &["SELECT server FROM app.here AS h FOR UPDATE OF h SKIP LOCKED"],
    ),
    only(
        Flavor::Mariadb,
        Writer,
        &["SELECT server FROM app.here /*M!100100 FOR UPDATE */"],
    ),
    // User variables and locks.
    case(
        Reader,
        &["SELECT server FROM app.here INTO @server", "SELECT @server"],
    ),
    case(Reader, &["SELECT @server := server FROM app.here"]),
    case(Reader, &["USE information_schema", HERE]),
    case(
        Writer,
        &[
            "USE information_schema",
            "SELECT server FROM app.here WHERE EXISTS (SELECT 1 FROM PROCESSLIST)",
        ],
    ),
    case(
        Writer,
        &["SELECT server FROM app.here WHERE GET_LOCK('routing', 5) = 1"],
    ),
    case(Writer, &["DO GET_LOCK('routing-held', 5)", HERE]),
    back(&[
        "DO GET_LOCK('routing-released', 5)",
        "DO RELEASE_LOCK('routing-released')",
        HERE,
    ]),
    // Routines.
    case(Writer, &["SELECT app.routing_where()"]),
    case(Writer, &["CALL app.routing_where_too()"]),
    only(
        Flavor::Mariadb,
        Writer,
        &["SELECT server FROM app.here WHERE NEXTVAL(app.routing_numbers) > 0"],
    ),
    // Transactions.
    case(Writer, &["BEGIN", HERE]),
    case(Writer, &["START TRANSACTION", "SELECT 1", HERE]),
    back(&["BEGIN", "SELECT 1", "COMMIT", HERE]),
    case(Reader, &["START TRANSACTION READ ONLY", HERE]),
    case(
        Reader,
        &["START TRANSACTION READ ONLY", HERE, "COMMIT", HERE],
    ),
    case(Writer, &["SET autocommit = 0", HERE]),
    back(&[
        "SET autocommit = 0",
        HERE,
        "COMMIT",
        "SET autocommit = 1",
        HERE,
    ]),
    // What only one connection has.
    case(
        Writer,
        &["CREATE TEMPORARY TABLE app.routing_own (a INT)", HERE],
    ),
    back(&[
        "CREATE TEMPORARY TABLE app.routing_dropped (a INT)",
        "DROP TEMPORARY TABLE app.routing_dropped",
        HERE,
    ]),
    case(Writer, &["LOCK TABLES app.here READ", HERE]),
    back(&["LOCK TABLES app.here READ", "UNLOCK TABLES", HERE]),
    // Session state does not bind the session.
    case(
        Reader,
        &[
            "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
            "SET SESSION sql_mode = ''",
            HERE,
        ],
    ),
    case(
        Reader,
        &[
            "SET time_zone = '+02:00', @@SESSION.wait_timeout = 3600",
            HERE,
        ],
    ),
    case(Reader, &["USE app", "SELECT server FROM here"]),
    // Statements by name.
    case(
        Writer,
        &[
            "PREPARE routing FROM 'SELECT server FROM app.here FOR UPDATE'",
            "EXECUTE routing",
        ],
    ),
    // Several statements.
    case(Reader, &["SELECT server FROM app.here; SELECT 2"]),
    case(
        Writer,
        &["SELECT server FROM app.here; DELETE FROM app.routing_empty"],
    ),
    // Hints.
    case(
        Writer,
        &["/* isthmus:writer */ SELECT server FROM app.here"],
    ),
    case(Writer, &["SELECT server FROM app.here /* isthmus:fresh */"]),
    case(
        Writer,
        &["/* isthmus:reader */ SELECT server FROM app.here FOR UPDATE"],
    ),
    case(
        Reader,
        &["SELECT server, 'isthmus:writer' FROM app.here /* isthmus:reader */"],
    ),
];

isthmus_tests::on_each_flavor! {
    async fn each_statement_is_answered_where_it_belongs(stage) {
        let writer = stage.lab.writer();
        let routines = "
            CREATE TABLE app.routing_empty (a INT);
            CREATE FUNCTION app.routing_where() RETURNS VARCHAR(10) READS SQL DATA
                RETURN (SELECT server FROM app.here);
            CREATE PROCEDURE app.routing_where_too() SELECT server FROM app.here;";
        writer.execute(routines).await.unwrap();
        if stage.flavor() == Flavor::Mariadb {
            writer.execute("CREATE SEQUENCE app.routing_numbers").await.unwrap();
        }
        stage.caught_up().await;

        let mut wrong = Vec::new();
        let mut checked = 0;
        for case in CASES.iter().filter(|case| case.only.is_none_or(|only| only == stage.flavor())) {
            let mut connection = stage.connect().await;
            let (last, before) = case.statements.split_last().unwrap();
            for statement in before {
                connection.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
            let deadline = Instant::now() + Duration::from_secs(5);
            loop {
                let row: Option<mysql_async::Row> =
                    connection.query_first(*last).await.unwrap_or_else(|error| panic!("{last}: {error}"));
                let row = row.unwrap_or_else(|| panic!("{last} returns no row"));
                let server: String = row.get(0).unwrap();
                let answered = Answered::parse(&server, last);
                if answered == case.expected {
                    break;
                }
                // Where something before may have written, the reader first has to catch up.
                if answered == Writer && case.expected == Reader && case.after_write && Instant::now() < deadline {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                wrong.push(format!("{:?} ran on the {server}", case.statements));
                break;
            }
            checked += 1;
        }
        assert!(wrong.is_empty(), "{} of {checked} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }

    async fn a_prepared_statement_is_answered_where_its_text_belongs(stage) {
        let mut connection = stage.connect().await;
        let cases = [
            ("SELECT server FROM app.here WHERE server <> ?", Reader),
            ("SELECT @server := server FROM app.here WHERE server <> ?", Reader),
            // The last one: what the writer has shown, the reader may not have yet.
            ("SELECT server FROM app.here WHERE server <> ? FOR UPDATE", Writer),
        ];
        for (query, expected) in cases {
            let statement = connection.prep(query).await.unwrap();
            for _ in 0..3 {
                let server: Option<String> = connection.exec_first(&statement, ("nowhere",)).await.unwrap();
                assert_eq!(Answered::parse(&server.unwrap(), query), expected, "{query}");
            }
            connection.close(statement).await.unwrap();
        }
    }

    async fn what_tells_servers_apart_is_the_writers(stage) {
        let mut connection = stage.connect().await;
        for _ in 0..3 {
            let id: Option<u32> = connection.query_first("SELECT @@server_id").await.unwrap();
            assert_eq!(id, Some(1));
            let read_only: Option<bool> = connection.query_first("SELECT @@read_only").await.unwrap();
            assert_eq!(read_only, Some(false));
            let id: Option<(String, u32)> = connection.query_first("SHOW VARIABLES LIKE 'server_id'").await.unwrap();
            assert_eq!(id, Some(("server_id".to_owned(), 1)));
        }
    }

    async fn what_is_kept_is_kept_on_the_writer(stage) {
        let schema = stage.schema("routing_kept").await;
        let writer = stage.lab.writer();
        writer.execute("CREATE TABLE routing_kept.t (a INT)").await.unwrap();
        writer.execute("CREATE PROCEDURE routing_kept.p() SET @set = 7").await.unwrap();
        stage.caught_up().await;
        let mut other = stage.connect_with(|options| options.db_name(Some(schema.clone()))).await;
        for (kept, expected) in [("SELECT GET_LOCK('routing_kept', 0)", Some(1)), ("CALL p()", None)] {
            let mut connection = stage.connect_with(|options| options.db_name(Some(schema.clone()))).await;
            connection.query_drop("START TRANSACTION READ ONLY").await.unwrap();
            connection.query_drop("SELECT * FROM t").await.unwrap();
            let answer: Option<u32> = connection.query_first(kept).await.unwrap();
            assert_eq!(answer, expected, "{kept}");
            if expected.is_some() {
                let answer: Option<u32> = other.query_first(kept).await.unwrap();
                assert_eq!(answer, Some(0), "{kept} on another connection");
            }
            connection.query_drop("INSERT INTO t VALUES (1)").await.expect_err("it is still read-only");
            connection.query_drop("COMMIT").await.unwrap();
            connection.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
            if expected.is_none() {
                let answer: Option<u32> = connection.query_first("SELECT @set").await.unwrap();
                assert_eq!(answer, Some(7));
            }
            connection.query_drop("SELECT RELEASE_ALL_LOCKS()").await.unwrap();
        }
    }

    async fn a_read_about_the_one_before_begins_no_transaction_on_the_reader(stage) {
        let schema = stage.schema("routing_previous").await;
        stage.lab.writer().execute("CREATE TABLE routing_previous.t (a INT)").await.unwrap();
        stage.caught_up().await;
        let mut connection = stage.connect_with(|options| options.db_name(Some(schema))).await;
        for hint in ["writer", "fresh"] {
            let read = format!("/* isthmus:{hint} */ SELECT FOUND_ROWS(), COUNT(*) FROM t");
            connection.query_drop(read).await.unwrap();
            let last: Row = connection.query_first("SHOW ISTHMUS LAST").await.unwrap().unwrap();
            assert_eq!(last.get::<String, _>("endpoint").unwrap(), "tokyo", "{hint}");
        }
        connection.query_drop("SET autocommit = 0").await.unwrap();
        connection.query_drop("SELECT FOUND_ROWS(), COUNT(*) FROM t").await.unwrap();
        connection.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
        connection.query_drop("ROLLBACK").await.unwrap();
    }

    async fn a_write_reaches_the_writer_and_reads_come_back_to_the_reader(stage) {
        let schema = stage.schema("routing_writes").await;
        let mut connection = stage.connect_with(|options| options.db_name(Some(schema))).await;
        for statement in [
            "CREATE TABLE t (id INT PRIMARY KEY, text VARCHAR(20))",
            "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
            "UPDATE t SET text = 'three' WHERE id = 2",
            "REPLACE INTO t VALUES (2, 'four')",
            "DELETE FROM t WHERE id = 1",
        ] {
            connection.query_drop(statement).await.unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while Stage::answered(&mut connection, HERE).await == Writer {
                assert!(Instant::now() < deadline, "after {statement} no read comes back to the reader");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let rows: Vec<(u32, String)> = stage.lab.writer().query("SELECT * FROM routing_writes.t").await.unwrap();
        assert_eq!(rows, [(2, "four".to_owned())]);
    }
}
