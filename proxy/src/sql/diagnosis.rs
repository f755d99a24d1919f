//! Statements about the conditions of the one before them: `SHOW WARNINGS`, `SHOW ERRORS` and
//! `GET DIAGNOSTICS`.

use super::dialect::Dialect;
use super::lexer::{Reading, TokenKind};
use super::words::Words;

/// What such a statement asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diagnosis {
    /// `SHOW WARNINGS`, `SHOW ERRORS`: the conditions themselves.
    Conditions {
        /// Whether only errors are meant.
        only_errors: bool,
        /// How many of them are left out at the beginning.
        skipped: usize,
        /// How many are shown at most.
        most: usize,
    },
    /// `SHOW COUNT(*) WARNINGS`, `SHOW COUNT(*) ERRORS`: how many there are.
    Count {
        /// Whether only errors are meant.
        only_errors: bool,
    },
    /// `GET DIAGNOSTICS @a = NUMBER`: user variables, in lower case, that get something about the
    /// statement.
    Statement(Vec<(String, StatementItem)>),
    /// `GET DIAGNOSTICS CONDITION 1 @a = MESSAGE_TEXT`: user variables, in lower case, that get
    /// something of one condition.
    Condition {
        /// Which one.
        number: ConditionNumber,
        /// What of it.
        items: Vec<(String, ConditionItem)>,
    },
}

/// Which of the conditions is meant; they are counted from 1 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionNumber {
    /// This one.
    Literal(u64),
    /// The one whose number is in this user variable, in lower case.
    Variable(String),
}

/// What may be asked about a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementItem {
    /// How many conditions are kept.
    Number,
    /// How many rows it has changed.
    RowCount,
}

/// What may be asked about a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionItem {
    /// Who has defined the class of its SQLSTATE.
    ClassOrigin,
    /// Who has defined the rest of its SQLSTATE.
    SubclassOrigin,
    /// Its SQLSTATE.
    ReturnedSqlstate,
    /// Its text.
    MessageText,
    /// Its number.
    MysqlErrno,
    /// What only `SIGNAL` sets: the names of a constraint, a column and so on.
    Name,
}

/// Reads such a statement; `None` if it is none, or one that is not understood to its end.
pub fn read(sql: &[u8], dialect: Dialect) -> Option<Diagnosis> {
    let mut words = Words::new(sql, dialect, Reading::default());
    let diagnosis = match words.accept("show") {
        true => show(&mut words),
        false => get_diagnostics(&mut words),
    };
    words.accept_kind(TokenKind::Semicolon);
    let is_whole = words.next().is_none() && words.doubt().is_none();
    // What stands in an executable comment may be read or not.
    let has = |start: &[u8]| sql.windows(start.len()).any(|part| part == start);
    let is_certain = !has(b"/*!") && !has(b"/*M!");
    diagnosis.filter(|_| is_whole && is_certain)
}

fn show(words: &mut Words<'_>) -> Option<Diagnosis> {
    let counts = words.accept("count");
    if counts {
        let is_count = words.accept_kind(TokenKind::Open)
            && words.accept_kind(TokenKind::Operator(b'*'))
            && words.accept_kind(TokenKind::Close);
        is_count.then_some(())?;
    }
    let only_errors = words.accept("errors");
    (only_errors || words.accept("warnings")).then_some(())?;
    if counts {
        return Some(Diagnosis::Count { only_errors });
    }
    let (skipped, most) = limit(words)?;
    Some(Diagnosis::Conditions {
        only_errors,
        skipped,
        most,
    })
}

/// `LIMIT most`, `LIMIT skipped, most`, `LIMIT most OFFSET skipped`, or nothing.
fn limit(words: &mut Words<'_>) -> Option<(usize, usize)> {
    if !words.accept("limit") {
        return Some((0, usize::MAX));
    }
    let first = number(words)?;
    let (skipped, most) = if words.accept_kind(TokenKind::Comma) {
        (first, number(words)?)
    } else if words.accept("offset") {
        (number(words)?, first)
    } else {
        (0, first)
    };
    let at_most = |number| usize::try_from(number).unwrap_or(usize::MAX);
    Some((at_most(skipped), at_most(most)))
}

fn get_diagnostics(words: &mut Words<'_>) -> Option<Diagnosis> {
    words.accept("get").then_some(())?;
    words.accept("current");
    words.accept("diagnostics").then_some(())?;
    if !words.accept("condition") {
        return items(words, |word| match word {
            b"number" => Some(StatementItem::Number),
            b"row_count" => Some(StatementItem::RowCount),
            _ => None,
        })
        .map(Diagnosis::Statement);
    }
    let variable = words.peek().and_then(|word| word.user_variable());
    let number = match variable {
        Some(name) => {
            words.next();
            ConditionNumber::Variable(name)
        }
        None => ConditionNumber::Literal(number(words)?),
    };
    let items = items(words, condition_item)?;
    Some(Diagnosis::Condition { number, items })
}

