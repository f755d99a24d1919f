//! The codec against `mysql_common`, which real drivers use.

use std::collections::HashMap;

use isthmus_protocol::auth::{NONCE_LEN, caching_sha2, native, nonce_from_random};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::error_packet::ErrPacket;
use isthmus_protocol::handshake::{AuthSwitch, Greeting, Login, TlsRequest};
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::session_track::{Change, put_change};
use isthmus_protocol::status::Status;
use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, Column, CommonOkPacket, ErrPacket as TheirErr, HandshakePacket,
    HandshakeResponse, OkPacketDeserializer, ResultSetTerminator, SslRequest,
};
use mysql_common::proto::MySerialize;
use mysql_common::scramble::{scramble_native, scramble_sha256};
use proptest::prelude::*;

const BACKEND: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::DEPRECATE_EOF);

fn theirs(capabilities: Capabilities) -> CapabilityFlags {
    CapabilityFlags::from_bits_retain(capabilities.lower())
}

proptest! {
    #[test]
    fn scrambles(password in prop::collection::vec(any::<u8>(), 0..40), random: [u8; NONCE_LEN]) {
        let nonce = nonce_from_random(random);
        let expected = scramble_native(&nonce, &password).map_or(Vec::new(), Vec::from);
        prop_assert_eq!(native::scramble(&password, &nonce), expected);
        let expected = scramble_sha256(&nonce, &password).map_or(Vec::new(), Vec::from);
        prop_assert_eq!(caching_sha2::scramble(&password, &nonce), expected);
    }

    #[test]
    fn ok_packets(
        affected_rows: u64,
        last_insert_id: u64,
        warnings: u16,
        info in "[a-z ]{0,300}",
        schema in "[a-z]{0,64}",
        session_track: bool,
        is_eof: bool,
    ) {
        let mut session_state = Vec::new();
        if !schema.is_empty() {
            put_change(&mut session_state, &Change::Schema(schema.as_bytes()));
        }
        let ours = OkPacket {
            affected_rows,
            last_insert_id,
            warnings,
            status: Status::AUTOCOMMIT,
            info: info.as_bytes(),
            session_state: &session_state,
        };
        let mut payload = Vec::new();
        let header = if is_eof { OkPacket::EOF_HEADER } else { OkPacket::HEADER };
        ours.encode(header, session_track, &mut payload);

        let mut flags = theirs(BACKEND);
        flags.set(CapabilityFlags::CLIENT_SESSION_TRACK, session_track);
        let mut buf = ParseBuf(&payload);
        let read = if is_eof {
            buf.parse::<OkPacketDeserializer<'_, ResultSetTerminator>>(flags).unwrap().into_inner()
        } else {
            buf.parse::<OkPacketDeserializer<'_, CommonOkPacket>>(flags).unwrap().into_inner()
        };
        if !is_eof {
            prop_assert_eq!(read.affected_rows(), affected_rows);
            prop_assert_eq!(read.last_insert_id().unwrap_or(0), last_insert_id);
        }
        prop_assert_eq!(read.warnings(), warnings);
        prop_assert_eq!(read.info_ref().unwrap_or_default(), info.as_bytes());
        prop_assert!(read.status_flags().contains(StatusFlags::SERVER_STATUS_AUTOCOMMIT));
        let state = read.session_state_info_ref().unwrap_or_default();
        prop_assert_eq!(state, if session_track { &session_state[..] } else { b"" });

        let back = OkPacket::parse(&payload, session_track).unwrap();
        prop_assert_eq!((back.affected_rows, back.last_insert_id), (affected_rows, last_insert_id));
        prop_assert_eq!((back.info, back.session_state), (info.as_bytes(), state));
    }
}

