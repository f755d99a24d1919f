//! One backend connection and what is known about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_protocol::command::Command;
use isthmus_protocol::packet;
use isthmus_protocol::query_attributes::QueryForm;
use isthmus_protocol::response::Kind;
use isthmus_protocol::session_track::{self, Change};
use tokio::sync::OwnedSemaphorePermit;

use super::connect::Connected;
use super::prepared::Prepared;
use super::state::{State, StateTable, put_value};
use crate::relay::{RelayError, Reply, ServerError, Stream, Tracking, swallow};
use crate::topology::{Server, is_carried};

/// A connection to an endpoint, authenticated, with session tracking switched on.
pub struct Connection {
    /// The socket.
    pub stream: Stream,
    /// The server's id of the connection, for KILL.
    pub thread_id: u32,
    /// How it takes statements.
    pub form: QueryForm,
    /// What the server is known to be.
    pub server: Arc<Server>,
    /// What the server believes about the session.
    pub state: Arc<State>,
    /// What LAST_INSERT_ID() returns on it, if that is known.
    pub last_insert_id: Option<u64>,
    /// The prepared statements that it has.
    pub prepared: Prepared,
    /// Whether nothing is under way and nothing of a session is left on it. A connection that
    /// comes back to its pool otherwise is closed.
    pub is_clean: bool,
    /// Statements to be closed with the next write.
    closing: Vec<u32>,
    born: Instant,
    life: Duration,
    states: Arc<StateTable>,
    /// The connection's place among those that the endpoint may have.
    _permit: OwnedSemaphorePermit,
}

/// What the session tracking of a response said besides variables and schema.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// The GTIDs of what was committed, in the server's form.
    pub gtids: Option<String>,
    /// Something changed, maybe something that is not named: a user variable, a temporary table …
    pub has_unnamed_change: bool,
}

impl Connection {
    pub(super) fn new(
        connected: Connected,
        server: Arc<Server>,
        states: Arc<StateTable>,
        life: Duration,
        statement_limit: usize,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let state = states.intern(initial_state(None));
        Self {
            stream: connected.stream,
            thread_id: connected.thread_id,
            form: connected.form,
            server,
            state,
            last_insert_id: Some(0),
            prepared: Prepared::new(statement_limit),
            is_clean: true,
            closing: Vec::new(),
            born: Instant::now(),
            life,
            states,
            _permit: permit,
        }
    }

    /// Whether it has reached the age at which connections are replaced.
    pub fn is_old(&self) -> bool {
        self.born.elapsed() >= self.life
    }

    /// Writes the commands that bring the connection into `target` (see
    /// [`State::write_difference`]) and those that close statements, which nobody answers.
    pub fn write_prelude(&mut self, target: &Arc<State>, out: &mut Vec<u8>) -> usize {
        for id in self.closing.drain(..) {
            let [a, b, c, d] = id.to_le_bytes();
            packet::put(out, 0, &[Command::StmtClose as u8, a, b, c, d]);
        }
        if Arc::ptr_eq(&self.state, target) {
            return 0;
        }
        self.state.write_difference(target, self.form, out)
    }

    /// Reads the answers to a prelude of so many commands that leads to `target`.
    pub async fn read_prelude(
        &mut self,
        commands: usize,
        target: &Arc<State>,
    ) -> Result<Option<ServerError>, RelayError> {
        let mut error = None;
        for _ in 0..commands {
            let reply = self.swallow(Kind::Simple).await?;
            error = error.or(reply.error);
        }
        if error.is_none() && commands > 0 {
            self.state = match (&self.state.schema, &target.schema) {
                // Nothing unselects a schema.
                (Some(schema), None) => self.states.intern(target.with_schema(schema)),
                _ => target.clone(),
            };
        }
        Ok(error)
    }

    /// Brings the connection to `target` and waits until it is there.
    pub async fn change_to(
        &mut self,
        target: &Arc<State>,
    ) -> Result<Option<ServerError>, RelayError> {
        let mut out = Vec::new();
        let commands = self.write_prelude(target, &mut out);
        self.stream
            .write_all(&out)
            .await
            .map_err(RelayError::from_backend)?;
        self.read_prelude(commands, target).await
    }

    /// Reads a response that is not for the client and takes note of what it changed.
    pub async fn swallow(&mut self, kind: Kind) -> Result<Reply, RelayError> {
        let reply = swallow(&mut self.stream, kind, None)
            .await
            .map_err(|cause| RelayError::Backend {
                cause,
                untouched: true,
            })?;
        self.absorb(&reply);
        Ok(reply)
    }

    /// Closes a prepared statement of this number with the next write, if it is here.
    pub fn close_statement(&mut self, statement: u64) {
        self.closing.extend(self.prepared.remove(statement));
    }

    /// Notes a statement that was prepared here.
    pub fn add_statement(&mut self, statement: u64, id: u32) {
        self.closing.extend(self.prepared.insert(statement, id));
    }

    /// Notes what a response said about the session.
    pub fn absorb(&mut self, reply: &Reply) -> Tracked {
        let mut tracked = Tracked::default();
        if reply.session_state.is_empty() {
            return tracked;
        }
        let mut new: Option<State> = None;
        let mut is_flagged = false;
        for change in session_track::changes(&reply.session_state).flatten() {
            match change {
                Change::Variable { name, value } if name.eq_ignore_ascii_case(b"last_gtid") => {
                    add_gtids(&mut tracked, value);
                }
                Change::Variable { name, value } => {
                    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                    if is_carried(&name) {
                        let state = new.get_or_insert_with(|| (*self.state).clone());
                        state.variables.insert(name.into(), value.into());
                    }
                }
                Change::Schema(schema) => {
                    let state = new.get_or_insert_with(|| (*self.state).clone());
                    state.schema = (!schema.is_empty()).then(|| schema.into());
                }
                Change::State(changed) => is_flagged |= changed,
                Change::Gtids(gtids) => add_gtids(&mut tracked, gtids),
                _ => {}
            }
        }
        tracked.has_unnamed_change = is_flagged;
        if let Some(state) = new.filter(|state| *state != *self.state) {
            let state = State::new(state.schema, state.multi_statements, state.variables);
            self.state = self.states.intern(state);
        }
        tracked
    }

