//! Runs a script on both sides, step by step, until an answer differs.

use std::collections::{HashMap, HashSet};
use std::fmt;

use isthmus_lab::Flavor;
use isthmus_protocol::command::Command;
use isthmus_protocol::lenenc::put_bytes;
use isthmus_tests::wire::{Client, USUAL};

use crate::answer::{Answer, Kind, What, how_it_broke};
use crate::audit::audit;
use crate::compare::is_same;
use crate::known::{PARTINGS, Question};
use crate::pair::{Pair, Side};
use crate::script::{Actor, Script, Step, Value};

/// Answers that differ.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The step that they answer, or after which they were found.
    pub(crate) at: usize,
    /// Whether they are what a session finds that has nothing to do with the script.
    is_left: bool,
    direct: Answer,
    proxied: Answer,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_left {
            writeln!(f, "  and then, what another session finds")?;
        }
        write!(
            f,
            "  directly:\n{}  proxied:\n{}",
            self.direct, self.proxied
        )
    }
}

/// One session on one side.
struct Player {
    client: Client,
    /// The numbers of the statements in the slots.
    statements: HashMap<usize, u32>,
    /// The slots with a CALL.
    calls: HashSet<usize>,
    run: u32,
}

/// Runs the script on fresh data; returns the first difference.
pub(crate) async fn run(pair: &Pair, script: &Script) -> Option<Difference> {
    let run = pair.reset().await;
    let mut players = Vec::new();
    for actor in &script.actors {
        let direct = Player::enter(pair, Side::Direct, actor, run);
        let proxied = Player::enter(pair, Side::Proxied, actor, run);
        players.push(Some((direct.await, proxied.await)));
    }
    let mut swapper = Swapper::new(pair).await;
    for (at, (actor, step)) in script.steps.iter().enumerate() {
        // A session whose connection has gone on both sides does nothing more.
        let Some((direct_player, proxied_player)) = &mut players[*actor] else {
            continue;
        };
        let (direct, proxied) = match step {
            Step::Swap => {
                swapper.swap().await;
                continue;
            }
            Step::Tamper(sql) => {
                proxied_player.act(&Step::Query(sql.clone())).await;
                continue;
            }
            step => tokio::join!(direct_player.act(step), proxied_player.act(step)),
        };
        let question = Question {
            step,
            flavor: pair.flavor,
        };
        if PARTINGS
            .iter()
            .any(|parting| (parting.is_it)(question, &direct, &proxied))
        {
            break;
        }
        if !is_same(question, &direct, &proxied) {
            return Some(Difference {
                at,
                is_left: false,
                direct,
                proxied,
            });
        }
        // What is known to differ shows again in what is asked about it.
        let is_hidden = may_hide(step) && direct != proxied;
        let is_call = direct_player.runs_call(step);
        if is_hidden || is_to_be_forgotten(step, &direct, is_call, pair.flavor) {
            for forget in FORGET {
                let forget = Step::Query(forget.into());
                tokio::join!(direct_player.act(&forget), proxied_player.act(&forget));
            }
        }
        if direct.broken.is_some() {
            players[*actor] = None;
        }
    }
    drop((players, swapper));
    let (direct, proxied) = audit(pair, run % 2 == 0).await?;
    Some(Difference {
        at: script.steps.len().saturating_sub(1),
        is_left: true,
        direct,
        proxied,
    })
}

/// Statements that are no queries, but may have one in them.
const OTHERS: [&str; 5] = ["CREATE", "UPDATE", "DELETE", "SET", "DO"];

/// Statements that tell how many rows of a query they have read, but not of a subquery.
const READERS: [&str; 2] = ["INSERT", "REPLACE"];

/// The first has an OK in which a server tells what it still has to tell, for which the end of rows
/// may have no room. The second has no conditions and finds one row.
const FORGET: [&str; 2] = ["DO 0", "SELECT COUNT(*) FROM information_schema.ENGINES"];

/// Whether something of the answer to such a step is known to differ that can be asked about.
fn may_hide(step: &Step) -> bool {
    match step {
        Step::Execute { .. } => true,
        Step::Query(sql) => is_call(sql) || sql.starts_with("EXECUTE "),
        _ => false,
    }
}

fn is_call(sql: &str) -> bool {
    sql.starts_with("CALL ")
}

