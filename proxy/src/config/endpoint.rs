//! The database servers.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::error::{Fault, nearest};
use super::name::{check_unique, name};
use super::tls::{RawServerTls, resolve_server_tls};
use super::{Address, Compression, Pool, ServerTls, compression, size, span};

/// One database server; a writer's address may be a provider's for a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What metrics, logs and errors call it. Unique.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// The region that it is in.
    pub region: String,
    /// What it is for.
    pub role: Role,
    /// How connections to it are encrypted.
    pub tls: ServerTls,
    /// How packets are compressed on connections to it, if its server can.
    pub compression: Option<Compression>,
    /// The most connections to it for one user.
    pub max_connections: usize,
    /// How many connections to it are ready for one user.
    pub min_idle: usize,
    /// How far it may be behind to answer reads, if it is a reader; `None` for however far.
    pub max_lag: Option<Duration>,
}

/// What an endpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes the writes.
    Writer,
    /// Answers reads.
    Reader,
}

impl Role {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Writer => "writer",
            Role::Reader => "reader",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEndpoint {
    #[serde(deserialize_with = "name")]
    name: Spanned<String>,
    pub(super) address: Spanned<Address>,
    #[serde(deserialize_with = "name")]
    region: Spanned<String>,
    role: Spanned<Role>,
    tls: Option<Spanned<RawServerTls>>,
    #[serde(default, deserialize_with = "compression::or_off")]
    compression: Option<Compression>,
    #[serde(default, deserialize_with = "size::optional_count")]
    max_connections: Option<usize>,
    #[serde(default, deserialize_with = "size::optional_count_or_zero")]
    min_idle: Option<usize>,
    #[serde(default, deserialize_with = "span::optional_positive")]
    max_lag: Option<Duration>,
}

/// Checks the endpoints against each other and fills in what they have in common.
pub(super) fn resolve_endpoints(
    raw: Vec<RawEndpoint>,
    region: &Spanned<String>,
    server_tls: &ServerTls,
    pool: &Pool,
    folder: &Path,
) -> Result<Vec<Endpoint>, Fault> {
    check_unique("endpoint", raw.iter().map(|endpoint| &endpoint.name))?;
    check_one_writer(&raw)?;
    check_region(&raw, region)?;
    check_lags(&raw)?;
    raw.into_iter()
        .map(|endpoint| {
            Ok(Endpoint {
                name: endpoint.name.into_inner(),
                address: endpoint.address.into_inner(),
                region: endpoint.region.into_inner(),
                role: endpoint.role.into_inner(),
                tls: match endpoint.tls {
                    Some(tls) => resolve_server_tls(tls, folder)?,
                    None => server_tls.clone(),
                },
                compression: endpoint.compression,
                max_connections: endpoint.max_connections.unwrap_or(pool.max_connections),
                min_idle: endpoint.min_idle.unwrap_or(pool.min_idle),
                max_lag: endpoint.max_lag,
            })
        })
        .collect()
}

fn check_one_writer(endpoints: &[RawEndpoint]) -> Result<(), Fault> {
    let mut writers = endpoints
        .iter()
        .filter(|endpoint| *endpoint.role.get_ref() == Role::Writer);
    match (endpoints.first(), writers.next(), writers.next()) {
        (_, Some(_), None) => Ok(()),
        (None, ..) => Err(Fault::new(
            0..0,
            "no endpoint; add an [[endpoints]] table with `name`, `address`, `region` \
             and `role = \"writer\"`",
        )),
        (Some(first), None, _) => Err(Fault::new(
            first.role.span(),
            "no endpoint is the writer; give one of them `role = \"writer\"`",
        )),
        (_, Some(writer), Some(second)) => Err(Fault::new(
            second.role.span(),
            format!(
                "`{}` is a second writer beside `{}`; give all endpoints but one \
                 `role = \"reader\"`",
                second.name.get_ref(),
                writer.name.get_ref()
            ),
        )),
    }
}

fn check_lags(endpoints: &[RawEndpoint]) -> Result<(), Fault> {
    let is_wrong = |endpoint: &&RawEndpoint| {
        endpoint.max_lag.is_some() && *endpoint.role.get_ref() == Role::Writer
    };
    match endpoints.iter().find(is_wrong) {
        None => Ok(()),
        Some(writer) => Err(Fault::new(
            writer.role.span(),
            "a writer is not behind anything; give `max_lag` to readers only",
        )),
    }
}

/// A misspelled region would send every read across the ocean without a word.
fn check_region(endpoints: &[RawEndpoint], region: &Spanned<String>) -> Result<(), Fault> {
    let mut known: Vec<&str> = endpoints
        .iter()
        .map(|endpoint| endpoint.region.get_ref().as_str())
        .collect();
    known.sort_unstable();
    known.dedup();
    let name = region.get_ref().as_str();
    if known.contains(&name) {
        return Ok(());
    }
    let hint = nearest(name, &known)
        .map(|meant| format!("did you mean `{meant}`? "))
        .unwrap_or_default();
    Err(Fault::new(
        region.span(),
        format!(
            "no endpoint is in the region `{name}`; {hint}The endpoints are in {}",
            known.join(", ")
        ),
    ))
}
