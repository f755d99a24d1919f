//! The connection phase: who greets, how a client introduces itself.
//!
//! Format: "Connection Phase" and "Connection Phase Packets" in the manual;
//! "Connecting" in MariaDB's. All functions here take and give payloads,
//! without packet headers.

use crate::ProtocolError;
use crate::auth::NONCE_LEN;
use crate::capabilities::Capabilities;
use crate::command::Command;
use crate::lenenc::{Reader, put_bytes, put_int, put_nul_terminated};
use crate::status::Status;

/// The largest block of connection attributes in bytes, as in MySQL.
pub const MAX_ATTRIBUTES: usize = 64 * 1024;

/// Connection attributes: names and values, in the client's character set and
/// in the order they came.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// The server's first packet: `HandshakeV10`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Greeting {
    /// The version the server claims, such as `8.0.42` or
    /// `5.5.5-10.11.19-MariaDB`.
    pub server_version: String,
    /// The connection's id on that server, for `KILL`.
    pub connection_id: u32,
    /// What the client's scramble is made with; see
    /// [`nonce_from_random`](crate::auth::nonce_from_random).
    pub nonce: [u8; NONCE_LEN],
    /// What the server can do. Without LONG_PASSWORD it is MariaDB, and the
    /// extended flags travel too.
    pub capabilities: Capabilities,
    /// The low byte of the server's default collation id; an id over 255
    /// does not fit.
    pub collation: u8,
    /// The status flags at the start.
    pub status: Status,
    /// The authentication plugin that the nonce is meant for.
    pub auth_plugin: String,
}

impl Greeting {
    /// Reads a greeting. The payload may be an ERR packet instead (first byte
    /// 0xFF, such as 1040 "Too many connections"): the caller looks first.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Unsupported`] for another protocol version than 10,
    /// or authentication older than MySQL 4.1.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "greeting");
        if reader.u8()? != PROTOCOL_VERSION {
            return Err(ProtocolError::Unsupported {
                what: "a handshake protocol other than version 10",
            });
        }
        let server_version = lossy(reader.nul_terminated()?);
        let connection_id = reader.u32()?;
        let nonce_head: [u8; NONCE_HEAD] = reader.array()?;
        reader.u8()?;
        let lower = u32::from(reader.u16()?);
        if reader.is_empty() {
            return Err(OLD_AUTHENTICATION);
        }
        let collation = reader.u8()?;
        let status = Status::from_bits_retain(reader.u16()?);
        let lower = lower | u32::from(reader.u16()?) << 16;
        let nonce_len = usize::from(reader.u8()?);
        reader.bytes(6)?;
        let capabilities = Capabilities::from_wire(lower, reader.u32()?);
        if !capabilities.intersects(Capabilities::SECURE_CONNECTION | Capabilities::PLUGIN_AUTH) {
            return Err(OLD_AUTHENTICATION);
        }
        // 13 bytes at least: the rest of the nonce and a NUL. A few servers
        // leave out the NUL when nothing follows.
        let tail_len = nonce_len.saturating_sub(NONCE_HEAD).max(NONCE_TAIL + 1);
        let tail_len = tail_len.min(reader.remaining().len());
        let tail = reader.bytes(tail_len)?;
        let nonce_tail = tail
            .first_chunk::<NONCE_TAIL>()
            .ok_or_else(|| reader.malformed())?;
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(nonce_head.iter().chain(nonce_tail)) {
            *to = *from;
        }
        let auth_plugin = if capabilities.contains(Capabilities::PLUGIN_AUTH) {
            lossy(reader.nul_terminated_or_rest())
        } else {
            "mysql_native_password".to_owned()
        };
        Ok(Self {
            server_version,
            connection_id,
            nonce,
            capabilities,
            collation,
            status,
            auth_plugin,
        })
    }

    /// Appends the payload. The plugin's name is written when PLUGIN_AUTH is
    /// among the capabilities, the extended flags when LONG_PASSWORD is not.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (head, tail) = self.nonce.split_at(NONCE_HEAD);
        let [lower_a, lower_b, lower_c, lower_d] = self.capabilities.lower().to_le_bytes();
        let names_plugin = self.capabilities.contains(Capabilities::PLUGIN_AUTH);
        out.push(PROTOCOL_VERSION);
        put_nul_terminated(out, self.server_version.as_bytes());
        out.extend_from_slice(&self.connection_id.to_le_bytes());
        out.extend_from_slice(head);
        out.push(0);
        out.extend_from_slice(&[lower_a, lower_b]);
        out.push(self.collation);
        out.extend_from_slice(&self.status.bits().to_le_bytes());
        out.extend_from_slice(&[lower_c, lower_d]);
        out.push(if names_plugin { NONCE_LEN as u8 + 1 } else { 0 });
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.capabilities.extended().to_le_bytes());
        out.extend_from_slice(tail);
        out.push(0);
        if names_plugin {
            put_nul_terminated(out, self.auth_plugin.as_bytes());
        }
    }
}