/// Whether what the step leaves for the next one to ask about is known to differ.
fn is_to_be_forgotten(step: &Step, answer: &Answer, is_call: bool, flavor: Flavor) -> bool {
    // FOUND_ROWS() counts the rows that were sent. Servers add the offset, and leave there what a
    // subquery of a statement that is no query has read. MariaDB leaves there what it was where a query
    // has no row to aggregate.
    let counts_others = |sql: &str| {
        let first = sql.split_whitespace().next().unwrap_or_default();
        ["LIMIT 1, 2", "OFFSET"]
            .iter()
            .any(|part| sql.contains(part))
            || (OTHERS.contains(&first) && sql.contains("SELECT") && !sql.contains(';'))
            || (READERS.contains(&first) && sql.contains("(SELECT"))
            || (flavor == Flavor::Mariadb && sql.contains("MAX(") && !sql.contains("GROUP BY"))
            || (flavor == Flavor::Mariadb && OTHERS.contains(&first) && sql.contains("JOIN"))
    };
    let error = answer.error();
    match (step, flavor) {
        // What a SET has set before it failed is told with the next answer, if nothing else was asked.
        (Step::Query(sql), _) if error.is_some() && sql.contains("SET ") => true,
        // RESIGNAL outside of a handler adds its error to what was there.
        _ if error == Some(1645) => true,
        // So does what cannot be read behind a whole GET DIAGNOSTICS.
        (Step::Query(sql), Flavor::Mysql) if error == Some(1064) && sql.starts_with("GET ") => true,
        (Step::Query(sql), _) if counts_others(sql) => true,
        // An UPDATE that failed has counted as far as it got.
        (Step::Query(sql), Flavor::Mysql) if error.is_some() && sql.contains("UPDATE ") => true,
        // No id is a date, a fraction or NULL, which an UPDATE sees without a look at the table, and leaves
        // the number.
        (Step::Execute { values, .. }, Flavor::Mysql) if values.iter().any(Value::is_date) => true,
        (Step::Execute { values, .. }, Flavor::Mysql)
            if values.last().is_some_and(Value::is_no_id) =>
        {
            true
        }
        (_, Flavor::Mysql) => is_beside(step, answer),
        // It has counted, or it has not: a subquery with several rows, a value out of range.
        (_, Flavor::Mariadb) if matches!(error, Some(1242 | 1690)) => true,
        // It leaves the conditions of the statement before if nothing in it names a table.
        (_, Flavor::Mariadb) => is_call && error.is_none(),
    }
}

/// Whether a command failed that is no statement, so that MySQL has added its error to what the
/// statement before has left.
fn is_beside(step: &Step, answer: &Answer) -> bool {
    const UNKNOWN_STATEMENT: u16 = 1243;
    answer.error().is_some_and(|code| match step {
        Step::InitDb(_) | Step::Fetch(..) | Step::ResetStatement(_) => true,
        Step::Execute { .. } => code == UNKNOWN_STATEMENT,
        _ => false,
    })
}

impl Player {
    async fn enter(pair: &Pair, side: Side, actor: &Actor, run: u32) -> Self {
        let mut client = pair.connect(side, actor).await;
        if pair.flavor == Flavor::Mariadb {
            // FOUND_ROWS() is by chance before.
            client.query("SELECT 1").await.unwrap();
        }
        Self {
            client,
            statements: HashMap::new(),
            calls: HashSet::new(),
            run,
        }
    }

    /// Sends the step's command and reads what answers it.
    async fn act(&mut self, step: &Step) -> Answer {
        let (payload, kind) = self.command(step);
        if let Err(error) = self.client.send(0, &payload).await {
            return Answer {
                broken: Some(how_it_broke(&error)),
                ..Answer::default()
            };
        }
        let answer = Answer::read(&mut self.client, kind).await;
        if let Step::Prepare(slot, sql) = step {
            match is_call(sql) {
                true => self.calls.insert(*slot),
                false => self.calls.remove(slot),
            };
        }
        match step {
            Step::Prepare(slot, _) => match answer.statement_id() {
                Some(id) => self.statements.insert(*slot, id),
                None => self.statements.remove(slot),
            },
            Step::Close(slot) => self.statements.remove(slot),
            Step::ResetConnection if answer.packets.iter().all(|(what, _)| *what == What::Ok) => {
                self.statements.clear();
                None
            }
            _ => None,
        };
        answer
    }

    fn runs_call(&self, step: &Step) -> bool {
        match step {
            Step::Query(sql) => is_call(sql),
            Step::Execute { slot, .. } => self.calls.contains(slot),
            _ => false,
        }
    }

