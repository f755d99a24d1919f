//! LOAD DATA LOCAL INFILE: the client's file on its way to the server.

use isthmus_protocol::packet::{HEADER_LEN, Header};

use super::forward::{BackendFault, RelayError};
use super::{Client, Stream};

/// Moves packets from the client to the backend up to and including the empty one that ends the
/// file, numbering them from `sequence` on.
///
/// The empty packet has four bytes and no fifth: only headers may be waited for.
pub(super) async fn upload(
    client: &mut Client,
    backend: &mut Stream,
    mut sequence: u8,
) -> Result<(), RelayError> {
    loop {
        let length = next_header(client).await?.length;
        let header = Header { length, sequence }.encode();
        sequence = sequence.wrapping_add(1);
        backend.write_all(&header).await.map_err(backend_broke)?;
        client.stream.consume(HEADER_LEN);
        if length == 0 {
            return Ok(());
        }
        move_body(client, backend, length).await?;
    }
}

async fn next_header(client: &mut Client) -> Result<Header, RelayError> {
    loop {
        if let Some(header) = Header::parse(client.stream.buffered()) {
            return Ok(header);
        }
        client.stream.fill().await.map_err(RelayError::Client)?;
    }
}

async fn move_body(
    client: &mut Client,
    backend: &mut Stream,
    mut left: usize,
) -> Result<(), RelayError> {
    while left > 0 {
        if client.stream.buffered().is_empty() {
            client.stream.fill().await.map_err(RelayError::Client)?;
        }
        let n = left.min(client.stream.buffered().len());
        backend
            .forward_from(&mut client.stream, n)
            .await
            .map_err(backend_broke)?;
        left -= n;
    }
    Ok(())
}

fn backend_broke(error: std::io::Error) -> RelayError {
    RelayError::Backend {
        cause: BackendFault::Io(error),
        untouched: false,
    }
}
