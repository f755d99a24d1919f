//! Marks that several sessions share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Mark;

/// The newest mark of all who share it.
#[derive(Debug, Default)]
pub struct SharedMark(AtomicU64);

impl SharedMark {
    /// The mark; `None` while nobody has written.
    pub fn get(&self) -> Option<Mark> {
        Some(Mark(self.0.load(Ordering::Acquire))).filter(|mark| mark.0 > 0)
    }

    /// Raises it, if this one is newer.
    pub fn raise(&self, mark: Mark) {
        self.0.fetch_max(mark.0, Ordering::AcqRel);
    }
}

/// The marks that are shared by everybody, by the sessions of a user, and by those with a key.
#[derive(Debug, Default)]
pub struct SharedMarks {
    /// Everybody's.
    pub global: Arc<SharedMark>,
    users: Mutex<HashMap<String, Arc<SharedMark>>>,
    /// By key.
    pub keys: Keys,
}

impl SharedMarks {
    /// The mark of all sessions of a user.
    pub fn user(&self, name: &str) -> Arc<SharedMark> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.entry(name.to_owned()).or_default().clone()
    }
}

/// The marks of those who show the same key.
#[derive(Debug, Default)]
pub struct Keys {
    marks: Mutex<HashMap<Box<str>, Mark>>,
    /// For keys that are not in the table: no older than any mark that was dropped from it.
    floor: SharedMark,
}

impl Keys {
    /// More than that are not kept.
    const LIMIT: usize = 65_536;

    /// What everybody who shows this key must see.
    pub fn get(&self, key: &str) -> Option<Mark> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.get(key).copied().max(self.floor.get())
    }

    /// Raises the mark of a key. `is_needless` says of a mark that all readers have reached it:
    /// those are the first to go when the table is full. Where that is not enough, all keys share
    /// the newest mark from then on.
    pub fn raise(&self, key: &str, mark: Mark, is_needless: impl Fn(Mark) -> bool) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = marks.get_mut(key) {
            *known = mark.max(*known);
            return;
        }
        if marks.len() >= Self::LIMIT {
            self.drop_if(&mut marks, is_needless);
            if marks.len() > Self::LIMIT / 2 {
                self.drop_if(&mut marks, |_| true);
            }
        }
        marks.insert(key.into(), mark);
    }

    fn drop_if(&self, marks: &mut HashMap<Box<str>, Mark>, is_needless: impl Fn(Mark) -> bool) {
        marks.retain(|_, mark| {
            let is_kept = !is_needless(*mark);
            if !is_kept {
                self.floor.raise(*mark);
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_forgotten_too_early() {
        let keys = Keys::default();
        let limit = Keys::LIMIT as u64;
        assert_eq!(keys.get("1"), None);
        for number in 1..=limit {
            keys.raise(&number.to_string(), Mark(number), |_| false);
        }
        assert_eq!(keys.get("7"), Some(Mark(7)));
        assert_eq!(keys.get("x"), None);
        // Those that are reached make room.
        keys.raise("next", Mark(limit + 1), |mark| mark.0 <= limit / 2);
        assert_eq!(keys.get("7"), Some(Mark(limit / 2)));
        let kept = limit / 2 + 1;
        assert_eq!(keys.get(&kept.to_string()), Some(Mark(kept)));
        // If too few are, all of them are as new as the newest.
        for number in limit + 2..=2 * limit {
            keys.raise(&number.to_string(), Mark(number), |_| false);
        }
        let old = keys.get(&kept.to_string()).unwrap();
        assert!(old.0 >= limit, "{old:?}");
        assert!(keys.marks.lock().unwrap().len() <= Keys::LIMIT);
    }
}
