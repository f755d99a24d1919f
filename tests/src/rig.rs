//! A proxy between two servers, with links of its own and users of its own, so that many tests
//! can share one pair of servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use isthmus_lab::{
    Account, Flavor, Lab, MONITOR, Options, Proxy, ProxyAddresses, Relay, proxy_binary,
};
use isthmus_protocol::capabilities::Capabilities;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::wire;

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The password of every rig's user.
pub const PASSWORD: &str = "rig-secret";

/// A configuration: a file with everything that is always the same, and what a test lays over it.
#[derive(Debug, Clone)]
pub struct Blueprint {
    table: toml::Table,
}

impl Blueprint {
    /// A writer in Tokyo and readers in the proxy's own region, named `virginia`, `virginia-2` …
    pub fn new(user: &str, writer: SocketAddr, readers: &[SocketAddr]) -> Self {
        let table = format!(
            r#"
            region = "virginia"
            [[users]]
            name = "{user}"
            password = "{PASSWORD}"
            [monitor]
            user = "{}"
            password = "{}"
            interval = "200ms"
            [timeouts]
            shutdown = "5s"
            [log]
            level = "info,isthmus=debug"
            [reload]
            watch = false
            "#,
            MONITOR.user, MONITOR.password
        );
        let mut blueprint = Self {
            table: toml::from_str(&table).unwrap(),
        };
        blueprint.set_endpoints(&[("tokyo", writer, "writer")]);
        for (index, reader) in readers.iter().enumerate() {
            let name = match index {
                0 => "virginia".to_owned(),
                index => format!("virginia-{}", index + 1),
            };
            blueprint.add_endpoint(&name, *reader, "reader");
        }
        blueprint
    }

    /// The same with other tables laid over: tables are merged, everything else is replaced.
    ///
    /// # Panics
    /// If the text is no TOML.
    #[must_use]
    pub fn with(mut self, overlay: &str) -> Self {
        merge(&mut self.table, toml::from_str(overlay).unwrap());
        self
    }

    /// A configuration that was rendered before.
    pub fn of(table: toml::Table) -> Self {
        Self { table }
    }

    /// The file as it is.
    pub fn into_text(self) -> String {
        toml::to_string(&self.table).unwrap()
    }

    /// Another user, with a password like everybody's.
    #[must_use]
    pub fn with_user(mut self, name: &str) -> Self {
        let user: toml::Table =
            toml::from_str(&format!("name = \"{name}\"\npassword = \"{PASSWORD}\"")).unwrap();
        self.array("users").push(user.into());
        self
    }

    /// Switches something on for one user.
    ///
    /// # Panics
    /// If there is no such user.
    #[must_use]
    pub fn with_right(self, user: &str, right: &str) -> Self {
        self.with_user_setting(user, right, true)
    }

    /// Sets something for one user.
    ///
    /// # Panics
    /// If there is no such user.
    #[must_use]
    pub fn with_user_setting(
        mut self,
        user: &str,
        key: &str,
        value: impl Into<toml::Value>,
    ) -> Self {
        let users = self.array("users");
        let user = users
            .iter_mut()
            .find(|one| one["name"].as_str() == Some(user));
        let user = user.unwrap().as_table_mut().unwrap();
        user.insert(key.into(), value.into());
        self
    }

    /// Replaces the endpoints: name, address, role.
    pub fn set_endpoints(&mut self, endpoints: &[(&str, SocketAddr, &str)]) {
        self.table
            .insert("endpoints".into(), toml::Value::Array(Vec::new()));
        for (name, address, role) in endpoints {
            self.add_endpoint(name, *address, role);
        }
    }

    /// Adds an endpoint, in Tokyo if it is the writer.
    pub fn add_endpoint(&mut self, name: &str, address: SocketAddr, role: &str) {
        let region = if role == "writer" {
            "tokyo"
        } else {
            "virginia"
        };
        let endpoint: toml::Table = toml::from_str(&format!(
            "name = \"{name}\"\naddress = \"{address}\"\nregion = \"{region}\"\nrole = \"{role}\""
        ))
        .unwrap();
        self.array("endpoints").push(endpoint.into());
    }

