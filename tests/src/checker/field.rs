//! A writer, two readers, and two proxies in front of them, each with links of its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isthmus::config::TableName;
use isthmus::consistency::Heartbeat;
use isthmus_lab::{
    Flavor, Lab, Options as LabOptions, Proxy, ProxyAddresses, Relay, Server, proxy_binary,
};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};

use super::Options;
use crate::aurora::{Aurora, Kind};
use crate::rig::{self, Blueprint, PASSWORD, http, until};

/// What a proxy does with stale reads; a reload changes to the next.
const ON_STALE: [&str; 3] = ["fastest", "writer", "wait"];

pub(super) struct Field {
    pub(super) lab: Arc<Lab>,
    pub(super) sites: Vec<Site>,
    /// As many as there are clients.
    pub(super) registers: u32,
    /// The newest token that a session was given, and its number.
    pub(super) token: Mutex<Option<(u32, String)>>,
    user: String,
    overlay: String,
    /// What stands between links and servers, for the source `aurora`.
    aurora: Option<Aurora>,
}

/// Makes a program take its clock from elsewhere. Part of Debian's libfaketime.
const FAKE_CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// From the proxies to the first writer and back.
const OCEAN: Duration = Duration::from_millis(30);

/// A proxy and its links.
pub(super) struct Site {
    pub(super) proxy: Proxy,
    /// What the proxy takes its wall clock from.
    clock: PathBuf,
    /// To the servers, in the order of [`Lab::servers`].
    pub(super) links: Vec<Relay>,
    on_stale: AtomicUsize,
}

impl Field {
    pub(super) async fn prepare(options: &Options) -> Self {
        let lab = rig::dedicated(LabOptions {
            flavor: options.flavor,
            readers: 2,
            ..LabOptions::default()
        })
        .await;
        let user = rig::make_user(&lab).await;
        let (source, kind) = match options.source.as_str() {
            "aurora" => ("aurora", Some(Kind::Global)),
            "aurora-cluster" => ("aurora", Some(Kind::Cluster)),
            source => (source, None),
        };
        let aurora = kind.map(|kind| Aurora::start(&lab, kind));
        let source = match options.off {
            true => "source = \"fixed\"\nfixed_lag = \"1ms\"".to_owned(),
            false => format!("source = \"{source}\""),
        };
        let tls = if aurora.is_some() {
            "disabled"
        } else {
            "preferred"
        };
        let overlay = format!(
            "[consistency]\n{source}\nscope = \"key\"\nmax_wait = \"300ms\"\n[pool]\nborrow_timeout = \"2s\"\n\
             max_connections = {}\n[monitor]\ninterval = \"200ms\"\ntimeout = \"1s\"\n[server_tls]\nmode = \"{tls}\"",
            options.clients.max(50)
        );
        let mut field = Self {
            lab,
            sites: Vec::new(),
            registers: options.clients,
            token: Mutex::default(),
            user,
            overlay,
            aurora,
        };
        field.furnish().await;
        for number in 0..2 {
            let site = field.start_proxy(number).await;
            field.sites.push(site);
        }
        field.set_up_heartbeat().await;
        for site in &field.sites {
            until("the proxy is ready", async || {
                http(site.proxy.admin_address(), "GET", "/readyz").await.0 == 200
            })
            .await;
        }
        field
    }

    async fn furnish(&self) {
        let schema = &self.user;
        let values: Vec<String> = (0..self.registers).map(|id| format!("({id}, 0)")).collect();
        for statement in [
            format!("CREATE TABLE {schema}.registers (id INT PRIMARY KEY, n BIGINT)"),
            format!(
                "CREATE TABLE {schema}.lists (id INT, part INT, n BIGINT, \
                 PRIMARY KEY (id, part, n))"
            ),
            format!(
                "INSERT INTO {schema}.registers VALUES {}",
                values.join(", ")
            ),
        ] {
            self.lab.writer().execute(statement).await.unwrap();
        }
        self.lab.wait_caught_up().await.unwrap();
    }

    async fn start_proxy(&self, number: usize) -> Site {
        let servers = self.lab.servers();
        let addresses: Vec<SocketAddr> = match &self.aurora {
            Some(aurora) => aurora.addresses().to_vec(),
            None => servers.iter().map(|server| server.address()).collect(),
        };
        let link = |address: &SocketAddr| Relay::start(*address, Duration::ZERO).unwrap();
        let links: Vec<Relay> = addresses.iter().map(link).collect();
        links[0].set_delays(OCEAN / 2, OCEAN / 2);
        let clock = self.lab.directory().join(format!("clock-{number}"));
        let program = self.lab.directory().join(format!("isthmus-{number}"));
        write_program(&program, &clock);
        let config = |addresses| self.config(&links, number).render(addresses);
        let proxy = Proxy::start_program(&program, self.lab.sandbox(), config);
        let proxy = proxy.await.unwrap();
        Site {
            proxy,
            clock,
            links,
            on_stale: AtomicUsize::new(number),
        }
    }

