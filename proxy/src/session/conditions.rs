//! The conditions of one statement: its errors, warnings and notes, in the order in which SHOW
//! WARNINGS lists them.

use isthmus_protocol::lenenc::Reader;
use isthmus_protocol::packet;
use isthmus_protocol::sqlstate::sqlstate;

use crate::relay::ServerError;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) enum Conditions {
    /// There are none.
    #[default]
    None,
    /// The connection that the session keeps tells how they read.
    Unread {
        /// How many there are, as far as the answer told.
        count: u16,
        /// The error that the answer ended with. There may be more before it.
        error: Option<ServerError>,
    },
    /// Those that the server has kept.
    Read {
        /// How many there were.
        count: u64,
        /// How many of them were errors.
        errors: u64,
        /// Those that were kept.
        kept: Vec<Condition>,
    },
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    /// How bad it is.
    pub(super) level: Level,
    /// Its number.
    pub(super) code: u16,
    /// Its SQLSTATE.
    pub(super) state: [u8; 5],
    /// Its text, in the character set of results.
    pub(super) message: Vec<u8>,
}

/// How bad a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Note,
    Warning,
    Error,
}

impl Level {
    /// The word for it in SHOW WARNINGS.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Note => "Note",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }
}

impl Condition {
    /// Who has defined the class of its SQLSTATE, and who the rest, as MySQL says. What a SIGNAL has
    /// raised says nothing: it has numbers of its own, or a state that is not that of its number.
    pub(super) fn origins(&self) -> (&'static str, &'static str) {
        const SIGNALS: [u16; 3] = [1642, 1643, 1644];
        const STANDARD: &str = "ISO 9075";
        if SIGNALS.contains(&self.code) || self.state != sqlstate(self.code, false) {
            return ("", "");
        }
        let [first, second, rest @ ..] = self.state;
        let is_standard = matches!(first, b'0'..=b'4' | b'A'..=b'H')
            && matches!(second, b'0'..=b'9' | b'A'..=b'Z');
        let origin = |is_standard| if is_standard { STANDARD } else { "MySQL" };
        (origin(is_standard), origin(is_standard || rest == *b"000"))
    }
}

impl From<&ServerError> for Condition {
    fn from(error: &ServerError) -> Self {
        Self {
            level: Level::Error,
            code: error.code,
            state: error.state,
            message: error.message.clone(),
        }
    }
}

impl Conditions {
    /// Just this error.
    pub(super) fn only(error: &ServerError) -> Self {
        Self::Read {
            count: 1,
            errors: 1,
            kept: vec![error.into()],
        }
    }

    /// Whether only the connection knows how they read.
    pub(super) fn are_unread(&self) -> bool {
        matches!(self, Self::Unread { .. })
    }

    /// The connection that knows how they read is gone: what is known of them is all.
    pub(super) fn settle(&mut self) {
        if let Self::Unread { count, error } = self {
            *self = match error {
                Some(error) => Self::only(error),
                None => Self::Read {
                    count: (*count).into(),
                    errors: 0,
                    kept: Vec::new(),
                },
            };
        }
    }

    /// Takes note of what SHOW WARNINGS has answered where they were unread: the packets of the result
    /// before its terminator. If the error of the answer is not among them, they are others, unless
    /// there was no room: a server keeps `most`.
    pub(super) fn note_read(&mut self, packets: &[u8], is_mariadb: bool, most: usize) {
        let Self::Unread { count, error } = self else {
            return;
        };
        let mut kept = read(packets, is_mariadb);
        let is_error = |one: &&Condition| one.level == Level::Error;
        let mut errors = kept.iter().filter(is_error).count() as u64;
        let mut count = u64::from(*count).max(kept.len() as u64);
        if let Some(error) = error {
            let is_it = |one: &&mut Condition| one.level == Level::Error && one.code == error.code;
            let is_full = kept.len() >= most;
            match kept.iter_mut().rfind(is_it) {
                Some(own) => own.state = error.state,
                None if is_full => {
                    count += 1;
                    errors += 1;
                }
                None => return self.settle(),
            }
        }
        *self = Self::Read {
            count,
            errors,
            kept,
        };
    }

    /// Adds an error. Servers keep `most` at the most.
    pub(super) fn add_error(&mut self, condition: Condition, most: usize) {
        self.settle();
        if let Self::None = self {
            *self = Self::Read {
                count: 0,
                errors: 0,
                kept: Vec::new(),
            };
        }
        if let Self::Read {
            count,
            errors,
            kept,
        } = self
        {
            *count += 1;
            *errors += 1;
            if kept.len() < most {
                kept.push(condition);
            }
        }
    }

    /// Puts their texts into another character set.
    pub(super) fn recode(&mut self, recode: impl Fn(&[u8]) -> Vec<u8>) {
        match self {
            Self::None => {}
            Self::Unread { error, .. } => {
                if let Some(error) = error {
                    error.message = recode(&error.message);
                }
            }
            Self::Read { kept, .. } => {
                for condition in kept {
                    condition.message = recode(&condition.message);
                }
            }
        }
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Unread { count, error } => u64::from(*count) + u64::from(error.is_some()),
            Self::Read { count, .. } => *count,
        }
    }

    /// How many of them were errors.
    pub(super) fn errors(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Unread { error, .. } => u64::from(error.is_some()),
            Self::Read { errors, .. } => *errors,
        }
    }

    /// Those that are known.
    pub(super) fn known(&self) -> Vec<Condition> {
        match self {
            Self::None => Vec::new(),
            Self::Unread { error, .. } => error.iter().map(Condition::from).collect(),
            Self::Read { kept, .. } => kept.clone(),
        }
    }
}

/// The conditions in the result of a SHOW WARNINGS: three columns, behind their count and
/// definitions.
fn read(packets: &[u8], is_mariadb: bool) -> Vec<Condition> {
    const COLUMNS: usize = 3;
    let rows = packet::payloads(packets).skip(1 + COLUMNS);
    let condition = |row| {
        let mut reader = Reader::new(row, "row");
        let mut value = || reader.lenenc_bytes().ok();
        let level = value()?;
        // In the character set of results, which may have more bytes for each character.
        let first = level.iter().find(|byte| **byte != 0);
        let level = match first {
            Some(b'E') => Level::Error,
            Some(b'W') => Level::Warning,
            _ => Level::Note,
        };
        let code = std::str::from_utf8(value()?).ok()?.parse().ok()?;
        Some(Condition {
            level,
            code,
            state: sqlstate(code, is_mariadb),
            message: value()?.to_vec(),
        })
    };
    rows.filter_map(condition).collect()
}
