//! Moving packets between the two sides of a session.
//!
//! Nothing here decides anything: the caller says what kind of response it expects and what to do
//! with it, and gets back what the response's terminators said.

mod client;
mod compressed;
mod forward;
mod liveness;
mod patience;
mod reply;
mod socket;
mod stream;
mod tracking;
mod upload;

pub use client::{Client, ClientError};
pub use compressed::Meter;
pub use forward::{
    BackendFault, Forward, HoldBack, MakeToken, RelayError, forward, swallow, swallow_after,
};
pub use liveness::{watch_client, watch_server};
pub use patience::Ending;
pub use reply::{Reply, ServerError};
pub use stream::Stream;
pub use tracking::Tracking;
