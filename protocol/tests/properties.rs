//! What holds for any bytes: nothing panics, and what was written is read
//! back.

use std::borrow::Cow;

use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::command::{Execute, SendLongData};
use isthmus_protocol::error_packet::ErrPacket;
use isthmus_protocol::handshake::{
    AuthMoreData, AuthSwitch, ChangeUser, Greeting, Login, TlsRequest,
};
use isthmus_protocol::lenenc::{Reader, put_bytes, put_int};
use isthmus_protocol::ok::{EofPacket, OkPacket};
use isthmus_protocol::packet::{Assembler, Progress, payload, put, put_with};
use isthmus_protocol::prepared::PrepareOk;
use isthmus_protocol::query_attributes::QueryForm;
use isthmus_protocol::session_track::{Change, changes, put_change};
use isthmus_protocol::status::Status;
use proptest::collection::vec;
use proptest::prelude::*;

/// Calls every parser.
fn parse_all(bytes: &[u8], capabilities: Capabilities, params: usize) {
    let _ = Greeting::parse(bytes);
    let _ = TlsRequest::parse(bytes);
    let _ = Login::parse(bytes);
    let _ = ChangeUser::parse(bytes, capabilities);
    let _ = AuthSwitch::parse(bytes);
    let _ = AuthMoreData::parse(bytes);
    let _ = OkPacket::parse(bytes, capabilities.contains(Capabilities::SESSION_TRACK));
    let _ = EofPacket::parse(bytes);
    let _ = ErrPacket::parse(bytes);
    let _ = PrepareOk::parse(bytes);
    let _ = ColumnDefinition::parse(bytes);
    for form in [QueryForm::Plain, QueryForm::WithAttributes] {
        let _ = Execute::parse(bytes, params, form);
        let _ = form.attributes_len(bytes);
    }
    let _ = SendLongData::parse(bytes);
    assert!(changes(bytes).count() <= bytes.len());
    let _ = payload(bytes);
}

/// A login up to its variable part, so that any bytes behind it are looked at.
fn login_head(capabilities: Capabilities) -> Vec<u8> {
    let mut head = Vec::new();
    let request = TlsRequest {
        capabilities,
        max_packet_size: 0,
        collation: 0,
    };
    request.encode(&mut head);
    head
}

/// Bytes that a NUL-terminated field can hold.
fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(1_u8.., 0..70)
}

fn attributes() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..300)), 0..5)
}

fn change() -> impl Strategy<Value = (u8, Vec<u8>, Vec<u8>)> {
    (0_u8..9, vec(any::<u8>(), 0..70), vec(any::<u8>(), 0..400))
}

