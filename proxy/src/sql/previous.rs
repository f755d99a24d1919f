//! What a statement does to what belongs to the one before it: the conditions that MariaDB leaves,
//! and the rows that FOUND_ROWS() counts.

use super::dialect::Dialect;
use super::lexer::{Lexer, TokenKind};
use super::plan::{Kind, Plan, Prepared, ScriptStatement, TableName};
use super::script;
use super::text_prepare::{TextCommand, text_command};
use super::tree;

/// Whether MariaDB leaves the conditions of the statement before: it clears them for statements with
/// tables.
pub fn leaves_conditions(plan: &Plan, sql: &[u8], dialect: Dialect) -> bool {
    use Kind::{
        Begin, Commit, Ddl, Deallocate, Do, Prepare, ReleaseSavepoint, Rollback, RollbackTo,
        Savepoint, Script, Select, Set, SetTransaction, UnlockTables, Use, Xa,
    };
    match plan.kind {
        Select | Do | Set => match &plan.tables {
            // A derived table is one too.
            Some(tables) => tables.is_empty() && !has_derived_table(sql),
            None => !has_table_word(sql, dialect),
        },
        Ddl => is_about_no_table(sql),
        // With the tables of what is prepared.
        Prepare => match &plan.prepared {
            Some(prepared) => prepares_no_table(prepared, sql, dialect),
            None => needs_no_table(plan.tables.as_deref(), sql, dialect),
        },
        Begin | Commit | Deallocate | ReleaseSavepoint | Rollback | RollbackTo | Savepoint
        | SetTransaction | UnlockTables | Use | Xa => true,
        Script => script::read(sql, dialect, true)
            .statements
            .iter()
            .all(|part| {
                let text = sql.get(part.range.clone()).unwrap_or_default();
                part.plan.is_diagnostic() || leaves_conditions(&part.plan, text, dialect)
            }),
        _ => false,
    }
}

/// Whether a PREPARE is of a statement without tables. What a variable says is taken for one with.
fn prepares_no_table(prepared: &Prepared, sql: &[u8], dialect: Dialect) -> bool {
    match (&prepared.inner, text_command(sql, dialect)) {
        (Some(inner), Some(TextCommand::Prepare { text, .. })) => {
            let tables = tree::tables(&text, dialect, inner);
            needs_no_table(tables.as_deref(), &text, dialect)
        }
        _ => false,
    }
}

/// Whether no table is opened to prepare a statement, of which these are read or written.
fn needs_no_table(tables: Option<&[TableName]>, sql: &[u8], dialect: Dialect) -> bool {
    match tables {
        Some(tables) => tables.is_empty() && !has_derived_table(sql),
        None => {
            !shows_tables(sql)
                && !changes_rows(sql)
                && !is_about_tables(sql)
                && !has_table_word(sql, dialect)
        }
    }
}

/// Whether it may read a table: there is a FROM or TABLE in it that is no part of a text.
fn has_table_word(sql: &[u8], dialect: Dialect) -> bool {
    let lexer = Lexer::new(sql, dialect);
    lexer.clone().any(|token| {
        token.kind == TokenKind::Word && is_one_of(lexer.text(token), &[b"from", b"table"])
    })
}

fn has_derived_table(sql: &[u8]) -> bool {
    [&b"with "[..], b"from (", b"from("].iter().any(|words| {
        sql.windows(words.len())
            .any(|part| part.eq_ignore_ascii_case(words))
    })
}

fn changes_rows(sql: &[u8]) -> bool {
    const VERBS: [&[u8]; 5] = [b"delete", b"insert", b"load", b"replace", b"update"];
    let verb = words(sql).next();
    verb.is_some_and(|word| is_one_of(word, &VERBS))
}

/// Whether the statement is a SHOW that opens tables, if only those of the server's that it shows.
fn shows_tables(sql: &[u8]) -> bool {
    const OTHERS: [&[u8]; 3] = [b"warnings", b"errors", b"count(*)"];
    let mut words = words(sql);
    if !words.next().is_some_and(|word| is_one_of(word, &[b"show"])) {
        return false;
    }
    match words.next() {
        Some(word) if is_one_of(word, &[b"create"]) => words
            .next()
            .is_some_and(|word| is_one_of(word, &[b"table", b"view", b"sequence"])),
        Some(word) => !is_one_of(word, &OTHERS) && !is_one_of(word, &NOT_FOUND),
        None => false,
    }
}

/// What SHOW tells without a query.
const NOT_FOUND: [&[u8]; 10] = [
    b"create",
    b"processlist",
    b"full",
    b"grants",
    b"binary",
    b"master",
    b"replica",
    b"slave",
    b"privileges",
    b"profiles",
];

