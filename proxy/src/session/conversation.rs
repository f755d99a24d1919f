//! The session's task: commands in, answers out, from login to the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use isthmus_protocol::command::Command;
use isthmus_protocol::packet;
use isthmus_protocol::prepared::PrepareOk;
use isthmus_protocol::status::Status;

use super::diagnostics::Diagnostics;
use super::holding::Holding;
use super::last::Last;
use super::possessions::Possessions;
use super::registry::{Handle, Signal};
use super::statements::SessionStatement;
use super::{Identity, Shared, World, identity};
use crate::admin::metrics::{ErrorSource, Held};
use crate::consistency::{GtidSet, Mark};
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
    pub(super) handle: Arc<Handle>,
    /// What the session's next backend connection must be brought to.
    pub(super) state: Arc<State>,
    /// Variables that describe the client's connection: they go to a backend connection only with
    /// a statement that asks for them.
    pub(super) own_variables: Variables,
    /// The connection that the session keeps, and why.
    pub(super) lease: Option<Lease>,
    pub(super) holds: Holds,
    /// Since when, with the open transaction and cursors among it.
    pub(super) holding: Holding,
    pub(super) possessions: Possessions,
    pub(super) transaction: Transaction,
    /// When the command that is worked on had been received.
    pub(super) started: Instant,
    /// Where the last statement went.
    pub(super) last: Last,
    /// Whether the open transaction may have written.
    pub(super) has_written: bool,
    /// Whether what ran on the connection that the session keeps may have changed what
    /// LAST_INSERT_ID() returns.
    pub(super) has_made_ids: bool,
    /// Whether LAST_INSERT_ID() on the connection that the session keeps is the session's own.
    pub(super) has_own_id: bool,
    /// What the session's reads must see, until the readers have seen it.
    pub(super) mark: Option<Pin>,
    /// The pools that the session has used in this world, by endpoint.
    pub(super) pools: Vec<(usize, bool, Pool)>,
    pub(super) diagnostics: Diagnostics,
    pub(super) statements: HashMap<u32, SessionStatement>,
    pub(super) last_statement_id: u32,
    /// The statements whose cursors are open.
    pub(super) cursors: Vec<u32>,
    /// The statement whose cursor the next answer tells about.
    pub(super) asked_cursor: Option<u32>,
    /// The number of the statement that is being prepared.
    pub(super) preparing: Option<u64>,
    /// What the server said of it.
    pub(super) prepared: Option<PrepareOk>,
}

impl Session {
    /// A session after a login. Its schema is selected with [`Session::select_schema`]. `mark` is
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
        let is_removed = world.config.user(&identity.user.name).is_none();
        let state = identity.initial_state(server.as_deref(), &shared.states);
        client.tracking = identity::tracking(server.as_deref());
        handle.set_user(&identity.user.name);
        handle.set_schema(None);
        handle.set_idle_limit(None);
        Self {
            shared,
            world,
            client,
            is_removed,
            identity,
            handle,
            state,
            own_variables: Variables::new(),
            lease: None,
            holds: Holds::empty(),
            holding: Holding::default(),
            possessions: Possessions::default(),
            transaction: Transaction::None,
            started: Instant::now(),
            last: Last::default(),
            has_written: false,
            has_made_ids: false,
            has_own_id: false,
            mark: mark.map(|mark| Pin {
                mark,
                counted: None,
            }),
            pools: Vec::new(),
            diagnostics: Diagnostics::default(),
            statements: HashMap::new(),
            last_statement_id: 0,
            cursors: Vec::new(),
            asked_cursor: None,
            preparing: None,
            prepared: None,
        }
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
                Ok(Flow::Continue) => {}
                Ok(Flow::End(ended)) => break ended,
                Err(error) => {
                    self.shared.metrics.errors.inc(ErrorSource::Client);
                    tracing::debug!(session = self.handle.id, %error, "client connection lost");
                    break Ended::Closed;
                }
            }
        };
        if self.has_written {
            self.pin(None);
        }
        self.drop_lease();
        (ended, self.client, self.mark.map(|pin| pin.mark))
    }

    /// The next command; `None` when the session is to end.
    async fn next_command(&mut self) -> Result<Option<BytesMut>, ClientError> {
        let limit = self.world.config.limits.max_allowed_packet;
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
            Signal::Shutdown if self.lease.is_some() => return false,
            Signal::Shutdown | Signal::Stop => SqlError::shutdown(),
            Signal::Kill => return true,
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
            self.is_removed = self.world.config.user(&self.identity.user.name).is_none();
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
            Command::StmtClose => self.close_statement(body),
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

    /// Makes the session's reads see everything up to now. `position` is what the writer said.
    pub(super) fn pin(&mut self, position: Option<GtidSet>) {
        let mark = self.shared.ledger.mark(position);
        let gauge = &self.shared.metrics.consistency.pinned_sessions;
        match &mut self.mark {
            Some(pin) => {
                pin.mark = mark;
                pin.counted.get_or_insert_with(|| Held::new(gauge));
            }
            None => {
                self.mark = Some(Pin {
                    mark,
                    counted: Some(Held::new(gauge)),
                })
            }
        }
    }

    /// Whether the session's `autocommit` is on, as far as the client was told.
    pub(super) fn autocommit(&self) -> bool {
        self.client.status.contains(Status::AUTOCOMMIT)
    }

    /// Ends everything that the session has open on a backend connection.
    pub(super) fn drop_lease(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.handle.set_running(None);
            lease.reset_and_release();
        }
        self.holds = Holds::empty();
        self.possessions.clear();
        self.transaction = Transaction::None;
        self.has_written = false;
        self.has_made_ids = false;
        self.cursors.clear();
        self.note_held();
    }

    /// Makes this what the session's next backend connection is brought to.
    pub(super) fn set_state(&mut self, state: Arc<State>) {
        if state.schema != self.state.schema {
            self.handle.set_schema(state.schema.as_deref());
        }
        self.state = state;
    }
}
