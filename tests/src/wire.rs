//! A client that speaks packets: for what no driver would do.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use isthmus::rsa::encrypt_with_pem;
use isthmus_protocol::auth::caching_sha2::{FAST_AUTH_OK, FULL_AUTH, REQUEST_PUBLIC_KEY};
use isthmus_protocol::auth::{Plugin, xor_with_nonce};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::command::Command;
use isthmus_protocol::compression::{Algorithm, Compression, Content};
use isthmus_protocol::error_packet::ErrPacket;
use isthmus_protocol::handshake::{
    Attributes, AuthSwitch, ChangeUser, Greeting, Login, TlsRequest,
};
use isthmus_protocol::lenenc::{Reader, put_bytes};
use isthmus_protocol::packet;
use isthmus_protocol::prepared::PrepareOk;
use isthmus_protocol::query_attributes::{QueryForm, put_query};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What the client negotiates unless it is told otherwise.
pub const USUAL: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::LONG_PASSWORD)
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::DEPRECATE_EOF);

const VAR_STRING: u8 = ColumnDefinition::VAR_STRING;

/// TCP, with TLS or without.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A packet as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its sequence id.
    pub sequence: u8,
    /// Its content.
    pub payload: Vec<u8>,
}

/// What answers a text statement or a small command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An OK packet.
    Ok,
    /// An ERR packet.
    Err(Refusal),
    /// The rows of one result set, as text; `None` is NULL.
    Rows(Vec<Vec<Option<String>>>),
}

/// An ERR packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error number.
    pub code: u16,
    /// The SQLSTATE.
    pub state: String,
    /// The sentence.
    pub message: String,
    /// The packet's sequence id.
    pub sequence: u8,
}

/// A connection to a server or a proxy.
pub struct Client {
    stream: Box<dyn Socket>,
    /// What the server said first.
    pub greeting: Greeting,
    /// What was negotiated.
    pub capabilities: Capabilities,
    /// The collation to begin with.
    pub collation: u16,
    /// The connection attributes, where the capabilities have them.
    pub attributes: Attributes,
    /// The level to ask for, where the capabilities have zstd.
    pub zstd_level: u8,
    framing: Option<Framing>,
    /// The sequence id of the next packet in the login, of either side.
    sequence: u8,
    /// Every packet that came since the greeting, while the login lasted.
    pub transcript: Vec<Packet>,
}

/// What makes a connection a compressed one.
struct Framing {
    compression: Compression,
    /// Bytes that came and are no whole frame yet.
    raw: Vec<u8>,
    /// What was in the frames and is not read yet.
    content: BytesMut,
}

impl Answer {
    /// The first value of the first row.
    ///
    /// # Panics
    /// If the answer is something else.
    pub fn value(self) -> String {
        match self {
            Self::Rows(rows) => rows[0][0].clone().unwrap(),
            other => panic!("not one value: {other:?}"),
        }
    }

    /// The error's number.
    ///
    /// # Panics
    /// If the answer is something else.
    pub fn code(self) -> u16 {
        match self {
            Self::Err(refusal) => refusal.code,
            other => panic!("no error: {other:?}"),
        }
    }

    /// Whether it is no error.
    ///
    /// # Panics
    /// If it is.
    pub fn expect_ok(self) {
        if let Self::Err(refusal) = self {
            panic!("an error: {refusal:?}");
        }
    }
}

