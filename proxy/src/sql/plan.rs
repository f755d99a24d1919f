//! What one statement says: its kind, where it may run, and what it leaves behind.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bitflags::bitflags;

use super::digest::Digest;
use super::hint::Hints;

/// What a statement is and does, as far as its text tells. The same for every statement with the
/// same digest, so it is computed once and shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The digest of the statement, the same in every process.
    pub digest: Digest,
    /// What kind of statement it is.
    pub kind: Kind,
    /// Where it may run, before hints and the session's state are looked at.
    pub place: Place,
    /// True where every server reads the text as the proxy does, to its end. What is answered or
    /// sent on the strength of its kind alone must be certain.
    pub is_certain: bool,
    /// True where a stored or loadable function alone keeps this read from the readers: where the
    /// configuration allows every name in [`Plan::unknown_functions`], it is a read.
    pub reader_if_allowed: bool,
    /// True if a success may have written, so that later reads of the session must see it.
    pub marks: bool,
    /// Why the session must keep its connection after this statement.
    pub holds: Holds,
    /// Which holds end with this statement.
    pub releases: Releases,
    /// True where a routine that it runs has been found to take user locks.
    pub hides_locks: bool,
    /// True where a `SET` may be of a server's own variables.
    pub sets_server: bool,
    /// What it asks of the session or of the previous statement.
    pub needs: Needs,
    /// What it does to the transaction.
    pub transaction: Option<TransactionEffect>,
    /// The tables it names, in order of appearance and without duplicates; `None` where they are
    /// not all known.
    pub tables: Option<Vec<TableName>>,
    /// The system variables that a `SET` assigns, in lower case, without their scope.
    pub variables: Vec<String>,
    /// The user variables that it may assign, in lower case. One whose name cannot be carried is
    /// a [hold](Holds::USER_VARIABLE) instead.
    pub user_variables: Vec<String>,
    /// Functions that are not built in, in lower case, with their schema where one is written.
    pub unknown_functions: Vec<String>,
    /// The name, and the statement where it is a literal, of a textual prepared statement.
    pub prepared: Option<Prepared>,
    /// The plans of the single statements where the packet has several, in order; otherwise empty.
    pub parts: Vec<Arc<Plan>>,
    /// Why it goes where it goes: a sentence.
    pub reason: Cow<'static, str>,
}

impl Plan {
    /// The plan of preparing the statement, for its parameters and columns: where it would run, but
    /// without its effects.
    pub fn preparation(&self) -> Plan {
        let place = match self.place {
            Place::Reader | Place::Previous | Place::Session | Place::Proxy => Place::Reader,
            _ => Place::Writer,
        };
        Plan {
            place,
            kind: Kind::Prepare,
            marks: false,
            holds: Holds::empty(),
            releases: Releases::empty(),
            hides_locks: false,
            sets_server: false,
            needs: Needs::empty(),
            transaction: None,
            variables: Vec::new(),
            user_variables: Vec::new(),
            parts: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether it assigns user variables, as far as its text shows.
    pub fn assigns(&self) -> bool {
        !self.user_variables.is_empty() || self.holds.contains(Holds::USER_VARIABLE)
    }

    /// Whether it leaves a textual prepared statement to the server that may assign some.
    pub fn prepares_assignment(&self) -> bool {
        let may_assign = |prepared: &Prepared| {
            let inner = prepared.inner.as_ref();
            inner.is_none_or(|inner| inner.assigns())
        };
        (self.kind == Kind::Prepare
            && self.holds.contains(Holds::TEXT_PREPARE)
            && self.prepared.as_ref().is_some_and(may_assign))
            || self.parts.iter().any(|part| part.prepares_assignment())
    }

    /// Whether it may read tables, as far as its text tells.
    pub fn may_read_tables(&self) -> bool {
        let has_none = self.tables.as_ref().is_some_and(Vec::is_empty);
        self.place != Place::Session && !has_none
    }

    /// Whether it asks about the conditions of the statement before and leaves them.
    pub fn is_diagnostic(&self) -> bool {
        self.needs.contains(Needs::DIAGNOSTICS)
            && matches!(self.kind, Kind::Show | Kind::Diagnostics)
    }

    /// True for a read of tables that asks nothing of the session, changes nothing of it and calls
    /// no code that the text does not show.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.kind == Kind::Select
            && self.place == Place::Reader
            && self.is_certain
            && self.needs.is_empty()
            && self.holds.is_empty()
            && self.releases.is_empty()
            && self.transaction.is_none()
            && self
                .tables
                .as_ref()
                .is_some_and(|tables| !tables.is_empty())
            && self.variables.is_empty()
            && self.user_variables.is_empty()
            && self.unknown_functions.is_empty()
            && self.prepared.is_none()
            && self.parts.is_empty()
    }

    /// True if this is the plan of more than one statement.
    pub fn is_script(&self) -> bool {
        !self.parts.is_empty()
    }
}

/// A packet of one or more statements, each with its plan.
#[derive(Debug, Clone)]
pub struct Script {
    /// The statements in order.
    pub statements: Vec<ScriptStatement>,
    /// The hints of the whole packet: before its first word or at its end.
    pub hints: Hints,
}

/// One statement of a [`Script`].
#[derive(Debug, Clone)]
pub struct ScriptStatement {
    /// Where its text is, without the separator.
    pub range: Range<usize>,
    /// What it says.
    pub plan: Arc<Plan>,
    /// Its own hints: before its first word or at its end.
    pub hints: Hints,
}

/// Where a statement may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A reader may answer it, if it has seen what the session must see.
    Reader,
    /// The writer.
    Writer,
    /// The connection that ran the previous statement.
    Previous,
    /// The proxy answers it.
    Proxy,
    /// It changes the session: it runs once on a real connection, and what the server reports is
    /// carried to the next ones.
    Session,
    /// The proxy refuses it.
    Refused,
}

