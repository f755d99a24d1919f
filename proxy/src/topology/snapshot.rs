//! The endpoints at one moment.

use std::sync::Arc;

use super::{Endpoint, Server};
use crate::config::{Config, Role};
use crate::tls::TlsError;

/// Which endpoint writes and which ones read in the proxy's own region.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The endpoint that takes writes.
    pub writer: Option<Arc<Endpoint>>,
    /// The readers of the proxy's own region.
    pub readers: Vec<Arc<Endpoint>>,
    /// Readers of other regions: watched, but never asked, since the writer is as far and fresher.
    pub far_readers: Vec<Arc<Endpoint>>,
}

impl Snapshot {
    /// The endpoints of `config`, those of `old` kept where they are the same server.
    ///
    /// # Errors
    /// If an endpoint's TLS settings name a file that cannot be used.
    pub fn build(config: &Config, old: &Snapshot) -> Result<Self, TlsError> {
        let mut snapshot = Self::default();
        for wanted in &config.endpoints {
            let known = old.all().find(|endpoint| endpoint.is(wanted)).cloned();
            let endpoint = match known {
                Some(endpoint) => endpoint,
                None => Arc::new(Endpoint::new(wanted)?),
            };
            match wanted.role {
                Role::Writer => snapshot.writer = Some(endpoint),
                Role::Reader if wanted.region == config.region => snapshot.readers.push(endpoint),
                Role::Reader => snapshot.far_readers.push(endpoint),
            }
        }
        Ok(snapshot)
    }

    /// What is known of the servers: of the writer, or of any while that was not reached.
    pub fn server(&self) -> Option<Arc<Server>> {
        self.all().find_map(|endpoint| endpoint.server())
    }

    /// Every endpoint, the writer first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.writer
            .iter()
            .chain(&self.readers)
            .chain(&self.far_readers)
    }
}
