//! What the pool does with connections: make them, and look at them before they are lent again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use tokio::sync::OwnedSemaphorePermit;

use super::connect::{ConnectError, connect};
use super::connection::Connection;
use super::family::Room;
use super::init_connect;
use super::nearby::Nearby;
use super::pools::{Kind, Origin};
use super::state::StateTable;
use crate::admin::metrics::CloseReason;
use crate::config::Credentials;
use crate::relay::{Meter, RelayError};
use crate::topology::QueryError;

/// Makes connections to one endpoint for one user and one kind of client.
pub(super) struct Manager {
    /// What its connections have in common.
    pub(super) origin: Arc<Origin>,
    /// The idle ones that the pool itself does not know of.
    pub(super) nearby: Nearby,
    /// For learning about the server.
    pub(super) monitor: Credentials,
    pub(super) kind: Kind,
    pub(super) states: Arc<StateTable>,
    pub(super) connect_timeout: Duration,
    pub(super) dead_link: Duration,
    pub(super) max_life: Duration,
    pub(super) statement_limit: usize,
}

impl managed::Manager for Manager {
    /// Boxed: the pool and the leases move it about.
    type Type = Box<Connection>;
    type Error = ConnectError;

    async fn create(&self) -> Result<Box<Connection>, ConnectError> {
        while let Some(connection) = self.origin.family.stock.take(&self.kind) {
            if let Some(connection) = self.if_lendable(connection) {
                return Ok(connection);
            }
        }
        // Nothing is begun before it is polled again: who asks only once wants none that is new.
        tokio::task::yield_now().await;
        loop {
            match self.origin.family.room(&self.kind).await {
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
        _: &Metrics,
    ) -> RecycleResult<ConnectError> {
        match self.may_be_lent(connection) {
            true => Ok(()),
            false => Err(RecycleError::message("it is over")),
        }
    }
}

impl Manager {
    /// A connection that was made ahead, if it still serves.
    fn if_lendable(&self, mut connection: Box<Connection>) -> Option<Box<Connection>> {
        connection.origin = self.origin.clone();
        self.may_be_lent(&mut connection).then_some(connection)
    }

    /// Whether a connection that was idle still serves; it counts as used now.
    pub(super) fn may_be_lent(&self, connection: &mut Connection) -> bool {
        let now = Instant::now();
        let reason = connection.is_over(now).or_else(|| {
            connection.stream.is_spent().then(|| {
                self.origin.endpoint.doubt();
                CloseReason::Broken
            })
        });
        match reason {
            Some(reason) => self.origin.metrics.closed.inc(reason),
            None => connection.used = now,
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
                address: self.origin.endpoint.address.to_string(),
                limit,
            }),
        };
        match &result {
            Ok(_) => {
                self.origin.metrics.created.inc();
                self.origin.endpoint.set_up(true);
            }
            Err(ConnectError::Io { .. } | ConnectError::TimedOut { .. }) => {
                self.origin.metrics.connect_failures.inc();
                if self.origin.endpoint.set_up(false) {
                    tracing::warn!(endpoint = self.origin.endpoint.name, "endpoint is down");
                }
            }
            Err(_) => {
                self.origin.metrics.connect_failures.inc();
            }
        }
        result
    }

    async fn connect(&self, permit: OwnedSemaphorePermit) -> Result<Box<Connection>, ConnectError> {
        let renewals = self.origin.endpoint.renewals();
        let server = self
            .origin
            .endpoint
            .learn(&self.monitor)
            .await
            .map_err(|e| self.not_learnt(e))?;
        let collation = init_connect::login_collation(&server);
        let meter = Meter {
            packets: self.origin.metrics.uncompressed_bytes.clone(),
            frames: self.origin.metrics.compressed_bytes.clone(),
        };
        let connecting = connect(
            &self.origin.endpoint,
            &self.origin.login,
            self.kind.flags,
            &self.kind.attributes,
            collation,
            meter,
            self.dead_link,
        );
        let connected = connecting.await?;
        let mut connection = Connection::new(
            connected,
            self.origin.clone(),
            server,
            self.states.clone(),
            self.max_life,
            self.statement_limit,
            permit,
        );
        connection.renewals = renewals;
        match connection.initialise().await {
            Ok(None) => Ok(Box::new(connection)),
            Ok(Some(error)) => Err(ConnectError::Refused(error)),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn not_learnt(&self, error: QueryError) -> ConnectError {
        let address = self.origin.endpoint.address.to_string();
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
            address: self.origin.endpoint.address.to_string(),
            error: std::io::Error::other(error.to_string()),
        }
    }
}