impl Place {
    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Place::Reader => "reader",
            Place::Writer => "writer",
            Place::Previous => "previous",
            Place::Proxy => "proxy",
            Place::Session => "session",
            Place::Refused => "refused",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What kind of statement it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// The name in lower case, as `isthmus explain` prints it.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// `SELECT`, `TABLE`, `VALUES`, `WITH … SELECT`, in parentheses or not.
    Select = "select",
    /// `INSERT`.
    Insert = "insert",
    /// `REPLACE`.
    Replace = "replace",
    /// `UPDATE`, `WITH … UPDATE`.
    Update = "update",
    /// `DELETE`, `WITH … DELETE`.
    Delete = "delete",
    /// `LOAD DATA`, `LOAD XML`.
    LoadData = "load data",
    /// `IMPORT TABLE`.
    Import = "import",
    /// `TRUNCATE`.
    Truncate = "truncate",
    /// `CALL`.
    Call = "call",
    /// A compound statement outside a routine: `BEGIN NOT ATOMIC` and its like.
    Compound = "compound",
    /// `DO`.
    Do = "do",
    /// `HANDLER … OPEN`.
    HandlerOpen = "handler",
    /// `HANDLER … READ`.
    HandlerRead = "handler",
    /// `HANDLER … CLOSE`.
    HandlerClose = "handler",
    /// `SHOW`.
    Show = "show",
    /// `HELP`.
    Help = "help",
    /// `EXPLAIN`, `DESCRIBE`, `DESC`, without running the statement.
    Explain = "explain",
    /// `EXPLAIN ANALYZE` or `ANALYZE` of a statement, which runs it.
    Analyze = "analyze",
    /// `SET` of variables, names, character sets, passwords, roles.
    Set = "set",
    /// `SET [SESSION | GLOBAL] TRANSACTION`.
    SetTransaction = "set transaction",
    /// `USE`.
    Use = "use",
    /// `BEGIN`, `START TRANSACTION`.
    Begin = "begin",
    /// `COMMIT`.
    Commit = "commit",
    /// `ROLLBACK`.
    Rollback = "rollback",
    /// `SAVEPOINT`.
    Savepoint = "savepoint",
    /// `ROLLBACK TO`.
    RollbackTo = "rollback to savepoint",
    /// `RELEASE SAVEPOINT`.
    ReleaseSavepoint = "release savepoint",
    /// `CREATE`, `ALTER`, `DROP`, `RENAME`, `GRANT` and their like.
    Ddl = "ddl",
    /// Maintenance, replication and server administration.
    Admin = "admin",
    /// `CHECKSUM TABLE`.
    Checksum = "checksum",
    /// `LOCK TABLES`.
    LockTables = "lock tables",
    /// `UNLOCK TABLES`.
    UnlockTables = "unlock tables",
    /// `LOCK INSTANCE FOR BACKUP` and MariaDB's `BACKUP LOCK`, `BACKUP STAGE`.
    LockInstance = "lock instance",
    /// `UNLOCK INSTANCE`, `BACKUP UNLOCK`.
    UnlockInstance = "unlock instance",
    /// `PREPARE … FROM`.
    Prepare = "prepare",
    /// `EXECUTE`, `EXECUTE IMMEDIATE`.
    Execute = "execute",
    /// `DEALLOCATE PREPARE`, `DROP PREPARE`.
    Deallocate = "deallocate",
    /// `XA`.
    Xa = "xa",
    /// `KILL`.
    Kill = "kill",
    /// `GET DIAGNOSTICS`.
    Diagnostics = "get diagnostics",
    /// `SELECT @isthmus_token`.
    GiveToken = "give token",
    /// `SET @isthmus_after`.
    TakeToken = "take token",
    /// A statement that stops or replaces a server: `SHUTDOWN`, `RESTART`, `CLONE`.
    Shutdown = "shutdown",
    /// Nothing but spaces and comments.
    Empty = "empty",
    /// Several statements in one packet.
    Script = "script",
    /// Not known, or not certainly read as the server reads it.
    Unknown = "unknown",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

bitflags! {
    /// Why a session must keep its backend connection past the statement.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Holds: u32 {
        /// A user variable was assigned that cannot be carried to other connections.
        const USER_VARIABLE = 1;
        /// A temporary table exists.
        const TEMPORARY_TABLE = 1 << 1;
        /// A lock of `GET_LOCK` may be held.
        const USER_LOCK = 1 << 2;
        /// Tables are locked, by name or by the global read lock.
        const TABLE_LOCK = 1 << 3;
        /// The instance is locked for a backup.
        const INSTANCE_LOCK = 1 << 4;
        /// A `HANDLER` is open.
        const HANDLER = 1 << 5;
        /// An XA transaction is open.
        const XA = 1 << 6;
        /// A textual prepared statement exists.
        const TEXT_PREPARE = 1 << 7;
        /// The characteristics of the next transaction were set.
        const NEXT_TRANSACTION = 1 << 8;
        /// A variable was set that counts for the next statement or for this connection only.
        const ONE_SHOT = 1 << 9;
        /// A transaction is open.
        const TRANSACTION = 1 << 10;
        /// The server said that something changed that it does not name.
        const UNNAMED_CHANGE = 1 << 11;
        /// A cursor is open.
        const CURSOR = 1 << 12;
        /// The connection's thread was given to a resource group, in which it stays for good.
        const RESOURCE_GROUP = 1 << 13;
    }
}

