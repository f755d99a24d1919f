//! The configuration: TOML into validated types, once.
//!
//! Whoever holds a [`Config`] need not check anything again: names are unique, there is one
//! writer, secrets are read, durations are positive where zero would make no sense. Anything that
//! is wrong in the file is a [`ConfigError`], which says where and what would be right.
//!
//! Every field is described in `configs/isthmus.toml`; [`Config::diff`] tells what a reload would
//! change, [`Config::masked_toml`] what a file means once every default is filled in.

mod address;
mod admin;
mod compression;
mod consistency;
mod diff;
mod endpoint;
mod error;
mod ip_net;
mod limits;
mod listen;
mod log;
mod monitor;
mod name;
mod parsed;
mod pool;
mod raw;
mod raw_secret;
mod reload;
mod round_trips;
mod routing;
mod secret;
mod settings;
mod size;
mod sockets;
mod span;
mod timeouts;
mod tls;
mod user;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use address::Address;
pub use admin::Admin;
pub use compression::Compression;
pub use consistency::{Consistency, OnStale, Pinning, Scope, Source, TableName};

pub use diff::{Change, TakesEffect};
pub use endpoint::{Endpoint, Role};
pub use error::ConfigError;
pub use ip_net::IpNet;
pub use limits::Limits;
pub use listen::{AuthPlugin, Listen};
pub use log::{Log, LogFormat};
pub use monitor::Monitor;
pub use pool::Pool;
pub use reload::Reload;
pub use round_trips::RoundTrips;
pub use routing::Routing;
pub use secret::Secret;
pub use timeouts::Timeouts;
pub use tls::{ListenTls, ServerTls};
pub use user::{Credentials, StaleReads, User};

/// Everything that the configuration file says, checked and with the defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The region in which this proxy runs: reads go to the readers of this region. At least one
    /// endpoint is in it.
    pub region: String,
    /// Threads that serve sessions; 0 takes one for each processor.
    pub workers: usize,
    /// Where clients connect, and how.
    pub listen: Listen,
    /// Who may log in. Never empty; names are unique.
    pub users: Vec<User>,
    /// The database servers. Exactly one of them is the writer; names are unique.
    pub endpoints: Vec<Endpoint>,
    /// How the endpoints are watched.
    pub monitor: Monitor,
    /// Connections to the endpoints.
    pub pool: Pool,
    /// What a session that has written may read.
    pub consistency: Consistency,
    /// What may go to a reader.
    pub routing: Routing,
    /// Which round trips are saved.
    pub round_trips: RoundTrips,
    /// How long the proxy waits for others.
    pub timeouts: Timeouts,
    /// What one proxy takes on.
    pub limits: Limits,
    /// The log.
    pub log: Log,
    /// The HTTP server for operators.
    pub admin: Admin,
    /// When the file is read again.
    pub reload: Reload,
}

impl Config {
    /// Reads and checks the file at `path`. Relative paths inside it are taken from the folder
    /// that it lies in. Environment variables and password files that it names are read now.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its line and column.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|cause| ConfigError::unreadable(path, &cause))?;
        Config::parse(&text, path)
    }

    /// The same for a text that is already at hand; `path` names it in errors and is where
    /// relative paths start.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its line and column.
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        raw::parse(text)
            .and_then(|raw| raw.resolve(folder))
            .map_err(|fault| fault.locate(path, text))
    }

    /// The error of a configuration file that names another one, of which the message says why it
    /// cannot be used: with line and column where the name is found.
    pub fn refuse_named(path: &Path, named: &Path, message: String) -> ConfigError {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        ConfigError::naming(path, &text, named, message)
    }

    /// The writer among the endpoints.
    pub fn writer(&self) -> Option<&Endpoint> {
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.role == Role::Writer)
    }

    /// The user of that name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }
}
