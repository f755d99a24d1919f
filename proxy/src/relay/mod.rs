//! Moving packets between the two sides of a session.
//!
//! Nothing here decides anything: the caller says what kind of response it expects and what to do
//! with it, and gets back what the response's terminators said.

mod client;
mod forward;
mod reply;
mod stream;
mod tracking;
mod upload;

pub use client::{Client, ClientError};
pub use forward::{BackendFault, Forward, RelayError, forward, swallow};
pub use reply::{Reply, ServerError};
pub use stream::Stream;
pub use tracking::Tracking;