fn condition_item(word: &[u8]) -> Option<ConditionItem> {
    Some(match word {
        b"class_origin" => ConditionItem::ClassOrigin,
        b"subclass_origin" => ConditionItem::SubclassOrigin,
        b"returned_sqlstate" => ConditionItem::ReturnedSqlstate,
        b"message_text" => ConditionItem::MessageText,
        b"mysql_errno" => ConditionItem::MysqlErrno,
        b"constraint_catalog"
        | b"constraint_schema"
        | b"constraint_name"
        | b"catalog_name"
        | b"schema_name"
        | b"table_name"
        | b"column_name"
        | b"cursor_name" => ConditionItem::Name,
        _ => return None,
    })
}

/// `@a = ITEM, @b = ITEM`
fn items<T>(words: &mut Words<'_>, item: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<(String, T)>> {
    let mut items = Vec::new();
    loop {
        let target = words.next()?.user_variable()?;
        words.accept_kind(TokenKind::Operator(b'=')).then_some(())?;
        items.push((target, item(words.next()?.keyword())?));
        if !words.accept_kind(TokenKind::Comma) {
            return Some(items);
        }
    }
}

fn number(words: &mut Words<'_>) -> Option<u64> {
    let word = words.next()?;
    let is_number = word.text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(word.text).ok()?;
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Option<Diagnosis> {
        super::read(sql.as_bytes(), Dialect::default())
    }

    #[test]
    fn conditions_are_asked_for_in_many_ways() {
        let conditions = |only_errors, skipped, most| {
            Some(Diagnosis::Conditions {
                only_errors,
                skipped,
                most,
            })
        };
        let cases = [
            ("SHOW WARNINGS", conditions(false, 0, usize::MAX)),
            ("/* a */ show\n errors ; ", conditions(true, 0, usize::MAX)),
            ("SHOW WARNINGS LIMIT 2", conditions(false, 0, 2)),
            ("SHOW ERRORS LIMIT 1,2 -- b", conditions(true, 1, 2)),
            ("SHOW WARNINGS LIMIT 2 OFFSET 1", conditions(false, 1, 2)),
            (
                "SHOW COUNT(*) ERRORS",
                Some(Diagnosis::Count { only_errors: true }),
            ),
            (
                "SHOW COUNT( * ) WARNINGS",
                Some(Diagnosis::Count { only_errors: false }),
            ),
            ("SHOW WARNINGS LIMIT ?", None),
            ("SHOW WARNINGS /*!99999 LIMIT 1 */", None),
            ("SHOW WARNINGS; SELECT 1", None),
            ("SHOW TABLES", None),
        ];
        for (sql, expected) in cases {
            assert_eq!(read(sql), expected, "{sql}");
        }
    }

    #[test]
    fn what_is_assigned_is_told_apart() {
        use ConditionItem::{MessageText, MysqlErrno, Name};
        let name = str::to_owned;
        assert_eq!(
            read("GET DIAGNOSTICS @n = NUMBER, @`Rows` = row_count"),
            Some(Diagnosis::Statement(vec![
                (name("n"), StatementItem::Number),
                (name("rows"), StatementItem::RowCount),
            ]))
        );
        assert_eq!(
            read("GET CURRENT DIAGNOSTICS CONDITION 2 @errno = MYSQL_ERRNO, @T=MESSAGE_TEXT"),
            Some(Diagnosis::Condition {
                number: ConditionNumber::Literal(2),
                items: vec![(name("errno"), MysqlErrno), (name("t"), MessageText)],
            })
        );
        assert_eq!(
            read("GET DIAGNOSTICS CONDITION @N @`b c` = TABLE_NAME;"),
            Some(Diagnosis::Condition {
                number: ConditionNumber::Variable(name("n")),
                items: vec![(name("b c"), Name)],
            })
        );
        for sql in [
            "GET STACKED DIAGNOSTICS @n = NUMBER",
            "GET DIAGNOSTICS @n = MESSAGE_TEXT",
            "GET DIAGNOSTICS CONDITION 1 n = MESSAGE_TEXT",
            "GET DIAGNOSTICS CONDITION 1 @n = ROW_NUMBER",
            "GET DIAGNOSTICS @n = NUMBER,",
        ] {
            assert_eq!(read(sql), None, "{sql}");
        }
    }
}
