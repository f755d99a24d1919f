//! The digest: what makes two statements the same to the plan cache.

use std::fmt;

use super::dialect::Dialect;
use super::hint::Hints;
use super::keywords::{self, Class};
use super::lexer::{Lexer, Token, TokenKind};

/// 128 bits of a statement's normal form: without literals, comments and white space, keywords in
/// one case, lists of any length alike. What a literal says is part of it only where it can
/// change what the statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What one pass over a packet finds.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    /// The digest of all its statements.
    pub(super) digest: Digest,
    /// The hints before its first word and at its end.
    pub(super) hints: Hints,
    /// How many statements it has, empty ones in between included.
    pub(super) statements: usize,
    /// Whether what a literal says is part of the digest.
    pub(super) do_literals_decide: bool,
}

/// The seed of the digests that people see: the same in every process.
pub(super) const STABLE: u64 = 0;

/// Scans a packet. Digests with different seeds have nothing in common: the plan cache has a seed
/// of its own, so that nobody can make up a statement with the digest of another one.
pub(super) fn scan(sql: &[u8], dialect: Dialect, seed: u64) -> Scan {
    let mut lexer = Lexer::new(sql, dialect);
    let mut hints = Hints::default();
    let mut tail: Option<Hints> = None;
    let mut form = NormalForm::new(seed);
    let mut statements = 0;
    let mut separators = 0;
    let mut executable = false;
    while let Some(token) = lexer.next() {
        match token.kind {
            TokenKind::Hint if statements == 0 => hints.add(lexer.text(token)),
            TokenKind::Hint => tail.get_or_insert_default().add(lexer.text(token)),
            TokenKind::Semicolon => separators += 1,
            _ => {
                if separators > 0 || statements == 0 {
                    for _ in 0..separators {
                        form.separate();
                    }
                    statements += separators.max(usize::from(statements == 0));
                    separators = 0;
                }
                tail = None;
                executable |= token.kind == TokenKind::ExecutableStart;
                form.add(&lexer, token);
            }
        }
    }
    if let Some(tail) = tail {
        hints.merge(tail);
    }
    if executable && (lexer.has_nested_comment() || hides_comment_marks(sql, &lexer)) {
        form.add_raw(sql);
    }
    if lexer.doubt().is_some() {
        form.add_raw(b"doubt");
    }
    Scan {
        do_literals_decide: form.has_literals,
        digest: form.finish(),
        hints,
        statements,
    }
}

/// True if a string, a name or a line comment contains what opens or ends a comment. Together
/// with executable comments it matters then what the literals say.
fn hides_comment_marks(sql: &[u8], lexer: &Lexer<'_>) -> bool {
    let count = |mark: &[u8]| sql.windows(2).filter(|pair| *pair == mark).count();
    let (opens, ends) = lexer.comment_marks();
    count(b"/*") != opens as usize || count(b"*/") != ends as usize
}

/// The normal form of a packet, hashed as it arrives.
struct NormalForm {
    seed: u64,
    hash: Hash,
    previous: Previous,
    /// A comma behind a literal, which belongs to the list if another literal follows.
    comma: bool,
    /// A minus or plus, which belongs to the number if one follows.
    sign: Option<u8>,
    rows: Rows,
    words: u32,
    first: First,
    exact: bool,
    /// Whether a literal was hashed as it stands.
    has_literals: bool,
    /// A statement may change how those behind it are read, which what their literals are made of
    /// decides then.
    changes_reading: bool,
    with: bool,
}

/// What came before, as far as it says how to read what follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Previous {
    /// Nothing, an operator, or a keyword that wants an operand.
    WantsOperand,
    /// A literal.
    Literal,
    /// A keyword that wants a name, or a point.
    WantsName,
    /// `(`
    Open,
    /// `,`
    Comma,
    /// `IN`
    In,
    /// Anything else.
    Other,
}

/// The first word of a statement, where it changes what its literals mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Set,
    Show,
    Prepare,
    Other,
}

/// Where in a list of rows, of which equal neighbours count once.
#[derive(Clone, Copy)]
enum Rows {
    /// In none.
    Outside,
    /// A row may begin; the hash of the one before.
    Before { last: Option<u128>, comma: bool },
    /// In a row, with this many parentheses open.
    Within {
        outer: Hash,
        last: Option<u128>,
        comma: bool,
        depth: u32,
    },
    /// Behind a row.
    Behind { last: u128 },
}

impl NormalForm {
    fn new(seed: u64) -> NormalForm {
        NormalForm {
            seed,
            hash: Hash::new(seed),
            previous: Previous::WantsOperand,
            comma: false,
            sign: None,
            rows: Rows::Outside,
            words: 0,
            first: First::Other,
            exact: false,
            has_literals: false,
            changes_reading: false,
            with: false,
        }
    }

