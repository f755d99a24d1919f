//! Nothing leaks: what one session has made is never seen by another, whichever connections they
//! share, and a client that disappears leaves clean connections behind, in the middle of whatever
//! it did.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isthmus_lab::Flavor;
use isthmus_protocol::command::Command;
use isthmus_tests::rig::{PASSWORD, PATIENCE, Rig, until};
use isthmus_tests::wire::{Answer, Client, query_payload};
use tokio::task::JoinSet;

const ON_WRITER: &str = "/* isthmus:writer */ ";
const ON_READER: &str = "/* isthmus:reader */ ";

/// How many sessions leave something behind at the same time, and how often.
const OWNERS: usize = 8;
const ROUNDS: usize = 4;
/// How many look for it.
const STRANGERS: usize = 6;

/// What a session may have for itself. `ID` stands for a number of its own.
const BELONGINGS: [&[&str]; 12] = [
    &["SET @secret = ID"],
    &["SELECT @secret := ID"],
    &["PREPARE secret FROM 'SELECT ID'"],
    &[
        "CREATE TEMPORARY TABLE secret (id INT)",
        "INSERT INTO secret VALUES (ID)",
    ],
    &["DO GET_LOCK(CONCAT(DATABASE(), '_ID'), 5)"],
    &[
        "SET sql_mode = 'ANSI_QUOTES', time_zone = '-03:00', autocommit = 0",
        "SELECT 1",
    ],
    &["INSERT INTO t (who) VALUES (ID)"],
    &["SET LAST_INSERT_ID = ID"],
    &["SELECT SQL_CALC_FOUND_ROWS who FROM t LIMIT 1"],
    &["SELECT * FROM no_such_table"],
    &["BEGIN", "UPDATE other SET who = ID"],
    &[
        "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "SET ROLE NONE",
    ],
];

/// What somebody who has nothing sees, on either server.
const NOTHING: [(&str, &str); 9] = [
    ("SELECT @secret IS NULL", "1"),
    ("SELECT LAST_INSERT_ID()", "0"),
    ("SELECT @@identity", "0"),
    ("SELECT @@sql_mode LIKE '%ANSI_QUOTES%'", "0"),
    ("SELECT @@time_zone", "SYSTEM"),
    ("SELECT @@autocommit", "1"),
    ("SELECT @@warning_count", "0"),
    ("SELECT CURRENT_ROLE()", ""),
    ("SELECT MAX(who) IS NULL FROM other", "1"),
];

/// How a session ends.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Goodbye,
    Disappearance,
    Reset,
    ChangeOfUser,
}

const ENDINGS: [Ending; 4] = [
    Ending::Goodbye,
    Ending::Disappearance,
    Ending::Reset,
    Ending::ChangeOfUser,
];

async fn end(mut client: Client, ending: Ending, rig: &Rig) {
    match ending {
        Ending::Goodbye => {
            client.send(0, &[Command::Quit as u8]).await.unwrap();
        }
        Ending::Disappearance => drop(client),
        Ending::Reset => {
            let reset = client.command(&[Command::ResetConnection as u8]).await;
            reset.unwrap().expect_ok();
            sees_nothing(&mut client).await;
        }
        Ending::ChangeOfUser => {
            let change = client.change_to(&rig.user, PASSWORD, &rig.schema);
            client
                .change_user(&change, PASSWORD)
                .await
                .unwrap()
                .unwrap();
            sees_nothing(&mut client).await;
        }
    }
}

/// A session that leaves something behind, and has it while it lasts.
async fn own(rig: Arc<Rig>, id: usize) {
    for round in 0..ROUNDS {
        let number = (id + 1) * 1000 + round;
        let belongings = BELONGINGS[(id + round * OWNERS) % BELONGINGS.len()];
        let mut client = rig.wire().await;
        for statement in belongings {
            let statement = statement.replace("ID", &number.to_string());
            // Some are errors, which are a session's own too.
            client.query(&statement).await.unwrap();
        }
        end(client, ENDINGS[(id + round) % ENDINGS.len()], &rig).await;
    }
}

