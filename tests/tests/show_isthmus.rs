//! `SHOW ISTHMUS`: what the proxy says of a session, its last statement, the servers, everybody's
//! sessions and its own figures, over both protocols.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use isthmus_lab::Flavor;
use isthmus_tests::rig::{PASSWORD, Rig, code, driver_options, http, until};
use isthmus_tests::wire::Answer;
use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Opts, Row};

/// A row of SHOW ISTHMUS SESSION.
type Fact = (String, String, Option<String>, Option<f64>, Option<String>);

const TOPICS: [&str; 5] = ["SESSION", "SESSIONS", "LAST", "STATUS", "TOPOLOGY"];

async fn facts(conn: &mut Conn, kind: &str) -> BTreeMap<String, Fact> {
    let facts: Vec<Fact> = conn.query("SHOW ISTHMUS SESSION").await.unwrap();
    let of_kind = facts.into_iter().filter(|fact| fact.0 == kind);
    of_kind.map(|fact| (fact.1.clone(), fact)).collect()
}

async fn fact(conn: &mut Conn, kind: &str, name: &str) -> Option<String> {
    facts(conn, kind).await.remove(name).and_then(|fact| fact.2)
}

/// The only row.
async fn one<T: FromRow + Send + 'static>(conn: &mut Conn, sql: &str) -> T {
    let mut rows: Vec<T> = conn.query(sql).await.unwrap();
    assert_eq!(rows.len(), 1, "{sql}");
    rows.remove(0)
}

/// statement, route, endpoint, reason, seconds, trips, error
type Last = (
    String,
    String,
    Option<String>,
    String,
    f64,
    i64,
    Option<i64>,
);

async fn last(conn: &mut Conn) -> Last {
    one(conn, "SHOW ISTHMUS LAST").await
}

async fn any_spelling_over_both_protocols(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut conn = rig.connect().await;
    conn.query_drop("SELECT 1").await.unwrap();
    for topic in TOPICS {
        let mut columns = Vec::new();
        for sql in [
            format!("SHOW ISTHMUS {topic}"),
            format!("show isthmus {} ;", topic.to_lowercase()),
            format!("/* x */ Show/**/Isthmus -- y\n {topic} # z\n;"),
        ] {
            let text: Vec<mysql_async::Row> = conn.query(&sql).await.unwrap();
            let binary: Vec<mysql_async::Row> = conn.exec(&sql, ()).await.unwrap();
            assert!(!text.is_empty(), "{sql}");
            let types = |rows: &[mysql_async::Row]| {
                let columns = rows[0].columns();
                let column = |c: &mysql_async::Column| (c.name_str().into_owned(), c.column_type());
                columns.iter().map(column).collect::<Vec<_>>()
            };
            assert_eq!(types(&text), types(&binary), "{sql}");
            columns.push(types(&text));
        }
        columns.dedup();
        assert_eq!(columns.len(), 1, "{topic}");
    }
    for sql in [
        "SHOW ISTHMUS",
        "SHOW ISTHMUS ;",
        "SHOW ISTHMUS WEATHER",
        "SHOW ISTHMUS SESSION STATUS",
        "SHOW ISTHMUS 'STATUS'",
    ] {
        assert_eq!(code(conn.query_drop(sql).await), 1064, "{sql}");
        assert_eq!(code(conn.exec_drop(sql, ()).await), 1064, "{sql}");
    }
    let text = conn.query_drop("SHOW ISTHMUS WEATHER").await.unwrap_err();
    assert!(text.to_string().contains("TOPOLOGY"), "{text}");
}

async fn a_session_says_what_holds_it(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut conn = rig.connect().await;
    let schema = fact(&mut conn, "session", "schema").await;
    assert_eq!(schema.as_deref(), Some(rig.schema.as_str()));
    assert_eq!(fact(&mut conn, "session", "endpoint").await, None);
    assert_eq!(
        fact(&mut conn, "session", "id").await,
        Some(conn.id().to_string())
    );
    assert!(facts(&mut conn, "hold").await.is_empty());

    conn.query_drop("SET sql_mode = 'ANSI_QUOTES'")
        .await
        .unwrap();
    let mode = fact(&mut conn, "variable", "sql_mode").await;
    assert_eq!(mode.as_deref(), Some("ANSI_QUOTES"));
    conn.query_drop("SET @`é` = 1").await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    assert_eq!(
        fact(&mut conn, "session", "deferred").await.as_deref(),
        Some("START TRANSACTION")
    );
    conn.query_drop("SELECT 1").await.unwrap();
    let holds = facts(&mut conn, "hold").await;
    let by = |name: &str| holds[name].4.as_deref();
    assert_eq!(
        (by("user_variable"), by("transaction")),
        (Some("set"), Some("select"))
    );
    assert!(holds["user_variable"].3 > holds["transaction"].3);
    assert!(holds["transaction"].3.unwrap() < 30.0);
    assert_eq!(
        fact(&mut conn, "session", "transaction").await.unwrap(),
        "read write"
    );
    assert_eq!(
        fact(&mut conn, "session", "endpoint").await.unwrap(),
        "tokyo"
    );

    let admin = rig.proxy.admin_address();
    let counted = async |hold: &str| {
        let line = format!("isthmus_sessions_holding{{hold=\"{hold}\"}} 1\n");
        http(admin, "GET", "/metrics").await.1.contains(&line)
    };
    assert!(counted("user_variable").await && counted("transaction").await);
    conn.query_drop("COMMIT").await.unwrap();
    assert!(!facts(&mut conn, "hold").await.contains_key("transaction"));
    assert!(!counted("transaction").await);
    drop(conn);
    until("the variable is nobody's", async || {
        !counted("user_variable").await
    })
    .await;
}

