//! One database server, as the proxy knows it while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use tokio::sync::Mutex;

use super::{QueryError, Server, query};
use crate::config::{self, Address, Credentials, ServerTls};
use crate::tls::{self, TlsError};

/// A server's address with what was learnt about it. It keeps its identity over a reload as long
/// as its name, address and TLS settings stay; its role and region belong to the snapshot.
#[derive(Debug)]
pub struct Endpoint {
    /// The name in the configuration.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// How connections to it are secured.
    pub tls_mode: ServerTls,
    /// The TLS settings for the data path; `None` where TLS is disabled.
    pub tls: Option<Arc<ClientConfig>>,
    server: ArcSwapOption<Server>,
    learning: Mutex<()>,
    up: AtomicBool,
    sign_of_life: ArcSwapOption<SignOfLife>,
}

/// What a server answered last when it was asked how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOfLife {
    /// Whether it refuses writes.
    pub read_only: bool,
    /// The GTIDs that it has applied; `None` if it has none.
    pub position: Option<String>,
    /// How long the answer took.
    pub round_trip: Duration,
}

impl Endpoint {
    /// An endpoint that nothing is known about yet. It counts as up until it is found to be down.
    ///
    /// # Errors
    /// If the TLS settings name a file that cannot be used.
    pub fn new(config: &config::Endpoint) -> Result<Self, TlsError> {
        Ok(Self {
            name: config.name.clone(),
            address: config.address.clone(),
            tls_mode: config.tls.clone(),
            tls: tls::client_config(&config.tls)?,
            server: ArcSwapOption::empty(),
            learning: Mutex::new(()),
            up: AtomicBool::new(true),
            sign_of_life: ArcSwapOption::empty(),
        })
    }

    /// Whether this is the server that `config` means.
    pub fn is(&self, config: &config::Endpoint) -> bool {
        self.name == config.name && self.address == config.address && self.tls_mode == config.tls
    }

    /// Whether the last attempt to reach it succeeded.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Notes whether it could be reached, and returns whether that is news.
    pub fn set_up(&self, up: bool) -> bool {
        self.up.swap(up, Ordering::Relaxed) != up
    }

    /// What it answered last when it was asked how it is.
    pub fn sign_of_life(&self) -> Option<Arc<SignOfLife>> {
        self.sign_of_life.load_full()
    }

    /// Notes what it answered.
    pub fn set_sign_of_life(&self, sign: SignOfLife) {
        self.sign_of_life.store(Some(Arc::new(sign)));
    }

    /// What was learnt about the server, if it was reached already.
    pub fn server(&self) -> Option<Arc<Server>> {
        self.server.load_full()
    }

    /// What there is to know about the server, asked for now if nobody did yet.
    pub async fn learn(&self, login: &Credentials) -> Result<Arc<Server>, QueryError> {
        if let Some(server) = self.server() {
            return Ok(server);
        }
        let _one_at_a_time = self.learning.lock().await;
        if let Some(server) = self.server() {
            return Ok(server);
        }
        let mut connection = query::connect(self, login).await?;
        let server = Server::read(&mut connection).await?;
        Ok(self.set_server(server))
    }

    /// Notes what was learnt about the server.
    pub fn set_server(&self, server: Server) -> Arc<Server> {
        let server = Arc::new(server);
        self.server.store(Some(server.clone()));
        server
    }
}
