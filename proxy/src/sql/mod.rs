//! What a statement says, read from its bytes as the server would read them: lexer, digest,
//! hints, classification into a plan, and the plan cache. Knows no session and no server.

pub mod cache;
mod classify;
pub mod dialect;
pub mod digest;
mod facts;
mod functions;
pub mod hint;
mod keywords;
pub mod lexer;
pub mod plan;
pub mod possessions;
mod readings;
pub mod rewrite;
mod script;
mod servers;
mod set;
mod show;
mod tree;
mod words;

pub use cache::{PlanCache, PlanKey, Planned};
pub use dialect::{Charset, Dialect};
pub use digest::Digest;
pub use hint::{HintTarget, Hints};
pub use plan::{
    Holds, Isolation, Kind, Needs, Place, Plan, Prepared, Releases, Script, ScriptStatement,
    TableName, TransactionEffect,
};
pub use rewrite::{Values, substitute};
pub use script::read;
pub use show::{Topic, topic};

#[cfg(test)]
mod tests;
