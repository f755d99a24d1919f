//! Which endpoints exist, their roles and their health.
//!
//! The rest of the proxy sees a [`Snapshot`], made anew when something changes and never changed
//! itself.

mod endpoint;
mod monitor;
mod query;
mod server;
mod snapshot;

pub use endpoint::{Endpoint, SignOfLife};
pub use monitor::watch;
pub use query::{QueryError, connect};
pub use server::{Server, is_carried};
pub use snapshot::Snapshot;
