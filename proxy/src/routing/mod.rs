//! Where a statement goes: a pure function of its plan, its hints and the session.

use std::borrow::Cow;
use std::sync::Arc;

use crate::sql::{HintTarget, Hints, Holds, Kind, Needs, Place, Plan, TransactionEffect};

/// What of a session matters to where its next statement goes.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The transaction that is open.
    pub transaction: Transaction,
    /// The session's `autocommit`.
    pub autocommit: bool,
    /// Why the session keeps a connection to the writer.
    pub holds: Holds,
    /// True while the reader has not caught up with what the session must see.
    pub pinned: bool,
    /// True if the statement is a read that `optimistic_reads` lets a reader answer before the
    /// transaction begins on the writer.
    pub reads_ahead: bool,
    /// True if the statement begins a transaction whose reads lock what they read: at the isolation
    /// level SERIALIZABLE.
    pub locks_reads: bool,
    /// Functions that the configuration allows on readers, in lower case, with or without schema.
    pub allowed_functions: &'a [String],
}

/// The transaction that a session has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// None.
    None,
    /// One that may write: on the writer.
    ReadWrite,
    /// One that may not, on a reader.
    ReadOnly,
    /// One that may not, on the writer because the session was pinned when it began.
    ReadOnlyOnWriter,
}

/// Where a statement goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it goes.
    pub target: Place,
    /// Why: a sentence.
    pub reason: Cow<'static, str>,
}

/// Decides where a statement goes.
pub fn route(plan: &Plan, hints: &Hints, view: &View<'_>) -> Route {
    let target = |target, reason: &'static str| Route {
        target,
        reason: Cow::Borrowed(reason),
    };
    let as_planned = |place| Route {
        target: place,
        reason: plan.reason.clone(),
    };
    match plan.place {
        Place::Proxy | Place::Refused | Place::Session | Place::Previous => {
            return as_planned(plan.place);
        }
        Place::Reader | Place::Writer => {}
    }
    if leaves_transaction(plan) {
        return begin_or_end(plan, hints, view);
    }
    if view.reads_ahead && !view.pinned {
        return target(
            Place::Reader,
            "optimistic_reads: the transaction has not written yet",
        );
    }
    match view.transaction {
        Transaction::ReadOnly if leaves_reader(plan, view.autocommit, view.allowed_functions) => {
            return target(
                Place::Writer,
                "it may do more than read, so the read-only transaction goes on on the writer",
            );
        }
        Transaction::ReadOnly => {
            return target(
                Place::Reader,
                "inside a read-only transaction, which is on a reader",
            );
        }
        Transaction::ReadOnlyOnWriter => {
            return target(
                Place::Writer,
                "inside a read-only transaction, which began on the writer",
            );
        }
        Transaction::ReadWrite => {
            return target(
                Place::Writer,
                "inside a transaction, which is on the writer",
            );
        }
        Transaction::None => {}
    }
    let allowed = plan.reader_if_allowed && are_allowed(plan, view.allowed_functions);
    // What speaks of one server changes nothing on it, whichever that is.
    let asks_reader = plan.kind == Kind::Show && hints.target == Some(HintTarget::Reader);
    if plan.place == Place::Writer && !allowed && !asks_reader {
        return as_planned(Place::Writer);
    }
    if view.holds.intersects(Holds::BINDING) {
        return Route {
            target: Place::Writer,
            reason: Cow::Owned(format!(
                "the session keeps its connection to the writer: {}",
                view.holds.names().join(", ")
            )),
        };
    }
    if !view.autocommit {
        return target(
            Place::Writer,
            "autocommit is off, so every statement is in a transaction",
        );
    }
    match hints.target {
        Some(HintTarget::Writer) => target(Place::Writer, "a hint asks for the writer"),
        Some(HintTarget::Reader) => target(Place::Reader, "a hint asks for a reader"),
        None if hints.fresh => target(Place::Writer, "a hint asks for the newest state"),
        None if view.pinned => target(
            Place::Writer,
            "the session has written and the reader has not caught up",
        ),
        None if allowed => target(
            Place::Reader,
            "it calls only functions that the configuration allows on readers",
        ),
        None => as_planned(Place::Reader),
    }
}

