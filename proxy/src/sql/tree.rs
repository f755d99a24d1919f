//! The tables that a statement names, from its syntax tree. Where `sqlparser` cannot be believed
//! or cannot read the statement, the tables are unknown; nothing else depends on it.

use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Query, Statement, TableFactor, Visit, Visitor, visit_relations};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::dialect::{Charset, Dialect};
use super::lexer::{Lexer, TokenKind};
use super::plan::{Kind, Plan, TableName};

/// The longest statement that is parsed, in bytes.
const LONGEST: usize = 64 * 1024;

/// The deepest nesting of parentheses that is parsed: what the parser tries grows with it.
const DEEPEST: usize = 20;

/// A syntax tree is walked and dropped by recursion, and may be as deep as the statement has
/// operators: so much stack for each of its bytes.
const STACK_PER_BYTE: usize = 2048;

/// The tables of one statement, or `None` if they are not all known.
pub(super) fn tables(sql: &[u8], dialect: Dialect, plan: &Plan) -> Option<Vec<TableName>> {
    let worth = matches!(
        plan.kind,
        Kind::Select
            | Kind::Insert
            | Kind::Replace
            | Kind::Update
            | Kind::Delete
            | Kind::Explain
            | Kind::Analyze
    );
    if !worth || !plan.unknown_functions.is_empty() || !is_readable(sql, dialect) {
        return None;
    }
    let text = std::str::from_utf8(sql).ok()?.trim().trim_end_matches(';');
    stacker::grow((1 << 20) + text.len() * STACK_PER_BYTE, || {
        let statements = Parser::new(&MySqlDialect {})
            .with_recursion_limit(DEEPEST * 2)
            .try_with_sql(text)
            .ok()?
            .parse_statements()
            .ok()?;
        match &statements[..] {
            [statement] => tables_of(statement),
            _ => None,
        }
    })
}

/// True if the parser reads the statement as the server does and in bounded time.
fn is_readable(sql: &[u8], dialect: Dialect) -> bool {
    if sql.len() > LONGEST
        || (dialect.ansi_quotes && sql.contains(&b'"'))
        || (dialect.no_backslash_escapes && sql.contains(&b'\\'))
        || (dialect.charset != Charset::Utf8 && !sql.is_ascii())
    {
        return false;
    }
    let mut depth = 0usize;
    let mut lexer = Lexer::new(sql, dialect);
    for token in &mut lexer {
        match token.kind {
            TokenKind::ExecutableStart => return false,
            TokenKind::Open => depth += 1,
            TokenKind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return false;
        }
    }
    lexer.doubt().is_none()
}

fn tables_of(statement: &Statement) -> Option<Vec<TableName>> {
    let mut relations = Relations::default();
    if statement.visit(&mut relations).is_break() {
        return None;
    }
    let Relations { found, aliases, .. } = relations;
    let mut tables: Vec<TableName> = Vec::new();
    for table in found {
        // DELETE a FROM t AS a: the alias is no table.
        let alias = matches!(statement, Statement::Delete(_))
            && table.schema.is_none()
            && aliases
                .iter()
                .any(|alias| alias.eq_ignore_ascii_case(&table.name));
        let dual = table.schema.is_none() && table.name.eq_ignore_ascii_case("dual");
        if !alias && !dual && !tables.contains(&table) {
            tables.push(table);
        }
    }
    Some(tables)
}

/// Collects tables, without the names of common table expressions where these can be seen.
#[derive(Default)]
struct Relations {
    found: Vec<TableName>,
    aliases: Vec<String>,
    scopes: Vec<Vec<String>>,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let mut names = Vec::new();
        if let Some(with) = &query.with {
            names.extend(
                with.cte_tables
                    .iter()
                    .map(|cte| cte.alias.name.value.clone()),
            );
            for (i, cte) in with.cte_tables.iter().enumerate() {
                // An expression that is not in scope yet: a table of the same name.
                let hidden = names.get(i + usize::from(with.recursive)..);
                visit_relations(&cte.query, |relation| match table_name(relation) {
                    Some(table) if is_one_of(&table, hidden.unwrap_or_default()) => {
                        ControlFlow::Break(())
                    }
                    _ => ControlFlow::Continue(()),
                })?;
            }
        }
        self.scopes.push(names);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            alias: Some(alias), ..
        } = factor
        {
            self.aliases.push(alias.name.value.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let Some(table) = table_name(relation) else {
            return ControlFlow::Break(());
        };
        if !self.scopes.iter().any(|names| is_one_of(&table, names)) {
            self.found.push(table);
        }
        ControlFlow::Continue(())
    }
}

fn is_one_of(table: &TableName, names: &[String]) -> bool {
    table.schema.is_none()
        && names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&table.name))
}

fn table_name(relation: &ObjectName) -> Option<TableName> {
    let part = |i: usize| {
        let part = relation.0.get(i)?.as_ident()?;
        Some(part.value.clone())
    };
    match relation.0.len() {
        1 => Some(TableName {
            schema: None,
            name: part(0)?,
        }),
        2 => Some(TableName {
            schema: Some(part(0)?),
            name: part(1)?,
        }),
        _ => None,
    }
}
