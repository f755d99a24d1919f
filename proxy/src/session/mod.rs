//! One client's conversation: what the client believes, what it holds, and where its statements
//! go next.

mod commands;
mod context;
mod conversation;
mod diagnostics;
mod effects;
mod exchange;
mod followup;
mod holding;
mod identity;
mod last;
mod lending;
mod local;
mod possessions;
mod prepared;
mod registry;
mod show;
mod statements;

pub use context::{Shared, World};
pub use conversation::{Ended, Session};
pub use identity::Identity;
pub use registry::{Handle, Registry, Signal};
pub use statements::StatementTable;
