//! Where the pieces of a response begin and end.
//!
//! A proxy forwards rows without looking into them, but it has to know where
//! they stop: only there is the outcome, the session's state, and the moment
//! when the connection is free. [`Response`] walks packet headers and looks at
//! the first byte of each message, no further; it asks for a whole packet only
//! where that packet decides something, and those are small.
//!
//! Format: "Text Protocol" and "Prepared Statements" in the manual, in the
//! dialect of backend connections: PROTOCOL_41, DEPRECATE_EOF, SESSION_TRACK,
//! MULTI_RESULTS and PS_MULTI_RESULTS are negotiated; OPTIONAL_RESULTSET_METADATA,
//! and MariaDB's PROGRESS and CACHE_METADATA, are not.

use crate::ProtocolError;
use crate::error_packet::ErrPacket;
use crate::lenenc::Reader;
use crate::ok::OkPacket;
use crate::packet::{HEADER_LEN, Header, MAX_PAYLOAD};
use crate::prepared::PrepareOk;
use crate::status::Status;

/// The largest payload, in bytes, of a packet that has to be seen whole: OK,
/// ERR, LOCAL INFILE and the answer to a prepare. ERR packets hold a sentence
/// and LOCAL INFILE a path; an OK holds the session's changes, of which
/// variables and GTID sets can be long, but not this long.
pub const MAX_DECISIVE: usize = 1 << 20;

/// The kind of response a command gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// OK, ERR, LOCAL INFILE or result sets, maybe several in a row:
    /// `COM_QUERY`, `COM_STMT_EXECUTE`.
    Query,
    /// `COM_STMT_PREPARE`.
    Prepare,
    /// Rows up to their end: `COM_STMT_FETCH`.
    Fetch,
    /// OK (with either header) or ERR: `COM_INIT_DB`, `COM_SET_OPTION`,
    /// `COM_RESET_CONNECTION`, `COM_STMT_RESET`, `COM_PING`, `COM_DEBUG`.
    Simple,
    /// Column definitions up to their end: `COM_FIELD_LIST`.
    FieldList,
    /// One packet of text: `COM_STATISTICS`. The one kind that ends in a
    /// [`Piece::Run`] (or ERR): ask [`Response::is_over`] after each piece.
    Statistics,
}

/// One backend response, as far as it has come.
///
/// It never buffers. The caller keeps the bytes that have come from the
/// backend, shows them to [`Response::next`], does with the piece what has to
/// be done, takes its bytes off the front and asks again, until
/// [`Response::is_over`].
#[derive(Clone, Debug)]
pub struct Response {
    /// Added (wrapping) to the sequence id of every packet that goes by, in
    /// place: the caller counts it up for each packet it puts between them for
    /// the client's sake, and down for each it leaves out. With a shift in
    /// force, a client's upload for LOCAL INFILE needs it subtracted.
    pub sequence_shift: u8,
    /// The rows that have gone by, in all result sets together.
    pub rows: u64,
    /// The connection is compressed. Its server begins the count of packets
    /// anew where it likes, so they are not checked; the shift makes up for
    /// every such place.
    pub is_compressed: bool,
    kind: Kind,
    state: State,
    /// The sequence id of the next packet, as the backend counts.
    due: u8,
    /// Payload bytes of the current packet that have yet to go by.
    owed: usize,
    /// The current packet is full: the next one continues its message.
    continued: bool,
}