impl Client {
    /// Connects and reads the greeting. The inner error is an ERR packet in its place.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn connect(address: SocketAddr) -> io::Result<Result<Self, Refusal>> {
        Self::over(TcpStream::connect(address).await?).await
    }

    /// Reads the greeting on a connection that exists already.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn over(stream: TcpStream) -> io::Result<Result<Self, Refusal>> {
        let mut stream: Box<dyn Socket> = Box::new(stream);
        let first = receive(&mut stream).await?;
        if first.payload.first() == Some(&0xFF) {
            return Ok(Err(refusal(&first)));
        }
        let greeting = Greeting::parse(&first.payload).map_err(io::Error::other)?;
        let sequence = first.sequence + 1;
        Ok(Ok(Self {
            stream,
            greeting,
            capabilities: USUAL,
            collation: 45,
            attributes: Attributes::new(),
            zstd_level: 3,
            framing: None,
            sequence,
            transcript: Vec::new(),
        }))
    }

    /// Connects and logs in with the usual capabilities.
    ///
    /// # Panics
    /// If that fails.
    pub async fn log_in(address: SocketAddr, user: &str, password: &str, schema: &str) -> Self {
        let mut client = Self::connect(address).await.unwrap().unwrap();
        client
            .authenticate(user, password, Some(schema))
            .await
            .unwrap()
            .unwrap();
        client
    }

    /// Sends the login and goes through the authentication to its end.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn authenticate(
        &mut self,
        user: &str,
        password: &str,
        schema: Option<&str>,
    ) -> io::Result<Result<(), Refusal>> {
        let plugin = Plugin::from_name(&self.greeting.auth_plugin).unwrap();
        let response = plugin.response(password.as_bytes(), &self.greeting.nonce);
        let login = self.login(user, response, schema);
        let mut payload = Vec::new();
        login.encode(&mut payload).map_err(io::Error::other)?;
        self.send_next(&payload).await?;
        self.finish_login(password).await
    }

    /// The login as [`Client::authenticate`] would send it.
    pub fn login(&mut self, user: &str, auth_response: Vec<u8>, schema: Option<&str>) -> Login {
        if schema.is_some() {
            self.capabilities |= Capabilities::CONNECT_WITH_DB;
        }
        Login {
            capabilities: self.capabilities,
            max_packet_size: 1 << 30,
            collation: self.collation,
            user: user.into(),
            auth_response,
            database: schema.map(Into::into),
            auth_plugin: Some(self.greeting.auth_plugin.clone()),
            attributes: self.attributes.clone(),
            zstd_level: Some(self.zstd_level),
        }
    }

    /// Answers what the server asks until it says yes or no.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn finish_login(&mut self, password: &str) -> io::Result<Result<(), Refusal>> {
        let mut nonce = self.greeting.nonce;
        loop {
            let packet = self.receive_next().await?;
            let answer = match packet.payload.as_slice() {
                [0x00, ..] => return Ok(Ok(())),
                [0xFF, ..] => return Ok(Err(refusal(&packet))),
                [0xFE, ..] => {
                    let switch = AuthSwitch::parse(&packet.payload).map_err(io::Error::other)?;
                    let plugin = Plugin::from_name(&switch.plugin).unwrap();
                    nonce = switch.nonce().unwrap();
                    plugin.response(password.as_bytes(), &nonce)
                }
                [0x01, FAST_AUTH_OK] => continue,
                [0x01, FULL_AUTH] if self.capabilities.contains(Capabilities::SSL) => {
                    [password.as_bytes(), &[0]].concat()
                }
                [0x01, FULL_AUTH] => vec![REQUEST_PUBLIC_KEY],
                [0x01, pem @ ..] => {
                    let hidden = [password.as_bytes(), &[0]].concat();
                    let hidden = xor_with_nonce(&hidden, &nonce);
                    encrypt_with_pem(pem, &hidden).map_err(io::Error::other)?
                }
                other => panic!("not a part of a login: {other:?}"),
            };
            self.send_next(&answer).await?;
        }
    }

    /// Sends COM_CHANGE_USER and goes through the authentication to its end, as
    /// [`Client::authenticate`]. [`Client::transcript`] begins anew.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn change_user(
        &mut self,
        change: &ChangeUser,
        password: &str,
    ) -> io::Result<Result<(), Refusal>> {
        let mut payload = Vec::new();
        change
            .encode(self.capabilities, &mut payload)
            .map_err(io::Error::other)?;
        self.begin_command(&payload).await?;
        self.finish_login(password).await
    }

    /// A change to this user with its password and schema, answered with the greeting's nonce.
    pub fn change_to(&self, user: &str, password: &str, schema: &str) -> ChangeUser {
        let plugin = Plugin::from_name(&self.greeting.auth_plugin).unwrap();
        ChangeUser {
            user: user.into(),
            auth_response: plugin.response(password.as_bytes(), &self.greeting.nonce),
            database: Some(schema.into()),
            collation: self.collation,
            auth_plugin: Some(self.greeting.auth_plugin.clone()),
            attributes: self.attributes.clone(),
        }
    }

    /// Changes to TLS.
    ///
    /// # Errors
    /// What the socket or the handshake says.
    pub async fn start_tls(mut self, config: rustls::ClientConfig) -> io::Result<Self> {
        let mut payload = Vec::new();
        self.capabilities |= Capabilities::SSL;
        TlsRequest {
            capabilities: self.capabilities,
            max_packet_size: 1 << 30,
            collation: 45,
        }
        .encode(&mut payload);
        self.send_next(&payload).await?;
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let stream: Box<dyn Socket> = Box::new(connector.connect(name, self.stream).await?);
        Ok(Self { stream, ..self })
    }

    /// Sends a command that packets in turns follow, as in a login.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn begin_command(&mut self, payload: &[u8]) -> io::Result<()> {
        self.transcript.clear();
        self.sequence = self.send(0, payload).await?;
        Ok(())
    }

    /// Goes on in compressed frames, as servers do behind the OK of a login that asked for it.
    pub fn compress(&mut self, algorithm: Algorithm) {
        self.framing = Some(Framing {
            compression: Compression::of_server(algorithm),
            raw: Vec::new(),
            content: BytesMut::new(),
        });
    }

    /// Sends a packet of the login.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn send_next(&mut self, payload: &[u8]) -> io::Result<()> {
        self.sequence = self.send(self.sequence, payload).await?;
        Ok(())
    }

    /// Receives a packet of the login.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn receive_next(&mut self) -> io::Result<Packet> {
        let packet = self.receive().await?;
        self.sequence = packet.sequence.wrapping_add(1);
        self.transcript.push(packet.clone());
        Ok(packet)
    }

    /// Sends a payload, in as many packets as it takes; returns the next sequence id.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn send(&mut self, sequence: u8, payload: &[u8]) -> io::Result<u8> {
        let mut out = Vec::new();
        let next = packet::put(&mut out, sequence, payload);
        self.send_raw(&out).await?;
        Ok(next)
    }

    /// Sends bytes as they are, in frames if the connection is compressed.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.framing {
            None => self.stream.write_all(bytes).await?,
            Some(framing) => {
                let mut out = Vec::new();
                // A command's first packet has the sequence id 0.
                if bytes.get(3) == Some(&0) {
                    Content::of_commands(bytes)
                        .for_each(|content| framing.compression.put(content, &mut out));
                } else {
                    Content::of_more(bytes)
                        .for_each(|content| framing.compression.put(content, &mut out));
                }
                self.stream.write_all(&out).await?;
            }
        }
        self.stream.flush().await
    }

    /// Sends bytes that are frames already.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn send_frames(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Receives one packet.
    ///
    /// # Errors
    /// What the socket says, and `TimedOut`.
    pub async fn receive(&mut self) -> io::Result<Packet> {
        match &mut self.framing {
            None => receive(&mut self.stream).await,
            Some(framing) => in_time(framing.receive(&mut self.stream)).await,
        }
    }

    /// Receives so many bytes, whatever they are.
    ///
    /// # Errors
    /// What the socket says, and `TimedOut`.
    pub async fn receive_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        in_time(self.stream.read_exact(&mut bytes)).await?;
        Ok(bytes)
    }

    /// Sends a command and reads its answer.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn command(&mut self, payload: &[u8]) -> io::Result<Answer> {
        self.send(0, payload).await?;
        self.answer().await
    }

    /// Runs a text statement.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn query(&mut self, sql: &str) -> io::Result<Answer> {
        let mut framed = Vec::new();
        QueryForm::of(self.capabilities).put_query(&mut framed, sql.as_bytes());
        self.send_raw(&framed).await?;
        self.answer().await
    }

    /// Runs a text statement with one query attribute, a string.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn query_with(&mut self, name: &str, value: &str, sql: &str) -> io::Result<Answer> {
        let mut attributes = vec![1, 1, 0, 1, VAR_STRING, 0];
        put_bytes(&mut attributes, name.as_bytes());
        put_bytes(&mut attributes, value.as_bytes());
        let mut framed = Vec::new();
        put_query(&mut framed, &attributes, sql.as_bytes());
        self.send_raw(&framed).await?;
        self.answer().await
    }

    /// Prepares a statement and returns its id.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn prepare(&mut self, sql: &str) -> u32 {
        let payload = [&[Command::StmtPrepare as u8], sql.as_bytes()].concat();
        self.send(0, &payload).await.unwrap();
        self.prepared().await
    }

    /// Reads the answer to the preparation of a statement and returns its id.
    ///
    /// # Panics
    /// If it was refused.
    pub async fn prepared(&mut self) -> u32 {
        let first = self.receive().await.unwrap();
        let prepared = PrepareOk::parse(&first.payload);
        let prepared = prepared.unwrap_or_else(|_| panic!("not prepared: {:?}", refusal(&first)));
        for block in [prepared.params, prepared.columns] {
            let ends = block > 0 && !self.capabilities.contains(Capabilities::DEPRECATE_EOF);
            for _ in 0..block + u16::from(ends) {
                self.receive().await.unwrap();
            }
        }
        prepared.statement_id
    }

    /// Reads one answer with at most one result set.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let first = self.receive().await?;
        let columns = match first.payload.as_slice() {
            [0x00 | 0xFE, ..] => return Ok(Answer::Ok),
            [0xFF, ..] => return Ok(Answer::Err(refusal(&first))),
            [count, ..] => usize::from(*count),
            [] => panic!("an empty packet for an answer"),
        };
        for _ in 0..columns {
            self.receive().await?;
        }
        if !self.capabilities.contains(Capabilities::DEPRECATE_EOF) {
            self.receive().await?;
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.receive().await?;
            match packet.payload.as_slice() {
                [0xFF, ..] => return Ok(Answer::Err(refusal(&packet))),
                [0xFE, ..] if packet.payload.len() < 0xFF_FFFF => return Ok(Answer::Rows(rows)),
                row => {
                    let mut reader = Reader::new(row, "row");
                    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                    let values = (0..columns)
                        .map(|_| reader.lenenc_bytes_or_null().unwrap().map(text))
                        .collect();
                    rows.push(values);
                }
            }
        }
    }

    /// Reads one answer with at most one result set, of whatever form its rows are; returns its
    /// error.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn pass_over_answer(&mut self) -> io::Result<Option<Refusal>> {
        let first = self.receive().await?;
        match first.payload.as_slice() {
            [0x00 | 0xFE, ..] => return Ok(None),
            [0xFF, ..] => return Ok(Some(refusal(&first))),
            _ => {}
        }
        let has_eof = !self.capabilities.contains(Capabilities::DEPRECATE_EOF);
        let mut ends = if has_eof { 2 } else { 1 };
        while ends > 0 {
            let packet = self.receive().await?;
            match packet.payload.as_slice() {
                [0xFF, ..] => return Ok(Some(refusal(&packet))),
                [0xFE, ..] if packet.payload.len() < 0xFF_FFFF => ends -= 1,
                _ => {}
            }
        }
        Ok(None)
    }

    /// Ends the connection in good order on this side, TLS included.
    pub async fn say_goodbye(mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Waits until the other side has closed the connection. Whatever comes before is returned.
    ///
    /// # Errors
    /// `TimedOut`.
    pub async fn closed(&mut self) -> io::Result<Vec<u8>> {
        closed(&mut self.stream).await
    }
}

