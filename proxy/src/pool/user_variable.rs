//! User variables as they travel from one backend connection to another: type, character set,
//! collation and bytes, read back from the server that assigned them and written as literals.

use std::collections::BTreeMap;

use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::lenenc::Reader;
use isthmus_protocol::packet;

/// Values by the names of the variables, in lower case and of ASCII.
pub type UserVariables = BTreeMap<Box<str>, UserValue>;

/// How many variables of one session are carried.
pub const MOST: usize = 256;
/// How many bytes the names and values of one session's variables may have.
pub const MOST_BYTES: usize = 1024 * 1024;

/// What has so many characters is no double: those have 24 at the most.
const NO_DOUBLE: usize = 25;

/// What a user variable holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserValue {
    kind: UserType,
    /// The text of a number, the bytes of a string; `None` is NULL, which has a type too.
    value: Option<Box<[u8]>>,
}

/// The types that servers tell apart in user variables.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum UserType {
    Signed,
    Unsigned,
    Decimal,
    Double,
    /// A string of this collation, whose name begins with that of its character set.
    Text(Box<str>),
}

/// The question for the values of these variables: one row of three columns each. The first is of the
/// variable's type and NULL where the value is long; the second is free of `character_set_results`,
/// but of a double MySQL shows no more than 22 characters there.
pub fn question<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut sql = "SELECT ".to_owned();
    for (index, name) in names.into_iter().enumerate() {
        if index > 0 {
            sql.push(',');
        }
        let name = quoted(name);
        sql.push_str(&format!(
            "NULLIF(@{name},IF(LENGTH(@{name})<{NO_DOUBLE},NULL,@{name})),LEFT(CAST(@{name} AS BINARY),{}),COLLATION(@{name})",
            MOST_BYTES + 1
        ));
    }
    // Without it, sql_select_limit counts.
    sql.push_str(" LIMIT 1");
    sql
}

/// Reads the answer: the packets before its terminator. `None` if it is none, or if a value is
/// longer than what is carried.
pub fn answer<'a>(
    packets: &[u8],
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Option<UserVariables> {
    let mut rest = packets;
    let mut next = || {
        let header = packet::Header::parse(rest)?;
        let (packet, tail) = rest.split_at_checked(packet::HEADER_LEN + header.length)?;
        rest = tail;
        // A row that fills a packet goes on in the next one.
        (header.length < packet::MAX_PAYLOAD).then(|| packet.get(packet::HEADER_LEN..))?
    };
    next()?;
    let definitions: Option<Vec<_>> = (0..3 * names.len())
        .map(|_| ColumnDefinition::parse(next()?).ok())
        .collect();
    let mut row = Reader::new(next()?, "row");
    let mut variables = UserVariables::new();
    for (name, columns) in names.zip(definitions?.chunks(3)) {
        let shown = row.lenenc_bytes_or_null().ok()?;
        let mut value = row.lenenc_bytes_or_null().ok()?;
        let collation = row.lenenc_bytes().ok()?;
        let column = columns.first()?;
        if is_double(column) {
            value = shown.or(value);
        }
        if value.is_some() || !is_never_set(column) {
            let value = UserValue::new(column, value, collation)?;
            variables.insert(name.into(), value);
        }
    }
    Some(variables)
}

/// Whether a column of NULL is of a variable that does not exist: MySQL gives that another type,
/// and MariaDB room for one more byte.
fn is_never_set(column: &ColumnDefinition) -> bool {
    column.kind == ColumnDefinition::VAR_STRING || column.length == 1 << 24
}

fn is_double(column: &ColumnDefinition) -> bool {
    matches!(column.kind, 4 | 5)
}

/// Whether a session may carry all of these.
pub fn are_carried(variables: &UserVariables) -> bool {
    let size: usize = variables
        .iter()
        .map(|(name, value)| name.len() + value.text().map_or(0, <[u8]>::len))
        .sum();
    variables.len() <= MOST && size <= MOST_BYTES
}

