//! Result sets that the proxy makes up itself.
//!
//! Format: "Text Resultset" and "Binary Protocol Resultset" in the manual.

use crate::column::ColumnDefinition;
use crate::lenenc::{self, put_bytes, put_int};
use crate::ok::{EofPacket, OkPacket};
use crate::packet::put_with;
use crate::prepared::PrepareOk;
use crate::status::Status;

/// A whole result set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultSet {
    /// At least one: no columns would be an OK packet.
    pub columns: Vec<ColumnDefinition>,
    /// One value per column in each, of the column's type.
    pub rows: Vec<Vec<Value>>,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// For [`ColumnDefinition::text`].
    Text(Vec<u8>),
    /// For [`ColumnDefinition::integer`].
    Integer(i64),
    /// For columns of four bytes.
    Small(i32),
    /// For [`ColumnDefinition::double`].
    Double(f64),
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// The answer to `COM_QUERY`.
    Text,
    /// The answer to `COM_STMT_EXECUTE`.
    Binary,
}

impl Value {
    /// A text.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self::Text(text.as_ref().to_vec())
    }

    /// An integer. One that is too large becomes the largest there is.
    pub fn integer(number: impl TryInto<i64>) -> Self {
        Self::Integer(number.try_into().unwrap_or(i64::MAX))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    /// NULL for nothing.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl ResultSet {
    /// Appends all of it, in packets that begin with the sequence id
    /// `sequence`: the column count, the definitions, the rows, and the ends
    /// that the client's `deprecate_eof` asks for, with `status` in them.
    /// Returns the sequence id that follows.
    pub fn encode(
        &self,
        form: Form,
        out: &mut Vec<u8>,
        sequence: u8,
        status: Status,
        deprecate_eof: bool,
    ) -> u8 {
        let mut sequence = put_with(out, sequence, |out| {
            put_int(out, self.columns.len() as u64);
        });
        sequence = self.put_columns(out, sequence, status, deprecate_eof);
        for row in &self.rows {
            sequence = put_with(out, sequence, |out| match form {
                Form::Text => put_text_row(out, row),
                Form::Binary => put_binary_row(out, row),
            });
        }
        put_with(out, sequence, |out| {
            if deprecate_eof {
                let ok = OkPacket {
                    status,
                    ..OkPacket::default()
                };
                ok.encode(OkPacket::EOF_HEADER, false, out);
            } else {
                put_eof(out, status);
            }
        })
    }

    /// Appends the answer to the `COM_STMT_PREPARE` of a statement without
    /// parameters that returns such a result set. Arguments and result are
    /// those of [`ResultSet::encode`].
    pub fn encode_prepared(
        &self,
        statement_id: u32,
        out: &mut Vec<u8>,
        sequence: u8,
        status: Status,
        deprecate_eof: bool,
    ) -> u8 {
        let ok = PrepareOk {
            statement_id,
            columns: u16::try_from(self.columns.len()).unwrap_or(u16::MAX),
            ..PrepareOk::default()
        };
        let sequence = put_with(out, sequence, |out| ok.encode(out));
        self.put_columns(out, sequence, status, deprecate_eof)
    }

    fn put_columns(
        &self,
        out: &mut Vec<u8>,
        mut sequence: u8,
        status: Status,
        deprecate_eof: bool,
    ) -> u8 {
        for column in &self.columns {
            sequence = put_with(out, sequence, |out| column.encode(out));
        }
        if !deprecate_eof {
            sequence = put_with(out, sequence, |out| put_eof(out, status));
        }
        sequence
    }
}

fn put_eof(out: &mut Vec<u8>, status: Status) {
    EofPacket {
        warnings: 0,
        status,
    }
    .encode(out);
}

fn put_text_row(out: &mut Vec<u8>, row: &[Value]) {
    for value in row {
        match value {
            Value::Null => out.push(lenenc::NULL),
            Value::Text(text) => put_bytes(out, text),
            Value::Integer(number) => put_bytes(out, number.to_string().as_bytes()),
            Value::Small(number) => put_bytes(out, number.to_string().as_bytes()),
            Value::Double(number) => put_bytes(out, number.to_string().as_bytes()),
        }
    }
}

