//! Read your writes, with replication seconds behind: many sessions write and read at once, and
//! not one read may be stale. That the search would find a stale read is a test too.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_lab::{Flavor, Lab, Options, Server};
use isthmus_tests::rig::{PATIENCE, Rig, code, dedicated, until};
use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, TxOpts};

/// What was read, and from where.
#[derive(Debug, Default)]
struct Tally {
    reads: u64,
    from_reader: u64,
    stale: Vec<String>,
    errors: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.from_reader += other.from_reader;
        self.stale.extend(other.stale);
        self.errors.extend(other.errors);
    }
}

/// How a session writes and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Text,
    Prepared,
    TextTransaction,
    PreparedTransaction,
}

const MANNERS: [Manner; 4] = [
    Manner::Text,
    Manner::Prepared,
    Manner::TextTransaction,
    Manner::PreparedTransaction,
];

/// One session with its own register and its own list.
struct Walker {
    conn: Conn,
    id: u32,
    manner: Manner,
    /// What the register must say, and how long the list must be.
    expected: u32,
    tally: Tally,
}

type Shown = (Option<u32>, u32, String);

impl Walker {
    async fn write(&mut self) -> mysql_async::Result<()> {
        let id = self.id;
        let next = self.expected + 1;
        match self.manner {
            Manner::Text => {
                self.conn
                    .query_drop(format!("UPDATE registers SET n = n + 1 WHERE id = {id}"))
                    .await?;
                self.conn
                    .query_drop(format!("INSERT INTO lists VALUES ({id}, {next})"))
                    .await?;
            }
            Manner::Prepared => {
                self.conn
                    .exec_drop("UPDATE registers SET n = n + 1 WHERE id = ?", (id,))
                    .await?;
                self.conn
                    .exec_drop("INSERT INTO lists VALUES (?, ?)", (id, next))
                    .await?;
            }
            Manner::TextTransaction => {
                let mut transaction = self.conn.start_transaction(TxOpts::default()).await?;
                transaction
                    .query_drop(format!("UPDATE registers SET n = n + 1 WHERE id = {id}"))
                    .await?;
                transaction
                    .query_drop(format!("INSERT INTO lists VALUES ({id}, {next})"))
                    .await?;
                let n: Option<u32> = transaction
                    .query_first(format!("SELECT n FROM registers WHERE id = {id}"))
                    .await?;
                if n != Some(next) {
                    self.tally
                        .stale
                        .push(format!("{id} inside its transaction: {n:?}, not {next}"));
                }
                transaction.commit().await?;
            }
            Manner::PreparedTransaction => {
                let mut transaction = self.conn.start_transaction(TxOpts::default()).await?;
                transaction
                    .exec_drop("UPDATE registers SET n = n + 1 WHERE id = ?", (id,))
                    .await?;
                transaction
                    .exec_drop("INSERT INTO lists VALUES (?, ?)", (id, next))
                    .await?;
                transaction.commit().await?;
            }
        }
        self.expected = next;
        Ok(())
    }

    /// Reads both and notes what is stale. Returns whether the reader answered.
    async fn read(&mut self) -> mysql_async::Result<bool> {
        let (what, id) = (
            "SELECT (SELECT n FROM registers WHERE id = X), (SELECT COUNT(*) FROM lists WHERE id = X), name FROM sign.post",
            self.id,
        );
        let shown: Option<Shown> = match self.manner {
            Manner::Text | Manner::TextTransaction => {
                self.conn
                    .query_first(what.replace('X', &id.to_string()))
                    .await?
            }
            _ => {
                self.conn
                    .exec_first(what.replace('X', "?"), (id, id))
                    .await?
            }
        };
        let (register, length, place) = shown.unwrap();
        self.tally.reads += 1;
        let is_reader = place == "reader";
        self.tally.from_reader += u64::from(is_reader);
        if register != Some(self.expected) || length != self.expected {
            self.tally.stale.push(format!(
                "{id} ({:?}) after write {}: register {register:?}, list {length}, from the {place}",
                self.manner, self.expected
            ));
        }
        Ok(is_reader)
    }

    /// Writes and reads at once, again and again.
    async fn hurry(&mut self, end: Instant) -> mysql_async::Result<()> {
        while Instant::now() < end {
            self.write().await?;
            for _ in 0..3 {
                self.read().await?;
            }
        }
        Ok(())
    }

