//! One statement on one backend connection: what goes out, and what comes back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::packet;

use super::Session;
use super::effects::{is_opaque, may_prepare};
use super::followup::{Followup, has_own_tracking, write_followups};
use super::prelude::{Front, Way, is_prepared, not_sent, skip_followups, skip_refused};
use super::waiting::skip_untimely;
use super::work::Work;
use crate::pool::{Lease, State};
use crate::rarely::rarely;
use crate::relay::{
    self, BackendFault, Forward, HoldBack, MakeToken, RelayError, Reply, ServerError,
};
use crate::routing::Transaction;
use crate::sql::{self, Needs, Place, Plan};

/// What is known before the statement is sent.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'a> {
    /// The connection leads to a reader, which may refuse what it takes for a write.
    pub(super) is_reader: bool,
    /// The session had the connection before.
    pub(super) is_held: bool,
    /// What is asked in the same write.
    pub(super) followups: &'a [Followup],
    /// The errors that there is a remedy for.
    pub(super) remedied: HoldBack,
}

/// What came of a statement.
pub(super) enum Outcome {
    /// The response; the client has it, unless it was held back for the writer's.
    Answered(Reply),
    /// The statement could not be prepared on this connection; the client has seen nothing.
    NotPrepared {
        /// Why.
        error: ServerError,
        /// Whether it was sent all the same, with the questions behind it.
        was_sent: bool,
    },
    /// The reader has not caught up in time; the client has seen nothing.
    TooEarly {
        /// Whether nothing of the answer is left on the connection.
        is_at_rest: bool,
    },
}

impl Outcome {
    pub(super) fn error(&self) -> Option<&ServerError> {
        match self {
            Self::Answered(reply) => reply.error.as_ref(),
            Self::NotPrepared { error, .. } => Some(error),
            Self::TooEarly { .. } => None,
        }
    }

    /// The error, if the client has seen nothing of the answer.
    fn unseen_error(&self) -> Option<&ServerError> {
        match self {
            Self::Answered(reply) if !reply.is_held_back => None,
            other => other.error(),
        }
    }

