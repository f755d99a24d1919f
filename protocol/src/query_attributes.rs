//! Query attributes: named values beside a statement, where QUERY_ATTRIBUTES
//! is negotiated.
//!
//! Format: "COM_QUERY" and "COM_STMT_EXECUTE" in the manual.

use crate::ProtocolError;
use crate::capabilities::Capabilities;
use crate::command::Command;
use crate::lenenc::Reader;
use crate::packet::put_with;

/// How a connection takes `COM_QUERY` and `COM_STMT_EXECUTE`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum QueryForm {
    /// Without QUERY_ATTRIBUTES.
    #[default]
    Plain,
    /// With attributes, even if there are none.
    WithAttributes,
}

/// No attributes, in one set.
const NONE: &[u8] = &[0, 1];

impl QueryForm {
    /// What was negotiated.
    pub fn of(capabilities: Capabilities) -> Self {
        if capabilities.contains(Capabilities::QUERY_ATTRIBUTES) {
            Self::WithAttributes
        } else {
            Self::Plain
        }
    }

    /// Appends a `COM_QUERY` without attributes, in packets from the sequence
    /// id 0 on; returns the id that follows.
    pub fn put_query(self, out: &mut Vec<u8>, sql: &[u8]) -> u8 {
        let attributes = match self {
            Self::Plain => &[],
            Self::WithAttributes => NONE,
        };
        put_query(out, attributes, sql)
    }

    /// The length in bytes of the attributes before the text in the `body` of
    /// a `COM_QUERY`, which is what follows the command byte.
    pub fn attributes_len(self, body: &[u8]) -> Result<usize, ProtocolError> {
        match self {
            Self::Plain => Ok(0),
            Self::WithAttributes => {
                let mut reader = Reader::new(body, "query attributes");
                skip_attributes(&mut reader)?;
                Ok(body.len() - reader.remaining().len())
            }
        }
    }
}

/// Appends a `COM_QUERY` with these bytes of attributes; see
/// [`QueryForm::put_query`].
pub fn put_query(out: &mut Vec<u8>, attributes: &[u8], sql: &[u8]) -> u8 {
    put_with(out, 0, |out| {
        out.push(Command::Query as u8);
        out.extend_from_slice(attributes);
        out.extend_from_slice(sql);
    })
}

fn skip_attributes(reader: &mut Reader<'_>) -> Result<(), ProtocolError> {
    let count = reader.int()?;
    let sets = reader.int()?;
    // Each takes two bytes at least, so this bounds what follows.
    let count = usize::try_from(count).map_err(|_| reader.malformed())?;
    if sets != 1 || count > reader.remaining().len() {
        return Err(reader.malformed());
    }
    if count == 0 {
        return Ok(());
    }
    let nulls = reader.bytes(count.div_ceil(8))?;
    if reader.u8()? != 1 {
        return Err(reader.malformed());
    }
    let mut types = Vec::with_capacity(count);
    for _ in 0..count {
        let [kind, _] = reader.array()?;
        reader.lenenc_bytes()?;
        types.push(kind);
    }
    for (index, kind) in types.into_iter().enumerate() {
        let byte = nulls.get(index / 8).copied().unwrap_or_default();
        if byte & (1 << (index % 8)) == 0 {
            skip_value(reader, kind)?;
        }
    }
    Ok(())
}

/// Skips a value in binary form: "Binary Protocol Value" in the manual.
fn skip_value(reader: &mut Reader<'_>, kind: u8) -> Result<(), ProtocolError> {
    let length = match kind {
        NULL => 0,
        TINY | BOOL => 1,
        SHORT | YEAR => 2,
        LONG | INT24 | FLOAT => 4,
        LONGLONG | DOUBLE => 8,
        DATE | DATETIME | TIMESTAMP | TIME => usize::from(reader.u8()?),
        _ => {
            reader.lenenc_bytes()?;
            0
        }
    };
    reader.bytes(length)?;
    Ok(())
}

const TINY: u8 = 0x01;
const SHORT: u8 = 0x02;
const LONG: u8 = 0x03;
const FLOAT: u8 = 0x04;
const DOUBLE: u8 = 0x05;
const NULL: u8 = 0x06;
const TIMESTAMP: u8 = 0x07;
const LONGLONG: u8 = 0x08;
const INT24: u8 = 0x09;
const DATE: u8 = 0x0A;
const TIME: u8 = 0x0B;
const DATETIME: u8 = 0x0C;
const YEAR: u8 = 0x0D;
const BOOL: u8 = 0xF4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_text_begins() {
        let with = QueryForm::WithAttributes;
        let table: &[(&[u8], &[u8])] = &[
            (b"\0\x01", b"SELECT 1"),
            (b"\x01\x01\0\x01\xFD\0\x01k\x01v", b"SELECT 1"),
            // A NULL has no value; the names may be empty.
            (b"\x02\x01\x01\x01\xFD\0\0\x08\0\x01n\x01\0\0\0\0\0\0\0", b"x"),
            (b"\x02\x01\0\x01\x0C\0\0\x06\0\0\x04\xE0\x07\x01\x02", b""),
            (b"\x03\x01\0\x01\x01\0\0\x02\x80\0\x05\0\0\x01\x02\x02\x08\x08\x08\x08\x08\x08\x08\x08", b""),
        ];
        for (attributes, sql) in table {
            let body = [*attributes, *sql].concat();
            assert_eq!(with.attributes_len(&body), Ok(attributes.len()), "{body:?}");
            assert_eq!(QueryForm::Plain.attributes_len(&body), Ok(0));
        }
    }

    #[test]
    fn malformed() {
        for body in [
            &b""[..],
            b"\0",
            b"\0\x02SELECT 1",
            b"SELECT 1",
            b"\x01\x01\0\0\xFD\0\x01k\x01v",
            b"\x01\x01\0\x01\xFD\0\x01k\x09v",
            b"\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\0\x01",
            b"\xFB\x01",
        ] {
            assert!(
                QueryForm::WithAttributes.attributes_len(body).is_err(),
                "{body:?}"
            );
        }
    }

    #[test]
    fn queries_of_ones_own() {
        let mut out = Vec::new();
        QueryForm::Plain.put_query(&mut out, b"DO 1");
        QueryForm::WithAttributes.put_query(&mut out, b"DO 1");
        assert_eq!(out, b"\x05\0\0\0\x03DO 1\x07\0\0\0\x03\0\x01DO 1");
    }
}
