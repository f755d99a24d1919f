//! The figures: as a table for people, as JSON for programs, and kept in RESULTS.md.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::target::Kind;

/// The most that Isthmus may cost, as a multiple of HAProxy's CPU per query.
const POINT_SELECT_GOAL: f64 = 1.15;
/// The same for the CPU per GB of a large result.
const STREAMING_GOAL: f64 = 1.1;
/// The most memory, in bytes, while a large result passes.
const STREAMING_MEMORY_GOAL: u64 = 64 << 20;
/// The most memory, in bytes, for a client that does nothing.
const IDLE_GOAL: f64 = 12.0 * 1024.0;

/// Everything that a run found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) point_selects: Vec<PointSelects>,
    pub(crate) streaming: Vec<Streaming>,
    pub(crate) idle: Vec<Idle>,
    /// SELECTs that the writer answered meanwhile: the point selects belong to the reader.
    pub(crate) selects_on_writer: u64,
}

/// One target at one number of threads: a value for each round.
#[derive(Debug, Serialize)]
pub(crate) struct PointSelects {
    pub(crate) target: Kind,
    pub(crate) threads: u32,
    pub(crate) queries_per_second: Vec<f64>,
    pub(crate) average_ms: Vec<f64>,
    pub(crate) p95_ms: Vec<f64>,
    /// CPU time of the proxy per query, in microseconds; empty without a proxy.
    pub(crate) cpu_us: Vec<f64>,
}

/// A large result through one target.
#[derive(Debug, Serialize)]
pub(crate) struct Streaming {
    pub(crate) target: Kind,
    /// GB (10⁹ bytes) per second, for each round.
    pub(crate) gb_per_second: Vec<f64>,
    /// CPU time of the proxy in seconds per GB, for each round; empty without a proxy.
    pub(crate) cpu_s_per_gb: Vec<f64>,
    /// The most memory that the proxy had meanwhile, in bytes.
    pub(crate) peak: Option<u64>,
}

/// Clients that do nothing.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) target: Kind,
    pub(crate) connections: usize,
    /// Bytes of the proxy's memory for each.
    pub(crate) bytes: f64,
}

impl Report {
    /// The tables, in Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut out = String::new();
        self.write_point_selects(&mut out);
        self.write_streaming(&mut out);
        self.write_idle(&mut out);
        out
    }

    fn write_point_selects(&self, out: &mut String) {
        if self.point_selects.is_empty() {
            return;
        }
        let rows = self.point_selects.iter().map(|one| {
            let floor = self
                .point_selects
                .iter()
                .find(|other| other.target == Kind::Haproxy && other.threads == one.threads);
            vec![
                one.threads.to_string(),
                one.target.name().into(),
                format!("{:.0}", median(&one.queries_per_second)),
                format!("{:.2}", median(&one.average_ms)),
                format!("{:.2}", median(&one.p95_ms)),
                number(&one.cpu_us, 1),
                ratios(&one.cpu_us, floor.map(|floor| floor.cpu_us.as_slice())),
                goal(one.target, &format!("≤ {POINT_SELECT_GOAL}")),
            ]
        });
        table(
            out,
            "Text point selects",
            &[
                "threads",
                "way",
                "queries/s",
                "average ms",
                "p95 ms",
                "CPU µs/query",
                "× HAProxy",
                "goal",
            ],
            rows,
        );
        let _ = writeln!(
            out,
            "SELECTs that the writer answered meanwhile, those of the monitor among them: {}\n",
            self.selects_on_writer
        );
    }

    fn write_streaming(&self, out: &mut String) {
        if self.streaming.is_empty() {
            return;
        }
        let floor = self
            .streaming
            .iter()
            .find(|other| other.target == Kind::Haproxy);
        let rows = self.streaming.iter().map(|one| {
            vec![
                one.target.name().into(),
                format!("{:.2}", median(&one.gb_per_second)),
                number(&one.cpu_s_per_gb, 3),
                ratios(
                    &one.cpu_s_per_gb,
                    floor.map(|floor| floor.cpu_s_per_gb.as_slice()),
                ),
                one.peak
                    .map_or("–".into(), |peak| format!("{:.1}", mib(peak))),
                goal(
                    one.target,
                    &format!("≤ {STREAMING_GOAL}, < {} MiB", STREAMING_MEMORY_GOAL >> 20),
                ),
            ]
        });
        table(
            out,
            "A large result of 1 KB rows",
            &["way", "GB/s", "CPU s/GB", "× HAProxy", "peak MiB", "goal"],
            rows,
        );
    }

    fn write_idle(&self, out: &mut String) {
        if self.idle.is_empty() {
            return;
        }
        let rows = self.idle.iter().map(|one| {
            vec![
                one.target.name().into(),
                one.connections.to_string(),
                format!("{:.1}", one.bytes / 1024.0),
                goal(one.target, &format!("< {}", IDLE_GOAL / 1024.0)),
            ]
        });
        table(
            out,
            "Idle client connections",
            &["way", "connections", "KiB each", "goal"],
            rows,
        );
    }

    /// Puts the tables in front of those that the file has.
    pub(crate) fn record(&self, file: &Path) -> io::Result<()> {
        let old = fs::read_to_string(file).unwrap_or_default();
        let older = old
            .find("\n## ")
            .and_then(|at| old.get(at + 1..))
            .unwrap_or_default();
        let new = format!(
            "{HEAD}\n## {}, commit {}\n\n`{}` on {}\n\n{}{}{older}",
            self.date,
            self.commit,
            self.command,
            self.machine,
            self.tables(),
            if older.is_empty() { "" } else { "\n" },
        );
        fs::write(file, new.trim_end().to_owned() + "\n")
    }
}

