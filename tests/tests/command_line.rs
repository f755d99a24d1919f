//! `isthmus check`, `isthmus explain` and `--help`, as a person at a terminal uses them.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use isthmus_lab::proxy_binary;

const GOOD: &str = r#"region = "here"
[listen]
addresses = ["127.0.0.1:3306"]
[[users]]
name = "app"
password = "open sesame"
[[endpoints]]
name = "tokyo"
address = "127.0.0.1:3307"
region = "here"
role = "writer"
"#;

fn isthmus(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(proxy_binary().unwrap());
    command.args(arguments).stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file of its own with this content.
fn file(name: &str, content: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

#[test]
fn check_shows_what_counts_and_no_secret() {
    let (_folder, path) = file("isthmus.toml", GOOD);
    let output = isthmus(&["check", "--config", path.to_str().unwrap()], "");
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(shown.contains("address = \"127.0.0.1:3307\""), "{shown}");
    assert!(
        shown.contains("********") && !shown.contains("sesame"),
        "{shown}"
    );
}

#[test]
fn check_says_where_what_is_wrong_and_what_would_be_right() {
    let key = GOOD.replace(
        "[[users]]",
        "tls = { certificate = \"not-there.pem\", key = \"k.pem\" }\n[[users]]",
    );
    let cases = [
        (
            GOOD.replace("role = \"writer\"", "role = \"boss\""),
            "11:8",
            "known here: writer, reader",
        ),
        (
            GOOD.replacen("region = \"here\"", "regoin = \"here\"", 1),
            "1:1",
            "region",
        ),
        (key, "4:23", "name a readable PEM file"),
    ];
    for (content, place, remedy) in cases {
        let (_folder, path) = file("isthmus.toml", &content);
        let output = isthmus(&["check", "--config", path.to_str().unwrap()], "");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let place = format!("{}:{place}: ", path.display());
        assert!(
            said.contains(&place) && said.contains(remedy),
            "{place}{remedy}: {said}"
        );
    }
}

#[test]
fn explain_reads_standard_input() {
    let output = isthmus(&["explain", "--json", "-"], "SELECT 1; DELETE FROM t");
    let routes = text(&output.stdout);
    assert!(output.status.success());
    let reader = routes.find("\"reader\"").unwrap();
    let writer = routes.find("\"writer\"").unwrap();
    assert!(reader < writer, "{routes}");
}

#[test]
fn help_names_every_command_and_what_it_is_for() {
    let output = isthmus(&["--help"], "");
    let help = text(&output.stdout);
    for command in ["serve", "check", "setup", "explain"] {
        assert!(help.contains(command), "{help}");
        let own = text(&isthmus(&[command, "--help"], "").stdout);
        assert!(own.contains("Usage: isthmus"), "{own}");
    }
}
