//! Makes scripts from the grammar.

use fastrand::Rng;
use isthmus_lab::Flavor;
use isthmus_protocol::capabilities::Capabilities;
use isthmus_tests::wire::USUAL;

use crate::grammar::{PREPARABLE, SCHEMAS, THEMES, rule};
use crate::script::{Actor, Script, Step, Value};

/// How many steps a script has.
const LENGTH: std::ops::Range<usize> = 80..160;
/// From this depth on, the first alternative of a rule is taken: the simplest.
const DEEP: usize = 6;
/// How many prepared statements a session has at a time.
const SLOTS: usize = 3;

/// The script with this seed.
pub(crate) fn generate(seed: u64, flavor: Flavor) -> Script {
    let mut rng = Rng::with_seed(seed);
    let actors: Vec<_> = SCHEMAS
        .iter()
        .map(|schema| actor(&mut rng, schema))
        .collect();
    let mut authors: Vec<_> = (0..actors.len())
        .map(|number| Author::new(rng.fork(), flavor, number))
        .collect();
    let length = rng.usize(LENGTH);
    let swaps = rng.u8(0..4);
    let mut steps = Vec::new();
    while steps.len() < length {
        let actor = rng.usize(..authors.len());
        if rng.u8(0..8) < swaps {
            steps.push((actor, Step::Swap));
        }
        steps.push((actor, authors[actor].step()));
    }
    Script { actors, steps }
}

fn actor(rng: &mut Rng, schema: &'static str) -> Actor {
    let mut capabilities = USUAL | Capabilities::MULTI_STATEMENTS;
    let mut toggle = |one_in: u8, flags: Capabilities| {
        if rng.u8(0..one_in) == 0 {
            capabilities.toggle(flags);
        }
    };
    toggle(3, Capabilities::DEPRECATE_EOF);
    toggle(4, Capabilities::MULTI_STATEMENTS);
    toggle(2, Capabilities::SESSION_TRACK);
    toggle(8, Capabilities::FOUND_ROWS);
    toggle(10, Capabilities::IGNORE_SPACE);
    Actor {
        capabilities,
        collation: [45, 45, 33][rng.usize(..3)],
        schema,
        selects_schema: rng.u8(0..10) > 0,
    }
}

/// Writes what one session does.
struct Author {
    rng: Rng,
    flavor: Flavor,
    number: usize,
    themes: Vec<&'static str>,
    /// What comes next, where that is not by chance.
    next: Option<Step>,
    /// How often of ten a prepared statement is used.
    prepares: u8,
    /// The number of parameters of the statements in the slots.
    parameters: [Option<usize>; SLOTS],
    /// Whether each has a column that is made of parameters alone.
    has_bare: [bool; SLOTS],
    /// Whether each gets only texts.
    has_text: [bool; SLOTS],
    /// Whether each has had a date.
    has_date: [bool; SLOTS],
    /// Whether long data may be sent for the last parameter of each: what MariaDB makes of a text in
    /// the place of a number depends on what it was given before.
    takes_long: [bool; SLOTS],
    /// Whether each has been executed, so that its types are known.
    has_types: [bool; SLOTS],
    /// Whether the last parameter had a value that is no text.
    has_values: [bool; SLOTS],
    /// Whether each is executed with a cursor, where it is always one or the other. MySQL breaks off
    /// its answer to a statement that is executed without a cursor after one with it, and MariaDB
    /// crashes when a DELETE … RETURNING opens one.
    has_cursor: [Option<bool>; SLOTS],
    /// The parameters that were sent ahead.
    long: Vec<(usize, usize)>,
}

impl Author {
    fn new(mut rng: Rng, flavor: Flavor, number: usize) -> Self {
        let themes = (0..rng.usize(2..5)).map(|_| THEMES[rng.usize(..THEMES.len())]);
        let mut themes: Vec<_> = themes.collect();
        let prepares = [0, 0, 2, 5][rng.usize(..4)];
        if prepares > 0 {
            // What was prepared in a schema that is gone cannot be prepared on another connection.
            themes.retain(|theme| *theme != "schema");
            themes.push("read");
        }
        Self {
            rng,
            flavor,
            number,
            themes,
            next: None,
            prepares,
            parameters: [None; SLOTS],
            has_bare: [false; SLOTS],
            has_text: [false; SLOTS],
            has_date: [false; SLOTS],
            takes_long: [false; SLOTS],
            has_types: [false; SLOTS],
            has_values: [false; SLOTS],
            has_cursor: [None; SLOTS],
            long: Vec::new(),
        }
    }

    fn step(&mut self) -> Step {
        if let Some(step) = self.next.take() {
            return step;
        }
        if self.rng.u8(0..10) < self.prepares {
            return self.prepared();
        }
        if self.rng.u8(0..20) == 0 {
            return self.command();
        }
        let theme = self.themes[self.rng.usize(..self.themes.len())];
        Step::Query(self.text(theme))
    }

    fn command(&mut self) -> Step {
        match self.rng.u8(0..9) {
            0..=1 => Step::ResetConnection,
            2..=3 => Step::Ping,
            4 => Step::MultiStatements(self.rng.bool()),
            5..=6 => Step::InitDb("missing".into()),
            _ => Step::InitDb(SCHEMAS[self.number].into()),
        }
    }