    /// Sets the schema in the known state, for what was read back instead of reported.
    pub fn note_schema(&mut self, schema: &[u8]) {
        self.state = self.states.intern(self.state.with_schema(schema));
    }

    /// Sets one variable in the known state, for what was read back instead of reported.
    pub fn note_variable(&mut self, name: &str, value: &[u8]) {
        if self
            .state
            .variables
            .get(name)
            .is_some_and(|known| **known == *value)
        {
            return;
        }
        let mut variables = self.state.variables.clone();
        variables.insert(name.into(), value.into());
        let state = State::new(
            self.state.schema.clone(),
            self.state.multi_statements,
            variables,
        );
        self.state = self.states.intern(state);
    }

    /// Writes the SET that switches session tracking on as the proxy needs it.
    pub fn write_tracking(&self, out: &mut Vec<u8>) {
        let switches = [
            ("session_track_schema", "ON"),
            ("session_track_state_change", "ON"),
            ("session_track_gtids", "OWN_GTID"),
        ];
        let known = if self.server.is_mariadb { 2 } else { 3 };
        let variables = self.server.tracked_variables.as_bytes();
        self.put_tracking(variables, switches.into_iter().take(known), out);
    }

    /// Writes the SET that makes session tracking report what the client wants to hear. Until
    /// [`Connection::write_tracking`] is written too, the proxy is told no more than the client.
    pub fn write_tracking_of(&self, client: &Tracking, out: &mut Vec<u8>) {
        let switches = client.switches(!self.server.is_mariadb);
        self.put_tracking(client.variables(), switches, out);
    }

    fn put_tracking(
        &self,
        variables: &[u8],
        switches: impl Iterator<Item = (&'static str, &'static str)>,
        out: &mut Vec<u8>,
    ) {
        let mut sql = b"SET SESSION session_track_system_variables=".to_vec();
        put_value(&mut sql, variables);
        for (name, value) in switches {
            sql.extend_from_slice(format!(",SESSION {name}='{value}'").as_bytes());
        }
        self.form.put_query(out, &sql);
    }

    /// Reads the answer to it.
    pub async fn read_tracking(&mut self) -> Result<Option<ServerError>, RelayError> {
        let reply = swallow(&mut self.stream, Kind::Simple, None).await;
        let reply = reply.map_err(|cause| RelayError::Backend {
            cause,
            untouched: true,
        })?;
        Ok(reply.error)
    }

    /// Brings a connection to its first state, right after authentication or a reset.
    pub(super) async fn initialise(&mut self) -> Result<Option<ServerError>, RelayError> {
        let mut out = Vec::new();
        self.write_initialisation(&mut out);
        self.stream
            .write_all(&out)
            .await
            .map_err(RelayError::from_backend)?;
        self.read_initialisation().await
    }

    fn write_initialisation(&self, out: &mut Vec<u8>) {
        self.write_tracking(out);
        let names = format!("SET NAMES {INITIAL_CHARSET} COLLATE {INITIAL_COLLATION}");
        self.form.put_query(out, names.as_bytes());
    }

    async fn read_initialisation(&mut self) -> Result<Option<ServerError>, RelayError> {
        let error = self.read_tracking().await?;
        let names = self.read_tracking().await?;
        self.state = self.states.intern(initial_state(self.state.schema.clone()));
        Ok(error.or(names))
    }

    /// Resets everything a session may have left: transaction, locks, variables, temporary tables,
    /// prepared statements. The schema stays.
    pub(super) async fn reset(&mut self) -> Result<Option<ServerError>, RelayError> {
        let mut out = Vec::new();
        packet::put(&mut out, 0, &[Command::ResetConnection as u8]);
        self.write_initialisation(&mut out);
        self.stream
            .write_all(&out)
            .await
            .map_err(RelayError::from_backend)?;
        let reset = self.read_tracking().await?;
        let multi = self.state.multi_statements;
        self.last_insert_id = Some(0);
        self.prepared.clear();
        self.closing.clear();
        let error = self.read_initialisation().await?;
        if multi {
            let state = self.state.with_multi_statements(multi);
            self.state = self.states.intern(state);
        }
        Ok(reset.or(error))
    }
}

const INITIAL_CHARSET: &str = "utf8mb4";
/// A collation that every version of MySQL and MariaDB knows.
const INITIAL_COLLATION: &str = "utf8mb4_general_ci";

/// The state that initialisation leads to.
fn initial_state(schema: Option<Box<[u8]>>) -> State {
    let variables = [
        ("character_set_client", INITIAL_CHARSET),
        ("character_set_connection", INITIAL_CHARSET),
        ("character_set_results", INITIAL_CHARSET),
        ("collation_connection", INITIAL_COLLATION),
    ];
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), value.as_bytes().into()))
        .collect();
    State::new(schema, false, variables)
}

fn add_gtids(tracked: &mut Tracked, gtids: &[u8]) {
    if gtids.is_empty() {
        return;
    }
    let all = tracked.gtids.get_or_insert_default();
    if !all.is_empty() {
        all.push(',');
    }
    all.push_str(&String::from_utf8_lossy(gtids));
}
