//! Which endpoint a statement goes to, and the connection to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Session;
use super::followup::ROLE;
use super::last::Reason;
use super::stale::Staleness;
use super::touched::Touched;
use crate::admin::metrics::{WaitOutcome, WrongGuess};
use crate::config::{Credentials, OnStale, Role};
use crate::consistency::{Mark, Reader, Token, Waited};
use crate::error::SqlError;
use crate::pool::{ConnectError, Lease, LeaseError, Pool, PoolKey, State, user_variable};
use crate::rarely::rarely;
use crate::relay::ServerError;
use crate::routing::{self, Transaction, View};
use crate::sql::{HintTarget, Hints, Holds, Kind, Place, Plan};
use crate::topology::{Endpoint, Standing};

/// Where a statement is to run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Destination {
    /// On the connection that the session keeps.
    Held,
    /// On this one of the world's readers.
    Reader(usize),
    /// On the writer.
    Writer,
}

/// The reader that a session reads from, as it was when the session last did.
pub(super) struct Seat {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) doubts: u64,
}

/// A decision between waiting for a reader and crossing the ocean.
pub(super) struct Guess {
    /// Which of the world's readers it is about.
    reader: usize,
    mark: Mark,
    waited: Waited,
    /// Whether the wait took longer than a trip to the writer would have.
    was_long: bool,
}

/// The statement was interrupted while it waited.
pub(super) struct Interrupted;

impl From<Interrupted> for SqlError {
    fn from(_: Interrupted) -> Self {
        Self::interrupted()
    }
}

impl Session {
    /// Decides where a statement goes, after waiting for the reader if that is what the
    /// configuration says.
    pub(super) async fn destination(
        &mut self,
        plan: &Plan,
        hints: &Hints,
    ) -> Result<Destination, Interrupted> {
        self.waits = None;
        self.note_key(hints);
        if hints.after.is_some() {
            rarely(self.note_token(hints)).await;
        }
        if let Some(lease) = &self.lease {
            self.last.route = if lease.leads_to_writer() {
                Place::Writer
            } else {
                Place::Reader
            };
            self.last.reason = Reason::Held(self.held());
            return Ok(Destination::Held);
        }
        let found = self.reader();
        let reads_ahead = self.may_read_ahead(plan, hints);
        let pinned = match found {
            // A transaction that has yet to begin does so on the writer.
            _ if self.transaction != Transaction::None && !reads_ahead => true,
            Some((reader, standing)) => {
                self.take_seat(reader, standing.doubts());
                self.is_pinned(reader, plan, hints, reads_ahead).await?
            }
            None => false,
        };
        let reader = found.map(|(reader, _)| reader);
        self.staleness = Staleness::Excluded;
        let view = View {
            transaction: self.transaction,
            autocommit: self.autocommit(),
            holds: self.holds,
            pinned,
            reads_ahead,
            locks_reads: plan.kind == Kind::Begin && self.is_serializable() == Some(true),
            allowed_functions: &self.world.config.routing.reader_functions,
        };
        let route = routing::route(plan, hints, &view);
        let target = route.target;
        self.last.routed(route);
        if self.assigns_too_many(plan) {
            self.last.redirected(TOO_MANY_VARIABLES);
            return Ok(Destination::Writer);
        }
        if target == Place::Reader && reader.is_none() {
            self.last.redirected(NO_READER);
        }
        if pinned && let Some(stale) = self.settle_for_stale(reader, plan, hints) {
            return Ok(stale);
        }
        let wants_writer = hints.fresh || hints.target == Some(HintTarget::Writer);
        Ok(self.assign(target, reader, plan, pinned || wants_writer))
    }

    /// Where a statement runs that is for such a place.
    pub(super) fn assign(
        &self,
        target: Place,
        reader: Option<usize>,
        plan: &Plan,
        pinned: bool,
    ) -> Destination {
        let may_hold = plan.holds.difference(Holds::TRANSACTION).is_empty();
        // Variables take the same values everywhere, and setting them opens no transaction. A role
        // may be one that the reader does not have yet.
        let sets_variables = plan.kind == Kind::Set
            && !plan.variables.is_empty()
            && plan.variables.iter().all(|name| name != ROLE);
        let opens = !self.autocommit() && plan.may_read_tables();
        let is_anywhere = if sets_variables {
            self.transaction == Transaction::None
        } else {
            self.autocommit() && !pinned
        };
        match (target, reader) {
            (Place::Reader, Some(reader)) => Destination::Reader(reader),
            // What it leaves on its connection must be where the writes go. The schema that the session
            // is in may be one that the reader does not have yet.
            (Place::Previous, Some(reader)) if may_hold && !pinned && !opens => {
                Destination::Reader(reader)
            }
            // What a SET leaves on its connection must be where the writes go.
            (Place::Session, Some(reader)) if may_hold && is_anywhere => {
                Destination::Reader(reader)
            }
            _ => Destination::Writer,
        }
    }

