//! `SELECT @isthmus_token` and `SET @isthmus_after = '…'`, which the proxy answers. A server without
//! the proxy takes them for a user variable that is not set, and one that nobody reads.

use super::dialect::Dialect;
use super::lexer::{Reading, TokenKind};
use super::plan::{Kind, Place, Plan};
use super::words::{Word, Words};

/// The plan of the statement that begins here, if it is the one or the other and nothing else.
pub(super) fn plan(words: Words<'_>) -> Option<Plan> {
    if asks(words) {
        let reason = "it asks for a token of what the session has written and seen";
        return Some(Plan::new(Kind::GiveToken, Place::Proxy, reason));
    }
    value(words)?;
    let reason = "it shows a token of what the session must see";
    Some(Plan::new(Kind::TakeToken, Place::Proxy, reason))
}

/// The token that a `SET @isthmus_after` shows.
pub fn shown_token(sql: &[u8], dialect: Dialect) -> Option<Vec<u8>> {
    let words = Words::new(sql, dialect, Reading::default());
    words.string(&value(words)?)
}

/// The text of a SET of `session_track_system_variables` without the name of the variable that
/// announces tokens, which no server knows; `None` if it is not in the text. One of the commas beside
/// it goes with it.
pub fn without_announcement(sql: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"isthmus_token";
    let is_there = |at: &usize| {
        let before = at.checked_sub(1).and_then(|at| sql.get(at));
        let after = sql.get(at + NAME.len());
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@$".contains(byte);
        sql[*at..].len() >= NAME.len()
            && sql[*at..][..NAME.len()].eq_ignore_ascii_case(NAME)
            && !before.is_some_and(is_part)
            && !after.is_some_and(is_part)
    };
    let at = (0..sql.len()).find(is_there)?;
    let (before, after) = (&sql[..at], &sql[at + NAME.len()..]);
    let (trimmed, rest) = (before.trim_ascii_end(), after.trim_ascii_start());
    Some(
        match (trimmed.strip_suffix(b","), rest.strip_prefix(b",")) {
            (Some(before), _) => [before, after].concat(),
            (None, Some(rest)) => [before, rest].concat(),
            (None, None) => [before, after].concat(),
        },
    )
}

fn asks(mut words: Words<'_>) -> bool {
    words.accept("select")
        && is_variable(words.next(), b"isthmus_token")
        && words.all(|word| word.kind == TokenKind::Semicolon)
}

fn value(mut words: Words<'_>) -> Option<Word<'_>> {
    if !words.accept("set") || !is_variable(words.next(), b"isthmus_after") {
        return None;
    }
    let assigns = [TokenKind::Operator(b'='), TokenKind::Assign];
    words.next().filter(|word| assigns.contains(&word.kind))?;
    let value = words.next()?;
    words.string(&value)?;
    let is_over = words.all(|word| word.kind == TokenKind::Semicolon);
    is_over.then_some(value)
}

fn is_variable(word: Option<Word<'_>>, name: &[u8]) -> bool {
    word.is_some_and(|word| word.kind == TokenKind::UserVariable && word.lower() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_is_taken_out_of_the_list() {
        for (sql, without) in [
            ("SET x = 'a,isthmus_token'", Some("SET x = 'a'")),
            ("SET x = 'ISTHMUS_TOKEN, a'", Some("SET x = ' a'")),
            ("SET x = 'a , isthmus_token , b'", Some("SET x = 'a  , b'")),
            ("SET x = 'isthmus_token'", Some("SET x = ''")),
            (
                "SET x = CONCAT(@@x, ',isthmus_token')",
                Some("SET x = CONCAT(@@x, '')"),
            ),
            ("SET x = 'isthmus_tokens'", None),
            ("SET x = @isthmus_token", None),
            ("SET x = 'a'", None),
        ] {
            let found = without_announcement(sql.as_bytes());
            let expected = without.map(|text| text.as_bytes().to_vec());
            assert_eq!(found, expected, "{sql}");
        }
    }
}
