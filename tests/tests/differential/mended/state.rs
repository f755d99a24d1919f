//! Variables, character sets and schemas.

use super::{actor, execute, prepare, queries, query, script};
use crate::script::{Script, Step};

pub(super) fn scripts() -> Vec<(&'static str, Script)> {
    vec![
        (
            "a user variable that MariaDB leaves as no text of its character set",
            script(queries(&[
                "SET @a = _latin1 'é', @b = x'00FF27', @c = DATE '2024-02-29'",
                "SET @b = IF(7 > 2, ABS(-9223372036854775808), 9), @b = 'a b'",
                "SET @a := @a",
                "SELECT HEX(@a), HEX(@b), @c",
            ])),
        ),
        (
            "variables are carried from and to connections whose collation is of a wide character set",
            wide_collation(),
        ),
        (
            "the collation of results is learnt where the connection's own character set is binary",
            script(queries(&[
                "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
                "SET character_set_connection = binary",
                "SET character_set_results = utf8mb4",
                "INSERT INTO t (a, v) VALUES (94, 'x')",
                "SELECT v FROM t WHERE a = 94",
                "SELECT v FROM t WHERE a = 94 FOR UPDATE",
            ])),
        ),
        (
            "what is set before a statement with variables of its own",
            script(queries(&[
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET STATEMENT max_statement_time = 5 FOR SELECT 1",
                "SELECT @@tx_isolation",
                "SELECT a FROM t WHERE id = 1 FOR UPDATE",
                "SELECT @@tx_isolation",
            ])),
        ),
        (
            "a session keeps its variables behind a statement that cannot be prepared any more",
            script(vec![
                prepare("DELETE FROM t WHERE a = CASE WHEN 7 > 3 THEN 'x' ELSE 6 END"),
                query("START TRANSACTION READ ONLY"),
                query("SET @saved = @@sql_mode, sql_mode = 'IGNORE_SPACE'"),
                execute(&[]),
                query("CREATE TABLE IF NOT EXISTS t (id INT)"),
                query("SELECT @@sql_mode"),
            ]),
        ),
        (
            "what a routine has left that fails is the session's",
            script(queries(&[
                "CREATE PROCEDURE made() BEGIN CREATE TEMPORARY TABLE leftover (a INT); SET @left = 7; SIGNAL SQLSTATE '45000'; END",
                "CALL made()",
                "SELECT * FROM leftover",
                "SELECT @left",
                "DROP TABLE leftover",
            ])),
        ),
        (
            "what a routine has left that fails as if it were not there",
            script(queries(&[
                "CREATE PROCEDURE made() BEGIN CREATE TEMPORARY TABLE leftover (a INT); SET @left = 7; CALL missing(); END",
                "CALL made()",
                "SELECT * FROM leftover",
                "SELECT @left",
                "DROP TABLE leftover",
            ])),
        ),
        (
            "the flag of autocommit, however it is switched on",
            script(vec![
                query("SET @@autocommit = 1"),
                Step::Ping,
                query("BEGIN"),
                query("COMMIT"),
                query("USE two"),
                Step::Ping,
            ]),
        ),
        (
            "a routine that fails can have switched autocommit off",
            script(queries(&[
                "CREATE PROCEDURE made() BEGIN SET autocommit = 0; SIGNAL SQLSTATE '45000'; END",
                "CALL made()",
                "SELECT a FROM t WHERE id = 1",
                "UPDATE t SET a = 95 WHERE id = 1",
                "ROLLBACK",
                "SELECT a FROM t WHERE id = 1",
                "COMMIT",
            ])),
        ),
        (
            "what a statement assigns that was prepared from a text with a function of the connection's",
            script(queries(&[
                "PREPARE s FROM 'SELECT CONNECTION_ID() > 0 INTO @id'",
                "EXECUTE s",
                "DEALLOCATE PREPARE s",
                "SELECT @id",
            ])),
        ),
        (
            "what a statement assigns that was prepared from a variable of the transaction",
            script(queries(&[
                "BEGIN",
                "SELECT a FROM t WHERE id = 1 FOR UPDATE",
                "SET @sql = 'SELECT COUNT(*) INTO @n FROM t'",
                "PREPARE s FROM @sql",
                "EXECUTE s",
                "DEALLOCATE PREPARE s",
                "COMMIT",
                "SELECT @n",
            ])),
        ),
        (
            "a session without a schema stays so behind a USE that fails in a transaction",
            Script {
                actors: vec![actor("one", false)],
                steps: [
                    query("BEGIN"),
                    query("USE missing"),
                    query("SELECT DATABASE()"),
                    query("INSERT INTO t (a) VALUES (96)"),
                    query("COMMIT"),
                ]
                .into_iter()
                .map(|step| (0, step))
                .collect(),
            },
        ),
        (
            "a column that is NULL is the one that was inserted last, for those who want that",
            script(queries(&[
                "SET sql_auto_is_null = 1",
                "INSERT INTO t (a) VALUES (97)",
                "SELECT a FROM t WHERE id IS NULL",
            ])),
        ),
        (
            "variables that are set behind those of a single statement",
            script(queries(&[
                "SET STATEMENT max_statement_time = 5 FOR SELECT 1; SET time_zone = '+05:00'",
                "SELECT @@time_zone",
                "SELECT a FROM t WHERE id = 1 FOR UPDATE",
                "SELECT @@time_zone",
            ])),
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
            "a schema stays with the session that has selected it",
            without_schema(),
        ),
    ]
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
