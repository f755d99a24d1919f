//! PREPARE, EXECUTE and DEALLOCATE PREPARE: the session has its statements by name on whatever
//! connection it gets, keeps none of them, and sees nobody else's.

#![allow(clippy::unwrap_used)]

use isthmus_lab::Flavor;
use isthmus_protocol::capabilities::Capabilities;
use isthmus_tests::beside::{Seen, holds, see, value};
use isthmus_tests::rig::Rig;
use isthmus_tests::wire::USUAL;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

/// One connection to each server: a session that kept one would stop all others.
const NARROW: &str = "[pool]\nmax_connections = 1\nborrow_timeout = \"1s\"";

/// A session with a statement of the same name, and many others.
struct Saboteur(Conn, usize);

impl Saboteur {
    async fn new(rig: &Rig) -> Self {
        let mut session = rig.connect().await;
        session
            .query_drop("PREPARE s FROM 'SELECT \\'sabotage\\''")
            .await
            .unwrap();
        Self(session, 0)
    }

    async fn act(&mut self) {
        self.1 += 1;
        for hint in ["", "/* isthmus:writer */ "] {
            let seen = value(&mut self.0, &format!("{hint}EXECUTE s")).await;
            assert_eq!(seen.as_deref(), Some("sabotage"));
            let unknown = see(&mut self.0, &format!("{hint}EXECUTE theirs")).await;
            assert_eq!(unknown, Seen::Error(1243));
            let another = format!("{hint}PREPARE o{0} FROM 'SELECT {0}'", self.1 % 50);
            self.0.query_drop(another).await.unwrap();
        }
    }
}

async fn statements_share(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    let table = "(id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(20))";
    rig.prepare_data(&[
        &format!("CREATE TABLE direct {table}"),
        &format!("CREATE TABLE proxied {table}"),
        "CREATE PROCEDURE twice(IN x INT, OUT y INT) SET y = 2 * x",
    ])
    .await;
    let (mut direct, mut session) = (rig.direct_writer().await, rig.connect().await);
    let mut saboteur = Saboteur::new(&rig).await;
    for statement in [
        "EXECUTE s",
        "DEALLOCATE PREPARE s",
        "PREPARE s FROM 'SELECT ? + 1, \\'it\\'\\'s\\''",
        "PREPARE theirs FROM \"INSERT INTO TABLE_NAME (a) VALUES (?), (?)\"",
        "SET @a = 41, @b = 'b'",
        "EXECUTE s USING @a",
        "execute `S` using @a",
        "EXECUTE s",
        "EXECUTE s USING @a, @b",
        "EXECUTE theirs USING @a, @b",
        "SELECT LAST_INSERT_ID()",
        "EXECUTE theirs USING @b, @b",
        "SELECT LAST_INSERT_ID()",
        "SELECT COUNT(*) FROM TABLE_NAME",
        "PREPARE s FROM 'SELECT COUNT(*) INTO @n FROM TABLE_NAME'",
        "EXECUTE s",
        "SELECT @n",
        "SET @sql = CONCAT('SELECT ', @n, ' + ?, ''x''')",
        "PREPARE fromvariable FROM @sql",
        "SET @sql = 'something else'",
        "EXECUTE fromvariable USING @n",
        "PREPARE s FROM 'SELECT nothing FROM nowhere'",
        "EXECUTE s USING @a",
        "PREPARE s FROM 'SELEC 1'",
        "PREPARE s FROM 'SELECT 1; SELECT 2'",
        "PREPARE s FROM 'SET sql_mode = \\'ANSI_QUOTES\\''",
        "EXECUTE s",
        "SELECT \"id\" FROM TABLE_NAME ORDER BY 1 LIMIT 1",
        "SET sql_mode = DEFAULT",
        "PREPARE s FROM 'SELECT \"id\" FROM TABLE_NAME ORDER BY 1 LIMIT 1'",
        "SET sql_mode = 'ANSI_QUOTES'",
        "EXECUTE s",
        "SET sql_mode = DEFAULT",
        "PREPARE s FROM 'CALL twice(?, @y)'",
        "EXECUTE s USING @a",
        "SELECT @y",
        "PREPARE begin FROM 'SAVEPOINT x'",
        "PREPARE commits FROM 'COMMIT'",
        "BEGIN",
        "EXECUTE theirs USING @a, @b",
        "PREPARE s FROM 'SELECT COUNT(*) FROM TABLE_NAME'",
        "EXECUTE s",
        "EXECUTE commits",
        "EXECUTE s",
        "ALTER TABLE TABLE_NAME ADD b INT DEFAULT 5",
        "PREPARE s FROM 'SELECT * FROM TABLE_NAME ORDER BY 1 LIMIT 1'",
        "EXECUTE s",
        "ALTER TABLE TABLE_NAME ADD c INT DEFAULT 6",
        "EXECUTE s",
        "PREPARE s FROM 'SELECT 1 / 0'",
        "EXECUTE s",
        "SHOW WARNINGS",
        "DEALLOCATE PREPARE theirs",
        "EXECUTE theirs USING @a, @b",
        "DROP PREPARE s",
        "DEALLOCATE PREPARE s",
    ] {
        let expected = see(&mut direct, &statement.replace("TABLE_NAME", "direct")).await;
        let seen = see(&mut session, &statement.replace("TABLE_NAME", "proxied")).await;
        match (&seen, &expected) {
            (Seen::Rows(_, seen), Seen::Rows(_, expected)) if statement.starts_with("SHOW") => {
                assert_eq!(seen, expected, "{statement}");
            }
            _ => assert_eq!(seen, expected, "{statement}"),
        }
        let held = holds(&mut session).await;
        if held.is_empty() {
            saboteur.act().await;
        } else {
            assert_eq!(held, ["transaction"], "{statement}");
        }
    }
}