impl UserValue {
    fn new(column: &ColumnDefinition, value: Option<&[u8]>, collation: &[u8]) -> Option<Self> {
        let kind = match column.kind {
            1 | 2 | 3 | 8 | 9 | 13 if column.flags & ColumnDefinition::UNSIGNED != 0 => {
                UserType::Unsigned
            }
            1 | 2 | 3 | 8 | 9 | 13 => UserType::Signed,
            _ if is_double(column) => UserType::Double,
            0 | 246 => UserType::Decimal,
            // A literal must be well-formed. MariaDB leaves other texts behind a SET that fails.
            _ if collation.starts_with(b"utf8")
                && !value.is_none_or(|value| is_utf8(value, collation)) =>
            {
                UserType::Text("binary".into())
            }
            _ => UserType::Text(plain_name(collation)?.into()),
        };
        let is_fitting = match (&kind, value) {
            (_, None) => true,
            (UserType::Text(_), Some(value)) => value.len() <= MOST_BYTES,
            (_, Some(value)) => is_number(value),
        };
        is_fitting.then(|| Self {
            kind,
            value: value.map(Into::into),
        })
    }

    /// An integer.
    pub fn signed(number: i64) -> Self {
        Self {
            kind: UserType::Signed,
            value: Some(number.to_string().into_bytes().into()),
        }
    }

    /// An integer without a sign.
    pub fn unsigned(number: u64) -> Self {
        Self {
            kind: UserType::Unsigned,
            value: Some(number.to_string().into_bytes().into()),
        }
    }

    /// A string of this collation, in whose character set it is.
    pub fn string(collation: &str, value: &[u8]) -> Self {
        Self {
            kind: UserType::Text(collation.into()),
            value: Some(value.into()),
        }
    }

    /// The value as an integer: rounded, and of a string the number that it begins with. `None` for
    /// NULL.
    pub fn integer(&self) -> Option<i64> {
        let text = String::from_utf8_lossy(self.text()?);
        if !matches!(self.kind, UserType::Text(_)) {
            return text.parse::<f64>().ok().map(|number| number.round() as i64);
        }
        let text = text.trim_start();
        let is_sign = |(index, c): (usize, char)| index == 0 && matches!(c, '-' | '+');
        let end = text.char_indices();
        let mut end = end.filter(|one| !one.1.is_ascii_digit() && !is_sign(*one));
        let end = end.next().map_or(text.len(), |(index, _)| index);
        Some(text.get(..end).unwrap_or_default().parse().unwrap_or(0))
    }

    /// The text of a number, the bytes of a string; `None` for NULL.
    pub fn text(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// Puts what assigns this value to a variable, whatever the sql_mode and the character sets.
    pub(super) fn put_assignment(&self, name: &str, out: &mut Vec<u8>) {
        put_target(name, out);
        match &self.value {
            Some(value) => self.kind.put(value, out),
            // NULL has the type and the collation of the value before it.
            None => {
                self.kind.put(self.kind.zero(), out);
                out.push(b',');
                put_target(name, out);
                out.extend_from_slice(b"NULL");
            }
        }
    }
}

/// Puts what makes a variable look as if it had never been set.
pub(super) fn put_unset(name: &str, out: &mut Vec<u8>) {
    let unset = UserValue {
        kind: UserType::Text("binary".into()),
        value: None,
    };
    unset.put_assignment(name, out);
}

fn put_target(name: &str, out: &mut Vec<u8>) {
    out.push(b'@');
    out.extend_from_slice(quoted(name).as_bytes());
    out.push(b'=');
}

/// The name as it stands in statements.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl UserType {
    fn zero(&self) -> &'static [u8] {
        match self {
            Self::Text(_) => b"",
            _ => b"0",
        }
    }

    fn put(&self, value: &[u8], out: &mut Vec<u8>) {
        let end: &[u8] = match self {
            Self::Text(collation) => return put_text(collation, value, out),
            Self::Unsigned => {
                out.extend_from_slice(b"CAST(");
                b" AS UNSIGNED)"
            }
            Self::Decimal if !value.contains(&b'.') => b".",
            Self::Double if !value.contains(&b'e') => b"e0",
            Self::Signed | Self::Decimal | Self::Double => b"",
        };
        out.extend_from_slice(value);
        out.extend_from_slice(end);
    }
}

/// `_latin1 x'e9' COLLATE latin1_bin`
fn put_text(collation: &str, value: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let charset = collation.split('_').next().unwrap_or(collation);
    out.push(b'_');
    out.extend_from_slice(charset.as_bytes());
    out.extend_from_slice(b" x'");
    for byte in value {
        for digit in [byte >> 4, byte & 15] {
            out.push(DIGITS[usize::from(digit)]);
        }
    }
    out.push(b'\'');
    // There is no other of this one, whose name is a keyword.
    if collation != charset {
        out.extend_from_slice(b" COLLATE ");
        out.extend_from_slice(collation.as_bytes());
    }
}

