//! What PyMySQL and ActiveRecord cost in round trips: `tests/drivers/trips` has the programs, which
//! do one thing for each line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use isthmus_lab::APP;
use isthmus_tests::{Flavor, Stage, shared_stage};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Ocean;

/// A program that waits for its next line.
struct Program {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(ocean: &Ocean, interpreter: PathBuf, file: &str, schema: &str) -> Self {
        let address = ocean.proxy.address();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/trips");
        let mut child = Command::new(&interpreter)
            .arg(folder.join(file))
            .env("DB_HOST", address.ip().to_string())
            .env("DB_PORT", address.port().to_string())
            .env("DB_USER", APP.user)
            .env("DB_PASSWORD", APP.password)
            .env("DB_SCHEMA", schema)
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

    /// Runs each line and counts what crosses the ocean.
    async fn expect(&mut self, ocean: &Ocean, lines: &[(&str, u64)]) {
        for (line, trips) in lines {
            let ((), counted) = ocean.cost(async || self.run(line).await).await;
            assert_eq!(counted, *trips, "{line}");
        }
    }
}

async fn album(stage: &Stage, schema: &str) -> Ocean {
    stage.schema(schema).await;
    let tables = format!(
        "CREATE TABLE {schema}.photos (id BIGINT AUTO_INCREMENT PRIMARY KEY, title VARCHAR(50)); \
         CREATE TABLE {schema}.comments (id BIGINT AUTO_INCREMENT PRIMARY KEY, photo_id BIGINT, text VARCHAR(50))"
    );
    stage.lab.writer().execute(tables).await.unwrap();
    stage.caught_up().await;
    Ocean::new(stage).await
}

/// Both tables of the album.
async fn rows(stage: &Stage, schema: &str) -> Vec<String> {
    let query =
        format!("SELECT title FROM {schema}.photos UNION ALL SELECT text FROM {schema}.comments");
    crate::column(stage.lab.writer(), &query).await
}

async fn pymysql(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let ocean = album(stage, "trips_pymysql").await;
    let cache = std::env::var_os("ISTHMUS_CACHE").unwrap_or_else(|| "/var/cache/isthmus".into());
    let python = Path::new(&cache).join("python/bin/python3");
    let mut program = Program::start(&ocean, python, "pymysql_lines.py", "trips_pymysql");
    let insert = "INSERT INTO photos (title) VALUES ('a')";
    program.run("connect").await;
    program.run("UPDATE photos SET title = 'b'").await;
    program
        .expect(
            &ocean,
            &[
                ("connect", 0),
                ("ping", 0),
                ("SET NAMES utf8mb4", 0),
                ("SELECT @@version_comment", 0),
                ("SELECT * FROM photos", 0),
                (insert, 1),
                ("begin", 0),
                (insert, 1),
                ("SAVEPOINT a", 0),
                (insert, 1),
                ("RELEASE SAVEPOINT a", 0),
                ("commit", 1),
                ("begin", 0),
                ("commit", 0),
                ("begin", 0),
                ("rollback", 0),
                ("rollback", 0),
                ("SET time_zone = '+09:00'", 0),
                ("begin", 0),
                ("SAVEPOINT a", 0),
                (insert, 1),
                ("commit", 1),
                ("connect, autocommit off", 0),
                (insert, 1),
                (insert, 1),
                ("commit", 1),
                ("commit", 0),
                ("SET autocommit = 1", 0),
            ],
        )
        .await;
    assert_eq!(rows(stage, "trips_pymysql").await, ["a"; 6]);
}

async fn active_record(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let ocean = album(stage, "trips_rails").await;
    let mut program = Program::start(
        &ocean,
        "ruby".into(),
        "active_record_lines.rb",
        "trips_rails",
    );
    program.run("connect").await;
    program.run("create").await;
    program
        .expect(
            &ocean,
            &[
                ("connect", 0),
                ("find", 0),
                ("empty", 0),
                // BEGIN, INSERT, COMMIT.
                ("create", 2),
                // BEGIN, INSERT, SAVEPOINT, INSERT, RELEASE, COMMIT.
                ("nested", 3),
                ("rolled back", 2),
                ("connect, prepared statements", 0),
                ("create", 2),
                ("create", 2),
                ("nested", 3),
            ],
        )
        .await;
    let rows = rows(stage, "trips_rails").await;
    assert_eq!(rows.iter().filter(|row| *row == "a cat").count(), 4);
    assert_eq!(rows.iter().filter(|row| *row == "how white").count(), 2);
    assert!(!rows.iter().any(|row| row == "blurred"), "{rows:?}");
}

isthmus_tests::on_both! { pymysql active_record }
