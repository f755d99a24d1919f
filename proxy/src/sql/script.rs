//! A packet of one or more statements.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::dialect::Dialect;
use super::digest;
use super::hint::Hints;
use super::lexer::{Lexer, Reading, Token, TokenKind};
use super::plan::{Holds, Kind, Place, Plan, Script, ScriptStatement};
use super::readings;
use super::servers;
use super::tree;
use super::words::Words;

/// Reads a packet as one or more statements. Without `multi_statements` the server refuses what
/// follows a semicolon, so the whole packet is one statement that nobody knows.
pub fn read(sql: &[u8], mut dialect: Dialect, multi_statements: bool) -> Script {
    let mut pieces = split(sql, dialect);
    let several = pieces.len() > 1 && !multi_statements;
    if several {
        pieces.truncate(1);
    }
    let statements = pieces
        .into_iter()
        .map(|piece| {
            let range = if several { 0..sql.len() } else { piece.text };
            // With the separator: two minus signs at the very end would begin a comment.
            let end = (range.end + piece.separator).min(sql.len());
            let text = sql.get(range.start..end).unwrap_or_default();
            let commented = sql.get(range.start..piece.end).unwrap_or_default();
            let mut plan = if several {
                refused()
            } else {
                one(text, dialect)
            };
            plan.digest = digest::scan(text, dialect, digest::STABLE).digest;
            if plan.kind == Kind::Use {
                dialect = dialect.within(chosen_schema(text, dialect).as_deref());
            }
            ScriptStatement {
                range,
                plan: Arc::new(plan),
                hints: digest::scan(commented, dialect, digest::STABLE).hints,
            }
        })
        .collect();
    let statements = hide_what_is_read_anew(statements, sql);
    Script {
        statements,
        hints: digest::scan(sql, dialect, digest::STABLE).hints,
    }
}

/// Behind a statement that may change how the server reads the rest, nobody knows what that rest is
/// if it can be read in several ways: it is taken for one statement that may do anything.
fn hide_what_is_read_anew(
    mut statements: Vec<ScriptStatement>,
    sql: &[u8],
) -> Vec<ScriptStatement> {
    let text = |range: &Range<usize>| sql.get(range.clone()).unwrap_or_default();
    let is_hidden = |index: usize| {
        let (before, rest) = statements.split_at_checked(index + 1).unwrap_or_default();
        let (Some(last), Some(next)) = (before.last(), rest.first()) else {
            return false;
        };
        let rest = sql.get(next.range.start..).unwrap_or_default();
        is_read_anew(&last.plan, text(&last.range), rest)
    };
    let Some(last) = (0..statements.len()).find(|index| is_hidden(*index)) else {
        return statements;
    };
    let mut hidden = Plan::new(
        Kind::Unknown,
        Place::Writer,
        "a statement before it changes how it is read",
    )
    .marking();
    hidden.holds |= Holds::UNNAMED_CHANGE;
    let start = statements.get(last + 1).map_or(0, |next| next.range.start);
    statements.truncate(last + 1);
    statements.push(ScriptStatement {
        range: start..sql.len(),
        plan: Arc::new(hidden),
        hints: Hints::default(),
    });
    statements
}

/// Whether what this statement does may change how `rest` is read: another SQL mode, in which
/// backslashes and double quotes mean something else, or a character set in which a byte that looks
/// like a quote or a backslash may be a part of a character.
fn is_read_anew(plan: &Plan, text: &[u8], rest: &[u8]) -> bool {
    const CHARSETS: [&str; 4] = ["names", "character set", "character_set_client", "charset"];
    let sets = |names: &[&str]| {
        let mut variables = plan.variables.iter();
        variables.any(|name| names.contains(&name.as_str()))
    };
    let may_do_anything = matches!(plan.kind, Kind::Execute | Kind::Unknown);
    let changes_mode = may_do_anything || sets(&["sql_mode"]);
    let changes_charset = may_do_anything || (sets(&CHARSETS) && !is_single_byte(text));
    rest.iter().any(|byte| match byte {
        b'"' => changes_mode,
        b'\\' => changes_mode || changes_charset,
        byte => changes_charset && !byte.is_ascii(),
    })
}

/// Whether a text that sets a character set names one without such characters, and nothing else
/// that could be one.
fn is_single_byte(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    let has = |part: &[u8]| text.windows(part.len()).any(|found| found == part);
    let names: [&[u8]; 6] = [b"big5", b"gbk", b"gb18030", b"sjis", b"cp932", b"@"];
    !names.iter().any(|name| has(name)) && (has(b"utf8") || has(b"latin1") || has(b"ascii"))
}

fn refused() -> Plan {
    Plan::new(
        Kind::Unknown,
        Place::Writer,
        "it has several statements, which the client has not asked for",
    )
    .marking()
}