    fn finish(mut self) -> Digest {
        self.settle();
        Digest(self.hash.finish())
    }

    fn add_raw(&mut self, bytes: &[u8]) {
        self.settle();
        self.has_literals = true;
        self.hash.add(tag::RAW, bytes);
    }

    fn separate(&mut self) {
        self.settle();
        self.hash.add(tag::SEMICOLON, b"");
        self.previous = Previous::WantsOperand;
        self.words = 0;
        self.first = First::Other;
        self.exact = self.changes_reading;
        self.with = false;
    }

    /// Hashes a sign that turned out to belong to no number.
    fn settle_sign(&mut self) {
        if self.sign.is_some() {
            self.before_token();
        }
    }

    /// Ends whatever list is open.
    fn settle(&mut self) {
        self.settle_sign();
        if std::mem::take(&mut self.comma) {
            self.hash.add(tag::COMMA, b"");
        }
        match std::mem::replace(&mut self.rows, Rows::Outside) {
            Rows::Within { mut outer, .. } => {
                outer.add_number(self.hash.finish());
                self.hash = outer;
            }
            Rows::Before { comma: true, .. } => self.hash.add(tag::COMMA, b""),
            _ => {}
        }
    }

    fn add(&mut self, lexer: &Lexer<'_>, token: Token) {
        let text = lexer.text(token);
        match token.kind {
            TokenKind::Word => self.word(lexer, text),
            TokenKind::Text | TokenKind::Number => {
                if self.exact {
                    self.has_literals = true;
                    self.plain(tag::LITERAL, text, Previous::Literal);
                } else {
                    self.literal(tag::LITERAL);
                }
            }
            TokenKind::Parameter => self.literal(tag::PARAMETER),
            TokenKind::Member => {
                self.variable(text);
                self.plain(tag::NAME, text, Previous::Other);
            }
            TokenKind::Quoted => {
                self.variable(text.get(1..text.len() - 1).unwrap_or_default());
                self.plain(tag::QUOTED, text, Previous::Other);
            }
            TokenKind::UserVariable => self.plain(tag::USER_VARIABLE, text, Previous::Other),
            TokenKind::System => self.plain(tag::SYSTEM, b"", Previous::WantsName),
            TokenKind::Assign => self.plain(tag::ASSIGN, b"", Previous::WantsOperand),
            TokenKind::Dot => self.plain(tag::DOT, b"", Previous::WantsName),
            TokenKind::Open => self.open(),
            TokenKind::Close => self.close(),
            TokenKind::Comma => self.comma(),
            TokenKind::Operator(sign @ (b'-' | b'+')) if self.may_be_sign() => {
                self.settle_sign();
                self.sign = Some(sign);
            }
            TokenKind::Operator(byte) => {
                self.plain(tag::OPERATOR, &[byte], Previous::WantsOperand);
            }
            TokenKind::ExecutableStart => {
                self.plain(tag::EXECUTABLE_START, text, self.previous);
            }
            TokenKind::ExecutableEnd => self.plain(tag::EXECUTABLE_END, b"", self.previous),
            TokenKind::Semicolon | TokenKind::Hint => {}
        }
    }

    /// True if a minus or plus that stands here belongs to the number behind it, if one follows.
    fn may_be_sign(&self) -> bool {
        !self.exact
            && matches!(
                self.previous,
                Previous::WantsOperand | Previous::Open | Previous::Comma | Previous::In
            )
    }

    fn plain(&mut self, tag: u8, text: &[u8], previous: Previous) {
        self.before_token();
        self.hash.add(tag, text);
        self.previous = previous;
    }

    /// Hashes a comma that turned out not to join two literals, leaves lists of rows, and hashes a
    /// sign that belongs to no number.
    fn before_token(&mut self) {
        if std::mem::take(&mut self.comma) {
            self.hash.add(tag::COMMA, b"");
        }
        match self.rows {
            Rows::Before { comma, .. } => {
                if comma {
                    self.hash.add(tag::COMMA, b"");
                }
                self.rows = Rows::Outside;
            }
            Rows::Behind { .. } => self.rows = Rows::Outside,
            Rows::Outside | Rows::Within { .. } => {}
        }
        if let Some(sign) = self.sign.take() {
            self.hash.add(tag::OPERATOR, &[sign]);
        }
    }

    fn literal(&mut self, tag: u8) {
        self.sign = None;
        if self.comma && !self.exact {
            self.comma = false;
        } else {
            self.before_token();
            self.hash.add(tag, b"");
        }
        self.previous = Previous::Literal;
    }

