//! The session's task: commands in, answers out, from login to the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use isthmus_protocol::command::Command;
use isthmus_protocol::compression::Compression;
use isthmus_protocol::packet;
use isthmus_protocol::prepared::PrepareOk;
use isthmus_protocol::status::Status;

use super::cursors::Cursors;
use super::deferred::Deferred;
use super::diagnostics::Diagnostics;
use super::gone::GoneSchema;
use super::holding::Holding;
use super::last::Last;
use super::lending::{Guess, Seat};
use super::parting::Parting;
use super::possessions::Possessions;
use super::registry::{Handle, Signal};
use super::sharing::Sharing;
use super::stale::Staleness;
use super::statements::{SessionStatement, Statement};
use super::touched::Touched;
use super::unseen::Suspects;
use super::waiting::Waiting;
use super::{Identity, Shared, World, identity};
use crate::admin::metrics::{ErrorSource, Held};
use crate::config::{Scope, StaleReads};
use crate::consistency::{GtidSet, Mark, Token};
use crate::error::SqlError;
use crate::pool::{Lease, Pool, State, Variables};
use crate::relay::{Client, ClientError};
use crate::routing::Transaction;
use crate::sql::Holds;

/// How long a client that broke the protocol may go on sending, so that it gets to read why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a session ended.
#[derive(Debug)]
pub enum Ended {
    /// The client said goodbye, went away or was sent away.
    Closed,
    /// COM_CHANGE_USER came, with this payload: the client has to authenticate anew.
    ChangeUser(Vec<u8>),
}

/// What the session's reads must see. The mark stays when the readers have reached it: a reader
/// that joins them later may be behind.
pub(super) struct Pin {
    pub(super) mark: Mark,
    /// Counts the session as long as a reader has not reached the mark.
    pub(super) counted: Option<Held>,
    /// What stands for it, as long as the session has seen nothing newer.
    pub(super) exact: Option<Token>,
    /// What stands for the mark: a reader that has it has what the session must see, before it is
    /// known to have what others must.
    pub(super) told: Option<Token>,
    /// The tables whose reads must see it, where it has been told them apart.
    pub(super) touched: Touched,
    /// How long its reads have spent on crossing the ocean since it wrote.
    pub(super) spent: Duration,
}

/// Whether the conversation goes on after a command.
#[derive(Debug)]
pub(super) enum Flow {
    Continue,
    End(Ended),
}

/// One client connection and everything the client believes about it.
pub struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) world: Arc<World>,
    pub(super) client: Client,
    pub(super) identity: Identity,
    /// Whether the user left the configuration.
    is_removed: bool,
    /// What the configuration says of old states that the user may read.
    pub(super) stale_reads: StaleReads,
    pub(super) handle: Arc<Handle>,
    /// What the session's next backend connection must be brought to.
    pub(super) state: Arc<State>,
    /// The schema that the session would be in if it were still there.
    pub(super) gone_schema: Option<Box<GoneSchema>>,
    /// Variables that describe the client's connection: they go to a backend connection only with
    /// a statement that asks for them.
    pub(super) own_variables: Variables,
    /// The connection that the session keeps, and why.
    pub(super) lease: Option<Lease>,
    pub(super) holds: Holds,
    /// The statements that have set something for the next transaction alone, while they count.
    pub(super) for_next_transaction: Vec<Box<[u8]>>,
    /// Since when, with the open transaction and cursors among it.
    pub(super) holding: Holding,
    pub(super) possessions: Possessions,
    pub(super) suspects: Suspects,
    pub(super) transaction: Transaction,
    /// A connection that it has left, to which the server has yet to answer.
    pub(super) parting: Option<Parting>,
    /// What the server has yet to be told of the transaction.
    pub(super) deferred: Deferred,
    /// When the command that is worked on had been received.
    pub(super) started: Instant,
    /// Where the last statement went.
    pub(super) last: Last,
    /// Whether the open transaction may have written.
    pub(super) has_written: bool,
    /// Whether it has changed rows, so that its end tells a GTID.
    pub(super) has_changed_rows: bool,
    /// Whether what ran on the connection that the session keeps may have changed what
    /// LAST_INSERT_ID() returns.
    pub(super) has_made_ids: bool,
    /// The user variables that may have been assigned on the connection that the session keeps
    /// since their values were asked for.
    pub(super) assigned: Vec<String>,
    /// Whether LAST_INSERT_ID() on the connection that the session keeps is the session's own.
    pub(super) has_own_id: bool,
    /// What the session's reads must see, until the readers have seen it.
    pub(super) mark: Option<Pin>,
    /// The reader that it reads from, and the doubts that there were about it then.
    pub(super) seat: Option<Seat>,
    /// Whether it has seen rows of a server that others who share its mark do not read from, and
    /// that its mark does not stand for yet: of the writer, for one.
    pub(super) has_seen_elsewhere: bool,
    /// The tables that it has written, or read elsewhere, since its mark was last raised.
    pub(super) touched: Touched,
    /// The state in which the statement at hand was prepared, where tables are told apart.
    pub(super) prepared_in: Option<Arc<State>>,
    /// What it shares its mark by.
    pub(super) sharing: Sharing,
    /// The decision between waiting and crossing the ocean that the present statement rests on.
    pub(super) guess: Option<Guess>,
    /// What the reader of the statement at hand has to wait for first.
    pub(super) waits: Option<Box<Waiting>>,
    /// Whether what it reads may be older than its mark, since the writer cannot be reached.
    pub(super) staleness: Staleness,
    /// The pools that the session has used in this world, by endpoint.
    pub(super) pools: Vec<(usize, bool, Pool)>,
    pub(super) diagnostics: Diagnostics,
    pub(super) statements: HashMap<u32, SessionStatement>,
    pub(super) last_statement_id: u32,
    /// The textual prepared statements by their names in lower case.
    pub(super) text_statements: HashMap<String, Arc<Statement>>,
    /// The statements whose cursors are open on the connection that the session keeps.
    pub(super) cursors: Vec<u32>,
    /// The connections that were left to cursors.
    pub(super) own_cursors: Vec<Cursors>,
    /// The cursor that is being opened is to have a connection of its own.
    pub(super) opens_own_cursor: bool,
    /// The statement whose cursor the next answer tells about.
    pub(super) asked_cursor: Option<u32>,
    /// The number of the statement that is being prepared.
    pub(super) preparing: Option<u64>,
    /// What the server said of it.
    pub(super) prepared: Option<PrepareOk>,
}

