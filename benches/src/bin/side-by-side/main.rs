//! Isthmus beside a direct connection and other proxies, in one run: the ways take turns in short
//! slices, so that whatever else the machine does hits all of them alike.

mod client;
mod process;
mod report;
mod sessions;
mod target;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use isthmus_benches::record::Run;
use isthmus_benches::sysbench::{self, Link};
use isthmus_benches::workload::{Upstream, Workload};
use isthmus_lab::{APP, Lab, Options, SCHEMA, Server};

use crate::client::Client;
use crate::process::CpuTime;
use crate::report::{Idle, Report, Slices, Streaming};
use crate::target::{Kind, Target};

type Failure = Box<dyn Error>;

/// Measures Isthmus beside HAProxy and direct connections to MySQL 9.7.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench side-by-side")]
struct Arguments {
    /// Seconds of each of sysbench's workloads for each way and number of threads, over all rounds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Slices that these seconds are cut into; the ways take turns.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Client threads of the text point selects.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    threads: Vec<u32>,
    /// Client threads of prepared point selects, and of reading and writing.
    #[arg(long, value_delimiter = ',', default_value = "16")]
    other_threads: Vec<u32>,
    /// Only these of sysbench's workloads; all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Workload>,
    /// GB (10⁹ bytes) of 1 KB rows to read through each way in each of three rounds; 0 leaves this
    /// part out.
    #[arg(long, default_value_t = 1.0)]
    gigabytes: f64,
    /// Client connections that do nothing; 0 leaves this part out.
    #[arg(long, default_value_t = 2000)]
    idle: usize,
    /// Sessions of Isthmus that do nothing, but have prepared statements and variables of their
    /// own; 0 leaves this part out.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Isthmus's setting `workers`.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Measure MySQL Router too.
    #[arg(long)]
    peers: bool,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Add the tables to benches/RESULTS.md.
    #[arg(long)]
    record: bool,
}

const STREAMING_ROUNDS: u32 = 3;
/// Rows of the table behind the large result, and bytes of each on the wire, its header included.
const STREAM_ROWS: u32 = 20_000;
const STREAM_ROW_LEN: u32 = 1_028;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let mut report = Report {
        run: Run::new("side-by-side"),
        workloads: Vec::new(),
        streaming: Vec::new(),
        idle: Vec::new(),
        sessions: None,
        selects_on_writer: 0,
    };
    let mut kinds = vec![Kind::Direct, Kind::Haproxy, Kind::Isthmus];
    if arguments.peers {
        kinds.push(Kind::Router);
    }

    eprintln!("starting MySQL");
    let lab = Lab::start(Options {
        arguments: vec![
            format!("--max-connections={}", arguments.idle * 2 + 500),
            "--innodb-buffer-pool-size=256M".into(),
        ],
        ..Options::default()
    })
    .await?;
    sysbench::prepare(lab.writer().address())?;
    prepare_stream(&lab).await?;
    lab.wait_caught_up().await?;
    let start = async |kind, upstream| Target::start(&lab, kind, upstream, arguments.workers).await;
    for upstream in [Upstream::Reader, Upstream::Writer] {
        let mut targets = Vec::new();
        for kind in &kinds {
            targets.push(start(*kind, upstream).await?);
        }
        let workloads = Workload::ALL.into_iter().filter(|workload| {
            let is_asked = arguments.only.is_empty() || arguments.only.contains(workload);
            is_asked && workload.upstream() == upstream
        });
        for workload in workloads {
            let selects = selects(lab.writer()).await?;
            let slices = slices(&targets, workload, &arguments)?;
            report.workloads.extend(slices);
            if workload == Workload::TextPointSelect {
                report.selects_on_writer = selects_since(lab.writer(), selects).await?;
            }
        }
        if upstream == Upstream::Reader && arguments.gigabytes > 0.0 {
            report.streaming = streaming(&targets, arguments.gigabytes)?;
        }
    }
    // Fresh processes: memory that others have used and left behind would hide the difference.
    if arguments.idle > 0 {
        for kind in kinds.into_iter().filter(|kind| *kind != Kind::Direct) {
            let target = start(kind, Upstream::Reader).await?;
            report.idle.extend(idle(&target, arguments.idle)?);
        }
    }
    if arguments.sessions > 0 {
        let target = start(Kind::Isthmus, Upstream::Reader).await?;
        report.sessions = sessions::measure(&target, arguments.sessions)?;
    }

    println!("{}", report.tables().trim_end());
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if arguments.record {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
        report.run.record(&report.tables(), &file)?;
    }
    Ok(())
}

/// The slices of all targets with one workload.
fn slices(
    targets: &[Target],
    workload: Workload,
    arguments: &Arguments,
) -> Result<Vec<Slices>, Failure> {
    let threads = match workload {
        Workload::TextPointSelect => &arguments.threads,
        _ => &arguments.other_threads,
    };
    let mut all = Vec::new();
    for threads in threads {
        all.extend(slices_at(targets, workload, *threads, arguments)?);
    }
    Ok(all)
}

