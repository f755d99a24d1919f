//! Tokens, found as MySQL's and MariaDB's own lexers find them.
//!
//! One pass over the bytes, without allocation. Where a server could read something else than
//! this lexer does, or would refuse to read on, the lexer keeps a [doubt](Lexer::doubt): such a
//! statement is nobody's business but the writer's.

use super::dialect::{Charset, Dialect};

/// A token and where its text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where its text starts.
    pub start: usize,
    /// Where its text ends.
    pub end: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or an identifier without quotes.
    Word,
    /// A word that directly follows a point: an identifier, whatever it spells.
    Member,
    /// An identifier in quotes.
    Quoted,
    /// A string, also in hexadecimal or bits (`x'…'`, `b'…'`), also national (`n'…'`).
    Text,
    /// A number.
    Number,
    /// `?`
    Parameter,
    /// `@name`, with the name in quotes or not; also the host of an account.
    UserVariable,
    /// `@@`, in front of a system variable.
    System,
    /// `:=`
    Assign,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `.`
    Dot,
    /// `;`
    Semicolon,
    /// Any other character.
    Operator(u8),
    /// The start of an executable comment whose content is read as SQL.
    ExecutableStart,
    /// Its end.
    ExecutableEnd,
    /// A comment that begins with `isthmus:`; the text is what follows these characters.
    Hint,
}

/// The condition of an executable comment: which servers read its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// `/*M!`: MariaDB only.
    pub mariadb: bool,
    /// The least version, or 0.
    pub version: u32,
}

impl Marker {
    /// The marker whose version stands at the start of `text`: five or six digits, or none. Also
    /// how many digits it has.
    pub(super) fn read(mariadb: bool, text: &[u8]) -> (Marker, usize) {
        let digits = text.iter().take(6).take_while(|b| b.is_ascii_digit());
        let length = match digits.clone().count() {
            0..=4 => 0,
            length => length,
        };
        let version = digits
            .take(length)
            .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        (Marker { mariadb, version }, length)
    }
}

/// Which executable comments are read as SQL: all but the ones named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    skipped: [Option<Marker>; Reading::MARKERS],
}

impl Reading {
    /// How many different markers a statement may have.
    pub const MARKERS: usize = 4;

    /// A reading that takes the content of these comments for a comment.
    pub fn skipping(markers: impl IntoIterator<Item = Marker>) -> Reading {
        let mut reading = Reading::default();
        for (slot, marker) in reading.skipped.iter_mut().zip(markers) {
            *slot = Some(marker);
        }
        reading
    }

    fn executes(&self, marker: Marker) -> bool {
        !self.skipped.contains(&Some(marker))
    }
}

