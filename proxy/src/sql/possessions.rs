//! What a session takes and gives up by name on its backend connection: user locks, temporary
//! tables, handlers, textual prepared statements.
//!
//! Names that are no literals are unclear: then the connection is kept until the session is reset.

use super::dialect::Dialect;
use super::lexer::{Lexer, Token, TokenKind, unquote};
use super::plan::{Holds, Kind, Plan, Releases};
use super::script;

/// What belongs to a session only on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Possession {
    /// A lock of `GET_LOCK`.
    UserLock,
    /// A temporary table, or a temporary sequence.
    TemporaryTable,
    /// An open `HANDLER`.
    Handler,
    /// A textual prepared statement.
    TextPrepare,
}

impl Possession {
    /// Every one of them.
    pub const EACH: [Possession; 4] = [
        Possession::UserLock,
        Possession::TemporaryTable,
        Possession::Handler,
        Possession::TextPrepare,
    ];

    /// The hold that lasts as long as there is one.
    pub const fn hold(self) -> Holds {
        match self {
            Possession::UserLock => Holds::USER_LOCK,
            Possession::TemporaryTable => Holds::TEMPORARY_TABLE,
            Possession::Handler => Holds::HANDLER,
            Possession::TextPrepare => Holds::TEXT_PREPARE,
        }
    }
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
pub fn transfers(sql: &[u8], plan: &Plan, dialect: Dialect, schema: &[u8]) -> Vec<Transfer> {
    let mut transfers = Vec::new();
    if plan.is_script() {
        let mut schema = Some(schema);
        for part in &script::read(sql, dialect, true).statements {
            let text = sql.get(part.range.clone()).unwrap_or_default();
            read(text, &part.plan, dialect, schema, &mut transfers);
            schema = schema.filter(|_| !may_choose_schema(&part.plan));
        }
    } else {
        read(sql, plan, dialect, Some(schema), &mut transfers);
    }
    if plan.hides_locks {
        transfers.push(Transfer::TakesUnnamed(Possession::UserLock));
    }
    transfers
}

/// Whether tables without a schema may be in another one from then on.
fn may_choose_schema(plan: &Plan) -> bool {
    matches!(
        plan.kind,
        Kind::Use | Kind::Execute | Kind::Compound | Kind::Unknown
    )
}

/// Adds what one statement takes and gives up.
fn read(sql: &[u8], plan: &Plan, dialect: Dialect, schema: Option<&[u8]>, out: &mut Vec<Transfer>) {
    let reader = Reader::new(sql, dialect, schema);
    let inner = plan.prepared.as_ref().and_then(|one| one.inner.as_ref());
    if plan.kind == Kind::Execute
        && let Some(inner) = inner
        && let Some(text) = reader.string(2)
    {
        return read(&text, inner, dialect, schema, out);
    }
    let mut found = Vec::new();
    for at in 0..reader.tokens.len() {
        reader.read(at, &mut found);
    }
    found.retain(|transfer| counts(transfer, plan));
    found.extend(reader.unseen(plan, &found));
    out.append(&mut found);
}

/// Whether a statement of this plan does what its words say. What it may take counts in any case.
fn counts(transfer: &Transfer, plan: &Plan) -> bool {
    const LOCKS: Releases = Releases::USER_LOCK_ONE.union(Releases::USER_LOCKS_ALL);
    match transfer {
        Transfer::Takes(..) | Transfer::TakesUnnamed(_) => true,
        Transfer::Gives(Possession::UserLock, _) | Transfer::GivesAll(Possession::UserLock) => {
            plan.is_certain && plan.releases.intersects(LOCKS)
        }
        Transfer::Gives(..) | Transfer::GivesAll(_) => plan.is_certain,
    }
}

/// Whether there is a `SET STATEMENT … FOR` of MariaDB's in a packet, after which the server has its
/// variables back as they were but has reported how they were meanwhile.
pub fn borrows_variables(plan: &Plan, sql: &[u8], dialect: Dialect) -> bool {
    let lexer = Lexer::new(sql, dialect);
    let mut words =
        lexer.filter(|token| matches!(token.kind, TokenKind::Word | TokenKind::Semicolon));
    let mut begins = true;
    while let Some(word) = words.next() {
        let is_set = begins && lexer.text(word).eq_ignore_ascii_case(b"set");
        if is_set
            && let Some(next) = words.clone().next()
            && lexer.text(next).eq_ignore_ascii_case(b"statement")
        {
            return true;
        }
        if !plan.is_script() {
            return false;
        }
        begins = word.kind == TokenKind::Semicolon;
    }
    false
}

struct Reader<'a> {
    lexer: Lexer<'a>,
    dialect: Dialect,
    /// `None` where it is not known.
    schema: Option<&'a [u8]>,
    tokens: Vec<Token>,
}

