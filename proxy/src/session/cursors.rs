//! Cursors that have a backend connection of their own: those that a read opens outside of a
//! transaction. The session's other statements go on with other connections.

use std::io;

use isthmus_protocol::packet;
use isthmus_protocol::response::Kind;
use isthmus_protocol::status::Status;

use super::Session;
use super::conversation::{Ended, Flow};
use super::exchange::Failure;
use super::prelude::not_sent;
use crate::error::SqlError;
use crate::pool::{Lease, RESULTS_CHARSET, RESULTS_COLLATION};
use crate::relay::{self, Forward, HoldBack, RelayError, Reply};
use crate::routing::Transaction;
use crate::sql::{Holds, Place, Plan};

/// How many such connections a session may have before cursors outside of transactions are opened on
/// the writer, on the connection that the session then keeps. Those of a read-only transaction on a
/// reader are left theirs however many there are: what follows may be for the writer.
const MOST: usize = 4;

/// A connection with open cursors and nothing else of the session's.
pub(super) struct Cursors {
    /// The session's ids of their statements, each with the proxy's number.
    open: Vec<(u32, u64)>,
    lease: Lease,
}

impl Cursors {
    /// The proxy's number of a statement whose cursor is here.
    fn number(&self, id: u32) -> Option<u64> {
        let of_id = self.open.iter().find(|(open, _)| *open == id);
        of_id.map(|(_, number)| *number)
    }
}

impl Session {
    /// Whether the cursor of a statement may have a connection of its own.
    pub(super) fn may_own_connection(&self, plan: &Plan) -> bool {
        self.lease.is_none()
            && self.transaction == Transaction::None
            && self.autocommit()
            && self.may_leave_to_cursors()
            && plan.place == Place::Reader
            && plan.holds.is_empty()
            && plan.user_variables.is_empty()
    }

    /// Leaves the connection that the session has just kept for the cursor to the cursor.
    pub(super) fn part_with_cursor(&mut self, id: u32, number: u64) {
        if self.held() != Holds::CURSOR || self.cursors != [id] {
            return;
        }
        if let Some(lease) = self.lease.take() {
            self.cursors.clear();
            let open = vec![(id, number)];
            self.own_cursors.push(Cursors { open, lease });
            self.handle.set_at_rest();
            self.note_held();
        }
    }

    /// Whether cursors are open on the session's connection, beside one that the statement at hand
    /// opens.
    pub(super) fn has_open_cursors(&self) -> bool {
        self.cursors.iter().any(|id| self.asked_cursor != Some(*id))
    }

    /// Whether one more connection may be left to cursors.
    pub(super) fn may_leave_to_cursors(&self) -> bool {
        self.own_cursors.len() < MOST
    }

    /// Leaves a connection of the session's to the cursors that are open on it. Without the
    /// connection, they are gone.
    pub(super) fn leave_to_cursors(&mut self, lease: Lease, is_alive: bool) {
        let asked = self.asked_cursor;
        let ids = self.cursors.extract_if(.., |id| asked != Some(*id));
        let open = ids.filter_map(|id| {
            let entry = self.statements.get(&id)?;
            Some((id, entry.statement.number))
        });
        let open: Vec<_> = open.collect();
        if is_alive && !open.is_empty() {
            self.own_cursors.push(Cursors { open, lease });
        }
    }