const HEAD: &str = "\
# Results

What `scripts/bench side-by-side --record` measured, the newest first. Ratios are taken within each
round, in which the ways take turns, and given as median (least to most): on a shared machine they
say more than the figures themselves. MySQL 9.7, a writer and a reader, without distance;
`direct` goes to the reader. HAProxy runs in TCP mode with its defaults (one thread for each
processor), Isthmus with its defaults but without encryption towards the servers.
";

/// Today, in UTC.
pub(crate) fn date() -> String {
    output("date", &["-u", "+%F"])
}

/// The commit that is checked out, with a + if files differ from it.
pub(crate) fn commit() -> String {
    let commit = output("git", &["rev-parse", "--short", "HEAD"]);
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    if changes.is_empty() {
        commit
    } else {
        format!("{commit}+")
    }
}

/// Processors and what they are.
pub(crate) fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{processors} processors ({}), shared by clients, proxies and servers; load {} before",
        model.map_or("unknown", |(_, name)| name.trim()),
        load.split_whitespace().next().unwrap_or("unknown")
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn goal(kind: Kind, goal: &str) -> String {
    if kind == Kind::Isthmus {
        goal.into()
    } else {
        String::new()
    }
}

fn number(values: &[f64], digits: usize) -> String {
    if values.is_empty() {
        "–".into()
    } else {
        format!("{:.digits$}", median(values))
    }
}

/// Each round's value by the floor's of the same round.
fn ratios(values: &[f64], floor: Option<&[f64]>) -> String {
    let mut ratios: Vec<f64> = values
        .iter()
        .zip(floor.unwrap_or_default())
        .map(|(value, floor)| value / floor)
        .collect();
    ratios.sort_by(f64::total_cmp);
    match (ratios.first(), ratios.last()) {
        (Some(least), Some(most)) => {
            format!("{:.2} ({least:.2} to {most:.2})", median(&ratios))
        }
        _ => "–".into(),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        (at(middle.wrapping_sub(1)) + at(middle)) / 2.0
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn table(out: &mut String, title: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut lines = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    lines.extend(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    lines.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect());
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{title}\n");
    for line in lines {
        out.push('|');
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(out, " {cell:<width$} |");
        }
        out.push('\n');
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [
            (vec![3.0], 3.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 3.0, 2.0], 2.5),
        ] {
            assert_eq!(median(&values), expected, "{values:?}");
        }
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn ratios_compare_rounds() {
        assert_eq!(
            ratios(&[11.0, 20.0, 9.0], Some(&[10.0, 10.0, 10.0])),
            "1.10 (0.90 to 2.00)"
        );
        assert_eq!(ratios(&[], Some(&[10.0])), "–");
        assert_eq!(ratios(&[1.0], None), "–");
    }

    #[test]
    fn the_newest_record_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("RESULTS.md");
        let mut report = Report {
            date: "2026-01-01".into(),
            commit: "first".into(),
            command: "bench".into(),
            machine: "a machine".into(),
            point_selects: Vec::new(),
            streaming: Vec::new(),
            idle: vec![Idle {
                target: Kind::Isthmus,
                connections: 10,
                bytes: 2048.0,
            }],
            selects_on_writer: 0,
        };
        report.record(&file).unwrap();
        report.commit = "second".into();
        report.record(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let places: Vec<_> = ["# Results", "commit second", "commit first"]
            .iter()
            .map(|part| {
                text.match_indices(part)
                    .map(|(at, _)| at)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(places.iter().all(|places| places.len() == 1), "{text}");
        assert!(places.is_sorted(), "{text}");
        assert!(
            text.contains("| Isthmus | 10          | 2.0      | < 12 |"),
            "{text}"
        );
    }
}
