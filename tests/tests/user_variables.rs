//! User variables: their values follow a session from one backend connection to the next, keep
//! none of them, and are in nobody else's session.

#![allow(clippy::unwrap_used)]

use isthmus_lab::Flavor;
use isthmus_tests::beside::{Seen, holds, see, value};
use isthmus_tests::rig::Rig;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

/// One connection to each server: a session that kept one would stop all others.
const NARROW: &str = "[pool]\nmax_connections = 1\nborrow_timeout = \"1s\"";

/// A session that sets the same variables to something else, on both connections, and finds its
/// own ever after.
struct Saboteur(Conn);

impl Saboteur {
    async fn new(rig: &Rig) -> Self {
        let mut session = rig.connect().await;
        session
            .query_drop("SET @a = 'sabotage', @b = 0.1e0, @Mine = 7")
            .await
            .unwrap();
        Self(session)
    }

    async fn act(&mut self) {
        for hint in ["", "/* isthmus:writer */ "] {
            let seen: Option<(String, f64, u64, Option<u64>)> = self
                .0
                .query_first(format!("{hint}SELECT @a, @b, @mine, @theirs"))
                .await
                .unwrap();
            assert_eq!(seen, Some(("sabotage".into(), 0.1, 7, None)));
        }
    }
}

/// Runs the statements on a direct connection and through the proxy, with the saboteur in between.
async fn same(rig: &Rig, statements: &[&str]) {
    let (mut direct, mut session) = (rig.direct_writer().await, rig.connect().await);
    let mut saboteur = Saboteur::new(rig).await;
    for statement in statements {
        let expected = see(&mut direct, statement).await;
        let seen = see(&mut session, statement).await;
        // The proxy puts its value in place of the function, which MySQL warns of.
        match (&seen, &expected) {
            (Seen::Done(..), Seen::Done(..)) if statement.contains("FOUND_ROWS") => {}
            (Seen::Rows(_, seen), Seen::Rows(_, expected)) if statement.starts_with("SHOW") => {
                assert_eq!(seen, expected, "{statement}");
            }
            _ => assert_eq!(seen, expected, "{statement}"),
        }
        assert_eq!(holds(&mut session).await, [""; 0], "{statement}");
        if matches!(expected, Seen::Done(..)) {
            // So that a reader has what a write left.
            rig.lab.wait_caught_up().await.unwrap();
        }
        saboteur.act().await;
    }
}

const VALUES: [&str; 32] = [
    "5",
    "-5",
    "0",
    "18446744073709551615",
    "CAST(5 AS UNSIGNED)",
    "-9223372036854775808",
    "1.50",
    "5.",
    "-0.5",
    "123456789012345678901234567890",
    "1.5e0",
    "0.1e0 + 0.2e0",
    "-1e300",
    "1e-7",
    "5e0",
    "'it''s \\\\ and a quote'",
    "''",
    "_latin1 x'e9' COLLATE latin1_german1_ci",
    "_utf8mb4 x'f09f9880' COLLATE utf8mb4_bin",
    "_utf16 x'0061'",
    "x'00ff27'",
    "b'101'",
    "NULL",
    "0e0",
    "NULL",
    "'a' COLLATE utf8mb4_bin",
    "NULL",
    "CAST(NULL AS SIGNED)",
    "CAST(NULL AS DECIMAL)",
    "NULL + 0e0",
    "@@sql_mode",
    "TIMESTAMP'2001-02-03 04:05:06.789'",
];

async fn values_are_carried_exactly(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    let (mut direct, mut session) = (rig.direct_writer().await, rig.connect().await);
    let mut saboteur = Saboteur::new(&rig).await;
    for expression in VALUES {
        for name in ["a", "`b c`"] {
            let set = format!("SET @{name} = {expression}");
            assert_eq!(see(&mut session, &set).await, see(&mut direct, &set).await);
            for hint in ["", "/* isthmus:writer */ "] {
                saboteur.act().await;
                let question = format!(
                    "{hint}SELECT @{name}, HEX(@{name}), CHARSET(@{name}), COLLATION(@{name}), COERCIBILITY(@{name}), @{name} IS NULL"
                );
                let expected = see(&mut direct, &question).await;
                assert_eq!(see(&mut session, &question).await, expected, "{set}");
            }
            assert_eq!(holds(&mut session).await, [""; 0], "{set}");
        }
    }
}

#[tokio::test]
async fn values_are_carried_exactly_on_mysql() {
    values_are_carried_exactly(Flavor::Mysql).await;
}

#[tokio::test]
async fn values_are_carried_exactly_on_mariadb() {
    values_are_carried_exactly(Flavor::Mariadb).await;
}

