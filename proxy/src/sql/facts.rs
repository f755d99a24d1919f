//! What can be found in a statement at any depth: locks, assignments, functions, variables.

use super::classify::NOT_CARRIED;
use super::functions::{self, Effect};
use super::lexer::TokenKind;
use super::plan::{Holds, Needs, Releases};
use super::servers;
use super::words::{Word, Words};

/// What the tokens of a statement tell, wherever they stand.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) holds: Holds,
    pub(super) releases: Releases,
    pub(super) needs: Needs,
    /// User variables that are assigned.
    pub(super) user_variables: Vec<String>,
    /// Functions that are not built in.
    pub(super) unknown_functions: Vec<String>,
    /// The first reason why no reader may run it, but for the functions.
    pub(super) writer: Option<&'static str>,
    /// It moves a sequence.
    pub(super) sequence: bool,
    /// It asks about the previous statement.
    pub(super) previous: bool,
    /// It has a query in it.
    pub(super) query: bool,
}

/// What a statement may hold that is told apart from a query by its keywords alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// A query: the words of other statements have no place in it.
    Query,
    /// A statement that has a table before the parenthesis of its column list.
    Insert,
    /// Anything else.
    Other,
}

impl Facts {
    /// Reads to the end of the statement.
    pub(super) fn gather(mut words: Words<'_>, scope: Scope) -> Facts {
        let mut facts = Facts::default();
        let mut behind = Behind::default();
        let mut column_list = scope == Scope::Insert;
        while let Some(word) = words.next() {
            match word.kind {
                TokenKind::Word => facts.keyword(&word, &words, &behind, scope),
                TokenKind::Assign => facts.assignment(&behind),
                TokenKind::UserVariable => facts.user_variable(&word, &words),
                TokenKind::System => facts.system_variable(words),
                TokenKind::Dot => facts.schema(&behind, &words),
                _ => {}
            }
            if word.is_any(&["values", "value", "select", "set"]) {
                column_list = false;
            }
            if word.is_name()
                && words
                    .peek()
                    .is_some_and(|next| next.kind == TokenKind::Open)
            {
                if !std::mem::take(&mut column_list) {
                    facts.call(&word, &words, &behind);
                }
            } else if word.kind == TokenKind::Open {
                column_list = false;
            }
            if word.is_name() {
                facts.table(&word);
            }
            behind.push(word);
        }
        facts
    }

    fn forbid(&mut self, reason: &'static str) {
        self.writer.get_or_insert(reason);
    }

    fn lock_rows(&mut self) {
        self.needs |= Needs::ROW_LOCKS;
        self.forbid("it locks the rows that it reads");
    }

    fn keyword(&mut self, word: &Word<'_>, words: &Words<'_>, behind: &Behind<'_>, scope: Scope) {
        let next = words.peek();
        let next_is = |keyword: &str| next.as_ref().is_some_and(|next| next.is(keyword));
        let called = next
            .as_ref()
            .is_some_and(|next| next.kind == TokenKind::Open);
        match word.keyword() {
            b"select" | b"table" => self.query = true,
            b"for" if next_is("update") || next_is("share") => self.lock_rows(),
            b"lock" if next_is("in") => self.lock_rows(),
            b"into" => self.into(*words, scope),
            b"outfile" | b"dumpfile" => {
                self.needs |= Needs::DESTINATION;
                self.forbid("it writes a file on the server");
            }
            b"procedure" if scope == Scope::Query => {
                self.forbid("it hands its rows to a procedure");
            }
            b"value" if (behind.is("next") || behind.is("previous")) && next_is("for") => {
                self.sequence = true;
                self.forbid("it takes a value from a sequence");
            }
            b"sql_calc_found_rows" => self.needs |= Needs::CALC_FOUND_ROWS,
            b"update" if behind.is("for") || scope != Scope::Query => {}
            b"insert" | b"replace" if called => {}
            b"update" | b"delete" | b"insert" | b"replace" | b"call" | b"create" | b"alter"
            | b"drop" | b"grant" | b"revoke" | b"load" | b"purge" | b"rename" | b"kill"
            | b"unlock" | b"trigger" | b"optimize" | b"lock"
                if scope == Scope::Query && !behind.is_dot() =>
            {
                self.forbid("it has a word in it that no query has");
            }
            _ => {}
        }
    }

