//! Many sessions on few backend connections: each keeps what is its own.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use isthmus_lab::{Flavor, Proxy, Server};
use isthmus_tests::beside::holds;
use isthmus_tests::rig::code;
use isthmus_tests::{Stage, connect, set};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

/// A proxy with so many connections for each server.
async fn narrow_proxy(stage: &Stage, connections: i64) -> Proxy {
    stage
        .another_proxy(|config| {
            set(config, "pool.max_connections", connections);
            set(config, "pool.borrow_timeout", "20s");
        })
        .await
}

async fn sessions(proxy: &Proxy, count: usize) -> Vec<Conn> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(connect(proxy.address(), |options| options).await);
    }
    sessions
}

/// The first value of the first row.
async fn value<T: mysql_async::prelude::FromValue + Send + 'static>(
    session: &mut Conn,
    query: &str,
) -> T {
    let value: Option<T> = session
        .query_first(query)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    value.unwrap_or_else(|| panic!("{query} returns no row"))
}

fn server_error(error: mysql_async::Error) -> mysql_async::ServerError {
    match error {
        mysql_async::Error::Server(error) => error,
        other => panic!("an error of the server was expected: {other}"),
    }
}

/// How many connections a server has from the application's user, by their schema.
async fn connections_in(server: &Server, schema: &str) -> usize {
    let query =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{schema}'");
    server.query_value(query).await.unwrap().unwrap()
}

