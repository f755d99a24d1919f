//! The classifier: from a statement's words to its plan.

use std::borrow::Cow;
use std::sync::Arc;

use super::dialect::Dialect;
use super::digest::{self, Digest};
use super::facts::{Facts, Scope};
use super::lexer::{Reading, TokenKind};
use super::plan::{
    Holds, Isolation, Kind, Needs, Place, Plan, Prepared, Releases, TransactionEffect,
};
use super::readings;
use super::set;
use super::show;
use super::token;
use super::words::{Word, Words};

/// The plan of one statement, in one reading of its executable comments. The digest and the
/// tables are left to the caller.
pub(super) fn classify(sql: &[u8], dialect: Dialect, reading: Reading, depth: u32) -> Plan {
    let words = Words::new(sql, dialect, reading);
    let mut end = words;
    let empty = end.all(|word| word.kind == TokenKind::Semicolon);
    end.by_ref().for_each(drop);
    let mut plan = match end.doubt() {
        None if empty => Plan::new(Kind::Empty, Place::Proxy, "there is no statement in it"),
        None => statement(words, depth),
        Some(doubt) => {
            let mut plan = statement(words, depth);
            plan.place = Place::Writer;
            plan.marks = true;
            plan.is_certain = false;
            if !plan.user_variables.is_empty() {
                plan.holds |= Holds::USER_VARIABLE;
            }
            plan.reader_if_allowed = false;
            plan.reason = Cow::Borrowed(doubt);
            plan
        }
    };
    plan.unknown_functions.sort();
    plan
}

/// Why an assignment keeps its connection.
pub(super) const NOT_CARRIED: &str =
    "it assigns a user variable of a name that is not carried to other connections";

/// How deep statements may stand in statements: `EXPLAIN` of one, `PREPARE` of one.
pub(super) const DEEPEST: u32 = 4;

/// The plan of the statement that begins here.
pub(super) fn statement(words: Words<'_>, depth: u32) -> Plan {
    let mut rest = words;
    while rest.accept_kind(TokenKind::Open) {}
    let Some(first) = rest.next() else {
        return unknown();
    };
    let parenthesised = words
        .peek()
        .is_some_and(|word| word.kind == TokenKind::Open);
    if let Some(plan) = token::plan(words) {
        return plan;
    }
    match first.keyword() {
        b"select" | b"table" | b"values" => query(words),
        b"with" => with(words, rest),
        _ if parenthesised => unknown(),
        b"insert" => write(words, Kind::Insert),
        b"replace" => write(words, Kind::Replace),
        b"update" => write(words, Kind::Update),
        b"delete" => write(words, Kind::Delete),
        b"load" => load(words, rest),
        b"import" => write(words, Kind::Import),
        b"truncate" => implicit_commit(Kind::Truncate),
        b"call" => call(words),
        b"do" => do_(rest),
        b"handler" => handler(words),
        b"show" => show::show(rest),
        b"help" => Plan::new(Kind::Help, Place::Reader, "it reads the manual's tables"),
        b"explain" | b"describe" | b"desc" => explain(rest, depth),
        b"analyze" => analyze(rest, depth),
        b"set" => set::set(rest, depth),
        b"use" => Plan::new(Kind::Use, Place::Session, "it chooses the session's schema"),
        b"begin" | b"start" | b"commit" | b"rollback" | b"savepoint" | b"release" => {
            transaction(first.keyword(), rest)
        }
        b"create" | b"alter" | b"drop" | b"rename" | b"grant" | b"revoke" => {
            definition(first.keyword(), rest)
        }
        b"lock" | b"unlock" | b"backup" => lock(first.keyword(), rest),
        b"flush" => flush(rest),
        b"checksum" => Plan::new(Kind::Checksum, Place::Reader, "it only reads tables"),
        b"prepare" | b"execute" | b"deallocate" => prepared(first.keyword(), rest, depth),
        b"xa" => xa(rest),
        b"kill" => Plan::new(
            Kind::Kill,
            Place::Proxy,
            "it names a connection by the number that the proxy gave it",
        ),
        b"get" => diagnostics(words),
        b"shutdown" => refused(
            "SHUTDOWN is refused by Isthmus: it would stop a server that others use; connect to that server directly",
        ),
        b"restart" => refused(
            "RESTART is refused by Isthmus: it would stop a server that others use; connect to that server directly",
        ),
        b"clone" => refused(
            "CLONE is refused by Isthmus: it would replace the data of a server that others use; connect to that server directly",
        ),
        b"optimize" | b"repair" | b"check" | b"reset" | b"stop" | b"change" | b"purge"
        | b"install" | b"uninstall" | b"cache" | b"binlog" => implicit_commit(Kind::Admin),
        b"if" | b"case" | b"loop" | b"while" | b"for" | b"declare" => compound(words),
        b"repeat" => compound(words),
        _ => unknown(),
    }
}

