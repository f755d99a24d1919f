//! What a session has by name on the connection that it keeps.

use std::collections::HashMap;

use crate::sql::Holds;
use crate::sql::possessions::{Possession, Transfer};

/// Locks, temporary tables, handlers and textual prepared statements. May believe in more than
/// there is (a lock that was not granted), never in less.
#[derive(Debug, Default)]
pub(super) struct Possessions {
    named: HashMap<(Possession, Vec<u8>), u32>,
    unnamed: Vec<Possession>,
}

impl Possessions {
    /// Takes note of what a statement took and gave up. After an error only what it may have taken
    /// counts.
    pub(super) fn note(&mut self, transfers: Vec<Transfer>, failed: bool) {
        for transfer in transfers {
            match transfer {
                Transfer::Takes(possession, name) => {
                    let count = self.named.entry((possession, name)).or_default();
                    // Only locks can be taken twice.
                    *count = if possession == Possession::UserLock {
                        *count + 1
                    } else {
                        1
                    };
                }
                Transfer::TakesUnnamed(possession) => self.unnamed.push(possession),
                Transfer::Gives(..) | Transfer::GivesAll(_) if failed => {}
                Transfer::Gives(possession, name) => {
                    let key = (possession, name);
                    if let Some(count) = self.named.get_mut(&key) {
                        *count -= 1;
                        if *count == 0 {
                            self.named.remove(&key);
                        }
                    }
                }
                Transfer::GivesAll(possession) => {
                    self.named.retain(|(other, _), _| *other != possession);
                    self.unnamed.retain(|other| *other != possession);
                }
            }
        }
    }

    /// The holds that are not needed, because nothing of their kind is there.
    pub(super) fn needless(&self) -> Holds {
        Possession::EACH
            .into_iter()
            .filter(|possession| {
                !self.unnamed.contains(possession)
                    && !self.named.keys().any(|(other, _)| other == possession)
            })
            .fold(Holds::empty(), |holds, one| holds | one.hold())
    }

    /// Forgets all: the connection is gone or was reset.
    pub(super) fn clear(&mut self) {
        self.named.clear();
        self.unnamed.clear();
    }
}

/// The holds that end when the last possession of their kind is given up.
pub(super) const BY_NAME: Holds = Possession::UserLock
    .hold()
    .union(Possession::TemporaryTable.hold())
    .union(Possession::Handler.hold())
    .union(Possession::TextPrepare.hold());