/// Asserts that a session that has just begun has nothing.
async fn sees_nothing(client: &mut Client) {
    for hint in [ON_WRITER, ""] {
        for (question, expected) in NOTHING {
            let seen = client.query(&format!("{hint}{question}")).await.unwrap();
            let Answer::Rows(rows) = seen else {
                panic!("{hint}{question}: {seen:?}");
            };
            let seen = rows[0][0].clone().unwrap_or_default();
            // MySQL says NONE where MariaDB says NULL.
            let seen = seen.replace("NONE", "");
            assert_eq!(seen, expected, "{hint}{question}");
        }
    }
    for (statement, code) in [("EXECUTE secret", 1243), ("SELECT * FROM secret", 1146)] {
        let refused = client.query(&format!("{ON_WRITER}{statement}")).await;
        assert_eq!(refused.unwrap().code(), code, "{statement}");
    }
    for id in 1u32..3 {
        let reset = [&[Command::StmtReset as u8], &id.to_le_bytes()[..]].concat();
        let refused = client.command(&reset).await.unwrap();
        assert_eq!(refused.code(), 1243, "statement {id}");
    }
}

async fn prepare(rig: &Rig) {
    rig.prepare_data(&[
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, who INT)",
        "CREATE TABLE other (id INT PRIMARY KEY, who INT)",
        "INSERT INTO other VALUES (1, NULL)",
    ])
    .await;
}

async fn nobody_sees_what_is_anothers(flavor: Flavor) {
    let overlay =
        "[pool]\nmax_connections = 4\nborrow_timeout = \"60s\"\n[timeouts]\nhandshake = \"60s\"";
    let rig = Arc::new(Rig::start(flavor, overlay).await);
    prepare(&rig).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut owners = JoinSet::new();
    for id in 0..OWNERS {
        owners.spawn(own(rig.clone(), id));
    }
    let mut strangers = JoinSet::new();
    for _ in 0..STRANGERS {
        let (rig, is_over) = (rig.clone(), is_over.clone());
        strangers.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                sees_nothing(&mut rig.wire().await).await;
            }
        });
    }
    while let Some(owner) = owners.join_next().await {
        owner.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    while let Some(stranger) = strangers.join_next().await {
        stranger.unwrap();
    }
    for number in 0..OWNERS * ROUNDS {
        let id = (number / ROUNDS + 1) * 1000 + number % ROUNDS;
        let lock = format!("SELECT IS_FREE_LOCK('{}_{id}')", rig.schema);
        let mut client = rig.wire().await;
        assert_eq!(client.query(&lock).await.unwrap().value(), "1");
    }
    is_clean(&rig).await;
}

/// Where a client disappears.
#[derive(Debug, Clone, Copy)]
enum Moment {
    InATransaction,
    InAResult,
    InAStatement,
    InAnUpload,
    InLongData,
    InACursor,
    WithALockedTable,
    WithALock,
    InACommand,
}

const MOMENTS: [Moment; 9] = [
    Moment::InATransaction,
    Moment::InAResult,
    Moment::InAStatement,
    Moment::InAnUpload,
    Moment::InLongData,
    Moment::InACursor,
    Moment::WithALockedTable,
    Moment::WithALock,
    Moment::InACommand,
];

async fn say(client: &mut Client, statements: &[&str]) {
    for statement in statements {
        client.query(statement).await.unwrap().expect_ok();
    }
}

