//! One backend connection and what is known about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::command::Command;
use isthmus_protocol::lenenc::Reader;
use isthmus_protocol::packet;
use isthmus_protocol::query_attributes::QueryForm;
use isthmus_protocol::response::Kind;
use isthmus_protocol::session_track::{self, Change};
use tokio::sync::OwnedSemaphorePermit;

use super::connect::Connected;
use super::difference::put_value;
use super::gate::Gate;
use super::init_connect;
use super::pools::Origin;
use super::prepared::{Prepared, Texts};
use super::state::{
    self, COLLATION, RESULTS_CHARSET, RESULTS_COLLATION, State, StateTable, Variables,
};
use super::user_variable::{self, UserVariables};
use crate::admin::metrics::CloseReason;
use crate::relay::{
    HoldBack, RelayError, Reply, ServerError, Stream, Tracking, swallow, swallow_after,
};
use crate::topology::{Server, is_carried};

/// A connection to an endpoint, authenticated, with session tracking switched on.
pub struct Connection {
    /// The socket.
    pub stream: Stream,
    /// Where it leads to, and as whom.
    pub(super) origin: Arc<Origin>,
    /// The server's id of the connection, for KILL.
    pub thread_id: u32,
    /// How it takes statements.
    pub form: QueryForm,
    /// What the server is known to be.
    pub server: Arc<Server>,
    /// What the server believes about the session.
    pub state: Arc<State>,
    /// Whether an answer since this was last looked at has told of a change without a name.
    pub has_unnamed_change: bool,
    /// Whether a ROLLBACK has to take back what may be left on it: characteristics of the next
    /// transaction, or something of one that the server has ended with an error.
    pub needs_rollback: bool,
    /// What LAST_INSERT_ID() returns on it, if that is known.
    pub last_insert_id: Option<u64>,
    /// What the login begins with, as it stands behind SET ROLE.
    login_role: Box<[u8]>,
    /// What the server's `init_connect` has set, which sessions begin with.
    pub inherited: Variables,
    /// The binary prepared statements that it has.
    pub prepared: Prepared,
    /// The textual ones.
    pub texts: Texts,
    /// Whether nothing is under way and nothing of a session is left on it. A connection that
    /// comes back to its pool otherwise is closed.
    pub is_clean: bool,
    /// The id that the server gives to the next statement that is prepared, if that is known: it
    /// counts, statements that it refuses among them.
    next_statement: Option<u32>,
    /// Statements to be closed with the next write.
    closing: Vec<u32>,
    born: Instant,
    /// The endpoint's [`Endpoint::renewals`] before it logged in.
    ///
    /// [`Endpoint::renewals`]: crate::topology::Endpoint::renewals
    pub(super) renewals: u64,
    /// When it was lent last, or born.
    pub(super) used: Instant,
    /// At which age it is replaced.
    life: Duration,
    /// How long it may be idle before the server would close it.
    patience: Duration,
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
        origin: Arc<Origin>,
        server: Arc<Server>,
        states: Arc<StateTable>,
        max_life: Duration,
        statement_limit: usize,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let state = states.intern(initial_state(None, &server));
        let now = Instant::now();
        Self {
            stream: connected.stream,
            origin,
            thread_id: connected.thread_id,
            form: connected.form,
            server,
            state,
            has_unnamed_change: false,
            needs_rollback: false,
            last_insert_id: Some(0),
            login_role: NO_ROLE.into(),
            inherited: Variables::new(),
            prepared: Prepared::new(statement_limit),
            texts: Texts::default(),
            is_clean: true,
            next_statement: Some(1),
            closing: Vec::new(),
            born: now,
            renewals: 0,
            used: now,
            life: shortened(max_life, connected.thread_id),
            patience: Duration::MAX,
            states,
            _permit: permit,
        }
    }

    /// Why an idle connection is not to be lent any more `now`. The caller closes it then: a KILL that
    /// is on its way to it is told once.
    pub(super) fn is_over(&self, now: Instant) -> Option<CloseReason> {
        if now.saturating_duration_since(self.born) >= self.life {
            Some(CloseReason::Age)
        } else if now.saturating_duration_since(self.used) >= self.patience {
            Some(CloseReason::WaitTimeout)
        } else if self.renewals != self.origin.endpoint.renewals() {
            Some(CloseReason::Outdated)
        } else if self.origin.family.kills.take(self.thread_id) {
            Some(CloseReason::Killed)
        } else {
            None
        }
    }

    /// Whether that is near, so that another one should be made already.
    pub(super) fn ends_soon(&self) -> bool {
        // Time enough to look after it and to make another one.
        let lead = |limit: Duration| (limit / 4).min(LONGEST_LEAD);
        let ends = |time: Duration, limit: Duration| time >= limit - lead(limit);
        ends(self.born.elapsed(), self.life) || ends(self.used.elapsed(), self.patience)
    }

    /// The gate for a prelude that leads to `target`, if there can be one. The server compares
    /// the names of schemas as the proxy would only where they are ASCII.
    pub fn gate<'a>(&self, target: &'a State) -> Option<Gate<'a>> {
        let is_plain = self.state.schema == target.schema
            || target
                .schema
                .as_ref()
                .is_none_or(|schema| schema.is_ascii());
        let variable = self.server.read_only_variable.filter(|_| is_plain)?;
        let gate = Gate::new(variable, &target.variables)?;
        if self.state.role == target.role {
            return Some(gate);
        }
        let role = current_role(self.role_of(target), self.server.is_mariadb);
        Some(gate.with_role(role.as_deref()))
    }

    /// Writes the commands that bring the connection into `target`, through the gate if one is
    /// given (see [`State::write_difference`]), and those that close statements, which nobody
    /// answers.
    pub fn write_prelude(
        &mut self,
        target: &Arc<State>,
        gate: Option<Gate<'_>>,
        out: &mut Vec<u8>,
    ) -> usize {
        for id in self.closing.drain(..) {
            let [a, b, c, d] = id.to_le_bytes();
            packet::put(out, 0, &[Command::StmtClose as u8, a, b, c, d]);
        }
        if Arc::ptr_eq(&self.state, target) {
            return 0;
        }
        // The schema may be one that only the role may use.
        let roles = self.write_role(target, out);
        roles + self.state.write_difference(target, gate, self.form, out)
    }

    fn write_role(&self, target: &State, out: &mut Vec<u8>) -> usize {
        if self.state.role == target.role {
            return 0;
        }
        let role = self.role_of(target);
        self.form.put_query(out, &[b"SET ROLE ", role].concat());
        1
    }

    /// The role of a state, as it stands behind SET ROLE.
    fn role_of<'a>(&'a self, state: &'a State) -> &'a [u8] {
        state.role.as_ref().unwrap_or(&self.login_role)
    }

    /// Notes what CURRENT_ROLE() returns.
    pub fn note_role(&mut self, current: Option<&[u8]>) {
        let role = role_text(current, self.server.is_mariadb);
        let role = Some(role).filter(|role| *role != self.login_role);
        self.state = self.states.intern(self.state.with_role(role));
    }

    /// Reads the answers to a prelude of so many commands that leads to `target`.
    pub async fn read_prelude(
        &mut self,
        commands: usize,
        target: &Arc<State>,
    ) -> Result<Option<ServerError>, RelayError> {
        let mut error = None;
        let is_switched = self.state.multi_statements != target.multi_statements;
        for command in 0..commands {
            let reply = self.swallow(Kind::Simple).await?;
            if command == 0 && is_switched && reply.error.is_none() {
                // The option comes first, and stands whatever becomes of the rest.
                let state = self.state.with_multi_statements(target.multi_statements);
                self.state = self.states.intern(state);
            }
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
        let commands = self.write_prelude(target, None, &mut out);
        self.stream
            .write_all(&out)
            .await
            .map_err(RelayError::from_backend)?;
        self.read_prelude(commands, target).await
    }

    /// Ends the open transaction, asks for the insert id if `asks_id` says so, and changes to
    /// another state where one is given. Returns the answer to the question; `None` if the server
    /// refused something.
    pub async fn roll_back(
        &mut self,
        asks_id: bool,
        state: Option<&Arc<State>>,
    ) -> Result<Option<Vec<u8>>, RelayError> {
        let mut out = Vec::new();
        // With `completion_type`, another transaction would begin.
        self.form
            .put_query(&mut out, b"ROLLBACK AND NO CHAIN NO RELEASE");
        if asks_id {
            self.form
                .put_query(&mut out, b"SELECT LAST_INSERT_ID() LIMIT 1");
        }
        let sent = self.stream.write_all(&out).await;
        sent.map_err(RelayError::from_backend)?;
        let mut error = self.swallow(Kind::Simple).await?.error;
        self.needs_rollback = false;
        let mut packets = Vec::new();
        if asks_id {
            let reply = swallow(&mut self.stream, Kind::Query, Some(&mut packets)).await;
            let reply = reply.map_err(|cause| RelayError::Backend {
                cause,
                untouched: true,
            })?;
            error = error.or(reply.error);
        }
        if let Some(state) = state {
            error = error.or(self.change_to(state).await?);
        }
        Ok(error.is_none().then_some(packets))
    }

    /// Reads a response that is not for the client and takes note of what it changed.
    pub async fn swallow(&mut self, kind: Kind) -> Result<Reply, RelayError> {
        self.swallow_after(kind, 0).await
    }

    /// The same for the response to a command whose last packet had the sequence id `after`.
    pub async fn swallow_after(&mut self, kind: Kind, after: u8) -> Result<Reply, RelayError> {
        let reply = swallow_after(&mut self.stream, kind, after, None)
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

    /// Closes all binary prepared statements with the next write.
    pub fn close_statements(&mut self) {
        self.closing.extend(self.prepared.clear());
    }

    /// Closes all binary prepared statements and waits until the server has.
    pub(super) async fn close_statements_now(&mut self) -> Result<(), RelayError> {
        self.close_statements();
        let mut out = Vec::new();
        let state = self.state.clone();
        self.write_prelude(&state, None, &mut out);
        packet::put(&mut out, 0, &[Command::Ping as u8]);
        let sent = self.stream.write_all(&out).await;
        sent.map_err(RelayError::from_backend)?;
        self.swallow(Kind::Simple).await?;
        Ok(())
    }

    /// Whether there are binary prepared statements on it.
    pub fn has_statements(&self) -> bool {
        !self.prepared.is_empty()
    }

    /// Notes that the server does not have a statement, binary or textual, that it was given.
    pub fn forget_statement(&mut self, statement: u64) {
        self.prepared.remove(statement);
        self.texts.remove(statement);
    }

    /// The id that the server gives to the next statement that is prepared, if that is known.
    pub fn next_statement(&self) -> Option<u32> {
        self.next_statement
    }

    /// Notes that a statement was refused when it was to be prepared.
    pub fn note_refused_statement(&mut self, error: Option<&ServerError>) {
        // Without room, the one before is the last still.
        if error.is_none_or(|error| !HoldBack::NO_ROOM.holds(error)) {
            self.prepared.forget_order();
        }
        self.next_statement = self.next_statement.and_then(|id| id.checked_add(1));
    }

    /// Whether statements are to be closed with the next write.
    pub fn has_to_close(&self) -> bool {
        !self.closing.is_empty()
    }

    /// Notes that statements may have been prepared that nobody has seen.
    pub fn forget_next_statement(&mut self) {
        self.next_statement = None;
    }

    /// Notes a statement that was prepared here. Those in `kept` are not closed to make room.
    pub fn add_statement(&mut self, statement: u64, id: u32, kept: &[u64]) {
        self.next_statement = id.checked_add(1);
        self.closing
            .extend(self.prepared.insert(statement, id, kept));
    }

    /// Notes what a response said about the session.
    pub fn absorb(&mut self, reply: &Reply) -> Tracked {
        let mut tracked = Tracked::default();
        if reply.session_state.is_empty() {
            return tracked;
        }
        let mut new: Option<State> = None;
        let mut is_flagged = false;
        let mut reported = Vec::new();
        for change in session_track::changes(&reply.session_state).flatten() {
            match change {
                Change::Variable { name, value } if name.eq_ignore_ascii_case(b"last_gtid") => {
                    add_gtids(&mut tracked, value);
                }
                Change::Variable { name, value } => {
                    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                    if is_carried(&name) {
                        let state = new.get_or_insert_with(|| (*self.state).clone());
                        state::note(&mut state.variables, &name, value);
                        reported.push(name);
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
        self.has_unnamed_change |= is_flagged;
        if let Some(mut state) = new.filter(|state| *state != *self.state) {
            let mut variables = std::mem::take(&mut state.variables);
            state::forget_twins(&mut variables, &reported);
            self.state = self.states.intern(state.with_variables(variables));
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
        state::note(&mut variables, name, value);
        self.state = self.states.intern(self.state.with_variables(variables));
    }

    /// Takes note of the answer to [`COLLATIONS`]: the packets before its terminator.
    pub fn note_collations(&mut self, packets: &[u8]) {
        let mut rows = packet::payloads(packets).skip(2);
        let described = rows
            .next()
            .and_then(|column| ColumnDefinition::parse(column).ok());
        let row = rows
            .next()
            .map(|row| Reader::new(row, "row").lenenc_bytes());
        let (Some(described), Some(Ok(of_connection))) = (described, row) else {
            return;
        };
        self.note_variable(COLLATION, of_connection);
        let known = self.server.collations.get(&described.collation);
        // Where it is NULL, texts are described as they are.
        let of_results = known.filter(|(charset, _)| {
            let own = self.state.variables.get(RESULTS_CHARSET);
            own.is_some_and(|own| **own == *charset.as_bytes())
        });
        if let Some((_, collation)) = of_results.cloned() {
            self.note_variable(RESULTS_COLLATION, collation.as_bytes());
        }
    }

    /// Sets user variables in the known state. Returns whether they may be carried with the
    /// others; otherwise nothing is changed.
    pub fn note_user_variables(&mut self, assigned: UserVariables) -> bool {
        let mut all = (*self.state.user_variables).clone();
        all.extend(assigned);
        let are_carried = user_variable::are_carried(&all);
        if are_carried && all != *self.state.user_variables {
            let state = self.state.with_user_variables(Arc::new(all));
            self.state = self.states.intern(state);
        }
        are_carried
    }

    /// Forgets what is known of user variables, so that they are assigned whatever they are.
    pub fn forget_user_variables(&mut self, names: &[String]) {
        let mut known = (*self.state.user_variables).clone();
        known.retain(|name, _| !names.iter().any(|forgotten| **forgotten == **name));
        let state = self.state.with_user_variables(Arc::new(known));
        self.state = self.states.intern(state);
    }

    /// Writes the SET that switches session tracking on as the proxy needs it, with GTIDs, which
    /// nothing can switch in a transaction, or without.
    pub fn write_tracking(&self, has_gtids: bool, out: &mut Vec<u8>) {
        let switches = [
            ("session_track_schema", "ON"),
            ("session_track_state_change", "ON"),
            ("session_track_gtids", "OWN_GTID"),
        ];
        let has_gtids = has_gtids && !self.server.is_mariadb;
        let known = if has_gtids { 3 } else { 2 };
        let variables = self.server.tracked_variables.as_bytes();
        self.put_tracking(variables, switches.into_iter().take(known), out);
    }

    /// Writes the SET that makes session tracking report what the client wants to hear. Until
    /// [`Connection::write_tracking`] is written too, the proxy is told no more than the client.
    pub fn write_tracking_of(&self, client: &Tracking, has_gtids: bool, out: &mut Vec<u8>) {
        let switches = client.switches(has_gtids && !self.server.is_mariadb);
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
            sql.extend_from_slice(format!(",SESSION {name}=").as_bytes());
            put_value(&mut sql, value.as_bytes());
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

    /// Brings a connection to its first state, right after authentication.
    pub(super) async fn initialise(&mut self) -> Result<Option<ServerError>, RelayError> {
        if self.server.has_init_connect {
            match init_connect::take(self).await? {
                Ok(inherited) => self.inherited = inherited,
                Err(error) => return Ok(Some(error)),
            }
        }
        let mut out = Vec::new();
        self.form.put_query(&mut out, CURRENT_ROLE.as_bytes());
        self.form
            .put_query(&mut out, b"SELECT @@SESSION.wait_timeout");
        self.write_initialisation(&mut out);
        self.stream
            .write_all(&out)
            .await
            .map_err(RelayError::from_backend)?;
        // Servers before MySQL 8.0 have no roles.
        if let Some(packets) = self.read_own_answer().await? {
            self.login_role = role_text(only_value(&packets), self.server.is_mariadb);
        }
        if let Some(packets) = self.read_own_answer().await?
            && let Some(seconds) = only_value(&packets).and_then(number)
        {
            // Some time ahead, since the next statement has to get there.
            let patience = Duration::from_secs(seconds).mul_f64(0.9);
            self.patience = shortened(patience, self.thread_id);
        }
        self.read_initialisation().await
    }

    /// The packets that answer a question of the proxy's own; `None` if it was refused.
    async fn read_own_answer(&mut self) -> Result<Option<Vec<u8>>, RelayError> {
        let mut packets = Vec::new();
        let reply = swallow(&mut self.stream, Kind::Query, Some(&mut packets)).await;
        let reply = reply.map_err(|cause| RelayError::Backend {
            cause,
            untouched: true,
        })?;
        Ok(reply.error.is_none().then_some(packets))
    }

    fn write_initialisation(&self, out: &mut Vec<u8>) {
        self.write_tracking(true, out);
        let names = format!("SET NAMES {INITIAL_CHARSET} COLLATE {INITIAL_COLLATION}");
        let mut set = names.into_bytes();
        for (name, value) in self.server.beginning() {
            set.extend_from_slice(format!(",@@SESSION.{name}=").as_bytes());
            put_value(&mut set, &value);
        }
        self.form.put_query(out, &set);
    }

    async fn read_initialisation(&mut self) -> Result<Option<ServerError>, RelayError> {
        let error = self.read_tracking().await?;
        let names = self.read_tracking().await?;
        // A reset leaves the role as it is.
        let state = initial_state(self.state.schema.clone(), &self.server);
        let state = state.with_role(self.state.role.clone());
        self.state = self.states.intern(state);
        Ok(error.or(names))
    }

    /// Resets everything a session may have left: transaction, locks, variables, temporary tables,
    /// prepared statements. The schema stays.
    pub(super) async fn reset(&mut self) -> Result<Option<ServerError>, RelayError> {
        let mut out = Vec::new();
        packet::put(&mut out, 0, &[Command::ResetConnection as u8]);
        // Servers forget the character set of the schema otherwise.
        if let Some(schema) = self.state.schema.as_deref() {
            packet::put_with(&mut out, 0, |out| {
                out.push(Command::InitDb as u8);
                out.extend_from_slice(schema);
            });
        }
        self.write_initialisation(&mut out);
        self.stream
            .write_all(&out)
            .await
            .map_err(RelayError::from_backend)?;
        let mut reset = self.read_tracking().await?;
        if self.state.schema.is_some() {
            reset = reset.or(self.read_tracking().await?);
        }
        let multi = self.state.multi_statements;
        self.last_insert_id = Some(0);
        self.needs_rollback = false;
        self.prepared.clear();
        self.texts.clear();
        self.closing.clear();
        let error = self.read_initialisation().await?;
        if multi {
            let state = self.state.with_multi_statements(multi);
            self.state = self.states.intern(state);
        }
        Ok(reset.or(error))
    }
}

/// So long before its end a connection is replaced, if it lives that long.
const LONGEST_LEAD: Duration = Duration::from_secs(10);

/// Times differ by up to a tenth, so that connections made together do not end together.
fn shortened(time: Duration, seed: u32) -> Duration {
    // By the golden ratio, any few numbers in a row are far apart.
    let part = f64::from(seed.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX);
    time - time.mul_f64(part / 10.0)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Asks for the collation of the connection, and by the description of a text for that of results.
pub const COLLATIONS: &str =
    "SELECT CAST(@@SESSION.collation_connection AS BINARY),_utf8mb4'a' LIMIT 1";

/// Asks for the role, in the server's own character set.
pub const CURRENT_ROLE: &str = "SELECT CAST(CURRENT_ROLE() AS BINARY)";

const NO_ROLE: &[u8] = b"NONE";

/// What CURRENT_ROLE() returned as it stands behind SET ROLE. MySQL has quoted the names already;
/// MariaDB has one role, without quotes, or NULL.
fn role_text(current: Option<&[u8]>, is_mariadb: bool) -> Box<[u8]> {
    match current {
        None => NO_ROLE.into(),
        Some(name) if is_mariadb => {
            let name = String::from_utf8_lossy(name).replace('`', "``");
            format!("`{name}`").into_bytes().into()
        }
        Some(names) => names.into(),
    }
}

/// What CURRENT_ROLE() returned, of what stands behind SET ROLE.
fn current_role(role: &[u8], is_mariadb: bool) -> Option<Vec<u8>> {
    if !is_mariadb {
        return Some(role.to_vec());
    }
    let quoted = role.strip_prefix(b"`")?.strip_suffix(b"`")?;
    Some(
        String::from_utf8_lossy(quoted)
            .replace("``", "`")
            .into_bytes(),
    )
}

const INITIAL_CHARSET: &str = "utf8mb4";
/// A collation that every version of MySQL and MariaDB knows.
const INITIAL_COLLATION: &str = "utf8mb4_general_ci";

/// The state that initialisation leads to.
fn initial_state(schema: Option<Box<[u8]>>, server: &Server) -> State {
    let names = state::named(INITIAL_CHARSET.as_bytes(), INITIAL_COLLATION.as_bytes());
    let variables = names.chain(server.beginning()).collect();
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

/// The one value of a result of one row and one column.
pub fn only_value(packets: &[u8]) -> Option<&[u8]> {
    let last = packet::payloads(packets).last()?;
    Reader::new(last, "row").lenenc_bytes_or_null().ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_made_together_end_far_apart() {
        let hour = Duration::from_secs(3600);
        for first in [1, 4711, u32::MAX - 8] {
            let mut lives: Vec<_> = (0..8)
                .map(|number| shortened(hour, first.wrapping_add(number)))
                .collect();
            lives.sort_unstable();
            assert!(
                lives
                    .iter()
                    .all(|life| *life <= hour && *life >= hour * 9 / 10)
            );
            let apart = lives.windows(2).map(|pair| pair[1] - pair[0]).min();
            assert!(apart > Some(hour / 200), "{lives:?}");
        }
    }
}
