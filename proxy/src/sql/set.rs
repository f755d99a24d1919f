//! `SET`: of variables, character sets, transactions, passwords and roles.

use std::borrow::Cow;

use super::classify::{DEEPEST, characteristics, statement};
use super::facts::{Facts, Scope};
use super::lexer::TokenKind;
use super::plan::{Holds, Kind, Needs, Place, Plan, TransactionEffect};
use super::servers;
use super::words::{Word, Words};

/// The plan of the words behind `SET`.
pub(super) fn set(mut rest: Words<'_>, depth: u32) -> Plan {
    let mut ahead = rest;
    let scope = ahead.next();
    if rest.accept("transaction") {
        return next_transaction(rest);
    }
    if scope.is_some_and(|word| word.is_any(&["session", "local", "global"]))
        && ahead.accept("transaction")
    {
        let global = scope.is_some_and(|word| word.is("global"));
        return transactions(global);
    }
    if rest.accept_all(&["session", "authorization"]) {
        return Plan::new(
            Kind::Set,
            Place::Refused,
            "SET SESSION AUTHORIZATION is refused by Isthmus: the connection would stay another account's when others get it; log in as that account",
        );
    }
    if rest.accept("statement") {
        return for_statement(rest, depth);
    }
    if rest.accept_all(&["default", "role"]) || follows_password(rest) {
        return Plan::new(Kind::Set, Place::Writer, "it changes an account")
            .marking()
            .with_transaction(TransactionEffect::ImplicitCommit);
    }
    if rest.accept_all(&["resource", "group"]) {
        return resource_group(rest);
    }
    let mut role = rest;
    if role.accept("role") && !role.peek().is_some_and(|word| is_assignment(&word)) {
        let mut plan = Plan::new(Kind::Set, Place::Session, "it chooses the session's role");
        plan.variables.push("role".into());
        return plan;
    }
    assignments(rest)
}

/// MySQL's `SET RESOURCE GROUP name [FOR thread, …]`: without numbers it is about the own thread.
fn resource_group(mut rest: Words<'_>) -> Plan {
    let mut plan = Plan::new(
        Kind::Set,
        Place::Writer,
        "it is about a thread of one server",
    );
    plan.sets_server = true;
    rest.next();
    match rest.accept("for") {
        true => plan,
        false => plan.holding(Holds::RESOURCE_GROUP),
    }
}

fn follows_password(mut words: Words<'_>) -> bool {
    words.accept("password")
        && words
            .peek()
            .is_none_or(|word| is_assignment(&word) || word.is("for") || word.is("to"))
}

fn is_assignment(word: &Word<'_>) -> bool {
    matches!(word.kind, TokenKind::Assign | TokenKind::Operator(b'='))
}

fn next_transaction(rest: Words<'_>) -> Plan {
    let (read_only, isolation) = characteristics(rest);
    Plan::new(
        Kind::SetTransaction,
        Place::Session,
        "it counts for the next transaction and goes with it",
    )
    .holding(Holds::NEXT_TRANSACTION)
    .with_transaction(TransactionEffect::SetNext {
        read_only,
        isolation,
    })
}

fn transactions(global: bool) -> Plan {
    if global {
        let mut plan = Plan::new(
            Kind::SetTransaction,
            Place::Writer,
            "it sets a server's own variables",
        );
        plan.sets_server = true;
        plan
    } else {
        Plan::new(
            Kind::SetTransaction,
            Place::Session,
            "it counts for the session's transactions",
        )
    }
}

/// MariaDB's `SET STATEMENT x = y FOR …`: the statement decides.
fn for_statement(mut rest: Words<'_>, depth: u32) -> Plan {
    let all = rest;
    let mut open = 0u32;
    while let Some(word) = rest.next() {
        match word.kind {
            TokenKind::Open => open += 1,
            TokenKind::Close => open = open.saturating_sub(1),
            TokenKind::Word if open == 0 && word.is("for") && depth < DEEPEST => {
                let facts = Facts::gather(all, Scope::Other);
                let mut plan = statement(rest, depth + 1);
                plan.needs |= Needs::READ_BACK;
                let changes_session = matches!(plan.place, Place::Session | Place::Proxy);
                if plan.is_for_proxy_alone() {
                    plan.reason = plan.reason_within();
                    plan.place = Place::Refused;
                } else if changes_session || (plan.place == Place::Reader && facts.writer.is_some())
                {
                    plan.place = Place::Writer;
                    plan.reason = Cow::Borrowed("it sets variables for a statement of its own");
                }
                return plan;
            }
            _ => {}
        }
    }
    Plan::new(
        Kind::Set,
        Place::Writer,
        "it sets variables for one statement",
    )
    .marking()
}

