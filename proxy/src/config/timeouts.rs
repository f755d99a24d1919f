//! How long the proxy waits for others.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::span;

/// Deadlines for clients and servers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection to a server, from TCP connect to logged in.
    #[serde(deserialize_with = "span::positive")]
    pub connect: Duration,
    /// A connection to a server whose other end has confirmed nothing for so long is given up.
    #[serde(deserialize_with = "seconds")]
    pub dead_link: Duration,
    /// For a client, from accept to logged in.
    #[serde(deserialize_with = "span::positive")]
    pub handshake: Duration,
    /// A client that sends nothing for so long is disconnected, as with MySQL's `wait_timeout`.
    #[serde(deserialize_with = "span::positive")]
    pub idle: Duration,
    /// How long sessions may go on after the proxy was told to stop; zero cuts them at once.
    #[serde(deserialize_with = "span::any")]
    pub shutdown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            dead_link: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(8 * 3600),
            shutdown: Duration::from_secs(30),
        }
    }
}

/// TCP counts the time between two signs of life in seconds.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = span::any(deserializer)?;
    if duration < Duration::from_secs(1) {
        return Err(D::Error::custom(
            "a link is not dead that soon; write \"1s\" or longer",
        ));
    }
    Ok(duration)
}