    /// The same with something set for every endpoint.
    #[must_use]
    pub fn with_endpoints(mut self, key: &str, value: &str) -> Self {
        for endpoint in self.array("endpoints") {
            let endpoint = endpoint.as_table_mut().unwrap();
            endpoint.insert(key.into(), value.into());
        }
        self
    }

    /// The file for a proxy with these addresses.
    pub fn render(&self, addresses: ProxyAddresses) -> String {
        let overlay = format!(
            "[listen]\naddresses = [\"{}\"]\n[admin]\naddress = \"{}\"",
            addresses.listen, addresses.admin
        );
        let mut table = self.table.clone();
        merge(&mut table, toml::from_str(&overlay).unwrap());
        toml::to_string(&table).unwrap()
    }

    fn array(&mut self, key: &str) -> &mut Vec<toml::Value> {
        self.table.get_mut(key).unwrap().as_array_mut().unwrap()
    }
}

fn merge(base: &mut toml::Table, overlay: toml::Table) {
    for (key, value) in overlay {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(overlay)) => merge(base, overlay),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// A proxy with links, a user and a schema of its own.
pub struct Rig {
    /// The servers.
    pub lab: Arc<Lab>,
    /// The proxy.
    pub proxy: Proxy,
    /// From the proxy to the writer.
    pub writer: Relay,
    /// From the proxy to the first reader.
    pub reader: Relay,
    /// The user, on the servers and on the proxy, with [`PASSWORD`].
    pub user: String,
    /// An empty schema of the same name as the user.
    pub schema: String,
    /// What the proxy was started with.
    pub blueprint: Blueprint,
}

static MYSQL: OnceCell<Arc<Lab>> = OnceCell::const_new();
static MARIADB: OnceCell<Arc<Lab>> = OnceCell::const_new();
static RIGS: AtomicU32 = AtomicU32::new(1);

/// The servers that all tests of a program share. Nobody may stop them or hold up their
/// replication; for that, see [`dedicated`].
///
/// # Panics
/// If they cannot be started.
pub async fn shared(flavor: Flavor) -> Arc<Lab> {
    let cell = match flavor {
        Flavor::Mysql => &MYSQL,
        Flavor::Mariadb => &MARIADB,
    };
    cell.get_or_init(|| {
        dedicated(Options {
            flavor,
            ..Options::default()
        })
    })
    .await
    .clone()
}

/// Servers for one test.
///
/// # Panics
/// If they cannot be started.
pub async fn dedicated(options: Options) -> Arc<Lab> {
    let lab = Lab::start(options).await.unwrap();
    for (number, server) in lab.servers().into_iter().enumerate() {
        put_up_sign(server, number == 0).await;
    }
    Arc::new(lab)
}

/// Gives a server a table that tells which one it is, not replicated: `sign.post`. A SELECT from
/// it is a read like any other.
async fn put_up_sign(server: &isthmus_lab::Server, is_writer: bool) {
    let name = if is_writer { "writer" } else { "reader" };
    let mut root = server.connect_root().await.unwrap();
    root.query_drop("SET sql_log_bin = 0").await.unwrap();
    let statements = [
        "SET GLOBAL read_only = 0".to_owned(),
        "CREATE DATABASE sign".into(),
        "CREATE TABLE sign.post (name VARCHAR(20))".into(),
        format!("INSERT INTO sign.post VALUES ('{name}')"),
    ];
    for statement in statements {
        root.query_drop(statement).await.unwrap();
    }
    root.disconnect().await.unwrap();
    if !is_writer {
        server.set_read_only(true).await.unwrap();
    }
}

/// Asks where reads are answered: `writer` or `reader`.
pub const WHERE: &str = "SELECT name FROM sign.post";

impl Rig {
    /// A proxy in front of the servers that all tests share, with `overlay` on its configuration.
    ///
    /// # Panics
    /// If anything goes wrong.
    pub async fn start(flavor: Flavor, overlay: &str) -> Self {
        Self::start_on(shared(flavor).await, overlay).await
    }

    /// A proxy in front of these servers.
    ///
    /// # Panics
    /// If anything goes wrong.
    pub async fn start_on(lab: Arc<Lab>, overlay: &str) -> Self {
        let rig = Self::prepare(lab, overlay).await;
        rig.ready().await;
        rig
    }

    /// The same, but returns as soon as the proxy listens.
    ///
    /// # Panics
    /// If anything goes wrong.
    pub async fn prepare(lab: Arc<Lab>, overlay: &str) -> Self {
        let name = make_user(&lab).await;
        let writer = Relay::start(lab.writer().address(), Duration::ZERO).unwrap();
        let reader = Relay::start(lab.reader().address(), Duration::ZERO).unwrap();
        let blueprint = Blueprint::new(&name, writer.address(), &[reader.address()]).with(overlay);
        let proxy = Proxy::start(lab.sandbox(), |addresses| blueprint.render(addresses));
        let proxy = proxy.await.unwrap();
        Self {
            lab,
            proxy,
            writer,
            reader,
            user: name.clone(),
            schema: name,
            blueprint,
        }
    }

    /// Waits until both servers are known to be up and the proxy says that it is ready.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn ready(&self) {
        until("the proxy is ready", async || {
            http(self.proxy.admin_address(), "GET", "/readyz").await.0 == 200
        })
        .await;
        self.proxy.logged("endpoint is up").await.unwrap();
    }

    /// Makes the heartbeat table, and gives the monitoring user the rights that `isthmus setup`
    /// prints.
    ///
    /// # Panics
    /// If anything goes wrong.
    pub async fn set_up_heartbeat(&self) {
        let output = setup(
            self.proxy.config(),
            &["--user", "root", "--password-env", "ROOT"],
        );
        assert!(output.status.success(), "{output:?}");
        let report = String::from_utf8(output.stdout).unwrap();
        for grant in report.lines().filter(|line| line.starts_with("GRANT")) {
            self.lab.writer().execute(grant).await.unwrap();
        }
        self.lab.wait_caught_up().await.unwrap();
    }

    /// The file for the running proxy with another configuration.
    pub fn render(&self, blueprint: &Blueprint) -> String {
        blueprint.render(ProxyAddresses {
            listen: self.proxy.address(),
            admin: self.proxy.admin_address(),
        })
    }

    /// Applies another configuration over HTTP and returns the answer: status and body.
    ///
    /// # Panics
    /// If the proxy does not answer.
    pub async fn reload(&self, blueprint: &Blueprint) -> (u16, String) {
        self.write_config(&self.render(blueprint));
        http(self.proxy.admin_address(), "POST", "/api/reload").await
    }

    /// Replaces the configuration file and nothing else.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write_config(&self, text: &str) {
        let next = self.proxy.config().with_extension("new");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, self.proxy.config()).unwrap();
    }

    /// Driver options for the rig's user: the rig's schema, no TLS.
    pub fn options(&self) -> OptsBuilder {
        driver_options(self.proxy.address(), &self.user, PASSWORD).db_name(Some(&self.schema))
    }

    /// A driver's connection to the proxy.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn connect(&self) -> Conn {
        Conn::new(Opts::from(self.options())).await.unwrap()
    }

    /// A raw connection to the proxy, logged in.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn wire(&self) -> wire::Client {
        wire::Client::log_in(self.proxy.address(), &self.user, PASSWORD, &self.schema).await
    }

    /// A raw connection to the writer itself, and one to the proxy, with these capabilities.
    ///
    /// # Panics
    /// If one is refused.
    pub async fn wires(&self, capabilities: Capabilities) -> [wire::Client; 2] {
        // The server has to have seen the password: it would ask for more than a raw client can
        // say otherwise.
        drop(self.direct_writer().await);
        let log_in = async |address| {
            let mut client = wire::Client::connect(address).await.unwrap().unwrap();
            client.capabilities = capabilities;
            let login = client.authenticate(&self.user, PASSWORD, Some(&self.schema));
            login.await.unwrap().unwrap();
            client
        };
        [
            log_in(self.lab.writer().address()).await,
            log_in(self.proxy.address()).await,
        ]
    }

    /// Runs statements on the writer itself and waits for the readers to have them.
    ///
    /// # Panics
    /// If one fails.
    pub async fn prepare_data(&self, statements: &[&str]) {
        let mut connection = direct(&self.lab.writer().address(), &self.user, &self.schema).await;
        for statement in statements {
            connection.query_drop(*statement).await.unwrap();
        }
        connection.disconnect().await.unwrap();
        self.lab.wait_caught_up().await.unwrap();
    }

    /// A connection to the writer itself, as the rig's user.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn direct_writer(&self) -> Conn {
        direct(&self.lab.writer().address(), &self.user, &self.schema).await
    }

    /// What the rig's user runs on a server: the statements, NULL for a connection at rest.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn processes(&self, server: &isthmus_lab::Server) -> Vec<Option<String>> {
        let query = format!(
            "SELECT INFO FROM information_schema.PROCESSLIST WHERE USER = '{}'",
            self.user
        );
        server.query(query).await.unwrap()
    }
}

