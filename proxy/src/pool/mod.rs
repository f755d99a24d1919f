//! Backend connections: connecting, lending, cleaning, retiring.

mod budget;
mod connect;
mod connection;
mod deviations;
mod difference;
mod family;
mod gate;
mod init_connect;
mod kill;
mod lease;
mod manager;
mod nearby;
mod pools;
mod prepared;
mod state;
mod stock;
pub mod user_variable;

pub use connect::ConnectError;
pub use connection::{COLLATIONS, CURRENT_ROLE, Connection, Tracked, only_value};
pub use deviations::deviations;
pub use difference::VERSIONING;
pub use gate::Gate;
pub use kill::KillScope;
pub use lease::{Lease, LeaseError};
pub use pools::{Kind, Origin, Pool, PoolKey, Pools, Usage};
pub use state::{RESULTS_CHARSET, RESULTS_COLLATION, State, StateTable, Variables, named};
