//! `SHOW`: most of it is about the schema, which every server has; some of it is about one server.

use super::classify::read;
use super::dialect::Dialect;
use super::facts::{Facts, Scope};
use super::lexer::{Reading, TokenKind};
use super::plan::{Kind, Needs, Place, Plan};
use super::servers;
use super::words::Words;

/// What `SHOW ISTHMUS` can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The session that asks.
    Session,
    /// All sessions that the user may see.
    Sessions,
    /// The session's last statement.
    Last,
    /// The figures of the whole proxy.
    Status,
    /// The endpoints.
    Topology,
}

/// The topic of a `SHOW ISTHMUS`; `None` where it names none, or more than one.
pub fn topic(sql: &[u8], dialect: Dialect) -> Option<Topic> {
    let mut words = Words::new(sql, dialect, Reading::default());
    if !words.accept_all(&["show", "isthmus"]) {
        return None;
    }
    let topic = match words.next()?.keyword() {
        b"session" => Topic::Session,
        b"sessions" => Topic::Sessions,
        b"last" => Topic::Last,
        b"status" => Topic::Status,
        b"topology" => Topic::Topology,
        _ => return None,
    };
    let is_over = words.all(|word| word.kind == TokenKind::Semicolon);
    is_over.then_some(topic)
}

/// The plan of the words behind `SHOW`.
pub(super) fn show(mut rest: Words<'_>) -> Plan {
    let all = rest;
    if rest.accept("isthmus") {
        return Plan::new(Kind::Show, Place::Proxy, "it asks the proxy about itself");
    }
    while rest.accept_any(&["full", "extended", "global", "session", "local", "storage"]) {}
    let Some(subject) = rest.next() else {
        return one_server();
    };
    match subject.keyword() {
        b"warnings" | b"errors" => diagnostics(),
        b"count" if rest.accept_kind(TokenKind::Open) => diagnostics(),
        b"variables" => variables(all),
        b"function" | b"procedure" | b"package" | b"library" => schema(all),
        b"table" if rest.accept_any(&["status", "types"]) => schema(all),
        b"character" if rest.accept("set") => schema(all),
        b"events" => events(),
        b"plugins" => one_server(),
        b"create" if rest.peek().is_some_and(|word| word.is("event")) => events(),
        b"tables" | b"columns" | b"fields" | b"index" | b"indexes" | b"keys" | b"create"
        | b"databases" | b"schemas" | b"triggers" | b"grants" | b"privileges" | b"engines"
        | b"charset" | b"collation" | b"contributors" | b"authors" | b"locales" => schema(all),
        _ => one_server(),
    }
}

fn one_server() -> Plan {
    Plan::new(Kind::Show, Place::Writer, "it speaks of one server")
}

fn events() -> Plan {
    Plan::new(
        Kind::Show,
        Place::Writer,
        "replicas have every event disabled",
    )
}

fn diagnostics() -> Plan {
    let mut plan = Plan::new(
        Kind::Show,
        Place::Previous,
        "it asks about the statement before it, which only that connection knows",
    );
    plan.needs = Needs::DIAGNOSTICS;
    plan
}

/// A part of the schema, maybe with an expression that chooses rows.
fn schema(all: Words<'_>) -> Plan {
    let mut facts = Facts::gather(all, Scope::Other);
    // What looks like a variable may be the host of an account.
    facts.needs.remove(Needs::USER_VARIABLE);
    read(
        Kind::Show,
        facts,
        "it speaks of the schema, which a reader has too",
    )
}

fn variables(all: Words<'_>) -> Plan {
    let patterns = patterns(all);
    let facts = Facts::gather(all, Scope::Other);
    // By a parameter, say.
    let is_unclear = patterns.is_empty() && all.clone().any(|word| word.is_any(&["where", "like"]));
    let tells_servers_apart = is_unclear
        || patterns.iter().any(|pattern| match pattern {
            Some(pattern) => servers::pattern_tells_servers_apart(pattern),
            None => true,
        });
    let mut plan = if tells_servers_apart {
        Plan::new(
            Kind::Show,
            Place::Writer,
            "it asks for a variable that tells servers apart",
        )
    } else {
        read(
            Kind::Show,
            facts,
            "it asks for variables, which are the same with the session's state in force",
        )
    };
    let tells_tracking = patterns.iter().any(|pattern| match pattern {
        Some(pattern) => servers::pattern_tells_tracking(pattern),
        None => true,
    });
    plan.needs |= Needs::LAST_INSERT_ID;
    if patterns.is_empty() || tells_tracking {
        plan.needs |= Needs::SESSION_TRACKING;
    }
    plan
}

/// The strings in a statement; `None` for one whose value is not certain, as neighbouring strings
/// are one string.
fn patterns(mut words: Words<'_>) -> Vec<Option<Vec<u8>>> {
    let mut patterns = Vec::new();
    while let Some(word) = words.next() {
        if word.kind == TokenKind::Text {
            let alone = words.peek().is_none_or(|next| next.kind != TokenKind::Text);
            patterns.push(words.string(&word).filter(|_| alone));
        }
    }
    patterns
}
