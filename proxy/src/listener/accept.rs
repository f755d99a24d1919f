//! From an accepted connection to a session that runs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use isthmus_protocol::auth::nonce_from_random;
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::error_packet::ErrPacket;
use isthmus_protocol::packet;
use tokio::net::{TcpListener, TcpStream};

use super::authentication::{Authenticator, plugin};
use super::handshake::{Conversation, FirstPacket, OFFERED, Refused, bad_handshake, compression};
use super::proxy_protocol::{self, Parsed, Source};
use super::refusals::RefusalLog;
use crate::admin::metrics::{Held, RefuseReason};
use crate::config::{Compression, Config};
use crate::consistency::Mark;
use crate::error::SqlError;
use crate::rarely::rarely;
use crate::relay::{Stream, watch_client};
use crate::rsa::RsaKey;
use crate::session::{Beginning, Ended, Handle, Session, Shared, Signal};
use crate::topology::UTF8MB4_GENERAL_CI;

/// What all client connections share.
pub struct Listener {
    /// The rest of the proxy.
    pub shared: Arc<Shared>,
    /// The TLS settings for clients, renewed at a reload; `None` where the listener has no
    /// certificate.
    pub tls: arc_swap::ArcSwapOption<rustls::ServerConfig>,
    /// The key for passwords that are sent without TLS.
    pub rsa: RsaKey,
    /// Where refused clients are written down.
    pub refusals: RefusalLog,
}

