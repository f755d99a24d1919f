//! The response state machine, fed as a proxy feeds it: any split of a stream
//! gives the same pieces.

use isthmus_protocol::ProtocolError;
use isthmus_protocol::ok::EofPacket;
use isthmus_protocol::packet::{HEADER_LEN, Header, MAX_PAYLOAD, put};
use isthmus_protocol::response::{Kind, MAX_DECISIVE, Piece, Response};
use isthmus_protocol::status::Status;
use proptest::prelude::*;

/// A piece with its bytes; runs that follow each other are one.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Event {
    Run(Vec<u8>),
    MetadataEnd,
    Ok {
        bytes: Vec<u8>,
        last: bool,
        is_eof: bool,
    },
    Err(Vec<u8>),
    LocalInfile(Vec<u8>),
    PrepareOk(Vec<u8>),
}

/// How a stream ended.
#[derive(Clone, Debug, Eq, PartialEq)]
enum End {
    Over { left: usize },
    Hungry { left: usize },
    Error(ProtocolError),
}

/// Feeds `stream` in parts that end at `cuts`.
fn feed(response: &mut Response, stream: &[u8], cuts: &[usize]) -> (Vec<Event>, End) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.push(stream.len());
    cuts.sort_unstable();
    let mut events = Vec::new();
    let mut buf = Vec::new();
    let mut fed = 0;
    for cut in cuts {
        buf.extend_from_slice(&stream[fed..cut]);
        fed = cut;
        loop {
            if response.is_over() {
                let left = buf.len() + stream.len() - fed;
                return (events, End::Over { left });
            }
            let piece = match response.next(&mut buf) {
                Ok(piece) => piece,
                Err(error) => return (events, End::Error(error)),
            };
            let mut take = |len: usize| buf.drain(..len).collect::<Vec<u8>>();
            let event = match piece {
                Piece::NeedMore => break,
                Piece::Run(len) => {
                    assert!(len > 0, "a run of nothing is no progress");
                    let bytes = take(len);
                    if let Some(Event::Run(before)) = events.last_mut() {
                        before.extend(bytes);
                        continue;
                    }
                    Event::Run(bytes)
                }
                Piece::MetadataEnd => Event::MetadataEnd,
                Piece::Ok { len, last, is_eof } => Event::Ok {
                    bytes: take(len),
                    last,
                    is_eof,
                },
                Piece::Err { len } => Event::Err(take(len)),
                Piece::LocalInfile { len } => Event::LocalInfile(take(len)),
                Piece::PrepareOk { len } => Event::PrepareOk(take(len)),
            };
            events.push(event);
        }
    }
    let left = buf.len();
    (events, End::Hungry { left })
}

/// The packets of a backend, numbered from 1.
fn packets<P: AsRef<[u8]>>(payloads: &[P]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sequence = 1;
    for payload in payloads {
        sequence = put(&mut out, sequence, payload.as_ref());
    }
    out
}

const OK: &[u8] = b"\0\0\0\x02\0\0\0";
const OK_MORE: &[u8] = b"\0\0\0\x0A\0\0\0";
const END: &[u8] = b"\xFE\0\0\x02\0\0\0";
const END_MORE: &[u8] = b"\xFE\0\0\x0A\0\0\0";
const END_CURSOR: &[u8] = b"\xFE\0\0\x42\0\0\0";
const END_LAST_ROW: &[u8] = b"\xFE\0\0\x82\0\0\0";
const ERR: &[u8] = b"\xFF\x28\x04#42000No";
const PARAMS_2_COLUMNS_1: &[u8] = b"\0\x01\0\0\0\x01\0\x02\0\0\0\0";
const PARAMS_0_COLUMNS_1: &[u8] = b"\0\x01\0\0\0\x01\0\0\0\0\0\0";
const PARAMS_1_COLUMNS_0: &[u8] = b"\0\x01\0\0\0\0\0\x01\0\0\0\0";
const PARAMS_0_COLUMNS_0: &[u8] = b"\0\x01\0\0\0\0\0\0\0\0\0\0";

