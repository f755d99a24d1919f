//! A link that changes what passes.

use std::net::SocketAddr;

use isthmus_lab::Direction;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Relays to `target` until the test ends, and returns where it listens. `alter` gets what passes,
/// piece by piece.
///
/// # Panics
/// If there is no port for it.
pub async fn garbling(
    target: SocketAddr,
    alter: impl Fn(Direction, &mut [u8]) + Clone + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let alter = alter.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(target).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::join!(
                    pass(from_client, to_server, |bytes| alter(
                        Direction::ToServer,
                        bytes
                    )),
                    pass(from_server, to_client, |bytes| alter(
                        Direction::ToClient,
                        bytes
                    ))
                );
            });
        }
    });
    address
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, alter: impl Fn(&mut [u8])) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(n) = from.read(&mut bytes).await
        && n > 0
    {
        alter(&mut bytes[..n]);
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
