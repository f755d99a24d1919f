//! What a session begins with: the schema that its client asked for, what the servers' own
//! `init_connect` has set, and the statements of the configuration.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::response::Kind;

use super::Session;
use super::followup::write_followups;
use super::lending::Destination;
use crate::config::User;
use crate::error::SqlError;
use crate::pool::{Lease, State};
use crate::relay::{RelayError, ServerError, Tracking};
use crate::sql::{self, Place, Plan};

/// What a reader has not heard of accounts by then, it hears of unnoticed.
const LONGEST_LAG: Duration = Duration::from_secs(600);

/// Why a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// A client has logged in.
    Login,
    /// COM_CHANGE_USER: servers do not run `init_connect` again.
    ChangeUser,
}

impl Session {
    /// Brings a session whose client has authenticated to where that client may go on, and tells it
    /// so. Where that fails the client has been told why, and `false` is returned.
    ///
    /// # Errors
    /// If the client is gone.
    pub async fn open(&mut self, beginning: Beginning) -> io::Result<bool> {
        if let Some(charset) = self.state.unsendable_charset() {
            let error = SqlError::unsendable_charset(&String::from_utf8_lossy(charset));
            self.client.send_error(&error).await?;
            return Ok(false);
        }
        self.be_patient();
        self.expect_statements();
        let schema = self.identity.database.take();
        if let Some(schema) = schema.filter(|schema| !schema.is_empty())
            && !self.select_schema(&schema).await?
        {
            return Ok(false);
        }
        let is_first = beginning == Beginning::Login;
        if ((is_first && self.meets_init_connect()) || !self.identity.user.init.is_empty())
            && let Err(error) = self.initialise(is_first).await
        {
            self.client.send_error(&error).await?;
            return Ok(false);
        }
        self.align_status();
        let changes = self.client.tracking.opening(self.state.schema.as_deref());
        let ok = OkPacket {
            session_state: &changes,
            ..OkPacket::default()
        };
        self.client.send_ok_packet(ok).await?;
        Ok(true)
    }

    /// Whether a server has an `init_connect`.
    fn meets_init_connect(&self) -> bool {
        let mut servers = self.world.snapshot.all().filter_map(|one| one.server());
        servers.any(|server| server.has_init_connect)
    }

    /// Takes over what `init_connect` has set, if the session is one that the server would have run
    /// it for, and runs the statements of the configuration.
    async fn initialise(&mut self, inherits: bool) -> Result<(), SqlError> {
        let planned = self.plan(b"SET NAMES utf8mb4", false);
        let mut destination = self.destination(&planned.plan, &planned.hints).await?;
        let has_schema = self.state.schema.is_some();
        let mut lease = self.borrow_in_time(&mut destination, has_schema).await?;
        if inherits && !lease.inherited.is_empty() {
            let state = self.state.with(&lease.inherited);
            self.take_over(&Arc::new(state));
        }
        lease.is_clean = false;
        let user = self.identity.user.clone();
        for statement in &user.init {
            match self.run_init(&mut lease, statement).await {
                Ok(None) => {}
                Ok(Some(error)) => return Err(init_failed(&user, statement, &error)),
                Err(error) => {
                    return Err(SqlError::lost_connection(&lease.endpoint().name, &error));
                }
            }
        }
        self.give_back(lease);
        Ok(())
    }

    /// Finds out with what sessions begin from now on, after a SET GLOBAL.
    pub(super) async fn learn_beginning(&self, lease: &Lease) {
        let endpoint = lease.endpoint();
        let login = &self.world.config.monitor.credentials;
        if let Err(error) = endpoint.learn_again(login).await {
            tracing::warn!(
                endpoint = endpoint.name,
                %error,
                "sessions begin as before a SET GLOBAL until the proxy can ask for what it changed"
            );
        }
    }

    /// Connections that have logged in before accounts changed are not lent any more: to the writer
    /// since the client has heard of it, to a reader as soon as that has heard of it too.
    pub(super) fn renew_readers(&self) {
        let Some(mark) = self.mark.as_ref().map(|pin| pin.mark) else {
            return;
        };
        for reader in &self.world.readers {
            let reader = reader.clone();
            tokio::spawn(async move {
                reader.wait(mark, None, LONGEST_LAG).await;
                reader.endpoint.renew();
            });
        }
    }

