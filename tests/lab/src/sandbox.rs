use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};

use crate::error::{Error, FileContext as _, Result};

/// A signal for a [`Process`].
pub use rustix::process::Signal;

/// Set it to keep the directory with its logs for a look.
const KEEP: &str = "ISTHMUS_LAB_KEEP";

/// Waits for the end of its standard input, which comes when the program that
/// started it drops the sandbox, or dies in whatever way. Then ends all processes
/// of the sandbox and removes the directory.
///
/// A process is one that has registered itself in `pids` (see [`REGISTER`]).
/// Renaming that directory first means that none can be added afterwards. A number
/// that belongs to some other process by now is told by its command line, which
/// does not have the directory's name in it.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
directory=$0
read -r _
mv "$directory/pids" "$directory/ended" 2>/dev/null
for file in "$directory"/ended/*; do
    pid=${file##*/}
    if grep -qaF "$directory" "/proc/$pid/cmdline" 2>/dev/null; then
        kill -KILL "$pid" 2>/dev/null
    fi
done
[ -z "$1" ] || exit 0
tries=200
while ! rm -rf "$directory" 2>/dev/null && [ $tries -gt 0 ]; do
    tries=$((tries - 1))
    sleep 0.05
done
"#;

/// Registers itself, then becomes the program. There is no moment in which the
/// program runs and the watchdog does not know it.
const REGISTER: &str = r#": >"$0/$$" && exec "$@""#;

/// A temporary directory and the processes that work in it. When the last handle
/// is dropped, and also when the program that holds it is killed, the processes
/// are killed and the directory is removed. With the environment variable
/// `ISTHMUS_LAB_KEEP` set the directory stays.
#[derive(Debug)]
pub struct Sandbox {
    directory: PathBuf,
    watchdog: Child,
    lifeline: Option<ChildStdin>,
}

impl Sandbox {
    /// Makes the directory, in the system's place for temporary files.
    pub fn new() -> Result<Arc<Self>> {
        let parent = std::env::temp_dir();
        let directory = tempfile::Builder::new()
            .prefix("isthmus-lab-")
            .tempdir_in(&parent)
            .doing("make a directory in", &parent)?;
        let pids = directory.path().join("pids");
        fs::create_dir(&pids).doing("make", &pids)?;

        let keep = std::env::var_os(KEEP).unwrap_or_default();
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG])
            .arg(directory.path())
            .arg(keep)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not of the terminal's group: Ctrl-C must not reach it.
            .process_group(0)
            .spawn()
            .map_err(|source| cannot_run("sh", &source))?;
        let lifeline = watchdog.stdin.take();
        Ok(Arc::new(Self {
            // From here on the watchdog removes it.
            directory: directory.keep(),
            watchdog,
            lifeline,
        }))
    }

    /// The directory, which is empty at first but for what the sandbox needs itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // If it cannot be waited for, it does its work all the same.
        let _ = self.watchdog.wait();
    }
}

/// A running program of a sandbox; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
    pid: u32,
    sandbox: Arc<Sandbox>,
}

impl Process {
    /// Starts the program. What it prints is added to the log file. One of the
    /// arguments must contain the path of the sandbox's directory, by which the
    /// process is recognised.
    pub fn spawn<A: AsRef<OsStr>>(
        sandbox: &Arc<Sandbox>,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .doing("open", log)?;
        let errors = output.try_clone().doing("open", log)?;
        let child = Command::new("sh")
            .args(["-c", REGISTER])
            .arg(sandbox.directory.join("pids"))
            .arg(program)
            .args(arguments)
            .current_dir(&sandbox.directory)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| cannot_run(name, &source))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            pid: child.id(),
            child: Mutex::new(child),
            sandbox: Arc::clone(sandbox),
        })
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Sends a signal. One that has ended is left alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.child();
        if self.reap(&mut child).is_some() {
            return Err(Error::NotRunning {
                process: self.name.clone(),
            });
        }
        let pid = Pid::from_child(&child);
        kill_process(pid, signal).map_err(|source| cannot_run(&self.name, &source.into()))
    }

    /// Stops it by SIGSTOP, and returns when all of its threads have stopped, which
    /// they do one by one. SIGCONT lets it go on.
    pub async fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let limit = Duration::from_secs(10);
        let deadline = Instant::now() + limit;
        while !all_threads_stopped(self.pid) {
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("that {} stops", self.name),
                    after: limit,
                    detail: String::new(),
                });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.reap(&mut self.child())
    }

    /// Waits until it has ended by itself or by a signal.
    pub async fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout {
                    what: format!("the end of {}", self.name),
                    after: limit,
                    detail: String::new(),
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it at once and waits for the end.
    pub fn kill(&self) {
        let mut child = self.child();
        if self.reap(&mut child).is_none() {
            // It may have ended this moment, which is as good.
            let _ = child.kill();
            let _ = child.wait();
            self.forget();
        }
    }

    fn reap(&self, child: &mut Child) -> Option<ExitStatus> {
        let status = child.try_wait().ok().flatten()?;
        self.forget();
        Some(status)
    }

    /// The number may belong to another process from now on.
    fn forget(&self) {
        let _ = fs::remove_file(
            self.sandbox
                .directory
                .join("pids")
                .join(self.pid.to_string()),
        );
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether the state in `/proc/PID/task/TID/stat`, which follows the name in
/// parentheses, is T for each thread.
fn all_threads_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

fn cannot_run(program: &str, source: &io::Error) -> Error {
    Error::Program {
        program: program.to_owned(),
        reason: source.to_string(),
    }
}
