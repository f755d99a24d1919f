//! Binary prepared statements. Their ids are the session's own; on a backend connection a
//! statement is prepared when it is first executed there.

use std::io;
use std::sync::Arc;

use isthmus_protocol::command::{Command, Execute, SendLongData};
use isthmus_protocol::packet;
use isthmus_protocol::response;
use isthmus_protocol::result_set::Form;
use isthmus_protocol::status::Status;

use super::Session;
use super::conversation::{Ended, Flow};
use super::exchange::Work;
use super::statements::{SessionStatement, Statement};
use crate::admin::metrics::Route;
use crate::error::SqlError;
use crate::sql::{Holds, Kind, Needs, Place, Plan, Planned, Releases};

/// MariaDB's clients name the statement that was prepared last with this id.
const LAST: u32 = u32::MAX;

impl Session {
    /// COM_STMT_PREPARE, where the statement would run, for its parameters and columns.
    pub(super) async fn prepare(&mut self, framed: &[u8], sql: &[u8]) -> io::Result<Flow> {
        let planned = self.plan(sql, false);
        let rewritten = self.rewritten(&planned.plan, sql);
        let sql = rewritten.as_deref().unwrap_or(sql);
        let mut replaced = Vec::new();
        if rewritten.is_some() {
            packet::put_with(&mut replaced, 0, |out| {
                out.push(Command::StmtPrepare as u8);
                out.extend_from_slice(sql);
            });
        }
        let framed = if rewritten.is_some() {
            &replaced
        } else {
            framed
        };
        match (planned.plan.place, planned.plan.kind) {
            (Place::Proxy, Kind::Show) => return self.prepare_show(planned, sql).await,
            (Place::Proxy, Kind::Empty) => {}
            (Place::Proxy | Place::Refused, _) => return self.not_preparable().await,
            _ => {}
        }
        let id = self.next_statement_id();
        let statement = self
            .shared
            .statements
            .intern(sql, planned.clone(), &self.state);
        self.preparing = Some(statement.number);
        self.prepared = None;
        let asking = preparation(&planned);
        let work = Work::Command {
            framed,
            attributes: 0,
            kind: response::Kind::Prepare,
            statement_id: id,
        };
        let flow = self.run_statement(work, &asking).await?;
        self.preparing = None;
        if let Some(prepared) = self.prepared.take() {
            self.add_statement(id, statement, usize::from(prepared.params));
        }
        Ok(flow)
    }

    /// A `SHOW ISTHMUS`, which no server has to know.
    async fn prepare_show(&mut self, planned: Planned, sql: &[u8]) -> io::Result<Flow> {
        match self.about(sql) {
            Ok(result) => {
                let id = self.next_statement_id();
                let statement = self.shared.statements.intern(sql, planned, &self.state);
                self.add_statement(id, statement, 0);
                self.client.send_prepared(id, &result).await?;
            }
            Err(error) => self.client.send_error(&error).await?,
        }
        Ok(Flow::Continue)
    }

    fn add_statement(&mut self, id: u32, statement: Arc<Statement>, params: usize) {
        let entry = SessionStatement {
            statement,
            params,
            types: Vec::new(),
            long_data: Vec::new(),
        };
        self.statements.insert(id, entry);
        self.last_statement_id = id;
    }

    async fn not_preparable(&mut self) -> io::Result<Flow> {
        let error = SqlError::new(
            1295,
            "HY000",
            "This command is not supported in the prepared statement protocol yet",
        );
        self.client.send_error(&error).await?;
        Ok(Flow::Continue)
    }

    fn next_statement_id(&mut self) -> u32 {
        let mut id = self.last_statement_id;
        loop {
            id = id.wrapping_add(1);
            if id != 0 && id != LAST && !self.statements.contains_key(&id) {
                return id;
            }
        }
    }