    /// Whether not all user variables are carried after this statement, so that it must run where
    /// the session can stay.
    fn assigns_too_many(&self, plan: &Plan) -> bool {
        let carried = self.state.user_variables.len();
        !plan.user_variables.is_empty() && carried + plan.user_variables.len() > user_variable::MOST
    }

    /// Which of the world's readers this session uses, and how it stands: the same one as long as
    /// it serves.
    pub(super) fn reader(&self) -> Option<(usize, Standing)> {
        let readers = &self.world.readers;
        let own = self.seat.as_ref().and_then(|seat| {
            let is_own = |reader: &Arc<Reader>| Arc::ptr_eq(&reader.endpoint, &seat.endpoint);
            readers.iter().position(is_own)
        });
        let first = own.unwrap_or_else(|| self.first_reader());
        (0..readers.len())
            .map(|i| (first.wrapping_add(i)) % readers.len())
            .map(|index| (index, readers[index].endpoint.standing()))
            .find(|(_, standing)| standing.serves())
    }

    /// Makes this the reader that the session reads from. One that is not the same server for
    /// certain must have what the session may have seen on the one before.
    fn take_seat(&mut self, reader: usize, doubts: u64) {
        let endpoint = &self.world.readers[reader].endpoint;
        if self.has_seat(endpoint, doubts) {
            return;
        }
        let old = self.seat.replace(Seat {
            endpoint: endpoint.clone(),
            doubts,
        });
        if old.is_some() || self.is_guest() {
            self.touched = Touched::All;
            self.raise_mark(Token::anything());
        }
    }

    fn has_seat(&self, endpoint: &Arc<Endpoint>, doubts: u64) -> bool {
        let seat = self.seat.as_ref();
        seat.is_some_and(|seat| Arc::ptr_eq(&seat.endpoint, endpoint) && seat.doubts == doubts)
    }

    /// Whether the reader has not seen what the session must see, after waiting for it if the
    /// configuration says so and the statement could run there.
    async fn is_pinned(
        &mut self,
        index: usize,
        plan: &Plan,
        hints: &Hints,
        reads_ahead: bool,
    ) -> Result<bool, Interrupted> {
        let Some(mark) = self.mark_to_see_for(plan) else {
            return Ok(false);
        };
        let reader = &self.world.readers[index];
        if reader.has_seen(mark) {
            let mut readers = self.world.readers.iter();
            if let Some(pin) = &mut self.mark
                && readers.all(|reader| reader.has_seen(pin.mark))
            {
                pin.counted = None;
                pin.touched = Touched::default();
            }
            return Ok(false);
        }
        let is_reading = matches!(plan.place, Place::Reader) || plan.reader_if_allowed;
        let has_target = hints.target.is_some() || hints.fresh;
        if !is_reading || has_target || !(self.autocommit() || reads_ahead) {
            if is_reading {
                self.shared.metrics.consistency.stale_reads_to_writer.inc();
            }
            return Ok(true);
        }
        let token = self.token_for(mark);
        let waited = match self.needs_no_wait(reader, mark, token.as_ref()) {
            Some(waited) => {
                self.note_waited(index, mark, waited, Duration::ZERO);
                waited
            }
            // Boxed, so that no statement but those that wait carries the room for it.
            None => rarely(self.catch_up(index, mark, token.as_ref(), plan)).await?,
        };
        Ok(waited != Waited::Reached)
    }

    /// What came of it where there is nothing to wait for: the reader is there already, or it is
    /// best to go to the writer at once.
    fn needs_no_wait(&self, reader: &Reader, mark: Mark, token: Option<&Token>) -> Option<Waited> {
        if reader.has_reached(mark, token) {
            return Some(Waited::Reached);
        }
        let goes_at_once = match self.world.config.consistency.on_stale {
            OnStale::Writer => true,
            OnStale::Wait => false,
            OnStale::Fastest => {
                let trip = self.round_trip();
                !self.has_crossed_enough(reader, mark, token)
                    && reader.best_wait(mark, token, trip).is_none()
            }
        };
        goes_at_once.then_some(Waited::NotAtAll)
    }

