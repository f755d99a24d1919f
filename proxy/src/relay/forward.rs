//! One response, from the backend to the client.

use std::io;
use std::time::Duration;

use bitflags::bitflags;
use isthmus_protocol::error::ProtocolError;
use isthmus_protocol::ok::{EofPacket, OkPacket};
use isthmus_protocol::packet::{self, HEADER_LEN};
use isthmus_protocol::prepared::PrepareOk;
use isthmus_protocol::response::{Kind, Piece, Response};
use isthmus_protocol::status::Status;

use super::stream::COPIED;
use super::upload::upload;
use super::{Client, Reply, ServerError, Stream, liveness};
use crate::rarely::rarely;

/// Why a response did not reach the client whole.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The client went away.
    #[error("the client closed the connection: {0}")]
    Client(io::Error),
    /// The backend connection broke or does not follow the protocol.
    #[error("{cause}")]
    Backend {
        /// What happened.
        cause: BackendFault,
        /// Whether the client has not seen a byte of the response.
        untouched: bool,
    },
}

impl RelayError {
    /// The backend connection broke before the client saw anything.
    pub fn from_backend(error: io::Error) -> Self {
        Self::Backend {
            cause: error.into(),
            untouched: true,
        }
    }
}

/// What went wrong on the backend's side.
#[derive(Debug, thiserror::Error)]
pub enum BackendFault {
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bytes do not follow the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
}

bitflags! {
    /// Errors that are kept from the client, because the caller has a remedy. After each of them
    /// the statement has not run.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct HoldBack: u8 {
        /// Those that say that the writer is to be asked.
        const REFUSALS = 1;
        /// 1243: the connection does not have the prepared statement.
        const UNKNOWN_STATEMENT = 1 << 1;
        /// 1615: what the prepared statement is about has changed too often.
        const STALE_STATEMENT = 1 << 2;
        /// 1461: the server has as many prepared statements as it may.
        const NO_ROOM = 1 << 3;
        /// 1046: no schema is selected.
        const NO_SCHEMA = 1 << 4;
        /// Every error there is.
        const EVERYTHING = 1 << 5;
    }
}

impl HoldBack {
    /// Whether this is one of them.
    pub fn holds(self, error: &ServerError) -> bool {
        let own = match error.code {
            1243 => Self::UNKNOWN_STATEMENT,
            1615 => Self::STALE_STATEMENT,
            1461 => Self::NO_ROOM,
            1046 => Self::NO_SCHEMA,
            _ if error.is_for_the_writer() => Self::REFUSALS,
            _ => Self::empty(),
        };
        self.intersects(own | Self::EVERYTHING)
    }
}

