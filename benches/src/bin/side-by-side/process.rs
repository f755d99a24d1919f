//! What a process has cost so far, as the kernel counts it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The CPU time of each of a process's threads, user and system together, in nanoseconds. The
/// ticks in `/proc/PID/stat` would be too coarse for slices of a few seconds.
#[derive(Debug, Clone)]
pub(crate) struct CpuTime(HashMap<String, u64>);

impl CpuTime {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut threads = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            // A thread that ends meanwhile takes its share with it.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else {
                continue;
            };
            let nanos = text
                .split_whitespace()
                .next()
                .and_then(|field| field.parse().ok());
            threads.insert(
                entry.file_name().to_string_lossy().into_owned(),
                nanos.unwrap_or(0),
            );
        }
        Ok(Self(threads))
    }

    /// What was used since an `earlier` look at the same process.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let used = |(thread, now): (&String, &u64)| {
            now.saturating_sub(earlier.0.get(thread).copied().unwrap_or(0))
        };
        Duration::from_nanos(self.0.iter().map(used).sum())
    }
}

/// The memory that a process has in RAM, in bytes.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    status_field(pid, "VmRSS:")
}

/// The most memory that a process has had in RAM since [`forget_peak`], in bytes.
pub(crate) fn peak(pid: u32) -> io::Result<u64> {
    status_field(pid, "VmHWM:")
}

/// Begins a new measurement of [`peak`].
pub(crate) fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

fn status_field(pid: u32, name: &str) -> io::Result<u64> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = fs::read_to_string(&path)?;
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .map(|kilobytes: u64| kilobytes * 1024)
        .ok_or_else(|| io::Error::other(format!("{} has no {name}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted() {
        let before = CpuTime::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        let mut used = Duration::ZERO;
        while used < Duration::from_millis(5) {
            for i in 0..1_000_000_u64 {
                sum = std::hint::black_box(sum ^ i);
            }
            used = CpuTime::of(std::process::id()).unwrap().since(&before);
        }
    }

    #[test]
    fn memory_is_seen() {
        let pid = std::process::id();
        forget_peak(pid).unwrap();
        let before = peak(pid).unwrap();
        let block = std::hint::black_box(vec![1_u8; 32 << 20]);
        assert!(resident(pid).unwrap() > 32 << 20);
        drop(block);
        assert!(peak(pid).unwrap() >= before + (30 << 20));
    }
}
