//! All pools: one for each endpoint, user and set of flags that are fixed when connecting.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{Object, PoolError, QueueMode, TimeoutType, Timeouts};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::handshake::Attributes;

use super::connect::ConnectError;
use super::family::Family;
use super::lease::{Lease, LeaseError};
use super::manager::Manager;
use super::nearby::Nearby;
use super::state::StateTable;
use crate::admin::Metrics;
use crate::admin::metrics::EndpointMetrics;
use crate::config::{Config, Credentials};
use crate::topology::{Endpoint, Snapshot};

/// The pause before another attempt to connect doubles from this …
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// … to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the connections of one pool have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The user, as the configuration names it.
    pub user: String,
    /// The kind of client.
    pub kind: Kind,
    /// Whether a schema is selected: none can be unselected.
    pub has_schema: bool,
}

/// What a client fixes when it connects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    /// The capabilities that a server fixes too.
    pub flags: Capabilities,
    /// The connection attributes that servers are shown.
    pub attributes: Attributes,
}

/// The connections of one endpoint for one [`PoolKey`].
#[derive(Clone)]
pub struct Pool {
    connections: Connections,
    origin: Arc<Origin>,
    /// Counts those who can lend from it.
    handles: Arc<()>,
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
    pub(super) family: Arc<Family>,
}

pub(super) type Connections = deadpool::managed::Pool<Manager>;

impl Pool {
    /// Lends a connection that nobody uses, if there is one.
    pub fn lease_idle(&self) -> Option<Lease> {
        let manager = self.connections.manager();
        while let Some((mut object, shelf)) = manager.nearby.take() {
            if manager.may_be_lent(&mut object) {
                return Some(Lease::new(object, shelf));
            }
            drop(Object::take(object));
        }
        self.lease_pooled()
    }

