//! One statement on one backend connection: what goes out, what comes back, and what to do when
//! it does not.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use isthmus_protocol::command::{Command, Execute, SendLongData};
use isthmus_protocol::packet;
use isthmus_protocol::query_attributes::QueryForm;
use isthmus_protocol::response::Kind;

use super::Session;
use super::conversation::{Ended, Flow};
use super::followup::{Followup, has_own_tracking, touches_ids, write_followups};
use super::lending::Destination;
use super::registry::Signal;
use super::statements::Statement;
use crate::admin::metrics::{ErrorSource, Route};
use crate::config::Role;
use crate::error::SqlError;
use crate::pool::{Lease, State};
use crate::relay::{self, BackendFault, Forward, RelayError, Reply, ServerError};
use crate::routing::Transaction;
use crate::sql::{self, Needs, Place, Plan, Planned};

/// What is to be sent.
pub(super) enum Work<'a> {
    /// A command as the client framed it.
    Command {
        /// The packets.
        framed: &'a [u8],
        /// How many bytes of query attributes stand before the text.
        attributes: usize,
        /// What answers it.
        kind: Kind,
        /// The statement id that the client gets to see, for a PREPARE.
        statement_id: u32,
    },
    /// The execution of a prepared statement.
    Execute {
        /// The statement.
        statement: &'a Statement,
        /// The command.
        execute: Execute<'a>,
        /// The types of its parameters.
        types: &'a [u8],
        /// Long data to be sent before: parameter and bytes.
        long_data: &'a [(u16, Vec<u8>)],
    },
}

/// What is known before the statement is sent.
#[derive(Clone, Copy)]
struct Ahead<'a> {
    /// The connection leads to a reader, which may refuse what it takes for a write.
    is_reader: bool,
    /// The session had the connection before.
    is_held: bool,
    /// What is asked in the same write.
    followups: &'a [Followup],
}

impl Work<'_> {
    /// The text, as far as it came in one packet: of a longer one nothing is asked.
    fn sql(&self) -> &[u8] {
        match self {
            Work::Command {
                framed, attributes, ..
            } => framed
                .get(packet::HEADER_LEN + 1 + attributes..)
                .unwrap_or_default(),
            Work::Execute { statement, .. } => &statement.sql,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Work::Command { kind, .. } => *kind,
            Work::Execute { .. } => Kind::Query,
        }
    }
}

/// What came of a statement.
enum Outcome {
    /// The response; the client has it, unless it was held back for the writer's.
    Answered(Reply),
    /// The statement could not be prepared on this connection; the client has seen nothing.
    NotPrepared(ServerError),
}

impl Outcome {
    fn error(&self) -> Option<&ServerError> {
        match self {
            Self::Answered(reply) => reply.error.as_ref(),
            Self::NotPrepared(error) => Some(error),
        }
    }

    fn is_for_the_writer(&self) -> bool {
        self.error().is_some_and(ServerError::is_for_the_writer)
    }
}

/// Why a statement did not get its answer from this connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client went away.
    Client(io::Error),
    /// The server never got the whole statement.
    NotSent(BackendFault),
    /// The connection broke while the statement may have run.
    Lost {
        /// What happened.
        cause: BackendFault,
        /// Whether the client has not seen a byte of the answer.
        untouched: bool,
    },
    /// The server refused what had to come before the statement, which did not run or had no
    /// effect.
    Refused(ServerError),
}

impl From<RelayError> for Failure {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Client(error) => Self::Client(error),
            RelayError::Backend { cause, untouched } => Self::Lost { cause, untouched },
        }
    }
}

/// How often a statement that has not run is tried on another connection.
const ATTEMPTS: usize = 3;