/// Waits until the writer has the long statement.
async fn long_statement_runs(rig: &Rig) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let running = rig.processes(rig.lab.writer()).await;
        let mut running = running.iter().flatten();
        if running.any(|info| info.contains("SLEEP(300)")) {
            return;
        }
        assert!(Instant::now() < deadline, "the statement does not run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client that does something and is gone.
async fn disappear(rig: Arc<Rig>, moment: Moment) {
    let mut client = rig.wire().await;
    match moment {
        Moment::InATransaction => {
            let statements = ["BEGIN", "INSERT INTO t (who) VALUES (1)"];
            say(&mut client, &statements).await;
        }
        Moment::InAResult => {
            let large = "SELECT REPEAT('x', 100000), t.* FROM t, information_schema.COLLATIONS a, information_schema.COLLATIONS b";
            client.send(0, &query_payload(large)).await.unwrap();
            client.receive().await.unwrap();
        }
        Moment::InAStatement => {
            let long = format!("{ON_WRITER}SELECT SLEEP(300), t.* FROM t");
            client.send(0, &query_payload(&long)).await.unwrap();
            long_statement_runs(&rig).await;
        }
        Moment::InAnUpload => {
            let upload = "LOAD DATA LOCAL INFILE 'x' INTO TABLE t (who)";
            client.send(0, &query_payload(upload)).await.unwrap();
            let wanted = client.receive().await.unwrap();
            assert_eq!(wanted.payload[0], 0xFB, "the file is not asked for");
            client
                .send(wanted.sequence + 1, b"1\n2\n3\n")
                .await
                .unwrap();
        }
        Moment::InLongData => {
            let id = client.prepare("INSERT INTO t (who) VALUES (?)").await;
            let mut data = vec![Command::StmtSendLongData as u8];
            data.extend(id.to_le_bytes());
            data.extend([0, 0, b'7']);
            client.send(0, &data).await.unwrap();
        }
        Moment::InACursor => {
            let id = client.prepare("SELECT * FROM t").await;
            let mut execute = vec![Command::StmtExecute as u8];
            execute.extend(id.to_le_bytes());
            // A read-only cursor; one execution.
            execute.extend([1, 1, 0, 0, 0]);
            client.send(0, &execute).await.unwrap();
            client.receive().await.unwrap();
        }
        Moment::WithALockedTable => {
            let statements = [
                "LOCK TABLES t WRITE",
                "INSERT INTO t (who) VALUES (2)",
                "DELETE FROM t WHERE who = 2",
            ];
            say(&mut client, &statements).await;
        }
        Moment::WithALock => say(&mut client, &["DO GET_LOCK(DATABASE(), 60)"]).await,
        Moment::InACommand => {
            // A packet that is announced with more bytes than come.
            client
                .send_raw(&[100, 0, 0, 0, Command::Query as u8, b'D'])
                .await
                .unwrap();
        }
    }
}

/// Asserts that the proxy lends nothing, and that the servers run and keep nothing for its user.
async fn is_clean(rig: &Rig) {
    until("no connection is in use", async || {
        let mut client = rig.wire().await;
        let Answer::Rows(figures) = client.query("SHOW ISTHMUS STATUS").await.unwrap() else {
            panic!("no figures");
        };
        let in_use = "isthmus_backend_connections_in_use{";
        let is_in_use = |row: &&Vec<Option<String>>| {
            row[0].as_ref().is_some_and(|name| name.starts_with(in_use))
        };
        let in_use: Vec<_> = figures.iter().filter(is_in_use).collect();
        in_use.len() == 2 && in_use.iter().all(|row| row[1].as_deref() == Some("0"))
    })
    .await;
    for server in rig.lab.servers() {
        until("no statement runs", async || {
            rig.processes(server).await.iter().all(Option::is_none)
        })
        .await;
    }
    // Metadata locks, row locks and table locks would be in the way of these.
    let mut client = rig.wire().await;
    for statement in [
        "SET lock_wait_timeout = 5, innodb_lock_wait_timeout = 5",
        "ALTER TABLE t ADD COLUMN extra INT",
        "ALTER TABLE t DROP COLUMN extra",
        "UPDATE other SET who = NULL",
        "DELETE FROM t",
    ] {
        client.query(statement).await.unwrap().expect_ok();
    }
    let lock = format!("SELECT IS_FREE_LOCK('{}')", rig.schema);
    assert_eq!(client.query(&lock).await.unwrap().value(), "1");
    sees_nothing(&mut rig.wire().await).await;
}

async fn who_disappears_leaves_nothing(flavor: Flavor) {
    let overlay =
        "[pool]\nmax_connections = 6\nborrow_timeout = \"60s\"\n[timeouts]\nhandshake = \"60s\"";
    let rig = Arc::new(Rig::start(flavor, overlay).await);
    prepare(&rig).await;
    let rows: Vec<_> = (0..500).map(|_| "(0)").collect();
    rig.prepare_data(&[&format!("INSERT INTO t (who) VALUES {}", rows.join(","))])
        .await;
    // One after the other, so that it is known which one leaves something.
    for moment in MOMENTS {
        disappear(rig.clone(), moment).await;
        let mut client = rig.wire().await;
        let count = format!("{ON_WRITER}SELECT COUNT(*), SUM(who) FROM t");
        let Answer::Rows(rows) = client.query(&count).await.unwrap() else {
            panic!("{moment:?}: nothing to count");
        };
        assert_eq!(
            rows[0],
            [Some("500".to_owned()), Some("0".to_owned())],
            "{moment:?}"
        );
    }
    let mut crowd = JoinSet::new();
    for moment in MOMENTS.into_iter().chain(MOMENTS) {
        crowd.spawn(disappear(rig.clone(), moment));
    }
    while let Some(one) = crowd.join_next().await {
        one.unwrap();
    }
    is_clean(&rig).await;
}

/// Neither a reset nor a change of user is over before the locks are gone, though to roll back what
/// holds them takes its time, and the session goes on with another connection.
async fn locks_are_gone_before_the_session_goes_on(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let rows = ["(0)"; 100].join(",");
    rig.prepare_data(&[
        "CREATE TABLE locked (id INT AUTO_INCREMENT PRIMARY KEY, n INT)",
        &format!("INSERT INTO locked (n) VALUES {rows}"),
        "INSERT INTO locked (n) SELECT 0 FROM locked, locked AS other",
    ])
    .await;
    let (mut client, mut other) = (rig.wire().await, rig.wire().await);
    for way in [Ending::Reset, Ending::ChangeOfUser] {
        let lock = "SELECT GET_LOCK(DATABASE(), 0)";
        say(&mut client, &["BEGIN", lock, "UPDATE locked SET n = 1"]).await;
        // There is another connection at hand.
        let read = format!("{ON_WRITER}SELECT 1");
        say(&mut other, &["BEGIN", &read, "COMMIT"]).await;
        match way {
            Ending::Reset => {
                let reset = client.command(&[Command::ResetConnection as u8]).await;
                reset.unwrap().expect_ok();
            }
            _ => {
                let change = client.change_to(&rig.user, PASSWORD, &rig.schema);
                let changed = client.change_user(&change, PASSWORD).await;
                changed.unwrap().unwrap();
            }
        }
        let taken = client.query(lock).await.unwrap();
        assert_eq!(taken.value(), "1", "{way:?}");
        let row = "SELECT n FROM locked LIMIT 1 FOR UPDATE NOWAIT";
        assert_eq!(client.query(row).await.unwrap().value(), "0", "{way:?}");
        say(&mut client, &["DO RELEASE_ALL_LOCKS()"]).await;
    }
}

/// The insert id of a transaction that was rolled back is not that of the session behind a reset.
async fn a_reset_forgets_the_insert_id(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    prepare(&rig).await;
    let mut client = rig.wire().await;
    say(
        &mut client,
        &["BEGIN", "INSERT INTO t (who) VALUES (1)", "ROLLBACK"],
    )
    .await;
    let reset = client.command(&[Command::ResetConnection as u8]).await;
    reset.unwrap().expect_ok();
    let id = client.query("SELECT LAST_INSERT_ID()").await.unwrap();
    assert_eq!(id.value(), "0");
}

/// What a server makes of the schema's character set is not another one behind somebody's reset.
async fn a_reset_leaves_the_schema_what_it_is(flavor: Flavor) {
    let rig = Rig::start(flavor, "[pool]\nmax_connections = 1").await;
    let schema = format!("{}_named", rig.schema);
    let mut client = rig.wire().await;
    let mut other = rig.wire().await;
    let make = format!("CREATE DATABASE {schema} CHARACTER SET cp1251");
    let enter = format!("USE {schema}");
    say(&mut client, &[&make, &enter, "DO GET_LOCK(DATABASE(), 0)"]).await;
    let reset = client.command(&[Command::ResetConnection as u8]).await;
    reset.unwrap().expect_ok();
    say(&mut other, &[&enter]).await;
    let charset = format!("{ON_WRITER}SELECT @@character_set_database");
    assert_eq!(other.query(&charset).await.unwrap().value(), "cp1251");
}

/// Whoever's schema is gone does not get to the one that others have left a connection in.
async fn a_schema_that_is_gone_is_not_another_ones(flavor: Flavor) {
    let rig = Rig::start(flavor, "[pool]\nmax_connections = 4").await;
    let others = format!("{}_others", rig.schema);
    for statement in [
        format!("CREATE DATABASE {others}"),
        format!("CREATE TABLE {others}.t (id INT AUTO_INCREMENT PRIMARY KEY, a INT)"),
    ] {
        rig.lab.writer().execute(statement).await.unwrap();
    }
    rig.lab.wait_caught_up().await.unwrap();
    let mut client = rig.wire().await;
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stranger = rig.wire().await;
        let enter = format!("USE {others}");
        say(
            &mut stranger,
            &[&enter, "BEGIN", "INSERT INTO t (a) VALUES (1)"],
        )
        .await;
        strangers.push(stranger);
    }
    for stranger in &mut strangers {
        say(stranger, &["COMMIT"]).await;
    }
    let gone = format!("DROP DATABASE {}", rig.schema);
    rig.lab.writer().execute(gone).await.unwrap();
    for statement in ["INSERT INTO t (a) VALUES (2)", "DELETE FROM t"] {
        let refused = client.query(statement).await.unwrap().code();
        assert!(
            matches!(refused, 1046 | 1049 | 1146),
            "{statement}: {refused}"
        );
    }
    let count = format!("{ON_WRITER}SELECT COUNT(*) FROM {others}.t WHERE a = 1");
    assert_eq!(strangers[0].query(&count).await.unwrap().value(), "3");
}