    /// The same where none is nearby.
    #[cold]
    #[inline(never)]
    fn lease_pooled(&self) -> Option<Lease> {
        let timeouts = Timeouts {
            wait: Some(Duration::ZERO),
            create: None,
            recycle: None,
        };
        let borrowing = pin!(self.connections.timeout_get(&timeouts));
        // Waits for nothing but a new connection, which is not begun yet (see `Manager::create`).
        match borrowing.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(object)) => {
                let shelf = self.connections.manager().nearby.own();
                Some(Lease::new(object, shelf))
            }
            _ => None,
        }
    }

    /// Whether nobody uses some connection, and no more than half of those that it may have would be
    /// lent with it.
    pub fn can_spare_one(&self) -> bool {
        let status = self.connections.status();
        let idle = status.available + self.connections.manager().nearby.len();
        let in_use = status.size.saturating_sub(idle);
        idle > 0 && status.waiting == 0 && (in_use + 1) * 2 <= status.max_size
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
        let _wanted = self.connections.manager().nearby.want();
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
                Ok(Lease::new(object, self.connections.manager().nearby.own()))
            }
            Err(PoolError::Backend(error)) => Err(LeaseError::Connect(error)),
            Err(PoolError::Timeout(TimeoutType::Create)) => {
                Err(LeaseError::Connect(ConnectError::TimedOut {
                    address: self.origin.endpoint.address.to_string(),
                    limit: waited,
                }))
            }
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
            Some((_, pool)) => pool.origin.family.clone(),
            None => {
                let (limit, min_idle) = limits(config, endpoint);
                Arc::new(Family::new(limit, min_idle))
            }
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
        let origin = Arc::new(Origin {
            endpoint: endpoint.clone(),
            login: Arc::new(login.clone()),
            has_schema: key.has_schema,
            metrics: self.metrics.endpoint(&endpoint.name),
            family: family.clone(),
        });
        let manager = Manager {
            origin: origin.clone(),
            nearby: Nearby::default(),
            monitor: config.monitor.credentials.clone(),
            kind: key.kind.clone(),
            states: self.states.clone(),
            connect_timeout: config.timeouts.connect,
            dead_link: config.timeouts.dead_link,
            max_life: config.pool.max_life,
            statement_limit: config.pool.prepared_statements,
        };
        let built = Connections::builder(manager)
            .max_size(limits(config, endpoint).0)
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build();
        let connections = match built {
            Ok(connections) => connections,
            // Building fails only for timeouts without a runtime, and the runtime is given.
            Err(error) => unreachable!("a pool with a runtime can be built: {error}"),
        };
        family.join(&origin, &connections);
        Pool {
            connections,
            origin,
            handles: Arc::default(),
        }
    }

    /// Fits the pools to a new configuration. Those of endpoints and users that left it are closed, and
    /// those that are larger than they may be, whose place others take: connections that are lent
    /// finish their work and end. So are those of an endpoint that is the writer no more: whoever waits
    /// for it must not write there when it is back.
    pub fn apply(&self, old: &Config, new: &Config, snapshot: &Snapshot) {
        let is_same = |user: &str| matches!((old.user(user), new.user(user)), (Some(old), Some(new)) if old.backend == new.backend);
        let same_settings = old.timeouts.connect == new.timeouts.connect
            && old.timeouts.dead_link == new.timeouts.dead_link
            && old.pool.max_life == new.pool.max_life
            && old.pool.prepared_statements == new.pool.prepared_statements
            && old.monitor.credentials == new.monitor.credentials;
        let was_writer = |endpoint: &Endpoint| old.writer().is_some_and(|one| endpoint.is(one));
        let is_writer = |endpoint: &Arc<Endpoint>| {
            let writer = snapshot.writer.as_ref();
            writer.is_some_and(|one| Arc::ptr_eq(one, endpoint))
        };
        // What goes for one pool of a family goes for all.
        self.lock().retain(|(_, key), pool| {
            let Origin {
                endpoint, family, ..
            } = &*pool.origin;
            let (limit, min_idle) = limits(new, endpoint);
            let stays = same_settings
                && is_same(&key.user)
                && snapshot.all().any(|one| Arc::ptr_eq(one, endpoint))
                && (is_writer(endpoint) || !was_writer(endpoint))
                && family.limit() <= limit;
            match stays {
                true => family.grow(limit, min_idle),
                false => family.close(),
            }
            stays
        });
    }

    /// Notes that there is a client of this kind, for which connections are then made ahead.
    pub fn expect(
        &self,
        config: &Config,
        endpoint: &Arc<Endpoint>,
        login: &Credentials,
        user: &str,
        kind: &Kind,
    ) {
        let key = PoolKey {
            user: user.to_owned(),
            kind: kind.clone(),
            has_schema: false,
        };
        let family = self
            .pool(config, endpoint, login, key)
            .origin
            .family
            .clone();
        family.stock.note(kind);
        family.keep_ready();
    }

    /// Closes connections that waited for longer than `idle_timeout`, are too old or that the server
    /// has closed, and has others made in their place where too few are ready. Forgets pools that nobody uses: clients choose
    /// the attributes that they are told apart by.
    pub fn tend(&self, idle_timeout: Duration) {
        let mut pools = self.lock();
        for ((_, key), pool) in pools.iter() {
            if Arc::strong_count(&pool.handles) > 1 {
                pool.origin.family.stock.note(&key.kind);
            }
        }
        for pool in one_of_each_family(&pools) {
            pool.origin.family.prune(idle_timeout, &pool.origin);
            pool.origin.family.keep_ready();
        }
        pools.retain(|(_, key), pool| {
            let stays = Arc::strong_count(&pool.handles) > 1
                || pool.connections.status().size > 0
                || pool.origin.family.stock.knows(&key.kind);
            if !stays {
                pool.origin.family.leave(&pool.origin);
            }
            stays
        });
    }

    /// Closes the prepared statements of a connection to the endpoint that nobody uses, if there is
    /// one that has some.
    pub async fn make_room_for_statements(&self, endpoint: &Arc<Endpoint>) {
        if let Some(lease) = self.idle_with_statements(endpoint) {
            lease.shed_statements().await;
        }
    }

    fn idle_with_statements(&self, endpoint: &Arc<Endpoint>) -> Option<Lease> {
        let mut pools: Vec<Pool> = Vec::new();
        for ((id, _), pool) in self.lock().iter() {
            if *id == identity(endpoint) {
                pools.push(pool.clone());
            }
        }
        // They go back when one is found.
        let mut bare = Vec::new();
        for pool in pools {
            while let Some(lease) = pool.lease_idle() {
                if lease.has_statements() {
                    return Some(lease);
                }
                bare.push(lease);
            }
        }
        None
    }

    /// The connections to one endpoint.
    pub fn usage(&self, endpoint: &Arc<Endpoint>) -> Usage {
        let mut usage = Usage::default();
        let pools = self.lock();
        for ((id, _), pool) in pools.iter() {
            if *id == identity(endpoint) {
                let status = pool.connections.status();
                usage.open += status.size;
                let idle = status.available + pool.connections.manager().nearby.len();
                usage.in_use += status.size.saturating_sub(idle);
            }
        }
        for pool in one_of_each_family(&pools) {
            if Arc::ptr_eq(&pool.origin.endpoint, endpoint) {
                usage.open += pool.origin.family.stock.len();
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

/// One pool for each user and endpoint.
fn one_of_each_family(pools: &Map) -> Vec<Pool> {
    let mut some: Vec<Pool> = Vec::new();
    for pool in pools.values() {
        if !some
            .iter()
            .any(|known| Arc::ptr_eq(&known.origin.family, &pool.origin.family))
        {
            some.push(pool.clone());
        }
    }
    some
}

/// The most connections to an endpoint for one user, and how many are to be ready.
fn limits(config: &Config, endpoint: &Endpoint) -> (usize, usize) {
    let mut candidates = config.endpoints.iter();
    candidates
        .find(|candidate| candidate.name == endpoint.name)
        .map_or(
            (config.pool.max_connections, config.pool.min_idle),
            |candidate| (candidate.max_connections, candidate.min_idle),
        )
}
