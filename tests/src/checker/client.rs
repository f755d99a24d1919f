//! A client: writes its own register and list, and reads them and others', over one session after
//! another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, TxOpts};

use super::chance::Chance;
use super::field::Field;
use super::history::{Deed, Event};
use crate::rig::WHERE;

/// How long a client waits for an answer before it takes its connection for lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Sessions of all clients together.
static SESSIONS: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) reads: u64,
    pub(super) values: u64,
    pub(super) from_readers: u64,
    pub(super) writes: u64,
    pub(super) errors: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.values += other.values;
        self.from_readers += other.from_readers;
        self.writes += other.writes;
        self.errors += other.errors;
    }
}

pub(super) struct Client {
    number: u32,
    field: Arc<Field>,
    origin: Instant,
    chance: Chance,
    session: u32,
    /// What it shows with each statement, if anything, and its number among all keys.
    hint: String,
    key: Option<u32>,
    /// The last value that it tried to write to its register.
    value: u64,
    /// How many entries its list has for certain.
    length: u64,
    tally: Tally,
    events: Vec<Event>,
}

/// How statements are sent.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Text,
    Prepared,
    Transaction,
    Script,
}

/// What a read shows of each client: its number, its register, how long its list is, and where.
type Shown = Vec<(u32, u64, u64, String)>;
/// So many clients' registers and lists are read at once.
const AT_ONCE: usize = 4;

impl Client {
    pub(super) fn new(number: u32, field: Arc<Field>, origin: Instant, chance: Chance) -> Self {
        Self {
            number,
            field,
            origin,
            chance,
            session: 0,
            hint: String::new(),
            key: None,
            value: 0,
            length: 0,
            tally: Tally::default(),
            events: Vec::new(),
        }
    }

