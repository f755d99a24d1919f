//! What travels between a client and the proxy, byte by byte.

use std::net::SocketAddr;

use isthmus_lab::Flavor;
use isthmus_protocol::auth::Plugin;
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::compression::{Algorithm, Compression, Content, FRAME_HEADER_LEN};
use isthmus_protocol::handshake::{AuthSwitch, ChangeUser};
use isthmus_protocol::packet;
use isthmus_tests::rig::{PASSWORD, Rig, shared, until};
use isthmus_tests::wire::{Answer, Client, USUAL, query_payload};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const BOTH: [Algorithm; 2] = [Algorithm::Zlib, Algorithm::Zstd(3)];

fn capability(algorithm: Algorithm) -> Capabilities {
    match algorithm {
        Algorithm::Zlib => Capabilities::COMPRESS,
        Algorithm::Zstd(_) => Capabilities::ZSTD_COMPRESSION,
    }
}

/// A client that has asked for compression and is logged in, but does not compress yet.
async fn logged_in(rig: &Rig, address: SocketAddr, algorithm: Algorithm) -> Client {
    let mut client = Client::connect(address).await.unwrap().unwrap();
    client.capabilities = USUAL | capability(algorithm);
    let login = client.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
    login.await.unwrap().unwrap();
    client
}

/// The same, compressing.
async fn compressing(rig: &Rig, address: SocketAddr, algorithm: Algorithm) -> Client {
    let mut client = logged_in(rig, address, algorithm).await;
    client.compress(algorithm);
    client
}

/// A frame as it is, not compressed.
fn frame(sequence: u8, content: &[u8]) -> Vec<u8> {
    let [a, b, c, ..] = content.len().to_le_bytes();
    [&[a, b, c, sequence, 0, 0, 0], content].concat()
}

fn query(sql: &str) -> Vec<u8> {
    let mut framed = Vec::new();
    packet::put(&mut framed, 0, &query_payload(sql));
    framed
}

async fn offered_as_configured(flavor: Flavor) {
    let both = Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION;
    for (overlay, expected) in [
        ("", both),
        ("[listen]\ncompression = []", Capabilities::empty()),
        ("[listen]\ncompression = [\"zlib\"]", Capabilities::COMPRESS),
        (
            "[listen]\ncompression = [\"zstd\"]",
            Capabilities::ZSTD_COMPRESSION,
        ),
    ] {
        let rig = Rig::start(flavor, overlay).await;
        let offered = rig.wire().await.greeting.capabilities;
        assert_eq!(offered & both, expected, "{overlay}");
        if expected.is_empty() {
            // A client that asks all the same is not given it.
            let mut client = logged_in(&rig, rig.proxy.address(), Algorithm::Zlib).await;
            assert_eq!(client.query("SELECT 1").await.unwrap().value(), "1");
        }
    }
}

/// The same frames come from the proxy as from a server.
async fn frames_are_those_of_a_server(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    drop(rig.direct_writer().await);
    let (writer, proxy) = (rig.lab.writer().address(), rig.proxy.address());
    for algorithm in BOTH {
        if flavor == Flavor::Mariadb && algorithm != Algorithm::Zlib {
            continue;
        }
        let mut seen = Vec::new();
        for address in [writer, proxy] {
            let mut client = logged_in(&rig, address, algorithm).await;
            let ping = frame(0, &[1, 0, 0, 0, 0x0E]);
            client.send_frames(&ping).await.unwrap();
            let ok = client
                .receive_bytes(FRAME_HEADER_LEN + 4 + 7)
                .await
                .unwrap();
            let long = frame(0, &query("SELECT REPEAT('long', 1000)"));
            client.send_frames(&long).await.unwrap();
            let header = client.receive_bytes(FRAME_HEADER_LEN).await.unwrap();
            let is_compressed = header[4..] != [0; 3];
            seen.push((ok, header[3], is_compressed));
        }
        assert_eq!(seen[1], seen[0], "{algorithm:?}");
        assert_eq!(seen[1].0, b"\x0b\0\0\x01\0\0\0\x07\0\0\x01\0\0\0\x02\0\0\0");
        assert_eq!((seen[1].1, seen[1].2), (1, true));
    }
}

