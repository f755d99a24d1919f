//! `KILL`: what it ends, and whose.

use super::dialect::Dialect;
use super::lexer::{Reading, TokenKind};
use super::words::Words;

/// A `KILL` with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Whether only the statement that runs is to end, and not its connection too.
    pub query_only: bool,
    /// The connection.
    pub id: u64,
}

/// What a `KILL` says; `None` for those that name users, query ids or expressions.
pub fn kill(sql: &[u8], dialect: Dialect) -> Option<Kill> {
    let mut words = Words::new(sql, dialect, Reading::default());
    if !words.accept("kill") {
        return None;
    }
    words.accept_any(&["hard", "soft"]);
    let query_only = words.accept("query");
    if !query_only {
        words.accept("connection");
    }
    let id = words.next().filter(|word| word.kind == TokenKind::Number)?;
    let id = std::str::from_utf8(id.text).ok()?.parse().ok()?;
    let is_over = words.all(|word| word.kind == TokenKind::Semicolon);
    is_over.then_some(Kill { query_only, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_whatever_stands_there() {
        let of = |query_only, id| Some(Kill { query_only, id });
        let cases = [
            ("KILL 5", of(false, 5)),
            ("/* from a tool */ kill\tquery 7 ;", of(true, 7)),
            ("KILL CONNECTION 8 -- now", of(false, 8)),
            ("KILL HARD QUERY 9", of(true, 9)),
            ("KILL USER app", None),
            ("KILL QUERY ID 9", None),
            ("KILL CONNECTION_ID()", None),
            ("KILL 5 + 1", None),
            ("KILL", None),
        ];
        for (sql, expected) in cases {
            assert_eq!(kill(sql.as_bytes(), Dialect::default()), expected, "{sql}");
        }
    }
}
