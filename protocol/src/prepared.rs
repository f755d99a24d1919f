//! The answer to `COM_STMT_PREPARE`.
//!
//! Format: "COM_STMT_PREPARE Response" in the manual.

use crate::ProtocolError;
use crate::lenenc::Reader;

/// A statement is prepared. Definitions of its parameters and then of its
/// columns follow, each block with an EOF packet behind it where
/// DEPRECATE_EOF is not in force; a block of none is left out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PrepareOk {
    /// The statement's number on its connection.
    pub statement_id: u32,
    /// The number of columns.
    pub columns: u16,
    /// The number of parameters.
    pub params: u16,
    /// The number of warnings.
    pub warnings: u16,
}

impl PrepareOk {
    /// Reads the first packet of the answer.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "COM_STMT_PREPARE response");
        if reader.u8()? != 0 {
            return Err(reader.malformed());
        }
        let statement_id = reader.u32()?;
        let columns = reader.u16()?;
        let params = reader.u16()?;
        reader.u8()?;
        Ok(Self {
            statement_id,
            columns,
            params,
            warnings: reader.u16()?,
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(0);
        out.extend_from_slice(&self.statement_id.to_le_bytes());
        out.extend_from_slice(&self.columns.to_le_bytes());
        out.extend_from_slice(&self.params.to_le_bytes());
        out.push(0);
        out.extend_from_slice(&self.warnings.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let payload = [0, 4, 3, 2, 1, 5, 0, 6, 0, 0, 7, 0];
        let ok = PrepareOk {
            statement_id: 0x0102_0304,
            columns: 5,
            params: 6,
            warnings: 7,
        };
        assert_eq!(PrepareOk::parse(&payload), Ok(ok));
        let mut out = Vec::new();
        ok.encode(&mut out);
        assert_eq!(out, payload);
        assert!(PrepareOk::parse(&payload[..11]).is_err());
        assert!(PrepareOk::parse(&[1; 12]).is_err());
    }
}
