//! ERR: how a command fails.
//!
//! Format: "ERR_Packet" in the manual.

use std::borrow::Cow;

use crate::ProtocolError;
use crate::lenenc::Reader;

/// A failure, with the code that drivers act upon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ErrPacket<'a> {
    /// MySQL's error code, such as 1045.
    pub code: u16,
    /// The SQLSTATE, such as `28000`.
    pub state: [u8; 5],
    /// A sentence for people, in the connection's character set.
    pub message: Cow<'a, [u8]>,
}

impl<'a> ErrPacket<'a> {
    /// The first byte of the payload.
    pub const HEADER: u8 = 0xFF;

    /// The SQLSTATE of errors that name none.
    pub const GENERAL_STATE: [u8; 5] = *b"HY000";

    /// An error with a message of its own.
    pub fn new(code: u16, state: [u8; 5], message: impl Into<String>) -> Self {
        Self {
            code,
            state,
            message: Cow::Owned(message.into().into_bytes()),
        }
    }

    /// Reads an ERR packet. A missing SQLSTATE (in an error sent instead of
    /// a greeting) reads as [`ErrPacket::GENERAL_STATE`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "ERR packet");
        if reader.u8()? != Self::HEADER {
            return Err(reader.malformed());
        }
        let code = reader.u16()?;
        let (state, message) = match reader.rest() {
            [b'#', a, b, c, d, e, message @ ..] => ([*a, *b, *c, *d, *e], message),
            message => (Self::GENERAL_STATE, message),
        };
        Ok(Self {
            code,
            state,
            message: Cow::Borrowed(message),
        })
    }

    /// Appends the payload for a peer with which PROTOCOL_41 was negotiated.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Self::HEADER);
        out.extend_from_slice(&self.code.to_le_bytes());
        out.push(b'#');
        out.extend_from_slice(&self.state);
        out.extend_from_slice(&self.message);
    }

    /// Appends the payload to send instead of a greeting: nothing has been
    /// negotiated, so it has no SQLSTATE, which clients would show as a part
    /// of the message.
    pub fn encode_instead_of_greeting(&self, out: &mut Vec<u8>) {
        out.push(Self::HEADER);
        out.extend_from_slice(&self.code.to_le_bytes());
        out.extend_from_slice(&self.message);
    }

    /// The same error with a message that borrows nothing.
    pub fn into_owned(self) -> ErrPacket<'static> {
        ErrPacket {
            code: self.code,
            state: self.state,
            message: Cow::Owned(self.message.into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_a_state() {
        let denied = ErrPacket::parse(b"\xFF\x15\x04#28000Access denied").unwrap();
        assert_eq!(denied, ErrPacket::new(1045, *b"28000", "Access denied"));
        let mut out = Vec::new();
        denied.encode(&mut out);
        assert_eq!(out, b"\xFF\x15\x04#28000Access denied");

        let full = ErrPacket::parse(b"\xFF\x10\x04Too many connections").unwrap();
        assert_eq!(
            full,
            ErrPacket::new(1040, *b"HY000", "Too many connections")
        );
        let mut out = Vec::new();
        full.clone()
            .into_owned()
            .encode_instead_of_greeting(&mut out);
        assert_eq!(out, b"\xFF\x10\x04Too many connections");

        assert_eq!(
            &*ErrPacket::parse(b"\xFF\x10\x04#28").unwrap().message,
            b"#28"
        );
        assert!(ErrPacket::parse(b"\xFF\x10").is_err());
        assert!(ErrPacket::parse(b"\x00\x10\x04").is_err());
    }
}
