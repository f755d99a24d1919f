//! What is measured: the way from the client to a server.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isthmus_benches::workload::Upstream;
use isthmus_lab::{APP, Lab, MONITOR, Process, Proxy, is_listening};
use serde::Serialize;

use crate::Failure;

/// How long a proxy may take until it serves.
const LIMIT: Duration = Duration::from_secs(20);

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Straight to the server.
    Direct,
    /// HAProxy in TCP mode: a relay that reads nothing, the floor for a proxy.
    Haproxy,
    /// Isthmus with routing, pooling and read-your-writes.
    Isthmus,
    /// MySQL Router.
    Router,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "HAProxy",
            Self::Isthmus => "Isthmus",
            Self::Router => "MySQL Router",
        }
    }
}

/// A way that can be used now.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// The proxy's process.
    pub(crate) pid: Option<u32>,
    _process: Option<Running>,
}

#[derive(Debug)]
enum Running {
    Isthmus { _proxy: Proxy },
    Other { _process: Process },
}

impl Target {
    /// Starts the proxy, if there is one on this way, and waits until a client has logged in
    /// through it.
    pub(crate) async fn start(
        lab: &Lab,
        kind: Kind,
        upstream: Upstream,
        workers: usize,
    ) -> Result<Self, Failure> {
        let server = match upstream {
            Upstream::Writer => lab.writer().address(),
            Upstream::Reader => lab.reader().address(),
        };
        let target = match kind {
            Kind::Direct => Self {
                kind,
                address: server,
                pid: None,
                _process: None,
            },
            Kind::Haproxy => {
                let program = Path::new("haproxy");
                start_other(lab, kind, program, &["-db", "-f"], server, haproxy_config).await?
            }
            Kind::Router => {
                let program = mysql_directory().join("bin/mysqlrouter");
                start_other(lab, kind, &program, &["--config"], server, router_config).await?
            }
            Kind::Isthmus => {
                let proxy = Proxy::start(lab.sandbox(), |addresses| {
                    isthmus_config(lab, addresses.listen, addresses.admin, workers)
                })
                .await?;
                Self {
                    kind,
                    address: proxy.address(),
                    pid: Some(proxy.pid()),
                    _process: Some(Running::Isthmus { _proxy: proxy }),
                }
            }
        };
        target.serves().await?;
        Ok(target)
    }

    async fn serves(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match Lab::connect(self.address, APP, |options| options).await {
                Ok(connection) => return Ok(connection.disconnect().await?),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// Where `scripts/setup` has unpacked MySQL and its Router.
fn mysql_directory() -> PathBuf {
    let cache = std::env::var_os("ISTHMUS_CACHE").unwrap_or_else(|| "/var/cache/isthmus".into());
    PathBuf::from(cache).join("mysql-9.7")
}

async fn start_other(
    lab: &Lab,
    kind: Kind,
    program: &Path,
    arguments: &[&str],
    server: SocketAddr,
    config: fn(SocketAddr, SocketAddr, &Path) -> String,
) -> Result<Target, Failure> {
    // The kernel may give the port to somebody else in between.
    for _ in 0..10 {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let directory = lab.directory().join(format!("{kind:?}-{}", address.port()));
        fs::create_dir(&directory)?;
        let file = directory.join("proxy.cfg");
        fs::write(&file, config(address, server, &directory))?;
        let mut line: Vec<PathBuf> = arguments.iter().map(PathBuf::from).collect();
        line.push(file);
        let log = directory.join("proxy.log");
        let process = Process::spawn(lab.sandbox(), kind.name(), program, line, &log)?;
        let deadline = Instant::now() + LIMIT;
        while process.ended().is_none() {
            if is_listening(address.port()) {
                return Ok(Target {
                    kind,
                    address,
                    pid: Some(process.pid()),
                    _process: Some(Running::Other { _process: process }),
                });
            }
            if Instant::now() > deadline {
                return Err(
                    format!("{} does not listen:\n{}", kind.name(), process.log_tail()).into(),
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let log = process.log_tail();
        if !log.contains("in use") && !log.contains("cannot bind") {
            return Err(format!("{} does not start:\n{log}", kind.name()).into());
        }
    }
    Err(format!("{} found no free port", kind.name()).into())
}

/// Everything that is not said is HAProxy's default; so it has one thread for each processor.
fn haproxy_config(listen: SocketAddr, server: SocketAddr, _: &Path) -> String {
    format!(
        "\
global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen mysql
  bind {listen}
  server mysql {server}
"
    )
}

fn router_config(listen: SocketAddr, server: SocketAddr, directory: &Path) -> String {
    format!(
        "\
[DEFAULT]
logging_folder =
runtime_folder = {directory}
data_folder = {directory}
plugin_folder = {plugins}
max_total_connections = 4000
[logger]
level = WARNING
[routing:mysql]
bind_address = {address}
bind_port = {port}
destinations = {server}
routing_strategy = first-available
protocol = classic
client_ssl_mode = DISABLED
server_ssl_mode = DISABLED
",
        directory = directory.display(),
        plugins = mysql_directory()
            .join("root/usr/lib/mysqlrouter/plugin")
            .display(),
        address = listen.ip(),
        port = listen.port(),
    )
}

/// Isthmus as it comes, but for more clients. Only the encryption towards the servers, which it
/// prefers, is off: the others have none either.
fn isthmus_config(lab: &Lab, listen: SocketAddr, admin: SocketAddr, workers: usize) -> String {
    let mut config = format!(
        "\
region = \"here\"
workers = {workers}
[listen]
addresses = [\"{listen}\"]
[limits]
max_client_connections = 20000
[admin]
address = \"{admin}\"
[server_tls]
mode = \"disabled\"
[monitor]
user = \"{}\"
password = \"{}\"
[[users]]
name = \"{}\"
password = \"{}\"
",
        MONITOR.user, MONITOR.password, APP.user, APP.password
    );
    for (name, role, region, server) in [
        ("writer", "writer", "there", lab.writer()),
        ("reader", "reader", "here", lab.reader()),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(
            config,
            "[[endpoints]]\nname = \"{name}\"\nrole = \"{role}\"\nregion = \"{region}\"\naddress = \"{}\"",
            server.address()
        );
    }
    config
}
