//! A server alone, and servers behind the proxy, with the same data.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use isthmus_lab::{Flavor, Lab, Options, Server};
use isthmus_tests::rig::{self, PASSWORD, Rig};
use isthmus_tests::wire::Client;

use crate::grammar;
use crate::script::Actor;

/// Room for two sessions that keep connections, and for the two that swap them.
const POOL: &str = "[pool]\nmax_connections = 6\nborrow_timeout = \"10s\"";

/// Servers choose other plans, and so other flags, when they have counted a table anew.
const STEADY: &str = "--innodb-stats-auto-recalc=OFF";

/// Both sides of the comparison.
pub(crate) struct Pair {
    pub(crate) flavor: Flavor,
    alone: Arc<Lab>,
    rig: Rig,
    runs: AtomicU32,
}

/// A session on one of the sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Direct,
    Proxied,
}

impl Pair {
    /// With `overlay` on the proxy's configuration.
    pub(crate) async fn start(flavor: Flavor, overlay: &str) -> Self {
        let options = |readers| Options {
            flavor,
            readers,
            arguments: vec![STEADY.into()],
            ..Options::default()
        };
        let alone = rig::dedicated(options(0));
        let config = format!("{POOL}\n{overlay}");
        let behind = async { Rig::start_on(rig::dedicated(options(1)).await, &config).await };
        let (alone, rig) = tokio::join!(alone, behind);
        rig::make_user_named(&alone, &rig.user).await;
        let pair = Self {
            flavor,
            alone,
            rig,
            runs: AtomicU32::new(1),
        };
        // A server that has seen the password once asks no more for it than a raw client can say.
        for side in [Side::Direct, Side::Proxied] {
            let server = pair.server(side);
            let options = rig::driver_options(server.address(), &pair.rig.user, PASSWORD);
            drop(mysql_async::Conn::new(options).await.unwrap());
        }
        pair
    }

    /// Where sessions of a side write in the end.
    fn server(&self, side: Side) -> &Server {
        match side {
            Side::Direct => self.alone.writer(),
            Side::Proxied => self.rig.lab.writer(),
        }
    }

    /// Makes the data anew, and returns the number of the run that may begin.
    pub(crate) async fn reset(&self) -> u32 {
        let data = grammar::data(self.flavor);
        let (direct, proxied) = tokio::join!(
            self.server(Side::Direct).execute(&data),
            self.server(Side::Proxied).execute(&data)
        );
        direct.unwrap();
        proxied.unwrap();
        self.rig.lab.wait_caught_up().await.unwrap();
        self.runs.fetch_add(1, Ordering::Relaxed)
    }

    /// Connects a session.
    pub(crate) async fn connect(&self, side: Side, actor: &Actor) -> Client {
        let address = match side {
            Side::Direct => self.alone.writer().address(),
            Side::Proxied => self.rig.proxy.address(),
        };
        let mut client = Client::connect(address).await.unwrap().unwrap();
        client.capabilities = actor.capabilities;
        client.collation = actor.collation;
        let schema = actor.selects_schema.then_some(actor.schema);
        client
            .authenticate(&self.rig.user, PASSWORD, schema)
            .await
            .unwrap()
            .unwrap();
        client
    }

    /// How widely the statements were spread behind the proxy.
    pub(crate) async fn spread(&self) -> Spread {
        let (_, metrics) = rig::http(self.rig.proxy.admin_address(), "GET", "/metrics").await;
        let routed = |route: &str| -> u64 {
            let marker = format!("route=\"{route}\"");
            let line = metrics.lines().find(|line| line.contains(&marker));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
                .unwrap_or(0)
        };
        Spread {
            writer: routed("writer"),
            reader: routed("reader"),
            connections: [
                self.rig.processes(self.rig.lab.writer()).await.len(),
                self.rig.processes(self.rig.lab.reader()).await.len(),
            ],
        }
    }
}

/// What went where.
#[derive(Debug)]
pub(crate) struct Spread {
    writer: u64,
    reader: u64,
    connections: [usize; 2],
}

impl Spread {
    /// Asserts that both servers and several connections took part.
    pub(crate) fn assert_wide(&self) {
        assert!(
            self.reader * 20 > self.writer,
            "few reads got to the reader: {self}"
        );
        let [writer, reader] = self.connections;
        assert!(
            writer > 1 && reader > 1,
            "few connections took part: {self}"
        );
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [writer, reader] = self.connections;
        write!(
            f,
            "{} statements went to the writer over {writer} connections, {} to the reader over {reader}",
            self.writer, self.reader
        )
    }
}