    fn command(&self, step: &Step) -> (Vec<u8>, Kind) {
        let with = |command: Command, rest: &[u8]| [&[command as u8], rest].concat();
        match step {
            Step::Query(sql) => (
                with(Command::Query, self.filled(sql).as_bytes()),
                Kind::Results,
            ),
            Step::Prepare(_, sql) => {
                let sql = self.filled(sql);
                (with(Command::StmtPrepare, sql.as_bytes()), Kind::Prepared)
            }
            Step::Execute {
                slot,
                values,
                cursor,
                types,
            } => {
                let execution = execution(self.statement(*slot), values, *cursor, *types);
                (with(Command::StmtExecute, &execution), Kind::Results)
            }
            Step::Fetch(slot, rows) => {
                let rest = [self.statement(*slot).to_le_bytes(), rows.to_le_bytes()].concat();
                (with(Command::StmtFetch, &rest), Kind::Rows)
            }
            Step::LongData(slot, parameter, data) => {
                let mut rest = self.statement(*slot).to_le_bytes().to_vec();
                rest.extend(parameter.to_le_bytes());
                rest.extend(data);
                (with(Command::StmtSendLongData, &rest), Kind::Nothing)
            }
            Step::ResetStatement(slot) => {
                let id = self.statement(*slot).to_le_bytes();
                (with(Command::StmtReset, &id), Kind::One)
            }
            Step::Close(slot) => {
                let id = self.statement(*slot).to_le_bytes();
                (with(Command::StmtClose, &id), Kind::Nothing)
            }
            Step::InitDb(schema) => (with(Command::InitDb, schema.as_bytes()), Kind::One),
            Step::MultiStatements(on) => (with(Command::SetOption, &[u8::from(!on), 0]), Kind::One),
            Step::Ping => (with(Command::Ping, &[]), Kind::One),
            Step::ResetConnection => (with(Command::ResetConnection, &[]), Kind::One),
            Step::Swap | Step::Tamper(_) => unreachable!("{step} is no command"),
        }
    }

    /// The number of the statement in a slot; in an empty one, a number that no side knows.
    fn statement(&self, slot: usize) -> u32 {
        let unknown = 0x00FF_FF00 + slot as u32;
        self.statements.get(&slot).copied().unwrap_or(unknown)
    }

    fn filled(&self, sql: &str) -> String {
        let connection = self.client.greeting.connection_id.to_string();
        let run = format!("{:06}", self.run);
        sql.replace("{connection}", &connection)
            .replace("{run}", &run)
    }
}

/// What follows the command byte of COM_STMT_EXECUTE.
fn execution(statement: u32, values: &[Value], cursor: bool, with_types: bool) -> Vec<u8> {
    let mut out = statement.to_le_bytes().to_vec();
    out.push(u8::from(cursor));
    out.extend(1_u32.to_le_bytes());
    if values.is_empty() {
        return out;
    }
    let mut nulls = vec![0; values.len().div_ceil(8)];
    let (mut types, mut data) = (Vec::new(), Vec::new());
    for (number, value) in values.iter().enumerate() {
        types.extend([value.put(&mut data), 0]);
        if *value == Value::Null {
            nulls[number / 8] |= 1 << (number % 8);
        }
    }
    out.extend(nulls);
    out.push(u8::from(with_types));
    if with_types {
        out.extend(types);
    }
    out.extend(data);
    out
}

impl Value {
    /// Appends the value in binary form and returns its type.
    fn put(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Self::Null => 0x06,
            Self::Integer(number) => {
                out.extend(number.to_le_bytes());
                0x08
            }
            Self::Double(number) => {
                out.extend(number.to_le_bytes());
                0x05
            }
            Self::Text(text) => {
                put_bytes(out, text.as_bytes());
                0xFD
            }
            Self::Blob(bytes) => {
                put_bytes(out, bytes);
                0xFC
            }
            Self::DateTime(year, rest) => {
                out.push(7);
                out.extend(year.to_le_bytes());
                out.extend(rest);
                0x0C
            }
            Self::Long => 0xFC,
        }
    }
}

/// Two sessions for each endpoint that take turns in keeping the connection on top of its pool, so
/// that the next statement gets another one.
struct Swapper {
    keepers: [[Client; 2]; 2],
    turn: usize,
}

/// What keeps a connection, to the writer and to the reader.
const KEEP: [[&str; 2]; 2] = [
    ["BEGIN", "SELECT 1 FROM sign.post"],
    ["START TRANSACTION READ ONLY", "SELECT 1 FROM sign.post"],
];

impl Swapper {
    async fn new(pair: &Pair) -> Self {
        let actor = Actor {
            capabilities: USUAL,
            collation: 45,
            schema: "sign",
            selects_schema: true,
        };
        let enter = || pair.connect(Side::Proxied, &actor);
        Self {
            keepers: [
                [enter().await, enter().await],
                [enter().await, enter().await],
            ],
            turn: 0,
        }
    }

    async fn swap(&mut self) {
        for (keepers, keep) in self.keepers.iter_mut().zip(KEEP) {
            for sql in keep {
                keepers[self.turn].query(sql).await.unwrap();
            }
            keepers[1 - self.turn].query("COMMIT").await.unwrap();
        }
        self.turn = 1 - self.turn;
    }
}