async fn assignments_of_every_kind_share(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    rig.prepare_data(&[
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT)",
        "CREATE TABLE u (id INT AUTO_INCREMENT PRIMARY KEY, a INT) AUTO_INCREMENT = 1000",
        "INSERT INTO t (a) VALUES (10), (20), (30)",
        "CREATE PROCEDURE twice(IN x INT, OUT y INT) SET y = 2 * x",
    ])
    .await;
    same(
        &rig,
        &[
            "SET @a = 1",
            "SET @b := @a, @A = @a + 1",
            "SELECT @a, @A, @b, @never",
            "SELECT COUNT(*), SUM(a) INTO @n, @s FROM t",
            "SET @found = FOUND_ROWS(), @count = ROW_COUNT()",
            "SELECT @found, @count",
            "SELECT @n, @s",
            "SELECT @row := 0",
            "SELECT @row := @row + 1, a FROM t ORDER BY id",
            "SELECT @row",
            "SET @m = (SELECT MAX(a) FROM t)",
            "SELECT @m",
            "INSERT INTO u (a) VALUES (@m), (@row)",
            "SELECT LAST_INSERT_ID() >= 1000, LAST_INSERT_ID() % 2 INTO @id, @even",
            "SELECT @id, @even",
            "INSERT INTO u (a) SELECT @last := a FROM t ORDER BY id",
            "SELECT LAST_INSERT_ID() > 1003 INTO @id",
            "SELECT @id, @last",
            "UPDATE u SET a = a + 1 WHERE id = 1000 AND (@x := id)",
            "SET @count = ROW_COUNT()",
            "SELECT @count, @x",
            "CALL twice(21, @y)",
            "SELECT @y",
            "SELECT 1 / 0, 'x' + 1 INTO @z, @w",
            "SHOW WARNINGS",
            "SELECT @z, @w",
            "SELECT a INTO @many FROM t",
            "SET @count = ROW_COUNT()",
            "SELECT @count, @many",
            "SET @bad = (SELECT a FROM t)",
            "SELECT @bad, @row",
            "SET @nothing = (SELECT a FROM t WHERE id = 0)",
            "SELECT @nothing",
            "SET @OLD_MODE = @@sql_mode, sql_mode = 'ANSI_QUOTES'",
            "SELECT \"a\" FROM t WHERE @\"a\" = 2 LIMIT 1",
            "SET sql_mode = @OLD_MODE",
            "SELECT @@sql_mode = @old_mode",
            "/*!40101 SET @OLD_RESULTS = @@character_set_results, character_set_results = NULL */",
            "/*!40101 SET character_set_results = @OLD_RESULTS */",
            "SELECT @@character_set_results",
            "SET sql_select_limit = 0, @limited = 3",
            "SET sql_select_limit = DEFAULT",
            "SELECT @limited",
            "SELECT nothing",
            "GET DIAGNOSTICS @count = NUMBER",
            "SELECT @count",
            "SELECT @a, 'unset' INTO @b, @c FROM t WHERE id = 0",
            "SELECT @b, @c",
        ],
    )
    .await;
}

#[tokio::test]
async fn assignments_of_every_kind_share_on_mysql() {
    assignments_of_every_kind_share(Flavor::Mysql).await;
}

#[tokio::test]
async fn assignments_of_every_kind_share_on_mariadb() {
    assignments_of_every_kind_share(Flavor::Mariadb).await;
}

async fn assignments_run_where_they_belong(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    for statement in [
        "SELECT name INTO @a FROM sign.post",
        "SET @a = (SELECT name FROM sign.post)",
        "SELECT @a := name FROM sign.post",
    ] {
        // What has read from the writer does not go back to a reader that may be behind.
        let mut session = rig.connect().await;
        session.query_drop(statement).await.unwrap();
        let seen = value(&mut session, "/* isthmus:writer */ SELECT @a").await;
        assert_eq!(seen.as_deref(), Some("reader"), "{statement}");
    }
    let mut session = rig.connect().await;
    session.query_drop("SET @b = 1").await.unwrap();
    let last: Option<Row> = session.query_first("SHOW ISTHMUS LAST").await.unwrap();
    let last = format!("{:?}", last.unwrap());
    assert!(last.contains("virginia"), "{last}");
}

#[tokio::test]
async fn assignments_run_where_they_belong_on_mysql() {
    assignments_run_where_they_belong(Flavor::Mysql).await;
}

#[tokio::test]
async fn assignments_run_where_they_belong_on_mariadb() {
    assignments_run_where_they_belong(Flavor::Mariadb).await;
}

