//! All pools: one for each endpoint, user and set of flags that are fixed when connecting.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{PoolError, QueueMode, Timeouts};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::handshake::Attributes;
use tokio::sync::OwnedSemaphorePermit;

use super::budget::Budget;
use super::connect::ConnectError;
use super::lease::{Lease, LeaseError};
use super::manager::Manager;
use super::state::StateTable;
use crate::admin::Metrics;
use crate::admin::metrics::{CloseReason, EndpointMetrics};
use crate::config::{Config, Credentials};
use crate::topology::{Endpoint, Snapshot};

/// The pause before another attempt to connect doubles from this …
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// … to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often room for a connection is looked for while there is none.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// What the connections of one pool have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The user, as the configuration names it.
    pub user: String,
    /// The capabilities that were fixed when connecting.
    pub flags: Capabilities,
    /// Whether a schema is selected: none can be unselected.
    pub has_schema: bool,
    /// The connection attributes that were given by the client.
    pub attributes: Attributes,
}

/// The connections of one endpoint for one [`PoolKey`].
#[derive(Clone)]
pub struct Pool {
    connections: Connections,
    origin: Arc<Origin>,
    family: Arc<Family>,
}

/// What the leases of one pool have in common.
#[derive(Debug)]
pub struct Origin {
    /// The endpoint that they lead to.
    pub endpoint: Arc<Endpoint>,
    /// The login that they were made with.
    pub login: Arc<Credentials>,
    /// Whether connections of this pool have a schema.
    pub(super) has_schema: bool,
    pub(super) metrics: EndpointMetrics,
}

type Connections = deadpool::managed::Pool<Manager>;

/// The pools of one user at one endpoint, which share one limit.
pub(super) struct Family {
    budget: Budget,
    pools: Mutex<Vec<(Weak<Origin>, Connections)>>,
}

impl Family {
    fn new(limit: usize) -> Self {
        Self {
            budget: Budget::new(limit),
            pools: Mutex::default(),
        }
    }

    /// Room for one more connection. Takes the place of an idle one in another pool of the family
    /// if there is no other. The caller limits the time.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            if let Some(permit) = self.budget.try_take() {
                return permit;
            }
            self.close_one_idle();
            if let Some(permit) = self.budget.try_take() {
                return permit;
            }
            // A connection that becomes idle in another pool wakes nobody here.
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    }

    fn close_one_idle(&self) {
        let pools = self
            .pools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (_, pool) in pools {
            let mut is_closed = false;
            pool.retain(|_, _| std::mem::replace(&mut is_closed, true));
            if is_closed {
                return;
            }
        }
    }
}

impl Pool {
    /// Lends a connection that nobody uses, if there is one.
    pub fn lease_idle(&self) -> Option<Lease> {
        let timeouts = Timeouts {
            wait: Some(Duration::ZERO),
            create: None,
            recycle: None,
        };
        let borrowing = pin!(self.connections.timeout_get(&timeouts));
        // Waits for nothing but a new connection, which is not begun yet (see `Manager::create`).
        match borrowing.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(object)) => Some(Lease::new(object, self.origin.clone())),
            _ => None,
        }
    }

    /// Lends a connection. Waits for one until `patience` has gone by since `start`. With
    /// `insist`, an endpoint that cannot be reached is tried again until then; without it, that is
    /// an error at once.
    pub async fn lease(
        &self,
        patience: Duration,
        insist: bool,
        start: Instant,
    ) -> Result<Lease, LeaseError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_lease(start + patience, patience).await {
                Err(LeaseError::Connect(error)) if insist && is_passing(&error) => {
                    let left = patience.saturating_sub(start.elapsed());
                    if left <= pause {
                        return Err(LeaseError::Connect(error));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => return result,
            }
        }
    }

    async fn try_lease(&self, deadline: Instant, waited: Duration) -> Result<Lease, LeaseError> {
        let start = Instant::now();
        let left = deadline.saturating_duration_since(start);
        let timeouts = Timeouts {
            wait: Some(left),
            create: Some(left),
            recycle: None,
        };
        match self.connections.timeout_get(&timeouts).await {
            Ok(object) => {
                let seconds = start.elapsed().as_secs_f64();
                self.origin.metrics.borrow_seconds.observe(seconds);
                Ok(Lease::new(object, self.origin.clone()))
            }
            Err(PoolError::Backend(error)) => Err(LeaseError::Connect(error)),
            Err(PoolError::Timeout(_)) => Err(LeaseError::Exhausted {
                limit: self.connections.status().max_size,
                waited,
            }),
            Err(_) => Err(LeaseError::Closed),
        }
    }
}

/// Whether it may work in a moment.
fn is_passing(error: &ConnectError) -> bool {
    match error {
        ConnectError::Io { .. } | ConnectError::TimedOut { .. } => true,
        // Too many connections, server shutting down, user over its limit.
        ConnectError::Refused(error) => matches!(error.code, 1040 | 1053 | 1203 | 1226),
        ConnectError::Protocol(_) | ConnectError::Unsuitable(_) => false,
    }
}

type Map = HashMap<(usize, PoolKey), Pool>;

/// Every pool of the proxy.
pub struct Pools {
    pools: Mutex<Map>,
    states: Arc<StateTable>,
    metrics: Arc<Metrics>,
}

