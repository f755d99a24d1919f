//! The shape of a statement: its text without what its literals say, found without a lexer.
//!
//! Two texts of one shape have the same tokens but for the values of numbers and strings, so what
//! was found out about one is true of the other. Finding it costs a fraction of a scan. Only a text
//! in which it is certain where literals begin and end has a shape: all that applications send
//! over and over, but nothing with comments, several statements, or unusual numbers.

use super::dialect::{Charset, Dialect};

/// The longest shape, in bytes. Longer statements are scanned.
pub(super) const LONGEST: usize = 2048;

/// Stands for a number. It is never copied from a text, except inside of quotes. A string is stood for
/// by its quote: neighbours with the same one make one string.
const NUMBER: u8 = 1;

/// The shape of a statement that a client who may send several in one packet (or may not) has sent
/// under this dialect, written into the buffer; `None` if it has none.
pub(super) fn of<'a>(
    sql: &[u8],
    dialect: Dialect,
    multi_statements: bool,
    buffer: &'a mut [u8; LONGEST],
) -> Option<&'a [u8]> {
    let mut shape = Writer { buffer, length: 0 };
    shape.push(conditions(dialect, multi_statements)?)?;
    let mut at = 0;
    let mut previous = b' ';
    while let Some(&byte) = sql.get(at) {
        let rest = sql.get(at..)?;
        let length = match CLASSES[byte as usize] {
            Class::Word => word_length(rest),
            Class::Digit if matches!(previous, b'.' | b'@') => {
                let length = digits(rest);
                if previous == b'.' && rest.get(length).is_some_and(|b| is_word(*b)) {
                    return None;
                }
                length
            }
            Class::Digit => {
                shape.push(NUMBER)?;
                at += number_length(rest)?;
                previous = byte;
                continue;
            }
            Class::Quote if byte == b'"' && dialect.ansi_quotes => quoted_length(rest, false)?,
            Class::Quote if previous == b'@' || is_word(previous) => return None,
            Class::Quote => {
                shape.push(byte)?;
                at += quoted_length(rest, !dialect.no_backslash_escapes)?;
                previous = byte;
                continue;
            }
            Class::Name => quoted_length(rest, false)?,
            Class::Other if matches!(rest, [b'-', b'-', ..] | [b'/', b'*', ..]) => return None,
            Class::Other => 1,
            Class::Unclear => return None,
        };
        let copied = rest.get(..length)?;
        shape.extend(copied)?;
        at += length;
        previous = copied.last().copied().unwrap_or(byte);
    }
    let length = shape.length;
    buffer.get(..length)
}

/// What else a plan depends on, as one byte; `None` for character sets in which a byte of a
/// longer character can look like a quote or a backslash, and in the servers' own schemas.
fn conditions(dialect: Dialect, multi_statements: bool) -> Option<u8> {
    let single_byte = match dialect.charset {
        Charset::Utf8 => false,
        Charset::SingleByte => true,
        Charset::Big5 | Charset::Gbk | Charset::Gb18030 | Charset::Sjis => return None,
    };
    let Dialect {
        ansi_quotes,
        no_backslash_escapes,
        ignore_space,
        begin_opens_block,
        charset: _,
        own_schema: None,
    } = dialect
    else {
        return None;
    };
    let flags = [
        ansi_quotes,
        no_backslash_escapes,
        ignore_space,
        begin_opens_block,
        single_byte,
        multi_statements,
    ];
    Some(
        flags
            .iter()
            .fold(0, |bits, flag| bits << 1 | u8::from(*flag)),
    )
}

struct Writer<'a> {
    buffer: &'a mut [u8; LONGEST],
    length: usize,
}

impl Writer<'_> {
    fn push(&mut self, byte: u8) -> Option<()> {
        *self.buffer.get_mut(self.length)? = byte;
        self.length += 1;
        Some(())
    }

    fn extend(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length + bytes.len();
        let room = self.buffer.get_mut(self.length..end)?;
        // Most are a few bytes, for which a loop is quicker than a call.
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.length = end;
        Some(())
    }
}