/// Inside of transactions, in several statements at once, and prepared.
async fn assignments_in_other_clothes(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut session = rig.connect().await;
    let mut saboteur = Saboteur::new(&rig).await;

    for end in ["COMMIT", "ROLLBACK"] {
        session.query_drop("SET @a = 0").await.unwrap();
        session.query_drop("BEGIN").await.unwrap();
        session.query_drop("SET @a = @a + 1").await.unwrap();
        session
            .query_drop("INSERT INTO t VALUES (@a := @a + 1)")
            .await
            .unwrap();
        session.query_drop("SELECT 5 INTO @b").await.unwrap();
        session.query_drop(end).await.unwrap();
        assert_eq!(holds(&mut session).await, [""; 0]);
        saboteur.act().await;
        let seen: Option<(u64, u64)> = session.query_first("SELECT @a, @b").await.unwrap();
        assert_eq!(seen, Some((2, 5)), "{end}");
    }

    let rows: Vec<u64> = {
        let mut result = session
            .query_iter("SET @a = 3; SELECT @a; SET @b = @a * 2; SELECT @b")
            .await
            .unwrap();
        let mut rows: Vec<u64> = Vec::new();
        while !result.is_empty() || rows.len() < 2 {
            rows.extend(result.collect::<u64>().await.unwrap());
        }
        rows
    };
    assert_eq!(rows, [3, 6]);
    saboteur.act().await;
    let seen: Option<(u64, u64)> = session.query_first("SELECT @a, @b").await.unwrap();
    assert_eq!(seen, Some((3, 6)));

    session.exec_drop("SET @a = ?", ("bound",)).await.unwrap();
    saboteur.act().await;
    let seen: Option<(String, String)> = session
        .exec_first("SELECT @a, CONCAT(@a, ?)", ("!",))
        .await
        .unwrap();
    assert_eq!(seen, Some(("bound".into(), "bound!".into())));
    session.exec_drop("SELECT ? INTO @b", (17,)).await.unwrap();
    saboteur.act().await;
    assert_eq!(
        value(&mut session, "SELECT @b").await.as_deref(),
        Some("17")
    );
    assert_eq!(holds(&mut session).await, [""; 0]);

    session.query_drop("SET autocommit = 0").await.unwrap();
    session.query_drop("SET @a = 4").await.unwrap();
    session
        .query_drop("INSERT INTO t VALUES (@b := 5)")
        .await
        .unwrap();
    session.query_drop("COMMIT").await.unwrap();
    session.query_drop("SET autocommit = 1").await.unwrap();
    saboteur.act().await;
    let seen: Option<(u64, u64)> = session.query_first("SELECT @a, @b").await.unwrap();
    assert_eq!(seen, Some((4, 5)));

    session.reset().await.unwrap();
    let seen: Option<(Option<u64>, Option<u64>)> =
        session.query_first("SELECT @a, @b").await.unwrap();
    assert_eq!(seen, Some((None, None)));
}

#[tokio::test]
async fn assignments_in_other_clothes_on_mysql() {
    assignments_in_other_clothes(Flavor::Mysql).await;
}

#[tokio::test]
async fn assignments_in_other_clothes_on_mariadb() {
    assignments_in_other_clothes(Flavor::Mariadb).await;
}

/// What cannot be carried keeps its connection, as every other session notices.
async fn what_cannot_be_carried_is_held(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    rig.prepare_data(&["CREATE PROCEDURE hidden() SET @hidden = 1"])
        .await;
    let many: Vec<String> = (0..300)
        .map(|number| format!("@v{number} = {number}"))
        .collect();
    let cases = [
        ("SET @`aé` = 1".to_owned(), "user_variable", "SELECT @`aé`"),
        (
            format!("SET {}", many.join(",")),
            "user_variable",
            "SELECT @v1",
        ),
        (
            "SET @a = (SELECT REPEAT('1', 1100000) FROM sign.post LIMIT 1 FOR UPDATE)".into(),
            "user_variable",
            "SELECT LEFT(@a, 1)",
        ),
        ("CALL hidden()".into(), "unnamed_change", "SELECT @hidden"),
    ];
    for (statement, hold, question) in cases {
        let mut session = rig.connect().await;
        session.query_drop(&statement).await.unwrap();
        let short = &statement[..statement.len().min(40)];
        assert_eq!(holds(&mut session).await, [hold], "{short}");
        assert_eq!(
            value(&mut session, question).await.as_deref(),
            Some("1"),
            "{short}"
        );
        session.reset().await.unwrap();
        assert_eq!(holds(&mut session).await, [""; 0]);
    }
    // Writes could not follow to a reader: the session ends.
    let mut session = rig.connect().await;
    session
        .query_drop("SELECT REPEAT('1', 1100000) INTO @a")
        .await
        .unwrap();
    assert!(session.query_drop("SELECT @a").await.is_err());
    // Nor from its transaction to the writer, which says so in the place of the answer.
    let mut session = rig.connect().await;
    for statement in [
        "START TRANSACTION READ ONLY",
        "SELECT REPEAT('1', 1100000) INTO @a",
    ] {
        session.query_drop(statement).await.unwrap();
    }
    let refused = session.query_drop("CREATE TABLE never (a INT)").await;
    assert!(
        matches!(&refused, Err(mysql_async::Error::Server(error)) if error.code == 1153),
        "{refused:?}"
    );
    assert!(session.query_drop("SELECT 1").await.is_err());
    let mut other = rig.connect().await;
    let seen = value(&mut other, "SELECT LEFT(@a, 1)").await;
    assert_eq!(seen, None);
}

#[tokio::test]
async fn what_cannot_be_carried_is_held_on_mysql() {
    what_cannot_be_carried_is_held(Flavor::Mysql).await;
}

#[tokio::test]
async fn what_cannot_be_carried_is_held_on_mariadb() {
    what_cannot_be_carried_is_held(Flavor::Mariadb).await;
}