/// True if the statement begins a transaction or ends the open one by being what it is.
fn leaves_transaction(plan: &Plan) -> bool {
    plan.kind == Kind::Begin || matches!(plan.transaction, Some(TransactionEffect::ImplicitCommit))
}

fn begin_or_end(plan: &Plan, hints: &Hints, view: &View<'_>) -> Route {
    let may_read = plan.place == Place::Reader
        && !view
            .holds
            .intersects(Holds::BINDING.difference(Holds::TRANSACTION));
    let stale = (view.pinned || hints.fresh) && hints.target != Some(HintTarget::Reader);
    let reason = match (may_read, hints.target) {
        (true, Some(HintTarget::Writer)) => Cow::Borrowed("a hint asks for the writer"),
        (true, _) if view.locks_reads => {
            Cow::Borrowed("a read-only transaction that locks what it reads: SERIALIZABLE")
        }
        (true, _) if stale => Cow::Borrowed(
            "a read-only transaction, but the session must see what the reader may not have yet",
        ),
        (true, _) => {
            return Route {
                target: Place::Reader,
                reason: plan.reason.clone(),
            };
        }
        (false, _) => plan.reason.clone(),
    };
    Route {
        target: Place::Writer,
        reason,
    }
}

/// True if a read-only transaction has to leave its reader for the statement: it commits by being what
/// it is, may leave something that must be where the writes go, is about the server itself, or what
/// stands in it behind the end of the transaction is for the writer.
pub fn leaves_reader(plan: &Plan, autocommit: bool, allowed_functions: &[String]) -> bool {
    let commits = |plan: &Plan| plan.transaction == Some(TransactionEffect::ImplicitCommit);
    commits(plan)
        || leaves_something(plan, allowed_functions)
        || (!autocommit && may_switch_autocommit_on(plan))
        || plan.sets_server
        || !may_stay_on_reader(&plan.parts)
}

/// True if several statements only read, and end the transaction at most with the last of them.
fn may_stay_on_reader(parts: &[Arc<Plan>]) -> bool {
    use TransactionEffect::{Commit, ReleaseSavepoint, Rollback, RollbackTo, Savepoint};
    let Some((last, others)) = parts.split_last() else {
        return true;
    };
    let may_stay = |plan: &Plan| {
        let is_within = match plan.transaction {
            None => plan.place != Place::Writer || plan.reader_if_allowed,
            Some(Savepoint(_) | ReleaseSavepoint(_) | RollbackTo(_)) => true,
            Some(_) => false,
        };
        plan.is_certain && is_within
    };
    let ends = matches!(last.transaction, Some(Commit { .. } | Rollback { .. }));
    others.iter().all(|part| may_stay(part)) && ((ends && last.is_certain) || may_stay(last))
}

/// True if the statement may leave something on its connection that must be where the writes go.
fn leaves_something(plan: &Plan, allowed_functions: &[String]) -> bool {
    use Kind::{Call, Compound, Execute, Unknown};
    // To set the next transaction is refused in one.
    const NOTHING: Holds = Holds::TRANSACTION.union(Holds::NEXT_TRANSACTION);
    !NOTHING.contains(plan.holds)
        || plan.needs.intersects(Needs::ROW_LOCKS | Needs::DESTINATION)
        || matches!(plan.kind, Call | Compound | Execute | Unknown)
        || !are_allowed(plan, allowed_functions)
        || plan
            .parts
            .iter()
            .any(|part| leaves_something(part, allowed_functions))
}

/// True if the statement may switch `autocommit` on. That ends a transaction, and servers leave the
/// next one read-only if that one was.
pub fn may_switch_autocommit_on(plan: &Plan) -> bool {
    matches!(
        plan.transaction,
        Some(TransactionEffect::SetAutocommit(None | Some(true)))
    ) || plan.parts.iter().any(|part| may_switch_autocommit_on(part))
}

/// True if the list has every function that the statement calls and that is not built in.
pub fn are_allowed(plan: &Plan, allowed: &[String]) -> bool {
    let mut functions = plan.unknown_functions.iter();
    functions.all(|name| is_allowed(name, allowed))
}

/// True if the list has the function, by its full name or without its schema.
fn is_allowed(function: &str, allowed: &[String]) -> bool {
    let name = function.rsplit('.').next().unwrap_or(function);
    allowed
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(function) || allowed.eq_ignore_ascii_case(name))
}
