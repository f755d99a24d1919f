//! Transactions, and what ends them or the session.

use super::{actor, execute, prepare, queries, query, script, with_cursor};
use crate::script::{Actor, Script, Step, Value};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_tests::wire::USUAL;

pub(super) fn scripts() -> Vec<(&'static str, Script)> {
    let mut scripts = others();
    scripts.extend(BEHIND_READS.iter().map(|statements| {
        let begin = ["START TRANSACTION READ ONLY", "SELECT id FROM t"];
        let all = [&begin[..], statements].concat();
        ("a read-only transaction on a reader", script(queries(&all)))
    }));
    scripts
}

/// What a session that has not written does in a read-only transaction.
const BEHIND_READS: &[&[&str]] = &[
    &["SELECT 1; COMMIT; INSERT INTO t (a) VALUES (7)"],
    &[
        "SELECT 1; START TRANSACTION READ WRITE; INSERT INTO t (a) VALUES (7)",
        "INSERT INTO t (a) VALUES (7)",
        "ROLLBACK",
    ],
    &["BEGIN; COMMIT; INSERT INTO t (a) VALUES (7)"],
    &["SAVEPOINT s; ROLLBACK; INSERT INTO t (a) VALUES (7)"],
    &[
        "COMMIT foo; INSERT INTO t (a) VALUES (7)",
        "INSERT INTO t (a) VALUES (7)",
    ],
    &[
        "SELECT 1; COMMIT; SET TRANSACTION READ ONLY",
        "INSERT INTO t (a) VALUES (7)",
    ],
    &[
        "SELECT id FROM t; SAVEPOINT s; SELECT COUNT(*) FROM t; COMMIT",
        "INSERT INTO t (a) VALUES (7)",
    ],
    &[
        "START TRANSACTION READ ONLY, READ WRITE",
        "INSERT INTO t (a) VALUES (7)",
    ],
    &[
        "START TRANSACTION REED ONLY",
        "INSERT INTO t (a) VALUES (7)",
    ],
    &[
        "SELECT FOUND_ROWS(), ROW_COUNT(), GET_LOCK('x', 0)",
        "DO RELEASE_ALL_LOCKS()",
    ],
    &[
        "SELECT FOUND_ROWS(); SELECT GET_LOCK('x', 0)",
        "DO RELEASE_ALL_LOCKS()",
    ],
    &[
        "SELECT 1 + 'x', a FROM t",
        "SHOW WARNINGS; SELECT GET_LOCK('x', 0)",
        "DO RELEASE_ALL_LOCKS()",
    ],
    &[
        "SELECT 1 + 'x', a FROM t",
        "SELECT @@warning_count, a FROM t FOR UPDATE",
    ],
    &[
        "INSERT INTO t (a) VALUES (7); SELECT 1",
        "SHOW WARNINGS",
        "INSERT INTO t (a) VALUES (7)",
        "GET DIAGNOSTICS CONDITION 1 @errno = MYSQL_ERRNO",
        "SELECT @errno, @@error_count",
    ],
    &[
        "SET autocommit = 0",
        "SELECT 1; COMMIT; SELECT COUNT(*) FROM t",
        "INSERT INTO t (a) VALUES (7)",
        "ROLLBACK",
    ],
];

