//! What clients ask for: the command byte, and the two commands whose insides
//! matter here.
//!
//! Format: "Command Phase" in the manual.

use std::borrow::Cow;

use crate::ProtocolError;
use crate::lenenc::{Reader, put_bytes, put_int};
use crate::query_attributes::QueryForm;

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $byte:literal, $text:literal;)*) => {
        /// The first byte of a command's payload.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum Command {
            $($(#[$doc])* $name = $byte,)*
        }

        impl Command {
            /// The command with that byte.
            pub fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The command's name in the manual.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

commands! {
    /// Internal to the server.
    Sleep = 0x00, "COM_SLEEP";
    /// Close the connection; no answer.
    Quit = 0x01, "COM_QUIT";
    /// Change the default schema.
    InitDb = 0x02, "COM_INIT_DB";
    /// Run SQL text.
    Query = 0x03, "COM_QUERY";
    /// List a table's columns; removed in MySQL 9.
    FieldList = 0x04, "COM_FIELD_LIST";
    /// Create a schema; removed.
    CreateDb = 0x05, "COM_CREATE_DB";
    /// Drop a schema; removed.
    DropDb = 0x06, "COM_DROP_DB";
    /// FLUSH and RESET; removed in MySQL 9.
    Refresh = 0x07, "COM_REFRESH";
    /// Shut the server down; removed.
    Shutdown = 0x08, "COM_SHUTDOWN";
    /// A line of statistics.
    Statistics = 0x09, "COM_STATISTICS";
    /// SHOW PROCESSLIST; removed in MySQL 9.
    ProcessInfo = 0x0A, "COM_PROCESS_INFO";
    /// Internal to the server.
    Connect = 0x0B, "COM_CONNECT";
    /// KILL; removed in MySQL 9.
    ProcessKill = 0x0C, "COM_PROCESS_KILL";
    /// Debug information to the server's output.
    Debug = 0x0D, "COM_DEBUG";
    /// Are you there?
    Ping = 0x0E, "COM_PING";
    /// Internal to the server.
    Time = 0x0F, "COM_TIME";
    /// Internal to the server.
    DelayedInsert = 0x10, "COM_DELAYED_INSERT";
    /// Log in anew; see [`ChangeUser`](crate::handshake::ChangeUser).
    ChangeUser = 0x11, "COM_CHANGE_USER";
    /// Stream the binary log.
    BinlogDump = 0x12, "COM_BINLOG_DUMP";
    /// Removed.
    TableDump = 0x13, "COM_TABLE_DUMP";
    /// Internal to the server.
    ConnectOut = 0x14, "COM_CONNECT_OUT";
    /// Register as a replica.
    RegisterSlave = 0x15, "COM_REGISTER_SLAVE";
    /// Prepare a statement; see [`prepared`](crate::prepared).
    StmtPrepare = 0x16, "COM_STMT_PREPARE";
    /// Run a prepared statement; see [`Execute`].
    StmtExecute = 0x17, "COM_STMT_EXECUTE";
    /// A piece of a parameter; no answer. See [`SendLongData`].
    StmtSendLongData = 0x18, "COM_STMT_SEND_LONG_DATA";
    /// Forget a prepared statement; no answer.
    StmtClose = 0x19, "COM_STMT_CLOSE";
    /// Forget a statement's long data and cursor.
    StmtReset = 0x1A, "COM_STMT_RESET";
    /// Switch multi-statements on (0) or off (1).
    SetOption = 0x1B, "COM_SET_OPTION";
    /// Rows from a cursor.
    StmtFetch = 0x1C, "COM_STMT_FETCH";
    /// Internal to the server.
    Daemon = 0x1D, "COM_DAEMON";
    /// Stream the binary log from a set of GTIDs.
    BinlogDumpGtid = 0x1E, "COM_BINLOG_DUMP_GTID";
    /// Reset the session.
    ResetConnection = 0x1F, "COM_RESET_CONNECTION";
    /// Clone a server.
    Clone = 0x20, "COM_CLONE";
    /// Group replication.
    SubscribeGroupReplicationStream = 0x21, "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM";
    /// MariaDB: run a prepared statement for many rows.
    StmtBulkExecute = 0xFA, "COM_STMT_BULK_EXECUTE";
    /// MariaDB: internal.
    SlaveWorker = 0xFB, "COM_SLAVE_WORKER";
    /// MariaDB: internal.
    SlaveIo = 0xFC, "COM_SLAVE_IO";
    /// MariaDB: internal.
    SlaveSql = 0xFD, "COM_SLAVE_SQL";
    /// MariaDB: several commands in one packet; removed.
    Multi = 0xFE, "COM_MULTI";
}

/// A run of a prepared statement: `COM_STMT_EXECUTE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Execute<'a> {
    /// The statement, by the number its connection gave it.
    pub statement_id: u32,
    /// `CURSOR_TYPE_…`: 0 for none, 1 for a read-only cursor.
    pub cursor_flags: u8,
    /// One bit per parameter and attribute that is NULL, low bits first; empty
    /// when there are none.
    pub null_bitmap: &'a [u8],
    /// Two bytes per parameter: its type and, in the high bit, unsignedness.
    /// `None` when the client leaves them out: then those of the statement's
    /// last run hold, which the proxy has to remember, because another backend
    /// connection has never seen them.
    pub types: Option<Cow<'a, [u8]>>,
    /// How many query attributes there are.
    pub attributes: usize,
    /// Their types and names, as they stand behind those of the parameters.
    pub attribute_types: &'a [u8],
    /// The values in binary form, without those that are NULL or came by
    /// `COM_STMT_SEND_LONG_DATA`; those of the attributes at the end.
    pub values: &'a [u8],
}

/// Flag of `COM_STMT_EXECUTE`: the number of values is given, also where there
/// are no parameters.
const PARAMETER_COUNT_AVAILABLE: u8 = 8;

impl<'a> Execute<'a> {
    /// Reads the payload, command byte included, of a statement with `params`
    /// parameters.
    pub fn parse(payload: &'a [u8], params: usize, form: QueryForm) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "COM_STMT_EXECUTE");
        if reader.u8()? != Command::StmtExecute as u8 {
            return Err(reader.malformed());
        }
        let statement_id = reader.u32()?;
        let flags = reader.u8()?;
        reader.u32()?; // iteration count, always 1
        let is_named = form == QueryForm::WithAttributes;
        // Where there are parameters, servers read the number whatever the flag says.
        let has_count = is_named && (params > 0 || flags & PARAMETER_COUNT_AVAILABLE != 0);
        let count = match reader.remaining() {
            [] if params == 0 => 0,
            _ if has_count => usize::try_from(reader.int()?).map_err(|_| reader.malformed())?,
            _ => params,
        };
        let mut execute = Self {
            statement_id,
            cursor_flags: flags & !PARAMETER_COUNT_AVAILABLE,
            null_bitmap: &[],
            types: None,
            attributes: count
                .checked_sub(params)
                .ok_or_else(|| reader.malformed())?,
            attribute_types: &[],
            values: &[],
        };
        if count == 0 {
            return Ok(execute);
        }
        execute.null_bitmap = reader.bytes(count.div_ceil(8))?;
        match reader.u8()? {
            // Attributes are bound anew each time.
            0 if execute.attributes > 0 => return Err(reader.malformed()),
            0 => {}
            _ if is_named => execute.read_named_types(&mut reader, params)?,
            _ => execute.types = Some(reader.bytes(params.saturating_mul(2))?.into()),
        }
        execute.values = reader.rest();
        Ok(execute)
    }

    /// Reads types with names. Those of parameters mean nothing.
    fn read_named_types(
        &mut self,
        reader: &mut Reader<'a>,
        params: usize,
    ) -> Result<(), ProtocolError> {
        let mut types = Vec::new();
        for _ in 0..params {
            types.extend_from_slice(reader.bytes(2)?);
            reader.lenenc_bytes()?;
        }
        self.types = Some(types.into());
        let start = reader.remaining();
        for _ in 0..self.attributes {
            reader.bytes(2)?;
            reader.lenenc_bytes()?;
        }
        let length = start.len() - reader.remaining().len();
        self.attribute_types = start.get(..length).unwrap_or_default();
        Ok(())
    }

    /// Whether each of so many parameters is NULL.
    pub fn has_only_nulls(&self, params: usize) -> bool {
        (0..params).all(|index| {
            let bits = self.null_bitmap.get(index / 8).copied().unwrap_or_default();
            bits & (1 << (index % 8)) != 0
        })
    }

    /// Appends the payload for the backend's `statement_id`, always with the
    /// parameters' `types` (the present ones or the remembered), which a
    /// statement without parameters ignores. Where the backend does not take
    /// attributes, they are left out.
    pub fn encode(&self, out: &mut Vec<u8>, statement_id: u32, types: &[u8], form: QueryForm) {
        let is_named = form == QueryForm::WithAttributes && !self.null_bitmap.is_empty();
        let count_flag = if is_named {
            PARAMETER_COUNT_AVAILABLE
        } else {
            0
        };
        out.push(Command::StmtExecute as u8);
        out.extend_from_slice(&statement_id.to_le_bytes());
        out.push(self.cursor_flags | count_flag);
        out.extend_from_slice(&1_u32.to_le_bytes());
        let params = types.len() / 2;
        if is_named {
            put_int(out, (params + self.attributes) as u64);
            out.extend_from_slice(self.null_bitmap);
            out.push(1);
            for kind in types.chunks_exact(2) {
                out.extend_from_slice(kind);
                put_bytes(out, b"");
            }
            out.extend_from_slice(self.attribute_types);
            out.extend_from_slice(self.values);
        } else if let Some(nulls) = self.null_bitmap.get(..params.div_ceil(8))
            && !nulls.is_empty()
        {
            // What is left of the attributes' values at the end is read by nobody.
            out.extend_from_slice(nulls);
            out.push(1);
            out.extend_from_slice(types);
            out.extend_from_slice(self.values);
        }
    }
}

/// A piece of a parameter's value: `COM_STMT_SEND_LONG_DATA`. There is no
/// answer to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SendLongData<'a> {
    /// The statement, by the number its connection gave it.
    pub statement_id: u32,
    /// The parameter, counted from 0.
    pub parameter: u16,
    /// What to append to its value.
    pub data: &'a [u8],
}

impl<'a> SendLongData<'a> {
    /// Reads the payload, command byte included.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "COM_STMT_SEND_LONG_DATA");
        if reader.u8()? != Command::StmtSendLongData as u8 {
            return Err(reader.malformed());
        }
        Ok(Self {
            statement_id: reader.u32()?,
            parameter: reader.u16()?,
            data: reader.rest(),
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Command::StmtSendLongData as u8);
        out.extend_from_slice(&self.statement_id.to_le_bytes());
        out.extend_from_slice(&self.parameter.to_le_bytes());
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_names() {
        let known: Vec<Command> = (0..=255).filter_map(Command::from_byte).collect();
        assert_eq!(known.len(), 39);
        for command in known {
            assert_eq!(Command::from_byte(command as u8), Some(command));
            assert!(command.name().starts_with("COM_"));
        }
        assert_eq!(Command::from_byte(0x17), Some(Command::StmtExecute));
        assert_eq!(Command::from_byte(0x22), None);
    }

    use QueryForm::{Plain, WithAttributes};

    #[test]
    fn execute_with_and_without_types() {
        let bound = b"\x17\x02\0\0\0\x01\x01\0\0\0\x02\x01\x08\0\xFD\0\x2A\0\0\0\0\0\0\0";
        let execute = Execute::parse(bound, 2, Plain).unwrap();
        assert_eq!(
            execute,
            Execute {
                statement_id: 2,
                cursor_flags: 1,
                null_bitmap: &[2],
                types: Some(Cow::Borrowed(&[8, 0, 0xFD, 0])),
                attributes: 0,
                attribute_types: &[],
                values: &[42, 0, 0, 0, 0, 0, 0, 0],
            }
        );

        let again = b"\x17\x02\0\0\0\x01\x01\0\0\0\x02\0\x2A\0\0\0\0\0\0\0";
        let execute = Execute::parse(again, 2, Plain).unwrap();
        assert_eq!(execute.types, None);
        let mut out = Vec::new();
        execute.encode(&mut out, 2, &[8, 0, 0xFD, 0], Plain);
        assert_eq!(out, bound);

        assert!(Execute::parse(&bound[..13], 2, Plain).is_err());
        assert!(Execute::parse(bound, 200, Plain).is_err());
        assert!(Execute::parse(bound, usize::MAX, Plain).is_err());
    }

    #[test]
    fn execute_without_parameters() {
        let payload = b"\x17\x07\0\0\0\0\x01\0\0\0";
        for form in [Plain, WithAttributes] {
            let execute = Execute::parse(payload, 0, form).unwrap();
            assert_eq!(execute.null_bitmap, b"");
            let mut out = Vec::new();
            execute.encode(&mut out, 7, &[], form);
            assert_eq!(out, payload);
        }
    }

    #[test]
    fn execute_with_attributes() {
        // A parameter 'P' and an attribute k = 'V'.
        let payload = b"\x17\x01\0\0\0\x08\x01\0\0\0\x02\0\x01\xFD\0\0\xFD\0\x01k\x01P\x01V";
        let execute = Execute::parse(payload, 1, WithAttributes).unwrap();
        assert_eq!(execute.types.as_deref(), Some(&b"\xFD\0"[..]));
        assert_eq!((execute.cursor_flags, execute.attributes), (0, 1));
        let mut out = Vec::new();
        execute.encode(&mut out, 1, b"\xFD\0", WithAttributes);
        assert_eq!(out, payload);

        let mut plain = Vec::new();
        execute.encode(&mut plain, 1, b"\xFD\0", Plain);
        assert_eq!(plain, b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\xFD\0\x01P\x01V");

        // Connector/Python leaves the flag out where there is no attribute.
        let unflagged = b"\x17\x01\0\0\0\0\x01\0\0\0\x01\0\x01\xFD\0\0\x01P";
        let execute = Execute::parse(unflagged, 1, WithAttributes).unwrap();
        let mut flagged = Vec::new();
        execute.encode(&mut flagged, 1, b"\xFD\0", WithAttributes);
        assert_eq!(flagged[..5], unflagged[..5]);
        assert_eq!((flagged[5], &flagged[6..]), (8, &unflagged[6..]));

        // The attribute alone.
        let payload = b"\x17\x01\0\0\0\x08\x01\0\0\0\x01\0\x01\xFD\0\x01k\x01V";
        let execute = Execute::parse(payload, 0, WithAttributes).unwrap();
        let mut plain = Vec::new();
        execute.encode(&mut plain, 1, b"", Plain);
        assert_eq!(plain, b"\x17\x01\0\0\0\0\x01\0\0\0");

        for malformed in [
            // Fewer values than parameters; an attribute that is not bound; no count.
            &b"\x17\x01\0\0\0\x08\x01\0\0\0\0"[..],
            b"\x17\x01\0\0\0\x08\x01\0\0\0\x02\0\0\x01P\x01V",
            b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\xFD\0\x01P",
            b"\x17\x01\0\0\0\x08\x01\0\0\0\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\x01",
        ] {
            assert!(
                Execute::parse(malformed, 1, WithAttributes).is_err(),
                "{malformed:?}"
            );
        }
    }

    #[test]
    fn long_data() {
        let payload = b"\x18\x01\0\0\0\x02\0piece";
        let piece = SendLongData::parse(payload).unwrap();
        assert_eq!(
            (piece.statement_id, piece.parameter, piece.data),
            (1, 2, &b"piece"[..])
        );
        let mut out = Vec::new();
        piece.encode(&mut out);
        assert_eq!(out, payload);
        assert!(SendLongData::parse(&payload[..6]).is_err());
    }
}