    /// Runs a statement as if the client had sent it; its answer is for nobody.
    async fn run_init(
        &mut self,
        lease: &mut Lease,
        statement: &str,
    ) -> Result<Option<ServerError>, RelayError> {
        let plan = self.plan(statement.as_bytes(), false).plan;
        if let Some(error) = lease.change_to(&self.state).await? {
            return Ok(Some(error));
        }
        let mut out = Vec::new();
        let followups = self.followups(&plan, lease, false);
        let restored = self.write_restoration(lease, &plan, false, &mut out);
        lease.form.put_query(&mut out, statement.as_bytes());
        write_followups(lease, &followups, &mut out);
        let sent = lease.stream.write_all(&out).await;
        sent.map_err(RelayError::from_backend)?;
        for _ in 0..restored {
            lease.swallow(Kind::Query).await?;
        }
        let reply = lease.swallow(Kind::Query).await?;
        self.read_followups(lease, followups).await?;
        if reply.error.is_none() {
            self.holds |= plan.holds;
            self.take_over(&lease.state);
        }
        Ok(reply.error)
    }

    /// Borrows a connection before the login's own deadline, so that the client hears why it failed.
    async fn borrow_in_time(
        &mut self,
        destination: &mut Destination,
        has_schema: bool,
    ) -> Result<Lease, SqlError> {
        let patience = self.world.config.timeouts.handshake / 2;
        let borrowing = self.borrow(destination, has_schema, Instant::now());
        match tokio::time::timeout(patience, borrowing).await {
            Ok(lease) => lease,
            Err(_) => Err(SqlError::borrow_timeout(
                "writer",
                &format!("none within {patience:?}, half of timeouts.handshake"),
            )),
        }
    }

    /// Selects the schema that the client asked for when it logged in. On failure the client has
    /// been told, and `false` is returned.
    async fn select_schema(&mut self, schema: &[u8]) -> io::Result<bool> {
        let planned = self.shared.plans.plan(b"USE a", self.state.dialect, false);
        let mut destination = match self.destination(&planned.plan, &planned.hints).await {
            Ok(destination) => destination,
            Err(interrupted) => {
                self.client.send_error(&interrupted.into()).await?;
                return Ok(false);
            }
        };
        let wanted = self.state.with_schema(schema);
        let wanted = self.shared.states.intern(wanted);
        loop {
            let outcome = self.try_state(&mut destination, &wanted).await;
            match outcome {
                Ok(()) => {
                    self.set_state(wanted);
                    return Ok(true);
                }
                Err(SelectError::Refused(error))
                    if error.is_for_the_writer()
                        && matches!(destination, Destination::Reader(_)) =>
                {
                    destination = Destination::Writer;
                }
                // Its connection broke. Nothing is lost with it.
                Err(SelectError::Unavailable(_))
                    if matches!(destination, Destination::Reader(_)) =>
                {
                    destination = Destination::Writer;
                }
                Err(SelectError::Refused(error)) => {
                    self.client.send(&error.encode()).await?;
                    return Ok(false);
                }
                Err(SelectError::Unavailable(error)) => {
                    self.client.send_error(&error).await?;
                    return Ok(false);
                }
            }
        }
    }

    /// Whether a server takes this state.
    async fn try_state(
        &mut self,
        destination: &mut Destination,
        wanted: &Arc<State>,
    ) -> Result<(), SelectError> {
        let lease = self.borrow_in_time(destination, true).await;
        let mut lease = lease.map_err(SelectError::Unavailable)?;
        lease.is_clean = false;
        let outcome = lease.change_to(wanted).await;
        self.handle.set_at_rest();
        match outcome {
            Ok(None) => {
                lease.is_clean = true;
                Ok(())
            }
            Ok(Some(error)) => {
                // Anything else would be refused to the next session too.
                lease.is_clean = error.is_about_a_schema() && lease.fits_its_pool();
                Err(SelectError::Refused(error))
            }
            Err(error) => Err(SelectError::Unavailable(SqlError::lost_connection(
                &lease.endpoint().name,
                &error,
            ))),
        }
    }
}

/// Whether the statement may set a global variable that sessions begin with.
pub(super) fn changes_beginning(plan: &Plan) -> bool {
    let is_of_beginning = |name: &String| {
        matches!(
            name.as_str(),
            "autocommit" | "init_connect" | "sql_mode" | "time_zone"
        ) || name.starts_with(Tracking::PREFIX)
    };
    let is_global = plan.kind == sql::Kind::Set && plan.place == Place::Writer;
    (is_global && plan.variables.iter().any(is_of_beginning))
        || plan.parts.iter().any(|part| changes_beginning(part))
}

/// Why a schema was not selected.
enum SelectError {
    /// The server says no.
    Refused(ServerError),
    /// There was no server to ask.
    Unavailable(SqlError),
}

/// 1184, as servers say it of a session that their `init_connect` fails for.
fn init_failed(user: &User, statement: &str, error: &ServerError) -> SqlError {
    let cause = String::from_utf8_lossy(&error.message);
    let message = format!(
        "Aborted connection of user '{}' (init statement `{statement}` failed: {cause}); correct `init` in the configuration of Isthmus",
        user.name
    );
    SqlError::new(1184, "08S01", message)
}
