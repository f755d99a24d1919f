//! Nothing is lost: the proxy, the writer or a link dies between any two bytes of a transaction, and
//! every transaction that was reported committed is there, none is that was reported rolled back or
//! never committed, and no statement ran outside its transaction.
//!
//! `scripts/test loss [--points N] [--proxy-kills N] [--writer-kills N] [--seed S] [--server mysql|mariadb]`
//!
//! Each round is a session that begins a transaction in one of the ways that the proxy defers,
//! writes a few rows with one number, and ends it. The link to the writer or to the client stops
//! behind a random byte, and there it is cut, or the proxy or the writer is killed.

#![allow(clippy::unwrap_used)]

mod transaction;

use std::time::Duration;

use isthmus_lab::{Direction, Options, Relay, Server};
use isthmus_tests::rig::until;
use isthmus_tests::{Flavor, Stage, set};

use crate::transaction::{Fate, Transaction};

/// What the program was asked for, in environment variables that `scripts/test` sets.
#[derive(Debug)]
struct Wanted {
    /// How often a link is cut on the way.
    points: u64,
    /// How often the proxy is killed.
    proxy_kills: u64,
    /// How often the writer is killed.
    writer_kills: u64,
    seed: u64,
}

impl Wanted {
    fn from_environment() -> Self {
        let number = |name: &str, usual| {
            let value = std::env::var(format!("ISTHMUS_LOSS_{name}"));
            value.map_or(usual, |value| {
                let number = value.parse();
                number.unwrap_or_else(|_| panic!("{name} is {value}, no number"))
            })
        };
        Self {
            points: number("POINTS", 300),
            proxy_kills: number("PROXY_KILLS", 10),
            writer_kills: number("WRITER_KILLS", 2),
            seed: number("SEED", 1),
        }
    }
}

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Link,
    Proxy,
    Writer,
}

/// A proxy with a link on either side.
struct Ocean {
    proxy: isthmus_lab::Proxy,
    /// From the clients to the proxy, and from the proxy to the writer.
    links: [Relay; 2],
}

impl Ocean {
    async fn new(stage: &Stage) -> Self {
        let line = Relay::start(stage.lab.writer().address(), Duration::ZERO).unwrap();
        let proxy = proxy(stage, &line).await;
        let front = Relay::start(proxy.address(), Duration::ZERO).unwrap();
        Self {
            proxy,
            links: [front, line],
        }
    }

    /// Kills the victim, and brings it or another one back.
    async fn lose(&mut self, victim: Victim, link: usize, stage: &Stage) {
        match victim {
            Victim::Link => {}
            Victim::Proxy => self.proxy.kill(),
            Victim::Writer => stage.lab.writer().kill(),
        }
        self.links[link].reset_connections().await;
        self.links[link].resume();
        match victim {
            Victim::Link => {}
            Victim::Proxy => {
                self.proxy = proxy(stage, &self.links[1]).await;
                self.links[0].set_target(self.proxy.address());
            }
            Victim::Writer => stage.lab.writer().start().await.unwrap(),
        }
    }
}

async fn proxy(stage: &Stage, line: &Relay) -> isthmus_lab::Proxy {
    stage
        .another_proxy(|config| {
            let endpoints = config.get_mut("endpoints").unwrap().as_array_mut().unwrap();
            let writer = endpoints[0].as_table_mut().unwrap();
            writer.insert("address".into(), line.address().to_string().into());
            // All sessions leave their state on the same connections, and its own questions are few.
            set(config, "pool.max_connections", 2);
            set(config, "pool.min_idle", 1);
            set(config, "monitor.interval", "1h");
            set(config, "consistency.source", "fixed");
            set(config, "consistency.fixed_lag", "1ms");
            let users = config.get_mut("users").unwrap().as_array_mut().unwrap();
            let user = users[0].as_table_mut().unwrap();
            user.insert("optimistic_reads".into(), true.into());
        })
        .await
}