/// Whether it is well-formed in utf8mb4, or in utf8mb3, which has no characters of four bytes.
fn is_utf8(value: &[u8], collation: &[u8]) -> bool {
    let most = match collation.starts_with(b"utf8mb4") {
        true => 4,
        false => 3,
    };
    std::str::from_utf8(value).is_ok_and(|text| text.chars().all(|c| c.len_utf8() <= most))
}

fn plain_name(name: &[u8]) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let name = std::str::from_utf8(name).ok()?;
    (!name.is_empty() && name.bytes().all(is_plain)).then_some(name)
}

fn is_number(value: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e');
    value.iter().any(u8::is_ascii_digit) && value.iter().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: u8, flags: u16) -> ColumnDefinition {
        ColumnDefinition {
            kind,
            flags,
            ..ColumnDefinition::default()
        }
    }

    #[test]
    fn values_are_written_as_they_were() {
        type Case = (u8, u16, Option<&'static [u8]>, &'static str, &'static str);
        let cases: [Case; 16] = [
            (8, 0, Some(b"-5"), "binary", "-5"),
            (8, 32, Some(b"5"), "binary", "CAST(5 AS UNSIGNED)"),
            (8, 0, None, "binary", "0,@`a`=NULL"),
            (8, 32, None, "binary", "CAST(0 AS UNSIGNED),@`a`=NULL"),
            (246, 0, Some(b"1.50"), "binary", "1.50"),
            (246, 0, Some(b"5"), "binary", "5."),
            (246, 0, None, "binary", "0.,@`a`=NULL"),
            (5, 0, Some(b"0.5"), "binary", "0.5e0"),
            (5, 0, Some(b"1e300"), "binary", "1e300"),
            (5, 0, None, "binary", "0e0,@`a`=NULL"),
            (250, 0, None, "binary", "_binary x'',@`a`=NULL"),
            (
                251,
                0,
                Some(b"\xe9'"),
                "latin1_german1_ci",
                "_latin1 x'e927' COLLATE latin1_german1_ci",
            ),
            (
                251,
                0,
                Some(b""),
                "utf8mb4_bin",
                "_utf8mb4 x'' COLLATE utf8mb4_bin",
            ),
            (
                251,
                0,
                None,
                "utf8mb4_bin",
                "_utf8mb4 x'' COLLATE utf8mb4_bin,@`a`=NULL",
            ),
            (250, 0, Some(b"\0"), "binary", "_binary x'00'"),
            (251, 0, Some(b"\xff"), "utf8mb4_bin", "_binary x'ff'"),
        ];
        for (kind, flags, value, collation, expected) in cases {
            let value = UserValue::new(&column(kind, flags), value, collation.as_bytes()).unwrap();
            let mut out = Vec::new();
            value.put_assignment("a", &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("@`a`={expected}"));
        }
    }

    #[test]
    fn values_count_as_integers() {
        let cases: [(u8, &[u8], i64); 8] = [
            (8, b"-5", -5),
            (246, b"1.6", 2),
            (5, b"1e1", 10),
            (251, b"1", 1),
            (251, b" 12x", 12),
            (251, b"-3.9", -3),
            (251, b"x", 0),
            (251, b"", 0),
        ];
        for (kind, value, expected) in cases {
            let value = UserValue::new(&column(kind, 0), Some(value), b"binary").unwrap();
            assert_eq!(value.integer(), Some(expected));
        }
        let null = UserValue::new(&column(8, 0), None, b"binary").unwrap();
        assert_eq!(null.integer(), None);
    }

    #[test]
    fn what_is_no_value_is_not_carried() {
        let cases: [(u8, &[u8], &str); 3] = [
            (8, b"1,@@x=2", "binary"),
            (8, b"", "binary"),
            (251, b"a", "latin1_bin, @@x=1"),
        ];
        for (kind, value, collation) in cases {
            let value = UserValue::new(&column(kind, 0), Some(value), collation.as_bytes());
            assert_eq!(value, None);
        }
    }
}
