//! What of a session's state changes how the server reads its statements.

/// How the server reads a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Dialect {
    /// `"x"` is an identifier.
    pub ansi_quotes: bool,
    /// `\` in a string is a character like any other.
    pub no_backslash_escapes: bool,
    /// A space may stand between the name of a built-in function and its parenthesis.
    pub ignore_space: bool,
    /// BEGIN opens a program, as with Oracle, and no transaction.
    pub begin_opens_block: bool,
    /// What `character_set_client` makes of bytes above 0x7F.
    pub charset: Charset,
    /// Names without a schema are in this one of the server's own.
    pub own_schema: Option<OwnSchema>,
}

/// The schemas that every server has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnSchema {
    /// `information_schema`
    Information,
    /// `mysql`
    Mysql,
    /// `performance_schema`
    Performance,
    /// `sys`
    Sys,
}

/// The character sets, by what matters to finding the end of a word or of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Charset {
    /// utf8mb3, utf8mb4.
    #[default]
    Utf8,
    /// One byte is one character, or no byte of a longer character is below 0x80.
    SingleByte,
    /// big5
    Big5,
    /// gbk
    Gbk,
    /// gb18030
    Gb18030,
    /// sjis, cp932
    Sjis,
}

impl Dialect {
    /// From the values of `sql_mode` and `character_set_client` as the server prints them.
    pub fn from_session(sql_mode: &[u8], character_set_client: &[u8]) -> Dialect {
        let mode = |names: &[&str]| {
            sql_mode.split(|byte| *byte == b',').any(|mode| {
                let mode = mode.trim_ascii();
                names
                    .iter()
                    .any(|name| mode.eq_ignore_ascii_case(name.as_bytes()))
            })
        };
        // The server prints a combination together with its members; so do these names, in case
        // the value was taken from a statement instead.
        let combined = mode(&["ANSI", "ORACLE", "MSSQL", "DB2", "POSTGRESQL", "MAXDB"]);
        Dialect {
            ansi_quotes: combined || mode(&["ANSI_QUOTES"]),
            no_backslash_escapes: mode(&["NO_BACKSLASH_ESCAPES"]),
            ignore_space: combined || mode(&["IGNORE_SPACE"]),
            begin_opens_block: mode(&["ORACLE"]),
            charset: Charset::from_name(character_set_client),
            own_schema: None,
        }
    }

    /// The same in another schema.
    pub fn within(self, schema: Option<&[u8]>) -> Dialect {
        Dialect {
            own_schema: schema.and_then(OwnSchema::from_name),
            ..self
        }
    }
}

impl OwnSchema {
    /// From its name, in any letter case.
    pub fn from_name(name: &[u8]) -> Option<OwnSchema> {
        match name.to_ascii_lowercase().as_slice() {
            b"information_schema" => Some(OwnSchema::Information),
            b"mysql" => Some(OwnSchema::Mysql),
            b"performance_schema" => Some(OwnSchema::Performance),
            b"sys" => Some(OwnSchema::Sys),
            _ => None,
        }
    }
}

impl Charset {
    /// From the name of a character set.
    pub fn from_name(name: &[u8]) -> Charset {
        match name.to_ascii_lowercase().as_slice() {
            b"utf8mb4" | b"utf8mb3" | b"utf8" => Charset::Utf8,
            b"big5" => Charset::Big5,
            b"gbk" => Charset::Gbk,
            b"gb18030" => Charset::Gb18030,
            b"sjis" | b"cp932" => Charset::Sjis,
            _ => Charset::SingleByte,
        }
    }

    /// The length of the character of several bytes at the start of `bytes`, or 0 if there is
    /// none: an ASCII character, or bytes that make no character. Single bytes above 0x7F count
    /// as 1 where they are characters of their own.
    pub fn character_length(self, bytes: &[u8]) -> usize {
        let byte = |i: usize| bytes.get(i).copied().unwrap_or(0);
        let (first, second) = (byte(0), byte(1));
        if first < 0x80 {
            return 0;
        }
        match self {
            Charset::SingleByte => 1,
            Charset::Utf8 => utf8_length(bytes),
            Charset::Big5 => match (first, second) {
                (0xA1..=0xF9, 0x40..=0x7E | 0xA1..=0xFE) => 2,
                _ => 0,
            },
            Charset::Gbk => match (first, second) {
                (0x81..=0xFE, 0x40..=0x7E | 0x80..=0xFE) => 2,
                _ => 0,
            },
            Charset::Gb18030 => match (first, second, byte(2), byte(3)) {
                (0x81..=0xFE, 0x40..=0x7E | 0x80..=0xFE, _, _) => 2,
                (0x81..=0xFE, 0x30..=0x39, 0x81..=0xFE, 0x30..=0x39) => 4,
                _ => 0,
            },
            Charset::Sjis => match (first, second) {
                (0x81..=0x9F | 0xE0..=0xFC, 0x40..=0x7E | 0x80..=0xFC) => 2,
                // Half-width katakana.
                (0xA1..=0xDF, _) => 1,
                _ => 0,
            },
        }
    }
}

/// The length of the well-formed UTF-8 sequence of more than one byte at the start, or 0.
fn utf8_length(bytes: &[u8]) -> usize {
    let length = match bytes.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => return 0,
    };
    match bytes.get(..length).map(std::str::from_utf8) {
        Some(Ok(_)) => length,
        _ => 0,
    }
}
