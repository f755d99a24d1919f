//! Which endpoint a statement goes to, and the connection to it.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use super::last::Reason;
use super::registry::Running;
use crate::admin::metrics::WaitOutcome;
use crate::config::OnStale;
use crate::consistency::Reader;
use crate::error::SqlError;
use crate::pool::{ConnectError, Lease, LeaseError, Pool, PoolKey};
use crate::relay::ServerError;
use crate::routing::{self, View};
use crate::sql::{HintTarget, Hints, Holds, Place, Plan};
use crate::topology::Endpoint;

/// Where a statement is to run.
#[derive(Debug, Clone)]
pub(super) enum Destination {
    /// On the connection that the session keeps.
    Held,
    /// On a reader.
    Reader(Arc<Endpoint>),
    /// On the writer.
    Writer,
}

impl Session {
    /// Decides where a statement goes, after waiting for the reader if that is what the
    /// configuration says.
    pub(super) async fn destination(&mut self, plan: &Plan, hints: &Hints) -> Destination {
        if let Some(lease) = &self.lease {
            self.last.route = if self.is_writer(lease) {
                Place::Writer
            } else {
                Place::Reader
            };
            self.last.reason = Reason::Held(self.held());
            return Destination::Held;
        }
        let reader = self.reader();
        let pinned = match &reader {
            Some(reader) => self.is_pinned(reader, plan, hints).await,
            None => false,
        };
        let view = View {
            transaction: self.transaction,
            autocommit: self.autocommit(),
            holds: self.holds,
            pinned,
            allowed_functions: &self.world.config.routing.reader_functions,
        };
        let may_hold = plan
            .holds
            .difference(Holds::FOUND_ROWS | Holds::TRANSACTION)
            .is_empty();
        let route = routing::route(plan, hints, &view);
        let target = route.target;
        self.last.routed(route);
        match (target, reader) {
            (Place::Reader, Some(reader)) => Destination::Reader(reader.endpoint.clone()),
            // The schema that the session is in may be one that the reader does not have yet.
            (Place::Previous, Some(reader)) if !pinned => {
                Destination::Reader(reader.endpoint.clone())
            }
            // What a SET leaves on its connection must be where the writes go.
            (Place::Session, Some(reader)) if may_hold && self.autocommit() && !pinned => {
                Destination::Reader(reader.endpoint.clone())
            }
            (Place::Reader, None) => {
                self.last.redirected(NO_READER);
                Destination::Writer
            }
            _ => Destination::Writer,
        }
    }

    /// The reader that this session uses: the same one as long as it is up.
    pub(super) fn reader(&self) -> Option<Arc<Reader>> {
        let readers = &self.world.readers;
        let first = self.handle.id as usize;
        (0..readers.len())
            .filter_map(|i| readers.get((first + i) % readers.len()))
            .find(|reader| reader.endpoint.is_up())
            .cloned()
    }

    /// Whether the reader has not seen what the session must see, after waiting for it if the
    /// configuration says so and the statement could run there.
    async fn is_pinned(&mut self, reader: &Reader, plan: &Plan, hints: &Hints) -> bool {
        let Some(mark) = self.mark.as_ref().map(|pin| pin.mark) else {
            return false;
        };
        if reader.has_seen(mark) {
            if self
                .world
                .readers
                .iter()
                .all(|reader| reader.has_seen(mark))
                && let Some(pin) = &mut self.mark
            {
                pin.counted = None;
            }
            return false;
        }
        let is_reading = matches!(plan.place, Place::Reader) || plan.reader_if_allowed;
        let consistency = &self.world.config.consistency;
        let is_waiting = consistency.on_stale == OnStale::Wait
            && is_reading
            && self.autocommit()
            && hints.target.is_none()
            && !hints.fresh;
        let metrics = &self.shared.metrics.consistency;
        if hints.target == Some(HintTarget::Reader) || !is_waiting {
            if is_reading {
                metrics.stale_reads_to_writer.inc();
            }
            return true;
        }
        let start = Instant::now();
        let is_reached = reader.wait(mark, consistency.max_wait).await;
        metrics.wait_seconds.observe(start.elapsed().as_secs_f64());
        metrics.waits.inc(if is_reached {
            WaitOutcome::Reached
        } else {
            WaitOutcome::TimedOut
        });
        !is_reached
    }

