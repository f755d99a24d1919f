//! One statement from its plan to its answer: where it runs, and where it runs instead if it cannot.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use isthmus_protocol::packet;
use isthmus_protocol::response::Kind;

use super::Session;
use super::conversation::{Ended, Flow};
use super::exchange::{Ahead, Failure, Outcome, is_without_schema};
use super::followup::{Followup, touches_ids};
use super::lending::Destination;
use super::registry::Signal;
use super::waiting::INTERRUPTED;
use super::work::Work;
use crate::admin::metrics::{ErrorSource, Route, SavedTrip};
use crate::config::Role;
use crate::error::SqlError;
use crate::pool::Lease;
use crate::rarely::rarely;
use crate::relay::{Reply, ServerError};
use crate::routing::Transaction;
use crate::sql::{self, Holds, Place, Plan, Planned};

/// How often a statement that has not run is tried on another connection.
const ATTEMPTS: usize = 3;

/// A statement on its way to an answer.
struct Passage<'a> {
    planned: Cow<'a, Planned>,
    destination: Destination,
    /// Since when it waits for a connection.
    start: Instant,
    attempt: usize,
}

/// What happens to a statement that got no answer that the client could have.
enum Next {
    /// It is tried again.
    Again,
    /// The client was told.
    Over(Flow),
}

impl Session {
    /// Runs a statement where it belongs and gives its answer to the client.
    pub(super) async fn run_statement(
        &mut self,
        work: Work<'_>,
        planned: &Planned,
    ) -> io::Result<Flow> {
        let plan = &*planned.plan;
        self.last.begin(plan);
        self.note_names(&work);
        // A plain read ends nothing by being what it is.
        let may_end = self.transaction != Transaction::None && !plan.is_plain();
        if (may_end || self.deferred.reads_ahead)
            && let Err(error) = Box::pin(self.leave_what_is_over(planned)).await
        {
            rarely(self.fail_to_borrow(error)).await?;
            return Ok(Flow::End(Ended::Closed));
        }
        let may_read_ahead = self.may_read_ahead(plan, &planned.hints);
        let destination = match self.destination(plan, &planned.hints).await {
            Ok(destination) => destination,
            Err(interrupted) => return rarely(self.fail_to_borrow(interrupted.into())).await,
        };
        if self.parting.is_some()
            && (!matches!(destination, Destination::Reader(_)) || touches_ids(plan))
            && let Err(interrupted) = rarely(self.finish_parting()).await
        {
            return rarely(self.fail_to_borrow(interrupted.into())).await;
        }
        let mut passage = Passage {
            planned: Cow::Borrowed(planned),
            destination,
            start: self.started,
            attempt: 1,
        };
        // Nothing unselects a schema: where it fails behind a BEGIN, the transaction has to go on without.
        let selects = plan.kind == sql::Kind::Use && self.transaction == Transaction::None;
        loop {
            // The one that the session had may have turned out to be gone.
            let has_schema = (self.state.schema.is_some() && !is_without_schema(&work)) || selects;
            let borrowing = self.borrow(&mut passage.destination, has_schema, passage.start);
            let mut lease = match borrowing.await {
                Ok(lease) => lease,
                Err(error) if error.code == INTERRUPTED => {
                    return rarely(self.fail_to_borrow(error)).await;
                }
                Err(error) => match self.stale_destination() {
                    Some(reader) => {
                        passage.destination = reader;
                        passage.start = Instant::now();
                        continue;
                    }
                    None => return rarely(self.fail_to_borrow(error)).await,
                },
            };
            let plan = &*passage.planned.plan;
            self.last.runs_on(lease.endpoint());
            let followups = self.followups(plan, &lease, work.opens_cursor());
            let ahead = Ahead {
                is_reader: matches!(passage.destination, Destination::Reader(_)),
                is_held: matches!(passage.destination, Destination::Held),
                followups: &followups,
                remedied: self.remedied(&work, plan),
            };
            if !ahead.is_held {
                self.deferred.reads_ahead = may_read_ahead && ahead.is_reader;
            }
            match self.exchange(&mut lease, &work, plan, ahead).await {
                Ok(Outcome::Answered(reply)) if !reply.is_held_back => {
                    let planned = &passage.planned;
                    return self.finish(lease, planned, reply, followups, &work).await;
                }
                outcome => {
                    let going_on = self.go_on(&mut passage, &work, lease, outcome, followups);
                    match rarely(going_on).await? {
                        Next::Again => {}
                        Next::Over(flow) => return Ok(flow),
                    }
                }
            }
        }
    }

    /// Runs a text of the proxy's own in place of what the client sent, as the client would send it.
    pub(super) async fn run_text(&mut self, sql: &[u8], planned: &Planned) -> io::Result<Flow> {
        let form = self.client.form();
        let mut framed = Vec::new();
        form.put_query(&mut framed, sql);
        let body = framed.get(packet::HEADER_LEN + 1..).unwrap_or_default();
        let work = Work::Command {
            framed: &framed,
            attributes: form.attributes_len(body).unwrap_or_default(),
            kind: Kind::Query,
            statement_id: 0,
        };
        self.run_statement(work, planned).await
    }