/// Accepts connections until the task is aborted.
pub async fn serve(listener: Arc<Listener>, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((tcp, peer)) => {
                let listener = listener.clone();
                tokio::spawn(async move { listener.welcome(tcp, peer).await });
            }
            Err(error) => {
                // Out of file descriptors, most likely: other connections have to end first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

impl Listener {
    /// Serves one connection from its first byte to its last.
    async fn welcome(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr) {
        let world = self.shared.world.load_full();
        let limit = world.config.limits.max_client_connections;
        let metrics = &self.shared.metrics.clients;
        metrics.accepted.inc();
        let Some(registered) = self.shared.sessions.add(limit) else {
            metrics.refused.inc(RefuseReason::TooMany);
            let error = SqlError::too_many_connections(limit);
            self.refusals.note(peer, b"", &error);
            let _ = turn_away(tcp, &error).await;
            return;
        };
        let handle = &registered.handle;
        let _open = Held::new(&metrics.open);
        // Boxed, so that a session's task does not carry the room for its login all its life.
        let deadline = world.config.timeouts.handshake;
        let login = Box::pin(self.log_in(tcp, peer, &world.config, handle));
        let login = tokio::select! {
            biased;
            login = tokio::time::timeout(deadline, login) => login,
            _ = handle.signalled(Signal::None) => {
                tracing::debug!(%peer, "login not completed: Isthmus is stopping");
                return;
            }
        };
        match login {
            Ok(Ok(Some(session))) => {
                drop(world);
                self.converse(session, handle, peer).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(%peer, %error, "login not completed"),
            Err(_) => {
                metrics.refused.inc(RefuseReason::Timeout);
                tracing::debug!(%peer, "login not completed in time");
            }
        }
    }

    /// Everything up to the login's answer; `None` if the client was refused.
    async fn log_in(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        config: &Config,
        handle: &Arc<Handle>,
    ) -> io::Result<Option<Session>> {
        let refused = &self.shared.metrics.clients.refused;
        let peer = if is_trusted(config, peer.ip()) {
            let header = read_proxy_header(&tcp, peer).await;
            header.inspect_err(|_| refused.inc(RefuseReason::ProxyProtocol))?
        } else {
            peer
        };
        handle.set_address(peer);
        watch_client(&tcp)?;
        let mut random = [0; 20];
        rand::fill(&mut random).map_err(io::Error::other)?;
        let tls = self.tls.load_full();
        let mut offered = OFFERED;
        offered.set(Capabilities::SSL, tls.is_some());
        offered.set(Capabilities::QUERY_ATTRIBUTES, self.has_query_attributes());
        let offers = |algorithm| config.listen.compression.contains(&algorithm);
        offered.set(Capabilities::COMPRESS, offers(Compression::Zlib));
        offered.set(Capabilities::ZSTD_COMPRESSION, offers(Compression::Zstd));
        let mut conversation = Conversation {
            stream: Stream::plain(tcp)?,
            sequence: 0,
            offered,
            nonce: nonce_from_random(random),
        };
        let (version, collation) = self.server_shown(config);
        let plugin = plugin(config.listen.auth_plugin);
        let greeting = conversation.greet(handle.id, version, collation, plugin);
        greeting.await?;
        let authenticator = self.authenticator(config, peer);
        let mut first = conversation.receive_login().await;
        if let (Ok(FirstPacket::TlsRequest), Some(tls)) = (&first, tls) {
            let started = conversation.start_tls(tls).await;
            conversation = started.inspect_err(|_| refused.inc(RefuseReason::Tls))?;
            first = conversation.receive_login().await;
        }
        let login = match first {
            Ok(FirstPacket::Login(login)) => *login,
            Ok(FirstPacket::TlsRequest) => {
                refused.inc(RefuseReason::Tls);
                let error = bad_handshake("TLS is not offered here");
                authenticator.refuse(&mut conversation, b"", &error).await?;
                return Ok(None);
            }
            Err(Refused::Told(error)) => {
                refused.inc(RefuseReason::Protocol);
                authenticator.refuse(&mut conversation, b"", &error).await?;
                return Ok(None);
            }
            Err(Refused::Gone(error)) => return Err(error),
        };
        let compression = compression(&login);
        let user = login.user.clone();
        let outcome = match &compression {
            Ok(_) => authenticator.log_in(&mut conversation, login).await?,
            Err(error) => Err(error.clone()),
        };
        match outcome {
            Ok(identity) => {
                let client = conversation.into_client(identity.capabilities);
                let beginning = self.begin(client, identity, handle, Beginning::Login, None);
                Ok(beginning.await?.map(|session| match compression {
                    Ok(Some(compression)) => session.compressed(compression),
                    _ => session,
                }))
            }
            Err(error) => {
                refused.inc(match error.code {
                    1045 => RefuseReason::Authentication,
                    3159 => RefuseReason::TlsRequired,
                    _ => RefuseReason::Protocol,
                });
                authenticator
                    .refuse(&mut conversation, &user, &error)
                    .await?;
                Ok(None)
            }
        }
    }

    fn authenticator<'a>(&'a self, config: &'a Config, peer: SocketAddr) -> Authenticator<'a> {
        Authenticator {
            config,
            rsa: &self.rsa,
            peer,
            refusals: &self.refusals,
        }
    }

    /// The session of a client that has authenticated; `None` if it is refused.
    async fn begin(
        &self,
        client: crate::relay::Client,
        identity: crate::session::Identity,
        handle: &Arc<Handle>,
        beginning: Beginning,
        mark: Option<Mark>,
    ) -> io::Result<Option<Session>> {
        self.meet_a_server().await;
        let mut session = Session::new(self.shared.clone(), client, identity, handle.clone(), mark);
        let is_open = session.open(beginning).await?;
        Ok(is_open.then_some(session))
    }

    /// A session's character set is what the client's collation id means to the servers: one of
    /// them should be known before the first session begins.
    async fn meet_a_server(&self) {
        let world = self.shared.world.load_full();
        let endpoints = || {
            world
                .readers
                .iter()
                .map(|reader| &reader.endpoint)
                .chain(&world.snapshot.writer)
        };
        if endpoints().any(|endpoint| endpoint.server().is_some()) {
            return;
        }
        for endpoint in endpoints() {
            let learning = endpoint.learn(&world.config.monitor.credentials);
            if let Ok(Ok(_)) = tokio::time::timeout(MEETING, learning).await {
                return;
            }
        }
    }

    /// Runs the session, and those that follow it when the client changes its user.
    async fn converse(&self, mut session: Session, handle: &Arc<Handle>, peer: SocketAddr) {
        loop {
            let (ended, mut client, mark) = session.run().await;
            let Ended::ChangeUser(payload) = ended else {
                client.stream.shutdown().await;
                return;
            };
            let world = self.shared.world.load_full();
            let authenticator = self.authenticator(&world.config, peer);
            let change = rarely(authenticator.change_user(client, &payload));
            let next = match tokio::time::timeout(world.config.timeouts.handshake, change).await {
                Ok(Ok(Some((client, identity)))) => {
                    let beginning = Beginning::ChangeUser;
                    rarely(self.begin(client, identity, handle, beginning, mark)).await
                }
                _ => return,
            };
            match next {
                Ok(Some(next)) => session = next,
                _ => return,
            }
        }
    }

    /// Whether every server that was seen takes query attributes.
    fn has_query_attributes(&self) -> bool {
        let world = self.shared.world.load();
        let mut seen = world
            .snapshot
            .all()
            .filter_map(|endpoint| endpoint.server());
        seen.next()
            .is_some_and(|server| server.has_query_attributes)
            && seen.all(|server| server.has_query_attributes)
    }

    /// The version and the collation that the greeting shows: those of the real servers once one
    /// was seen.
    fn server_shown(&self, config: &Config) -> (String, u16) {
        let world = self.shared.world.load();
        let seen = world.snapshot.all().find_map(|endpoint| endpoint.server());
        match (seen, &config.listen.server_version) {
            (Some(server), _) => (server.greeting_version(), server.collation),
            (None, Some(version)) => (version.clone(), UTF8MB4_GENERAL_CI),
            (None, None) => (DEFAULT_VERSION.into(), UTF8MB4_GENERAL_CI),
        }
    }
}

/// How long a login waits for a server that was not reached yet.
const MEETING: Duration = Duration::from_secs(1);

/// Shown while no server was reached yet.
const DEFAULT_VERSION: &str = "8.4.0";

/// Tells a client why it is not served, in place of a greeting.
async fn turn_away(tcp: TcpStream, error: &SqlError) -> io::Result<()> {
    let mut payload = Vec::new();
    let mut state = ErrPacket::GENERAL_STATE;
    state.copy_from_slice(error.state.as_bytes());
    ErrPacket::new(error.code, state, error.message.clone())
        .encode_instead_of_greeting(&mut payload);
    let mut out = Vec::new();
    packet::put(&mut out, 0, &payload);
    let mut stream = Stream::plain(tcp)?;
    stream.write_all(&out).await?;
    stream.shutdown().await;
    Ok(())
}

fn is_trusted(config: &Config, peer: IpAddr) -> bool {
    config
        .listen
        .proxy_protocol
        .iter()
        .any(|network| network.contains(peer))
}

/// Reads the header that a trusted load balancer puts in front, and nothing behind it.
async fn read_proxy_header(tcp: &TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    let mut seen = vec![0; proxy_protocol::LONGEST_HEADER];
    let mut known = 0;
    loop {
        let n = tcp.peek(&mut seen).await?;
        match proxy_protocol::parse(seen.get(..n).unwrap_or_default()).map_err(io::Error::other)? {
            Parsed::Header { source, length } => {
                discard(tcp, length).await?;
                return Ok(match source {
                    Source::Client(address) => address,
                    Source::Local => peer,
                });
            }
            Parsed::NeedMore if n == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Parsed::NeedMore => {
                if n == known {
                    // Peeking does not wait for more than is there.
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
                known = n;
            }
        }
    }
}

async fn discard(tcp: &TcpStream, mut length: usize) -> io::Result<()> {
    let mut bytes = vec![0; length];
    while length > 0 {
        tcp.readable().await?;
        match tcp.try_read(bytes.get_mut(..length).unwrap_or_default()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => length -= n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
