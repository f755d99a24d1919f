//! Scripts that once differed, each with the least that it takes.

use isthmus_protocol::capabilities::Capabilities;
use isthmus_tests::wire::USUAL;

use crate::script::{Actor, Script, Step, Value};

/// What was wrong, and the session that shows it.
pub(crate) fn scripts() -> Vec<(&'static str, Script)> {
    let queries = |texts: &[&str]| -> Vec<Step> {
        texts
            .iter()
            .map(|text| Step::Query((*text).into()))
            .collect()
    };
    let prepare = |sql: &str| Step::Prepare(0, sql.into());
    let execute = |values: &[Value]| Step::Execute {
        slot: 0,
        values: values.to_vec(),
        cursor: false,
        types: true,
    };
    let with_cursor = |values: &[Value]| Step::Execute {
        slot: 0,
        values: values.to_vec(),
        cursor: true,
        types: true,
    };
    let query = |text: &str| Step::Query(text.into());
    vec![
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
            "variables are carried from and to connections whose collation is of a wide character set",
            wide_collation(),
        ),
        (
            "doubles keep all their digits",
            script(queries(&[
                "SET @a = -1.7976931348623157e308",
                "INSERT INTO t (a) VALUES (93)",
                "SELECT @a FROM t WHERE a = 93 FOR UPDATE",
                "SET @a = -1.2345678901234567e-10, @b = 1.2345678901234567e-101, @c = 0.1",
                "SELECT @a, @b, @c, @a = -1.2345678901234567e-10 FROM t WHERE a = 93 FOR UPDATE",
                "SELECT id, a INTO @d, @e FROM t WHERE a = 93",
                "SET @f = NULL, @g = REPEAT('x', 40), @h = ''",
                "SELECT @d > 0, @e, @f, @g, @h FROM t WHERE a = 93 FOR UPDATE",
            ])),
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
            "a SET that fails halfway has set what stands before the variable that it may not set",
            script(queries(&[
                "SET sql_select_limit = 2, @@max_error_count = DEFAULT",
                "SELECT id FROM t ORDER BY id",
                "SELECT id FROM t ORDER BY id FOR UPDATE",
                "SET SESSION sql_select_limit = 1, @a = (SELECT id FROM t LIMIT 2)",
                "SELECT id FROM t ORDER BY id",
                "SELECT id FROM t ORDER BY id FOR UPDATE",
                "SET @@sql_select_limit = 3, @a = (SELECT id FROM t LIMIT 2)",
                "SELECT id FROM t ORDER BY id",
                "SELECT id FROM t ORDER BY id FOR UPDATE",
                "SET sql_select_limit = 1, lc_time_names = 'no_ONE'",
                "SELECT id FROM t ORDER BY id",
                "BEGIN",
                "SELECT id FROM t ORDER BY id FOR UPDATE",
                "SET sql_select_limit = 3, @@max_error_count = DEFAULT",
                "SELECT id FROM t ORDER BY id FOR UPDATE",
                "COMMIT",
                "SELECT id FROM t ORDER BY id",
                "SELECT id FROM t ORDER BY id FOR UPDATE",
            ])),
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
            "a ROLLBACK tells what a SET has set that failed halfway",
            script(queries(&[
                "BEGIN",
                "SELECT id FROM t WHERE id = 1 FOR UPDATE",
                "SET sql_select_limit = 2, @@max_error_count = DEFAULT",
                "ROLLBACK",
                "SELECT id FROM t ORDER BY id",
                "SELECT id FROM t ORDER BY id FOR UPDATE",
            ])),
        ),
        (
            "several results of a CALL are those of one statement",
            script(queries(&[
                "CREATE PROCEDURE shows_two() BEGIN SELECT 1; SELECT 2 UNION SELECT 3; END",
                "CALL shows_two(); UPDATE t SET a = 8 WHERE id IN (1, 2); GET DIAGNOSTICS @n = NUMBER",
                "SELECT ROW_COUNT()",
                "SET @@net_read_timeout = 50",
                "BEGIN",
                "SELECT id FROM t WHERE id = 1 FOR UPDATE",
                "CALL shows_two()",
                "SELECT FOUND_ROWS()",
                "COMMIT",
            ])),
        ),
        (
            "tracking is asked about in a session with a collation of a wide character set",
            script(queries(&[
                "SET collation_connection = utf16_general_ci",
                "BEGIN",
                "SELECT id FROM t WHERE id = 1 FOR UPDATE",
                "SELECT @@session_track_schema",
                "COMMIT",
            ])),
        ),
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
            "what loads a table has no conditions from before on MariaDB, though it is prepared only",
            script(vec![
                query("SELEC 1"),
                prepare("LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, b)"),
                query("SHOW WARNINGS"),
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
            "MariaDB reports nothing of what is set without a scope",
            script(queries(&[
                "SET @@sql_mode = 'ANSI_QUOTES'",
                "SELECT @@sql_mode, \"id\" FROM t",
                "SET sql_notes = 0, @@sort_buffer_size = 100, @@sql_mode = ''",
                "SELECT @@sql_notes, @@sort_buffer_size, @@sql_mode",
                "SET @@wait_timeout = 77; SET @@max_sort_length = 8",
                "SELECT @@wait_timeout, @@max_sort_length",
                "SET @@autocommit = 0",
                "SELECT @@autocommit",
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
            "SHOW VARIABLES tells of the insert id",
            script(queries(&[
                "INSERT INTO t (a) VALUES (9)",
                "SHOW VARIABLES LIKE '%identity'",
                "SHOW VARIABLES WHERE Variable_name = 'last_insert_id'",
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
            "what a routine sets without a scope is the session's",
            script(queries(&[
                "SET max_sort_length = 64",
                "CALL silent(16)",
                "SELECT @@lc_time_names, @@max_sort_length, @@default_week_format",
                "SELECT quiet(3), WEEK('2024-03-05')",
                "SELECT @@lc_time_names, @@max_sort_length, @@default_week_format",
                "CALL silent(1024)",
                "SELECT @@lc_time_names, @@max_sort_length, @@default_week_format",
                "BEGIN",
                "SELECT quiet(0) FROM t",
                "CALL silent(32)",
                "SELECT @@max_sort_length",
                "COMMIT",
                "SELECT @@lc_time_names, @@max_sort_length, @@default_week_format",
                "CALL silent(1 + 'x')",
                "SHOW WARNINGS",
                "CALL silent(-1)",
                "SHOW WARNINGS",
                "SELECT @@lc_time_names, @@max_sort_length, @@default_week_format",
            ])),
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
            "a comment that is no statement has counted no rows",
            script(queries(&[
                "CALL begins()",
                "/* nothing */",
                "SELECT ROW_COUNT(), LAST_INSERT_ID()",
                "ROLLBACK",
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
            "a statement that was prepared before what no transaction can set",
            script(vec![
                prepare("SELECT id, b FROM t WHERE a > ? ORDER BY id LIMIT 3"),
                Step::Query("SET explicit_defaults_for_timestamp = 1".into()),
                Step::Query("START TRANSACTION WITH CONSISTENT SNAPSHOT".into()),
                execute(&[Value::Integer(1)]),
            ]),
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
            "LOAD DATA finds no rows",
            script(queries(&[
                "ROLLBACK; SELECT * FROM seen ORDER BY id",
                "LOAD DATA LOCAL INFILE 'any' INTO TABLE t (a, b); UPDATE t SET a = FOUND_ROWS() WHERE id = 1",
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
            "a cursor has found its rows",
            script(vec![
                prepare("SELECT * FROM t WHERE id < ? ORDER BY id"),
                with_cursor(&[Value::Integer(4)]),
                query("SELECT FOUND_ROWS()"),
            ]),
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
            "what the client has seen is not answered again",
            script(queries(&[
                "SELECT 2; SELECT missing FROM t; SELECT -1",
                "SELECT 2; SELECT * FROM missing.t",
                "SELECT 3",
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
            "a schema stays with the session that has selected it",
            without_schema(),
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
    ]
}

/// One session, whose connection changes after each step.
fn script(steps: Vec<Step>) -> Script {
    let steps = steps
        .into_iter()
        .flat_map(|step| [(0, step), (0, Step::Swap)]);
    Script {
        actors: vec![actor("one", true)],
        steps: steps.collect(),
    }
}

/// One session with a collation of a wide character set, and one whose variables are to be set on the
/// connection that it gives back.
fn wide_collation() -> Script {
    const WRITE: &str = "INSERT INTO t (a) VALUES (91)";
    let texts = [
        (0, "SET collation_connection = utf16_general_ci"),
        (0, "SET time_zone = '+03:00', lc_time_names = 'de_DE'"),
        (1, "SET sql_mode = 'ANSI', time_zone = '+05:00'"),
        (0, WRITE),
        (1, WRITE),
        (0, "SET character_set_connection = ucs2"),
        (0, WRITE),
        (1, WRITE),
        (
            1,
            "SELECT @@sql_mode, @@time_zone FROM t WHERE id = 1 FOR UPDATE",
        ),
        (0, "SELECT @@lc_time_names FROM t WHERE id = 1 FOR UPDATE"),
    ];
    let steps = texts
        .iter()
        .map(|(actor, text)| (*actor, Step::Query((*text).into())));
    Script {
        actors: vec![actor("one", true), actor("two", true)],
        steps: steps.collect(),
    }
}

fn without_schema() -> Script {
    let texts = [
        (0, "BEGIN"),
        (0, "SELECT a FROM one.t WHERE id = 1 FOR UPDATE"),
        (0, "USE one"),
        (0, "COMMIT RELEASE"),
        (1, "ANALYZE TABLE t"),
    ];
    let steps = texts
        .iter()
        .map(|(actor, text)| (*actor, Step::Query((*text).into())));
    Script {
        actors: vec![actor("one", false), actor("two", false)],
        steps: steps.collect(),
    }
}

fn actor(schema: &'static str, selects_schema: bool) -> Actor {
    Actor {
        capabilities: USUAL | Capabilities::MULTI_STATEMENTS,
        collation: 45,
        schema,
        selects_schema,
    }
}
