//! One side of a conversation: a TCP connection, with TLS or without, compressed or not, and the
//! bytes that came from it and are not consumed yet.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use isthmus_protocol::compression::Compression;
use isthmus_protocol::packet::{self, Header};
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::compressed::{Compressed, Meter};
use super::patience::{Ending, Patience};
use super::socket::Socket;

/// The first read of a response or command asks for this many bytes.
pub(super) const READ_SIZE: usize = 16 * 1024;
/// Where reads keep filling the buffer, it grows to this: fewer system calls per byte.
const LARGE_READ_SIZE: usize = 128 * 1024;
/// A client's connection at rest keeps a buffer of this size, so that short commands need no new one.
/// One to a server, of which there are fewer, keeps one for whole answers.
const KEPT_SIZE: usize = 512;
/// What is shorter is copied behind what goes in front of it, instead of being sent from its place.
pub(super) const COPIED: usize = 1024;

/// How long a peer may take to make room for TLS's goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

enum Transport {
    Bare(Socket),
    Compressed(Box<Compressed>),
}

/// A connection with its read buffer. At rest (nothing read that is not consumed) a buffer that is
/// larger than is kept is freed, so that an idle connection costs little more than its socket.
pub struct Stream {
    transport: Transport,
    buffer: BytesMut,
    read_size: usize,
    kept_size: usize,
}

impl Stream {
    /// A connection without TLS. Nagle's algorithm is switched off: packets are whole messages.
    pub fn plain(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        Ok(Self::over(Socket::plain(tcp)))
    }