/// What the assignments say.
#[derive(Default)]
struct Summary<'a> {
    variables: Vec<String>,
    user_variables: Vec<Word<'a>>,
    holds: Holds,
    needs: Needs,
    server: bool,
    transaction: Option<TransactionEffect>,
    misread: bool,
}

fn assignments(rest: Words<'_>) -> Plan {
    let mut facts = Facts::gather(rest, Scope::Other);
    let mut summary = summarise(rest);
    for word in summary.user_variables.drain(..) {
        facts.assigns(&word);
    }
    let assigns = !facts.user_variables.is_empty()
        || facts.holds.contains(Holds::USER_VARIABLE)
        || facts.needs.contains(Needs::LAST_INSERT_ID);
    let (place, reason) = if summary.misread {
        (Place::Writer, "the proxy does not know this SET")
    } else if summary.server {
        (Place::Writer, "it sets a server's own variables")
    } else if !facts.unknown_functions.is_empty() {
        (
            Place::Writer,
            "it calls a function that is not built in, which may do anything",
        )
    } else if let Some(reason) = facts.writer.filter(|_| assigns) {
        (Place::Writer, reason)
    } else if facts.query && summary.variables.is_empty() && facts.holds.is_empty() {
        (
            Place::Reader,
            "its value comes from tables that a reader has",
        )
    } else if facts.query {
        (Place::Writer, "its value comes from tables")
    } else if !facts.holds.is_empty() || facts.sequence {
        (Place::Writer, "its value has an effect of its own")
    } else if facts.previous {
        (
            Place::Previous,
            "it asks about the statement before it, which only that connection knows",
        )
    } else if summary.holds.contains(Holds::ONE_SHOT) {
        (
            Place::Writer,
            "it sets a variable for the next statement or for one connection only",
        )
    } else {
        (
            Place::Session,
            "it sets variables of the session, which are carried to other connections",
        )
    };
    let mut plan = Plan::new(Kind::Set, place, reason).holding(summary.holds);
    plan.sets_server = summary.server || summary.misread;
    plan.marks = !facts.unknown_functions.is_empty() || facts.sequence || summary.misread;
    facts.needs.remove(Needs::CALC_FOUND_ROWS);
    facts.needs |= summary.needs;
    let is_tracking = |name: &String| name.as_bytes().starts_with(servers::SESSION_TRACKING);
    if summary.variables.iter().any(is_tracking) {
        facts.needs |= Needs::SESSION_TRACKING;
    }
    plan.variables = summary.variables;
    plan.transaction = summary.transaction;
    plan.with_facts(facts)
}

/// Walks through the assignments.
fn summarise<'a>(mut words: Words<'a>) -> Summary<'a> {
    let mut summary = Summary::default();
    let mut global = false;
    loop {
        target(&mut words, &mut summary, &mut global);
        if !skip_value(&mut words) {
            return summary;
        }
    }
}

/// Reads the left side of an assignment.
fn target<'a>(words: &mut Words<'a>, summary: &mut Summary<'a>, global: &mut bool) {
    if names_character_set(words) {
        summary.variables.push("names".into());
        return;
    }
    let mut ahead = *words;
    if let Some(scope) = ahead.next()
        && scope.is_any(&["global", "persist", "persist_only", "session", "local"])
        && ahead.peek().is_some_and(|next| next.is_name())
    {
        *global = !scope.is_any(&["session", "local"]);
        *words = ahead;
    }
    let Some(first) = words.next() else {
        summary.misread = true;
        return;
    };
    match first.kind {
        TokenKind::UserVariable => {
            if first.lower() != b"isthmus_after" {
                summary.user_variables.push(first);
            }
        }
        TokenKind::System => system_target(words, summary),
        _ if first.is_name() => {
            let name = last_part(words, first);
            variable(words, summary, &name, *global, false);
        }
        _ => summary.misread = true,
    }
    let assigned = words.next().is_some_and(|word| is_assignment(&word));
    summary.misread |= !assigned;
}