    /// The configuration with the roles that the servers have now.
    fn config(&self, links: &[Relay], on_stale: usize) -> Blueprint {
        let servers = self.lab.servers();
        let writer = self.lab.writer().name();
        let mut endpoints = Vec::new();
        for (server, link) in servers.into_iter().zip(links) {
            let role = if server.name() == writer {
                "writer"
            } else {
                "reader"
            };
            endpoints.push((server.name(), link.address(), role));
        }
        let on_stale = ON_STALE[on_stale % ON_STALE.len()];
        let mut blueprint = Blueprint::new(&self.user, links[0].address(), &[])
            .with(&self.overlay)
            .with(&format!("[consistency]\non_stale = \"{on_stale}\""));
        blueprint.set_endpoints(&endpoints);
        blueprint
    }

    /// Lets every proxy take over the roles of now, and one of them another way with stale reads.
    pub(super) async fn reload(&self, changes: usize) {
        for (number, site) in self.sites.iter().enumerate() {
            let change = usize::from(number == changes % self.sites.len());
            let on_stale = site.on_stale.fetch_add(change, Ordering::Relaxed);
            let addresses = ProxyAddresses {
                listen: site.proxy.address(),
                admin: site.proxy.admin_address(),
            };
            let text = self.config(&site.links, on_stale).render(addresses);
            let next = site.proxy.config().with_extension("next");
            std::fs::write(&next, text).unwrap();
            std::fs::rename(&next, site.proxy.config()).unwrap();
            let admin = site.proxy.admin_address();
            let (status, answer) = http(admin, "POST", "/api/reload").await;
            assert_eq!(status, 200, "{answer}");
        }
    }

    /// Lets the writer crash and a reader take its place. What the writer had acknowledged, the
    /// reader has, as it would with storage that they share: what replication loses, no proxy can
    /// bring back. Returns the name of the old writer, which is a reader then; `None` if the readers
    /// were too far behind.
    pub(super) async fn crash_writer(&self, reader: usize) -> Option<String> {
        let old = self.lab.writer();
        old.set_read_only(true).await.unwrap();
        if self.lab.wait_caught_up().await.is_err() {
            old.set_read_only(false).await.unwrap();
            return None;
        }
        old.kill();
        self.lab.promote(reader).await.unwrap();
        put_up_sign(self.lab.writer(), "writer").await;
        self.reload(0).await;
        old.start().await.unwrap();
        if self.lab.flavor() == Flavor::Mysql {
            // A write that still finds its way there is lost, and seen to be.
            let lifted = old.execute("SET GLOBAL super_read_only = OFF").await;
            lifted.unwrap();
        }
        put_up_sign(old, "reader").await;
        let mut servers = self.lab.servers().into_iter();
        let number = servers.position(|server| server.name() == old.name());
        self.lab.follow(number.unwrap()).await.unwrap();
        Some(old.name().to_owned())
    }

    /// Makes the heartbeat table if it is not there.
    pub(super) async fn set_up_heartbeat(&self) {
        let table = TableName::new("isthmus", "heartbeat");
        let definition = Heartbeat::definition(&table);
        let grant = Heartbeat::grant(&table, isthmus_lab::MONITOR.user);
        for statement in definition.into_iter().chain([grant]) {
            self.lab.writer().execute(statement).await.unwrap();
        }
    }

    /// A connection to one of the proxies.
    pub(super) async fn connect(&self, site: usize) -> mysql_async::Result<Conn> {
        let address = self.sites[site].proxy.address();
        let options: OptsBuilder = rig::driver_options(address, &self.user, PASSWORD)
            .db_name(Some(&self.user))
            .prefer_socket(false);
        Conn::new(Opts::from(options)).await
    }

    /// Runs a statement on the writer as root.
    pub(super) async fn on_writer(&self, statement: &str) {
        let mut root = self.lab.writer().connect_root().await.unwrap();
        // What is gone already is no harm.
        let _ = root.query_drop(statement).await;
    }
}

impl Site {
    /// Sets the proxy's wall clock to so many seconds off.
    pub(super) fn set_clock(&self, seconds: i32) {
        std::fs::write(&self.clock, format!("{seconds:+}")).unwrap();
    }
}

/// Says on a server which one it is.
async fn put_up_sign(server: &Server, name: &str) {
    let sign = format!("SET sql_log_bin = 0; UPDATE sign.post SET name = '{name}'");
    server.execute(sign).await.unwrap();
}

/// Writes a program that is the proxy with a wall clock that follows a file. What measures time
/// that passes is not touched, as it is when a clock is set.
fn write_program(program: &Path, clock: &Path) {
    std::fs::write(clock, "+0").unwrap();
    let text = format!(
        "#!/bin/sh\nexport LD_PRELOAD={FAKE_CLOCK} FAKETIME_TIMESTAMP_FILE={} FAKETIME_CACHE_DURATION=1 \
         FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1\nexec {} \"$@\"\n",
        clock.display(),
        proxy_binary().unwrap().display()
    );
    std::fs::write(program, text).unwrap();
    std::fs::set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
}
