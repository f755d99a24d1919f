//! Aurora's tables in front of real servers: what is asked of them is answered from the state of
//! real replication, with the quirks that are documented; everything else passes through.
//!
//! The names of the tables in a statement are replaced by subqueries that return what they show at
//! that moment, so the servers do all the rest. Connections must not be encrypted.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isthmus::consistency::GtidSet;
use isthmus_lab::{Lab, Server};
use isthmus_protocol::command::Command;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How often each server is asked where it is.
const PACE: Duration = Duration::from_millis(25);
/// Tables are made anew after so many of these.
const KEPT_FOR: u64 = 3;
/// After so many, the clock jumps between right and an hour late.
const CLOCK_LASTS: u64 = 150;
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many LSNs are remembered.
const LENGTH: usize = 8192;

/// What the servers are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A global database, with the readers in another region than the writer.
    Global,
    /// A single cluster.
    Cluster,
    /// Readers in another region than the writer, of a version that tells no LSNs.
    Old,
}

/// The servers of a lab as instances of Aurora. They have threads of their own, so that they answer
/// whatever a test does. Ends when it is dropped.
#[derive(Debug)]
pub struct Aurora {
    addresses: Vec<SocketAddr>,
    runtime: Option<Runtime>,
}

impl Aurora {
    /// Puts a front before each server.
    ///
    /// # Panics
    /// If there is no address for one.
    pub fn start(lab: &Arc<Lab>, kind: Kind) -> Self {
        let count = lab.servers().len();
        let state = Arc::new(State {
            lab: lab.clone(),
            kind,
            log: Mutex::default(),
            rows: Mutex::new(vec![Row::default(); count]),
            shown: Mutex::new(vec![Tables::default(); count]),
        });
        let mut addresses = Vec::new();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        for number in 0..count {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            addresses.push(listener.local_addr().unwrap());
            runtime.spawn(observe(state.clone(), number));
            runtime.spawn(serve(state.clone(), number, listener));
        }
        Self {
            addresses,
            runtime: Some(runtime),
        }
    }

    /// Where the fronts are, in the order of [`Lab::servers`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Aurora {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct State {
    lab: Arc<Lab>,
    kind: Kind,
    log: Mutex<Log>,
    /// By server.
    rows: Mutex<Vec<Row>>,
    shown: Mutex<Vec<Tables>>,
}

/// The writer's log: an LSN for each moment at which it was asked where it is.
#[derive(Default)]
struct Log {
    last: u64,
    entries: VecDeque<Entry>,
}

struct Entry {
    lsn: u64,
    at: Instant,
    set: GtidSet,
}

/// What is known of one instance.
#[derive(Debug, Clone, Default)]
struct Row {
    is_writer: bool,
    lsn: u64,
    lag: Duration,
    /// Seconds since 1970 by its clock.
    updated: f64,
    session: u64,
}

/// The tables as one server shows them.
#[derive(Debug, Clone, Default)]
struct Tables {
    regions: String,
    instances: String,
    cluster: String,
}

/// Asks one server where it is, again and again.
async fn observe(state: Arc<State>, number: usize) {
    let mut connection = None;
    for round in 0_u64.. {
        tokio::time::sleep(PACE).await;
        let server = state.lab.servers()[number];
        match tokio::time::timeout(PATIENCE, position(server, &mut connection)).await {
            Ok(Some((at, set))) => state.note(number, round, at, set),
            // Its rows stay as they were.
            _ => connection = None,
        }
    }
}

async fn position(server: &Server, known: &mut Option<Conn>) -> Option<(Instant, GtidSet)> {
    let connection = match known {
        Some(connection) => connection,
        None => known.insert(server.connect_root().await.ok()?),
    };
    let at = Instant::now();
    let executed = "SELECT @@global.gtid_executed";
    let text: String = connection.query_first(executed).await.ok()??;
    Some((at, GtidSet::parse_mysql(&text).ok()?))
}

impl State {
    fn note(&self, number: usize, round: u64, at: Instant, set: GtidSet) {
        let name = |server: &Server| server.name().to_owned();
        let is_writer = name(self.lab.writer()) == name(self.lab.servers()[number]);
        let mut log = self.log.lock().unwrap();
        if is_writer {
            log.last += 1;
            let lsn = log.last;
            log.entries.push_back(Entry { lsn, at, set });
            if log.entries.len() > LENGTH {
                log.entries.pop_front();
            }
        } else {
            let mut newest_first = log.entries.iter().rev();
            let seen = newest_first.find(|entry| set.contains(&entry.set));
            let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
            let is_late = (round / CLOCK_LASTS) % 2 == 1;
            self.rows.lock().unwrap()[number] = Row {
                is_writer,
                lsn: seen.map_or(0, |entry| entry.lsn),
                // Now and then an instance does not know its lag, and says 0.
                lag: match seen {
                    Some(entry) if !round.is_multiple_of(5) => entry.at.elapsed(),
                    _ => Duration::ZERO,
                },
                updated: now - if is_late { 3600.0 } else { 0.0 },
                session: number as u64,
            };
        }
        let written = log.last;
        drop(log);
        if is_writer {
            let row = Row {
                is_writer,
                ..Row::default()
            };
            self.rows.lock().unwrap()[number] = row;
        }
        if round.is_multiple_of(KEPT_FOR) {
            let tables = self.render(written);
            self.shown.lock().unwrap()[number] = tables;
        }
    }

