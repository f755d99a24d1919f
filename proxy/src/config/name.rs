//! Names: their letters, and that each is given once.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;

use super::error::Fault;

/// Refuses the second of two equal names.
pub(super) fn check_unique<'a>(
    what: &str,
    names: impl Iterator<Item = &'a Spanned<String>>,
) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name.get_ref()) {
            return Err(Fault::new(
                name.span(),
                format!(
                    "a second {what} called `{}`; give each {what} a name of its own",
                    name.get_ref()
                ),
            ));
        }
    }
    Ok(())
}

/// Names of endpoints and regions stand in metrics and log lines.
pub(super) fn name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Spanned<String>, D::Error> {
    let name = Spanned::<String>::deserialize(deserializer)?;
    let text = name.get_ref();
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_letter) {
        return Err(D::Error::custom(format!(
            "\"{text}\" cannot be a name here; write up to 64 letters, digits, `-`, `_` and `.`"
        )));
    }
    Ok(name)
}