impl Holds {
    /// The holds that tie every later statement to the connection. The others only wish that it
    /// stays.
    pub const BINDING: Holds = Holds::all().difference(Holds::NEXT_TRANSACTION);

    /// Every hold by itself, in the order of their bits.
    pub const EACH: [Holds; 14] = [
        Holds::USER_VARIABLE,
        Holds::TEMPORARY_TABLE,
        Holds::USER_LOCK,
        Holds::TABLE_LOCK,
        Holds::INSTANCE_LOCK,
        Holds::HANDLER,
        Holds::XA,
        Holds::TEXT_PREPARE,
        Holds::NEXT_TRANSACTION,
        Holds::ONE_SHOT,
        Holds::TRANSACTION,
        Holds::UNNAMED_CHANGE,
        Holds::CURSOR,
        Holds::RESOURCE_GROUP,
    ];

    /// The printable names of the holds in this set.
    pub fn names(self) -> Vec<&'static str> {
        Holds::EACH
            .into_iter()
            .filter(|hold| self.contains(*hold))
            .map(Holds::name)
            .collect()
    }

    /// The printable name of a single hold.
    pub fn name(self) -> &'static str {
        match self {
            Holds::USER_VARIABLE => "user_variable",
            Holds::TEMPORARY_TABLE => "temporary_table",
            Holds::USER_LOCK => "user_lock",
            Holds::TABLE_LOCK => "table_lock",
            Holds::INSTANCE_LOCK => "instance_lock",
            Holds::HANDLER => "handler",
            Holds::XA => "xa",
            Holds::TEXT_PREPARE => "text_prepare",
            Holds::NEXT_TRANSACTION => "next_transaction",
            Holds::ONE_SHOT => "one_shot",
            Holds::TRANSACTION => "transaction",
            Holds::UNNAMED_CHANGE => "unnamed_change",
            Holds::CURSOR => "cursor",
            Holds::RESOURCE_GROUP => "resource_group",
            _ => "several",
        }
    }
}

bitflags! {
    /// Which holds a statement ends, where it succeeds.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Releases: u32 {
        /// `RELEASE_ALL_LOCKS()`.
        const USER_LOCKS_ALL = 1;
        /// `RELEASE_LOCK(…)`: one lock, if it was held.
        const USER_LOCK_ONE = 1 << 1;
        /// `UNLOCK TABLES`, and what does the same.
        const TABLE_LOCK = 1 << 2;
        /// `UNLOCK INSTANCE`.
        const INSTANCE_LOCK = 1 << 3;
        /// `HANDLER … CLOSE`.
        const HANDLER_ONE = 1 << 4;
        /// `XA COMMIT`, `XA ROLLBACK`.
        const XA = 1 << 5;
        /// `DROP TEMPORARY TABLE`: the tables that it names.
        const TEMPORARY_TABLE = 1 << 6;
        /// `DEALLOCATE PREPARE`: the one it names.
        const TEXT_PREPARE_ONE = 1 << 7;
    }
}