#[tokio::test]
async fn statements_share_on_mysql() {
    statements_share(Flavor::Mysql).await;
}

#[tokio::test]
async fn statements_share_on_mariadb() {
    statements_share(Flavor::Mariadb).await;
}

async fn executions_run_where_their_text_belongs(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut session = rig.connect().await;
    let mut saboteur = Saboteur::new(&rig).await;
    let read = "PREPARE r FROM 'SELECT name FROM sign.post'";
    let write = "PREPARE w FROM 'INSERT INTO t VALUES (?)'";
    let locks = "PREPARE l FROM 'SELECT name FROM sign.post FOR UPDATE'";
    for statement in [read, write, locks, "SET @a = 1"] {
        session.query_drop(statement).await.unwrap();
    }
    saboteur.act().await;
    assert_eq!(
        value(&mut session, "EXECUTE r").await.as_deref(),
        Some("reader")
    );
    assert_eq!(
        value(&mut session, "EXECUTE l").await.as_deref(),
        Some("writer")
    );
    // On the first execution there, the preparation is in the same write.
    let last: Option<Row> = session.query_first("SHOW ISTHMUS LAST").await.unwrap();
    let last = last.unwrap();
    let trips = last
        .columns_ref()
        .iter()
        .position(|column| column.name_str() == "trips");
    assert_eq!(last.get::<u32, _>(trips.unwrap()), Some(1), "{last:?}");

    session.query_drop("BEGIN").await.unwrap();
    session.query_drop("EXECUTE w USING @a").await.unwrap();
    assert_eq!(
        value(&mut session, "EXECUTE r").await.as_deref(),
        Some("writer")
    );
    session.query_drop("COMMIT").await.unwrap();
    assert_eq!(holds(&mut session).await, [""; 0]);

    // What the proxy does not read is the server's, and held until it is over.
    session
        .query_drop("PREPARE h FROM 'SELECT CONNECTION_ID() > 0'")
        .await
        .unwrap();
    assert_eq!(value(&mut session, "EXECUTE h").await.as_deref(), Some("1"));
    assert_eq!(
        value(&mut session, "EXECUTE l").await.as_deref(),
        Some("writer")
    );
    assert_eq!(holds(&mut session).await, ["text_prepare"]);
    session.query_drop("DEALLOCATE PREPARE h").await.unwrap();
    assert_eq!(holds(&mut session).await, [""; 0]);
    assert_eq!(
        see(&mut session, "PREPARE x FROM 'SHUTDOWN'").await,
        Seen::Error(1235)
    );

    session.reset().await.unwrap();
    assert_eq!(see(&mut session, "EXECUTE r").await, Seen::Error(1243));
}

#[tokio::test]
async fn executions_run_where_their_text_belongs_on_mysql() {
    executions_run_where_their_text_belongs(Flavor::Mysql).await;
}

#[tokio::test]
async fn executions_run_where_their_text_belongs_on_mariadb() {
    executions_run_where_their_text_belongs(Flavor::Mariadb).await;
}

/// A client that sends query attributes, if only that there are none, before every text.
#[tokio::test]
async fn a_client_with_query_attributes_deallocates() {
    let rig = Rig::start(Flavor::Mysql, "").await;
    let [_, mut client] = rig.wires(USUAL | Capabilities::QUERY_ATTRIBUTES).await;
    for statement in [
        "BEGIN",
        "PREPARE s FROM 'SELECT 1'",
        "EXECUTE s",
        "DEALLOCATE PREPARE s",
        "COMMIT",
    ] {
        client.query(statement).await.unwrap().expect_ok();
    }
}

/// A statement whose schema is gone is in nobody's way.
async fn a_schema_that_is_gone(flavor: Flavor) {
    let rig = Rig::start(flavor, "[pool]\nmax_connections = 1").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)", "CREATE PROCEDURE idles() DO 0"])
        .await;
    let mut client = rig.wire().await;
    let (schema, other) = (&rig.schema, format!("{}_gone", rig.schema));
    for statement in [
        format!("CREATE DATABASE {other}"),
        format!("USE {other}"),
        "PREPARE s FROM 'SELECT 1'".into(),
        format!("USE {schema}"),
        format!("DROP DATABASE {other}"),
        "CALL idles()".into(),
        "BEGIN".into(),
        "INSERT INTO t VALUES (1)".into(),
        "CALL idles()".into(),
        "COMMIT".into(),
    ] {
        client.query(&statement).await.unwrap().expect_ok();
    }
    let here = "SELECT CONCAT(DATABASE(), (SELECT COUNT(*) FROM t))";
    let here = client.query(&format!("/* isthmus:writer */ {here}")).await;
    assert_eq!(here.unwrap().value(), format!("{schema}1"));
}

isthmus_tests::on_both! { a_schema_that_is_gone }
