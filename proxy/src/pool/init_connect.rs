//! What a server's `init_connect` leaves on a connection.
//!
//! Servers run it once, after the login of a user who may not connect as an administrator. They do
//! not report what it sets, and do not run it again after COM_RESET_CONNECTION. So what it has set
//! is found out by comparison and taken back, and sessions begin with it as with any other state.
//! User variables and whatever else it leaves are not found.

use isthmus_protocol::command::Command;
use isthmus_protocol::lenenc::Reader;
use isthmus_protocol::packet;
use isthmus_protocol::response::Kind;

use super::connection::Connection;
use super::state::{COLLATION, RESULTS_CHARSET, RESULTS_COLLATION, Variables};
use crate::relay::{RelayError, ServerError, swallow};
use crate::topology::{Server, is_carried};

/// utf8mb4_general_ci, which every version knows.
const USUAL: u16 = 45;

/// latin1_general_cs: nobody sets it, so a session that has it later has it from its login.
const UNUSUAL: u16 = 49;
const UNUSUAL_CHARSET: &[u8] = b"latin1";
const UNUSUAL_COLLATION: &[u8] = b"latin1_general_cs";

/// The collation to log in with.
pub(super) fn login_collation(server: &Server) -> u16 {
    if server.has_init_connect {
        UNUSUAL
    } else {
        USUAL
    }
}

/// Takes what `init_connect` has set off a connection that has just logged in.
pub(super) async fn take(
    connection: &mut Connection,
) -> Result<Result<Variables, ServerError>, RelayError> {
    let question = b"SHOW SESSION VARIABLES";
    let mut out = Vec::new();
    connection.form.put_query(&mut out, question);
    packet::put(&mut out, 0, &[Command::ResetConnection as u8]);
    connection.form.put_query(&mut out, question);
    let sent = connection.stream.write_all(&out).await;
    sent.map_err(RelayError::from_backend)?;
    let mut answers = [Vec::new(), Vec::new(), Vec::new()];
    let kinds = [Kind::Query, Kind::Simple, Kind::Query];
    for (kind, packets) in kinds.into_iter().zip(&mut answers) {
        let reply = swallow(&mut connection.stream, kind, Some(packets)).await;
        let reply = reply.map_err(|cause| RelayError::Backend {
            cause,
            untouched: true,
        })?;
        if let Some(error) = reply.error {
            return Ok(Err(error));
        }
    }
    let [before, _, after] = answers.map(|packets| variables(&packets));
    Ok(Ok(difference(before, &after)))
}

/// What was set of what goes with a session.
fn difference(before: Variables, after: &Variables) -> Variables {
    let is_from_login = before
        .get("collation_connection")
        .is_some_and(|value| **value == *UNUSUAL_COLLATION);
    let is_set = |name: &str, value: &[u8]| match name {
        "character_set_client" | "character_set_connection" | "character_set_results" => {
            !is_from_login || *value != *UNUSUAL_CHARSET
        }
        "collation_connection" => !is_from_login,
        // The server's own position, which moves by itself.
        name if name.starts_with("gtid_") => false,
        name => is_carried(name) && after.get(name).is_some_and(|other| **other != *value),
    };
    let set = before.into_iter();
    let mut set: Variables = set.filter(|(name, value)| is_set(name, value)).collect();
    if let (Some(charset), Some(collation)) = (set.get(RESULTS_CHARSET), set.get(COLLATION)) {
        let is_its_own = collation.starts_with(charset);
        let collation = collation.clone();
        if is_its_own {
            set.insert(RESULTS_COLLATION.into(), collation);
        }
    }
    set
}

/// The rows of a result of two columns, which come behind the column count and the definitions.
pub(super) fn variables(packets: &[u8]) -> Variables {
    const BEFORE_ROWS: usize = 3;
    let mut variables = Variables::new();
    for payload in packet::payloads(packets).skip(BEFORE_ROWS) {
        let mut row = Reader::new(payload, "row");
        let mut value = || row.lenenc_bytes_or_null().ok().flatten();
        if let (Some(name), Some(value)) = (value(), value()) {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            variables.insert(name.into(), value.into());
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Variables {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).into(), value.as_bytes().into()))
            .collect()
    }

    #[test]
    fn what_was_set_is_told_from_what_was_there() {
        let charset = |charset, collation| {
            [
                ("character_set_client", charset),
                ("character_set_connection", charset),
                ("character_set_results", charset),
                ("collation_connection", collation),
            ]
        };
        let login = charset("latin1", "latin1_general_cs");
        let named = charset("utf8mb4", "utf8mb4_0900_ai_ci");
        let others = [
            ("sql_mode", "ANSI"),
            ("timestamp", "1"),
            ("x", "1"),
            ("gtid_executed", "u:1-4"),
        ];
        let after = [
            ("sql_mode", ""),
            ("timestamp", "2"),
            ("x", "1"),
            ("gtid_executed", "u:1-5"),
        ];
        let after = of(&[&named[..], &after].concat());
        let cases = [
            (login, vec![("sql_mode", "ANSI")]),
            (
                named,
                [
                    &named[..],
                    &[
                        ("sql_mode", "ANSI"),
                        (RESULTS_COLLATION, "utf8mb4_0900_ai_ci"),
                    ],
                ]
                .concat(),
            ),
        ];
        for (charset, expected) in cases {
            let before = of(&[&charset[..], &others].concat());
            assert_eq!(difference(before, &after), of(&expected));
        }
    }
}
