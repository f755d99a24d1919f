//! The commands that bring a connection from one state to another.

use std::borrow::Cow;
use std::sync::Arc;

use isthmus_protocol::command::Command;
use isthmus_protocol::packet;
use isthmus_protocol::query_attributes::QueryForm;

use super::gate::Gate;
use super::state::{
    CHARSETS, CLIENT_CHARSET, COLLATION, RESULTS_CHARSET, RESULTS_COLLATION, State, TWINS, named,
};
use super::user_variable::put_unset;

/// Character sets that clients cannot send, and so none for SET NAMES.
const ONLY_RESULTS: [&[u8]; 4] = [b"ucs2", b"utf16", b"utf16le", b"utf32"];

/// Variables that may be NULL, and to which an empty string is the same or an error.
const NULLABLE: [&str; 7] = [
    "character_set_results",
    "default_tmp_storage_engine",
    "enforce_storage_engine",
    "external_table_secondary_storage_engine",
    "external_table_storage_engine",
    "innodb_ft_user_stopword_table",
    "innodb_tmpdir",
];

/// MariaDB shows the word DEFAULT for it, and does not take that as a string.
pub const VERSIONING: &str = "system_versioning_asof";

const TIME_ZONE: &str = "time_zone";

/// The only variable that may hold a text that looks like a number.
const FREE_TEXT: &str = "default_master_connection";

impl State {
    /// Writes the commands that turn a connection in state `self` into one in state `target`,
    /// each a whole packet as a connection of this form takes it, and returns how many there are:
    /// as many answers come back.
    ///
    /// With a gate, a failure leaves the connection read-only, so that what follows in the same
    /// write cannot write in the wrong state.
    ///
    /// A schema cannot be unselected, so `target.schema` must be set where `self.schema` is.
    pub fn write_difference(
        &self,
        target: &State,
        gate: Option<Gate<'_>>,
        form: QueryForm,
        out: &mut Vec<u8>,
    ) -> usize {
        let mut commands = 0;
        if self.multi_statements != target.multi_statements {
            let option: u8 = if target.multi_statements { 0 } else { 1 };
            packet::put(out, 0, &[Command::SetOption as u8, option, 0]);
            commands += 1;
        }
        if let Some(gate) = &gate {
            form.put_query(out, gate.closing().as_bytes());
            commands += 1;
        }
        let mut from = Cow::Borrowed(self);
        let mut selected = None;
        if let Some(schema) = &target.schema
            && self.schema.as_ref() != Some(schema)
        {
            // The name is in UTF-8, but is read in the character set of the connection.
            if !schema.is_ascii() {
                let mut variables = self.variables.clone();
                variables.insert(CLIENT_CHARSET.into(), b"utf8mb4".as_slice().into());
                let unicode = self.with_variables(variables);
                if let Some(set) = self.set_statement(&unicode, None, None) {
                    form.put_query(out, &set);
                    commands += 1;
                }
                from = Cow::Owned(unicode);
            }
            let mut payload = vec![Command::InitDb as u8];
            payload.extend_from_slice(schema);
            packet::put(out, 0, &payload);
            commands += 1;
            selected = Some(&**schema);
        }
        if let Some((set, moved)) = from.in_zone_of(target) {
            form.put_query(out, &set);
            commands += 1;
            from = Cow::Owned(moved);
        }
        if let Some(set) = from.set_statement(target, gate, selected) {
            form.put_query(out, &set);
            commands += 1;
        }
        commands
    }

    /// What brings a connection into the time zone in which the target's moment of system versioning
    /// is to be read, and the state in which that moment is still to be set: MariaDB reads it in the
    /// zone that is in force before the SET.
    fn in_zone_of(&self, target: &State) -> Option<(Vec<u8>, State)> {
        let moment = target.variables.get(VERSIONING)?;
        let (old, new) = (
            self.variables.get(TIME_ZONE),
            target.variables.get(TIME_ZONE),
        );
        if old == new || **moment == *b"DEFAULT" {
            return None;
        }
        let mut variables = self.variables.clone();
        match new {
            Some(zone) => drop(variables.insert(TIME_ZONE.into(), zone.clone())),
            None => drop(variables.remove(TIME_ZONE)),
        }
        let set = self.set_statement(&self.with_variables(variables.clone()), None, None)?;
        variables.remove(VERSIONING);
        Some((set, self.with_variables(variables)))
    }

