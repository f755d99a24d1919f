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

/// How many such connections a session may have. Cursors beyond are opened on the writer, on the
/// connection that the session then keeps.
const MOST: usize = 4;

/// An open cursor and its connection.
pub(super) struct Cursor {
    /// The session's id of the statement.
    id: u32,
    /// The proxy's number of the statement.
    number: u64,
    lease: Lease,
}

impl Session {
    /// Whether the cursor of a statement may have a connection of its own.
    pub(super) fn may_own_connection(&self, plan: &Plan) -> bool {
        self.lease.is_none()
            && self.transaction == Transaction::None
            && self.autocommit()
            && self.own_cursors.len() < MOST
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
            self.own_cursors.push(Cursor { id, number, lease });
            self.handle.set_at_rest();
            self.note_held();
        }
    }

    /// Whether the session's connection has one cursor, that is open and may keep it. The one that the
    /// statement at hand is about would leave with it.
    pub(super) fn may_leave_to_cursor(&self) -> bool {
        self.asked_cursor.is_none() && self.cursors.len() == 1 && self.own_cursors.len() < MOST
    }

    /// Leaves a connection of the session's to the only cursor on it. Without the connection, the
    /// cursor is gone.
    pub(super) fn leave_to_cursor(&mut self, lease: Lease, is_alive: bool) {
        let id = self.cursors.pop();
        if let Some(id) = id.filter(|_| is_alive)
            && let Some(entry) = self.statements.get(&id)
        {
            let number = entry.statement.number;
            self.own_cursors.push(Cursor { id, number, lease });
        }
    }

    /// COM_STMT_FETCH from a cursor with a connection of its own, if this is one.
    pub(super) async fn fetch_own(&mut self, framed: &[u8], id: u32) -> io::Result<Option<Flow>> {
        let Some(at) = self.own_cursors.iter().position(|cursor| cursor.id == id) else {
            return Ok(None);
        };
        let mut cursor = self.own_cursors.swap_remove(at);
        // What the client is told of its transaction is not this connection's.
        let status = self.client.status;
        let fetched = self.fetch_from(&mut cursor, framed).await;
        self.client.status = status;
        let failure = match fetched {
            Ok(reply) => {
                let status = reply.status.unwrap_or(Status::empty());
                let is_open = status.contains(Status::CURSOR_EXISTS)
                    && !status.contains(Status::LAST_ROW_SENT);
                if is_open {
                    self.own_cursors.push(cursor);
                } else {
                    self.release(cursor.lease);
                }
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
                let endpoint = &cursor.lease.endpoint().name;
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

    async fn fetch_from(&mut self, cursor: &mut Cursor, framed: &[u8]) -> Result<Reply, Failure> {
        let lease = &mut cursor.lease;
        lease.is_clean = false;
        let id = lease.prepared.get(cursor.number).unwrap_or_default();
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
            transaction: Some(self.client.status),
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

    /// Closes the statement's cursor and gives its connection back, if it has one of its own.
    pub(super) fn close_own_cursor(&mut self, id: u32) {
        if let Some(at) = self.own_cursors.iter().position(|cursor| cursor.id == id) {
            let cursor = self.own_cursors.swap_remove(at);
            self.end(cursor);
            self.note_held();
        }
    }

    /// Closes all of them.
    pub(super) fn close_own_cursors(&mut self) {
        for cursor in std::mem::take(&mut self.own_cursors) {
            self.end(cursor);
        }
    }

    fn end(&self, cursor: Cursor) {
        let Cursor {
            number, mut lease, ..
        } = cursor;
        // The server forgets the cursor with the statement, in the next write.
        lease.close_statement(number);
        self.release(lease);
    }
}
