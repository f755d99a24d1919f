//! Variables, character sets and schemas.

use super::{actor, queries, script};
use crate::script::{Script, Step};

pub(super) fn scripts() -> Vec<(&'static str, Script)> {
    vec![
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