    /// One SET of all variables that differ, in the order of their names: MySQL
    /// applies it whole or not at all. `character_set_connection` sorts before
    /// `collation_connection`, which it would otherwise overwrite. User variables come behind them, and the
    /// gate opens last.
    fn set_statement(
        &self,
        target: &State,
        gate: Option<Gate<'_>>,
        selected: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        let mut set = b"SET ".to_vec();
        let start = set.len();
        let names = target.names().filter(|_| self.charsets_differ(target));
        let mut known = Cow::Borrowed(&self.variables);
        if let Some((charset, collation)) = names {
            known.to_mut().extend(named(charset, collation));
            set.extend_from_slice(b"NAMES ");
            put_quoted(&mut set, charset);
            set.extend_from_slice(b" COLLATE ");
            put_quoted(&mut set, collation);
        }
        let mut assign = |name: &str, value: Option<&[u8]>| {
            if set.len() > start {
                set.push(b',');
            }
            set.extend_from_slice(b"@@SESSION.`");
            set.extend_from_slice(name.as_bytes());
            set.extend_from_slice(b"`=");
            match value {
                // NULL is reported as nothing.
                Some(b"") if NULLABLE.contains(&name) => set.extend_from_slice(b"NULL"),
                Some(b"DEFAULT") if name == VERSIONING => set.extend_from_slice(b"DEFAULT"),
                Some(value) if name == FREE_TEXT => put_text(&mut set, value),
                Some(value) => put_value(&mut set, value),
                None if is_inverted(name) => {
                    set.extend_from_slice(b"@@GLOBAL.`");
                    set.extend_from_slice(name.as_bytes());
                    set.push(b'`');
                }
                None => set.extend_from_slice(b"DEFAULT"),
            }
        };
        let mut all: Vec<&str> = known
            .keys()
            .chain(target.variables.keys())
            .map(|name| &**name)
            .collect();
        all.sort_unstable();
        all.dedup();
        let gated = gate.as_ref().map_or("", Gate::variable);
        all.retain(|name| *name != gated && *name != RESULTS_COLLATION);
        let mut has_new_charset = names.is_none() && self.charsets_differ(target);
        for name in all {
            let (old, new) = (known.get(name), target.variables.get(name));
            let twin = TWINS.iter().find(|(_, collation)| *collation == name);
            if let Some((charset, _)) = twin {
                // The character set has brought it.
                let is_new = known.get(*charset) != target.variables.get(*charset);
                match new {
                    Some(new) if is_new || old != Some(new) => assign(name, Some(new)),
                    None if old.is_some() && !target.variables.contains_key(*charset) => {
                        assign(name, None);
                    }
                    _ => {}
                }
                continue;
            }
            has_new_charset |= old != new && CHARSETS.contains(&name);
            // A new character set brings a collation of its own.
            if old != new || (name == COLLATION && has_new_charset) {
                assign(name, new.map(|v| &**v));
            }
        }
        self.put_user_variables(target, start, &mut set);
        if let Some(gate) = gate {
            if set.len() > start {
                set.push(b',');
            }
            gate.put_opening(selected, &mut set);
        }
        (set.len() > start).then_some(set)
    }

    /// Puts the assignments of the user variables that differ behind those that are there.
    fn put_user_variables(&self, target: &State, start: usize, set: &mut Vec<u8>) {
        if Arc::ptr_eq(&self.user_variables, &target.user_variables) {
            return;
        }
        let mut assign = |name: &str| {
            if set.len() > start {
                set.push(b',');
            }
            match target.user_variables.get(name) {
                Some(value) => value.put_assignment(name, set),
                None => put_unset(name, set),
            }
        };
        for (name, value) in target.user_variables.iter() {
            if self.user_variables.get(name) != Some(value) {
                assign(name);
            }
        }
        for name in self.user_variables.keys() {
            if !target.user_variables.contains_key(name) {
                assign(name);
            }
        }
    }