    fn comma(&mut self) {
        if self.first == First::Set {
            self.exact = self.changes_reading;
        }
        match self.rows {
            Rows::Behind { last } => {
                self.rows = Rows::Before {
                    last: Some(last),
                    comma: true,
                };
            }
            _ if self.previous == Previous::Literal => {
                self.before_token();
                self.comma = true;
            }
            _ => self.plain(tag::COMMA, b"", Previous::Comma),
        }
        self.previous = Previous::Comma;
    }

    fn open(&mut self) {
        self.settle_sign();
        if let Rows::Before { last, comma } = self.rows {
            let row = Hash::new(self.seed ^ tag::ROW as u64);
            self.rows = Rows::Within {
                outer: std::mem::replace(&mut self.hash, row),
                last,
                comma,
                depth: 1,
            };
            self.previous = Previous::Open;
            return;
        }
        let list = self.previous == Previous::In;
        self.plain(tag::OPEN, b"", Previous::Open);
        match &mut self.rows {
            Rows::Within { depth, .. } => *depth += 1,
            rows if list => {
                *rows = Rows::Before {
                    last: None,
                    comma: false,
                };
            }
            _ => {}
        }
    }

    fn close(&mut self) {
        let Rows::Within {
            mut outer,
            last,
            comma,
            depth,
        } = self.rows
        else {
            return self.plain(tag::CLOSE, b"", Previous::Other);
        };
        if depth > 1 {
            self.plain(tag::CLOSE, b"", Previous::Other);
            self.rows = Rows::Within {
                outer,
                last,
                comma,
                depth: depth - 1,
            };
            return;
        }
        self.before_token();
        let row = self.hash.finish();
        if last != Some(row) {
            if comma {
                outer.add(tag::COMMA, b"");
            }
            outer.add_number(row);
        }
        self.hash = outer;
        self.rows = Rows::Behind { last: row };
        self.previous = Previous::Other;
    }

    fn word(&mut self, lexer: &Lexer<'_>, text: &[u8]) {
        let mut buffer = [0; keywords::LONGEST];
        let Some(lower) = lowered(text, &mut buffer) else {
            return self.plain(tag::NAME, text, Previous::Other);
        };
        let class = match keywords::class(lower) {
            Some(Class::Free) if self.previous == Previous::WantsName => None,
            Some(Class::Free) if self.previous == Previous::Comma && self.words > 0 => None,
            Some(Class::Function) => {
                if !lexer.touches_parenthesis() {
                    self.before_token();
                    self.hash.add(tag::GAP, b"");
                }
                None
            }
            class => class,
        };
        self.words += 1;
        if self.words == 1 {
            self.first_word(lower);
        }
        self.exactness(lower);
        let row_default = lower == b"default"
            && matches!(self.rows, Rows::Within { .. })
            && matches!(self.previous, Previous::Open | Previous::Comma)
            && !lexer.is_before_parenthesis();
        match class {
            _ if row_default => self.literal(tag::LITERAL),
            Some(Class::Literal) if !self.exact && self.previous != Previous::WantsName => {
                self.literal(tag::LITERAL);
            }
            Some(class) => self.keyword(lower, class),
            None if self.words == 1 || self.is_call(lexer) => {
                self.plain(tag::NAME, lower, Previous::Other);
            }
            None => self.plain(tag::NAME, text, Previous::Other),
        }
    }

    /// True if the word is the name of a function, whose case does not matter.
    fn is_call(&self, lexer: &Lexer<'_>) -> bool {
        !self.with
            && matches!(
                self.previous,
                Previous::WantsOperand | Previous::Open | Previous::Comma | Previous::In
            )
            && lexer.is_before_parenthesis()
    }

    fn keyword(&mut self, lower: &[u8], class: Class) {
        if lower == b"row" && matches!(self.rows, Rows::Before { .. }) {
            return;
        }
        let previous = match class {
            Class::Operand if lower == b"in" => Previous::In,
            Class::Operand => Previous::WantsOperand,
            Class::Introducer => Previous::WantsName,
            Class::Reserved | Class::Free | Class::Function | Class::Literal => Previous::Other,
        };
        self.plain(tag::KEYWORD, lower, previous);
        if matches!(lower, b"values" | b"value") && matches!(self.rows, Rows::Outside) {
            self.rows = Rows::Before {
                last: None,
                comma: false,
            };
        }
    }

    fn first_word(&mut self, lower: &[u8]) {
        self.first = match lower {
            b"set" => First::Set,
            b"show" => First::Show,
            b"prepare" | b"execute" => First::Prepare,
            _ => First::Other,
        };
        self.exact = self.first == First::Prepare || self.changes_reading;
    }

    /// Notices a name that may be that of a variable which is set.
    fn variable(&mut self, name: &[u8]) {
        let mut buffer = [0; keywords::LONGEST];
        if self.first == First::Set
            && let Some(lower) = lowered(name, &mut buffer)
        {
            self.exactness(lower);
        }
    }

