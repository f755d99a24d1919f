//! Prepared statements of the protocol and of the text, and cursors.

use super::{actor, execute, prepare, queries, query, script, with_cursor};
use crate::script::{Script, Step, Value};

pub(super) fn scripts() -> Vec<(&'static str, Script)> {
    vec![
        (
            "a prepared statement that sets something leaves the session in its schema",
            script(vec![
                prepare("SET div_precision_increment = 7, @q = 'x'"),
                query("USE two"),
                execute(&[]),
                query("SELECT DATABASE(), @@div_precision_increment, @q"),
                query("SELECT DATABASE() FROM t WHERE id = 1 FOR UPDATE"),
            ]),
        ),
        (
            "a statement that was prepared in no schema runs in none, and in none of other sessions",
            Script {
                actors: vec![actor("one", false), actor("two", true)],
                steps: vec![
                    (0, prepare("SHOW CREATE TABLE t")),
                    (
                        0,
                        Step::Prepare(1, "SET div_precision_increment = 8".into()),
                    ),
                    (0, query("USE two")),
                    (1, query("SELECT 1 FROM t")),
                    (0, execute(&[])),
                    (0, query("SELECT DATABASE()")),
                    (
                        0,
                        Step::Execute {
                            slot: 1,
                            values: vec![],
                            cursor: false,
                            types: true,
                        },
                    ),
                    (0, query("SELECT DATABASE(), @@div_precision_increment")),
                    (0, query("BEGIN")),
                    (0, query("SELECT DATABASE() FROM t WHERE id = 1 FOR UPDATE")),
                    (0, query("COMMIT")),
                    (0, execute(&[])),
                ],
            },
        ),
        (
            "routines execute the textual statements of their session, and their session those of routines",
            script(queries(&[
                "PREPARE s FROM 'SELECT 1'",
                "CREATE PROCEDURE executes() EXECUTE s",
                "CREATE PROCEDURE prepares() PREPARE s FROM 'SELECT 111'",
                "CREATE PROCEDURE forgets() DEALLOCATE PREPARE s",
                "CALL executes()",
                "CALL prepares()",
                "EXECUTE s",
                "PREPARE s FROM 'SELECT 222'",
                "CALL executes()",
                "DEALLOCATE PREPARE s",
                "CALL executes()",
                "EXECUTE s",
                "PREPARE s FROM 'SELECT 333'",
                "CALL forgets()",
                "EXECUTE s",
                "PREPARE s FROM 'SELECT 444'",
                "/*!50000 EXECUTE s */",
            ])),
        ),
        (
            "a routine's statement does not stand behind that of a session that had none",
            script(queries(&[
                "CREATE PROCEDURE executes() EXECUTE s",
                "CREATE PROCEDURE prepares() PREPARE s FROM 'SELECT 111'",
                "CALL prepares()",
                "PREPARE s FROM 'SELECT 222'",
                "CALL executes()",
                "DEALLOCATE PREPARE s",
                "CALL executes()",
                "EXECUTE s",
            ])),
        ),
        (
            "a statement without a cursor has none to fetch from",
            script(vec![prepare("SELECT 1"), Step::Fetch(0, 1)]),
        ),
        (
            "NULL needs no type",
            script(vec![
                prepare("SELECT * FROM t WHERE id = ?"),
                Step::Execute {
                    slot: 0,
                    values: vec![Value::Null],
                    cursor: false,
                    types: false,
                },
            ]),
        ),
        (
            "a statement is executed with a cursor and without",
            script(vec![
                prepare("SELECT * FROM t WHERE id < ? ORDER BY id"),
                execute(&[Value::Integer(3)]),
                with_cursor(&[Value::Integer(3)]),
                execute(&[Value::Integer(3)]),
                with_cursor(&[Value::Integer(3)]),
                Step::Fetch(0, 1),
                Step::Fetch(0, 9),
                execute(&[Value::Integer(3)]),
            ]),
        ),
        (
            "a statement that was prepared before what no transaction can set",
            script(vec![
                prepare("SELECT id, b FROM t WHERE a > ? ORDER BY id LIMIT 3"),
                Step::Query("SET explicit_defaults_for_timestamp = 1".into()),
                Step::Query("START TRANSACTION WITH CONSISTENT SNAPSHOT".into()),
                execute(&[Value::Integer(1)]),
            ]),
        ),
        (
            "rows are fetched in the character set that the session has by then",
            script(vec![
                prepare("SELECT _latin1 'It''s', _utf8mb4 'é', N'日本' FROM t ORDER BY id"),
                with_cursor(&[]),
                Step::Fetch(0, 1),
                Step::Query("SET NAMES latin1".into()),
                Step::Fetch(0, 1),
                Step::Query("SET character_set_results = NULL".into()),
                Step::Fetch(0, 2),
                Step::Query("SELECT 'é'".into()),
            ]),
        ),
        (
            "to prepare again ends no transaction",
            script(vec![
                query("BEGIN"),
                query("INSERT INTO t (a) VALUES (7)"),
                prepare("SELECT LAST_INSERT_ID(), a FROM t WHERE a = ?"),
                query("SET autocommit = 0"),
                execute(&[Value::Integer(7)]),
                query("ROLLBACK"),
                execute(&[Value::Integer(7)]),
                query("SET autocommit = 1"),
                execute(&[Value::Integer(1)]),
            ]),
        ),
        (
            "several statements name textual ones",
            script(queries(&[
                "PREPARE s1 FROM 'SELECT 1 AS n'",
                "SELECT 2; EXECUTE s1",
                "EXECUTE s1",
                "PREPARE s2 FROM 'SELECT 3'",
                "PREPARE s2 FROM 'SELECT 4'; SELECT 5",
                "EXECUTE s2",
                "DEALLOCATE PREPARE s1; DEALLOCATE PREPARE s2",
                "EXECUTE s1",
            ])),
        ),
        (
            "a cursor that takes a read-only transaction to the writer is open there",
            script(vec![
                prepare("SELECT id, GET_LOCK('mended', 0) FROM t ORDER BY id LIMIT 3"),
                query("START TRANSACTION READ ONLY"),
                query("SELECT COUNT(*) FROM t"),
                with_cursor(&[]),
                Step::Fetch(0, 1),
                query("DO RELEASE_ALL_LOCKS()"),
                query("COMMIT"),
            ]),
        ),
        (
            "a cursor that outlives a read-only transaction keeps none that follows on the reader",
            script(vec![
                prepare("SELECT id, b FROM t ORDER BY id"),
                query("START TRANSACTION READ ONLY"),
                with_cursor(&[]),
                Step::Fetch(0, 1),
                query("COMMIT"),
                query("BEGIN"),
                query("INSERT INTO t (a) VALUES (94)"),
                Step::Fetch(0, 1),
                query("COMMIT"),
                Step::Fetch(0, 9),
            ]),
        ),
    ]
}