    /// Writes, and reads until the reader has caught up, again and again.
    async fn wait(&mut self, end: Instant) -> mysql_async::Result<()> {
        while Instant::now() < end {
            self.write().await?;
            let deadline = Instant::now() + PATIENCE;
            // What it reads on the writer meanwhile, the reader must have too.
            let mut pause = Duration::from_millis(5);
            while !self.read().await? {
                assert!(
                    Instant::now() < deadline,
                    "session {} never got back to the reader",
                    self.id
                );
                tokio::time::sleep(pause).await;
                pause = pause * 3 / 2;
            }
        }
        Ok(())
    }
}

/// The search for stale reads: `sessions` of them for so long.
async fn search(rig: &Rig, sessions: u32, time: Duration) -> Tally {
    rig.prepare_data(&["DROP TABLE IF EXISTS registers, lists"])
        .await;
    rig.prepare_data(&[
        "CREATE TABLE registers (id INT PRIMARY KEY, n INT)",
        "CREATE TABLE lists (id INT, n INT, PRIMARY KEY (id, n))",
    ])
    .await;
    let values: Vec<String> = (0..sessions).map(|id| format!("({id}, 0)")).collect();
    rig.prepare_data(&[&format!(
        "INSERT INTO registers VALUES {}",
        values.join(", ")
    )])
    .await;

    let end = Instant::now() + time;
    let mut tasks = Vec::new();
    for id in 0..sessions {
        let mut walker = Walker {
            conn: rig.connect().await,
            id,
            manner: MANNERS[id as usize % MANNERS.len()],
            expected: 0,
            tally: Tally::default(),
        };
        tasks.push(tokio::spawn(async move {
            // Half of them in a hurry, of every manner.
            let result = match id / 4 % 2 {
                0 => walker.hurry(end).await,
                _ => walker.wait(end).await,
            };
            if let Err(error) = result {
                walker.tally.errors.push(format!("{id}: {error}"));
            }
            walker.tally
        }));
    }
    let mut tally = Tally::default();
    for task in tasks {
        tally.add(task.await.unwrap());
    }
    println!(
        "{}: {} reads, {} of them from the reader, {} stale",
        rig.lab.flavor(),
        tally.reads,
        tally.from_reader,
        tally.stale.len()
    );
    assert!(tally.errors.is_empty(), "{:#?}", tally.errors);
    tally
}

fn settings(source: &str, on_stale: &str, max_wait: &str) -> String {
    format!(
        "[consistency]\nsource = \"{source}\"\non_stale = \"{on_stale}\"\nmax_wait = \"{max_wait}\"\n\
         [pool]\nmax_connections = 20\n"
    )
}

/// Counters of a server, by name.
async fn counters(server: &Server) -> BTreeMap<String, u64> {
    let rows: Vec<(String, u64)> = server
        .query("SHOW GLOBAL STATUS LIKE 'Com_select'")
        .await
        .unwrap();
    rows.into_iter().collect()
}

/// Stops and starts replication over and over until it is aborted.
fn interrupt_replication(lab: &Arc<Lab>) -> tokio::task::JoinHandle<()> {
    let lab = lab.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(700)).await;
            lab.stop_replication().await.unwrap();
            tokio::time::sleep(Duration::from_millis(700)).await;
            lab.start_replication().await.unwrap();
        }
    })
}

async fn no_read_is_stale(flavor: Flavor, source: &str) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    for (on_stale, max_wait) in [
        ("fastest", "1s"),
        ("writer", "1s"),
        ("wait", "300ms"),
        ("wait", "10s"),
    ] {
        let rig = Rig::start_on(lab.clone(), &settings(source, on_stale, max_wait)).await;
        if source == "heartbeat" {
            rig.set_up_heartbeat().await;
        }
        lab.delay_replication(Duration::from_secs(1)).await.unwrap();
        let tally = search(&rig, 32, Duration::from_secs(6)).await;
        assert!(
            tally.stale.is_empty(),
            "on_stale = {on_stale}: {:#?}",
            tally.stale
        );
        assert!(
            tally.from_reader > 0,
            "on_stale = {on_stale}: the reader was never asked"
        );
        if on_stale == "writer" || max_wait == "300ms" {
            assert!(
                tally.from_reader < tally.reads,
                "the writer was never asked"
            );
        }
        lab.delay_replication(Duration::ZERO).await.unwrap();

        let interruption = interrupt_replication(&lab);
        let tally = search(&rig, 16, Duration::from_secs(5)).await;
        interruption.abort();
        let _ = interruption.await;
        lab.start_replication().await.unwrap();
        assert!(
            tally.stale.is_empty(),
            "interrupted, on_stale = {on_stale}: {:#?}",
            tally.stale
        );
        reads_go_to_the_reader(&rig).await;
    }
}

