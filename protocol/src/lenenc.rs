//! The protocol's basic data types: fixed and length-encoded integers,
//! strings in their five forms.
//!
//! Format: "Protocol Basics: Integer Types" and "String Types" in the manual.

use crate::ProtocolError;

/// The first byte of a text row's field that is NULL; no length starts so.
pub const NULL: u8 = 0xFB;

/// Reads values from the front of a payload. Integers are little-endian.
///
/// Every method takes its bytes off the front; one that fails takes nothing
/// and returns [`ProtocolError::Malformed`] with the name given to
/// [`Reader::new`].
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader over `bytes`; `what` names the packet in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// The bytes that have not been read yet.
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// True when everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The error for a value that its format forbids.
    pub fn malformed(&self) -> ProtocolError {
        ProtocolError::Malformed { what: self.what }
    }

    /// The next `n` bytes: `string<fix>`.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], ProtocolError> {
        let (head, tail) = self
            .rest
            .split_at_checked(n)
            .ok_or_else(|| self.malformed())?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let (head, tail) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed())?;
        self.rest = tail;
        Ok(*head)
    }

    /// `int<1>`.
    pub fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// `int<2>`.
    pub fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(u16::from_le_bytes)
    }

    /// `int<3>`.
    pub fn u24(&mut self) -> Result<u32, ProtocolError> {
        self.array::<3>()
            .map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// `int<4>`.
    pub fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_le_bytes)
    }

    /// `int<8>`.
    pub fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.array().map(u64::from_le_bytes)
    }

    /// `int<lenenc>`; the NULL of text rows is an error here.
    pub fn int(&mut self) -> Result<u64, ProtocolError> {
        let mut ahead = self.clone();
        let value = ahead.int_or_null()?.ok_or_else(|| self.malformed())?;
        *self = ahead;
        Ok(value)
    }

    /// `int<lenenc>`, or `None` for the NULL of text rows (0xFB).
    pub fn int_or_null(&mut self) -> Result<Option<u64>, ProtocolError> {
        let mut ahead = self.clone();
        let value = match ahead.u8()? {
            NULL => None,
            0xFC => Some(u64::from(ahead.u16()?)),
            0xFD => Some(u64::from(ahead.u24()?)),
            0xFE => Some(ahead.u64()?),
            0xFF => return Err(self.malformed()),
            small => Some(u64::from(small)),
        };
        *self = ahead;
        Ok(value)
    }

    /// `string<lenenc>`; the NULL of text rows is an error here.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], ProtocolError> {
        let mut ahead = self.clone();
        let length = usize::try_from(ahead.int()?).map_err(|_| self.malformed())?;
        let value = ahead.bytes(length)?;
        *self = ahead;
        Ok(value)
    }

    /// `string<lenenc>`, or `None` for NULL: one field of a text row.
    pub fn lenenc_bytes_or_null(&mut self) -> Result<Option<&'a [u8]>, ProtocolError> {
        if self.rest.first() == Some(&NULL) {
            self.u8()?;
            return Ok(None);
        }
        self.lenenc_bytes().map(Some)
    }

    /// `string<NUL>`, without its NUL.
    pub fn nul_terminated(&mut self) -> Result<&'a [u8], ProtocolError> {
        let end = self.rest.iter().position(|&byte| byte == 0);
        let text = self.bytes(end.ok_or_else(|| self.malformed())?)?;
        self.u8()?;
        Ok(text)
    }

    /// `string<NUL>` without its NUL, or everything left when there is none:
    /// some programs leave out the NUL of a packet's last field.
    pub fn nul_terminated_or_rest(&mut self) -> &'a [u8] {
        self.nul_terminated().unwrap_or_else(|_| self.rest())
    }

    /// `string<EOF>`: everything left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Appends `value` as `int<lenenc>`, in its shortest form.
pub fn put_int(out: &mut Vec<u8>, value: u64) {
    let [a, b, c, ..] = value.to_le_bytes();
    match value {
        0..=0xFA => out.push(a),
        0xFB..=0xFFFF => out.extend_from_slice(&[0xFC, a, b]),
        0x1_0000..=0xFF_FFFF => out.extend_from_slice(&[0xFD, a, b, c]),
        _ => {
            out.push(0xFE);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends `bytes` as `string<lenenc>`.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_int(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends `bytes` as `string<NUL>`. What follows a NUL inside `bytes` cannot
/// be expressed and is left out, as a C program would.
pub fn put_nul_terminated(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().take_while(|&&byte| byte != 0));
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_shortest_form() {
        let table: &[(u64, &[u8])] = &[
            (0, &[0]),
            (250, &[250]),
            (251, &[0xFC, 251, 0]),
            (0xFFFF, &[0xFC, 0xFF, 0xFF]),
            (0x1_0000, &[0xFD, 0, 0, 1]),
            (0xFF_FFFF, &[0xFD, 0xFF, 0xFF, 0xFF]),
            (0x100_0000, &[0xFE, 0, 0, 0, 1, 0, 0, 0, 0]),
            (u64::MAX, &[0xFE, 255, 255, 255, 255, 255, 255, 255, 255]),
        ];
        for (value, bytes) in table {
            let mut out = Vec::new();
            put_int(&mut out, *value);
            assert_eq!(out, *bytes);
            let mut reader = Reader::new(bytes, "test");
            assert_eq!(reader.int(), Ok(*value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_failed_read_takes_nothing() {
        let error = Err(ProtocolError::Malformed { what: "test" });
        for bytes in [
            &[][..],
            &[0xFC, 1],
            &[0xFD, 1, 2],
            &[0xFE, 1],
            &[0xFF],
            &[0xFB],
        ] {
            let mut reader = Reader::new(bytes, "test");
            assert_eq!(reader.int(), error);
            assert_eq!(reader.remaining(), bytes);
        }
        let mut reader = Reader::new(&[3, b'a', b'b'], "test");
        assert!(reader.lenenc_bytes().is_err());
        assert!(reader.nul_terminated().is_err());
        assert!(reader.u32().is_err());
        assert_eq!(reader.remaining().len(), 3);
        let huge = [0xFE, 255, 255, 255, 255, 255, 255, 255, 255, 0];
        assert!(Reader::new(&huge, "test").lenenc_bytes().is_err());
    }

    #[test]
    fn strings() {
        let mut reader = Reader::new(b"\x02hi\xFBone\0two\x01\x02\x03end", "test");
        assert_eq!(reader.lenenc_bytes_or_null(), Ok(Some(&b"hi"[..])));
        assert_eq!(reader.lenenc_bytes_or_null(), Ok(None));
        assert_eq!(reader.nul_terminated(), Ok(&b"one"[..]));
        assert_eq!(reader.bytes(3), Ok(&b"two"[..]));
        assert_eq!(reader.u24(), Ok(0x03_0201));
        assert_eq!(reader.nul_terminated_or_rest(), b"end");
        assert!(reader.is_empty());

        let mut out = Vec::new();
        put_nul_terminated(&mut out, b"one\0two");
        assert_eq!(out, b"one\0");
    }
}