    /// The character set that statements are said to come in, if no client can send it.
    pub fn unsendable_charset(&self) -> Option<&[u8]> {
        let charset = self.variables.get(CLIENT_CHARSET)?;
        ONLY_RESULTS.contains(&&**charset).then_some(charset)
    }

    /// The character set of results and its collation, as they stand behind SET NAMES, which nothing
    /// else can set together.
    fn names(&self) -> Option<(&[u8], &[u8])> {
        let charset = self.variables.get(RESULTS_CHARSET)?;
        let collation = self.variables.get(RESULTS_COLLATION)?;
        let is_name = !charset.is_empty() && !ONLY_RESULTS.contains(&&**charset);
        is_name.then_some((&**charset, &**collation))
    }

    fn charsets_differ(&self, target: &State) -> bool {
        let differs = |name: &&str| self.variables.get(*name) != target.variables.get(*name);
        CHARSETS.iter().any(differs)
    }
}

/// Variables that MySQL keeps as an inverted bit and takes the wrong way round when they are set to
/// DEFAULT: 1 becomes 0.
fn is_inverted(name: &str) -> bool {
    matches!(name, "foreign_key_checks" | "unique_checks")
}

/// A value as a literal that reads the same under every sql_mode and character set of the connection.
/// Numbers stay bare, because numeric variables refuse strings (error 1232).
pub(super) fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    if is_number(value) {
        out.extend_from_slice(value);
    } else {
        put_text(out, value);
    }
}

