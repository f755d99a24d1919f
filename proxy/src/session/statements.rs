//! Prepared statements, shared between sessions that prepared the same text in the same state.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::pool::State;
use crate::sql::Planned;

/// What a prepared statement says and means, whichever session and connection it is on.
#[derive(Debug)]
pub struct Statement {
    /// The proxy's number of it.
    pub number: u64,
    /// The text as it was sent to the server.
    pub sql: Box<[u8]>,
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
/// state alive.
type Key = (usize, Box<[u8]>);

impl StatementTable {
    /// Statements nobody uses any more are dropped when the table has grown by so many.
    const SWEEP_AT: usize = 1024;

    /// The one statement of this text in this state.
    pub fn intern(&self, sql: &[u8], planned: Planned, state: &Arc<State>) -> Arc<Statement> {
        let key = (Arc::as_ptr(state) as usize, Box::from(sql));
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
    /// The statement.
    pub statement: Arc<Statement>,
    /// How many parameters it has.
    pub params: usize,
    /// The parameter types that the client sent last, two bytes each.
    pub types: Vec<u8>,
    /// COM_STMT_SEND_LONG_DATA commands that wait for the next execution: parameter and bytes.
    pub long_data: Vec<(u16, Vec<u8>)>,
}
