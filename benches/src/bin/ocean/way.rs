//! The ways to the servers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use isthmus_lab::{Lab, Process, Proxy, configuration, is_listening};
use serde::Serialize;

use crate::Failure;
use crate::page::Page;

/// How long a proxy may take until it serves.
const LIMIT: Duration = Duration::from_secs(20);

/// A way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// Over the ocean to the writer.
    Direct,
    /// The same behind HAProxy in TCP mode, next door to the application.
    Haproxy,
    /// Isthmus next door to the application, with its defaults.
    Isthmus,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Haproxy, Self::Isthmus];

    /// Its colour in the plot.
    pub(crate) fn color(self) -> &'static str {
        match self {
            Self::Direct => "#888",
            Self::Haproxy => "#c60",
            Self::Isthmus => "#06c",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "HAProxy",
            Self::Isthmus => "Isthmus",
        }
    }
}

/// A way that can be used, as long as this is there.
pub(crate) enum Path {
    Direct(SocketAddr),
    Haproxy(
        SocketAddr,
        #[expect(dead_code, reason = "it runs as long as it is kept")] Process,
    ),
    Isthmus(Proxy),
}

impl Path {
    /// Where to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Direct(address) | Self::Haproxy(address, _) => *address,
            Self::Isthmus(proxy) => proxy.address(),
        }
    }
}

/// Starts what is on the way, and returns when it serves as it does in the long run.
pub(crate) async fn open(lab: &Lab, way: Way) -> Result<Path, Failure> {
    let writer = lab.writer_link().address();
    let path = match way {
        Way::Direct => Path::Direct(writer),
        Way::Haproxy => haproxy(lab, writer).await?,
        Way::Isthmus => isthmus(lab).await?,
    };
    // The server has to have seen the password once, and Isthmus its kind of client.
    Page::Mixed.open(path.address()).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(path)
}

async fn haproxy(lab: &Lab, server: SocketAddr) -> Result<Path, Failure> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let directory = lab.directory().join(format!("haproxy-{}", address.port()));
    fs::create_dir(&directory)?;
    let config = directory.join("haproxy.cfg");
    fs::write(
        &config,
        format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             listen mysql\n  bind {address}\n  server mysql {server}\n"
        ),
    )?;
    let arguments = ["-db".into(), "-f".into(), config.into_os_string()];
    let log = directory.join("haproxy.log");
    let program = "haproxy".as_ref();
    let process = Process::spawn(lab.sandbox(), "HAProxy", program, arguments, &log)?;
    let deadline = Instant::now() + LIMIT;
    while !is_listening(address.port()) {
        if process.ended().is_some() || Instant::now() > deadline {
            return Err(format!("HAProxy does not listen:\n{}", process.log_tail()).into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(Path::Haproxy(address, process))
}

async fn isthmus(lab: &Lab) -> Result<Path, Failure> {
    let certificates = lab.certificates();
    let proxy = Proxy::start(lab.sandbox(), |addresses| {
        format!(
            "{}\n[listen.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
            configuration(lab, addresses),
            certificates.server.display(),
            certificates.server_key.display()
        )
    });
    Ok(Path::Isthmus(proxy.await?))
}
