//! What may go to a reader.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Hints of the operator about what is safe on a reader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// Stored functions that only read, in lower case, with or without a schema (`shop.price`).
    /// A statement that calls any other stored function goes to the writer.
    #[serde(deserialize_with = "function_names")]
    pub reader_functions: Vec<String>,
}

fn function_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    for name in &names {
        if !is_function_name(name) {
            return Err(D::Error::custom(format!(
                "\"{name}\" is not the name of a function; write it without quotes and \
                 parentheses, such as \"price_of\" or \"shop.price_of\""
            )));
        }
    }
    Ok(names.into_iter().map(|name| name.to_lowercase()).collect())
}

fn is_function_name(name: &str) -> bool {
    let is_identifier = |part: &str| {
        let is_letter = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        !part.is_empty() && part.chars().all(is_letter)
    };
    name.split('.').count() <= 2 && name.split('.').all(is_identifier)
}