/// One letter per event: r)un, m)etadata end, o)k, O)k that is not the last,
/// e)of, E)of that is not the last, x) error, l)ocal infile, p)repare ok.
fn letters(events: &[Event]) -> String {
    let letter = |event: &Event| match event {
        Event::Run(_) => 'r',
        Event::MetadataEnd => 'm',
        Event::Ok { last, is_eof, .. } => match (is_eof, last) {
            (false, true) => 'o',
            (false, false) => 'O',
            (true, true) => 'e',
            (true, false) => 'E',
        },
        Event::Err(_) => 'x',
        Event::LocalInfile(_) => 'l',
        Event::PrepareOk(_) => 'p',
    };
    events.iter().map(letter).collect()
}

#[test]
fn shapes_of_responses() {
    let mut many_columns: Vec<&[u8]> = vec![b"\xFC\xFB\0"];
    many_columns.extend([&b"\x03def"[..]; 251]);
    many_columns.push(END);
    let table: &[(Kind, &[&[u8]], &str, u64)] = &[
        (Kind::Query, &[OK], "o", 0),
        (Kind::Query, &[ERR], "x", 0),
        (Kind::Query, &[OK_MORE, OK], "Oo", 0),
        (Kind::Query, &[OK_MORE, ERR], "Ox", 0),
        (Kind::Query, &[b"\x01", b"\x03def", END], "rme", 0),
        (
            Kind::Query,
            &[b"\x01", b"\x03def", b"\x01a", b"\xFB", END],
            "rmre",
            2,
        ),
        (
            Kind::Query,
            &[b"\x01", b"\x03def", b"", b"", END],
            "rmre",
            2,
        ),
        (
            Kind::Query,
            &[b"\x02", b"\x03def", b"\x03def", b"\0\0\x01a", ERR],
            "rmrx",
            1,
        ),
        (Kind::Query, &[b"\x01", b"\x03def", ERR], "rmx", 0),
        (Kind::Query, &[b"\x02", b"\x03def", ERR], "rx", 0),
        // A procedure's result sets, and its OK.
        (
            Kind::Query,
            &[
                b"\x01", b"\x03def", b"\x01a", END_MORE, b"\x01", b"\x03def", END_MORE, OK,
            ],
            "rmrErmEo",
            1,
        ),
        // A cursor is opened: one end for definitions and rows.
        (Kind::Query, &[b"\x01", b"\x03def", END_CURSOR], "re", 0),
        // 251 columns are counted in 3 bytes.
        (Kind::Query, &many_columns, "rme", 0),
        // A genuine EOF packet ends rows too.
        (
            Kind::Query,
            &[b"\x01", b"\x03def", b"\x01a", b"\xFE\0\0\x0A\0", OK],
            "rmrEo",
            1,
        ),
        (
            Kind::Fetch,
            &[b"\0\0\x01a", b"\0\0\x01b", END_CURSOR],
            "re",
            2,
        ),
        (Kind::Fetch, &[END_LAST_ROW], "e", 0),
        (Kind::Fetch, &[ERR], "x", 0),
        (Kind::Simple, &[OK], "o", 0),
        (Kind::Simple, &[OK_MORE], "o", 0),
        (Kind::Simple, &[b"\xFE\0\0\x02\0"], "e", 0),
        (Kind::Simple, &[ERR], "x", 0),
        (Kind::FieldList, &[b"\x03def", b"\x03def", END], "re", 0),
        (Kind::FieldList, &[ERR], "x", 0),
        (Kind::Statistics, &[b"Uptime: 7"], "r", 0),
        (Kind::Statistics, &[b""], "r", 0),
        (Kind::Statistics, &[ERR], "x", 0),
        (
            Kind::Prepare,
            &[PARAMS_2_COLUMNS_1, b"\x03def", b"\x03def", b"\x03def"],
            "prmrm",
            0,
        ),
        (Kind::Prepare, &[PARAMS_0_COLUMNS_1, b"\x03def"], "prm", 0),
        (Kind::Prepare, &[PARAMS_1_COLUMNS_0, b"\x03def"], "prm", 0),
        (Kind::Prepare, &[PARAMS_0_COLUMNS_0], "p", 0),
        (
            Kind::Prepare,
            &[PARAMS_2_COLUMNS_1, b"\x03def", ERR],
            "prx",
            0,
        ),
        (Kind::Prepare, &[ERR], "x", 0),
    ];
    for (kind, payloads, expected, rows) in table {
        let stream = packets(payloads);
        let next = b"\x01\0\0\x01\0";
        let followed = [&stream[..], next].concat();
        for cuts in [vec![], (0..followed.len()).collect()] {
            let mut response = Response::new(*kind);
            let (events, end) = feed(&mut response, &followed, &cuts);
            assert_eq!(letters(&events), *expected, "{kind:?} {payloads:?}");
            // What follows the response is not touched.
            assert_eq!(end, End::Over { left: next.len() });
            assert_eq!(response.rows, *rows);
            assert!(response.next(&mut []).is_err());
        }
        // No beginning of it is a whole response.
        for cut in 0..stream.len() {
            let (_, end) = feed(&mut Response::new(*kind), &stream[..cut], &[]);
            assert!(
                matches!(end, End::Hungry { .. }),
                "{kind:?} {payloads:?} {cut}"
            );
        }
    }
}

