//! What it costs to read one's own writes: how long a read takes right after a write, by how far the
//! reader is behind and by what such a read does, and how often the reader answers it.

mod stand;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use isthmus_benches::plot::{Axis, Chart, Line, draw};
use isthmus_benches::record::{Run, table};
use serde::Serialize;

use crate::stand::{Lag, Stand};

type Failure = Box<dyn Error>;

/// Measures reads right after writes, with a writer that is an ocean away, on MySQL 9.7.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench price")]
struct Arguments {
    /// Milliseconds to the writer and back.
    #[arg(long, default_value_t = 150)]
    rtt: u64,
    /// Milliseconds to the reader and back.
    #[arg(long, default_value_t = 0)]
    reader_rtt: u64,
    /// By how many milliseconds the reader is behind, one after the other.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "5,20,50,100,150,200,250,300,500,1000,2000"
    )]
    lags: Vec<u64>,
    /// How long each of them is measured.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Sessions that write and read, for each way.
    #[arg(long, default_value_t = 8)]
    sessions: u32,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Add the table to benches/RESULTS.md and draw benches/price.svg.
    #[arg(long)]
    record: bool,
}

/// The values of `on_stale`.
const WAYS: [&str; 3] = ["writer", "wait", "fastest"];

/// Everything that a run found out.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    run: Run,
    round_trip_ms: u64,
    measured: Vec<Measured>,
}

/// What one lag costs.
#[derive(Debug, Serialize)]
struct Measured {
    /// `None` where it varies.
    lag_ms: Option<u64>,
    /// In the order of [`WAYS`].
    costs: [Cost; 3],
}

/// What reads right after a write cost, going one way.
#[derive(Debug, Clone, Default, Serialize)]
struct Cost {
    reads: usize,
    mean_ms: f64,
    p95_ms: f64,
    /// The share of them that the reader has answered.
    local: f64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let mut report = Report {
        run: Run::new("price"),
        round_trip_ms: arguments.rtt,
        measured: Vec::new(),
    };
    eprintln!("starting MySQL");
    let stand = Stand::start(Duration::from_millis(arguments.rtt), arguments.sessions).await?;
    stand.set_reader_round_trip(Duration::from_millis(arguments.reader_rtt));
    let lags = arguments.lags.iter().map(|lag| Lag::Constant(*lag));
    for lag in lags.chain([Lag::Varying]) {
        eprintln!("{lag:?}");
        let time = Duration::from_secs(arguments.seconds);
        report.measured.push(Measured {
            lag_ms: match lag {
                Lag::Constant(ms) => Some(ms),
                Lag::Varying => None,
            },
            costs: stand.measure(lag, time).await?,
        });
    }
    println!("{}", report.table());
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if arguments.record {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let results = directory.join("RESULTS.md");
        report.run.record(&report.table(), &results)?;
        std::fs::write(directory.join("price.svg"), report.plot())?;
    }
    Ok(())
}

impl Measured {
    /// How much longer `fastest` takes than the better of the other two; less than 1 if it is quicker.
    fn ratio(&self) -> f64 {
        let [writer, wait, fastest] = &self.costs;
        fastest.mean_ms / writer.mean_ms.min(wait.mean_ms)
    }
}

impl Report {
    fn table(&self) -> String {
        let mut out = String::new();
        let rows = self.measured.iter().map(|measured| {
            let mut row = vec![match measured.lag_ms {
                Some(ms) => ms.to_string(),
                None => "20, 120 and 800 in turn".to_owned(),
            }];
            for cost in &measured.costs {
                row.push(format!("{:.0} ({:.0})", cost.mean_ms, cost.p95_ms));
                row.push(format!("{:.0} %", cost.local * 100.0));
            }
            row.push(format!("{:.2}", measured.ratio()));
            row.push(match measured.lag_ms {
                Some(_) => "≤ 1.1".to_owned(),
                None => "< 1".to_owned(),
            });
            row
        });
        let title = format!(
            "A read right after a write, {} ms from the writer: milliseconds on average (95th percentile), \
             and how often the reader answered",
            self.round_trip_ms
        );
        let head = [
            "lag ms",
            "writer",
            "local",
            "wait",
            "local",
            "fastest",
            "local",
            "fastest / better of the others",
            "goal",
        ];
        table(&mut out, &title, &head, rows);
        out
    }

    fn plot(&self) -> String {
        let constant = || {
            let measured = self.measured.iter();
            measured.filter_map(|measured| Some((measured.lag_ms? as f64, &measured.costs)))
        };
        let lines = |value: fn(&Cost) -> f64| {
            let colors = ["#888", "#c60", "#06c"];
            let ways = WAYS.iter().zip(colors).enumerate();
            let lines = ways.map(|(number, (name, color))| Line {
                name: (*name).to_owned(),
                color,
                points: constant()
                    .map(|(lag, costs)| (lag, costs.get(number).map_or(0.0, value)))
                    .collect(),
            });
            lines.collect::<Vec<_>>()
        };
        let x = Axis {
            title: "how far the reader is behind, ms".to_owned(),
            from: 5.0,
            to: 2000.0,
            ticks: vec![5.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0],
            is_logarithmic: true,
        };
        let time = Axis {
            title: "a read right after a write, ms".to_owned(),
            from: 1.0,
            to: 3000.0,
            ticks: vec![1.0, 10.0, 100.0, 1000.0],
            is_logarithmic: true,
        };
        let share = Axis {
            title: "answered by the reader, %".to_owned(),
            from: 0.0,
            to: 100.0,
            ticks: vec![0.0, 25.0, 50.0, 75.0, 100.0],
            is_logarithmic: false,
        };
        draw(&[
            Chart {
                x: x.clone(),
                y: time,
                lines: lines(|cost| cost.mean_ms),
            },
            Chart {
                x,
                y: share,
                lines: lines(|cost| cost.local * 100.0),
            },
        ])
    }
}