    /// `INTO @a, @b`, or a file, or a table.
    fn into(&mut self, mut words: Words<'_>, scope: Scope) {
        let Some(mut next) = words.next() else { return };
        if next.kind != TokenKind::UserVariable {
            if scope == Scope::Query {
                self.needs |= Needs::DESTINATION;
                self.forbid("it writes its rows somewhere else than to the client");
            }
            return;
        }
        self.assigns(&next);
        while words.accept_kind(TokenKind::Comma) {
            match words.next() {
                Some(word) => next = word,
                None => return,
            }
            self.assigns(&next);
        }
    }

    /// A user variable that is assigned.
    pub(super) fn assigns(&mut self, word: &Word<'_>) {
        match word.user_variable() {
            Some(name) if self.user_variables.contains(&name) => {}
            Some(name) => self.user_variables.push(name),
            None => {
                self.holds |= Holds::USER_VARIABLE;
                self.forbid(NOT_CARRIED);
            }
        }
    }

    fn assignment(&mut self, behind: &Behind<'_>) {
        match behind.last() {
            Some(word) if word.kind == TokenKind::UserVariable => {
                if word.lower() != b"isthmus_after" {
                    self.assigns(word);
                }
            }
            _ => self.forbid("it assigns something"),
        }
    }

    fn user_variable(&mut self, word: &Word<'_>, words: &Words<'_>) {
        let assigned = words
            .peek()
            .is_some_and(|next| next.kind == TokenKind::Assign);
        if !assigned && word.lower() != b"isthmus_token" {
            self.needs |= Needs::USER_VARIABLE;
        }
    }

    /// `@@x`, `@@session.x`.
    fn system_variable(&mut self, mut words: Words<'_>) {
        let Some(mut word) = words.next() else { return };
        let scope = [
            &b"global"[..],
            b"session",
            b"local",
            b"persist",
            b"persist_only",
        ];
        if scope.contains(&word.lower()) && words.accept_kind(TokenKind::Dot) {
            match words.next() {
                Some(name) => word = name,
                None => return,
            }
        }
        match word.lower() {
            b"identity" | b"last_insert_id" => self.needs |= Needs::LAST_INSERT_ID,
            b"warning_count" | b"error_count" => {
                self.needs |= Needs::DIAGNOSTICS;
                self.previous = true;
            }
            b"pseudo_thread_id" => self.needs |= Needs::CONNECTION_ID,
            name if name.starts_with(servers::SESSION_TRACKING) => {
                self.needs |= Needs::SESSION_TRACKING
            }
            name if servers::tells_servers_apart(name) => {
                self.forbid("it asks for a variable that tells servers apart");
            }
            _ => {}
        }
    }

    /// A point behind the name of a schema.
    fn schema(&mut self, behind: &Behind<'_>, words: &Words<'_>) {
        let (Some(schema), Some(table)) = (behind.last(), words.peek()) else {
            return;
        };
        // MariaDB's `s.NEXTVAL`.
        let is_oracle = words.dialect().begin_opens_block;
        if is_oracle && matches!(table.lower(), b"nextval" | b"currval") {
            self.sequence = true;
            self.forbid("it takes a value from a sequence");
        }
        if schema.is_name()
            && table.is_name()
            && servers::speaks_of_one_server(schema.lower(), table.lower())
        {
            self.forbid(servers::ONE_SERVER);
        }
    }

    fn table(&mut self, word: &Word<'_>) {
        if servers::lists_variables(word.lower()) {
            self.needs |= Needs::SESSION_TRACKING | Needs::LAST_INSERT_ID;
        }
        if servers::is_own_table(word.lower()) {
            self.forbid(servers::ONE_SERVER);
        }
    }

    /// A name before a parenthesis.
    fn call(&mut self, word: &Word<'_>, words: &Words<'_>, behind: &Behind<'_>) {
        if behind.is_dot() {
            return self.unknown(behind.qualified(word));
        }
        if behind.names_columns(words) {
            return;
        }
        let name = word.lower();
        if word.kind == TokenKind::Word {
            if functions::is_keyword_before_parenthesis(name)
                || (name == b"datetime" && precision_follows(*words))
            {
                return;
            }
            if functions::must_touch_parenthesis(name) && !words.touches_parenthesis() {
                return self.unknown(word.name().to_lowercase());
            }
            return self.effect(functions::effect(name), word, words);
        }
        match functions::effect(name) {
            Effect::Plain | Effect::Unknown => self.unknown(word.name().to_lowercase()),
            effect => {
                self.effect(effect, word, words);
                self.unknown(word.name().to_lowercase());
            }
        }
    }