impl Session {
    /// A session after a login. [`Session::open`] comes first. `mark` is
    /// what an earlier session of the same connection has written.
    pub fn new(
        shared: Arc<Shared>,
        mut client: Client,
        identity: Identity,
        handle: Arc<Handle>,
        mark: Option<Mark>,
    ) -> Self {
        let world = shared.world.load_full();
        let server = world.snapshot.all().find_map(|endpoint| endpoint.server());
        let state = identity.initial_state(&world.snapshot, &shared.states);
        client.tracking = identity::tracking(server.as_deref());
        let sharing = Sharing::new(shared.marks.user(&identity.user.name));
        handle.set_user(&identity.user.name);
        handle.set_schema(None);
        handle.set_idle_limit(None);
        let mut session = Self {
            shared,
            world,
            client,
            is_removed: false,
            stale_reads: StaleReads::Never,
            identity,
            handle,
            state,
            gone_schema: None,
            own_variables: Variables::new(),
            lease: None,
            holds: Holds::empty(),
            for_next_transaction: Vec::new(),
            holding: Holding::default(),
            possessions: Possessions::default(),
            suspects: Suspects::default(),
            transaction: Transaction::None,
            parting: None,
            deferred: Deferred::default(),
            started: Instant::now(),
            last: Last::default(),
            has_written: false,
            has_changed_rows: false,
            has_made_ids: false,
            assigned: Vec::new(),
            has_own_id: false,
            mark: mark.map(|mark| Pin {
                mark,
                exact: None,
                told: None,
                touched: Touched::All,
                counted: None,
                spent: Duration::ZERO,
            }),
            seat: None,
            has_seen_elsewhere: false,
            touched: Touched::default(),
            prepared_in: None,
            sharing,
            guess: None,
            waits: None,
            staleness: Staleness::Excluded,
            pools: Vec::new(),
            diagnostics: Diagnostics::default(),
            statements: HashMap::new(),
            last_statement_id: 0,
            text_statements: HashMap::new(),
            cursors: Vec::new(),
            own_cursors: Vec::new(),
            opens_own_cursor: false,
            asked_cursor: None,
            preparing: None,
            prepared: None,
        };
        session.note_user();
        session
    }

    /// Takes note of what the configuration says of the user.
    fn note_user(&mut self) {
        let user = self.world.config.user(&self.identity.user.name);
        self.is_removed = user.is_none();
        self.stale_reads = user.map_or(StaleReads::Never, |user| user.stale_reads);
    }

    /// The same session with everything that follows in compressed packets.
    pub fn compressed(mut self, compression: Compression) -> Self {
        self.client.stream = self.client.stream.compressed(compression, None);
        self
    }

