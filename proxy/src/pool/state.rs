//! What a server believes about one session: schema, system variables, multi-statement option.
//!
//! Nothing here is guessed from SQL: values come from the session tracking of a real server, byte
//! for byte. Equal states are the same `Arc` (see [`StateTable`]), so the data path compares two
//! states by comparing pointers.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use isthmus_protocol::command::Command;
use isthmus_protocol::packet;
use isthmus_protocol::query_attributes::QueryForm;

use crate::sql::Dialect;

/// System variables that differ from the server's defaults, by lower-case name.
pub type Variables = BTreeMap<Box<str>, Box<[u8]>>;

/// Session variables that the proxy keeps for itself: they describe the client's connection, not
/// the backend connection, and must not stay on a pooled one.
const CONNECTION_VARIABLES: [&str; 4] = [
    "interactive_timeout",
    "net_read_timeout",
    "net_write_timeout",
    "wait_timeout",
];

const CLIENT_CHARSET: &str = "character_set_client";

/// The part of a session that follows it from one backend connection to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The current schema; `None` if none was ever selected.
    pub schema: Option<Box<[u8]>>,
    /// Whether COM_QUERY may hold several statements.
    pub multi_statements: bool,
    /// The variables that were set, with the text that the server reported.
    pub variables: Variables,
    /// How statements are to be read under this state.
    pub dialect: Dialect,
    /// Whether some of the variables describe the client's connection.
    describes_client: bool,
}

impl State {
    /// A state; works out the lexer's dialect from `sql_mode` and `character_set_client`.
    pub fn new(schema: Option<Box<[u8]>>, multi_statements: bool, variables: Variables) -> Self {
        let value = |name: &str| variables.get(name).map_or(&b""[..], |v| v);
        let dialect = Dialect::from_session(value("sql_mode"), value("character_set_client"));
        Self {
            schema,
            multi_statements,
            describes_client: CONNECTION_VARIABLES
                .iter()
                .any(|name| variables.contains_key(*name)),
            variables,
            dialect,
        }
    }

    /// Takes out what describes the client's connection and must not stay on one that waits in a
    /// pool: the state without it, and what was taken out. `None` where there is nothing.
    pub fn split(&self) -> Option<(Self, Variables)> {
        if !self.describes_client {
            return None;
        }
        let mut variables = self.variables.clone();
        let own = CONNECTION_VARIABLES
            .iter()
            .filter_map(|name| variables.remove_entry(*name));
        let own = own.collect();
        Some((
            Self::new(self.schema.clone(), self.multi_statements, variables),
            own,
        ))
    }

    /// The state with another schema.
    pub fn with_schema(&self, schema: &[u8]) -> Self {
        Self {
            schema: Some(schema.into()),
            ..self.clone()
        }
    }

    /// The state with the multi-statement option on or off.
    pub fn with_multi_statements(&self, multi_statements: bool) -> Self {
        Self {
            multi_statements,
            ..self.clone()
        }
    }

    /// The state with these variables too.
    pub fn with(&self, own: &Variables) -> Self {
        let mut variables = self.variables.clone();
        variables.extend(
            own.iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        Self::new(self.schema.clone(), self.multi_statements, variables)
    }

    /// Writes the commands that turn a connection in state `self` into one in state `target`,
    /// each a whole packet as a connection of this form takes it, and returns how many there are:
    /// as many answers come back.
    ///
    /// A schema cannot be unselected, so `target.schema` must be set where `self.schema` is.
    pub fn write_difference(&self, target: &State, form: QueryForm, out: &mut Vec<u8>) -> usize {
        let mut commands = 0;
        if self.multi_statements != target.multi_statements {
            let option: u8 = if target.multi_statements { 0 } else { 1 };
            packet::put(out, 0, &[Command::SetOption as u8, option, 0]);
            commands += 1;
        }
        let mut from = Cow::Borrowed(self);
        if let Some(schema) = &target.schema
            && self.schema.as_ref() != Some(schema)
        {
            // The name is in UTF-8, but is read in the character set of the connection.
            if !schema.is_ascii() {
                let mut variables = self.variables.clone();
                variables.insert(CLIENT_CHARSET.into(), b"utf8mb4".as_slice().into());
                let unicode = Self::new(self.schema.clone(), self.multi_statements, variables);
                if let Some(set) = self.set_statement(&unicode) {
                    form.put_query(out, &set);
                    commands += 1;
                }
                from = Cow::Owned(unicode);
            }
            let mut payload = vec![Command::InitDb as u8];
            payload.extend_from_slice(schema);
            packet::put(out, 0, &payload);
            commands += 1;
        }
        if let Some(set) = from.set_statement(target) {
            form.put_query(out, &set);
            commands += 1;
        }
        commands
    }

    /// One SET of all variables that differ, in the order of their names: MySQL
    /// applies it whole or not at all. `character_set_connection` sorts before
    /// `collation_connection`, which it would otherwise overwrite.
    fn set_statement(&self, target: &State) -> Option<Vec<u8>> {
        let mut set = b"SET ".to_vec();
        let start = set.len();
        let mut assign = |name: &str, value: Option<&[u8]>| {
            if set.len() > start {
                set.push(b',');
            }
            set.extend_from_slice(b"@@SESSION.`");
            set.extend_from_slice(name.as_bytes());
            set.extend_from_slice(b"`=");
            match value {
                // NULL is reported as nothing, and only this one may be NULL.
                Some(b"") if name == "character_set_results" => set.extend_from_slice(b"NULL"),
                Some(value) => put_value(&mut set, value),
                None if is_inverted(name) => {
                    set.extend_from_slice(b"@@GLOBAL.`");
                    set.extend_from_slice(name.as_bytes());
                    set.push(b'`');
                }
                None => set.extend_from_slice(b"DEFAULT"),
            }
        };
        let mut names: Vec<&str> = self
            .variables
            .keys()
            .chain(target.variables.keys())
            .map(|name| &**name)
            .collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (old, new) = (self.variables.get(name), target.variables.get(name));
            // The reports of the character sets depend on each other, so they travel together.
            if old != new || (is_collation(name) && self.charsets_differ(target)) {
                assign(name, new.map(|v| &**v));
            }
        }
        (set.len() > start).then_some(set)
    }