/// What was inserted and rolled back has used an id, wherever the connection goes then.
async fn the_id_of_what_was_rolled_back(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT)"])
        .await;
    drop(rig.direct_writer().await);
    let address = rig.proxy.address();
    let mut client = Client::connect(address).await.unwrap().unwrap();
    client
        .authenticate(&rig.user, PASSWORD, None)
        .await
        .unwrap()
        .unwrap();
    let enter = format!("USE {}", rig.schema);
    say(
        &mut client,
        &[
            "BEGIN",
            &enter,
            "INSERT INTO t (id, a) VALUES (NULL, 1)",
            "ROLLBACK",
        ],
    )
    .await;
    let id = client.query("SELECT LAST_INSERT_ID()").await.unwrap();
    assert_eq!(id.value(), "1");

    let mut client = rig.wire().await;
    say(
        &mut client,
        &[
            "BEGIN",
            "INSERT INTO t (a) VALUES (1)",
            "ROLLBACK",
            "START TRANSACTION READ ONLY",
        ],
    )
    .await;
    let id = client.query("SELECT LAST_INSERT_ID()").await.unwrap();
    assert_eq!(id.value(), "2");
}

/// A view may call what sets a variable, and may fail then: the server tells of it, and no other
/// session sees it.
#[tokio::test]
async fn what_a_view_sets_stays_with_its_session() {
    let rig = Rig::start(Flavor::Mysql, "[pool]\nmax_connections = 1").await;
    let schema = &rig.schema;
    for (name, end) in [
        ("left_behind", "RETURN 1"),
        ("stopped", "SIGNAL SQLSTATE '45000'; RETURN 1"),
    ] {
        let function = format!(
            "CREATE FUNCTION {schema}.{name}() RETURNS INT DETERMINISTIC NO SQL BEGIN SET @left = 42; {end}; END"
        );
        rig.lab.writer().execute(function).await.unwrap();
    }
    rig.prepare_data(&[
        "CREATE VIEW v AS SELECT left_behind() AS one",
        "CREATE VIEW failing AS SELECT stopped() AS one",
    ])
    .await;
    for hint in [ON_WRITER, ON_READER] {
        for (view, works) in [("v", true), ("failing", false)] {
            let mut client = rig.wire().await;
            let read = format!("{hint}SELECT one FROM {view}");
            let answer = client.query(&read).await.unwrap();
            assert_eq!(!matches!(answer, Answer::Err(_)), works, "{read}");
            client.say_goodbye().await;
            let mut other = rig.wire().await;
            let left = format!("{hint}SELECT COALESCE(@left, 'nothing')");
            let seen = other.query(&left).await.unwrap();
            assert_eq!(seen.value(), "nothing", "{read}");
        }
    }
}

