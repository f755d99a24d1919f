//! What a session that has written may read.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::span;

/// Read your writes: how it is known what a reader has seen, and what a read does until then.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consistency {
    /// How it is known what a reader has seen.
    pub source: Source,
    /// How far a reader may be behind, as the operator promises it: for the source `fixed`, and
    /// for `auto` where nothing better works.
    #[serde(deserialize_with = "span::positive")]
    pub fixed_lag: Duration,
    /// The table of the source `heartbeat`.
    pub heartbeat_table: TableName,
    /// What a read does while the reader has not seen the session's writes.
    pub on_stale: OnStale,
    /// How long such a read waits for the reader, if it waits.
    #[serde(deserialize_with = "span::positive")]
    pub max_wait: Duration,
    /// Who else must see a session's writes.
    pub scope: Scope,
    /// Which of a session's reads must see its writes.
    pub pin: Pinning,
}

/// How it is known what a reader has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `gtid` where the servers have GTIDs, otherwise `heartbeat` where its table is there,
    /// otherwise `aurora` where the servers are, otherwise `fixed` with a warning.
    Auto,
    /// By the GTIDs of MySQL or MariaDB: exact.
    Gtid,
    /// By a number that the proxy writes on the writer and looks for on the reader: exact where
    /// the reader commits in the order of the writer.
    Heartbeat,
    /// By what Aurora MySQL tells in its tables.
    Aurora,
    /// After a fixed time, which is only as true as the operator's promise.
    Fixed,
}

/// What a read does while the reader has not seen the session's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStale {
    /// It goes to the writer.
    Writer,
    /// It waits for the reader, and goes to the writer when that takes too long.
    Wait,
    /// It waits as long as that is expected to end sooner than a round trip to the writer.
    Fastest,
}

/// Who else must see a session's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Nobody: the promise holds within one client connection.
    Session,
    /// All sessions of the same user.
    User,
    /// All sessions that show the same key by a hint.
    Key,
    /// All sessions.
    Global,
}

/// Which of a session's reads must see its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pinning {
    /// All.
    All,
    /// Those that name a table that the session has written.
    Tables,
}

/// A table with its schema, both of letters that need no escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    schema: String,
    name: String,
}

impl TableName {
    /// A table of this schema. Both names are letters, digits, `_` and `$`.
    pub fn new(schema: &str, name: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The table as it stands in a statement.
    pub fn to_sql(&self) -> String {
        format!("`{}`.`{}`", self.schema, self.name)
    }

    /// Its schema as it stands in a statement.
    pub fn schema_to_sql(&self) -> String {
        format!("`{}`", self.schema)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "_$".contains(c);
        let is_name = |name: &str| (1..=64).contains(&name.len()) && name.chars().all(is_letter);
        match text.split_once('.') {
            Some((schema, name)) if is_name(schema) && is_name(name) => Ok(Self::new(schema, name)),
            _ => Err(de::Error::custom(format!(
                "\"{text}\" is not a table; write \"schema.table\", both of up to 64 letters, \
                 digits, `_` and `$`"
            ))),
        }
    }
}

impl Default for Consistency {
    fn default() -> Self {
        Self {
            source: Source::Auto,
            fixed_lag: Duration::from_secs(1),
            heartbeat_table: TableName::new("isthmus", "heartbeat"),
            on_stale: OnStale::Fastest,
            max_wait: Duration::from_secs(1),
            scope: Scope::Session,
            pin: Pinning::All,
        }
    }
}

impl Source {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Auto => "auto",
            Source::Gtid => "gtid",
            Source::Heartbeat => "heartbeat",
            Source::Aurora => "aurora",
            Source::Fixed => "fixed",
        }
    }
}

impl OnStale {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            OnStale::Writer => "writer",
            OnStale::Wait => "wait",
            OnStale::Fastest => "fastest",
        }
    }
}

impl Scope {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Session => "session",
            Scope::User => "user",
            Scope::Key => "key",
            Scope::Global => "global",
        }
    }
}

impl Pinning {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Pinning::All => "all",
            Pinning::Tables => "tables",
        }
    }
}
