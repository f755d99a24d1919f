//! Connecting to a server: TCP, TLS, authentication.
//!
//! Format: MySQL Source Code Documentation, "Connection Phase".

use std::io;
use std::time::Duration;

use isthmus_protocol::auth::{self, Plugin, caching_sha2};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::compression::{Algorithm, Compression};
use isthmus_protocol::error::ProtocolError;
use isthmus_protocol::handshake::{Attributes, AuthSwitch, Greeting, Login, TlsRequest};
use isthmus_protocol::packet;
use isthmus_protocol::query_attributes::QueryForm;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{self, Credentials, ServerTls};
use crate::relay::{Meter, ServerError, Stream, watch_server};
use crate::rsa;
use crate::tls;
use crate::topology::Endpoint;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server cannot be reached.
    #[error("cannot connect to {address}: {error}")]
    Io {
        /// Where to.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// It took longer than timeouts.connect, or than the statement could wait.
    #[error("no answer from {address} within {limit:?} (timeouts.connect, pool.borrow_timeout)")]
    TimedOut {
        /// Where to.
        address: String,
        /// How long it could have taken.
        limit: Duration,
    },
    /// The server refused with an error of its own.
    #[error("{0}")]
    Refused(ServerError),
    /// What the server sent does not follow the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The server lacks something that is needed.
    #[error("{0}")]
    Unsuitable(String),
}

/// The longest packet that a server sends before authentication is over, in bytes.
const HANDSHAKE_LIMIT: usize = 64 * 1024;

/// What a backend connection always negotiates (design: one backend dialect).
const ALWAYS: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::LONG_PASSWORD)
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::DEPRECATE_EOF);

/// An authenticated connection.
pub(super) struct Connected {
    pub(super) stream: Stream,
    /// The server's id of it.
    pub(super) thread_id: u32,
    /// How it takes statements.
    pub(super) form: QueryForm,
}

/// Connects and authenticates. Of `flags`, QUERY_ATTRIBUTES is left out where the server does not
/// know it.
/// `collation` is what the session begins with, and `dead_link` how long the other end may confirm
/// nothing.
pub(super) async fn connect(
    endpoint: &Endpoint,
    login: &Credentials,
    flags: Capabilities,
    attributes: &Attributes,
    collation: u16,
    meter: Meter,
    dead_link: Duration,
) -> Result<Connected, ConnectError> {
    let io_error = |error| ConnectError::Io {
        address: endpoint.address.to_string(),
        error,
    };
    let address = (endpoint.address.host.as_str(), endpoint.address.port);
    let tcp = TcpStream::connect(address).await.map_err(io_error)?;
    watch_server(&tcp, dead_link).map_err(io_error)?;
    let stream = Stream::plain(tcp).map_err(io_error)?;
    let mut dialogue = Dialogue {
        stream,
        sequence: 0,
    };
    let greeting = read_greeting(&mut dialogue, io_error).await?;
    let mut capabilities = ALWAYS | flags;
    if !greeting
        .capabilities
        .contains(Capabilities::QUERY_ATTRIBUTES)
    {
        capabilities -= Capabilities::QUERY_ATTRIBUTES;
    }
    require(&greeting)?;
    let compression = compression(endpoint, &greeting);
    capabilities |= match compression {
        None => Capabilities::empty(),
        Some(Algorithm::Zlib) => Capabilities::COMPRESS,
        Some(Algorithm::Zstd(_)) => Capabilities::ZSTD_COMPRESSION,
    };
    dialogue = secure(
        dialogue,
        endpoint,
        &greeting,
        &mut capabilities,
        collation,
        io_error,
    )
    .await?;
    let plugin = Plugin::from_name(&greeting.auth_plugin).unwrap_or(Plugin::CachingSha2Password);
    let password = login.password.expose().as_bytes();
    let mut payload = Vec::new();
    Login {
        capabilities,
        max_packet_size: 1 << 30,
        collation,
        user: login.user.clone().into_bytes(),
        auth_response: first_response(plugin, password, &greeting.nonce),
        database: None,
        auth_plugin: Some(plugin.name().into()),
        attributes: own_attributes(attributes),
        zstd_level: Some(ZSTD_LEVEL),
    }
    .encode(&mut payload)?;
    dialogue.send(&payload).await.map_err(io_error)?;
    authenticate(&mut dialogue, plugin, password, greeting.nonce, io_error).await?;
    let mut stream = dialogue.stream.to_server();
    if let Some(algorithm) = compression {
        stream = stream.compressed(Compression::of_server(algorithm), Some(meter));
    }
    Ok(Connected {
        stream,
        thread_id: greeting.connection_id,
        form: QueryForm::of(capabilities),
    })
}