    fn render(&self, written: u64) -> Tables {
        let rows = self.rows.lock().unwrap().clone();
        let mut tables = Tables {
            regions: format!(
                "(SELECT 'ap-northeast-1' AS AWS_REGION, {written} AS HIGHEST_LSN_WRITTEN, 0 AS DURABILITY_LAG_IN_MILLISECONDS, \
                 0 AS RPO_LAG_IN_MILLISECONDS, TIMESTAMP'1970-01-01 00:00:00.000000' AS LAST_LAG_CALCULATION_TIMESTAMP, 0 AS OLDEST_READ_VIEW_TRX_ID \
                 UNION ALL SELECT 'us-east-1', {}, 40, 0, NOW(6), 20806928)",
                written.saturating_sub(2)
            ),
            instances: String::new(),
            cluster: String::new(),
        };
        for (number, row) in rows.iter().enumerate() {
            let id = instance_id(number);
            let (region, session) = match row.is_writer {
                true => ("ap-northeast-1", "MASTER_SESSION_ID".to_owned()),
                false => ("us-east-1", format!("session-{}", row.session)),
            };
            // What it has received is not what its reads see, and its lag is another one.
            let received = if row.is_writer { 0 } else { written };
            put_row(
                &mut tables.instances,
                &format!(
                    "'{id}' AS SERVER_ID, '{session}' AS SESSION_ID, '{region}' AS AWS_REGION, {written} AS DURABLE_LSN, {received} AS HIGHEST_LSN_RCVD, \
                     20806928 AS OLDEST_READ_VIEW_TRX_ID, {} AS OLDEST_READ_VIEW_LSN, 0 AS VISIBILITY_LAG_IN_MSEC",
                    row.lsn
                ),
            );
            if row.is_writer && self.kind != Kind::Cluster {
                continue;
            }
            put_row(
                &mut tables.cluster,
                &format!(
                    "'{id}' AS SERVER_ID, '{session}' AS SESSION_ID, FROM_UNIXTIME({:.6}) AS LAST_UPDATE_TIMESTAMP, \
                     {:.3} AS REPLICA_LAG_IN_MILLISECONDS, 2.5 AS CPU",
                    row.updated,
                    row.lag.as_secs_f64() * 1000.0
                ),
            );
        }
        tables.instances.push(')');
        tables.cluster.push(')');
        tables
    }

    /// The statement with what stands for Aurora's tables and variables on this server.
    fn rewrite(&self, number: usize, sql: &str) -> String {
        let tables = self.shown.lock().unwrap()[number].clone();
        let id = instance_id(number);
        let mut sql = sql.replace(
            "@@aurora_server_id",
            &format!("'{id}' AS `@@aurora_server_id`"),
        );
        if sql.eq_ignore_ascii_case("SHOW VARIABLES LIKE 'aurora_version'") {
            sql = "SELECT 'aurora_version' AS Variable_name, '3.08.0' AS Value".to_owned();
        }
        let mut known = vec![("replica_host_status", &tables.cluster)];
        if self.kind == Kind::Global {
            known.push(("aurora_global_db_status", &tables.regions));
            known.push(("aurora_global_db_instance_status", &tables.instances));
        }
        for (name, rows) in known.into_iter().filter(|(_, rows)| rows.len() > 1) {
            sql = sql.replace(
                &format!("information_schema.{name}"),
                &format!("{rows} AS {name}"),
            );
        }
        sql
    }
}

fn put_row(table: &mut String, row: &str) {
    let word = if table.is_empty() { "(" } else { " UNION ALL " };
    // Writing to a string cannot fail.
    let _ = write!(table, "{word}SELECT {row}");
}

fn instance_id(number: usize) -> String {
    format!("instance-{}", number + 1)
}

/// Lets connections through, until the task is aborted.
async fn serve(state: Arc<State>, number: usize, listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let state = state.clone();
        // What breaks is closed on both sides.
        connections.spawn(async move { drop(pass(&state, number, client).await) });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(state: &State, number: usize, client: TcpStream) -> io::Result<()> {
    let address = state.lab.servers()[number].address();
    let server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::io::copy(&mut from_server, &mut to_client);
    let commands = async {
        let mut header = [0; 4];
        loop {
            from_client.read_exact(&mut header).await?;
            let [low, middle, high, sequence] = header;
            let mut payload = vec![0; u32::from_le_bytes([low, middle, high, 0]) as usize];
            from_client.read_exact(&mut payload).await?;
            if sequence == 0
                && payload.first() == Some(&(Command::Query as u8))
                && let Ok(sql) = std::str::from_utf8(&payload[1..])
                && (sql.contains("aurora") || sql.contains("replica_host_status"))
            {
                let sql = state.rewrite(number, sql);
                payload.truncate(1);
                payload.extend_from_slice(sql.as_bytes());
            }
            let len = u32::try_from(payload.len())
                .unwrap_or_default()
                .to_le_bytes();
            let mut out = vec![len[0], len[1], len[2], sequence];
            out.extend_from_slice(&payload);
            to_server.write_all(&out).await?;
        }
    };
    tokio::select! {
        done = answers => done.map(drop),
        done = commands => done,
    }
}
