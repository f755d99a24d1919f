//! Which endpoints exist, their roles and their health.
//!
//! The rest of the proxy sees a [`Snapshot`], made anew when something changes and never changed
//! itself.

mod distance;
mod endpoint;
mod gtid;
mod lag;
mod monitor;
mod query;
mod server;
mod snapshot;

pub use endpoint::{Endpoint, SignOfLife, Standing};
pub use gtid::{GtidError, GtidSet};
pub use lag::Trail;
pub use monitor::{Watch, watch};
pub use query::{QueryError, connect, guarded};
pub use server::{Server, UTF8MB4_GENERAL_CI, is_carried};
pub use snapshot::Snapshot;