    /// The session's statement of this id, where [`LAST`] is the one prepared last.
    fn statement_id(&self, body: &[u8]) -> Option<u32> {
        let id = u32::from_le_bytes(*body.first_chunk()?);
        Some(if id == LAST {
            self.last_statement_id
        } else {
            id
        })
    }

    /// COM_STMT_EXECUTE.
    pub(super) async fn execute(&mut self, payload: &[u8]) -> io::Result<Flow> {
        let id = payload.get(1..).and_then(|body| self.statement_id(body));
        let Some(id) = id else {
            return self.no_statement_id("COM_STMT_EXECUTE").await;
        };
        // Taken out while it runs, since running it borrows the session.
        let Some(mut entry) = self.statements.remove(&id) else {
            return self.unknown_statement(id, "mysqld_stmt_execute").await;
        };
        let result = self.execute_entry(payload, id, &mut entry).await;
        entry.long_data.clear();
        self.statements.insert(id, entry);
        result
    }

    async fn execute_entry(
        &mut self,
        payload: &[u8],
        id: u32,
        entry: &mut SessionStatement,
    ) -> io::Result<Flow> {
        let execute = match Execute::parse(payload, entry.params, self.client.form()) {
            Ok(execute) => execute,
            Err(error) => {
                self.client
                    .send_error(&SqlError::malformed(&error.to_string()))
                    .await?;
                return Ok(Flow::Continue);
            }
        };
        if let Some(types) = &execute.types {
            entry.types = types.to_vec();
        }
        if entry.types.len() != entry.params * 2 {
            let error = SqlError::malformed("COM_STMT_EXECUTE without the types of its parameters");
            self.client.send_error(&error).await?;
            return Ok(Flow::Continue);
        }
        let statement = entry.statement.clone();
        let plan = &statement.planned.plan;
        if (plan.place, plan.kind) == (Place::Proxy, Kind::Show) {
            self.shared.metrics.statements.routed.inc(Route::Proxy);
            return self.show_isthmus(&statement.sql, Form::Binary).await;
        }
        if execute.cursor_flags != 0 {
            self.open_cursor(id);
        }
        let work = Work::Execute {
            statement: &statement,
            execute,
            types: &entry.types,
            long_data: &entry.long_data,
        };
        // A reader may have refused it as a write since it was prepared.
        let mut planned = self.shared.plans.refresh(&statement.planned);
        if self.asked_cursor.is_some() && planned.plan.place != Place::Writer {
            // The cursor keeps its connection, and the session may write before it is read to its
            // end.
            let on_writer = Plan {
                place: Place::Writer,
                reader_if_allowed: false,
                ..(*planned.plan).clone()
            };
            planned.plan = Arc::new(on_writer);
        }
        self.run_statement(work, &planned).await
    }

    /// COM_STMT_SEND_LONG_DATA, which is kept until the statement is executed and has no answer.
    pub(super) fn send_long_data(&mut self, payload: &[u8]) -> io::Result<Flow> {
        let limit = self.world.config.limits.max_allowed_packet;
        if let Ok(long) = SendLongData::parse(payload)
            && let Some(entry) = self.statements.get_mut(&long.statement_id)
        {
            let kept: usize = entry.long_data.iter().map(|(_, data)| data.len()).sum();
            if kept + long.data.len() > limit {
                return Ok(Flow::End(Ended::Closed));
            }
            entry.long_data.push((long.parameter, long.data.to_vec()));
        }
        Ok(Flow::Continue)
    }

    /// COM_STMT_RESET: forgets long data and closes the cursor.
    pub(super) async fn reset_statement(&mut self, body: &[u8]) -> io::Result<Flow> {
        let Some(id) = self.statement_id(body) else {
            return self.no_statement_id("COM_STMT_RESET").await;
        };
        let Some(entry) = self.statements.get_mut(&id) else {
            return self.unknown_statement(id, "mysqld_stmt_reset").await;
        };
        entry.long_data.clear();
        let number = entry.statement.number;
        self.close_cursor(id, number);
        self.client.send_ok().await?;
        Ok(Flow::Continue)
    }

