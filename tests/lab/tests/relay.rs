//! The link, in front of a server that sends everything back, and of a real one.

#![allow(clippy::unwrap_used)]

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use isthmus_lab::mysql_async::Conn;
use isthmus_lab::mysql_async::prelude::Queryable as _;
use isthmus_lab::{APP, Direction, Flavor, Lab, Options, Relay, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ROUND_TRIP: Duration = Duration::from_millis(100);
/// What a busy machine may add to the shortest of several.
const SLACK: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_round_trip_takes_its_time() -> io::Result<()> {
    let relay = relay(ROUND_TRIP).await?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(relay.address()).await?;
        exchange(&mut stream, b"hello").await?;
        times.push(begun.elapsed());
    }
    // One for the connection, one for the bytes.
    assert_shortest(&times, 2 * ROUND_TRIP);

    let mut stream = TcpStream::connect(relay.address()).await?;
    for round_trip in [ROUND_TRIP, Duration::from_millis(7), Duration::ZERO] {
        relay.set_round_trip(round_trip);
        exchange(&mut stream, b"hello").await?;
        let mut times = Vec::new();
        for _ in 0..10 {
            let begun = Instant::now();
            exchange(&mut stream, b"hello").await?;
            times.push(begun.elapsed());
        }
        assert_shortest(&times, round_trip);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_sent_together_arrives_together() -> io::Result<()> {
    let relay = relay(ROUND_TRIP).await?;
    let mut stream = TcpStream::connect(relay.address()).await?;
    exchange(&mut stream, b"hello").await?;

    // Twenty writes, 5 ms apart: as one after the other they would take 2 s.
    let (mut from, mut to) = stream.split();
    let begun = Instant::now();
    let send = async {
        for _ in 0..20 {
            to.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        io::Result::Ok(())
    };
    let receive = async { from.read_exact(&mut [0; 20]).await };
    tokio::try_join!(send, receive)?;
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(1), "{taken:?}");

    // Nor does the delay make a large transfer slow: chunk by chunk, it would take
    // at least 32 s.
    let bytes = vec![7; 20 << 20];
    let begun = Instant::now();
    exchange(&mut stream, &bytes).await?;
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    Ok(())
}

#[tokio::test]
async fn bandwidth_is_shared_by_all_connections() -> io::Result<()> {
    let relay = relay(Duration::ZERO).await?;
    let mut one = TcpStream::connect(relay.address()).await?;
    let mut other = TcpStream::connect(relay.address()).await?;
    relay.set_bandwidth(Some(1_000_000));
    let bytes = vec![7; 150_000];
    let begun = Instant::now();
    tokio::try_join!(exchange(&mut one, &bytes), exchange(&mut other, &bytes))?;
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(295), "{taken:?}");
    Ok(())
}

#[tokio::test]
async fn a_cut_is_seen_by_both_ends() -> io::Result<()> {
    let relay = relay(Duration::ZERO).await?;
    let mut stream = TcpStream::connect(relay.address()).await?;
    exchange(&mut stream, b"hello").await?;

    relay.cut().await;
    assert_eq!(relay.traffic().open, 0);
    assert_eq!(
        kind(stream.read(&mut [0]).await),
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(
        kind(TcpStream::connect(relay.address()).await),
        io::ErrorKind::ConnectionRefused
    );

    relay.restore().await;
    let mut stream = TcpStream::connect(relay.address()).await?;
    exchange(&mut stream, b"hello").await?;

    relay.reset_connections().await;
    assert_eq!(
        kind(stream.read(&mut [0]).await),
        io::ErrorKind::ConnectionReset
    );
    let mut stream = TcpStream::connect(relay.address()).await?;
    exchange(&mut stream, b"hello").await?;

    // A server that is not there.
    relay.set_target(SocketAddr::from(([127, 0, 0, 1], 1)));
    // The reset may come before the client has noticed that it is connected.
    let refused = async {
        TcpStream::connect(relay.address())
            .await?
            .read(&mut [0])
            .await
    };
    assert_eq!(kind(refused.await), io::ErrorKind::ConnectionReset);
    exchange(&mut stream, b"still there").await
}

#[tokio::test]
async fn silence_is_seen_by_nobody() -> io::Result<()> {
    let relay = relay(Duration::ZERO).await?;
    let mut stream = TcpStream::connect(relay.address()).await?;
    exchange(&mut stream, b"hello").await?;

    relay.silence().await;
    let mut late = TcpStream::connect(relay.address()).await?;
    let a_while = Duration::from_millis(200);
    {
        let answers =
            async { tokio::try_join!(exchange(&mut stream, b"one"), exchange(&mut late, b"two")) };
        tokio::pin!(answers);
        assert!(tokio::time::timeout(a_while, &mut answers).await.is_err());
        relay.restore().await;
        answers.await?;
    }
    exchange(&mut stream, b"again").await
}

#[tokio::test]
async fn a_link_stops_behind_a_byte() -> io::Result<()> {
    let relay = relay(Duration::ZERO).await?;
    let mut stream = TcpStream::connect(relay.address()).await?;
    exchange(&mut stream, b"before").await?;
    relay.stop_after(Direction::ToClient, 3);
    stream.write_all(b"behind").await?;
    relay.stopped().await;
    let mut bytes = [0; 3];
    stream.read_exact(&mut bytes).await?;
    assert_eq!(&bytes, b"beh");
    // Nothing arrives in the other direction either.
    stream.write_all(b"!").await?;
    let silence = tokio::time::timeout(SLACK, stream.read_u8()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert!(relay.resume());
    let mut rest = [0; 4];
    stream.read_exact(&mut rest).await?;
    assert_eq!(&rest, b"ind!");
    assert!(!relay.resume());
    Ok(())
}

#[tokio::test]
async fn traffic_is_counted() -> io::Result<()> {
    let relay = relay(Duration::from_millis(2)).await?;
    let mut stream = TcpStream::connect(relay.address()).await?;
    exchange(&mut stream, b"12345").await?;
    let before = relay.traffic();
    assert_eq!((before.connections, before.open), (1, 1));

    for _ in 0..3 {
        exchange(&mut stream, b"12345").await?;
    }
    let traffic = relay.traffic() - before;
    assert_eq!(traffic.connections, 0);
    assert_eq!((traffic.to_server.bytes, traffic.to_server.bursts), (15, 3));
    assert_eq!((traffic.to_client.bytes, traffic.to_client.bursts), (15, 3));

    // The end of one direction is passed on, the other stays open.
    stream.write_all(b"last").await?;
    stream.shutdown().await?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    assert_eq!(rest, b"last");
    let deadline = Instant::now() + Duration::from_secs(5);
    while relay.traffic().open > 0 {
        assert!(Instant::now() < deadline, "the connection stays open");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_query_crosses_the_ocean_once() -> Result<()> {
    for flavor in Flavor::ALL {
        let lab = Lab::start(Options {
            flavor,
            round_trip: ROUND_TRIP,
            ..Options::default()
        })
        .await?;
        let mut connection =
            Lab::connect(lab.writer_link().address(), APP, |options| options).await?;
        let before = lab.writer_link().traffic();
        let times = time_queries(&mut connection).await;
        assert_shortest(&times, ROUND_TRIP);
        let traffic = lab.writer_link().traffic() - before;
        assert_eq!(traffic.to_server.bursts, 5);
        assert_eq!(traffic.to_client.bursts, 5);

        let reader = lab.reader_link().address();
        let mut connection = Lab::connect(reader, APP, |options| options).await?;
        assert_shortest(&time_queries(&mut connection).await, Duration::ZERO);
    }
    Ok(())
}

async fn time_queries(connection: &mut Conn) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        connection.query_drop("DO 1").await.unwrap();
        times.push(begun.elapsed());
    }
    times
}

/// None is too short, and one at least is about as short as it may be.
fn assert_shortest(times: &[Duration], expected: Duration) {
    let shortest = times.iter().min().unwrap();
    assert!(
        (expected..expected + SLACK).contains(shortest),
        "{times:?}, where {expected:?} was expected"
    );
}

/// A link to a server that sends back all that it gets.
async fn relay(round_trip: Duration) -> io::Result<Relay> {
    Relay::start(echo().await?, round_trip).map_err(io::Error::other)
}

async fn echo() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await?;
                to.shutdown().await
            });
        }
    });
    Ok(address)
}

/// Sends the bytes and waits until they are back.
async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let (mut from, mut to) = stream.split();
    let mut back = vec![0; bytes.len()];
    tokio::try_join!(to.write_all(bytes), from.read_exact(&mut back))?;
    assert!(bytes == back, "other bytes came back");
    Ok(())
}

fn kind<T: std::fmt::Debug>(outcome: io::Result<T>) -> io::ErrorKind {
    outcome.unwrap_err().kind()
}
