use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::ports;
use crate::timer::Timer;

/// What is read at once.
const CHUNK: usize = 64 * 1024;
/// How many chunks may be under way in each direction of a connection.
const UNDER_WAY: usize = 512;
/// Bytes in the same direction after a silence of this length are a new burst.
const GAP: Duration = Duration::from_millis(20);

/// A link between two places: forwards TCP connections from its own address to the
/// target's, with the delay, the bandwidth and the failures that it is told to have.
///
/// Every byte arrives half a round trip after it was sent, however many are under
/// way. The kernel accepts a connection at once; the round trip that this should
/// take is added before the link connects to the target, so that the server's
/// greeting arrives two round trips after the client began to connect, as it does on
/// a real line. The delays are kept to within about 0.2 ms on an idle machine.
///
/// The link works in a thread of its own, so that it keeps time whatever the tests do.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    link: Arc<Link>,
    state: watch::Sender<State>,
    /// The version of the state that the thread has put into effect.
    effective: watch::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a link to the target, on a free port of 127.0.0.1.
    pub fn start(target: SocketAddr, round_trip: Duration) -> Result<Self> {
        let (listener, address) = listen_somewhere()?;
        let (state, states) = watch::channel(State {
            version: 0,
            target,
            mode: Mode::Open,
            resets: 0,
            delays: [round_trip / 2; 2],
            bandwidth: None,
            ended: false,
        });
        let (effect, effective) = watch::channel(0);
        let link = Arc::new(Link {
            states,
            counters: Counters::default(),
            fuse: Mutex::new(None),
            stopped: watch::Sender::new(false),
            free_at: [Mutex::new(Instant::now()), Mutex::new(Instant::now())],
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Relay {
                doing: "start",
                source,
            })?;
        let thread = thread::Builder::new()
            .name("relay".into())
            .spawn({
                let link = Arc::clone(&link);
                move || runtime.block_on(accept(listener, address, link, effect))
            })
            .map_err(|source| Error::Relay {
                doing: "start",
                source,
            })?;
        Ok(Self {
            address,
            link,
            state,
            effective,
            thread: Some(thread),
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it leads to.
    pub fn target(&self) -> SocketAddr {
        self.state.borrow().target
    }

    /// Leads new connections to another server, as a change in the name service
    /// would; those that exist stay where they are.
    pub fn set_target(&self, target: SocketAddr) {
        self.change(|state| state.target = target);
    }

    /// The time from one end to the other and back.
    pub fn round_trip(&self) -> Duration {
        self.state.borrow().delays.iter().sum()
    }

    /// Sets the delay, half of it in each direction, for what is sent from now on.
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.set_delays(round_trip / 2, round_trip / 2);
    }

    /// Sets the delays of the two directions apart.
    pub fn set_delays(&self, to_server: Duration, to_client: Duration) {
        self.change(|state| state.delays = [to_server, to_client]);
    }

    /// Limits all connections together, in each direction, to so many bytes a second.
    pub fn set_bandwidth(&self, bytes_per_second: Option<u64>) {
        self.change(|state| state.bandwidth = bytes_per_second);
    }

    /// Cuts the link so that both ends notice: existing connections are reset, new
    /// ones refused. In effect when the call returns.
    pub async fn cut(&self) {
        let version = self.change(|state| {
            state.mode = Mode::Refusing;
            state.resets += 1;
        });
        self.in_effect(version).await;
    }

    /// Cuts the link so that nobody notices: nothing arrives any more, new
    /// connections get no answer. What was sent arrives after [`Relay::restore`],
    /// as it would on a line that was down for a moment. A connection is still
    /// accepted by the kernel here, where a real line would not let it come about.
    pub async fn silence(&self) {
        let version = self.change(|state| state.mode = Mode::Silent);
        self.in_effect(version).await;
    }

    /// Ends [`Relay::cut`] and [`Relay::silence`].
    pub async fn restore(&self) {
        let version = self.change(|state| state.mode = Mode::Open);
        self.in_effect(version).await;
    }

    /// Resets all connections of this moment. New ones are welcome.
    pub async fn reset_connections(&self) {
        let version = self.change(|state| state.resets += 1);
        self.in_effect(version).await;
    }

    /// Lets so many more bytes arrive in one direction and then nothing in any, until
    /// [`Relay::resume`].
    pub fn stop_after(&self, direction: Direction, bytes: u64) {
        *self.link.fuse() = Some((direction, bytes));
        if bytes == 0 {
            self.link.stopped.send_replace(true);
        }
    }

    /// Returns when that has come about.
    pub async fn stopped(&self) {
        // It fails only when the link is dropped.
        let _ = self.link.stopped.subscribe().wait_for(|now| *now).await;
    }

    /// Lets bytes arrive again. Returns whether the link had stopped.
    pub fn resume(&self) -> bool {
        *self.link.fuse() = None;
        self.link.stopped.send_replace(false)
    }

    /// What has passed since the start. To see what something costs, take the
    /// difference of two.
    pub fn traffic(&self) -> Traffic {
        let counters = &self.link.counters;
        let flow = |direction: Direction| Flow {
            bytes: counters.bytes[direction as usize].load(Relaxed),
            bursts: counters.bursts[direction as usize].load(Relaxed),
        };
        Traffic {
            connections: counters.connections.load(Relaxed),
            open: counters.open.load(Relaxed),
            to_server: flow(Direction::ToServer),
            to_client: flow(Direction::ToClient),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> u64 {
        let mut version = 0;
        self.state.send_modify(|state| {
            change(state);
            state.version += 1;
            version = state.version;
        });
        version
    }

    async fn in_effect(&self, version: u64) {
        // It fails only when the thread has ended, and every connection with it.
        let _ = self.effective.clone().wait_for(|now| *now >= version).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.change(|state| state.ended = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The way that bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connected to the target.
    ToServer,
    /// Back.
    ToClient,
}

/// What has passed through a [`Relay`], as seen from the client's end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Connections accepted.
    pub connections: u64,
    /// Those of them that are open.
    pub open: u64,
    /// What came from the clients.
    pub to_server: Flow,
    /// What was delivered to the clients.
    pub to_client: Flow,
}

impl std::ops::Sub for Traffic {
    type Output = Traffic;

    /// What has passed since `earlier`; `open` is that of now.
    fn sub(self, earlier: Traffic) -> Traffic {
        Traffic {
            connections: self.connections - earlier.connections,
            open: self.open,
            to_server: self.to_server - earlier.to_server,
            to_client: self.to_client - earlier.to_client,
        }
    }
}

/// What has passed in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Bytes.
    pub bytes: u64,
    /// Runs of bytes of one connection, begun by a change of direction or by a
    /// silence of 20 ms. In strict question and answer, one burst to the server is
    /// one round trip.
    pub bursts: u64,
}

impl std::ops::Sub for Flow {
    type Output = Flow;

    fn sub(self, earlier: Flow) -> Flow {
        Flow {
            bytes: self.bytes - earlier.bytes,
            bursts: self.bursts - earlier.bursts,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    Refusing,
    Silent,
}

/// What the link is told to be.
#[derive(Debug, Clone)]
struct State {
    version: u64,
    target: SocketAddr,
    mode: Mode,
    /// How often all connections had to be reset.
    resets: u64,
    /// By direction.
    delays: [Duration; 2],
    bandwidth: Option<u64>,
    ended: bool,
}

/// What all connections share.
#[derive(Debug)]
struct Link {
    states: watch::Receiver<State>,
    counters: Counters,
    /// After how many bytes in which direction it stops.
    fuse: Mutex<Option<(Direction, u64)>>,
    stopped: watch::Sender<bool>,
    /// When the line is free for the next byte, by direction.
    free_at: [Mutex<Instant>; 2],
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    open: AtomicU64,
    bytes: [AtomicU64; 2],
    bursts: [AtomicU64; 2],
}

impl Link {
    /// When bytes that are sent now arrive.
    fn arrival(&self, direction: Direction, bytes: usize) -> Instant {
        let now = Instant::now();
        let state = self.states.borrow();
        let sent = match state.bandwidth {
            None => now,
            Some(rate) => {
                let mut free_at = self.free_at[direction as usize]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
                *free_at = now.max(*free_at) + takes;
                *free_at
            }
        };
        sent + state.delays[direction as usize]
    }

    fn fuse(&self) -> MutexGuard<'_, Option<(Direction, u64)>> {
        self.fuse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of these bytes may arrive now; the link stops behind them if it is to.
    fn pass(&self, direction: Direction, bytes: usize) -> usize {
        let mut fuse = self.fuse();
        let Some((_, left)) = fuse.as_mut().filter(|(of, _)| *of == direction) else {
            return bytes;
        };
        let passing = bytes.min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= passing as u64;
        if *left == 0 {
            self.stopped.send_replace(true);
        }
        passing
    }

    /// Returns once the link is neither silent nor stopped.
    async fn audible(&self) {
        if *self.stopped.borrow() {
            let _ = self.stopped.subscribe().wait_for(|now| !now).await;
        }
        if self.states.borrow().mode == Mode::Silent {
            // It fails only when the link is dropped, and this task with it.
            let _ = self
                .states
                .clone()
                .wait_for(|state| state.mode != Mode::Silent)
                .await;
        }
    }
}

/// The link's thread: keeps the connections and puts each change of state into effect.
async fn accept(
    listener: std::net::TcpListener,
    address: SocketAddr,
    link: Arc<Link>,
    effect: watch::Sender<u64>,
) {
    let mut states = link.states.clone();
    let mut listener = TcpListener::from_std(listener).ok();
    let mut connections = JoinSet::new();
    let mut resets = 0;
    loop {
        let state = states.borrow_and_update().clone();
        if state.ended {
            return;
        }
        if state.mode == Mode::Refusing {
            if let Some(listener) = listener.take() {
                // Closing is not enough: a process that is being forked elsewhere in the
                // program holds a copy of the socket until it becomes its own program.
                let _ = shutdown(&listener, Shutdown::Both);
            }
        } else if listener.is_none() {
            listener = listen(address)
                .ok()
                .and_then(|socket| TcpListener::from_std(socket).ok());
        }
        if state.resets != resets {
            resets = state.resets;
            connections.shutdown().await;
        }
        effect.send_replace(state.version);

        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
            client = accept_from(listener.as_ref()) => {
                if let Ok(client) = client {
                    connections.spawn(serve(client, Arc::clone(&link)));
                }
            }
        }
    }
}

async fn accept_from(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

fn listen_somewhere() -> Result<(std::net::TcpListener, SocketAddr)> {
    loop {
        let address = ports::pick();
        match listen(address) {
            Ok(listener) => return Ok((listener, address)),
            Err(taken) if taken.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => {
                return Err(Error::Relay {
                    doing: "listen",
                    source,
                });
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Counts a connection as long as it is open.
struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.connections.fetch_add(1, Relaxed);
        counters.open.fetch_add(1, Relaxed);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// One connection, from beginning to end. When this is dropped on the way, or ends
/// with an error, both sides see a reset.
async fn serve(mut client: TcpStream, link: Arc<Link>) -> io::Result<()> {
    let _open = Open::new(&link.counters);
    prepare(&client)?;

    // On a real line the client could send only after one round trip, and the server
    // would have the connection another half later.
    let accepted = Instant::now();
    let [there, back] = link.states.borrow().delays;
    let mut timer = Timer::new()?;
    timer.wait_until(accepted + there + back).await?;

    let bursts = Bursts::default();
    let (send_there, receive_there) = mpsc::channel(UNDER_WAY);
    let (send_back, receive_back) = mpsc::channel(UNDER_WAY);
    let (from_client, to_client) = client.split();
    let server_side = async {
        timer.wait_until(accepted + there + back + there).await?;
        link.audible().await;
        let target = link.states.borrow().target;
        let mut server = TcpStream::connect(target).await?;
        prepare(&server)?;
        let (from_server, to_server) = server.split();
        tokio::try_join!(
            deliver(
                to_server,
                receive_there,
                Direction::ToServer,
                &link,
                &bursts
            ),
            collect(from_server, send_back, Direction::ToClient, &link, &bursts),
        )?;
        Ok(server)
    };
    let ((), (), server) = tokio::try_join!(
        collect(from_client, send_there, Direction::ToServer, &link, &bursts),
        deliver(to_client, receive_back, Direction::ToClient, &link, &bursts),
        server_side,
    )?;

    // All has been said: the two are closed, not reset.
    set_socket_linger(&client, None)?;
    set_socket_linger(&server, None)?;
    Ok(())
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_zero_linger()
}

/// What is under way, and when it arrives. The end of the bytes is `Ok` and empty
/// when the sender has closed its direction, and an error when it was reset.
type Parcel = (Instant, io::Result<Vec<u8>>);

async fn collect(
    mut from: ReadHalf<'_>,
    send: mpsc::Sender<Parcel>,
    direction: Direction,
    link: &Link,
    bursts: &Bursts,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let bytes = from
            .read(&mut buffer)
            .await
            .map(|count| buffer[..count].to_vec());
        let count = bytes.as_ref().map_or(0, Vec::len);
        if direction == Direction::ToServer {
            bursts.count(direction, count, link);
        }
        let parcel = (link.arrival(direction, count), bytes);
        if send.send(parcel).await.is_err() || count == 0 {
            return Ok(());
        }
    }
}

async fn deliver(
    mut to: WriteHalf<'_>,
    mut receive: mpsc::Receiver<Parcel>,
    direction: Direction,
    link: &Link,
    bursts: &Bursts,
) -> io::Result<()> {
    let mut timer = Timer::new()?;
    while let Some((arrival, bytes)) = receive.recv().await {
        timer.wait_until(arrival).await?;
        link.audible().await;
        let bytes = bytes?;
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        if direction == Direction::ToClient {
            bursts.count(direction, bytes.len(), link);
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            link.audible().await;
            let (passing, others) = rest.split_at(link.pass(direction, rest.len()));
            to.write_all(passing).await?;
            rest = others;
        }
    }
    Ok(())
}

/// Which way the last bytes of a connection went, at the client's end, and when.
#[derive(Debug, Default)]
struct Bursts(Mutex<Option<(Direction, Instant)>>);

impl Bursts {
    fn count(&self, direction: Direction, bytes: usize, link: &Link) {
        if bytes == 0 {
            return;
        }
        let now = Instant::now();
        let before = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace((direction, now));
        let goes_on =
            before.is_some_and(|(last, at)| last == direction && now.duration_since(at) < GAP);
        if !goes_on {
            link.counters.bursts[direction as usize].fetch_add(1, Relaxed);
        }
        link.counters.bytes[direction as usize].fetch_add(bytes as u64, Relaxed);
    }
}
