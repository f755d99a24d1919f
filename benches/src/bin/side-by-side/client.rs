//! A client that costs next to nothing itself: it reads results and throws them away.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use isthmus_lab::{Account, SCHEMA};
use isthmus_protocol::ProtocolError;
use isthmus_protocol::auth::{Plugin, caching_sha2};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::command::Command;
use isthmus_protocol::handshake::{AuthSwitch, Greeting, Login};
use isthmus_protocol::packet::{self, HEADER_LEN, Header};
use isthmus_protocol::response::{Kind, Piece, Response};

/// No answer takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);
const READ_SIZE: usize = 256 * 1024;

const CAPABILITIES: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::LONG_PASSWORD)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::DEPRECATE_EOF);

/// A logged-in connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Logs in with caching_sha2_password's short way, which works once any client has logged in
    /// there as the same user.
    pub(crate) fn connect(address: SocketAddr, account: Account) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut client = Self { stream };
        let (sequence, payload) = client.receive()?;
        let greeting = Greeting::parse(&payload).map_err(broken)?;
        let mut login = Vec::new();
        Login {
            capabilities: CAPABILITIES,
            max_packet_size: 1 << 30,
            collation: 45,
            user: account.user.into(),
            auth_response: caching_sha2::scramble(account.password.as_bytes(), &greeting.nonce),
            database: Some(SCHEMA.into()),
            auth_plugin: Some(Plugin::CachingSha2Password.name().into()),
            attributes: Vec::new(),
            zstd_level: None,
        }
        .encode(&mut login)
        .map_err(broken)?;
        client.send(sequence + 1, &login)?;
        loop {
            let (sequence, payload) = client.receive()?;
            match payload.as_slice() {
                [0x00, ..] => return Ok(client),
                [0x01, caching_sha2::FAST_AUTH_OK] => {}
                [AuthSwitch::HEADER, ..] => {
                    let switch = AuthSwitch::parse(&payload).map_err(broken)?;
                    let nonce = switch.nonce().ok_or(io::ErrorKind::InvalidData)?;
                    let response = caching_sha2::scramble(account.password.as_bytes(), &nonce);
                    client.send(sequence + 1, &response)?;
                }
                answer => {
                    return Err(io::Error::other(format!(
                        "the login at {address} went another way than expected: {}",
                        answer.escape_ascii()
                    )));
                }
            }
        }
    }

    /// Runs a query and returns how many bytes its answer had.
    pub(crate) fn query(&mut self, sql: &str) -> io::Result<u64> {
        self.run(Command::Query, Kind::Query, sql)
    }

    /// Prepares a statement, which stays as long as the connection.
    pub(crate) fn prepare(&mut self, sql: &str) -> io::Result<()> {
        self.run(Command::StmtPrepare, Kind::Prepare, sql).map(drop)
    }

    fn run(&mut self, command: Command, kind: Kind, sql: &str) -> io::Result<u64> {
        self.send(0, &[&[command as u8], sql.as_bytes()].concat())?;
        let mut response = Response::new(kind);
        let mut buffer = vec![0; READ_SIZE];
        let mut filled = 0;
        let mut total = 0;
        while !response.is_over() {
            let free = buffer.get_mut(filled..).unwrap_or_default();
            let n = self.stream.read(free)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += n;
            total += n as u64;
            let mut at = 0;
            while !response.is_over() {
                let rest = buffer.get_mut(at..filled).unwrap_or_default();
                match response.next(rest).map_err(broken)? {
                    Piece::NeedMore => break,
                    Piece::Run(len) | Piece::Ok { len, .. } | Piece::PrepareOk { len } => at += len,
                    Piece::MetadataEnd => {}
                    other => return Err(io::Error::other(format!("{sql}: {other:?}"))),
                }
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
        }
        Ok(total)
    }

    fn send(&mut self, sequence: u8, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(payload.len() + HEADER_LEN);
        packet::put(&mut out, sequence, payload);
        self.stream.write_all(&out)
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; HEADER_LEN];
        self.stream.read_exact(&mut head)?;
        let header = Header::parse(&head).ok_or(io::ErrorKind::InvalidData)?;
        let mut payload = vec![0; header.length];
        self.stream.read_exact(&mut payload)?;
        Ok((header.sequence, payload))
    }
}

fn broken(error: ProtocolError) -> io::Error {
    io::Error::other(error)
}