    fn charsets_differ(&self, target: &State) -> bool {
        ["character_set_connection", "collation_connection"]
            .iter()
            .any(|name| self.variables.get(*name) != target.variables.get(*name))
    }
}

/// Variables that MySQL keeps as an inverted bit and takes the wrong way round when they are set to
/// DEFAULT: 1 becomes 0.
fn is_inverted(name: &str) -> bool {
    matches!(name, "foreign_key_checks" | "unique_checks")
}

fn is_collation(name: &str) -> bool {
    name == "collation_connection"
}

/// A value as a literal that reads the same under every sql_mode and client character set.
/// Numbers stay bare, because numeric variables refuse strings (error 1232).
pub(super) fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    if is_number(value) {
        out.extend_from_slice(value);
    } else if value
        .iter()
        .all(|&b| (b' '..=b'~').contains(&b) && b != b'\'' && b != b'\\')
    {
        out.push(b'\'');
        out.extend_from_slice(value);
        out.push(b'\'');
    } else {
        out.extend_from_slice(b"_utf8mb4 x'");
        for byte in value {
            out.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        out.push(b'\'');
    }
}

fn is_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let mut parts = digits.splitn(2, |&b| b == b'.');
    parts.all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
}

/// All states in use, each once.
#[derive(Debug, Default)]
pub struct StateTable {
    states: Mutex<HashSet<Arc<State>>>,
}

impl StateTable {
    /// States nobody uses any more are dropped when the table reaches this size.
    const SWEEP_AT: usize = 1024;

    /// The one `Arc` for this state.
    pub fn intern(&self, state: State) -> Arc<State> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = states.get(&state) {
            return known.clone();
        }
        if states.len() >= Self::SWEEP_AT {
            states.retain(|state| Arc::strong_count(state) > 1);
        }
        let state = Arc::new(state);
        states.insert(state.clone());
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(schema: Option<&str>, multi: bool, variables: &[(&str, &str)]) -> State {
        State::new(
            schema.map(|s| s.as_bytes().into()),
            multi,
            variables
                .iter()
                .map(|(n, v)| ((*n).into(), v.as_bytes().into()))
                .collect(),
        )
    }

    #[test]
    fn differences_are_written_as_commands() {
        let cases = [
            (state(None, false, &[]), state(None, false, &[]), "", 0),
            (
                state(
                    Some("a"),
                    false,
                    &[("time_zone", "+00:00"), ("sql_mode", "")],
                ),
                state(
                    Some("b"),
                    true,
                    &[("sql_mode", "ANSI"), ("max_join_size", "100")],
                ),
                "\x1b\0\0|\x02b|\x03SET @@SESSION.`max_join_size`=100,@@SESSION.`sql_mode`='ANSI',@@SESSION.`time_zone`=DEFAULT",
                3,
            ),
            (
                state(
                    None,
                    false,
                    &[
                        ("character_set_connection", "latin1"),
                        ("collation_connection", "latin1_bin"),
                    ],
                ),
                state(
                    None,
                    false,
                    &[
                        ("character_set_connection", "utf8mb4"),
                        ("collation_connection", "latin1_bin"),
                    ],
                ),
                "\x03SET @@SESSION.`character_set_connection`='utf8mb4',@@SESSION.`collation_connection`='latin1_bin'",
                1,
            ),
            (
                state(None, false, &[("character_set_client", "latin1")]),
                state(Some("ä"), false, &[("character_set_client", "latin1")]),
                "\x03SET @@SESSION.`character_set_client`='utf8mb4'|\x02ä|\x03SET @@SESSION.`character_set_client`='latin1'",
                3,
            ),
            (
                state(None, false, &[("foreign_key_checks", "OFF"), ("x", "1")]),
                state(None, false, &[]),
                "\x03SET @@SESSION.`foreign_key_checks`=@@GLOBAL.`foreign_key_checks`,@@SESSION.`x`=DEFAULT",
                1,
            ),
            (
                state(None, false, &[]),
                state(None, false, &[("character_set_results", ""), ("x", "it's")]),
                "\x03SET @@SESSION.`character_set_results`=NULL,@@SESSION.`x`=_utf8mb4 x'69742773'",
                1,
            ),
        ];
        for (from, to, expected, count) in cases {
            let mut out = Vec::new();
            assert_eq!(
                from.write_difference(&to, QueryForm::Plain, &mut out),
                count,
                "{expected}"
            );
            let mut payloads = Vec::new();
            let mut rest = &out[..];
            while let Some(header) = packet::Header::parse(rest) {
                payloads.push(String::from_utf8_lossy(&rest[4..4 + header.length]).into_owned());
                rest = &rest[4 + header.length..];
            }
            assert_eq!(payloads.join("|"), expected);
        }
    }

    #[test]
    fn equal_states_are_one() {
        let table = StateTable::default();
        let a = table.intern(state(Some("a"), false, &[("x", "1")]));
        let b = table.intern(state(Some("a"), false, &[("x", "1")]));
        assert!(Arc::ptr_eq(&a, &b));
    }
}