/// What is at the front of the caller's buffer. Sizes are in bytes, with
/// headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece {
    /// Not enough bytes to tell: read more and call again with the longer
    /// buffer.
    NeedMore,
    /// So many bytes can be forwarded as they are: column counts, column
    /// definitions, rows, parts of them. As many as there are.
    Run(usize),
    /// No bytes: here a client without DEPRECATE_EOF gets an EOF packet.
    /// Column definitions of a result set, or of a prepare's parameters or
    /// columns, have ended.
    ///
    /// Where a cursor was opened the rows' end follows the definitions at
    /// once, and such a client gets that one alone; so this piece comes only
    /// when what follows the definitions of a result set is known not to be
    /// that.
    MetadataEnd,
    /// A complete OK packet.
    Ok {
        /// Its size.
        len: usize,
        /// False when another result follows (MORE_RESULTS_EXISTS).
        last: bool,
        /// It has the header 0xFE: it ends rows, and a client without
        /// DEPRECATE_EOF gets an EOF packet instead.
        is_eof: bool,
    },
    /// A complete ERR packet. It ends the response.
    Err {
        /// Its size.
        len: usize,
    },
    /// A complete request for a file. The caller sends what the client
    /// uploads and says so ([`Response::uploaded`]); then the response goes on
    /// with OK or ERR, whose sequence id follows the upload's and is not
    /// checked.
    LocalInfile {
        /// Its size.
        len: usize,
    },
    /// The complete first packet of the answer to a prepare.
    PrepareOk {
        /// Its size.
        len: usize,
    },
}

impl Response {
    /// The response to a command of one packet: its first sequence id is 1.
    pub fn new(kind: Kind) -> Self {
        Self::after(kind, 0)
    }

    /// The response to a command whose last packet had the id `sequence`,
    /// which is above 0 when the command was larger than one packet.
    pub fn after(kind: Kind, sequence: u8) -> Self {
        Self {
            sequence_shift: 0,
            rows: 0,
            is_compressed: false,
            kind,
            state: match kind {
                Kind::Query => State::Result,
                Kind::Prepare => State::Prepare,
                Kind::Fetch | Kind::FieldList => State::Rows,
                Kind::Simple => State::Outcome,
                Kind::Statistics => State::Statistics,
            },
            due: sequence.wrapping_add(1),
            owed: 0,
            continued: false,
        }
    }

    /// Looks at `buf`, which starts where the last piece ended, and says what
    /// is there. The caller consumes a piece before it calls again, except
    /// [`Piece::NeedMore`]. Must not be called when the response is over.
    ///
    /// # Errors
    ///
    /// The backend is out of step and its connection useless:
    /// [`ProtocolError::OutOfOrder`] for a wrong sequence id,
    /// [`ProtocolError::TooLarge`] for a decisive packet over
    /// [`MAX_DECISIVE`], [`ProtocolError::Malformed`] for anything else that
    /// cannot be.
    pub fn next(&mut self, buf: &mut [u8]) -> Result<Piece, ProtocolError> {
        match self.pass(buf) {
            0 => self.decide(buf),
            run => Ok(Piece::Run(run)),
        }
    }

    /// True when the whole response has gone by.
    pub fn is_over(&self) -> bool {
        self.state == State::Over && !self.is_inside()
    }

    /// The sequence id, before the shift, of the packet that is due next.
    pub fn next_sequence(&self) -> u8 {
        self.due
    }

    /// Notes that the client's file has been sent, and the sequence id behind
    /// it, as the backend counts.
    pub fn uploaded(&mut self, next: u8) {
        self.due = next;
    }

    /// True between the first and the last byte of a message.
    fn is_inside(&self) -> bool {
        self.owed > 0 || self.continued
    }

