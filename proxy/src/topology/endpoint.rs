//! One database server, as the proxy knows it while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use tokio::sync::{Mutex, Notify};

use super::distance::Distance;
use super::{QueryError, Server, query};
use crate::config::{self, Address, Compression, Credentials, ServerTls};
use crate::tls::{self, TlsError};

/// A server's address with what was learnt about it. It keeps its identity over a reload as long
/// as its name, address, TLS and compression stay; its role and region belong to the snapshot.
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
    /// How connections of the data path are compressed, if the server can.
    pub compression: Option<Compression>,
    /// Whether the server was last seen not to offer it.
    is_without_compression: AtomicBool,
    server: ArcSwapOption<Server>,
    learning: Mutex<()>,
    renewals: AtomicU64,
    standing: AtomicU64,
    behind: ArcSwapOption<String>,
    doubted: Notify,
    sign_of_life: ArcSwapOption<SignOfLife>,
    distance: Distance,
}

/// What one look at an endpoint tells: whether it can be reached, and how many doubts there were
/// that it is still the server that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing(u64);

impl Standing {
    const UP: u64 = 1;
    const BEHIND: u64 = 1 << 1;
    const DOUBT: u64 = 1 << 2;

    /// Whether the last attempt to reach it succeeded.
    pub fn is_up(self) -> bool {
        self.0 & Self::UP != 0
    }

    /// Whether it may answer reads: it can be reached, and it is not further behind than it may be.
    pub fn serves(self) -> bool {
        self.0 & (Self::UP | Self::BEHIND) == Self::UP
    }

    /// How often it could not be reached, or a connection to it broke. Whatever was known about
    /// the data of a reader was known of the server before: a new one may have less.
    pub fn doubts(self) -> u64 {
        self.0 / Self::DOUBT
    }
}

/// What a server answered last when it was asked how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOfLife {
    /// Whether it refuses writes.
    pub read_only: bool,
    /// The GTIDs that it has applied; `None` if it has none.
    pub position: Option<String>,
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
            compression: config.compression,
            is_without_compression: AtomicBool::new(false),
            server: ArcSwapOption::empty(),
            learning: Mutex::new(()),
            renewals: AtomicU64::new(0),
            standing: AtomicU64::new(Standing::UP),
            behind: ArcSwapOption::empty(),
            doubted: Notify::new(),
            sign_of_life: ArcSwapOption::empty(),
            distance: Distance::unknown(),
        })
    }

    /// Whether this is the server that `config` means.
    pub fn is(&self, config: &config::Endpoint) -> bool {
        self.name == config.name
            && self.address == config.address
            && self.tls_mode == config.tls
            && self.compression == config.compression
    }

    /// How it stands, in one atomic load.
    pub fn standing(&self) -> Standing {
        Standing(self.standing.load(Ordering::Acquire))
    }

    /// Whether the last attempt to reach it succeeded.
    pub fn is_up(&self) -> bool {
        self.standing().is_up()
    }

    /// Notes whether it could be reached, and returns whether that is news.
    pub fn set_up(&self, up: bool) -> bool {
        let old = if up {
            self.standing.fetch_or(Standing::UP, Ordering::AcqRel)
        } else {
            self.doubt();
            self.standing.fetch_and(!Standing::UP, Ordering::AcqRel)
        };
        Standing(old).is_up() != up
    }

    /// Why it is further behind than `max_lag` allows; `None` if it is not.
    pub fn behind(&self) -> Option<Arc<String>> {
        self.behind.load_full()
    }

    /// Notes whether it is further behind than it may be, and why; returns whether that is news.
    pub fn set_behind(&self, reason: Option<String>) -> bool {
        let is_behind = reason.is_some();
        self.behind.store(reason.map(Arc::new));
        let old = if is_behind {
            self.standing.fetch_or(Standing::BEHIND, Ordering::AcqRel)
        } else {
            self.standing.fetch_and(!Standing::BEHIND, Ordering::AcqRel)
        };
        (old & Standing::BEHIND != 0) != is_behind
    }

    /// Notes that a connection to it broke or could not be made.
    pub fn doubt(&self) {
        self.standing.fetch_add(Standing::DOUBT, Ordering::AcqRel);
        self.doubted.notify_one();
    }

    /// Waits for a doubt; one that nobody has waited for yet counts.
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Notes whether the server offers the compression that is wanted of it, and returns whether
    /// that is news.
    pub fn set_without_compression(&self, without: bool) -> bool {
        self.is_without_compression.swap(without, Ordering::Relaxed) != without
    }

    /// What it answered last when it was asked how it is.
    pub fn sign_of_life(&self) -> Option<Arc<SignOfLife>> {
        self.sign_of_life.load_full()
    }

    /// How long a question to it and the answer take: the quickest of the last four that the monitor
    /// has asked. `None` if it was never reached.
    pub fn round_trip(&self) -> Option<Duration> {
        self.distance.round_trip()
    }

    /// How long an answer may well take: the slowest of these four.
    pub fn slow_round_trip(&self) -> Option<Duration> {
        self.distance.slowest()
    }

    /// Notes how long an answer took.
    pub fn note_answer(&self, took: Duration) {
        self.distance.note(took);
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
        self.learn_again(login).await
    }

    /// Asks for what there is to know about the server, although it may be known: its global
    /// variables may have changed.
    pub async fn learn_again(&self, login: &Credentials) -> Result<Arc<Server>, QueryError> {
        let mut connection = query::connect(self, login).await?;
        let server = query::guarded(Server::read(&mut connection)).await?;
        Ok(self.set_server(server))
    }

    /// How often accounts have changed there, as far as the proxy has heard.
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Acquire)
    }

    /// Accounts have changed there. Connections that have logged in before are not lent any more.
    pub fn renew(&self) {
        self.renewals.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes what was learnt about the server.
    pub fn set_server(&self, server: Server) -> Arc<Server> {
        let server = Arc::new(server);
        self.server.store(Some(server.clone()));
        server
    }
}
