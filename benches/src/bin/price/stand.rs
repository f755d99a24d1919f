//! A writer an ocean away, a reader that is as far behind as it is told to be, and a proxy for each
//! way with stale reads.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use isthmus_lab::mysql_async::prelude::Queryable;
use isthmus_lab::mysql_async::{self, Conn};
use isthmus_lab::{APP, Lab, Options, Proxy, configuration};

use crate::{Cost, Failure, WAYS};

/// How far the reader is behind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lag {
    /// So many milliseconds.
    Constant(u64),
    /// Sometimes little and sometimes much.
    Varying,
}

/// A varying lag stays the same for so long.
const SPELL: Duration = Duration::from_millis(1500);
/// What it is then, one after the other.
const SPELLS: [u64; 8] = [20, 120, 800, 120, 20, 120, 20, 800];
/// What the proxies learn of a lag before it is measured.
const WARM_UP: Duration = Duration::from_secs(10);

pub(crate) struct Stand {
    lab: Lab,
    /// In the order of [`WAYS`].
    proxies: Vec<Proxy>,
    sessions: u32,
}

impl Stand {
    pub(crate) async fn start(round_trip: Duration, sessions: u32) -> Result<Self, Failure> {
        let lab = Lab::start(Options {
            round_trip,
            ..Options::default()
        })
        .await?;
        furnish(&lab, sessions).await?;
        let mut proxies = Vec::new();
        for way in WAYS {
            let proxy = Proxy::start(lab.sandbox(), |addresses| {
                let servers = configuration(&lab, addresses);
                format!("{servers}\n[consistency]\non_stale = \"{way}\"\nmax_wait = \"10s\"\n")
            });
            proxies.push(proxy.await?);
        }
        Ok(Self {
            lab,
            proxies,
            sessions,
        })
    }

    pub(crate) fn set_reader_round_trip(&self, round_trip: Duration) {
        self.lab.reader_link().set_round_trip(round_trip);
    }

    /// Lets sessions write and read all ways at once, so that all meet the same lag.
    pub(crate) async fn measure(&self, lag: Lag, time: Duration) -> Result<[Cost; 3], Failure> {
        // A microsecond more leaves it to the link, which is exact.
        let first = match lag {
            Lag::Constant(ms) => ms,
            Lag::Varying => SPELLS[0],
        };
        let exact = |ms| Duration::from_millis(ms) + Duration::from_micros(1);
        self.lab.delay_replication(exact(first)).await?;
        let start = Instant::now();
        let (from, end) = (start + WARM_UP, start + WARM_UP + time);
        let mut ways = Vec::new();
        for (way, proxy) in self.proxies.iter().enumerate() {
            let sessions = (0..self.sessions).map(|number| {
                let id = way as u32 * self.sessions + number;
                tokio::spawn(work(proxy.address(), id, from, end))
            });
            ways.push(sessions.collect::<Vec<_>>());
        }
        if let Lag::Varying = lag {
            for ms in SPELLS.iter().cycle() {
                if Instant::now() > end {
                    break;
                }
                self.lab.delay_replication_links(exact(*ms));
                tokio::time::sleep(SPELL).await;
            }
        }
        let mut costs = [Cost::default(), Cost::default(), Cost::default()];
        for (cost, sessions) in costs.iter_mut().zip(ways) {
            let mut reads = Vec::new();
            for session in sessions {
                reads.extend(session.await?.map_err(|error| error.to_string())?);
            }
            *cost = Cost::of(reads);
        }
        Ok(costs)
    }
}

impl Cost {
    /// Of reads: how long each took, and whether the reader answered.
    fn of(mut reads: Vec<(Duration, bool)>) -> Self {
        reads.sort_unstable();
        let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
        let count = reads.len().max(1) as f64;
        let sum: f64 = reads.iter().map(|(time, _)| ms(time)).sum();
        let local = reads.iter().filter(|(_, is_local)| *is_local).count();
        Self {
            reads: reads.len(),
            mean_ms: sum / count,
            p95_ms: reads
                .get(reads.len() * 95 / 100)
                .map_or(0.0, |(time, _)| ms(time)),
            local: local as f64 / count,
        }
    }
}

/// Writes, reads at once, and pauses, again and again. Returns how long the reads took that began
/// after `from`, and whether the reader answered them.
async fn work(
    proxy: SocketAddr,
    id: u32,
    from: Instant,
    end: Instant,
) -> mysql_async::Result<Vec<(Duration, bool)>> {
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname(proxy.ip().to_string())
        .tcp_port(proxy.port())
        .user(Some(APP.user))
        .pass(Some(APP.password))
        .db_name(Some("app"))
        .prefer_socket(false);
    let mut session = Conn::new(mysql_async::Opts::from(options)).await?;
    let mut reads = Vec::new();
    let mut number = u64::from(id);
    while Instant::now() < end {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        tokio::time::sleep(Duration::from_millis(100 + (number >> 33) % 400)).await;
        let write = format!("UPDATE app.price SET n = n + 1 WHERE id = {id}");
        session.query_drop(write).await?;
        let start = Instant::now();
        let read = format!("SELECT n, server FROM app.price, app.here WHERE id = {id}");
        let row: Option<(u64, String)> = session.query_first(read).await?;
        let is_local = row.is_some_and(|(_, server)| server == "reader");
        if start > from {
            reads.push((start.elapsed(), is_local));
        }
    }
    session.disconnect().await?;
    Ok(reads)
}

/// A row for each session, and a table that says on each server which one it is.
async fn furnish(lab: &Lab, sessions: u32) -> Result<(), Failure> {
    let rows: Vec<String> = (0..sessions * 3).map(|id| format!("({id}, 0)")).collect();
    for statement in [
        "CREATE TABLE app.price (id INT PRIMARY KEY, n BIGINT)".to_owned(),
        format!("INSERT INTO app.price VALUES {}", rows.join(", ")),
        "CREATE TABLE app.here (server VARCHAR(10) PRIMARY KEY)".to_owned(),
    ] {
        lab.writer().execute(statement).await?;
    }
    lab.wait_caught_up().await?;
    let say = |name: &str| format!("SET sql_log_bin = 0; INSERT INTO app.here VALUES ('{name}')");
    lab.writer().execute(say("writer")).await?;
    lab.reader().set_read_only(false).await?;
    lab.reader().execute(say("reader")).await?;
    lab.reader().set_read_only(true).await?;
    Ok(())
}