/// Makes the token that a client is told with an OK packet, of the packet; `None` for none.
pub type MakeToken<'a> = &'a (dyn Fn(&OkPacket<'_>) -> Option<String> + Sync);

/// How a response is to be forwarded.
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    /// What the command answers with.
    pub kind: Kind,
    /// Which errors the client does not get to see, because the caller asks another server.
    pub hold_back: HoldBack,
    /// The statement runs in a read-only transaction. A reader that says of a write that it is
    /// read-only itself is made to say what the writer would.
    pub is_in_read_only: bool,
    /// The statement id that the client gets to see for a PREPARE.
    pub statement_id: u32,
    /// Whether the server reports to the client what it wants to hear (see [`super::Tracking`]).
    pub has_own_tracking: bool,
    /// Makes the tokens that the client is told, if it wants to hear of them.
    pub token: Option<MakeToken<'a>>,
    /// What is to be known before the client hears that its statement has succeeded.
    pub on_ok: Option<&'a (dyn Fn() + Sync)>,
    /// Whether the client is told of one warning more than the server has.
    pub adds_warning: bool,
    /// The status flags of the session, where the connection is not the one that knows them.
    pub session: Option<Status>,
    /// The sequence id of the last packet of the command, as it was sent to the backend.
    pub after: u8,
    /// How long the client may be silent in the middle of an upload, if it has said so itself.
    pub read_timeout: Option<Duration>,
    /// How many results there will be, as far as that is known: no more than this.
    pub results: usize,
}

/// Forwards one whole response to the client. An error packet of the server is part of the reply,
/// not an `Err`.
pub async fn forward(
    backend: &mut Stream,
    client: &mut Client,
    options: Forward<'_>,
) -> Result<Reply, RelayError> {
    let mut response = Response::after(options.kind, options.after);
    response.is_compressed = backend.is_compressed();
    response.sequence_shift = client.sequence.wrapping_sub(response.next_sequence());
    Forwarding {
        response,
        options,
        reply: Reply::default(),
        out: Vec::new(),
        ready: 0,
        left_over: 0,
        rows_before: 0,
        results: 0,
        metadata_eof: None,
        untouched: true,
    }
    .run(backend, client)
    .await
}

/// Reads one whole response that the client does not get to see. Rows are dropped, except that
/// `keep` gets the bytes of everything before the terminator.
pub async fn swallow(
    backend: &mut Stream,
    kind: Kind,
    keep: Option<&mut Vec<u8>>,
) -> Result<Reply, BackendFault> {
    swallow_after(backend, kind, 0, keep).await
}

/// The same for the response to a command whose last packet had the sequence id `after`.
pub async fn swallow_after(
    backend: &mut Stream,
    kind: Kind,
    after: u8,
    mut keep: Option<&mut Vec<u8>>,
) -> Result<Reply, BackendFault> {
    let mut response = Response::after(kind, after);
    response.is_compressed = backend.is_compressed();
    let mut reply = Reply::default();
    while !response.is_over() {
        let len = match response.next(backend.buffered())? {
            Piece::NeedMore => {
                backend.fill().await?;
                continue;
            }
            Piece::MetadataEnd => continue,
            Piece::Run(len) => {
                if let Some(keep) = &mut keep {
                    keep.extend_from_slice(backend.buffered().get(..len).unwrap_or_default());
                }
                len
            }
            Piece::Ok { len, is_eof, .. } => {
                let ok = OkPacket::parse(payload(backend, 0, len), true)?;
                reply.add_ok(&ok, is_eof.then_some(response.rows));
                len
            }
            Piece::Err { len } => {
                reply.error = Some(ServerError::parse(payload(backend, 0, len))?);
                len
            }
            Piece::PrepareOk { len } => {
                reply.prepared = Some(PrepareOk::parse(payload(backend, 0, len))?);
                len
            }
            Piece::LocalInfile { .. } => {
                return Err(ProtocolError::Malformed {
                    what: "a request for a local file",
                }
                .into());
            }
        };
        backend.consume(len);
    }
    Ok(reply)
}

fn payload(stream: &mut Stream, from: usize, len: usize) -> &[u8] {
    stream
        .buffered()
        .get(from + HEADER_LEN..from + len)
        .unwrap_or_default()
}

/// The first `ready` bytes, and the `len` behind them.
fn split(buffered: &[u8], ready: usize, len: usize) -> (&[u8], &[u8]) {
    let (ready, rest) = buffered.split_at_checked(ready).unwrap_or_default();
    (ready, rest.get(..len).unwrap_or_default())
}

/// What a server knows when it has sent the columns, and what an EOF packet behind them tells. What
/// follows it may be the last that some clients read before they decide what comes next.
const AT_METADATA: Status = Status::TRANSACTION
    .union(Status::AUTOCOMMIT)
    .union(Status::NO_BACKSLASH_ESCAPES)
    .union(Status::ANSI_QUOTES)
    .union(Status::MORE_RESULTS_EXISTS)
    .union(Status::PS_OUT_PARAMS);

/// What is put between columns and rows, and what is longer about the end of the rows.
const ROOM_FOR_EOFS: usize = 32;

struct Forwarding<'a> {
    response: Response,
    options: Forward<'a>,
    reply: Reply,
    /// Translated bytes that come before what is ready in the backend's buffer.
    out: Vec<u8>,
    /// So many bytes at the front of the backend's buffer go to the client as they are.
    ready: usize,
    /// So many behind those are not for the client, and are the last of the response.
    left_over: usize,
    /// Rows of the result sets before this one.
    rows_before: u64,
    /// Results that are over.
    results: usize,
    /// Where the status flags of an EOF packet are in `out` that the proxy has put between columns
    /// and rows.
    metadata_eof: Option<usize>,
    untouched: bool,
}