    /// Notices the words whose literals decide where a statement goes.
    fn exactness(&mut self, lower: &[u8]) {
        match self.first {
            First::Set => {
                self.changes_reading |= matches!(
                    lower,
                    b"names"
                        | b"charset"
                        | b"char"
                        | b"character"
                        | b"character_set_client"
                        | b"sql_mode"
                );
                self.exact |= self.changes_reading
                    || matches!(
                        lower,
                        b"autocommit"
                            | b"transaction_read_only"
                            | b"tx_read_only"
                            | b"variables"
                            | b"immediate"
                    );
            }
            First::Show => self.exact |= lower == b"variables",
            First::Prepare | First::Other => {}
        }
        self.with |= lower == b"with";
    }
}

/// The word in lower case, unless it is longer than any keyword.
#[inline]
fn lowered<'a>(word: &[u8], buffer: &'a mut [u8; keywords::LONGEST]) -> Option<&'a [u8]> {
    let lower = buffer.get_mut(..word.len())?;
    for (to, from) in lower.iter_mut().zip(word) {
        *to = from.to_ascii_lowercase();
    }
    Some(lower)
}

/// What a token is, in the hash.
mod tag {
    pub(super) const KEYWORD: u8 = 1;
    pub(super) const NAME: u8 = 2;
    pub(super) const QUOTED: u8 = 3;
    pub(super) const LITERAL: u8 = 4;
    pub(super) const PARAMETER: u8 = 5;
    pub(super) const USER_VARIABLE: u8 = 6;
    pub(super) const SYSTEM: u8 = 7;
    pub(super) const ASSIGN: u8 = 8;
    pub(super) const DOT: u8 = 9;
    pub(super) const OPEN: u8 = 10;
    pub(super) const CLOSE: u8 = 11;
    pub(super) const COMMA: u8 = 12;
    pub(super) const OPERATOR: u8 = 13;
    pub(super) const EXECUTABLE_START: u8 = 14;
    pub(super) const EXECUTABLE_END: u8 = 15;
    pub(super) const SEMICOLON: u8 = 16;
    pub(super) const ROW: u8 = 17;
    pub(super) const RAW: u8 = 18;
    pub(super) const GAP: u8 = 19;
}

/// A hash of bytes, for tables that live as long as the process.
pub(super) fn hash(bytes: &[u8]) -> usize {
    let mut hash = Hash::new(0);
    hash.add(tag::RAW, bytes);
    hash.finish() as usize
}

/// Two lanes of folded multiplication.
#[derive(Clone, Copy)]
struct Hash {
    left: u64,
    right: u64,
}

impl Hash {
    fn new(seed: u64) -> Hash {
        Hash {
            left: seed ^ 0x9E37_79B9_7F4A_7C15,
            right: seed.rotate_left(32) ^ 0xC2B2_AE3D_27D4_EB4F,
        }
    }

    fn add(&mut self, tag: u8, text: &[u8]) {
        self.mix(u64::from(tag) << 56 | text.len() as u64);
        let mut chunks = text.chunks_exact(8);
        for chunk in &mut chunks {
            self.mix(chunk.try_into().map_or(0, u64::from_le_bytes));
        }
        match *chunks.remainder() {
            [] => {}
            [a] => self.mix(a.into()),
            [a, b] => self.mix(u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0])),
            [a, b, c] => self.mix(u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0])),
            // The two halves overlap; the length is in the hash already.
            [a, b, c, d, ..] => {
                let rest = chunks.remainder();
                let last = rest.last_chunk().copied().unwrap_or_default();
                let halves = [[a, b, c, d], last].map(|half| u64::from(u32::from_le_bytes(half)));
                self.mix(halves[0] << 32 | halves[1]);
            }
        }
    }

    fn add_number(&mut self, number: u128) {
        self.mix(u64::from(tag::ROW) << 56);
        self.mix(number as u64);
        self.mix((number >> 64) as u64);
    }

    fn mix(&mut self, value: u64) {
        self.left = fold(self.left ^ value, 0xA076_1D64_78BD_642F).wrapping_add(value);
        self.right = fold(self.right ^ value.rotate_left(29), 0xE703_7ED1_A0B4_28DB)
            ^ self.left.rotate_left(17);
    }

    fn finish(&self) -> u128 {
        let left = fold(self.left ^ 0x8EBC_6AF0_9C88_C6E3, 0x5896_5FCB_2F3F_1B51 | 1);
        let right = fold(self.right ^ left, 0x1D8E_4E27_C47D_124F);
        u128::from(left ^ self.right) << 64 | u128::from(right ^ self.left)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}
