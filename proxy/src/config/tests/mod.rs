//! The configuration as a whole: files in, values or errors out.

mod diff;
mod errors;
mod examples;
mod values;

use std::path::Path;

use super::{Config, ConfigError};

/// The head of a file that lacks nothing; tests append tables to it.
const MINIMAL: &str = include_str!("../../../../configs/minimal.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/isthmus/isthmus.toml"))
}

/// The minimal file followed by `tables`.
fn with(tables: &str) -> Config {
    parse(&format!("{MINIMAL}\n{tables}")).unwrap()
}
