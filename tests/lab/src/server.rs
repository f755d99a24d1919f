use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::{FromRow, FromValue, Queryable as _};
use mysql_async::{Conn, Opts, OptsBuilder};

use crate::accounts::Account;
use crate::error::{Error, Result};
use crate::flavor::{Flavor, option};
use crate::ports;
use crate::sandbox::{Process, Sandbox, Signal};

/// How long a server may take to start, or to stop.
const LIMIT: Duration = Duration::from_secs(60);
const ADDRESS_IN_USE: &str = "Address already in use";

/// A database server of a lab.
#[derive(Debug)]
pub struct Server {
    flavor: Flavor,
    name: String,
    address: SocketAddr,
    files: Files,
    arguments: Vec<OsString>,
    administrator: Account,
    /// Whether it is read-only when it starts.
    read_only: AtomicBool,
    /// Its server_id if it has got another than its arguments say; else 0.
    id: AtomicU32,
    process: Mutex<Option<Arc<Process>>>,
    sandbox: Arc<Sandbox>,
}

/// Where the files of a server lie.
#[derive(Debug)]
struct Files {
    data: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    temporary: PathBuf,
}

impl Server {
    /// Starts a server on a data directory that exists, beside which it puts its
    /// other files. Tries other ports as long as the one it has got is taken.
    pub(crate) async fn launch(
        flavor: Flavor,
        name: &str,
        sandbox: &Arc<Sandbox>,
        data: PathBuf,
        arguments: Vec<OsString>,
        administrator: Account,
        read_only: bool,
    ) -> Result<Self> {
        let mut server = Self {
            flavor,
            name: name.to_owned(),
            address: ports::pick(),
            files: Files {
                socket: data.with_extension("sock"),
                log: data.with_extension("log"),
                temporary: data.with_extension("tmp"),
                data,
            },
            arguments,
            administrator,
            read_only: AtomicBool::new(read_only),
            id: AtomicU32::new(0),
            process: Mutex::new(None),
            sandbox: Arc::clone(sandbox),
        };
        std::fs::create_dir(&server.files.temporary).map_err(|source| Error::File {
            doing: "make",
            path: server.files.temporary.clone(),
            source,
        })?;
        let mut tries = 10;
        loop {
            match server.start().await {
                Err(Error::Ended { log, .. }) if log.contains(ADDRESS_IN_USE) && tries > 0 => {
                    tries -= 1;
                    server.address = ports::pick();
                }
                started => return started.map(|()| server),
            }
        }
    }

    /// The server software.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Its name within the lab: `server-1` is the one that the lab starts as writer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens. It keeps this address when it is started again.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its Unix socket.
    pub fn socket(&self) -> &Path {
        &self.files.socket
    }

    /// Its error log.
    pub fn log(&self) -> &Path {
        &self.files.log
    }

    /// Its data directory.
    pub fn data_directory(&self) -> &Path {
        &self.files.data
    }

