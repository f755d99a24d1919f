//! What the client is told at once, and the server with the statement that follows.
//!
//! A statement is answered at once only if the answer is the one that the server would give, its
//! status flags included. It stands in front of the next statement, in the same write. Where no
//! statement follows before the transaction ends, there is nothing to tell the server.
//!
//! BEGIN does not fail on a connection without an XA transaction. SAVEPOINT does not fail inside a
//! transaction, nor does RELEASE SAVEPOINT of a savepoint that is there.

use std::io;

use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::session_track::{self, Change};
use isthmus_protocol::status::Status;

use super::Session;
use crate::admin::metrics::{Route, SavedTrip};
use crate::relay::Reply;
use crate::routing::Transaction;
use crate::sql::{Holds, Kind, Plan, Planned, TransactionEffect};
use crate::topology::Server;

/// What the server has yet to be told of the open transaction, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    owed: Vec<Owed>,
    /// The transaction's savepoints in the order of their making, by name in lower case; not all
    /// of them have to be here.
    savepoints: Vec<String>,
    /// A statement has failed, which may have rolled the transaction back.
    is_doubtful: bool,
    /// A statement has failed that may have set something before: the server tells with its next answer.
    hides_changes: bool,
    /// A statement had warnings: it may have changed what is not transactional, of which the end
    /// of the transaction warns too.
    has_warned: bool,
    /// It was begun by a statement that says so. MySQL tells clients of the end of such a one.
    is_explicit: bool,
    /// A hint asks for its reads before the first write to be answered by the reader.
    pub(super) is_optimistic: bool,
    /// It has begun on the reader, and what is owed, on no server that could write.
    pub(super) reads_ahead: bool,
}

/// A statement that the client has the answer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owed {
    Begin,
    BeginReadOnly,
    Savepoint(String),
    Release(String),
}

impl Owed {
    /// The statement. Names are plain words, so it reads the same in every state; BEGIN would not
    /// where the SQL mode is ORACLE.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Begin => "START TRANSACTION".to_owned(),
            Self::BeginReadOnly => "START TRANSACTION READ ONLY".to_owned(),
            Self::Savepoint(name) => format!("SAVEPOINT `{name}`"),
            Self::Release(name) => format!("RELEASE SAVEPOINT `{name}`"),
        }
    }
}

impl Deferred {
    /// How much may be owed.
    const MOST: usize = 64;

    /// What the writer is to be told, in order.
    pub(super) fn owed(&self) -> &[Owed] {
        &self.owed
    }

    /// What stands in front of a statement on a connection that the session had before or not. A
    /// reader need not know of savepoints: nothing is rolled back to one there.
    pub(super) fn due(&self, is_held: bool) -> &[Owed] {
        match (self.reads_ahead, is_held) {
            (true, true) => &[],
            (true, false) => self
                .owed
                .get(..usize::from(self.begins()))
                .unwrap_or_default(),
            (false, _) => &self.owed,
        }
    }

    /// Whether the transaction has not reached the server yet.
    pub(super) fn begins(&self) -> bool {
        matches!(self.owed.first(), Some(Owed::Begin | Owed::BeginReadOnly))
    }

    /// Whether a statement has failed, and none has succeeded since.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Whether the server may have something to tell of a statement that failed.
    pub(super) fn hides_changes(&self) -> bool {
        self.hides_changes
    }

    /// Whether the transaction was begun by a statement that says so.
    pub(super) fn is_explicit(&self) -> bool {
        self.is_explicit
    }

    /// Whether a statement of the transaction had warnings.
    pub(super) fn has_warned(&self) -> bool {
        self.has_warned
    }

    /// The transaction is on no server any more, and is to begin anew on the writer, with its
    /// savepoints.
    pub(super) fn begin_read_only(&mut self) {
        let mut savepoints = std::mem::take(&mut self.savepoints);
        savepoints.retain(|name| is_plain_name(name));
        savepoints.truncate(Self::MOST);
        let made = savepoints.iter().cloned().map(Owed::Savepoint);
        *self = Self {
            owed: std::iter::once(Owed::BeginReadOnly).chain(made).collect(),
            savepoints,
            is_explicit: true,
            ..Self::default()
        };
    }