    fn effect(&mut self, effect: Effect, word: &Word<'_>, words: &Words<'_>) {
        let mut locks = |releases: Releases| {
            self.holds |= Holds::USER_LOCK;
            self.releases |= releases;
            self.forbid("it takes, asks for or releases a user lock");
        };
        match effect {
            Effect::Plain => {}
            Effect::TakesLock | Effect::AsksForLock => locks(Releases::empty()),
            Effect::ReleasesLock => locks(Releases::USER_LOCK_ONE),
            Effect::ReleasesAllLocks => locks(Releases::USER_LOCKS_ALL),
            Effect::LastInsertId => self.last_insert_id(*words),
            Effect::RowCount => {
                self.needs |= Needs::ROW_COUNT;
                self.previous = true;
            }
            Effect::FoundRows => {
                self.needs |= Needs::FOUND_ROWS;
                self.previous = true;
            }
            Effect::ConnectionId => self.needs |= Needs::CONNECTION_ID,
            Effect::Sequence => {
                self.sequence = true;
                self.forbid("it takes a value from a sequence");
            }
            Effect::OneServer => self.forbid("it calls a function that speaks of one server"),
            Effect::Unknown => self.unknown(word.name().to_lowercase()),
        }
    }

    /// `LAST_INSERT_ID()` reads what the session remembers; with an argument it sets it.
    fn last_insert_id(&mut self, mut words: Words<'_>) {
        self.needs |= Needs::LAST_INSERT_ID;
        words.accept_kind(TokenKind::Open);
        if !words.accept_kind(TokenKind::Close) {
            self.forbid("it sets the last insert id");
        }
    }

    fn unknown(&mut self, name: String) {
        if !self.unknown_functions.contains(&name) {
            self.unknown_functions.push(name);
        }
    }
}

/// The last few tokens.
#[derive(Debug, Default)]
struct Behind<'a>([Option<Word<'a>>; 3]);

impl<'a> Behind<'a> {
    fn push(&mut self, word: Word<'a>) {
        self.0.rotate_right(1);
        self.0[0] = Some(word);
    }

    fn last(&self) -> Option<&Word<'a>> {
        self.0[0].as_ref()
    }

    fn is(&self, keyword: &str) -> bool {
        self.last().is_some_and(|word| word.is(keyword))
    }

    fn kind(&self, back: usize) -> Option<TokenKind> {
        self.0.get(back).copied().flatten().map(|word| word.kind)
    }

    fn is_dot(&self) -> bool {
        self.kind(0) == Some(TokenKind::Dot)
    }

    /// The name with the schema in front of it.
    fn qualified(&self, word: &Word<'_>) -> String {
        let schema = self.0[1].as_ref().map(Word::name).unwrap_or_default();
        format!("{schema}.{}", word.name()).to_lowercase()
    }

    /// True if the name before a parenthesis is that of a common table expression or of a derived
    /// table, with its columns in the parentheses.
    fn names_columns(&self, words: &Words<'_>) -> bool {
        let derived = self.kind(0) == Some(TokenKind::Close)
            || (self.is("as") && self.kind(1) == Some(TokenKind::Close));
        let common = self.is("with")
            || self.is("recursive")
            || (self.kind(0) == Some(TokenKind::Comma) && self.kind(1) == Some(TokenKind::Close));
        (derived && columns_follow(*words).is_some())
            || (common
                && columns_follow(*words)
                    .is_some_and(|mut rest| rest.accept("as") && rest.accept_kind(TokenKind::Open)))
    }
}

/// `(6)`, behind the name of a type that may be that of a function.
fn precision_follows(mut words: Words<'_>) -> bool {
    words.accept_kind(TokenKind::Open)
        && words.accept_kind(TokenKind::Number)
        && words.accept_kind(TokenKind::Close)
}

/// Passes a list of names in parentheses.
fn columns_follow(mut words: Words<'_>) -> Option<Words<'_>> {
    words.accept_kind(TokenKind::Open);
    loop {
        words.accept_name()?;
        if words.accept_kind(TokenKind::Close) {
            return Some(words);
        }
        if !words.accept_kind(TokenKind::Comma) {
            return None;
        }
    }
}
