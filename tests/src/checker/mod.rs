//! A search for broken promises, in the manner of Jepsen: clients write and read through two
//! proxies while a `nemesis` harms servers, links and proxies; their `history` is judged by code that
//! knows nothing of all that.

mod chance;
mod client;
mod field;
pub mod history;
mod nemesis;

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_lab::Flavor;

use client::{Client, Record, Tally};
use field::Field;
use history::Violation;

pub use chance::Chance;

/// What to search, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server software.
    pub flavor: Flavor,
    /// How long clients work.
    pub time: Duration,
    /// What the choices of clients and nemesis follow from. Time still has its own ways.
    pub seed: u64,
    /// `consistency.source`; `aurora-cluster` for the source `aurora` in a single cluster.
    pub source: String,
    /// Whether the promise is switched off, so that violations must be found.
    pub off: bool,
    /// Whether anything is harmed, besides replication that takes its time.
    pub nemesis: bool,
    /// How many clients.
    pub clients: u32,
    /// How long a proxy is suspended each second time that something is harmed, with its clock set
    /// meanwhile; zero where that happens as other harms do.
    pub suspension: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flavor: Flavor::Mysql,
            time: Duration::from_secs(60),
            seed: 1,
            source: "gtid".into(),
            off: false,
            nemesis: true,
            clients: 24,
            suspension: Duration::ZERO,
        }
    }
}

/// What came of a search.
#[derive(Debug)]
pub struct Report {
    /// SELECTs whose answers were checked: every value of each against all that was promised of it.
    pub reads: u64,
    /// How often the proxy has decided where they go: once for those of a transaction, and for those
    /// of several statements that are sent together.
    pub decisions: u64,
    /// Registers and lengths of lists that they have shown.
    pub values: u64,
    /// Those of the reads that a reader has answered.
    pub from_readers: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Statements that failed.
    pub errors: u64,
    /// What the nemesis did, in order.
    pub deeds: Vec<String>,
    /// What must not be.
    pub violations: Vec<Violation>,
}

impl Report {
    /// The figures in one line.
    pub fn summary(&self) -> String {
        let Self {
            reads,
            decisions,
            values,
            from_readers,
            writes,
            errors,
            deeds,
            violations,
        } = self;
        format!(
            "{reads} reads of {values} values checked, {from_readers} of them from a reader, in {decisions} decisions; \
             {writes} writes; {errors} statements failed; {} deeds of the nemesis; {} violations",
            deeds.len(),
            violations.len()
        )
    }
}

/// Searches.
///
/// # Panics
/// If servers or proxies cannot be started.
pub async fn search(options: &Options) -> Report {
    let field = Arc::new(Field::prepare(options).await);
    let mut chance = Chance::new(options.seed);
    let origin = Instant::now();
    let end = origin + options.time;
    let record = Arc::new(Record::new(origin, options.suspension));
    let clients: Vec<_> = (0..options.clients)
        .map(|number| {
            let client = Client::new(number, field.clone(), record.clone(), chance.fork());
            tokio::spawn(client.work(end))
        })
        .collect();
    let nemesis = tokio::spawn(nemesis::rage(field.clone(), chance, end, options.clone()));
    let mut tally = Tally::default();
    for client in clients {
        tally.add(&client.await.unwrap());
    }
    let deeds = nemesis.await.unwrap();
    Report {
        reads: tally.reads,
        decisions: tally.decisions,
        values: tally.values,
        from_readers: tally.from_readers,
        writes: tally.writes,
        errors: tally.errors,
        deeds,
        violations: Arc::into_inner(record).unwrap().violations(),
    }
}
