//! When the configuration is read again.

use serde::Deserialize;

/// What makes the proxy read its configuration again, besides SIGHUP and the admin server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Whether a change of the file does.
    pub watch: bool,
}

impl Default for Reload {
    fn default() -> Self {
        Self { watch: true }
    }
}
