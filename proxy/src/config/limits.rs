//! What one proxy takes on.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::size;

/// Bounds on clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most clients at a time; the next one is refused with error 1040.
    #[serde(deserialize_with = "size::count")]
    pub max_client_connections: usize,
    /// The longest statement in bytes, as with MySQL's variable of that name.
    #[serde(deserialize_with = "packet_size")]
    pub max_allowed_packet: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_client_connections: 10_000,
            max_allowed_packet: 64 << 20,
        }
    }
}

/// MySQL's own bounds for this variable.
fn packet_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let bytes = size::bytes(deserializer)?;
    if !(1 << 10..=1 << 30).contains(&bytes) {
        return Err(D::Error::custom(format!(
            "{} is out of range; write a size from \"1KiB\" to \"1GiB\"",
            size::text(bytes)
        )));
    }
    Ok(bytes)
}
