//! Puts the rooms together: start, reload, stop.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;

use crate::admin::metrics::ReloadOutcome;
use crate::admin::{self, AdminState, Metrics};
use crate::config::{Config, ConfigError};
use crate::consistency::{Heartbeat, Ledger, Reader, follow, sample};
use crate::listener::{self, Listener, RefusalLog};
use crate::rsa::{RsaError, RsaKey};
use crate::session::{Shared, Signal, World};
use crate::tls::{self, TlsError};
use crate::topology::{self, Snapshot, Trail, Watch};

/// How often silent clients and old connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often the configuration file is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long sessions have to say goodbye after the deadline of a shutdown.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({what}): {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that names it.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// No key for logins without TLS could be made.
    #[error(transparent)]
    Rsa(#[from] RsaError),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file does not validate.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The proxy was started without a file.
    #[error("there is no configuration file to reload")]
    NoFile,
}

/// A running proxy.
pub struct Server {
    listener: Arc<Listener>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    path: Option<PathBuf>,
    /// Applies the log level of a new configuration.
    set_log_level: Box<dyn Fn(&str) + Send + Sync>,
    /// Where clients connect, with the ports that the system chose.
    addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    accepting: Vec<AbortOnDrop>,
    _housekeeping: Mutex<Vec<AbortOnDrop>>,
    /// The tasks that belong to the present world.
    world_tasks: Mutex<Vec<AbortOnDrop>>,
    reloading: tokio::sync::Mutex<()>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDrop {
    AbortOnDrop(tokio::spawn(task).abort_handle())
}

impl Server {
    /// Starts a proxy. `path` is where the configuration is read again from.
    ///
    /// # Errors
    /// If an address is taken or a key cannot be used. Servers that are down are no error.
    pub async fn start(
        config: Config,
        path: Option<PathBuf>,
        set_log_level: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Arc<Self>, StartError> {
        let sockets = bind_all(&config)?;
        let admin_socket = match config.admin.address {
            Some(address) => Some(bind(address, "admin.address")?),
            None => None,
        };
        let tls = config
            .listen
            .tls
            .as_ref()
            .map(tls::server_config)
            .transpose()?;
        let rsa = RsaKey::generate()?;
        let ledger = Arc::new(Ledger::new(draw_number()?));
        let snapshot = Snapshot::build(&config, &Snapshot::default())?;
        let readers = ledger.follow(&snapshot.readers);
        let world = World {
            config: Arc::new(config),
            snapshot,
            readers,
        };
        let world_tasks = start_world(&world, &ledger);
        let metrics = Arc::new(Metrics::new());
        let shared = Arc::new(Shared::new(world, ledger.clone(), metrics.clone()));
        let listener = Arc::new(Listener {
            shared,
            tls: tls.into(),
            rsa,
            refusals: RefusalLog::default(),
        });
        let addresses: Vec<SocketAddr> = sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect();
        let accepting = sockets
            .into_iter()
            .map(|socket| spawn(listener::serve(listener.clone(), socket)))
            .collect();
        let server = Arc::new(Self {
            listener,
            ledger,
            metrics,
            path,
            set_log_level: Box::new(set_log_level),
            addresses,
            admin_address: admin_socket
                .as_ref()
                .and_then(|socket| socket.local_addr().ok()),
            accepting,
            _housekeeping: Mutex::default(),
            world_tasks: Mutex::new(world_tasks),
            reloading: tokio::sync::Mutex::new(()),
        });
        server.start_housekeeping(admin_socket);
        Ok(server)
    }

    fn start_housekeeping(self: &Arc<Self>, admin_socket: Option<TcpListener>) {
        let mut tasks = vec![spawn(sweep(self.listener.shared.clone()))];
        let world = self.listener.shared.world.load();
        if world.config.reload.watch
            && let Some(path) = self.path.clone()
        {
            tasks.push(spawn(watch_file(Arc::downgrade(self), path)));
        }
        if let Some(socket) = admin_socket {
            tasks.push(spawn(admin::serve(socket, Arc::new(self.admin_state()))));
        }
        *self
            ._housekeeping
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = tasks;
    }

    fn admin_state(self: &Arc<Self>) -> AdminState {
        let ready = Arc::downgrade(self);
        let reload = Arc::downgrade(self);
        AdminState {
            metrics: self.metrics.clone(),
            ready: Box::new(move || match ready.upgrade() {
                Some(server) => server.readiness(),
                None => Err("Isthmus is stopping".into()),
            }),
            reload: Box::new(move || {
                let server = reload.upgrade();
                Box::pin(async move {
                    match server {
                        Some(server) => server.reload().await.map_err(|error| error.to_string()),
                        None => Err("Isthmus is stopping".into()),
                    }
                })
            }),
        }
    }

    /// Where clients connect.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the status is served.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Whether clients can be served, and why not.
    pub fn readiness(&self) -> Result<(), String> {
        let world = self.listener.shared.world.load();
        let down: Vec<&str> = world
            .snapshot
            .all()
            .filter(|endpoint| !endpoint.is_up() || endpoint.server().is_none())
            .map(|endpoint| endpoint.name.as_str())
            .collect();
        let writer = world
            .snapshot
            .writer
            .as_ref()
            .map(|writer| writer.name.as_str());
        match writer {
            Some(writer) if down.contains(&writer) => {
                Err(format!("the writer endpoint '{writer}' cannot be reached"))
            }
            Some(_) => Ok(()),
            None => Err("the configuration names no writer".into()),
        }
    }

    /// Reads the configuration file again and applies what changed; returns the changes as
    /// sentences.
    ///
    /// # Errors
    /// If the file does not validate: then nothing was changed.
    pub async fn reload(&self) -> Result<Vec<String>, ReloadError> {
        let path = self.path.as_deref().ok_or(ReloadError::NoFile)?;
        let result = self.try_reload(path).await;
        match &result {
            Ok(changes) if changes.is_empty() => {
                self.metrics.reloads.inc(ReloadOutcome::Applied);
                tracing::info!("reloaded: nothing changed");
            }
            Ok(changes) => {
                self.metrics.reloads.inc(ReloadOutcome::Applied);
                for change in changes {
                    tracing::info!("reloaded: {change}");
                }
            }
            Err(error) => {
                self.metrics.reloads.inc(ReloadOutcome::Failed);
                tracing::error!(%error, "not reloaded, nothing changed");
            }
        }
        result
    }

    async fn try_reload(&self, path: &Path) -> Result<Vec<String>, ReloadError> {
        let _one_at_a_time = self.reloading.lock().await;
        let shared = &self.listener.shared;
        let config = Config::load(path)?;
        let old = shared.world.load_full();
        let tls = config
            .listen
            .tls
            .as_ref()
            .map(tls::server_config)
            .transpose()?;
        let snapshot = Snapshot::build(&config, &old.snapshot)?;
        let changes: Vec<String> = old
            .config
            .diff(&config)
            .iter()
            .map(ToString::to_string)
            .collect();
        self.listener.tls.store(tls);
        (self.set_log_level)(&config.log.level);
        if changes.is_empty() {
            return Ok(changes);
        }
        // Before the ledger is about others: what these ask of the old writer counts no more.
        let mut tasks = self
            .world_tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tasks.clear();
        let readers = self.ledger.follow(&snapshot.readers);
        let world = World {
            config: Arc::new(config),
            snapshot,
            readers,
        };
        *tasks = start_world(&world, &self.ledger);
        drop(tasks);
        let world = Arc::new(world);
        shared.world.store(world.clone());
        for endpoint in &old.config.endpoints {
            if !world
                .config
                .endpoints
                .iter()
                .any(|other| other.name == endpoint.name)
            {
                self.metrics.forget_endpoint(&endpoint.name);
            }
        }
        shared
            .pools
            .apply(&old.config, &world.config, &world.snapshot);
        Ok(changes)
    }

    /// Stops accepting, lets transactions finish until the configured deadline, then ends all
    /// sessions. Sessions without a transaction end at once.
    pub async fn shutdown(&self) {
        for task in &self.accepting {
            task.0.abort();
        }
        let shared = &self.listener.shared;
        let deadline = shared.world.load().config.timeouts.shutdown;
        shared.sessions.send_all(Signal::Shutdown);
        let _ = tokio::time::timeout(deadline, self.wait_for_sessions()).await;
        shared.sessions.send_all(Signal::Stop);
        let _ = tokio::time::timeout(LAST_WORDS, self.wait_for_sessions()).await;
    }

    async fn wait_for_sessions(&self) {
        while !self.listener.shared.sessions.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Starts what watches the world's endpoints.
fn start_world(world: &World, ledger: &Arc<Ledger>) -> Vec<AbortOnDrop> {
    let config = &world.config;
    let writer = world.snapshot.writer.as_ref();
    let trail = Arc::new(Trail::default());
    let monitors = world.snapshot.all().map(|endpoint| {
        let is_writer = writer.is_some_and(|writer| Arc::ptr_eq(writer, endpoint));
        let settings = config.endpoints.iter().find(|one| endpoint.is(one));
        let watch = Watch {
            endpoint: endpoint.clone(),
            settings: config.monitor.clone(),
            is_writer,
            max_lag: settings.and_then(|settings| settings.max_lag),
            trail: trail.clone(),
        };
        spawn(topology::watch(watch))
    });
    let login = &config.monitor.credentials;
    let heartbeat = Heartbeat::new(&config.consistency.heartbeat_table, ledger.proxy());
    let sampler = writer.map(|writer| {
        let (ledger, writer) = (ledger.clone(), writer.clone());
        spawn(sample(ledger, writer, login.clone(), heartbeat.clone()))
    });
    let followers = world.readers.iter().filter_map(|reader: &Arc<Reader>| {
        Some(spawn(follow(
            ledger.clone(),
            reader.clone(),
            writer?.clone(),
            login.clone(),
            config.consistency.clone(),
            heartbeat.clone(),
        )))
    });
    monitors.chain(sampler).chain(followers).collect()
}

/// Ends silent sessions and closes old connections, again and again.
async fn sweep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let world = shared.world.load_full();
        shared.sessions.end_idle(world.config.timeouts.idle);
        shared.pools.tend(world.config.pool.idle_timeout);
        measure(&shared, &world);
    }
}

/// Brings those metrics up to date that nobody counts as they happen.
fn measure(shared: &Shared, world: &World) {
    for endpoint in world.snapshot.all() {
        let metrics = shared.metrics.endpoint(&endpoint.name);
        let usage = shared.pools.usage(endpoint);
        metrics
            .up
            .set(i64::from(endpoint.is_up() && endpoint.server().is_some()));
        metrics.open.set(usage.open.try_into().unwrap_or(i64::MAX));
        metrics
            .in_use
            .set(usage.in_use.try_into().unwrap_or(i64::MAX));
    }
    for reader in &world.readers {
        let metrics = shared.metrics.endpoint(&reader.endpoint.name);
        metrics
            .seen_through_age_seconds
            .set(shared.ledger.age(reader).as_secs_f64());
    }
    let sources = world.readers.iter().filter_map(|reader| {
        let choice = reader.choice()?;
        let name = reader.endpoint.name.as_str();
        Some((name, choice.source, choice.reason.as_str()))
    });
    let sources: Vec<_> = sources.collect();
    shared.metrics.show_sources(&sources);
}

/// Reloads when the file has changed.
async fn watch_file(server: std::sync::Weak<Server>, path: PathBuf) {
    let mut known = stamp(&path).await;
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let current = stamp(&path).await;
        // A file that is being replaced may be away for a moment.
        if current.is_none() || current == known {
            continue;
        }
        known = current;
        let Some(server) = server.upgrade() else {
            return;
        };
        // The outcome is in the log.
        let _ = server.reload().await;
    }
}

async fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// A number that no other proxy has.
fn draw_number() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn bind_all(config: &Config) -> Result<Vec<TcpListener>, StartError> {
    config
        .listen
        .addresses
        .iter()
        .map(|address| bind(*address, "listen.addresses"))
        .collect()
}

fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, StartError> {
    let try_bind = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    try_bind().map_err(|error| StartError::Listen {
        address,
        what,
        error,
    })
}