    /// Serves the client until the session ends. For a client that changes its user, returns the
    /// connection too, and the mark of what was written on it.
    pub async fn run(mut self) -> (Ended, Client, Option<Mark>) {
        let ended = loop {
            self.handle.note_idle();
            let message = match self.next_command().await {
                Ok(Some(message)) => message,
                Ok(None) => break Ended::Closed,
                Err(error) => {
                    self.shared.metrics.errors.inc(ErrorSource::Client);
                    if let ClientError::Refused(error) = error {
                        let _ = self.client.send_error(&error).await;
                        self.client.stream.drain(LAST_WORDS).await;
                    }
                    break Ended::Closed;
                }
            };
            self.started = Instant::now();
            self.handle.note_busy();
            self.enter_world();
            match self.dispatch(&message).await {
                Ok(Flow::Continue) => self.client.stream.reuse(message),
                Ok(Flow::End(ended)) => break ended,
                Err(error) => {
                    self.shared.metrics.errors.inc(ErrorSource::Client);
                    tracing::debug!(session = self.handle.id, %error, "client connection lost");
                    break Ended::Closed;
                }
            }
        };
        self.drop_lease();
        if matches!(ended, Ended::ChangeUser(_)) {
            // The next session may need the locks.
            let _ = self.finish_parting().await;
        }
        (ended, self.client, self.mark.map(|pin| pin.mark))
    }

    /// The next command; `None` when the session is to end.
    async fn next_command(&mut self) -> Result<Option<BytesMut>, ClientError> {
        let limit = self.world.config.limits.max_allowed_packet;
        self.client.stream.expect_command(limit);
        let mut known = Signal::None;
        while !self.client.has_buffered() {
            self.client.stream.rest();
            tokio::select! {
                biased;
                readable = self.client.stream.readable() => {
                    readable?;
                    break;
                }
                signal = self.handle.signalled(known) => {
                    if self.must_end(signal).await {
                        return Ok(None);
                    }
                    known = signal;
                }
            }
        }
        known = self.handle.signal();
        if self.must_end(known).await {
            return Ok(None);
        }
        let command = loop {
            // Biased: signals are looked at only if the command is not all there.
            tokio::select! {
                biased;
                command = self.client.read_command(limit) => break command,
                signal = self.handle.signalled(known) => {
                    if self.must_end(signal).await {
                        return Ok(None);
                    }
                    known = signal;
                }
            }
        };
        match command {
            Err(ClientError::Gone(_)) => Ok(None),
            result => result.map(Some),
        }
    }

    /// Whether the signal ends a session that waits for its client; tells the client why.
    async fn must_end(&mut self, signal: Signal) -> bool {
        let error = match signal {
            Signal::None => return false,
            Signal::Shutdown
                if self.lease.is_some()
                    || self.deferred.begins()
                    || !self.own_cursors.is_empty() =>
            {
                return false;
            }
            Signal::Shutdown | Signal::Stop => SqlError::shutdown(),
            Signal::Kill => return true,
            // MariaDB closes the connection without a word.
            Signal::Idle if self.handle.has_idle_limit() => {
                if self.is_mariadb() {
                    return true;
                }
                SqlError::own_idle()
            }
            Signal::Idle => SqlError::idle(),
        };
        self.client.sequence = 0;
        let _ = self.client.send_error(&error).await;
        true
    }

    /// Makes the newest configuration the one that the next statement uses.
    pub(super) fn enter_world(&mut self) {
        let current = self.shared.world.load();
        if !Arc::ptr_eq(&current, &self.world) {
            self.world = current.clone();
            self.pools.clear();
            // It is about a reader of the one before.
            self.guess = None;
            self.note_user();
        }
    }

    async fn dispatch(&mut self, message: &BytesMut) -> std::io::Result<Flow> {
        if message.get(3) != Some(&0) {
            self.client.send_error(&SqlError::out_of_order()).await?;
            return Ok(Flow::End(Ended::Closed));
        }
        if self.is_removed && self.lease.is_none() {
            self.client
                .send_error(&SqlError::user_removed(&self.identity.user.name))
                .await?;
            return Ok(Flow::End(Ended::Closed));
        }
        let payload = packet::payload(message);
        let Some((&byte, body)) = payload.split_first() else {
            self.client
                .send_error(&SqlError::malformed("a command without a command byte"))
                .await?;
            return Ok(Flow::Continue);
        };
        let Some(command) = Command::from_byte(byte) else {
            self.client
                .send_error(&SqlError::new(1047, "08S01", "Unknown command"))
                .await?;
            return Ok(Flow::Continue);
        };
        match command {
            Command::Query => self.query(message, body).await,
            Command::StmtExecute => self.execute(&payload).await,
            // Boxed, so that no session carries the room for what it does rarely.
            command => Box::pin(self.dispatch_rare(message, &payload, command)).await,
        }
    }

