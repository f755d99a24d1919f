//! What an OK packet says about changes in the session.
//!
//! Format: "OK_Packet", section "Session State Information" in the manual. A
//! state is a series of entries, each a type byte and a `string<lenenc>` of
//! data.

use crate::ProtocolError;
use crate::lenenc::{Reader, put_bytes};

/// One change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change<'a> {
    /// A system variable has this value now (type 0). MariaDB reports
    /// `last_gtid` in this way.
    Variable {
        /// The variable's name, without scope.
        name: &'a [u8],
        /// The value as text; empty for NULL.
        value: &'a [u8],
    },
    /// The default schema is this one now (type 1); empty when there is none.
    Schema(&'a [u8]),
    /// Some session state has changed (type 2).
    State(bool),
    /// The GTIDs of what was committed (type 3), as text.
    Gtids(&'a [u8]),
    /// The statements that would start a transaction like the present one
    /// (type 4); empty when there is nothing to say.
    TransactionCharacteristics(&'a [u8]),
    /// Eight letters for the transaction's state (type 5), such as `T_R_W_S_`.
    TransactionState(&'a [u8]),
    /// Something newer than this crate.
    Unknown {
        /// The type byte.
        kind: u8,
        /// The entry's data.
        data: &'a [u8],
    },
}

/// The changes in [`OkPacket::session_state`](crate::ok::OkPacket), in order.
/// After an error the iterator ends.
pub fn changes(session_state: &[u8]) -> Changes<'_> {
    Changes {
        entries: Reader::new(session_state, "session state"),
        variables: Reader::new(&[], "session state"),
    }
}

/// The iterator of [`changes`].
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    entries: Reader<'a>,
    /// What is left of an entry of type 0: MariaDB puts several variables into
    /// one.
    variables: Reader<'a>,
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, ProtocolError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if !self.variables.is_empty() {
                return Some(self.variable());
            }
            if self.entries.is_empty() {
                return None;
            }
            match self.entry() {
                Ok(Some(change)) => return Some(Ok(change)),
                Ok(None) => {}
                Err(error) => {
                    self.entries.rest();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<'a> Changes<'a> {
    /// The next entry; `None` when it holds variables, which are read one by
    /// one.
    fn entry(&mut self) -> Result<Option<Change<'a>>, ProtocolError> {
        let kind = self.entries.u8()?;
        let data = self.entries.lenenc_bytes()?;
        let mut reader = Reader::new(data, "session state");
        let change = match kind {
            VARIABLES => {
                self.variables = reader;
                return Ok(None);
            }
            SCHEMA => Change::Schema(reader.lenenc_bytes()?),
            // One character, without a length of its own: so servers send it, whatever the manual
            // says.
            STATE => Change::State(data.last() == Some(&b'1')),
            GTIDS => {
                reader.u8()?; // encoding, always 0
                Change::Gtids(reader.lenenc_bytes()?)
            }
            CHARACTERISTICS => Change::TransactionCharacteristics(reader.lenenc_bytes()?),
            TRANSACTION => Change::TransactionState(reader.lenenc_bytes()?),
            kind => Change::Unknown { kind, data },
        };
        Ok(Some(change))
    }

    fn variable(&mut self) -> Result<Change<'a>, ProtocolError> {
        let mut read = || {
            let name = self.variables.lenenc_bytes()?;
            let value = self.variables.lenenc_bytes_or_null()?.unwrap_or_default();
            Ok(Change::Variable { name, value })
        };
        let variable = read();
        if variable.is_err() {
            self.variables.rest();
            self.entries.rest();
        }
        variable
    }
}

/// Appends one entry to a session state.
pub fn put_change(out: &mut Vec<u8>, change: &Change<'_>) {
    let mut data = Vec::new();
    let kind = match *change {
        Change::Variable { name, value } => {
            put_bytes(&mut data, name);
            put_bytes(&mut data, value);
            VARIABLES
        }
        Change::Schema(name) => {
            put_bytes(&mut data, name);
            SCHEMA
        }
        Change::State(changed) => {
            data.push(if changed { b'1' } else { b'0' });
            STATE
        }
        Change::Gtids(gtids) => {
            data.push(0);
            put_bytes(&mut data, gtids);
            GTIDS
        }
        Change::TransactionCharacteristics(statements) => {
            put_bytes(&mut data, statements);
            CHARACTERISTICS
        }
        Change::TransactionState(letters) => {
            put_bytes(&mut data, letters);
            TRANSACTION
        }
        Change::Unknown { kind, data: raw } => {
            data.extend_from_slice(raw);
            kind
        }
    };
    out.push(kind);
    put_bytes(out, &data);
}

const VARIABLES: u8 = 0;
const SCHEMA: u8 = 1;
const STATE: u8 = 2;
const GTIDS: u8 = 3;
const CHARACTERISTICS: u8 = 4;
const TRANSACTION: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind() {
        let all = [
            Change::Variable {
                name: b"autocommit",
                value: b"OFF",
            },
            Change::Schema(b"album"),
            Change::Schema(b""),
            Change::State(true),
            Change::State(false),
            Change::Gtids(b"3e11fa47-71ca-11e1-9e33-c80aa9429562:23"),
            Change::TransactionCharacteristics(b"START TRANSACTION READ ONLY;"),
            Change::TransactionState(b"T_R_____"),
            Change::Unknown {
                kind: 9,
                data: b"later",
            },
        ];
        let mut state = Vec::new();
        for change in &all {
            put_change(&mut state, change);
        }
        let read: Result<Vec<_>, _> = changes(&state).collect();
        assert_eq!(read.unwrap(), all);
    }

    #[test]
    fn several_variables_in_one_entry() {
        let state = b"\x00\x0B\x01a\x01b\x02cc\x00\x01n\xFB\x01\x03\x02db";
        let read: Result<Vec<_>, _> = changes(state).collect();
        let variable = |name, value| Change::Variable { name, value };
        assert_eq!(
            read.unwrap(),
            [
                variable(b"a", b"b"),
                variable(b"cc", b""),
                variable(b"n", b""),
                Change::Schema(b"db"),
            ]
        );
    }

    /// Seen from MySQL 9.7 and MariaDB 10.11 after `SET @a = 1` and after a CALL that commits.
    #[test]
    fn a_state_change_has_no_inner_length() {
        let state = b"\x02\x01\x31\x03\x03\x00\x01x";
        let read: Result<Vec<_>, _> = changes(state).collect();
        assert_eq!(read.unwrap(), [Change::State(true), Change::Gtids(b"x")]);
    }

    #[test]
    fn an_error_ends_it() {
        for state in [
            &b"\x01"[..],
            b"\x01\x05\x02db",
            b"\x01\x02\x02d\x01\x03\x02db",
            b"\x00\x03\x01a\x05\x01\x03\x02db",
            b"\x03\x00",
        ] {
            let read: Vec<_> = changes(state).collect();
            assert!(matches!(read[..], [Err(_)]), "{state:?}: {read:?}");
        }
    }
}
