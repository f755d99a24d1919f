use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder};

use crate::accounts::{Account, ROOT};
use crate::certificates::Certificates;
use crate::error::{Error, Result};
use crate::flavor::Flavor;
use crate::relay::Relay;
use crate::sandbox::Sandbox;
use crate::server::{Server, options_for};
use crate::template::{Template, interrupted};

/// What lab to start. The default is a MySQL writer with one reader, and no distance.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server software.
    pub flavor: Flavor,
    /// The time from the proxy to the writer and back.
    pub round_trip: Duration,
    /// How many readers there are, next door to the proxy.
    pub readers: usize,
    /// Whether the servers keep GTIDs. Without, MySQL replicates by position;
    /// MariaDB always has them.
    pub gtids: bool,
    /// More arguments for every server, as `--performance-schema=ON`. They win over
    /// the lab's own.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flavor: Flavor::default(),
            round_trip: Duration::ZERO,
            readers: 1,
            gtids: true,
            arguments: Vec::new(),
        }
    }
}

/// A writer, its readers, and the links to them. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Lab {
    pub(crate) flavor: Flavor,
    pub(crate) gtids: bool,
    pub(crate) sites: Vec<Site>,
    /// Which of the sites has the writer.
    pub(crate) writer: AtomicUsize,
    certificates: Certificates,
    sandbox: Arc<Sandbox>,
}

/// A server and the links that lead to it.
#[derive(Debug)]
pub(crate) struct Site {
    /// From the proxy.
    pub(crate) link: Relay,
    /// From this server to the one that it replicates from.
    pub(crate) replication: Relay,
    pub(crate) server: Server,
}

impl Lab {
    /// Starts the servers and returns when replication runs. The first lab of a
    /// flavor on a machine makes the template first, which takes some seconds.
    pub async fn start(options: Options) -> Result<Self> {
        let template = Template::find(options.flavor).await?;
        let sandbox = Sandbox::new()?;
        let certificates = template.copy_certificates(&sandbox.directory().join("certificates"))?;

        let launches: Vec<_> = (1..=1 + options.readers)
            .map(|number| {
                tokio::spawn(launch(
                    number,
                    options.clone(),
                    template.clone(),
                    Arc::clone(&sandbox),
                    certificates.clone(),
                ))
            })
            .collect();
        let mut servers = Vec::new();
        for launch in launches {
            servers.push(launch.await.map_err(interrupted)??);
        }

        let writer_address = servers[0].address();
        let mut sites = Vec::new();
        for (index, server) in servers.into_iter().enumerate() {
            let round_trip = if index == 0 {
                options.round_trip
            } else {
                Duration::ZERO
            };
            sites.push(Site {
                link: Relay::start(server.address(), round_trip)?,
                replication: Relay::start(writer_address, Duration::ZERO)?,
                server,
            });
        }
        let lab = Self {
            flavor: options.flavor,
            gtids: options.gtids,
            sites,
            writer: AtomicUsize::new(0),
            certificates,
            sandbox,
        };
        lab.begin_replication().await?;
        Ok(lab)
    }

    /// The server software.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The writer of this moment.
    pub fn writer(&self) -> &Server {
        &self.writer_site().server
    }

    /// The first reader.
    ///
    /// # Panics
    ///
    /// If the lab was started without readers.
    pub fn reader(&self) -> &Server {
        &self.reader_site().server
    }

    /// The readers of this moment.
    pub fn readers(&self) -> Vec<&Server> {
        self.reader_sites().map(|site| &site.server).collect()
    }

    /// All servers, in the order in which they were started: the first writer first.
    pub fn servers(&self) -> Vec<&Server> {
        self.sites.iter().map(|site| &site.server).collect()
    }

    /// The link to the writer: the ocean.
    pub fn writer_link(&self) -> &Relay {
        &self.writer_site().link
    }

    /// The link to the first reader.
    ///
    /// # Panics
    ///
    /// If the lab was started without readers.
    pub fn reader_link(&self) -> &Relay {
        &self.reader_site().link
    }

    /// The links to the readers, in the order of [`Lab::readers`].
    pub fn reader_links(&self) -> Vec<&Relay> {
        self.reader_sites().map(|site| &site.link).collect()
    }

    /// The links to all servers, in the order of [`Lab::servers`].
    pub fn links(&self) -> Vec<&Relay> {
        self.sites.iter().map(|site| &site.link).collect()
    }

    /// The certificates of the servers and of their authority.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The lab's directory and processes, for a test that adds some of its own.
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// The lab's directory, which goes with it.
    pub fn directory(&self) -> &Path {
        self.sandbox.directory()
    }

    /// Connects by TCP to any address: a server's, a link's or a proxy's. The
    /// options can be adjusted, for TLS for one.
    pub async fn connect(
        address: SocketAddr,
        account: Account,
        adjust: impl FnOnce(OptsBuilder) -> OptsBuilder,
    ) -> Result<Conn> {
        let options = adjust(options_for(address, account));
        Conn::new(Opts::from(options))
            .await
            .map_err(|source| Error::Query {
                server: address.to_string(),
                statement: "connect".into(),
                source,
            })
    }

    pub(crate) fn writer_index(&self) -> usize {
        self.writer.load(Ordering::Acquire)
    }

    pub(crate) fn writer_site(&self) -> &Site {
        &self.sites[self.writer_index()]
    }

    pub(crate) fn reader_sites(&self) -> impl Iterator<Item = &Site> {
        let writer = self.writer_index();
        self.sites
            .iter()
            .enumerate()
            .filter(move |(index, _)| *index != writer)
            .map(|(_, site)| site)
    }

    fn reader_site(&self) -> &Site {
        match self.reader_sites().next() {
            Some(site) => site,
            None => panic!("this lab was started without readers"),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Together here, rather than one after the other as the fields are dropped.
        std::thread::scope(|scope| {
            for site in &self.sites {
                scope.spawn(|| site.server.kill());
            }
        });
    }
}

async fn launch(
    number: usize,
    options: Options,
    template: Template,
    sandbox: Arc<Sandbox>,
    certificates: Certificates,
) -> Result<Server> {
    let flavor = options.flavor;
    let name = format!("server-{number}");
    let data = sandbox.directory().join(&name);
    tokio::task::spawn_blocking({
        let data = data.clone();
        move || template.copy_data(&data)
    })
    .await
    .map_err(interrupted)??;

    let mut arguments: Vec<OsString> = flavor.server_arguments();
    arguments.extend(flavor.tls_arguments(&certificates));
    arguments.extend(flavor.replication_arguments().iter().map(OsString::from));
    if !options.gtids && flavor == Flavor::Mysql {
        arguments.push("--gtid-mode=OFF".into());
        arguments.push("--enforce-gtid-consistency=OFF".into());
    }
    arguments.push(format!("--server-id={number}").into());
    arguments.extend(options.arguments.iter().map(OsString::from));
    Server::launch(flavor, &name, &sandbox, data, arguments, ROOT, number > 1).await
}
