//! What a server believes about one session: schema, system and user variables, multi-statement
//! option.
//!
//! Nothing here is guessed from SQL: values come from a real server, from its session tracking or
//! from questions, byte for byte. Equal states are the same `Arc` (see [`StateTable`]), so the data path compares
//! two states by comparing pointers.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::user_variable::UserVariables;
use crate::sql::Dialect;

/// System variables that differ from the server's defaults, by lower-case name.
pub type Variables = BTreeMap<Box<str>, Box<[u8]>>;

/// Session variables that the proxy keeps for itself: they describe the client's connection, not
/// the backend connection, and must not stay on a pooled one.
pub(super) const CONNECTION_VARIABLES: [&str; 4] = [
    "interactive_timeout",
    "net_read_timeout",
    "net_write_timeout",
    "wait_timeout",
];

pub(super) const CLIENT_CHARSET: &str = "character_set_client";
/// The character set of what a server sends.
pub const RESULTS_CHARSET: &str = "character_set_results";
pub(super) const COLLATION: &str = "collation_connection";

/// Stands among the variables for what is none: the collation beside `character_set_results`, with
/// which servers describe texts. It is that of the last SET NAMES or of the login, or the default
/// one.
pub const RESULTS_COLLATION: &str = "collation of character_set_results";

/// What SET NAMES sets.
pub(super) const CHARSETS: [&str; 5] = [
    CLIENT_CHARSET,
    "character_set_connection",
    RESULTS_CHARSET,
    COLLATION,
    RESULTS_COLLATION,
];

/// The part of a session that follows it from one backend connection to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The current schema; `None` if none was ever selected.
    pub schema: Option<Box<[u8]>>,
    /// Whether COM_QUERY may hold several statements.
    pub multi_statements: bool,
    /// The variables that were set, with the text that the server reported.
    pub variables: Variables,
    /// The user variables that were assigned.
    pub user_variables: Arc<UserVariables>,
    /// What the session has put behind SET ROLE; `None` for what the login begins with.
    pub role: Option<Box<[u8]>>,
    /// How statements are to be read under this state.
    pub dialect: Dialect,
    /// Whether some of the variables describe the client's connection.
    describes_client: bool,
}

impl State {
    /// A state without user variables; works out the dialect from the schema, `sql_mode` and
    /// `character_set_client`.
    pub fn new(schema: Option<Box<[u8]>>, multi_statements: bool, variables: Variables) -> Self {
        let value = |name: &str| variables.get(name).map_or(&b""[..], |v| v);
        let dialect = Dialect::from_session(value("sql_mode"), value("character_set_client"))
            .within(schema.as_deref());
        Self {
            schema,
            multi_statements,
            describes_client: CONNECTION_VARIABLES
                .iter()
                .any(|name| variables.contains_key(*name)),
            variables,
            user_variables: Arc::default(),
            role: None,
            dialect,
        }
    }

    /// The state with this role instead.
    pub fn with_role(&self, role: Option<Box<[u8]>>) -> Self {
        Self {
            role,
            ..self.clone()
        }
    }

    /// The state with these system variables instead.
    pub fn with_variables(&self, variables: Variables) -> Self {
        Self {
            user_variables: self.user_variables.clone(),
            role: self.role.clone(),
            ..Self::new(self.schema.clone(), self.multi_statements, variables)
        }
    }