    /// The server has been told. A reader's word is not the writer's.
    pub(super) fn settle(&mut self) {
        if !self.reads_ahead {
            self.owed.clear();
        }
    }

    /// The transaction ends with the statement that follows, and its savepoints with it.
    pub(super) fn end(&mut self) {
        self.owed.truncate(usize::from(self.begins()));
        self.savepoints.clear();
    }

    fn set(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        self.savepoints.retain(|known| *known != name);
        self.savepoints.push(name);
    }

    /// Removes the savepoint and those after it.
    fn release(&mut self, name: &str) {
        let kept = self.position(name).unwrap_or_default();
        self.savepoints.truncate(kept);
    }

    /// Removes the savepoints after this one.
    fn keep_up_to(&mut self, name: &str) {
        let kept = self.position(name).map_or(0, |at| at + 1);
        self.savepoints.truncate(kept);
    }

    fn position(&self, name: &str) -> Option<usize> {
        let is_it = |known: &String| known.eq_ignore_ascii_case(name);
        self.savepoints.iter().position(is_it)
    }

    /// Takes note of a statement that the server has answered inside a transaction.
    fn note(&mut self, plan: &Plan, reply: &Reply, autocommit: bool) {
        self.has_warned |= reply.warnings > 0;
        if reply.error.is_some() {
            self.is_doubtful = true;
            let fails_halfway = may_fail_halfway(plan);
            self.hides_changes = plan.kind == Kind::Set || fails_halfway;
            if fails_halfway {
                // What stands before the one that failed may have begun another.
                self.savepoints.clear();
            }
            return;
        }
        self.hides_changes = false;
        // Without autocommit another transaction may have taken the place of the one that was
        // rolled back.
        if std::mem::take(&mut self.is_doubtful) && !autocommit {
            self.savepoints.clear();
        }
        self.is_explicit |= begins(plan);
        self.note_savepoints(plan);
    }

    /// Takes note of the savepoints that a statement that has succeeded leaves.
    fn note_savepoints(&mut self, plan: &Plan) {
        for part in &plan.parts {
            self.note_savepoints(part);
        }
        match &plan.transaction {
            Some(TransactionEffect::Savepoint(name)) => self.set(name),
            Some(TransactionEffect::ReleaseSavepoint(name)) => self.release(name),
            Some(TransactionEffect::RollbackTo(name)) => self.keep_up_to(name),
            Some(_) => self.savepoints.clear(),
            None if may_hide_savepoints(plan) => self.savepoints.clear(),
            None => {}
        }
    }
}

/// Whether a savepoint's name reads the same in every state.
fn is_plain_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    (1..=64).contains(&name.len()) && name.bytes().all(is_letter)
}

impl Session {
    /// Answers a statement at once if the server has nothing to say to it now. Returns whether it
    /// did.
    pub(super) async fn answer_at_once(&mut self, planned: &Planned) -> io::Result<bool> {
        let plan = &planned.plan;
        if !plan.is_certain || planned.hints.target.is_some() || !self.may_defer() {
            return Ok(false);
        }
        let trip = match (plan.kind, &plan.transaction) {
            (
                Kind::Begin,
                Some(TransactionEffect::Begin {
                    read_only: None | Some(false),
                    consistent_snapshot: false,
                }),
            ) => self.defer_begin(planned.hints.optimistic),
            (
                Kind::Commit | Kind::Rollback,
                Some(
                    TransactionEffect::Commit {
                        chain: None,
                        release: None,
                    }
                    | TransactionEffect::Rollback {
                        chain: None,
                        release: None,
                    },
                ),
            ) => self.end_nothing(),
            (Kind::Savepoint, Some(TransactionEffect::Savepoint(name))) => {
                self.defer_savepoint(name)
            }
            (Kind::ReleaseSavepoint, Some(TransactionEffect::ReleaseSavepoint(name))) => {
                self.defer_release(name)
            }
            _ => None,
        };
        let trip = match plan.kind {
            Kind::Rollback if trip.is_none() && is_just_rollback(plan) => self.roll_back_at_once(),
            _ => trip,
        };
        let Some((trip, changes)) = trip else {
            return Ok(false);
        };
        let is_mariadb = self.is_mariadb();
        let (reply, was_without_connection) = (Reply::default(), self.lease.is_none());
        match is_mariadb {
            true => self.diagnostics.note_beside(&reply, was_without_connection),
            false => self.diagnostics.note(&reply),
        }
        self.last.answered_here(plan, self.started.elapsed(), None);
        self.last.at_once();
        self.shared.metrics.statements.routed.inc(Route::Proxy);
        if let Some(writer) = &self.world.snapshot.writer {
            self.save(trip, writer);
        }
        self.note_held();
        let ok = OkPacket {
            session_state: &changes,
            ..OkPacket::default()
        };
        self.client.send_ok_packet(ok).await?;
        Ok(true)
    }