/// A client's wish to go on in TLS, sent instead of the login: `SSLRequest`.
/// The login follows inside TLS, with the next sequence id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TlsRequest {
    /// What the client wants; SSL is among them.
    pub capabilities: Capabilities,
    /// The largest packet the client wants to send, in bytes.
    pub max_packet_size: u32,
    /// As in [`Login::collation`].
    pub collation: u16,
}

/// True when a client's first payload is a [`TlsRequest`] and not a login.
pub fn is_tls_request(payload: &[u8]) -> bool {
    payload.len() == TLS_REQUEST_LEN && TlsRequest::parse(payload).is_ok()
}

impl TlsRequest {
    /// Reads a TLS request.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Unsupported`] for a client older than MySQL 4.1,
    /// [`ProtocolError::Malformed`] when SSL is not among the capabilities.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "TLS request");
        let request = Self::read(&mut reader)?;
        if !request.capabilities.contains(Capabilities::SSL) || !reader.is_empty() {
            return Err(reader.malformed());
        }
        Ok(request)
    }

    /// Appends the payload; SSL is set whether or not the caller did.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Self {
            capabilities: self.capabilities | Capabilities::SSL,
            ..*self
        }
        .write(out);
    }

    /// The 32 bytes that a login begins with, too.
    fn read(reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let lower = match reader.remaining() {
            // A client before 4.1 sends 2 bytes of capabilities and less than
            // 32 bytes here: tell it from a malformed packet.
            [a, b, ..] if !is_protocol_41(*a, *b) => {
                return Err(ProtocolError::Unsupported {
                    what: "the protocol before MySQL 4.1",
                });
            }
            _ => reader.u32()?,
        };
        let max_packet_size = reader.u32()?;
        let collation = reader.u16()?;
        reader.bytes(18)?;
        Ok(Self {
            capabilities: Capabilities::from_wire(lower, reader.u32()?),
            max_packet_size,
            collation,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.capabilities.lower().to_le_bytes());
        out.extend_from_slice(&self.max_packet_size.to_le_bytes());
        out.extend_from_slice(&self.collation.to_le_bytes());
        out.extend_from_slice(&[0; 18]);
        out.extend_from_slice(&self.capabilities.extended().to_le_bytes());
    }
}

/// Who the client is: `HandshakeResponse41`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// What the client wants, MariaDB's extended flags included when
    /// LONG_PASSWORD is absent. They also say which fields follow.
    pub capabilities: Capabilities,
    /// The largest packet the client wants to send, in bytes.
    pub max_packet_size: u32,
    /// The collation the session starts with. The format has one byte for it,
    /// and servers read one byte. Some clients put the high byte of an id over
    /// 255 into the filler behind it, others leave it out: so it is read, and
    /// written, as two bytes, and whoever needs such a collation says
    /// `SET NAMES … COLLATE …` after the login.
    pub collation: u16,
    /// The user's name, in the client's character set.
    pub user: Vec<u8>,
    /// The authentication plugin's first answer. Empty: no password, or the
    /// plugin wants to be asked first.
    pub auth_response: Vec<u8>,
    /// The database to start in; `None` when there is no such field or it is
    /// empty. Written when CONNECT_WITH_DB is among the capabilities.
    pub database: Option<Vec<u8>>,
    /// The plugin that `auth_response` was made by. Written when PLUGIN_AUTH
    /// is among the capabilities.
    pub auth_plugin: Option<String>,
    /// Written when CONNECT_ATTRS is among the capabilities.
    pub attributes: Attributes,
    /// The zstd level. Written when ZSTD_COMPRESSION is among the capabilities.
    pub zstd_level: Option<u8>,
}