impl Session {
    /// Runs a statement where it belongs and gives its answer to the client.
    pub(super) async fn run_statement(
        &mut self,
        work: Work<'_>,
        planned: &Planned,
    ) -> io::Result<Flow> {
        let start = self.started;
        let mut planned = Cow::Borrowed(planned);
        self.last.begin(&planned.plan);
        let mut destination = self.destination(&planned.plan, &planned.hints).await;
        let mut attempt = 1;
        loop {
            let selects_schema = planned.plan.kind == sql::Kind::Use;
            let mut lease = match self.borrow(&mut destination, selects_schema, start).await {
                Ok(lease) => lease,
                Err(error) => {
                    self.shared.metrics.errors.inc(ErrorSource::Backend);
                    self.last.endpoint = None;
                    self.last.duration = start.elapsed();
                    self.last.error = Some(error.code);
                    self.client.send_error(&error).await?;
                    return Ok(Flow::Continue);
                }
            };
            self.last.runs_on(lease.endpoint());
            let mut followups = self.followups(&planned.plan);
            let ahead = Ahead {
                is_reader: matches!(destination, Destination::Reader(_)),
                is_held: matches!(destination, Destination::Held),
                followups: &followups,
            };
            let outcome = self.exchange(&mut lease, &work, &planned.plan, ahead).await;
            let Ahead {
                is_reader, is_held, ..
            } = ahead;
            // Where the statement was not sent, neither were the questions behind it.
            if let Ok(Outcome::NotPrepared(_)) = &outcome {
                followups.clear();
            }
            let failure = match outcome {
                Ok(outcome) if is_reader && outcome.is_for_the_writer() => {
                    lease.is_clean = followups.is_empty() && lease.fits_its_pool();
                    if outcome
                        .error()
                        .is_some_and(ServerError::is_read_only_refusal)
                    {
                        planned = Cow::Owned(self.shared.plans.remember_writer(&planned));
                        self.last.redirected(REFUSED_AS_WRITE);
                    } else {
                        self.last.redirected(NO_SCHEMA_YET);
                    }
                    destination = Destination::Writer;
                    continue;
                }
                Ok(outcome) => {
                    let reply = match outcome {
                        Outcome::Answered(reply) => reply,
                        Outcome::NotPrepared(error) => {
                            self.client.send(&error.encode()).await?;
                            Reply {
                                error: Some(error),
                                ..Reply::default()
                            }
                        }
                    };
                    self.last.duration = start.elapsed();
                    self.last.error = reply.error.as_ref().map(|error| error.code);
                    self.count(&lease, &planned.plan);
                    let sql = work.sql();
                    return self
                        .settle(lease, &planned.plan, reply, followups, sql)
                        .await;
                }
                Err(Failure::Client(error)) => {
                    self.note_lost_write(&planned.plan);
                    lease.abandon();
                    return Err(error);
                }
                Err(failure) => failure,
            };
            let endpoint = lease.endpoint().name.clone();
            drop(lease);
            self.handle.set_running(None);
            let may_retry = may_retry(&failure, &planned.plan, &followups);
            if is_reader
                && let Failure::Refused(error) = &failure
                && error.is_for_the_writer()
            {
                self.last.redirected(NO_SCHEMA_YET);
                destination = Destination::Writer;
                continue;
            }
            if !is_held && attempt < ATTEMPTS && may_retry {
                attempt += 1;
                if is_reader && attempt == ATTEMPTS {
                    self.last.redirected(READER_LOST);
                    destination = Destination::Writer;
                }
                continue;
            }
            self.last.duration = start.elapsed();
            return self.fail(failure, &planned.plan, &endpoint, is_held).await;
        }
    }

    fn count(&self, lease: &Lease, plan: &Plan) {
        let metrics = &self.shared.metrics.statements;
        let role = if self.is_writer(lease) {
            Role::Writer
        } else {
            Role::Reader
        };
        metrics.routed.inc(match (plan.place, role) {
            (Place::Session, _) => Route::Session,
            (Place::Previous, _) => Route::Previous,
            (_, Role::Writer) => Route::Writer,
            (_, Role::Reader) => Route::Reader,
        });
        metrics
            .seconds(role)
            .observe(self.last.duration.as_secs_f64());
    }

    /// Sends everything in as few writes as is safe, and reads everything that comes back.
    async fn exchange(
        &mut self,
        lease: &mut Lease,
        work: &Work<'_>,
        plan: &Plan,
        ahead: Ahead<'_>,
    ) -> Result<Outcome, Failure> {
        lease.is_clean = false;
        if let Work::Execute { statement, .. } = work
            && lease.prepared.get(statement.number).is_none()
            && let Some(error) = Box::pin(self.prepare_on(lease, statement)).await?
        {
            return Ok(Outcome::NotPrepared(error));
        }
        let mut out = Vec::new();
        let state = self.state_for(work, plan);
        let mut commands = lease.write_prelude(&state, &mut out);
        if commands > 0 && !is_harmless(plan) {
            // A statement that may write must not run in the wrong state, so it waits until the
            // state is known to be right.
            lease.stream.write_all(&out).await.map_err(not_sent)?;
            out.clear();
            self.last.trips += 1;
            let commands = std::mem::take(&mut commands);
            Box::pin(self.read_restoration(lease, commands, 0, &state)).await?;
        }
        let restored = self.write_restoration(lease, plan, ahead.is_held, &mut out);
        let after = self.write_work(lease, work, out, ahead.followups).await?;
        self.last.trips += 1;
        if commands + restored > 0 {
            let restoring = Box::pin(self.read_restoration(lease, commands, restored, &state));
            restoring.await?;
        }
        let statement_id = match work {
            Work::Command { statement_id, .. } => *statement_id,
            Work::Execute { .. } => 0,
        };
        let options = Forward {
            kind: work.kind(),
            hold_back_refusals: ahead.is_reader,
            is_in_read_only: self.transaction == Transaction::ReadOnly,
            statement_id,
            has_own_tracking: has_own_tracking(plan),
            after,
        };
        let reply = relay::forward(&mut lease.stream, &mut self.client, options).await?;
        Ok(Outcome::Answered(reply))
    }

