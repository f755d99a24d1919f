//! The demo, as somebody sees it who has just cloned the repository: it ends well, shows what it
//! promises, and leaves nothing behind.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use isthmus_tests::rig::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tempfile::TempDir;

/// How long it may take to build the demo and to run it.
const LIMIT: Duration = Duration::from_secs(900);

/// A demo that runs, in a process group of its own as under a terminal.
struct Demo {
    child: Child,
    /// Where it may have temporary files.
    directory: TempDir,
    output: PathBuf,
    /// Where the output lies, so that the other directory is empty in the end.
    _beside: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (directory, beside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let output = beside.path().join("output");
        let file = File::create(&output).unwrap();
        let child = Command::new(root.join("scripts/demo"))
            .arg("--debug")
            .args(arguments)
            .env("TMPDIR", directory.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            child,
            directory,
            output,
            _beside: beside,
        }
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned()
    }

    /// Waits until it has said this.
    async fn says(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.output().contains(text) {
            let ended = self.child.try_wait().unwrap();
            let is_in_time = ended.is_none() && Instant::now() < deadline;
            assert!(is_in_time, "{ended:?} without {text:?}:\n{}", self.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal to all of its process group, as a terminal does at Ctrl-C.
    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let sent = Command::new("kill")
            .args(["-s", name, "--", &group])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end, after which nothing of it is left; returns its output.
    async fn ends(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "{}", self.output()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let left = fs::read_dir(self.directory.path()).unwrap().count();
        assert_eq!(left, 0, "files are left:\n{}", self.output());
        let running = processes_within(self.directory.path());
        assert!(running.is_empty(), "processes are left: {running:?}");
        (status, self.output())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}

/// The command lines that have the directory in them.
fn processes_within(directory: &Path) -> Vec<String> {
    let name = directory.to_str().unwrap();
    let lines = fs::read_dir("/proc").unwrap().filter_map(|process| {
        let line = fs::read(process.unwrap().path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(name)).collect()
}

#[tokio::test]
async fn once_shows_where_statements_go() {
    let (status, output) = Demo::start(&["--once"]).ends().await;
    assert!(status.success(), "{status}:\n{output}");
    for (statement, places) in [
        ("SET NAMES utf8mb4", &["reader"][..]),
        (
            "SELECT title FROM photos WHERE id = 1 FOR UPDATE",
            &["writer"],
        ),
        ("INSERT INTO photos (title) VALUES", &["writer"]),
        // Once before the reader has it, and once after that.
        (
            "SELECT title FROM photos WHERE title = ",
            &["writer", "reader"],
        ),
        ("COMMIT", &["writer"]),
    ] {
        let shown = format!("  {statement}");
        let lines: Vec<&str> = output
            .lines()
            .filter(|line| line.starts_with(&shown))
            .collect();
        assert_eq!(lines.len(), places.len(), "{statement}:\n{output}");
        for (line, place) in lines.iter().zip(places) {
            assert!(line.contains(place) && line.contains("directly"), "{line}");
        }
    }
    assert!(
        output.contains("Every one went where it should."),
        "{output}"
    );
}

#[tokio::test]
async fn it_goes_on_until_ctrl_c_and_leaves_nothing() {
    let mut demo = Demo::start(&["--flavor", "mariadb"]);
    demo.says("Ctrl-C ends the demo").await;
    let output = demo.output();
    let url = output
        .lines()
        .find(|line| line.trim().starts_with("mysql://"));
    let mut client = Conn::from_url(url.unwrap().trim()).await.unwrap();
    let query = "SELECT COUNT(*) FROM photos WHERE title = 'Snow'";
    let found: Option<i64> = client.query_first(query).await.unwrap();
    assert!(found.is_some());
    until("the demo shows it", async || demo.output().contains(query)).await;
    demo.signal("INT");
    let (status, output) = demo.ends().await;
    assert!(status.success(), "{status}:\n{output}");
}

#[tokio::test]
async fn ctrl_c_while_it_starts_leaves_nothing() {
    let mut demo = Demo::start(&["--once"]);
    demo.says("Starting two").await;
    demo.signal("INT");
    let (status, output) = demo.ends().await;
    assert_eq!(status.code(), Some(130), "{output}");
}