async fn a_pinned_session_says_so(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await;
    let mut conn = rig.connect().await;
    assert_eq!(fact(&mut conn, "session", "pinned").await.unwrap(), "no");
    // Nobody can find out how far the reader is.
    rig.reader.cut().await;
    conn.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(fact(&mut conn, "session", "pinned").await.unwrap(), "yes");
    rig.reader.restore().await;
    until("the reader has caught up", async || {
        fact(&mut conn, "session", "pinned").await.unwrap() == "no"
    })
    .await;
}

async fn the_last_statement_is_explained(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await;
    let nothing = rig.wire().await.query("SHOW ISTHMUS LAST").await.unwrap();
    assert_eq!(nothing, Answer::Rows(Vec::new()));
    let mut conn = rig.connect().await;
    conn.query_drop("SELECT COUNT(*) FROM t").await.unwrap();
    let (statement, route, endpoint, _, seconds, trips, error) = last(&mut conn).await;
    assert_eq!((statement.as_str(), route.as_str()), ("select", "reader"));
    assert_eq!(
        (endpoint.as_deref(), trips, error),
        (Some("virginia"), 1, None)
    );
    assert!(seconds > 0.0 && seconds < 30.0, "{seconds}");
    assert_eq!(last(&mut conn).await.0, "select", "it asked about itself");

    conn.query_drop("SELECT * FROM t FOR UPDATE").await.unwrap();
    let (_, route, endpoint, reason, ..) = last(&mut conn).await;
    assert_eq!(
        (route.as_str(), endpoint.as_deref()),
        ("writer", Some("tokyo"))
    );
    assert_eq!(reason, "it locks the rows that it reads");

    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("SELECT 1").await.unwrap();
    conn.query_drop("SELECT 1").await.unwrap();
    assert_eq!(
        last(&mut conn).await.3,
        "the session keeps its connection: transaction"
    );
    conn.query_drop("COMMIT").await.unwrap();

    code(conn.query_drop("SELECT * FROM missing").await);
    assert_eq!(last(&mut conn).await.6, Some(1146));
    code(conn.query_drop("SHUTDOWN").await);
    let (_, route, endpoint, _, _, trips, error) = last(&mut conn).await;
    assert_eq!(
        (route.as_str(), endpoint, trips, error),
        ("refused", None, 0, Some(1235))
    );
    conn.query_drop("SHOW WARNINGS").await.unwrap();
    let (statement, route, endpoint, ..) = last(&mut conn).await;
    assert_eq!(
        (statement.as_str(), route.as_str(), endpoint),
        ("show", "previous", None)
    );
    // As soon as the reader has what the session has seen on the writer.
    until("a prepared read is answered by the reader", async || {
        let _: Vec<i64> = conn
            .exec("SELECT id FROM t WHERE id = ?", (1,))
            .await
            .unwrap();
        let (statement, route, ..) = last(&mut conn).await;
        assert_eq!(statement, "select");
        route == "reader"
    })
    .await;
}