    async fn dispatch_rare(
        &mut self,
        message: &BytesMut,
        payload: &[u8],
        command: Command,
    ) -> std::io::Result<Flow> {
        let body = payload.get(1..).unwrap_or_default();
        match command {
            Command::StmtPrepare => self.prepare(message, body).await,
            Command::StmtClose => Ok(self.close_statement(body).await),
            Command::StmtSendLongData => self.send_long_data(payload),
            Command::StmtReset => self.reset_statement(body).await,
            Command::StmtFetch => self.fetch(message, body).await,
            Command::Ping => self.ping().await,
            Command::InitDb => self.init_db(message, body).await,
            Command::FieldList => self.field_list(message).await,
            Command::SetOption => self.set_option(body).await,
            Command::ResetConnection => self.reset_connection().await,
            Command::ChangeUser => Ok(Flow::End(Ended::ChangeUser(payload.to_vec()))),
            Command::ProcessKill => self.process_kill(body).await,
            Command::Statistics => self.statistics().await,
            Command::Quit => Ok(Flow::End(Ended::Closed)),
            other => {
                self.client
                    .send_error(&SqlError::refused_command(other.name()))
                    .await?;
                Ok(Flow::Continue)
            }
        }
    }

    /// Makes the session's reads see everything up to now, since it has written. `position` is what
    /// the writer said.
    pub(super) fn pin(&mut self, position: Option<GtidSet>) {
        self.raise_mark(position.map_or_else(Token::anything, Token::gtids));
        if let Some(pin) = &mut self.mark {
            pin.spent = Duration::ZERO;
            if self.world.config.consistency.scope == Scope::Global {
                self.shared.marks.global.raise(pin.mark);
            }
        }
    }

    /// The same, since it has seen what others wrote, or must see it. The token stands for that.
    pub(super) fn raise_mark(&mut self, token: Token) {
        self.has_seen_elsewhere = false;
        let exact = (token != Token::anything()).then(|| token.clone());
        let touched = std::mem::take(&mut self.touched).or_all();
        let mark = self.shared.ledger.mark(token);
        let gauge = &self.shared.metrics.consistency.pinned_sessions;
        match &mut self.mark {
            Some(pin) => {
                pin.mark = mark;
                pin.told.clone_from(&exact);
                pin.exact = exact;
                pin.touched.add(touched);
                pin.counted.get_or_insert_with(|| Held::new(gauge));
            }
            None => {
                self.mark = Some(Pin {
                    mark,
                    told: exact.clone(),
                    exact,
                    touched,
                    counted: Some(Held::new(gauge)),
                    spent: Duration::ZERO,
                })
            }
        }
        self.share_mark(mark);
    }

    /// The same for what the open transaction has written and seen, since it ends without an answer.
    pub(super) fn settle_mark(&mut self) {
        if std::mem::take(&mut self.has_written) {
            self.pin(None);
        } else if self.has_seen_elsewhere {
            self.raise_mark(Token::anything());
        }
    }

    /// Whether the session's `autocommit` is on, as far as the client was told.
    pub(super) fn autocommit(&self) -> bool {
        self.client.status.contains(Status::AUTOCOMMIT)
    }

    /// Ends everything that the session has open on a backend connection.
    pub(super) fn drop_lease(&mut self) {
        self.settle_mark();
        self.reset_at_once();
        self.holds = Holds::empty();
        self.for_next_transaction = Vec::new();
        self.possessions.clear();
        self.suspects.clear();
        self.transaction = Transaction::None;
        self.deferred = Deferred::default();
        self.has_made_ids = false;
        self.assigned.clear();
        self.cursors.clear();
        self.close_own_cursors();
        self.note_held();
    }

    /// Makes this what the session's next backend connection is brought to.
    pub(super) fn set_state(&mut self, state: Arc<State>) {
        if state.schema != self.state.schema {
            self.handle.set_schema(state.schema.as_deref());
            self.gone_schema = None;
        }
        self.state = state;
        self.align_status();
    }

    /// Brings the flags that the client is told into line with the session's state, of which a server
    /// may have told the proxy alone.
    pub(super) fn align_status(&mut self) {
        let dialect = self.state.dialect;
        let has_flag = self.is_mariadb();
        let status = &mut self.client.status;
        if let Some(value) = self.state.variables.get("autocommit") {
            status.set(Status::AUTOCOMMIT, matches!(&**value, b"ON" | b"1"));
        }
        status.set(Status::NO_BACKSLASH_ESCAPES, dialect.no_backslash_escapes);
        status.set(Status::ANSI_QUOTES, has_flag && dialect.ansi_quotes);
    }
}
