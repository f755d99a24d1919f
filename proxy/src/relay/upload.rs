//! LOAD DATA LOCAL INFILE: the client's file on its way to the server.

use std::time::Duration;

use isthmus_protocol::packet::{HEADER_LEN, Header};

use super::forward::{BackendFault, RelayError};
use super::{Client, Stream};
use crate::error::SqlError;

/// Moves packets from the client to the backend up to and including the empty one that ends the
/// file, numbering them from `sequence` on. Returns the sequence id that follows. The client's own
/// numbers, which come in `client.sequence`, have to follow each other: where they do not, it is
/// told so and has to go, and the server does not see the end of the file.
///
/// The empty packet has four bytes and no fifth: only headers may be waited for. One that goes on with a
/// packet of the greatest length is no end.
pub(super) async fn upload(
    client: &mut Client,
    backend: &mut Stream,
    mut sequence: u8,
    patience: Duration,
) -> Result<u8, RelayError> {
    let mut is_continuation = false;
    loop {
        let header = next_header(client, backend, sequence, patience).await?;
        if !client.follows(header.sequence) {
            let told = client.send_error(&SqlError::out_of_order()).await;
            told.map_err(RelayError::Client)?;
            return Err(RelayError::Client(std::io::ErrorKind::InvalidData.into()));
        }
        let length = header.length;
        sequence = sequence.wrapping_add(1);
        client.sequence = client.sequence.wrapping_add(1);
        move_packet(client, backend, HEADER_LEN + length, patience).await?;
        if length == 0 && !is_continuation {
            return Ok(sequence);
        }
        is_continuation = header.is_continued();
    }
}

/// The header at the front of what the client sends, renumbered in place.
async fn next_header(
    client: &mut Client,
    backend: &mut Stream,
    sequence: u8,
    patience: Duration,
) -> Result<Header, RelayError> {
    loop {
        let buffered = client.stream.buffered();
        if let Some(header) = Header::parse(buffered) {
            if let Some(place) = buffered.get_mut(HEADER_LEN - 1) {
                *place = sequence;
            }
            return Ok(header);
        }
        more(client, backend, patience).await?;
    }
}

/// Waits for more of the client's file, for as long as the session's net_read_timeout says, or as
/// the server does by its own.
async fn more(
    client: &mut Client,
    backend: &mut Stream,
    patience: Duration,
) -> Result<(), RelayError> {
    let late = || RelayError::Client(std::io::ErrorKind::TimedOut.into());
    let filling = async {
        tokio::select! {
            biased;
            filled = client.stream.fill() => filled.map_err(RelayError::Client),
            // Whether it is readable may be told by mistake.
            _ = backend.fill() => Err(late()),
        }
    };
    let filled = tokio::time::timeout(patience, filling).await;
    filled.unwrap_or_else(|_| Err(late()))
}

async fn move_packet(
    client: &mut Client,
    backend: &mut Stream,
    mut left: usize,
    patience: Duration,
) -> Result<(), RelayError> {
    while left > 0 {
        if client.stream.buffered().is_empty() {
            more(client, backend, patience).await?;
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