    /// Whether nothing of what the session has set or holds gives the statements of a transaction
    /// a meaning of their own.
    fn may_defer(&self) -> bool {
        const TOLERATED: Holds = Holds::USER_VARIABLE
            .union(Holds::USER_LOCK)
            .union(Holds::TEMPORARY_TABLE)
            .union(Holds::TEXT_PREPARE);
        let writer = self.world.snapshot.writer.as_ref();
        let Some(server) = writer.and_then(|writer| writer.server()) else {
            return false;
        };
        let is_set = |name: &str, usual: &[&[u8]]| {
            let value = self.state.variables.get(name);
            value.is_some_and(|value| !usual.contains(&&**value))
        };
        let off: &[&[u8]] = &[b"OFF", b"0"];
        let is_heard = self.client.tracks_session()
            && (is_set("session_track_transaction_info", &[b"OFF"])
                || server.tracks_transactions());
        server.has_usual_transactions
            && self.holds.difference(TOLERATED).is_empty()
            && self.cursors.is_empty()
            && self
                .lease
                .as_ref()
                .is_none_or(|lease| lease.leads_to_writer() || self.deferred.reads_ahead)
            && !is_set("completion_type", &[b"NO_CHAIN", b"0"])
            && !server
                .read_only_variable
                .is_some_and(|name| is_set(name, off))
            && !is_heard
    }

    fn defer_begin(&mut self, is_optimistic: bool) -> Option<(SavedTrip, Vec<u8>)> {
        let is_on = self.world.config.round_trips.begin;
        let is_again = self.deferred.begins();
        if !is_on
            || self.deferred.reads_ahead
            || (self.transaction != Transaction::None && !is_again)
        {
            return None;
        }
        let changes = self.transaction_change(b"T_______");
        if is_again && !changes.is_empty() {
            // To end one transaction and begin the next is reported in another way.
            return None;
        }
        self.deferred = Deferred {
            owed: vec![Owed::Begin],
            is_explicit: true,
            is_optimistic,
            ..Deferred::default()
        };
        self.transaction = Transaction::ReadWrite;
        self.client.status |= Status::IN_TRANS;
        Some((SavedTrip::Begin, changes))
    }

    /// COMMIT or ROLLBACK of a transaction that the server does not know, or of none.
    fn end_nothing(&mut self) -> Option<(SavedTrip, Vec<u8>)> {
        let is_on = self.world.config.round_trips.empty_transactions;
        let is_open = self.transaction != Transaction::None;
        if !is_on || self.lease.is_some() || (is_open && !self.deferred.begins()) {
            return None;
        }
        self.forget_transaction();
        let changes = if is_open {
            self.transaction_change(b"________")
        } else {
            Vec::new()
        };
        Some((SavedTrip::EmptyTransaction, changes))
    }

    /// Ends a transaction that the server has not been told of.
    pub(super) fn forget_transaction(&mut self) {
        self.deferred = Deferred::default();
        self.transaction = Transaction::None;
        self.client.status.remove(Status::TRANSACTION);
    }

    fn defer_savepoint(&mut self, name: &str) -> Option<(SavedTrip, Vec<u8>)> {
        if !self.may_owe(name) {
            return None;
        }
        self.deferred.set(name);
        self.deferred.owed.push(Owed::Savepoint(name.to_owned()));
        Some((SavedTrip::Savepoint, Vec::new()))
    }

    fn defer_release(&mut self, name: &str) -> Option<(SavedTrip, Vec<u8>)> {
        if !self.may_owe(name) || self.deferred.position(name).is_none() {
            return None;
        }
        self.deferred.release(name);
        self.deferred.owed.push(Owed::Release(name.to_owned()));
        Some((SavedTrip::Savepoint, Vec::new()))
    }