    pub(super) fn is_for_the_writer(&self) -> bool {
        self.unseen_error()
            .is_some_and(ServerError::is_for_the_writer)
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

impl Session {
    /// Runs a statement on a connection, and once more if the connection was found not to have it
    /// prepared, or to have no room for it.
    pub(super) async fn exchange(
        &mut self,
        lease: &mut Lease,
        work: &Work<'_>,
        plan: &Plan,
        ahead: Ahead<'_>,
    ) -> Result<Outcome, Failure> {
        let outcome = self.attempt(lease, work, plan, ahead).await?;
        if outcome.error().is_none() {
            return Ok(outcome);
        }
        let is_remedied = outcome
            .unseen_error()
            .is_some_and(|error| ahead.remedied.holds(error));
        if !is_remedied {
            if work.has_long_data()
                && let Some(statement) = work.executed()
            {
                // The server may refuse it until it is reset, and others share it.
                lease.close_statement(statement.number);
            }
            return Ok(outcome);
        }
        rarely(self.attempt_again(lease, work, plan, ahead, outcome)).await
    }

    async fn attempt_again(
        &mut self,
        lease: &mut Lease,
        work: &Work<'_>,
        plan: &Plan,
        ahead: Ahead<'_>,
        outcome: Outcome,
    ) -> Result<Outcome, Failure> {
        if !matches!(
            outcome,
            Outcome::NotPrepared {
                was_sent: false,
                ..
            }
        ) {
            skip_followups(lease, ahead.followups).await?;
        }
        match (outcome.error(), work.executed()) {
            (Some(error), _) if HoldBack::NO_ROOM.holds(error) => self.make_room(lease).await,
            (_, Some(statement)) => lease.forget_statement(statement.number),
            (_, None) => {}
        }
        let ahead = Ahead {
            remedied: HoldBack::empty(),
            ..ahead
        };
        self.attempt(lease, work, plan, ahead).await
    }

    /// Closes prepared statements for others to have room: those of the connection, or, where it has
    /// none that may be closed, those of one that nobody uses.
    async fn make_room(&self, lease: &mut Lease) {
        // Cursors end with their statements.
        if lease.has_statements() && self.cursors.is_empty() {
            lease.close_statements();
        } else {
            let pools = &self.shared.pools;
            pools.make_room_for_statements(lease.endpoint()).await;
        }
    }

    /// The errors after which a statement can be prepared and run once more, because it has not
    /// run.
    pub(super) fn remedied(&self, work: &Work<'_>, plan: &Plan) -> HoldBack {
        let mut remedied = HoldBack::empty();
        // What a routine runs may fail in the same way.
        let is_execution = work.executed().is_some() && !may_prepare(plan);
        if is_execution {
            remedied |= HoldBack::UNKNOWN_STATEMENT;
            let is_read = plan.place == Place::Reader && !is_opaque(plan);
            remedied.set(HoldBack::STALE_STATEMENT, is_read);
        }
        if is_execution || work.is_preparation() {
            remedied |= HoldBack::NO_ROOM;
        }
        remedied
    }

    /// Sends everything in as few writes as is safe, and reads everything that comes back.
    async fn attempt(
        &mut self,
        lease: &mut Lease,
        work: &Work<'_>,
        plan: &Plan,
        ahead: Ahead<'_>,
    ) -> Result<Outcome, Failure> {
        lease.is_clean = false;
        self.note_arrival(lease, plan, ahead.is_held);
        let waits = ahead.is_reader && self.waits.is_some();
        let after = if !waits && self.is_at_hand(lease, work, plan, ahead.is_held) {
            let sending = self.send(lease, work, None, Vec::new(), ahead.followups);
            sending.await?
        } else {
            // Boxed, so that a statement that needs nothing does not carry the room for it.
            let sending = self.send_with_front(lease, work, plan, ahead);
            match Box::pin(sending).await? {
                Ok(last) => last,
                Err(refused) => return Ok(refused),
            }
        };
        let announcer = self.announcer(plan, lease);
        let announcer = announcer.as_ref();
        let make_token = announcer.map(|announcer| |ok: &OkPacket<'_>| announcer.token(ok));
        let changes_accounts = sql::changes_accounts(plan, work.sql(), self.state.dialect);
        let changed = changes_accounts.then(|| lease.endpoint().clone());
        let herald = self.herald_of(plan, lease.leads_to_writer());
        let note_ok = || {
            if let Some(endpoint) = &changed {
                endpoint.renew();
            }
            if let Some(herald) = &herald {
                herald.announce();
            }
        };
        let mut hold_back = ahead.remedied;
        hold_back.set(HoldBack::REFUSALS, ahead.is_reader);
        hold_back.set(HoldBack::NO_SCHEMA, self.gone_schema.is_some());
        let options = Forward {
            token: make_token.as_ref().map(|make| make as MakeToken<'_>),
            kind: work.kind(),
            hold_back,
            is_in_read_only: self.transaction == Transaction::ReadOnly,
            statement_id: work.statement_id(),
            has_own_tracking: has_own_tracking(plan),
            on_ok: (changed.is_some() || herald.is_some()).then_some(&note_ok),
            adds_warning: self.warns(plan),
            session: None,
            after,
            read_timeout: self.read_timeout(),
            results: match plan.kind {
                sql::Kind::Call => usize::MAX,
                _ => plan.parts.len().max(1),
            },
        };
        let reply = relay::forward(&mut lease.stream, &mut self.client, options).await?;
        if let Work::Text {
            statement,
            using: None,
        } = work
            && reply.error.is_some()
        {
            lease.texts.remove(statement.number);
        }
        Ok(Outcome::Answered(reply))
    }

    /// Whether nothing has to go in front of the statement on this connection.
    fn is_at_hand(&self, lease: &Lease, work: &Work<'_>, plan: &Plan, is_held: bool) -> bool {
        !self.asks_for_own_variables(plan, work.sql())
            && self.schema_elsewhere(work).is_none()
            && Arc::ptr_eq(&lease.state, &self.state)
            && !lease.has_to_close()
            && self.deferred.due(is_held).is_empty()
            && work
                .executed()
                .is_none_or(|statement| is_prepared(lease, statement))
            && !self.hands_over(work, plan)
            && !self.restores(plan, is_held)
    }

    /// Sends a statement with what has to go in front of it, and reads the answers to that. Returns
    /// the sequence id of the statement's last packet, or what came of it without its being run.
    async fn send_with_front(
        &mut self,
        lease: &mut Lease,
        work: &Work<'_>,
        plan: &Plan,
        ahead: Ahead<'_>,
    ) -> Result<Result<u8, Outcome>, Failure> {
        if self.hands_over(work, plan) {
            self.hand_over(lease, plan, ahead.is_held).await?;
        }
        let mut state = self.state_for(work, plan);
        if lease.state.schema.is_none() && is_without_schema(work) && state.schema.is_some() {
            state = self.shared.states.intern(state.without_schema());
        }
        let mut front = Front::new(ahead.is_held);
        let mut prepares = false;
        if let Some(statement) = work.executed()
            && !is_prepared(lease, statement)
        {
            prepares = true;
            // An execution under another id would leave an error, which some ask about.
            let is_asked_alone =
                plan.is_diagnostic() || (ahead.is_held && plan.needs.contains(Needs::ROW_COUNT));
            front.preparing = self
                .expected_id(lease, statement, &state, ahead.is_held)
                .filter(|_| !is_asked_alone);
            if front.preparing.is_none()
                && let Some(error) = self.prepare_on(lease, statement, ahead.is_held).await?
            {
                return Ok(Err(Outcome::NotPrepared {
                    error,
                    was_sent: false,
                }));
            }
        }
        front.waits = ahead.is_reader && self.write_wait(lease, &mut front.out);
        self.write_front(lease, work, plan, &state, &mut front)
            .await?;
        front.restored = self.write_restoration(lease, plan, ahead.is_held, &mut front.out);
        if prepares {
            // To prepare has used it up.
            for sql in &self.for_next_transaction {
                lease.form.put_query(&mut front.out, sql);
            }
            front.restored += self.for_next_transaction.len();
        }
        let out = std::mem::take(&mut front.out);
        let id = front.preparing;
        let after = self.send(lease, work, id, out, ahead.followups).await?;
        match self.read_front(lease, work, &state, &front).await? {
            Way::Clear => Ok(Ok(after)),
            Way::TooEarly { is_next } => {
                let is_at_rest = is_next
                    && !work.opens_cursor()
                    && skip_untimely(lease, work, after, ahead.followups).await?;
                Ok(Err(Outcome::TooEarly { is_at_rest }))
            }
            Way::NotPrepared(error) => {
                skip_refused(lease, after).await?;
                Ok(Err(Outcome::NotPrepared {
                    error,
                    was_sent: true,
                }))
            }
            Way::OtherId => {
                skip_refused(lease, after).await?;
                skip_followups(lease, ahead.followups).await?;
                let again = self.send(lease, work, None, Vec::new(), ahead.followups);
                Ok(Ok(again.await?))
            }
        }
    }

    /// Sends `out` and the statement, under the id that is expected where it is prepared on the
    /// way. Returns the sequence id of the statement's last packet.
    async fn send(
        &mut self,
        lease: &mut Lease,
        work: &Work<'_>,
        expected: Option<u32>,
        mut out: Vec<u8>,
        followups: &[Followup],
    ) -> Result<u8, Failure> {
        self.last.trips += 1;
        if out.is_empty()
            && followups.is_empty()
            && let Some(framed) = work.as_it_came(lease.form)
        {
            lease.stream.write_all(framed).await.map_err(not_sent)?;
            return Ok(packet::last_sequence(framed));
        }
        let last = work.put(lease, expected, &mut out);
        write_followups(lease, followups, &mut out);
        lease.stream.write_all(&out).await.map_err(not_sent)?;
        Ok(last)
    }

    /// The session's own net_read_timeout.
    fn read_timeout(&self) -> Option<Duration> {
        if self.own_variables.is_empty() {
            return None;
        }
        self.own_timeout("net_read_timeout")
    }

    /// The state that a statement must find: with the variables of the client's connection if it
    /// speaks of them, and in the schema that it was prepared in. Servers go there and back by
    /// themselves, but say then that something has changed, and not what.
    fn state_for(&self, work: &Work<'_>, plan: &Plan) -> Arc<State> {
        let with_own = self.asks_for_own_variables(plan, work.sql());
        let schema = self.schema_elsewhere(work);
        if !with_own && schema.is_none() {
            return self.state.clone();
        }
        let mut state = match with_own {
            true => self.state.with(&self.own_variables),
            false => (*self.state).clone(),
        };
        if let Some(schema) = schema {
            state = state.with_schema(schema);
        }
        self.shared.states.intern(state)
    }

    /// The schema that a statement was prepared in, if the session is in another one.
    pub(super) fn schema_elsewhere<'a>(&self, work: &Work<'a>) -> Option<&'a [u8]> {
        let statement = work.executed()?;
        if Arc::ptr_eq(&statement.state, &self.state) {
            return None;
        }
        let schema = statement.state.schema.as_deref();
        schema.filter(|schema| self.state.schema.as_deref() != Some(schema))
    }

    /// Whether a statement may ask for what is only the client's connection's.
    pub(super) fn asks_for_own_variables(&self, plan: &Plan, sql: &[u8]) -> bool {
        !self.own_variables.is_empty() && mentions_timeout(plan, sql)
    }
}

/// Whether a statement was prepared in no schema, in which it runs too.
pub(super) fn is_without_schema(work: &Work<'_>) -> bool {
    let statement = work.executed();
    statement.is_some_and(|statement| statement.state.schema.is_none())
}

/// Whether a statement may ask for one of the variables that stay with the client's connection:
/// by SHOW VARIABLES, or by a name, all of which end alike and follow an `@`.
fn mentions_timeout(plan: &Plan, sql: &[u8]) -> bool {
    const END: &[u8] = b"_timeout";
    let has_name = || {
        sql.windows(END.len())
            .any(|part| part.eq_ignore_ascii_case(END))
    };
    // What tells of the statement before must find it there.
    (plan.kind == sql::Kind::Show && !plan.is_diagnostic()) || (sql.contains(&b'@') && has_name())
}
