//! `KILL`: ending other sessions, of the same user unless the configuration allows more, by the ids that
//! the proxy gave them.

use std::io;
use std::sync::Arc;

use isthmus_protocol::command::Execute;
use isthmus_protocol::lenenc::Reader;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::status::Status;

use super::Session;
use super::conversation::Flow;
use super::registry::{Running, Signal};
use crate::error::SqlError;
use crate::pool::KillScope;
use crate::relay::Reply;
use crate::sql::{self, Victim};

impl Session {
    /// COM_PROCESS_KILL.
    pub(super) async fn process_kill(&mut self, body: &[u8]) -> io::Result<Flow> {
        let Some(&[a, b, c, d]) = body.first_chunk() else {
            self.client
                .send_error(&SqlError::malformed("COM_PROCESS_KILL without an id"))
                .await?;
            return Ok(Flow::Continue);
        };
        let id = u32::from_le_bytes([a, b, c, d]);
        let outcome = self.kill(u64::from(id), KillScope::Connection).await;
        self.answer_kill(outcome, false).await?;
        Ok(Flow::Continue)
    }

    /// KILL [CONNECTION | QUERY] id, with MariaDB's HARD and SOFT; `has_more` says whether other answers
    /// to the command follow. Returns whether it succeeded.
    pub(super) async fn kill_statement(&mut self, sql: &[u8], has_more: bool) -> io::Result<bool> {
        let outcome = self.run_kill(sql, None).await;
        self.answer_kill(outcome, has_more).await
    }

    /// The execution of a KILL that was prepared.
    pub(super) async fn kill_executed(
        &mut self,
        sql: &[u8],
        execute: &Execute<'_>,
        types: &[u8],
    ) -> io::Result<Flow> {
        let outcome = self.run_kill(sql, first_number(execute, types)).await;
        self.answer_kill(outcome, false).await?;
        Ok(Flow::Continue)
    }

    /// `parameter` is that of a prepared statement, if it is a number.
    async fn run_kill(&mut self, sql: &[u8], parameter: Option<u64>) -> Result<(), SqlError> {
        let kill = sql::kill(sql, self.state.dialect);
        let id = kill.as_ref().and_then(|kill| match &kill.victim {
            Victim::Id(id) => Some(*id),
            Victim::Own => Some(self.handle.id.into()),
            Victim::Parameter => parameter,
            Victim::Variable(name) => self.number_in(name),
        });
        let (Some(sql::Kill { query_only, .. }), Some(id)) = (kill, id) else {
            return Err(SqlError::new(
                1235,
                "42000",
                "Isthmus understands KILL [CONNECTION | QUERY] with the id that CONNECTION_ID() gives: as a number, in a user variable outside of transactions, or as a parameter",
            ));
        };
        let scope = if query_only {
            KillScope::Query
        } else {
            KillScope::Connection
        };
        self.kill(id, scope).await
    }

    /// The number that a user variable has; `None` where it has none, or where only the connection
    /// that the session keeps knows.
    fn number_in(&self, name: &str) -> Option<u64> {
        if self.lease.is_some() {
            return None;
        }
        let text = self.state.user_variables.get(name)?.text()?;
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    /// Tells the client what came of it, and whether there is `more` to come if it succeeded.
    /// Returns whether it did.
    async fn answer_kill(&mut self, outcome: Result<(), SqlError>, more: bool) -> io::Result<bool> {
        if let Err(error) = outcome {
            self.refuse(&error).await?;
            return Ok(false);
        }
        self.diagnostics.note(&Reply::default());
        self.diagnostics.are_elsewhere = true;
        let mut status = Status::empty();
        status.set(Status::MORE_RESULTS_EXISTS, more);
        let ok = OkPacket {
            status,
            ..OkPacket::default()
        };
        self.client.send_ok_packet(ok).await?;
        Ok(true)
    }

    /// Ends another session, or what it runs.
    async fn kill(&mut self, id: u64, scope: KillScope) -> Result<(), SqlError> {
        let own = &self.identity.user.name;
        let config = self.world.config.user(own);
        let kills_all = config.is_some_and(|user| user.kills_all_sessions);
        let target = u32::try_from(id)
            .ok()
            .and_then(|id| self.shared.sessions.get(id));
        let target = match target {
            Some(target) if kills_all || target.who().user == *own => target,
            Some(_) => {
                let message = format!("You are not owner of thread {id}");
                return Err(SqlError::new(1095, "HY000", message));
            }
            None => {
                let message = format!("Unknown thread id: {id}");
                return Err(SqlError::new(1094, "HY000", message));
            }
        };
        let command = target.commands();
        if scope == KillScope::Connection {
            target.send(Signal::Kill);
        }
        if let Some(running) = target.running() {
            let Running { origin, thread_id } = &running;
            let is_still_meant = || {
                let is_over = scope == KillScope::Query && target.commands() != command;
                let is_there =
                    |now: Running| now.thread_id == *thread_id && Arc::ptr_eq(&now.origin, origin);
                !is_over && target.running().is_some_and(is_there)
            };
            let ended = origin.kill(*thread_id, scope, is_still_meant).await;
            // Where there is no such thread any more, nothing runs that could be ended.
            if let Err(error) = ended
                && !error.is_unknown_thread()
            {
                return Err(SqlError::kill_failed(id, &error));
            }
        } else {
            target.interrupt();
        }
        if target.id == self.handle.id {
            return Err(SqlError::interrupted());
        }
        Ok(())
    }
}

/// The first parameter of an execution, if it is a number or the text of one. `types` has two bytes
/// for each: the type, and whether it is unsigned.
fn first_number(execute: &Execute<'_>, types: &[u8]) -> Option<u64> {
    let is_null = execute
        .null_bitmap
        .first()
        .is_some_and(|bits| bits & 1 != 0);
    if is_null {
        return None;
    }
    let integer = |bytes: &[u8]| {
        let mut all = [0; 8];
        all.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(all))
    };
    match types.first()? {
        0x01 => integer(execute.values.get(..1)?),
        0x02 | 0x0D => integer(execute.values.get(..2)?),
        0x03 | 0x09 => integer(execute.values.get(..4)?),
        0x08 => integer(execute.values.get(..8)?),
        0x0F | 0xF9..=0xFE => {
            let text = Reader::new(execute.values, "a parameter")
                .lenenc_bytes()
                .ok()?;
            std::str::from_utf8(text).ok()?.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_type_are_read() {
        let cases: [(u8, &[u8], Option<u64>); 7] = [
            (0x01, b"\x07", Some(7)),
            (0x02, b"\x07\x01", Some(0x107)),
            (0x03, b"\x07\0\0\x01", Some(0x0100_0007)),
            (0x08, b"\x07\0\0\0\0\0\0\0", Some(7)),
            (0xFD, b"\x0242", Some(42)),
            (0xFD, b"\x02no", None),
            (0x05, b"\0\0\0\0\0\0\0\0", None),
        ];
        for (kind, values, expected) in cases {
            let execute = Execute {
                statement_id: 1,
                cursor_flags: 0,
                null_bitmap: &[0],
                types: None,
                attributes: 0,
                attribute_types: &[],
                values,
            };
            assert_eq!(first_number(&execute, &[kind, 0]), expected, "{kind:#x}");
        }
    }
}
