//! Every kind of statement in many spellings, as `isthmus explain` decides it.

use super::lexer::{Lexer, TokenKind};
use super::*;
use crate::explain::{Explained, explain};

fn explained(sql: &[u8], dialect: Dialect) -> Vec<Explained> {
    explain(sql, dialect, &[])
}

fn first(sql: &str) -> Explained {
    explained(sql.as_bytes(), Dialect::default()).remove(0)
}

fn routes(sql: &str) -> Vec<&'static str> {
    explained(sql.as_bytes(), Dialect::default())
        .iter()
        .map(|one| one.route)
        .collect()
}

/// Other ways to write the same statement. Spaces inside quotes are left alone.
fn spellings(sql: &str) -> Vec<String> {
    let spaced = |space: &str| {
        let mut out = String::new();
        let mut quote = None;
        for c in sql.chars() {
            match (c, quote) {
                ('\'' | '"' | '`', None) => quote = Some(c),
                (c, Some(q)) if c == q => quote = None,
                _ => {}
            }
            match (c, quote) {
                (' ', None) => out.push_str(space),
                _ => out.push(c),
            }
        }
        out
    };
    let cased = |lower: bool| -> String {
        let mut quote = None;
        sql.chars()
            .enumerate()
            .map(|(i, c)| {
                match (c, quote) {
                    ('\'' | '"' | '`', None) => quote = Some(c),
                    (c, Some(q)) if c == q => quote = None,
                    _ => {}
                }
                match quote {
                    Some(_) => c,
                    None if lower => c.to_ascii_lowercase(),
                    None if i % 2 == 0 => c.to_ascii_uppercase(),
                    None => c.to_ascii_lowercase(),
                }
            })
            .collect()
    };
    vec![
        sql.to_owned(),
        format!("  \n{sql} ;\n"),
        format!("/* SELECT */ -- x\n# y\n{sql} /* INTO OUTFILE FOR UPDATE */"),
        format!("{sql} -- FOR UPDATE; DROP TABLE t"),
        cased(true),
        cased(false),
        spaced("\n"),
        spaced("\t\r\n "),
        spaced("/* ' */ "),
        spaced(" -- it's\n"),
        spaced(" # \"\n"),
        spaced("/**/ /***/"),
    ]
}

#[test]
fn not_every_definition_is_refused_by_a_read_only_session() {
    let plans = PlanCache::new(16);
    for (sql, is_refused) in [
        ("CREATE TABLE a (b INT)", true),
        ("CREATE OR REPLACE VIEW a AS SELECT 1", true),
        ("CREATE TEMPORARY TABLE a (b INT)", true),
        ("ALTER TABLE a ADD b INT", true),
        ("DROP SCHEMA a", true),
        ("RENAME TABLE a TO b", true),
        ("CREATE UNIQUE INDEX a ON b (c)", true),
        ("GRANT SELECT ON a.* TO b", true),
        ("REVOKE a FROM b", true),
        ("RENAME USER a TO b", false),
        ("ALTER USER a DEFAULT ROLE ALL", false),
        ("CREATE USER a", false),
        ("DROP RESOURCE GROUP a", false),
        ("CREATE DEFINER = a PROCEDURE b() SELECT 1", false),
    ] {
        let plan = plans.plan(sql.as_bytes(), Dialect::default(), false).plan;
        assert_eq!(plan.kind, Kind::Ddl, "{sql}");
        assert_eq!(
            !plan.needs.contains(Needs::RIGHT_STATE),
            is_refused,
            "{sql}"
        );
    }
}

