//! What one reader has seen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::position::Position;
use super::{CatchUps, Token};
use crate::admin::metrics::BusyCounter;
use crate::topology::Endpoint;

/// The moment after which a session has written: nanoseconds on the ledger's clock, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(super) u64);

impl Mark {
    /// Older than any other: a reader has reached it when it has proved anything since the last
    /// doubt about it, and with that all that was acknowledged before the doubt.
    pub const OLDEST: Self = Self(1);
}

/// A reader, with the instant up to which everything that was acknowledged is visible on it.
#[derive(Debug)]
pub struct Reader {
    /// The server.
    pub endpoint: Arc<Endpoint>,
    /// How long it took lately to catch up with marks of which the writer had told the position.
    told_catch_ups: CatchUps,
    /// The same with others: to ask the writer takes its time too.
    asked_catch_ups: CatchUps,
    /// What became of the decisions between waiting and crossing the ocean.
    pub guesses: Guesses,
    origin: Instant,
    /// Nanoseconds on the ledger's clock.
    seen_through: AtomicU64,
    /// The oldest mark with a position told by the writer that the reader has not reached: 0 if
    /// there is none.
    oldest_told: AtomicU64,
    /// Where it was last.
    position: ArcSwapOption<Position>,
    /// The endpoint's doubts that `seen_through` has answered.
    answered: AtomicU64,
    /// The operator's promise in nanoseconds, where there is no better source; else `NO_PROMISE`.
    fixed_lag: AtomicU64,
    choice: OnceLock<Choice>,
    advanced: Notify,
    /// Somebody waits for it to advance.
    pub(super) waited_for: Notify,
    pub(super) work: Notify,
}

/// How it is known what a reader has seen, and why in this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The word for it in the configuration.
    pub source: &'static str,
    /// Why: a sentence without its full stop.
    pub reason: String,
}

/// How often a pinned read waited or crossed the ocean by an estimate, and how often the other
/// would have been quicker.
#[derive(Debug, Default)]
pub struct Guesses {
    /// All of them.
    pub made: BusyCounter,
    /// Those that were wrong.
    pub wrong: BusyCounter,
}

/// How a wait for a reader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The reader has caught up.
    Reached,
    /// The patience was over.
    TimedOut,
    /// Going to the writer is expected to be quicker by now.
    GaveUp,
    /// The same was expected from the start, so it did not wait.
    NotAtAll,
}

const NO_PROMISE: u64 = u64::MAX;
/// A wait is not cut into smaller steps.
const SHORTEST_STEP: Duration = Duration::from_millis(1);

impl Reader {
    pub(super) fn new(endpoint: Arc<Endpoint>, origin: Instant) -> Self {
        Self {
            answered: AtomicU64::new(endpoint.standing().doubts()),
            endpoint,
            told_catch_ups: CatchUps::default(),
            asked_catch_ups: CatchUps::default(),
            position: ArcSwapOption::empty(),
            guesses: Guesses::default(),
            origin,
            seen_through: AtomicU64::new(0),
            oldest_told: AtomicU64::new(0),
            fixed_lag: AtomicU64::new(NO_PROMISE),
            choice: OnceLock::new(),
            advanced: Notify::new(),
            waited_for: Notify::new(),
            work: Notify::new(),
        }
    }

    /// Whether everything that `mark` stands for is visible here.
    pub fn has_seen(&self, mark: Mark) -> bool {
        // The doubts first: whoever finds them answered finds the instant that answers them.
        let is_trusted = self.answered.load(Ordering::Acquire) == self.endpoint.standing().doubts();
        is_trusted && self.seen_through.load(Ordering::Acquire) >= mark.0 || self.is_promised(mark)
    }

    /// The same, where a token stands for the mark: the reader may have that before it is known to
    /// have all that was marked before.
    pub fn has_reached(&self, mark: Mark, token: Option<&Token>) -> bool {
        self.has_seen(mark) || token.is_some_and(|token| self.is_beyond(token))
    }

    fn is_beyond(&self, token: &Token) -> bool {
        let is_trusted = self.answered.load(Ordering::Acquire) == self.endpoint.standing().doubts();
        let position = self.position.load();
        let wanted = token.0.as_ref();
        is_trusted
            && position
                .as_ref()
                .zip(wanted)
                .is_some_and(|(position, wanted)| position.contains(wanted))
    }

