//! What a statement says, read from its bytes as the server would read them: lexer, digest,
//! hints, classification into a plan, and the plan cache. Knows no session and no server.

mod accounts;
pub mod cache;
mod classify;
mod diagnosis;
pub mod dialect;
pub mod digest;
mod facts;
mod functions;
pub mod hint;
mod init;
mod keywords;
mod kill;
pub mod lexer;
pub mod plan;
pub mod possessions;
mod previous;
mod readings;
pub mod rewrite;
mod script;
mod servers;
mod set;
mod shape;
mod show;
mod text_prepare;
mod token;
mod tree;
mod words;

pub use accounts::changes_accounts;
pub use cache::{PlanCache, PlanKey, Planned};
pub use diagnosis::{ConditionItem, ConditionNumber, Diagnosis, StatementItem, read as diagnosis};
pub use dialect::{Charset, Dialect, OwnSchema};
pub use digest::Digest;
pub use hint::{HintTarget, Hints};
pub use init::check_init;
pub use kill::{Kill, Victim, kill};
pub use plan::{
    Holds, Isolation, Kind, Needs, Place, Plan, Prepared, Releases, Script, ScriptStatement,
    TableName, TransactionEffect,
};
pub use previous::{
    Found, counts_conditions, finds_rows, finds_rows_within, leaves_conditions, sources,
};
pub use rewrite::{Values, names_any, substitute};
pub use script::read;
pub use show::{Topic, topic};
pub use text_prepare::{TextCommand, called, literal, text_command};
pub use token::{shown_token, without_announcement};

#[cfg(test)]
mod tests;
