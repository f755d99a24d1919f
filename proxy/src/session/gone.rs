//! A schema or role of the session that somebody else has dropped, or that it may not use any more.

use super::Session;
use crate::relay::ServerError;

/// A schema that no connection can be brought into any more.
#[derive(Debug)]
pub(super) struct GoneSchema {
    name: Box<[u8]>,
    /// What the server said of it.
    error: ServerError,
}

impl Session {
    /// The session's schema or role was dropped, or taken from it, and no connection can be brought
    /// there any more: it goes on without. Returns whether that is what the error says.
    pub(super) fn forget_what_is_gone(&mut self, error: &ServerError) -> bool {
        match (error.code, &self.state.schema) {
            (_, Some(schema)) if error.is_about_a_schema() => {
                let gone = GoneSchema {
                    name: schema.clone(),
                    error: error.clone(),
                };
                let state = self.state.without_schema();
                self.set_state(self.shared.states.intern(state));
                self.gone_schema = Some(Box::new(gone));
                true
            }
            // A role that does not exist, on MariaDB and on MySQL.
            (1959 | 3530, _) if self.state.role.is_some() => {
                let state = self.state.with_role(None);
                self.set_state(self.shared.states.intern(state));
                true
            }
            _ => false,
        }
    }

    /// Says that the schema is gone instead of that none is selected.
    pub(super) fn explain_by_gone_schema(&self, error: &mut ServerError) {
        if let Some(gone) = &self.gone_schema {
            *error = gone.error.clone();
        }
    }

    /// Has the next statement look whether the schema is there again.
    pub(super) fn look_for_gone_schema(&mut self) {
        if self.lease.is_none()
            && let Some(gone) = self.gone_schema.take()
        {
            let state = self.state.with_schema(&gone.name);
            self.set_state(self.shared.states.intern(state));
        }
    }
}