/// Once the reader has caught up, it answers, and the writer is left in peace.
async fn reads_go_to_the_reader(rig: &Rig) {
    const READS: u64 = 300;
    let mut conn = rig.connect().await;
    conn.query_drop("UPDATE registers SET n = n + 1 WHERE id = 0")
        .await
        .unwrap();
    rig.lab.wait_caught_up().await.unwrap();
    until(
        "the proxy knows that the reader has caught up",
        async || {
            conn.query_first::<String, _>("SELECT name FROM sign.post")
                .await
                .unwrap()
                .unwrap()
                == "reader"
        },
    )
    .await;
    let (reader, writer) = (
        counters(rig.lab.reader()).await,
        counters(rig.lab.writer()).await,
    );
    for _ in 0..READS {
        conn.query_drop("SELECT n FROM registers WHERE id = 0")
            .await
            .unwrap();
    }
    let more = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
        now["Com_select"] - before["Com_select"]
    };
    let on_reader = more(&counters(rig.lab.reader()).await, &reader);
    let on_writer = more(&counters(rig.lab.writer()).await, &writer);
    assert!(
        on_reader >= READS,
        "the reader counts {on_reader} SELECTs after {READS} reads"
    );
    // The proxy asks the writer how it is a few times a second.
    assert!(
        on_writer < READS / 4,
        "the writer counts {on_writer} SELECTs"
    );
}

#[tokio::test]
async fn no_read_is_stale_on_mysql() {
    no_read_is_stale(Flavor::Mysql, "gtid").await;
}

#[tokio::test]
async fn no_read_is_stale_on_mariadb() {
    no_read_is_stale(Flavor::Mariadb, "gtid").await;
}

#[tokio::test]
async fn no_read_is_stale_on_mysql_by_heartbeat() {
    no_read_is_stale(Flavor::Mysql, "heartbeat").await;
}

#[tokio::test]
async fn no_read_is_stale_on_mariadb_by_heartbeat() {
    no_read_is_stale(Flavor::Mariadb, "heartbeat").await;
}

/// A promise that is not kept: the search must find that out, or it finds nothing.
#[tokio::test]
async fn a_broken_promise_is_found_out() {
    let lab = dedicated(Options::default()).await;
    let broken = "[consistency]\nsource = \"fixed\"\nfixed_lag = \"1ms\"";
    let rig = Rig::start_on(lab.clone(), broken).await;
    lab.delay_replication(Duration::from_secs(2)).await.unwrap();
    let tally = search(&rig, 8, Duration::from_secs(3)).await;
    assert!(
        !tally.stale.is_empty(),
        "{} reads and none of them stale",
        tally.reads
    );
    lab.delay_replication(Duration::ZERO).await.unwrap();

    // And a promise that is kept holds.
    let kept = "[consistency]\nsource = \"fixed\"\nfixed_lag = \"4s\"";
    let rig = Rig::start_on(lab.clone(), kept).await;
    lab.delay_replication(Duration::from_secs(1)).await.unwrap();
    let tally = search(&rig, 8, Duration::from_secs(6)).await;
    assert!(tally.stale.is_empty(), "{:#?}", tally.stale);
    assert!(tally.from_reader > 0);
}

