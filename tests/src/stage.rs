use std::net::SocketAddr;
use std::time::{Duration, Instant};

use isthmus_lab::{APP, Error, Flavor, Lab, Options, Proxy, Result, Server};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use tokio::sync::OnceCell;

use crate::config::{Table, config};

/// How long the proxy may take to find its servers.
const LIMIT: Duration = Duration::from_secs(20);

/// Real servers and a proxy in front of them.
///
/// On the stage stands the table `app.here`, whose single row says something else on
/// each server, so that every statement that reads it tells where it ran: see
/// [`Stage::answered`].
#[derive(Debug)]
pub struct Stage {
    /// The proxy. Declared before the lab, so that it ends first.
    pub proxy: Proxy,
    /// The servers.
    pub lab: Lab,
}

/// Which server answered a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answered {
    /// The writer, far away.
    Writer,
    /// A reader of the proxy's region.
    Reader,
}

impl Stage {
    /// Starts a lab and a proxy, and returns when reads are answered by the reader.
    /// `adjust` changes the proxy's configuration. A test whose reads should not get
    /// there starts its proxy with [`Proxy::start`] and [`config`].
    ///
    /// # Errors
    ///
    /// If a program does not start.
    pub async fn start(options: Options, adjust: impl Fn(&mut Table)) -> Result<Self> {
        let lab = Lab::start(options).await?;
        mark_servers(&lab).await?;
        let proxy = start_proxy(&lab, adjust).await?;
        Ok(Self { proxy, lab })
    }

    /// Starts a further proxy in front of the same servers, for a test that wants
    /// other settings. It ends when it is dropped.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn another_proxy(&self, adjust: impl Fn(&mut Table)) -> Proxy {
        let proxy = start_proxy(&self.lab, adjust).await;
        proxy.unwrap_or_else(|error| panic!("another proxy does not start: {error:?}"))
    }

    /// The server software.
    pub fn flavor(&self) -> Flavor {
        self.lab.flavor()
    }

    /// Connects to the proxy as [`APP`].
    ///
    /// # Panics
    ///
    /// If the proxy does not let the client in.
    pub async fn connect(&self) -> Conn {
        self.connect_with(|options| options).await
    }

    /// The same with other options of the driver's.
    ///
    /// # Panics
    ///
    /// If the proxy does not let the client in.
    pub async fn connect_with(&self, adjust: impl FnOnce(OptsBuilder) -> OptsBuilder) -> Conn {
        connect(self.proxy.address(), adjust).await
    }

    /// Connects to the writer as [`APP`], past the proxy.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub async fn connect_to_writer(&self) -> Conn {
        connect(self.lab.writer().address(), |options| options).await
    }

    /// A new schema on all servers, for one test alone.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub async fn schema(&self, name: &str) -> String {
        let created = self
            .lab
            .writer()
            .execute(format!("CREATE DATABASE {name}"))
            .await;
        created.unwrap_or_else(|error| panic!("cannot make the schema {name}: {error:?}"));
        self.caught_up().await;
        name.to_owned()
    }

    /// Returns when all readers have what the writer has now.
    ///
    /// # Panics
    ///
    /// If they do not get it.
    pub async fn caught_up(&self) {
        let done = self.lab.wait_caught_up().await;
        done.unwrap_or_else(|error| panic!("the readers do not catch up: {error:?}"));
    }

    /// Runs a query whose first column comes from `app.here`.
    ///
    /// # Panics
    ///
    /// If it fails or returns something else.
    pub async fn answered(connection: &mut Conn, query: &str) -> Answered {
        match connection.query_first::<String, _>(query).await {
            Ok(Some(server)) => Answered::parse(&server, query),
            other => panic!("`{query}` returned {other:?}"),
        }
    }
}

impl Answered {
    /// From the content of `app.here`.
    ///
    /// # Panics
    ///
    /// If it is something else.
    pub fn parse(server: &str, query: &str) -> Self {
        match server {
            "writer" => Self::Writer,
            "reader" => Self::Reader,
            other => panic!("`{query}` returned {other:?} instead of a server's name"),
        }
    }
}

/// The stage that all tests of this process with this flavor share. It ends with the
/// process.
///
/// # Panics
///
/// If it does not start.
pub async fn shared_stage(flavor: Flavor) -> &'static Stage {
    static MYSQL: OnceCell<Stage> = OnceCell::const_new();
    static MARIADB: OnceCell<Stage> = OnceCell::const_new();
    let cell = match flavor {
        Flavor::Mysql => &MYSQL,
        Flavor::Mariadb => &MARIADB,
    };
    cell.get_or_init(|| async move {
        let options = Options {
            flavor,
            ..Options::default()
        };
        let stage = Stage::start(options, |_| {}).await;
        stage.unwrap_or_else(|error| panic!("the {flavor} stage does not start: {error:?}"))
    })
    .await
}

/// Connects to any address as [`APP`].
///
/// # Panics
///
/// If that fails.
pub async fn connect(address: SocketAddr, adjust: impl FnOnce(OptsBuilder) -> OptsBuilder) -> Conn {
    let connected = Lab::connect(address, APP, adjust).await;
    connected.unwrap_or_else(|error| panic!("cannot connect to {address}: {error:?}"))
}

/// Gives each server its own content of `app.here`, past replication.
async fn mark_servers(lab: &Lab) -> Result<()> {
    let writer = lab.writer();
    writer
        .execute("CREATE TABLE app.here (server VARCHAR(10) NOT NULL PRIMARY KEY)")
        .await?;
    lab.wait_caught_up().await?;
    mark(writer, "writer").await?;
    for reader in lab.readers() {
        reader.set_read_only(false).await?;
        mark(reader, "reader").await?;
        reader.set_read_only(true).await?;
    }
    Ok(())
}

async fn mark(server: &Server, name: &str) -> Result<()> {
    server
        .execute(format!(
            "SET sql_log_bin = 0; INSERT INTO app.here VALUES ('{name}')"
        ))
        .await
}

/// Starts a proxy and waits until it serves and has seen its reader: before that the
/// writer answers all.
async fn start_proxy(lab: &Lab, adjust: impl Fn(&mut Table)) -> Result<Proxy> {
    let proxy = Proxy::start(lab.sandbox(), |addresses| {
        let mut config = config(lab, addresses);
        adjust(&mut config);
        config.to_string()
    })
    .await?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut answer = String::new();
        if let Ok(mut connection) = Lab::connect(proxy.address(), APP, |options| options).await {
            answer = match connection
                .query_first::<String, _>("SELECT server FROM app.here")
                .await
            {
                Ok(server) => server.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
        }
        if answer == "reader" {
            return Ok(proxy);
        }
        if Instant::now() > deadline {
            return Err(Error::Timeout {
                what: "that a read reaches the reader".into(),
                after: LIMIT,
                detail: format!(
                    ": the answer is {answer:?}; the proxy's log:\n{}",
                    proxy.log()
                ),
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