/// A command in frames of one byte, many commands in one frame, empty frames in between.
async fn any_split_will_do(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    for algorithm in BOTH {
        let mut client = logged_in(&rig, rig.proxy.address(), algorithm).await;
        let mut bytes = Vec::new();
        for (index, byte) in query("SELECT 'one byte after the other'")
            .iter()
            .enumerate()
        {
            bytes.extend(frame(index as u8, &[*byte]));
        }
        // In several writes too.
        let (head, tail) = bytes.split_at(bytes.len() / 3);
        client.send_frames(head).await.unwrap();
        client.send_frames(tail).await.unwrap();
        client.compress(algorithm);
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.value(), "one byte after the other");

        let three = [query("SELECT 1"), query("SELECT 2"), query("SELECT 3")].concat();
        let empty_first = [frame(0, b""), frame(1, b""), frame(2, &three)].concat();
        client.send_frames(&empty_first).await.unwrap();
        for expected in ["1", "2", "3"] {
            assert_eq!(client.answer().await.unwrap().value(), expected);
        }
        // Frames of their own, in one write, as clients send what nobody answers.
        let mut compression = Compression::of_server(algorithm);
        let mut framed = Vec::new();
        for content in Content::of_commands(&three) {
            compression.put(content, &mut framed);
        }
        client.send_frames(&framed).await.unwrap();
        for expected in ["1", "2", "3"] {
            assert_eq!(client.answer().await.unwrap().value(), expected);
        }
    }
}

/// What cannot be is refused by name, and the connection ends.
async fn bad_frames(flavor: Flavor) {
    let rig = Rig::start(flavor, "[limits]\nmax_allowed_packet = \"64KiB\"").await;
    let ping = [1, 0, 0, 0, 0x0E];
    let cases: [(u16, Vec<u8>); 6] = [
        // The count begins at 0.
        (1156, frame(1, &ping)),
        (1156, [frame(0, &ping[..2]), frame(0, &ping[2..])].concat()),
        // Not what the header says.
        (1157, [&b"\x05\0\0\0\x05\0\0"[..], &ping].concat()),
        (1157, b"\0\0\0\0\x05\0\0".to_vec()),
        // More than a packet may have: refused before it has come.
        (1153, b"\x10\0\0\0\xff\xff\xff".to_vec()),
        (1153, b"\xff\xff\xff\0\0\0\0".to_vec()),
    ];
    for algorithm in BOTH {
        for (code, bytes) in &cases {
            let mut client = logged_in(&rig, rig.proxy.address(), algorithm).await;
            client.send_frames(bytes).await.unwrap();
            client.compress(algorithm);
            let answer = client.answer().await.unwrap();
            assert_eq!(answer.code(), *code, "{algorithm:?} {bytes:?}");
            client.closed().await.unwrap();
        }
    }
    rig.wire()
        .await
        .query("SELECT 1")
        .await
        .unwrap()
        .expect_ok();
}

/// A small frame that unpacks to 16 MiB costs nobody anything: the limit is looked at first.
async fn a_bomb(flavor: Flavor) {
    let rig = Rig::start(flavor, "[limits]\nmax_allowed_packet = \"1MiB\"").await;
    for algorithm in BOTH {
        let mut client = compressing(&rig, rig.proxy.address(), algorithm).await;
        // Many times the limit in all, none of it over the limit by itself.
        let long = format!("SELECT LENGTH('{}')", "x".repeat(1_000_000));
        for _ in 0..20 {
            let answer = client.query(&long).await.unwrap();
            assert_eq!(answer.value(), "1000000");
        }
        let longer = format!("SELECT LENGTH('{}')", "x".repeat(1 << 20));
        assert_eq!(client.query(&longer).await.unwrap().code(), 1153);
    }
}

/// zstd has levels; who asks for both algorithms gets the one that a server would use.
async fn levels(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    drop(rig.direct_writer().await);
    let (writer, proxy) = (rig.lab.writer().address(), rig.proxy.address());
    let places = match flavor {
        Flavor::Mysql => vec![writer, proxy],
        Flavor::Mariadb => vec![proxy],
    };
    for level in [0, 1, 9, 22, 23, 255] {
        let mut seen = Vec::new();
        for address in &places {
            let mut client = Client::connect(*address).await.unwrap().unwrap();
            client.capabilities = USUAL | Capabilities::ZSTD_COMPRESSION;
            client.zstd_level = level;
            let login = client
                .authenticate(&rig.user, PASSWORD, None)
                .await
                .unwrap();
            let is_in = login.is_ok();
            seen.push(login.map_err(|refusal| (refusal.code, refusal.state, refusal.message)));
            if is_in {
                client.compress(Algorithm::Zstd(level));
                let long = client.query("SELECT REPEAT('long', 1000)").await.unwrap();
                assert_eq!(long.value(), "long".repeat(1000));
            }
        }
        assert_eq!(seen.first(), seen.last(), "{level}");
        assert_eq!(seen[0].is_ok(), (1..=22).contains(&level), "{level}");
    }
    for address in &places {
        let mut client = Client::connect(*address).await.unwrap().unwrap();
        client.capabilities = USUAL | Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION;
        let login = client.authenticate(&rig.user, PASSWORD, None);
        login.await.unwrap().unwrap();
        client.compress(Algorithm::Zlib);
        let long = client.query("SELECT REPEAT('long', 1000)").await.unwrap();
        assert_eq!(long.value(), "long".repeat(1000));
    }
}