/// A text without an introducer is of the connection's collation, and where that is of a wide character
/// set (UCS-2, UTF-16, UTF-32), MySQL takes it for no value of most variables.
fn put_text(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(b"_utf8mb4");
    let is_plain = |&b: &u8| (b' '..=b'~').contains(&b) && b != b'\'' && b != b'\\';
    // An empty one in quotes is NULL in one of MariaDB's modes.
    if !value.is_empty() && value.iter().all(is_plain) {
        put_quoted(out, value);
    } else {
        out.extend_from_slice(b" x'");
        for byte in value {
            out.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        out.push(b'\'');
    }
}

/// A name of letters and digits in quotes.
fn put_quoted(out: &mut Vec<u8>, name: &[u8]) {
    out.push(b'\'');
    out.extend_from_slice(name);
    out.push(b'\'');
}

fn is_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let mut parts = digits.splitn(2, |&b| b == b'.');
    parts.all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use isthmus_protocol::column::ColumnDefinition;

    use super::super::user_variable::answer;
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
                "\x1b\0\0|\x02b|\x03SET @@SESSION.`max_join_size`=100,@@SESSION.`sql_mode`=_utf8mb4'ANSI',@@SESSION.`time_zone`=DEFAULT",
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
                "\x03SET @@SESSION.`character_set_connection`=_utf8mb4'utf8mb4',@@SESSION.`collation_connection`=_utf8mb4'latin1_bin'",
                1,
            ),
            (
                state(None, false, &[("character_set_client", "latin1")]),
                state(
                    None,
                    false,
                    &[
                        ("character_set_client", "utf8mb4"),
                        ("character_set_connection", "utf8mb4"),
                        ("character_set_results", "utf8mb4"),
                        ("collation_connection", "utf8mb4_bin"),
                        (RESULTS_COLLATION, "utf8mb4_bin"),
                        ("sql_mode", ""),
                    ],
                ),
                "\x03SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin',@@SESSION.`sql_mode`=_utf8mb4 x''",
                1,
            ),
            (
                state(None, false, &[]),
                state(
                    None,
                    false,
                    &[
                        ("character_set_client", "latin1"),
                        ("character_set_results", "cp1251"),
                        ("collation_connection", "utf8mb4_bin"),
                        (RESULTS_COLLATION, "cp1251_bin"),
                    ],
                ),
                "\x03SET NAMES 'cp1251' COLLATE 'cp1251_bin',@@SESSION.`character_set_client`=_utf8mb4'latin1',@@SESSION.`character_set_connection`=DEFAULT,@@SESSION.`collation_connection`=_utf8mb4'utf8mb4_bin'",
                1,
            ),
            (
                state(None, false, &[]),
                state(
                    None,
                    false,
                    &[
                        ("character_set_results", "utf16"),
                        (RESULTS_COLLATION, "utf16_bin"),
                    ],
                ),
                "\x03SET @@SESSION.`character_set_results`=_utf8mb4'utf16'",
                1,
            ),
            (
                state(None, false, &[("character_set_client", "latin1")]),
                state(Some("ä"), false, &[("character_set_client", "latin1")]),
                "\x03SET @@SESSION.`character_set_client`=_utf8mb4'utf8mb4'|\x02ä|\x03SET @@SESSION.`character_set_client`=_utf8mb4'latin1'",
                3,
            ),
            (
                state(None, false, &[("foreign_key_checks", "OFF"), ("x", "1")]),
                state(None, false, &[]),
                "\x03SET @@SESSION.`foreign_key_checks`=@@GLOBAL.`foreign_key_checks`,@@SESSION.`x`=DEFAULT",
                1,
            ),
            (
                state(None, false, &[("system_versioning_asof", "ALL")]),
                state(
                    None,
                    false,
                    &[
                        ("default_master_connection", "1"),
                        ("innodb_tmpdir", ""),
                        ("sql_mode", ""),
                        ("system_versioning_asof", "DEFAULT"),
                    ],
                ),
                "\x03SET @@SESSION.`default_master_connection`=_utf8mb4'1',@@SESSION.`innodb_tmpdir`=NULL,@@SESSION.`sql_mode`=_utf8mb4 x'',@@SESSION.`system_versioning_asof`=DEFAULT",
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
                from.write_difference(&to, None, QueryForm::Plain, &mut out),
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
    fn a_gate_is_closed_first_and_opened_last() {
        let from = state(Some("a"), false, &[("transaction_read_only", "ON")]);
        let to = state(Some("b"), false, &[("x", "1")]);
        let gate = Gate::new("transaction_read_only", &to.variables);
        let mut out = Vec::new();
        assert_eq!(
            from.write_difference(&to, gate, QueryForm::Plain, &mut out),
            3
        );
        let text = String::from_utf8_lossy(&out);
        let places = [
            "SET @@SESSION.transaction_read_only=1",
            "\x02b",
            "SET @@SESSION.`x`=1,@@SESSION.transaction_read_only=IF(",
            "x'62'",
            ",@@GLOBAL.transaction_read_only,1)",
        ];
        let places = places.map(|part| text.find(part).expect(part));
        assert!(places.is_sorted(), "{text}");
        assert_eq!(text.matches("transaction_read_only").count(), 3, "{text}");
    }

    #[test]
    fn user_variables_are_assigned_and_unset() {
        let with = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, digits)| {
                let row = [b"\xfb\x01", digits.as_bytes(), b"\x06binary"].concat();
                let mut column = Vec::new();
                ColumnDefinition::integer("x").encode(&mut column);
                let mut packets = Vec::new();
                for payload in [b"\x03".as_slice(), &column, &column, &column, &row] {
                    packet::put(&mut packets, 0, &[payload].concat());
                }
                answer(&packets, [*name].into_iter()).unwrap()
            });
            let variables = variables.flatten().collect();
            state(None, false, &[("x", "1")]).with_user_variables(Arc::new(variables))
        };
        let (none, one) = (with(&[]), with(&[("a", "1"), ("b c", "2")]));
        let cases = [
            (&none, &one, Some("SET @`a`=1,@`b c`=2")),
            (
                &one,
                &with(&[("a", "1"), ("b c", "3")]),
                Some("SET @`b c`=3"),
            ),
            (
                &one,
                &with(&[("b c", "2")]),
                Some("SET @`a`=_binary x'',@`a`=NULL"),
            ),
            (&one, &one.clone(), None),
            (
                &one,
                &state(None, false, &[("x", "2")]).with_user_variables(Arc::default()),
                Some(
                    "SET @@SESSION.`x`=2,@`a`=_binary x'',@`a`=NULL,@`b c`=_binary x'',@`b c`=NULL",
                ),
            ),
        ];
        for (from, to, expected) in cases {
            let set = from.set_statement(to, None, None);
            let set = set.as_deref().map(String::from_utf8_lossy);
            assert_eq!(set.as_deref(), expected);
        }
    }
}
