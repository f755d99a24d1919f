//! What `isthmus explain` says about the statements of the guided session.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::Outcome;

/// What `isthmus explain` says about one statement.
#[derive(Debug, Clone)]
pub(crate) struct Explained {
    /// `reader`, `writer`, `previous`, `proxy`, `session` or `refused`.
    pub(crate) route: String,
    /// Why: a sentence.
    pub(crate) reason: String,
}

/// Asks about a session that sends these statements one after the other.
pub(crate) fn explain(
    binary: &Path,
    config: &Path,
    statements: &[&str],
) -> Outcome<Vec<Explained>> {
    let output = Command::new(binary)
        .args([
            OsStr::new("explain"),
            OsStr::new("--json"),
            OsStr::new("--config"),
        ])
        .arg(config)
        .arg(statements.join(";\n"))
        // Ctrl-C is for the demo alone.
        .process_group(0)
        .output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("isthmus explain failed: {message}").into());
    }
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("isthmus explain did not print JSON: {error}"))?;
    let explained: Vec<Explained> = answer
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| {
            Some(Explained {
                route: one.get("route")?.as_str()?.to_owned(),
                reason: one.get("reason")?.as_str()?.to_owned(),
            })
        })
        .collect();
    if explained.len() != statements.len() {
        let (answers, questions) = (explained.len(), statements.len());
        return Err(
            format!("isthmus explain explained {answers} of {questions} statements").into(),
        );
    }
    Ok(explained)
}