fn as_change<'a>((kind, a, b): &'a (u8, Vec<u8>, Vec<u8>)) -> Change<'a> {
    match kind {
        0 => Change::Variable { name: a, value: b },
        1 => Change::Schema(a),
        2 => Change::State(a.is_empty()),
        3 => Change::Gtids(b),
        4 => Change::TransactionCharacteristics(b),
        5 => Change::TransactionState(a),
        kind => Change::Unknown {
            kind: *kind,
            data: b,
        },
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(
        bytes in vec(any::<u8>(), 0..300),
        first in prop::sample::select(std::vec![0_u8, 1, 0x0A, 0x11, 0x17, 0x18, 0xFE, 0xFF]),
        flags: u64,
        params in 0_usize..70_000,
    ) {
        let capabilities = Capabilities::from_bits_retain(flags);
        parse_all(&bytes, capabilities, params);
        let started = [&[first], &bytes[..]].concat();
        parse_all(&started, capabilities, params % 20);
        let mut login = login_head(capabilities | Capabilities::PROTOCOL_41);
        login.extend_from_slice(&bytes);
        let _ = Login::parse(&login);
    }

    #[test]
    fn lenenc_round_trips(int: u64, bytes in vec(any::<u8>(), 0..600)) {
        let mut out = Vec::new();
        put_int(&mut out, int);
        put_bytes(&mut out, &bytes);
        let mut reader = Reader::new(&out, "test");
        prop_assert_eq!(reader.int(), Ok(int));
        prop_assert_eq!(reader.lenenc_bytes(), Ok(&bytes[..]));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn any_split_of_messages_assembles_the_same(
        payloads in vec(vec(any::<u8>(), 0..100), 1..10),
        step in 1_usize..50,
        sequence: u8,
    ) {
        let mut stream = Vec::new();
        for payload in &payloads {
            let next = put_with(&mut stream, sequence, |out| out.extend_from_slice(payload));
            prop_assert_eq!(next, sequence.wrapping_add(1));
        }
        let mut assembler = Assembler::with_limit(100);
        let (mut buf, mut read) = (Vec::new(), Vec::new());
        for part in stream.chunks(step) {
            buf.extend_from_slice(part);
            loop {
                match assembler.advance(&buf).unwrap() {
                    Progress::Incomplete { need } => {
                        prop_assert!(need > 0);
                        break;
                    }
                    Progress::Complete { framed, payload: size, sequence: last } => {
                        prop_assert_eq!(last, sequence);
                        let message: Vec<u8> = buf.drain(..framed).collect();
                        let content = payload(&message);
                        prop_assert_eq!(content.len(), size);
                        prop_assert!(matches!(content, Cow::Borrowed(_)));
                        read.push(content.into_owned());
                    }
                }
            }
        }
        prop_assert_eq!(read, payloads);
        prop_assert!(buf.is_empty());
    }

    #[test]
    fn any_bytes_assemble_or_wait(bytes in vec(any::<u8>(), 0..100), limit in 0_usize..200) {
        match Assembler::with_limit(limit).advance(&bytes) {
            Ok(Progress::Incomplete { need }) => prop_assert!(need > 0 && need <= limit + 4),
            Ok(Progress::Complete { framed, payload, .. }) => {
                prop_assert!(framed <= bytes.len() && payload <= limit);
            }
            Err(_) => {}
        }
    }

    #[test]
    fn logins_round_trip(
        flags: u64,
        user in name(),
        auth_response in vec(1_u8.., 0..=255),
        database in name(),
        plugin in "[a-z_]{1,30}",
        attributes in attributes(),
        collation: u16,
    ) {
        let capabilities = Capabilities::from_bits_retain(flags) | Capabilities::PROTOCOL_41;
        // Extended flags travel only where LONG_PASSWORD is absent.
        let capabilities = Capabilities::from_wire(capabilities.lower(), capabilities.extended());
        let has = |flag| capabilities.contains(flag);
        let login = Login {
            capabilities,
            max_packet_size: 1 << 24,
            collation,
            user,
            auth_response,
            database: (has(Capabilities::CONNECT_WITH_DB) && !database.is_empty()).then_some(database),
            auth_plugin: has(Capabilities::PLUGIN_AUTH).then_some(plugin),
            attributes: if has(Capabilities::CONNECT_ATTRS) { attributes } else { Vec::new() },
            zstd_level: has(Capabilities::ZSTD_COMPRESSION).then_some(3),
        };
        let mut out = Vec::new();
        login.encode(&mut out).unwrap();
        prop_assert_eq!(Login::parse(&out), Ok(login.clone()));

        let change = ChangeUser {
            user: login.user,
            auth_response: login.auth_response,
            database: login.database,
            collation,
            auth_plugin: login.auth_plugin,
            attributes: login.attributes,
        };
        let mut out = Vec::new();
        change.encode(capabilities, &mut out).unwrap();
        prop_assert_eq!(ChangeUser::parse(&out, capabilities), Ok(change));
    }

    #[test]
    fn session_changes_round_trip(all in vec(change(), 0..8)) {
        let all: Vec<Change<'_>> = all.iter().map(as_change).collect();
        let mut state = Vec::new();
        for change in &all {
            put_change(&mut state, change);
        }
        let read: Result<Vec<_>, _> = changes(&state).collect();
        prop_assert_eq!(read.unwrap(), all);
    }

    #[test]
    fn errors_round_trip(code: u16, state: [u8; 5], message in vec(any::<u8>(), 0..300)) {
        let error = ErrPacket { code, state, message: Cow::Owned(message) };
        let mut out = Vec::new();
        error.encode(&mut out);
        prop_assert_eq!(ErrPacket::parse(&out), Ok(error));
    }

    #[test]
    fn executes_round_trip(
        statement_id: u32,
        cursor_flags: u8,
        types in vec(any::<[u8; 2]>(), 1..40),
        names in vec(vec(any::<u8>(), 0..300), 0..10),
        values in vec(any::<u8>(), 0..300),
    ) {
        let flat = types.concat();
        let mut attribute_types = Vec::new();
        for name in &names {
            attribute_types.extend_from_slice(&[0xFD, 0]);
            put_bytes(&mut attribute_types, name);
        }
        let bitmap = vec![0x55; (types.len() + names.len()).div_ceil(8)];
        let with = Execute {
            statement_id,
            cursor_flags: cursor_flags & !8,
            null_bitmap: &bitmap,
            types: Some(Cow::Borrowed(&flat)),
            attributes: names.len(),
            attribute_types: &attribute_types,
            values: &values,
        };
        let plain = Execute {
            null_bitmap: &bitmap[..types.len().div_ceil(8)],
            attributes: 0,
            attribute_types: &[],
            ..with.clone()
        };
        for (form, expected) in [(QueryForm::WithAttributes, with.clone()), (QueryForm::Plain, plain)] {
            let mut out = Vec::new();
            with.encode(&mut out, statement_id, &flat, form);
            prop_assert_eq!(Execute::parse(&out, types.len(), form), Ok(expected));
        }
    }

    #[test]
    fn columns_round_trip(
        names in any::<[Vec<u8>; 5]>(),
        (collation, length, kind, flags, decimals) in any::<(u16, u32, u8, u16, u8)>(),
    ) {
        let [schema, table, org_table, name, org_name] = names;
        let column = ColumnDefinition {
            schema, table, org_table, name, org_name,
            collation, length, kind, flags, decimals,
        };
        let mut out = Vec::new();
        column.encode(&mut out);
        prop_assert_eq!(ColumnDefinition::parse(&out), Ok(column));
    }

    #[test]
    fn ok_packets_round_trip(
        affected_rows: u64,
        last_insert_id: u64,
        warnings: u16,
        status: u16,
        info in vec(any::<u8>(), 0..300),
        session_state in vec(any::<u8>(), 1..300),
        header in prop::sample::select(std::vec![OkPacket::HEADER, OkPacket::EOF_HEADER]),
    ) {
        let status = Status::from_bits_retain(status) | Status::SESSION_STATE_CHANGED;
        let ok = OkPacket {
            affected_rows,
            last_insert_id,
            status,
            warnings,
            info: &info,
            session_state: &session_state,
        };
        let mut out = Vec::new();
        ok.encode(header, true, &mut out);
        prop_assert_eq!(OkPacket::parse(&out, true), Ok(ok));
        let mut out = Vec::new();
        ok.encode(header, false, &mut out);
        let without = OkPacket {
            status: status - Status::SESSION_STATE_CHANGED,
            session_state: &[],
            ..ok
        };
        prop_assert_eq!(OkPacket::parse(&out, false), Ok(without));
    }
}

#[test]
fn a_message_of_many_packets_is_walked_once() {
    let huge = vec![7; 40_000_000];
    let mut framed = Vec::new();
    assert_eq!(put(&mut framed, 0, &huge), 3);
    let mut assembler = Assembler::with_limit(huge.len());
    for end in (0..framed.len()).step_by(1 << 20) {
        let progress = assembler.advance(&framed[..end]).unwrap();
        assert!(matches!(progress, Progress::Incomplete { need } if end + need <= framed.len()));
    }
    let Ok(Progress::Complete {
        framed: size,
        payload: length,
        sequence: 2,
    }) = assembler.advance(&framed)
    else {
        panic!("it is all there");
    };
    assert_eq!((size, length), (framed.len(), huge.len()));
    assert!(payload(&framed) == huge);
}
