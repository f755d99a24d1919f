//! Text result sets that the proxy makes up itself.
//!
//! Format: "Text Resultset" in the manual.

use crate::column::ColumnDefinition;
use crate::lenenc::{self, put_bytes, put_int};
use crate::ok::{EofPacket, OkPacket};
use crate::packet::put_with;
use crate::status::Status;

/// Appends the payload of one row; `None` is NULL.
pub fn put_row<V: AsRef<[u8]>>(out: &mut Vec<u8>, values: &[Option<V>]) {
    for value in values {
        match value {
            Some(value) => put_bytes(out, value.as_ref()),
            None => out.push(lenenc::NULL),
        }
    }
}

/// Appends a whole result set, in packets that begin with the sequence id
/// `sequence`: the column count, the definitions, the rows, and the ends that
/// the client's `deprecate_eof` asks for, with `status` in them. Returns the
/// sequence id that follows.
///
/// `columns` may not be empty (that would be an OK packet), and every row has
/// one value per column.
pub fn result_set<R, V>(
    out: &mut Vec<u8>,
    sequence: u8,
    columns: &[ColumnDefinition],
    rows: &[R],
    status: Status,
    deprecate_eof: bool,
) -> u8
where
    R: AsRef<[Option<V>]>,
    V: AsRef<[u8]>,
{
    let eof = EofPacket {
        warnings: 0,
        status,
    };
    let ok = OkPacket {
        status,
        ..OkPacket::default()
    };
    let mut sequence = put_with(out, sequence, |out| put_int(out, columns.len() as u64));
    for column in columns {
        sequence = put_with(out, sequence, |out| column.encode(out));
    }
    if !deprecate_eof {
        sequence = put_with(out, sequence, |out| eof.encode(out));
    }
    for row in rows {
        sequence = put_with(out, sequence, |out| put_row(out, row.as_ref()));
    }
    put_with(out, sequence, |out| {
        if deprecate_eof {
            ok.encode(OkPacket::EOF_HEADER, false, out);
        } else {
            eof.encode(out);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_result_set() {
        let columns = [ColumnDefinition::text("a"), ColumnDefinition::integer("b")];
        let rows = [[Some("x"), Some("1")], [None, Some("")]];
        let mut definitions = [Vec::new(), Vec::new()];
        for (out, column) in definitions.iter_mut().zip(&columns) {
            column.encode(out);
        }
        let [a, b] = &definitions;

        let mut with_eof = Vec::new();
        let next = result_set(&mut with_eof, 1, &columns, &rows, Status::AUTOCOMMIT, false);
        assert_eq!(next, 8);
        let eof: &[u8] = b"\xFE\0\0\x02\0";
        assert_eq!(
            payloads(&with_eof, 1),
            [&b"\x02"[..], a, b, eof, b"\x01x\x011", b"\xFB\0", eof]
        );

        let mut without = Vec::new();
        let next = result_set(&mut without, 1, &columns, &rows, Status::AUTOCOMMIT, true);
        assert_eq!(next, 7);
        let ok: &[u8] = b"\xFE\0\0\x02\0\0\0";
        assert_eq!(
            payloads(&without, 1),
            [&b"\x02"[..], a, b, b"\x01x\x011", b"\xFB\0", ok]
        );
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
