//! A client: writes its own register and list, and reads them and others', over one session after
//! another.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, TxOpts};

use super::chance::Chance;
use super::field::Field;
use super::history::{Cell, Deed, Event, Judge, Violation};
use crate::rig::WHERE;

/// How long a client waits for an answer before it takes its connection for lost, where no proxy is
/// suspended.
const PATIENCE: Duration = Duration::from_secs(10);
/// Sessions of all clients together.
static SESSIONS: AtomicU32 = AtomicU32::new(0);
/// Tokens that they were given.
static TOKENS: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) reads: u64,
    pub(super) decisions: u64,
    pub(super) values: u64,
    pub(super) from_readers: u64,
    pub(super) writes: u64,
    pub(super) errors: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.decisions += other.decisions;
        self.values += other.values;
        self.from_readers += other.from_readers;
        self.writes += other.writes;
        self.errors += other.errors;
    }
}

/// What all clients did and were told, judged as it comes in.
pub(super) struct Record {
    origin: Instant,
    /// How long a client waits for an answer.
    patience: Duration,
    judge: Mutex<Judge>,
}

impl Record {
    /// An empty one. A proxy may be suspended for so long.
    pub(super) fn new(origin: Instant, suspension: Duration) -> Self {
        let patience = PATIENCE + suspension;
        Self {
            origin,
            patience,
            judge: Mutex::new(Judge::new(2 * patience)),
        }
    }

    pub(super) fn violations(self) -> Vec<Violation> {
        self.judge.into_inner().unwrap().violations()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap()
    }

    /// What a statement returned.
    async fn in_time<T>(
        &self,
        answer: impl Future<Output = mysql_async::Result<T>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(returned)) => Ok(returned),
            Ok(Err(mysql_async::Error::Server(_))) => Err(Failure::Refused),
            Ok(Err(_)) | Err(_) => Err(Failure::Lost),
        }
    }
}

pub(super) struct Client {
    number: u32,
    field: Arc<Field>,
    record: Arc<Record>,
    chance: Chance,
    session: u32,
    /// What it shows with each statement, if anything, and its number among all keys.
    hint: String,
    key: Option<u32>,
    /// The last value that it tried to write to its register.
    value: u64,
    /// How many entries the last part of its list has for certain.
    length: u64,
    tally: Tally,
}

/// How statements are sent.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Text,
    Prepared,
    Transaction,
    Script,
}

impl Manner {
    /// So many SELECTs are one read, for which the proxy decides once where it goes.
    fn selects(self) -> usize {
        match self {
            Self::Text | Self::Prepared => 1,
            Self::Transaction => 2,
            Self::Script => 4,
        }
    }
}

/// What a SELECT shows of each client: its number, its register, how long the part of its list is
/// that goes with that, and where.
type Shown = Vec<(u32, u64, u64, String)>;
/// So many clients' registers and lists are read by a SELECT.
const AT_ONCE: usize = 2;
/// A list is a sequence of parts of so many entries, so that reading it takes no longer and longer.
const PART: u64 = 100;

impl Client {
    pub(super) fn new(number: u32, field: Arc<Field>, record: Arc<Record>, chance: Chance) -> Self {
        Self {
            number,
            field,
            record,
            chance,
            session: 0,
            hint: String::new(),
            key: None,
            value: 0,
            length: 0,
            tally: Tally::default(),
        }
    }

