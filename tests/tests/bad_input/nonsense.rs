//! Servers that speak nonsense, from the start or from some moment on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use isthmus_lab::{Flavor, Proxy};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::handshake::Greeting;
use isthmus_protocol::packet;
use isthmus_protocol::status::Status;
use isthmus_tests::rig::{PASSWORD, Rig, WHERE, http, until};
use isthmus_tests::wire::{Answer, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A soon end for what cannot be had, and time for what can.
const SOON: &str = "[pool]\nborrow_timeout = \"2s\"\nmin_idle = 0\n[timeouts]\nconnect = \"1s\"";

/// What a server that is none may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nonsense {
    /// Random bytes.
    Noise,
    /// The beginning of a greeting.
    HalfGreeting,
    /// A packet with a length that nobody sends.
    Endless,
    /// An HTTP server.
    Http,
    /// Nothing: it hangs up.
    Nothing,
    /// A greeting and then random bytes, whatever it is told.
    GreetingThenNoise,
}

async fn fake_server(nonsense: Nonsense) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let noise: Vec<u8> = (0..4000_u32)
                    .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
                    .collect();
                let greeting = b"\x4a\0\0\0\x0a8.0.42\0\x01\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xff\x15\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0caching_sha2_password\0";
                let said: &[u8] = match nonsense {
                    Nonsense::Noise => &noise,
                    Nonsense::HalfGreeting => &greeting[..20],
                    Nonsense::Endless => b"\xff\xff\xff\0\x0a8.0",
                    Nonsense::Http => b"HTTP/1.1 400 Bad Request\r\n\r\n",
                    Nonsense::Nothing => return,
                    Nonsense::GreetingThenNoise => greeting,
                };
                let _ = stream.write_all(said).await;
                let mut heard = [0; 1000];
                while let Ok(n) = stream.read(&mut heard).await
                    && n > 0
                {
                    if nonsense == Nonsense::GreetingThenNoise {
                        let _ = stream.write_all(&noise).await;
                    }
                }
            });
        }
    });
    address
}

const NONSENSE: [Nonsense; 6] = [
    Nonsense::Noise,
    Nonsense::HalfGreeting,
    Nonsense::Endless,
    Nonsense::Http,
    Nonsense::Nothing,
    Nonsense::GreetingThenNoise,
];

#[tokio::test]
async fn a_server_that_speaks_nonsense() {
    let rig = Rig::start(Flavor::Mysql, SOON).await;
    let proper = rig.blueprint.clone();
    for nonsense in NONSENSE {
        let fake = fake_server(nonsense).await;
        let mut broken = proper.clone();
        broken.set_endpoints(&[
            ("tokyo", rig.writer.address(), "writer"),
            ("virginia", fake, "reader"),
        ]);
        assert_eq!(rig.reload(&broken).await.0, 200);
        let mut client = rig.wire().await;
        assert!(
            is_read_on(&mut client, "writer").await,
            "{nonsense:?} for a reader"
        );

        assert_eq!(rig.reload(&proper).await.0, 200);
        let mut broken = proper.clone();
        broken.set_endpoints(&[
            ("tokyo", fake, "writer"),
            ("virginia", rig.reader.address(), "reader"),
        ]);
        assert_eq!(rig.reload(&broken).await.0, 200);
        let start = Instant::now();
        let answer = client.query("CREATE TABLE never (id INT)").await.unwrap();
        assert_eq!(answer.code(), 9501, "{nonsense:?} for a writer");
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "{nonsense:?}: {:?}",
            start.elapsed()
        );
        // Where the reader takes longer than the short time that this test allows it, the writer
        // is asked for.
        until("a new session reads on the reader", async || {
            let mut fresh = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
            let login = fresh.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
            match login.await.unwrap() {
                Ok(()) => is_read_on(&mut fresh, "reader").await,
                Err(refusal) => {
                    assert_eq!(refusal.code, 9501, "{nonsense:?}: {refusal:?}");
                    false
                }
            }
        })
        .await;
        assert_eq!(rig.reload(&proper).await.0, 200);
    }
}

/// What a server says that goes mad, in a form that a driver may panic over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Madness {
    /// A public key that is none, to whoever wants to log in.
    BrokenKey,
    /// Everybody may come in, and NULL is the answer to everything.
    Nulls,
}

/// A server in front of a real one: itself, or mad.
struct Server {
    address: SocketAddr,
    madness: watch::Sender<Option<Madness>>,
}

impl Server {
    async fn start(real: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (madness, seen) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, real, seen.clone()));
            }
        });
        Self { address, madness }
    }

    /// Goes mad, or comes to itself; connections do not survive it.
    fn turn(&self, madness: Option<Madness>) {
        self.madness.send_replace(madness);
    }
}

async fn serve(
    mut client: TcpStream,
    real: SocketAddr,
    mut madness: watch::Receiver<Option<Madness>>,
) {
    let now = *madness.borrow_and_update();
    let serving = async {
        match now {
            None => {
                let mut real = TcpStream::connect(real).await?;
                tokio::io::copy_bidirectional(&mut client, &mut real).await?;
                Ok(())
            }
            Some(now) => rave(&mut client, now).await,
        }
    };
    tokio::select! {
        _ = serving => {}
        _ = madness.changed() => {}
    }
}

