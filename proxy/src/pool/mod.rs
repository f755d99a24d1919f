//! Backend connections: connecting, lending, cleaning, retiring.

mod budget;
mod connect;
mod connection;
mod kill;
mod lease;
mod manager;
mod pools;
mod prepared;
mod state;

pub use connect::ConnectError;
pub use connection::{Connection, Tracked};
pub use kill::{KillScope, kill};
pub use lease::{Lease, LeaseError};
pub use pools::{Origin, Pool, PoolKey, Pools, Usage};
pub use state::{State, StateTable, Variables};