/// Finds the tokens of a statement or of a packet of statements.
#[derive(Debug, Clone, Copy)]
pub struct Lexer<'a> {
    sql: &'a [u8],
    position: usize,
    dialect: Dialect,
    reading: Reading,
    in_executable: bool,
    after_dot: bool,
    /// Where the last word ended: a point there belongs to it.
    word_end: usize,
    comment_opens: u32,
    comment_ends: u32,
    nested: bool,
    doubt: Option<&'static str>,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `sql` that reads every executable comment.
    pub fn new(sql: &'a [u8], dialect: Dialect) -> Lexer<'a> {
        Lexer::with_reading(sql, dialect, Reading::default())
    }

    /// A lexer at the start of `sql`.
    pub fn with_reading(sql: &'a [u8], dialect: Dialect, reading: Reading) -> Lexer<'a> {
        Lexer {
            sql,
            position: 0,
            dialect,
            reading,
            in_executable: false,
            after_dot: false,
            word_end: usize::MAX,
            comment_opens: 0,
            comment_ends: 0,
            nested: false,
            doubt: None,
        }
    }

    /// Why the server may read something else, as far as the lexer has come.
    pub fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }

    /// The text of a token.
    pub fn text(&self, token: Token) -> &'a [u8] {
        self.sql.get(token.start..token.end).unwrap_or_default()
    }

    /// True if there was a comment inside an executable one.
    pub(super) fn has_nested_comment(&self) -> bool {
        self.nested
    }

    /// How many comments were opened and closed so far.
    pub(super) fn comment_marks(&self) -> (u32, u32) {
        (self.comment_opens, self.comment_ends)
    }

    /// True if an opening parenthesis comes next, white space and comments aside.
    pub(super) fn is_before_parenthesis(&self) -> bool {
        match self.next_byte() {
            b'(' => true,
            b'/' | b'-' | b'#' => {
                let mut rest = *self;
                let next = rest.find(|token| token.kind != TokenKind::Hint);
                next.is_some_and(|token| token.kind == TokenKind::Open)
            }
            _ => false,
        }
    }

    /// The byte that comes next, white space aside.
    fn next_byte(&self) -> u8 {
        self.sql
            .get(self.position..)
            .unwrap_or_default()
            .iter()
            .copied()
            .find(|byte| !is_space(*byte))
            .unwrap_or(0)
    }

    /// True if an opening parenthesis is the next byte, or follows after nothing but white space
    /// where the dialect ignores that.
    pub(super) fn touches_parenthesis(&self) -> bool {
        self.peek(0) == b'(' || (self.dialect.ignore_space && self.next_byte() == b'(')
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.sql.get(self.position + ahead).copied().unwrap_or(0)
    }

    fn doubt_that(&mut self, why: &'static str) {
        self.doubt.get_or_insert(why);
    }

    fn token(&mut self, kind: TokenKind, length: usize) -> Option<Token> {
        let start = self.position;
        self.position += length;
        Some(Token {
            kind,
            start,
            end: self.position,
        })
    }

    fn word(&mut self, first: u8) -> Option<Token> {
        let member = std::mem::take(&mut self.after_dot);
        if !member {
            let string = self.peek(1) == b'\'';
            match first {
                b'n' | b'N' if string => return self.prefixed_string(|_| true),
                b'x' | b'X' if string => {
                    return self.prefixed_string(|byte| byte.is_ascii_hexdigit());
                }
                b'b' | b'B' if string => {
                    return self.prefixed_string(|byte| matches!(byte, b'0' | b'1'));
                }
                b'$' if self.may_begin_quotation() => {
                    self.doubt_that("a word that begins with a dollar sign may be a quotation");
                }
                _ => {}
            }
        }
        let start = self.position;
        self.skip_word();
        self.word_end = self.position;
        Some(Token {
            kind: if member {
                TokenKind::Member
            } else {
                TokenKind::Word
            },
            start,
            end: self.position,
        })
    }

    /// Whether there are the four dollar signs that a quotation (`$tag$ … $tag$`) takes. The
    /// command-line client of MySQL 9 sends `select $$` after every connect, which quotes nothing.
    fn may_begin_quotation(&self) -> bool {
        let rest = self.sql.get(self.position..).unwrap_or_default();
        rest.iter().filter(|byte| **byte == b'$').nth(3).is_some()
    }

    fn skip_word(&mut self) {
        loop {
            let rest = self.sql.get(self.position..).unwrap_or_default();
            let ascii = rest.iter().take_while(|byte| is_ascii_word(**byte)).count();
            self.position += ascii;
            match rest.get(ascii) {
                Some(0x80..) => self.skip_wide_character(),
                _ => return,
            }
        }
    }

    /// Passes a character of a word that is outside ASCII.
    #[cold]
    fn skip_wide_character(&mut self) {
        let rest = self.sql.get(self.position..).unwrap_or_default();
        let length = self.dialect.charset.character_length(rest);
        let is_space = rest.first() == Some(&0xA0) && self.dialect.charset == Charset::SingleByte;
        if length == 0 || is_space {
            self.doubt_that("a name has bytes that are no character of the character set");
        }
        self.position += length.max(1);
    }

    /// `n'…'`, `x'…'`, `b'…'`.
    fn prefixed_string(&mut self, allowed: impl Fn(u8) -> bool) -> Option<Token> {
        let start = self.position;
        let digits = self
            .sql
            .get(start)
            .is_some_and(|b| !matches!(b, b'n' | b'N'));
        self.position += 1;
        self.skip_quoted(b'\'', digits);
        let end = self.position;
        let content = self.sql.get(start + 2..end.max(start + 3) - 1);
        if !content
            .unwrap_or_default()
            .iter()
            .all(|byte| allowed(*byte))
        {
            self.doubt_that("a hexadecimal or bit string has other characters");
        }
        Some(Token {
            kind: TokenKind::Text,
            start,
            end,
        })
    }

    /// A number, or a name that begins with a digit.
    fn number(&mut self, first: u8) -> Option<Token> {
        let start = self.position;
        let digits = |from: usize, test: fn(&u8) -> bool| {
            let rest = self.sql.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|byte| test(byte)).count()
        };
        let decimal: fn(&u8) -> bool = u8::is_ascii_digit;
        let prefixed = match (first, self.peek(1)) {
            (b'0', b'x') => Some(digits(start + 2, u8::is_ascii_hexdigit)),
            (b'0', b'b') => Some(digits(start + 2, |byte| matches!(byte, b'0' | b'1'))),
            _ => None,
        };
        let at = |position: usize| self.sql.get(position).copied().unwrap_or(0);
        let mut end = match prefixed {
            Some(end) if end > start + 2 && !is_word(at(end)) => {
                self.position = end;
                return Some(Token {
                    kind: TokenKind::Number,
                    start,
                    end,
                });
            }
            Some(_) => start,
            None => digits(start, decimal),
        };
        let exponent = |end: usize| {
            let sign = usize::from(matches!(at(end + 1), b'+' | b'-'));
            let last = digits(end + 1 + sign, decimal);
            (last > end + 1 + sign).then_some(last)
        };
        if prefixed.is_none() && at(end) == b'.' {
            end = digits(end + 1, decimal);
            if matches!(at(end), b'e' | b'E') {
                match exponent(end) {
                    Some(last) => end = last,
                    None => self.doubt = self.doubt.or(Some(BROKEN_EXPONENT)),
                }
            }
        } else if is_word(at(end)) {
            let float = matches!(at(end), b'e' | b'E') && prefixed.is_none();
            match exponent(end).filter(|_| float) {
                Some(last) => end = last,
                None => {
                    if float && matches!(at(end + 1), b'+' | b'-') {
                        self.doubt = self.doubt.or(Some(BROKEN_EXPONENT));
                    }
                    return self.word(0);
                }
            }
        }
        self.position = end;
        Some(Token {
            kind: TokenKind::Number,
            start,
            end,
        })
    }

    fn quoted(&mut self, kind: TokenKind, quote: u8) -> Option<Token> {
        let start = self.position;
        if kind == TokenKind::Quoted {
            self.skip_quoted_identifier(quote);
        } else {
            self.skip_quoted(quote, false);
        }
        Some(Token {
            kind,
            start,
            end: self.position,
        })
    }

    /// Passes a string. `plain` strings have no escapes.
    fn skip_quoted(&mut self, quote: u8, plain: bool) {
        let escapes = !plain && !self.dialect.no_backslash_escapes;
        let wide = !plain && !matches!(self.dialect.charset, Charset::Utf8 | Charset::SingleByte);
        let mut position = self.position + 1;
        while let Some(&byte) = self.sql.get(position) {
            if byte == quote {
                if plain || self.sql.get(position + 1) != Some(&quote) {
                    self.position = position + 1;
                    return;
                }
                position += 2;
            } else if byte == b'\\' && escapes {
                position += 2;
            } else if byte >= 0x80 && wide {
                let rest = self.sql.get(position..).unwrap_or_default();
                position += self.dialect.charset.character_length(rest).max(1);
            } else {
                position += 1;
            }
        }
        self.position = self.sql.len();
        self.doubt_that("a string has no end");
    }

    fn skip_quoted_identifier(&mut self, quote: u8) {
        let start = self.position + 1;
        let mut position = start;
        while let Some(&byte) = self.sql.get(position) {
            if byte == quote {
                if self.sql.get(position + 1) != Some(&quote) {
                    self.position = position + 1;
                    if position == start {
                        self.doubt_that("a name is empty");
                    }
                    return;
                }
                position += 2;
            } else if byte >= 0x80 {
                let rest = self.sql.get(position..).unwrap_or_default();
                let length = self.dialect.charset.character_length(rest);
                if length == 0 {
                    self.doubt_that("a name has bytes that are no character of the character set");
                }
                position += length.max(1);
            } else {
                if byte == 0 {
                    self.doubt_that("a name has a NUL byte");
                }
                position += 1;
            }
        }
        self.position = self.sql.len();
        self.doubt_that("a name in quotes has no end");
    }

    /// `@name` or the host of an account.
    fn user_variable(&mut self) -> Option<Token> {
        let start = self.position;
        self.position += 1;
        match self.peek(0) {
            b'`' => self.skip_quoted_identifier(b'`'),
            b'"' if self.dialect.ansi_quotes => self.skip_quoted_identifier(b'"'),
            quote @ (b'\'' | b'"') => self.skip_quoted(quote, false),
            _ => {
                while is_word(self.peek(0)) || self.peek(0) == b'.' {
                    if self.peek(0) >= 0x80 {
                        self.doubt_that("a user variable has a name outside ASCII");
                    }
                    self.position += 1;
                }
                if self.position == start + 1 {
                    self.doubt_that("a user variable has no name");
                }
            }
        }
        Some(Token {
            kind: TokenKind::UserVariable,
            start,
            end: self.position,
        })
    }

    fn line_comment(&mut self, prefix: usize) -> Option<Token> {
        let rest = self.sql.get(self.position..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
        let comment = rest.get(..length).unwrap_or_default();
        if comment.contains(&0) {
            self.doubt_that("a NUL byte ends a comment on some servers");
        }
        let start = self.position + prefix;
        self.position += length;
        self.hint(start, self.position)
    }

    /// What begins with `/*`: a comment, a hint, or the start of an executable comment.
    fn block_comment(&mut self) -> Option<Token> {
        let mariadb = self.peek(2) == b'M' && self.peek(3) == b'!';
        if mariadb || self.peek(2) == b'!' {
            return self.executable_comment(mariadb);
        }
        let optimizer = self.peek(2) == b'+';
        self.nested |= self.in_executable;
        let start = self.position + 2;
        let end = self.skip_comment(start, false);
        self.comment_opens += 1;
        if optimizer {
            let count = |quote: u8| {
                let text = self.sql.get(start..end).unwrap_or_default();
                text.iter().filter(|byte| **byte == quote).count()
            };
            if [b'\'', b'"', b'`']
                .into_iter()
                .any(|quote| count(quote) % 2 == 1)
            {
                self.doubt_that("an optimizer hint has a quotation without an end");
            }
            return None;
        }
        self.hint(start, end)
    }

    fn executable_comment(&mut self, mariadb: bool) -> Option<Token> {
        let start = self.position;
        let content = start + 3 + usize::from(mariadb);
        let rest = self.sql.get(content..).unwrap_or_default();
        let (marker, digits) = Marker::read(mariadb, rest);
        self.comment_opens += 1;
        if self.reading.executes(marker) {
            self.in_executable = true;
            return self.token(TokenKind::ExecutableStart, content + digits - start);
        }
        let end = self.skip_comment(content, true);
        let skipped = self.sql.get(content..end).unwrap_or_default();
        let nested = skipped.windows(2).filter(|pair| *pair == b"/*").count();
        if (mariadb && nested > 0) || nested > 1 {
            self.doubt_that("servers disagree on where a comment inside a comment ends");
        }
        None
    }

    /// Moves behind the end of a comment whose content starts at `start`, and returns where the
    /// content ends. In a skipped executable comment one ordinary comment may be nested.
    fn skip_comment(&mut self, start: usize, nesting: bool) -> usize {
        let mut position = start;
        let mut nested = false;
        while let Some(pair) = self.sql.get(position..position + 2) {
            if pair == b"*/" {
                self.comment_ends += 1;
                position += 2;
                if !std::mem::take(&mut nested) {
                    self.position = position;
                    return position - 2;
                }
            } else if pair == b"/*" && nesting && !nested {
                self.comment_opens += 1;
                nested = true;
                position += 2;
            } else {
                position += 1;
            }
        }
        self.position = self.sql.len();
        self.doubt_that("a comment has no end");
        self.position
    }

    /// A token for the comment at `start..end` if it is a hint to the proxy.
    fn hint(&self, start: usize, end: usize) -> Option<Token> {
        const PREFIX: &[u8] = b"isthmus:";
        let comment = self.sql.get(start..end)?;
        let trimmed = comment.trim_ascii_start();
        let prefix = trimmed.get(..PREFIX.len())?;
        prefix.eq_ignore_ascii_case(PREFIX).then(|| Token {
            kind: TokenKind::Hint,
            start: end - trimmed.len() + PREFIX.len(),
            end,
        })
    }

    fn line_comment_follows(&mut self) -> bool {
        if self.peek(1) != b'-' {
            return false;
        }
        match self.sql.get(self.position + 2) {
            None => true,
            Some(byte) if *byte >= 0x80 => {
                if self.dialect.charset != Charset::Utf8 {
                    self.doubt_that("two minus signs may begin a comment in this character set");
                }
                false
            }
            Some(byte) => *byte <= b' ' || *byte == 0x7F,
        }
    }

    fn operator(&mut self, byte: u8) -> Option<Token> {
        match byte {
            b'(' => self.token(TokenKind::Open, 1),
            b')' => self.token(TokenKind::Close, 1),
            b',' => self.token(TokenKind::Comma, 1),
            b';' => {
                if self.in_executable {
                    self.doubt_that("a statement ends inside an executable comment");
                }
                self.token(TokenKind::Semicolon, 1)
            }
            b'?' => self.token(TokenKind::Parameter, 1),
            b':' if self.peek(1) == b'=' => self.token(TokenKind::Assign, 2),
            b'@' if self.peek(1) == b'@' => self.token(TokenKind::System, 2),
            b'@' => self.user_variable(),
            b'*' if self.peek(1) == b'/' => {
                if self.in_executable {
                    self.comment_ends += 1;
                    self.in_executable = false;
                    return self.token(TokenKind::ExecutableEnd, 2);
                }
                // An asterisk in front of a comment is one.
                if self.peek(2) != b'*' {
                    self.doubt_that("a comment ends that has not begun");
                }
                self.token(TokenKind::Operator(byte), 1)
            }
            0..=0x1F | 0x7F | b'\\' => {
                self.doubt_that("a character stands where no server expects it");
                self.token(TokenKind::Operator(byte), 1)
            }
            _ => self.token(TokenKind::Operator(byte), 1),
        }
    }

    fn dot(&mut self) -> Option<Token> {
        if self.peek(1).is_ascii_digit() && self.word_end != self.position {
            return self.number(b'.');
        }
        let token = self.token(TokenKind::Dot, 1);
        self.after_dot = is_word(self.peek(0));
        token
    }
}