bitflags! {
    /// What a statement asks of the session or of the previous statement.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Needs: u32 {
        /// `LAST_INSERT_ID()`, `@@identity`, `@@last_insert_id`.
        const LAST_INSERT_ID = 1;
        /// `ROW_COUNT()`.
        const ROW_COUNT = 1 << 1;
        /// `FOUND_ROWS()`.
        const FOUND_ROWS = 1 << 2;
        /// `SHOW WARNINGS`, `GET DIAGNOSTICS`, `@@warning_count` and their like.
        const DIAGNOSTICS = 1 << 3;
        /// `CONNECTION_ID()`, `@@pseudo_thread_id`.
        const CONNECTION_ID = 1 << 4;
        /// It reads a user variable.
        const USER_VARIABLE = 1 << 5;
        /// It asks for or sets what the session tracking reports: `@@session_track_…`.
        const SESSION_TRACKING = 1 << 6;
        /// It locks the rows that it reads.
        const ROW_LOCKS = 1 << 7;
        /// It writes its rows somewhere else than to the client.
        const DESTINATION = 1 << 8;
        /// `SQL_CALC_FOUND_ROWS`: what `FOUND_ROWS()` says next is to be known.
        const CALC_FOUND_ROWS = 1 << 9;
        /// MariaDB does not report what is set by `SET @@x`, without a scope, and reports what is set by
        /// `SET STATEMENT x = … FOR`, which is over with it.
        const READ_BACK = 1 << 10;
        /// A definition that not every server refuses in a read-only session.
        const RIGHT_STATE = 1 << 11;
    }
}

/// What a statement does to the transaction it finds or to those that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionEffect {
    /// `BEGIN`, `START TRANSACTION`: ends the open one and begins another.
    Begin {
        /// `READ ONLY` or `READ WRITE` where one is written.
        read_only: Option<bool>,
        /// `WITH CONSISTENT SNAPSHOT`.
        consistent_snapshot: bool,
    },
    /// `COMMIT`.
    Commit {
        /// `AND CHAIN` (true), `AND NO CHAIN` (false); `None` leaves it to `completion_type`.
        chain: Option<bool>,
        /// `RELEASE` (true), `NO RELEASE` (false); `None` leaves it to `completion_type`.
        release: Option<bool>,
    },
    /// `ROLLBACK`, with the same words as `COMMIT`.
    Rollback {
        /// `AND CHAIN` (true), `AND NO CHAIN` (false).
        chain: Option<bool>,
        /// `RELEASE` (true), `NO RELEASE` (false).
        release: Option<bool>,
    },
    /// `SAVEPOINT name`.
    Savepoint(String),
    /// `ROLLBACK TO SAVEPOINT name`.
    RollbackTo(String),
    /// `RELEASE SAVEPOINT name`.
    ReleaseSavepoint(String),
    /// `SET TRANSACTION …`, `SET @@transaction_read_only = …`: for the next transaction only.
    SetNext {
        /// `READ ONLY` or `READ WRITE` where one is written.
        read_only: Option<bool>,
        /// The isolation level where one is written.
        isolation: Option<Isolation>,
    },
    /// The statement commits what is open.
    ImplicitCommit,
    /// `SET autocommit`; `None` where the value is not a constant.
    SetAutocommit(Option<bool>),
}

/// An isolation level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// `READ UNCOMMITTED`
    ReadUncommitted,
    /// `READ COMMITTED`
    ReadCommitted,
    /// `REPEATABLE READ`
    RepeatableRead,
    /// `SERIALIZABLE`
    Serializable,
}

/// A table as it is written, without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    /// The schema where one is written.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The textual prepared statement that a `PREPARE`, `EXECUTE` or `DEALLOCATE` speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Its name; `None` for `EXECUTE IMMEDIATE`.
    pub name: Option<String>,
    /// What it says, where the statement is a literal; `None` where it comes from a variable or
    /// is named only.
    pub inner: Option<Arc<Plan>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_are_counted_by_their_bits() {
        for (index, hold) in Holds::EACH.into_iter().enumerate() {
            assert_eq!(hold.bits(), 1 << index, "{}", hold.name());
        }
        assert_eq!(Holds::all().iter().count(), Holds::EACH.len());
    }
}