    /// Borrows a connection for the destination, or takes the one that the session keeps. A reader
    /// that cannot be had is replaced by the writer. All of it takes no longer than the borrow
    /// timeout after `start`.
    pub(super) async fn borrow(
        &mut self,
        destination: &mut Destination,
        selects_schema: bool,
        start: Instant,
    ) -> Result<Lease, SqlError> {
        if matches!(destination, Destination::Held)
            && let Some(lease) = self.lease.take()
        {
            return Ok(lease);
        }
        let has_schema = self.state.schema.is_some() || selects_schema;
        let lease = loop {
            let endpoint = self.endpoint(destination)?;
            let insist = !matches!(destination, Destination::Reader(_));
            match self.borrow_from(&endpoint, has_schema, insist, start).await {
                Ok(lease) => break lease,
                Err(LeaseError::Closed) => self.follow_reload(destination),
                Err(error) if insist => return Err(refusal(&endpoint, &error)),
                Err(error) => {
                    tracing::debug!(endpoint = endpoint.name, %error, "reader not available, asking the writer");
                    self.last.redirected(NO_READER);
                    *destination = Destination::Writer;
                }
            }
        };
        self.handle.set_running(Some(Running {
            origin: lease.origin().clone(),
            thread_id: lease.thread_id,
        }));
        Ok(lease)
    }

    fn endpoint(&self, destination: &Destination) -> Result<Arc<Endpoint>, SqlError> {
        match destination {
            Destination::Reader(endpoint) => Ok(endpoint.clone()),
            Destination::Held | Destination::Writer => self
                .world
                .snapshot
                .writer
                .clone()
                .ok_or_else(SqlError::no_writer),
        }
    }

    /// The endpoint left the configuration while the statement was on its way: the new world says
    /// where it goes now. The mark of a pinned session is as good there as here.
    fn follow_reload(&mut self, destination: &mut Destination) {
        self.enter_world();
        self.pools.clear();
        if let Destination::Reader(_) = destination {
            *destination = match self.reader() {
                Some(reader)
                    if self
                        .mark
                        .as_ref()
                        .is_none_or(|pin| reader.has_seen(pin.mark)) =>
                {
                    Destination::Reader(reader.endpoint.clone())
                }
                _ => Destination::Writer,
            };
        }
    }

    async fn borrow_from(
        &mut self,
        endpoint: &Arc<Endpoint>,
        has_schema: bool,
        insist: bool,
        start: Instant,
    ) -> Result<Lease, LeaseError> {
        let identity = Arc::as_ptr(endpoint) as usize;
        let known = self
            .pools
            .iter()
            .position(|(id, schema, _)| (*id, *schema) == (identity, has_schema));
        let index = match known {
            Some(index) => index,
            None => {
                let pool = self.pool(endpoint, has_schema);
                self.pools.push((identity, has_schema, pool));
                self.pools.len() - 1
            }
        };
        let Some((_, _, pool)) = self.pools.get(index) else {
            return Err(LeaseError::Closed);
        };
        if let Some(lease) = pool.lease_idle() {
            return Ok(lease);
        }
        let patience = self.world.config.pool.borrow_timeout;
        // Boxed, so that a statement that finds a connection does not carry the room for waiting.
        Box::pin(pool.lease(patience, insist, start)).await
    }

    fn pool(&self, endpoint: &Arc<Endpoint>, has_schema: bool) -> Pool {
        let key = PoolKey {
            user: self.identity.user.name.clone(),
            flags: self.identity.fixed_flags(),
            has_schema,
            attributes: self.identity.attributes.clone(),
        };
        let config = &self.world.config;
        let user = config.user(&self.identity.user.name);
        let login = user.map_or(&self.identity.user.backend, |user| &user.backend);
        self.shared.pools.pool(config, endpoint, login, key)
    }

    /// Gives a connection back that is at rest, or keeps it while something of the session is on
    /// it.
    pub(super) fn give_back(&mut self, mut lease: Lease) {
        self.note_held();
        if !self.held().is_empty() {
            self.lease = Some(lease);
            return;
        }
        self.handle.set_running(None);
        lease.is_clean = lease.fits_its_pool();
        if lease.is_clean
            && let Some((state, _)) = lease.state.split()
        {
            lease.change_and_release(self.shared.states.intern(state));
        }
    }
}

/// Why the writer answers all reads.
const NO_READER: &str = "a reader could answer it, but none can be reached";

/// What the client is told when an endpoint has no connection to lend.
fn refusal(endpoint: &Endpoint, error: &LeaseError) -> SqlError {
    let refused = match error {
        LeaseError::Connect(ConnectError::Refused(server)) => refused_login(endpoint, server),
        _ => None,
    };
    refused.unwrap_or_else(|| SqlError::borrow_timeout(&endpoint.name, &error.to_string()))
}

/// The server's own error where it is about the account: it may not log in (1044, 1045, 1698), its
/// password has expired (1820, 1862), or it is locked (3118, on MariaDB 4151).
fn refused_login(endpoint: &Endpoint, server: &ServerError) -> Option<SqlError> {
    let (state, remedy) = match server.code {
        1044 | 1045 | 1698 => ("28000", ""),
        1820 | 1862 => (
            "HY000",
            " Change the password on the server and in the configuration of Isthmus.",
        ),
        3118 | 4151 => ("HY000", ""),
        _ => return None,
    };
    let message = format!(
        "endpoint '{}' refused the login that Isthmus is configured with for this user: {}{remedy}",
        endpoint.name,
        String::from_utf8_lossy(&server.message)
    );
    Some(SqlError::new(server.code, state, message))
}
