//! Isthmus, a MySQL-protocol proxy for databases that span regions.
//!
//! The modules are the rooms that docs/architecture.md describes; each uses only those below it.

pub mod admin;
pub mod config;
pub mod consistency;
pub mod error;
pub mod explain;
pub mod listener;
pub mod per_thread;
pub mod pool;
mod rarely;
pub mod relay;
pub mod routing;
pub mod rsa;
pub mod server;
pub mod session;
pub mod setup;
pub mod sql;
pub mod tls;
pub mod topology;
