//! How long a client may leave its answer unread.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Whoever can be told to end while it waits for its client.
pub trait Ending: Send + Sync {
    /// Ready once it was told to.
    fn poll_ended(&self, context: &mut Context<'_>) -> Poll<()>;
}

/// What a session waits for while its client takes nothing: a server's `net_write_timeout`, which
/// begins anew whenever the client has taken something, and an end from outside.
pub(super) struct Patience {
    pub(super) limit: Duration,
    pub(super) ending: Arc<dyn Ending>,
}

impl Patience {
    /// Waits for room for what is to be sent.
    ///
    /// # Errors
    /// `TimedOut` if there is none in time, `ConnectionAborted` if the session is to end.
    pub(super) async fn wait<T>(&self, room: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        tokio::select! {
            biased;
            room = room => room,
            () = poll_fn(|context| self.ending.poll_ended(context)) => {
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            () = tokio::time::sleep(self.limit) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
