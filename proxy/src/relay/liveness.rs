//! How it is noticed that a link is dead: without help, TCP takes a quarter of an hour for what was
//! sent, and never notices while it waits.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// TCP counts in whole seconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// Gives a connection to a server up when its other end has confirmed nothing for `limit`: neither
/// what was sent, nor a sign of life asked of it in a silence.
pub fn watch_server(tcp: &TcpStream, limit: Duration) -> io::Result<()> {
    let asking = TcpKeepalive::new()
        .with_time((limit / 2).max(SHORTEST))
        .with_interval((limit / 10).max(SHORTEST));
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&asking)?;
    socket.set_tcp_user_timeout(Some(limit))
}

/// Notices within a minute that a client which says nothing has vanished, with what its session
/// holds. How long a client takes to read is for [`Stream::be_patient`] to limit: TCP would end
/// connections whose other end is there and has no room.
///
/// [`Stream::be_patient`]: super::Stream::be_patient
pub fn watch_client(tcp: &TcpStream) -> io::Result<()> {
    let asking = TcpKeepalive::new()
        .with_time(Duration::from_secs(45))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    SockRef::from(tcp).set_tcp_keepalive(&asking)
}

/// Lets the other end take all the time it wants to read, as a server does whose LOAD DATA waits
/// for a lock. Returns the limit that there was, for [`set_limit`].
pub(super) fn lift_limit(tcp: &TcpStream) -> io::Result<Option<Duration>> {
    let limit = SockRef::from(tcp).tcp_user_timeout()?;
    set_limit(tcp, None)?;
    Ok(limit)
}

/// Sets how long what was sent may stay unconfirmed.
pub(super) fn set_limit(tcp: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    SockRef::from(tcp).set_tcp_user_timeout(limit)
}