/// The slices of all targets with one workload at one number of threads.
fn slices_at(
    targets: &[Target],
    workload: Workload,
    threads: u32,
    arguments: &Arguments,
) -> Result<Vec<Slices>, Failure> {
    let mut all: Vec<Slices> = targets
        .iter()
        .map(|target| Slices {
            workload,
            target: target.kind,
            threads,
            queries_per_second: Vec::new(),
            average_ms: Vec::new(),
            p95_ms: Vec::new(),
            cpu_us: Vec::new(),
        })
        .collect();
    let slice =
        Duration::from_secs((arguments.seconds / u64::from(arguments.rounds.max(1))).max(1));
    for round in 0..arguments.rounds {
        eprintln!(
            "{}, {threads} threads, round {}",
            workload.title(),
            round + 1
        );
        for (target, results) in in_turn(round, targets.iter().zip(&mut all)) {
            let before = target.pid.map(CpuTime::of).transpose()?;
            let outcome = sysbench::slice(target.address, &Link::Plain, workload, threads, slice)?;
            results.queries_per_second.push(outcome.queries_per_second);
            results.average_ms.push(outcome.average_ms);
            results.p95_ms.push(outcome.p95_ms);
            if let (Some(pid), Some(before)) = (target.pid, before) {
                let used = CpuTime::of(pid)?.since(&before);
                results
                    .cpu_us
                    .push(used.as_secs_f64() * 1e6 / outcome.queries as f64);
            }
        }
    }
    Ok(all)
}

/// All of them, another one first in each round.
fn in_turn<T>(round: u32, items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    let first = round as usize % items.len().max(1);
    items.rotate_left(first);
    items
}

async fn prepare_stream(lab: &Lab) -> Result<(), Failure> {
    let filler = STREAM_ROW_LEN - 4 - 3;
    lab.writer()
        .execute(format!(
            "SET SESSION cte_max_recursion_depth = 1000000;\
             CREATE TABLE {SCHEMA}.copies (n INT PRIMARY KEY);\
             INSERT INTO {SCHEMA}.copies WITH RECURSIVE s (n) AS \
             (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000) SELECT n FROM s;\
             CREATE TABLE {SCHEMA}.stream (id INT PRIMARY KEY, filler VARCHAR(2000)) CHARSET ascii;\
             INSERT INTO {SCHEMA}.stream SELECT n, REPEAT('x', {filler}) FROM {SCHEMA}.copies \
             WHERE n <= {STREAM_ROWS}"
        ))
        .await?;
    Ok(())
}

/// One result of so many GB, through one way after the other.
fn streaming(targets: &[Target], gigabytes: f64) -> Result<Vec<Streaming>, Failure> {
    let one_copy = f64::from(STREAM_ROWS) * f64::from(STREAM_ROW_LEN);
    let copies = (gigabytes * 1e9 / one_copy).ceil();
    let sql = format!(
        "SELECT filler FROM stream CROSS JOIN (SELECT n FROM copies WHERE n <= {copies}) AS c"
    );
    let mut all: Vec<Streaming> = targets
        .iter()
        .map(|target| Streaming {
            target: target.kind,
            gb_per_second: Vec::new(),
            cpu_s_per_gb: Vec::new(),
            peak: None,
        })
        .collect();
    for round in 0..STREAMING_ROUNDS {
        eprintln!("large results, round {}", round + 1);
        for (target, results) in in_turn(round, targets.iter().zip(&mut all)) {
            let mut client = Client::connect(target.address, APP)?;
            if let (Some(pid), None) = (target.pid, results.peak) {
                process::forget_peak(pid)?;
            }
            let before = target.pid.map(CpuTime::of).transpose()?;
            let start = Instant::now();
            let gigabytes = client.query(&sql)? as f64 / 1e9;
            results
                .gb_per_second
                .push(gigabytes / start.elapsed().as_secs_f64());
            if let (Some(pid), Some(before)) = (target.pid, before) {
                let used = CpuTime::of(pid)?.since(&before);
                results.cpu_s_per_gb.push(used.as_secs_f64() / gigabytes);
                results.peak = Some(process::peak(pid)?.max(results.peak.unwrap_or(0)));
            }
        }
    }
    Ok(all)
}

/// Opens connections that do nothing, and looks at the proxy's memory.
fn idle(target: &Target, connections: usize) -> Result<Option<Idle>, Failure> {
    /// What a process makes once, it has made after these.
    const FIRST: usize = 100;

    let Some(pid) = target.pid else {
        return Ok(None);
    };
    eprintln!(
        "{connections} idle connections through {}",
        target.kind.name()
    );
    let mut open = Vec::with_capacity(FIRST + connections);
    for _ in 0..FIRST {
        open.push(Client::connect(target.address, APP)?);
    }
    let before = process::resident(pid)?;
    for _ in 0..connections {
        open.push(Client::connect(target.address, APP)?);
    }
    let after = process::resident(pid)?;
    Ok(Some(Idle {
        target: target.kind,
        connections,
        bytes: after.saturating_sub(before) as f64 / connections as f64,
    }))
}

async fn selects(server: &Server) -> Result<u64, Failure> {
    let rows: Vec<(String, String)> = server.query("SHOW GLOBAL STATUS LIKE 'Com_select'").await?;
    let value = rows.first().and_then(|(_, value)| value.parse().ok());
    value.ok_or_else(|| "the server does not say how many SELECTs it has answered".into())
}

async fn selects_since(server: &Server, before: u64) -> Result<u64, Failure> {
    Ok(selects(server).await? - before)
}
