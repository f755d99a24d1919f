//! One client's conversation: what the client believes, what it holds, and where its statements
//! go next.

mod aside;
mod commands;
mod conditions;
mod context;
mod conversation;
mod cursors;
mod deferred;
mod diagnosis;
mod diagnostics;
mod effects;
mod exchange;
mod followup;
mod gone;
mod holding;
mod identity;
mod kill;
mod last;
mod lending;
mod local;
mod long_data;
mod opening;
mod optimistic;
mod parting;
mod possessions;
mod prelude;
mod prepared;
mod registry;
mod round_trips;
mod run;
mod sharing;
mod show;
mod stale;
mod statements;
mod text_prepare;
mod tokens;
mod touched;
mod unseen;
mod waiting;
mod work;

pub use context::{Shared, World};
pub use conversation::{Ended, Session};
pub use identity::Identity;
pub use opening::Beginning;
pub use registry::{Handle, Registry, Signal};
pub use statements::StatementTable;