isthmus_tests::on_each_flavor! {
    async fn conditions_of_several_statements_stay_in_a_transaction(stage) {
        let proxy = narrow_proxy(stage, 1).await;
        let mut session = sessions(&proxy, 1).await.remove(0);
        for sql in ["BEGIN", "SELECT 1 FOR UPDATE", "SELECT 1; SELECT 1 + 'x'", "GET DIAGNOSTICS @number = NUMBER"] {
            session.query_drop(sql).await.unwrap();
        }
        assert_eq!(value::<i64>(&mut session, "SELECT @number").await, 1);
        session.query_drop("COMMIT").await.unwrap();
    }

    async fn many_sessions_use_few_connections(stage) {
        let schema = stage.schema("sharing_many").await;
        let proxy = narrow_proxy(stage, 3).await;
        stage.lab.writer().execute("CREATE TABLE sharing_many.t (id INT AUTO_INCREMENT PRIMARY KEY, who INT)").await.unwrap();
        stage.caught_up().await;

        let mut tasks = Vec::new();
        for who in 0..24_u32 {
            let schema = schema.clone();
            let address = proxy.address();
            tasks.push(tokio::spawn(async move {
                let mut session = connect(address, |options| options.db_name(Some(schema))).await;
                for round in 1..=5_u32 {
                    session.query_drop(format!("INSERT INTO t (who) VALUES ({who})")).await.unwrap();
                    let id: u64 = session.last_insert_id().unwrap();
                    assert_eq!(value::<u64>(&mut session, "SELECT LAST_INSERT_ID()").await, id);
                    assert_eq!(value::<u32>(&mut session, &format!("SELECT COUNT(*) FROM t WHERE who = {who}")).await, round);
                }
                session
            }));
        }
        let mut sessions = Vec::new();
        for task in tasks {
            sessions.push(task.await.unwrap());
        }
        for server in stage.lab.servers() {
            let count = connections_in(server, &schema).await;
            assert!(count <= 3, "{} has {count} connections", server.name());
        }
        assert!(connections_in(stage.lab.writer(), &schema).await > 0, "the count counts nothing");
        assert_eq!(sessions.len(), 24);
    }

    async fn insert_ids_are_the_sessions_own(stage) {
        stage.schema("sharing_ids").await;
        let proxy = narrow_proxy(stage, 1).await;
        let [mut a, mut b]: [Conn; 2] = sessions(&proxy, 2).await.try_into().unwrap();
        a.query_drop("CREATE TABLE sharing_ids.parents (id INT AUTO_INCREMENT PRIMARY KEY)").await.unwrap();
        a.query_drop("CREATE TABLE sharing_ids.children (parent INT)").await.unwrap();
        a.query_drop("CREATE TABLE sharing_ids.others (id INT AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 7000").await.unwrap();
        a.query_drop("INSERT INTO sharing_ids.parents VALUES ()").await.unwrap();
        let parent = a.last_insert_id().unwrap();
        b.query_drop("INSERT INTO sharing_ids.others VALUES ()").await.unwrap();
        a.query_drop("BEGIN").await.unwrap();
        a.query_drop("INSERT INTO sharing_ids.children VALUES (LAST_INSERT_ID())").await.unwrap();
        a.query_drop("COMMIT").await.unwrap();
        assert_eq!(value::<u64>(&mut a, "SELECT parent FROM sharing_ids.children").await, parent);
    }

    async fn warnings_of_an_insert_can_be_read(stage) {
        stage.schema("sharing_warnings").await;
        let proxy = narrow_proxy(stage, 1).await;
        let [mut a, mut b]: [Conn; 2] = sessions(&proxy, 2).await.try_into().unwrap();
        a.query_drop("CREATE TABLE sharing_warnings.t (id INT AUTO_INCREMENT PRIMARY KEY, a INT UNIQUE)").await.unwrap();
        a.query_drop("INSERT IGNORE INTO sharing_warnings.t (a) VALUES (1), (1), (1)").await.unwrap();
        b.query_drop("DO 1").await.unwrap();
        let warnings: Vec<(String, u16, String)> = a.query("SHOW WARNINGS").await.unwrap();
        let codes: Vec<u16> = warnings.iter().map(|(_, code, _)| *code).collect();
        assert_eq!(codes, [1062, 1062]);
    }

    async fn the_next_transaction_is_nobody_elses(stage) {
        stage.schema("sharing_next").await;
        let proxy = narrow_proxy(stage, 1).await;
        let [mut a, mut b]: [Conn; 2] = sessions(&proxy, 2).await.try_into().unwrap();
        b.query_drop("CREATE TABLE sharing_next.t (a INT)").await.unwrap();
        a.query_drop("SET TRANSACTION READ ONLY").await.unwrap();
        a.query_drop("SELECT 1").await.unwrap();
        a.disconnect().await.unwrap();
        b.query_drop("INSERT INTO sharing_next.t VALUES (1)").await.unwrap();
    }

    async fn the_next_transaction_is_held_for_until_it_ends(stage) {
        stage.schema("sharing_next_end").await;
        let proxy = narrow_proxy(stage, 1).await;
        let [mut a, mut b]: [Conn; 2] = sessions(&proxy, 2).await.try_into().unwrap();
        b.query_drop("CREATE TABLE sharing_next_end.t (a INT)").await.unwrap();
        for end in ["COMMIT", "ROLLBACK"] {
            a.query_drop("SET TRANSACTION READ ONLY").await.unwrap();
            assert_eq!(holds(&mut a).await, ["next_transaction"]);
            a.query_drop("BEGIN").await.unwrap();
            let refused = a.query_drop("INSERT INTO sharing_next_end.t VALUES (1)").await;
            assert_eq!(code(refused), 1792);
            a.query_drop(end).await.unwrap();
            assert_eq!(holds(&mut a).await, [""; 0]);
            for session in [&mut b, &mut a] {
                session.query_drop("INSERT INTO sharing_next_end.t VALUES (2)").await.unwrap();
            }
        }
    }

    async fn a_reset_gives_the_character_set_of_a_login_back(stage) {
        let proxy = narrow_proxy(stage, 1).await;
        const NAMES: &str = "SELECT CONCAT_WS(' ', @@character_set_client, @@character_set_results, @@collation_connection)";
        let mut direct = connect(stage.lab.writer().address(), |options| options).await;
        let [mut a]: [Conn; 1] = sessions(&proxy, 1).await.try_into().unwrap();
        for session in [&mut direct, &mut a] {
            session.query_drop("SET NAMES latin2").await.unwrap();
            session.reset().await.unwrap();
        }
        assert_eq!(value::<String>(&mut a, NAMES).await, value::<String>(&mut direct, NAMES).await);
    }

    async fn a_variable_for_one_statement_is_for_that_one(stage) {
        if stage.lab.flavor() == Flavor::Mysql {
            return;
        }
        let proxy = narrow_proxy(stage, 1).await;
        let [mut a]: [Conn; 1] = sessions(&proxy, 1).await.try_into().unwrap();
        a.query_drop("SET STATEMENT sql_mode = 'ANSI_QUOTES' FOR SELECT 1").await.unwrap();
        assert_eq!(value::<String>(&mut a, "SELECT \"a\"").await, "a");
    }

    async fn each_session_keeps_its_state(stage) {
        stage.schema("sharing_state_a").await;
        stage.schema("sharing_state_b").await;
        let proxy = narrow_proxy(stage, 1).await;
        let mut sessions = sessions(&proxy, 6).await;
        for (number, session) in sessions.iter_mut().enumerate() {
            let schema = ["sharing_state_a", "sharing_state_b"][number % 2];
            for statement in [
                format!("SET SESSION time_zone = '+0{number}:00'"),
                format!("SET group_concat_max_len = {}", 2000 + number),
                format!("SET @@SESSION.sql_mode = '{}'", ["ANSI_QUOTES", "STRICT_ALL_TABLES"][number % 2]),
                format!("SET NAMES {}", ["utf8mb4 COLLATE utf8mb4_bin", "latin1", "utf8mb4"][number % 3]),
                format!("USE {schema}"),
            ] {
                session.query_drop(statement).await.unwrap();
            }
        }
        // Reads and, by the hint, what runs on the writer.
        for hint in ["", "/* isthmus:writer */ ", ""] {
            for (number, session) in sessions.iter_mut().enumerate() {
                let query = format!(
                    "{hint}SELECT @@time_zone, @@group_concat_max_len, @@sql_mode, @@character_set_client, DATABASE()"
                );
                let row: Option<(String, u64, String, String, String)> = session.query_first(&query).await.unwrap();
                let expected = (
                    format!("+0{number}:00"),
                    2000 + number as u64,
                    ["ANSI_QUOTES", "STRICT_ALL_TABLES"][number % 2].to_owned(),
                    ["utf8mb4", "latin1", "utf8mb4"][number % 3].to_owned(),
                    ["sharing_state_a", "sharing_state_b"][number % 2].to_owned(),
                );
                assert_eq!(row, Some(expected), "{query}");
                let collation: String = value(session, &format!("{hint}SELECT @@collation_connection")).await;
                assert_eq!(collation.starts_with("utf8mb4_bin"), number % 3 == 0, "{collation}");
            }
        }
    }

    async fn what_frameworks_send_on_connect_does_not_keep_the_connection(stage) {
        let proxy = narrow_proxy(stage, 1).await;
        // As recorded from Rails, Django, SQLAlchemy, Go, Node and Connector/J.
        let greetings: [&[&str]; 6] = [
            &["SET NAMES utf8mb4, @@SESSION.sql_auto_is_null = 0, @@SESSION.wait_timeout = 2147483, \
               @@SESSION.sql_mode = 'STRICT_ALL_TABLES'"],
            &["SET sql_auto_is_null = 0", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET autocommit = 1"],
            &["SET AUTOCOMMIT = 0", "SELECT @@version", "SELECT @@sql_mode", "SELECT @@lower_case_table_names",
              "ROLLBACK", "SET AUTOCOMMIT = 1"],
            &["SET NAMES utf8mb4 COLLATE utf8mb4_general_ci", "SELECT @@max_allowed_packet"],
            &["SET time_zone = '+00:00'"],
            &["/* mysql-connector-j-9.1.0 */SELECT @@session.auto_increment_increment AS auto_increment_increment, \
               @@character_set_client AS character_set_client, @@init_connect AS init_connect, \
               @@interactive_timeout AS interactive_timeout, @@net_write_timeout AS net_write_timeout, \
               @@system_time_zone AS system_time_zone, @@wait_timeout AS wait_timeout",
              "SET character_set_results = NULL", "SET sql_mode = 'STRICT_TRANS_TABLES'"],
        ];
        let mut sessions = sessions(&proxy, greetings.len()).await;
        // Were one of them to keep the only connection, the next would wait in vain.
        for round in 0..2 {
            for (session, greeting) in sessions.iter_mut().zip(greetings) {
                for statement in greeting {
                    session.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
                }
                let one: u32 = value(session, "/* isthmus:writer */ SELECT 1").await;
                assert_eq!(one, 1, "in round {round}");
            }
            for session in &mut sessions {
                let one: u32 = value(session, "SELECT 1").await;
                assert_eq!(one, 1, "in round {round}");
            }
        }
    }

    async fn what_only_one_connection_has_stays_with_its_session(stage) {
        stage.schema("sharing_own").await;
        let proxy = narrow_proxy(stage, 2).await;
        let [mut a, mut b]: [Conn; 2] = sessions(&proxy, 2).await.try_into().unwrap();
        a.query_drop("CREATE TEMPORARY TABLE sharing_own.t (a INT)").await.unwrap();
        a.query_drop("INSERT INTO sharing_own.t VALUES (7)").await.unwrap();
        a.query_drop("SET @mine = 8").await.unwrap();
        for _ in 0..4 {
            let missing = server_error(b.query_drop("SELECT a FROM sharing_own.t").await.unwrap_err());
            assert_eq!((missing.code, missing.state.as_str()), (1146, "42S02"));
            let mine: Option<Option<u32>> = b.query_first("SELECT @mine").await.unwrap();
            assert_eq!(mine, Some(None));
            assert_eq!(value::<u32>(&mut a, "SELECT a FROM sharing_own.t").await, 7);
            assert_eq!(value::<u32>(&mut a, "SELECT @mine").await, 8);
        }
        drop(a);
        // What the session left behind is gone when its connection is lent again.
        for _ in 0..4 {
            let mut c = connect(proxy.address(), |options| options).await;
            c.query_drop("/* isthmus:writer */ SELECT 1").await.unwrap();
            let missing = server_error(c.query_drop("SELECT a FROM sharing_own.t").await.unwrap_err());
            assert_eq!(missing.code, 1146);
            let mine: Option<Option<u32>> = c.query_first("SELECT @mine").await.unwrap();
            assert_eq!(mine, Some(None));
        }
    }

    async fn a_statement_may_ask_about_the_one_before(stage) {
        stage.schema("sharing_before").await;
        let proxy = narrow_proxy(stage, 1).await;
        let [mut a, mut b]: [Conn; 2] = sessions(&proxy, 2).await.try_into().unwrap();
        a.query_drop("CREATE TABLE sharing_before.t (id INT AUTO_INCREMENT PRIMARY KEY, a INT)").await.unwrap();
        for (count, session) in [(3, &mut a), (2, &mut b)] {
            let rows = vec!["(1)"; count].join(",");
            session.query_drop(format!("INSERT INTO sharing_before.t (a) VALUES {rows}")).await.unwrap();
            assert_eq!(session.affected_rows(), count as u64);
        }
        assert_eq!(value::<u64>(&mut a, "SELECT LAST_INSERT_ID()").await, 1);
        assert_eq!(value::<u64>(&mut b, "SELECT LAST_INSERT_ID()").await, 4);

        a.query_drop("UPDATE sharing_before.t SET a = 2").await.unwrap();
        assert_eq!(value::<i64>(&mut a, "SELECT ROW_COUNT()").await, 5);

        let first: u32 = value(&mut b, "SELECT SQL_CALC_FOUND_ROWS id FROM sharing_before.t ORDER BY id LIMIT 1").await;
        assert_eq!((first, value::<u64>(&mut b, "SELECT FOUND_ROWS()").await), (1, 5));

        // The same where the session keeps its connection.
        for (before, after) in [("BEGIN", "ROLLBACK"), ("SET @a = 1", "DO 1")] {
            b.query_drop(before).await.unwrap();
            let _: u32 = value(&mut b, "SELECT SQL_CALC_FOUND_ROWS id FROM sharing_before.t LIMIT 1").await;
            assert_eq!(value::<u64>(&mut b, "SELECT FOUND_ROWS()").await, 5, "after {before}");
            assert_eq!(value::<u64>(&mut b, "SELECT FOUND_ROWS()").await, 1, "after {before}");
            b.query_drop(after).await.unwrap();
        }
        drop(b);

        let _: Option<u32> = a.query_first("SELECT 1 + 'x'").await.unwrap();
        let warnings: Vec<(String, u16, String)> = a.query("SHOW WARNINGS").await.unwrap();
        assert_eq!(warnings.iter().map(|(_, code, _)| *code).collect::<Vec<_>>(), [1292], "{warnings:?}");
    }

    async fn a_transaction_keeps_its_connection_and_others_wait(stage) {
        stage.schema("sharing_wait").await;
        let proxy = stage.another_proxy(|config| {
            set(config, "pool.max_connections", 1);
            set(config, "pool.borrow_timeout", "500ms");
        }).await;
        let [mut a, mut b]: [Conn; 2] = sessions(&proxy, 2).await.try_into().unwrap();
        a.query_drop("CREATE TABLE sharing_wait.t (a INT)").await.unwrap();
        a.query_drop("BEGIN").await.unwrap();
        a.query_drop("INSERT INTO sharing_wait.t VALUES (1)").await.unwrap();

        let refused = server_error(b.query_drop("INSERT INTO sharing_wait.t VALUES (2)").await.unwrap_err());
        assert_eq!(refused.code, 9501, "{refused}");
        assert!(refused.message.contains("Timed-out waiting to acquire database connection"), "{refused}");
        assert_eq!(value::<u32>(&mut b, "SELECT 1").await, 1, "reads go on");

        a.query_drop("COMMIT").await.unwrap();
        b.query_drop("INSERT INTO sharing_wait.t VALUES (3)").await.unwrap();
        let rows: Vec<u32> = stage.lab.writer().query("SELECT a FROM sharing_wait.t ORDER BY a").await.unwrap();
        assert_eq!(rows, [1, 3]);
    }

    async fn an_abandoned_transaction_is_rolled_back(stage) {
        stage.schema("sharing_left").await;
        let proxy = narrow_proxy(stage, 1).await;
        let [mut a, mut b]: [Conn; 2] = sessions(&proxy, 2).await.try_into().unwrap();
        a.query_drop("CREATE TABLE sharing_left.t (a INT)").await.unwrap();
        a.query_drop("BEGIN").await.unwrap();
        a.query_drop("INSERT INTO sharing_left.t VALUES (1)").await.unwrap();
        drop(a);
        // Gets the same connection, once it is clean.
        let done = tokio::time::timeout(Duration::from_secs(15), b.query_drop("INSERT INTO sharing_left.t VALUES (2)"));
        done.await.expect("the connection does not come back").unwrap();
        let rows: Vec<u32> = stage.lab.writer().query("SELECT a FROM sharing_left.t").await.unwrap();
        assert_eq!(rows, [2]);
    }

    async fn prepared_statements_of_many_sessions_share_connections(stage) {
        let proxy = narrow_proxy(stage, 2).await;
        let mut sessions = sessions(&proxy, 6).await;
        let mut statements = Vec::new();
        for (number, session) in sessions.iter_mut().enumerate() {
            statements.push(session.prep(format!("SELECT ? + {number}, ?")).await.unwrap());
        }
        for round in 0..10_u64 {
            for (number, (session, statement)) in sessions.iter_mut().zip(&statements).enumerate() {
                let row: Option<(u64, String)> = session.exec_first(statement, (round, "text")).await.unwrap();
                assert_eq!(row, Some((round + number as u64, "text".to_owned())));
            }
        }
    }
}
