//! OK and EOF: how a command or its rows end well.
//!
//! Format: "OK_Packet" and "EOF_Packet" in the manual. One thing is not as the
//! manual says: without SESSION_TRACK the info is described as the rest of the
//! packet, but servers write a length before it there too, and clients expect
//! it.

use crate::ProtocolError;
use crate::lenenc::{Reader, put_bytes, put_int};
use crate::status::Status;

/// The end of a command, or of rows where DEPRECATE_EOF is in force.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OkPacket<'a> {
    /// Rows changed (or found, with FOUND_ROWS).
    pub affected_rows: u64,
    /// The first AUTO_INCREMENT value of an INSERT.
    pub last_insert_id: u64,
    /// The session's status flags.
    pub status: Status,
    /// The number of warnings.
    pub warnings: u16,
    /// A sentence for people, such as `Rows matched: 1 …`.
    pub info: &'a [u8],
    /// What changed in the session, for
    /// [`changes`](crate::session_track::changes).
    pub session_state: &'a [u8],
}

impl<'a> OkPacket<'a> {
    /// The first byte of an OK that ends a command.
    pub const HEADER: u8 = 0x00;

    /// The first byte of an OK that ends rows, and of an [`EofPacket`].
    pub const EOF_HEADER: u8 = 0xFE;

    /// Reads an OK packet with either header, from a peer with which
    /// PROTOCOL_41 was negotiated, and SESSION_TRACK if `session_track`. An
    /// [`EofPacket`], which can be told by its length, is read as an OK
    /// without counts.
    pub fn parse(payload: &'a [u8], session_track: bool) -> Result<Self, ProtocolError> {
        if let Ok(EofPacket { warnings, status }) = EofPacket::parse(payload) {
            return Ok(Self {
                status,
                warnings,
                ..Self::default()
            });
        }
        let mut reader = Reader::new(payload, "OK packet");
        if !matches!(reader.u8()?, Self::HEADER | Self::EOF_HEADER) {
            return Err(reader.malformed());
        }
        let affected_rows = reader.int()?;
        let last_insert_id = reader.int()?;
        let status = Status::from_bits_retain(reader.u16()?);
        let warnings = reader.u16()?;
        // Servers leave out what is empty at the end.
        let info = if reader.is_empty() {
            &[]
        } else {
            reader.lenenc_bytes()?
        };
        let has_state = session_track && status.contains(Status::SESSION_STATE_CHANGED);
        let session_state = if has_state && !reader.is_empty() {
            reader.lenenc_bytes()?
        } else {
            &[]
        };
        Ok(Self {
            affected_rows,
            last_insert_id,
            status,
            warnings,
            info,
            session_state,
        })
    }

    /// Appends the payload with the given first byte ([`OkPacket::HEADER`] or
    /// [`OkPacket::EOF_HEADER`]).
    ///
    /// With `session_track` the session state is written, and
    /// SESSION_STATE_CHANGED is set if there is any; without it, both are left
    /// out.
    pub fn encode(&self, header: u8, session_track: bool, out: &mut Vec<u8>) {
        let mut status = self.status;
        if !session_track {
            status.remove(Status::SESSION_STATE_CHANGED);
        } else if !self.session_state.is_empty() {
            status.insert(Status::SESSION_STATE_CHANGED);
        }
        let has_state = status.contains(Status::SESSION_STATE_CHANGED);
        out.push(header);
        put_int(out, self.affected_rows);
        put_int(out, self.last_insert_id);
        out.extend_from_slice(&status.bits().to_le_bytes());
        out.extend_from_slice(&self.warnings.to_le_bytes());
        if has_state || !self.info.is_empty() {
            put_bytes(out, self.info);
        }
        if has_state {
            put_bytes(out, self.session_state);
        }
    }
}

/// The end of column definitions or rows where DEPRECATE_EOF is not in force.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EofPacket {
    /// The number of warnings.
    pub warnings: u16,
    /// The session's status flags.
    pub status: Status,
}

impl EofPacket {
    /// Reads an EOF packet of 5 bytes.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        let &[
            OkPacket::EOF_HEADER,
            warnings_a,
            warnings_b,
            status_a,
            status_b,
        ] = payload
        else {
            return Err(ProtocolError::Malformed { what: "EOF packet" });
        };
        Ok(Self {
            warnings: u16::from_le_bytes([warnings_a, warnings_b]),
            status: Status::from_bits_retain(u16::from_le_bytes([status_a, status_b])),
        })
    }

    /// Appends the payload, without SESSION_STATE_CHANGED: there is no room
    /// for the changes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let status = self.status - Status::SESSION_STATE_CHANGED;
        out.push(OkPacket::EOF_HEADER);
        out.extend_from_slice(&self.warnings.to_le_bytes());
        out.extend_from_slice(&status.bits().to_le_bytes());
    }
}

