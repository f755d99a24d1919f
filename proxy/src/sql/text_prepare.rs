//! `PREPARE`, `EXECUTE` and `DEALLOCATE PREPARE`: which statement they speak of.

use std::ops::Range;

use super::dialect::Dialect;
use super::lexer::{Reading, TokenKind};
use super::words::Words;

/// What is done to a textual prepared statement. Names are in lower case, as they compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextCommand {
    /// `PREPARE name FROM 'text'`.
    Prepare {
        /// The name.
        name: String,
        /// Where the literal is, with its quotes.
        literal: Range<usize>,
        /// What it says.
        text: Vec<u8>,
    },
    /// `PREPARE name FROM @variable`.
    PrepareVariable {
        /// The name.
        name: String,
        /// The name of the variable, in lower case.
        variable: String,
    },
    /// `EXECUTE name …`.
    Execute {
        /// The name.
        name: String,
        /// Where what follows the name begins.
        rest: usize,
    },
    /// `DEALLOCATE PREPARE name`.
    Deallocate {
        /// The name.
        name: String,
    },
}

/// The name of the routine behind CALL, or of the statement behind EXECUTE, without a schema's.
pub fn called(sql: &[u8], dialect: Dialect) -> Option<String> {
    let mut words = Words::new(sql, dialect, Reading::default());
    words.next()?;
    let mut name = words.accept_name()?;
    while words.accept_kind(TokenKind::Dot) {
        name = words.next()?.name();
    }
    Some(name)
}

/// What `EXECUTE … USING` may be followed by.
const VALUES: [TokenKind; 5] = [
    TokenKind::UserVariable,
    TokenKind::Text,
    TokenKind::Number,
    TokenKind::Comma,
    TokenKind::Operator(b'-'),
];

/// Reads a statement. `None` if it is none of these, or one that the proxy leaves to the server.
pub fn text_command(sql: &[u8], dialect: Dialect) -> Option<TextCommand> {
    if sql.windows(3).any(|part| part == b"/*!" || part == b"/*M") {
        return None;
    }
    let mut words = Words::new(sql, dialect, Reading::default());
    let verb = words.next()?;
    let command = match verb.keyword() {
        b"prepare" => {
            let name = words.accept_name()?.to_lowercase();
            words.accept("from").then_some(())?;
            let source = words.next()?;
            match source.kind {
                TokenKind::UserVariable => TextCommand::PrepareVariable {
                    name,
                    variable: source.user_variable()?,
                },
                _ => TextCommand::Prepare {
                    name,
                    text: words.string(&source)?,
                    literal: source.start..source.end,
                },
            }
        }
        b"execute" => {
            let name = words.next().filter(|word| word.is_name())?;
            if name.is("immediate") {
                return None;
            }
            // What is calculated, as MariaDB does, may have effects of its own.
            let are_values = words.clone().all(|word| match word.kind {
                TokenKind::Word => word.is_any(&["using", "null"]),
                kind => VALUES.contains(&kind),
            });
            return are_values.then(|| TextCommand::Execute {
                name: name.name().to_lowercase(),
                rest: name.end,
            });
        }
        b"deallocate" | b"drop" => {
            words.accept("prepare").then_some(())?;
            let name = words.accept_name()?.to_lowercase();
            TextCommand::Deallocate { name }
        }
        _ => return None,
    };
    (words.next().is_none() && words.doubt().is_none()).then_some(command)
}

/// A text of ASCII as a literal.
pub fn literal(text: &[u8], dialect: Dialect) -> Option<Vec<u8>> {
    let mut literal = vec![b'\''];
    for &byte in text {
        if byte == b'\'' || (byte == b'\\' && !dialect.no_backslash_escapes) {
            literal.push(byte);
        }
        literal.push(byte);
    }
    literal.push(b'\'');
    text.is_ascii().then_some(literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let name = || "s".to_owned();
        let cases = [
            (
                "PREPARE `S` FROM 'SELECT ''a'''",
                Some(TextCommand::Prepare {
                    name: name(),
                    literal: 17..31,
                    text: b"SELECT 'a'".to_vec(),
                }),
            ),
            (
                "prepare s /* x */ from @V ;",
                Some(TextCommand::PrepareVariable {
                    name: name(),
                    variable: "v".into(),
                }),
            ),
            (
                "EXECUTE s USING @a, @b",
                Some(TextCommand::Execute {
                    name: name(),
                    rest: 9,
                }),
            ),
            ("EXECUTE s USING LAST_INSERT_ID()", None),
            ("EXECUTE s USING @a := 1", None),
            (
                "DEALLOCATE PREPARE s",
                Some(TextCommand::Deallocate { name: name() }),
            ),
            (
                "DROP PREPARE s",
                Some(TextCommand::Deallocate { name: name() }),
            ),
            ("DROP TABLE s", None),
            ("PREPARE s FROM 'a' 'b'", None),
            ("PREPARE s FROM _latin1 'a'", None),
            ("PREPARE s FROM '", None),
            ("EXECUTE IMMEDIATE 'SELECT 1'", None),
            ("/*!50000 EXECUTE s */", None),
        ];
        for (sql, expected) in cases {
            let command = text_command(sql.as_bytes(), Dialect::default());
            assert_eq!(command, expected, "{sql}");
        }
    }

    #[test]
    fn literals_read_as_they_were() {
        let text = b"SELECT 'it''s \\\\ ?'";
        let dialect = Dialect::default();
        let literal = literal(text, dialect).unwrap();
        let sql = [b"PREPARE s FROM ", literal.as_slice()].concat();
        match text_command(&sql, dialect) {
            Some(TextCommand::Prepare { text: read, .. }) => assert_eq!(read, text),
            other => panic!("{other:?}"),
        }
    }
}