fn put_binary_row(out: &mut Vec<u8>, row: &[Value]) {
    /// The bitmap's first two bits stand for no column.
    const OFFSET: usize = 2;
    out.push(0);
    let mut nulls = vec![0_u8; (row.len() + OFFSET).div_ceil(8)];
    for (index, value) in row.iter().enumerate() {
        let bit = index + OFFSET;
        if *value == Value::Null
            && let Some(byte) = nulls.get_mut(bit / 8)
        {
            *byte |= 1 << (bit % 8);
        }
    }
    out.extend_from_slice(&nulls);
    for value in row {
        match value {
            Value::Null => {}
            Value::Text(text) => put_bytes(out, text),
            Value::Integer(number) => out.extend_from_slice(&number.to_le_bytes()),
            Value::Small(number) => out.extend_from_slice(&number.to_le_bytes()),
            Value::Double(number) => out.extend_from_slice(&number.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ResultSet {
        ResultSet {
            columns: vec![
                ColumnDefinition::text("a"),
                ColumnDefinition::integer("b"),
                ColumnDefinition::double("c"),
            ],
            rows: vec![
                vec![Value::text("x"), Value::Integer(-1), Value::Double(0.5)],
                vec![Value::Null, Value::Integer(2), Value::Null],
            ],
        }
    }

    fn definitions() -> Vec<Vec<u8>> {
        let encoded = |column: &ColumnDefinition| {
            let mut out = Vec::new();
            column.encode(&mut out);
            out
        };
        example().columns.iter().map(encoded).collect()
    }

    const EOF: &[u8] = b"\xFE\0\0\x02\0";
    const OK: &[u8] = b"\xFE\0\0\x02\0\0\0";

    #[test]
    fn a_text_result() {
        let columns = definitions();
        for (deprecate_eof, between, end) in [(false, Some(EOF), EOF), (true, None, OK)] {
            let mut out = Vec::new();
            let next = example().encode(Form::Text, &mut out, 1, Status::AUTOCOMMIT, deprecate_eof);
            let mut expected: Vec<&[u8]> = vec![b"\x03"];
            expected.extend(columns.iter().map(Vec::as_slice));
            expected.extend(between);
            expected.extend([&b"\x01x\x02-1\x030.5"[..], b"\xFB\x012\xFB", end]);
            assert_eq!(payloads(&out, 1), expected);
            assert_eq!(usize::from(next), 1 + expected.len());
        }
    }

    #[test]
    fn a_binary_result() {
        let mut out = Vec::new();
        example().encode(Form::Binary, &mut out, 1, Status::AUTOCOMMIT, true);
        let mut full = b"\0\0\x01x".to_vec();
        full.extend([0xFF; 8]);
        full.extend(0.5_f64.to_le_bytes());
        let with_nulls = b"\0\x14\x02\0\0\0\0\0\0\0";
        assert_eq!(payloads(&out, 1)[4..], [&full[..], with_nulls, OK]);
    }

    #[test]
    fn a_prepared_one() {
        let columns = definitions();
        let mut out = Vec::new();
        example().encode_prepared(7, &mut out, 1, Status::AUTOCOMMIT, false);
        let ok: &[u8] = b"\0\x07\0\0\0\x03\0\0\0\0\0\0";
        let mut expected = vec![ok];
        expected.extend(columns.iter().map(Vec::as_slice));
        expected.push(EOF);
        assert_eq!(payloads(&out, 1), expected);
    }

    fn payloads(mut framed: &[u8], first: u8) -> Vec<&[u8]> {
        let mut payloads = Vec::new();
        while let Some(header) = crate::packet::Header::parse(framed) {
            assert_eq!(
                usize::from(header.sequence),
                usize::from(first) + payloads.len()
            );
            let (packet, rest) = framed.split_at(4 + header.length);
            payloads.push(&packet[4..]);
            framed = rest;
        }
        payloads
    }
}
