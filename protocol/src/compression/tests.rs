use proptest::prelude::*;

use super::content::LONGEST;
use super::*;
use crate::packet::{Header, MAX_PAYLOAD};

const BOTH: [Algorithm; 2] = [Algorithm::Zlib, Algorithm::Zstd(3)];

/// Takes all frames off `raw`.
fn unpack_all(compression: &mut Compression, raw: &mut Vec<u8>) -> Result<Vec<u8>, ProtocolError> {
    let mut content = Vec::new();
    while let Some(frame) = compression.next(raw)? {
        let start = content.len();
        content.resize(start + frame.content_len(), 0);
        frame.unpack(&mut content[start..])?;
        let framed = frame.framed_len();
        raw.drain(..framed);
    }
    Ok(content)
}

fn put_commands(compression: &mut Compression, commands: &[u8], out: &mut Vec<u8>) {
    for content in Content::of_commands(commands) {
        compression.put(content, out);
    }
}

fn put_more(compression: &mut Compression, bytes: &[u8], out: &mut Vec<u8>) {
    for content in Content::of_more(bytes) {
        compression.put(content, out);
    }
}

/// The sequence ids of the frames in `raw`.
fn sequences(mut raw: &[u8]) -> Vec<u8> {
    let mut sequences = Vec::new();
    while let Some(header) = raw.first_chunk::<FRAME_HEADER_LEN>() {
        sequences.push(header[3]);
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        raw = &raw[FRAME_HEADER_LEN + length..];
    }
    sequences
}

fn header(length: usize, sequence: u8, unpacked: usize) -> Vec<u8> {
    let mut header = length.to_le_bytes()[..3].to_vec();
    header.push(sequence);
    header.extend(&unpacked.to_le_bytes()[..3]);
    header
}

#[test]
fn the_examples_of_the_manual() {
    let query = b"\x2e\0\0\0\x03select \"012345678901234567890123456789012345\"";
    let framed = b"\x22\0\0\0\x32\0\0\x78\x9c\xd3\x63\x60\x60\x60\x2e\x4e\xcd\x49\x4d\x2e\x51\
        \x50\x32\x30\x34\x32\x36\x31\x35\x33\xb7\xb0\xc4\xcd\x52\x02\0\x0c\xd1\x0a\x6c";
    let mut server = Compression::of_client(Algorithm::Zlib);
    assert_eq!(
        unpack_all(&mut server, &mut framed.to_vec()).unwrap(),
        query
    );

    let mut client = Compression::of_server(Algorithm::Zlib);
    let mut out = Vec::new();
    put_commands(&mut client, b"\x09\0\0\0\x03SELECT 1", &mut out);
    assert_eq!(out, b"\x0d\0\0\0\0\0\0\x09\0\0\0\x03SELECT 1");
}

#[test]
fn only_what_gets_shorter_is_compressed() {
    let noise: Vec<u8> = (0_u32..1000)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for algorithm in BOTH {
        for (content, is_compressed) in [
            (&b"a".repeat(MIN_COMPRESS_LENGTH - 1)[..], false),
            (&b"a".repeat(MIN_COMPRESS_LENGTH), true),
            (&noise[..60], false),
        ] {
            let mut out = Vec::new();
            put_more(&mut Compression::of_server(algorithm), content, &mut out);
            assert_eq!(
                out[4..7] != [0; 3],
                is_compressed,
                "{algorithm:?} {content:?}"
            );
            assert!(out.len() <= FRAME_HEADER_LEN + content.len());
            let back = unpack_all(&mut Compression::of_client(algorithm), &mut out).unwrap();
            assert_eq!(back, content);
        }
    }
}

#[test]
fn each_command_counts_from_0() {
    let mut commands = Vec::new();
    packet::put(&mut commands, 0, b"\x19\x01\0\0\0");
    packet::put(&mut commands, 0, &vec![3; 2 * MAX_CONTENT]);
    packet::put(&mut commands, 0, &vec![b'x'; MAX_PAYLOAD + 9]);
    packet::put(&mut commands, 0, b"\x0e");
    let mut compression = Compression::of_server(Algorithm::Zstd(1));
    let mut out = Vec::new();
    put_commands(&mut compression, &commands, &mut out);
    let large = 0..(MAX_PAYLOAD + 17).div_ceil(MAX_CONTENT) as u8;
    let expected = [vec![0], vec![0, 1, 2], large.collect(), vec![0]].concat();
    assert_eq!(sequences(&out), expected);
    // What follows, such as a file, goes on with the count.
    out.clear();
    put_more(&mut compression, b"more", &mut out);
    assert_eq!(sequences(&out), [1]);
    // A client that starts again with each command may send this.
    out.clear();
    put_commands(&mut compression, &commands, &mut out);
    let back = unpack_all(&mut Compression::of_server(Algorithm::Zstd(1)), &mut out).unwrap();
    assert!(back == commands);
}

#[test]
fn packets_are_not_torn() {
    let sizes = [
        1,
        MAX_CONTENT - 9,
        0,
        1,
        MAX_CONTENT,
        7,
        LONGEST - 4,
        MAX_PAYLOAD,
        100,
    ];
    let mut packets = Vec::new();
    for size in sizes {
        packets.extend(
            Header {
                length: size,
                sequence: 0,
            }
            .encode(),
        );
        packets.extend(vec![b'x'; size]);
    }
    let lengths: Vec<usize> = Content::of_packets(&packets)
        .map(|content| content.bytes.len())
        .collect();
    let expected = [
        MAX_CONTENT,
        4 + 5,
        MAX_CONTENT + 4,
        11,
        LONGEST,
        LONGEST,
        9,
        104,
    ];
    assert_eq!(lengths, expected);

    assert_eq!(whole_packets(&packets), packets.len());
    let cut = &packets[..packets.len() - 1];
    assert_eq!(whole_packets(cut), packets.len() - 104);
    assert_eq!(whole_packets(&packets[..3]), 0);
    assert_eq!(Content::of_packets(&[]).count(), 0);
}

