//! All sessions, for KILL, limits and shutdown.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::pool::Origin;
use crate::relay::Ending;
use crate::sql::Holds;

/// What a session is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// Nothing.
    None = 0,
    /// End when no transaction is open: the proxy is stopping.
    Shutdown = 1,
    /// End: the client was silent for too long.
    Idle = 2,
    /// End: another session killed this one.
    Kill = 3,
    /// End whatever is open: the proxy stops now.
    Stop = 4,
}

/// Where a statement runs now.
#[derive(Debug, Clone)]
pub struct Running {
    /// The endpoint, and the login that may end it.
    pub origin: Arc<Origin>,
    /// The server's id of the connection.
    pub thread_id: u32,
}

/// Whose session it is, and in which schema.
#[derive(Debug, Clone, Default)]
pub struct Who {
    /// The user that logged in; empty before that.
    pub user: String,
    /// Where the client is.
    pub address: Option<SocketAddr>,
    /// The current schema.
    pub schema: Option<Vec<u8>>,
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It waits for its client.
    Waiting,
    /// It works on a command.
    Working,
}

/// One session as others see it.
#[derive(Debug)]
pub struct Handle {
    /// The connection id that the client was told.
    pub id: u32,
    who: Mutex<Who>,
    /// The bits of its [`Holds`].
    held: AtomicU32,
    signal: AtomicU8,
    /// How often what it waits for was interrupted.
    interruptions: AtomicU32,
    /// Wakes the session's task, the only one that waits for signals.
    waker: Mutex<Option<Waker>>,
    /// When it began to wait or to work: milliseconds since the registry began, or `UNSEEN`, times
    /// two, and one more while it works.
    activity: AtomicU64,
    /// How many commands it has begun.
    commands: AtomicU64,
    /// Seconds of silence that the client allowed itself; `NO_LIMIT` if it said nothing.
    idle_limit: AtomicU64,
    /// Where its backend connection is, or where the last one was.
    origin: Mutex<Option<Arc<Origin>>>,
    /// The server's id of its backend connection; 0 while it has none.
    thread_id: AtomicU32,
}

const NO_LIMIT: u64 = u64::MAX;
/// Nobody has looked since when.
const UNSEEN: u64 = u64::MAX >> 1;

impl Handle {
    /// Tells the session; a stronger signal is never replaced by a weaker one.
    pub fn send(&self, signal: Signal) {
        self.signal.fetch_max(signal as u8, Ordering::AcqRel);
        self.wake();
    }

