//! A backend connection, lent.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::Object;
use tokio::sync::oneshot;

use super::connect::ConnectError;
use super::connection::Connection;
use super::manager::Manager;
use super::nearby::Shelf;
use super::pools::Origin;
use super::state::State;
use crate::admin::metrics::CloseReason;
use crate::config::Role;
use crate::topology::Endpoint;

/// How long a connection may take to get into another state.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing could be lent.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// All connections are in use, and none came back in time.
    #[error(
        "all {limit} connections are in use and none came back in {waited:?}; raise pool.max_connections or find the sessions that hold them"
    )]
    Exhausted {
        /// The pool's size.
        limit: usize,
        /// The time it waited.
        waited: Duration,
    },
    /// No new connection could be made.
    #[error(transparent)]
    Connect(ConnectError),
    /// The endpoint left the configuration.
    #[error("the endpoint was removed from the configuration")]
    Closed,
}

/// A connection lent to a session. When it is dropped it goes back to its pool if it is clean, and
/// is closed if it is not.
pub struct Lease {
    object: Option<Object<Manager>>,
    /// Where it goes back to.
    shelf: Arc<Shelf>,
    /// What the endpoint was when the connection was lent: a reload may make it something else
    /// while a transaction goes on.
    pub role: Role,
}

impl Lease {
    pub(super) fn new(object: Object<Manager>, shelf: &Arc<Shelf>) -> Self {
        object.origin.metrics.statements.inc();
        Self {
            object: Some(object),
            shelf: shelf.clone(),
            role: Role::Reader,
        }
    }

    /// Whether the connection may go back as far as its schema is concerned: the pool promises one
    /// or none, and a schema cannot be unselected.
    pub fn fits_its_pool(&self) -> bool {
        self.state.schema.is_some() == self.origin.has_schema
    }

    /// The endpoint that the connection leads to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.origin.endpoint
    }

    /// Whether it was lent as one to the writer.
    pub fn leads_to_writer(&self) -> bool {
        self.role == Role::Writer
    }

    /// Where the connection leads to, and as whom.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Gives the connection back after removing what a session left on it. For a connection that
    /// is at rest: every response was read to its end. The receiver gets no answer: it hears that
    /// nothing of the session is left. A connection with what no reset removes is to be closed: it
    /// `may_stay` no longer.
    pub fn reset_and_release(mut self, may_stay: bool) -> oneshot::Receiver<Vec<u8>> {
        let (over, receiver) = oneshot::channel();
        let fits = may_stay && self.fits_its_pool();
        let Some(mut object) = self.object.take() else {
            return receiver;
        };
        object.is_clean = false;
        tokio::spawn(async move {
            // A large transaction takes its time to be rolled back.
            match object.reset().await {
                Ok(None) if fits => {
                    object.is_clean = true;
                    drop(object);
                }
                _ => drop(Object::take(object)),
            }
            drop(over);
        });
        receiver
    }

    /// Ends the open transaction and gives the connection back once the server has answered,
    /// brought to another state where one is given. The answer to the receiver is that to
    /// `SELECT LAST_INSERT_ID()`, if it is to be asked; there is none if the connection had to be
    /// closed. For a connection at rest.
    pub fn roll_back_and_release(
        mut self,
        asks_id: bool,
        state: Option<Arc<State>>,
    ) -> oneshot::Receiver<Vec<u8>> {
        let (answer, receiver) = oneshot::channel();
        let fits = self.fits_its_pool();
        let Some(mut object) = self.object.take() else {
            return receiver;
        };
        object.is_clean = false;
        tokio::spawn(async move {
            match object.roll_back(asks_id, state.as_ref()).await {
                Ok(Some(packets)) => {
                    if fits {
                        object.is_clean = true;
                        object.stream.rest();
                        drop(object);
                    } else {
                        drop(Object::take(object));
                    }
                    // The session may have ended.
                    let _ = answer.send(packets);
                }
                _ => drop(Object::take(object)),
            }
        });
        receiver
    }

    /// Gives the connection back after bringing it to another state. For a connection at rest.
    pub fn change_and_release(mut self, state: Arc<State>) {
        let Some(mut object) = self.object.take() else {
            return;
        };
        object.is_clean = false;
        tokio::spawn(async move {
            match tokio::time::timeout(CHANGE_TIMEOUT, object.change_to(&state)).await {
                Ok(Ok(None)) => {
                    object.is_clean = true;
                    object.stream.rest();
                }
                _ => drop(Object::take(object)),
            }
        });
    }

    /// Closes its prepared statements, and gives it back once the server has done so. For a
    /// connection at rest.
    pub(super) async fn shed_statements(mut self) {
        self.is_clean = false;
        let shedding = tokio::time::timeout(CHANGE_TIMEOUT, self.close_statements_now());
        let is_done = matches!(shedding.await, Ok(Ok(())));
        self.is_clean = is_done;
    }

    /// Closes a connection on which a statement may still run, and has the server end it.
    pub fn abandon(mut self) {
        let Some(object) = self.object.take() else {
            return;
        };
        let thread_id = object.thread_id;
        let origin = object.origin.clone();
        drop(Object::take(object));
        tokio::spawn(async move {
            let ended = origin.kill_abandoned(thread_id).await;
            if let Err(error) = ended
                && !error.is_unknown_thread()
            {
                tracing::warn!(endpoint = origin.endpoint.name, %error, "could not end a statement that nobody waits for");
            }
        });
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.object {
            Some(object) => object,
            // The object leaves only in methods that consume the lease, and in drop.
            None => unreachable!("a lease has its connection until it is consumed"),
        }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        match &mut self.object {
            Some(object) => object,
            None => unreachable!("a lease has its connection until it is consumed"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut object) = self.object.take() {
            if !object.is_clean {
                object.origin.metrics.closed.inc(CloseReason::Unclean);
                drop(Object::take(object));
            } else if object.origin.family.takes_room() {
                object.origin.metrics.closed.inc(CloseReason::Idle);
                drop(Object::take(object));
            } else {
                object.stream.rest();
                self.shelf.put(object);
            }
        }
    }
}
