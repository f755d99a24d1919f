//! The packets before a client has authenticated.
//!
//! Format: MySQL Source Code Documentation, "Connection Phase".

use std::io;
use std::sync::Arc;

use isthmus_protocol::auth::{NONCE_LEN, Plugin};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::compression::{Algorithm, Compression, ZSTD_LEVELS};
use isthmus_protocol::handshake::{self, Greeting, Login};
use isthmus_protocol::packet;
use isthmus_protocol::status::Status;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::error::SqlError;
use crate::relay::{Client, Stream};

/// The longest packet that is taken from somebody who has not authenticated, in bytes.
const LIMIT: usize = 128 * 1024;

/// What clients are offered in any case.
pub(super) const OFFERED: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::FOUND_ROWS)
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::ODBC)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::IGNORE_SPACE)
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::IGNORE_SIGPIPE)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::RESERVED)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::DEPRECATE_EOF);

/// What the proxy compresses with at the most: zstd's higher levels take ten times as long and
/// more, and other sessions would have to wait.
const HIGHEST_LEVEL: u8 = 9;

/// A client connection before it has authenticated.
pub(super) struct Conversation {
    pub(super) stream: Stream,
    /// The sequence id of the next packet, in either direction.
    pub(super) sequence: u8,
    /// What the client may negotiate.
    pub(super) offered: Capabilities,
    /// What the client's answer is computed with.
    pub(super) nonce: [u8; NONCE_LEN],
}

/// What a client sends first.
pub(super) enum FirstPacket {
    /// It wants TLS before it logs in.
    TlsRequest,
    /// It logs in.
    Login(Box<Login>),
}

/// Why there is no login.
pub(super) enum Refused {
    /// The client is told.
    Told(SqlError),
    /// The connection is of no use any more.
    Gone(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl Conversation {
    /// Sends the greeting.
    pub(super) async fn greet(
        &mut self,
        connection_id: u32,
        server_version: String,
        collation: u16,
        plugin: Plugin,
    ) -> io::Result<()> {
        let mut payload = Vec::new();
        Greeting {
            server_version,
            connection_id,
            nonce: self.nonce,
            capabilities: self.offered,
            // Servers, too, send the lower byte alone.
            collation: collation.to_le_bytes()[0],
            status: Status::AUTOCOMMIT,
            auth_plugin: plugin.name().into(),
        }
        .encode(&mut payload);
        self.send(&payload).await
    }

    /// Receives the login, or the request for TLS that may come before it.
    pub(super) async fn receive_login(&mut self) -> Result<FirstPacket, Refused> {
        let payload = self.receive().await?;
        if handshake::is_tls_request(&payload) {
            return Ok(FirstPacket::TlsRequest);
        }
        let mut login = Login::parse(&payload)
            .map_err(|error| Refused::Told(bad_handshake(&error.to_string())))?;
        login.capabilities &= self.offered;
        Ok(FirstPacket::Login(Box::new(login)))
    }

    /// The same conversation inside TLS.
    pub(super) async fn start_tls(self, tls: Arc<ServerConfig>) -> io::Result<Self> {
        let tcp = self.stream.into_plain().ok_or(io::ErrorKind::InvalidData)?;
        let tls = TlsAcceptor::from(tls).accept(tcp).await?;
        Ok(Self {
            stream: Stream::tls(tls.into()),
            ..self
        })
    }

    /// Receives one payload.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>, Refused> {
        let header = self.stream.read_header_exactly().await?;
        // What speaks another protocol is most often found here.
        if header.sequence != self.sequence {
            return Err(Refused::Told(SqlError::out_of_order()));
        }
        self.sequence = header.sequence.wrapping_add(1);
        if header.length > LIMIT {
            let what = format!("a packet of {} bytes", header.length);
            return Err(Refused::Told(bad_handshake(&what)));
        }
        Ok(self.stream.read_payload_exactly(header).await?)
    }

    /// Sends one payload.
    pub(super) async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::new();
        self.sequence = packet::put(&mut out, self.sequence, payload);
        self.stream.write_all(&out).await
    }

    /// Sends an error.
    pub(super) async fn send_error(&mut self, error: &SqlError) -> io::Result<()> {
        let mut payload = Vec::new();
        error.encode(&mut payload);
        self.send(&payload).await
    }

    /// The connection of a client that has authenticated and waits for the answer.
    pub(super) fn into_client(self, capabilities: Capabilities) -> Client {
        let mut client = Client::new(self.stream, capabilities, self.nonce);
        client.sequence = self.sequence;
        client
    }
}

/// How the client's connection is compressed after its login. Where it asks for both, it is zlib,
/// as with MySQL.
pub(super) fn compression(login: &Login) -> Result<Option<Compression>, SqlError> {
    let has = |flag| login.capabilities.contains(flag);
    let level = login.zstd_level.unwrap_or_default();
    let algorithm = if has(Capabilities::COMPRESS) {
        Algorithm::Zlib
    } else if !has(Capabilities::ZSTD_COMPRESSION) {
        return Ok(None);
    } else if ZSTD_LEVELS.contains(&level) {
        Algorithm::Zstd(level.min(HIGHEST_LEVEL))
    } else {
        return Err(SqlError::compression_level());
    };
    Ok(Some(Compression::of_client(algorithm)))
}

/// 1043: the login cannot be read.
pub(super) fn bad_handshake(what: &str) -> SqlError {
    SqlError::new(1043, "08S01", format!("Bad handshake: {what}"))
}