/// What one server is told to do to itself. The client reads the reason.
fn refused(reason: &'static str) -> Plan {
    Plan::new(Kind::Shutdown, Place::Refused, reason)
}

impl Plan {
    /// Whether no server may see it: it names a connection by the proxy's number, or is refused.
    pub(super) fn is_for_proxy_alone(&self) -> bool {
        self.kind == Kind::Kill || self.place == Place::Refused
    }

    /// Why such a statement is not taken within another one.
    pub(super) fn reason_within(&self) -> Cow<'static, str> {
        match self.place {
            Place::Refused => self.reason.clone(),
            _ => Cow::Borrowed("KILL takes the numbers of Isthmus, so it must stand alone"),
        }
    }

    pub(super) fn new(kind: Kind, place: Place, reason: &'static str) -> Plan {
        Plan {
            digest: Digest(0),
            kind,
            place,
            is_certain: true,
            reader_if_allowed: false,
            marks: false,
            holds: Holds::empty(),
            releases: Releases::empty(),
            hides_locks: false,
            sets_server: false,
            needs: Needs::empty(),
            transaction: None,
            tables: None,
            variables: Vec::new(),
            user_variables: Vec::new(),
            unknown_functions: Vec::new(),
            prepared: None,
            parts: Vec::new(),
            reason: Cow::Borrowed(reason),
        }
    }

    pub(super) fn marking(mut self) -> Plan {
        self.marks = true;
        self
    }

    pub(super) fn holding(mut self, holds: Holds) -> Plan {
        self.holds |= holds;
        self
    }

    pub(super) fn releasing(mut self, releases: Releases) -> Plan {
        self.releases |= releases;
        self
    }

    pub(super) fn with_transaction(mut self, effect: TransactionEffect) -> Plan {
        self.transaction = Some(effect);
        self
    }

    /// Certain only if the statement has no more words.
    fn certain_at_end(mut self, rest: Words<'_>) -> Plan {
        self.is_certain &= rest.peek().is_none();
        self
    }

    /// Adds user variables that it may assign.
    pub(super) fn assigning(&mut self, names: Vec<String>) {
        for name in names {
            if !self.user_variables.contains(&name) {
                self.user_variables.push(name);
            }
        }
    }

    /// Adds this user variable to those that it may assign.
    fn assigning_word(&mut self, word: &Word<'_>) {
        match word.user_variable() {
            Some(name) => self.assigning(vec![name]),
            None => {
                self.place = Place::Writer;
                self.reader_if_allowed = false;
                self.holds |= Holds::USER_VARIABLE;
                self.reason = Cow::Borrowed(NOT_CARRIED);
            }
        }
    }

    /// Adds all user variables that are named.
    fn assigning_all(&mut self, words: Words<'_>) {
        for word in words.filter(|word| word.kind == TokenKind::UserVariable) {
            self.assigning_word(&word);
        }
    }

    /// Takes over what the facts say it holds, releases, needs and assigns.
    pub(super) fn with_facts(mut self, facts: Facts) -> Plan {
        self.holds |= facts.holds;
        self.releases |= facts.releases;
        self.needs |= facts.needs;
        self.assigning(facts.user_variables);
        self.unknown_functions = facts.unknown_functions;
        self
    }

    /// Takes over what the query of a `CREATE TABLE … SELECT` does, if it has one. It need not
    /// run, so it gives nothing up: the table may exist already.
    fn with_query_of(self, definition: Words<'_>) -> Plan {
        let Some(query) = query_behind(definition) else {
            return self;
        };
        let mut facts = Facts::gather(query, Scope::Query);
        facts.releases = Releases::empty();
        let mut plan = self.with_facts(facts);
        // Its rows may be given ids.
        plan.needs |= Needs::LAST_INSERT_ID;
        plan
    }
}