    /// Leaves what the session has open on a reader, or owes a server, if the statement ends it by
    /// being what it is.
    pub(super) async fn leave_what_is_over(&mut self, planned: &Planned) -> Result<(), SqlError> {
        let plan = &*planned.plan;
        self.leave_reader(plan).await?;
        let is_elsewhere =
            plan.kind == sql::Kind::Begin && plan.place == Place::Reader && self.lease.is_none();
        if is_elsewhere && self.deferred.begins() {
            self.forget_transaction();
        }
        self.stop_reading_ahead(plan, &planned.hints).await
    }

    /// Tells the client that the statement got no connection.
    async fn fail_to_borrow(&mut self, error: SqlError) -> io::Result<Flow> {
        self.shared.metrics.errors.inc(ErrorSource::Backend);
        self.last.endpoint = None;
        self.last.duration = self.started.elapsed();
        self.last.error = Some(error.code);
        self.refuse(&error).await
    }

    /// Counts a statement that was answered, and takes note of what the answer means.
    async fn finish(
        &mut self,
        lease: Lease,
        planned: &Planned,
        reply: Reply,
        followups: Vec<Followup>,
        work: &Work<'_>,
    ) -> io::Result<Flow> {
        self.last.duration = self.started.elapsed();
        self.last.error = reply.error.as_ref().map(|error| error.code);
        if self.is_refused_late(&planned.plan, &lease, &reply) {
            self.shared.plans.remember_writer(planned);
        }
        self.count(&lease, &planned.plan);
        self.count_read_ahead();
        self.judge_guess();
        self.settle(lease, planned, reply, followups, work).await
    }

    /// Whether a reader has refused a write of which the client has seen something already: one behind
    /// others in a script. It is for the writer from now on.
    fn is_refused_late(&self, plan: &Plan, lease: &Lease, reply: &Reply) -> bool {
        let error = reply.error.as_ref();
        let of_reader = error.and_then(ServerError::in_read_only_transaction);
        plan.is_script()
            && of_reader.is_some()
            && !lease.leads_to_writer()
            && self.transaction == Transaction::None
    }

    /// What to do about a statement that got no answer from this connection, or one that the client
    /// has not seen.
    async fn go_on(
        &mut self,
        passage: &mut Passage<'_>,
        work: &Work<'_>,
        mut lease: Lease,
        outcome: Result<Outcome, Failure>,
        followups: Vec<Followup>,
    ) -> io::Result<Next> {
        let is_reader = matches!(passage.destination, Destination::Reader(_));
        match outcome {
            Ok(outcome) if is_reader && outcome.is_for_the_writer() => {
                self.turn_to_the_writer(passage, lease, &outcome, followups);
                Ok(Next::Again)
            }
            Ok(Outcome::TooEarly { is_at_rest }) => {
                // Others may have the connection at once, and a KILL of this session is none of theirs.
                self.handle.set_at_rest();
                if is_at_rest {
                    lease.is_clean = lease.fits_its_pool();
                } else {
                    lease.abandon();
                }
                self.last.redirected(NOT_CAUGHT_UP);
                passage.destination = Destination::Writer;
                Ok(Next::Again)
            }
            Ok(Outcome::NotPrepared { error, was_sent }) => {
                self.client.send(&error.encode()).await?;
                let reply = Reply {
                    error: Some(error),
                    ..Reply::default()
                };
                let planned = &*passage.planned;
                let flow = if was_sent {
                    self.finish(lease, planned, reply, followups, work).await?
                } else {
                    // No more was tried than to prepare it, and nothing asked behind that.
                    let tried = Planned {
                        plan: Arc::new(planned.plan.preparation()),
                        ..planned.clone()
                    };
                    let finishing = self.finish(lease, &tried, reply, Vec::new(), work);
                    finishing.await?
                };
                // The connection has the error of what was to be executed.
                self.diagnostics.are_elsewhere |= was_sent;
                Ok(Next::Over(flow))
            }
            Ok(Outcome::Answered(mut reply)) => {
                if let Some(error) = &mut reply.error {
                    self.explain_by_gone_schema(error);
                    self.client.send(&error.encode()).await?;
                }
                let planned = &passage.planned;
                let flow = self.finish(lease, planned, reply, followups, work).await?;
                // The connection has the error that was held back.
                self.diagnostics.are_elsewhere = true;
                self.look_for_gone_schema();
                Ok(Next::Over(flow))
            }
            Err(Failure::Client(error)) => {
                self.note_lost_write(&passage.planned.plan);
                lease.abandon();
                Err(error)
            }
            Err(failure) => {
                self.recover(passage, work, lease, failure, &followups)
                    .await
            }
        }
    }

