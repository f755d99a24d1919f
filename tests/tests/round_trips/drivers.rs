//! What PyMySQL and ActiveRecord cost in round trips: `tests/drivers/trips` has the programs, which
//! do one thing for each line.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use isthmus_lab::APP;
use isthmus_tests::{Flavor, Stage, Table, set, shared_stage};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{Ocean, ROUND_TRIP};

/// A program that waits for its next line.
struct Program {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(stage: &Stage, ocean: &Ocean, interpreter: PathBuf, file: &str, schema: &str) -> Self {
        let address = ocean.proxy.address();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/trips");
        let mut child = Command::new(&interpreter)
            .arg(folder.join(file))
            .env("DB_HOST", address.ip().to_string())
            .env("DB_PORT", address.port().to_string())
            .env("DB_USER", APP.user)
            .env("DB_PASSWORD", APP.password)
            .env("DB_SCHEMA", schema)
            .env("DB_CA", &stage.lab.certificates().authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run {interpreter:?} (scripts/setup drivers installs it): {error}")
            });
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            _child: child,
            input,
            output,
        }
    }

    async fn run(&mut self, line: &str) {
        self.input
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        let answer = self.output.next_line().await.unwrap();
        assert_eq!(answer.as_deref(), Some("done"), "{line}");
    }

    /// Runs what both programs send as it is: rows of the table of round trips.
    async fn expect_rows(&mut self, ocean: &Ocean, schema: &str) {
        let back = format!("USE {schema}");
        let insert = "INSERT INTO photos (title) VALUES ('a')";
        let lines = [
            ("SET NAMES utf8mb4", 0),
            ("SELECT @@version_comment", 0),
            ("SHOW VARIABLES LIKE 'sql_mode'", 0),
            ("USE mysql", 0),
            (&back, 0),
            ("SELECT * FROM photos", 0),
            (insert, 1),
            ("BEGIN", 0),
            (insert, 1),
            (insert, 1),
            ("COMMIT", 1),
            ("BEGIN", 0),
            ("SAVEPOINT a", 0),
            (insert, 1),
            ("RELEASE SAVEPOINT a", 0),
            ("COMMIT", 1),
            ("BEGIN", 0),
            ("COMMIT", 0),
            ("BEGIN", 0),
            ("ROLLBACK", 0),
            ("COMMIT", 0),
            ("ROLLBACK", 0),
            ("SET autocommit = 0", 0),
            (insert, 1),
            (insert, 1),
            ("COMMIT", 1),
            ("SET autocommit = 1", 0),
            ("SET time_zone = '+09:00'", 0),
            ("BEGIN", 0),
            (insert, 1),
            ("COMMIT", 1),
        ];
        self.expect(ocean, &lines).await;
        self.run("BEGIN").await;
        self.run("INSERT INTO photos (title) VALUES ('blurred')")
            .await;
        // Longer than any machine dawdles.
        ocean.line.set_round_trip(Duration::from_secs(3));
        let start = Instant::now();
        self.run("ROLLBACK").await;
        assert!(start.elapsed() < Duration::from_secs(2), "it has waited");
        ocean.line.set_round_trip(*ROUND_TRIP);
        // Which is answered after it.
        self.run(insert).await;
    }

    /// Runs each line and counts what crosses the ocean.
    async fn expect(&mut self, ocean: &Ocean, lines: &[(&str, u64)]) {
        for (line, trips) in lines {
            let ((), counted) = ocean.cost(async || self.run(line).await).await;
            assert_eq!(counted, *trips, "{line}");
        }
    }
}

/// How many rows [`Program::expect_rows`] leaves.
const WRITTEN: usize = 8;

/// A proxy in front of a new schema.
async fn album(stage: &Stage, schema: &str, adjust: impl Fn(&mut Table)) -> Ocean {
    stage.schema(schema).await;
    let tables = format!(
        "CREATE TABLE {schema}.photos (id BIGINT AUTO_INCREMENT PRIMARY KEY, title VARCHAR(50)); \
         CREATE TABLE {schema}.comments (id BIGINT AUTO_INCREMENT PRIMARY KEY, photo_id BIGINT, text VARCHAR(50))"
    );
    stage.lab.writer().execute(tables).await.unwrap();
    stage.caught_up().await;
    Ocean::with(stage, |config| {
        set(config, "pool.max_connections", 1);
        adjust(config);
    })
    .await
}

/// What a session has written it reads by GTIDs, however much the machine dawdles.
fn by_gtids(config: &mut Table) {
    set(config, "consistency.source", "gtid");
    set(config, "consistency.on_stale", "wait");
}

/// Both tables of the album.
async fn rows(stage: &Stage, schema: &str) -> Vec<String> {
    let query =
        format!("SELECT title FROM {schema}.photos UNION ALL SELECT text FROM {schema}.comments");
    crate::column(stage.lab.writer(), &query).await
}

