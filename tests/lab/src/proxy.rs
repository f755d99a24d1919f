use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accounts::{APP, MONITOR};
use crate::error::{Error, FileContext as _, Result};
use crate::lab::Lab;
use crate::ports;
use crate::sandbox::{Process, Sandbox, Signal};

/// How long a proxy may take to start, or to end.
const LIMIT: Duration = Duration::from_secs(20);

/// The addresses that a proxy gets, which are free just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyAddresses {
    /// For the clients.
    pub listen: SocketAddr,
    /// For the admin interface.
    pub admin: SocketAddr,
}

/// The least configuration of a proxy that runs in the region of a lab's readers and reaches the
/// servers through its links. The endpoints are called `tokyo` (the writer) and `virginia`,
/// `virginia-2` … (the readers). More tables can be added behind it.
pub fn configuration(lab: &Lab, addresses: ProxyAddresses) -> String {
    let mut config = format!(
        r#"region = "virginia"

[listen]
addresses = ["{listen}"]

[admin]
address = "{admin}"

[[users]]
name = "{user}"
password = "{password}"

[monitor]
user = "{monitor}"
password = "{monitor_password}"

[[endpoints]]
name = "tokyo"
address = "{writer}"
region = "tokyo"
role = "writer"
"#,
        listen = addresses.listen,
        admin = addresses.admin,
        user = APP.user,
        password = APP.password,
        monitor = MONITOR.user,
        monitor_password = MONITOR.password,
        writer = lab.writer_link().address(),
    );
    for (number, link) in (1..).zip(lab.reader_links()) {
        let name = match number {
            1 => "virginia".to_owned(),
            number => format!("virginia-{number}"),
        };
        config += &format!(
            r#"
[[endpoints]]
name = "{name}"
address = "{address}"
region = "virginia"
role = "reader"
"#,
            address = link.address()
        );
    }
    config
}

/// A running `isthmus`; killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    addresses: ProxyAddresses,
    config: PathBuf,
    process: Process,
}

impl Proxy {
    /// Starts the proxy with a configuration that is made for the addresses it has
    /// got, and returns when it listens for clients. Should another process take one
    /// of them in the meantime, others are tried.
    pub async fn start(
        sandbox: &Arc<Sandbox>,
        config: impl Fn(ProxyAddresses) -> String,
    ) -> Result<Self> {
        Self::start_program(&proxy_binary()?, sandbox, config).await
    }

    /// As [`Proxy::start`], with another program than [`proxy_binary`]. It is called
    /// with `--config FILE`.
    pub async fn start_program(
        program: &Path,
        sandbox: &Arc<Sandbox>,
        config: impl Fn(ProxyAddresses) -> String,
    ) -> Result<Self> {
        let mut tries = 10;
        loop {
            let [listen, admin] = ports::pick_two();
            let addresses = ProxyAddresses { listen, admin };
            let directory = tempfile::Builder::new()
                .prefix("proxy-")
                .tempdir_in(sandbox.directory())
                .doing("make a directory in", sandbox.directory())?
                .keep();
            let config_file = directory.join("isthmus.toml");
            fs::write(&config_file, config(addresses)).doing("write", &config_file)?;
            let arguments: [OsString; 3] = [
                "serve".into(),
                "--config".into(),
                config_file.clone().into(),
            ];
            let log = directory.join("isthmus.log");
            let proxy = Self {
                addresses,
                config: config_file,
                process: Process::spawn(sandbox, "isthmus", program, arguments, &log)?,
            };
            match proxy.listening().await {
                Err(Error::Ended { log, .. }) if log.contains("in use") && tries > 0 => tries -= 1,
                listening => return listening.map(|()| proxy),
            }
        }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.addresses.listen
    }

    /// The address for the admin interface that the configuration was given.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All that it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.process.log()).unwrap_or_default()).into_owned()
    }

    /// Waits until its log contains the text.
    pub async fn logged(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !self.log().contains(text) {
            self.still_runs()?;
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("the log line {text:?}"),
                    after: LIMIT,
                    detail: format!("; the log ends with:\n{}", self.process.log_tail()),
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Replaces the configuration file and tells the proxy to read it again. It
    /// returns at once: what to wait for is for the test to know.
    pub fn reload(&self, config: &str) -> Result<()> {
        // Renamed into place, so that the proxy never reads half of it.
        let next = self.config.with_extension("next");
        fs::write(&next, config).doing("write", &next)?;
        fs::rename(&next, &self.config).doing("replace", &self.config)?;
        self.signal(Signal::HUP)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Asks it to end, and waits for that.
    pub async fn terminate(&self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.process.wait(LIMIT).await
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&self) {
        self.process.kill();
    }

    async fn listening(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !ports::is_listening(self.addresses.listen.port()) {
            self.still_runs()?;
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("that the proxy listens on {}", self.addresses.listen),
                    after: LIMIT,
                    detail: format!("; its log ends with:\n{}", self.process.log_tail()),
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.still_runs()
    }

    fn still_runs(&self) -> Result<()> {
        match self.process.ended() {
            None => Ok(()),
            Some(_) => Err(Error::Ended {
                process: self.process.name().to_owned(),
                log: self.process.log_tail(),
            }),
        }
    }
}

/// The proxy's program: that of the environment variable `ISTHMUS_BIN`, or the one
/// that was built into the same target directory as the running program.
pub fn proxy_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ISTHMUS_BIN") {
        return std::path::absolute(&path).doing("find", Path::new(&path));
    }
    let running = std::env::current_exe().doing("find", Path::new("the running program"))?;
    // Tests and benches lie in `deps`, examples in `examples`, binaries at the top.
    running
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("isthmus"))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::Program {
            program: "isthmus".into(),
            reason: format!(
                "it is not beside {}: run `cargo build --package isthmus` first, or set ISTHMUS_BIN",
                running.display()
            ),
        })
}
