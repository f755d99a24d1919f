//! The proxy's own connections to the servers, for monitoring and positions.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};

use super::Endpoint;
use crate::config::{Credentials, ServerTls};

/// A question of the proxy that a server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// What the driver says.
    #[error(transparent)]
    Driver(#[from] mysql_async::Error),
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is not what it should be.
    #[error("{0}")]
    Unusable(&'static str),
}

impl QueryError {
    /// Whether the server has answered, though with an error: it is still there.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Driver(mysql_async::Error::Server(_)))
    }

    /// Whether the server knows no connection of the number that was named.
    pub fn is_unknown_thread(&self) -> bool {
        const UNKNOWN_THREAD: u16 = 1094;
        matches!(self, Self::Driver(mysql_async::Error::Server(error)) if error.code == UNKNOWN_THREAD)
    }
}

/// How long a server may take to let the proxy in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to an endpoint with the given login.
pub async fn connect(endpoint: &Endpoint, login: &Credentials) -> Result<Conn, QueryError> {
    let first = try_connect(endpoint, login, ssl_options(&endpoint.tls_mode)).await;
    match first {
        Err(QueryError::Driver(mysql_async::Error::Driver(
            mysql_async::DriverError::NoClientSslFlagFromServer,
        ))) if endpoint.tls_mode == ServerTls::Preferred => {
            try_connect(endpoint, login, None).await
        }
        result => result,
    }
}

async fn try_connect(
    endpoint: &Endpoint,
    login: &Credentials,
    ssl: Option<SslOpts>,
) -> Result<Conn, QueryError> {
    let options = OptsBuilder::default()
        .ip_or_hostname(endpoint.address.host.clone())
        .tcp_port(endpoint.address.port)
        .user(Some(login.user.clone()))
        .pass(Some(login.password.expose()))
        .prefer_socket(false)
        .max_allowed_packet(Some(16 * 1024 * 1024))
        .wait_timeout(Some(28_800))
        .ssl_opts(ssl);
    let connecting = guarded(async { Ok(Conn::new(Opts::from(options)).await?) });
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(QueryError::TimedOut(CONNECT_TIMEOUT)),
    }
}

/// Turns a panic into an error: the driver panics over some answers that make no sense. What the
/// work has borrowed is not to be used again then.
pub async fn guarded<T>(
    work: impl Future<Output = Result<T, QueryError>>,
) -> Result<T, QueryError> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polling = AssertUnwindSafe(|| work.as_mut().poll(context));
        catch_unwind(polling).unwrap_or_else(|_| {
            Poll::Ready(Err(QueryError::Unusable(
                "the server's answer makes no sense",
            )))
        })
    })
    .await
}

fn ssl_options(mode: &ServerTls) -> Option<SslOpts> {
    let options = SslOpts::default();
    match mode {
        ServerTls::Disabled => None,
        ServerTls::Preferred | ServerTls::Required => {
            Some(options.with_danger_accept_invalid_certs(true))
        }
        ServerTls::VerifyCa { ca } => Some(
            options
                .with_root_certs(vec![ca.clone().into()])
                .with_disable_built_in_roots(true)
                .with_danger_skip_domain_validation(true)
                // mysql_async 0.37 tells an error about the name from others by this word, which
                // the message of today's rustls holds only if the name that it quotes does.
                .with_danger_tls_hostname_override(Some("NotValidForName.invalid")),
        ),
        ServerTls::VerifyIdentity { ca } => Some(
            options
                .with_root_certs(vec![ca.clone().into()])
                .with_disable_built_in_roots(true),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_over_an_answer_is_an_error() {
        let broken = guarded(async { panic!("as over a key that is none") });
        let outcome: Result<(), QueryError> = broken.await;
        assert!(matches!(outcome, Err(QueryError::Unusable(_))));
    }
}
