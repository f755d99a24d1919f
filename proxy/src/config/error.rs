//! What is wrong in a configuration file, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The first thing that is wrong in a configuration file. It prints as
/// `FILE:LINE:COLUMN: what is wrong; what would be right`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    position: Option<Position>,
    message: String,
}

/// A place in the file; both numbers count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    line: usize,
    column: usize,
}

impl ConfigError {
    /// The file could not be read at all.
    pub(super) fn unreadable(file: &Path, cause: &std::io::Error) -> Self {
        Self {
            file: file.to_owned(),
            position: None,
            message: format!("cannot be read ({cause}); name a readable TOML file"),
        }
    }

    /// The configuration in `file` names another file that is of no use; `message` says so and why.
    pub(super) fn naming(file: &Path, text: &str, named: &Path, message: String) -> Self {
        let folder = file.parent().unwrap_or(Path::new(""));
        let relative = named.strip_prefix(folder).unwrap_or(named);
        let places = [named, relative].map(|path| text.find(&format!("\"{}\"", path.display())));
        Self {
            file: file.to_owned(),
            position: places
                .into_iter()
                .flatten()
                .next()
                .map(|at| position(text, at)),
            message,
        }
    }

    /// The line of the error, counted from 1; none if the file could not be read.
    pub fn line(&self) -> Option<usize> {
        self.position.map(|position| position.line)
    }

    /// The column of the error in characters, counted from 1; none if the file could not be read.
    pub fn column(&self) -> Option<usize> {
        self.position.map(|position| position.column)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// An error whose place is still a range of bytes, as the parser reports it.
#[derive(Debug)]
pub(super) struct Fault {
    at: Range<usize>,
    message: String,
}

impl Fault {
    /// `message` is `what is wrong; what would be right`.
    pub(super) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }

    /// Gives the fault its line and column in `text`, the content of `file`.
    pub(super) fn locate(self, file: &Path, text: &str) -> ConfigError {
        ConfigError {
            file: file.to_owned(),
            position: Some(position(text, self.at.start)),
            message: self.message,
        }
    }
}

impl From<toml::de::Error> for Fault {
    fn from(error: toml::de::Error) -> Self {
        Fault::new(error.span().unwrap_or_default(), readable(error.message()))
    }
}

fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// Turns serde's words into "what is wrong; what would be right".
fn readable(message: &str) -> String {
    if let Some(kind) = message.strip_prefix("invalid type: ") {
        return wrong_type(kind);
    }
    if let Some((wrong, right)) = message.split_once(", expected ") {
        return unexpected(wrong, right);
    }
    if let Some(name) = message
        .strip_prefix("missing field ")
        .and_then(|rest| quoted(rest).first().copied())
    {
        return format!("`{name}` is missing; add `{name} = …` here");
    }
    message.to_owned()
}

/// ``integer `300`, expected a string``. The value is left out: it may be a password.
fn wrong_type(kind: &str) -> String {
    let (found, right) = kind
        .split_once(", expected ")
        .unwrap_or((kind, "another type"));
    let found = found.split([' ', '`']).next().unwrap_or(found);
    let right = match right {
        "i64" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "a list in brackets",
        other => other,
    };
    format!("a value of type {found} cannot stand here; write {right}")
}

/// ``unknown field `idle_timout`, expected one of `idle_timeout`, `max_life` ``.
fn unexpected(wrong: &str, right: &str) -> String {
    let known = quoted(right);
    let hint = quoted(wrong)
        .first()
        .and_then(|name| nearest(name, &known))
        .map(|name| format!("did you mean `{name}`? "))
        .unwrap_or_default();
    if wrong.starts_with("unknown") {
        format!("{wrong}; {hint}known here: {}", known.join(", "))
    } else {
        format!("{wrong}; expected {right}")
    }
}

/// The words between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The known name that `name` was most likely meant to be, if one is near enough.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (edits(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: how many letters must be put in, left out or replaced.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