fn unknown() -> Plan {
    Plan::new(
        Kind::Unknown,
        Place::Writer,
        "the proxy does not know this statement",
    )
    .marking()
}

/// A statement that reads, as far as the facts allow.
pub(super) fn read(kind: Kind, facts: Facts, reason: &'static str) -> Plan {
    let stored = !facts.unknown_functions.is_empty();
    let (place, reason) = match facts.writer {
        Some(reason) => (Place::Writer, reason),
        None if stored => (
            Place::Writer,
            "it calls a function that is not built in, which may do anything",
        ),
        None if facts.previous => (
            Place::Previous,
            "it asks about the statement before it, which only that connection knows",
        ),
        None => (Place::Reader, reason),
    };
    let mut plan = Plan::new(kind, place, reason);
    plan.marks = stored || facts.sequence;
    plan.reader_if_allowed = stored && facts.writer.is_none() && !facts.previous;
    plan.with_facts(facts)
}

pub(super) fn query(words: Words<'_>) -> Plan {
    read(
        Kind::Select,
        Facts::gather(words, Scope::Query),
        "a read, which a reader can answer",
    )
}

/// The statement behind the common table expressions decides.
fn with(words: Words<'_>, rest: Words<'_>) -> Plan {
    let mut depth = 0u32;
    for word in rest {
        match word.kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close => depth = depth.saturating_sub(1),
            TokenKind::Word if depth == 0 => match word.keyword() {
                b"select" | b"table" | b"values" => break,
                b"update" => return write(words, Kind::Update),
                b"delete" => return write(words, Kind::Delete),
                b"insert" => return write(words, Kind::Insert),
                b"replace" => return write(words, Kind::Replace),
                _ => {}
            },
            _ => {}
        }
    }
    query(words)
}

fn write(words: Words<'_>, kind: Kind) -> Plan {
    let scope = match kind {
        Kind::Insert | Kind::Replace | Kind::LoadData => Scope::Insert,
        _ => Scope::Other,
    };
    Plan::new(kind, Place::Writer, "it writes")
        .marking()
        .with_facts(Facts::gather(words, scope))
}

fn implicit_commit(kind: Kind) -> Plan {
    Plan::new(
        kind,
        Place::Writer,
        "it changes the server or its schema, and commits what is open",
    )
    .marking()
    .with_transaction(TransactionEffect::ImplicitCommit)
}

fn load(words: Words<'_>, mut rest: Words<'_>) -> Plan {
    if !rest.accept_any(&["data", "xml"]) {
        return implicit_commit(Kind::Admin);
    }
    let mut plan = write(words, Kind::LoadData);
    // Columns of the file may be read into variables.
    plan.assigning_all(words);
    plan
}

fn call(words: Words<'_>) -> Plan {
    let mut plan = Plan::new(
        Kind::Call,
        Place::Writer,
        "it runs a procedure, which may do anything",
    )
    .marking()
    .with_facts(Facts::gather(words, Scope::Other));
    plan.unknown_functions.clear();
    plan.assigning_all(words);
    plan
}

fn compound(words: Words<'_>) -> Plan {
    let mut plan = Plan::new(
        Kind::Compound,
        Place::Writer,
        "it is a program, which may do anything",
    )
    .marking();
    plan.assigning_all(words);
    plan
}

fn do_(rest: Words<'_>) -> Plan {
    read(
        Kind::Do,
        Facts::gather(rest, Scope::Query),
        "it computes expressions, which a reader can do",
    )
}

