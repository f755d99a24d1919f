//! `GET DIAGNOSTICS`: what it assigns.

use super::dialect::Dialect;
use super::lexer::{Reading, TokenKind};
use super::words::Words;

/// The user variables that get the text of a condition, in lower case.
pub fn text_targets(sql: &[u8], dialect: Dialect) -> Vec<String> {
    let mut words = Words::new(sql, dialect, Reading::default());
    let mut targets = Vec::new();
    while let Some(word) = words.next() {
        if word.kind == TokenKind::UserVariable
            && words.accept_kind(TokenKind::Operator(b'='))
            && words.accept("message_text")
        {
            targets.extend(word.user_variable());
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_from_the_rest() {
        let targets = |sql: &str| text_targets(sql.as_bytes(), Dialect::default());
        let sql = "GET DIAGNOSTICS CONDITION @n @errno = MYSQL_ERRNO, @Text=MESSAGE_TEXT, @`b c` = message_text";
        assert_eq!(targets(sql), ["text", "b c"]);
        assert!(targets("GET DIAGNOSTICS @n = NUMBER").is_empty());
    }
}