/// Whatever it was that wrote, the session sees it at once. # is the session's register.
const WRITES: [(&str, &[&str]); 20] = [
    ("UPDATE", &["UPDATE r SET n = n + 1 WHERE id = #"]),
    (
        "INSERT",
        &["INSERT INTO r VALUES (#, 1) ON DUPLICATE KEY UPDATE n = n + 1"],
    ),
    ("REPLACE", &["REPLACE INTO r VALUES (#, 1)"]),
    (
        "INSERT … SELECT",
        &["INSERT INTO r SELECT #, 1 ON DUPLICATE KEY UPDATE n = r.n + 1"],
    ),
    (
        "DELETE and INSERT",
        &["DELETE FROM r WHERE id = #", "INSERT INTO r VALUES (#, 1)"],
    ),
    (
        "several statements",
        &["SELECT 1; UPDATE r SET n = 1 WHERE id = #; SELECT 2"],
    ),
    (
        "a transaction in one command",
        &["BEGIN; UPDATE r SET n = 1 WHERE id = #; COMMIT"],
    ),
    (
        "a transaction",
        &[
            "START TRANSACTION",
            "UPDATE r SET n = 1 WHERE id = #",
            "COMMIT",
        ],
    ),
    (
        "BEGIN ends a transaction",
        &[
            "BEGIN",
            "UPDATE r SET n = 1 WHERE id = #",
            "BEGIN",
            "ROLLBACK",
        ],
    ),
    (
        "DDL ends a transaction",
        &[
            "BEGIN",
            "UPDATE r SET n = 1 WHERE id = #",
            "CREATE TABLE IF NOT EXISTS other (id INT)",
        ],
    ),
    (
        "no autocommit",
        &[
            "SET autocommit = 0",
            "UPDATE r SET n = 1 WHERE id = #",
            "COMMIT",
            "SET autocommit = 1",
        ],
    ),
    (
        "autocommit commits",
        &[
            "SET autocommit = 0",
            "UPDATE r SET n = 1 WHERE id = #",
            "SET autocommit = 1",
        ],
    ),
    (
        "COMMIT AND CHAIN",
        &[
            "BEGIN",
            "UPDATE r SET n = 1 WHERE id = #",
            "COMMIT AND CHAIN",
            "ROLLBACK",
        ],
    ),
    (
        "a savepoint",
        &[
            "BEGIN",
            "SAVEPOINT s",
            "UPDATE r SET n = 1 WHERE id = #",
            "RELEASE SAVEPOINT s",
            "COMMIT",
        ],
    ),
    (
        "LOCK TABLES",
        &[
            "LOCK TABLES r WRITE",
            "UPDATE r SET n = 1 WHERE id = #",
            "UNLOCK TABLES",
        ],
    ),
    ("a procedure", &["CALL set_r(#)"]),
    ("a function", &["SELECT f_r(#)"]),
    ("a function, DO", &["DO f_r(#)"]),
    (
        "text PREPARE",
        &[
            "PREPARE s FROM 'UPDATE r SET n = 1 WHERE id = #'",
            "EXECUTE s",
            "DEALLOCATE PREPARE s",
        ],
    ),
    (
        "XA",
        &[
            "XA START 'x'",
            "UPDATE r SET n = 1 WHERE id = #",
            "XA END 'x'",
            "XA COMMIT 'x' ONE PHASE",
        ],
    ),
];