/// What begins with a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A word.
    Word,
    /// A number, or a word behind a point or an `@`.
    Digit,
    /// A string, or a name under ANSI_QUOTES.
    Quote,
    /// A name in backticks.
    Name,
    /// An operator or white space.
    Other,
    /// Something that takes a lexer.
    Unclear,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Word,
            b'0'..=b'9' => Class::Digit,
            b'\'' | b'"' => Class::Quote,
            b'`' => Class::Name,
            b'\t' | b'\n' | b'\r' => Class::Other,
            // A dollar sign may begin a quotation.
            0..b' ' | 0x7F | b'#' | b';' | b'\\' | b'$' => Class::Unclear,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

fn is_word(byte: u8) -> bool {
    matches!(CLASSES[byte as usize], Class::Word | Class::Digit)
}

fn word_length(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_word(**byte)).count()
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The length of the number at the start: digits, perhaps a point and more digits. `None` where it
/// goes on in another way, which needs the lexer.
fn number_length(text: &[u8]) -> Option<usize> {
    let mut length = digits(text);
    if text.get(length) == Some(&b'.') {
        let fraction = digits(text.get(length + 1..)?);
        if fraction == 0 {
            return None;
        }
        length += 1 + fraction;
    }
    match text.get(length) {
        Some(&byte) if byte == b'.' || is_word(byte) => None,
        _ => Some(length),
    }
}

