//! The figures: as tables for people, and as JSON for programs.

use std::fmt::Write as _;

use isthmus_benches::record::{Run, median, table};
use isthmus_benches::workload::Workload;
use serde::Serialize;

use crate::target::Kind;

/// The most that Isthmus may cost, as a multiple of HAProxy's CPU per GB of a large result.
const STREAMING_GOAL: f64 = 1.1;
/// The most memory, in bytes, while a large result passes.
const STREAMING_MEMORY_GOAL: u64 = 64 << 20;
/// The most memory, in bytes, for a client that does nothing.
const IDLE_GOAL: f64 = 12.0 * 1024.0;
/// The most memory, in bytes, for ten thousand sessions with state of their own.
const SESSIONS_GOAL: u64 = 200_000_000;

/// Everything that a run found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) run: Run,
    pub(crate) workloads: Vec<Slices>,
    pub(crate) streaming: Vec<Streaming>,
    pub(crate) idle: Vec<Idle>,
    pub(crate) sessions: Option<Sessions>,
    /// SELECTs that the writer answered meanwhile: the point selects belong to the reader.
    pub(crate) selects_on_writer: u64,
}

/// One workload through one target with one number of threads: a value for each round.
#[derive(Debug, Serialize)]
pub(crate) struct Slices {
    pub(crate) workload: Workload,
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

/// Idle sessions of Isthmus with prepared statements and variables of their own.
#[derive(Debug, Serialize)]
pub(crate) struct Sessions {
    pub(crate) sessions: usize,
    /// Prepared statements of each.
    pub(crate) statements: usize,
    /// Changed variables of each.
    pub(crate) variables: usize,
    /// The memory of the proxy's process with all of them, in bytes.
    pub(crate) resident: u64,
}

impl Report {
    /// The tables, in Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut out = String::new();
        for workload in Workload::ALL {
            self.write_workload(workload, &mut out);
        }
        self.write_streaming(&mut out);
        self.write_idle(&mut out);
        self.write_sessions(&mut out);
        out
    }

    fn write_workload(&self, workload: Workload, out: &mut String) {
        let slices = || self.workloads.iter().filter(|one| one.workload == workload);
        if slices().next().is_none() {
            return;
        }
        let rows = slices().map(|one| {
            let mut floor = slices()
                .filter(|other| other.target == Kind::Haproxy && other.threads == one.threads);
            vec![
                one.threads.to_string(),
                one.target.name().into(),
                format!("{:.0}", median(&one.queries_per_second)),
                format!("{:.2}", median(&one.average_ms)),
                format!("{:.2}", median(&one.p95_ms)),
                number(&one.cpu_us, 1),
                ratios(
                    &one.cpu_us,
                    floor.next().map(|floor| floor.cpu_us.as_slice()),
                ),
                goal(one.target, &format!("≤ {}", workload.goal())),
            ]
        });
        table(
            out,
            workload.title(),
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
        if workload == Workload::TextPointSelect {
            let _ = writeln!(
                out,
                "SELECTs that the writer answered meanwhile, those of the monitor among them: {}\n",
                self.selects_on_writer
            );
        }
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

    fn write_sessions(&self, out: &mut String) {
        let Some(sessions) = &self.sessions else {
            return;
        };
        let row = vec![
            sessions.sessions.to_string(),
            sessions.statements.to_string(),
            sessions.variables.to_string(),
            format!("{:.1}", mib(sessions.resident)),
            format!(
                "{:.1}",
                sessions.resident as f64 / 1024.0 / sessions.sessions as f64
            ),
            format!("< {:.0} MiB", mib(SESSIONS_GOAL)),
        ];
        table(
            out,
            "Idle sessions of Isthmus with state of their own",
            &[
                "sessions",
                "statements each",
                "variables each",
                "MiB in all",
                "KiB each",
                "goal",
            ],
            std::iter::once(row),
        );
    }
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

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_compare_rounds() {
        assert_eq!(
            ratios(&[11.0, 20.0, 9.0], Some(&[10.0, 10.0, 10.0])),
            "1.10 (0.90 to 2.00)"
        );
        assert_eq!(ratios(&[], Some(&[10.0])), "–");
        assert_eq!(ratios(&[1.0], None), "–");
    }
}