fn others() -> Vec<(&'static str, Script)> {
    vec![
        (
            "a DDL that is executed with a cursor leaves a transaction on the reader, where others are open",
            script(vec![
                Step::Prepare(1, "SELECT id FROM t ORDER BY id".into()),
                prepare("CREATE OR REPLACE VIEW seen AS SELECT id, -1 AS c FROM t"),
                query("START TRANSACTION READ ONLY"),
                with_cursor(&[]),
                query("START TRANSACTION READ ONLY"),
                Step::Execute {
                    slot: 1,
                    values: Vec::new(),
                    cursor: true,
                    types: true,
                },
                with_cursor(&[]),
                query("SELECT c FROM seen LIMIT 1"),
            ]),
        ),
        (
            "an error that ends a read-only transaction leaves no flag of it",
            script(vec![
                query("SET SESSION TRANSACTION READ ONLY"),
                query("BEGIN"),
                query("DROP TABLE IF EXISTS missing, missing_too"),
                Step::Ping,
            ]),
        ),
        (
            "what failed of several statements may have ended a transaction with its savepoints",
            Script {
                actors: vec![actor("one", false)],
                steps: queries(&[
                    "START TRANSACTION",
                    "SAVEPOINT s",
                    "BEGIN; INSERT INTO t (a) VALUES (1)",
                    "SET @a = 1",
                    "RELEASE SAVEPOINT s",
                    "ROLLBACK",
                ])
                .into_iter()
                .map(|step| (0, step))
                .collect(),
            },
        ),
        (
            "MySQL goes on with a transaction whose COMMIT has a cursor, and so do its savepoints",
            script(vec![
                prepare("COMMIT"),
                query("BEGIN"),
                query("SAVEPOINT s"),
                with_cursor(&[]),
                query("RELEASE SAVEPOINT s"),
                query("INSERT INTO t (a) VALUES (94)"),
                with_cursor(&[]),
                query("ROLLBACK"),
                query("SELECT COUNT(*) FROM t WHERE a = 94"),
            ]),
        ),
        (
            "a ROLLBACK of what no BEGIN has begun tells nothing of transactions",
            Script {
                actors: vec![Actor {
                    capabilities: USUAL | Capabilities::SESSION_TRACK,
                    ..actor("one", true)
                }],
                ..script(queries(&[
                    "SET autocommit = 0",
                    "INSERT INTO t (a) VALUES (5)",
                    "ROLLBACK",
                    "BEGIN",
                    "INSERT INTO t (a) VALUES (5)",
                    "ROLLBACK",
                    "INSERT INTO t (a) VALUES (5)",
                    "ROLLBACK",
                ]))
            },
        ),
        (
            "rows from a cursor come with the flags of the session's transaction",
            script(vec![
                prepare("(SELECT 5 AS n) UNION (SELECT -1) ORDER BY n"),
                with_cursor(&[]),
                Step::Fetch(0, 1),
                query("START TRANSACTION READ ONLY"),
                Step::Fetch(0, 1),
                query("COMMIT"),
                Step::Fetch(0, 1),
            ]),
        ),
        (
            "what is no SQL does not end a read-only transaction",
            script(queries(&[
                "START TRANSACTION READ ONLY",
                "SELECT a FROM t WHERE id = 1",
                "CREATE TABEL t",
                "SELECT a FROM t WHERE id = 1",
                "INSERT INTO t (a) VALUES (1)",
                "CREATE TABLE new_1 (id INT)",
                "INSERT INTO t (a) VALUES (1)",
                "START TRANSACTION READ ONLY",
                "DROP TABLE missing",
                "SELECT a FROM t WHERE id = 1",
            ])),
        ),
        (
            "a read-only transaction that ends in a script keeps no reader that is written to",
            script(queries(&[
                "START TRANSACTION READ ONLY",
                "SELECT a FROM t WHERE id = 1",
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; INSERT INTO t (a) VALUES (7)",
                "ROLLBACK; SELECT 1",
                "INSERT INTO t (a) VALUES (7)",
                "START TRANSACTION READ ONLY",
                "SELECT a FROM t WHERE id = 1",
                "COMMIT; INSERT INTO t (a, b) VALUES (66, 'b'); SELECT ROW_COUNT()",
                "SELECT LAST_INSERT_ID()",
                "START TRANSACTION READ ONLY",
                "SELECT a FROM t WHERE id = 1",
                "ROLLBACK; SET TRANSACTION READ ONLY",
                "INSERT INTO t (a) VALUES (67)",
                "INSERT INTO t (a) VALUES (67)",
            ])),
        ),
        (
            "a savepoint without autocommit is one of the transaction that follows",
            script(queries(&[
                "SET autocommit = 0",
                "SAVEPOINT s1",
                "ROLLBACK TO s1",
                "INSERT INTO t (a, b) VALUES (60, 'a')",
                "ROLLBACK TO s1",
                "SELECT COUNT(*) FROM t",
                "COMMIT",
                "ROLLBACK TO s1",
            ])),
        ),
        (
            "RELEASE ends the session",
            script(queries(&["COMMIT RELEASE", "SELECT 1"])),
        ),
        (
            "a statement that fails may have ended the transaction",
            script(vec![
                query("BEGIN"),
                query("INSERT INTO t (a) VALUES (9)"),
                query("DROP TABLE missing"),
                Step::Ping,
            ]),
        ),
        (
            "nothing is sent behind an upload",
            script(queries(&[
                "BEGIN; INSERT INTO t (a) VALUES (5)",
                "BEGIN; LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, b); COMMIT",
                "SELECT COUNT(*) FROM t",
            ])),
        ),
        (
            "a session may end itself by the function",
            script(queries(&["KILL QUERY CONNECTION_ID()"])),
        ),
        (
            "with the SQL mode ORACLE, BEGIN opens a program",
            script(queries(&[
                "SET sql_mode = 'ORACLE'",
                "BEGIN",
                "INSERT INTO t (a) VALUES (12)",
                "BEGIN WORK",
                "BEGIN INSERT INTO t (a) VALUES (13); END",
                "ROLLBACK",
                "SELECT COUNT(*) FROM t",
                "START TRANSACTION",
                "INSERT INTO t (a) VALUES (14)",
                "ROLLBACK",
                "SELECT COUNT(*) FROM t",
                "SET sql_mode = ''",
                "BEGIN",
                "INSERT INTO t (a) VALUES (15)",
                "ROLLBACK",
                "SELECT COUNT(*) FROM t",
            ])),
        ),
        (
            "what commits leaves a transaction on a reader",
            script(queries(&[
                "START TRANSACTION READ ONLY",
                "SELECT a FROM t WHERE id = 1",
                "CREATE TABLE new_1 (id INT)",
                "START TRANSACTION READ ONLY",
                "SELECT a, @a := 5 FROM t WHERE id = 1",
                "START TRANSACTION READ WRITE",
                "INSERT INTO t (a) VALUES (@a)",
                "COMMIT",
                "START TRANSACTION READ ONLY",
                "SELECT a FROM t WHERE id = 1",
                "INSERT INTO t (a) VALUES (10)",
                "BEGIN",
                "INSERT INTO t (a) VALUES (11)",
                "START TRANSACTION READ ONLY",
                "CREATE TEMPORARY TABLE temporary_1 (id INT)",
                "SELECT a FROM t WHERE id = 1",
                "DROP TABLE new_1",
                "SELECT COUNT(*) FROM t",
            ])),
        ),
        (
            "what ends a read-only transaction leaves a cursor on the reader open",
            script(vec![
                prepare("SELECT id, b FROM t ORDER BY id"),
                Step::Query("START TRANSACTION READ ONLY".into()),
                with_cursor(&[]),
                Step::Fetch(0, 1),
                Step::Query("CREATE DATABASE one".into()),
                Step::Query("UPDATE t SET a = 5 WHERE id = 1".into()),
                Step::Fetch(0, 1),
                Step::Fetch(0, 9),
                Step::Query("SELECT COUNT(*) FROM t".into()),
            ]),
        ),
        (
            "what the client has seen is not answered again",
            script(queries(&[
                "SELECT 2; SELECT missing FROM t; SELECT -1",
                "SELECT 2; SELECT * FROM missing.t",
                "SELECT 3",
            ])),
        ),
        (
            "MariaDB prepares no write in a read-only transaction, on the writer either",
            script(vec![
                query("CALL writes(2)"),
                query("START TRANSACTION READ ONLY"),
                query("SELECT RELEASE_LOCK('one_{run}_a')"),
                prepare("INSERT INTO traced (a) VALUES (-1)"),
                query("ROLLBACK"),
            ]),
        ),
        (
            "what counts for the next transaction outlives a preparation on its connection",
            script(vec![
                prepare("DELETE FROM t WHERE a = ?"),
                query("SET SESSION TRANSACTION READ WRITE"),
                query("SET TRANSACTION READ ONLY"),
                execute(&[Value::Integer(77)]),
                execute(&[Value::Integer(77)]),
                Step::Prepare(0, "INSERT INTO t (a) VALUES (?)".into()),
                Step::Prepare(1, "SELECT id FROM t WHERE a = ?".into()),
                query("SET TRANSACTION READ ONLY"),
                Step::Execute {
                    slot: 1,
                    values: vec![Value::Integer(77)],
                    cursor: false,
                    types: true,
                },
                execute(&[Value::Integer(77)]),
            ]),
        ),
        (
            "a script that commits in its middle leaves a reader, too",
            script(queries(&[
                "START TRANSACTION READ ONLY",
                "SELECT COUNT(*) FROM t",
                "SET SESSION TRANSACTION READ WRITE; CREATE TABLE IF NOT EXISTS t (id INT); SELECT COUNT(*) FROM t",
            ])),
        ),
        (
            "what switches autocommit on in a read-only transaction leaves the next one read-only",
            script(queries(&[
                "SET autocommit = 0",
                "START TRANSACTION READ ONLY",
                "SELECT COUNT(*) FROM t",
                "SET autocommit = 1",
                "INSERT INTO t (a) VALUES (77)",
                "BEGIN",
                "INSERT INTO t (a) VALUES (77)",
                "COMMIT",
                "INSERT INTO t (a) VALUES (77)",
                "START TRANSACTION READ ONLY",
                "SET autocommit = 1",
                "COMMIT",
            ])),
        ),
        (
            "what counts for the next transaction of a statement prepared before is what was set last",
            script(vec![
                prepare("INSERT INTO t (a) VALUES (5)"),
                query("SET TRANSACTION READ ONLY"),
                query("SET SESSION transaction_read_only = 0"),
                execute(&[]),
            ]),
        ),
        (
            "what counts for the next transaction of a statement that is prepared behind a read of none",
            script(vec![
                prepare("INSERT INTO t (a) VALUES (5)"),
                query("SET TRANSACTION READ ONLY"),
                query("SELECT COUNT(*) FROM information_schema.ENGINES"),
                execute(&[]),
            ]),
        ),
        (
            "to fetch is no transaction",
            script(vec![
                query("INSERT INTO t (a) VALUES (1), (2), (3)"),
                prepare("SELECT id FROM t ORDER BY id LIMIT 3"),
                query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"),
                with_cursor(&[]),
                query("SET TRANSACTION READ ONLY"),
                Step::Fetch(0, 1),
                Step::Fetch(0, 9),
                query("INSERT INTO t (a) VALUES (5)"),
            ]),
        ),
        (
            "several statements that end a read-only transaction and switch autocommit on",
            script(vec![
                prepare("INSERT INTO t (a) VALUES (5)"),
                query("SET autocommit = 0"),
                query("START TRANSACTION READ ONLY"),
                query("SELECT COUNT(*) FROM t"),
                query("COMMIT; SET autocommit = 1"),
                execute(&[]),
            ]),
        ),
        (
            "autocommit switched off where it is off leaves a read-only transaction what it reads",
            script(vec![
                query("SET autocommit = 0"),
                query("START TRANSACTION READ ONLY"),
                query("SELECT COUNT(*) FROM t"),
                query("SET autocommit = 0"),
                query("SELECT COUNT(*) FROM t"),
                query("INSERT INTO t (a) VALUES (5)"),
            ]),
        ),
        (
            "a query of tables was the next transaction, and one of none was not",
            script(queries(&[
                "SET TRANSACTION READ ONLY",
                "SELECT 1",
                "SELECT COUNT(*) FROM t",
                "INSERT INTO t (a) VALUES (5)",
                "SET TRANSACTION READ ONLY",
                "SELECT 1",
                "INSERT INTO t (a) VALUES (5)",
                "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ ONLY",
                "SELECT COUNT(*) FROM information_schema.ENGINES",
                "INSERT INTO t (a) VALUES (5)",
                "INSERT INTO t (a) VALUES (5)",
            ])),
        ),
        (
            "a read-only transaction that goes on on the writer keeps its savepoints",
            script(queries(&[
                "START TRANSACTION READ ONLY",
                "SAVEPOINT s1",
                "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
                "SELECT COUNT(*) FROM t",
                "SELECT COUNT(*) FROM t LOCK IN SHARE MODE",
                "SAVEPOINT s2",
                "ROLLBACK TO s1",
                "RELEASE SAVEPOINT s1",
                "COMMIT",
            ])),
        ),
        (
            "what ends a transaction with `completion_type` leaves none to others",
            chains(),
        ),
    ]
}

/// One session that chains transactions and leaves one on the reader, and one that reads there.
fn chains() -> Script {
    let mut steps = vec![
        (0, query("SET completion_type = 'CHAIN'")),
        (0, query("START TRANSACTION READ ONLY")),
        (0, query("SELECT COUNT(*) FROM t")),
        (0, query("CREATE DATABASE one")),
    ];
    for _ in 0..8 {
        steps.extend([(1, query("SELECT COUNT(*) FROM t")), (1, Step::Swap)]);
    }
    Script {
        actors: vec![actor("one", true), actor("two", true)],
        steps,
    }
}