    pub(super) async fn work(mut self, end: Instant) -> (Tally, Vec<Event>) {
        while Instant::now() < end {
            self.session = SESSIONS.fetch_add(1, Ordering::Relaxed);
            let site = self.chance.below(2);
            // Each proxy has its own keys.
            let key = (!self.number.is_multiple_of(3)).then_some(self.number / 6);
            self.key = key.map(|key| 1000 * site + key);
            self.hint = key.map_or_else(String::new, |key| format!("/* isthmus:key={key} */ "));
            let site = site as usize;
            match tokio::time::timeout(PATIENCE, self.field.connect(site)).await {
                Ok(Ok(mut conn)) => {
                    while Instant::now() < end && self.round(&mut conn).await {}
                    drop(conn);
                }
                _ => self.tally.errors += 1,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (self.tally, self.events)
    }

    /// A write and some reads. Returns whether the connection can be used any longer.
    async fn round(&mut self, conn: &mut Conn) -> bool {
        let mut is_alive = true;
        if self.chance.percent(40) {
            is_alive &= self.write(conn).await;
        }
        for _ in 0..self.chance.below(8) {
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
        // A statement that is late, because its connection broke, must not undo a later one.
        let hint = self.hint.clone();
        let update = format!("{hint}UPDATE registers SET n = GREATEST(n, {value}) WHERE id = {id}");
        let insert = format!("{hint}INSERT INTO lists VALUES ({id}, {value})");
        let start = self.now();
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
                    let insert = format!("{hint}INSERT INTO lists VALUES (?, ?)");
                    conn.exec_drop(insert, (id, value)).await
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
        let outcome = in_time(writing).await;
        if outcome.is_ok() {
            self.length += 1;
            self.tally.writes += 1;
            self.note(start, Deed::Wrote(2 * id, value));
            self.note(start, Deed::Wrote(2 * id + 1, self.length));
        }
        self.survives(outcome.err(), conn).await
    }

    async fn read(&mut self, conn: &mut Conn) -> bool {
        let mut ids = [self.number; AT_ONCE];
        let own = usize::from(self.chance.percent(70));
        for id in &mut ids[own..] {
            *id = self.chance.below(self.field.registers);
        }
        let what = format!(
            "{}SELECT id, n, (SELECT COUNT(*) FROM lists WHERE lists.id = registers.id), name \
             FROM registers, sign.post WHERE id IN (X, X, X, X)",
            self.hint
        );
        let text = ids.iter().fold(what.clone(), |text, id| {
            text.replacen('X', &id.to_string(), 1)
        });
        let manner = self.manner();
        let start = self.now();
        let reading = async {
            let shown: Shown = match manner {
                Manner::Text => conn.query(text).await?,
                Manner::Prepared => conn.exec(what.replace('X', "?"), ids.to_vec()).await?,
                Manner::Transaction => {
                    // What decides where the transaction is has to show the key.
                    let begin = format!("{}START TRANSACTION READ ONLY", self.hint);
                    conn.query_drop(begin).await?;
                    let shown = conn.query(text).await?;
                    conn.query_drop("COMMIT").await?;
                    shown
                }
                Manner::Script => {
                    let mut result = conn
                        .query_iter(format!("{}{WHERE}; {text}", self.hint))
                        .await?;
                    result.collect::<String>().await?;
                    let shown = result.collect().await?;
                    result.drop_result().await?;
                    shown
                }
            };
            Ok(shown)
        };
        let shown = in_time(reading).await;
        if let Ok(shown) = &shown {
            self.tally.reads += 1;
            let is_from_reader = shown.iter().any(|(.., sign)| sign == "reader");
            self.tally.from_readers += u64::from(is_from_reader);
            for (id, register, length, _) in shown {
                self.tally.values += 2;
                self.note(start, Deed::Read(2 * id, *register));
                self.note(start, Deed::Read(2 * id + 1, *length));
            }
        }
        self.survives(shown.err(), conn).await
    }

    /// Asks for a token, for others to show.
    async fn give_token(&mut self, conn: &mut Conn) -> bool {
        let start = self.now();
        let asking = conn.query_first::<String, _>("SELECT @isthmus_token");
        let token = in_time(asking).await;
        if let Ok(Some(token)) = token.clone() {
            let number = {
                let mut tokens = self.field.tokens.lock().unwrap();
                tokens.push(token);
                u32::try_from(tokens.len() - 1).unwrap()
            };
            self.note(start, Deed::Gave(number));
        }
        self.survives(token.err(), conn).await
    }

    /// Shows the newest token.
    async fn take_token(&mut self, conn: &mut Conn) -> bool {
        let (number, token) = {
            let tokens = self.field.tokens.lock().unwrap();
            match tokens.last() {
                Some(token) => (u32::try_from(tokens.len() - 1).unwrap(), token.clone()),
                None => return true,
            }
        };
        let start = self.now();
        let showing = conn.query_drop(format!("SET @isthmus_after = '{token}'"));
        let shown = in_time(showing).await;
        if shown.is_ok() {
            self.note(start, Deed::Took(number));
        }
        self.survives(shown.err(), conn).await
    }

    /// Whether the session goes on. After an error it does only if the proxy says so.
    async fn survives(&mut self, failure: Option<Failure>, conn: &mut Conn) -> bool {
        self.tally.errors += u64::from(failure.is_some());
        match failure {
            None => true,
            // Whatever was begun is over then.
            Some(Failure::Refused) => in_time(conn.query_drop("ROLLBACK")).await.is_ok(),
            Some(Failure::Lost) => false,
        }
    }

    fn note(&mut self, start: u64, deed: Deed) {
        let end = self.now();
        self.events.push(Event {
            start,
            end,
            session: self.session,
            key: self.key,
            deed,
        });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap()
    }
}

/// Why a statement returned nothing.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// It was answered with an error.
    Refused,
    /// It was not answered in time, or the connection broke.
    Lost,
}

/// What a statement returned.
async fn in_time<T>(answer: impl Future<Output = mysql_async::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(returned)) => Ok(returned),
        Ok(Err(mysql_async::Error::Server(_))) => Err(Failure::Refused),
        Ok(Err(_)) | Err(_) => Err(Failure::Lost),
    }
}