#[test]
fn what_cannot_be() {
    let table: &[(Kind, &[&[u8]])] = &[
        (Kind::Query, &[b""]),
        (Kind::Query, &[b"\0"]),
        (Kind::Query, &[b"\x01\x01"]),
        (Kind::Query, &[b"\xFC\x01"]),
        (Kind::Query, &[b"a row that nobody asked for"]),
        (Kind::Query, &[b"\xFF\x28"]),
        (Kind::Query, &[b"\x01", b"\x03def", b"\xFE\0"]),
        (Kind::Simple, &[b"\x01"]),
        (Kind::Simple, &[b""]),
        (Kind::Prepare, &[OK]),
        (Kind::Prepare, &[b"\x01"]),
        (Kind::Prepare, &[END]),
        (Kind::Fetch, &[b"\xFE"]),
    ];
    for (kind, payloads) in table {
        let (_, end) = feed(&mut Response::new(*kind), &packets(payloads), &[]);
        assert!(
            matches!(end, End::Error(ProtocolError::Malformed { .. })),
            "{kind:?} {payloads:?}: {end:?}"
        );
    }
}

#[test]
fn an_endless_ok_is_refused_at_its_header() {
    let mut packet = Header {
        length: MAX_DECISIVE + 1,
        sequence: 1,
    }
    .encode()
    .to_vec();
    for first in [0, 0xFE, 0xFF, 0xFB] {
        packet.truncate(HEADER_LEN);
        packet.push(first);
        assert!(matches!(
            Response::new(Kind::Query).next(&mut packet),
            Err(ProtocolError::TooLarge { .. })
        ));
    }
}

#[test]
fn sequence_ids_are_checked() {
    let mut stream = packets(&[&b"\x01"[..], b"\x03def", b"\x01a", b"\x01b", END]);
    let rows = 5 + 8;
    stream[rows + 6 + 3] = 9;
    let (events, end) = feed(&mut Response::new(Kind::Query), &stream, &[]);
    // What came in order goes by first.
    assert_eq!(letters(&events), "rmr");
    let (expected, found) = (4, 9);
    assert_eq!(
        end,
        End::Error(ProtocolError::OutOfOrder { expected, found })
    );

    let mut ok = packets(&[OK]);
    ok[3] = 5;
    let wrong = feed(&mut Response::new(Kind::Query), &ok, &[]).1;
    assert!(matches!(
        wrong,
        End::Error(ProtocolError::OutOfOrder { .. })
    ));
    // After a command of five packets it is right.
    let right = feed(&mut Response::after(Kind::Query, 4), &ok, &[]).1;
    assert_eq!(right, End::Over { left: 0 });
}

#[test]
fn sequence_ids_wrap() {
    let mut payloads = vec![&b"\x01"[..], b"\x03def"];
    payloads.extend([&b"\x01a"[..]; 1000]);
    payloads.push(END);
    let mut response = Response::new(Kind::Query);
    let (events, end) = feed(&mut response, &packets(&payloads), &[7, 300, 301]);
    assert_eq!(letters(&events), "rmre");
    assert_eq!(end, End::Over { left: 0 });
    assert_eq!(response.rows, 1000);
}

#[test]
fn local_infile_goes_on_after_the_upload() {
    let mut response = Response::new(Kind::Query);
    let mut request = packets(&[b"\xFB/tmp/photos.csv"]);
    let len = request.len();
    assert_eq!(response.next(&mut request), Ok(Piece::LocalInfile { len }));
    assert!(!response.is_over());
    assert_eq!(response.next(&mut []), Ok(Piece::NeedMore));

    let mut answers = Vec::new();
    let sequence = put(&mut answers, 77, OK_MORE);
    let sequence = put(&mut answers, sequence, b"\x01");
    let sequence = put(&mut answers, sequence, b"\x03def");
    put(&mut answers, sequence, END);
    let (events, end) = feed(&mut response, &answers, &[5, 13]);
    assert_eq!(letters(&events), "Orme");
    assert_eq!(end, End::Over { left: 0 });

    // After an upload there is an outcome, and nothing else.
    let mut response = Response::new(Kind::Query);
    response.next(&mut request).unwrap();
    let mut answer = packets(&[b"\x01"]);
    assert!(response.next(&mut answer).is_err());
}

