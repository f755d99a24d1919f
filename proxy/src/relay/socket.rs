//! TCP, with TLS or without.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::patience::Patience;

pub(super) struct Socket {
    layer: Layer,
    /// How long the other end may take to read.
    pub(super) patience: Option<Box<Patience>>,
}

enum Layer {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    pub(super) fn plain(tcp: TcpStream) -> Self {
        Self::over(Layer::Plain(tcp))
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self::over(Layer::Tls(Box::new(tls)))
    }

    fn over(layer: Layer) -> Self {
        Self {
            layer,
            patience: None,
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.layer, Layer::Tls(_))
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match &self.layer {
            Layer::Plain(tcp) => tcp,
            Layer::Tls(tls) => tls.get_ref().0,
        }
    }

    pub(super) fn into_plain(self) -> Option<TcpStream> {
        match self.layer {
            Layer::Plain(tcp) => Some(tcp),
            Layer::Tls(_) => None,
        }
    }

    /// The TCP connection, if it knows about every byte that can be read.
    pub(super) fn as_plain(&self) -> Option<&TcpStream> {
        match &self.layer {
            Layer::Plain(tcp) => Some(tcp),
            // TLS may hold decrypted bytes.
            Layer::Tls(_) => None,
        }
    }

    #[inline]
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain(tcp) => Pin::new(tcp).poll_read(context, out),
            Layer::Tls(tls) => Pin::new(tls).poll_read(context, out),
        }
    }

    /// Reads what is there behind what is in `out`; 0 bytes when the other end has closed.
    pub(super) async fn read_buf(&mut self, out: &mut BytesMut) -> io::Result<usize> {
        match &mut self.layer {
            Layer::Plain(tcp) => tcp.read_buf(out).await,
            Layer::Tls(tls) => tls.read_buf(out).await,
        }
    }

    pub(super) async fn read_exact(&mut self, out: &mut [u8]) -> io::Result<()> {
        match &mut self.layer {
            Layer::Plain(tcp) => tcp.read_exact(out).await?,
            Layer::Tls(tls) => tls.read_exact(out).await?,
        };
        Ok(())
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut slices = [IoSlice::new(bytes)];
        self.write_slices(&mut slices).await
    }

    /// Sends both, one behind the other, without making one of them.
    pub(super) async fn write_both(&mut self, front: &[u8], back: &[u8]) -> io::Result<()> {
        let mut slices = [IoSlice::new(front), IoSlice::new(back)];
        self.write_slices(&mut slices).await
    }

    async fn write_slices(&mut self, mut left: &mut [IoSlice<'_>]) -> io::Result<()> {
        let patience = self.patience.as_deref();
        // What is empty is written.
        IoSlice::advance_slices(&mut left, 0);
        match &mut self.layer {
            Layer::Plain(tcp) => {
                while !left.is_empty() {
                    let written = match &*left {
                        [one] => tcp.try_write(one),
                        several => tcp.try_write_vectored(several),
                    };
                    let n = match written {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            wait(patience, tcp.writable()).await?;
                            continue;
                        }
                        written => written?,
                    };
                    if n == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    IoSlice::advance_slices(&mut left, n);
                }
                Ok(())
            }
            Layer::Tls(tls) => {
                while !left.is_empty() {
                    let n = wait(patience, tls.write_vectored(left)).await?;
                    if n == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    IoSlice::advance_slices(&mut left, n);
                }
                wait(patience, tls.flush()).await
            }
        }
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match &mut self.layer {
            Layer::Plain(tcp) => tcp.shutdown().await,
            Layer::Tls(tls) => tls.shutdown().await,
        }
    }
}

/// Waits for the other end to make room, no longer than there is patience.
async fn wait<T>(
    patience: Option<&Patience>,
    room: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match patience {
        Some(patience) => patience.wait(room).await,
        None => room.await,
    }
}