#[test]
fn scramble_vectors() {
    let nonce = b"0123456789abcdefghij";
    assert_eq!(
        hex(&native::scramble(b"secret", nonce)),
        "f5cac3f3b3df2133feb57db682c71e6ed433a988"
    );
    assert_eq!(
        hex(&caching_sha2::scramble(b"secret", nonce)),
        "7e4adda2f2d5ef09b4147518becb0cee2939376203650a8c2bb2815959364bd0"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn our_greeting() {
    let greeting = Greeting {
        server_version: "8.0.42".to_owned(),
        connection_id: 77,
        nonce: nonce_from_random([0xA7; NONCE_LEN]),
        capabilities: BACKEND,
        collation: 45,
        status: Status::AUTOCOMMIT,
        auth_plugin: "caching_sha2_password".to_owned(),
    };
    let mut payload = Vec::new();
    greeting.encode(&mut payload);
    let read: HandshakePacket<'_> = ParseBuf(&payload).parse(()).unwrap();
    assert_eq!(read.server_version_ref(), b"8.0.42");
    assert_eq!(read.connection_id(), 77);
    assert_eq!(read.nonce(), greeting.nonce);
    assert_eq!(read.capabilities(), theirs(BACKEND));
    assert_eq!(read.default_collation(), 45);
    assert_eq!(
        read.auth_plugin_name_ref(),
        Some(&b"caching_sha2_password"[..])
    );

    let mut again = Vec::new();
    read.serialize(&mut again);
    assert_eq!(Greeting::parse(&again), Ok(greeting));
}

#[test]
fn their_login() {
    for dropped in [
        Capabilities::empty(),
        Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA,
    ] {
        let attributes = HashMap::from([("_pid".to_owned(), "7".to_owned())]);
        let login = HandshakeResponse::new(
            Some(&[9_u8; 32][..]),
            (8, 0, 42),
            Some(&b"album"[..]),
            Some(&b"photos"[..]),
            Some(AuthPlugin::CachingSha2Password),
            theirs(BACKEND - dropped),
            Some(attributes),
            1 << 24,
        );
        let mut payload = Vec::new();
        login.serialize(&mut payload);
        let read = Login::parse(&payload).unwrap();
        let expected = Login {
            capabilities: (BACKEND - dropped) | Capabilities::CONNECT_WITH_DB,
            max_packet_size: 1 << 24,
            collation: 45,
            user: b"album".to_vec(),
            auth_response: vec![9; 32],
            database: Some(b"photos".to_vec()),
            auth_plugin: Some("caching_sha2_password".to_owned()),
            attributes: vec![(b"_pid".to_vec(), b"7".to_vec())],
            zstd_level: None,
        };
        assert_eq!(read, expected);
        let mut again = Vec::new();
        read.encode(&mut again).unwrap();
        assert_eq!(again, payload);
    }
}

#[test]
fn their_tls_request() {
    let flags = theirs(BACKEND | Capabilities::SSL);
    let mut payload = Vec::new();
    SslRequest::new(flags, 1 << 24, 45).serialize(&mut payload);
    let read = TlsRequest::parse(&payload).unwrap();
    assert_eq!(read.capabilities, BACKEND | Capabilities::SSL);
    assert_eq!((read.max_packet_size, read.collation), (1 << 24, 45));
}

#[test]
fn our_auth_switch() {
    let nonce = nonce_from_random([3; NONCE_LEN]);
    let mut payload = Vec::new();
    AuthSwitch::with_nonce("mysql_native_password", &nonce).encode(&mut payload);
    let read: AuthSwitchRequest<'_> = ParseBuf(&payload).parse(()).unwrap();
    assert_eq!(read.auth_plugin(), AuthPlugin::MysqlNativePassword);
    assert_eq!(&read.plugin_data()[..NONCE_LEN], nonce);
}

#[test]
fn our_error() {
    let mut payload = Vec::new();
    ErrPacket::new(1045, *b"28000", "Access denied").encode(&mut payload);
    let read: TheirErr<'_> = ParseBuf(&payload).parse(theirs(BACKEND)).unwrap();
    let error = read.server_error();
    assert_eq!(error.error_code(), 1045);
    assert_eq!(error.sql_state_ref().unwrap().as_bytes(), *b"28000");
    assert_eq!(error.message_ref(), b"Access denied");
}

#[test]
fn our_column() {
    let mut payload = Vec::new();
    ColumnDefinition::text("name").encode(&mut payload);
    let read: Column = ParseBuf(&payload).parse(()).unwrap();
    assert_eq!(read.name_str(), "name");
    assert_eq!(read.character_set(), 45);
    assert_eq!(read.column_type() as u8, ColumnDefinition::VAR_STRING);
    assert_eq!(read.column_length(), 4096);
    assert_eq!(read.decimals(), 31);
    assert!(read.flags().is_empty());
}
