//! The PROXY protocol: from trusted networks the header is demanded and believed, from others it
//! is an error.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use isthmus_lab::Flavor;
use isthmus_tests::rig::{PASSWORD, Rig, WHERE, code};
use isthmus_tests::wire::{Client, closed};
use mysql_async::{Conn, Opts};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const TRUSTED: &str = "[listen]\nproxy_protocol = [\"127.0.0.0/8\"]";
const V1: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 3307\r\n";
const V1_SIX: &[u8] = b"PROXY TCP6 2001:db8::7 ::1 56324 3307\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\x00\x71\x07\xc6\x33\x64\x01\xdc\x04\x0c\xeb";
/// Version 2 with an extension behind the addresses.
const V2_EXTENDED: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xcb\x00\x71\x07\xc6\x33\x64\x01\xdc\x04\x0c\xeb\x04\0\x02ab";
/// What a load balancer says of itself, when it looks whether we live.
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

async fn connect_with(rig: &Rig, header: &[u8], piece: usize) -> Client {
    let mut stream = TcpStream::connect(rig.proxy.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in header.chunks(piece) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Client::over(stream).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_header_is_believed() {
    let rig = Rig::start(Flavor::Mysql, TRUSTED).await;
    let cases = [
        (V1, "203.0.113.7"),
        (V1_SIX, "2001:db8::7"),
        (V2, "203.0.113.7"),
        (V2_EXTENDED, "203.0.113.7"),
        (V2_LOCAL, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ];
    for (header, host) in cases {
        for piece in [header.len(), 1, 7] {
            let mut client = connect_with(&rig, header, piece).await;
            client
                .authenticate(&rig.user, PASSWORD, None)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(client.query(WHERE).await.unwrap().value(), "reader");
        }
        let mut client = connect_with(&rig, header, header.len()).await;
        let refusal = client
            .authenticate(&rig.user, "wrong", None)
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(refusal.code, 1045);
        assert!(
            refusal.message.contains(&format!("'@'{host}'")),
            "{}",
            refusal.message
        );
    }
}

#[tokio::test]
async fn a_header_is_demanded() {
    let rig = Rig::start(
        Flavor::Mysql,
        &format!("{TRUSTED}\n[timeouts]\nhandshake = \"1s\""),
    )
    .await;
    let cases: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 nobody 198.51.100.1 56324 3307\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        b"PROXY TCP4",
        b"",
    ];
    for bytes in cases {
        let mut stream = TcpStream::connect(rig.proxy.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let start = Instant::now();
        let said = closed(&mut stream).await;
        let said = said.unwrap_or_else(|_| panic!("{bytes:?}: it stays open"));
        assert!(said.is_empty(), "{bytes:?}: it was greeted");
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{bytes:?}: after {:?}",
            start.elapsed()
        );
    }
    // A client that comes without the load balancer.
    Conn::new(Opts::from(rig.options())).await.unwrap_err();
}

#[tokio::test]
async fn a_header_from_a_stranger_is_an_error() {
    let rig = Rig::start(
        Flavor::Mysql,
        "[listen]\nproxy_protocol = [\"192.0.2.0/24\"]",
    )
    .await;
    for header in [V1, V2] {
        let mut client = connect_with(&rig, header, header.len()).await;
        let refused = client.authenticate(&rig.user, PASSWORD, None).await;
        assert!(
            !matches!(refused, Ok(Ok(()))),
            "it logged in behind a header of its own"
        );
    }
    rig.wire()
        .await
        .query("SELECT 1")
        .await
        .unwrap()
        .expect_ok();
    assert_eq!(
        code(Conn::new(Opts::from(rig.options().pass(Some("wrong")))).await),
        1045
    );
}
