//! `isthmus explain`: what the proxy would do with a statement, and why, without a server.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use crate::routing::{Route, Transaction, View, route};
use crate::sql::{
    Dialect, Hints, Holds, Kind, Place, Plan, Releases, ScriptStatement, TransactionEffect, read,
};

/// What the proxy would do with one statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The statement.
    pub sql: String,
    /// Its digest in hexadecimal.
    pub digest: String,
    /// What kind of statement it is.
    pub kind: &'static str,
    /// Where it goes: reader, writer, previous, proxy, session or refused.
    pub route: &'static str,
    /// True if later reads of the session must see what it wrote.
    pub marks: bool,
    /// Why the session keeps its connection afterwards.
    pub holds: Vec<&'static str>,
    /// The tables it names; null where they are not all known.
    pub tables: Option<Vec<String>>,
    /// Why it goes there: a sentence.
    pub reason: String,
}

/// Walks a new session through the statements of `sql`, in order. The reader is taken to have
/// caught up with whatever the statements write. `allowed_functions` are the functions that the
/// configuration allows on readers.
pub fn explain(sql: &[u8], dialect: Dialect, allowed_functions: &[String]) -> Vec<Explained> {
    let mut walk = Walk::new(allowed_functions);
    read(sql, dialect, true)
        .statements
        .iter()
        .map(|statement| walk.step(sql, statement))
        .collect()
}

/// The same for people: one statement after the other, aligned.
pub fn text(explained: &[Explained]) -> String {
    let mut out = String::new();
    for one in explained {
        if !out.is_empty() {
            out.push('\n');
        }
        let tables = match &one.tables {
            Some(tables) if tables.is_empty() => "none".to_owned(),
            Some(tables) => tables.join(", "),
            None => "not all known".to_owned(),
        };
        let holds = match &one.holds[..] {
            [] => "nothing".to_owned(),
            holds => holds.join(", ").replace('_', " "),
        };
        let marks = if one.marks { "yes" } else { "no" };
        let rows = [
            ("route", format!("{}: {}", one.route, one.reason)),
            ("kind", one.kind.to_owned()),
            ("marks", marks.to_owned()),
            ("holds", holds),
            ("tables", tables),
            ("digest", one.digest.clone()),
        ];
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", one.sql);
        for (name, value) in rows {
            let _ = writeln!(out, "  {name:<8}{value}");
        }
    }
    out
}

/// A session as far as the statements so far have brought it.
struct Walk<'a> {
    transaction: Transaction,
    /// The transaction has written.
    written: bool,
    /// What `SET TRANSACTION` said about the next one.
    next_read_only: Option<bool>,
    autocommit: bool,
    holds: Holds,
    temporary_tables: usize,
    user_locks: usize,
    handlers: usize,
    prepared: HashMap<String, Option<Arc<Plan>>>,
    allowed_functions: &'a [String],
}