    /// Lets go by what may go by as it is, and returns how many bytes that
    /// are. Stops without a word where something has to be decided.
    fn pass(&mut self, buf: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let part = self.owed.min(buf.len() - at);
            at += part;
            self.owed -= part;
            let Some(ahead) = buf.get_mut(at..) else {
                return at;
            };
            let Some(header) = Header::parse(ahead) else {
                return at;
            };
            if header.sequence != self.due
                || !(self.continued || self.may_pass(header, ahead.get(HEADER_LEN..)))
            {
                return at;
            }
            self.shift(ahead);
            self.due = self.due.wrapping_add(1);
            self.owed = header.length;
            self.continued = header.is_continued();
            at += HEADER_LEN;
        }
    }

    /// True when the message that begins here is no more than forwarded; the
    /// state is then that of its end.
    #[inline]
    fn may_pass(&mut self, header: Header, payload: Option<&[u8]>) -> bool {
        let payload = payload.unwrap_or_default();
        let first = match payload.first() {
            _ if header.length == 0 => None,
            None => return false,
            first => first.copied(),
        };
        if first == Some(ErrPacket::HEADER) {
            return false;
        }
        match self.state {
            State::Rows => {
                if is_terminator(header, first) {
                    return false;
                }
                self.rows += u64::from(self.kind != Kind::FieldList);
                true
            }
            State::Definitions { left: 0, .. } => false,
            State::Definitions { left, then } => {
                let left = left - 1;
                self.state = State::Definitions { left, then };
                true
            }
            State::Result => match column_count(header, payload) {
                None => false,
                Some(left) => {
                    let then = Then::Rows;
                    self.state = State::Definitions { left, then };
                    true
                }
            },
            State::Statistics => {
                self.state = State::Over;
                true
            }
            State::Prepare | State::Outcome | State::AfterUpload | State::Over => false,
        }
    }

    /// Says what is at the front of `buf`, which is nothing that may pass.
    fn decide(&mut self, buf: &mut [u8]) -> Result<Piece, ProtocolError> {
        if self.is_over() {
            return Err(MALFORMED);
        }
        if self.owed > 0 {
            return Ok(Piece::NeedMore);
        }
        if let State::Definitions { left: 0, then } = self.state
            && then != Then::Rows
            && !self.continued
        {
            self.state = then.state();
            return Ok(Piece::MetadataEnd);
        }
        let Some(header) = Header::parse(buf) else {
            return Ok(Piece::NeedMore);
        };
        if header.sequence != self.due && self.is_compressed {
            let gap = self.due.wrapping_sub(header.sequence);
            self.sequence_shift = self.sequence_shift.wrapping_add(gap);
            self.due = header.sequence;
            return self.next(buf);
        }
        if header.sequence != self.due && self.state != State::AfterUpload {
            return Err(ProtocolError::OutOfOrder {
                expected: self.due,
                found: header.sequence,
            });
        }
        let first = match buf.get(HEADER_LEN) {
            _ if header.length == 0 => None,
            None => return Ok(Piece::NeedMore),
            first => first.copied(),
        };
        if let State::Definitions { left: 0, .. } = self.state {
            return self.metadata_end(buf, header, first);
        }
        let first = first.ok_or(MALFORMED)?;
        match (self.state, first) {
            (_, ErrPacket::HEADER) => {
                let payload = decisive(buf, header)?;
                let Some(payload) = payload else {
                    return Ok(Piece::NeedMore);
                };
                ErrPacket::parse(payload)?;
                let len = self.take(buf, header, State::Over);
                Ok(Piece::Err { len })
            }
            (State::Prepare, OkPacket::HEADER) => self.prepare_ok(buf, header),
            (State::Result, LOCAL_INFILE) => {
                if decisive(buf, header)?.is_none() {
                    return Ok(Piece::NeedMore);
                }
                let len = self.take(buf, header, State::AfterUpload);
                Ok(Piece::LocalInfile { len })
            }
            (
                State::Result | State::Outcome | State::AfterUpload,
                OkPacket::HEADER | OkPacket::EOF_HEADER,
            ) => self.ok(buf, header, first),
            // A column count would have passed, had it been all there.
            (State::Result, _)
                if header.length <= MAX_COLUMN_COUNT && buf.len() < HEADER_LEN + header.length =>
            {
                Ok(Piece::NeedMore)
            }
            (State::Rows, OkPacket::EOF_HEADER) => self.ok(buf, header, first),
            _ => Err(MALFORMED),
        }
    }

    /// The definitions of a result set have ended: is this its only end?
    fn metadata_end(
        &mut self,
        buf: &mut [u8],
        header: Header,
        first: Option<u8>,
    ) -> Result<Piece, ProtocolError> {
        if is_terminator(header, first) {
            let Some(payload) = decisive(buf, header)? else {
                return Ok(Piece::NeedMore);
            };
            if OkPacket::parse(payload, true)?
                .status
                .contains(Status::CURSOR_EXISTS)
            {
                return self.ok(buf, header, OkPacket::EOF_HEADER);
            }
        }
        self.state = State::Rows;
        Ok(Piece::MetadataEnd)
    }

    fn ok(&mut self, buf: &mut [u8], header: Header, first: u8) -> Result<Piece, ProtocolError> {
        let Some(payload) = decisive(buf, header)? else {
            return Ok(Piece::NeedMore);
        };
        let status = OkPacket::parse(payload, true)?.status;
        let last = self.kind != Kind::Query || !status.contains(Status::MORE_RESULTS_EXISTS);
        let state = if last { State::Over } else { State::Result };
        let len = self.take(buf, header, state);
        Ok(Piece::Ok {
            len,
            last,
            is_eof: first == OkPacket::EOF_HEADER,
        })
    }

    fn prepare_ok(&mut self, buf: &mut [u8], header: Header) -> Result<Piece, ProtocolError> {
        let Some(payload) = decisive(buf, header)? else {
            return Ok(Piece::NeedMore);
        };
        let PrepareOk {
            columns, params, ..
        } = PrepareOk::parse(payload)?;
        let columns = Then::Columns(columns);
        let state = match params {
            0 => columns.state(),
            params => State::Definitions {
                left: u64::from(params),
                then: columns,
            },
        };
        let len = self.take(buf, header, state);
        Ok(Piece::PrepareOk { len })
    }

    /// Hands out the complete packet at the front of `buf`; returns its size.
    fn take(&mut self, buf: &mut [u8], header: Header, state: State) -> usize {
        self.shift(buf);
        self.due = header.sequence.wrapping_add(1);
        self.state = state;
        HEADER_LEN + header.length
    }

    /// Renumbers the packet at the front of `buf`.
    #[inline]
    fn shift(&self, buf: &mut [u8]) {
        if self.sequence_shift != 0
            && let Some(sequence) = buf.get_mut(HEADER_LEN - 1)
        {
            *sequence = sequence.wrapping_add(self.sequence_shift);
        }
    }
}