/// Whether the rows of a statement's result are found by a query, so that FOUND_ROWS() counts them.
pub fn finds_rows(plan: &Plan, sql: &[u8]) -> bool {
    use Kind::{Admin, Analyze, Checksum, Delete, Explain, Help, Insert, Replace, Show, Xa};
    match plan.kind {
        Admin | Analyze | Checksum | Help | Xa => false,
        // MariaDB's RETURNING.
        Delete | Insert | Replace => false,
        Explain | Show => shows_found_rows(plan.kind, sql),
        _ => true,
    }
}

/// The same for a statement that shows something of the server's.
#[cold]
fn shows_found_rows(kind: Kind, sql: &[u8]) -> bool {
    second_word(sql).is_some_and(|word| match kind {
        // Of a table it lists the columns.
        Kind::Explain => !begins_statement(word),
        _ => !is_one_of(word, &NOT_FOUND),
    })
}

/// What FOUND_ROWS() says after a statement that has shown no rows, where that is another number than
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// So many.
    Number(u64),
    /// As many as it has changed, or put into variables.
    Affected,
    /// As many as it tells to have matched, or read.
    Counted,
}

impl Found {
    /// What a statement finds that has succeeded without a result set. Where servers decide as they
    /// optimise, it is what they do as a rule.
    pub fn by(plan: &Plan, sql: &[u8], dialect: Dialect, is_mariadb: bool) -> Option<Self> {
        let has_one_table = plan.tables.as_ref().is_some_and(|tables| tables.len() == 1);
        match plan.kind {
            // Its rows went into variables.
            Kind::Select => Some(Self::Affected),
            // MySQL counts the row that it throws away.
            Kind::Do => (!is_mariadb).then_some(Self::Number(1)),
            Kind::Insert | Kind::Replace => {
                has_rows_of_query(sql, dialect).then_some(Self::Counted)
            }
            Kind::Update if has_one_table => (!is_mariadb).then_some(Self::Counted),
            Kind::Update if is_mariadb => is_join(sql, dialect).then_some(Self::Counted),
            Kind::Update if is_join(sql, dialect) => Some(Self::Number(0)),
            Kind::Update => Some(Self::Counted),
            Kind::Delete if has_one_table || is_mariadb => None,
            Kind::Delete => is_join(sql, dialect).then_some(Self::Number(0)),
            Kind::Ddl if is_mariadb => has_rows_of_query(sql, dialect).then_some(Self::Counted),
            _ => None,
        }
    }
}

/// Which of several statements may have found rows: any of the first `ran`, and the last one of all, in a
/// result.
pub fn finds_rows_within(
    sql: &[u8],
    dialect: Dialect,
    is_mariadb: bool,
    ran: usize,
) -> (bool, bool) {
    let statements = script::read(sql, dialect, true).statements;
    let text = |part: &ScriptStatement| sql.get(part.range.clone()).unwrap_or_default();
    let shows = |part: &ScriptStatement| shows_rows_found(&part.plan, text(part));
    let counts = |part: &ScriptStatement| {
        let found = Found::by(&part.plan, text(part), dialect, is_mariadb);
        found.is_some() || shows(part) || has_query(text(part), dialect)
    };
    (
        statements.iter().take(ran).any(counts),
        statements.last().is_some_and(shows),
    )
}

/// Whether a statement answers with rows that FOUND_ROWS() counts.
fn shows_rows_found(plan: &Plan, sql: &[u8]) -> bool {
    use Kind::{Call, Compound, Execute, Explain, HandlerRead, Select, Show, Unknown};
    match plan.kind {
        _ if plan.is_diagnostic() => counts_conditions(sql),
        Call | Compound | Execute | Explain | HandlerRead | Select | Show | Unknown => {
            finds_rows(plan, sql)
        }
        _ => false,
    }
}

fn has_query(sql: &[u8], dialect: Dialect) -> bool {
    has_word(sql, dialect, &[b"select"])
}

fn has_word(sql: &[u8], dialect: Dialect, words: &[&[u8]]) -> bool {
    let mut lexer = Lexer::new(sql, dialect);
    let text = lexer;
    lexer.any(|token| is_one_of(text.text(token), words))
}

/// How far into several statements FOUND_ROWS() is what it was before them: to the end of the first one
/// that may find rows.
pub(super) fn end_of_kept_count(sql: &[u8], dialect: Dialect, is_mariadb: bool) -> usize {
    let keeps = |part: &ScriptStatement| {
        let text = sql.get(part.range.clone()).unwrap_or_default();
        keeps_count(&part.plan, text, dialect, is_mariadb)
    };
    let statements = script::read(sql, dialect, true).statements;
    let finding = statements.iter().find(|part| !keeps(part));
    finding.map_or(sql.len(), |part| part.range.end)
}

fn keeps_count(plan: &Plan, sql: &[u8], dialect: Dialect, is_mariadb: bool) -> bool {
    use Kind::{
        Begin, Commit, Delete, Insert, LoadData, ReleaseSavepoint, Replace, Rollback, RollbackTo,
        Savepoint, Set, SetTransaction, Update,
    };
    let is_table_query = plan.kind != LoadData && has_word(sql, dialect, &[b"table"]);
    match plan.kind {
        Begin | Commit | Delete | Insert | LoadData | ReleaseSavepoint | Replace | Rollback
        | RollbackTo | Savepoint | Set | SetTransaction | Update => {
            !is_table_query
                && !has_query(sql, dialect)
                && Found::by(plan, sql, dialect, is_mariadb).is_none()
        }
        _ => false,
    }
}