    fn prepared(&mut self) -> Step {
        let slot = self.rng.usize(..SLOTS);
        let Some(parameters) = self.parameters[slot] else {
            return self.prepare(slot);
        };
        match self.rng.u8(0..20) {
            0..=1 => self.prepare(slot),
            2 => {
                self.parameters[slot] = None;
                Step::Close(slot)
            }
            3 => {
                self.long.retain(|(of, _)| *of != slot);
                Step::ResetStatement(slot)
            }
            4..=5 => Step::Fetch(slot, self.rng.u32(0..4)),
            // MariaDB stores a piece of its memory in place of text for what was a number before.
            6..=7
                if parameters > 0
                    && self.takes_long[slot]
                    && !(self.has_values[slot] && self.flavor == Flavor::Mariadb) =>
            {
                let parameter = parameters - 1;
                let length = self.rng.usize(0..30);
                self.long.push((slot, parameter));
                Step::LongData(slot, parameter as u16, vec![b'l'; length])
            }
            _ => self.execute(slot, parameters),
        }
    }

    fn execute(&mut self, slot: usize, parameters: usize) -> Step {
        // MySQL makes of what is assigned to a user variable what was assigned to it first. It gives a
        // NULL in a bare column the type of the value before it, and MariaDB a BLOB some
        // memory of its own.
        let is_bare = self.has_bare[slot];
        let is_long = self.long.iter().any(|(of, _)| *of == slot);
        let types = is_bare || is_long || !self.has_types[slot] || self.rng.u8(0..3) > 0;
        self.has_types[slot] = true;
        let value = |parameter| match types {
            _ if self.long.contains(&(slot, parameter)) => Value::Long,
            true if is_bare => Value::Integer(self.rng.i64(-2..9)),
            true if self.has_text[slot] => text(&mut self.rng),
            true => value(&mut self.rng),
            // Without types, nobody knows how long another value is.
            false => Value::Null,
        };
        let mut values: Vec<Value> = (0..parameters).map(value).collect();
        self.has_date[slot] |= values.iter().any(Value::is_date);
        if self.has_date[slot] && self.flavor == Flavor::Mysql {
            // It takes another value for a date where the one before was: a 0 for all zeros.
            let is_other = |value: &&mut Value| !matches!(value, Value::Null | Value::Long);
            values
                .iter_mut()
                .filter(is_other)
                .for_each(|value| *value = DATE);
        }
        self.has_values[slot] |= !matches!(
            values.last(),
            None | Some(Value::Null | Value::Text(_) | Value::Long)
        );
        self.long.retain(|(of, _)| *of != slot);
        let by_chance = self.rng.u8(0..5) == 0;
        let cursor = self.has_cursor[slot].unwrap_or(by_chance);
        Step::Execute {
            slot,
            values,
            cursor,
            types,
        }
    }

    fn prepare(&mut self, slot: usize) -> Step {
        let template = PREPARABLE[self.rng.usize(..PREPARABLE.len())];
        let sql = self.expand(template, 0);
        self.parameters[slot] = Some(sql.matches('?').count());
        self.has_bare[slot] = ["DO ?", "SELECT ?", "SELECT CONCAT(?"]
            .iter()
            .any(|start| sql.starts_with(start));
        self.has_text[slot] = sql.starts_with("SET @a");
        self.takes_long[slot] = ["INSERT INTO t (a, b) VALUES (?", "SET @a", "CALL"]
            .iter()
            .any(|start| sql.starts_with(start));
        self.has_types[slot] = false;
        self.has_date[slot] = false;
        self.has_values[slot] = false;
        let by_chance = self.rng.u8(0..5) == 0;
        self.has_cursor[slot] = match self.flavor {
            Flavor::Mysql => Some(by_chance),
            Flavor::Mariadb => sql.contains("RETURNING").then_some(false),
        };
        Step::Prepare(slot, sql)
    }

    fn text(&mut self, rule: &str) -> String {
        self.alternative(rule, 0)
    }

    fn alternative(&mut self, name: &str, depth: usize) -> String {
        let of_flavor = |text: &'static str| match (text.split_once(':'), self.flavor) {
            (Some(("mysql", text)), Flavor::Mysql) => Some(text),
            (Some(("mariadb", text)), Flavor::Mariadb) => Some(text),
            (Some(("mysql" | "mariadb", _)), _) => None,
            _ => Some(text),
        };
        let mut all = Vec::new();
        for text in rule(name).iter().filter_map(|text| of_flavor(text)) {
            let (weight, text) = match text.as_bytes() {
                [weight @ b'2'..=b'9', b'*', ..] => (weight - b'0', &text[2..]),
                _ => (1, text),
            };
            all.extend((0..weight).map(|_| text));
        }
        let chosen = if depth < DEEP {
            self.rng.usize(..all.len())
        } else {
            0
        };
        self.expand(all[chosen], depth + 1)
    }

    /// Replaces what is in braces.
    fn expand(&mut self, template: &str, depth: usize) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (inner, tail) = after.split_once('}').unwrap();
            out += before;
            match inner {
                "connection" | "run" => out += &format!("{{{inner}}}"),
                "schema" => out += SCHEMAS[self.number],
                "actor" => out += &self.number.to_string(),
                words if words.contains('|') => {
                    let words: Vec<_> = words.trim_start_matches('=').split('|').collect();
                    out += words[self.rng.usize(..words.len())];
                }
                name => out += &self.alternative(name, depth),
            }
            rest = tail;
        }
        out + rest
    }
}

fn value(rng: &mut Rng) -> Value {
    match rng.u8(0..9) {
        0 => Value::Null,
        1..=3 => Value::Integer(rng.i64(-2..9)),
        4 => Value::Double(1.5),
        5..=6 => text(rng),
        7 => Value::Blob(vec![0, 0xFF, b'\'']),
        _ => DATE,
    }
}

const DATE: Value = Value::DateTime(2024, [2, 29, 1, 2, 3]);

fn text(rng: &mut Rng) -> Value {
    let texts = rule("string_text");
    Value::Text(texts[rng.usize(..texts.len())].into())
}
