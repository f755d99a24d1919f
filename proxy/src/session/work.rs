//! What a session has a server do for one command of its client.

use isthmus_protocol::command::{Execute, SendLongData};
use isthmus_protocol::packet;
use isthmus_protocol::query_attributes::QueryForm;
use isthmus_protocol::response::Kind;

use super::long_data::Parameters;
use super::prelude::put_prepare;
use super::statements::Statement;
use crate::pool::Lease;

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
        /// The parameters to be sent before.
        long_data: &'a Parameters,
    },
    /// The preparation or the execution of a textual prepared statement.
    Text {
        /// The statement.
        statement: &'a Statement,
        /// What stands behind the name in its EXECUTE; `None` for the PREPARE.
        using: Option<&'a [u8]>,
    },
}

/// What an execution is longer than its parameters: header, id, flags, a bitmap of NULLs, mostly.
const ROOM: usize = 32;

impl<'a> Work<'a> {
    /// The text, as far as it came in one packet: of a longer one nothing is asked.
    pub(super) fn sql(&self) -> &[u8] {
        match self {
            Work::Command {
                framed, attributes, ..
            } => framed
                .get(packet::HEADER_LEN + 1 + attributes..)
                .unwrap_or_default(),
            Work::Execute { statement, .. }
            | Work::Text {
                statement,
                using: Some(_),
            } => &statement.sql,
            Work::Text { using: None, .. } => b"",
        }
    }

    /// The statement that is executed and must have been prepared on the connection.
    pub(super) fn executed(&self) -> Option<&'a Statement> {
        match self {
            Work::Execute { statement, .. }
            | Work::Text {
                statement,
                using: Some(_),
            } => Some(statement),
            Work::Text { using: None, .. } | Work::Command { .. } => None,
        }
    }

    /// Whether it prepares a statement and does not execute it.
    pub(super) fn is_preparation(&self) -> bool {
        matches!(
            self,
            Work::Text { using: None, .. }
                | Work::Command {
                    kind: Kind::Prepare,
                    ..
                }
        )
    }

    pub(super) fn opens_cursor(&self) -> bool {
        matches!(self, Work::Execute { execute, .. } if execute.cursor_flags != 0)
    }

    pub(super) fn has_long_data(&self) -> bool {
        matches!(self, Work::Execute { long_data, .. } if !long_data.is_empty())
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Work::Command { kind, .. } => *kind,
            Work::Execute { .. } | Work::Text { .. } => Kind::Query,
        }
    }

    /// The id that the client gets to see, for a PREPARE.
    pub(super) fn statement_id(&self) -> u32 {
        match self {
            Work::Command { statement_id, .. } => *statement_id,
            Work::Execute { .. } | Work::Text { .. } => 0,
        }
    }

    /// The packets, if they can go to a server as the client sent them.
    pub(super) fn as_it_came(&self, form: QueryForm) -> Option<&[u8]> {
        match self {
            Work::Command {
                framed, attributes, ..
            } if *attributes == 0 || form != QueryForm::Plain => Some(framed),
            _ => None,
        }
    }

    /// Writes it as this connection takes it, for a prepared statement under the id `expected` if
    /// there is one. Returns the sequence id of the last packet.
    pub(super) fn put(&self, lease: &mut Lease, expected: Option<u32>, out: &mut Vec<u8>) -> u8 {
        if let Some(framed) = self.as_it_came(lease.form) {
            out.extend_from_slice(framed);
            return packet::last_sequence(framed);
        }
        let next = match self {
            Work::Command {
                framed, attributes, ..
            } => {
                let payload = packet::payload(framed);
                let sql = payload.get(1 + attributes..).unwrap_or_default();
                QueryForm::Plain.put_query(out, sql)
            }
            Work::Execute {
                statement,
                execute,
                types,
                long_data,
            } => {
                let known = lease.prepared.get(statement.number);
                let id = expected.or(known).unwrap_or_default();
                put_long_data(id, long_data, out);
                out.reserve(ROOM + types.len() + execute.values.len());
                packet::put_with(out, 0, |out| execute.encode(out, id, types, lease.form))
            }
            Work::Text {
                statement,
                using: None,
            } => put_prepare(lease, statement, out),
            Work::Text {
                statement,
                using: Some(using),
            } => {
                let name = lease.texts.name(statement.number).unwrap_or_default();
                let sql = [b"EXECUTE ", name.as_bytes(), using].concat();
                lease.form.put_query(out, &sql)
            }
        };
        next.wrapping_sub(1)
    }
}

/// What goes in one COM_STMT_SEND_LONG_DATA: servers take that, however little else they take.
const PIECE: usize = 32 << 10;

fn put_long_data(statement_id: u32, long_data: &Parameters, out: &mut Vec<u8>) {
    for (parameter, data) in long_data {
        let empty = data.is_empty().then_some(&[][..]);
        for data in data.chunks(PIECE).chain(empty) {
            let piece = SendLongData {
                statement_id,
                parameter: *parameter,
                data,
            };
            packet::put_with(out, 0, |out| piece.encode(out));
        }
    }
}
