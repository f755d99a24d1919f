//! The client's side: commands come in, answers in the client's own dialect go out.

use std::io;

use bytes::BytesMut;
use isthmus_protocol::ProtocolError;
use isthmus_protocol::auth::NONCE_LEN;
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::ok::{EofPacket, OkPacket};
use isthmus_protocol::packet::{self, Assembler, Progress};
use isthmus_protocol::query_attributes::QueryForm;
use isthmus_protocol::result_set::{Form, ResultSet};
use isthmus_protocol::status::Status;

use super::{Stream, Tracking};
use crate::error::SqlError;

/// Why no command could be read.
#[derive(Debug)]
pub enum ClientError {
    /// The connection broke or was closed.
    Gone(io::Error),
    /// The client broke the protocol and is told so before it is closed.
    Refused(SqlError),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|cause| cause.downcast_ref()) {
            Some(broken) => Self::Refused(refusal(broken)),
            None => Self::Gone(error),
        }
    }
}

/// A client's connection after the handshake.
pub struct Client {
    /// The connection.
    pub stream: Stream,
    /// What was negotiated.
    pub capabilities: Capabilities,
    /// What its login was made from.
    pub nonce: [u8; NONCE_LEN],
    /// The sequence id of the next packet that is sent.
    pub sequence: u8,
    /// The status flags that the client saw last.
    pub status: Status,
    /// What it wants to hear of changes in its session, if it negotiated to hear any.
    pub tracking: Tracking,
    assembler: Assembler,
}

impl Client {
    /// A client that negotiated `capabilities`.
    pub fn new(stream: Stream, capabilities: Capabilities, nonce: [u8; NONCE_LEN]) -> Self {
        Self {
            stream,
            capabilities,
            nonce,
            sequence: 0,
            status: Status::AUTOCOMMIT,
            tracking: Tracking::default(),
            assembler: Assembler::default(),
        }
    }

    /// Whether results end in an OK packet instead of EOF packets.
    pub fn deprecates_eof(&self) -> bool {
        self.capabilities.contains(Capabilities::DEPRECATE_EOF)
    }

    /// How it sends statements.
    pub fn form(&self) -> QueryForm {
        QueryForm::of(self.capabilities)
    }

    /// Whether its OK packets have room for changes in the session.
    pub fn tracks_session(&self) -> bool {
        self.capabilities.contains(Capabilities::SESSION_TRACK)
    }

    /// Whether it wants to hear of tokens, and can.
    pub fn hears_tokens(&self) -> bool {
        self.tracking.has_token() && self.tracks_session()
    }

    /// Whether a whole command is in the buffer already.
    pub fn has_buffered(&mut self) -> bool {
        !self.stream.buffered().is_empty()
    }

    /// Reads one command, of at most `limit` bytes, with its packet headers. Sets the sequence id
    /// of the answer.
    pub async fn read_command(&mut self, limit: usize) -> Result<BytesMut, ClientError> {
        self.assembler.set_limit(limit);
        let is_compressed = self.stream.is_compressed();
        self.assembler.ignore_order(is_compressed);
        loop {
            match self.assembler.advance(self.stream.buffered()) {
                Ok(Progress::Complete {
                    framed,
                    mut sequence,
                    ..
                }) => {
                    let mut command = self.stream.take(framed);
                    if is_compressed {
                        // Clients number only frames for certain, and the backend wants packets.
                        sequence = packet::renumber(&mut command);
                    }
                    self.sequence = sequence.wrapping_add(1);
                    return Ok(command);
                }
                Ok(Progress::Incomplete { .. }) => self.stream.fill().await?,
                Err(error) => {
                    self.sequence = self.assembler.after_refusal();
                    return Err(ClientError::Refused(refusal(&error)));
                }
            }
        }
    }

    /// Whether a packet with this sequence id may come next. Inside compressed frames any may.
    pub(super) fn follows(&self, sequence: u8) -> bool {
        self.stream.is_compressed() || sequence == self.sequence
    }