    /// Waits for the reader as the configuration says, or lets it wait itself.
    async fn catch_up(
        &mut self,
        index: usize,
        mark: Mark,
        token: Option<&Token>,
        plan: &Plan,
    ) -> Result<Waited, Interrupted> {
        let start = Instant::now();
        let reader = &self.world.readers[index];
        let waits = self.waiting(index, plan, mark, token);
        if waits.is_some() {
            self.waits = waits;
            return Ok(Waited::Reached);
        }
        let waited = tokio::select! {
            biased;
            waited = self.wait_for(reader, mark, token) => waited,
            () = self.handle.interrupted() => return Err(Interrupted),
        };
        self.note_waited(index, mark, waited, start.elapsed());
        Ok(waited)
    }

    /// Waits as the configuration says.
    async fn wait_for(&self, reader: &Reader, mark: Mark, token: Option<&Token>) -> Waited {
        let consistency = &self.world.config.consistency;
        let patience = consistency.max_wait;
        match consistency.on_stale {
            OnStale::Writer => Waited::NotAtAll,
            OnStale::Wait => match reader.wait(mark, token, patience).await {
                true => Waited::Reached,
                false => Waited::TimedOut,
            },
            // It goes on reading, and each trip raises its mark: one wait ends that.
            OnStale::Fastest if self.has_crossed_enough(reader, mark, token) => {
                match reader.wait(mark, token, patience).await {
                    true => Waited::Reached,
                    false => Waited::TimedOut,
                }
            }
            OnStale::Fastest => {
                let trip = self.round_trip();
                reader.wait_while_quicker(mark, token, trip, patience).await
            }
        }
    }

    /// Whether the session's reads have spent more time on crossing the ocean than waiting is
    /// expected to take, though waiting takes longer than crossing it once.
    pub(super) fn has_crossed_enough(
        &self,
        reader: &Reader,
        mark: Mark,
        token: Option<&Token>,
    ) -> bool {
        let spent = self.mark.as_ref().map_or(Duration::ZERO, |pin| pin.spent);
        if spent.is_zero() {
            return false;
        }
        let rest = reader.expected_rest(mark, token);
        spent > rest && rest >= self.round_trip()
    }

    /// Takes note of how a wait for one of the world's readers has ended, and how long it took.
    pub(super) fn note_waited(
        &mut self,
        reader: usize,
        mark: Mark,
        waited: Waited,
        took: Duration,
    ) {
        if self.world.config.consistency.on_stale == OnStale::Fastest {
            let trip = self.round_trip();
            if let Some(pin) = &mut self.mark {
                pin.spent = match waited {
                    Waited::Reached | Waited::TimedOut => Duration::ZERO,
                    Waited::GaveUp | Waited::NotAtAll => pin.spent + trip,
                };
            }
            self.guess = Some(Guess {
                reader,
                mark,
                waited,
                was_long: took > trip,
            });
        }
        let metrics = &self.shared.metrics.consistency;
        let outcome = match waited {
            Waited::Reached => Some(WaitOutcome::Reached),
            Waited::TimedOut => Some(WaitOutcome::TimedOut),
            Waited::GaveUp => Some(WaitOutcome::GivenUp),
            Waited::NotAtAll => None,
        };
        if let Some(outcome) = outcome {
            metrics.waits.inc(outcome);
            metrics.wait_seconds.observe(took.as_secs_f64());
        }
        if waited != Waited::Reached {
            metrics.stale_reads_to_writer.inc();
        }
    }

    /// What crossing the ocean costs, as far as was measured.
    pub(super) fn round_trip(&self) -> Duration {
        let writer = self.world.snapshot.writer.as_ref();
        let trip = writer.and_then(|writer| writer.round_trip());
        trip.unwrap_or_default()
    }

