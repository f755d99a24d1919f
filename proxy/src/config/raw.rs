//! The file as it is written: what serde reads, before the parts are checked against each other.

use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;

use super::admin::RawAdmin;
use super::endpoint::{RawEndpoint, resolve_endpoints};
use super::error::Fault;
use super::listen::RawListen;
use super::monitor::RawMonitor;
use super::name::name;
use super::sockets::{check_apart, check_no_loop};
use super::tls::{RawServerTls, resolve_server_tls};
use super::user::{RawUser, resolve_users};
use super::{
    Config, Consistency, Limits, Log, Pool, Reload, RoundTrips, Routing, ServerTls, Timeouts,
};

/// Reads the TOML; everything that one value alone can tell is checked here.
pub(super) fn parse(text: &str) -> Result<RawConfig, Fault> {
    Ok(toml::from_str(text)?)
}

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    #[serde(deserialize_with = "name")]
    region: Spanned<String>,
    #[serde(default, deserialize_with = "workers")]
    workers: usize,
    #[serde(default)]
    listen: RawListen,
    #[serde(default)]
    users: Vec<RawUser>,
    #[serde(default)]
    endpoints: Vec<RawEndpoint>,
    server_tls: Option<Spanned<RawServerTls>>,
    #[serde(default)]
    monitor: RawMonitor,
    #[serde(default)]
    pool: Pool,
    #[serde(default)]
    consistency: Consistency,
    #[serde(default)]
    routing: Routing,
    #[serde(default)]
    round_trips: RoundTrips,
    #[serde(default)]
    timeouts: Timeouts,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    log: Log,
    #[serde(default)]
    admin: RawAdmin,
    #[serde(default)]
    reload: Reload,
}

impl RawConfig {
    /// Checks the parts against each other and fills in the defaults. `folder` is where relative
    /// paths start.
    pub(super) fn resolve(self, folder: &Path) -> Result<Config, Fault> {
        check_apart(&self.listen, &self.admin)?;
        check_no_loop(&self.listen, &self.endpoints)?;
        let listen = self.listen.resolve(folder)?;
        let users = resolve_users(self.users, &listen, folder)?;
        let server_tls = match self.server_tls {
            Some(tls) => resolve_server_tls(tls, folder)?,
            None => ServerTls::Preferred,
        };
        let endpoints = resolve_endpoints(
            self.endpoints,
            &self.region,
            &server_tls,
            &self.pool,
            folder,
        )?;
        let monitor = self.monitor.resolve(&users, folder)?;
        Ok(Config {
            region: self.region.into_inner(),
            workers: self.workers,
            listen,
            users,
            endpoints,
            monitor,
            pool: self.pool,
            consistency: self.consistency,
            routing: self.routing,
            round_trips: self.round_trips,
            timeouts: self.timeouts,
            limits: self.limits,
            log: self.log,
            admin: self.admin.resolve(),
            reload: self.reload,
        })
    }
}

fn workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match i64::deserialize(deserializer)? {
        count @ 0..=1024 => Ok(count as usize),
        other => Err(D::Error::custom(format!(
            "{other} is out of range; write 0 for one worker per processor, \
             or a number up to 1024"
        ))),
    }
}