impl Forwarding<'_> {
    async fn run(mut self, backend: &mut Stream, client: &mut Client) -> Result<Reply, RelayError> {
        while !self.response.is_over() {
            let piece = self
                .response
                .next(backend.buffered().get_mut(self.ready..).unwrap_or_default());
            let piece = piece.map_err(|e| self.fault(e))?;
            match piece {
                Piece::Run(len) => self.ready += len,
                Piece::NeedMore => {
                    self.flush(backend, client).await?;
                    self.wait(backend, client).await?;
                }
                Piece::MetadataEnd => self.end_metadata(backend, client),
                Piece::Ok { len, is_eof, .. } => self.pass_ok(backend, client, len, is_eof)?,
                Piece::Err { len } => {
                    let error = ServerError::parse(payload(backend, self.ready, len));
                    let error = error.map_err(|e| self.fault(e))?;
                    let is_first = self.untouched && self.ready == 0 && self.out.is_empty();
                    let is_held_back = is_first && self.options.hold_back.holds(&error);
                    let instead = if self.options.is_in_read_only {
                        error.in_read_only_transaction()
                    } else {
                        None
                    };
                    self.reply.error = Some(error);
                    if is_held_back {
                        self.reply.is_held_back = true;
                        backend.consume(len);
                        return Ok(self.reply);
                    }
                    match instead {
                        Some(error) => self.replace_error(backend, len, error),
                        None => self.ready += len,
                    }
                }
                Piece::PrepareOk { len } => self.pass_prepare_ok(backend, len)?,
                Piece::LocalInfile { len } => {
                    self.ready += len;
                    self.flush(backend, client).await?;
                    rarely(self.upload(backend, client)).await?;
                }
            }
        }
        self.flush(backend, client).await?;
        if let Some(status) = self.reply.status {
            client.status = status;
        }
        Ok(self.reply)
    }

    fn fault(&self, cause: impl Into<BackendFault>) -> RelayError {
        RelayError::Backend {
            cause: cause.into(),
            untouched: self.untouched,
        }
    }

    /// Waits for more of the response, or for the client to go away.
    async fn wait(&self, backend: &mut Stream, client: &mut Client) -> Result<(), RelayError> {
        tokio::select! {
            biased;
            filled = backend.fill() => filled.map_err(|e| self.fault(e)),
            () = client.stream.closed() => {
                Err(RelayError::Client(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }

    /// Sends everything that is ready.
    async fn flush(&mut self, backend: &mut Stream, client: &mut Client) -> Result<(), RelayError> {
        if self.out.is_empty() {
            if self.ready > 0 {
                self.untouched = false;
                client
                    .stream
                    .forward_from(backend, self.ready)
                    .await
                    .map_err(RelayError::Client)?;
            }
        } else {
            self.untouched = false;
            client
                .stream
                .forward_behind(&mut self.out, backend, self.ready)
                .await
                .map_err(RelayError::Client)?;
            self.out.clear();
            self.metadata_eof = None;
        }
        self.ready = 0;
        backend.consume(std::mem::take(&mut self.left_over));
        Ok(())
    }

    /// Moves what is ready behind the translated bytes.
    fn gather(&mut self, backend: &mut Stream) {
        let buffered = backend.buffered();
        if self.out.is_empty() {
            // Most often the whole answer is there, and if it is short, all of it will come here.
            let coming = buffered.len().min(self.ready + COPIED);
            self.out.reserve(coming + ROOM_FOR_EOFS);
        }
        self.out
            .extend_from_slice(buffered.get(..self.ready).unwrap_or_default());
        backend.consume(self.ready);
        self.ready = 0;
    }

    /// Gives a client that expects it the EOF between columns and rows.
    fn end_metadata(&mut self, backend: &mut Stream, client: &Client) {
        if !client.deprecates_eof() {
            self.gather(backend);
            let sequence = self
                .response
                .next_sequence()
                .wrapping_add(self.response.sequence_shift);
            let has_more = self.results + 1 < self.options.results;
            client.metadata_eof(has_more, sequence, &mut self.out);
            self.metadata_eof = Some(self.out.len() - 2);
            self.response.sequence_shift = self.response.sequence_shift.wrapping_add(1);
        }
    }

    fn pass_ok(
        &mut self,
        backend: &mut Stream,
        client: &Client,
        len: usize,
        is_eof: bool,
    ) -> Result<(), RelayError> {
        let (ready, packet) = split(backend.buffered(), self.ready, len);
        let sequence = packet.get(3).copied().unwrap_or_default();
        let parsed = OkPacket::parse(packet.get(HEADER_LEN..).unwrap_or_default(), true);
        let ok = parsed.map_err(|e| RelayError::Backend {
            cause: e.into(),
            untouched: self.untouched,
        })?;
        self.reply
            .add_ok(&ok, is_eof.then_some(self.response.rows - self.rows_before));
        self.rows_before = self.response.rows;
        self.results += 1;
        if let Some(place) = self.metadata_eof.take() {
            // Now it is known what a server would have said there.
            let known = ok.status & AT_METADATA;
            if let Some(bytes) = self.out.get_mut(place..place + 2) {
                bytes.copy_from_slice(&known.bits().to_le_bytes());
            }
        }
        if let Some(note) = self.options.on_ok {
            note();
        }
        let adds_warning = self.options.adds_warning;
        let token = self.options.token.and_then(|make| make(&ok));
        let status = match self.options.session {
            Some(session) => (ok.status - Status::SESSION) | (session & Status::SESSION),
            None => ok.status,
        };
        let is_changed = adds_warning || token.is_some() || status != ok.status;
        if !is_changed && client.takes_as_is(&ok, is_eof) {
            self.ready += len;
            return Ok(());
        }
        let mut ok = ok;
        ok.status = status;
        ok.warnings = ok.warnings.saturating_add(u16::from(adds_warning));
        if is_eof && !client.deprecates_eof() && self.response.is_over() {
            let eof = EofPacket::from(ok);
            self.end_rows(backend, eof, sequence, len);
            return Ok(());
        }
        self.out.extend_from_slice(ready);
        let has_own_tracking = self.options.has_own_tracking;
        client.translate_ok(
            &ok,
            is_eof,
            has_own_tracking,
            token.as_deref(),
            sequence,
            &mut self.out,
        );
        backend.consume(self.ready + len);
        self.ready = 0;
        Ok(())
    }

    /// Puts the EOF that a client expects in the place of the OK at the end of all rows. It is
    /// shorter, and nothing follows, so the rows stay where they are.
    fn end_rows(&mut self, backend: &mut Stream, eof: EofPacket, sequence: u8, len: usize) {
        let before = self.out.len();
        packet::put_with(&mut self.out, sequence, |out| eof.encode(out));
        let eof = self.out.get(before..).unwrap_or_default();
        if let Some(place) = backend
            .buffered()
            .get_mut(self.ready..self.ready + eof.len())
        {
            place.copy_from_slice(eof);
        }
        self.ready += eof.len();
        self.left_over = len - eof.len();
        self.out.truncate(before);
    }

    /// Puts another error in the place of the server's.
    fn replace_error(&mut self, backend: &mut Stream, len: usize, error: ServerError) {
        let sequence = backend.buffered().get(self.ready + 3).copied();
        self.gather(backend);
        backend.consume(len);
        packet::put(&mut self.out, sequence.unwrap_or_default(), &error.encode());
        self.reply.error = Some(error);
        self.reply.is_replaced = true;
    }

    fn pass_prepare_ok(&mut self, backend: &mut Stream, len: usize) -> Result<(), RelayError> {
        let parsed = PrepareOk::parse(payload(backend, self.ready, len));
        let prepared = parsed.map_err(|e| self.fault(e))?;
        self.reply.warnings = prepared.warnings;
        self.reply.prepared = Some(prepared);
        // The id stands right behind the header and the OK byte.
        let id = self.ready + HEADER_LEN + 1;
        if let Some(bytes) = backend.buffered().get_mut(id..id + 4) {
            bytes.copy_from_slice(&self.options.statement_id.to_le_bytes());
        }
        self.ready += len;
        Ok(())
    }

    /// Moves the client's file to the backend.
    async fn upload(
        &mut self,
        backend: &mut Stream,
        client: &mut Client,
    ) -> Result<(), RelayError> {
        let limit = liveness::lift_limit(backend.tcp()).map_err(|e| self.fault(e))?;
        let due = self.response.next_sequence();
        client.sequence = due.wrapping_add(self.response.sequence_shift);
        let next = upload(
            client,
            backend,
            due,
            self.options.read_timeout.unwrap_or(Duration::MAX),
        )
        .await?;
        self.response.uploaded(next);
        // Until it answers, the end of the file may lie in buffers for which the server has no room.
        self.wait(backend, client).await?;
        liveness::set_limit(backend.tcp(), limit).map_err(|e| self.fault(e))
    }
}