#[test]
fn a_count_goes_round() {
    let mut client = Compression::of_server(Algorithm::Zlib);
    let mut server = Compression::of_client(Algorithm::Zlib);
    for n in 0..600_u32 {
        let (from, to) = match n % 2 {
            0 => (&mut client, &mut server),
            _ => (&mut server, &mut client),
        };
        let mut out = Vec::new();
        put_more(from, &n.to_le_bytes(), &mut out);
        assert_eq!(sequences(&out), [n as u8]);
        assert_eq!(unpack_all(to, &mut out).unwrap(), n.to_le_bytes());
    }
}

#[test]
fn a_client_that_loses_count_is_refused() {
    let mut server = Compression::of_client(Algorithm::Zlib);
    server.expect_command(MAX_FRAME);
    let error = server.next(&header(0, 1, 0)).unwrap_err();
    assert_eq!(
        error,
        ProtocolError::OutOfOrder {
            expected: 0,
            found: 1
        }
    );
    assert!(server.next(&header(0, 0, 0)).unwrap().is_some());
    assert!(server.next(&header(0, 0, 0)).is_err());
    server.expect_command(MAX_FRAME);
    assert!(server.next(&header(0, 0, 0)).unwrap().is_some());
    // Servers are not held to it.
    assert!(
        Compression::of_server(Algorithm::Zlib)
            .next(&header(0, 7, 0))
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_limit_is_noticed_at_the_header() {
    let mut server = Compression::of_client(Algorithm::Zlib);
    server.expect_command(1000);
    for (length, unpacked) in [(1005, 0), (20, 1005), (1005, 20)] {
        assert_eq!(
            server.next(&header(length, 0, unpacked)),
            Err(ProtocolError::TooLarge {
                what: "compressed packet",
                size: 1005,
                limit: 1000
            })
        );
    }
    assert_eq!(server.next(&header(1004, 0, 1004)), Ok(None));
}

/// What a frame holds must be as long as it says: not shorter, not longer, not anything else.
#[test]
fn bombs_and_lies_are_refused() {
    let content = vec![0; 1 << 20];
    for algorithm in BOTH {
        let mut framed = Vec::new();
        put_frame(algorithm, 0, &content[..MAX_CONTENT], &mut framed);
        let payload = &framed[FRAME_HEADER_LEN..];
        let lies = [MAX_CONTENT - 1, MAX_CONTENT + 1, 1, 50, MAX_FRAME];
        let mut cases: Vec<Vec<u8>> = lies
            .map(|lie| [&header(payload.len(), 0, lie), payload].concat())
            .to_vec();
        let cut = &payload[..payload.len() - 1];
        cases.push([&header(cut.len(), 0, MAX_CONTENT), cut].concat());
        cases.push([&header(3, 0, MAX_CONTENT)[..], b"abc"].concat());
        cases.push(header(0, 0, 9));
        for mut raw in cases {
            let outcome = unpack_all(&mut Compression::of_client(algorithm), &mut raw);
            assert_eq!(outcome, Err(ProtocolError::Uncompressible), "{algorithm:?}");
        }
        assert!(
            unpack_all(&mut Compression::of_client(algorithm), &mut framed).unwrap()
                == content[..MAX_CONTENT]
        );
    }
}

fn algorithms() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Algorithm::Zlib), (1_u8..=19).prop_map(Algorithm::Zstd)]
}

/// Bytes of which some compress and some do not.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (any::<u8>(), 0_usize..5000).prop_map(|(byte, count)| vec![byte; count]),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// However the bytes are cut into frames, and the frames into reads, they arrive.
    #[test]
    fn any_bytes_arrive(
        algorithm in algorithms(),
        pieces in proptest::collection::vec(contents(), 1..6),
        cuts in proptest::collection::vec(1_usize..3000, 1..20),
    ) {
        let mut framed = Vec::new();
        let mut sender = Compression::of_server(algorithm);
        for piece in &pieces {
            put_more(&mut sender, piece, &mut framed);
        }
        let mut receiver = Compression::of_client(algorithm);
        let (mut raw, mut arrived) = (Vec::new(), Vec::new());
        let mut cuts = cuts.into_iter().cycle();
        while !framed.is_empty() {
            let cut = cuts.next().unwrap().min(framed.len());
            raw.extend(framed.drain(..cut));
            arrived.extend(unpack_all(&mut receiver, &mut raw).unwrap());
        }
        prop_assert!(raw.is_empty());
        prop_assert_eq!(arrived, pieces.concat());
    }

    #[test]
    fn no_bytes_make_it_panic(
        algorithm in algorithms(),
        unpacked in 0_usize..5000,
        mut raw in proptest::collection::vec(any::<u8>(), 0..300),
        start in 0_usize..3,
    ) {
        // Some with a likely beginning.
        if start > 0 {
            let mut likely = header(raw.len(), 0, unpacked);
            let magic: &[u8] = match (start, algorithm) {
                (1, _) => &[],
                (_, Algorithm::Zlib) => &[0x78, 0x9c],
                (_, Algorithm::Zstd(_)) => &[0x28, 0xb5, 0x2f, 0xfd],
            };
            for (to, from) in raw.iter_mut().zip(magic) {
                *to = *from;
            }
            likely.extend(&raw);
            raw = likely;
        }
        let mut compression = Compression::of_server(algorithm);
        let _ = unpack_all(&mut compression, &mut raw.clone());
        put_commands(&mut compression, &raw, &mut Vec::new());
    }
}