impl Login {
    /// Reads a login. Fields missing at the end count as absent, as servers
    /// do it.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Unsupported`] for a client older than MySQL 4.1,
    /// [`ProtocolError::TooLarge`] for attributes over [`MAX_ATTRIBUTES`].
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "login");
        let TlsRequest {
            capabilities,
            max_packet_size,
            collation,
        } = TlsRequest::read(&mut reader)?;
        let has = |flag| capabilities.contains(flag);
        let user = reader.nul_terminated()?.to_vec();
        let auth_response = if has(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA) {
            reader.lenenc_bytes()?
        } else if has(Capabilities::SECURE_CONNECTION) {
            let length = reader.u8()?;
            reader.bytes(usize::from(length))?
        } else {
            reader.nul_terminated()?
        };
        let database = if has(Capabilities::CONNECT_WITH_DB) {
            non_empty(reader.nul_terminated_or_rest())
        } else {
            None
        };
        let auth_plugin = read_plugin(&mut reader, capabilities);
        let attributes = read_attributes(&mut reader, capabilities)?;
        let zstd_level = if has(Capabilities::ZSTD_COMPRESSION) {
            reader.u8().ok()
        } else {
            None
        };
        Ok(Self {
            capabilities,
            max_packet_size,
            collation,
            user,
            auth_response: auth_response.to_vec(),
            database,
            auth_plugin,
            attributes,
            zstd_level,
        })
    }

    /// Appends the payload. The capabilities say which fields are written.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::TooLarge`] when `auth_response` is longer than 255
    /// bytes and SECURE_CONNECTION is set without
    /// PLUGIN_AUTH_LENENC_CLIENT_DATA; nothing is appended.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let has = |flag| self.capabilities.contains(flag);
        let lenenc = has(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA);
        let short = has(Capabilities::SECURE_CONNECTION) && !lenenc;
        let length = if short {
            short_length(&self.auth_response)?
        } else {
            0
        };
        TlsRequest {
            capabilities: self.capabilities,
            max_packet_size: self.max_packet_size,
            collation: self.collation,
        }
        .write(out);
        put_nul_terminated(out, &self.user);
        if lenenc {
            put_bytes(out, &self.auth_response);
        } else if short {
            out.push(length);
            out.extend_from_slice(&self.auth_response);
        } else {
            put_nul_terminated(out, &self.auth_response);
        }
        if has(Capabilities::CONNECT_WITH_DB) {
            put_nul_terminated(out, self.database.as_deref().unwrap_or_default());
        }
        if has(Capabilities::PLUGIN_AUTH) {
            put_nul_terminated(
                out,
                self.auth_plugin.as_deref().unwrap_or_default().as_bytes(),
            );
        }
        if has(Capabilities::CONNECT_ATTRS) {
            put_attributes(out, &self.attributes);
        }
        if has(Capabilities::ZSTD_COMPRESSION) {
            out.push(self.zstd_level.unwrap_or(DEFAULT_ZSTD_LEVEL));
        }
        Ok(())
    }
}

/// A change of user on an open connection: `COM_CHANGE_USER`. It also resets
/// the session. The server may answer with OK, ERR or an authentication
/// switch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChangeUser {
    /// The new user's name.
    pub user: Vec<u8>,
    /// Made with the greeting's nonce; see [`Login::auth_response`].
    pub auth_response: Vec<u8>,
    /// The database to start in; `None` when empty.
    pub database: Option<Vec<u8>>,
    /// The collation to start with, all of its 16 bits; 0 when absent.
    pub collation: u16,
    /// The plugin that `auth_response` was made by.
    pub auth_plugin: Option<String>,
    /// Connection attributes.
    pub attributes: Attributes,
}