fn handler(words: Words<'_>) -> Plan {
    let mut rest = words;
    rest.accept("handler");
    rest.accept_name();
    if rest.accept_kind(TokenKind::Dot) {
        rest.accept_name();
    }
    let kind = match rest.next() {
        Some(word) if word.is("open") => Kind::HandlerOpen,
        Some(word) if word.is("close") => Kind::HandlerClose,
        _ => Kind::HandlerRead,
    };
    let plan = Plan::new(kind, Place::Writer, "a handler belongs to its connection")
        .with_facts(Facts::gather(rest, Scope::Other));
    match kind {
        Kind::HandlerClose => plan.releasing(Releases::HANDLER_ONE),
        _ => plan.holding(Holds::HANDLER),
    }
}

fn explain(mut rest: Words<'_>, depth: u32) -> Plan {
    let runs = rest.accept("analyze");
    let mut into = None;
    loop {
        if rest.accept_any(&["extended", "partitions"]) {
            continue;
        }
        let mut ahead = rest;
        if ahead.accept("format")
            && ahead
                .next()
                .is_some_and(|w| w.kind == TokenKind::Operator(b'='))
        {
            ahead.next();
            rest = ahead;
        } else if ahead.accept("into")
            && let Some(word) = ahead.next()
            && word.kind == TokenKind::UserVariable
        {
            into = Some(word);
            rest = ahead;
        } else if ahead.accept("for") && ahead.accept_any(&["schema", "database"]) {
            ahead.accept_name();
            rest = ahead;
        } else {
            break;
        }
    }
    if rest.peek().is_some_and(|word| word.is("for")) {
        return Plan::new(
            Kind::Explain,
            Place::Writer,
            "it explains what another connection of one server runs",
        );
    }
    if !begins_statement(&rest) {
        return Plan::new(Kind::Explain, Place::Reader, "it describes a table");
    }
    let mut plan = explained(rest, runs, depth);
    if let Some(word) = into {
        plan.assigning_word(&word);
    }
    plan
}

fn begins_statement(words: &Words<'_>) -> bool {
    words.peek().is_some_and(|word| {
        word.kind == TokenKind::Open
            || word.is_any(&[
                "select", "table", "values", "with", "insert", "replace", "update", "delete",
            ])
    })
}

/// The plan of a statement that is explained, and maybe run.
fn explained(words: Words<'_>, runs: bool, depth: u32) -> Plan {
    if depth >= DEEPEST {
        return unknown();
    }
    let mut plan = statement(words, depth + 1);
    if !runs {
        // Subqueries may run, and take a lock or call what writes.
        plan.marks &= plan.kind == Kind::Select;
        plan.releases = Releases::empty();
    }
    plan.kind = if runs { Kind::Analyze } else { Kind::Explain };
    if plan.place == Place::Previous && !runs {
        // What the statement before it did does not change how this one would run.
        plan.place = Place::Reader;
    }
    plan.reason = match (plan.place, runs) {
        (Place::Reader | Place::Previous, false) => Cow::Borrowed("it explains a read"),
        (Place::Reader | Place::Previous, true) => Cow::Borrowed("it runs a read and explains it"),
        (_, false) => Cow::Owned(format!(
            "it explains a statement of the writer: {}",
            plan.reason
        )),
        (_, true) => Cow::Owned(format!(
            "it runs a statement of the writer: {}",
            plan.reason
        )),
    };
    plan
}

/// `ANALYZE TABLE`, or MariaDB's `ANALYZE` of a statement.
fn analyze(mut rest: Words<'_>, depth: u32) -> Plan {
    if rest.accept("format") {
        rest.accept_kind(TokenKind::Operator(b'='));
        rest.next();
    }
    let mut ahead = rest;
    ahead.accept_any(&["local", "no_write_to_binlog"]);
    if ahead.accept_any(&["table", "tables"]) || !begins_statement(&rest) {
        return implicit_commit(Kind::Admin);
    }
    explained(rest, true, depth)
}

