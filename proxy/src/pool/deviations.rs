//! The system variables that a session has otherwise than the server does.
//!
//! MariaDB does not report what `SET @@x` sets, and routines may hold such a statement. So behind
//! what may run one, the connection is asked for all variables whose values are not the global ones,
//! and for those that it is known to have.

use super::connection::Connection;
use super::init_connect::variables;
use super::state::{CONNECTION_VARIABLES, State};
use crate::topology::is_carried;

/// They follow the schema.
const OF_THE_SCHEMA: [&str; 2] = ["character_set_database", "collation_database"];

/// No session sets the first three, though one's values may differ: by the limits of its account, or
/// because the global values have changed since its connection was made. The others differ for that
/// reason too, and few sessions may set them.
const NOT_OF_SESSIONS: [&str; 5] = [
    "max_allowed_packet",
    "max_user_connections",
    "net_buffer_length",
    "gtid_domain_id",
    "server_id",
];

/// The question, on a connection that is known to be in this state: a row for each variable, of its
/// name and its value.
#[cold]
pub fn deviations(state: &State) -> String {
    let is_plain = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let known = state.variables.keys().map(|name| &**name).filter(is_plain);
    // Without the limit, sql_select_limit counts.
    format!(
        "SELECT CAST(VARIABLE_NAME AS BINARY),CAST(SESSION_VALUE AS BINARY) FROM \
         information_schema.SYSTEM_VARIABLES WHERE BINARY SESSION_VALUE<>GLOBAL_VALUE \
         OR VARIABLE_NAME IN('{}') LIMIT 10000",
        known.collect::<Vec<_>>().join("','")
    )
}

impl Connection {
    /// Takes note of the answer to [`deviations`]: the packets before its terminator. Returns whether
    /// it is one.
    pub fn note_deviations(&mut self, packets: &[u8]) -> bool {
        let found = variables(packets);
        let is_session = |name: &str| {
            is_carried(name)
                && !OF_THE_SCHEMA.contains(&name)
                && !NOT_OF_SESSIONS.contains(&name)
                && !CONNECTION_VARIABLES.contains(&name)
        };
        for (name, value) in found.iter().filter(|(name, _)| is_session(name)) {
            self.note_variable(name, value);
        }
        // Of an error there is nothing.
        !packets.is_empty()
    }
}
