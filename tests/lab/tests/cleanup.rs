//! Nothing is left, whatever way the program ends that has started a lab.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_lab::{Flavor, Lab, Options, Process, Result, Sandbox};

#[test]
fn a_killed_program_leaves_nothing() {
    for flavor in Flavor::ALL {
        let directory = tempfile::tempdir().unwrap();
        let mut program = start_program(flavor, directory.path());
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("\"writer\""), "{line}");
        assert!(processes_within(directory.path()) >= 3);

        // SIGKILL: it cannot do anything about it.
        program.kill().unwrap();
        program.wait().unwrap();
        wait_until_nothing_is_left_in(directory.path());
    }
}

#[test]
fn a_program_killed_while_it_starts_leaves_nothing() {
    for _ in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let mut program = start_program(Flavor::Mysql, directory.path());
        wait_until("a server runs", || processes_within(directory.path()) >= 2);
        program.kill().unwrap();
        program.wait().unwrap();
        wait_until_nothing_is_left_in(directory.path());
    }
}

#[test]
fn an_ended_program_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = start_program(Flavor::Mariadb, directory.path());
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
    // Already, not sooner or later.
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
    assert_eq!(processes_within(directory.path()), 0);
}

#[tokio::test]
async fn a_dropped_lab_leaves_nothing() -> Result<()> {
    let lab = Lab::start(Options::default()).await?;
    lab.reader().pause().await?;
    let directory = lab.directory().to_owned();
    assert!(directory.exists());
    drop(lab);
    assert!(!directory.exists());
    assert_eq!(processes_within(&directory), 0);
    Ok(())
}

#[tokio::test]
async fn a_process_ends_with_its_handle() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let log = sandbox.directory().join("log");
    let mark = sandbox.directory().join("mark");
    let start = |script: &str| {
        let arguments = [
            "-c".into(),
            script.to_owned().into(),
            mark.clone().into_os_string(),
        ];
        Process::spawn(&sandbox, "sh", Path::new("/bin/sh"), arguments, &log)
    };
    let ends = start("echo done; exit 3")?;
    assert_eq!(ends.wait(Duration::from_secs(5)).await?.code(), Some(3));
    assert_eq!(ends.log_tail(), "done");

    let stays = start("sleep 60; true")?;
    let proc = format!("/proc/{}", stays.pid());
    assert!(Path::new(&proc).exists());
    drop(stays);
    assert!(!Path::new(&proc).exists());
    assert!(ends.signal(isthmus_lab::Signal::TERM).is_err());
    drop(ends);
    assert_eq!(Arc::strong_count(&sandbox), 1);
    Ok(())
}

fn start_program(flavor: Flavor, directory: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["--flavor", flavor.name(), "--until-eof"])
        .env("TMPDIR", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_until_nothing_is_left_in(directory: &Path) {
    wait_until("all processes have ended", || {
        processes_within(directory) == 0
    });
    wait_until("the directory is removed", || {
        fs::read_dir(directory).unwrap().next().is_none()
    });
}

/// How many processes have the directory in their command line.
fn processes_within(directory: &Path) -> usize {
    let name = directory.to_str().unwrap();
    let running = fs::read_dir("/proc").unwrap().filter(|process| {
        let command_line =
            fs::read(process.as_ref().unwrap().path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command_line).contains(name)
    });
    running.count()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it is not so that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