impl ChangeUser {
    /// Reads the command from a client that negotiated `capabilities`; the
    /// payload includes the command byte.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::TooLarge`] for attributes over [`MAX_ATTRIBUTES`].
    pub fn parse(payload: &[u8], capabilities: Capabilities) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "COM_CHANGE_USER");
        if reader.u8()? != Command::ChangeUser as u8 {
            return Err(reader.malformed());
        }
        let user = reader.nul_terminated()?.to_vec();
        let auth_response = if capabilities.contains(Capabilities::SECURE_CONNECTION) {
            let length = reader.u8()?;
            reader.bytes(usize::from(length))?
        } else {
            reader.nul_terminated()?
        };
        let auth_response = auth_response.to_vec();
        let database = non_empty(reader.nul_terminated_or_rest());
        let collation = if reader.is_empty() { 0 } else { reader.u16()? };
        let auth_plugin = read_plugin(&mut reader, capabilities);
        let attributes = read_attributes(&mut reader, capabilities)?;
        Ok(Self {
            user,
            auth_response,
            database,
            collation,
            auth_plugin,
            attributes,
        })
    }

    /// Appends the payload, command byte included, for a server with which
    /// `capabilities` were negotiated.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::TooLarge`] when `auth_response` is longer than 255
    /// bytes; nothing is appended. Such an answer can be left empty: the
    /// server then asks with an authentication switch.
    pub fn encode(
        &self,
        capabilities: Capabilities,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let length = short_length(&self.auth_response)?;
        out.push(Command::ChangeUser as u8);
        put_nul_terminated(out, &self.user);
        if capabilities.contains(Capabilities::SECURE_CONNECTION) {
            out.push(length);
            out.extend_from_slice(&self.auth_response);
        } else {
            put_nul_terminated(out, &self.auth_response);
        }
        put_nul_terminated(out, self.database.as_deref().unwrap_or_default());
        out.extend_from_slice(&self.collation.to_le_bytes());
        if capabilities.contains(Capabilities::PLUGIN_AUTH) {
            put_nul_terminated(
                out,
                self.auth_plugin.as_deref().unwrap_or_default().as_bytes(),
            );
        }
        if capabilities.contains(Capabilities::CONNECT_ATTRS) {
            put_attributes(out, &self.attributes);
        }
        Ok(())
    }
}

/// The server's wish for another plugin: `AuthSwitchRequest`. The client
/// answers with the new plugin's response as the whole payload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthSwitch {
    /// The plugin to use.
    pub plugin: String,
    /// What the plugin starts from, to the packet's end: a nonce and a NUL for
    /// the plugins of [`Plugin`](crate::auth::Plugin).
    pub data: Vec<u8>,
}

impl AuthSwitch {
    /// The first byte of the payload.
    pub const HEADER: u8 = 0xFE;

    /// A switch to `plugin` with a nonce and its NUL.
    pub fn with_nonce(plugin: &str, nonce: &[u8; NONCE_LEN]) -> Self {
        let mut data = nonce.to_vec();
        data.push(0);
        Self {
            plugin: plugin.to_owned(),
            data,
        }
    }

    /// The nonce in `data`; `None` when there are fewer than 20 bytes.
    pub fn nonce(&self) -> Option<[u8; NONCE_LEN]> {
        self.data.first_chunk().copied()
    }

    /// Reads a switch request.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Unsupported`] for the form without a plugin, which
    /// asks for the authentication of MySQL 3.23.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(payload, "authentication switch");
        if reader.u8()? != Self::HEADER {
            return Err(reader.malformed());
        }
        if reader.is_empty() {
            return Err(OLD_AUTHENTICATION);
        }
        Ok(Self {
            plugin: lossy(reader.nul_terminated()?),
            data: reader.rest().to_vec(),
        })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Self::HEADER);
        put_nul_terminated(out, self.plugin.as_bytes());
        out.extend_from_slice(&self.data);
    }
}

/// More of a plugin's dialogue from the server: `AuthMoreData`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthMoreData<'a> {
    /// What the plugin says; see [`caching_sha2`](crate::auth::caching_sha2).
    pub data: &'a [u8],
}

impl<'a> AuthMoreData<'a> {
    /// The first byte of the payload.
    pub const HEADER: u8 = 0x01;

    /// Reads the packet.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ProtocolError> {
        match payload.split_first() {
            Some((&Self::HEADER, data)) => Ok(Self { data }),
            _ => Err(ProtocolError::Malformed {
                what: "authentication data",
            }),
        }
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Self::HEADER);
        out.extend_from_slice(self.data);
    }
}