    /// Finds out, when the answer of the writer is there, whether waiting for the reader would have
    /// been quicker.
    pub(super) fn judge_guess(&mut self) {
        let Some(guess) = self.guess.take() else {
            return;
        };
        let Some(reader) = self.world.readers.get(guess.reader) else {
            return;
        };
        reader.guesses.made.inc();
        let wrong = match guess.waited {
            Waited::Reached if guess.was_long => WrongGuess::Waited,
            Waited::TimedOut | Waited::GaveUp => WrongGuess::Waited,
            Waited::NotAtAll if reader.has_seen(guess.mark) => WrongGuess::Crossed,
            Waited::Reached | Waited::NotAtAll => return,
        };
        reader.guesses.wrong.inc();
        self.shared.metrics.consistency.wrong_guesses.inc(wrong);
    }

    /// Borrows a connection for the destination, of a pool whose connections have a schema or have none,
    /// or takes the one that the session keeps. A reader
    /// that cannot be had is replaced by the writer. All of it takes no longer than the borrow
    /// timeout after `start`.
    pub(super) async fn borrow(
        &mut self,
        destination: &mut Destination,
        has_schema: bool,
        start: Instant,
    ) -> Result<Lease, SqlError> {
        if matches!(destination, Destination::Held)
            && let Some(lease) = self.lease.take()
        {
            return Ok(lease);
        }
        let mut lease = match self.borrow_idle(*destination, has_schema) {
            Some(lease) => lease,
            // Boxed, so that a statement that finds a connection does not carry the room for
            // waiting.
            None => rarely(self.borrow_patiently(destination, has_schema, start)).await?,
        };
        let writer = self.world.snapshot.writer.as_ref();
        lease.role = match writer.is_some_and(|writer| Arc::ptr_eq(writer, lease.endpoint())) {
            true => Role::Writer,
            false => Role::Reader,
        };
        self.handle.set_running(lease.origin(), lease.thread_id);
        Ok(lease)
    }

    /// A connection that nobody uses, from a pool that the session has used before.
    fn borrow_idle(&self, destination: Destination, has_schema: bool) -> Option<Lease> {
        let endpoint = self.endpoint(destination)?;
        self.known_pool(endpoint, has_schema)?.lease_idle()
    }

    async fn borrow_patiently(
        &mut self,
        destination: &mut Destination,
        has_schema: bool,
        start: Instant,
    ) -> Result<Lease, SqlError> {
        loop {
            let endpoint = self.endpoint(*destination).cloned();
            let endpoint = endpoint.ok_or_else(SqlError::no_writer)?;
            let insist = !matches!(destination, Destination::Reader(_));
            let handle = self.handle.clone();
            let borrowed = tokio::select! {
                biased;
                borrowed = self.borrow_from(&endpoint, has_schema, insist, start) => borrowed,
                () = handle.interrupted() => return Err(Interrupted.into()),
            };
            match borrowed {
                // While it waited, the reader may have been replaced by an older copy of itself.
                Ok((_, true))
                    if !insist && !self.has_seat(&endpoint, endpoint.standing().doubts()) =>
                {
                    self.last.redirected(NO_READER);
                    *destination = Destination::Writer;
                }
                Ok((lease, _)) => return Ok(lease),
                Err(LeaseError::Closed) => self.follow_reload(destination),
                Err(error) if insist => return Err(refusal(&endpoint, &error)),
                Err(error) => {
                    tracing::debug!(endpoint = endpoint.name, %error, "reader not available, asking the writer");
                    self.last.redirected(NO_READER);
                    *destination = Destination::Writer;
                }
            }
        }
    }

    /// Where the destination is; `None` if there is no writer.
    fn endpoint(&self, destination: Destination) -> Option<&Arc<Endpoint>> {
        match destination {
            Destination::Reader(reader) => Some(&self.world.readers.get(reader)?.endpoint),
            Destination::Held | Destination::Writer => self.world.snapshot.writer.as_ref(),
        }
    }

    /// The endpoint left the configuration while the statement was on its way: the new world says
    /// where it goes now. The mark of a pinned session is as good there as here.
    #[cold]
    fn follow_reload(&mut self, destination: &mut Destination) {
        self.enter_world();
        self.pools.clear();
        if let Destination::Reader(_) = destination {
            *destination = match self.reader() {
                Some((reader, standing)) if self.may_go_on_at(reader, standing) => {
                    Destination::Reader(reader)
                }
                _ => Destination::Writer,
            };
        }
    }

    fn may_go_on_at(&self, reader: usize, standing: Standing) -> bool {
        let reader = &self.world.readers[reader];
        self.has_seat(&reader.endpoint, standing.doubts())
            && self.mark_to_see().is_none_or(|mark| reader.has_seen(mark))
    }