    /// How it is known what the reader has seen; `None` until that was found out.
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.get()
    }

    pub(super) fn set_choice(&self, choice: Choice) {
        // Chosen once, by the reader's only follower.
        let _ = self.choice.set(choice);
    }

    /// How much longer it will probably take until `mark` is reached, for which a token may stand.
    pub fn expected_rest(&self, mark: Mark, token: Option<&Token>) -> Duration {
        match self.promised_rest(mark) {
            Some(rest) => rest,
            None => self.catch_ups(token).expected_rest(self.age(mark)),
        }
    }

    /// How long it took lately to catch up: the time in the middle; `None` if nothing was noted yet.
    pub fn median_catch_up(&self) -> Option<Duration> {
        let told = self.told_catch_ups.median();
        told.or_else(|| self.asked_catch_ups.median())
    }

    fn catch_ups(&self, token: Option<&Token>) -> &CatchUps {
        match token {
            Some(_) => &self.told_catch_ups,
            None => &self.asked_catch_ups,
        }
    }

    /// Waits until everything that `mark`, or the token in its place, stands for is visible,
    /// `patience` long at the most. Returns whether it is.
    pub async fn wait(&self, mark: Mark, token: Option<&Token>, patience: Duration) -> bool {
        if let Some(rest) = self.promised_rest(mark) {
            tokio::time::sleep(rest.min(patience)).await;
            return rest <= patience;
        }
        let waiting = async {
            loop {
                let advanced = self.advanced.notified();
                tokio::pin!(advanced);
                // Registered before the look, so that no advance in between is missed.
                advanced.as_mut().enable();
                if self.has_reached(mark, token) {
                    return;
                }
                self.waited_for.notify_one();
                advanced.await;
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }

    /// Waits as long as that is expected to give an answer sooner than a round trip to the writer,
    /// `patience` long at the most.
    pub async fn wait_while_quicker(
        &self,
        mark: Mark,
        token: Option<&Token>,
        round_trip: Duration,
        patience: Duration,
    ) -> Waited {
        let start = Instant::now();
        let mut has_waited = false;
        loop {
            let left = patience.saturating_sub(start.elapsed());
            if self.has_reached(mark, token) {
                return Waited::Reached;
            }
            let wait = self.best_wait(mark, token, round_trip);
            if left.is_zero() {
                return Waited::TimedOut;
            }
            if wait.is_none() {
                return if has_waited {
                    Waited::GaveUp
                } else {
                    Waited::NotAtAll
                };
            }
            has_waited = true;
            let step = wait.unwrap_or_default().max(SHORTEST_STEP);
            if self.wait(mark, token, step.min(left)).await {
                return Waited::Reached;
            }
        }
    }

    /// How long to wait before going to the writer; `None` if that is to be done at once.
    pub fn best_wait(&self, mark: Mark, token: Option<&Token>, trip: Duration) -> Option<Duration> {
        match self.promised_rest(mark) {
            Some(rest) => (rest < trip).then_some(rest),
            None => {
                let age = self.age(mark);
                let others = token.and_then(|_| self.oldest_told());
                let others = others.map_or(Duration::ZERO, |mark| self.age(mark));
                let wait = self.catch_ups(token).best_wait(age, others, trip);
                (!wait.is_zero() || age.is_zero()).then_some(wait)
            }
        }
    }

    /// Notes how long it took to catch up with marks of which the writer had told the position, and
    /// with others.
    pub(super) fn note_catch_ups(&self, told: &[Duration], asked: &[Duration]) {
        self.told_catch_ups.note(told);
        self.asked_catch_ups.note(asked);
    }

    pub(super) fn oldest_told(&self) -> Option<Mark> {
        let oldest = self.oldest_told.load(Ordering::Relaxed);
        (oldest > 0).then_some(Mark(oldest))
    }

    pub(super) fn set_oldest_told(&self, mark: Option<Mark>) {
        let oldest = mark.map_or(0, |mark| mark.0);
        self.oldest_told.store(oldest, Ordering::Relaxed);
    }

    /// Publishes where the reader is, and up to which mark everything is visible if that is news.
    pub(super) fn advance(&self, position: &Position, seen: Option<Mark>) {
        let is_known = self.position.load().as_deref() == Some(position);
        if !is_known {
            self.position.store(Some(Arc::new(position.clone())));
        }
        if let Some(mark) = seen {
            self.seen_through.fetch_max(mark.0, Ordering::Release);
        }
        if !is_known || seen.is_some() {
            self.advanced.notify_waiters();
        }
    }

    /// What was seen does not count any more, since the server may be another one by now or an
    /// older copy of itself.
    pub(super) fn start_over(&self, doubts: u64) {
        self.seen_through.store(0, Ordering::Release);
        self.position.store(None);
        self.answered.store(doubts, Ordering::Release);
    }

    /// The doubts that are answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Takes the operator's word for how long replication takes.
    pub(super) fn promise(&self, lag: Duration) {
        self.fixed_lag.store(nanos(lag), Ordering::Relaxed);
    }

    fn is_promised(&self, mark: Mark) -> bool {
        self.promised_rest(mark)
            .is_some_and(|rest| rest == Duration::ZERO)
    }

    /// How long it takes by the operator's promise, where that is what counts.
    fn promised_rest(&self, mark: Mark) -> Option<Duration> {
        let lag = self.fixed_lag.load(Ordering::Relaxed);
        (lag != NO_PROMISE).then(|| Duration::from_nanos(lag).saturating_sub(self.age(mark)))
    }

    fn age(&self, mark: Mark) -> Duration {
        let age = self.origin.elapsed();
        age.saturating_sub(Duration::from_nanos(mark.0))
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}
