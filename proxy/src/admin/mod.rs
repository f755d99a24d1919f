//! What operators see of a running proxy: metrics, health, and a way to reload, over HTTP.
//!
//! This room has no state of its own: it shows what the others count, and calls what it is given.

pub mod metrics;

mod request_origin;
mod server;

pub use metrics::Metrics;
pub use server::{AdminState, ReloadFuture, serve};