async fn every_write_is_seen(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        // For the function, which a binary log does not like otherwise.
        arguments: vec!["--log-bin-trust-function-creators=ON".into()],
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab.clone(), &settings("gtid", "writer", "1s")).await;
    rig.prepare_data(&[
        "CREATE TABLE r (id INT PRIMARY KEY, n INT)",
        "CREATE TABLE partly (id INT PRIMARY KEY) ENGINE = MyISAM",
        "CREATE PROCEDURE set_r(x INT) UPDATE r SET n = 1 WHERE id = x",
        "CREATE FUNCTION f_r(x INT) RETURNS INT BEGIN UPDATE r SET n = 1 WHERE id = x; RETURN 1; END",
    ])
    .await;
    let values: Vec<String> = (0..100).map(|id| format!("({id}, 0)")).collect();
    rig.prepare_data(&[&format!("INSERT INTO r VALUES {}", values.join(", "))])
        .await;
    lab.stop_replication().await.unwrap();

    for (id, (name, statements)) in WRITES.iter().enumerate() {
        let mut conn = rig.connect().await;
        let n = format!("SELECT n FROM r WHERE id = {id}");
        // Not pinned before it writes.
        assert_eq!(
            place(&mut conn).await,
            "reader",
            "{name}: pinned from the start"
        );
        for statement in *statements {
            let statement = statement.replace('#', &id.to_string());
            if let Err(error) = conn.query_drop(&statement).await {
                panic!("{name}: {statement}: {error}");
            }
        }
        let text: Option<u32> = conn.query_first(&n).await.unwrap();
        assert_eq!(text, Some(1), "{name}: a stale read");
        let prepared: Option<u32> = conn.exec_first(&n, ()).await.unwrap();
        assert_eq!(prepared, Some(1), "{name}: a stale prepared read");
        let read_only: Option<u32> = {
            conn.query_drop("START TRANSACTION READ ONLY")
                .await
                .unwrap();
            let n = conn.query_first(&n).await.unwrap();
            conn.query_drop("COMMIT").await.unwrap();
            n
        };
        assert_eq!(read_only, Some(1), "{name}: a stale read-only transaction");
        conn.reset().await.unwrap();
        let after: Option<u32> = conn.query_first(&n).await.unwrap();
        assert_eq!(
            after,
            Some(1),
            "{name}: a stale read after COM_RESET_CONNECTION"
        );
        conn.change_user(ChangeUserOpts::default()).await.unwrap();
        let n = format!("SELECT n FROM {}.r WHERE id = {id}", rig.schema);
        let after: Option<u32> = conn.query_first(&n).await.unwrap();
        assert_eq!(after, Some(1), "{name}: a stale read after COM_CHANGE_USER");
    }

    // A write that fails may have written all the same.
    let mut conn = rig.connect().await;
    let failed = conn
        .query_drop("INSERT INTO partly VALUES (1), (2), (1)")
        .await;
    assert_eq!(code(failed), 1062);
    let count: Option<u32> = conn
        .query_first("SELECT COUNT(*) FROM partly")
        .await
        .unwrap();
    assert_eq!(count, Some(2), "a stale read after a write that failed");

    // A write that a broken connection leaves in doubt.
    let mut conn = rig.connect().await;
    conn.query_drop("DO 0").await.unwrap();
    rig.writer
        .set_delays(Duration::ZERO, Duration::from_secs(5));
    let update = conn.query_drop("UPDATE r SET n = 2 WHERE id = 99");
    let cutting = async {
        until("the write has arrived", async || {
            let n: Option<u32> = lab
                .writer()
                .query_value(format!("SELECT n FROM {}.r WHERE id = 99", rig.schema))
                .await
                .unwrap();
            n == Some(2)
        })
        .await;
        rig.writer.reset_connections().await;
        rig.writer.set_delays(Duration::ZERO, Duration::ZERO);
    };
    let (update, ()) = tokio::join!(update, cutting);
    assert_eq!(code(update), 1158);
    let n: Option<u32> = conn
        .query_first("SELECT n FROM r WHERE id = 99")
        .await
        .unwrap();
    assert_eq!(n, Some(2), "a stale read after a write in doubt");
}

async fn place(conn: &mut Conn) -> String {
    conn.query_first("SELECT name FROM sign.post")
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn every_write_is_seen_on_mysql() {
    every_write_is_seen(Flavor::Mysql).await;
}

#[tokio::test]
async fn every_write_is_seen_on_mariadb() {
    every_write_is_seen(Flavor::Mariadb).await;
}

/// How a session leaves a transaction in which it has read on the writer.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    Saying(&'static str),
    Resetting,
    ChangingUser,
}

/// What a transaction has shown is shown afterwards too, though it has written nothing.
async fn what_was_seen_stays_seen(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab.clone(), &settings("gtid", "writer", "1s")).await;
    rig.prepare_data(&["CREATE TABLE r (n INT)"]).await;
    lab.stop_replication().await.unwrap();
    let insert = format!("INSERT INTO {}.r VALUES (1)", rig.schema);
    lab.writer().execute(insert).await.unwrap();
    let count = format!("SELECT COUNT(*) FROM {}.r", rig.schema);
    for leaving in [
        Leaving::Saying("COMMIT"),
        Leaving::Saying("ROLLBACK"),
        Leaving::Saying("START TRANSACTION READ ONLY"),
        Leaving::Resetting,
        Leaving::ChangingUser,
    ] {
        let mut conn = rig.connect().await;
        let before: Option<u32> = conn.query_first(&count).await.unwrap();
        assert_eq!(before, Some(0), "{leaving:?}: not on the reader");
        conn.query_drop("BEGIN").await.unwrap();
        let inside: Option<u32> = conn.query_first(&count).await.unwrap();
        assert_eq!(inside, Some(1), "{leaving:?}: not on the writer");
        match leaving {
            Leaving::Saying(sql) => conn.query_drop(sql).await.unwrap(),
            Leaving::Resetting => assert!(conn.reset().await.unwrap()),
            Leaving::ChangingUser => conn.change_user(ChangeUserOpts::default()).await.unwrap(),
        }
        let after: Option<u32> = conn.query_first(&count).await.unwrap();
        assert_eq!(after, Some(1), "{leaving:?}: an older state than before");
    }
}

