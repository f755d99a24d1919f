//! A statement's tokens as the classifier wants them: hints and the edges of executable comments
//! left out, words in lower case, a look ahead.

use super::dialect::{Charset, Dialect};
use super::lexer::{Lexer, Reading, Token, TokenKind, unquote};

/// The tokens of one statement from some point on. Copying it is how to look ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    lexer: Lexer<'a>,
    dialect: Dialect,
    /// Where the statement ends; a semicolon there is its separator.
    end: usize,
}

/// A token with its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a [u8],
    pub(super) start: usize,
    pub(super) end: usize,
    charset: Charset,
    lower: [u8; Word::LONGEST],
    length: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(sql: &'a [u8], dialect: Dialect, reading: Reading) -> Words<'a> {
        Words {
            lexer: Lexer::with_reading(sql, dialect, reading),
            dialect,
            end: sql.len(),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Why the server may read something else, as far as the words were taken.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        self.lexer.doubt()
    }

    /// The next word without taking it.
    pub(super) fn peek(&self) -> Option<Word<'a>> {
        self.clone_next().0
    }

    fn clone_next(&self) -> (Option<Word<'a>>, Words<'a>) {
        let mut ahead = *self;
        (ahead.next(), ahead)
    }

    /// Takes the next word if it is this keyword.
    pub(super) fn accept(&mut self, keyword: &str) -> bool {
        let (word, ahead) = self.clone_next();
        let found = word.is_some_and(|word| word.is(keyword));
        if found {
            *self = ahead;
        }
        found
    }

    /// Takes the next word if it is one of these keywords.
    pub(super) fn accept_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.accept(keyword))
    }

    /// Takes the keywords if they come next, one after the other.
    pub(super) fn accept_all(&mut self, keywords: &[&str]) -> bool {
        let mut ahead = *self;
        let found = keywords.iter().all(|keyword| ahead.accept(keyword));
        if found {
            *self = ahead;
        }
        found
    }

    /// Takes the next token if it is of this kind.
    pub(super) fn accept_kind(&mut self, kind: TokenKind) -> bool {
        let (word, ahead) = self.clone_next();
        let found = word.is_some_and(|word| word.kind == kind);
        if found {
            *self = ahead;
        }
        found
    }

    /// Takes the next token if it is a name, and returns the name without quotes.
    pub(super) fn accept_name(&mut self) -> Option<String> {
        let (word, ahead) = self.clone_next();
        let name = word.filter(Word::is_name)?.name();
        *self = ahead;
        Some(name)
    }

    /// True if an opening parenthesis is the very next byte, or follows after spaces where the
    /// dialect ignores them.
    pub(super) fn touches_parenthesis(&self) -> bool {
        self.lexer.touches_parenthesis()
    }

    /// The value of a string.
    pub(super) fn string(&self, word: &Word<'_>) -> Option<Vec<u8>> {
        let plain = word.kind == TokenKind::Text && matches!(word.text, [b'\'' | b'"', ..]);
        let escapes = !self.dialect.no_backslash_escapes;
        plain.then(|| unquote(word.text, word.charset, escapes))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            let token = self.lexer.next()?;
            match token.kind {
                TokenKind::Hint | TokenKind::ExecutableStart | TokenKind::ExecutableEnd => {}
                TokenKind::Semicolon if token.end == self.end => return None,
                _ => {
                    let text = self.lexer.text(token);
                    return Some(Word::new(token, text, self.dialect.charset));
                }
            }
        }
    }
}

impl<'a> Word<'a> {
    /// Longer words are no keywords, functions or variables that anyone asks for.
    const LONGEST: usize = 64;

    fn new(token: Token, text: &'a [u8], charset: Charset) -> Word<'a> {
        let mut word = Word {
            kind: token.kind,
            text,
            start: token.start,
            end: token.end,
            charset,
            lower: [0; Word::LONGEST],
            length: 0,
        };
        let content = match token.kind {
            TokenKind::Word | TokenKind::Member => text,
            TokenKind::Quoted => text.get(1..text.len().max(2) - 1).unwrap_or_default(),
            TokenKind::UserVariable => user_variable_name(text),
            _ => b"",
        };
        if let Some(lower) = word.lower.get_mut(..content.len()) {
            lower.copy_from_slice(content);
            lower.make_ascii_lowercase();
            word.length = content.len();
        }
        word
    }

    /// The word, name or variable in lower case and without quotes; empty for everything else.
    pub(super) fn lower(&self) -> &[u8] {
        self.lower.get(..self.length).unwrap_or_default()
    }

    /// The keyword that this is, in lower case; empty if it can be none.
    pub(super) fn keyword(&self) -> &[u8] {
        match self.kind {
            TokenKind::Word => self.lower(),
            _ => b"",
        }
    }

    pub(super) fn is(&self, keyword: &str) -> bool {
        self.keyword() == keyword.as_bytes()
    }

    pub(super) fn is_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }

    /// True for what may be a name. The words for literals never are.
    pub(super) fn is_name(&self) -> bool {
        match self.kind {
            TokenKind::Word => !matches!(self.lower(), b"null" | b"true" | b"false"),
            TokenKind::Member | TokenKind::Quoted => true,
            _ => false,
        }
    }

    /// The name of a user variable in lower case, if it is one that can be carried: names compare
    /// without regard to case, accents and spaces at their end, so only those of ASCII are certain.
    pub(super) fn user_variable(&self) -> Option<String> {
        let text = self.text.strip_prefix(b"@")?;
        let name = match text.first()? {
            b'`' | b'\'' | b'"' => unquote(text, self.charset, false),
            _ => text.to_vec(),
        };
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
        let is_carried = (1..=LONGEST_NAME).contains(&name.len())
            && name.iter().all(is_plain)
            && !name.ends_with(b" ");
        let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
        (self.kind == TokenKind::UserVariable && is_carried).then_some(name)
    }

    /// The name as it is written, without quotes.
    pub(super) fn name(&self) -> String {
        let name = match self.kind {
            TokenKind::Quoted => unquote(self.text, self.charset, false),
            _ => self.text.to_vec(),
        };
        String::from_utf8_lossy(&name).into_owned()
    }
}

/// How many bytes the name of a user variable may have.
const LONGEST_NAME: usize = 64;

fn user_variable_name(text: &[u8]) -> &[u8] {
    let name = text.get(1..).unwrap_or_default();
    match name.first() {
        Some(b'`' | b'\'' | b'"') => name.get(1..name.len().max(2) - 1).unwrap_or_default(),
        _ => name,
    }
}
