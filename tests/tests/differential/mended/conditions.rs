//! What a statement leaves to be asked about by SHOW WARNINGS, GET DIAGNOSTICS and their like.

use super::{actor, execute, prepare, queries, query, script, with_cursor};
use crate::script::{Actor, Script, Step};

pub(super) fn scripts() -> Vec<(&'static str, Script)> {
    vec![
        (
            "on MariaDB, a statement without tables leaves the conditions of those before it in its command",
            script(queries(&[
                "DROP TABLE IF EXISTS missing; DO 1",
                "SELECT @@warning_count",
                "DROP TABLE IF EXISTS missing; DO 1",
                "SHOW WARNINGS",
                "DROP TABLE IF EXISTS missing; SELECT COUNT(*) FROM t; DO 1",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "on MariaDB, to prepare what is about tables clears the conditions",
            script(vec![
                query("SELECT missing"),
                prepare("CREATE TABLE missing.t (id INT)"),
                query("SHOW WARNINGS"),
                query("SELECT missing"),
                prepare("DROP TABLE IF EXISTS missing.t"),
                query("SHOW WARNINGS"),
                query("SELECT missing"),
                prepare("ANALYZE TABLE t"),
                query("SHOW WARNINGS"),
                query("SELECT missing"),
                prepare("CREATE DATABASE missing"),
                query("SHOW WARNINGS"),
            ]),
        ),
        (
            "a cursor over the number of conditions that another connection had",
            script(vec![
                query("SELECT missing"),
                Step::Prepare(0, "SHOW COUNT(*) ERRORS".into()),
                with_cursor(&[]),
                Step::Fetch(0, 1),
                query("DROP TABLE IF EXISTS missing"),
                Step::Prepare(0, "SHOW COUNT(*) WARNINGS".into()),
                with_cursor(&[]),
                Step::Fetch(0, 1),
                execute(&[]),
            ]),
        ),
        (
            "GET DIAGNOSTICS at the end of a command leaves the count and the conditions of what stands before",
            script(queries(&[
                "UPDATE t SET a = 8 WHERE id IN (1, 2); GET DIAGNOSTICS @n = NUMBER",
                "SELECT ROW_COUNT()",
                "DROP TABLE IF EXISTS missing; GET DIAGNOSTICS @n = NUMBER",
                "SHOW WARNINGS",
                "SELECT @n",
                "UPDATE t SET a = 9 WHERE id IN (1, 2); GET DIAGNOSTICS CONDITION 2 @m = MESSAGE_TEXT",
                "SELECT ROW_COUNT()",
            ])),
        ),
        (
            "what brings the connection back into the session's state is not the statement before",
            script(vec![
                query("CREATE TABLE two.elsewhere (a INT)"),
                query("USE two"),
                prepare("SELECT a FROM elsewhere"),
                query("USE one"),
                query("SET @@net_read_timeout = 50"),
                query("BEGIN"),
                query("INSERT INTO t (a) VALUES (81), (82)"),
                query(
                    "SHOW SESSION VARIABLES WHERE Variable_name IN ('version', 'sql_big_selects')",
                ),
                query("SELECT ROW_COUNT()"),
                query("UPDATE t SET a = a + 1 WHERE a > 80"),
                query("SELECT ROW_COUNT(), @@net_read_timeout"),
                execute(&[]),
                query("SELECT ROW_COUNT(), FOUND_ROWS()"),
                query("SET @@net_read_timeout = 51, @@sort_buffer_size = 1"),
                query("SHOW WARNINGS"),
                query("SET @@net_read_timeout = 52, @@sort_buffer_size = 1"),
                query("SELECT @@warning_count, ROW_COUNT()"),
                query("COMMIT"),
            ]),
        ),
        (
            "a text that names tables is none for MariaDB's conditions",
            script(queries(&[
                "SELECT 1 / 3, 7 DIV 0, GROUP_CONCAT(a ORDER BY a) FROM t",
                "SET @saved = @@sql_mode, sql_mode = 'PIPES_AS_CONCAT,STRICT_ALL_TABLES'",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "variables of the client's own connection do not get between an error and SHOW WARNINGS",
            script(queries(&[
                "START TRANSACTION READ ONLY",
                "SET wait_timeout = DEFAULT",
                "SET read_only = 1",
                "SHOW WARNINGS",
                "COMMIT",
            ])),
        ),
        (
            "SHOW COUNT(*) that is executed again while it has a cursor",
            script(vec![
                prepare("SHOW COUNT(*) WARNINGS"),
                with_cursor(&[]),
                query("SELECT CAST('12x' AS SIGNED), CAST('x' AS DECIMAL)"),
                execute(&[]),
            ]),
        ),
        (
            "GET DIAGNOSTICS of ROW_COUNT, executed with a cursor that it has none of",
            script(vec![
                prepare("GET DIAGNOSTICS @number = NUMBER, @rows = ROW_COUNT"),
                query("SELECT 1 + 'x', CAST('12x' AS SIGNED)"),
                with_cursor(&[]),
                query("SELECT @number, @rows"),
            ]),
        ),
        (
            "GET DIAGNOSTICS tells all of the statement before, whose connection is gone",
            script(queries(&[
                "INSERT INTO t (b) VALUES ('one'), ('two')",
                "GET DIAGNOSTICS @number = NUMBER, @rows = ROW_COUNT",
                "SELECT ROW_COUNT(), @number, @rows",
                "SELECT 1 + 'x', CAST('12x' AS SIGNED)",
                "GET DIAGNOSTICS @number = NUMBER, @rows = ROW_COUNT",
                "GET DIAGNOSTICS CONDITION @number @state = RETURNED_SQLSTATE, @errno = MYSQL_ERRNO, @text = MESSAGE_TEXT",
                "SELECT @number, @rows, @state, @errno, @text",
                "DROP TABLE IF EXISTS missing, missing_too",
                "GET DIAGNOSTICS CONDITION 1 @state = RETURNED_SQLSTATE, @errno = MYSQL_ERRNO, @text = MESSAGE_TEXT",
                "GET DIAGNOSTICS CONDITION 2 @a = CLASS_ORIGIN, @b = SUBCLASS_ORIGIN, @c = TABLE_NAME",
                "SELECT @state, @errno, @text, @a, @b, @c, CHARSET(@text), COLLATION(@c)",
                "DROP TABLE IF EXISTS missing, missing_too",
                "GET DIAGNOSTICS CONDITION 3 @errno = MYSQL_ERRNO",
                "SHOW WARNINGS",
                "SELECT ROW_COUNT(), @@warning_count, @@error_count",
                "BEGIN",
                "SELECT 1 + 'x', a FROM t FOR UPDATE",
                "GET DIAGNOSTICS @number = NUMBER",
                "SELECT @number",
                "COMMIT",
                "SELECT @number",
            ])),
        ),
        (
            "what GET DIAGNOSTICS assigns in a transaction takes the place of what it has assigned",
            script(queries(&[
                "SELECT 1 + 'x'",
                "GET DIAGNOSTICS @number = NUMBER",
                "BEGIN",
                "SET @number = 7, @x = 1",
                "SELECT SQL_CALC_FOUND_ROWS 1 + 'x', id FROM t ORDER BY id LIMIT 1",
                "GET DIAGNOSTICS @number = NUMBER",
                "SELECT @number, @x",
                "SET @x = 1",
                "SELECT SQL_CALC_FOUND_ROWS 1 + 'x', id FROM t ORDER BY id LIMIT 1",
                "GET DIAGNOSTICS CONDITION @x @text = MESSAGE_TEXT",
                "SELECT @text",
                "COMMIT",
                "SELECT @number, @x, @text",
            ])),
        ),
        (
            "a ROLLBACK leaves MariaDB's conditions, and none of the next connection take their place",
            script(queries(&[
                "BEGIN",
                "SELECT 1 FROM t WHERE id = 1 FOR UPDATE",
                "INSERT INTO t (id) VALUES (1)",
                "ROLLBACK",
                "SET @x = 1",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "the conditions of an error with autocommit off, and of one behind a result with warnings",
            script(queries(&[
                "SET sql_mode = '', autocommit = 0",
                "INSERT INTO t (id, a) VALUES (99, 'x'), (1, 1)",
                "SHOW WARNINGS",
                "SELECT @@warning_count, @@error_count",
                "SELECT 1 + 'x'; SELEC",
                "SELECT @@warning_count, @@error_count",
                "ROLLBACK",
                "SET autocommit = 1, max_error_count = 1",
                "INSERT INTO t (id, a) VALUES (99, 'x'), (1, 1)",
                "SHOW WARNINGS",
                "SELECT @@warning_count, @@error_count",
                "SET max_error_count = DEFAULT",
            ])),
        ),
        (
            "the conditions before an error are told too",
            script(queries(&[
                "SELECT CAST('x' AS SIGNED), (SELECT id FROM t)",
                "SHOW WARNINGS",
                "SHOW ERRORS",
                "SELECT @@warning_count, @@error_count",
                "SET sql_mode = ''",
                "INSERT INTO t (id, a) VALUES (99, 'x'), (1, 1)",
                "GET DIAGNOSTICS @number = NUMBER",
                "GET DIAGNOSTICS CONDITION @number @state = RETURNED_SQLSTATE, @errno = MYSQL_ERRNO",
                "SELECT @number, @state, @errno",
                "CREATE TABLE t (id INT(11))",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "of several statements, the first may ask about the one before",
            script(queries(&[
                "SELECT 1 + 'x', CAST('12x' AS SIGNED)",
                "SHOW WARNINGS; SELECT 2",
                "SELECT 1 + 'x', CAST('12x' AS SIGNED)",
                "GET DIAGNOSTICS @number = NUMBER; SELECT @number",
                "SELECT 1",
                "SHOW WARNINGS; SHOW ERRORS; SELECT 3",
                "SELECT 1 + 'x'",
                "SHOW WARNINGS; SHOW COUNT(*) WARNINGS",
                "SHOW WARNINGS; SELEC 1; SELECT 2",
            ])),
        ),
        (
            "what loads a table has no conditions from before on MariaDB, though it is prepared only",
            script(vec![
                query("SELEC 1"),
                prepare("LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, b)"),
                query("SHOW WARNINGS"),
            ]),
        ),
        (
            "a SET without tables leaves MariaDB's conditions, on whichever connection",
            script(queries(&[
                "SELECT * FROM missing",
                "SET insert_id = 60",
                "SHOW WARNINGS",
                "SELECT @@warning_count, @@error_count",
                "SELEC 1",
                "UPDATE t SET b = 'other' WHERE id = 1",
                "SET insert_id = 50",
                "SELECT @@warning_count, @@error_count",
            ])),
        ),
        (
            "so do several statements in one",
            script(queries(&[
                "SELECT * FROM missing",
                "SET @a = 3; SELECT @a",
                "SHOW WARNINGS",
                "SELECT 1 + 'x'",
                "SET @a = 3; UPDATE t SET b = 'y' WHERE id = 1",
                "SHOW WARNINGS",
                "SELEC 1",
                "START TRANSACTION WITH CONSISTENT SNAPSHOT; SELECT 1",
                "SHOW WARNINGS",
                "ROLLBACK",
            ])),
        ),
        (
            "so does what is about no table",
            script(queries(&[
                "SELEC 1",
                "CREATE PROCEDURE made() SELECT 2",
                "SHOW WARNINGS",
                "DROP PROCEDURE made",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "so does the end of a transaction, answered at once or not",
            script(queries(&[
                "SELEC 1",
                "COMMIT",
                "SHOW WARNINGS",
                "BEGIN",
                "SHOW WARNINGS",
                "INSERT IGNORE INTO t (a) VALUES ('x')",
                "COMMIT",
                "SHOW WARNINGS",
                "BEGIN",
                "INSERT INTO t (a) VALUES (77)",
                "SELECT missing FROM t",
                "ROLLBACK",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "the error of a preparation that others have used",
            script(vec![
                prepare("SELECT a FROM t"),
                query("DROP TABLE t"),
                query("CREATE TEMPORARY TABLE temporary_2 (id INT)"),
                execute(&[]),
                query("SHOW ERRORS"),
            ]),
        ),
        (
            "a SHOW that is prepared opens tables",
            script(vec![
                query("SELECT 1 + 'x'"),
                prepare("SHOW CREATE TABLE kinds"),
                query("SELECT @@warning_count"),
                query("SELECT 1 + 'x'"),
                prepare("SHOW TABLES"),
                query("SELECT @@warning_count"),
                query("SELECT 1 + 'x'"),
                prepare("SHOW CREATE PROCEDURE shows"),
                query("SELECT @@warning_count"),
            ]),
        ),
        (
            "the warnings of a preparation",
            script(vec![
                prepare("DROP TABLE IF EXISTS missing"),
                query("SELECT @@warning_count"),
                execute(&[]),
                query("SHOW WARNINGS"),
                prepare("SELECT SQL_CALC_FOUND_ROWS a FROM t"),
                query("SHOW WARNINGS"),
                query("BEGIN"),
                prepare("SELECT SQL_CALC_FOUND_ROWS a FROM t"),
                query("SHOW WARNINGS"),
                query("COMMIT"),
                query("SHOW WARNINGS"),
            ]),
        ),
        (
            "COM_INIT_DB leaves the conditions of the statement before it",
            script(vec![
                query("SELECT 1 + 'x'"),
                Step::InitDb("one".into()),
                query("SHOW WARNINGS"),
            ]),
        ),
        (
            "COM_INIT_DB has no warnings",
            Script {
                actors: vec![Actor {
                    collation: 33,
                    ..actor("one", true)
                }],
                steps: vec![
                    (0, Step::InitDb("one".into())),
                    (0, query("SHOW WARNINGS")),
                    (0, Step::Swap),
                    (0, Step::InitDb("one".into())),
                    (0, query("SHOW WARNINGS")),
                ],
            },
        ),
        (
            "an error's text is as long as it is, and derived tables are tables on MariaDB",
            script(queries(&[
                "SELEC 1 FROM a_table_with_a_name_that_makes_this_text_longer",
                "GET DIAGNOSTICS CONDITION 1 @text = MESSAGE_TEXT, @errno = MYSQL_ERRNO",
                "SELECT LENGTH(@text), @text, @errno",
                "SET insert_id = 60",
                "SELEC 1 FROM a_table_with_a_name_that_makes_this_text_even_longer",
                "GET DIAGNOSTICS CONDITION 1 @text = MESSAGE_TEXT, @errno = MYSQL_ERRNO",
                "SELECT @text, @errno",
                "INSERT INTO t (a) VALUES (60)",
                "SELEC 1",
                "WITH x AS (SELECT 9 AS n) SELECT n FROM x",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "SHOW WARNINGS opens no cursor",
            script(vec![
                prepare("SHOW WARNINGS"),
                query("CREATE TABLE IF NOT EXISTS t (id INT)"),
                with_cursor(&[]),
                with_cursor(&[]),
                query("SELECT 1"),
            ]),
        ),
        (
            "a prepared statement asks about the one before each execution",
            script(vec![
                prepare("SELECT ROW_COUNT()"),
                query("UPDATE t SET b = 'other'"),
                execute(&[]),
                execute(&[]),
            ]),
        ),
        (
            "a preparation is no statement before",
            script(vec![
                query("SELECT a FROM t"),
                prepare("SELECT 1"),
                query("SELECT ROW_COUNT()"),
            ]),
        ),
        (
            "of several statements, only the first asks about another command's",
            script(queries(&["SELECT 1 + 'x'; SELECT @@warning_count"])),
        ),
        (
            "what GET DIAGNOSTICS assigns keeps no reader that is written to",
            script(queries(&[
                "SELECT * FROM missing",
                "GET DIAGNOSTICS CONDITION 1 @errno = MYSQL_ERRNO",
                "INSERT INTO missing VALUES (1)",
            ])),
        ),
        (
            "errors of the proxy's own are conditions too",
            script(vec![
                execute(&[]),
                query("SHOW WARNINGS"),
                query("SELECT @@error_count"),
                query(""),
                query("SHOW ERRORS"),
            ]),
        ),
        (
            "how the number of conditions is described",
            script(queries(&[
                "SHOW COUNT(*) WARNINGS",
                "SHOW WARNINGS",
                "SHOW COUNT(*) ERRORS",
            ])),
        ),
        (
            "MariaDB leaves the conditions of a statement with tables",
            script(queries(&[
                "SELECT 1 + 'x' FROM t LIMIT 1",
                "SET @a = 1",
                "SHOW WARNINGS",
                "SELECT 1",
                "SHOW WARNINGS",
                "SELECT a FROM t WHERE id = 1",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "a statement that was prepared tells of an error as it was",
            script(vec![
                prepare("SHOW WARNINGS"),
                query(
                    "SELECT 'a text that is longer than a hundred and twenty-eight characters', 'so that no SIGNAL can have \
                     all of it for its message' FROM",
                ),
                execute(&[]),
                query("SELECT 1 / 0, CAST('x' AS SIGNED)"),
                execute(&[]),
            ]),
        ),
        (
            "conditions that are there stay countable",
            script(queries(&[
                "CALL begins()",
                "GET DIAGNOSTICS CONDITION 1 @text = MESSAGE_TEXT",
                "SELECT @@warning_count",
                "ROLLBACK",
                "SELECT FOUND_ROWS()",
                "SELECT @@warning_count, @@error_count",
            ])),
        ),
        (
            "several statements that all leave conditions leave those of the last that had some",
            script(queries(&[
                "SELECT CAST('1x' AS UNSIGNED); SELECT CAST('2x' AS UNSIGNED), CAST('3x' AS UNSIGNED); COMMIT",
                "SHOW WARNINGS",
                "SELECT CAST('4x' AS UNSIGNED); SELECT 5",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "a textual statement that the server prepares forgets conditions if it has tables",
            script(queries(&[
                "INSERT INTO traced (a) VALUES (0)",
                "EXECUTE missing USING @a",
                "PREPARE s2 FROM 'INSERT INTO t (a) VALUES (?)'",
                "SHOW WARNINGS",
                "EXECUTE missing USING @a",
                "PREPARE s2 FROM 'SELECT ?'",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "what is prepared within a transaction forgets the conditions before it",
            script(vec![
                Step::Query("START TRANSACTION READ WRITE".into()),
                Step::Query("SET TRANSACTION READ WRITE".into()),
                prepare("SELECT id, b FROM t WHERE a > ? ORDER BY id LIMIT 3"),
                Step::Query("SHOW WARNINGS".into()),
                Step::Query("SET TRANSACTION READ WRITE".into()),
                prepare("INSERT INTO t (a) VALUES (?)"),
                Step::Query("SELECT @@error_count, ROW_COUNT()".into()),
                Step::Query("SET TRANSACTION READ WRITE".into()),
                prepare("SELECT ?"),
                Step::Query("SHOW WARNINGS".into()),
                Step::Query("ROLLBACK".into()),
            ]),
        ),
        (
            "conditions that stay are told in the character set that has come since",
            script(queries(&[
                "SELECT `é`",
                "SET NAMES latin1",
                "SHOW WARNINGS",
                "SET NAMES utf8mb4",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "how texts are described after a reset",
            script(vec![
                Step::ResetConnection,
                query("SHOW WARNINGS"),
                query("SELECT 'x'"),
                query("SET NAMES utf8mb4 COLLATE utf8mb4_bin"),
                query("SELECT 'x', VERSION() IS NULL"),
                query("SET collation_connection = utf8mb4_general_ci"),
                query("SELECT 'x', b FROM t"),
                query("SET character_set_results = latin1"),
                query("SELECT 'x', b FROM t"),
                query("SHOW WARNINGS"),
            ]),
        ),
        (
            "to ask for the status is no statement before",
            script(queries(&[
                "CALL sets()",
                "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a'",
                "SELECT ROW_COUNT()",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "errors among warnings are counted",
            script(queries(&[
                "GET DIAGNOSTICS CONDITION 1 @text = MESSAGE_TEXT",
                "SELECT @@warning_count, @@error_count",
                "INSERT INTO t (id, a) VALUES (4, 0)",
                "DO 0x41",
                "SHOW WARNINGS",
                "SHOW ERRORS",
            ])),
        ),
        (
            "errors are told whole after they were diagnosed",
            script(queries(&[
                "BEGIN",
                "SELECT 'a text that is longer than a hundred and twenty-eight characters, so that no SIGNAL can have it' FROM",
                "GET DIAGNOSTICS CONDITION 1 @state = RETURNED_SQLSTATE",
                "SHOW ERRORS",
            ])),
        ),
        (
            "MariaDB leaves conditions where SET asks about them",
            script(queries(&[
                "SELECT @@no_such_variable",
                "SET @a = LAST_INSERT_ID(), @b = ROW_COUNT()",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "a preparation next door is no statement before either",
            script(vec![
                query("SELECT 1"),
                prepare("UPDATE t SET b = ? WHERE id = ?"),
                query("SELECT ROW_COUNT()"),
            ]),
        ),
        (
            "what the proxy asks after a statement is no statement before",
            script(queries(&[
                "SET @a = (SELECT GET_LOCK('mended_{run}', 0))",
                "INSERT INTO t (a) VALUES (1), (1)",
                "SELECT ROW_COUNT(), FOUND_ROWS()",
                "SELECT SQL_CALC_FOUND_ROWS 1 + 'x' FROM t LIMIT 1",
                "SHOW WARNINGS",
                "SELECT ROW_COUNT(), FOUND_ROWS()",
                "SET NAMES utf8mb3",
                "SHOW WARNINGS",
                "SELECT RELEASE_ALL_LOCKS()",
            ])),
        ),
        (
            "DEALLOCATE PREPARE leaves MariaDB's conditions",
            script(queries(&[
                "PREPARE s2 FROM 'COMMIT'",
                "EXECUTE missing USING @a, @b",
                "DEALLOCATE PREPARE s2",
                "SHOW WARNINGS",
                "SELECT ROW_COUNT()",
            ])),
        ),
        (
            "a command that asks for conditions at its end leaves those of the command before",
            script(queries(&[
                "BEGIN",
                "SELECT CAST('x' AS SIGNED) FROM t WHERE id = 1 FOR UPDATE",
                "DO 1; SHOW WARNINGS",
                "ROLLBACK",
                "SHOW WARNINGS",
            ])),
        ),
        (
            "nobody is told of the conditions that others have left on a connection",
            conditions_of_others(),
        ),
        (
            "what MariaDB prepares with tables clears conditions, whoever can read it",
            script(vec![
                query("SELECT missing"),
                prepare("INSERT INTO t (a) VALUES (plus(?))"),
                query("SHOW WARNINGS"),
                query("SELECT missing"),
                prepare("SELECT * FROM (SELECT 1) AS x"),
                query("SHOW WARNINGS"),
            ]),
        ),
    ]
}

/// A session that leaves conditions on all connections, and one that asks where nothing clears them.
fn conditions_of_others() -> Script {
    let mut steps = Vec::new();
    for _ in 0..8 {
        let left = query("SELECT CAST('left' AS SIGNED) FROM t WHERE id = 1 FOR UPDATE");
        steps.extend([(0, left), (0, Step::Swap)]);
    }
    steps.extend([
        (1, query("SELECT COUNT(*) FROM t")),
        (1, query("DO 1; SHOW WARNINGS")),
        (1, query("DO 1; SELECT @@warning_count")),
        (1, query("BEGIN")),
        (1, prepare("INSERT INTO t (a) VALUES (?)")),
        (1, query("SELECT 1")),
        (1, query("SHOW WARNINGS")),
    ]);
    Script {
        actors: vec![actor("one", true), actor("one", true)],
        steps,
    }
}