async fn every_transaction_is_whole(flavor: Flavor) {
    let wanted = Wanted::from_environment();
    let options = Options {
        flavor,
        ..Options::default()
    };
    // Of its own proxy, no connections are to be left.
    let stage = Stage::start(options, |config| {
        set(config, "pool.min_idle", 0);
        set(config, "pool.idle_timeout", "1s");
    });
    let stage = &stage.await.unwrap();
    stage.schema("loss").await;
    let writer = stage.lab.writer();
    let make = "CREATE TABLE loss.t (round INT, part INT, PRIMARY KEY (round, part))";
    writer.execute(make).await.unwrap();
    stage.caught_up().await;
    let mut ocean = Ocean::new(stage).await;
    let mut random = fastrand::Rng::with_seed(wanted.seed);
    let victims = [
        (Victim::Link, wanted.points),
        (Victim::Proxy, wanted.proxy_kills),
        (Victim::Writer, wanted.writer_kills),
    ];
    let mut fates = Vec::new();
    let mut longest = [[1; 2]; 2];
    for (victim, times) in victims {
        let mut deaths = 0;
        while deaths < times {
            let number = fates.len();
            let transaction = Transaction::generate(number, &mut random);
            let link = random.usize(..2);
            let direction = [Direction::ToServer, Direction::ToClient][random.usize(..2)];
            // Now and then nothing dies, to learn how many bytes there are.
            let is_spared = number % 16 == 0;
            let point = random.u64(..longest[link][direction as usize]);
            let session = transaction::connect(ocean.links[0].address()).await;
            let before = ocean.links.each_ref().map(Relay::traffic);
            if !is_spared {
                ocean.links[link].stop_after(direction, point);
            }
            let (fate, has_died) = {
                let running = transaction.run(session);
                tokio::pin!(running);
                tokio::select! {
                    fate = &mut running => {
                        ocean.links[link].resume();
                        (fate, false)
                    }
                    () = ocean.links[link].stopped() => {
                        ocean.lose(victim, link, stage).await;
                        (running.await, true)
                    }
                }
            };
            deaths += u64::from(has_died);
            if is_spared {
                assert_eq!(fate, transaction.undisturbed(), "{transaction:?}");
                for (longest, (link, before)) in
                    longest.iter_mut().zip(ocean.links.iter().zip(before))
                {
                    let traffic = link.traffic() - before;
                    longest[0] = traffic.to_server.bytes.max(longest[0]);
                    longest[1] = traffic.to_client.bytes.max(longest[1]);
                }
            }
            fates.push((transaction, fate));
        }
    }
    drop(ocean);
    nobody_is_left(writer).await;
    judge(writer, &fates).await;
    println!("{flavor}: {} transactions, {wanted:?}", fates.len());
}

/// Returns when the sessions of all proxies that have died are over.
async fn nobody_is_left(writer: &Server) {
    let query =
        "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.PROCESSLIST WHERE USER = 'app'";
    until("all sessions are over", async || {
        writer.query::<String>(query).await.unwrap() == ["0"]
    })
    .await;
}

/// Compares what the clients were told with what is there.
async fn judge(writer: &Server, fates: &[(Transaction, Fate)]) {
    let rows: Vec<(usize, i32)> = writer
        .query("SELECT round, part FROM loss.t ORDER BY round, part")
        .await
        .unwrap();
    let mut counts = [0; 3];
    for (number, (transaction, fate)) in fates.iter().enumerate() {
        let found = rows.iter().filter(|(round, _)| *round == number);
        let found: Vec<i32> = found.map(|(_, part)| *part).collect();
        let whole = transaction.parts();
        counts[*fate as usize] += 1;
        let is_right = match fate {
            Fate::Committed => found == whole,
            Fate::Unknown => found == whole || found.is_empty(),
            Fate::Lost => found.is_empty(),
        };
        assert!(
            is_right,
            "{fate:?}, and {found:?} is there: {transaction:?}"
        );
    }
    println!("committed, not known, not committed: {counts:?}");
}

mod mysql {
    #[tokio::test(flavor = "multi_thread")]
    async fn every_transaction_is_whole() {
        super::every_transaction_is_whole(super::Flavor::Mysql).await;
    }
}

mod mariadb {
    #[tokio::test(flavor = "multi_thread")]
    async fn every_transaction_is_whole() {
        super::every_transaction_is_whole(super::Flavor::Mariadb).await;
    }
}