const BROKEN_EXPONENT: &str = "a number has an exponent without digits";

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let Some(&byte) = self.sql.get(self.position) else {
                if self.in_executable {
                    self.doubt_that("a comment has no end");
                }
                return None;
            };
            if is_space(byte) {
                self.position += 1;
                continue;
            }
            let found = match byte {
                0xA0 if self.dialect.charset == Charset::SingleByte && !self.after_dot => {
                    self.doubt_that("a character is white space in some character sets");
                    self.position += 1;
                    continue;
                }
                b'0'..=b'9' if !self.after_dot => self.number(byte),
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | 0x80.. => self.word(byte),
                b'\'' => self.quoted(TokenKind::Text, byte),
                b'"' if self.dialect.ansi_quotes => self.quoted(TokenKind::Quoted, byte),
                b'"' => self.quoted(TokenKind::Text, byte),
                b'`' => self.quoted(TokenKind::Quoted, byte),
                b'.' => self.dot(),
                b'#' => self.line_comment(1),
                b'-' if self.line_comment_follows() => self.line_comment(2),
                b'/' if self.peek(1) == b'*' => self.block_comment(),
                _ => self.operator(byte),
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

/// The content of a quoted name or a string, without its quotes and with doubled quotes halved.
/// Escapes with a backslash are resolved where `escapes` says so. Bytes that look like one or like
/// a quote may be a part of a character.
pub(super) fn unquote(text: &[u8], charset: Charset, escapes: bool) -> Vec<u8> {
    let Some((&quote, rest)) = text.split_first() else {
        return Vec::new();
    };
    let content = rest.strip_suffix(&[quote]).unwrap_or(rest);
    let mut out = Vec::with_capacity(content.len());
    let mut bytes = content.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            0x80.. => {
                out.push(byte);
                let at = content.len() - bytes.len() - 1;
                let rest = content.get(at..).unwrap_or_default();
                for _ in 1..charset.character_length(rest) {
                    out.extend(bytes.next());
                }
            }
            b'\\' if escapes => match bytes.next() {
                Some(b'n') => out.push(b'\n'),
                Some(b't') => out.push(b'\t'),
                Some(b'r') => out.push(b'\r'),
                Some(b'0') => out.push(0),
                Some(b'b') => out.push(8),
                Some(b'Z') => out.push(26),
                Some(&wild @ (b'%' | b'_')) => out.extend([b'\\', wild]),
                Some(&other) => out.push(other),
                None => {}
            },
            byte if byte == quote => {
                out.push(byte);
                bytes.next();
            }
            byte => out.push(byte),
        }
    }
    out
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0D)
}

/// True for what may continue a word.
fn is_word(byte: u8) -> bool {
    byte >= 0x80 || is_ascii_word(byte)
}

/// True for the ASCII characters that may continue a word.
#[inline]
fn is_ascii_word(byte: u8) -> bool {
    static IS_WORD: [bool; 256] = {
        let mut is_word = [false; 256];
        let mut byte = 0;
        while byte < 0x80 {
            let character = byte as u8;
            is_word[byte] = character.is_ascii_alphanumeric() || matches!(character, b'_' | b'$');
            byte += 1;
        }
        is_word
    };
    IS_WORD[byte as usize]
}
