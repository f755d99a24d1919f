//! Column definitions.
//!
//! Format: "Column Definition Protocol::ColumnDefinition41" in the manual.

use crate::ProtocolError;
use crate::lenenc::{Reader, put_bytes, put_int};

/// What a result set says about one column. Names are in the connection's
/// character set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ColumnDefinition {
    /// The schema; empty for an expression.
    pub schema: Vec<u8>,
    /// The table's alias.
    pub table: Vec<u8>,
    /// The table.
    pub org_table: Vec<u8>,
    /// The column's alias: what clients show.
    pub name: Vec<u8>,
    /// The column.
    pub org_name: Vec<u8>,
    /// The collation's id; 63 (binary) for numbers.
    pub collation: u16,
    /// The largest width in bytes.
    pub length: u32,
    /// The field type, such as [`ColumnDefinition::VAR_STRING`].
    pub kind: u8,
    /// Column flags, such as [`ColumnDefinition::NOT_NULL`].
    pub flags: u16,
    /// Digits after the point; 0 for integers and static strings, 31 for
    /// strings that are computed.
    pub decimals: u8,
}

impl ColumnDefinition {
    /// Field type: a string of variable length.
    pub const VAR_STRING: u8 = 0xFD;
    /// Field type: an integer of 4 bytes.
    pub const LONG: u8 = 0x03;
    /// Field type: an integer of 8 bytes.
    pub const LONGLONG: u8 = 0x08;
    /// Field type: a floating-point number of 8 bytes.
    pub const DOUBLE: u8 = 0x05;
    /// Decimals of a value that has as many as it has.
    pub const NOT_FIXED: u8 = 31;
    /// Flag: never NULL.
    pub const NOT_NULL: u16 = 0x0001;
    /// Flag: no negative values.
    pub const UNSIGNED: u16 = 0x0020;
    /// Flag: compared byte by byte.
    pub const BINARY: u16 = 0x0080;
    /// Flag: a number.
    pub const NUM: u16 = 0x8000;
    /// Collation id: `utf8mb4_general_ci`, known to every server and client.
    pub const UTF8MB4: u16 = 45;
    /// Collation id: `binary`.
    pub const BINARY_COLLATION: u16 = 63;

    /// A nullable column of text in utf8mb4, of up to 1,024 characters.
    pub fn text(name: &str) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            collation: Self::UTF8MB4,
            length: 4 * 1024,
            kind: Self::VAR_STRING,
            decimals: Self::NOT_FIXED,
            ..Self::default()
        }
    }

    /// A nullable column of signed integers.
    pub fn integer(name: &str) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            collation: Self::BINARY_COLLATION,
            length: 21,
            kind: Self::LONGLONG,
            flags: Self::BINARY | Self::NUM,
            ..Self::default()
        }
    }

    /// A nullable column of floating-point numbers.
    pub fn double(name: &str) -> Self {
        Self {
            length: 22,
            kind: Self::DOUBLE,
            decimals: Self::NOT_FIXED,
            ..Self::integer(name)
        }
    }

    /// Reads a definition; a default value behind it (in the answer to
    /// `COM_FIELD_LIST`) is left unread.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "column definition");
        reader.lenenc_bytes()?; // catalog, always "def"
        let mut string = || reader.lenenc_bytes().map(<[u8]>::to_vec);
        let (schema, table, org_table) = (string()?, string()?, string()?);
        let (name, org_name) = (string()?, string()?);
        let mut fixed = Reader::new(reader.lenenc_bytes()?, "column definition");
        Ok(Self {
            schema,
            table,
            org_table,
            name,
            org_name,
            collation: fixed.u16()?,
            length: fixed.u32()?,
            kind: fixed.u8()?,
            flags: fixed.u16()?,
            decimals: fixed.u8()?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, b"def");
        for string in [
            &self.schema,
            &self.table,
            &self.org_table,
            &self.name,
            &self.org_name,
        ] {
            put_bytes(out, string);
        }
        put_int(out, FIXED_LEN);
        out.extend_from_slice(&self.collation.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.push(self.kind);
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.push(self.decimals);
        out.extend_from_slice(&[0; 2]);
    }
}

/// The length of the fields behind the strings.
const FIXED_LEN: u64 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_server_writes_it() {
        // SELECT @@version_comment
        let payload = b"\x03def\0\0\0\x11@@version_comment\0\x0C\x2D\0\x70\0\0\0\xFD\0\0\x1F\0\0";
        let column = ColumnDefinition::parse(payload).unwrap();
        let expected = ColumnDefinition {
            length: 0x70,
            ..ColumnDefinition::text("@@version_comment")
        };
        assert_eq!(column, expected);
        let mut out = Vec::new();
        column.encode(&mut out);
        assert_eq!(out, payload);
        for end in 0..payload.len() - 2 {
            assert!(ColumnDefinition::parse(&payload[..end]).is_err());
        }
    }
}