    pub(super) async fn work(mut self, end: Instant) -> Tally {
        while Instant::now() < end {
            self.session = SESSIONS.fetch_add(1, Ordering::Relaxed);
            let site = self.chance.below(2);
            // Each proxy has its own keys.
            let key = self.number.is_multiple_of(3).then_some(self.number / 6);
            self.key = key.map(|key| 1000 * site + key);
            self.hint = key.map_or_else(String::new, |key| format!("/* isthmus:key={key} */ "));
            let site = site as usize;
            match self.record.in_time(self.field.connect(site)).await {
                Ok(mut conn) => {
                    while Instant::now() < end && self.round(&mut conn).await {}
                    drop(conn);
                    self.note(self.record.now(), &[Deed::Left]);
                }
                Err(_) => self.tally.errors += 1,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.tally
    }

    /// A write and some reads. Returns whether the connection can be used any longer.
    async fn round(&mut self, conn: &mut Conn) -> bool {
        let mut is_alive = true;
        if self.chance.percent(30) {
            is_alive &= self.write(conn).await;
        }
        for _ in 0..self.chance.below(12) {
            is_alive = is_alive && self.read(conn).await;
        }
        if self.chance.percent(20) {
            let pause = self.chance.time(1, 400);
            tokio::time::sleep(pause).await;
        }
        if is_alive && self.chance.percent(5) {
            is_alive = self.give_token(conn).await;
        }
        if is_alive && self.chance.percent(5) {
            is_alive = self.take_token(conn).await;
        }
        // Another connection now and then.
        is_alive && !self.chance.percent(2)
    }

    fn manner(&mut self) -> Manner {
        match self.chance.below(4) {
            0 => Manner::Text,
            1 => Manner::Prepared,
            2 => Manner::Transaction,
            _ => Manner::Script,
        }
    }

    async fn write(&mut self, conn: &mut Conn) -> bool {
        self.value += 1;
        let (id, value, manner) = (self.number, self.value, self.manner());
        let part = value / PART;
        if value % PART == 0 {
            self.length = 0;
        }
        // A statement that is late, because its connection broke, must not undo a later one.
        let hint = self.hint.clone();
        let update = format!("{hint}UPDATE registers SET n = GREATEST(n, {value}) WHERE id = {id}");
        let insert = format!("{hint}INSERT INTO lists VALUES ({id}, {part}, {value})");
        let start = self.record.now();
        let writing = async {
            match manner {
                Manner::Text => {
                    conn.query_drop(update).await?;
                    conn.query_drop(insert).await
                }
                Manner::Prepared => {
                    let update =
                        format!("{hint}UPDATE registers SET n = GREATEST(n, ?) WHERE id = ?");
                    conn.exec_drop(update, (value, id)).await?;
                    let insert = format!("{hint}INSERT INTO lists VALUES (?, ?, ?)");
                    conn.exec_drop(insert, (id, part, value)).await
                }
                Manner::Transaction => {
                    let mut transaction = conn.start_transaction(TxOpts::default()).await?;
                    transaction.query_drop(update).await?;
                    transaction.query_drop(insert).await?;
                    transaction.commit().await
                }
                Manner::Script => conn.query_drop(format!("{update}; {insert}")).await,
            }
        };
        let outcome = self.record.in_time(writing).await;
        if outcome.is_ok() {
            self.length += 1;
            self.tally.writes += 1;
            let list = self.list(id, value);
            let deeds = [
                Deed::Wrote(register(id), value),
                Deed::Wrote(list, self.length),
            ];
            self.note(start, &deeds);
        }
        self.survives(outcome.err(), conn).await
    }

    async fn read(&mut self, conn: &mut Conn) -> bool {
        let manner = self.manner();
        let selects = manner.selects();
        let mut ids: Vec<u32> = (0..selects * AT_ONCE)
            .map(|_| self.chance.below(self.field.registers))
            .collect();
        for ids in ids.chunks_mut(AT_ONCE) {
            if self.chance.percent(70) {
                ids[0] = self.number;
            }
        }
        let what = format!(
            "{}SELECT id, n, (SELECT COUNT(*) FROM lists WHERE lists.id = registers.id \
             AND part = registers.n DIV {PART}), name FROM registers, sign.post WHERE id IN (X, X)",
            self.hint
        );
        let texts = ids.chunks(AT_ONCE).map(|ids| {
            let filled = |text: String, id: &u32| text.replacen('X', &id.to_string(), 1);
            ids.iter().fold(what.clone(), filled)
        });
        let texts: Vec<String> = texts.collect();
        let start = self.record.now();
        let reading = async {
            let mut shown: Vec<Shown> = Vec::new();
            match manner {
                Manner::Text => shown.push(conn.query(&texts[0]).await?),
                Manner::Prepared => shown.push(conn.exec(what.replace('X', "?"), ids).await?),
                Manner::Transaction => {
                    // What decides where the transaction is has to show the key.
                    let begin = format!("{}START TRANSACTION READ ONLY", self.hint);
                    conn.query_drop(begin).await?;
                    for text in &texts {
                        shown.push(conn.query(text).await?);
                    }
                    conn.query_drop("COMMIT").await?;
                }
                Manner::Script => {
                    let script = format!("{}{WHERE}; {}", self.hint, texts.join("; "));
                    let mut result = conn.query_iter(script).await?;
                    result.collect::<String>().await?;
                    for _ in &texts {
                        shown.push(result.collect().await?);
                    }
                    result.drop_result().await?;
                }
            }
            Ok(shown)
        };
        let shown = self.record.in_time(reading).await;
        if let Ok(shown) = &shown {
            self.tally.decisions += 1;
            for rows in shown {
                self.tally.reads += 1;
                let is_from_reader = rows.iter().any(|(.., sign)| sign == "reader");
                self.tally.from_readers += u64::from(is_from_reader);
                for (id, value, length, _) in rows {
                    self.tally.values += 2;
                    let deeds = [
                        Deed::Read(register(*id), *value),
                        Deed::Read(self.list(*id, *value), *length),
                    ];
                    self.note(start, &deeds);
                }
            }
        }
        self.survives(shown.err(), conn).await
    }

    /// Asks for a token, for others to show.
    async fn give_token(&mut self, conn: &mut Conn) -> bool {
        let start = self.record.now();
        let asking = conn.query_first::<String, _>("SELECT @isthmus_token");
        let token = self.record.in_time(asking).await;
        if let Ok(Some(token)) = token.clone() {
            let number = TOKENS.fetch_add(1, Ordering::Relaxed);
            // Nobody shows it before.
            self.note(start, &[Deed::Gave(number)]);
            *self.field.token.lock().unwrap() = Some((number, token));
        }
        self.survives(token.err(), conn).await
    }

    /// Shows the newest token.
    async fn take_token(&mut self, conn: &mut Conn) -> bool {
        let newest = self.field.token.lock().unwrap().clone();
        let Some((number, token)) = newest else {
            return true;
        };
        let start = self.record.now();
        let showing = conn.query_drop(format!("SET @isthmus_after = '{token}'"));
        let shown = self.record.in_time(showing).await;
        if shown.is_ok() {
            self.note(start, &[Deed::Took(number)]);
        }
        self.survives(shown.err(), conn).await
    }

    /// Whether the session goes on. After an error it does only if the proxy says so.
    async fn survives(&mut self, failure: Option<Failure>, conn: &mut Conn) -> bool {
        self.tally.errors += u64::from(failure.is_some());
        match failure {
            None => true,
            // Whatever was begun is over then.
            Some(Failure::Refused) => {
                let ending = conn.query_drop("ROLLBACK");
                self.record.in_time(ending).await.is_ok()
            }
            Some(Failure::Lost) => false,
        }
    }

    fn note(&self, start: u64, deeds: &[Deed]) {
        let mut judge = self.record.judge.lock().unwrap();
        // While nobody else may, so that events are in the order of their ends.
        let end = self.record.now();
        for deed in deeds {
            judge.judge(Event {
                start,
                end,
                session: self.session,
                key: self.key,
                deed: *deed,
            });
        }
    }

    /// The cell of the part of a client's list that goes with a value of its register.
    fn list(&self, id: u32, value: u64) -> Cell {
        let part = Cell::try_from(value / PART).unwrap();
        2 * (id + self.field.registers * part) + 1
    }
}

/// The cell of a client's register.
fn register(id: u32) -> Cell {
    2 * id
}

/// Why a statement returned nothing.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// It was answered with an error.
    Refused,
    /// It was not answered in time, or the connection broke.
    Lost,
}