/// Behind a load balancer, inside TLS, through a change of user.
async fn under_everything_else(flavor: Flavor) {
    let lab = shared(flavor).await;
    let certificates = lab.certificates();
    let overlay = format!(
        "[listen]\nproxy_protocol = [\"127.0.0.0/8\"]\ntls = {{ certificate = {:?}, key = {:?} }}",
        certificates.server, certificates.server_key
    );
    let rig = Rig::start(flavor, &overlay).await;
    for algorithm in BOTH {
        let mut stream = TcpStream::connect(rig.proxy.address()).await.unwrap();
        let header = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 3307\r\n";
        stream.write_all(header).await.unwrap();
        let mut client = Client::over(stream).await.unwrap().unwrap();
        client.capabilities |= capability(algorithm);
        let mut client = client
            .start_tls(super::servers::trusting(&certificates.authority))
            .await
            .unwrap();
        let login = client.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
        login.await.unwrap().unwrap();
        client.compress(algorithm);
        let long = format!("SELECT '{}'", "long".repeat(10_000));
        let answer = client.query(&long).await.unwrap();
        assert_eq!(answer.value(), "long".repeat(10_000));

        for password in [PASSWORD, PASSWORD, "wrong"] {
            let outcome = change_user(&mut client, &rig, password).await;
            if password == "wrong" {
                assert_eq!(outcome.code(), 1045);
                client.closed().await.unwrap();
            } else {
                outcome.expect_ok();
                let answer = client.query(&long).await.unwrap();
                assert_eq!(answer.value(), "long".repeat(10_000));
            }
        }
    }
}

/// COM_CHANGE_USER to the rig's user, answered by an authentication switch.
async fn change_user(client: &mut Client, rig: &Rig, password: &str) -> Answer {
    let mut payload = Vec::new();
    ChangeUser {
        user: rig.user.clone().into_bytes(),
        auth_response: Vec::new(),
        database: Some(rig.schema.clone().into_bytes()),
        collation: 45,
        auth_plugin: Some("caching_sha2_password".into()),
        attributes: Vec::new(),
    }
    .encode(client.capabilities, &mut payload)
    .unwrap();
    client.send(0, &payload).await.unwrap();
    let switch = client.receive().await.unwrap();
    let nonce = AuthSwitch::parse(&switch.payload).unwrap().nonce().unwrap();
    let response = Plugin::CachingSha2Password.response(password.as_bytes(), &nonce);
    client.send(2, &response).await.unwrap();
    let more = client.receive().await.unwrap();
    if password != PASSWORD {
        assert_eq!(more.payload, [1, 4]);
        client.send(4, b"wrong\0").await.unwrap();
    }
    client.answer().await.unwrap()
}

/// A client that vanishes is noticed, though its connection is compressed.
async fn a_client_that_vanishes(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    for algorithm in BOTH {
        let mut client = compressing(&rig, rig.proxy.address(), algorithm).await;
        let sleep = query_payload("SELECT SLEEP(100)");
        client.send(0, &sleep).await.unwrap();
        let sleeps = async || {
            let running = rig.processes(rig.lab.reader()).await;
            let mut running = running.into_iter().flatten();
            running.any(|sql| sql.contains("SLEEP(100)"))
        };
        until("it runs", async || sleeps().await).await;
        drop(client);
        until("it is ended", async || !sleeps().await).await;
    }
}

isthmus_tests::on_both! {
    offered_as_configured
    frames_are_those_of_a_server
    any_split_will_do
    bad_frames
    a_bomb
    levels
    under_everything_else
    a_client_that_vanishes
}
