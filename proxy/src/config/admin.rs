//! The HTTP server for operators.

use std::net::SocketAddr;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Where metrics, health and reload are served over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The address to listen on; none if the server is switched off.
    #[serde(deserialize_with = "address_or_off")]
    pub address: Option<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: Some(SocketAddr::from(([127, 0, 0, 1], 9306))),
        }
    }
}

fn address_or_off<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        D::Error::custom(format!(
            "\"{text}\" is not an address; write ip:port such as \"127.0.0.1:9306\", or \"off\""
        ))
    })
}
