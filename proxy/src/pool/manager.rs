//! What the pool does with connections: make them, and look at them before they are lent again.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::handshake::Attributes;
use tokio::sync::OwnedSemaphorePermit;

use super::connect::{ConnectError, connect};
use super::connection::Connection;
use super::pools::Family;
use super::state::StateTable;
use crate::admin::metrics::{CloseReason, EndpointMetrics};
use crate::config::Credentials;
use crate::relay::RelayError;
use crate::topology::{Endpoint, QueryError};

/// Makes connections to one endpoint for one user with one set of fixed flags.
pub(super) struct Manager {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) login: Arc<Credentials>,
    /// For learning about the server.
    pub(super) monitor: Credentials,
    pub(super) flags: Capabilities,
    pub(super) attributes: Attributes,
    pub(super) states: Arc<StateTable>,
    pub(super) connect_timeout: Duration,
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
        // Nothing is begun before it is polled again: who asks only once wants none that is new.
        tokio::task::yield_now().await;
        let permit = self.family.room().await;
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

    async fn recycle(
        &self,
        connection: &mut Box<Connection>,
        _: &Metrics,
    ) -> RecycleResult<ConnectError> {
        if connection.is_old() {
            self.metrics.closed.inc(CloseReason::Age);
            return Err(RecycleError::message("max_life is over"));
        }
        if connection.stream.is_spent() {
            self.metrics.closed.inc(CloseReason::Broken);
            return Err(RecycleError::message("the server closed it"));
        }
        Ok(())
    }
}

impl Manager {
    async fn connect(&self, permit: OwnedSemaphorePermit) -> Result<Box<Connection>, ConnectError> {
        let server = self
            .endpoint
            .learn(&self.monitor)
            .await
            .map_err(|e| self.not_learnt(e))?;
        let connected = connect(&self.endpoint, &self.login, self.flags, &self.attributes).await?;
        let life = jittered(self.max_life, connected.thread_id);
        let mut connection = Connection::new(
            connected,
            server,
            self.states.clone(),
            life,
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

/// Lives differ by up to a tenth, so that connections made together do not end together.
fn jittered(life: Duration, seed: u32) -> Duration {
    life - life.mul_f64(f64::from(seed % 64) / 640.0)
}