    /// The id of its process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(|process| process.pid())
    }

    /// Starts it again after [`Server::stop`] or [`Server::kill`], and returns when it
    /// answers. Does nothing when it runs. A reader goes on replicating.
    pub async fn start(&self) -> Result<()> {
        if self
            .process()
            .as_ref()
            .is_some_and(|process| process.ended().is_none())
        {
            return Ok(());
        }
        // A socket of a killed server is no sign of life.
        let _ = std::fs::remove_file(&self.files.socket);
        let _ = std::fs::remove_file(&self.files.log);
        let process = Arc::new(Process::spawn(
            &self.sandbox,
            &self.name,
            &self.flavor.server_program()?,
            self.command_line(),
            &self.files.log,
        )?);
        *self.process() = Some(Arc::clone(&process));

        let deadline = Instant::now() + LIMIT;
        loop {
            if process.ended().is_some() {
                self.process().take();
                return Err(Error::Ended {
                    process: self.name.clone(),
                    log: process.log_tail(),
                });
            }
            let refused = match self.files.socket.exists() {
                true => match self.connect_root().await {
                    Ok(connection) => {
                        let _ = connection.disconnect().await;
                        return Ok(());
                    }
                    Err(error) => Some(error),
                },
                false => None,
            };
            if Instant::now() > deadline {
                let mut detail = String::new();
                if let Some(Error::Query { source, .. }) = refused {
                    let _ = write!(detail, ": {source}");
                }
                let _ = write!(detail, "; its log ends with:\n{}", process.log_tail());
                return Err(Error::Timeout {
                    what: format!("the start of {}", self.name),
                    after: LIMIT,
                    detail,
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Shuts it down in good order.
    pub async fn stop(&self) -> Result<()> {
        let process = self.running()?;
        process.signal(Signal::TERM)?;
        process.wait(LIMIT).await?;
        self.process().take();
        Ok(())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&self) {
        if let Some(process) = self.process().take() {
            process.kill();
        }
    }

    /// Gives it another server_id when it is started again.
    pub(crate) fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Release);
    }

    /// Lets it hang: connections stay, nothing is answered.
    pub async fn pause(&self) -> Result<()> {
        self.running()?.stop().await
    }

    /// Ends [`Server::pause`].
    pub fn resume(&self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Connects as [`ROOT`](crate::ROOT), by the Unix socket and past every link.
    pub async fn connect_root(&self) -> Result<Conn> {
        let options = OptsBuilder::default()
            .socket(Some(self.files.socket.to_string_lossy()))
            .user(Some(self.administrator.user))
            .pass(Some(self.administrator.password));
        self.connect(options).await
    }

    /// Connects by TCP, past every link and without a default schema.
    pub async fn connect_as(&self, account: Account) -> Result<Conn> {
        self.connect(options_for(self.address, account)).await
    }

    async fn connect(&self, options: OptsBuilder) -> Result<Conn> {
        Conn::new(Opts::from(options))
            .await
            .map_err(|source| self.refused("connect", source))
    }

    /// Runs one or more statements as [`ROOT`](crate::ROOT) and throws away the results.
    pub async fn execute(&self, statements: impl AsRef<str>) -> Result<()> {
        let mut connection = self.connect_root().await?;
        let statements = statements.as_ref();
        let outcome = async {
            // Later statements of several report their errors in later results.
            let mut results = connection.query_iter(statements).await?;
            while !results.is_empty() {
                results.collect::<mysql_async::Row>().await?;
            }
            drop(results);
            connection.disconnect().await
        };
        outcome
            .await
            .map_err(|source| self.refused(statements, source))
    }

    /// Runs a query as [`ROOT`](crate::ROOT).
    pub async fn query<T>(&self, query: impl AsRef<str>) -> Result<Vec<T>>
    where
        T: FromRow + Send + 'static,
    {
        let mut connection = self.connect_root().await?;
        let query = query.as_ref();
        let outcome = async {
            let rows = connection.query(query).await?;
            connection.disconnect().await?;
            Ok(rows)
        };
        outcome.await.map_err(|source| self.refused(query, source))
    }

    /// Runs a query as [`ROOT`](crate::ROOT) and returns the first column of the first row; `None`
    /// if there is no row, or if it is NULL.
    pub async fn query_value<T>(&self, query: impl AsRef<str>) -> Result<Option<T>>
    where
        T: FromValue + Send + 'static,
    {
        let row = self
            .query::<mysql_async::Row>(query)
            .await?
            .into_iter()
            .next();
        Ok(row
            .and_then(|mut row| row.take::<Option<T>, _>(0))
            .flatten())
    }

    /// Makes it read-only or writable, also when it is started again.
    pub async fn set_read_only(&self, read_only: bool) -> Result<()> {
        self.read_only.store(read_only, Ordering::Release);
        self.execute(match (self.flavor, read_only) {
            (Flavor::Mysql, true) => "SET GLOBAL super_read_only = ON",
            (Flavor::Mariadb, true) => "SET GLOBAL read_only = ON",
            // Which turns off MySQL's super_read_only too.
            (_, false) => "SET GLOBAL read_only = OFF",
        })
        .await
    }

    fn command_line(&self) -> Vec<OsString> {
        let mut line = vec![OsString::from("--no-defaults")];
        line.extend(self.flavor.installation_arguments());
        line.extend([
            option("--datadir", &self.files.data),
            option("--socket", &self.files.socket),
            option("--pid-file", &self.files.data.with_extension("pid")),
            option("--tmpdir", &self.files.temporary),
            format!("--port={}", self.address.port()).into(),
        ]);
        if self.read_only.load(Ordering::Acquire) {
            line.extend(self.flavor.read_only_arguments().iter().map(OsString::from));
        }
        line.extend(self.arguments.iter().cloned());
        match self.id.load(Ordering::Acquire) {
            0 => {}
            id => line.push(format!("--server-id={id}").into()),
        }
        line
    }

    fn running(&self) -> Result<Arc<Process>> {
        self.process().clone().ok_or_else(|| Error::NotRunning {
            process: self.name.clone(),
        })
    }

    fn refused(&self, statement: &str, source: mysql_async::Error) -> Error {
        Error::Query {
            server: self.name.clone(),
            statement: statement.chars().take(200).collect(),
            source,
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How to connect to an address with an account: by TCP, without TLS, and without
/// the client's habit of going over to a Unix socket.
pub(crate) fn options_for(address: SocketAddr, account: Account) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(account.user))
        .pass(Some(account.password))
        .prefer_socket(false)
}
