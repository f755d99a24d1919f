//! What a benchmark keeps of its runs: when and where it ran, and its figures as tables, the newest
//! in front in RESULTS.md.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// When and where a benchmark ran, and how it was called.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The day, in UTC.
    pub date: String,
    /// The commit that is checked out, with a + if files differ from it.
    pub commit: String,
    /// What to call for the same.
    pub command: String,
    /// Processors and what they are.
    pub machine: String,
}

impl Run {
    /// The run of this process, which is called as `scripts/bench NAME`.
    pub fn new(name: &str) -> Self {
        Self {
            date: output("date", &["-u", "+%F"]),
            commit: commit(),
            command: command_line(name, std::env::var("ISTHMUS_BIN").ok(), std::env::args()),
            machine: machine(),
        }
    }

    /// Puts tables in front of those that the file has.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn record(&self, tables: &str, file: &Path) -> io::Result<()> {
        let old = fs::read_to_string(file).unwrap_or_default();
        let older = old
            .find("\n## ")
            .and_then(|at| old.get(at + 1..))
            .unwrap_or_default();
        let new = format!(
            "{HEAD}\n## {}, commit {}\n\n`{}` on {}\n\n{tables}{}{older}",
            self.date,
            self.commit,
            self.command,
            self.machine,
            if older.is_empty() { "" } else { "\n" },
        );
        fs::write(file, new.trim_end().to_owned() + "\n")
    }
}

const HEAD: &str = "\
# Results

What `scripts/bench side-by-side --record`, `scripts/bench ocean --record` and `scripts/bench price
--record` measured, the newest first.

side-by-side: Ratios are taken within each round, in which the ways take turns, and given as median
(least to most): on a shared machine they say more than the figures themselves. MySQL 9.7, a writer
and a reader, without distance; `direct` and HAProxy go to the reader, or to the writer where
something is written. HAProxy runs in TCP mode with its defaults (one thread for each processor),
Isthmus with its defaults but without encryption towards the servers. Commands that name an
ISTHMUS_BIN measured the build of `scripts/release`, others that of `cargo build --release`.

ocean: Pages of a family album, each on a connection of its own with TLS, with the writer an ocean
away and a reader next door to the application. `direct` and HAProxy go to the writer.

price: Sessions that write a row, read it at once and pause, one proxy for each `on_stale`, all at the
same time; drawn in price.svg. The lag counts from the commit, of which the answer of the writer takes
half a round trip too. `writer` goes to the reader as well where that has the write already.
";

/// The commit that is checked out, with a + if files differ from it.
fn commit() -> String {
    let commit = output("git", &["rev-parse", "--short", "HEAD"]);
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    if changes.is_empty() {
        commit
    } else {
        format!("{commit}+")
    }
}

/// Processors and what they are.
fn machine() -> String {
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

/// The command as people should repeat it: where the JSON went matters to nobody else.
fn command_line(
    name: &str,
    program: Option<String>,
    arguments: impl Iterator<Item = String>,
) -> String {
    let mut line = program.map_or_else(String::new, |path| format!("ISTHMUS_BIN={path} "));
    line.push_str(&format!("scripts/bench {name}"));
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--json" {
            arguments.next();
        } else if !argument.starts_with("--json=") {
            line.push(' ');
            line.push_str(&argument);
        }
    }
    line
}

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
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

/// Writes a table with a title.
pub fn table(
    out: &mut String,
    title: &str,
    head: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) {
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
    fn the_recorded_command_names_no_file() {
        for (arguments, expected) in [
            (
                "bench --seconds 5 --json a.json --record",
                " --seconds 5 --record",
            ),
            ("bench --json=a.json", ""),
            ("bench --peers", " --peers"),
        ] {
            let arguments = arguments.split(' ').map(str::to_owned);
            let line = command_line("side-by-side", None, arguments);
            assert_eq!(line, format!("scripts/bench side-by-side{expected}"));
        }
        let program = Some("target/guided/isthmus".to_owned());
        let line = command_line("ocean", program, std::iter::empty());
        assert_eq!(
            line,
            "ISTHMUS_BIN=target/guided/isthmus scripts/bench ocean"
        );
    }

    #[test]
    fn the_newest_record_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("RESULTS.md");
        let mut run = Run::new("ocean");
        for (commit, table) in [("first", "one table\n"), ("second", "another\n")] {
            run.commit = commit.into();
            run.record(table, &file).unwrap();
        }
        let text = fs::read_to_string(&file).unwrap();
        let parts = [
            "# Results",
            "commit second",
            "another",
            "commit first",
            "one table",
        ];
        let places: Vec<Vec<usize>> = parts
            .iter()
            .map(|part| text.match_indices(part).map(|(at, _)| at).collect())
            .collect();
        assert!(places.iter().all(|places| places.len() == 1), "{text}");
        assert!(places.is_sorted(), "{text}");
    }
}
