//! What a session takes and gives up by name on its backend connection: user locks, temporary
//! tables, handlers, textual prepared statements.
//!
//! Names that are no literals are unclear: then the connection is kept until the session is reset.

use super::dialect::Dialect;
use super::lexer::{Lexer, Token, TokenKind, unquote};

/// What belongs to a session only on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Possession {
    /// A lock of `GET_LOCK`.
    UserLock,
    /// A temporary table.
    TemporaryTable,
    /// An open `HANDLER`.
    Handler,
    /// A textual prepared statement.
    TextPrepare,
}

/// One thing that a statement takes or gives up, if it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// It takes one of this name.
    Takes(Possession, Vec<u8>),
    /// It takes one whose name is not written.
    TakesUnnamed(Possession),
    /// It gives one of this name up. Locks are counted: one of them.
    Gives(Possession, Vec<u8>),
    /// It gives all up.
    GivesAll(Possession),
}

/// What the statements of a packet take and give up, in order. `schema` is the one that tables
/// without a schema are in.
pub fn transfers(sql: &[u8], dialect: Dialect, schema: &[u8]) -> Vec<Transfer> {
    let lexer = Lexer::new(sql, dialect);
    let mut tokens = Vec::new();
    let mut rest = lexer;
    for token in rest.by_ref() {
        if !matches!(
            token.kind,
            TokenKind::Hint | TokenKind::ExecutableStart | TokenKind::ExecutableEnd
        ) {
            tokens.push(token);
        }
    }
    let reader = Reader {
        lexer,
        dialect,
        schema,
        tokens,
    };
    let mut transfers = Vec::new();
    for at in 0..reader.tokens.len() {
        reader.read(at, &mut transfers);
    }
    transfers
}

/// Whether a packet begins with MariaDB's `SET STATEMENT … FOR`, after which the server has its
/// variables back as they were but has reported how they were meanwhile.
pub fn borrows_variables(sql: &[u8], dialect: Dialect) -> bool {
    let lexer = Lexer::new(sql, dialect);
    let mut words = lexer.filter(|token| token.kind == TokenKind::Word);
    ["set", "statement"].iter().all(|word| {
        let text = words.next().map(|token| lexer.text(token));
        text.is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()))
    })
}

struct Reader<'a> {
    lexer: Lexer<'a>,
    dialect: Dialect,
    schema: &'a [u8],
    tokens: Vec<Token>,
}