    /// Sends a payload that the proxy made.
    pub async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(payload.len() + packet::HEADER_LEN);
        self.sequence = packet::put(&mut out, self.sequence, payload);
        self.stream.write_all(&out).await
    }

    /// Sends an error that the proxy made.
    pub async fn send_error(&mut self, error: &SqlError) -> io::Result<()> {
        let mut payload = Vec::new();
        error.encode(&mut payload);
        self.send(&payload).await
    }

    /// Sends an OK that the proxy made, with the status that the client saw last.
    pub async fn send_ok(&mut self) -> io::Result<()> {
        self.send_ok_packet(OkPacket::default()).await
    }

    /// The same with something to tell. The status of the packet is what it has besides.
    pub async fn send_ok_packet(&mut self, mut ok: OkPacket<'_>) -> io::Result<()> {
        let mut payload = Vec::new();
        ok.status |= self.lasting_status();
        ok.encode(OkPacket::HEADER, self.tracks_session(), &mut payload);
        self.send(&payload).await
    }

    /// Sends what ends rows: an EOF packet, or the OK that took its place.
    pub async fn send_eof(&mut self) -> io::Result<()> {
        let mut payload = Vec::new();
        if self.deprecates_eof() {
            OkPacket {
                status: self.lasting_status(),
                ..OkPacket::default()
            }
            .encode(OkPacket::EOF_HEADER, self.tracks_session(), &mut payload);
        } else {
            EofPacket {
                warnings: 0,
                status: self.lasting_status(),
            }
            .encode(&mut payload);
        }
        self.send(&payload).await
    }

    /// Sends a result set that the proxy made; `has_more` says whether other answers to the command
    /// follow.
    pub async fn send_result(
        &mut self,
        result: &ResultSet,
        form: Form,
        has_more: bool,
    ) -> io::Result<()> {
        let mut out = Vec::new();
        let (mut status, deprecates_eof) = (self.lasting_status(), self.deprecates_eof());
        status.set(Status::MORE_RESULTS_EXISTS, has_more);
        self.sequence = result.encode(form, &mut out, self.sequence, status, deprecates_eof);
        self.stream.write_all(&out).await
    }

    /// Answers the preparation of a statement whose result sets the proxy makes.
    pub async fn send_prepared(&mut self, id: u32, result: &ResultSet) -> io::Result<()> {
        let mut out = Vec::new();
        let (status, deprecates_eof) = (self.lasting_status(), self.deprecates_eof());
        self.sequence = result.encode_prepared(id, &mut out, self.sequence, status, deprecates_eof);
        self.stream.write_all(&out).await
    }

    /// The status without the flags that belong to one result.
    pub fn lasting_status(&self) -> Status {
        self.status & Status::SESSION
    }

    /// Whether an OK of the backend can reach the client as it is.
    pub(super) fn takes_as_is(&self, ok: &OkPacket<'_>, is_eof: bool) -> bool {
        if is_eof && !self.deprecates_eof() {
            return false;
        }
        ok.session_state.is_empty()
            && !ok.status.contains(Status::SESSION_STATE_CHANGED)
            && (ok.info.is_empty() || self.tracks_session())
    }

    /// Writes an OK of the backend as this client understands it, with a token if it is to be told
    /// one. `has_own_tracking` says that the server reports what the client wants to hear, instead of
    /// what the proxy does.
    pub(super) fn translate_ok(
        &self,
        ok: &OkPacket<'_>,
        is_eof: bool,
        has_own_tracking: bool,
        token: Option<&str>,
        sequence: u8,
        out: &mut Vec<u8>,
    ) {
        if is_eof && !self.deprecates_eof() {
            packet::put_with(out, sequence, |out| EofPacket::from(*ok).encode(out));
            return;
        }
        let mut ok = *ok;
        let mut heard;
        let has_changes = !ok.session_state.is_empty() || token.is_some();
        if self.tracks_session() && !has_own_tracking && has_changes {
            heard = self.tracking.heard(ok.session_state);
            if let Some(token) = token {
                self.tracking.put_token(token, &mut heard);
            }
            ok.session_state = &heard;
            ok.status
                .set(Status::SESSION_STATE_CHANGED, !heard.is_empty());
        }
        let header = match is_eof {
            true => OkPacket::EOF_HEADER,
            false => OkPacket::HEADER,
        };
        packet::put_with(out, sequence, |out| {
            ok.encode(header, self.tracks_session(), out);
        });
    }

    /// Writes the EOF packet that ends metadata for a client without DEPRECATE_EOF.
    pub(super) fn metadata_eof(&self, has_more: bool, sequence: u8, out: &mut Vec<u8>) {
        let mut status = self.lasting_status();
        status.set(Status::MORE_RESULTS_EXISTS, has_more);
        let eof = EofPacket {
            warnings: 0,
            status,
        };
        packet::put_with(out, sequence, |out| eof.encode(out));
    }
}

fn refusal(error: &ProtocolError) -> SqlError {
    match error {
        ProtocolError::TooLarge { limit, .. } => SqlError::packet_too_large(*limit),
        ProtocolError::Uncompressible => SqlError::uncompressible(),
        ProtocolError::OutOfOrder { .. } => SqlError::out_of_order(),
        other => SqlError::malformed(&other.to_string()),
    }
}
