//! What routines do, of which neither the text of a statement nor its answer tells: they take user
//! locks, and on MariaDB set variables.
//!
//! Behind a statement that may run a routine, before its connection is given back, the server is
//! asked to release all user locks. Hardly ever is there one. Then the session has lost it, and is
//! ended as by a server, with which its locks would end too. From then on the statement keeps its
//! connection, like one that calls `GET_LOCK` itself. Variables are asked for, and carried like all
//! others.

use super::Session;
use super::commands::mentions;
use super::effects::ends_transaction;
use super::followup::Followup;
use crate::pool::{Lease, deviations};
use crate::relay::Reply;
use crate::routing::{self, Transaction};
use crate::sql::{self, Plan, Planned};

/// The statements that may have taken locks on the connection that the session has, since it was
/// asked.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    statements: Vec<Planned>,
    /// There was a lock.
    have_lost: bool,
}

impl Suspects {
    /// How many are remembered; of those that come later nothing is learnt.
    const MOST: usize = 16;

    pub(super) fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Whether a lock was lost.
    pub(super) fn have_lost(&self) -> bool {
        self.have_lost
    }

    /// Forgets all: the connection was reset.
    pub(super) fn clear(&mut self) {
        self.statements.clear();
    }

    fn add(&mut self, planned: &Planned) {
        let is_known = self.statements.iter().any(|one| one.key == planned.key);
        if !is_known && self.statements.len() < Self::MOST {
            self.statements.push(planned.clone());
        }
    }
}

impl Session {
    /// Takes note of a statement that ran.
    pub(super) fn note_unseen(&mut self, planned: &Planned) {
        if self.may_run_routine(&planned.plan) {
            self.suspects.add(planned);
        }
    }

    /// The question, if the connection is given back after this statement. Without a transaction,
    /// `is_alone` tells whether it is.
    pub(super) fn locks_before_leaving(&self, plan: &Plan, is_alone: bool) -> Option<Followup> {
        let may_have = !self.suspects.is_empty() || self.may_run_routine(plan);
        let is_leaving = match self.transaction {
            Transaction::None => is_alone && self.cursors.is_empty(),
            _ => self.holds.is_empty() && ends_transaction(plan),
        };
        (may_have && is_leaving && plan.holds.is_empty()).then_some(Followup::UserLocks)
    }

    /// The question for what the statement may have set without the server's saying so, or among what
    /// was set for one of several statements only.
    pub(super) fn unseen_variables(&self, plan: &Plan, lease: &Lease) -> Option<Followup> {
        let is_mixed = plan.is_script() && plan.needs.contains(sql::Needs::READ_BACK);
        let may_have_set = lease.server.is_mariadb && (is_mixed || self.may_run_routine(plan));
        may_have_set.then(|| Followup::Deviations(deviations(&self.state)))
    }

    /// Takes note of how many locks there were.
    pub(super) fn note_released_locks(&mut self, count: u64) {
        let suspects = std::mem::take(&mut self.suspects.statements);
        if count == 0 {
            return;
        }
        self.suspects.have_lost = true;
        for planned in suspects {
            let remembered = self.shared.plans.remember_lock(&planned);
            tracing::warn!(
                session = self.handle.id,
                kind = remembered.plan.kind.name(),
                digest = %remembered.plan.digest,
                "a routine took a user lock, and the session was ended: from now on the statement keeps its connection"
            );
        }
    }

    /// Whether the statement may run what its text does not show, other than a trigger.
    fn may_run_routine(&self, plan: &Plan) -> bool {
        use sql::Kind::{Call, Compound, Execute, Prepare};
        let allowed = &self.world.config.routing.reader_functions;
        match plan.kind {
            Call | Compound | Execute => true,
            Prepare => false,
            _ => {
                !routing::are_allowed(plan, allowed)
                    || plan.parts.iter().any(|part| self.may_run_routine(part))
            }
        }
    }

    /// Whether a routine may have stopped with an error in its middle, after which MariaDB does not tell
    /// whether it has changed something.
    pub(super) fn may_have_stopped(&self, plan: &Plan, sql: &[u8], reply: &Reply) -> bool {
        use sql::Kind::{Call, Compound, Execute};
        let Some(error) = reply.error.as_ref().filter(|_| self.is_mariadb()) else {
            return false;
        };
        let names_it = || {
            let name = sql::called(sql, self.state.dialect);
            name.is_some_and(|name| mentions(&error.message, name.as_bytes()))
        };
        let has_begun = || !NOT_BEGUN.contains(&error.code) || !names_it();
        let is_routine = |plan: &Plan| matches!(plan.kind, Call | Compound | Execute);
        plan.parts.iter().any(|part| is_routine(part)) || (is_routine(plan) && has_begun())
    }
}

/// There is no such routine or prepared statement, or it takes other arguments, or may not be used.
const NOT_BEGUN: [u16; 6] = [1210, 1243, 1305, 1318, 1370, 1414];
