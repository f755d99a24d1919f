//! Which prepared statements a backend connection has.

use std::collections::{HashMap, VecDeque};

/// The proxy's number of a prepared statement → the server's id on this connection, bounded: the
/// statement that was prepared first goes first.
#[derive(Debug)]
pub struct Prepared {
    ids: HashMap<u64, u32>,
    order: VecDeque<u64>,
    /// The one that was prepared last.
    last: Option<u64>,
    limit: usize,
}

impl Prepared {
    /// Room for `limit` statements.
    pub fn new(limit: usize) -> Self {
        Self {
            ids: HashMap::new(),
            order: VecDeque::new(),
            last: None,
            limit: limit.max(1),
        }
    }

    /// The server's id of a statement that was prepared here.
    pub fn get(&self, statement: u64) -> Option<u32> {
        self.ids.get(&statement).copied()
    }

    /// Notes a statement that was prepared here. Returns the server's ids that are to be closed:
    /// an older one of the same statement, and those that had to make room. Those in `kept`, whose
    /// cursors are open, stay.
    pub fn insert(&mut self, statement: u64, id: u32, kept: &[u64]) -> Vec<u32> {
        let mut closed = Vec::new();
        match self.ids.insert(statement, id) {
            Some(old) => closed.push(old),
            None => self.order.push_back(statement),
        }
        self.last = Some(statement);
        let is_needless = |one: &u64| *one != statement && !kept.contains(one);
        while self.order.len() > self.limit
            && let Some(at) = self.order.iter().position(is_needless)
            && let Some(first) = self.order.remove(at)
        {
            closed.extend(self.ids.remove(&first));
        }
        closed
    }

    /// Notes that none is the last one any more: it was closed, or another one could not be prepared.
    pub fn forget_order(&mut self) {
        self.last = None;
    }

    /// Forgets the statement that was prepared last: the server has closed it.
    pub fn forget_last(&mut self) {
        if let Some(last) = self.last.take() {
            self.remove(last);
        }
    }

    /// Forgets a statement and returns the server's id of it.
    pub fn remove(&mut self, statement: u64) -> Option<u32> {
        self.order.retain(|&other| other != statement);
        self.ids.remove(&statement)
    }

    /// Forgets all and returns the server's ids of them.
    pub fn clear(&mut self) -> Vec<u32> {
        self.order.clear();
        self.ids.drain().map(|(_, id)| id).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// The textual prepared statements of a connection. They have names of the proxy's, of which there
/// are few: a name that is used again drops the statement that had it.
#[derive(Debug, Default)]
pub struct Texts {
    /// The proxy's numbers of the statements, by the number in their names.
    slots: Vec<Option<u64>>,
    next: usize,
}

impl Texts {
    const SLOTS: usize = 32;

    /// The name of a statement that was prepared here.
    pub fn name(&self, statement: u64) -> Option<String> {
        let slot = self.slots.iter().position(|one| *one == Some(statement))?;
        Some(slot_name(slot))
    }

    /// The name under which a statement is to be prepared here.
    pub fn assign(&mut self, statement: u64) -> String {
        let known = self.slots.iter().position(|one| *one == Some(statement));
        let slot = known.unwrap_or_else(|| {
            self.next = (self.next + 1) % Self::SLOTS;
            self.next
        });
        self.slots.resize(Self::SLOTS, None);
        if let Some(one) = self.slots.get_mut(slot) {
            *one = Some(statement);
        }
        slot_name(slot)
    }

    /// Forgets a statement that could not be prepared.
    pub fn remove(&mut self, statement: u64) {
        for one in &mut self.slots {
            if *one == Some(statement) {
                *one = None;
            }
        }
    }

    /// Forgets all: the server has done so too.
    pub fn clear(&mut self) {
        self.slots.clear();
    }
}

fn slot_name(slot: usize) -> String {
    format!("isthmus_{slot}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_used_again() {
        let mut texts = Texts::default();
        let first = texts.assign(0);
        assert_eq!(texts.assign(0), first);
        assert_eq!(texts.name(0), Some(first.clone()));
        for number in 1..32 {
            assert_ne!(texts.assign(number), first);
        }
        assert_eq!(texts.assign(32), first);
        assert_eq!((texts.name(0), texts.name(32)), (None, Some(first)));
        texts.remove(32);
        assert_eq!(texts.name(32), None);
    }

    #[test]
    fn the_oldest_statement_makes_room() {
        let mut prepared = Prepared::new(2);
        assert!(prepared.insert(10, 1, &[]).is_empty());
        assert!(prepared.insert(11, 2, &[]).is_empty());
        assert_eq!(prepared.insert(10, 3, &[]), [1]);
        assert_eq!(prepared.insert(12, 4, &[]), [3]);
        assert_eq!(
            (prepared.get(10), prepared.get(11), prepared.get(12)),
            (None, Some(2), Some(4))
        );
        assert_eq!(prepared.remove(11), Some(2));
        assert_eq!(prepared.get(11), None);
    }

    #[test]
    fn a_statement_whose_cursor_is_open_stays() {
        let mut prepared = Prepared::new(1);
        assert!(prepared.insert(10, 1, &[]).is_empty());
        assert!(prepared.insert(11, 2, &[10]).is_empty());
        assert_eq!(prepared.insert(12, 3, &[10]), [2]);
        assert_eq!(prepared.insert(13, 4, &[]), [1, 3]);
        prepared.forget_last();
        assert!(prepared.is_empty());
    }
}
