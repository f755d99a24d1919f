//! Prepared statements, shared between sessions that prepared the same text in the same state.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::long_data::LongData;
use crate::pool::State;
use crate::sql::Planned;

/// What a prepared statement says and means, whichever session and connection it is on.
#[derive(Debug)]
pub struct Statement {
    /// The proxy's number of it.
    pub number: u64,
    /// The text of the statement.
    pub sql: Box<[u8]>,
    /// For a textual one, the literal that it is prepared from.
    pub literal: Option<Box<[u8]>>,
    /// What the text says.
    pub planned: Planned,
    /// The state that it was prepared in, which decides what its names mean.
    pub state: Arc<State>,
}

/// The statements in use.
#[derive(Debug, Default)]
pub struct StatementTable {
    statements: Mutex<HashMap<Key, Weak<Statement>>>,
    next: AtomicU64,
}

/// The state is named by its address: equal states are the same `Arc`, and a statement keeps its
/// state alive. A textual statement is found by its literal.
type Key = (usize, Usage, Box<[u8]>);

/// What a statement is prepared for. Executions with a cursor have one apart: MySQL answers out of
/// step where a statement that has had a cursor from its first execution on is executed without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Usage {
    Rows,
    Cursor,
    Text,
}

impl StatementTable {
    /// Statements nobody uses any more are dropped when the table has grown by so many.
    const SWEEP_AT: usize = 1024;

    /// The one binary statement of this text in this state, for executions with a cursor or without.
    pub fn intern(
        &self,
        sql: &[u8],
        planned: Planned,
        state: &Arc<State>,
        with_cursor: bool,
    ) -> Arc<Statement> {
        let usage = match with_cursor {
            true => Usage::Cursor,
            false => Usage::Rows,
        };
        self.intern_as(usage, sql, sql, planned, state)
    }

    /// The one textual statement that is prepared from this literal in this state.
    pub fn intern_text(
        &self,
        literal: &[u8],
        sql: &[u8],
        planned: Planned,
        state: &Arc<State>,
    ) -> Arc<Statement> {
        self.intern_as(Usage::Text, literal, sql, planned, state)
    }

    /// Another statement of the same text, for a connection that is to have both.
    pub fn another(&self, statement: &Statement) -> Arc<Statement> {
        Arc::new(Statement {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            sql: statement.sql.clone(),
            literal: statement.literal.clone(),
            planned: statement.planned.clone(),
            state: statement.state.clone(),
        })
    }

    fn intern_as(
        &self,
        usage: Usage,
        text: &[u8],
        sql: &[u8],
        planned: Planned,
        state: &Arc<State>,
    ) -> Arc<Statement> {
        let key = (Arc::as_ptr(state) as usize, usage, Box::from(text));
        let mut statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = statements.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if statements.len() % Self::SWEEP_AT == Self::SWEEP_AT - 1 {
            statements.retain(|_, statement| statement.strong_count() > 0);
        }
        let statement = Arc::new(Statement {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            sql: sql.into(),
            literal: (usage == Usage::Text).then(|| text.into()),
            planned,
            state: state.clone(),
        });
        statements.insert(key, Arc::downgrade(&statement));
        statement
    }
}

/// A statement as one session has it.
#[derive(Debug)]
pub(super) struct SessionStatement {
    /// The statement as the client prepared it.
    pub original: Arc<Statement>,
    /// The statement as it was last executed: with the session's values in it, and with a cursor or
    /// without.
    pub statement: Arc<Statement>,
    /// How many parameters it has.
    pub params: usize,
    /// The parameter types that the client sent last, two bytes each.
    pub types: Vec<u8>,
    /// The parameters that were sent ahead of the next execution.
    pub long_data: LongData,
}