/// As [`Client::closed`], of a connection over which nobody has been greeted.
///
/// # Errors
/// `TimedOut`.
pub async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match in_time(stream.read_to_end(&mut bytes)).await {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error),
        // A reset closes too, and so does a TLS connection that ends without a goodbye.
        _ => Ok(bytes),
    }
}

impl Framing {
    async fn receive(&mut self, stream: &mut Box<dyn Socket>) -> io::Result<Packet> {
        loop {
            let header = packet::Header::parse(&self.content);
            let length = header.map(|header| packet::HEADER_LEN + header.length);
            if let Some(length) = length.filter(|length| self.content.len() >= *length) {
                return receive_from(&mut &self.content.split_to(length)[..]).await;
            }
            self.fill(stream).await?;
        }
    }

    /// Unpacks one frame.
    async fn fill(&mut self, stream: &mut Box<dyn Socket>) -> io::Result<()> {
        loop {
            let frame = self.compression.next(&self.raw).map_err(io::Error::other)?;
            if let Some(frame) = frame {
                let start = self.content.len();
                self.content.resize(start + frame.content_len(), 0);
                let unpacked = frame.unpack(&mut self.content[start..]);
                unpacked.map_err(io::Error::other)?;
                let framed = frame.framed_len();
                self.raw.drain(..framed);
                return Ok(());
            }
            if stream.read_buf(&mut self.raw).await? == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
    }
}

/// COM_QUERY.
pub fn query_payload(sql: &str) -> Vec<u8> {
    [&[Command::Query as u8], sql.as_bytes()].concat()
}

async fn receive(stream: &mut Box<dyn Socket>) -> io::Result<Packet> {
    in_time(receive_from(stream)).await
}

async fn receive_from(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Packet> {
    let mut head = [0; packet::HEADER_LEN];
    stream.read_exact(&mut head).await?;
    let header = packet::Header::parse(&head).ok_or(io::ErrorKind::InvalidData)?;
    let mut payload = vec![0; header.length];
    stream.read_exact(&mut payload).await?;
    Ok(Packet {
        sequence: header.sequence,
        payload,
    })
}

async fn in_time<T>(reading: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(LIMIT, reading).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn refusal(packet: &Packet) -> Refusal {
    let error = ErrPacket::parse(&packet.payload).unwrap();
    Refusal {
        code: error.code,
        state: String::from_utf8_lossy(&error.state).into_owned(),
        message: String::from_utf8_lossy(&error.message).into_owned(),
        sequence: packet.sequence,
    }
}