/// The level that servers compress with, and the proxy: MySQL's default.
const ZSTD_LEVEL: u8 = 3;

/// The compression that is wanted, if the server offers it.
fn compression(endpoint: &Endpoint, greeting: &Greeting) -> Option<Algorithm> {
    let wanted = endpoint.compression?;
    let (capability, algorithm) = match wanted {
        config::Compression::Zlib => (Capabilities::COMPRESS, Algorithm::Zlib),
        config::Compression::Zstd => {
            let algorithm = Algorithm::Zstd(ZSTD_LEVEL);
            (Capabilities::ZSTD_COMPRESSION, algorithm)
        }
    };
    let is_offered = greeting.capabilities.contains(capability);
    if endpoint.set_without_compression(!is_offered) && !is_offered {
        tracing::warn!(
            endpoint = endpoint.name,
            "connections are not compressed: the server ({}) does not offer {}",
            greeting.server_version,
            wanted.as_str(),
        );
    }
    is_offered.then_some(algorithm)
}

/// The attributes of a client, and who it is that really connects.
fn own_attributes(given: &Attributes) -> Attributes {
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut attributes = vec![
        pair("_client_name", "isthmus"),
        pair("_client_version", env!("CARGO_PKG_VERSION")),
    ];
    if !given.iter().any(|(name, _)| name == PROGRAM_NAME) {
        attributes.push(pair("program_name", "isthmus"));
    }
    attributes.extend(given.iter().cloned());
    attributes
}

const PROGRAM_NAME: &[u8] = b"program_name";

/// Packets in turns, with the running sequence id.
struct Dialogue {
    stream: Stream,
    sequence: u8,
}

impl Dialogue {
    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let header = self.stream.read_header_exactly().await?;
        if header.length > HANDSHAKE_LIMIT {
            let message = format!(
                "a packet of {} bytes where at most {HANDSHAKE_LIMIT} are expected",
                header.length
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.sequence = header.sequence.wrapping_add(1);
        self.stream.read_payload_exactly(header).await
    }

    async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::new();
        self.sequence = packet::put(&mut out, self.sequence, payload);
        self.stream.write_all(&out).await
    }
}

async fn read_greeting(
    dialogue: &mut Dialogue,
    io_error: impl Fn(io::Error) -> ConnectError,
) -> Result<Greeting, ConnectError> {
    let payload = dialogue.receive().await.map_err(io_error)?;
    if payload.first() == Some(&0xFF) {
        return Err(ConnectError::Refused(ServerError::parse(&payload)?));
    }
    Ok(Greeting::parse(&payload)?)
}

fn require(greeting: &Greeting) -> Result<(), ConnectError> {
    let needed = Capabilities::PROTOCOL_41
        | Capabilities::PLUGIN_AUTH
        | Capabilities::SESSION_TRACK
        | Capabilities::DEPRECATE_EOF;
    if greeting.capabilities.contains(needed) {
        return Ok(());
    }
    Err(ConnectError::Unsuitable(format!(
        "the server ({}) lacks session tracking; Isthmus needs MySQL 5.7.5 or MariaDB 10.2 or newer",
        greeting.server_version
    )))
}

