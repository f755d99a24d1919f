//! How long a page of a family album takes whose writer is an ocean away: directly, through HAProxy
//! and through Isthmus.

mod page;
mod way;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use isthmus_benches::plot::{Axis, Chart, Line, draw};
use isthmus_benches::record::{Run, median, table};
use isthmus_lab::{Lab, Options};
use serde::Serialize;

use crate::page::Page;
use crate::way::Way;

type Failure = Box<dyn Error>;

/// Measures pages of a family album whose writer is an ocean away, on MySQL 9.7.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench ocean")]
struct Arguments {
    /// Milliseconds to the writer and back.
    #[arg(long, value_delimiter = ',', default_value = "0,75,150,220")]
    rtt: Vec<u64>,
    /// How often each page is opened each way.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Add the table to benches/RESULTS.md and draw benches/ocean.svg.
    #[arg(long)]
    record: bool,
}

/// Everything that a run found out.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    run: Run,
    pages: Vec<Times>,
}

/// One page, opened one way at one distance.
#[derive(Debug, Serialize)]
struct Times {
    page: Page,
    way: Way,
    round_trip_ms: u64,
    /// How long it took each time, connecting among it.
    seconds: Vec<f64>,
}

/// At this distance, in milliseconds, the goals are set.
const GOAL_DISTANCE: u64 = 150;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let mut report = Report {
        run: Run::new("ocean"),
        pages: Vec::new(),
    };
    eprintln!("starting MySQL");
    let lab = Lab::start(Options::default()).await?;
    page::furnish(&lab).await?;
    for round_trip in &arguments.rtt {
        report
            .pages
            .extend(at_distance(&lab, *round_trip, arguments.rounds).await?);
    }
    println!("{}", report.table());
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if arguments.record {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        report
            .run
            .record(&report.table(), &directory.join("RESULTS.md"))?;
        std::fs::write(directory.join("ocean.svg"), report.plot())?;
    }
    Ok(())
}

async fn at_distance(lab: &Lab, round_trip: u64, rounds: u32) -> Result<Vec<Times>, Failure> {
    let distance = Duration::from_millis(round_trip);
    lab.writer_link().set_round_trip(distance);
    // What is written has to get to the reader over the same ocean.
    lab.delay_replication(distance / 2).await?;
    let mut times = Vec::new();
    for way in Way::ALL {
        let path = way::open(lab, way).await?;
        for page in Page::ALL {
            eprintln!("{round_trip} ms, {}, {}", way.name(), page.name());
            let mut seconds = Vec::new();
            for _ in 0..rounds {
                seconds.push(page.open(path.address()).await?.as_secs_f64());
            }
            times.push(Times {
                page,
                way,
                round_trip_ms: round_trip,
                seconds,
            });
        }
    }
    Ok(times)
}

impl Report {
    fn table(&self) -> String {
        let mut out = String::new();
        for page in Page::ALL {
            let times = self.pages.iter().filter(|times| times.page == page);
            let rows = times.map(|times| {
                let seconds = median(&times.seconds);
                let direct = self.seconds(page, Way::Direct, times.round_trip_ms);
                let is_goal = times.way == Way::Isthmus && times.round_trip_ms == GOAL_DISTANCE;
                vec![
                    times.round_trip_ms.to_string(),
                    times.way.name().to_owned(),
                    format!("{:.0}", seconds * 1000.0),
                    format!("{:.1}", direct / seconds),
                    if is_goal {
                        format!("≥ {}", page.goal())
                    } else {
                        String::new()
                    },
                ]
            });
            table(
                &mut out,
                page.title(),
                &["R in ms", "way", "ms", "times as fast as direct", "goal"],
                rows,
            );
        }
        out
    }

    /// A chart for each page: how long it takes, by the distance.
    fn plot(&self) -> String {
        let distances = self.pages.iter().map(|times| times.round_trip_ms as f64);
        let mut distances: Vec<f64> = distances.collect();
        distances.sort_by(f64::total_cmp);
        distances.dedup();
        let farthest = distances.last().copied().unwrap_or_default().max(1.0);
        let charts = Page::ALL.map(|page| Chart {
            x: Axis {
                title: "to the writer and back, ms".to_owned(),
                from: 0.0,
                to: farthest,
                ticks: distances.clone(),
                is_logarithmic: false,
            },
            y: Axis {
                title: format!("{}, ms", page.short_title()),
                from: 1.0,
                to: 100_000.0,
                ticks: vec![1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0],
                is_logarithmic: true,
            },
            lines: Way::ALL.map(|way| self.line(page, way)).into(),
        });
        draw(&charts)
    }

    fn line(&self, page: Page, way: Way) -> Line {
        let times = self.pages.iter();
        let times = times.filter(|times| (times.page, times.way) == (page, way));
        let point = |times: &Times| {
            let ms = median(&times.seconds) * 1000.0;
            (times.round_trip_ms as f64, ms)
        };
        Line {
            name: way.name().to_owned(),
            color: way.color(),
            points: times.map(point).collect(),
        }
    }

    fn seconds(&self, page: Page, way: Way, round_trip_ms: u64) -> f64 {
        let found = self.pages.iter().find(|times| {
            (times.page, times.way, times.round_trip_ms) == (page, way, round_trip_ms)
        });
        found.map_or(f64::NAN, |times| median(&times.seconds))
    }
}