/// Connections of one endpoint, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections that exist.
    pub open: usize,
    /// Connections that are lent.
    pub in_use: usize,
}

impl Pools {
    /// No pools yet; their connections' states are kept in `states`.
    pub fn new(states: Arc<StateTable>, metrics: Arc<Metrics>) -> Self {
        Self {
            pools: Mutex::default(),
            states,
            metrics,
        }
    }

    /// The pool of an endpoint, made when it is first asked for.
    pub fn pool(
        &self,
        config: &Config,
        endpoint: &Arc<Endpoint>,
        login: &Credentials,
        key: PoolKey,
    ) -> Pool {
        let mut pools = self.lock();
        if let Some(pool) = pools.get(&(identity(endpoint), key.clone())) {
            return pool.clone();
        }
        let relative = pools
            .iter()
            .find(|((id, other), _)| *id == identity(endpoint) && other.user == key.user);
        let family = match relative {
            Some((_, pool)) => pool.family.clone(),
            None => Arc::new(Family::new(max_size(config, endpoint))),
        };
        let pool = self.make(config, endpoint, login, &key, family);
        pools.insert((identity(endpoint), key), pool.clone());
        pool
    }

    fn make(
        &self,
        config: &Config,
        endpoint: &Arc<Endpoint>,
        login: &Credentials,
        key: &PoolKey,
        family: Arc<Family>,
    ) -> Pool {
        let metrics = self.metrics.endpoint(&endpoint.name);
        let login = Arc::new(login.clone());
        let manager = Manager {
            endpoint: endpoint.clone(),
            login: login.clone(),
            monitor: config.monitor.credentials.clone(),
            flags: key.flags,
            attributes: key.attributes.clone(),
            states: self.states.clone(),
            connect_timeout: config.timeouts.connect,
            max_life: config.pool.max_life,
            statement_limit: config.pool.prepared_statements,
            metrics: metrics.clone(),
            family: family.clone(),
        };
        let built = Connections::builder(manager)
            .max_size(max_size(config, endpoint))
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build();
        let connections = match built {
            Ok(connections) => connections,
            // Building fails only for timeouts without a runtime, and the runtime is given.
            Err(error) => unreachable!("a pool with a runtime can be built: {error}"),
        };
        let origin = Arc::new(Origin {
            endpoint: endpoint.clone(),
            login,
            has_schema: key.has_schema,
            metrics,
        });
        let mut relatives = family.pools.lock().unwrap_or_else(PoisonError::into_inner);
        relatives.retain(|(origin, _)| origin.strong_count() > 0);
        relatives.push((Arc::downgrade(&origin), connections.clone()));
        drop(relatives);
        Pool {
            connections,
            origin,
            family,
        }
    }

    /// Fits the pools to a new configuration: those of endpoints and users that left it are
    /// closed, the others get their new size. Connections that are lent finish their work.
    pub fn apply(&self, old: &Config, new: &Config, snapshot: &Snapshot) {
        let is_same = |user: &str| matches!((old.user(user), new.user(user)), (Some(old), Some(new)) if old.backend == new.backend);
        let same_settings = old.timeouts.connect == new.timeouts.connect
            && old.pool.max_life == new.pool.max_life
            && old.pool.prepared_statements == new.pool.prepared_statements
            && old.monitor.credentials == new.monitor.credentials;
        self.lock().retain(|(_, key), pool| {
            let stays = same_settings
                && is_same(&key.user)
                && snapshot
                    .all()
                    .any(|endpoint| Arc::ptr_eq(endpoint, &pool.origin.endpoint));
            if stays {
                pool.connections
                    .resize(max_size(new, &pool.origin.endpoint));
                pool.family
                    .budget
                    .resize(max_size(new, &pool.origin.endpoint));
            } else {
                pool.connections.close();
            }
            stays
        });
    }

    /// Closes connections that waited for longer than `idle_timeout` or are too old, and forgets
    /// pools that nobody uses: clients choose the attributes that they are told apart by.
    pub fn prune(&self, idle_timeout: Duration) {
        let mut pools = self.lock();
        for pool in pools.values() {
            pool.connections.retain(|connection, metrics| {
                let reason = if connection.is_old() {
                    CloseReason::Age
                } else if metrics.last_used() >= idle_timeout {
                    CloseReason::Idle
                } else {
                    return true;
                };
                pool.origin.metrics.closed.inc(reason);
                false
            });
        }
        pools.retain(|_, pool| {
            Arc::strong_count(&pool.origin) > 1 || pool.connections.status().size > 0
        });
    }

    /// The connections to one endpoint.
    pub fn usage(&self, endpoint: &Arc<Endpoint>) -> Usage {
        let mut usage = Usage::default();
        for ((id, _), pool) in self.lock().iter() {
            if *id == identity(endpoint) {
                let status = pool.connections.status();
                usage.open += status.size;
                usage.in_use += status.size.saturating_sub(status.available);
            }
        }
        usage
    }

    fn lock(&self) -> MutexGuard<'_, Map> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Endpoints are told apart by identity; the pool keeps its endpoint alive, so that no other can
/// take its place.
fn identity(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint) as usize
}

fn max_size(config: &Config, endpoint: &Endpoint) -> usize {
    config
        .endpoints
        .iter()
        .find(|candidate| candidate.name == endpoint.name)
        .map_or(config.pool.max_connections, |candidate| {
            candidate.max_connections
        })
}