fn pymysql(stage: &Stage, ocean: &Ocean, schema: &str) -> Program {
    let cache = std::env::var_os("ISTHMUS_CACHE").unwrap_or_else(|| "/var/cache/isthmus".into());
    let python = Path::new(&cache).join("python/bin/python3");
    Program::start(stage, ocean, python, "pymysql_lines.py", schema)
}

fn active_record(stage: &Stage, ocean: &Ocean, schema: &str) -> Program {
    Program::start(
        stage,
        ocean,
        "ruby".into(),
        "active_record_lines.rb",
        schema,
    )
}

async fn pymysql_pays_what_the_table_says(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let ocean = album(stage, "trips_pymysql", |_| {}).await;
    let mut program = pymysql(stage, &ocean, "trips_pymysql");
    let insert = "INSERT INTO photos (title) VALUES ('a')";
    program.run("connect").await;
    program.run("UPDATE photos SET title = 'b'").await;
    let lines = [
        ("connect", 0),
        ("connect with TLS", 0),
        ("ping", 0),
        (insert, 1),
        ("begin", 0),
        (insert, 1),
        ("commit", 1),
        ("begin", 0),
        ("rollback", 0),
        ("begin", 0),
        (
            "INSERT INTO photos (title) VALUES ('a'); INSERT INTO photos (title) VALUES ('a')",
            1,
        ),
        ("SAVEPOINT a", 0),
        ("INSERT INTO photos (title) VALUES ('a'); COMMIT", 1),
        // Without being told otherwise, PyMySQL switches autocommit off.
        ("connect, autocommit off", 0),
        (insert, 1),
        (insert, 1),
        ("commit", 1),
        ("commit", 0),
        ("SET autocommit = 1", 0),
        ("disconnect", 0),
        ("connect", 0),
    ];
    program.expect(&ocean, &lines).await;
    program.expect_rows(&ocean, "trips_pymysql").await;
    assert_eq!(rows(stage, "trips_pymysql").await, ["a"; 7 + WRITTEN]);
}

async fn active_record_pays_what_the_table_says(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let ocean = album(stage, "trips_rails", |_| {}).await;
    let mut program = active_record(stage, &ocean, "trips_rails");
    program.run("connect").await;
    program.run("create").await;
    let lines = [
        ("connect", 0),
        ("connect with TLS", 0),
        ("ping", 0),
        ("find", 0),
        ("empty", 0),
        // BEGIN, INSERT, COMMIT.
        ("create", 2),
        // BEGIN, INSERT, SAVEPOINT, INSERT, RELEASE, COMMIT.
        ("nested", 3),
        // BEGIN, SAVEPOINT, INSERT, RELEASE, COMMIT.
        ("nested save", 2),
        // ROLLBACK is sent, and not waited for.
        ("rolled back", 2),
        ("connect, prepared statements", 0),
        ("find", 0),
        ("create", 2),
        ("create", 2),
        ("nested", 3),
        ("disconnect", 0),
        ("connect", 0),
    ];
    program.expect(&ocean, &lines).await;
    program.expect_rows(&ocean, "trips_rails").await;
    let rows = rows(stage, "trips_rails").await;
    let count = |text: &str| rows.iter().filter(|row| *row == text).count();
    let counts = ["a cat", "how white", "a", "blurred"].map(count);
    assert_eq!(counts, [4, 3, WRITTEN, 0]);
}

/// A read after the session's own write waits for what is left of the lag, and not for the ocean.
async fn both_read_next_door_what_they_have_written(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let ocean = album(stage, "trips_read", by_gtids).await;
    let mut program = pymysql(stage, &ocean, "trips_read");
    let read = ("SELECT * FROM photos", 0);
    program.run("connect").await;
    program.run("INSERT INTO photos (title) VALUES ('a')").await;
    let lines = [
        read,
        ("INSERT INTO photos (title) VALUES ('a')", 1),
        read,
        ("UPDATE photos SET title = 'a'", 1),
        read,
        ("begin", 0),
        ("UPDATE photos SET title = 'b'", 1),
        ("commit", 1),
        read,
    ];
    program.expect(&ocean, &lines).await;
    let mut program = active_record(stage, &ocean, "trips_read");
    program.run("connect").await;
    program.run("create").await;
    let lines = [
        ("find", 0),
        ("create", 2),
        ("find", 0),
        // It reads first.
        ("update", 2),
        ("find", 0),
        ("nested save", 2),
        ("find", 0),
    ];
    program.expect(&ocean, &lines).await;
}

isthmus_tests::on_both! {
    pymysql_pays_what_the_table_says
    active_record_pays_what_the_table_says
    both_read_next_door_what_they_have_written
}
