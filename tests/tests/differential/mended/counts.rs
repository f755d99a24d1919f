//! ROW_COUNT(), FOUND_ROWS() and LAST_INSERT_ID().

use super::{actor, execute, prepare, queries, query, script, with_cursor};
use crate::script::{Script, Step, Value};

pub(super) fn scripts() -> Vec<(&'static str, Script)> {
    vec![
        (
            "ROW_COUNT() behind a preparation is that of the statement before, whatever was asked since",
            script(vec![
                prepare("SELECT ROW_COUNT()"),
                query("BEGIN"),
                query("CALL sets()"),
                query("BEGIN"),
                Step::Prepare(1, "SELECT id, b FROM t WHERE a > ?".into()),
                execute(&[]),
            ]),
        ),
        (
            "SHOW ERRORS is a result for ROW_COUNT() on a connection that stays",
            script(vec![
                query("SET last_insert_id = 2"),
                query("BEGIN"),
                query("SELECT a FROM t WHERE id = 1 FOR UPDATE"),
                Step::Ping,
                query("SHOW ERRORS"),
                query("SELECT ROW_COUNT(), LAST_INSERT_ID()"),
            ]),
        ),
        (
            "a condition that is not there makes ROW_COUNT() -1 behind a command that the proxy has answered",
            script(vec![
                prepare("SELECT ROW_COUNT()"),
                query("SET insert_id = 60"),
                Step::ResetStatement(0),
                query("GET DIAGNOSTICS CONDITION 1 @n = MYSQL_ERRNO"),
                execute(&[]),
            ]),
        ),
        (
            "LAST_INSERT_ID() is the first one that a table's own query was given",
            script(queries(&[
                "CREATE TEMPORARY TABLE numbered (id INT AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 30 SELECT a FROM t",
                "SELECT LAST_INSERT_ID()",
                "DROP TABLE numbered",
                "SELECT LAST_INSERT_ID()",
            ])),
        ),
        (
            "rows that are fetched from a cursor are a result for ROW_COUNT()",
            script(vec![
                prepare("SELECT id FROM t ORDER BY id"),
                with_cursor(&[]),
                query("DO 1"),
                Step::Fetch(0, 2),
                query("SELECT ROW_COUNT()"),
            ]),
        ),
        (
            "LAST_INSERT_ID() behind a block",
            script(queries(&[
                "BEGIN NOT ATOMIC INSERT INTO t (a) VALUES (98); END",
                "SELECT LAST_INSERT_ID()",
            ])),
        ),
        (
            "DEALLOCATE leaves FOUND_ROWS()",
            script(queries(&[
                "BEGIN",
                "SELECT a FROM t WHERE id = 1 FOR UPDATE",
                "PREPARE s FROM 'SELECT SQL_CALC_FOUND_ROWS id FROM t ORDER BY id LIMIT 1'",
                "EXECUTE s",
                "DEALLOCATE PREPARE s",
                "SELECT FOUND_ROWS()",
                "COMMIT",
            ])),
        ),
        (
            "DEALLOCATE leaves FOUND_ROWS() that only the connection knows",
            script(queries(&[
                "PREPARE s FROM 'SELECT 1'",
                "BEGIN",
                "SELECT a FROM t WHERE id = 1 FOR UPDATE",
                "CREATE PROCEDURE made() SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "BEGIN",
                "SELECT a FROM t WHERE id = 1 FOR UPDATE",
                "CALL made()",
                "DEALLOCATE PREPARE s",
                "SELECT FOUND_ROWS()",
                "COMMIT",
            ])),
        ),
        (
            "FOUND_ROWS() counts no conditions of several statements, nor what SHOW CREATE tells",
            script(queries(&[
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "REPLACE INTO t (id, a, b) VALUES (8, 6, 'x'); SHOW WARNINGS LIMIT 1",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "COMMIT; SHOW CREATE TABLE t",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2; SHOW CREATE TABLE t",
                "SELECT FOUND_ROWS()",
                "BEGIN",
                "SELECT a FROM t ORDER BY id FOR UPDATE",
                "SHOW CREATE TABLE t; SHOW WARNINGS",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2; SHOW WARNINGS",
                "SELECT FOUND_ROWS()",
                "COMMIT",
            ])),
        ),
        (
            "FOUND_ROWS() behind a block on a connection that stays",
            script(queries(&[
                "SET insert_id = 70",
                "SELECT a FROM t ORDER BY id",
                "BEGIN NOT ATOMIC SET @a = 3; SELECT @a; INSERT INTO t (a) VALUES (8); END",
                "SELECT FOUND_ROWS()",
            ])),
        ),
        (
            "what an EXECUTE calculates",
            script(queries(&[
                "INSERT INTO t (a) VALUES (99)",
                "PREPARE s FROM 'SELECT a FROM t WHERE id = ?'",
                "EXECUTE s USING LAST_INSERT_ID()",
            ])),
        ),
        (
            "FOUND_ROWS() behind an UPDATE in several statements is the one before them on MariaDB",
            script(queries(&[
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "UPDATE t SET id = LAST_INSERT_ID(id + 0) WHERE id = 400; UPDATE t SET a = FOUND_ROWS() WHERE id = 1",
                "SELECT a FROM t WHERE id = 1",
                "SELECT 1 UNION SELECT 2",
                "DELETE FROM t WHERE id = 400; UPDATE t SET a = FOUND_ROWS() WHERE id = 1",
                "SELECT a FROM t WHERE id = 1",
            ])),
        ),
        (
            "FOUND_ROWS() of several statements is that of the last that finds some, on MySQL also an UPDATE",
            script(queries(&[
                "SELECT LAST_INSERT_ID()",
                "BEGIN; UPDATE t SET a = 7 WHERE id = 400",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2",
                "SAVEPOINT s",
                "UPDATE t SET a = 7 WHERE id = 400; SAVEPOINT s",
                "SELECT FOUND_ROWS()",
                "COMMIT",
                "SELECT 1 UNION SELECT 2",
                "INSERT INTO t (a) VALUES (7); UPDATE t SET a = FOUND_ROWS() WHERE id = 1",
                "SELECT a FROM t WHERE id = 1",
            ])),
        ),
        (
            "FOUND_ROWS() behind statements that change rows",
            script(
                [
                    "UPDATE t SET a = a + 1 WHERE id < 0",
                    "UPDATE t SET a = a + 1 WHERE id <= 2",
                    "UPDATE t SET a = a WHERE id <= 2",
                    "UPDATE t SET a = 7 WHERE id IN (SELECT id FROM kinds)",
                    "UPDATE t, kinds SET t.a = 7 WHERE t.id = kinds.id",
                    "UPDATE t JOIN kinds USING (id) SET t.a = 8",
                    "DELETE FROM t WHERE id < 0",
                    "DELETE t FROM t JOIN kinds USING (id) WHERE t.id < 0",
                    "DELETE FROM t WHERE id IN (SELECT id - 100 FROM kinds)",
                    "INSERT INTO t (a) VALUES (8), (9)",
                    "INSERT INTO t (a) SELECT id FROM kinds",
                    "REPLACE INTO t (id, a) SELECT id, id FROM kinds",
                    "DO 1",
                ]
                .into_iter()
                .flat_map(|text| {
                    [
                        query("SELECT a FROM t"),
                        query(text),
                        query("SELECT FOUND_ROWS()"),
                    ]
                })
                .chain([
                    prepare("UPDATE t SET a = a + 1 WHERE id <= ?"),
                    query("SELECT a FROM t"),
                    execute(&[Value::Integer(0)]),
                    query("SELECT FOUND_ROWS()"),
                    execute(&[Value::Integer(2)]),
                    query("SELECT FOUND_ROWS()"),
                    query("PREPARE p FROM 'UPDATE t SET a = a + 1 WHERE id <= ?'"),
                    query("SET @none = 0"),
                    query("SELECT a FROM t"),
                    query("EXECUTE p USING @none"),
                    query("SELECT FOUND_ROWS()"),
                ])
                .collect(),
            ),
        ),
        (
            "SHOW COUNT(*) WARNINGS is a row like any other for FOUND_ROWS()",
            script(vec![
                query("CREATE TEMPORARY TABLE own (a INT)"),
                query("SELECT * FROM t"),
                query("SHOW COUNT(*) WARNINGS"),
                execute(&[Value::Integer(1)]),
                query("SELECT FOUND_ROWS()"),
            ]),
        ),
        (
            "an execution under another id than expected does not count for ROW_COUNT()",
            script(vec![
                query("BEGIN"),
                Step::Prepare(1, "UPDATE t SET b = ? WHERE id = ?".into()),
                Step::Execute {
                    slot: 1,
                    values: vec![Value::Null, Value::DateTime(2024, [2, 29, 1, 2, 3])],
                    cursor: false,
                    types: true,
                },
                prepare("SELECT ROW_COUNT()"),
                execute(&[]),
                query("ROLLBACK"),
            ]),
        ),
        (
            "the query of a CREATE TABLE asks for what the session knows",
            script(queries(&[
                "INSERT INTO t (b) VALUES ('one')",
                "CREATE TABLE made (id INT, many INT) SELECT LAST_INSERT_ID() AS id, ROW_COUNT() AS many",
                "SELECT * FROM made",
                "CREATE TABLE IF NOT EXISTS another (id INT, a CHAR(3), KEY k (a)) (SELECT @@identity AS id)",
                "SELECT * FROM another",
                "DROP TABLE made, another",
            ])),
        ),
        (
            "the insert ids of several statements, of which one ends the transaction",
            script(queries(&[
                "BEGIN",
                "INSERT INTO t (a, b) VALUES (60, 'a')",
                "INSERT INTO t (a, b) VALUES (61, 'b'); COMMIT",
                "SELECT LAST_INSERT_ID()",
                "BEGIN",
                "LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, b)",
                "COMMIT",
                "SELECT LAST_INSERT_ID()",
            ])),
        ),
        (
            "ROW_COUNT() by a cursor that is prepared in another state",
            script(vec![
                query("BEGIN"),
                prepare("SELECT ROW_COUNT()"),
                query("SET lc_time_names = 'de_DE'"),
                query("SELECT 1"),
                with_cursor(&[]),
                Step::Fetch(0, 3),
                query("COMMIT"),
            ]),
        ),
        (
            "only the rows of queries are found",
            script(queries(&[
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "ANALYZE TABLE t",
                "SELECT FOUND_ROWS()",
                "DESCRIBE t",
                "SELECT FOUND_ROWS()",
                "SHOW CREATE TABLE t",
                "SELECT FOUND_ROWS()",
                "EXPLAIN SELECT * FROM t",
                "SELECT FOUND_ROWS()",
                "SHOW COLUMNS FROM t",
                "SELECT FOUND_ROWS()",
                "CHECKSUM TABLE t",
                "SELECT FOUND_ROWS()",
                "INSERT INTO t (a, b) VALUES (4, 'z') RETURNING id",
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "DELETE FROM t WHERE a = 4 RETURNING id",
                "SELECT FOUND_ROWS()",
            ])),
        ),
        (
            "a preparation in another state than the transaction's leaves ROW_COUNT()",
            script(vec![
                prepare("SELECT ROW_COUNT()"),
                query("SET lc_time_names = 'de_DE'"),
                query("BEGIN"),
                query("UPDATE t SET b = 'other' WHERE id = 1"),
                execute(&[]),
                query("COMMIT"),
            ]),
        ),
        (
            "commands that are no statements count for ROW_COUNT()",
            script(vec![
                query("UPDATE t SET b = 'other' WHERE id = 1"),
                Step::Ping,
                query("SELECT ROW_COUNT()"),
                Step::MultiStatements(true),
                query("SELECT ROW_COUNT()"),
                query("BEGIN"),
                query("UPDATE t SET b = 'one more' WHERE id = 1"),
                Step::Ping,
                query("SELECT ROW_COUNT()"),
                query("UPDATE t SET b = 'and more' WHERE id = 1"),
                prepare("SELECT ROW_COUNT()"),
                execute(&[]),
                query("UPDATE t SET b = 'even more' WHERE id = 1"),
                Step::ResetStatement(0),
                execute(&[]),
            ]),
        ),
        (
            "a reset leaves the number of rows that were found",
            script(vec![
                query("SELECT 1 UNION SELECT 2"),
                Step::ResetConnection,
                query("UPDATE t SET a = FOUND_ROWS() WHERE id = 1"),
                query("SELECT 1 UNION SELECT 2"),
                Step::ResetConnection,
                query("SELECT FOUND_ROWS()"),
            ]),
        ),
        (
            "the types of what is replaced by the session's values",
            script(queries(&[
                "SELECT ROW_COUNT(), @@warning_count, @@error_count",
                "SELECT FOUND_ROWS()",
                "SELECT CONNECTION_ID() = {connection} AS mine",
            ])),
        ),
        (
            "bringing back LAST_INSERT_ID() is no statement before",
            script(queries(&[
                "INSERT INTO t (a) VALUES (9)",
                "BEGIN",
                "SELECT a FROM t WHERE id = 1",
                "SELECT ROW_COUNT(), LAST_INSERT_ID()",
                "ROLLBACK",
            ])),
        ),
        (
            "SHOW VARIABLES tells of the insert id",
            script(queries(&[
                "INSERT INTO t (a) VALUES (9)",
                "SHOW VARIABLES LIKE '%identity'",
                "SHOW VARIABLES WHERE Variable_name = 'last_insert_id'",
            ])),
        ),
        (
            "a comment that is no statement has counted no rows",
            script(queries(&[
                "CALL begins()",
                "/* nothing */",
                "SELECT ROW_COUNT(), LAST_INSERT_ID()",
                "ROLLBACK",
            ])),
        ),
        (
            "LOAD DATA finds no rows",
            script(queries(&[
                "ROLLBACK; SELECT * FROM seen ORDER BY id",
                "LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, b); UPDATE t SET a = FOUND_ROWS() WHERE id = 1",
            ])),
        ),
        (
            "a cursor has found its rows",
            script(vec![
                prepare("SELECT * FROM t WHERE id < ? ORDER BY id"),
                with_cursor(&[Value::Integer(4)]),
                query("SELECT FOUND_ROWS()"),
            ]),
        ),
        (
            "which of the rows about conditions are found",
            script(queries(&[
                "SELECT 1 UNION SELECT 2",
                "SHOW WARNINGS",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2",
                "SHOW COUNT(*) ERRORS",
                "SELECT FOUND_ROWS()",
            ])),
        ),
        (
            "what asks for a cursor and has no rows leaves FOUND_ROWS()",
            script(vec![
                query("SELECT 1 UNION SELECT 2 UNION SELECT 3"),
                prepare("INSERT INTO kinds (id, whole, word) VALUES (5, 5, 'a')"),
                with_cursor(&[]),
                query("SELECT FOUND_ROWS()"),
                prepare("CREATE TABLE made (a INT)"),
                with_cursor(&[]),
                query("SELECT FOUND_ROWS()"),
                prepare("SELECT 1 UNION SELECT 2"),
                with_cursor(&[]),
                query("SELECT FOUND_ROWS()"),
            ]),
        ),
        (
            "FOUND_ROWS() behind several statements is that of the last query",
            script(queries(&[
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "SELECT a FROM t WHERE id = 9 LOCK IN SHARE MODE; SAVEPOINT s1",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "SELECT 1 UNION SELECT 2; SAVEPOINT s1",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "SET @a = 3; SET @b = 4",
                "SELECT FOUND_ROWS()",
                "CALL shows(2)",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "BEGIN NOT ATOMIC SET @a = 3; SELECT @a; INSERT INTO t (a) VALUES (8); END",
                "SELECT FOUND_ROWS()",
            ])),
        ),
        (
            "LAST_INSERT_ID() of what leaves no transaction, with autocommit off",
            script(queries(&[
                "SET autocommit = 0",
                "SELECT LAST_INSERT_ID(77)",
                "SELECT LAST_INSERT_ID()",
                "INSERT INTO t (a) VALUES (77); COMMIT",
                "SELECT LAST_INSERT_ID()",
                "DO LAST_INSERT_ID(78)",
                "SELECT LAST_INSERT_ID()",
                "BEGIN; INSERT INTO t (a) VALUES (78); COMMIT",
                "SELECT LAST_INSERT_ID()",
                "INSERT INTO t (a) VALUES (79); ROLLBACK",
                "SELECT LAST_INSERT_ID()",
                "SET autocommit = 1",
            ])),
        ),
        (
            "the number of rows of a command that the proxy has answered, beside a connection that is kept",
            script(vec![
                query("BEGIN"),
                query("UPDATE t SET b = 'counted' WHERE id = 1"),
                Step::Ping,
                query("GET DIAGNOSTICS @number = NUMBER, @rows = ROW_COUNT"),
                query("SELECT @number, @rows"),
                prepare("SELECT 1"),
                query("SELECT missing"),
                Step::ResetStatement(0),
                query("GET DIAGNOSTICS @number = NUMBER, @rows = ROW_COUNT"),
                query("SELECT @number, @rows"),
                query("COMMIT"),
            ]),
        ),
        (
            "FOUND_ROWS() of what stands behind an upload",
            script(queries(&[
                "LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, b); DO LAST_INSERT_ID(9)",
                "SELECT FOUND_ROWS(), LAST_INSERT_ID()",
                "LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, b); SELECT 1 UNION SELECT 2",
                "SELECT FOUND_ROWS()",
                "LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, b); SELECT 1 UNION SELECT 2",
                "SHOW WARNINGS",
            ])),
        ),
        ("what cannot be prepared again has made no id", unprepared()),
        (
            "FOUND_ROWS() behind a fetch in a transaction",
            script(vec![
                query("INSERT INTO t (a) VALUES (1), (2), (3)"),
                prepare("SELECT id FROM t ORDER BY id"),
                query("BEGIN"),
                with_cursor(&[]),
                Step::Fetch(0, 2),
                query("SELECT FOUND_ROWS()"),
                query("COMMIT"),
                query("SELECT FOUND_ROWS()"),
            ]),
        ),
        (
            "ROW_COUNT() beside textual statements and the session's own tracking",
            script(queries(&[
                "PREPARE s FROM 'SELECT 1'",
                "BEGIN",
                "INSERT INTO t (a) VALUES (5)",
                "UPDATE t SET b = 'n' WHERE id IN (1, 2)",
                "SELECT ROW_COUNT(); EXECUTE s",
                "UPDATE t SET b = 'm' WHERE id IN (1, 2)",
                "SELECT ROW_COUNT(), @@session_track_schema",
                "UPDATE t SET b = 'n' WHERE id IN (1, 2)",
                "CALL doubles(ROW_COUNT(), @result)",
                "SELECT @result",
                "COMMIT",
            ])),
        ),
        (
            "ROW_COUNT() of a statement that is prepared behind SET TRANSACTION",
            script(vec![
                prepare("SELECT ROW_COUNT()"),
                query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
                query("SELECT FOUND_ROWS()"),
                execute(&[]),
            ]),
        ),
        (
            "FOUND_ROWS() of several statements of which one fails",
            script(queries(&[
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "SELECT 1 UNION SELECT 2; SELECT * FROM missing",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "SELECT * FROM missing; SELECT 1 UNION SELECT 2",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "DO 1; SELECT * FROM missing",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2 UNION SELECT 3",
                "INSERT INTO t (a) VALUES (1); SELECT SQL_CALC_FOUND_ROWS * FROM missing",
                "SELECT FOUND_ROWS()",
                "SELECT 1 UNION SELECT 2; SELECT SQL_CALC_FOUND_ROWS * FROM missing",
                "SELECT FOUND_ROWS()",
                "SHOW TABLES",
                "SELECT INET_ATON('x'), MAKEDATE(1, 0);SELECT x'00FF27', NULL, TRUE;ROLLBACK TO s1",
                "SELECT FOUND_ROWS()",
                "SHOW TABLES",
                "BEGIN; UPDATE t SET a = 1 WHERE id = 6",
                "SELECT INET_ATON('x'), MAKEDATE(1, 0);SELECT x'00FF27', NULL, TRUE;ROLLBACK TO s1",
                "SELECT FOUND_ROWS()",
                "COMMIT",
            ])),
        ),
    ]
}

/// One session whose statement cannot be prepared any more, and one that makes ids on all connections.
fn unprepared() -> Script {
    let mut steps = vec![
        (0, prepare("INSERT INTO t (a) VALUES (5)")),
        (0, execute(&[])),
        (0, query("DROP TABLE t")),
    ];
    for number in 0..8 {
        let other = query(&format!(
            "INSERT INTO t (a) VALUES (1{number}), (2{number})"
        ));
        steps.extend([(1, other), (1, Step::Swap)]);
    }
    for _ in 0..8 {
        steps.extend([
            (0, execute(&[])),
            (0, query("SELECT LAST_INSERT_ID()")),
            (0, Step::Swap),
        ]);
    }
    Script {
        actors: vec![actor("one", true), actor("two", true)],
        steps,
    }
}
