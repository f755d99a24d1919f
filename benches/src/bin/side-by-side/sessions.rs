//! Many idle sessions that have something to remember.

use isthmus_lab::APP;

use crate::client::Client;
use crate::report::Sessions;
use crate::target::Target;
use crate::{Failure, process};

/// Prepared statements of each session.
const STATEMENTS: usize = 5;
/// What each session changes; the first value is another one in every session.
const VARIABLES: [(&str, &str); 9] = [
    ("sql_mode", "'ANSI_QUOTES'"),
    ("time_zone", "'+09:00'"),
    ("group_concat_max_len", "65536"),
    ("sort_buffer_size", "524288"),
    ("join_buffer_size", "524288"),
    ("lock_wait_timeout", "30"),
    ("innodb_lock_wait_timeout", "10"),
    ("max_execution_time", "60000"),
    ("transaction_isolation", "'READ-COMMITTED'"),
];

/// Opens so many sessions through Isthmus, and looks at its memory.
pub(crate) fn measure(target: &Target, sessions: usize) -> Result<Option<Sessions>, Failure> {
    let Some(pid) = target.pid else {
        return Ok(None);
    };
    eprintln!(
        "{sessions} idle sessions with state through {}",
        target.kind.name()
    );
    let mut open = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let mut client = Client::connect(target.address, APP)?;
        let mut set = format!("SET max_join_size = {}", 1_000_000 + number);
        for (name, value) in VARIABLES {
            set.push_str(&format!(", {name} = {value}"));
        }
        client.query(&set)?;
        for statement in 0..STATEMENTS {
            client.prepare(&format!(
                "SELECT c, {statement} FROM sbtest1 WHERE id BETWEEN ? AND ? ORDER BY c"
            ))?;
        }
        open.push(client);
    }
    Ok(Some(Sessions {
        sessions,
        statements: STATEMENTS,
        variables: VARIABLES.len() + 1,
        resident: process::resident(pid)?,
    }))
}