    /// A reader has refused the statement, and the writer is asked.
    fn turn_to_the_writer(
        &mut self,
        passage: &mut Passage<'_>,
        mut lease: Lease,
        outcome: &Outcome,
        followups: Vec<Followup>,
    ) {
        let was_sent = !matches!(
            outcome,
            Outcome::NotPrepared {
                was_sent: false,
                ..
            }
        );
        let is_refused_write = outcome
            .error()
            .is_some_and(ServerError::is_read_only_refusal);
        // What has been refused may have set something before: a function that a view calls.
        let is_at_rest = !was_sent || (followups.is_empty() && !is_refused_write);
        lease.is_clean = is_at_rest && lease.fits_its_pool() && !self.deferred.reads_ahead;
        // Others may have the connection at once, and a KILL of this session is none of theirs.
        self.handle.set_at_rest();
        if is_refused_write {
            let planned = self.shared.plans.remember_writer(&passage.planned);
            passage.planned = Cow::Owned(planned);
            self.last.redirected(REFUSED_AS_WRITE);
        } else {
            self.last.redirected(NOT_THERE_YET);
        }
        passage.destination = Destination::Writer;
    }

    /// What to do about a statement without an answer: to run it on another connection, if it
    /// cannot have run and that may help, or to tell the client.
    async fn recover(
        &mut self,
        passage: &mut Passage<'_>,
        work: &Work<'_>,
        lease: Lease,
        failure: Failure,
        followups: &[Followup],
    ) -> io::Result<Next> {
        let is_reader = matches!(passage.destination, Destination::Reader(_));
        // With the connection goes a transaction that had begun on it, if only with this statement.
        // So go textual statements that were given to its server for this one.
        let is_held = matches!(passage.destination, Destination::Held)
            || self.has_begun()
            || self.holds.contains(Holds::TEXT_PREPARE);
        let endpoint = lease.endpoint().name.clone();
        // What was set there under another role may be taken back by that role alone.
        let had_other_role = lease.state.role != self.state.role;
        if !matches!(failure, Failure::Refused(_)) {
            lease.endpoint().doubt();
        }
        self.handle.set_at_rest();
        drop(lease);
        let may_retry = may_retry(&failure, &passage.planned.plan, followups);
        let was_killed = self.handle.signal() == Signal::Kill;
        let has_attempts = !is_held && !was_killed && passage.attempt < ATTEMPTS;
        match &failure {
            Failure::Refused(error) if is_reader && error.is_for_the_writer() => {
                self.last.redirected(NOT_THERE_YET);
                passage.destination = Destination::Writer;
                return Ok(Next::Again);
            }
            // A statement's own schema is not the session's.
            Failure::Refused(error)
                if has_attempts
                    && self.schema_elsewhere(work).is_none()
                    && self.forget_what_is_gone(error) => {}
            Failure::Refused(error)
                if has_attempts && had_other_role && error.code == NO_PRIVILEGE => {}
            _ if has_attempts && may_retry => {
                // Behind the same address, an older copy of the reader may answer by now.
                if is_reader {
                    self.last.redirected(READER_LOST);
                    passage.destination = Destination::Writer;
                }
            }
            _ => {
                self.last.duration = self.started.elapsed();
                let plan = &*passage.planned.plan;
                let flow = self.fail(failure, plan, &endpoint, is_held).await?;
                return Ok(Next::Over(flow));
            }
        }
        passage.attempt += 1;
        Ok(Next::Again)
    }

    /// Whether a transaction is open that a server has been told of.
    fn has_begun(&self) -> bool {
        self.transaction != Transaction::None && !self.deferred.begins()
    }

    fn count_read_ahead(&self) {
        if self.deferred.reads_ahead
            && let Some(writer) = &self.world.snapshot.writer
        {
            self.save(SavedTrip::OptimisticRead, writer);
        }
    }

    fn count(&self, lease: &Lease, plan: &Plan) {
        let metrics = &self.shared.metrics.statements;
        let role = if lease.leads_to_writer() {
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
        metrics.seconds(role).observe(self.last.duration);
    }

    /// Tells the client that its statement has no answer.
    async fn fail(
        &mut self,
        failure: Failure,
        plan: &Plan,
        endpoint: &str,
        was_held: bool,
    ) -> io::Result<Flow> {
        // What was refused has not run.
        if !matches!(failure, Failure::Refused(_)) {
            self.note_lost_write(plan);
        }
        self.shared.metrics.errors.inc(ErrorSource::Backend);
        let is_lost = matches!(failure, Failure::Lost { .. });
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
                self.diagnostics.note_own(error);
                return Ok(if was_held {
                    Flow::End(Ended::Closed)
                } else {
                    Flow::Continue
                });
            }
        };
        self.last.error = Some(error.code);
        let was_killed = self.handle.signal() == Signal::Kill;
        let was_open = was_held || (is_lost && self.deferred.begins());
        self.refuse(&error).await?;
        // What was open is gone with the connection. A client that went on would go on outside of
        // its transaction.
        Ok(if was_open || was_killed {
            Flow::End(Ended::Closed)
        } else {
            Flow::Continue
        })
    }
}

/// The number of the error about a variable that may not be set.
const NO_PRIVILEGE: u16 = 1227;

/// Why a statement that a reader could answer went to the writer.
const REFUSED_AS_WRITE: &str = "a reader has refused it as a write";
const NOT_THERE_YET: &str = "the reader does not have yet what the statement names";
const NOT_CAUGHT_UP: &str = "the reader has not caught up in time";
const READER_LOST: &str = "connections to the reader broke";

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
