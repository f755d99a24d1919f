//! `KILL`: what it ends, and whose.

use super::dialect::Dialect;
use super::lexer::{Reading, TokenKind};
use super::words::Words;

/// What a `KILL` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Whether only the statement that runs is to end, and not its connection too.
    pub query_only: bool,
    /// The connection.
    pub victim: Victim,
}

/// Whose connection it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Victim {
    /// That with this number.
    Id(u64),
    /// `CONNECTION_ID()`: that of the session itself.
    Own,
    /// The number is in this user variable, in lower case.
    Variable(String),
    /// The number is the parameter of the prepared statement.
    Parameter,
}

/// What a `KILL` says; `None` for those that name users, query ids or other expressions.
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
    let word = words.next()?;
    let victim = match word.kind {
        TokenKind::Number => Victim::Id(std::str::from_utf8(word.text).ok()?.parse().ok()?),
        TokenKind::UserVariable => Victim::Variable(word.user_variable()?),
        TokenKind::Parameter => Victim::Parameter,
        _ if word.is("connection_id") => {
            let is_call = words.accept_kind(TokenKind::Open) && words.accept_kind(TokenKind::Close);
            is_call.then_some(Victim::Own)?
        }
        _ => return None,
    };
    let is_over = words.all(|word| word.kind == TokenKind::Semicolon);
    is_over.then_some(Kill { query_only, victim })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_are_found_behind_whatever_stands_there() {
        let by = |query_only, victim| Some(Kill { query_only, victim });
        let of = |query_only, id| by(query_only, Victim::Id(id));
        let cases = [
            ("KILL 5", of(false, 5)),
            ("/* from a tool */ kill\tquery 7 ;", of(true, 7)),
            ("KILL CONNECTION 8 -- now", of(false, 8)),
            ("KILL HARD QUERY 9", of(true, 9)),
            ("KILL USER app", None),
            ("KILL QUERY ID 9", None),
            ("KILL CONNECTION_ID()", by(false, Victim::Own)),
            ("kill query connection_id ( )", by(true, Victim::Own)),
            ("KILL QUERY @Id;", by(true, Victim::Variable("id".into()))),
            ("KILL ?", by(false, Victim::Parameter)),
            ("KILL @a + 1", None),
            ("KILL CONNECTION_ID() + 1", None),
            ("KILL 5 + 1", None),
            ("KILL", None),
        ];
        for (sql, expected) in cases {
            assert_eq!(kill(sql.as_bytes(), Dialect::default()), expected, "{sql}");
        }
    }
}
