//! What a client wants to hear of changes in its session.

use isthmus_protocol::session_track::{self, Change};

/// The client's own `session_track_…` variables. On its backend connections the proxy sets them as
/// it needs them itself, so what a server reports is more than the client is to hear.
///
/// `session_track_transaction_info` is not among them: the proxy has no use for it, and it is
/// carried from connection to connection like any other variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracking {
    variables: Box<[u8]>,
    schema: bool,
    state: bool,
    gtids: Gtids,
    /// Whether the variables have [`Tracking::TOKEN`] among them, which no server knows.
    token: bool,
}

/// `session_track_gtids`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gtids {
    Off,
    Own,
    All,
}

impl Default for Tracking {
    /// As servers do without a configuration.
    fn default() -> Self {
        let variables = b"time_zone,autocommit,character_set_client,character_set_results,\
            character_set_connection";
        Self {
            variables: variables.as_slice().into(),
            schema: true,
            state: false,
            gtids: Gtids::Off,
            token: false,
        }
    }
}

impl Tracking {
    /// What begins the names of the variables, in lower case.
    pub const PREFIX: &str = "session_track_";

    /// The one that MySQL lets nobody set in a transaction.
    pub const GTIDS: &str = "session_track_gtids";

    /// The variable by which a client hears of tokens.
    pub const TOKEN: &str = "isthmus_token";

    /// Whether the client wants to hear of tokens.
    pub fn has_token(&self) -> bool {
        self.token
    }

    /// Takes note of whether it does.
    pub fn set_token(&mut self, is_wanted: bool) {
        self.token = is_wanted;
    }

    /// Takes over one of the variables, by its name in lower case, with the value that a server
    /// shows for it. Returns whether it is one of those that are kept here.
    pub fn set(&mut self, name: &str, value: &[u8]) -> bool {
        let is_on = matches!(value, b"1" | b"ON");
        match name {
            "session_track_system_variables" => self.variables = value.into(),
            "session_track_schema" => self.schema = is_on,
            "session_track_state_change" => self.state = is_on,
            Self::GTIDS => {
                self.gtids = match value {
                    b"OWN_GTID" => Gtids::Own,
                    b"ALL_GTIDS" => Gtids::All,
                    _ => Gtids::Off,
                }
            }
            _ => return false,
        }
        true
    }

    /// The names of the variables that are reported, separated by commas, as the client wrote them.
    pub fn variables(&self) -> &[u8] {
        &self.variables
    }

    /// The other variables and their values, with that which only MySQL has, or without.
    pub fn switches(&self, has_gtids: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
        let switch = |is_on| if is_on { "ON" } else { "OFF" };
        let gtids = match self.gtids {
            Gtids::Off => "OFF",
            Gtids::Own => "OWN_GTID",
            Gtids::All => "ALL_GTIDS",
        };
        [
            ("session_track_schema", switch(self.schema)),
            ("session_track_state_change", switch(self.state)),
        ]
        .into_iter()
        .chain(has_gtids.then_some((Self::GTIDS, gtids)))
    }

    /// What the client hears when its login is complete.
    pub fn opening(&self, schema: Option<&[u8]>) -> Vec<u8> {
        let mut all = Vec::new();
        if let Some(schema) = schema {
            session_track::put_change(&mut all, &Change::Schema(schema));
            session_track::put_change(&mut all, &Change::State(true));
        }
        self.heard(&all)
    }

    /// What the client hears of a session state that the proxy has asked for, in the same order.
    pub(super) fn heard(&self, session_state: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for change in session_track::changes(session_state).flatten() {
            if let Some(change) = self.reported(change) {
                session_track::put_change(&mut out, &change);
            }
        }
        out
    }

    /// Adds a token to what the client hears.
    pub(super) fn put_token(&self, token: &str, out: &mut Vec<u8>) {
        let change = Change::Variable {
            name: Self::TOKEN.as_bytes(),
            value: token.as_bytes(),
        };
        session_track::put_change(out, &change);
    }

    fn reported<'a>(&'a self, change: Change<'a>) -> Option<Change<'a>> {
        let is_heard = match change {
            Change::Variable { name, value } => {
                let name = self.name(name)?;
                return Some(Change::Variable { name, value });
            }
            Change::Schema(_) => self.schema,
            Change::State(_) => self.state,
            Change::Gtids(_) => self.gtids != Gtids::Off,
            // They are sent as the client has set it.
            Change::TransactionCharacteristics(_) | Change::TransactionState(_) => true,
            Change::Unknown { .. } => false,
        };
        is_heard.then_some(change)
    }

    /// The name under which a variable is reported, if it is: as the list has it, or the server's
    /// where all are.
    fn name<'a>(&'a self, name: &'a [u8]) -> Option<&'a [u8]> {
        let mut listed = self.variables.split(|byte| *byte == b',');
        let own = |listed: &&[u8]| *listed == b"*" || listed.eq_ignore_ascii_case(name);
        match listed.by_ref().map(<[u8]>::trim_ascii).find(own)? {
            b"*" => Some(name),
            listed => Some(listed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable<'a>(name: &'a [u8]) -> Change<'a> {
        Change::Variable { name, value: b"v" }
    }

    #[test]
    fn what_is_asked_for_is_heard_in_order() {
        let all = [
            variable(b"autocommit"),
            variable(b"sql_mode"),
            Change::Schema(b"a"),
            Change::State(true),
            Change::Gtids(b"g"),
            Change::TransactionState(b"T_______"),
            Change::TransactionCharacteristics(b"START TRANSACTION;"),
        ];
        let [
            autocommit,
            sql_mode,
            schema,
            state,
            gtids,
            transaction,
            start,
        ] = all;
        let mut reported = Vec::new();
        for change in &all {
            session_track::put_change(&mut reported, change);
        }
        type Settings = &'static [(&'static str, &'static str)];
        let cases: [(Settings, &[Change<'_>]); 4] = [
            (&[], &[autocommit, schema, transaction, start]),
            (
                &[
                    ("session_track_system_variables", "x, SQL_mode"),
                    ("session_track_schema", "0"),
                    ("session_track_state_change", "1"),
                    ("session_track_gtids", "OWN_GTID"),
                ],
                &[variable(b"SQL_mode"), state, gtids, transaction, start],
            ),
            (
                &[
                    ("session_track_system_variables", "*"),
                    ("session_track_gtids", "OFF"),
                ],
                &[autocommit, sql_mode, schema, transaction, start],
            ),
            (
                &[("session_track_system_variables", "")],
                &[schema, transaction, start],
            ),
        ];
        for (settings, expected) in cases {
            let mut tracking = Tracking::default();
            for (name, value) in settings {
                assert!(tracking.set(name, value.as_bytes()), "{name}");
            }
            let heard = tracking.heard(&reported);
            let heard: Result<Vec<_>, _> = session_track::changes(&heard).collect();
            assert_eq!(heard.unwrap(), expected, "{settings:?}");
        }
    }

    #[test]
    fn a_variable_that_is_carried_is_not_kept() {
        let mut tracking = Tracking::default();
        assert!(!tracking.set("session_track_transaction_info", b"STATE"));
        assert_eq!(tracking, Tracking::default());
    }
}
