//! Answers as a server sends them on a backend connection.

use isthmus_protocol::packet;

/// The answer to a SELECT of one column: `count` rows of `row_len` bytes each.
pub fn rows(count: usize, row_len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sequence = packet::put(&mut out, 1, &[1]);
    sequence = packet::put(&mut out, sequence, &column_definition());
    let row = row(row_len);
    for _ in 0..count {
        sequence = packet::put(&mut out, sequence, &row);
    }
    // OK in the place of EOF: no rows affected, no insert id, autocommit, no warnings.
    packet::put(&mut out, sequence, &[0xFE, 0, 0, 2, 0, 0, 0]);
    out
}

fn column_definition() -> Vec<u8> {
    let mut out = Vec::new();
    for text in ["def", "app", "sbtest1", "sbtest1", "c", "c"] {
        out.push(text.len() as u8);
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&[0x0C, 0xFF, 0, 0xE0, 1, 0, 0, 0xFE, 1, 0, 0, 0, 0]);
    out
}

fn row(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 3);
    match u8::try_from(len) {
        Ok(short) if short < 251 => out.push(short),
        _ => {
            out.push(0xFC);
            out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
        }
    }
    out.resize(out.len() + len, b'x');
    out
}
