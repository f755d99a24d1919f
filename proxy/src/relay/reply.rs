//! What the terminators of a response said.

use isthmus_protocol::error::ProtocolError;
use isthmus_protocol::error_packet::ErrPacket;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::prepared::PrepareOk;
use isthmus_protocol::session_track::{self, Change};
use isthmus_protocol::status::Status;

use crate::error::SqlError;

/// An ERR packet, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The MySQL error number.
    pub code: u16,
    /// The SQLSTATE.
    pub state: [u8; 5],
    /// The message, in the character set of the results.
    pub message: Vec<u8>,
}

impl ServerError {
    /// Reads the payload of an ERR packet.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        let packet = ErrPacket::parse(payload)?;
        Ok(Self {
            code: packet.code,
            state: packet.state,
            message: packet.message.into_owned(),
        })
    }

    /// The payload of the ERR packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        ErrPacket {
            code: self.code,
            state: self.state,
            message: self.message.as_slice().into(),
        }
        .encode(&mut out);
        out
    }

    /// Whether a server that may not write said so. It ran nothing: 1290 (read_only, or a
    /// statement the server's options forbid), 1792 (read-only transaction), 1836 (read-only mode).
    pub fn is_read_only_refusal(&self) -> bool {
        matches!(self.code, 1290 | 1792 | 1836)
    }

    /// What the writer would say of this refusal of a write in a read-only transaction, if a
    /// reader gives its own setting as the reason. 1290 has other reasons, such as
    /// `--secure-file-priv`.
    pub fn in_read_only_transaction(&self) -> Option<Self> {
        let mentions = |part: &[u8]| self.message.windows(part.len()).any(|found| found == part);
        let is_setting = self.code == 1836 || (self.code == 1290 && mentions(b"read-only"));
        is_setting.then(|| {
            let mut message = b"Cannot execute statement in a READ ONLY transaction".to_vec();
            if !mentions(b"MariaDB") {
                message.push(b'.');
            }
            Self {
                code: 1792,
                state: *b"25006",
                message,
            }
        })
    }

    /// Whether it says that there is no such schema, or that the account may not use it.
    pub fn is_about_a_schema(&self) -> bool {
        matches!(self.code, 1044 | 1049)
    }

    /// Whether a reader ran nothing and the writer may know better: it may not write, or does not
    /// have what the statement names yet: a schema (1049) or the right to it (1044), a column (1054), a table (1146), a
    /// routine (1305).
    pub fn is_for_the_writer(&self) -> bool {
        self.is_read_only_refusal() || matches!(self.code, 1044 | 1049 | 1054 | 1146 | 1305)
    }
}

impl From<&SqlError> for ServerError {
    fn from(error: &SqlError) -> Self {
        let mut state = *b"HY000";
        state.copy_from_slice(error.state.as_bytes());
        Self {
            code: error.code,
            state,
            message: error.message.clone().into_bytes(),
        }
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ERROR {} ({}): {}",
            self.code,
            String::from_utf8_lossy(&self.state),
            String::from_utf8_lossy(&self.message)
        )
    }
}

/// What one of several results leaves for the next statement to ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// Warnings that it counted.
    pub warnings: u16,
    /// What ROW_COUNT() says behind it.
    pub row_count: i64,
}

/// The end of a response: the last OK or the error, and what happened on the way.
#[derive(Debug, Default)]
pub struct Reply {
    /// The error that ended the response.
    pub error: Option<ServerError>,
    /// Whether it was put in the place of a reader's, which the connection knows.
    pub is_replaced: bool,
    /// The client has seen nothing of the response, since it was for another server to answer.
    pub is_held_back: bool,
    /// Status flags of the last OK; of no meaning after an error.
    pub status: Option<Status>,
    /// Rows affected, from the last OK.
    pub affected_rows: u64,
    /// The first number that the last OK tells in words: rows that an UPDATE matched, or that an INSERT
    /// read.
    pub counted: Option<u64>,
    /// The insert id of the last OK that had one.
    pub last_insert_id: u64,
    /// Warnings counted by the last OK.
    pub warnings: u16,
    /// What the OKs before it said.
    pub earlier: Vec<Earlier>,
    /// The session state information of all OKs, one after the other.
    pub session_state: Vec<u8>,
    /// Rows of the last result set.
    pub rows: u64,
    /// Whether the last result was a result set.
    pub is_result_set: bool,
    /// Whether any was.
    pub has_result_set: bool,
    /// Ids and counts, if a PREPARE succeeded.
    pub prepared: Option<PrepareOk>,
}

impl Reply {
    pub(super) fn add_ok(&mut self, ok: &OkPacket<'_>, rows: Option<u64>) {
        if self.status.is_some() {
            self.earlier.push(Earlier {
                warnings: self.warnings,
                row_count: self.row_count(),
            });
        }
        self.status = Some(ok.status);
        self.affected_rows = ok.affected_rows;
        self.counted = first_number(ok.info);
        if ok.last_insert_id != 0 {
            self.last_insert_id = ok.last_insert_id;
        }
        self.warnings = ok.warnings;
        self.session_state.extend_from_slice(ok.session_state);
        self.is_result_set = rows.is_some();
        self.has_result_set |= self.is_result_set;
        self.rows = rows.unwrap_or(0);
    }

    /// Whether it was one result set, and nothing else is to be said of it than that a transaction
    /// is open or not.
    #[inline]
    pub fn is_plain(&self) -> bool {
        const TELLING: Status = Status::CURSOR_EXISTS.union(Status::SESSION_STATE_CHANGED);
        self.error.is_none()
            && self.is_result_set
            && self.warnings == 0
            && self.session_state.is_empty()
            && self.prepared.is_none()
            && self
                .status
                .is_some_and(|status| !status.intersects(TELLING))
    }

    /// Whether a transaction is open, as far as the server has said.
    pub fn is_in_transaction(&self) -> bool {
        let status = self.status;
        status.is_some_and(|status| status.contains(Status::IN_TRANS))
    }

    /// Drops the reports of variables, but for MariaDB's `last_gtid`, which is none.
    pub fn forget_variables(&mut self) {
        let mut kept = Vec::new();
        for change in session_track::changes(&self.session_state).flatten() {
            let is_variable = matches!(
                change,
                Change::Variable { name, .. } if !name.eq_ignore_ascii_case(b"last_gtid")
            );
            if !is_variable {
                session_track::put_change(&mut kept, &change);
            }
        }
        self.session_state = kept;
    }

    /// What ROW_COUNT() says after this response.
    pub fn row_count(&self) -> i64 {
        if self.error.is_some() || self.is_result_set {
            -1
        } else {
            i64::try_from(self.affected_rows).unwrap_or(i64::MAX)
        }
    }
}

/// The first number in a text, in whatever language.
fn first_number(text: &[u8]) -> Option<u64> {
    let start = text.iter().position(u8::is_ascii_digit)?;
    let digits = text.get(start..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit());
    let digits = digits.get(..end.unwrap_or(digits.len()))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
