//! What a session that has written may read.

use std::time::Duration;

use serde::Deserialize;

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
    /// What a read does while the reader has not seen the session's writes.
    pub on_stale: OnStale,
    /// How long such a read waits for the reader, if it waits.
    #[serde(deserialize_with = "span::positive")]
    pub max_wait: Duration,
    /// Who else must see a session's writes.
    pub scope: Scope,
}

/// How it is known what a reader has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `gtid` where the servers have GTIDs, otherwise `fixed` with a warning.
    Auto,
    /// By the GTIDs of MySQL or MariaDB: exact.
    Gtid,
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
}

/// Who else must see a session's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Nobody: the promise holds within one client connection.
    Session,
}

impl Default for Consistency {
    fn default() -> Self {
        Self {
            source: Source::Auto,
            fixed_lag: Duration::from_secs(1),
            on_stale: OnStale::Writer,
            max_wait: Duration::from_secs(1),
            scope: Scope::Session,
        }
    }
}

impl Source {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Auto => "auto",
            Source::Gtid => "gtid",
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
        }
    }
}

impl Scope {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Session => "session",
        }
    }
}
