//! Replacing what only the session knows by its value.

use std::cell::LazyCell;
use std::ops::Range;

use super::dialect::Dialect;
use super::lexer::{Reading, TokenKind};
use super::previous;
use super::words::{Word, Words};

/// The values of the session; `None` leaves what asks for it in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Values {
    /// `CONNECTION_ID()`, `@@pseudo_thread_id`.
    pub connection_id: Option<u64>,
    /// `ROW_COUNT()`.
    pub row_count: Option<i64>,
    /// `FOUND_ROWS()`.
    pub found_rows: Option<u64>,
    /// `LAST_INSERT_ID()` without an argument, `@@last_insert_id`, `@@identity`.
    pub last_insert_id: Option<u64>,
    /// `@@warning_count`.
    pub warning_count: Option<u64>,
    /// `@@error_count`.
    pub error_count: Option<u64>,
}

/// The statement with every call that `values` knows replaced by its value, or `None` if there is
/// none, or if the server may read the statement otherwise than the lexer does. The call stays in
/// a branch that is never taken, so that the column has its type, and the statement the warning
/// that MySQL has for it. Where such a call is a whole item of a select list without an alias, its
/// text becomes the alias, so that the column keeps its name. Of several statements, only the first
/// follows what the session knows; the others know by themselves, but for the connection's id, and for
/// FOUND_ROWS() up to the first that may find rows.
pub fn substitute(
    sql: &[u8],
    dialect: Dialect,
    values: &Values,
    is_mariadb: bool,
) -> Option<Vec<u8>> {
    let mut words = Words::new(sql, dialect, Reading::default());
    let mut before = Before::default();
    let mut out = Vec::new();
    let mut copied = 0;
    let mut values = *values;
    let kept_until = LazyCell::new(|| previous::end_of_kept_count(sql, dialect, is_mariadb));
    while let Some(word) = words.next() {
        if word.kind == TokenKind::Semicolon {
            values = Values {
                connection_id: values.connection_id,
                found_rows: values.found_rows.filter(|_| word.start < *kept_until),
                ..Values::default()
            };
        }
        if let Some((range, value)) = call(&word, &words, &before, &values) {
            let mut behind = words;
            while behind.peek().is_some_and(|next| next.start < range.end) {
                behind.next();
            }
            out.extend_from_slice(sql.get(copied..range.start)?);
            out.extend_from_slice(b"IF(1,");
            out.extend_from_slice(value.as_bytes());
            out.push(b',');
            out.extend_from_slice(sql.get(range.clone())?);
            out.push(b')');
            if before.begins_item && ends_item(&behind) {
                out.extend_from_slice(b" AS `");
                for byte in sql.get(range.clone())? {
                    out.extend_from_slice(if *byte == b'`' {
                        b"``"
                    } else {
                        std::slice::from_ref(byte)
                    });
                }
                out.push(b'`');
            }
            copied = range.end;
            words = behind;
            before.passed_operand();
            continue;
        }
        before.push(&word);
    }
    if copied == 0 || words.doubt().is_some() {
        return None;
    }
    out.extend_from_slice(sql.get(copied..)?);
    Some(out)
}

/// Whether one of these names, in lower case, is among those that the text speaks of.
pub fn names_any(sql: &[u8], dialect: Dialect, names: &[&str]) -> bool {
    let mut words = Words::new(sql, dialect, Reading::default());
    words.any(|word| {
        let is_name = matches!(
            word.kind,
            TokenKind::Word | TokenKind::Member | TokenKind::Quoted
        );
        is_name && names.contains(&word.name().to_lowercase().as_str())
    })
}

/// The text and the value of what begins with this word, if the session knows it.
fn call(
    word: &Word<'_>,
    words: &Words<'_>,
    before: &Before,
    values: &Values,
) -> Option<(Range<usize>, String)> {
    let mut rest = *words;
    if word.kind == TokenKind::System {
        let mut name = rest.next()?;
        if name.is_any(&["session", "local"]) && rest.accept_kind(TokenKind::Dot) {
            name = rest.next()?;
        }
        if before.assigns {
            return None;
        }
        let value = match name.lower() {
            b"pseudo_thread_id" => values.connection_id,
            b"last_insert_id" | b"identity" => values.last_insert_id,
            b"warning_count" => values.warning_count,
            b"error_count" => values.error_count,
            _ => None,
        }?;
        return Some((word.start..name.end, unsigned(value)));
    }
    if word.kind != TokenKind::Word || before.dot {
        return None;
    }
    let value = match word.lower() {
        b"connection_id" => unsigned(values.connection_id?),
        b"found_rows" => values.found_rows?.to_string(),
        b"last_insert_id" => unsigned(values.last_insert_id?),
        b"row_count" => values.row_count?.to_string(),
        _ => return None,
    };
    let closed = rest.accept_kind(TokenKind::Open).then(|| rest.next())??;
    (closed.kind == TokenKind::Close).then_some((word.start..closed.end, value))
}

/// A number of the type that these calls have; as a literal it would be signed.
fn unsigned(value: u64) -> String {
    format!("CAST({value} AS UNSIGNED)")
}

/// What stands before a word.
#[derive(Default)]
struct Before {
    /// An item of a select list begins.
    begins_item: bool,
    /// A point.
    dot: bool,
    /// The left side of an assignment may begin.
    assigns: bool,
    set: bool,
    depth: u32,
    /// For each open parenthesis and the statement itself: in a select list.
    lists: Vec<bool>,
}

impl Before {
    fn push(&mut self, word: &Word<'_>) {
        if self.lists.is_empty() {
            self.lists.push(false);
            self.set = word.is("set");
        }
        let modifier = word.is_any(&[
            "distinct",
            "distinctrow",
            "all",
            "sql_no_cache",
            "sql_cache",
        ]);
        let list = self.lists.last().copied().unwrap_or(false);
        match word.kind {
            TokenKind::Open => {
                self.lists.push(false);
                self.depth += 1;
            }
            TokenKind::Close => {
                self.depth = self.depth.saturating_sub(1);
                if self.lists.len() > 1 {
                    self.lists.pop();
                }
            }
            TokenKind::Word => {
                let ends = word.is_any(&[
                    "from", "where", "union", "order", "limit", "into", "group", "having", "for",
                ]);
                if let Some(list) = self.lists.last_mut() {
                    *list = (*list && !ends) || word.is("select");
                }
            }
            _ => {}
        }
        let begins = word.is("select")
            || (list && word.kind == TokenKind::Comma)
            || (list && self.begins_item && modifier);
        self.begins_item = begins;
        self.dot = word.kind == TokenKind::Dot;
        self.assigns =
            self.set && self.depth == 0 && (word.is("set") || word.kind == TokenKind::Comma);
    }

    fn passed_operand(&mut self) {
        if self.lists.is_empty() {
            self.lists.push(false);
        }
        self.begins_item = false;
        self.dot = false;
        self.assigns = false;
    }
}

/// True if the select item ends here: no operator, no alias.
fn ends_item(words: &Words<'_>) -> bool {
    words.peek().is_none_or(|next| {
        matches!(
            next.kind,
            TokenKind::Comma | TokenKind::Close | TokenKind::Semicolon
        ) || next.is_any(&[
            "from",
            "where",
            "union",
            "except",
            "intersect",
            "limit",
            "order",
            "into",
            "group",
            "having",
            "for",
            "lock",
            "window",
        ])
    })
}