#[tokio::test]
async fn what_was_seen_stays_seen_on_mysql() {
    what_was_seen_stays_seen(Flavor::Mysql).await;
}

#[tokio::test]
async fn what_was_seen_stays_seen_on_mariadb() {
    what_was_seen_stays_seen(Flavor::Mariadb).await;
}

/// What DDL has made can be used at once: schemas, tables, columns.
async fn what_was_read_into_a_variable_was_seen(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab.clone(), "").await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    let mut conn = rig.connect().await;
    until("reads go to the reader", async || {
        place(&mut conn).await == "reader"
    })
    .await;
    lab.stop_replication().await.unwrap();
    let mut other = rig.connect().await;
    other.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    for reading in [
        &["BEGIN", "SELECT COUNT(*) INTO @q FROM t", "COMMIT"][..],
        &["/* isthmus:fresh */ SELECT COUNT(*) INTO @q FROM t"],
        &["/* isthmus:writer */ SET @q = (SELECT COUNT(*) FROM t)"],
    ] {
        let mut conn = rig.connect().await;
        for sql in reading {
            conn.query_drop(*sql).await.unwrap();
        }
        let seen: Option<u32> = conn.query_first("SELECT @q").await.unwrap();
        let shown: Option<u32> = conn.query_first("SELECT COUNT(*) FROM t").await.unwrap();
        assert_eq!((seen, shown), (Some(1), Some(1)), "{reading:?}");
    }
    lab.start_replication().await.unwrap();
}

#[tokio::test]
async fn what_was_read_into_a_variable_was_seen_on_mysql() {
    what_was_read_into_a_variable_was_seen(Flavor::Mysql).await;
}

#[tokio::test]
async fn what_was_read_into_a_variable_was_seen_on_mariadb() {
    what_was_read_into_a_variable_was_seen(Flavor::Mariadb).await;
}

async fn what_was_made_can_be_used(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let rig = Rig::start_on(lab.clone(), &settings("gtid", "writer", "1s")).await;
    lab.stop_replication().await.unwrap();
    let mut conn = rig.connect().await;
    let steps = [
        "CREATE DATABASE made",
        "USE made",
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "SHOW COLUMNS FROM t",
        "SELECT * FROM t",
        "INSERT INTO t VALUES (1)",
        "ALTER TABLE t ADD COLUMN b INT DEFAULT 7",
        "SELECT b FROM t",
        "EXPLAIN SELECT b FROM t",
        "SET sql_mode = ''",
        "SELECT b FROM t WHERE id = 1",
    ];
    for step in steps {
        if let Err(error) = conn.query_drop(step).await {
            panic!("{step}: {error}");
        }
    }
    let b: Option<u32> = conn
        .exec_first("SELECT b FROM t WHERE id = ?", (1,))
        .await
        .unwrap();
    assert_eq!(b, Some(7));
    let mut wire = rig.wire().await;
    wire.query("CREATE DATABASE made_too")
        .await
        .unwrap()
        .expect_ok();
    wire.command(b"\x02made_too").await.unwrap().expect_ok();
    assert_eq!(
        wire.query("SELECT DATABASE()").await.unwrap().value(),
        "made_too"
    );
}

#[tokio::test]
async fn what_was_made_can_be_used_on_mysql() {
    what_was_made_can_be_used(Flavor::Mysql).await;
}

#[tokio::test]
async fn what_was_made_can_be_used_on_mariadb() {
    what_was_made_can_be_used(Flavor::Mariadb).await;
}