/// How many statements at the end of several leave the conditions of those before, unless they have
/// some of their own, and by how many others is behind the one that ROW_COUNT() counts, which is
/// `None` for the last. Each of them has one result.
pub fn sources(
    plan: &Plan,
    sql: &[u8],
    dialect: Dialect,
    is_mariadb: bool,
) -> (usize, Option<usize>) {
    if !plan.is_script() {
        return (0, None);
    }
    let script = script::read(sql, dialect, true).statements;
    let leaves = |part: &&ScriptStatement| {
        let text = sql.get(part.range.clone()).unwrap_or_default();
        let leaves = is_mariadb && leaves_conditions(&part.plan, text, dialect);
        leaves || part.plan.is_diagnostic()
    };
    let counts = |part: &ScriptStatement| part.plan.kind != Kind::Diagnostics;
    (
        script.iter().rev().take_while(leaves).count(),
        script
            .iter()
            .rev()
            .position(counts)
            .filter(|behind| *behind > 0),
    )
}

/// Whether what is inserted comes from a query instead of a list of values.
fn has_rows_of_query(sql: &[u8], dialect: Dialect) -> bool {
    let lexer = Lexer::new(sql, dialect);
    let (mut depth, mut has_query) = (0_usize, false);
    for token in lexer {
        match lexer.text(token) {
            b"(" => depth += 1,
            b")" => depth = depth.saturating_sub(1),
            word if is_one_of(word, &[b"select"]) => {
                if depth == 0 {
                    return true;
                }
                has_query = true;
            }
            word if depth == 0 && is_one_of(word, &[b"values", b"value", b"set"]) => return false,
            _ => {}
        }
    }
    has_query
}

/// Whether several tables are changed, or one by the rows of a subquery that servers join with it.
fn is_join(sql: &[u8], dialect: Dialect) -> bool {
    let lexer = Lexer::new(sql, dialect);
    let mut last: [&[u8]; 2] = [b"", b""];
    let mut has_query = false;
    for token in lexer {
        let word = lexer.text(token);
        if is_one_of(word, &[b"select"]) {
            has_query = true;
            if is_one_of(last[0], &[b"in", b"exists"]) && last[1] == b"(" {
                return true;
            }
        }
        last = [last[1], word];
    }
    !has_query
}

/// Whether the word behind EXPLAIN is no table's name.
fn begins_statement(word: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 11] = [
        b"select",
        b"insert",
        b"update",
        b"delete",
        b"replace",
        b"with",
        b"table",
        b"format",
        b"extended",
        b"partitions",
        b"for",
    ];
    let word = word.split(|byte| *byte == b'=').next().unwrap_or_default();
    is_one_of(word, &BEGINNINGS) || word.starts_with(b"(")
}

/// Whether a SHOW about conditions is one of their number.
pub fn counts_conditions(sql: &[u8]) -> bool {
    let count = second_word(sql).and_then(|word| word.get(..5));
    count.is_some_and(|word| is_one_of(word, &[b"count"]))
}

fn second_word(sql: &[u8]) -> Option<&[u8]> {
    words(sql).nth(1)
}

fn words(sql: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = sql.split(|byte| byte.is_ascii_whitespace());
    words.filter(|word| !word.is_empty())
}

fn is_one_of(word: &[u8], all: &[&[u8]]) -> bool {
    all.iter().any(|one| word.eq_ignore_ascii_case(one))
}

/// Whether the statement makes, changes, drops or looks after tables, or what is on them.
fn is_about_tables(sql: &[u8]) -> bool {
    const VERBS: [&[u8]; 9] = [
        b"alter",
        b"analyze",
        b"check",
        b"create",
        b"drop",
        b"optimize",
        b"rename",
        b"repair",
        b"truncate",
    ];
    let verb = words(sql).next();
    verb.is_some_and(|word| is_one_of(word, &VERBS)) && !is_about_no_table(sql)
}

/// Whether the statement makes, changes or drops what is no table and not on one.
fn is_about_no_table(sql: &[u8]) -> bool {
    const TABLES: [&[u8]; 6] = [
        b"table",
        b"view",
        b"trigger",
        b"index",
        b"sequence",
        b"event",
    ];
    const OTHERS: [&[u8]; 7] = [
        b"database",
        b"schema",
        b"procedure",
        b"function",
        b"user",
        b"role",
        b"server",
    ];
    let mut words = sql.split(|byte| byte.is_ascii_whitespace());
    let object = words.find(|word| is_one_of(word, &TABLES) || is_one_of(word, &OTHERS));
    object.is_some_and(|word| is_one_of(word, &OTHERS))
}