/// Runs `isthmus setup`, with the root's password in the environment variable ROOT.
///
/// # Panics
/// If it cannot be started.
pub fn setup(config: &std::path::Path, arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(proxy_binary().unwrap())
        .args(["setup", "--config"])
        .arg(config)
        .args(arguments)
        .env("ROOT", isthmus_lab::ROOT.password)
        .output()
        .unwrap()
}

/// Makes a user and a schema of a name that no other test has.
///
/// # Panics
/// If the writer refuses.
pub async fn make_user(lab: &Lab) -> String {
    let name = format!("rig_{}", RIGS.fetch_add(1, Ordering::Relaxed));
    make_user_named(lab, &name).await;
    name
}

/// Makes a user and a schema of this name.
///
/// # Panics
/// If the writer refuses.
pub async fn make_user_named(lab: &Lab, name: &str) {
    let admin = if lab.flavor() == Flavor::Mysql {
        ", CONNECTION_ADMIN"
    } else {
        ""
    };
    let statements = [
        format!("CREATE DATABASE {name}"),
        format!("CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'"),
        format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, CREATE TEMPORARY TABLES, \
             LOCK TABLES, CREATE VIEW, SHOW VIEW, TRIGGER, EXECUTE, CREATE ROUTINE, ALTER ROUTINE, PROCESS, RELOAD{admin} ON *.* TO {name}@'%'"
        ),
    ];
    for statement in statements {
        lab.writer().execute(statement).await.unwrap();
    }
    lab.wait_caught_up().await.unwrap();
}

async fn direct(address: &SocketAddr, user: &str, schema: &str) -> Conn {
    let options = driver_options(*address, user, PASSWORD).db_name(Some(schema));
    Conn::new(Opts::from(options)).await.unwrap()
}

/// Driver options for an address: TCP, no TLS.
pub fn driver_options(address: SocketAddr, user: &str, password: &str) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(user))
        .pass(Some(password))
        .prefer_socket(false)
}

/// The options for one of the lab's own accounts.
pub fn account_options(address: SocketAddr, account: Account) -> OptsBuilder {
    driver_options(address, account.user, account.password)
}

/// The number of a server's error.
///
/// # Panics
/// If it was something else.
pub fn code<T: std::fmt::Debug>(result: Result<T, mysql_async::Error>) -> u16 {
    match result {
        Err(mysql_async::Error::Server(error)) => error.code,
        other => panic!("not an error of the server: {other:?}"),
    }
}

/// Waits until the condition holds.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One HTTP request without a body: status and body of the answer.
///
/// # Panics
/// If there is no answer.
pub async fn http(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}