    /// The state that a statement must find: with the variables of the client's connection if it
    /// speaks of them.
    fn state_for(&self, work: &Work<'_>, plan: &Plan) -> Arc<State> {
        if self.own_variables.is_empty() || !mentions_timeout(plan, work.sql()) {
            return self.state.clone();
        }
        self.shared
            .states
            .intern(self.state.with(&self.own_variables))
    }

    /// Reads the answers to so many commands that lead to `state`, and to so many that bring back
    /// what the previous statement left.
    async fn read_restoration(
        &self,
        lease: &mut Lease,
        commands: usize,
        restored: usize,
        state: &Arc<State>,
    ) -> Result<(), Failure> {
        if let Some(error) = lease.read_prelude(commands, state).await? {
            return Err(Failure::Refused(error));
        }
        for _ in 0..restored {
            // SIGNAL answers with the error that it is to leave behind.
            lease.swallow(Kind::Query).await?;
        }
        Ok(())
    }

    /// Prepares the statement on this connection, in the state it was made in.
    /// Returns the error if the server does not take it any more, as after a DROP TABLE.
    async fn prepare_on(
        &mut self,
        lease: &mut Lease,
        statement: &Statement,
    ) -> Result<Option<ServerError>, Failure> {
        let mut out = Vec::new();
        let commands = lease.write_prelude(&statement.state, &mut out);
        packet::put_with(&mut out, 0, |out| {
            out.push(Command::StmtPrepare as u8);
            out.extend_from_slice(&statement.sql);
        });
        lease.stream.write_all(&out).await.map_err(not_sent)?;
        self.last.trips += 1;
        if let Some(error) = lease.read_prelude(commands, &statement.state).await? {
            return Err(Failure::Refused(error));
        }
        let reply = lease.swallow(Kind::Prepare).await?;
        match (reply.prepared, reply.error) {
            (Some(prepared), _) => {
                lease.add_statement(statement.number, prepared.statement_id);
                Ok(None)
            }
            (None, error) => Ok(error),
        }
    }

    /// Writes what brings back to this connection what the previous statement left on another;
    /// returns how many answers to skip.
    fn write_restoration(
        &mut self,
        lease: &mut Lease,
        plan: &Plan,
        is_held: bool,
        out: &mut Vec<u8>,
    ) -> usize {
        let mut commands = 0;
        if has_own_tracking(plan) {
            lease.write_tracking_of(&self.client.tracking, out);
            commands += 1;
        }
        if !is_held {
            // What is there is another session's, unless it is the same by chance.
            self.has_own_id = lease.last_insert_id == Some(self.diagnostics.last_insert_id);
        }
        let touches_ids = touches_ids(plan);
        if plan.marks || touches_ids {
            lease.last_insert_id = None;
        }
        if touches_ids && !self.has_own_id {
            self.has_own_id = true;
            let sql = format!(
                "SET @@SESSION.last_insert_id={}",
                self.diagnostics.last_insert_id
            );
            lease.form.put_query(out, sql.as_bytes());
            commands += 1;
        }
        if !is_held && plan.place == Place::Previous && plan.needs.contains(Needs::DIAGNOSTICS) {
            let sql = self
                .diagnostics
                .signal()
                .unwrap_or_else(|| NO_CONDITIONS.to_vec());
            lease.form.put_query(out, &sql);
            commands += 1;
        }
        commands
    }

