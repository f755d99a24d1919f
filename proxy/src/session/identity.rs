//! Who the client is, and what it fixed when it connected.

use std::sync::Arc;

use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::handshake::Attributes;

use crate::config::User;
use crate::pool::{Kind, State, StateTable, Variables, named};
use crate::relay::Tracking;
use crate::topology::{Server, Snapshot};

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
    /// The connection attributes that its backend connections show too.
    pub attributes: Attributes,
}

/// What a server fixes when a connection is made, so that only connections made the same way can
/// serve the session.
const FIXED: Capabilities = Capabilities::FOUND_ROWS
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::QUERY_ATTRIBUTES);

impl Identity {
    /// What the session's backend connections must have been made with.
    pub fn kind(&self) -> Kind {
        Kind {
            flags: self.capabilities & FIXED,
            attributes: self.attributes.clone(),
        }
    }

    /// The state of a session that has just begun.
    pub fn initial_state(&self, snapshot: &Snapshot, states: &StateTable) -> Arc<State> {
        let mut variables = defaults(snapshot);
        if let Some(server) = snapshot.server() {
            self.set_charset(&server, &mut variables);
            self.set_sql_mode(&server, &mut variables);
        }
        let multi = self.capabilities.contains(Capabilities::MULTI_STATEMENTS);
        states.intern(State::new(None, multi, variables))
    }

    /// The variables after COM_RESET_CONNECTION: MariaDB goes back to the character set of the
    /// login, and MySQL to its SQL mode.
    pub fn reset_variables(&self, snapshot: &Snapshot) -> Variables {
        let mut variables = defaults(snapshot);
        match snapshot.server() {
            Some(server) if server.is_mariadb => self.set_charset(&server, &mut variables),
            Some(server) => self.set_sql_mode(&server, &mut variables),
            None => {}
        }
        variables
    }

    /// The character set that the client's collation id means to this server; the server's default
    /// where it means nothing.
    fn set_charset(&self, server: &Server, variables: &mut Variables) {
        let Some((charset, collation)) = server.collations.get(&self.collation) else {
            return;
        };
        variables.extend(named(charset.as_bytes(), collation.as_bytes()));
    }

    /// IGNORE_SPACE is a part of the SQL mode, which the session may change later.
    fn set_sql_mode(&self, server: &Server, variables: &mut Variables) {
        if self.capabilities.contains(Capabilities::IGNORE_SPACE) {
            let mode = match server.sql_mode.as_str() {
                "" => "IGNORE_SPACE".to_owned(),
                mode => format!("{mode},IGNORE_SPACE"),
            };
            variables.insert("sql_mode".into(), mode.into_bytes().into());
        }
    }
}

/// What a client of this server wants to hear of changes in its session, before it has said so.
pub(super) fn tracking(server: Option<&Server>) -> Tracking {
    let mut tracking = Tracking::default();
    for (name, value) in server.iter().flat_map(|server| &server.session_tracking) {
        tracking.set(name, value.as_bytes());
    }
    tracking
}
/// What sessions begin with that cannot be left to the server they happen to be on: the SQL mode, by
/// which the proxy reads their statements, and the time zone, those of the writer.
fn defaults(snapshot: &Snapshot) -> Variables {
    let server = snapshot.server();
    server.map_or_else(Variables::new, |server| server.beginning().into())
}