impl<'a> Reader<'a> {
    fn new(sql: &'a [u8], dialect: Dialect, schema: Option<&'a [u8]>) -> Reader<'a> {
        let lexer = Lexer::new(sql, dialect);
        let is_word = |token: &Token| {
            !matches!(
                token.kind,
                TokenKind::Hint | TokenKind::ExecutableStart | TokenKind::ExecutableEnd
            )
        };
        Reader {
            lexer,
            dialect,
            schema,
            tokens: lexer.filter(is_word).collect(),
        }
    }

    /// Looks at what begins with the token at `at`.
    fn read(&self, at: usize, out: &mut Vec<Transfer>) {
        if self.is_kind(at + 1, TokenKind::Open) {
            self.read_call(at, out);
        }
        if self.is(at, "temporary") && self.is_any(at + 1, &["table", "sequence"]) {
            let is_dropped = at.checked_sub(1).is_some_and(|at| self.is(at, "drop"));
            if !is_dropped {
                self.read_created(at + 2, out);
            }
        } else if self.is(at, "rename") && !self.is_any(at + 1, &["column", "index", "key"]) {
            // A temporary table may get another name.
            out.push(Transfer::TakesUnnamed(Possession::TemporaryTable));
        } else if self.is(at, "handler") {
            self.read_handler(at, out);
        } else if self.is(at, "prepare") {
            self.read_prepare(at, out);
        } else if self.is(at, "drop") && at == 0 {
            let object = 1 + usize::from(self.is(1, "temporary"));
            if self.is_any(object, &["table", "tables", "sequence"]) {
                self.read_dropped(object + 1, out);
            }
        }
    }

    /// A function that takes or gives up locks.
    fn read_call(&self, at: usize, out: &mut Vec<Transfer>) {
        use Possession::UserLock;
        let is_done = || self.runs_once() && self.is_item(at);
        if self.is(at, "get_lock") {
            out.push(match self.literal(at + 2).filter(|_| self.runs_once()) {
                Some(name) => Transfer::Takes(UserLock, name),
                None => Transfer::TakesUnnamed(UserLock),
            });
        } else if self.is(at, "release_lock") && is_done() {
            let name = self.literal(at + 2);
            out.extend(name.map(|name| Transfer::Gives(UserLock, name)));
        } else if self.is(at, "release_all_locks") && is_done() {
            out.push(Transfer::GivesAll(UserLock));
        }
    }

    fn read_handler(&self, at: usize, out: &mut Vec<Transfer>) {
        let Some((_, name, next)) = self.qualified(at + 1) else {
            return;
        };
        if self.is(next, "open") {
            let alias = next + 1 + usize::from(self.is(next + 1, "as"));
            let alias = self.name(alias).map_or(name, |(alias, _)| alias);
            out.push(Transfer::Takes(Possession::Handler, alias));
        } else if self.is(next, "close") && at == 0 {
            out.push(Transfer::Gives(Possession::Handler, name));
        }
    }

    fn read_prepare(&self, at: usize, out: &mut Vec<Transfer>) {
        let Some((name, next)) = self.name(at + 1) else {
            return;
        };
        let name = name.to_ascii_lowercase();
        if at == 1 && self.is_any(0, &["deallocate", "drop"]) {
            out.push(Transfer::Gives(Possession::TextPrepare, name));
        } else if self.is(next, "from") {
            out.push(Transfer::Takes(Possession::TextPrepare, name));
        }
    }

    /// What the plan holds that no word of the statement speaks of.
    fn unseen(&self, plan: &Plan, seen: &[Transfer]) -> Vec<Transfer> {
        let is_seen = |possession: Possession| match possession {
            Possession::UserLock => self.speaks_of_locks(),
            // A READ opens none.
            Possession::Handler if plan.kind == Kind::HandlerRead => true,
            _ => seen.iter().any(|transfer| {
                matches!(transfer, Transfer::Takes(one, _) | Transfer::TakesUnnamed(one)
                    if *one == possession)
            }),
        };
        Possession::EACH
            .into_iter()
            .filter(|possession| plan.holds.contains(possession.hold()) && !is_seen(*possession))
            .map(Transfer::TakesUnnamed)
            .collect()
    }

    fn speaks_of_locks(&self) -> bool {
        const FUNCTIONS: [&str; 5] = [
            "get_lock",
            "is_free_lock",
            "is_used_lock",
            "release_all_locks",
            "release_lock",
        ];
        (0..self.tokens.len()).any(|at| self.is_any(at, &FUNCTIONS))
    }

    /// Whether the statement computes its expressions just once.
    fn runs_once(&self) -> bool {
        const SEVERAL: [&str; 6] = ["from", "where", "having", "limit", "union", "values"];
        !(0..self.tokens.len()).any(|at| self.is_any(at, &SEVERAL))
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

    /// The table of a CREATE TEMPORARY TABLE.
    fn read_created(&self, at: usize, out: &mut Vec<Transfer>) {
        let table = self.qualified(self.behind_condition(at));
        let name = table.and_then(|(schema, name, _)| self.table(schema, name));
        out.push(match name {
            Some(name) => Transfer::Takes(Possession::TemporaryTable, name),
            None => Transfer::TakesUnnamed(Possession::TemporaryTable),
        });
    }

    /// The tables of a DROP TABLE.
    fn read_dropped(&self, at: usize, out: &mut Vec<Transfer>) {
        let mut at = self.behind_condition(at);
        while let Some((schema, name, next)) = self.qualified(at) {
            let name = self.table(schema, name);
            out.extend(name.map(|name| Transfer::Gives(Possession::TemporaryTable, name)));
            if !self.is_kind(next, TokenKind::Comma) {
                return;
            }
            at = next + 1;
        }
    }

    /// Where `IF [NOT] EXISTS` is over, if it is there.
    fn behind_condition(&self, mut at: usize) -> usize {
        while self.is_any(at, &["if", "not", "exists"]) {
            at += 1;
        }
        at
    }

    /// A table's name with its schema, if that is known.
    fn table(&self, schema: Option<Vec<u8>>, name: Vec<u8>) -> Option<Vec<u8>> {
        let schema = schema.or_else(|| self.schema.map(<[u8]>::to_vec))?;
        Some([schema, name].join(&0))
    }

    /// A name, the schema before it where one is written, and where the next token is.
    fn qualified(&self, at: usize) -> Option<(Option<Vec<u8>>, Vec<u8>, usize)> {
        let (first, next) = self.name(at)?;
        if !self.is_kind(next, TokenKind::Dot) {
            return Some((None, first, next));
        }
        let (name, next) = self.name(next + 1)?;
        Some((Some(first), name, next))
    }

    fn name(&self, at: usize) -> Option<(Vec<u8>, usize)> {
        let token = self.tokens.get(at)?;
        let text = self.lexer.text(*token);
        match token.kind {
            TokenKind::Word | TokenKind::Member => Some((text.to_vec(), at + 1)),
            TokenKind::Quoted => Some((unquote(text, self.dialect.charset, false), at + 1)),
            _ => None,
        }
    }

    /// A string literal that is a whole argument, in lower case, as names of locks compare.
    fn literal(&self, at: usize) -> Option<Vec<u8>> {
        let ends = self.is_kind(at + 1, TokenKind::Comma) || self.is_kind(at + 1, TokenKind::Close);
        let text = self.string(at).filter(|_| ends)?;
        Some(text.to_ascii_lowercase())
    }

    /// The value of a string literal.
    fn string(&self, at: usize) -> Option<Vec<u8>> {
        let token = self.tokens.get(at)?;
        let text = self.lexer.text(*token);
        let is_plain = matches!(text.first(), Some(b'\'' | b'"'));
        (token.kind == TokenKind::Text && is_plain).then(|| {
            unquote(
                text,
                self.dialect.charset,
                !self.dialect.no_backslash_escapes,
            )
        })
    }

    fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
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

    #[track_caller]
    fn check(sql: &str, expected: &[Transfer]) {
        let (sql, dialect) = (sql.as_bytes(), Dialect::default());
        let plan = script::read(sql, dialect, true).plan(sql, dialect);
        let found = transfers(sql, &plan, dialect, b"app");
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(sql));
    }

    #[test]
    fn what_is_written_otherwise_counts_as_it_runs() {
        use Possession::{Handler, TemporaryTable, UserLock};
        use Transfer::{Gives, GivesAll, Takes, TakesUnnamed};
        let name = |name: &str| name.as_bytes().to_vec();
        for (sql, expected) in [
            ("HANDLER db1.t OPEN AS h", vec![Takes(Handler, name("h"))]),
            ("HANDLER db1.`t` OPEN", vec![Takes(Handler, name("t"))]),
            ("HANDLER t READ FIRST", vec![]),
            (
                "CREATE TEMPORARY SEQUENCE s; DROP SEQUENCE s",
                vec![
                    Takes(TemporaryTable, name("app\0s")),
                    Gives(TemporaryTable, name("app\0s")),
                ],
            ),
            (
                "EXECUTE IMMEDIATE 'SELECT GET_LOCK(''a'', 1)'",
                vec![Takes(UserLock, name("a"))],
            ),
            ("SELECT `GET_LOCK`('a', 1)", vec![TakesUnnamed(UserLock)]),
            ("SELECT IS_FREE_LOCK('a')", vec![]),
            ("EXPLAIN SELECT RELEASE_LOCK('a')", vec![]),
            ("DESC FORMAT=JSON SELECT RELEASE_ALL_LOCKS()", vec![]),
            (
                "EXPLAIN ANALYZE SELECT RELEASE_LOCK('a')",
                vec![Gives(UserLock, name("a"))],
            ),
            (
                "ANALYZE SELECT RELEASE_ALL_LOCKS()",
                vec![GivesAll(UserLock)],
            ),
        ] {
            check(sql, &expected);
        }
    }

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
            check(sql, &expected);
        }
    }
}