fn one(text: &[u8], dialect: Dialect) -> Plan {
    let mut plan = readings::plan(text, dialect, 0);
    plan.tables = tree::tables(text, dialect, &plan);
    let may_read = plan.reader_if_allowed || matches!(plan.place, Place::Reader | Place::Previous);
    if may_read
        && let Some(schema) = dialect.own_schema
        && servers::reads_one_server(schema, &plan)
    {
        plan.place = Place::Writer;
        plan.reader_if_allowed = false;
        plan.reason = Cow::Borrowed(servers::ONE_SERVER);
    }
    plan
}

/// The schema that a `USE` names.
fn chosen_schema(text: &[u8], dialect: Dialect) -> Option<Vec<u8>> {
    let mut words = Words::new(text, dialect, Reading::default());
    words.accept("use");
    words.accept_name().map(String::into_bytes)
}

impl Script {
    /// One plan for all statements: read by a reader only if all are, otherwise by the writer.
    pub fn plan(&self, sql: &[u8], dialect: Dialect) -> Arc<Plan> {
        match &self.statements[..] {
            [] => {
                let mut plan = Plan::new(Kind::Empty, Place::Proxy, "there is no statement in it");
                plan.digest = digest::scan(sql, dialect, digest::STABLE).digest;
                Arc::new(plan)
            }
            [single] => Arc::clone(&single.plan),
            several => {
                let parts: Vec<_> = several.iter().map(|one| Arc::clone(&one.plan)).collect();
                let mut plan = together(parts);
                plan.digest = digest::scan(sql, dialect, digest::STABLE).digest;
                Arc::new(plan)
            }
        }
    }
}