    /// COM_STMT_CLOSE, which has no answer. Backend connections keep the statement for others.
    pub(super) fn close_statement(&mut self, body: &[u8]) -> io::Result<Flow> {
        let id = self.statement_id(body).unwrap_or_default();
        if let Some(entry) = self.statements.remove(&id) {
            self.close_cursor(id, entry.statement.number);
        }
        Ok(Flow::Continue)
    }

    /// Notes that the next answer tells whether this statement has an open cursor.
    fn open_cursor(&mut self, id: u32) {
        if !self.cursors.contains(&id) {
            self.cursors.push(id);
        }
        self.asked_cursor = Some(id);
    }

    /// Takes note of what the server said of the cursor that was asked about, if one was.
    pub(super) fn note_cursor(&mut self, status: Option<Status>) {
        let Some(id) = self.asked_cursor.take() else {
            return;
        };
        let status = status.unwrap_or(Status::empty());
        let is_open =
            status.contains(Status::CURSOR_EXISTS) && !status.contains(Status::LAST_ROW_SENT);
        if !is_open {
            self.cursors.retain(|open| *open != id);
        }
    }

    /// Ends the hold of a cursor; the server forgets it with the statement.
    fn close_cursor(&mut self, id: u32, number: u64) {
        if !self.cursors.contains(&id) {
            return;
        }
        self.cursors.retain(|open| *open != id);
        if let Some(mut lease) = self.lease.take() {
            lease.close_statement(number);
            self.give_back(lease);
        }
    }

    /// COM_STMT_FETCH: more rows of the open cursor, from the connection that has it.
    pub(super) async fn fetch(&mut self, framed: &[u8], body: &[u8]) -> io::Result<Flow> {
        let Some(id) = self.statement_id(body) else {
            return self.no_statement_id("COM_STMT_FETCH").await;
        };
        let statement = self
            .statements
            .get(&id)
            .map(|entry| entry.statement.clone());
        let (Some(statement), Some(lease)) = (statement, &self.lease) else {
            return self.unknown_statement(id, "mysqld_stmt_fetch").await;
        };
        let Some(backend_id) = lease.prepared.get(statement.number) else {
            return self.unknown_statement(id, "mysqld_stmt_fetch").await;
        };
        let mut framed = framed.to_vec();
        if let Some(bytes) = framed.get_mut(packet::HEADER_LEN + 1..packet::HEADER_LEN + 5) {
            bytes.copy_from_slice(&backend_id.to_le_bytes());
        }
        self.open_cursor(id);
        let work = Work::Command {
            framed: &framed,
            attributes: 0,
            kind: response::Kind::Fetch,
            statement_id: 0,
        };
        self.run_statement(work, &statement.planned).await
    }

    async fn no_statement_id(&mut self, command: &str) -> io::Result<Flow> {
        let error = SqlError::malformed(&format!("{command} without a statement id"));
        self.client.send_error(&error).await?;
        Ok(Flow::Continue)
    }

    async fn unknown_statement(&mut self, id: u32, command: &str) -> io::Result<Flow> {
        self.client
            .send_error(&SqlError::unknown_statement(id, command))
            .await?;
        Ok(Flow::Continue)
    }
}

/// The plan of asking a server for a statement's parameters and columns: where the statement would
/// run, but without its effects.
fn preparation(planned: &Planned) -> Planned {
    let plan = &planned.plan;
    let place = match plan.place {
        Place::Reader | Place::Previous | Place::Session => Place::Reader,
        _ => Place::Writer,
    };
    let asking = Plan {
        place,
        kind: Kind::Prepare,
        marks: false,
        holds: Holds::empty(),
        releases: Releases::empty(),
        needs: Needs::empty(),
        transaction: None,
        variables: Vec::new(),
        parts: Vec::new(),
        ..(**plan).clone()
    };
    Planned {
        plan: Arc::new(asking),
        ..planned.clone()
    }
}
