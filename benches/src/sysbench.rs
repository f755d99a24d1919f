//! One slice of load by sysbench.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use isthmus_lab::{APP, SCHEMA};

use crate::workload::Workload;

/// Rows of the table.
pub const ROWS: u32 = 10_000;

/// How sysbench connects.
#[derive(Debug, Clone)]
pub enum Link {
    /// With nothing around the packets.
    Plain,
    /// With TLS.
    Encrypted {
        /// The directory with `cacert.pem`, `client-cert.pem` and `client-key.pem`.
        certificates: PathBuf,
    },
    /// With zlib.
    Compressed,
}

impl Link {
    /// What it is called in messages.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Encrypted { .. } => "encrypted",
            Self::Compressed => "compressed",
        }
    }
}

/// What sysbench says about a slice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Statements that were answered.
    pub queries: u64,
    /// The same in a second.
    pub queries_per_second: f64,
    /// The average time of a transaction, in milliseconds.
    pub average_ms: f64,
    /// The time that 95 of 100 transactions stay below, in milliseconds.
    pub p95_ms: f64,
}

/// Makes the table.
///
/// # Errors
/// If sysbench is not there or fails.
pub fn prepare(writer: SocketAddr) -> io::Result<()> {
    run(
        writer,
        &Link::Plain,
        Workload::TextPointSelect,
        &["--threads=1"],
        "prepare",
    )
    .map(drop)
}

/// Runs the workload for so long, in whole seconds.
///
/// # Errors
/// If sysbench is not there, fails, or says something else than expected.
pub fn slice(
    address: SocketAddr,
    link: &Link,
    workload: Workload,
    threads: u32,
    length: Duration,
) -> io::Result<Outcome> {
    let time = format!("--time={}", length.as_secs().max(1));
    let threads = format!("--threads={threads}");
    let text = run(address, link, workload, &[&time, &threads], "run")?;
    outcome(&text).ok_or_else(|| io::Error::other(format!("sysbench printed no figures:\n{text}")))
}

fn run(
    address: SocketAddr,
    link: &Link,
    workload: Workload,
    more: &[&str],
    action: &str,
) -> io::Result<String> {
    let (directory, option) = match link {
        Link::Plain => (Path::new("."), "--mysql-ssl=off"),
        Link::Encrypted { certificates } => (certificates.as_path(), "--mysql-ssl=on"),
        Link::Compressed => (Path::new("."), "--mysql-compression=on"),
    };
    let output = Command::new("sysbench")
        .current_dir(directory)
        .args(workload.arguments())
        .arg(option)
        .args(["--db-driver=mysql", "--events=0", "--tables=1"])
        // Those that it ignores by default, and duplicate keys: without a transaction two threads
        // may both delete a row and put it back.
        .arg("--mysql-ignore-errors=1020,1062,1205,1213")
        .arg(format!("--table-size={ROWS}"))
        .arg(format!("--mysql-host={}", address.ip()))
        .arg(format!("--mysql-port={}", address.port()))
        .arg(format!("--mysql-user={}", APP.user))
        .arg(format!("--mysql-password={}", APP.password))
        .arg(format!("--mysql-db={SCHEMA}"))
        .args(more)
        .arg(action)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot run sysbench (scripts/setup bench installs it): {error}"),
            )
        })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "sysbench at {address} failed:\n{text}"
        )));
    }
    Ok(text)
}

fn outcome(text: &str) -> Option<Outcome> {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name)?.split_whitespace().next())
    };
    let rate = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("queries:")?.split_once('('));
    Some(Outcome {
        queries: value("queries:")?.parse().ok()?,
        queries_per_second: rate?.1.split_whitespace().next()?.parse().ok()?,
        average_ms: value("avg:")?.parse().ok()?,
        p95_ms: value("95th percentile:")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let text = "
SQL statistics:
    queries performed:
        read:                            15660
        total:                           15660
    transactions:                        15660  (3913.96 per sec.)
    queries:                             15660  (3914.96 per sec.)
    ignored errors:                      0      (0.00 per sec.)

Latency (ms):
         min:                                    0.10
         avg:                                    0.25
         max:                                   12.62
         95th percentile:                        0.60
         sum:                                 3988.35
";
        let expected = Outcome {
            queries: 15_660,
            queries_per_second: 3914.96,
            average_ms: 0.25,
            p95_ms: 0.6,
        };
        assert_eq!(outcome(text), Some(expected));
        assert_eq!(outcome("FATAL: unable to connect"), None);
    }
}