fn together(parts: Vec<Arc<Plan>>) -> Plan {
    let first = parts.first().map_or(Place::Writer, |plan| plan.place);
    let all = |place: Place| parts.iter().all(|plan| plan.place == place);
    let (place, reason) = if all(Place::Reader) {
        (
            Place::Reader,
            "several statements, all of which a reader can answer",
        )
    } else if all(Place::Session) {
        (
            Place::Session,
            "several statements, all of which change the session",
        )
    } else if parts.iter().all(|plan| is_for_readers(plan)) {
        (
            Place::Reader,
            "several statements, which read or change the session",
        )
    } else if first == Place::Previous && parts[1..].iter().all(|p| p.place == Place::Reader) {
        (
            Place::Previous,
            "the first of several statements asks about the one before it",
        )
    } else if parts.iter().skip(1).any(|plan| plan.kind == Kind::Kill) {
        // It would end whatever has that number on the server.
        (
            Place::Refused,
            "KILL takes the numbers of Isthmus, so it must be the first of several statements",
        )
    } else if parts.iter().any(|plan| plan.place == Place::Refused) {
        (
            Place::Refused,
            "the proxy refuses one of several statements",
        )
    } else {
        (
            Place::Writer,
            "several statements, of which one is for the writer",
        )
    };
    let mut plan = Plan::new(Kind::Script, place, reason);
    plan.tables = Some(Vec::new());
    for part in &parts {
        plan.marks |= part.marks;
        plan.holds |= part.holds;
        plan.releases |= part.releases;
        plan.needs |= part.needs;
        plan.variables.extend(part.variables.iter().cloned());
        plan.assigning(part.user_variables.clone());
        plan.unknown_functions
            .extend(part.unknown_functions.iter().cloned());
        plan.tables = match (plan.tables.take(), &part.tables) {
            (Some(mut all), Some(more)) => {
                all.extend(
                    more.iter()
                        .filter(|table| !all.contains(table))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
                Some(all)
            }
            _ => None,
        };
    }
    plan.reader_if_allowed = parts
        .iter()
        .all(|part| part.place == Place::Reader || part.reader_if_allowed)
        && !plan.unknown_functions.is_empty();
    plan.reason = match parts.iter().find(|part| part.place == place) {
        Some(part) if place == Place::Writer => Cow::Owned(format!(
            "of several statements, one is for the writer: {}",
            part.reason
        )),
        Some(part) if place == Place::Refused => part.reason.clone(),
        _ => plan.reason,
    };
    plan.parts = parts;
    plan
}

/// Whether a reader can run it together with reads: it leaves nothing on its connection.
fn is_for_readers(plan: &Plan) -> bool {
    matches!(plan.place, Place::Reader | Place::Session)
        && plan.holds.is_empty()
        && plan.transaction.is_none()
}

/// A statement in a packet.
struct Piece {
    /// Its text.
    text: Range<usize>,
    /// How long the separator behind it is.
    separator: usize,
    /// Where the comments behind it end, which may have hints.
    end: usize,
}

/// Where the statements of a packet are. What is only comments and spaces belongs to the statement
/// before it; without any statement there is one piece, of all there is.
fn split(sql: &[u8], dialect: Dialect) -> Vec<Piece> {
    let mut lexer = Lexer::new(sql, dialect);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = 0;
    let mut empty = true;
    let mut program = Program::default();
    while let Some(token) = lexer.next() {
        match token.kind {
            // No server takes an empty statement before another one: the semicolon stays with
            // what follows, and makes it a statement that nobody knows.
            TokenKind::Semicolon if empty => {}
            TokenKind::Semicolon if program.ends() => {
                pieces.push(Piece {
                    text: start..token.start,
                    separator: 1,
                    end: token.end,
                });
                start = token.end;
                empty = true;
                program = Program::default();
            }
            TokenKind::Hint => {}
            _ => {
                empty = false;
                program.add(&lexer, token);
            }
        }
    }
    match pieces.last_mut() {
        Some(last) if empty => last.end = sql.len(),
        _ => pieces.push(Piece {
            text: start..sql.len(),
            separator: 0,
            end: sql.len(),
        }),
    }
    pieces
}

/// How deep in a stored program the splitter is: a semicolon inside ends no statement.
#[derive(Default)]
struct Program {
    words: u32,
    defines: bool,
    decided: bool,
    program: bool,
    /// A statement of the program may begin here.
    at_start: bool,
    ended: bool,
    depth: u32,
}

impl Program {
    fn ends(&mut self) -> bool {
        self.at_start = true;
        self.depth == 0
    }

    fn add(&mut self, lexer: &Lexer<'_>, token: Token) {
        let at_start = std::mem::take(&mut self.at_start);
        let ended = std::mem::take(&mut self.ended);
        if token.kind != TokenKind::Word {
            self.at_start = token.kind == TokenKind::Operator(b':');
            return;
        }
        let mut buffer = [0; 16];
        let text = lexer.text(token);
        let Some(word) = buffer.get_mut(..text.len()) else {
            self.words += 1;
            return;
        };
        word.copy_from_slice(text);
        word.make_ascii_lowercase();
        self.words += 1;
        self.head(word, lexer);
        if self.program {
            self.body(word, at_start || self.words == 1, ended);
        }
    }

    /// Finds out whether this is a statement with a program in it.
    fn head(&mut self, word: &[u8], lexer: &Lexer<'_>) {
        match (self.words, word) {
            (1, b"create" | b"alter") => self.defines = true,
            (1, b"begin") => {
                let mut ahead = *lexer;
                let next = ahead.next();
                self.program = next.is_some_and(|token| {
                    token.kind == TokenKind::Word
                        && !ahead.text(token).eq_ignore_ascii_case(b"work")
                });
            }
            (1, b"if" | b"case" | b"loop" | b"while" | b"repeat" | b"for") => self.program = true,
            (_, b"procedure" | b"function" | b"trigger" | b"event" | b"package")
                if self.defines && !self.decided =>
            {
                self.program = true;
            }
            (_, b"table" | b"view" | b"index" | b"database" | b"schema" | b"user" | b"role") => {
                self.decided = true;
            }
            _ => {}
        }
    }

    fn body(&mut self, word: &[u8], at_start: bool, ended: bool) {
        match word {
            b"begin" => {
                self.depth += 1;
                self.at_start = true;
            }
            b"case" | b"if" | b"loop" | b"repeat" | b"while" | b"for" if ended => {}
            b"case" => self.depth += 1,
            b"loop" | b"repeat" if at_start => {
                self.depth += 1;
                self.at_start = true;
            }
            b"if" | b"while" | b"for" if at_start => self.depth += 1,
            b"then" | b"else" | b"do" | b"row" => self.at_start = true,
            b"end" => {
                self.depth = self.depth.saturating_sub(1);
                self.ended = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_anew_is_unknown() {
        let holds = |sql: &[u8]| {
            let plan = read(sql, Dialect::default(), true).plan(sql, Dialect::default());
            plan.place == Place::Writer && plan.holds.contains(Holds::UNNAMED_CHANGE)
        };
        for (sql, is_unknown) in [
            (
                &b"SET sql_mode = 'NO_BACKSLASH_ESCAPES'; SELECT 'a\\'; DELETE FROM t; -- '"[..],
                true,
            ),
            (b"SET sql_mode = ANSI; SELECT \"a\"", true),
            (b"SET NAMES gbk; SELECT '\xbf\\'; DELETE FROM t; -- '", true),
            (b"SET NAMES @a; SELECT '\xbf'", true),
            (b"EXECUTE s; SELECT \"a\"", true),
            (b"SET NAMES utf8mb4; SELECT '\xc3\xa9'", false),
            (b"SET NAMES utf8mb4; SET sql_mode = 'ANSI'; SELECT 1", false),
            (b"SELECT \"a\\\\\"; SET sql_mode = ''", false),
            (b"SET time_zone = '+00:00'; SELECT \"a\"", false),
        ] {
            assert_eq!(holds(sql), is_unknown, "{}", String::from_utf8_lossy(sql));
        }
    }
}
