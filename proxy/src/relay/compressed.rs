//! A connection whose packets travel in compressed frames.

use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use isthmus_protocol::compression::{Compression, Content, MAX_CONTENT, whole_packets};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::socket::Socket;
use super::stream::READ_SIZE;
use crate::admin::metrics::{CounterBy, Direction};

/// Counts the bytes of a compressed connection.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Of packets.
    pub packets: CounterBy<Direction>,
    /// Of the frames that they travelled in.
    pub frames: CounterBy<Direction>,
}

pub(super) struct Compressed {
    pub(super) socket: Socket,
    pub(super) compression: Compression,
    /// What came and is not unpacked yet: a part of a frame, or those of the commands that follow.
    pub(super) raw: BytesMut,
    /// The beginning of a packet for a client, which goes out in one piece.
    torn: BytesMut,
    meter: Option<Meter>,
}

impl Compressed {
    pub(super) fn new(socket: Socket, compression: Compression, meter: Option<Meter>) -> Self {
        Self {
            socket,
            compression,
            raw: BytesMut::new(),
            torn: BytesMut::new(),
            meter,
        }
    }

    /// The TCP connection, if it knows about every byte that can be read.
    pub(super) fn plain(&self) -> Option<&TcpStream> {
        self.socket.as_plain().filter(|_| self.raw.is_empty())
    }

    /// Unpacks one frame to the end of `out`, one that is not empty. Reads until it is there.
    pub(super) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        out: &mut BytesMut,
    ) -> Poll<io::Result<()>> {
        loop {
            let before = out.len();
            while self.unpack(out).map_err(io::Error::other)? {
                if out.len() > before {
                    return Poll::Ready(Ok(()));
                }
            }
            let mut scratch = [const { MaybeUninit::uninit() }; READ_SIZE];
            let mut scratch = ReadBuf::uninit(&mut scratch);
            ready!(self.socket.poll_read(context, &mut scratch))?;
            if scratch.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.raw.extend_from_slice(scratch.filled());
        }
    }

    /// Unpacks the frame that has come, if one has.
    fn unpack(&mut self, out: &mut BytesMut) -> Result<bool, isthmus_protocol::ProtocolError> {
        let Some(frame) = self.compression.next(&self.raw)? else {
            return Ok(false);
        };
        let (start, framed) = (out.len(), frame.framed_len());
        out.resize(start + frame.content_len(), 0);
        frame.unpack(out.get_mut(start..).unwrap_or_default())?;
        if let Some(meter) = &self.meter {
            meter.count(Direction::Received, frame.content_len(), framed);
        }
        self.raw.advance(framed);
        Ok(true)
    }

    /// Gives memory back. Only for a connection at rest.
    pub(super) fn rest(&mut self) {
        for buffer in [&mut self.raw, &mut self.torn] {
            if buffer.is_empty() {
                *buffer = BytesMut::new();
            }
        }
    }

    /// Sends all of `bytes`: whole commands to a server, or an answer to a client.
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.compression.is_of_server() {
            self.write(Content::of_commands(bytes)).await
        } else {
            self.write_answer(bytes).await
        }
    }

    /// Sends all of `bytes`: a part of a command to a server, or of an answer to a client.
    pub(super) async fn write_more(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.compression.is_of_server() {
            self.write(Content::of_more(bytes)).await
        } else {
            self.write_answer(bytes).await
        }
    }

    /// Sends the packets that are whole, and keeps the beginning of the next one.
    async fn write_answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn.is_empty() {
            let (packets, torn) = bytes.split_at(whole_packets(bytes));
            self.torn.extend_from_slice(torn);
            return self.write(Content::of_packets(packets)).await;
        }
        self.torn.extend_from_slice(bytes);
        let packets = self.torn.split_to(whole_packets(&self.torn));
        self.write(Content::of_packets(&packets)).await
    }

    /// Sends all of the contents. Those that are small go out in one write.
    async fn write<'a>(&mut self, contents: impl Iterator<Item = Content<'a>>) -> io::Result<()> {
        let mut out = Vec::new();
        for content in contents {
            let before = out.len();
            self.put(content, &mut out).await?;
            if let Some(meter) = &self.meter {
                meter.count(Direction::Sent, content.bytes.len(), out.len() - before);
            }
            if content.bytes.len() >= MAX_CONTENT {
                self.socket.write_all(&out).await?;
                out.clear();
                // That took a while: it is somebody else's turn.
                tokio::task::yield_now().await;
            }
        }
        self.socket.write_all(&out).await
    }

    async fn put(&mut self, content: Content<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        if content.bytes.len() <= MAX_CONTENT {
            self.compression.put(content, out);
            return Ok(());
        }
        // A single long packet: nobody else shall wait for it.
        let mut compression = self.compression.clone();
        let (bytes, is_first) = (content.bytes.to_vec(), content.is_first);
        let compressing = tokio::task::spawn_blocking(move || {
            let mut framed = Vec::new();
            let bytes = &bytes;
            compression.put(Content { bytes, is_first }, &mut framed);
            (compression, framed)
        });
        let (compression, framed) = compressing.await.map_err(io::Error::other)?;
        self.compression = compression;
        out.extend_from_slice(&framed);
        Ok(())
    }
}

impl Meter {
    fn count(&self, direction: Direction, packets: usize, frames: usize) {
        self.packets.add(direction, packets as u64);
        self.frames.add(direction, frames as u64);
    }
}