/// What a client without DEPRECATE_EOF gets is numbered without a gap.
#[test]
fn the_shift_keeps_packets_numbered() {
    let stream = packets(&[
        &b"\x01"[..],
        b"\x03def",
        b"\x01a",
        b"\x01b",
        END_MORE,
        b"\x02",
        b"\x03def",
        b"\x03def",
        END_MORE,
        OK,
    ]);
    for step in 1..stream.len() {
        let mut response = Response::new(Kind::Query);
        let (mut buf, mut sent, mut fed) = (Vec::new(), Vec::new(), 0);
        while !response.is_over() {
            let len = match response.next(&mut buf).unwrap() {
                Piece::NeedMore => {
                    let part = &stream[fed..stream.len().min(fed + step)];
                    assert!(!part.is_empty());
                    buf.extend_from_slice(part);
                    fed += part.len();
                    continue;
                }
                Piece::MetadataEnd => {
                    let due = response.next_sequence();
                    let eof = EofPacket {
                        warnings: 0,
                        status: Status::AUTOCOMMIT,
                    };
                    let mut payload = Vec::new();
                    eof.encode(&mut payload);
                    put(
                        &mut sent,
                        due.wrapping_add(response.sequence_shift),
                        &payload,
                    );
                    response.sequence_shift += 1;
                    continue;
                }
                Piece::Run(len) | Piece::Ok { len, .. } => len,
                other => panic!("{other:?}"),
            };
            sent.extend(buf.drain(..len));
        }
        let (mut rest, mut sequence) = (&sent[..], 1);
        while let Some(header) = Header::parse(rest) {
            assert_eq!(header.sequence, sequence, "in steps of {step}");
            sequence += 1;
            rest = &rest[HEADER_LEN + header.length..];
        }
        assert_eq!(sequence, 1 + 10 + 2);
    }
}

/// On a compressed connection a server begins to count anew where it sends a frame.
#[test]
fn a_compressed_server_counts_as_it_likes() {
    let results = [
        &b"\x01"[..],
        b"column",
        b"\xFE\0\0\x0A\0\0\0",
        b"\x01",
        b"column",
        b"row",
        b"row",
        b"\xFE\0\0\x02\0\0\0",
    ];
    let mut expected = Vec::new();
    let mut sent = Vec::new();
    for (index, payload) in results.iter().enumerate() {
        put(&mut expected, index as u8 + 5, payload);
        put(&mut sent, [1, 2, 3, 2, 3, 4, 9, 0][index], payload);
    }
    let mut response = Response::new(Kind::Query);
    response.is_compressed = true;
    response.sequence_shift = 4;
    let (events, end) = feed(&mut response, &sent, &[]);
    assert_eq!(end, End::Over { left: 0 });
    let bytes = |event: &Event| match event {
        Event::Run(bytes) | Event::Ok { bytes, .. } => bytes.clone(),
        _ => Vec::new(),
    };
    assert_eq!(events.iter().flat_map(bytes).collect::<Vec<u8>>(), expected);
    assert_eq!(response.rows, 2);

    // Behind an upload of 3 packets, which the client has counted.
    let mut response = Response::new(Kind::Query);
    response.is_compressed = true;
    let mut request = b"\x02\0\0\x01\xFBf".to_vec();
    response.next(&mut request).unwrap();
    response.uploaded(5);
    let mut ok = b"\x07\0\0\x09\0\0\0\x02\0\0\0".to_vec();
    response.next(&mut ok).unwrap();
    assert_eq!(ok[3], 5);
}

