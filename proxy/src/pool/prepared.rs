//! Which prepared statements a backend connection has.

use std::collections::{HashMap, VecDeque};

/// The proxy's number of a prepared statement → the server's id on this connection, bounded: the
/// statement that was prepared first goes first.
#[derive(Debug)]
pub struct Prepared {
    ids: HashMap<u64, u32>,
    order: VecDeque<u64>,
    limit: usize,
}

impl Prepared {
    /// Room for `limit` statements.
    pub fn new(limit: usize) -> Self {
        Self {
            ids: HashMap::new(),
            order: VecDeque::new(),
            limit: limit.max(1),
        }
    }

    /// The server's id of a statement that was prepared here.
    pub fn get(&self, statement: u64) -> Option<u32> {
        self.ids.get(&statement).copied()
    }

    /// Notes a statement that was prepared here. Returns the server's ids that are to be closed:
    /// an older one of the same statement, and one that had to make room.
    pub fn insert(&mut self, statement: u64, id: u32) -> Vec<u32> {
        let mut closed = Vec::new();
        match self.ids.insert(statement, id) {
            Some(old) => closed.push(old),
            None => self.order.push_back(statement),
        }
        if self.order.len() > self.limit
            && let Some(first) = self.order.pop_front()
        {
            closed.extend(self.ids.remove(&first));
        }
        closed
    }

    /// Forgets a statement and returns the server's id of it.
    pub fn remove(&mut self, statement: u64) -> Option<u32> {
        self.order.retain(|&other| other != statement);
        self.ids.remove(&statement)
    }

    /// Forgets all: the server has done so too.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_statement_makes_room() {
        let mut prepared = Prepared::new(2);
        assert!(prepared.insert(10, 1).is_empty());
        assert!(prepared.insert(11, 2).is_empty());
        assert_eq!(prepared.insert(10, 3), [1]);
        assert_eq!(prepared.insert(12, 4), [3]);
        assert_eq!(
            (prepared.get(10), prepared.get(11), prepared.get(12)),
            (None, Some(2), Some(4))
        );
        assert_eq!(prepared.remove(11), Some(2));
        assert_eq!(prepared.get(11), None);
    }
}