/// What is due after the messages that have gone by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The first packet of a result.
    Result,
    /// The first packet of the answer to a prepare.
    Prepare,
    /// So many definitions, and then something else.
    Definitions { left: u64, then: Then },
    /// Rows, or definitions of which nobody knows the number, up to OK or ERR.
    Rows,
    /// OK or ERR.
    Outcome,
    /// OK or ERR, with a sequence id that the client's upload has made.
    AfterUpload,
    /// A packet of text.
    Statistics,
    /// Nothing.
    Over,
}

/// What is due after a block of definitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    Rows,
    /// The columns of a prepared statement, maybe none.
    Columns(u16),
}

impl Then {
    fn state(self) -> State {
        match self {
            Self::Rows => State::Rows,
            Self::Columns(0) => State::Over,
            Self::Columns(columns) => State::Definitions {
                left: u64::from(columns),
                then: Self::Columns(0),
            },
        }
    }
}

/// The first byte of a request for a file.
const LOCAL_INFILE: u8 = 0xFB;

/// The largest payload of a column count.
const MAX_COLUMN_COUNT: usize = 9;

const MALFORMED: ProtocolError = ProtocolError::Malformed { what: "response" };

/// True for the OK packet that ends rows. A row can begin with 0xFE too, the
/// mark of a length of 8 bytes, but then its first packet is full.
#[inline]
fn is_terminator(header: Header, first: Option<u8>) -> bool {
    first == Some(OkPacket::EOF_HEADER) && header.length < MAX_PAYLOAD
}

/// The number of columns, when this packet is a column count and all there.
fn column_count(header: Header, payload: &[u8]) -> Option<u64> {
    let payload = payload.get(..header.length)?;
    if matches!(
        payload.first(),
        None | Some(&(OkPacket::HEADER | OkPacket::EOF_HEADER | LOCAL_INFILE))
    ) {
        return None;
    }
    let mut reader = Reader::new(payload, "column count");
    let count = reader.int().ok()?;
    reader.is_empty().then_some(count)
}

/// The payload of a packet that has to be seen whole; `None` while it is not.
fn decisive(buf: &[u8], header: Header) -> Result<Option<&[u8]>, ProtocolError> {
    if header.length > MAX_DECISIVE {
        return Err(ProtocolError::TooLarge {
            what: "OK or ERR packet",
            size: header.length,
            limit: MAX_DECISIVE,
        });
    }
    Ok(buf.get(HEADER_LEN..HEADER_LEN + header.length))
}
