//! Who the client is, and what it fixed when it connected.

use std::sync::Arc;

use isthmus_protocol::capabilities::Capabilities;

use crate::config::User;
use crate::pool::{State, StateTable, Variables};
use crate::topology::Server;

/// The outcome of a login.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user as configured when it logged in.
    pub user: Arc<User>,
    /// The schema that the client asked for.
    pub database: Option<Vec<u8>>,
    /// The collation id that the client asked for.
    pub collation: u16,
    /// What was negotiated with the client.
    pub capabilities: Capabilities,
}

/// What a server fixes when a connection is made, so that only connections made the same way can
/// serve the session.
const FIXED: Capabilities = Capabilities::FOUND_ROWS
    .union(Capabilities::IGNORE_SPACE)
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::NO_SCHEMA);

impl Identity {
    /// The flags that the session's backend connections must have.
    pub fn fixed_flags(&self) -> Capabilities {
        self.capabilities & FIXED
    }

    /// The state of a session that has just begun: with the character set that the client's
    /// collation id means to this server, or the server's default where it means nothing.
    pub fn initial_state(&self, server: Option<&Server>, states: &StateTable) -> Arc<State> {
        let mut variables = Variables::new();
        let known = server.and_then(|server| server.collations.get(&self.collation));
        if let Some((charset, collation)) = known {
            for name in [
                "character_set_client",
                "character_set_connection",
                "character_set_results",
            ] {
                variables.insert(name.into(), charset.as_bytes().into());
            }
            variables.insert("collation_connection".into(), collation.as_bytes().into());
        }
        let multi = self.capabilities.contains(Capabilities::MULTI_STATEMENTS);
        states.intern(State::new(None, multi, variables))
    }
}