    /// Sends `out` and the statement. Returns the sequence id of the statement's last packet.
    async fn write_work(
        &self,
        lease: &mut Lease,
        work: &Work<'_>,
        mut out: Vec<u8>,
        followups: &[Followup],
    ) -> Result<u8, Failure> {
        let last = match work {
            Work::Command {
                framed, attributes, ..
            } if *attributes > 0 && lease.form == QueryForm::Plain => {
                let payload = packet::payload(framed);
                let sql = payload.get(1 + attributes..).unwrap_or_default();
                QueryForm::Plain.put_query(&mut out, sql).wrapping_sub(1)
            }
            Work::Command { framed, .. } if out.is_empty() && followups.is_empty() => {
                lease.stream.write_all(framed).await.map_err(not_sent)?;
                return Ok(self.client.sequence.wrapping_sub(1));
            }
            Work::Command { framed, .. } => {
                out.extend_from_slice(framed);
                self.client.sequence.wrapping_sub(1)
            }
            Work::Execute {
                statement,
                execute,
                types,
                long_data,
            } => {
                let id = lease.prepared.get(statement.number).unwrap_or_default();
                for (parameter, data) in *long_data {
                    packet::put_with(&mut out, 0, |out| {
                        SendLongData {
                            statement_id: id,
                            parameter: *parameter,
                            data,
                        }
                        .encode(out);
                    });
                }
                packet::put_with(&mut out, 0, |out| {
                    execute.encode(out, id, types, lease.form)
                })
                .wrapping_sub(1)
            }
        };
        write_followups(lease, followups, &mut out);
        lease.stream.write_all(&out).await.map_err(not_sent)?;
        Ok(last)
    }

    /// Tells the client that its statement has no answer.
    async fn fail(
        &mut self,
        failure: Failure,
        plan: &Plan,
        endpoint: &str,
        was_held: bool,
    ) -> io::Result<Flow> {
        self.note_lost_write(plan);
        self.shared.metrics.errors.inc(ErrorSource::Backend);
        let error = match failure {
            Failure::Client(error) => return Err(error),
            Failure::Lost {
                untouched: false, ..
            } => return Ok(Flow::End(Ended::Closed)),
            Failure::NotSent(cause) | Failure::Lost { cause, .. } => {
                tracing::warn!(endpoint, session = self.handle.id, %cause, "backend connection lost");
                SqlError::lost_connection(endpoint, &cause)
            }
            Failure::Refused(error) => {
                self.last.error = Some(error.code);
                self.client.send(&error.encode()).await?;
                return Ok(if was_held {
                    Flow::End(Ended::Closed)
                } else {
                    Flow::Continue
                });
            }
        };
        self.last.error = Some(error.code);
        let was_killed = self.handle.signal() == Signal::Kill;
        self.client.send_error(&error).await?;
        // What was open is gone with the connection. A client that went on would go on outside of
        // its transaction.
        Ok(if was_held || was_killed {
            Flow::End(Ended::Closed)
        } else {
            Flow::Continue
        })
    }
}

/// Why a statement that a reader could answer went to the writer.
const REFUSED_AS_WRITE: &str = "a reader has refused it as a write";
const NO_SCHEMA_YET: &str = "the reader does not have the schema yet";
const READER_LOST: &str = "connections to the reader broke";

/// Whether a statement may ask for one of the variables that stay with the client's connection:
/// by SHOW VARIABLES, or by a name, all of which end alike and follow an `@`.
fn mentions_timeout(plan: &Plan, sql: &[u8]) -> bool {
    const END: &[u8] = b"_timeout";
    let has_name = || {
        sql.windows(END.len())
            .any(|part| part.eq_ignore_ascii_case(END))
    };
    plan.kind == sql::Kind::Show || (sql.contains(&b'@') && has_name())
}

/// Reads a table and has no warnings, so that the diagnostics area is empty afterwards.
const NO_CONDITIONS: &[u8] = b"SELECT 1 FROM information_schema.ENGINES LIMIT 0";

fn not_sent(error: io::Error) -> Failure {
    Failure::NotSent(error.into())
}

/// Whether a statement that ran in a state it was not meant for has done no harm.
fn is_harmless(plan: &Plan) -> bool {
    !plan.marks && matches!(plan.place, Place::Reader | Place::Previous | Place::Session)
}

/// Whether the statement cannot have run, or was a read that the client has not seen a byte of.
fn may_retry(failure: &Failure, plan: &Plan, followups: &[Followup]) -> bool {
    match failure {
        // With questions behind it, the statement itself may have been sent whole.
        Failure::NotSent(_) => followups.is_empty() || !plan.marks,
        Failure::Lost {
            untouched: true, ..
        } => !plan.marks && plan.place == Place::Reader,
        _ => false,
    }
}
