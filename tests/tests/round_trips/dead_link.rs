//! A link that is dead is noticed in seconds, whether something was sent or an answer is awaited.
//!
//! A relay cannot be dead: the kernel goes on confirming what arrives at it. So the writer gets an
//! address of its own on this machine, which is taken away.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use isthmus_tests::rig::{Rig, until};
use isthmus_tests::{Flavor, shared_stage};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, WhiteListFsHandler};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An address that leads to a server as long as it is there.
struct Place {
    address: SocketAddr,
    forwarding: JoinHandle<()>,
}

impl Place {
    async fn leading_to(target: SocketAddr) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let host = Ipv4Addr::new(10, high, low, NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&format!("address add {host}/32 dev lo"));
        // What is sent there without the address goes nowhere.
        ip(&format!("route add blackhole {host}/32"));
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let forwarding = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self {
            address,
            forwarding,
        }
    }

    fn host(&self) -> IpAddr {
        self.address.ip()
    }

    fn vanish(&self) {
        ip(&format!("address delete {}/32 dev lo", self.host()));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.forwarding.abort();
        ip(&format!("route delete blackhole {}/32", self.host()));
        let shown = ip("address show dev lo");
        if shown.contains(&format!("{}/32", self.host())) {
            self.vanish();
        }
    }
}

/// Runs `ip`; returns what it prints.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// How long it takes until a session that runs `sql` gets an error, when the link has died `after`
/// it was sent, or before.
async fn noticed_after(flavor: Flavor, sql: &str, after: Option<Duration>) -> Duration {
    let stage = shared_stage(flavor).await;
    let place = Place::leading_to(stage.lab.writer().address()).await;
    let proxy = stage
        .another_proxy(|config| {
            let endpoints = config.get_mut("endpoints").unwrap().as_array_mut().unwrap();
            let writer = endpoints[0].as_table_mut().unwrap();
            writer.insert("address".into(), place.address.to_string().into());
            isthmus_tests::set(config, "timeouts.dead_link", "3s");
        })
        .await;
    let mut session = isthmus_tests::connect(proxy.address(), |options| options).await;
    session.query_drop("BEGIN").await.unwrap();
    session
        .query_drop("SELECT 1 FROM app.here FOR UPDATE")
        .await
        .unwrap();
    let dying = async {
        if let Some(after) = after {
            tokio::time::sleep(after).await;
        }
        place.vanish();
        Instant::now()
    };
    let start = Instant::now();
    if after.is_none() {
        dying.await;
        session.query_drop(sql).await.unwrap_err();
        return start.elapsed();
    }
    let (result, died) = tokio::join!(session.query_drop(sql), dying);
    result.unwrap_err();
    died.elapsed()
}

async fn what_is_sent_into_a_dead_link_is_given_up(flavor: Flavor) {
    let took = noticed_after(flavor, "DELETE FROM app.here WHERE 0", None).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
}

async fn an_answer_from_a_dead_link_is_not_awaited(flavor: Flavor) {
    let dies = Some(Duration::from_millis(500));
    let took = noticed_after(flavor, "SELECT SLEEP(60) FOR UPDATE", dies).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
}

/// An upload waits as long as its server waits, be it for a lock: whether the file still waits at the
/// client, or all of it in buffers on the way.
async fn a_server_that_is_busy_is_not_a_dead_link(flavor: Flavor) {
    let rig = Rig::start(flavor, "[timeouts]\ndead_link = \"1s\"").await;
    rig.prepare_data(&[
        "CREATE TABLE t (a INT PRIMARY KEY, b LONGTEXT)",
        "INSERT INTO t VALUES (1, '')",
    ])
    .await;
    let mut locking = rig.direct_writer().await;
    locking.query_drop("BEGIN").await.unwrap();
    locking.query_drop("UPDATE t SET b = 'x'").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let sizes = [1, 8, 12, 14, 16, 18, 40];
    let uploads = sizes.map(|megabytes| {
        let lines = megabytes * 1000;
        let file = directory.path().join(format!("{megabytes}.tsv"));
        std::fs::write(&file, format!("1\t{}\n", "x".repeat(1000)).repeat(lines)).unwrap();
        let options = rig.options();
        tokio::spawn(upload(options, file, lines))
    });
    until("the uploads wait for the lock", async || {
        let running = rig.processes(rig.lab.writer()).await;
        let uploads = running.iter().flatten();
        uploads.filter(|sql| sql.starts_with("LOAD")).count() == sizes.len()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    locking.query_drop("ROLLBACK").await.unwrap();
    for upload in uploads {
        upload.await.unwrap();
    }
}

/// Loads `file`, which has `lines`, into the table t.
async fn upload(options: OptsBuilder, file: PathBuf, lines: usize) {
    let load = format!(
        "LOAD DATA LOCAL INFILE '{}' IGNORE INTO TABLE t",
        file.display()
    );
    let handler = WhiteListFsHandler::new([file]);
    let options = options.local_infile_handler(Some(handler));
    let mut session = Conn::new(Opts::from(options)).await.unwrap();
    session.query_drop(load).await.unwrap();
    let info = session.info();
    assert!(info.starts_with(&format!("Records: {lines} ")), "{info}");
}

isthmus_tests::on_both! {
    what_is_sent_into_a_dead_link_is_given_up
    an_answer_from_a_dead_link_is_not_awaited
    a_server_that_is_busy_is_not_a_dead_link
}
