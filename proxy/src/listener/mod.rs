//! Where clients come in: accepting, limits, TLS, the PROXY protocol, authentication.

mod accept;
mod authentication;
mod handshake;
pub mod proxy_protocol;
mod refusals;

pub use accept::{Listener, serve};
pub use refusals::RefusalLog;