#[test]
fn every_row_in_every_spelling() {
    let mut wrong = Vec::new();
    for (route, statements) in ROWS {
        for statement in *statements {
            for sql in spellings(statement) {
                let found = explained(sql.as_bytes(), Dialect::default());
                if found.len() != 1 || found[0].route != *route {
                    wrong.push(format!("{route}: {sql:?} is {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const ROWS: &[(&str, &[&str])] = &[
    (
        "reader",
        &[
            "SHOW TRIGGERS",
            "SHOW PRIVILEGES",
            "SHOW COLLATION",
            "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
            "SELECT CAST(a AS DATETIME(6)), CONVERT(b, DATETIME(3)) FROM t",
            "SELECT * FROM mysql.user",
            "PREPARE s FROM 'SELECT 1'",
            "SELECT 1",
            "SELECT * FROM t WHERE a = 'FOR UPDATE' AND b = \"INTO OUTFILE\"",
            "WITH a AS (SELECT 1), b (x) AS (SELECT * FROM a) SELECT * FROM b",
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT * FROM c",
            "TABLE t",
            "TABLE t ORDER BY a LIMIT 3",
            "VALUES ROW(1, 2), ROW(3, 4)",
            "(SELECT 1)",
            "((SELECT a FROM t)) UNION (SELECT 2) LIMIT 1",
            "SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3 INTERSECT SELECT 4",
            "SELECT `for`, `update` FROM `for` `update`",
            "SELECT `FOR UPDATE` FROM t",
            "SELECT t.update, t.`into` FROM t",
            "SELECT COUNT(*), MAX(a), IF(a, 1, 2), LEFT(b, 1), REPLACE(c, 'a', 'b'), INSERT(d, 1, 1, 'x') FROM t",
            "SELECT a FROM t WHERE a IN (1, 2) AND EXISTS (SELECT 1) AND b = ANY (SELECT 2) AND NOT (c)",
            "SELECT a FROM t USE INDEX (i) WHERE MATCH (a) AGAINST ('x' IN BOOLEAN MODE)",
            "SELECT SUM(a) OVER (PARTITION BY b ORDER BY c), ROW_NUMBER() OVER w FROM t WINDOW w AS (ORDER BY a)",
            "SELECT CAST(a AS CHAR(10)), CAST(b AS DECIMAL (10, 2)), CONVERT(c USING utf8mb4) FROM t",
            "SELECT * FROM (SELECT 1, 2) AS d (a, b)",
            "SELECT * FROM (SELECT 1, 2) d (a, b)",
            "SELECT * FROM JSON_TABLE('[]', '$[*]' COLUMNS (a VARCHAR(10) PATH '$')) j",
            "select $$",
            "SELECT a MOD 2, b DIV 3, c SOUNDS LIKE 'd' FROM t",
            "SELECT DATE_ADD(NOW(), INTERVAL (1) DAY), SUBSTRING('abc' FROM 1 FOR 2)",
            "SELECT _utf8mb4'x', n'y', x'4D', b'01', 0x4D, 0b1, 1e5, .5, 5.",
            "SELECT SLEEP(0), UUID(), RAND(), BENCHMARK(1, 1)",
            "SELECT LAST_INSERT_ID()",
            "SELECT @@identity, @@last_insert_id",
            "SELECT CONNECTION_ID(), @@pseudo_thread_id",
            "SELECT @a",
            "SELECT a INTO @v, @w FROM t",
            "SELECT a FROM t INTO @v",
            "SELECT @a := 1",
            "SELECT @a:=@a+1 FROM t",
            "SET @a = (SELECT COUNT(*) FROM t)",
            "SELECT @@version_comment LIMIT 1",
            "SELECT @@session.sql_mode, @@global.max_allowed_packet, @@SESSION.`time_zone`",
            "SELECT * FROM information_schema.tables",
            "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1",
            "EXPLAIN SELECT 1",
            "EXPLAIN FORMAT=JSON SELECT 1",
            "DESCRIBE t",
            "DESC t a",
            "DESC (SELECT 1)",
            "EXPLAIN ANALYZE SELECT 1",
            "ANALYZE FORMAT=JSON SELECT 1",
            "ANALYZE SELECT 1",
            "DO 1",
            "DO SLEEP(0), 2",
            "SHOW TABLES",
            "SHOW FULL TABLES FROM d LIKE 'x%'",
            "SHOW COLUMNS FROM t",
            "SHOW FULL FIELDS IN t",
            "SHOW INDEX FROM t",
            "SHOW KEYS FROM t",
            "SHOW CREATE TABLE t",
            "SHOW DATABASES",
            "SHOW FUNCTION STATUS",
            "SHOW PROCEDURE STATUS WHERE Db = 'd'",
            "SHOW TABLE STATUS",
            "SHOW GRANTS FOR 'a'@'%'",
            "SHOW CHARACTER SET",
            "SHOW ENGINES",
            "SHOW VARIABLES",
            "SHOW SESSION VARIABLES LIKE 'sql_mode'",
            "SHOW GLOBAL VARIABLES WHERE Variable_name = 'time_zone' OR Variable_name IN ('a', 'b')",
            "CHECKSUM TABLE t",
            "START TRANSACTION READ ONLY",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            "HELP 'select'",
        ],
    ),
    (
        "writer",
        &[
            "SELECT LASTVAL(s)",
            "SHOW OPEN TABLES",
            "SHOW PROFILE",
            "SHOW PROFILES",
            "SHOW BINLOG EVENTS",
            "SHOW EVENTS",
            "SHOW CREATE EVENT e",
            "SHOW PLUGINS",
            "SELECT status FROM information_schema.EVENTS",
            "CACHE INDEX t IN hot",
            "LOAD INDEX INTO CACHE t",
            "INSTALL PLUGIN p SONAME 'p.so'",
            "UNINSTALL PLUGIN p",
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'h'",
            "CHANGE MASTER TO MASTER_HOST = 'h'",
            "BACKUP LOCK t",
            "BACKUP STAGE START",
            "XA ROLLBACK 'x'",
            "SET STATEMENT max_statement_time = 1 FOR INSERT INTO t VALUES (1)",
            "SELECT @@report_host",
            "SELECT @@last_gtid",
            "SET gtid_next = 'AUTOMATIC'",
            "SET gtid_seq_no = 1",
            "SET gtid_domain_id = 1",
            "SET rand_seed1 = 1",
            "SET rand_seed2 = 1",
            "SET skip_replication = 1",
            "SET pseudo_slave_mode = 1",
            "SET pseudo_replica_mode = 1",
            "SET original_commit_timestamp = 1",
            "SELECT * FROM sys.processlist",
            "SELECT * FROM mysql.slave_master_info",
            "SELECT WAIT_FOR_EXECUTED_GTID_SET('x')",
            "SELECT MASTER_POS_WAIT('f', 1)",
            "SELECT MASTER_GTID_WAIT('0-1-1')",
            "SELECT * FROM information_schema.PROCESSLIST",
            "SELECT * FROM sys.schema_table_statistics",
            "EOF",
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t WHERE a = 1 FOR UPDATE SKIP LOCKED",
            "SELECT * FROM t FOR SHARE OF t NOWAIT",
            "SELECT * FROM t, u FOR UPDATE OF t, u",
            "SELECT * FROM t LOCK IN SHARE MODE",
            "(SELECT * FROM t FOR UPDATE)",
            "((SELECT * FROM t)) UNION (SELECT * FROM u FOR SHARE)",
            "SELECT * FROM (SELECT * FROM t FOR UPDATE) x",
            "WITH a AS (SELECT * FROM t FOR UPDATE) SELECT * FROM a",
            "WITH a AS (SELECT 1) SELECT * FROM a, t FOR UPDATE",
            "SELECT (SELECT a FROM t LOCK IN SHARE MODE)",
            "SELECT 1.FOR UPDATE",
            "SELECT 1 INTO OUTFILE '/tmp/x'",
            "SELECT 1 INTO DUMPFILE '/tmp/x'",
            "SELECT * INTO OUTFILE 'x' FROM t",
            "TABLE t INTO OUTFILE 'x'",
            "SELECT a FROM t FOR UPDATE INTO @v",
            "SELECT @`a\u{e4}` := 1",
            "SELECT f(1)",
            "SELECT d.f(1)",
            "SELECT `abs`(1)",
            "SELECT a, f(a) AS b FROM t",
            "SELECT MAX(a), f(b) AS c FROM t",
            "SELECT * FROM t WHERE a IN (SELECT my_function(b) FROM u)",
            "SELECT COUNT (*) FROM t",
            "SELECT GET_LOCK('a', 1)",
            "SELECT RELEASE_LOCK('a')",
            "SELECT RELEASE_ALL_LOCKS()",
            "SELECT IS_FREE_LOCK('a'), IS_USED_LOCK ('a')",
            "DO GET_LOCK('a', 1)",
            "DO f(1)",
            "SELECT LAST_INSERT_ID(5)",
            "WITH a AS (SELECT 1) UPDATE t, a SET b = 1",
            "WITH a AS (SELECT 1) DELETE FROM t WHERE b IN (SELECT * FROM a)",
            "INSERT INTO t VALUES (1)",
            "INSERT t (a, b) SELECT 1, 2",
            "INSERT INTO t SET a = 1",
            "REPLACE INTO d.t (a) VALUES (1), (2)",
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "LOAD DATA LOCAL INFILE 'x' INTO TABLE t (a, @b) SET c = @b",
            "LOAD XML INFILE 'x' INTO TABLE t",
            "TRUNCATE t",
            "TRUNCATE TABLE t",
            "IMPORT TABLE FROM 'x'",
            "EXPLAIN UPDATE t SET a = 1",
            "DESC DELETE FROM t",
            "EXPLAIN INSERT INTO t VALUES (1)",
            "EXPLAIN SELECT * FROM t FOR UPDATE",
            "EXPLAIN FOR CONNECTION 5",
            "EXPLAIN ANALYZE DELETE FROM t",
            "ANALYZE UPDATE t SET a = 1",
            "CALL p()",
            "CALL d.p(1, @x)",
            "HANDLER t OPEN",
            "HANDLER t READ FIRST",
            "SHOW PROCESSLIST",
            "SHOW FULL PROCESSLIST",
            "SHOW STATUS",
            "SHOW GLOBAL STATUS LIKE 'x'",
            "SHOW ENGINE INNODB STATUS",
            "SHOW BINARY LOGS",
            "SHOW MASTER STATUS",
            "SHOW REPLICA STATUS",
            "SHOW SLAVE STATUS",
            "SHOW ALL SLAVES STATUS",
            "SHOW SOMETHING NEW",
            "SHOW VARIABLES LIKE 'read_only'",
            "SHOW GLOBAL VARIABLES LIKE 'gtid%'",
            "SHOW VARIABLES LIKE '%read\\_only'",
            "SHOW VARIABLES WHERE Variable_name = 'server_uuid'",
            "SHOW VARIABLES LIKE 'aurora_version'",
            "SHOW VARIABLES LIKE 'read' '_only'",
            "SHOW VARIABLES LIKE '%%%%%server\\_id%%%'",
            "SELECT @@read_only",
            "SELECT @@global.super_read_only, 1",
            "SELECT @@`innodb_read_only`",
            "SELECT @@hostname",
            "SELECT @@aurora_server_id",
            "SELECT @@gtid_executed",
            "SELECT * FROM information_schema.processlist",
            "SELECT * FROM performance_schema.threads",
            "SELECT * FROM `information_schema` . `INNODB_TRX`",
            "SELECT SERVER_ID FROM information_schema.replica_host_status",
            "SELECT MASTER_POS_WAIT('a', 1)",
            "SELECT LOAD_FILE('x')",
            "SELECT NEXTVAL(s)",
            "SELECT NEXT VALUE FOR s",
            "SELECT SETVAL(s, 1)",
            "SELECT PREVIOUS VALUE FOR s",
            "SELECT * FROM t PROCEDURE ANALYSE()",
            "SET GLOBAL max_connections = 5",
            "SET @@global.read_only = 1",
            "SET PERSIST max_connections = 5",
            "SET @@PERSIST_ONLY.max_connections = 5",
            "SET PASSWORD = 'x'",
            "SET PASSWORD FOR 'a'@'%' = 'x'",
            "SET DEFAULT ROLE ALL TO a",
            "SET GLOBAL TRANSACTION READ ONLY",
            "SET @a = @@server_id",
            "SET @a = (SELECT a FROM t FOR UPDATE)",
            "SET @a = (SELECT a FROM t), sql_mode = ''",
            "SET @a = f(1)",
            "SET @`a\u{e4}` = 1",
            "SET sql_mode = f(1)",
            "SET sql_mode = (SELECT a FROM t)",
            "SET sql_log_bin = 0",
            "SET SESSION insert_id = 5",
            "SET timestamp = 1",
            "BEGIN",
            "BEGIN WORK",
            "START TRANSACTION",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            "START TRANSACTION READ WRITE",
            "COMMIT",
            "COMMIT AND CHAIN NO RELEASE",
            "ROLLBACK",
            "SAVEPOINT a",
            "ROLLBACK TO SAVEPOINT a",
            "RELEASE SAVEPOINT a",
            "CREATE TABLE t (a INT)",
            "CREATE TABLE t AS SELECT 1",
            "ALTER TABLE t ADD b INT",
            "DROP TABLE t",
            "RENAME TABLE t TO u",
            "GRANT ALL ON *.* TO a",
            "REVOKE ALL ON *.* FROM a",
            "ANALYZE TABLE t",
            "ANALYZE LOCAL TABLE t",
            "OPTIMIZE TABLE t",
            "REPAIR TABLE t",
            "CHECK TABLE t",
            "FLUSH TABLES",
            "FLUSH TABLES WITH READ LOCK",
            "RESET MASTER",
            "START REPLICA",
            "STOP SLAVE",
            "LOCK TABLES t READ",
            "LOCK TABLE t WRITE",
            "LOCK INSTANCE FOR BACKUP",
            "UNLOCK TABLES",
            "CREATE TEMPORARY TABLE t (a INT)",
            "CREATE OR REPLACE TEMPORARY TABLE t AS SELECT 1",
            "DROP TEMPORARY TABLE t",
            "PREPARE s FROM 'DELETE FROM t'",
            "PREPARE s FROM @v",
            "EXECUTE s",
            "EXECUTE s USING @a",
            "EXECUTE IMMEDIATE 'SELECT 1'",
            "DEALLOCATE PREPARE s",
            "DROP PREPARE s",
            "XA START 'x'",
            "XA BEGIN 'x'",
            "XA END 'x'",
            "XA PREPARE 'x'",
            "XA COMMIT 'x'",
            "XA RECOVER",
            "BINLOG 'x'",
            "PURGE BINARY LOGS TO 'x'",
            "SOMETHING NEW",
            "(UPDATE t SET a = 1)",
        ],
    ),
    (
        "previous",
        &[
            "SELECT ROW_COUNT()",
            "SELECT FOUND_ROWS()",
            "SELECT found_rows ( ), 1",
            "SHOW WARNINGS",
            "SHOW WARNINGS LIMIT 5",
            "SHOW ERRORS",
            "SHOW COUNT(*) WARNINGS",
            "SHOW COUNT(*) ERRORS",
            "GET DIAGNOSTICS @n = NUMBER",
            "GET CURRENT DIAGNOSTICS CONDITION 1 @s = RETURNED_SQLSTATE",
            "SELECT @@warning_count",
            "SELECT @@SESSION.error_count",
        ],
    ),
    (
        "session",
        &[
            "SET @@transaction_isolation = 'SERIALIZABLE'",
            "SET NAMES utf8mb4",
            "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
            "SET CHARACTER SET latin1",
            "SET CHARSET latin1",
            "SET sql_mode = ''",
            "SET SESSION sql_mode = 'ANSI_QUOTES', time_zone = '+00:00'",
            "SET NAMES utf8mb4, @@SESSION.sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), @@SESSION.wait_timeout = 2147483",
            "SET @@local.sql_auto_is_null = 0",
            "SET LOCAL time_zone := '+00:00'",
            "SET autocommit = 0",
            "SET AUTOCOMMIT=1",
            "SET @@session.autocommit = OFF",
            "SET TRANSACTION READ ONLY",
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET SESSION TRANSACTION READ ONLY",
            "SET LOCAL TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET ROLE a",
            "SET ROLE NONE",
            "SET @@transaction_read_only = 1",
            "USE d",
            "USE `d`",
        ],
    ),
    (
        "proxy",
        &[
            "KILL 5",
            "KILL QUERY 5",
            "KILL CONNECTION 5",
            "SHOW ISTHMUS STATUS",
            "SHOW ISTHMUS WEATHER",
            "SELECT @isthmus_token",
            "select @`ISTHMUS_token` ;",
            "SET @isthmus_after = 'x'",
            "set @isthmus_after := \"x\";",
        ],
    ),
    (
        "refused",
        &[
            "SHUTDOWN",
            "RESTART",
            "CLONE LOCAL DATA DIRECTORY = '/x'",
            "SET SESSION AUTHORIZATION a@localhost",
        ],
    ),
];

#[test]
fn begin_opens_what_the_sql_mode_says() {
    for (mode, kind) in [
        ("", Kind::Begin),
        ("PIPES_AS_CONCAT,ORACLE", Kind::Compound),
    ] {
        let dialect = Dialect::from_session(mode.as_bytes(), b"utf8mb4");
        for sql in ["BEGIN", "begin work;", "/* x */ BEGIN"] {
            let plan = PlanCache::new(1).plan(sql.as_bytes(), dialect, false).plan;
            assert_eq!(plan.kind, kind, "{mode}: {sql}");
        }
    }
}

#[test]
fn show_isthmus_has_one_topic() {
    let cases = [
        ("SHOW ISTHMUS STATUS", Some(Topic::Status)),
        ("show /* x */ isthmus\nlast;", Some(Topic::Last)),
        ("SHOW ISTHMUS SESSIONS -- x", Some(Topic::Sessions)),
        ("SHOW ISTHMUS", None),
        ("SHOW ISTHMUS 'STATUS'", None),
        ("SHOW ISTHMUS STATUS LIKE 'x'", None),
        ("SHOW FULL ISTHMUS STATUS", None),
    ];
    for (sql, expected) in cases {
        assert_eq!(topic(sql.as_bytes(), Dialect::default()), expected, "{sql}");
    }
}

#[test]
fn nothing_is_answered_by_the_proxy() {
    for sql in ["", " ", "/* x */", "-- x", "# x", ";", " ; ;", "/**/;"] {
        assert_eq!(routes(sql), ["proxy"], "{sql:?}");
    }
}

#[test]
fn what_no_server_reads_surely_goes_to_the_writer() {
    let statements: &[&[u8]] = &[
        b"SELECT 'abc",
        b"SELECT \"abc",
        b"SELECT `abc",
        b"SELECT 1 /* abc",
        b"SELECT 1 /*!50000 abc",
        b"SELECT 'a\\'",
        b"SELECT 1\0",
        b"SELECT 1 \0 FOR UPDATE",
        b"SELECT 1 -- x\0\n",
        b"SELECT \xff FROM t",
        b"SELECT `a\xc3` FROM t",
        b"SELECT x'4G'",
        b"SELECT $$a$$",
        b"SELECT 1 */ 2",
        b"SELECT 1;; SELECT 2",
        b"SELECT \\x",
    ];
    for sql in statements {
        let found = explained(sql, Dialect::default());
        assert!(
            found.iter().any(|one| one.route == "writer"),
            "{:?}: {found:?}",
            String::from_utf8_lossy(sql)
        );
    }
    assert_eq!(
        explained(b"SELECT '\xff\xfe'", Dialect::default())[0].route,
        "reader"
    );
}

#[test]
fn executable_comments_are_sql() {
    let rows = [
        ("SELECT /*!40001 SQL_NO_CACHE */ * FROM t", "reader"),
        ("SELECT /*!50000 1 */", "reader"),
        ("/*!50000 SELECT 1 */", "reader"),
        (
            "SELECT /*!50000 a */ FROM t /*!80000 USE INDEX (i) */",
            "reader",
        ),
        ("SELECT * FROM t /*! FOR UPDATE */", "writer"),
        ("SELECT * FROM t /*!50000 FOR UPDATE */", "writer"),
        ("SELECT * FROM t /*!99999 FOR UPDATE */", "writer"),
        ("SELECT * FROM t /*M! FOR UPDATE */", "writer"),
        ("SELECT * FROM t /*M!100100 FOR UPDATE */", "writer"),
        (
            "SELECT * FROM t /*!50000 FOR */ /*!80000 UPDATE */",
            "writer",
        ),
        ("SELECT * FROM t FOR /*!50000 UPDATE */", "writer"),
        ("SELECT 1 /*!50000 INTO OUTFILE 'x' */", "writer"),
        ("/*!50000 INSERT INTO t VALUES (1) */", "writer"),
        ("/*!50000 DELETE */ /*! FROM t */", "writer"),
        ("/*!40101 SET NAMES utf8 */", "session"),
        ("SELECT '/*!50000 FOR UPDATE */'", "reader"),
        ("/*!99999 SELECT ' */ DELETE FROM t /*!99999 ' */", "writer"),
        ("SELECT 1 /*!99999 -- */ FOR UPDATE\n*/", "writer"),
        ("SELECT /*!50000 /* inner */ 1 */ + 1", "reader"),
        ("SELECT 1 /* a /* b */", "reader"),
        ("/*! EXPLAIN */ DELETE FROM t", "writer"),
        ("SELECT /*+ NO_INDEX(t) */ 1 /*! , f(1) */", "writer"),
        ("SELECT /*+ MAX_EXECUTION_TIME(1000) */ * FROM t", "reader"),
        (
            "SELECT /*+ QB_NAME(`a*/ FROM t -- `) */ FOR UPDATE",
            "writer",
        ),
        ("/*!50000 BEGIN */", "writer"),
        ("/*!50000 KILL 17 */", "refused"),
        ("/*!50000 SHUTDOWN */", "refused"),
        ("KILL 17 /*!40000 */", "proxy"),
        (
            "SELECT '/*!1 */ /*!40101 */ /*!40103 */ /*!40014 */ /*!40111 */ /*!40000 */'",
            "reader",
        ),
    ];
    for (sql, route) in rows {
        assert_eq!(routes(sql), [route], "{sql}");
    }
    let cache = PlanCache::new(100);
    let plan = |sql: &str| {
        cache
            .plan(sql.as_bytes(), Dialect::default(), false)
            .plan
            .place
    };
    assert_eq!(plan("/*!99999 SELECT ' x ' */"), Place::Reader);
    assert_eq!(
        plan("/*!99999 SELECT ' */ DELETE FROM t /*!99999 ' */"),
        Place::Writer
    );
}

#[test]
fn marks_and_holds() {
    let rows: &[(&str, bool, &[&str])] = &[
        ("SELECT 1", false, &[]),
        ("INSERT INTO t VALUES (1)", true, &[]),
        ("REPLACE t VALUES (1)", true, &[]),
        ("UPDATE t SET a = (@b := 2)", true, &[]),
        ("DELETE FROM t", true, &[]),
        ("LOAD DATA INFILE 'x' INTO TABLE t", true, &[]),
        ("LOAD DATA INFILE 'x' INTO TABLE t (@a)", true, &[]),
        ("TRUNCATE t", true, &[]),
        ("CALL p()", true, &[]),
        ("BEGIN NOT ATOMIC SELECT 1; END", true, &[]),
        ("CREATE TABLE t (a INT)", true, &[]),
        (
            "CREATE TEMPORARY TABLE t (a INT)",
            false,
            &["temporary_table"],
        ),
        ("LOCK TABLES t READ", true, &["table_lock"]),
        ("FLUSH TABLES WITH READ LOCK", true, &["table_lock"]),
        ("FLUSH TABLES t FOR EXPORT", true, &["table_lock"]),
        ("LOCK INSTANCE FOR BACKUP", false, &["instance_lock"]),
        ("SELECT GET_LOCK('a', 1)", false, &["user_lock"]),
        (
            "INSERT INTO t SELECT GET_LOCK('a', 1)",
            true,
            &["user_lock"],
        ),
        ("SELECT 1 INTO @a", false, &[]),
        ("SELECT 1 INTO @a, @`\u{e4}`", false, &["user_variable"]),
        ("SELECT @a := 1", false, &[]),
        ("SET @a = 1", false, &[]),
        ("SET @'a ' = 1", false, &["user_variable"]),
        ("CALL p(@'a\\\"')", true, &["user_variable"]),
        ("SET timestamp = 5", false, &["one_shot"]),
        ("SET RESOURCE GROUP g", false, &["resource_group"]),
        ("SET RESOURCE GROUP `for` FOR 5", false, &[]),
        ("SET TRANSACTION READ ONLY", false, &["next_transaction"]),
        ("HANDLER t OPEN", false, &["handler"]),
        ("XA START 'x'", false, &["xa"]),
        ("PREPARE s FROM @a", false, &["text_prepare"]),
        ("SELECT SQL_CALC_FOUND_ROWS 1", false, &[]),
        ("BEGIN", false, &["transaction"]),
        ("COMMIT", false, &[]),
        ("ROLLBACK", false, &[]),
        ("SELECT NEXTVAL(s)", true, &[]),
        ("SELECT f(1)", true, &[]),
        ("EXPLAIN DELETE FROM t", false, &[]),
        ("EXPLAIN SELECT 1 FROM (SELECT f()) AS d", true, &[]),
        ("EXPLAIN ANALYZE DELETE FROM t", true, &[]),
    ];
    for (sql, marks, holds) in rows {
        let found = first(sql);
        assert_eq!(
            (found.marks, &found.holds[..]),
            (*marks, *holds),
            "{sql}: {found:?}"
        );
    }
}

#[test]
fn a_use_of_the_servers_own_schemas_is_followed() {
    for (sql, expected) in [
        (
            "USE performance_schema; SELECT * FROM threads; SELECT 1; SELECT * FROM app.t",
            &["session", "writer", "reader", "reader"][..],
        ),
        (
            "USE `Information_Schema`; SELECT * FROM PROCESSLIST; SELECT * FROM TABLES; SHOW TABLES; \
             SET @a = (SELECT COUNT(*) FROM PROCESSLIST); SET @a = 1",
            &["session", "writer", "reader", "reader", "writer", "session"],
        ),
        (
            "USE sys; EXPLAIN SELECT * FROM session; USE app; SELECT * FROM session",
            &["session", "writer", "session", "reader"],
        ),
        (
            "USE mysql; SELECT * FROM general_log; SELECT * FROM user",
            &["session", "writer", "reader"],
        ),
    ] {
        assert_eq!(routes(sql), expected, "{sql}");
    }
}

#[test]
fn plans_are_those_of_the_schema() {
    let cache = PlanCache::new(10);
    let place = |dialect| {
        cache
            .plan(b"SELECT * FROM threads", dialect, false)
            .plan
            .place
    };
    let dialect = Dialect::default();
    for (schema, expected) in [
        (None, Place::Reader),
        (Some(&b"performance_schema"[..]), Place::Writer),
        (Some(b"app"), Place::Reader),
    ] {
        assert_eq!(place(dialect.within(schema)), expected);
    }
}

#[test]
fn the_query_of_a_create_table_counts() {
    const ID: Needs = Needs::LAST_INSERT_ID;
    const NONE: Needs = Needs::empty();
    for (sql, needs, functions) in [
        (
            "CREATE TABLE x AS SELECT LAST_INSERT_ID(), f(1)",
            ID,
            &["f"][..],
        ),
        (
            "CREATE TABLE x (a CHAR(5), KEY k (a)) IGNORE (SELECT CONNECTION_ID())",
            Needs::CONNECTION_ID.union(ID),
            &[],
        ),
        (
            "CREATE TEMPORARY TABLE x (KEY k (a)) WITH y (a) AS (SELECT ROW_COUNT()) TABLE y",
            Needs::ROW_COUNT.union(ID),
            &[],
        ),
        ("CREATE TABLE x (a INT DEFAULT (f()), KEY k (a))", NONE, &[]),
        (
            "CREATE TABLE x (a INT) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION p HISTORY)",
            NONE,
            &[],
        ),
        (
            "CREATE TABLE x (a INT) PARTITION BY RANGE (f(a)) (PARTITION p VALUES LESS THAN (1))",
            NONE,
            &[],
        ),
        ("CREATE VIEW v AS SELECT f(LAST_INSERT_ID())", NONE, &[]),
        (
            "CREATE TRIGGER r AFTER INSERT ON t FOR EACH ROW SET @a = f(LAST_INSERT_ID())",
            NONE,
            &[],
        ),
    ] {
        let (text, dialect) = (sql.as_bytes(), Dialect::default());
        let plan = super::read(text, dialect, false).plan(text, dialect);
        let found = plan.needs - Needs::RIGHT_STATE;
        let called: Vec<&str> = plan.unknown_functions.iter().map(String::as_str).collect();
        assert_eq!((found, &called[..]), (needs, functions), "{sql}");
    }
    let text = b"CREATE TABLE IF NOT EXISTS x SELECT RELEASE_ALL_LOCKS()";
    let plan = super::read(text, Dialect::default(), false).plan(text, Dialect::default());
    assert!(plan.releases.is_empty(), "it may not have run");
}

#[test]
fn a_session_walks_through_its_statements() {
    let rows: &[(&str, &[&str])] = &[
        ("SELECT 1; SELECT 2", &["reader", "reader"]),
        (
            "BEGIN; SELECT 1; COMMIT; SELECT 1",
            &["writer", "writer", "writer", "reader"],
        ),
        (
            "BEGIN; INSERT INTO t VALUES (1); ROLLBACK; SELECT 1",
            &["writer", "writer", "writer", "reader"],
        ),
        (
            "START TRANSACTION READ ONLY; SELECT 1; SELECT GET_LOCK('a', 1); SELECT 2; COMMIT",
            &["reader", "reader", "writer", "writer", "writer"],
        ),
        (
            "START TRANSACTION READ ONLY; SELECT 1; COMMIT; SELECT 2",
            &["reader", "reader", "reader", "reader"],
        ),
        (
            "SET TRANSACTION READ ONLY; BEGIN; SELECT 1; COMMIT",
            &["session", "reader", "reader", "reader"],
        ),
        (
            "SET autocommit = 0; SELECT 1; SET autocommit = 1; SELECT 1",
            &["session", "writer", "session", "reader"],
        ),
        (
            "CREATE TEMPORARY TABLE t (a INT); SELECT 1; DROP TEMPORARY TABLE t; SELECT 1",
            &["writer", "writer", "writer", "reader"],
        ),
        (
            "SELECT GET_LOCK('a', 1); SELECT 1; SELECT RELEASE_LOCK('a'); SELECT 1",
            &["writer", "writer", "writer", "reader"],
        ),
        (
            "LOCK TABLES t READ; SELECT 1; UNLOCK TABLES; SELECT 1",
            &["writer", "writer", "writer", "reader"],
        ),
        (
            "HANDLER t OPEN; HANDLER t READ FIRST; SELECT 1; HANDLER t CLOSE; SELECT 1",
            &["writer", "writer", "writer", "writer", "reader"],
        ),
        (
            "PREPARE s FROM 'SELECT 1'; EXECUTE s; DEALLOCATE PREPARE s",
            &["reader", "reader", "proxy"],
        ),
        (
            "PREPARE s FROM 'DELETE FROM t'; EXECUTE s",
            &["writer", "writer"],
        ),
        (
            "PREPARE s FROM 'COMMIT'; BEGIN; EXECUTE s; SELECT 1",
            &["writer", "writer", "writer", "reader"],
        ),
        (
            "PREPARE s FROM @a; EXECUTE s; SELECT 1",
            &["writer", "writer", "writer"],
        ),
        (
            "BEGIN; CREATE TABLE t (a INT); SELECT 1",
            &["writer", "writer", "reader"],
        ),
        (
            "BEGIN NOT ATOMIC SELECT 1; SELECT 2; END; SELECT 3",
            &["writer", "reader"],
        ),
        (
            "CREATE PROCEDURE p() BEGIN IF a THEN SELECT 1; END IF; SELECT CASE 1 WHEN 1 THEN 2 END; END; SELECT 3",
            &["writer", "reader"],
        ),
        (
            "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW IF a THEN SET @b = 1; END IF; SELECT 1",
            &["writer", "reader"],
        ),
        (
            "CREATE PROCEDURE p() SELECT 1; SELECT 2",
            &["writer", "reader"],
        ),
        ("SET @a = 1; SELECT @a", &["session", "reader"]),
        (
            "SELECT ';'; SELECT `;` FROM t; SELECT 1 /* ; */ -- ;",
            &["reader", "reader", "reader"],
        ),
        (
            "SELECT 1; DELETE FROM t; SELECT 2",
            &["reader", "writer", "reader"],
        ),
    ];
    for (sql, expected) in rows {
        assert_eq!(routes(sql), *expected, "{sql}");
    }
    let commit = explained(
        b"BEGIN; INSERT INTO t VALUES (1); COMMIT",
        Dialect::default(),
    );
    assert!(commit[2].marks);
}

#[test]
fn hints_decide_where_the_statement_lets_them() {
    let rows = [
        ("/* isthmus:writer */ SELECT 1", "writer"),
        ("/*isthmus:writer*/SELECT 1", "writer"),
        ("SELECT 1 /* isthmus:writer */", "writer"),
        ("SELECT 1; /* isthmus:writer */", "writer"),
        ("SELECT 1 -- isthmus:writer", "writer"),
        ("# isthmus:writer\nSELECT 1", "writer"),
        ("/* ISTHMUS:Writer */ SELECT 1", "writer"),
        ("/* a */ /* isthmus:writer */ /* b */ SELECT 1", "writer"),
        ("SELECT 1 /* isthmus:fresh */ /* b */", "writer"),
        ("/* isthmus:reader */ SELECT 1", "reader"),
        ("/* isthmus:reader */ INSERT INTO t VALUES (1)", "writer"),
        ("/* isthmus:reader */ SELECT 1 FOR UPDATE", "writer"),
        ("/* isthmus:reader */ SELECT f(1)", "writer"),
        ("SELECT /* isthmus:writer */ 1", "reader"),
        ("SELECT '/* isthmus:writer */'", "reader"),
        ("SELECT 1 /*+ isthmus:writer */", "reader"),
        ("/* isthmus:key=a */ SELECT 1", "reader"),
    ];
    for (sql, route) in rows {
        assert_eq!(routes(sql), [route], "{sql}");
    }
    let cache = PlanCache::new(10);
    let plan = |sql: &str| cache.plan(sql.as_bytes(), Dialect::default(), true);
    let hinted = plan("/* isthmus:reader isthmus:key=42 after=u:1-5,v:3 */ SELECT 1");
    assert_eq!(hinted.hints.target, Some(HintTarget::Reader));
    assert_eq!(hinted.hints.key.as_deref(), Some("42"));
    assert_eq!(hinted.hints.after.as_deref(), Some("u:1-5,v:3"));
    let plain = plan("SELECT 2");
    assert_eq!(plain.key, hinted.key);
    assert!(plain.hints.is_empty());
}

#[test]
fn dialects_change_what_is_read() {
    let dialect =
        |mode: &str, charset: &str| Dialect::from_session(mode.as_bytes(), charset.as_bytes());
    let rows: &[(&str, &str, &[u8], &str)] = &[
        ("", "utf8mb4", b"SELECT \"a\" \"f\"", "reader"),
        (
            "ANSI_QUOTES",
            "utf8mb4",
            b"SELECT \"a\\\" FOR UPDATE -- \"",
            "writer",
        ),
        ("", "utf8mb4", b"SELECT \"a\\\" FOR UPDATE -- \"", "reader"),
        ("ANSI", "utf8mb4", b"SELECT \"f\"(1)", "writer"),
        (
            "NO_BACKSLASH_ESCAPES",
            "utf8mb4",
            b"SELECT 'a\\' FOR UPDATE -- '",
            "writer",
        ),
        ("", "utf8mb4", b"SELECT 'a\\' FOR UPDATE -- '", "reader"),
        (
            "IGNORE_SPACE",
            "utf8mb4",
            b"SELECT COUNT (*) FROM t",
            "reader",
        ),
        ("", "gbk", b"SELECT '\xbf\\' FOR UPDATE -- '", "writer"),
        ("", "gb18030", b"SELECT '\xbf\\' FOR UPDATE -- '", "writer"),
        ("", "big5", b"SELECT '\xa5\\' FOR UPDATE -- '", "writer"),
        ("", "sjis", b"SELECT '\x95\\' FOR UPDATE -- '", "writer"),
        ("", "cp932", b"SELECT '\x95\\' FOR UPDATE -- '", "writer"),
        ("", "latin1", b"SELECT '\xbf\\' FOR UPDATE -- '", "reader"),
        ("", "gbk", b"SELECT '\xbf\\'", "reader"),
        ("", "gbk", b"SELECT `\x81\x60` FROM t", "reader"),
        ("ORACLE", "utf8mb4", b"SELECT s.NEXTVAL FROM DUAL", "writer"),
        ("", "utf8mb4", b"SELECT s.nextval FROM s", "reader"),
        ("", "latin1", b"SELECT 1 FOR\xa0UPDATE", "writer"),
        (
            "",
            "utf8mb4",
            "SELECT größe FROM `straße`".as_bytes(),
            "reader",
        ),
    ];
    for (mode, charset, sql, route) in rows {
        let found = explained(sql, dialect(mode, charset));
        assert_eq!(
            found[0].route,
            *route,
            "{mode} {charset} {:?}",
            String::from_utf8_lossy(sql)
        );
    }
    let within = b"EXECUTE IMMEDIATE 'SELECT `\x95\\`, GET_LOCK(\"a\", 1) FROM `\x95\\`'";
    let found = explained(within, dialect("", "cp932"));
    assert_eq!(found[0].holds, ["user_lock"]);
}

#[test]
fn digests_ignore_what_does_not_matter() {
    let digest = |sql: &str| first(sql).digest;
    let same: &[&[&str]] = &[
        &[
            "SELECT MINE(1)",
            "SELECT mine (1)",
            "SELECT Mine /* of mine */ (1)",
            "SELECT MINE -- of mine\n(1)",
        ],
        &[
            "SELECT 1",
            "select  2",
            "SELECT/**/'x'",
            "SELECT -5",
            "SELECT 1;",
            "SELECT 0x1 -- x",
            "SELECT NULL",
        ],
        &[
            "SELECT a FROM t WHERE b IN (1)",
            "SELECT a FROM t WHERE b IN (1,2,3)",
            "select a from t where b in ('x', -2)",
        ],
        &[
            "INSERT INTO t VALUES (1, 'a')",
            "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, NULL)",
            "insert into t values (-1, ''),(DEFAULT, 2)",
        ],
        &[
            "INSERT INTO t VALUES (NOW(), 1)",
            "INSERT INTO t VALUES (now(), 1), (NOW(), 2)",
        ],
        &[
            "SELECT * FROM t WHERE (a, b) IN ((1, 2))",
            "SELECT * FROM t WHERE (a, b) IN ((1, 2), (3, 4))",
        ],
        &["VALUES ROW(1), ROW(2)", "VALUES ROW(1)"],
        &["SELECT COUNT(*) FROM t", "select count(*) from t"],
        &["BEGIN", "begin", "Begin;"],
        &["SELECT a FROM t LIMIT 5", "SELECT a FROM t LIMIT 10"],
        &["SET NAMES utf8mb4", "set names utf8mb4"],
    ];
    for group in same {
        for sql in *group {
            assert_eq!(digest(sql), digest(group[0]), "{sql} and {}", group[0]);
        }
    }
    let different: &[(&str, &str)] = &[
        ("SELECT a FROM t", "SELECT a FROM T"),
        ("SELECT a FROM t", "SELECT b FROM t"),
        ("SELECT a FROM t", "SELECT a FROM t FOR UPDATE"),
        ("SET autocommit = 0", "SET autocommit = 1"),
        ("SHOW VARIABLES LIKE 'a'", "SHOW VARIABLES LIKE 'read_only'"),
        (
            "PREPARE s FROM 'SELECT 1'",
            "PREPARE s FROM 'DELETE FROM t'",
        ),
        ("SELECT COUNT(*)", "SELECT COUNT (*)"),
        ("SELECT 1", "SELECT /*! 1 */"),
        ("SELECT 1", "SELECT '"),
        ("SELECT a, b", "SELECT ab"),
        ("SELECT `a`", "SELECT 'a'"),
        ("LAST_INSERT_ID()", "LAST_INSERT_ID(1)"),
        ("SELECT t.for", "SELECT t.for update"),
    ];
    for (left, right) in different {
        assert_ne!(digest(left), digest(right), "{left} and {right}");
    }
}

#[test]
fn tables_are_named_where_they_are_known() {
    let rows: &[(&str, Option<&[&str]>)] = &[
        ("SELECT 1", Some(&[])),
        (
            "SELECT * FROM a, d.b JOIN `c` ON 1 WHERE x IN (SELECT y FROM e)",
            Some(&["a", "d.b", "c", "e"]),
        ),
        (
            "WITH x AS (SELECT * FROM a) SELECT * FROM x, b",
            Some(&["a", "b"]),
        ),
        ("WITH x AS (SELECT * FROM x) SELECT * FROM x", None),
        ("INSERT INTO a SELECT * FROM b", Some(&["a", "b"])),
        ("UPDATE a SET b = 1", Some(&["a"])),
        ("DELETE FROM a WHERE b = 1", Some(&["a"])),
        ("SELECT f(a) FROM b", None),
        ("SELECT /*! 1 */ FROM a", None),
        ("SELECT a MOD 2 FROM b", None),
    ];
    for (sql, tables) in rows {
        let found = first(sql).tables;
        let expected =
            tables.map(|names| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expected, "{sql}");
    }
}

#[test]
fn deep_statements_do_not_overflow_the_stack() {
    for sql in [
        format!("SELECT {}1{}", "(".repeat(30_000), ")".repeat(30_000)),
        format!("SELECT 1{}", "+1".repeat(30_000)),
        format!("SELECT {}1", "-".repeat(30_000)),
        format!("SELECT {}1", "NOT ".repeat(15_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(3_000)),
        format!("SELECT {}1{}", "(SELECT ".repeat(18), ")".repeat(18)),
        format!("SELECT * FROM {}t{}", "(".repeat(18), ")".repeat(18)),
        format!(
            "SELECT {}1{}",
            "CASE WHEN 1 THEN ".repeat(3000),
            " END".repeat(3000)
        ),
        format!("SELECT {}1{}", "IF(1,".repeat(19), ",2)".repeat(19)),
    ] {
        assert_eq!(first(&sql).route, "reader", "{}", &sql[..40]);
    }
    let explain = "EXPLAIN ".repeat(10_000);
    assert_eq!(first(&explain).route, "reader");
}

#[test]
fn the_cache_remembers_what_a_reader_refused() {
    let cache = PlanCache::new(10);
    let dialect = Dialect::default();
    let planned = cache.plan(b"SELECT a FROM v", dialect, false);
    assert_eq!(planned.plan.place, Place::Reader);
    cache.remember_writer(&planned);
    assert_eq!(
        cache.plan(b"select  a FROM v", dialect, false).plan.place,
        Place::Writer
    );
    assert_eq!(cache.len(), 1);
}

#[test]
fn several_statements_only_where_the_client_may() {
    let cache = PlanCache::new(10);
    let dialect = Dialect::default();
    let several = |sql: &str| cache.plan(sql.as_bytes(), dialect, true);
    let single = |sql: &str| cache.plan(sql.as_bytes(), dialect, false);
    assert_eq!(several("SELECT 1; SELECT 2").plan.place, Place::Reader);
    assert_eq!(several("SELECT 1; SELECT 2").statements, 2);
    assert_eq!(several("SELECT 1; DELETE FROM t").plan.place, Place::Writer);
    assert!(several("SELECT 1; DELETE FROM t").plan.marks);
    assert_eq!(single("SELECT 1; SELECT 2").plan.place, Place::Writer);
    assert_eq!(single("SELECT 1; -- x").plan.place, Place::Reader);
    assert_eq!(single("SELECT 1;").statements, 1);
    assert_eq!(several(" /* x */ ").statements, 0);
    let combined = several("SET @a = 1; SELECT @a; SET sql_mode = ''").plan;
    assert_eq!(combined.kind, Kind::Script);
    assert_eq!(combined.parts.len(), 3);
    assert_eq!(combined.place, Place::Reader);
    assert_eq!(combined.holds, Holds::empty());
    assert_eq!(combined.variables, ["sql_mode"]);
    assert_eq!(combined.user_variables, ["a"]);
    for sql in ["SELECT 1; KILL 5", "DELETE FROM t; KILL QUERY 5; SELECT 1"] {
        assert_eq!(several(sql).plan.place, Place::Refused, "{sql}");
    }
    assert_ne!(several("KILL 5; SELECT 1").plan.place, Place::Refused);
    // What the literals are made of tells what else there is.
    let plain = several("SET sql_mode = 'NO_BACKSLASH_ESCAPES'; SELECT 'a'").plan;
    assert_eq!(plain.place, Place::Reader);
    let hidden = "SET sql_mode = 'NO_BACKSLASH_ESCAPES'; SELECT 'a\\'; CREATE TEMPORARY TABLE x (i INT); -- '";
    assert_eq!(several(hidden).plan.place, Place::Writer);
    let plain = several("SET `sql_mode` = 'NO_BACKSLASH_ESCAPES'; SELECT 'a'").plan;
    assert_eq!(plain.place, Place::Reader);
    let hidden = "SET `sql_mode` = 'NO_BACKSLASH_ESCAPES'; SELECT 'a\\'; CREATE TEMPORARY TABLE x (i INT); -- '";
    assert_eq!(several(hidden).plan.place, Place::Writer);
    let hidden = "SET CHAR SET 'gbk'; SELECT 'при'";
    assert_eq!(several(hidden).plan.holds, Holds::UNNAMED_CHANGE);
    let plain = "SET NAMES 'utf8mb4'; SELECT 'при'";
    assert_eq!(several(plain).plan.holds, Holds::empty());
    let hidden = "SET NAMES 'gbk'; SELECT 'при'";
    assert_eq!(several(hidden).plan.holds, Holds::UNNAMED_CHANGE);
    let writes = several("SET autocommit = 0; SELECT 1").plan;
    assert_eq!(writes.place, Place::Writer);
}

#[test]
fn assigned_user_variables_are_known_by_name() {
    let rows: &[(&str, &[&str])] = &[
        ("SELECT @a", &[]),
        ("SET @A = 1, @`b c` := @x, @'d.e' = 2", &["a", "b c", "d.e"]),
        (
            "SET @`a``b` = 1, @'it''s' = 2, @\"x`y\" = 3",
            &["a`b", "it's", "x`y"],
        ),
        ("SELECT 1, 2 INTO @a, @b", &["a", "b"]),
        ("SELECT @a := @a + 1, (@b := @c) FROM t", &["a", "b"]),
        ("INSERT INTO t SELECT @a := 1", &["a"]),
        ("UPDATE t SET a = @b := 2", &["b"]),
        ("CREATE TABLE t AS SELECT @a := 1", &["a"]),
        ("LOAD DATA INFILE 'x' INTO TABLE t (a, @b)", &["b"]),
        ("CALL p(1, @a)", &["a"]),
        ("GET DIAGNOSTICS @n = NUMBER", &["n"]),
        ("EXPLAIN FORMAT = JSON INTO @e SELECT 1", &["e"]),
        ("EXECUTE IMMEDIATE 'SELECT 1 INTO @a'", &["a"]),
        ("DO @a := 5", &["a"]),
        ("SET @isthmus_after = 'x'", &[]),
        (
            "/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='' */",
            &["old_sql_mode"],
        ),
    ];
    let cache = PlanCache::new(100);
    for (sql, expected) in rows {
        let plan = cache.plan(sql.as_bytes(), Dialect::default(), false).plan;
        let mut names = plan.user_variables.clone();
        names.sort();
        assert_eq!(names, *expected, "{sql}");
        assert_eq!(plan.holds, Holds::empty(), "{sql}");
    }
}

#[test]
fn each_hold_is_found_by_its_bit() {
    for (index, hold) in Holds::EACH.into_iter().enumerate() {
        assert_eq!(hold.bits(), 1 << index, "{}", hold.name());
    }
    let all = Holds::EACH.into_iter().fold(Holds::empty(), Holds::union);
    assert_eq!(all, Holds::all());
}

#[test]
fn values_of_the_session_are_put_in() {
    let values = Values {
        connection_id: Some(7),
        row_count: Some(-1),
        found_rows: Some(3),
        last_insert_id: None,
        warning_count: Some(0),
        error_count: Some(2),
    };
    let rows: &[(&str, Option<&str>)] = &[
        (
            "SELECT CONNECTION_ID()",
            Some("SELECT IF(1,CAST(7 AS UNSIGNED),CONNECTION_ID()) AS `CONNECTION_ID()`"),
        ),
        (
            "select connection_id ( ), 1",
            Some("select IF(1,CAST(7 AS UNSIGNED),connection_id ( )) AS `connection_id ( )`, 1"),
        ),
        (
            "SELECT 1, ROW_COUNT() FROM t",
            Some("SELECT 1, IF(1,-1,ROW_COUNT()) AS `ROW_COUNT()` FROM t"),
        ),
        (
            "SELECT FOUND_ROWS() AS n",
            Some("SELECT IF(1,3,FOUND_ROWS()) AS n"),
        ),
        (
            "SELECT FOUND_ROWS() n",
            Some("SELECT IF(1,3,FOUND_ROWS()) n"),
        ),
        (
            "SELECT FOUND_ROWS() + 1",
            Some("SELECT IF(1,3,FOUND_ROWS()) + 1"),
        ),
        (
            "SELECT 1 + FOUND_ROWS()",
            Some("SELECT 1 + IF(1,3,FOUND_ROWS())"),
        ),
        (
            "SELECT @@warning_count, @@session.error_count;",
            Some(
                "SELECT IF(1,CAST(0 AS UNSIGNED),@@warning_count) AS `@@warning_count`, IF(1,CAST(2 AS UNSIGNED),@@session.error_count) AS `@@session.error_count`;",
            ),
        ),
        (
            "SELECT @@pseudo_thread_id",
            Some("SELECT IF(1,CAST(7 AS UNSIGNED),@@pseudo_thread_id) AS `@@pseudo_thread_id`"),
        ),
        (
            "SELECT a FROM t WHERE b = CONNECTION_ID()",
            Some("SELECT a FROM t WHERE b = IF(1,CAST(7 AS UNSIGNED),CONNECTION_ID())"),
        ),
        (
            "DO ROW_COUNT(); SELECT ROW_COUNT(), CONNECTION_ID()",
            Some(
                "DO IF(1,-1,ROW_COUNT()); SELECT ROW_COUNT(), IF(1,CAST(7 AS UNSIGNED),CONNECTION_ID()) AS `CONNECTION_ID()`",
            ),
        ),
        ("SELECT 'CONNECTION_ID()'", None),
        ("SELECT `CONNECTION_ID`", None),
        ("SELECT d.CONNECTION_ID()", None),
        ("SELECT LAST_INSERT_ID()", None),
        ("SET @@pseudo_thread_id = 5", None),
        ("SELECT CONNECTION_ID() /* x", None),
        ("SELECT 1", None),
        (
            "SELECT MAX(ROW_COUNT())",
            Some("SELECT MAX(IF(1,-1,ROW_COUNT()))"),
        ),
        (
            "COMMIT; UPDATE t SET a = FOUND_ROWS(); SET @a = FOUND_ROWS()",
            Some("COMMIT; UPDATE t SET a = IF(1,3,FOUND_ROWS()); SET @a = FOUND_ROWS()"),
        ),
        (
            "SELECT a FROM t ORDER BY b, FOUND_ROWS()",
            Some("SELECT a FROM t ORDER BY b, IF(1,3,FOUND_ROWS())"),
        ),
    ];
    for (sql, expected) in rows {
        let found = substitute(sql.as_bytes(), Dialect::default(), &values, false);
        let found = found.map(|sql| String::from_utf8(sql).unwrap());
        assert_eq!(found.as_deref(), *expected, "{sql}");
    }
}

#[test]
fn explained_statements_are_printed() {
    let text = crate::explain::text(&explained(
        b"SELECT 1; INSERT INTO t VALUES (1)",
        Dialect::default(),
    ));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("SELECT 1"));
    assert_eq!(
        lines.next(),
        Some("  route   reader: a read, which a reader can answer")
    );
    assert!(text.contains("\n\nINSERT INTO t VALUES (1)\n  route   writer: it writes\n"));
}

#[test]
fn functions_that_the_configuration_allows_are_read() {
    let allowed = ["f".to_owned(), "d.g".to_owned()];
    for (sql, route) in [
        ("SELECT F(1)", "reader"),
        ("SELECT d.G(1), x.f(2)", "reader"),
        ("SELECT e.g(1)", "writer"),
        ("SELECT f(1), h(1)", "writer"),
        ("SELECT f(1) FOR UPDATE", "writer"),
        ("SELECT f(1), ROW_COUNT()", "writer"),
    ] {
        let found = explain(sql.as_bytes(), Dialect::default(), &allowed);
        assert_eq!(found[0].route, route, "{sql}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const SOUP: &[&str] = &[
        "SELECT",
        "FROM",
        "t",
        "`t`",
        "'x'",
        "\"y\"",
        "1",
        "-1",
        "0x1F",
        "1e5",
        "(",
        ")",
        ",",
        ";",
        ".",
        "*",
        "/*",
        "*/",
        "/*!",
        "/*!50000",
        "/*M!",
        "/*!99999",
        "--",
        "-- ",
        "#",
        "\n",
        "@a",
        "@@x",
        ":=",
        "=",
        "FOR",
        "UPDATE",
        "INTO",
        "OUTFILE",
        "SET",
        "BEGIN",
        "END",
        "WITH",
        "AS",
        "EXPLAIN",
        "INSERT",
        "VALUES",
        "IN",
        "SHOW",
        "VARIABLES",
        "LIKE",
        "PREPARE",
        "EXECUTE",
        "'",
        "\"",
        "`",
        "\\",
        "\0",
        "count",
        "f",
        "NULL",
        "DEFAULT",
        "/*+",
        "CREATE",
        "PROCEDURE",
        "IF",
        "CASE",
        "?",
        "/* isthmus:writer */",
        "é",
        "UNION",
        "LAST_INSERT_ID",
        "autocommit",
        "STATEMENT",
        "ROW",
    ];

    fn soup() -> impl Strategy<Value = String> {
        let word = (proptest::sample::select(SOUP), any::<bool>());
        proptest::collection::vec(word, 0..40).prop_map(|words| {
            words
                .into_iter()
                .map(|(word, space)| {
                    if space {
                        format!("{word} ")
                    } else {
                        word.to_owned()
                    }
                })
                .collect()
        })
    }

    fn dialect() -> impl Strategy<Value = Dialect> {
        let charset = proptest::sample::select(
            &[
                Charset::Utf8,
                Charset::SingleByte,
                Charset::Big5,
                Charset::Gbk,
                Charset::Gb18030,
                Charset::Sjis,
            ][..],
        );
        (any::<[bool; 4]>(), charset).prop_map(
            |(
                [
                    ansi_quotes,
                    no_backslash_escapes,
                    ignore_space,
                    begin_opens_block,
                ],
                charset,
            )| Dialect {
                ansi_quotes,
                no_backslash_escapes,
                ignore_space,
                begin_opens_block,
                charset,
                own_schema: None,
            },
        )
    }

    fn read_everything(sql: &[u8], dialect: Dialect) -> Result<(), TestCaseError> {
        let explained = explain(sql, dialect, &[]);
        prop_assert!(!explained.is_empty());
        crate::explain::text(&explained);
        let cache = PlanCache::new(10);
        for multi in [false, true] {
            let planned = cache.plan(sql, dialect, multi);
            prop_assert_eq!(planned.plan, cache.plan(sql, dialect, multi).plan);
        }
        substitute(
            sql,
            dialect,
            &Values {
                connection_id: Some(1),
                ..Values::default()
            },
            false,
        );
        Ok(())
    }

    /// The words of a text, with this between each two; nothing where it is not certain what they are.
    fn joined(sql: &[u8], between: &[u8]) -> Vec<u8> {
        use TokenKind::{ExecutableEnd, ExecutableStart, Hint};
        let mut lexer = Lexer::new(sql, Dialect::default());
        let words: Vec<_> = lexer
            .by_ref()
            .filter(|token| !matches!(token.kind, ExecutableEnd | ExecutableStart | Hint))
            .map(|token| &sql[token.start..token.end])
            .collect();
        match lexer.doubt() {
            None => words.join(between),
            Some(_) => Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(
            sql in proptest::collection::vec(any::<u8>(), 0..200),
            dialect in dialect(),
        ) {
            read_everything(&sql, dialect)?;
        }

        #[test]
        fn any_words_are_read(sql in soup(), dialect in dialect()) {
            read_everything(sql.as_bytes(), dialect)?;
        }

        #[test]
        fn plans_of_one_digest_are_one_plan(
            words in proptest::collection::vec(
                (proptest::sample::select(SOUP), 0..3usize, 0..3usize),
                0..16,
            ),
            changes in proptest::collection::vec((0..4usize, 0..3usize), 16),
        ) {
            const SPACES: &[&str] = &["", " ", "/* x */"];
            const LITERALS: &[&str] = &["'read_only'", "2", "'a */ b'", "NULL"];
            let render = |changed: bool| -> String {
                let mut sql = String::new();
                for ((word, before, _), (literal, space)) in words.iter().zip(&changes) {
                    let is_literal = matches!(*word, "'x'" | "1" | "0x1F" | "1e5");
                    sql += SPACES[if changed { *space } else { *before }];
                    sql += if changed && is_literal { LITERALS[*literal] } else { word };
                }
                sql
            };
            let (left, right) = (render(false), render(true));
            let cache = PlanCache::new(10);
            let dialect = Dialect::default();
            let key = |sql: &str| cache.plan(sql.as_bytes(), dialect, true).key;
            if key(&left) == key(&right) {
                let plan = |sql: &str| {
                    let plan = read(sql.as_bytes(), dialect, true).plan(sql.as_bytes(), dialect);
                    (plan.place, plan.marks, plan.holds, plan.needs, plan.transaction.clone())
                };
                prop_assert_eq!(plan(&left), plan(&right), "{:?} and {:?}", left, right);
            }
        }

        #[test]
        fn literals_comments_and_spaces_do_not_change_the_digest(
            number in 0u32..1_000_000,
            string in "[a-z;/* -]{0,12}",
            space in "[ \t\n]{1,3}",
            comment in "[a-z' ]{0,8}",
            list in proptest::collection::vec(0u32..100, 1..6),
        ) {
            let list: Vec<_> = list.iter().map(ToString::to_string).collect();
            let sql = format!(
                "SELECT{space}a/*{comment}*/ FROM t WHERE b = {number} AND c = '{string}'{space}AND d IN ({}) -- {comment}",
                list.join(",")
            );
            prop_assert_eq!(
                first(&sql).digest,
                first("select a from t where b = 1 and c = 'x' and d in (1)").digest
            );
        }

        #[test]
        fn any_bytes_have_one_digest_however_they_are_spaced_and_commented(
            sql in proptest::collection::vec(any::<u8>(), 0..120),
            words in soup(),
        ) {
            for sql in [&sql[..], words.as_bytes()] {
                let digests = |between: &[u8]| -> Vec<_> {
                    let explained = explained(&joined(sql, between), Dialect::default());
                    explained.into_iter().map(|one| one.digest).collect()
                };
                prop_assert_eq!(digests(b" "), digests(b"\n/* it's */\t"), "{:?}", sql);
            }
        }

        #[test]
        fn a_lock_or_a_file_is_never_read_by_a_reader(
            before in proptest::collection::vec(proptest::sample::select(&[
                "a", "(", ")", ",", "'x;'", "`q`", "1", "/* c */", "/*!50000", "-- '\n", "\n", "JOIN", "t.b", "=", "IN", "UNION", "SELECT", "\"FOR\"",
            ][..]), 0..20),
            lock in proptest::sample::select(&[
                "FOR UPDATE", "for/**/share", "FOR\n-- x\nUPDATE", "LOCK IN SHARE MODE", "INTO OUTFILE 'x'", "INTO/*x*/DUMPFILE 'y'", "/*! FOR UPDATE */", "/*M! INTO OUTFILE 'x' */",
            ][..]),
        ) {
            let sql = format!("SELECT {} {lock}", before.join(" "));
            for one in explained(sql.as_bytes(), Dialect::default()) {
                prop_assert_ne!(one.route, "reader", "{}", sql);
            }
        }
    }
}