    /// Interrupts the statement at hand, should it wait for something within the proxy.
    pub fn interrupt(&self) {
        self.interruptions.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    /// The session's task wakes when there is something to be seen: it is the only one that waits.
    fn poll_seen<T>(&self, context: &mut Context<'_>, look: impl Fn() -> Option<T>) -> Poll<T> {
        let mut waker = self.waker();
        // Looked at under the lock: who wakes takes the waker after storing what is to be seen.
        if let Some(seen) = look() {
            return Poll::Ready(seen);
        }
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn wake(&self) {
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What the session was told.
    pub fn signal(&self) -> Signal {
        match self.signal.load(Ordering::Acquire) {
            1 => Signal::Shutdown,
            2 => Signal::Idle,
            3 => Signal::Kill,
            4 => Signal::Stop,
            _ => Signal::None,
        }
    }

    /// Waits until the signal is another than `known`.
    pub async fn signalled(&self, known: Signal) -> Signal {
        self.woken(|| Some(self.signal()).filter(|signal| *signal != known))
            .await
    }

    /// Waits until the session is killed, or what it waits for interrupted.
    pub async fn interrupted(&self) {
        let known = self.interruptions.load(Ordering::Acquire);
        let is_interrupted =
            || self.signal() == Signal::Kill || self.interruptions.load(Ordering::Acquire) != known;
        self.woken(|| is_interrupted().then_some(())).await;
    }

    /// Waits until there is something to be seen.
    async fn woken<T>(&self, look: impl Fn() -> Option<T>) -> T {
        poll_fn(|context| self.poll_seen(context, &look)).await
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the session waits for its client. The time is taken by [`Registry::activity`],
    /// so that no command has to look at a clock for it.
    pub fn note_idle(&self) {
        self.activity.store(UNSEEN * 2, Ordering::Relaxed);
    }

    /// How many commands the session has begun.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Notes that the session works on a command. Called by its own task alone.
    pub fn note_busy(&self) {
        let commands = self.commands.load(Ordering::Relaxed);
        self.commands.store(commands + 1, Ordering::Relaxed);
        self.activity.store(UNSEEN * 2 + 1, Ordering::Relaxed);
    }

    /// Whether the session has said itself how long its client may be silent.
    pub fn has_idle_limit(&self) -> bool {
        self.idle_limit.load(Ordering::Relaxed) != NO_LIMIT
    }

    /// Ends the session after so much silence, or after the configured limit.
    pub fn set_idle_limit(&self, limit: Option<Duration>) {
        let seconds = limit.map_or(NO_LIMIT, |limit| limit.as_secs());
        self.idle_limit.store(seconds, Ordering::Relaxed);
    }

    /// Whose it is.
    pub fn who(&self) -> Who {
        self.lock_who().clone()
    }

    /// Notes where the client is.
    pub fn set_address(&self, address: SocketAddr) {
        self.lock_who().address = Some(address);
    }

    /// Notes who logged in.
    pub fn set_user(&self, user: &str) {
        user.clone_into(&mut self.lock_who().user);
    }

    /// Notes the current schema.
    pub fn set_schema(&self, schema: Option<&[u8]>) {
        self.lock_who().schema = schema.map(<[u8]>::to_vec);
    }

    /// Why it keeps a backend connection.
    pub fn held(&self) -> Holds {
        Holds::from_bits_truncate(self.held.load(Ordering::Relaxed))
    }

    /// Notes why it keeps a backend connection.
    pub fn set_held(&self, holds: Holds) {
        self.held.store(holds.bits(), Ordering::Relaxed);
    }

    fn lock_who(&self) -> MutexGuard<'_, Who> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the session's backend connection is, if it has one now.
    pub fn running(&self) -> Option<Running> {
        let origin = self.lock_origin();
        let thread_id = self.thread_id.load(Ordering::SeqCst);
        let origin = origin.clone().filter(|_| thread_id != 0)?;
        Some(Running { origin, thread_id })
    }

    /// Notes where the session's backend connection is.
    pub fn set_running(&self, origin: &Arc<Origin>, thread_id: u32) {
        let mut known = self.lock_origin();
        if !known
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, origin))
        {
            *known = Some(origin.clone());
        }
        self.thread_id.store(thread_id, Ordering::SeqCst);
    }

    /// Notes that the session has no backend connection: before others are lent it, which then see
    /// a KILL that is on its way to it.
    pub fn set_at_rest(&self) {
        self.thread_id.store(0, Ordering::SeqCst);
    }

    fn lock_origin(&self) -> MutexGuard<'_, Option<Arc<Origin>>> {
        self.origin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ending for Handle {
    fn poll_ended(&self, context: &mut Context<'_>) -> Poll<()> {
        let is_over = || matches!(self.signal(), Signal::Kill | Signal::Stop);
        self.poll_seen(context, || is_over().then_some(()))
    }
}

/// The sessions by connection id.
#[derive(Debug)]
pub struct Registry {
    sessions: Mutex<HashMap<u32, Arc<Handle>>>,
    next_id: AtomicU32,
    /// What all sessions were told; those that begin later start with it.
    told: AtomicU8,
    origin: Instant,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
            next_id: AtomicU32::new(1),
            told: AtomicU8::new(0),
            origin: Instant::now(),
        }
    }
}

impl Registry {
    /// Adds a session, unless there are `limit` already. It is removed when what is returned is
    /// dropped, however its task ends.
    pub fn add(self: &Arc<Self>, limit: usize) -> Option<Registered> {
        let mut sessions = self.lock();
        if sessions.len() >= limit {
            return None;
        }
        let id = loop {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            if id != 0 && !sessions.contains_key(&id) {
                break id;
            }
        };
        let handle = Arc::new(Handle {
            id,
            who: Mutex::default(),
            held: AtomicU32::new(0),
            signal: AtomicU8::new(self.told.load(Ordering::Acquire)),
            interruptions: AtomicU32::new(0),
            waker: Mutex::default(),
            activity: AtomicU64::new(UNSEEN * 2 + 1),
            commands: AtomicU64::new(0),
            idle_limit: AtomicU64::new(NO_LIMIT),
            origin: Mutex::default(),
            thread_id: AtomicU32::new(0),
        });
        sessions.insert(id, handle.clone());
        Some(Registered {
            handle,
            registry: self.clone(),
        })
    }

    /// The session with this connection id.
    pub fn get(&self, id: u32) -> Option<Arc<Handle>> {
        self.lock().get(&id).cloned()
    }

    /// All sessions, in no order.
    pub fn all(&self) -> Vec<Arc<Handle>> {
        self.lock().values().cloned().collect()
    }

    /// What the session does, and for how long it has, as far as anybody has looked: the server
    /// looks at all sessions every second.
    pub fn activity(&self, handle: &Handle) -> (Activity, Duration) {
        let noted = handle.activity.load(Ordering::Relaxed);
        let activity = match noted % 2 {
            0 => Activity::Waiting,
            _ => Activity::Working,
        };
        let now = self.now();
        let since = match noted / 2 {
            UNSEEN => {
                let seen = now * 2 + noted % 2;
                let relaxed = Ordering::Relaxed;
                // Lost to a session that went on: nobody has seen that either.
                let _ = handle
                    .activity
                    .compare_exchange(noted, seen, relaxed, relaxed);
                now
            }
            since => since,
        };
        (activity, Duration::from_millis(now.saturating_sub(since)))
    }

    /// How long there has been a registry.
    pub fn uptime(&self) -> Duration {
        self.origin.elapsed()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells all sessions, also those that are still to begin.
    pub fn send_all(&self, signal: Signal) {
        let sessions = self.lock();
        self.told.fetch_max(signal as u8, Ordering::AcqRel);
        for handle in sessions.values() {
            handle.send(signal);
        }
    }

    /// Ends the sessions whose clients have been silent for longer than `limit`.
    pub fn end_idle(&self, limit: Duration) {
        for handle in self.lock().values() {
            let limit = match handle.idle_limit.load(Ordering::Relaxed) {
                NO_LIMIT => limit,
                seconds => Duration::from_secs(seconds),
            };
            let (activity, duration) = self.activity(handle);
            if activity == Activity::Waiting && duration > limit {
                handle.send(Signal::Idle);
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Handle>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in the registry.
#[derive(Debug)]
pub struct Registered {
    /// The session as others see it.
    pub handle: Arc<Handle>,
    registry: Arc<Registry>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.handle.id);
    }
}