/// The length of what is in quotes at the start, up to the next quote: a doubled one ends it and
/// begins the next. `None` if it has no end.
fn quoted_length(text: &[u8], escapes: bool) -> Option<usize> {
    let (&quote, mut rest) = text.split_first()?;
    loop {
        let at = rest
            .iter()
            .position(|byte| *byte == quote || (*byte == b'\\' && escapes))?;
        if rest.get(at) == Some(&quote) {
            return Some(text.len() - rest.len() + at + 1);
        }
        rest = rest.get(at + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::digest;
    use super::*;

    fn shape(sql: &[u8], dialect: Dialect) -> Option<Vec<u8>> {
        of(sql, dialect, false, &mut [0; LONGEST]).map(<[u8]>::to_vec)
    }

    fn text(sql: &str) -> Option<String> {
        let shape = shape(sql.as_bytes(), Dialect::default())?;
        let shape = shape.get(1..).unwrap_or_default().iter();
        let shown = shape.map(|byte| match *byte {
            NUMBER => '#',
            byte => char::from(byte),
        });
        Some(shown.collect())
    }

    #[test]
    fn literals_are_taken_out() {
        for (sql, expected) in [
            (
                "SELECT c FROM t1 WHERE id=4711",
                Some("SELECT c FROM t1 WHERE id=#"),
            ),
            ("SELECT -1.50,'a''b' , \"c\"", Some("SELECT -#,'' , \"")),
            (r"SELECT 'it\'s' FROM `t 1`", Some("SELECT ' FROM `t 1`")),
            ("SELECT t.5, @1, a.b1", Some("SELECT t.5, @1, a.b1")),
            ("", Some("")),
            ("SELECT 1e5", None),
            ("SELECT 1e+5", None),
            ("SELECT .5e+5", None),
            ("SELECT 1.", None),
            ("SELECT 1.2.3", None),
            ("SELECT 0x1F", None),
            ("SELECT x'1F'", None),
            ("SELECT _utf8'a'", None),
            ("SELECT @'a'", None),
            ("SELECT 'a", None),
            (r"SELECT 'a\", None),
            ("SELECT `a", None),
            ("SELECT 1; SELECT 2", None),
            ("SELECT 1 -- b", None),
            ("SELECT 1 # b", None),
            ("SELECT /* a */ 1", None),
            ("SELECT $$", None),
            ("SELECT \u{1}", None),
        ] {
            assert_eq!(text(sql).as_deref(), expected, "{sql}");
        }
    }

    #[test]
    fn what_a_plan_depends_on_is_in_it() {
        let dialects = [
            Dialect::default(),
            Dialect {
                ansi_quotes: true,
                ..Dialect::default()
            },
            Dialect {
                no_backslash_escapes: true,
                ..Dialect::default()
            },
            Dialect {
                ignore_space: true,
                ..Dialect::default()
            },
            Dialect {
                begin_opens_block: true,
                ..Dialect::default()
            },
            Dialect {
                charset: Charset::SingleByte,
                ..Dialect::default()
            },
        ];
        let mut shapes = Vec::new();
        for dialect in dialects {
            for multi_statements in [false, true] {
                let mut buffer = [0; LONGEST];
                let shape = of(b"SELECT 1", dialect, multi_statements, &mut buffer);
                shapes.push(shape.map(<[u8]>::to_vec));
            }
        }
        let all = shapes.len();
        shapes.sort();
        shapes.dedup();
        assert_eq!(shapes.len(), all);
        let wide = Dialect {
            charset: Charset::Sjis,
            ..Dialect::default()
        };
        assert_eq!(shape(b"SELECT 1", wide), None);
    }

    #[test]
    fn long_texts_have_none() {
        let sql = format!("SELECT {}", "a".repeat(LONGEST));
        assert_eq!(text(&sql), None);
        assert!(text(&format!("SELECT '{}'", "a".repeat(LONGEST))).is_some());
    }

    /// Pieces that are easily misread next to each other.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "SELECT",
            "SET",
            "autocommit",
            "SHOW",
            "VARIABLES",
            "LIKE",
            "IN",
            "VALUES",
            "DEFAULT",
            "NULL",
            "a",
            "e",
            "x",
            "n",
            "_utf8",
            "1",
            "2",
            "23",
            "1.5",
            ".",
            "..",
            ",",
            "(",
            ")",
            "=",
            "-",
            "+",
            "*",
            "/",
            "@",
            "@@",
            ":=",
            "?",
            "'",
            "''",
            "'a'",
            "'b\\''",
            "\"",
            "\"c\"",
            "`",
            "`d`",
            " ",
            " ",
            " ",
            "\n",
            "\\",
            "é",
            "\u{a0}",
            "$",
            "e+5",
            "0x1",
            "b'1'",
        ])
    }

    /// A piece with what another text of the same shape may have in its place.
    fn pair() -> impl Strategy<Value = (&'static str, &'static str)> {
        let number = || prop::sample::select(vec!["1", "2", "23", "1.5"]);
        let string = || prop::sample::select(vec!["''", "'a'", "'b\\''", "\"c\"", "'/*'"]);
        prop_oneof![
            3 => piece().prop_map(|piece| (piece, piece)),
            2 => (number(), number()),
            1 => (string(), string()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// Another text of the same shape has the same digest, as far as literals do not decide.
        #[test]
        fn one_shape_has_one_digest(
            pairs in prop::collection::vec(pair(), 0..12),
            ansi_quotes: bool,
            no_backslash_escapes: bool,
        ) {
            let dialect = Dialect { ansi_quotes, no_backslash_escapes, ..Dialect::default() };
            let one: String = pairs.iter().map(|(one, _)| *one).collect();
            let two: String = pairs.iter().map(|(_, two)| *two).collect();
            let shapes = [&one, &two].map(|sql| shape(sql.as_bytes(), dialect));
            if let [Some(first), Some(second)] = &shapes && first == second {
                let [first, second] =
                    [&one, &two].map(|sql| digest::scan(sql.as_bytes(), dialect, 1));
                prop_assert_eq!(first.do_literals_decide, second.do_literals_decide);
                if !first.do_literals_decide {
                    prop_assert_eq!(first.digest, second.digest, "{} and {}", one, two);
                    prop_assert_eq!(first.statements, second.statements);
                    prop_assert!(first.hints.is_empty() && second.hints.is_empty());
                }
            }
        }
    }
}