/// Starts TLS as the endpoint's mode asks.
async fn secure(
    mut dialogue: Dialogue,
    endpoint: &Endpoint,
    greeting: &Greeting,
    capabilities: &mut Capabilities,
    collation: u16,
    io_error: impl Fn(io::Error) -> ConnectError,
) -> Result<Dialogue, ConnectError> {
    let Some(config) = &endpoint.tls else {
        return Ok(dialogue);
    };
    if !greeting.capabilities.contains(Capabilities::SSL) {
        if endpoint.tls_mode == ServerTls::Preferred {
            return Ok(dialogue);
        }
        return Err(ConnectError::Unsuitable(format!(
            "the server offers no TLS, and the endpoint's tls mode is {}",
            endpoint.tls_mode.mode()
        )));
    }
    *capabilities |= Capabilities::SSL;
    let mut payload = Vec::new();
    TlsRequest {
        capabilities: *capabilities,
        max_packet_size: 1 << 30,
        collation,
    }
    .encode(&mut payload);
    dialogue.send(&payload).await.map_err(&io_error)?;
    let name = tls::server_name(&endpoint.address.host)
        .map_err(|error| ConnectError::Unsuitable(error.to_string()))?;
    let tcp = dialogue.stream.into_plain();
    let tcp = tcp.ok_or_else(|| io_error(io::ErrorKind::InvalidData.into()))?;
    let tls = TlsConnector::from(config.clone())
        .connect(name, tcp)
        .await
        .map_err(&io_error)?;
    Ok(Dialogue {
        stream: Stream::tls(tls.into()),
        sequence: dialogue.sequence,
    })
}

fn first_response(plugin: Plugin, password: &[u8], nonce: &[u8; 20]) -> Vec<u8> {
    match plugin {
        Plugin::CachingSha2Password => caching_sha2::scramble(password, nonce),
        Plugin::MysqlNativePassword => auth::native::scramble(password, nonce),
        // Only ever sent after the server asked for it, over TLS.
        Plugin::MysqlClearPassword => Vec::new(),
    }
}

/// Answers until the server says yes or no.
async fn authenticate(
    dialogue: &mut Dialogue,
    mut plugin: Plugin,
    password: &[u8],
    mut nonce: [u8; 20],
    io_error: impl Fn(io::Error) -> ConnectError,
) -> Result<(), ConnectError> {
    /// More rounds than any method has.
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        let payload = dialogue.receive().await.map_err(&io_error)?;
        let (kind, rest) = payload.split_first().ok_or(ProtocolError::Malformed {
            what: "an empty packet during authentication",
        })?;
        let answer = match (kind, rest) {
            (0x00, _) => return Ok(()),
            (0xFF, _) => return Err(ConnectError::Refused(ServerError::parse(&payload)?)),
            (0xFE, _) => {
                let switch = AuthSwitch::parse(&payload)?;
                plugin = supported(&switch.plugin)?;
                nonce = first_20(&switch.data);
                if plugin == Plugin::MysqlClearPassword {
                    clear_password(dialogue, password)?
                } else {
                    first_response(plugin, password, &nonce)
                }
            }
            (0x01, [caching_sha2::FAST_AUTH_OK]) => continue,
            (0x01, [caching_sha2::FULL_AUTH]) if dialogue.stream.is_tls() => {
                clear_password(dialogue, password)?
            }
            (0x01, [caching_sha2::FULL_AUTH]) => vec![caching_sha2::REQUEST_PUBLIC_KEY],
            (0x01, pem) if plugin == Plugin::CachingSha2Password => {
                let hidden = auth::xor_with_nonce(&nul_terminated(password), &nonce);
                rsa::encrypt_with_pem(pem, &hidden)
                    .map_err(|error| ConnectError::Unsuitable(error.to_string()))?
            }
            _ => {
                return Err(ProtocolError::Malformed {
                    what: "authentication data",
                }
                .into());
            }
        };
        dialogue.send(&answer).await.map_err(&io_error)?;
    }
    Err(ProtocolError::Malformed {
        what: "an authentication that does not end",
    }
    .into())
}

fn supported(name: &str) -> Result<Plugin, ConnectError> {
    Plugin::from_name(name).ok_or_else(|| {
        ConnectError::Unsuitable(format!(
            "the account uses the authentication plugin {name}, which Isthmus does not speak; use caching_sha2_password or mysql_native_password"
        ))
    })
}

fn clear_password(dialogue: &Dialogue, password: &[u8]) -> Result<Vec<u8>, ConnectError> {
    if dialogue.stream.is_tls() {
        return Ok(nul_terminated(password));
    }
    Err(ConnectError::Unsuitable(
        "the server asks for the password in clear text without TLS; set the endpoint's tls mode to required".into(),
    ))
}

fn nul_terminated(password: &[u8]) -> Vec<u8> {
    [password, &[0]].concat()
}

fn first_20(data: &[u8]) -> [u8; 20] {
    let mut nonce = [0; 20];
    for (to, from) in nonce.iter_mut().zip(data) {
        *to = *from;
    }
    nonce
}
