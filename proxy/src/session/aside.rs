//! Asking a reader for the parameters and columns of a statement that is for the writer.

use std::io;
use std::time::Duration;

use isthmus_protocol::response::Kind;

use super::Session;
use crate::admin::metrics::{Route, SavedTrip};
use crate::pool::Lease;
use crate::relay::{self, Forward, HoldBack, RelayError, Reply};
use crate::routing::Transaction;
use crate::sql::{self, Place, Planned};

impl Session {
    /// Prepares a statement of the writer's on the reader next door, whatever transaction is open:
    /// the two have the same tables, and it is prepared on the writer when it is first executed
    /// there. Returns whether the client has an answer; what a reader does not take, the writer is
    /// asked.
    pub(super) async fn prepare_aside(
        &mut self,
        framed: &[u8],
        planned: &Planned,
        sql: &[u8],
        id: u32,
    ) -> io::Result<bool> {
        let Some(mut lease) = self.borrow_aside(planned).await else {
            return Ok(false);
        };
        lease.is_clean = false;
        self.last.begin(&planned.plan);
        let reply = match self.ask_aside(&mut lease, framed, id).await {
            Ok(Some(reply)) => reply,
            Ok(None)
            | Err(RelayError::Backend {
                untouched: true, ..
            }) => return Ok(false),
            Err(RelayError::Client(error)) => return Err(error),
            Err(RelayError::Backend { cause, .. }) => return Err(io::Error::other(cause)),
        };
        self.note_aside(planned, sql, &reply, lease.server.is_mariadb);
        let is_read = reply.warnings == 0 || self.rescue_warnings(&mut lease).await.is_ok();
        if !is_read {
            // No other connection knows them.
            self.diagnostics.conditions.settle();
        }
        lease.is_clean = is_read && lease.fits_its_pool();
        self.last.runs_on(lease.endpoint());
        self.last.prepared_aside(self.started.elapsed());
        self.shared.metrics.statements.routed.inc(Route::Reader);
        if let Some(writer) = &self.world.snapshot.writer {
            self.save(SavedTrip::Prepare, writer);
        }
        Ok(true)
    }

    /// A connection to the reader, if it may be asked and has one at hand or makes one soon.
    async fn borrow_aside(&mut self, planned: &Planned) -> Option<Lease> {
        use sql::Kind::{Delete, Insert, Replace, Select, Update};
        let plan = &planned.plan;
        let is_open = self.transaction != Transaction::None;
        let is_meant = self.world.config.round_trips.prepare
            && plan.is_certain
            && planned.hints.target.is_none()
            && match plan.kind {
                Insert | Replace | Update | Delete => true,
                Select => is_open || plan.place == Place::Writer,
                _ => false,
            };
        // What only the session's own connection has may be named.
        let is_common = self.holds.is_empty()
            && self.cursors.is_empty()
            && !matches!(
                self.transaction,
                Transaction::ReadOnly | Transaction::ReadOnlyOnWriter
            );
        if !is_meant || !is_common {
            return None;
        }
        let (reader, _) = self.reader()?;
        let reader = self.world.readers.get(reader)?.clone();
        let mark = self.mark.as_ref().map(|pin| pin.mark);
        if mark.is_some_and(|mark| !reader.has_seen(mark)) {
            return None;
        }
        let has_schema = self.state.schema.is_some();
        let borrowing = self.borrow_from(&reader.endpoint, has_schema, false, self.started);
        let lease = tokio::time::timeout(PATIENCE, borrowing).await.ok()?;
        lease.ok().map(|(lease, _)| lease)
    }

    /// Takes note of what the next statement may ask about this answer, of which the connection that
    /// the session keeps, if any, knows nothing.
    fn note_aside(&mut self, planned: &Planned, sql: &[u8], reply: &Reply, is_mariadb: bool) {
        let leaves = is_mariadb
            && sql::leaves_conditions(&planned.plan.preparation(), sql, self.state.dialect);
        if !leaves || reply.warnings > 0 {
            self.diagnostics.note_preparation(reply);
            self.diagnostics.are_elsewhere = true;
        } else if self.lease.is_none() {
            self.diagnostics.note_departure();
        }
    }

    /// What the reader has answered, if it has prepared the statement and the client knows.
    async fn ask_aside(
        &mut self,
        lease: &mut Lease,
        framed: &[u8],
        id: u32,
    ) -> Result<Option<Reply>, RelayError> {
        let mut out = Vec::new();
        let state = self.state.clone();
        let commands = lease.write_prelude(&state, None, &mut out);
        out.extend_from_slice(framed);
        let sent = lease.stream.write_all(&out).await;
        sent.map_err(RelayError::from_backend)?;
        self.last.trips += 1;
        if lease.read_prelude(commands, &state).await?.is_some() {
            return Ok(None);
        }
        let options = Forward {
            kind: Kind::Prepare,
            hold_back: HoldBack::EVERYTHING,
            is_in_read_only: false,
            statement_id: id,
            on_ok: None,
            token: None,
            adds_warning: false,
            session: None,
            has_own_tracking: false,
            after: self.client.sequence.wrapping_sub(1),
            read_timeout: None,
            results: 1,
        };
        let reply = relay::forward(&mut lease.stream, &mut self.client, options).await?;
        match (self.preparing, reply.prepared) {
            (Some(number), Some(prepared)) => {
                lease.add_statement(number, prepared.statement_id, &[]);
                self.prepared = Some(prepared);
                Ok(Some(reply))
            }
            _ => {
                lease.note_refused_statement(reply.error.as_ref());
                lease.is_clean = lease.fits_its_pool();
                Ok(None)
            }
        }
    }
}

/// Why it was asked.
pub(super) const PREPARED_ASIDE: &str =
    "prepared on the reader for its parameters and columns; it runs elsewhere";

/// How long a connection to the reader is waited for: less than a trip to the writer.
const PATIENCE: Duration = Duration::from_millis(20);