    /// A connection, and whether that took more than to take an idle one.
    pub(super) async fn borrow_from(
        &mut self,
        endpoint: &Arc<Endpoint>,
        has_schema: bool,
        insist: bool,
        start: Instant,
    ) -> Result<(Lease, bool), LeaseError> {
        let pool = match self.known_pool(endpoint, has_schema) {
            Some(pool) => pool.clone(),
            None => {
                let pool = self.pool(endpoint, has_schema);
                let identity = Arc::as_ptr(endpoint) as usize;
                self.pools.push((identity, has_schema, pool.clone()));
                pool
            }
        };
        if let Some(lease) = pool.lease_idle() {
            return Ok((lease, false));
        }
        let mut patience = self.world.config.pool.borrow_timeout;
        if !insist {
            // The other half is for the writer, which answers in the reader's place.
            patience /= 2;
        }
        let lease = pool.lease(patience, insist, start).await?;
        Ok((lease, true))
    }

    /// The pool, if the session has used it in this world.
    pub(super) fn known_pool(&self, endpoint: &Arc<Endpoint>, has_schema: bool) -> Option<&Pool> {
        let wanted = (Arc::as_ptr(endpoint) as usize, has_schema);
        let mut pools = self.pools.iter();
        let known = pools.find(|(identity, schema, _)| (*identity, *schema) == wanted);
        known.map(|(_, _, pool)| pool)
    }

    fn pool(&self, endpoint: &Arc<Endpoint>, has_schema: bool) -> Pool {
        let key = PoolKey {
            user: self.identity.user.name.clone(),
            kind: self.identity.kind(),
            has_schema,
        };
        let pools = &self.shared.pools;
        pools.pool(&self.world.config, endpoint, self.login(), key)
    }

    fn login(&self) -> &Credentials {
        let user = self.world.config.user(&self.identity.user.name);
        user.map_or(&self.identity.user.backend, |user| &user.backend)
    }

    /// Has connections made for clients of this kind, if too few are ready.
    pub(super) fn expect_statements(&self) {
        let snapshot = &self.world.snapshot;
        for endpoint in snapshot.writer.iter().chain(&snapshot.readers) {
            self.shared.pools.expect(
                &self.world.config,
                endpoint,
                self.login(),
                &self.identity.user.name,
                &self.identity.kind(),
            );
        }
    }

    /// Gives a connection back that is at rest, or keeps it while something of the session is on
    /// it.
    pub(super) fn give_back(&mut self, lease: Lease) {
        // What a function that readers may run has left there cannot be where the writes go.
        let is_astray = !self.holds.is_empty()
            && self.transaction == Transaction::None
            && !lease.leads_to_writer();
        if is_astray {
            self.holds = Holds::empty();
            self.possessions.clear();
        }
        self.note_held();
        // What the session does next may be for the writer.
        let is_only_read = self.held() == Holds::CURSOR && !lease.leads_to_writer();
        let is_opening = self.opens_own_cursor || self.asked_cursor.is_some();
        if is_only_read && !is_opening {
            self.handle.set_at_rest();
            self.leave_to_cursors(lease, true);
            self.note_held();
            return;
        }
        if !self.held().is_empty() {
            self.lease = Some(lease);
            return;
        }
        self.handle.set_at_rest();
        match is_astray {
            true => drop(lease.reset_and_release(true)),
            false => self.release(lease),
        }
    }

    /// Gives a connection back that is at rest and has nothing of the session but its state.
    pub(super) fn release(&self, mut lease: Lease) {
        if lease.needs_rollback {
            let state = self.state_to_leave(&lease);
            // Nobody waits for it: nothing is open.
            drop(lease.roll_back_and_release(false, state));
            return;
        }
        lease.is_clean = lease.fits_its_pool();
        if lease.is_clean
            && let Some(state) = self.state_to_leave(&lease)
        {
            lease.change_and_release(state);
        }
    }

    /// The state that a connection has to be brought to before others get it, if it is not in it:
    /// without what describes the client's own connection.
    pub(super) fn state_to_leave(&self, lease: &Lease) -> Option<Arc<State>> {
        let (state, _) = lease.state.split()?;
        Some(self.shared.states.intern(state))
    }
}

/// Why an assignment goes to the writer.
const TOO_MANY_VARIABLES: &str = "it may assign more user variables than a session carries";

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