const PROTOCOL_VERSION: u8 = 10;
const TLS_REQUEST_LEN: usize = 32;
const DEFAULT_ZSTD_LEVEL: u8 = 3;

/// The nonce comes in two parts.
const NONCE_HEAD: usize = 8;
const NONCE_TAIL: usize = NONCE_LEN - NONCE_HEAD;

const OLD_AUTHENTICATION: ProtocolError = ProtocolError::Unsupported {
    what: "authentication from before MySQL 4.1",
};

fn is_protocol_41(first: u8, second: u8) -> bool {
    let lower = u64::from(u16::from_le_bytes([first, second]));
    Capabilities::from_bits_retain(lower).contains(Capabilities::PROTOCOL_41)
}

/// The length of an authentication answer that is preceded by one byte.
fn short_length(response: &[u8]) -> Result<u8, ProtocolError> {
    u8::try_from(response.len()).map_err(|_| ProtocolError::TooLarge {
        what: "authentication response",
        size: response.len(),
        limit: usize::from(u8::MAX),
    })
}

fn read_plugin(reader: &mut Reader<'_>, capabilities: Capabilities) -> Option<String> {
    if !capabilities.contains(Capabilities::PLUGIN_AUTH) || reader.is_empty() {
        return None;
    }
    Some(lossy(reader.nul_terminated_or_rest()))
}

fn read_attributes(
    reader: &mut Reader<'_>,
    capabilities: Capabilities,
) -> Result<Attributes, ProtocolError> {
    let mut attributes = Vec::new();
    if !capabilities.contains(Capabilities::CONNECT_ATTRS) || reader.is_empty() {
        return Ok(attributes);
    }
    let size = usize::try_from(reader.clone().int()?).unwrap_or(usize::MAX);
    if size > MAX_ATTRIBUTES {
        return Err(ProtocolError::TooLarge {
            what: "connection attributes",
            size,
            limit: MAX_ATTRIBUTES,
        });
    }
    let mut pairs = Reader::new(reader.lenenc_bytes()?, "connection attributes");
    while !pairs.is_empty() {
        attributes.push((
            pairs.lenenc_bytes()?.to_vec(),
            pairs.lenenc_bytes()?.to_vec(),
        ));
    }
    Ok(attributes)
}

fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    let mut pairs = Vec::new();
    for (name, value) in attributes {
        put_bytes(&mut pairs, name);
        put_bytes(&mut pairs, value);
    }
    put_int(out, pairs.len() as u64);
    out.extend_from_slice(&pairs);
}

fn non_empty(bytes: &[u8]) -> Option<Vec<u8>> {
    (!bytes.is_empty()).then(|| bytes.to_vec())
}

