//! Whose marks a session shares, by the scope in the configuration.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::effects::ends_transaction;
use super::{Session, Shared, World};
use crate::config::{Pinning, Scope};
use crate::consistency::{Mark, SharedMark, Token};
use crate::routing::Transaction;
use crate::sql::{Hints, Plan};

/// What a session shares its mark by.
#[derive(Debug)]
pub(super) struct Sharing {
    /// The mark of all sessions of its user.
    user: Arc<SharedMark>,
    /// The key that it has shown last.
    key: Option<Box<str>>,
    /// The token that it has been shown last by a hint, and has taken note of.
    pub(super) taken: Option<Box<str>>,
}

impl Sharing {
    /// What a session of this user shares before it has shown a key.
    pub(super) fn new(user: Arc<SharedMark>) -> Self {
        Self {
            user,
            key: None,
            taken: None,
        }
    }

    /// Forgets what the session has shown, as after COM_RESET_CONNECTION.
    pub(super) fn clear(&mut self) {
        self.key = None;
        self.taken = None;
    }
}

/// Raises the mark that a session shares.
pub(super) struct Herald {
    shared: Arc<Shared>,
    world: Arc<World>,
    user: Arc<SharedMark>,
    key: Option<Box<str>>,
}

impl Herald {
    /// Lets others see everything up to now.
    pub(super) fn announce(&self) {
        self.raise(self.shared.ledger.mark(Token::anything()));
    }

    fn raise(&self, mark: Mark) {
        let marks = &self.shared.marks;
        match self.world.config.consistency.scope {
            Scope::Session => {}
            Scope::Global => marks.global.raise(mark),
            Scope::User => self.user.raise(mark),
            Scope::Key => {
                if let Some(key) = &self.key {
                    let readers = &self.world.readers;
                    let is_needless = |mark| readers.iter().all(|reader| reader.has_seen(mark));
                    marks.keys.raise(key, mark, is_needless);
                }
            }
        }
    }
}

impl Session {
    /// Takes note of the key that a statement shows. The session goes on under it until it shows
    /// another one, since what a driver or framework sends by itself, such as COMMIT, shows none.
    pub(super) fn note_key(&mut self, hints: &Hints) {
        if let Some(key) = &hints.key
            && self.world.config.consistency.scope == Scope::Key
            && self.sharing.key.as_deref() != Some(key)
        {
            self.sharing.key = Some(key.as_str().into());
            // What it read under another key was read by somebody else.
            self.seat = None;
        }
    }

    /// What the session's reads must see: its own mark or that of those it shares with.
    pub(super) fn mark_to_see(&self) -> Option<Mark> {
        let own = self.mark.as_ref().map(|pin| pin.mark);
        own.max(self.shared_mark())
    }

    /// What this statement must see: the session's own mark does not count for it if that is about
    /// other tables.
    pub(super) fn mark_to_see_for(&self, plan: &Plan) -> Option<Mark> {
        let is_told_apart = self.world.config.consistency.pin == Pinning::Tables;
        match &self.mark {
            Some(pin) if is_told_apart => {
                let touched = self.touched_by(plan);
                let own = pin.touched.meets(&touched).then_some(pin.mark);
                own.max(self.shared_mark())
            }
            _ => self.mark_to_see(),
        }
    }

    /// What stands for this mark, if it is the session's own and shared with nobody: a position of
    /// the writer that comes after all that the session had written and seen when it wrote.
    pub(super) fn token_for(&self, mark: Mark) -> Option<Token> {
        let own = self.mark.as_ref().filter(|pin| pin.mark == mark);
        let told = own.and_then(|pin| pin.told.clone());
        told.filter(|_| self.shared_mark().is_none())
    }

    /// The mark of those that the session shares with.
    fn shared_mark(&self) -> Option<Mark> {
        match self.world.config.consistency.scope {
            Scope::Session => None,
            Scope::User => self.sharing.user.get(),
            Scope::Key => {
                // Others may have read from the reader before it became another server.
                let key = self.sharing.key.as_deref();
                key.map(|key| self.shared.marks.keys.get(key).unwrap_or(Mark::OLDEST))
            }
            Scope::Global => self.shared.marks.global.get(),
        }
    }

    /// Lets those who share the session's mark see what it has written or seen. What everybody
    /// shares is raised by writes only.
    pub(super) fn share_mark(&self, mark: Mark) {
        if !matches!(
            self.world.config.consistency.scope,
            Scope::Session | Scope::Global
        ) {
            self.herald().raise(mark);
        }
    }

    /// What lets others see what a statement on the writer writes or shows, before its client hears
    /// that it is done and can tell them. `None` where nobody else has to see it.
    pub(super) fn herald_of(&self, plan: &Plan, is_on_writer: bool) -> Option<Herald> {
        let has_to = match self.world.config.consistency.scope {
            Scope::Session => false,
            Scope::Global => plan.marks || self.has_written,
            Scope::User => true,
            Scope::Key => self.sharing.key.is_some(),
        };
        // What a transaction has written nobody sees before its end.
        let goes_on = self.transaction != Transaction::None && !ends_transaction(plan);
        (has_to && is_on_writer && !goes_on).then(|| self.herald())
    }

    fn herald(&self) -> Herald {
        Herald {
            shared: self.shared.clone(),
            world: self.world.clone(),
            user: self.sharing.user.clone(),
            key: self.sharing.key.clone(),
        }
    }

    /// Which of the readers the session tries first: all who show the same key take the same one,
    /// so that none sees an older state than another.
    pub(super) fn first_reader(&self) -> usize {
        match &self.sharing.key {
            None => self.handle.id as usize,
            Some(key) => {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                // The lowest bits are as good as any.
                hasher.finish() as usize
            }
        }
    }

    /// Whether the session reads from another reader than others who show its key may.
    pub(super) fn is_guest(&self) -> bool {
        let readers = &self.world.readers;
        let first = || readers.get(self.first_reader() % readers.len().max(1));
        match &self.seat {
            Some(seat) if self.sharing.key.is_some() => {
                first().is_none_or(|first| !Arc::ptr_eq(&seat.endpoint, &first.endpoint))
            }
            _ => false,
        }
    }
}