/// No reset takes a connection out of a resource group: it goes with the session.
#[tokio::test]
async fn a_resource_group_goes_with_its_session() {
    let rig = Rig::start(Flavor::Mysql, "[pool]\nmax_connections = 1").await;
    for statement in [
        format!("CREATE RESOURCE GROUP {} TYPE = USER", rig.user),
        format!("GRANT RESOURCE_GROUP_USER ON *.* TO {}", rig.user),
    ] {
        rig.lab.writer().execute(statement).await.unwrap();
    }
    // The server's own number.
    let connection = "SELECT CONNECTION_ID() FROM information_schema.PROCESSLIST LIMIT 1";
    let choose = format!("SET RESOURCE GROUP {}", rig.user);
    for ends_by_reset in [false, true] {
        let mut client = rig.wire().await;
        client.query(&choose).await.unwrap().expect_ok();
        let chosen = client.query(connection).await.unwrap().value();
        if ends_by_reset {
            let reset = client.command(&[Command::ResetConnection as u8]).await;
            reset.unwrap().expect_ok();
        } else {
            client.say_goodbye().await;
        }
        let mut other = rig.wire().await;
        let next = other.query(connection).await.unwrap().value();
        assert_ne!(next, chosen, "reset: {ends_by_reset}");
    }
}

isthmus_tests::on_both! {
    a_schema_that_is_gone_is_not_another_ones
    the_id_of_what_was_rolled_back
    a_reset_leaves_the_schema_what_it_is
    nobody_sees_what_is_anothers
    who_disappears_leaves_nothing
    locks_are_gone_before_the_session_goes_on
    a_reset_forgets_the_insert_id
}
