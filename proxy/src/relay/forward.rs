//! One response, from the backend to the client.

use std::io;

use isthmus_protocol::error::ProtocolError;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::packet::{self, HEADER_LEN};
use isthmus_protocol::prepared::PrepareOk;
use isthmus_protocol::response::{Kind, Piece, Response};

use super::upload::upload;
use super::{Client, Reply, ServerError, Stream};

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

/// How a response is to be forwarded.
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    /// What the command answers with.
    pub kind: Kind,
    /// Keep back an error that says that the server may not write: the caller asks another one.
    pub hold_back_refusals: bool,
    /// The statement runs in a read-only transaction. A reader that says of a write that it is
    /// read-only itself is made to say what the writer would.
    pub is_in_read_only: bool,
    /// The statement id that the client gets to see for a PREPARE.
    pub statement_id: u32,
    /// Whether the server reports to the client what it wants to hear (see [`super::Tracking`]).
    pub has_own_tracking: bool,
    /// The sequence id of the last packet of the command, as it was sent to the backend.
    pub after: u8,
}

/// Forwards one whole response to the client. An error packet of the server is part of the reply,
/// not an `Err`.
pub async fn forward(
    backend: &mut Stream,
    client: &mut Client,
    options: Forward,
) -> Result<Reply, RelayError> {
    let mut response = Response::after(options.kind, options.after);
    response.sequence_shift = client.sequence.wrapping_sub(response.next_sequence());
    Forwarding {
        response,
        options,
        reply: Reply::default(),
        out: Vec::new(),
        ready: 0,
        rows_before: 0,
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
    mut keep: Option<&mut Vec<u8>>,
) -> Result<Reply, BackendFault> {
    let mut response = Response::new(kind);
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

/// What is put between columns and rows, and what is longer about the end of the rows.
const ROOM_FOR_EOFS: usize = 32;

struct Forwarding {
    response: Response,
    options: Forward,
    reply: Reply,
    /// Translated bytes that come before what is ready in the backend's buffer.
    out: Vec<u8>,
    /// So many bytes at the front of the backend's buffer go to the client as they are.
    ready: usize,
    /// Rows of the result sets before this one.
    rows_before: u64,
    untouched: bool,
}

impl Forwarding {
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
                    let is_held_back = self.options.hold_back_refusals
                        && self.untouched
                        && self.ready == 0
                        && error.is_for_the_writer();
                    let instead = if self.options.is_in_read_only {
                        error.in_read_only_transaction()
                    } else {
                        None
                    };
                    self.reply.error = Some(error);
                    if is_held_back {
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
                    Box::pin(self.upload(backend, client)).await?;
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
            self.gather(backend);
            client
                .stream
                .write_all(&self.out)
                .await
                .map_err(RelayError::Client)?;
            self.out.clear();
        }
        self.ready = 0;
        Ok(())
    }

    /// Moves what is ready behind the translated bytes.
    fn gather(&mut self, backend: &mut Stream) {
        let buffered = backend.buffered();
        if self.out.is_empty() {
            // Most often the whole answer is there, and all of it will come here.
            self.out.reserve(buffered.len() + ROOM_FOR_EOFS);
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
            client.metadata_eof(sequence, &mut self.out);
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
        if client.takes_as_is(&ok, is_eof) {
            self.ready += len;
            return Ok(());
        }
        self.out.extend_from_slice(ready);
        let has_own_tracking = self.options.has_own_tracking;
        client.translate_ok(&ok, is_eof, has_own_tracking, sequence, &mut self.out);
        backend.consume(self.ready + len);
        self.ready = 0;
        Ok(())
    }

    /// Puts another error in the place of the server's.
    fn replace_error(&mut self, backend: &mut Stream, len: usize, error: ServerError) {
        let sequence = backend.buffered().get(self.ready + 3).copied();
        self.gather(backend);
        backend.consume(len);
        packet::put(&mut self.out, sequence.unwrap_or_default(), &error.encode());
        self.reply.error = Some(error);
    }

    fn pass_prepare_ok(&mut self, backend: &mut Stream, len: usize) -> Result<(), RelayError> {
        let parsed = PrepareOk::parse(payload(backend, self.ready, len));
        self.reply.prepared = Some(parsed.map_err(|e| self.fault(e))?);
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
        upload(client, backend, self.response.next_sequence()).await
    }
}
