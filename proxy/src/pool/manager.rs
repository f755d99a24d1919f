//! What the pool does with connections: make them, and look at them before they are lent again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use tokio::sync::OwnedSemaphorePermit;

use super::connect::{ConnectError, connect};
use super::connection::Connection;
use super::family::{Family, Room};
use super::init_connect;
use super::pools::Kind;
use super::state::StateTable;
use crate::admin::metrics::{CloseReason, EndpointMetrics};
use crate::config::Credentials;
use crate::relay::{Meter, RelayError};
use crate::topology::{Endpoint, QueryError};

/// Makes connections to one endpoint for one user and one kind of client.
pub(super) struct Manager {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) login: Arc<Credentials>,
    /// For learning about the server.
    pub(super) monitor: Credentials,
    pub(super) kind: Kind,
    pub(super) states: Arc<StateTable>,
    pub(super) connect_timeout: Duration,
    pub(super) dead_link: Duration,
    pub(super) max_life: Duration,
    pub(super) statement_limit: usize,
    pub(super) metrics: EndpointMetrics,
    /// What this pool shares with those of the same user and endpoint.
    pub(super) family: Arc<Family>,
}

impl managed::Manager for Manager {
    /// Boxed: the pool and the leases move it about.
    type Type = Box<Connection>;
    type Error = ConnectError;

    async fn create(&self) -> Result<Box<Connection>, ConnectError> {
        while let Some(connection) = self.family.stock.take(&self.kind) {
            if let Some(connection) = self.if_lendable(connection) {
                return Ok(connection);
            }
        }
        // Nothing is begun before it is polled again: who asks only once wants none that is new.
        tokio::task::yield_now().await;
        loop {
            match self.family.room(&self.kind).await {
                Room::Free(permit) => return self.make(permit).await,
                Room::Taken(connection) => {
                    if let Some(connection) = self.if_lendable(connection) {
                        return Ok(connection);
                    }
                }
            }
        }
    }

    async fn recycle(
        &self,
        connection: &mut Box<Connection>,
        metrics: &Metrics,
    ) -> RecycleResult<ConnectError> {
        // What `Metrics::last_used` returns, by a look at the clock that serves both limits.
        let now = Instant::now();
        let idle = now.saturating_duration_since(metrics.recycled.unwrap_or(metrics.created));
        match self.may_be_lent(connection, now, idle) {
            true => Ok(()),
            false => Err(RecycleError::message("it is over")),
        }
    }
}

impl Manager {
    /// A connection that was made ahead, if it still serves.
    fn if_lendable(&self, mut connection: Box<Connection>) -> Option<Box<Connection>> {
        let idle = connection.age();
        self.may_be_lent(&mut connection, Instant::now(), idle)
            .then_some(connection)
    }

    /// Whether a connection that was idle for so long still serves `now`.
    fn may_be_lent(&self, connection: &mut Connection, now: Instant, idle: Duration) -> bool {
        let reason = connection.is_over(now, idle).or_else(|| {
            connection.stream.is_spent().then(|| {
                self.endpoint.doubt();
                CloseReason::Broken
            })
        });
        if let Some(reason) = reason {
            self.metrics.closed.inc(reason);
        }
        reason.is_none()
    }

    /// Makes a connection.
    pub(super) async fn make(
        &self,
        permit: OwnedSemaphorePermit,
    ) -> Result<Box<Connection>, ConnectError> {
        let limit = self.connect_timeout;
        // Boxed, so that a session's task does not carry the room for connecting all its life.
        let connecting = Box::pin(self.connect(permit));
        let result = match tokio::time::timeout(limit, connecting).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::TimedOut {
                address: self.endpoint.address.to_string(),
                limit,
            }),
        };
        match &result {
            Ok(_) => {
                self.metrics.created.inc();
                self.endpoint.set_up(true);
            }
            Err(ConnectError::Io { .. } | ConnectError::TimedOut { .. }) => {
                self.metrics.connect_failures.inc();
                if self.endpoint.set_up(false) {
                    tracing::warn!(endpoint = self.endpoint.name, "endpoint is down");
                }
            }
            Err(_) => {
                self.metrics.connect_failures.inc();
            }
        }
        result
    }

    async fn connect(&self, permit: OwnedSemaphorePermit) -> Result<Box<Connection>, ConnectError> {
        let server = self
            .endpoint
            .learn(&self.monitor)
            .await
            .map_err(|e| self.not_learnt(e))?;
        let collation = init_connect::login_collation(&server);
        let meter = Meter {
            packets: self.metrics.uncompressed_bytes.clone(),
            frames: self.metrics.compressed_bytes.clone(),
        };
        let connecting = connect(
            &self.endpoint,
            &self.login,
            self.kind.flags,
            &self.kind.attributes,
            collation,
            meter,
            self.dead_link,
        );
        let connected = connecting.await?;
        let mut connection = Connection::new(
            connected,
            server,
            self.states.clone(),
            self.max_life,
            self.statement_limit,
            permit,
        );
        match connection.initialise().await {
            Ok(None) => Ok(Box::new(connection)),
            Ok(Some(error)) => Err(ConnectError::Refused(error)),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn not_learnt(&self, error: QueryError) -> ConnectError {
        let address = self.endpoint.address.to_string();
        match error {
            QueryError::TimedOut(limit) => ConnectError::TimedOut { address, limit },
            QueryError::Driver(mysql_async::Error::Io(mysql_async::IoError::Io(error))) => {
                ConnectError::Io { address, error }
            }
            error => ConnectError::Unsuitable(format!(
                "the monitoring login '{}' cannot ask the server: {error}",
                self.monitor.user
            )),
        }
    }

    fn broken(&self, error: RelayError) -> ConnectError {
        ConnectError::Io {
            address: self.endpoint.address.to_string(),
            error: std::io::Error::other(error.to_string()),
        }
    }
}
