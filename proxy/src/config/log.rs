//! The log.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// One line of text or one JSON object for each event.
    pub format: LogFormat,
    /// A filter in the syntax of `tracing_subscriber::EnvFilter`, already found valid: a level,
    /// or levels for single modules.
    #[serde(deserialize_with = "filter")]
    pub level: String,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text for each event.
    Text,
    /// One JSON object on a line for each event.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

impl LogFormat {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// Whether it is a level, or one for a module. To `EnvFilter` a misspelt level is the name of a
/// module, and then nothing else is logged.
fn is_directive(directive: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let is_name = |name: &str| !name.is_empty() && name.chars().all(is_letter);
    // Nothing is a level too.
    let is_level = |level: &str| !level.is_empty() && level.parse::<LevelFilter>().is_ok();
    match directive.trim().split_once('=') {
        Some((module, level)) => module.split("::").all(is_name) && is_level(level),
        None => is_level(directive.trim()),
    }
}

fn filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let filter = String::deserialize(deserializer)?;
    match EnvFilter::builder().parse(&filter) {
        Ok(_) if filter.split(',').all(is_directive) => Ok(filter),
        _ => Err(D::Error::custom(format!(
            "\"{filter}\" is not a log level; write error, warn, info, debug or trace, or levels \
             for single modules such as \"info,isthmus::pool=debug\""
        ))),
    }
}
