//! Executable comments: whether a server reads their content as SQL depends on which server it is
//! and on its version. A statement is read in every way, and goes to the writer where the ways
//! differ in what they mean.

use std::borrow::Cow;

use super::classify::classify;
use super::dialect::Dialect;
use super::lexer::{Lexer, Marker, Reading, Token, TokenKind};
use super::plan::{Holds, Kind, Place, Plan, TransactionEffect};

/// The plan of one statement in all its readings.
pub(super) fn plan(sql: &[u8], dialect: Dialect, depth: u32) -> Plan {
    let mut plan = classify(sql, dialect, Reading::default(), depth);
    let Some(markers) = markers(sql, dialect) else {
        plan.place = Place::Writer;
        plan.marks = true;
        plan.is_certain = false;
        plan.reader_if_allowed = false;
        plan.holds |= unclear_assignments(&plan);
        plan.reason = Cow::Borrowed("it has too many kinds of executable comments");
        return plan;
    };
    for skipped in 1u32..1 << markers.len() {
        let skipped = markers
            .iter()
            .enumerate()
            .filter(|(i, _)| skipped & (1 << i) != 0)
            .map(|(_, marker)| *marker);
        merge(
            &mut plan,
            classify(sql, dialect, Reading::skipping(skipped), depth),
        );
    }
    plan
}

/// Other variables may be assigned than those that one reading finds.
fn unclear_assignments(plan: &Plan) -> Holds {
    if plan.user_variables.is_empty() {
        Holds::empty()
    } else {
        Holds::USER_VARIABLE
    }
}

/// The different markers in a text, or `None` if there are too many: wherever they stand, as a
/// reading that skips one may find others where the next one sees a string. Without an executable
/// comment there is nothing to skip.
fn markers(sql: &[u8], dialect: Dialect) -> Option<Vec<Marker>> {
    let mut markers = Vec::new();
    let is_executable = |token: Token| token.kind == TokenKind::ExecutableStart;
    if !has_marker(sql) || !Lexer::new(sql, dialect).any(is_executable) {
        return Some(markers);
    }
    let mut rest = sql;
    while let Some(start) = rest
        .windows(3)
        .position(|part| part == b"/*!" || part == b"/*M")
    {
        let mariadb = rest.get(start + 2) == Some(&b'M');
        let content = start + 3 + usize::from(mariadb);
        let bang = rest.get(content - 1) == Some(&b'!');
        rest = rest.get(start + 3..).unwrap_or_default();
        if !bang {
            continue;
        }
        let digits = rest.get(usize::from(mariadb)..).unwrap_or_default();
        let marker = Marker::read(mariadb, digits).0;
        if !markers.contains(&marker) {
            markers.push(marker);
        }
        if markers.len() > Reading::MARKERS {
            return None;
        }
    }
    Some(markers)
}

fn has_marker(sql: &[u8]) -> bool {
    sql.windows(3).any(|part| part == b"/*!" || part == b"/*M")
}

/// Takes what another reading says into the plan.
fn merge(plan: &mut Plan, other: Plan) {
    let differs = plan.place != other.place
        || plan.kind != other.kind
        || plan.transaction != other.transaction
        || plan.variables != other.variables;
    let harmless = other.kind == Kind::Empty
        && matches!(plan.place, Place::Reader | Place::Writer | Place::Session);
    plan.is_certain &= other.is_certain && !differs;
    let alone = [&*plan, &other]
        .into_iter()
        .find(|plan| plan.is_for_proxy_alone());
    if let Some(reason) = alone.map(|alone| alone.reason_within()).filter(|_| differs) {
        plan.place = Place::Refused;
        plan.reason = reason;
    } else if differs && !harmless {
        plan.place = Place::Writer;
        plan.reason =
            Cow::Borrowed("servers of different versions read its executable comments differently");
        let begins = [&plan.transaction, &other.transaction]
            .into_iter()
            .any(|effect| matches!(effect, Some(TransactionEffect::Begin { .. })));
        if begins {
            plan.holds |= Holds::TRANSACTION;
        }
        if plan.transaction != other.transaction {
            plan.transaction = None;
        }
    }
    plan.reader_if_allowed &= other.reader_if_allowed || harmless;
    plan.marks |= other.marks;
    plan.sets_server |= other.sets_server;
    plan.holds |= other.holds;
    plan.releases &= other.releases;
    plan.needs |= other.needs;
    for variable in other.variables {
        if !plan.variables.contains(&variable) {
            plan.variables.push(variable);
        }
    }
    plan.assigning(other.user_variables);
    for function in other.unknown_functions {
        if !plan.unknown_functions.contains(&function) {
            plan.unknown_functions.push(function);
        }
    }
}