impl<'a> Walk<'a> {
    fn new(allowed_functions: &'a [String]) -> Walk<'a> {
        Walk {
            transaction: Transaction::None,
            written: false,
            next_read_only: None,
            autocommit: true,
            holds: Holds::empty(),
            temporary_tables: 0,
            user_locks: 0,
            handlers: 0,
            prepared: HashMap::new(),
            allowed_functions,
        }
    }

    fn step(&mut self, sql: &[u8], statement: &ScriptStatement) -> Explained {
        let plan = self.as_prepared(&statement.plan);
        let route = self.route(&plan, &statement.hints);
        let marks = self.marks(&plan, route.target);
        self.follow(&plan, route.target);
        let text = sql.get(statement.range.clone()).unwrap_or_default();
        Explained {
            sql: String::from_utf8_lossy(text.trim_ascii()).into_owned(),
            digest: statement.plan.digest.to_string(),
            kind: statement.plan.kind.name(),
            route: route.target.name(),
            marks,
            holds: plan.holds.names(),
            tables: plan
                .tables
                .as_ref()
                .map(|tables| tables.iter().map(ToString::to_string).collect()),
            reason: route.reason.into_owned(),
        }
    }

    /// `EXECUTE` of a statement that was prepared from a literal is that statement.
    fn as_prepared(&mut self, plan: &Arc<Plan>) -> Arc<Plan> {
        let Some(prepared) = &plan.prepared else {
            return Arc::clone(plan);
        };
        let name = prepared.name.as_ref().map(|name| name.to_lowercase());
        match (plan.kind, name) {
            (Kind::Prepare, Some(name)) => {
                self.prepared.insert(name, prepared.inner.clone());
                if let Some(inner) = &prepared.inner {
                    return Arc::new(inner.preparation());
                }
            }
            (Kind::Deallocate, Some(name)) => {
                if let Some(Some(_)) = self.prepared.remove(&name) {
                    return Arc::new(Plan {
                        place: Place::Proxy,
                        releases: Releases::empty(),
                        reason: "the proxy has the session's textual prepared statements".into(),
                        ..Plan::clone(plan)
                    });
                }
            }
            (Kind::Execute, Some(name)) => {
                if let Some(Some(inner)) = self.prepared.get(&name) {
                    return Arc::clone(inner);
                }
            }
            _ => {}
        }
        Arc::clone(plan)
    }

    fn route(&self, plan: &Plan, hints: &Hints) -> Route {
        let mut holds = self.holds;
        // The proxy knows what was prepared from a literal, so only the others hold.
        if self.prepared.values().all(Option::is_some) {
            holds.remove(Holds::TEXT_PREPARE);
        }
        let view = View {
            transaction: self.transaction,
            autocommit: self.autocommit,
            holds,
            reads_ahead: false,
            locks_reads: false,
            pinned: false,
            allowed_functions: self.allowed_functions,
        };
        let next_read_only = self.next_read_only == Some(true)
            && matches!(
                plan.transaction,
                Some(TransactionEffect::Begin {
                    read_only: None,
                    ..
                })
            );
        if next_read_only {
            let mut plan = plan.clone();
            plan.place = Place::Reader;
            plan.reason = "the next transaction was set to be read-only".into();
            return route(&plan, hints, &view);
        }
        route(plan, hints, &view)
    }

    /// A commit marks if something was written; what a reader may run never does.
    fn marks(&self, plan: &Plan, target: Place) -> bool {
        match plan.transaction {
            Some(TransactionEffect::Commit { .. }) => self.written,
            Some(
                TransactionEffect::Begin { .. } | TransactionEffect::SetAutocommit(Some(true)),
            ) => self.written,
            _ => plan.marks && target != Place::Reader,
        }
    }

    fn follow(&mut self, plan: &Plan, target: Place) {
        self.follow_holds(plan);
        if self.transaction == Transaction::ReadOnly && target == Place::Writer {
            self.transaction = Transaction::ReadOnlyOnWriter;
        }
        match &plan.transaction {
            Some(TransactionEffect::Begin { read_only, .. }) => {
                let read_only = read_only.or(self.next_read_only.take()) == Some(true);
                self.written = false;
                self.transaction = match (read_only, target) {
                    (true, Place::Reader) => Transaction::ReadOnly,
                    (true, _) => Transaction::ReadOnlyOnWriter,
                    (false, _) => Transaction::ReadWrite,
                };
            }
            Some(
                TransactionEffect::Commit { chain, .. } | TransactionEffect::Rollback { chain, .. },
            ) => {
                self.written = false;
                if *chain != Some(true) {
                    self.transaction = Transaction::None;
                }
            }
            Some(TransactionEffect::ImplicitCommit) => {
                self.written = false;
                self.transaction = Transaction::None;
            }
            Some(TransactionEffect::SetAutocommit(on)) => {
                self.autocommit = on.unwrap_or(false);
                if self.autocommit {
                    self.transaction = Transaction::None;
                    self.written = false;
                }
            }
            Some(TransactionEffect::SetNext { read_only, .. }) => {
                self.next_read_only = *read_only;
            }
            _ => {
                let open = self.transaction == Transaction::ReadWrite || !self.autocommit;
                self.written |= plan.marks && open && target == Place::Writer;
            }
        }
    }

    fn follow_holds(&mut self, plan: &Plan) {
        self.holds |= plan
            .holds
            .difference(Holds::TRANSACTION | Holds::NEXT_TRANSACTION);
        self.temporary_tables += usize::from(plan.holds.contains(Holds::TEMPORARY_TABLE));
        self.handlers += usize::from(plan.kind == Kind::HandlerOpen);
        self.user_locks += usize::from(plan.holds.contains(Holds::USER_LOCK));
        let count_down = |count: &mut usize, holds: &mut Holds, hold: Holds| {
            *count = count.saturating_sub(1);
            holds.set(hold, *count > 0);
        };
        for released in plan.releases.iter() {
            match released {
                Releases::USER_LOCKS_ALL => {
                    self.user_locks = 0;
                    self.holds.remove(Holds::USER_LOCK);
                }
                Releases::USER_LOCK_ONE => {
                    // The release itself was counted above.
                    self.user_locks = self.user_locks.saturating_sub(1);
                    count_down(&mut self.user_locks, &mut self.holds, Holds::USER_LOCK);
                }
                Releases::TEMPORARY_TABLE => count_down(
                    &mut self.temporary_tables,
                    &mut self.holds,
                    Holds::TEMPORARY_TABLE,
                ),
                Releases::HANDLER_ONE => {
                    count_down(&mut self.handlers, &mut self.holds, Holds::HANDLER);
                }
                Releases::TABLE_LOCK => self.holds.remove(Holds::TABLE_LOCK),
                Releases::INSTANCE_LOCK => self.holds.remove(Holds::INSTANCE_LOCK),
                Releases::XA => self.holds.remove(Holds::XA),
                Releases::TEXT_PREPARE_ONE => {
                    self.holds
                        .set(Holds::TEXT_PREPARE, !self.prepared.is_empty());
                }
                _ => {}
            }
        }
    }
}
