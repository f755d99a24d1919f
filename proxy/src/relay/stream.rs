//! One side of a conversation: a TCP connection, with TLS or without, and the bytes that came
//! from it and are not consumed yet.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use isthmus_protocol::packet::{self, Header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// The first read of a response or command asks for this many bytes.
const READ_SIZE: usize = 16 * 1024;
/// Where reads keep filling the buffer, it grows to this: fewer system calls per byte.
const LARGE_READ_SIZE: usize = 128 * 1024;

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection with its read buffer. At rest (nothing read that is not consumed) the buffer is
/// freed, so that an idle connection costs no more than its socket.
pub struct Stream {
    transport: Transport,
    buffer: BytesMut,
    read_size: usize,
}

impl Stream {
    /// A connection without TLS. Nagle's algorithm is switched off: packets are whole messages.
    pub fn plain(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        Ok(Self {
            transport: Transport::Plain(tcp),
            buffer: BytesMut::new(),
            read_size: READ_SIZE,
        })
    }

    /// The connection inside TLS, after the handshake.
    pub fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self {
            transport: Transport::Tls(Box::new(tls)),
            buffer: BytesMut::new(),
            read_size: READ_SIZE,
        }
    }

    /// Gives back the bare TCP connection for a TLS handshake. `None` if TLS is on already or if
    /// bytes were read ahead, which would belong to the handshake.
    pub fn into_plain(self) -> Option<TcpStream> {
        match self.transport {
            Transport::Plain(tcp) if self.buffer.is_empty() => Some(tcp),
            _ => None,
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// The name that the client certificate or the peer's address gives for messages.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr()
    }

    fn tcp(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(tcp) => tcp,
            Transport::Tls(tls) => tls.get_ref().0,
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

    /// Gives the buffer's memory back. Only for a connection at rest: buffered bytes stay.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.read_size = READ_SIZE;
        }
    }

    /// Reads what is there, at least one byte.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closed the connection.
    pub async fn fill(&mut self) -> io::Result<()> {
        if self.read_size == READ_SIZE {
            return self.fill_a_little().await;
        }
        self.buffer.reserve(self.read_size);
        let n = match &mut self.transport {
            Transport::Plain(tcp) => tcp.read_buf(&mut self.buffer).await?,
            Transport::Tls(tls) => tls.read_buf(&mut self.buffer).await?,
        };
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Reads by way of the stack: most commands and answers are short, and a buffer of their own
    /// size costs less than one that could hold the longest, which would be made and given back
    /// for each of them. None is held while nothing has come.
    async fn fill_a_little(&mut self) -> io::Result<()> {
        let n = poll_fn(|context| {
            let mut scratch = [const { MaybeUninit::uninit() }; READ_SIZE];
            let mut scratch = ReadBuf::uninit(&mut scratch);
            ready!(match &mut self.transport {
                Transport::Plain(tcp) => Pin::new(tcp).poll_read(context, &mut scratch),
                Transport::Tls(tls) => Pin::new(tls).poll_read(context, &mut scratch),
            })?;
            self.buffer.extend_from_slice(scratch.filled());
            Poll::Ready(io::Result::Ok(scratch.filled().len()))
        })
        .await?;
        match n {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            READ_SIZE => self.read_size = LARGE_READ_SIZE,
            _ => {}
        }
        Ok(())
    }

    /// Waits until something can be read, without holding a buffer meanwhile.
    pub async fn readable(&mut self) -> io::Result<()> {
        match &mut self.transport {
            Transport::Plain(tcp) if self.buffer.is_empty() => {
                poll_fn(|context| tcp.poll_read_ready(context)).await
            }
            // TLS may hold decrypted bytes that the socket knows nothing about.
            _ => self.fill().await,
        }
    }

    /// Reads exactly one packet of at most `limit` bytes, never further: for handshakes, where the
    /// bytes that follow may belong to TLS. Returns its sequence id and payload.
    ///
    /// # Errors
    /// `InvalidData` for a longer packet, and what the connection fails with.
    pub async fn read_packet_exactly(&mut self, limit: usize) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; packet::HEADER_LEN];
        self.read_exact(&mut head).await?;
        let header = Header::parse(&head).ok_or(io::ErrorKind::InvalidData)?;
        if header.length > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "a packet of {} bytes where at most {limit} are expected",
                    header.length
                ),
            ));
        }
        let mut payload = vec![0; header.length];
        self.read_exact(&mut payload).await?;
        Ok((header.sequence, payload))
    }

    async fn read_exact(&mut self, out: &mut [u8]) -> io::Result<()> {
        match &mut self.transport {
            Transport::Plain(tcp) => tcp.read_exact(out).await?,
            Transport::Tls(tls) => tls.read_exact(out).await?,
        };
        Ok(())
    }

    /// Sends all of `bytes`.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.transport {
            Transport::Plain(tcp) => tcp.write_all(bytes).await,
            Transport::Tls(tls) => {
                tls.write_all(bytes).await?;
                tls.flush().await
            }
        }
    }

    /// Sends the first `n` buffered bytes of `other` and consumes them there.
    pub async fn forward_from(&mut self, other: &mut Stream, n: usize) -> io::Result<()> {
        self.write_all(other.buffer.get(..n).unwrap_or_default())
            .await?;
        other.buffer.advance(n);
        Ok(())
    }

    /// Whether a connection at rest has been closed by its peer, or has sent something that nobody
    /// asked for. Costs a system call only when the socket was reported readable.
    pub fn is_spent(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return true;
        }
        let mut byte = [0; 1];
        let mut byte = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        let read = match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(&mut context, &mut byte),
            // Through TLS, since its session tickets arrive without being asked for.
            Transport::Tls(tls) => Pin::new(tls).poll_read(&mut context, &mut byte),
        };
        read.is_ready()
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

    /// Reads and forgets what still comes, until the peer closes or `patience` is over. A connection
    /// that is closed with unread bytes is reset, and the peer may never see what was sent last.
    pub async fn drain(&mut self, patience: Duration) {
        self.shutdown().await;
        let forgetting = async {
            while self.fill().await.is_ok() {
                self.buffer.clear();
            }
        };
        let _ = tokio::time::timeout(patience, forgetting).await;
    }

    /// Says goodbye at the TLS and TCP level. Errors do not matter any more.
    pub async fn shutdown(&mut self) {
        let _ = match &mut self.transport {
            Transport::Plain(tcp) => tcp.shutdown().await,
            Transport::Tls(tls) => tls.shutdown().await,
        };
    }
}