async fn rave(client: &mut TcpStream, madness: Madness) -> std::io::Result<()> {
    let mut greeting = Vec::new();
    Greeting {
        server_version: "8.0.42".into(),
        connection_id: 1,
        nonce: *b"abcdefghijklmnopqrst",
        capabilities: Capabilities::PROTOCOL_41
            | Capabilities::LONG_PASSWORD
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH,
        collation: 45,
        status: Status::AUTOCOMMIT,
        auth_plugin: "caching_sha2_password".into(),
    }
    .encode(&mut greeting);
    say(client, 0, &[&greeting]).await?;
    hear(client).await?;
    if madness == Madness::BrokenKey {
        // The password itself, please.
        say(client, 2, &[b"\x01\x04"]).await?;
        hear(client).await?;
        let key = b"\x01-----BEGIN PUBLIC KEY-----\nnone\n-----END PUBLIC KEY-----\n";
        say(client, 4, &[key]).await?;
        return hear(client).await;
    }
    say(client, 2, &[b"\0\0\0\x02\0\0\0"]).await?;
    loop {
        hear(client).await?;
        let column = b"\x03def\0\0\0\x01x\0\x0c\x2d\0\xff\0\0\0\xfd\0\0\0\0\0";
        let end = b"\xfe\0\0\x02\0";
        say(client, 1, &[b"\x01", column, end, b"\xfb", end]).await?;
    }
}

/// Sends packets, numbered from `sequence` on.
async fn say(client: &mut TcpStream, sequence: u8, payloads: &[&[u8]]) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut sequence = sequence;
    for payload in payloads {
        sequence = packet::put(&mut bytes, sequence, payload);
    }
    client.write_all(&bytes).await
}

/// Receives one packet of whatever kind.
async fn hear(client: &mut TcpStream) -> std::io::Result<()> {
    let length = client.read_u32_le().await? & 0xFF_FFFF;
    let mut payload = vec![0; length as usize];
    client.read_exact(&mut payload).await?;
    Ok(())
}

/// Whether a read is answered by this server.
async fn is_read_on(client: &mut Client, place: &str) -> bool {
    match client.query(WHERE).await.unwrap() {
        Answer::Rows(rows) => rows[0][0].as_deref() == Some(place),
        _ => false,
    }
}

/// Reads are answered by the reader, also after a write: it is both watched and followed.
async fn is_well(client: &mut Client) {
    for what in ["reads are on the reader", "so are those after a write"] {
        until(what, async || is_read_on(client, "reader").await).await;
        let write = client.query("INSERT INTO t VALUES (1)").await.unwrap();
        write.expect_ok();
    }
}

/// What the proxy tells of an endpoint.
async fn is_up(rig: &Rig, endpoint: &str) -> Option<bool> {
    let metrics = http(rig.proxy.admin_address(), "GET", "/metrics").await.1;
    let start = format!("isthmus_endpoint_up{{endpoint=\"{endpoint}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&start))?;
    Some(value == "1")
}

#[tokio::test]
async fn a_server_that_goes_mad_is_down_until_it_comes_to_itself() {
    let rig = Rig::start(Flavor::Mysql, SOON).await;
    rig.prepare_data(&["CREATE TABLE t (id INT)"]).await;
    let tokyo = Server::start(rig.lab.writer().address()).await;
    let virginia = Server::start(rig.lab.reader().address()).await;
    let mut blueprint = rig.blueprint.clone();
    blueprint.set_endpoints(&[
        ("tokyo", tokyo.address, "writer"),
        ("virginia", virginia.address, "reader"),
    ]);
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let mut client = rig.wire().await;
    let panics = || rig.proxy.log().matches("panicked at").count();
    for madness in [Madness::BrokenKey, Madness::Nulls] {
        is_well(&mut client).await;

        let before = panics();
        virginia.turn(Some(madness));
        until("reads are on the writer", async || {
            is_read_on(&mut client, "writer").await
        })
        .await;
        until("the driver panics", async || panics() > before).await;
        until("the reader is known to be down", async || {
            is_up(&rig, "virginia").await == Some(false)
        })
        .await;
        virginia.turn(None);
        until("the reader is known to be up", async || {
            is_up(&rig, "virginia").await == Some(true)
        })
        .await;
        is_well(&mut client).await;

        virginia.turn(Some(madness));
        tokyo.turn(Some(madness));
        until("nobody answers", async || {
            matches!(client.query(WHERE).await.unwrap(), Answer::Err(refusal) if refusal.code == 9501)
        })
        .await;
        // A proxy that has never known them otherwise tells its clients so.
        let late = Proxy::start(rig.lab.sandbox(), |addresses| blueprint.render(addresses));
        let late = late.await.unwrap();
        let mut newcomer = Client::connect(late.address()).await.unwrap().unwrap();
        let login = newcomer.authenticate(&rig.user, PASSWORD, None).await;
        login.unwrap().unwrap();
        assert_eq!(newcomer.query(WHERE).await.unwrap().code(), 9501);
        tokyo.turn(None);
        virginia.turn(None);
        until("the newcomer is served", async || {
            is_read_on(&mut newcomer, "reader").await
        })
        .await;
        until("writes are possible", async || {
            let write = client.query("INSERT INTO t VALUES (1)").await.unwrap();
            !matches!(write, Answer::Err(_))
        })
        .await;
        is_well(&mut client).await;
    }
}