#[test]
fn huge_rows_stream() {
    // Text values whose length takes 8 bytes begin with 0xFE, like an end; and
    // a continuation may begin with anything.
    for size in [MAX_PAYLOAD, MAX_PAYLOAD + 5, 2 * MAX_PAYLOAD] {
        let mut row = vec![0xFE; size];
        row[MAX_PAYLOAD - 1] = 0xFF;
        let stream = packets(&[&b"\x01"[..], b"\x03def", b"\x01a", &row, b"\x01b", END]);
        let first_row = 5 + 8;
        let continuation = first_row + 6 + HEADER_LEN + MAX_PAYLOAD;
        let around = |at: usize| at.saturating_sub(6)..at + 7;
        let cuts: Vec<usize> = around(continuation)
            .chain(around(stream.len() - 20))
            .collect();
        for cuts in [&[][..], &cuts[..], &cuts[3..4]] {
            let mut response = Response::new(Kind::Query);
            let (events, end) = feed(&mut response, &stream, cuts);
            assert_eq!(letters(&events), "rmre");
            assert_eq!(end, End::Over { left: 0 });
            assert_eq!(response.rows, 3);
        }
    }
}

/// A partial row is passed on as soon as its first payload byte is there.
#[test]
fn partial_rows_are_not_held_back() {
    let mut response = Response::new(Kind::Fetch);
    let mut row = packets(&[&[0_u8; 100][..]]);
    assert_eq!(response.next(&mut row[..3]), Ok(Piece::NeedMore));
    assert_eq!(response.next(&mut row[..4]), Ok(Piece::NeedMore));
    assert_eq!(response.next(&mut row[..5]), Ok(Piece::Run(5)));
    assert_eq!(response.next(&mut row[5..9]), Ok(Piece::Run(4)));
    assert_eq!(response.next(&mut []), Ok(Piece::NeedMore));
    assert_eq!(response.next(&mut row[9..]), Ok(Piece::Run(95)));
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Query,
        Kind::Prepare,
        Kind::Fetch,
        Kind::Simple,
        Kind::FieldList,
        Kind::Statistics,
    ])
}

/// Payloads that look like something.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        OK,
        OK_MORE,
        END,
        END_MORE,
        END_CURSOR,
        ERR,
        PARAMS_2_COLUMNS_1,
        PARAMS_1_COLUMNS_0,
        b"\x01",
        b"\x02",
        b"\xFC\x02\0",
        b"\xFBfile",
    ]);
    prop_oneof![
        2 => known.prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(1_u8..0xFA, 1..40),
    ]
}

/// A result set: definitions, rows and an end that promises more.
fn result_set() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let rows = prop::collection::vec(prop::collection::vec(0_u8..0xFB, 0..300), 0..20);
    (1_u8..5, rows).prop_map(|(columns, rows)| {
        let mut payloads = vec![vec![columns]];
        payloads.extend(vec![b"\x03def\0\0\0\x01a".to_vec(); columns.into()]);
        payloads.extend(rows);
        payloads.push(END_MORE.to_vec());
        payloads
    })
}

proptest! {
    #[test]
    fn any_split_of_result_sets_gives_the_same_pieces(
        sets in prop::collection::vec(result_set(), 0..4),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
        shift: u8,
    ) {
        let mut payloads = sets.concat();
        payloads.push(OK.to_vec());
        let stream = packets(&payloads);
        let run = |cuts: &[usize]| {
            let mut response = Response::new(Kind::Query);
            response.sequence_shift = shift;
            let (events, end) = feed(&mut response, &stream, cuts);
            (events, end, response.rows)
        };
        let whole = run(&[]);
        prop_assert_eq!(&whole.1, &End::Over { left: 0 });
        prop_assert_eq!(whole.2 as usize, payloads.len() - 1 - sets.iter().map(|set| 2 + usize::from(set[0][0])).sum::<usize>());
        prop_assert_eq!(&run(&cuts), &whole);
        prop_assert_eq!(&run(&(0..stream.len()).collect::<Vec<_>>()), &whole);
    }

    #[test]
    fn any_split_of_any_packets_gives_the_same_pieces(
        kind in kinds(),
        payloads in prop::collection::vec(payload(), 0..12),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let stream = packets(&payloads);
        let whole = feed(&mut Response::new(kind), &stream, &[]);
        prop_assert_eq!(&feed(&mut Response::new(kind), &stream, &cuts), &whole);
    }

    #[test]
    fn any_bytes_make_progress_or_fail(
        kind in kinds(),
        stream in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let whole = feed(&mut Response::new(kind), &stream, &[]);
        prop_assert_eq!(&feed(&mut Response::new(kind), &stream, &cuts), &whole);
    }
}