    /// The connection inside TLS, after the handshake.
    pub fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self::over(Socket::tls(tls))
    }

    fn over(socket: Socket) -> Self {
        Self {
            transport: Transport::Bare(socket),
            buffer: BytesMut::new(),
            read_size: READ_SIZE,
            kept_size: KEPT_SIZE,
        }
    }

    /// The same connection as one to a server.
    pub fn to_server(self) -> Self {
        Self {
            kept_size: READ_SIZE,
            ..self
        }
    }

    /// The same connection with everything that follows in compressed frames.
    pub fn compressed(self, compression: Compression, meter: Option<Meter>) -> Self {
        let transport = match self.transport {
            Transport::Bare(socket) => {
                let compressed = Compressed::new(socket, compression, meter);
                Transport::Compressed(Box::new(compressed))
            }
            compressed @ Transport::Compressed(_) => compressed,
        };
        Self { transport, ..self }
    }

    /// From now on, whoever is at the other end has `limit` to take something of what is sent, or
    /// until `ending` says that it is over.
    pub fn be_patient(&mut self, limit: Duration, ending: Arc<dyn Ending>) {
        self.socket_mut().patience = Some(Box::new(Patience { limit, ending }));
    }

    /// Gives back the bare TCP connection for a TLS handshake. `None` if TLS is on already or if
    /// bytes were read ahead, which would belong to the handshake.
    pub fn into_plain(self) -> Option<TcpStream> {
        match self.transport {
            Transport::Bare(socket) if self.buffer.is_empty() => socket.into_plain(),
            _ => None,
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.socket().is_tls()
    }

    /// Whether the connection is compressed.
    pub fn is_compressed(&self) -> bool {
        matches!(self.transport, Transport::Compressed(_))
    }

    /// The name that the client certificate or the peer's address gives for messages.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr()
    }

    fn socket(&self) -> &Socket {
        match &self.transport {
            Transport::Bare(socket) => socket,
            Transport::Compressed(compressed) => &compressed.socket,
        }
    }

    fn socket_mut(&mut self) -> &mut Socket {
        match &mut self.transport {
            Transport::Bare(socket) => socket,
            Transport::Compressed(compressed) => &mut compressed.socket,
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        self.socket().tcp()
    }

    /// The next bytes are a new command of the client's, whose packet may have `limit` bytes. For
    /// a compressed connection, which counts its frames anew.
    pub fn expect_command(&mut self, limit: usize) {
        if let Transport::Compressed(compressed) = &mut self.transport {
            compressed.compression.expect_command(limit);
        }
    }

    /// The bytes that came and are not consumed.
    pub fn buffered(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// Drops the first `n` buffered bytes.
    pub fn consume(&mut self, n: usize) {
        self.buffer.advance(n);
    }

    /// Takes the first `n` buffered bytes out of the buffer.
    pub fn take(&mut self, n: usize) -> BytesMut {
        if n == self.buffer.len() {
            return std::mem::take(&mut self.buffer);
        }
        self.buffer.split_to(n)
    }

    /// Takes the memory of what [`Stream::take`] gave for what comes next.
    pub fn reuse(&mut self, taken: BytesMut) {
        if self.buffer.is_empty() {
            self.buffer = taken;
            self.buffer.clear();
        }
    }

    /// Gives back what the buffer has more than is kept. Only for a connection at rest: buffered bytes stay.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() {
            // Makes the capacity whole again, of which what was consumed took its part.
            if !self.buffer.try_reclaim(self.kept_size) || self.buffer.capacity() > self.kept_size {
                self.buffer = BytesMut::new();
            }
            self.read_size = READ_SIZE;
        }
        if let Transport::Compressed(compressed) = &mut self.transport {
            compressed.rest();
        }
    }

    /// Reads what is there, at least one byte.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closed the connection; a [`ProtocolError`] inside when it
    /// sent a frame that cannot be.
    ///
    /// [`ProtocolError`]: isthmus_protocol::ProtocolError
    pub async fn fill(&mut self) -> io::Result<()> {
        let buffer = &mut self.buffer;
        let n = match &mut self.transport {
            Transport::Bare(socket) => {
                let n = if self.read_size == READ_SIZE && self.kept_size < READ_SIZE {
                    read_a_little(socket, buffer).await?
                } else {
                    buffer.reserve(self.read_size);
                    socket.read_buf(buffer).await?
                };
                if n >= READ_SIZE {
                    self.read_size = LARGE_READ_SIZE;
                }
                n
            }
            Transport::Compressed(compressed) => {
                return poll_fn(|context| compressed.poll_fill(context, buffer)).await;
            }
        };
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Waits until something can be read, without holding a buffer meanwhile.
    pub async fn readable(&mut self) -> io::Result<()> {
        let at_rest = match &self.transport {
            _ if !self.buffer.is_empty() => None,
            Transport::Bare(socket) => socket.as_plain(),
            Transport::Compressed(compressed) => compressed.plain(),
        };
        match at_rest {
            Some(tcp) => poll_fn(|context| tcp.poll_read_ready(context)).await,
            None => self.fill().await,
        }
    }

    /// Reads exactly the header of a packet, never further: for handshakes, where the bytes that
    /// follow may belong to TLS.
    pub async fn read_header_exactly(&mut self) -> io::Result<Header> {
        let mut head = [0; packet::HEADER_LEN];
        self.read_exact(&mut head).await?;
        Header::parse(&head).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads exactly the payload that the header promises, whose length the caller has looked at.
    pub async fn read_payload_exactly(&mut self, header: Header) -> io::Result<Vec<u8>> {
        let mut payload = vec![0; header.length];
        self.read_exact(&mut payload).await?;
        Ok(payload)
    }

    async fn read_exact(&mut self, out: &mut [u8]) -> io::Result<()> {
        if let Transport::Bare(socket) = &mut self.transport {
            return socket.read_exact(out).await;
        }
        while self.buffer.len() < out.len() {
            self.fill().await?;
        }
        self.buffer.copy_to_slice(out);
        Ok(())
    }

    /// Sends all of `bytes`: whole commands to a server, or an answer to a client.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.transport {
            Transport::Bare(socket) => socket.write_all(bytes).await,
            // Boxed, so that no session carries the room for what few of them do.
            Transport::Compressed(compressed) => Box::pin(compressed.write_all(bytes)).await,
        }
    }

    /// Sends the first `n` buffered bytes of `other` and consumes them there: a part of a command
    /// or of an answer.
    pub async fn forward_from(&mut self, other: &mut Stream, n: usize) -> io::Result<()> {
        let bytes = other.buffer.get(..n).unwrap_or_default();
        match &mut self.transport {
            Transport::Bare(socket) => socket.write_all(bytes).await?,
            Transport::Compressed(compressed) => Box::pin(compressed.write_more(bytes)).await?,
        }
        other.buffer.advance(n);
        Ok(())
    }

    /// Sends `front`, and behind it the first `n` buffered bytes of `other`, which are consumed there.
    pub async fn forward_behind(
        &mut self,
        front: &mut Vec<u8>,
        other: &mut Stream,
        n: usize,
    ) -> io::Result<()> {
        let bytes = other.buffer.get(..n).unwrap_or_default();
        match &mut self.transport {
            Transport::Bare(socket) if !socket.is_tls() && bytes.len() >= COPIED => {
                socket.write_both(front, bytes).await?;
            }
            _ => {
                front.extend_from_slice(bytes);
                self.write_all(front).await?;
            }
        }
        other.buffer.advance(n);
        Ok(())
    }

    /// Whether a connection at rest has been closed by its peer, or has sent something that nobody
    /// asked for. Costs a system call only when the socket was reported readable.
    pub fn is_spent(&mut self) -> bool {
        let has_raw = match &self.transport {
            Transport::Bare(_) => false,
            Transport::Compressed(compressed) => !compressed.raw.is_empty(),
        };
        if has_raw || !self.buffer.is_empty() {
            return true;
        }
        let mut byte = [0; 1];
        let mut byte = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        // Through TLS, since its session tickets arrive without being asked for.
        self.socket_mut()
            .poll_read(&mut context, &mut byte)
            .is_ready()
    }

    /// Completes when the peer has closed its side; never completes for a peer that merely sends,
    /// be it its next command or TLS's goodbye.
    pub async fn closed(&self) {
        // Nothing to read: nothing has happened. This costs less than to wait for what follows.
        let _ = poll_fn(|context| self.tcp().poll_read_ready(context)).await;
        // Not READABLE, which bytes that wait in the socket satisfy again and again. PRIORITY is
        // satisfied by the peer's closing, and else by urgent data, which no client sends.
        let _ = self.tcp().ready(Interest::PRIORITY).await;
    }

    /// Whether the peer has closed its side, as far as that was reported. Costs no system call.
    pub fn is_closed(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(self.closed()).poll(&mut context).is_ready()
    }

    /// Reads and forgets what still comes, until the peer closes or `patience` is over. A connection
    /// that is closed with unread bytes is reset, and the peer may never see what was sent last.
    pub async fn drain(&mut self, patience: Duration) {
        self.shutdown().await;
        let mut forgotten = BytesMut::new();
        let socket = self.socket_mut();
        let forgetting = async {
            while read_a_little(socket, &mut forgotten)
                .await
                .is_ok_and(|n| n > 0)
            {
                forgotten.clear();
            }
        };
        let _ = tokio::time::timeout(patience, forgetting).await;
    }

    /// Says goodbye at the TLS and TCP level. Errors do not matter any more, nor does a peer that
    /// takes nothing.
    pub async fn shutdown(&mut self) {
        let _ = tokio::time::timeout(GOODBYE, self.socket_mut().shutdown()).await;
    }
}

/// Reads by way of the stack: most commands and answers are short, and a buffer of their own
/// size costs less than one that could hold the longest, which would be made and given back
/// for each of them. None is held while nothing has come. Returns how many bytes came.
async fn read_a_little(socket: &mut Socket, buffer: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|context| {
        let mut scratch = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut scratch = ReadBuf::uninit(&mut scratch);
        ready!(socket.poll_read(context, &mut scratch))?;
        buffer.reserve(scratch.filled().len().max(KEPT_SIZE));
        buffer.extend_from_slice(scratch.filled());
        Poll::Ready(Ok(scratch.filled().len()))
    })
    .await
}