impl Reader<'_> {
    /// Looks at what begins with the token at `at`.
    fn read(&self, at: usize, out: &mut Vec<Transfer>) {
        use Possession::{Handler, TextPrepare, UserLock};
        if self.is(at, "get_lock") && self.is_kind(at + 1, TokenKind::Open) {
            out.push(match self.literal(at + 2).filter(|_| self.runs_once(at)) {
                Some(name) => Transfer::Takes(UserLock, name),
                None => Transfer::TakesUnnamed(UserLock),
            });
        } else if self.is(at, "release_lock") && self.is_kind(at + 1, TokenKind::Open) {
            out.extend(
                self.literal(at + 2)
                    .filter(|_| self.runs_once(at) && self.is_item(at))
                    .map(|name| Transfer::Gives(UserLock, name)),
            );
        } else if self.is(at, "release_all_locks") {
            out.push(Transfer::GivesAll(UserLock));
        } else if self.is(at, "temporary") && self.is(at + 1, "table") {
            let is_drop = at > 0 && self.is(at - 1, "drop");
            self.read_tables(at + 2, is_drop, out);
        } else if self.is(at, "rename")
            && !["column", "index", "key"]
                .iter()
                .any(|word| self.is(at + 1, word))
        {
            // A temporary table may get another name.
            out.push(Transfer::TakesUnnamed(Possession::TemporaryTable));
        } else if self.is(at, "drop") && (self.is(at + 1, "table") || self.is(at + 1, "tables")) {
            self.read_tables(at + 2, true, out);
        } else if self.is(at, "handler") {
            let Some((name, next)) = self.name(at + 1) else {
                return;
            };
            if self.is(next, "open") {
                let alias = if self.is(next + 1, "as") {
                    next + 2
                } else {
                    next + 1
                };
                let alias = self.name(alias).map_or(name, |(alias, _)| alias);
                out.push(Transfer::Takes(Handler, alias));
            } else if self.is(next, "close") {
                out.push(Transfer::Gives(Handler, name));
            }
        } else if self.is(at, "prepare") {
            let Some((name, next)) = self.name(at + 1) else {
                return;
            };
            let is_given = at > 0 && (self.is(at - 1, "deallocate") || self.is(at - 1, "drop"));
            if is_given {
                out.push(Transfer::Gives(TextPrepare, name.to_ascii_lowercase()));
            } else if self.is(next, "from") {
                out.push(Transfer::Takes(TextPrepare, name.to_ascii_lowercase()));
            }
        }
    }

    /// Whether the statement around the token has just one row.
    fn runs_once(&self, at: usize) -> bool {
        let is_semicolon = |token: &Token| token.kind == TokenKind::Semicolon;
        let (before, behind) = self.tokens.split_at(at);
        let start = before.iter().rposition(is_semicolon).unwrap_or(0);
        let end = behind.iter().position(is_semicolon);
        let end = end.map_or(self.tokens.len(), |end| at + end);
        !(start..end).any(|at| {
            ["from", "where", "having", "limit", "union", "values"]
                .iter()
                .any(|word| self.is(at, word))
        })
    }

    /// Whether the token begins an item of a list that is not inside of another expression.
    fn is_item(&self, at: usize) -> bool {
        let Some(previous) = at.checked_sub(1) else {
            return false;
        };
        let is_first = self.is(previous, "select") || self.is(previous, "do");
        let depth = |kind| (0..at).filter(|at| self.is_kind(*at, kind)).count();
        is_first
            || (self.is_kind(previous, TokenKind::Comma)
                && depth(TokenKind::Open) == depth(TokenKind::Close))
    }

    /// The tables of CREATE TEMPORARY TABLE and DROP TABLE.
    fn read_tables(&self, mut at: usize, is_drop: bool, out: &mut Vec<Transfer>) {
        while self.is(at, "if") || self.is(at, "not") || self.is(at, "exists") {
            at += 1;
        }
        while let Some((name, next)) = self.table(at) {
            if !is_drop {
                out.push(Transfer::Takes(Possession::TemporaryTable, name));
                return;
            }
            out.push(Transfer::Gives(Possession::TemporaryTable, name));
            if !self.is_kind(next, TokenKind::Comma) {
                return;
            }
            at = next + 1;
        }
        if !is_drop {
            out.push(Transfer::TakesUnnamed(Possession::TemporaryTable));
        }
    }

    /// A table's name with its schema, and where the next token is.
    fn table(&self, at: usize) -> Option<(Vec<u8>, usize)> {
        let (first, next) = self.name(at)?;
        let (schema, name, next) = if self.is_kind(next, TokenKind::Dot) {
            let (name, next) = self.name(next + 1)?;
            (first, name, next)
        } else {
            (self.schema.to_vec(), first, next)
        };
        Some(([schema, name].join(&0), next))
    }

    fn name(&self, at: usize) -> Option<(Vec<u8>, usize)> {
        let token = self.tokens.get(at)?;
        let text = self.lexer.text(*token);
        match token.kind {
            TokenKind::Word | TokenKind::Member => Some((text.to_vec(), at + 1)),
            TokenKind::Quoted => Some((unquote(text, false), at + 1)),
            _ => None,
        }
    }

    /// A string literal that is a whole argument, in lower case, as names of locks compare.
    fn literal(&self, at: usize) -> Option<Vec<u8>> {
        let token = self.tokens.get(at)?;
        let text = self.lexer.text(*token);
        let ends = self.is_kind(at + 1, TokenKind::Comma) || self.is_kind(at + 1, TokenKind::Close);
        let is_plain = matches!(text.first(), Some(b'\'' | b'"'));
        (token.kind == TokenKind::Text && ends && is_plain)
            .then(|| unquote(text, !self.dialect.no_backslash_escapes).to_ascii_lowercase())
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| {
            token.kind == TokenKind::Word
                && self
                    .lexer
                    .text(*token)
                    .eq_ignore_ascii_case(word.as_bytes())
        })
    }

    fn is_kind(&self, at: usize, kind: TokenKind) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_take_and_give_up_by_name() {
        use Possession::{Handler, TemporaryTable, TextPrepare, UserLock};
        use Transfer::{Gives, GivesAll, Takes, TakesUnnamed};
        let name = |name: &str| name.as_bytes().to_vec();
        let cases = [
            ("SELECT GET_LOCK('A', 5)", vec![Takes(UserLock, name("a"))]),
            (
                "DO get_lock(CONCAT('a', 'b'), 1)",
                vec![TakesUnnamed(UserLock)],
            ),
            (
                "DO RELEASE_LOCK('a'), RELEASE_LOCK(@x)",
                vec![Gives(UserLock, name("a"))],
            ),
            ("SELECT RELEASE_LOCK('a') FROM t", vec![]),
            ("SELECT IF(0, RELEASE_LOCK('a'), 1)", vec![]),
            ("SELECT 1 AND RELEASE_LOCK('a')", vec![]),
            (
                "SELECT GET_LOCK('a', 0) FROM t",
                vec![TakesUnnamed(UserLock)],
            ),
            (
                "ALTER TABLE a RENAME TO b",
                vec![TakesUnnamed(TemporaryTable)],
            ),
            ("SELECT RELEASE_ALL_LOCKS()", vec![GivesAll(UserLock)]),
            (
                "create /* x */ temporary table if not exists `t``1` (a int)",
                vec![Takes(TemporaryTable, name("app\0t`1"))],
            ),
            (
                "DROP TEMPORARY TABLE IF EXISTS a, other.b",
                vec![
                    Gives(TemporaryTable, name("app\0a")),
                    Gives(TemporaryTable, name("other\0b")),
                ],
            ),
            ("DROP TABLE a", vec![Gives(TemporaryTable, name("app\0a"))]),
            (
                "HANDLER t OPEN AS h; HANDLER h CLOSE",
                vec![Takes(Handler, name("h")), Gives(Handler, name("h"))],
            ),
            (
                "PREPARE P FROM 'SELECT 1'",
                vec![Takes(TextPrepare, name("p"))],
            ),
            ("DEALLOCATE PREPARE p", vec![Gives(TextPrepare, name("p"))]),
            ("SELECT 'GET_LOCK(''a'')'", vec![]),
        ];
        for (sql, expected) in cases {
            assert_eq!(
                transfers(sql.as_bytes(), Dialect::default(), b"app"),
                expected,
                "{sql}"
            );
        }
    }
}
