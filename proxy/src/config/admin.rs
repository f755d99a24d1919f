//! The HTTP server for operators.

use std::net::SocketAddr;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;

/// Where metrics, health and reload are served over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The address to listen on; none if the server is switched off.
    pub address: Option<SocketAddr>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAdmin {
    #[serde(deserialize_with = "address_or_off")]
    pub(super) address: Spanned<Option<SocketAddr>>,
}

impl Default for RawAdmin {
    fn default() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 9306));
        Self {
            address: Spanned::new(0..0, Some(address)),
        }
    }
}

impl RawAdmin {
    pub(super) fn resolve(self) -> Admin {
        Admin {
            address: self.address.into_inner(),
        }
    }
}

fn address_or_off<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Spanned<Option<SocketAddr>>, D::Error> {
    let text = Spanned::<String>::deserialize(deserializer)?;
    let at = text.span();
    let text = text.into_inner();
    if text == "off" {
        return Ok(Spanned::new(at, None));
    }
    let address = text.parse().map_err(|_| {
        D::Error::custom(format!(
            "\"{text}\" is not an address; write ip:port such as \"127.0.0.1:9306\", or \"off\""
        ))
    })?;
    Ok(Spanned::new(at, Some(address)))
}