/// Versions and plugin names are ASCII; anything else is shown as it can be.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_LEN] = *b"d8#jK2;:qA[_9zL@w!eR";

    fn greeting(capabilities: Capabilities) -> Greeting {
        Greeting {
            server_version: "8.0.42-isthmus".to_owned(),
            connection_id: 0x0102_0304,
            nonce: NONCE,
            capabilities,
            collation: 255,
            status: Status::AUTOCOMMIT,
            auth_plugin: "caching_sha2_password".to_owned(),
        }
    }

    const MODERN: Capabilities = Capabilities::LONG_PASSWORD
        .union(Capabilities::PROTOCOL_41)
        .union(Capabilities::SECURE_CONNECTION)
        .union(Capabilities::PLUGIN_AUTH)
        .union(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA)
        .union(Capabilities::CONNECT_WITH_DB)
        .union(Capabilities::CONNECT_ATTRS);

    #[test]
    fn greeting_as_mysql_writes_it() {
        // "Protocol::HandshakeV10" in the manual of MySQL 5.7, its example.
        let payload = b"\x0A5.5.2-m2\0\x0B\0\0\0\x64\x76\x48\x40\x49\x2D\x43\x4A\0\
            \xFF\xF7\x08\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
            \x2A\x34\x64\x7C\x63\x5A\x77\x6B\x34\x5E\x5D\x3A\0";
        let greeting = Greeting::parse(payload).unwrap();
        assert_eq!(greeting.server_version, "5.5.2-m2");
        assert_eq!(greeting.connection_id, 11);
        assert_eq!(&greeting.nonce, b"dvH@I-CJ*4d|cZwk4^]:");
        assert_eq!(greeting.capabilities.bits(), 0xF7FF);
        assert_eq!(greeting.collation, 8);
        assert_eq!(greeting.status, Status::AUTOCOMMIT);
        assert_eq!(greeting.auth_plugin, "mysql_native_password");
        let mut out = Vec::new();
        greeting.encode(&mut out);
        assert_eq!(out, payload);
    }

    #[test]
    fn greeting_round_trips() {
        let mariadb = (MODERN - Capabilities::LONG_PASSWORD) | Capabilities::STMT_BULK_OPERATIONS;
        for capabilities in [MODERN, mariadb] {
            let greeting = greeting(capabilities);
            let mut out = Vec::new();
            greeting.encode(&mut out);
            assert_eq!(Greeting::parse(&out), Ok(greeting.clone()));
            // Without the NUL behind the plugin's name.
            out.pop();
            assert_eq!(Greeting::parse(&out), Ok(greeting));
        }
    }

    #[test]
    fn greeting_hides_extended_flags_from_mysql() {
        let mut out = Vec::new();
        greeting(MODERN | Capabilities::STMT_BULK_OPERATIONS).encode(&mut out);
        assert_eq!(Greeting::parse(&out).unwrap().capabilities, MODERN);
    }

    #[test]
    fn greetings_of_the_past() {
        assert!(matches!(
            Greeting::parse(b"\x093.20\0\x01\0\0\0dvH@I-CJ\0"),
            Err(ProtocolError::Unsupported { .. })
        ));
        assert!(matches!(
            Greeting::parse(b"\x0A4.0\0\x01\0\0\0dvH@I-CJ\0\x0C\0"),
            Err(ProtocolError::Unsupported { .. })
        ));
        let mut out = Vec::new();
        greeting(MODERN).encode(&mut out);
        for end in 0..out.len() - "caching_sha2_password".len() - 2 {
            assert!(Greeting::parse(&out[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn tls_request() {
        let request = TlsRequest {
            capabilities: MODERN | Capabilities::SSL,
            max_packet_size: 1 << 24,
            collation: 45,
        };
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(out.len(), 32);
        assert!(is_tls_request(&out));
        assert_eq!(TlsRequest::parse(&out), Ok(request));

        out.push(0);
        assert!(!is_tls_request(&out));
        let mut login = Vec::new();
        self::login(MODERN | Capabilities::SSL)
            .encode(&mut login)
            .unwrap();
        assert!(!is_tls_request(&login));
        assert!(!is_tls_request(&login[..31]));
    }

    fn login(capabilities: Capabilities) -> Login {
        let has = |flag| capabilities.contains(flag);
        Login {
            capabilities,
            max_packet_size: 0x0100_0000,
            collation: 303,
            user: b"album".to_vec(),
            auth_response: vec![7; 20],
            database: has(Capabilities::CONNECT_WITH_DB).then(|| b"photos".to_vec()),
            auth_plugin: has(Capabilities::PLUGIN_AUTH).then(|| "mysql_native_password".into()),
            attributes: if has(Capabilities::CONNECT_ATTRS) {
                vec![
                    (b"_client_name".to_vec(), b"libmysql".to_vec()),
                    (b"program_name".to_vec(), b"".to_vec()),
                ]
            } else {
                Vec::new()
            },
            zstd_level: has(Capabilities::ZSTD_COMPRESSION).then_some(9),
        }
    }

    #[test]
    fn login_round_trips_in_every_form() {
        let optional = [
            Capabilities::LONG_PASSWORD,
            Capabilities::SECURE_CONNECTION,
            Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA,
            Capabilities::CONNECT_WITH_DB,
            Capabilities::PLUGIN_AUTH,
            Capabilities::CONNECT_ATTRS,
            Capabilities::ZSTD_COMPRESSION,
            Capabilities::CACHE_METADATA,
        ];
        for choice in 0..1_u32 << optional.len() {
            let mut capabilities = Capabilities::PROTOCOL_41;
            for (i, flag) in optional.into_iter().enumerate() {
                capabilities.set(flag, choice >> i & 1 == 1);
            }
            if capabilities.contains(Capabilities::LONG_PASSWORD) {
                capabilities.remove(Capabilities::CACHE_METADATA);
            }
            let login = login(capabilities);
            let mut out = Vec::new();
            login.encode(&mut out).unwrap();
            assert_eq!(Login::parse(&out), Ok(login));
        }
    }

    #[test]
    fn login_without_its_end() {
        // Servers take a login whose last fields are missing.
        let mut out = Vec::new();
        login(MODERN).encode(&mut out).unwrap();
        let fixed_and_user = 32 + 6;
        let cut = &out[..fixed_and_user + 21];
        let parsed = Login::parse(cut).unwrap();
        assert_eq!(parsed.database, None);
        assert_eq!(parsed.auth_plugin, None);
        assert_eq!(parsed.attributes, []);
        for end in 0..cut.len() {
            assert!(Login::parse(&out[..end]).is_err());
        }
    }

    #[test]
    fn logins_that_are_refused() {
        // HandshakeResponse320
        assert!(matches!(
            Login::parse(b"\x05\x24\0\0\0album\0"),
            Err(ProtocolError::Unsupported { .. })
        ));
        let mut large = login(MODERN);
        large.attributes = vec![(b"name".to_vec(), vec![b'x'; MAX_ATTRIBUTES])];
        let mut out = Vec::new();
        large.encode(&mut out).unwrap();
        assert!(matches!(
            Login::parse(&out),
            Err(ProtocolError::TooLarge { .. })
        ));

        let mut token = login(MODERN - Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA);
        token.auth_response = vec![b'x'; 256];
        let mut out = Vec::new();
        assert!(token.encode(&mut out).is_err());
        assert_eq!(out, b"");
        token.capabilities = MODERN;
        token.encode(&mut out).unwrap();
        assert_eq!(Login::parse(&out), Ok(token));
    }

    #[test]
    fn change_user() {
        for capabilities in [
            MODERN,
            MODERN - Capabilities::CONNECT_ATTRS,
            MODERN - Capabilities::PLUGIN_AUTH - Capabilities::CONNECT_ATTRS,
            Capabilities::PROTOCOL_41,
        ] {
            let Login {
                user,
                auth_response,
                auth_plugin,
                attributes,
                ..
            } = login(capabilities);
            let change = ChangeUser {
                user,
                auth_response,
                database: Some(b"photos".to_vec()),
                collation: 303,
                auth_plugin,
                attributes,
            };
            let mut out = Vec::new();
            change.encode(capabilities, &mut out).unwrap();
            assert_eq!(ChangeUser::parse(&out, capabilities), Ok(change.clone()));

            let long = ChangeUser {
                auth_response: vec![1; 256],
                ..change
            };
            assert!(long.encode(capabilities, &mut out).is_err());
        }
        let short = ChangeUser::parse(b"\x11u\0\0\0", MODERN).unwrap();
        assert_eq!((short.database, short.collation), (None, 0));
        assert!(ChangeUser::parse(b"\x11u\0\x05abc", MODERN).is_err());
        assert!(ChangeUser::parse(b"\x12u\0\0\0", MODERN).is_err());
    }

    #[test]
    fn auth_switch() {
        let switch = AuthSwitch::with_nonce("mysql_native_password", &NONCE);
        let mut out = Vec::new();
        switch.encode(&mut out);
        assert_eq!(out.len(), 1 + 22 + 21);
        assert_eq!(switch.nonce(), Some(NONCE));
        assert_eq!(AuthSwitch::parse(&out), Ok(switch));
        assert!(matches!(
            AuthSwitch::parse(&[0xFE]),
            Err(ProtocolError::Unsupported { .. })
        ));
        let clear = AuthSwitch::parse(b"\xFEmysql_clear_password\0").unwrap();
        assert_eq!(clear.nonce(), None);
    }

    #[test]
    fn auth_more_data() {
        let more = AuthMoreData::parse(&[1, 4]).unwrap();
        assert_eq!(more.data, [crate::auth::caching_sha2::FULL_AUTH]);
        let mut out = Vec::new();
        more.encode(&mut out);
        assert_eq!(out, [1, 4]);
        assert!(AuthMoreData::parse(&[0, 4]).is_err());
    }
}