    /// COM_STMT_FETCH from a cursor with a connection of its own, if this is one.
    pub(super) async fn fetch_own(&mut self, framed: &[u8], id: u32) -> io::Result<Option<Flow>> {
        let Some((at, number)) = self.own_cursor(id) else {
            return Ok(None);
        };
        let mut cursors = self.own_cursors.swap_remove(at);
        // What the client is told of its session is not this connection's.
        let status = self.client.status;
        let fetched = self.fetch_from(&mut cursors.lease, number, framed).await;
        self.client.status = status;
        let failure = match fetched {
            Ok(reply) => {
                self.diagnostics.note_command(-1);
                let status = reply.status.unwrap_or(Status::empty());
                let is_open = status.contains(Status::CURSOR_EXISTS)
                    && !status.contains(Status::LAST_ROW_SENT);
                if !is_open {
                    cursors.open.retain(|(open, _)| *open != id);
                }
                self.keep(cursors);
                self.note_held();
                return Ok(Some(Flow::Continue));
            }
            Err(failure) => failure,
        };
        self.note_held();
        match failure {
            Failure::Client(error) => Err(error),
            Failure::Lost {
                untouched: false, ..
            } => Ok(Some(Flow::End(Ended::Closed))),
            Failure::NotSent(cause) | Failure::Lost { cause, .. } => {
                let endpoint = &cursors.lease.endpoint().name;
                let error = SqlError::lost_connection(endpoint, &cause);
                self.client.send_error(&error).await?;
                Ok(Some(Flow::Continue))
            }
            Failure::Refused(error) => {
                self.client.send(&error.encode()).await?;
                Ok(Some(Flow::Continue))
            }
        }
    }

    async fn fetch_from(
        &mut self,
        lease: &mut Lease,
        number: u64,
        framed: &[u8],
    ) -> Result<Reply, Failure> {
        lease.is_clean = false;
        let id = lease.prepared.get(number).unwrap_or_default();
        let mut framed = framed.to_vec();
        if let Some(bytes) = framed.get_mut(packet::HEADER_LEN + 1..packet::HEADER_LEN + 5) {
            bytes.copy_from_slice(&id.to_le_bytes());
        }
        // Servers convert the rows as they send them.
        let names = [RESULTS_CHARSET, RESULTS_COLLATION];
        let state = lease.state.with_values_of(&self.state, &names);
        let state = self.shared.states.intern(state);
        let mut out = Vec::new();
        let commands = lease.write_prelude(&state, None, &mut out);
        out.extend_from_slice(&framed);
        lease.stream.write_all(&out).await.map_err(not_sent)?;
        if let Some(error) = lease.read_prelude(commands, &state).await? {
            return Err(Failure::Refused(error));
        }
        let options = Forward {
            kind: Kind::Fetch,
            hold_back: HoldBack::empty(),
            is_in_read_only: false,
            statement_id: 0,
            on_ok: None,
            token: None,
            adds_warning: false,
            session: Some(self.client.status),
            has_own_tracking: false,
            after: self.client.sequence.wrapping_sub(1),
            read_timeout: None,
            results: 1,
        };
        let reply = relay::forward(&mut lease.stream, &mut self.client, options)
            .await
            .map_err(|error: RelayError| Failure::from(error))?;
        lease.absorb(&reply);
        Ok(reply)
    }

    /// Where the cursor of a statement is that has a connection of its own, and the proxy's number of
    /// the statement.
    fn own_cursor(&self, id: u32) -> Option<(usize, u64)> {
        let mut all = self.own_cursors.iter().enumerate();
        all.find_map(|(at, cursors)| Some((at, cursors.number(id)?)))
    }

    /// Closes the statement's cursor, if it has a connection of its own, and gives that back behind
    /// the last one.
    pub(super) fn close_own_cursor(&mut self, id: u32) {
        if let Some((at, number)) = self.own_cursor(id) {
            let mut cursors = self.own_cursors.swap_remove(at);
            cursors.open.retain(|(open, _)| *open != id);
            // The server forgets the cursor with the statement, in the next write.
            cursors.lease.close_statement(number);
            self.keep(cursors);
            self.note_held();
        }
    }

    /// Closes all of them.
    pub(super) fn close_own_cursors(&mut self) {
        for mut cursors in std::mem::take(&mut self.own_cursors) {
            for (_, number) in std::mem::take(&mut cursors.open) {
                cursors.lease.close_statement(number);
            }
            self.keep(cursors);
        }
    }

    /// Keeps a connection while cursors are open on it.
    fn keep(&mut self, cursors: Cursors) {
        match cursors.open.is_empty() {
            true => self.release(cursors.lease),
            false => self.own_cursors.push(cursors),
        }
    }
}