async fn the_servers_are_shown_as_they_are(flavor: Flavor) {
    /// name, address, region, role, up, read_only, round trip, lag, position, open, in use
    type Endpoint = (
        String,
        String,
        String,
        String,
        bool,
        Option<bool>,
        Option<f64>,
        Option<f64>,
        Option<String>,
        i64,
        i64,
    );
    let rig = Rig::start(flavor, "").await;
    let mut conn = rig.connect().await;
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("SELECT 1").await.unwrap();
    let endpoints = async |conn: &mut Conn| -> Vec<Endpoint> {
        let rows: Vec<Row> = conn.query("SHOW ISTHMUS TOPOLOGY").await.unwrap();
        let endpoint = |mut row: Row| {
            let mut text = |index| row.take(index).unwrap();
            let (name, address, region, role) = (text(0), text(1), text(2), text(3));
            (
                name,
                address,
                region,
                role,
                row.take(4).unwrap(),
                row.take(5).unwrap(),
                row.take(6).unwrap(),
                row.take(7).unwrap(),
                row.take(8).unwrap(),
                row.take(9).unwrap(),
                row.take(10).unwrap(),
            )
        };
        rows.into_iter().map(endpoint).collect()
    };
    until("both have been asked", async || {
        let all = endpoints(&mut conn).await;
        all.len() == 2 && all.iter().all(|one| one.5.is_some())
    })
    .await;
    let all = endpoints(&mut conn).await;
    let (tokyo, virginia) = (&all[0], &all[1]);
    assert_eq!(
        (tokyo.0.as_str(), tokyo.2.as_str(), tokyo.3.as_str()),
        ("tokyo", "tokyo", "writer")
    );
    assert_eq!(
        (virginia.0.as_str(), virginia.3.as_str()),
        ("virginia", "reader")
    );
    assert_eq!(virginia.1, rig.reader.address().to_string());
    assert_eq!((tokyo.4, tokyo.5), (true, Some(false)));
    assert_eq!((virginia.4, virginia.5), (true, Some(true)));
    assert_eq!((tokyo.7, tokyo.10), (None, 1));
    assert!(virginia.7.is_some() && tokyo.6.is_some());
    let question = match flavor {
        Flavor::Mysql => "SELECT @@global.gtid_executed",
        Flavor::Mariadb => "SELECT @@global.gtid_current_pos",
    };
    until("the position is the server's", async || {
        let own: Vec<String> = rig.lab.writer().query(question).await.unwrap();
        let shown = endpoints(&mut conn).await.remove(0).8;
        shown == Some(own[0].replace('\n', ""))
    })
    .await;
    rig.writer.cut().await;
    until("the writer is seen to be down", async || {
        !endpoints(&mut conn).await[0].4
    })
    .await;
}

async fn sessions_are_shown_to_whom_they_concern(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let other = isthmus_tests::rig::make_user(&rig.lab).await;
    let blueprint = rig.blueprint.clone().with_user(&other);
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let mut mine = rig.connect().await;
    let options = driver_options(rig.proxy.address(), &other, PASSWORD);
    let mut theirs = Conn::new(Opts::from(options)).await.unwrap();
    theirs.query_drop("SET @`é` = 1").await.unwrap();
    theirs.query_drop("USE information_schema").await.unwrap();

    let sessions = async |conn: &mut Conn| -> BTreeMap<u32, Vec<Option<String>>> {
        let rows: Vec<mysql_async::Row> = conn.query("SHOW ISTHMUS SESSIONS").await.unwrap();
        let texts = ["user", "address", "schema", "state", "held", "endpoint"];
        let row = |row: mysql_async::Row| {
            let values = texts.map(|name| row.get::<Option<String>, _>(name).unwrap());
            (row.get("id").unwrap(), values.to_vec())
        };
        rows.into_iter().map(row).collect()
    };
    let seen = sessions(&mut mine).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&mine.id()]);
    let me = &seen[&mine.id()];
    assert_eq!(me[0].as_deref(), Some(rig.user.as_str()));
    assert!(me[1].as_ref().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(me[2].as_deref(), Some(rig.schema.as_str()));
    assert_eq!(
        (me[3].as_deref(), me[4].as_deref()),
        (Some("working"), Some(""))
    );

    let blueprint = blueprint.with_right(&rig.user, "sees_all_sessions");
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let seen = sessions(&mut mine).await;
    let they = &seen[&theirs.id()];
    assert_eq!(they[0].as_deref(), Some(other.as_str()));
    assert_eq!(they[2].as_deref(), Some("information_schema"));
    assert_eq!(they[3].as_deref(), Some("waiting"));
    assert_eq!(they[4].as_deref(), Some("user_variable"));
    assert_eq!(they[5].as_deref(), Some("tokyo"));
    let seen = sessions(&mut theirs).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&theirs.id()]);
}

async fn figures_are_those_of_the_metrics(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let mut conn = rig.connect().await;
    conn.query_drop("SELECT 1").await.unwrap();
    let shown: Vec<(String, f64)> = conn.query("SHOW ISTHMUS STATUS").await.unwrap();
    let metrics = http(rig.proxy.admin_address(), "GET", "/metrics").await.1;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("isthmus_statements_total{route=\"reader\"}"))
        .unwrap();
    let (name, value) = line.rsplit_once(' ').unwrap();
    assert!(
        shown.contains(&(name.to_owned(), value.parse().unwrap())),
        "{line} in {shown:?}"
    );
    for (name, _) in &shown {
        assert!(metrics.contains(&format!("\n{name} ")), "{name}");
    }
}

isthmus_tests::on_both! {
    any_spelling_over_both_protocols
    a_session_says_what_holds_it
    a_pinned_session_says_so
    the_last_statement_is_explained
    the_servers_are_shown_as_they_are
    sessions_are_shown_to_whom_they_concern
    figures_are_those_of_the_metrics
}