fn transaction(first: &[u8], mut rest: Words<'_>) -> Plan {
    match first {
        b"begin" if rest.dialect().begin_opens_block => compound(rest),
        b"begin" if rest.accept("not") => compound(rest),
        b"begin" => {
            rest.accept("work");
            if rest.next().is_some() {
                return compound(rest);
            }
            begin(None, false)
        }
        b"start" if rest.accept("transaction") => start_transaction(rest),
        b"start" => implicit_commit(Kind::Admin),
        b"savepoint" => savepoint(Kind::Savepoint, rest, TransactionEffect::Savepoint),
        b"release" if rest.accept("savepoint") => savepoint(
            Kind::ReleaseSavepoint,
            rest,
            TransactionEffect::ReleaseSavepoint,
        ),
        b"rollback" => rollback(rest),
        b"commit" => {
            let (chain, release) = completion(&mut rest);
            Plan::new(
                Kind::Commit,
                Place::Writer,
                "it ends the transaction where that runs",
            )
            .marking()
            .with_transaction(TransactionEffect::Commit { chain, release })
            .certain_at_end(rest)
        }
        _ => unknown(),
    }
}

fn begin(read_only: Option<bool>, consistent_snapshot: bool) -> Plan {
    let effect = TransactionEffect::Begin {
        read_only,
        consistent_snapshot,
    };
    let plan = match read_only {
        Some(true) => Plan::new(
            Kind::Begin,
            Place::Reader,
            "a read-only transaction, which a reader can run as a whole",
        ),
        _ => Plan::new(
            Kind::Begin,
            Place::Writer,
            "a transaction that may write, which the writer runs from its first statement",
        ),
    };
    plan.holding(Holds::TRANSACTION).with_transaction(effect)
}

fn start_transaction(rest: Words<'_>) -> Plan {
    let (mut read_only, mut snapshot) = (None, false);
    let mut words = rest;
    let mut is_certain = true;
    while words.peek().is_some() {
        if words.accept_all(&["with", "consistent", "snapshot"]) {
            snapshot = true;
        } else if words.accept_all(&["read", "only"]) {
            read_only = Some(true);
        } else if words.accept_all(&["read", "write"]) {
            read_only = Some(false);
        } else if !words.accept_kind(TokenKind::Comma) {
            (read_only, is_certain) = (None, false);
            break;
        } else {
            // Servers are not agreed on which may stand together.
            is_certain = false;
        }
    }
    let mut plan = begin(read_only, snapshot);
    plan.is_certain = is_certain;
    plan
}

fn savepoint(
    kind: Kind,
    mut rest: Words<'_>,
    effect: impl FnOnce(String) -> TransactionEffect,
) -> Plan {
    let plan = Plan::new(
        kind,
        Place::Writer,
        "a savepoint belongs to its transaction",
    );
    match rest.accept_name() {
        Some(name) => plan.with_transaction(effect(name)).certain_at_end(rest),
        None => unknown(),
    }
}

fn rollback(mut rest: Words<'_>) -> Plan {
    rest.accept("work");
    if rest.accept("to") {
        rest.accept("savepoint");
        return savepoint(Kind::RollbackTo, rest, TransactionEffect::RollbackTo);
    }
    let (chain, release) = completion(&mut rest);
    Plan::new(
        Kind::Rollback,
        Place::Writer,
        "it ends the transaction where that runs",
    )
    .with_transaction(TransactionEffect::Rollback { chain, release })
    .certain_at_end(rest)
}

/// `[WORK] [AND [NO] CHAIN] [[NO] RELEASE]`
fn completion(words: &mut Words<'_>) -> (Option<bool>, Option<bool>) {
    words.accept("work");
    let mut either = |yes: &[&str], no: &[&str]| {
        let denied = words.accept_all(no);
        (denied || words.accept_all(yes)).then_some(!denied)
    };
    let chain = either(&["and", "chain"], &["and", "no", "chain"]);
    let release = either(&["release"], &["no", "release"]);
    (chain, release)
}