impl From<OkPacket<'_>> for EofPacket {
    /// What is left of an OK for a client without DEPRECATE_EOF.
    fn from(ok: OkPacket<'_>) -> Self {
        Self {
            warnings: ok.warnings,
            status: ok.status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_servers_write_them() {
        let table: &[(&[u8], OkPacket<'_>)] = &[
            (
                b"\x00\x01\x05\x02\x00\x00\x00",
                OkPacket {
                    affected_rows: 1,
                    last_insert_id: 5,
                    status: Status::AUTOCOMMIT,
                    ..OkPacket::default()
                },
            ),
            (
                b"\x00\x01\x00\x02\x00\x01\x00\x05Rows!",
                OkPacket {
                    affected_rows: 1,
                    status: Status::AUTOCOMMIT,
                    warnings: 1,
                    info: b"Rows!",
                    ..OkPacket::default()
                },
            ),
            (
                b"\xFE\x00\x00\x02\x40\x00\x00\x00\x05\x01\x03\x02db",
                OkPacket {
                    status: Status::AUTOCOMMIT | Status::SESSION_STATE_CHANGED,
                    session_state: b"\x01\x03\x02db",
                    ..OkPacket::default()
                },
            ),
        ];
        for (payload, ok) in table {
            assert_eq!(OkPacket::parse(payload, true), Ok(*ok));
            let mut out = Vec::new();
            ok.encode(payload[0], true, &mut out);
            assert_eq!(out, *payload);
        }
    }

    #[test]
    fn without_session_track() {
        let ok = OkPacket {
            affected_rows: 300,
            status: Status::IN_TRANS | Status::SESSION_STATE_CHANGED,
            info: b"info",
            session_state: b"\x02\x02\x011",
            ..OkPacket::default()
        };
        let mut out = Vec::new();
        ok.encode(OkPacket::HEADER, false, &mut out);
        assert_eq!(out, b"\x00\xFC\x2C\x01\x00\x01\x00\x00\x00\x04info");
        let expected = OkPacket {
            status: Status::IN_TRANS,
            session_state: b"",
            ..ok
        };
        assert_eq!(OkPacket::parse(&out, false), Ok(expected));
    }

    #[test]
    fn session_state_sets_the_flag() {
        let ok = OkPacket {
            session_state: b"\x02\x02\x011",
            ..OkPacket::default()
        };
        let mut out = Vec::new();
        ok.encode(OkPacket::HEADER, true, &mut out);
        let parsed = OkPacket::parse(&out, true).unwrap();
        assert_eq!(parsed.session_state, ok.session_state);
        assert_eq!(parsed.status, Status::SESSION_STATE_CHANGED);
    }

    #[test]
    fn eof_reads_as_ok() {
        let eof = EofPacket {
            warnings: 3,
            status: Status::AUTOCOMMIT | Status::MORE_RESULTS_EXISTS,
        };
        let mut out = Vec::new();
        eof.encode(&mut out);
        assert_eq!(out, [0xFE, 3, 0, 0x0A, 0]);
        assert_eq!(EofPacket::parse(&out), Ok(eof));
        let ok = OkPacket::parse(&out, true).unwrap();
        assert_eq!(EofPacket::from(ok), eof);

        let mut out = Vec::new();
        EofPacket {
            status: Status::SESSION_STATE_CHANGED,
            ..eof
        }
        .encode(&mut out);
        assert_eq!(out, [0xFE, 3, 0, 0, 0]);
    }

    #[test]
    fn malformed() {
        for payload in [
            &b""[..],
            b"\x00",
            b"\x01\x00\x00\x02\x00\x00\x00",
            b"\x00\x00\x00\x02\x00\x00",
            b"\x00\x00\x00\x02\x00\x00\x00\x09abc",
            b"\x00\xFB\x00\x02\x00\x00\x00",
            b"\x00\x00\x00\x00\x40\x00\x00\x00\x05abc",
        ] {
            assert!(OkPacket::parse(payload, true).is_err(), "{payload:?}");
        }
    }
}