/// `NAMES …`, `CHARACTER SET …`, `CHARSET …`.
fn names_character_set(words: &mut Words<'_>) -> bool {
    let mut ahead = *words;
    let found = ahead.accept_any(&["names", "charset"])
        || (ahead.accept_any(&["character", "char"]) && ahead.accept("set"));
    let value = ahead.peek().is_some_and(|word| !is_assignment(&word));
    if found && value {
        *words = ahead;
    }
    found && value
}

/// The last part of a name with points; what comes before is a scope or a key cache.
fn last_part(words: &mut Words<'_>, first: Word<'_>) -> Vec<u8> {
    let mut name = first.lower().to_vec();
    while words.accept_kind(TokenKind::Dot) {
        if let Some(part) = words.next() {
            name = part.lower().to_vec();
        }
    }
    name
}

/// `@@x`, `@@session.x`, `@@global.x`.
fn system_target(words: &mut Words<'_>, summary: &mut Summary<'_>) {
    let Some(first) = words.next() else {
        summary.misread = true;
        return;
    };
    let scope = first.lower().to_vec();
    let name = last_part(words, first);
    let scoped = name != scope;
    let global = scoped && matches!(&scope[..], b"global" | b"persist" | b"persist_only");
    if !scoped {
        summary.needs |= Needs::READ_BACK;
    }
    variable(words, summary, &name, global, !scoped);
}

/// Notes a system variable. Without a scope, `@@` in front of a transaction's characteristic
/// makes it count for the next transaction only.
fn variable(words: &Words<'_>, summary: &mut Summary<'_>, name: &[u8], global: bool, bare: bool) {
    summary
        .variables
        .push(String::from_utf8_lossy(name).into_owned());
    // MariaDB sets these of a connection to another server, and calls that a session's.
    let is_replica = matches!(name, b"max_relay_log_size" | b"sql_slave_skip_counter");
    if global || is_replica {
        summary.server = true;
        return;
    }
    match name {
        b"autocommit" => {
            summary.transaction = Some(TransactionEffect::SetAutocommit(constant(*words)));
        }
        b"transaction_isolation" | b"tx_isolation" if bare => {
            next(summary, None);
        }
        b"transaction_read_only" | b"tx_read_only" if bare => {
            next(summary, constant(*words));
        }
        b"insert_id"
        | b"last_insert_id"
        | b"identity"
        | b"rand_seed1"
        | b"rand_seed2"
        | b"gtid_next"
        | b"gtid_seq_no"
        | b"gtid_domain_id"
        | b"server_id"
        | b"sql_log_bin"
        | b"skip_replication"
        | b"pseudo_thread_id"
        | b"pseudo_replica_mode"
        | b"pseudo_slave_mode"
        | b"original_commit_timestamp"
        | b"timestamp" => {
            summary.holds |= Holds::ONE_SHOT;
        }
        _ => {}
    }
}

fn next(summary: &mut Summary<'_>, read_only: Option<bool>) {
    summary.holds |= Holds::NEXT_TRANSACTION;
    summary.transaction = Some(TransactionEffect::SetNext {
        read_only,
        isolation: None,
    });
}

/// The truth value behind the equals sign, where it is a constant.
fn constant(mut words: Words<'_>) -> Option<bool> {
    words.next()?;
    let value = words.next()?;
    let ends = words
        .peek()
        .is_none_or(|next| next.kind == TokenKind::Comma);
    let text = words
        .string(&value)
        .unwrap_or_else(|| value.text.to_vec())
        .to_ascii_lowercase();
    match &text[..] {
        b"1" | b"on" | b"true" | b"default" if ends => Some(true),
        b"0" | b"off" | b"false" if ends => Some(false),
        _ => None,
    }
}

/// Passes the right side; true if another assignment follows.
fn skip_value(words: &mut Words<'_>) -> bool {
    let mut depth = 0u32;
    for word in words {
        match word.kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close => depth = depth.saturating_sub(1),
            TokenKind::Comma if depth == 0 => return true,
            _ => {}
        }
    }
    false
}