fn definition(first: &[u8], mut rest: Words<'_>) -> Plan {
    if first == b"drop" && rest.accept("prepare") {
        return prepared(b"deallocate", rest, 0);
    }
    if first == b"create" {
        rest.accept_all(&["or", "replace"]);
    }
    if rest.accept("temporary") {
        let plan = Plan::new(
            Kind::Ddl,
            Place::Writer,
            "a temporary table belongs to its connection",
        );
        return match first {
            b"create" => {
                rest.next();
                plan.holding(Holds::TEMPORARY_TABLE).with_query_of(rest)
            }
            b"drop" => plan.releasing(Releases::TEMPORARY_TABLE),
            _ => unknown(),
        };
    }
    let mut plan = implicit_commit(Kind::Ddl);
    let is_refused = is_refused_when_read_only(first, rest);
    plan.needs.set(Needs::RIGHT_STATE, !is_refused);
    if first == b"create" && rest.accept("table") {
        return plan.with_query_of(rest);
    }
    plan
}

/// The query behind the columns and options of a `CREATE TABLE`, in parentheses or not.
fn query_behind(mut definition: Words<'_>) -> Option<Words<'_>> {
    let mut depth = 0u32;
    // Whether nothing but parentheses stands before it.
    let mut opens = false;
    loop {
        let here = definition;
        let word = definition.next()?;
        let begins = word.is_any(&["select", "table", "values"])
            // MariaDB's WITH SYSTEM VERSIONING is an option.
            || (word.is("with") && !definition.peek().is_some_and(|next| next.is("system")));
        match word.kind {
            TokenKind::Open => {
                opens |= depth == 0;
                depth += 1;
                continue;
            }
            TokenKind::Close => depth = depth.saturating_sub(1),
            _ if begins && (depth == 0 || opens) => return Some(here),
            _ => {}
        }
        opens = false;
    }
}

/// Whether every server refuses a definition in a read-only session. MySQL drops resource groups
/// there, alters the default roles of an account, and crashes if it has any.
fn is_refused_when_read_only(first: &[u8], mut rest: Words<'_>) -> bool {
    const OBJECTS: [&str; 12] = [
        "table",
        "tables",
        "index",
        "unique",
        "fulltext",
        "spatial",
        "view",
        "trigger",
        "procedure",
        "function",
        "event",
        "database",
    ];
    matches!(first, b"grant" | b"revoke") || rest.accept_any(&OBJECTS) || rest.accept("schema")
}

fn lock(first: &[u8], mut rest: Words<'_>) -> Plan {
    let locks = "a lock belongs to its connection";
    match first {
        b"lock" if rest.accept("instance") => {
            Plan::new(Kind::LockInstance, Place::Writer, locks).holding(Holds::INSTANCE_LOCK)
        }
        b"unlock" if rest.accept("instance") => {
            Plan::new(Kind::UnlockInstance, Place::Writer, locks).releasing(Releases::INSTANCE_LOCK)
        }
        b"lock" => Plan::new(Kind::LockTables, Place::Writer, locks)
            .marking()
            .holding(Holds::TABLE_LOCK)
            .with_transaction(TransactionEffect::ImplicitCommit),
        b"unlock" => Plan::new(Kind::UnlockTables, Place::Writer, locks)
            .marking()
            .releasing(Releases::TABLE_LOCK)
            .with_transaction(TransactionEffect::ImplicitCommit),
        _ => {
            let ends = rest.accept("unlock") || rest.accept_all(&["stage", "end"]);
            if ends {
                Plan::new(Kind::UnlockInstance, Place::Writer, locks)
                    .releasing(Releases::INSTANCE_LOCK)
            } else {
                Plan::new(Kind::LockInstance, Place::Writer, locks).holding(Holds::INSTANCE_LOCK)
            }
        }
    }
}

fn flush(mut rest: Words<'_>) -> Plan {
    let plan = implicit_commit(Kind::Admin);
    rest.accept_any(&["local", "no_write_to_binlog"]);
    let tables = rest.accept_any(&["tables", "table"]);
    while let Some(word) = rest.next() {
        let locks = (word.is("with") && rest.accept_all(&["read", "lock"]))
            || (word.is("for") && rest.accept("export"));
        if tables && locks {
            return plan.holding(Holds::TABLE_LOCK);
        }
    }
    plan
}

fn prepared(first: &[u8], mut rest: Words<'_>, depth: u32) -> Plan {
    let reason = "a textual prepared statement belongs to its connection";
    let plan = |kind, name, inner| {
        let mut plan = Plan::new(kind, Place::Writer, reason);
        plan.prepared = Some(Prepared { name, inner });
        plan
    };
    match first {
        b"prepare" => {
            let name = rest.accept_name();
            let inner = rest
                .accept("from")
                .then(|| inner_plan(rest, depth))
                .flatten();
            plan(Kind::Prepare, name, inner).holding(Holds::TEXT_PREPARE)
        }
        b"execute" if rest.accept("immediate") => {
            let inner = inner_plan(rest, depth);
            let mut plan = plan(Kind::Execute, None, inner.clone()).marking();
            if let Some(inner) = inner.as_ref().filter(|inner| inner.is_for_proxy_alone()) {
                plan.place = Place::Refused;
                plan.reason = inner.reason_within();
            }
            match inner {
                Some(inner) => {
                    plan.holds = inner.holds;
                    plan.releases = inner.releases;
                    plan.needs = inner.needs;
                    plan.marks = inner.marks;
                    plan.user_variables = inner.user_variables.clone();
                }
                None => plan.holds |= Holds::USER_VARIABLE,
            }
            plan
        }
        b"execute" => {
            let name = rest.accept_name();
            plan(Kind::Execute, name, None).marking()
        }
        _ => {
            rest.accept("prepare");
            let name = rest.accept_name();
            plan(Kind::Deallocate, name, None).releasing(Releases::TEXT_PREPARE_ONE)
        }
    }
}

/// The plan of the statement in a string, where nothing but the string follows.
fn inner_plan(mut rest: Words<'_>, depth: u32) -> Option<Arc<Plan>> {
    let word = rest.next()?;
    let sql = rest.string(&word)?;
    if depth >= DEEPEST || rest.peek().is_some_and(|next| !next.is("using")) {
        return None;
    }
    let dialect = rest.dialect();
    let mut plan = readings::plan(&sql, dialect, depth + 1);
    plan.digest = digest::scan(&sql, dialect, digest::STABLE).digest;
    Some(Arc::new(plan))
}

fn xa(mut rest: Words<'_>) -> Plan {
    let plan = Plan::new(
        Kind::Xa,
        Place::Writer,
        "a distributed transaction runs on the writer",
    );
    if rest.accept("commit") {
        plan.marking().releasing(Releases::XA)
    } else if rest.accept("rollback") {
        plan.releasing(Releases::XA)
    } else if rest.accept("recover") {
        plan
    } else {
        plan.holding(Holds::XA)
    }
}

fn diagnostics(words: Words<'_>) -> Plan {
    let mut plan = Plan::new(
        Kind::Diagnostics,
        Place::Previous,
        "it asks about the statement before it, which only that connection knows",
    );
    plan.needs = Needs::DIAGNOSTICS;
    plan.assigning_all(words);
    plan
}

/// `ISOLATION LEVEL …`, `READ ONLY`, `READ WRITE`, separated by commas.
pub(super) fn characteristics(mut words: Words<'_>) -> (Option<bool>, Option<Isolation>) {
    let (mut read_only, mut isolation) = (None, None);
    loop {
        if words.accept_all(&["read", "only"]) {
            read_only = Some(true);
        } else if words.accept_all(&["read", "write"]) {
            read_only = Some(false);
        } else if words.accept_all(&["isolation", "level"]) {
            isolation = isolation_level(&mut words);
        }
        if !words.accept_kind(TokenKind::Comma) {
            return (read_only, isolation);
        }
    }
}

fn isolation_level(words: &mut Words<'_>) -> Option<Isolation> {
    [
        (&["read", "uncommitted"][..], Isolation::ReadUncommitted),
        (&["read", "committed"], Isolation::ReadCommitted),
        (&["repeatable", "read"], Isolation::RepeatableRead),
        (&["serializable"], Isolation::Serializable),
    ]
    .into_iter()
    .find(|(level, _)| words.accept_all(level))
    .map(|(_, isolation)| isolation)
}
