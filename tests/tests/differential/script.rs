//! What a few sessions do, step by step.

use std::fmt;

use isthmus_protocol::capabilities::Capabilities;

/// Sessions and their steps.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// How each session connects.
    pub(crate) actors: Vec<Actor>,
    /// Who does what, in this order.
    pub(crate) steps: Vec<(usize, Step)>,
}

/// How a session connects.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    /// What it negotiates.
    pub(crate) capabilities: Capabilities,
    /// The collation of its login.
    pub(crate) collation: u16,
    /// The schema that its statements speak of.
    pub(crate) schema: &'static str,
    /// Whether it names the schema when it logs in.
    pub(crate) selects_schema: bool,
}

/// One command, or something that is done to the proxy alone.
///
/// In texts, `{connection}` stands for the session's connection id and `{run}` for a number that
/// no other run of a script has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// COM_QUERY.
    Query(String),
    /// COM_STMT_PREPARE; the statement is known by its slot from now on.
    Prepare(usize, String),
    /// COM_STMT_EXECUTE.
    Execute {
        /// The statement.
        slot: usize,
        /// Its parameters.
        values: Vec<Value>,
        /// Whether a cursor is asked for.
        cursor: bool,
        /// Whether the types are sent, too.
        types: bool,
    },
    /// COM_STMT_FETCH, so many rows.
    Fetch(usize, u32),
    /// COM_STMT_SEND_LONG_DATA.
    LongData(usize, u16, Vec<u8>),
    /// COM_STMT_RESET.
    ResetStatement(usize),
    /// COM_STMT_CLOSE.
    Close(usize),
    /// COM_INIT_DB.
    InitDb(String),
    /// COM_SET_OPTION: multi-statements on or off.
    MultiStatements(bool),
    /// COM_PING.
    Ping,
    /// COM_RESET_CONNECTION.
    ResetConnection,
    /// Nothing for the server alone; behind the proxy, another backend connection than the last is
    /// the next to be lent, on both endpoints.
    Swap,
    /// A statement for the proxied session alone, with which tests prove that they can fail.
    Tamper(String),
}

/// A parameter of a prepared statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// NULL.
    Null,
    /// A BIGINT.
    Integer(i64),
    /// A DOUBLE.
    Double(f64),
    /// A string.
    Text(String),
    /// A BLOB.
    Blob(Vec<u8>),
    /// A DATETIME: year, month, day, hour, minute, second.
    DateTime(u16, [u8; 5]),
    /// What came by COM_STMT_SEND_LONG_DATA.
    Long,
}

impl Value {
    /// Whether it is a DATETIME.
    pub(crate) fn is_date(&self) -> bool {
        matches!(self, Self::DateTime(..))
    }

    /// Whether no row can have it for its id.
    pub(crate) fn is_no_id(&self) -> bool {
        matches!(self, Self::Null | Self::Double(_))
    }
}

impl Script {
    /// How many steps are commands that are answered on both sides.
    pub(crate) fn statements(&self) -> usize {
        let is_statement = |step: &&(usize, Step)| !matches!(step.1, Step::Swap | Step::Tamper(_));
        self.steps.iter().filter(is_statement).count()
    }

    /// The same without some of the steps.
    pub(crate) fn without(&self, steps: std::ops::Range<usize>) -> Self {
        let mut shorter = self.clone();
        shorter.steps.drain(steps);
        shorter
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, actor) in self.actors.iter().enumerate() {
            if self.steps.iter().any(|(who, _)| *who == number) {
                writeln!(f, "  session {number}: {actor:?}")?;
            }
        }
        for (number, (actor, step)) in self.steps.iter().enumerate() {
            writeln!(f, "  {number:3} session {actor}: {step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(sql) => write!(f, "{sql}"),
            Self::Prepare(slot, sql) => write!(f, "COM_STMT_PREPARE #{slot} {sql}"),
            Self::Tamper(sql) => write!(f, "(proxied only) {sql}"),
            other => write!(f, "{other:?}"),
        }
    }
}
