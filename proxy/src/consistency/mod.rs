//! Read your writes: what a session must see, what each reader has seen, and waiting.
//!
//! A [`Mark`] is a local instant. Each reader publishes the instant up to which everything that
//! was acknowledged is visible on it; a mark is reached when that instant is not before it. So the
//! data path needs one atomic load, whatever the source is that advances the instant.

mod follower;
mod gtid;
mod ledger;
mod reader;

pub use follower::follow;
pub use gtid::{GtidError, GtidSet};
pub use ledger::Ledger;
pub use reader::{Mark, Reader};