    /// The state with these user variables instead.
    pub fn with_user_variables(&self, user_variables: Arc<UserVariables>) -> Self {
        Self {
            user_variables,
            ..self.clone()
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
        Some((self.with_variables(variables), own))
    }

    /// The state with another schema.
    pub fn with_schema(&self, schema: &[u8]) -> Self {
        Self {
            schema: Some(schema.into()),
            dialect: self.dialect.within(Some(schema)),
            ..self.clone()
        }
    }

    /// The state with no schema selected.
    pub fn without_schema(&self) -> Self {
        Self {
            schema: None,
            dialect: self.dialect.within(None),
            ..self.clone()
        }
    }

    /// The system variables that were set.
    pub fn shown_variables(&self) -> impl Iterator<Item = (&Box<str>, &Box<[u8]>)> {
        let variables = self.variables.iter();
        variables.filter(|(name, _)| &***name != RESULTS_COLLATION)
    }

    /// The state with another one's values of these variables.
    pub fn with_values_of(&self, other: &Self, names: &[&str]) -> Self {
        let mut variables = self.variables.clone();
        for &name in names {
            variables.remove(name);
            let value = other.variables.get(name);
            variables.extend(value.map(|value| (name.into(), value.clone())));
        }
        self.with_variables(variables)
    }

    /// The state with what another one has become, as far as that has changed.
    pub fn with_changes(&self, before: &Self, after: &Self) -> Self {
        let mut variables = self.variables.clone();
        take_changed(&mut variables, &before.variables, &after.variables);
        let mut user_variables = (*self.user_variables).clone();
        take_changed(
            &mut user_variables,
            &before.user_variables,
            &after.user_variables,
        );
        let multi_statements = *changed(
            &self.multi_statements,
            &before.multi_statements,
            &after.multi_statements,
        );
        let schema = changed(&self.schema, &before.schema, &after.schema).clone();
        Self {
            user_variables: Arc::new(user_variables),
            role: changed(&self.role, &before.role, &after.role).clone(),
            ..Self::new(schema, multi_statements, variables)
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
        for (name, value) in own {
            note(&mut variables, name, value);
        }
        self.with_variables(variables)
    }
}

fn changed<'a, V: PartialEq>(own: &'a V, before: &V, after: &'a V) -> &'a V {
    if before == after { own } else { after }
}

fn take_changed<V: Clone + PartialEq>(
    own: &mut BTreeMap<Box<str>, V>,
    before: &BTreeMap<Box<str>, V>,
    after: &BTreeMap<Box<str>, V>,
) {
    own.retain(|name, _| after.contains_key(name) || !before.contains_key(name));
    for (name, value) in after {
        if before.get(name) != Some(value) {
            own.insert(name.clone(), value.clone());
        }
    }
}

/// Two variables that are two names of one thing: servers report the one that is set, and the other
/// is what follows from it.
pub(super) const TWINS: [(&str, &str); 2] = [
    ("character_set_server", "collation_server"),
    ("character_set_database", "collation_database"),
];

/// Forgets what is known of the twins of those variables that were reported without them.
pub(super) fn forget_twins(variables: &mut Variables, reported: &[String]) {
    let is_reported = |name: &str| reported.iter().any(|one| one == name);
    for (charset, collation) in TWINS {
        match (is_reported(charset), is_reported(collation)) {
            (true, false) => drop(variables.remove(collation)),
            (false, true) => drop(variables.remove(charset)),
            _ => {}
        }
    }
}

/// Notes a variable that a server has reported. What is not known of it any more goes.
pub(super) fn note(variables: &mut Variables, name: &str, value: &[u8]) {
    let old = variables.insert(name.into(), value.into());
    if name == RESULTS_CHARSET && old.is_none_or(|old| *old != *value) {
        variables.remove(RESULTS_COLLATION);
    }
}

/// What SET NAMES or a login with this character set and collation leads to.
pub fn named(charset: &[u8], collation: &[u8]) -> impl Iterator<Item = (Box<str>, Box<[u8]>)> {
    let collations = [COLLATION, RESULTS_COLLATION];
    CHARSETS.into_iter().map(move |name| {
        let value = match collations.contains(&name) {
            true => collation,
            false => charset,
        };
        (name.into(), value.into())
    })
}

/// All states in use, each once.
#[derive(Debug, Default)]
pub struct StateTable {
    states: Mutex<States>,
}

#[derive(Debug, Default)]
struct States {
    known: HashSet<Arc<State>>,
    /// How many were in use when the others were last dropped.
    used: usize,
}

impl StateTable {
    /// States nobody uses any more are dropped when the table reaches this size, and then each
    /// time that it has doubled.
    const SWEEP_AT: usize = 1024;

    /// The one `Arc` for this state.
    pub fn intern(&self, state: State) -> Arc<State> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = states.known.get(&state) {
            return known.clone();
        }
        if states.known.len() >= Self::SWEEP_AT.max(2 * states.used) {
            states.known.retain(|state| Arc::strong_count(state) > 1);
            states.used = states.known.len();
        }
        let state = Arc::new(state);
        states.known.insert(state.clone());
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::OwnSchema;

    #[test]
    fn equal_states_are_one() {
        let table = StateTable::default();
        let state = || {
            let variables = [("x".into(), b"1".as_slice().into())];
            State::new(Some(b"a".as_slice().into()), false, variables.into())
        };
        assert!(Arc::ptr_eq(&table.intern(state()), &table.intern(state())));
    }

    #[test]
    fn only_what_has_changed_is_taken_over() {
        let state = |schema: &str, variables: &[(&str, &str)]| {
            let variables = variables
                .iter()
                .map(|(name, value)| ((*name).into(), value.as_bytes().into()));
            State::new(
                Some(schema.as_bytes().into()),
                false,
                variables.collect::<Variables>(),
            )
        };
        let own = state("own", &[("a", "1"), ("b", "1"), ("c", "1")]);
        let before = state("other", &[("a", "2"), ("b", "2"), ("d", "2")]);
        let after = state("other", &[("a", "2"), ("d", "3"), ("e", "3")]);
        let expected = state("own", &[("a", "1"), ("c", "1"), ("d", "3"), ("e", "3")]);
        assert_eq!(own.with_changes(&before, &after), expected);
        let after = state("new", &[("a", "2"), ("b", "2"), ("d", "2")]);
        assert_eq!(own.with_changes(&before, &after), own.with_schema(b"new"));
    }

    #[test]
    fn the_dialect_knows_the_servers_own_schemas() {
        let state = State::new(Some(b"SYS".as_slice().into()), false, Variables::default());
        assert_eq!(state.dialect.own_schema, Some(OwnSchema::Sys));
        let state = state.with_schema(b"app");
        assert_eq!(state.dialect.own_schema, None);
        let state = state.with_schema(b"information_schema");
        assert_eq!(state.dialect.own_schema, Some(OwnSchema::Information));
        assert_eq!(state.without_schema().dialect.own_schema, None);
    }
}