    fn may_owe(&self, name: &str) -> bool {
        is_plain_name(name)
            && self.world.config.round_trips.savepoints
            && self.transaction == Transaction::ReadWrite
            && !self.deferred.is_doubtful
            && self.deferred.owed.len() < Deferred::MOST
    }

    /// How MySQL reports the state of a transaction to those who hear of changes, whatever they
    /// have asked for.
    pub(super) fn transaction_change(&self, state: &[u8]) -> Vec<u8> {
        let mut changes = Vec::new();
        let server = self.world.snapshot.writer.as_ref().and_then(|w| w.server());
        if self.client.tracks_session() && server.is_some_and(|server| !server.is_mariadb) {
            session_track::put_change(&mut changes, &Change::TransactionState(state));
        }
        changes
    }

    /// Takes note of what a statement that the server has answered leaves of the transaction.
    pub(super) fn note_deferred(&mut self, plan: &Plan, reply: &Reply) {
        if self.transaction == Transaction::None {
            self.deferred = Deferred::default();
        } else {
            let autocommit = self.autocommit();
            self.deferred.note(plan, reply, autocommit);
        }
    }
}

fn begins(plan: &Plan) -> bool {
    matches!(plan.transaction, Some(TransactionEffect::Begin { .. }))
        || plan.parts.iter().any(|part| begins(part))
}

fn is_just_rollback(plan: &Plan) -> bool {
    let just = TransactionEffect::Rollback {
        chain: None,
        release: None,
    };
    plan.transaction == Some(just)
}

/// Whether a statement that has failed may have done something before.
fn may_fail_halfway(plan: &Plan) -> bool {
    plan.is_script() || may_hide_savepoints(plan)
}

/// Whether the statement may set or release savepoints that its text does not show.
fn may_hide_savepoints(plan: &Plan) -> bool {
    use Kind::{Call, Compound, Execute, Unknown, Xa};
    !plan.is_certain || matches!(plan.kind, Call | Compound | Execute | Unknown | Xa)
}

/// Why the last statement was answered by the proxy.
pub(super) const AT_ONCE: &str =
    "answered at once; the server hears of it with the statement that follows, if it has to";

impl Server {
    /// Whether sessions begin with reports of their transactions.
    fn tracks_transactions(&self) -> bool {
        self.session_tracking
            .iter()
            .any(|(name, value)| name == "session_track_transaction_info" && value != "OFF")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::ServerError;

    fn effect(effect: TransactionEffect) -> Plan {
        let dialect = crate::sql::Dialect::default();
        let cache = crate::sql::PlanCache::new(4);
        let plan = cache.plan(b"SELECT 1", dialect, false).plan;
        Plan {
            transaction: Some(effect),
            ..(*plan).clone()
        }
    }

    #[test]
    fn savepoints_are_known_as_the_server_knows_them() {
        let mut deferred = Deferred::default();
        for name in ["a", "b", "C", "A"] {
            deferred.set(name);
        }
        assert_eq!(deferred.savepoints, ["b", "c", "a"]);
        let ok = Reply::default();
        let back = effect(TransactionEffect::RollbackTo("C".into()));
        deferred.note(&back, &ok, true);
        assert_eq!(deferred.savepoints, ["b", "c"]);
        deferred.release("B");
        assert!(deferred.savepoints.is_empty());
    }

    #[test]
    fn an_error_puts_the_transaction_in_doubt() {
        let failed = Reply {
            error: Some(ServerError {
                code: 1213,
                state: *b"40001",
                message: b"deadlock".to_vec(),
            }),
            ..Reply::default()
        };
        for autocommit in [true, false] {
            let mut deferred = Deferred::default();
            deferred.set("a");
            let read = Plan {
                transaction: None,
                ..effect(TransactionEffect::ImplicitCommit)
            };
            deferred.note(&read, &failed, autocommit);
            assert!(deferred.is_doubtful);
            deferred.note(&read, &Reply::default(), autocommit);
            assert!(!deferred.is_doubtful);
            assert_eq!(deferred.position("A").is_some(), autocommit);
        }
    }
}
