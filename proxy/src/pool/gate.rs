//! The gate: what lets a statement that writes travel in one write with a prelude that may fail.
//!
//! A server goes on with the rest of a write after a part of it has failed. So the connection is
//! made read-only first, and nothing but the last assignment of the prelude makes it writable
//! again. Servers work out all values of a SET before they assign the first one, and assign from
//! left to right, so the last one is assigned only if all others were. Whether the schema and the
//! roles are those that were selected is asked in its value. Behind a gate that stayed closed, every statement
//! that writes to a table that is not temporary, or defines a table, a view, a routine and their like, is
//! refused with error 1792, and no transaction begins that could write.

use super::difference::put_value;
use super::state::Variables;

/// The gate of one connection on its way to one state.
#[derive(Debug, Clone)]
pub struct Gate<'a> {
    variable: &'static str,
    /// What the state wants the variable to be; `None` for the server's default.
    open: Option<&'a [u8]>,
    /// What is true where the roles are those of the state, if others are to be set.
    role: Option<String>,
}

impl<'a> Gate<'a> {
    /// The gate of a server whose sessions are made read-only by `variable`. There is none on the
    /// way to a state that is read-only itself.
    pub fn new(variable: &'static str, target: &'a Variables) -> Option<Self> {
        let open = target.get(variable).map(|value| &**value);
        let is_writable = open.is_none_or(|value| matches!(value, b"0" | b"OFF"));
        is_writable.then_some(Self {
            variable,
            open,
            role: None,
        })
    }

    /// The gate where roles are set too. `role` is what CURRENT_ROLE() must give; `None` is NULL.
    pub fn with_role(self, role: Option<&[u8]>) -> Self {
        let role = match role {
            Some(role) => format!("CAST(CURRENT_ROLE() AS BINARY)<=>x'{}'", hexadecimal(role)),
            None => "CURRENT_ROLE() IS NULL".to_owned(),
        };
        Self {
            role: Some(role),
            ..self
        }
    }

    /// The variable that makes a session read-only.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// The statement that closes it.
    pub fn closing(&self) -> String {
        format!("SET @@SESSION.{}=1", self.variable)
    }

    /// Writes the assignment that opens it, if the current schema is `schema`, where one is given.
    pub fn put_opening(&self, schema: Option<&[u8]>, out: &mut Vec<u8>) {
        let variable = self.variable;
        let schema = schema.map(is_selected);
        let conditions: Vec<_> = schema.into_iter().chain(self.role.clone()).collect();
        out.extend_from_slice(format!("@@SESSION.{variable}=").as_bytes());
        if !conditions.is_empty() {
            out.extend_from_slice(format!("IF({},", conditions.join(" AND ")).as_bytes());
        }
        match self.open {
            Some(value) => put_value(out, value),
            None => out.extend_from_slice(format!("@@GLOBAL.{variable}").as_bytes()),
        }
        if !conditions.is_empty() {
            out.extend_from_slice(b",1)");
        }
    }
}

/// What is true where the current schema is this one. Some servers keep the names of schemas in
/// lower case only.
fn is_selected(schema: &[u8]) -> String {
    let name = format!("_utf8mb4 x'{}'", hexadecimal(schema));
    format!(
        "IF(@@lower_case_table_names,LOWER(DATABASE())<=>LOWER({name}),\
         CAST(DATABASE() AS BINARY)<=>CAST({name} AS BINARY))"
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_opens_to_what_the_state_wants() {
        let wanted = |value: Option<&str>| -> Variables {
            let pair = value.map(|value| ("tx_read_only".into(), value.as_bytes().into()));
            pair.into_iter().collect()
        };
        let cases = [
            (None, Some("@@SESSION.tx_read_only=@@GLOBAL.tx_read_only")),
            (Some("OFF"), Some("@@SESSION.tx_read_only=_utf8mb4'OFF'")),
            (Some("0"), Some("@@SESSION.tx_read_only=0")),
            (Some("ON"), None),
            (Some("1"), None),
        ];
        for (value, expected) in cases {
            let variables = wanted(value);
            let opening = Gate::new("tx_read_only", &variables).map(|gate| {
                let mut out = Vec::new();
                gate.put_opening(None, &mut out);
                String::from_utf8(out).unwrap()
            });
            assert_eq!(opening.as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn a_gate_opens_where_schema_and_role_are_right() {
        let variables = Variables::new();
        let gate = || Gate::new("tx_read_only", &variables).unwrap();
        let schema = is_selected(b"a");
        let cases = [
            (gate(), Some("a"), schema.clone()),
            (
                gate().with_role(None),
                Some("a"),
                format!("{schema} AND CURRENT_ROLE() IS NULL"),
            ),
            (
                gate().with_role(Some(b"r")),
                None,
                "CAST(CURRENT_ROLE() AS BINARY)<=>x'72'".to_owned(),
            ),
        ];
        for (gate, schema, condition) in cases {
            let mut out = Vec::new();
            gate.put_opening(schema.map(str::as_bytes), &mut out);
            let expected =
                format!("@@SESSION.tx_read_only=IF({condition},@@GLOBAL.tx_read_only,1)");
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
