//! The source `aurora`, on an emulation of Aurora's tables in front of real MySQL servers: what is
//! chosen where, and that nothing is taken for a proof that is none.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_lab::{Lab, Options, Proxy};
use isthmus_tests::aurora::{Aurora, Kind};
use isthmus_tests::rig::{self, Blueprint, PASSWORD, WHERE, dedicated, driver_options, until};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row};

/// A proxy in front of what looks like Aurora.
struct Stand {
    lab: Arc<Lab>,
    proxy: Proxy,
    user: String,
    _aurora: Aurora,
}

impl Stand {
    async fn start(lab: Arc<Lab>, kind: Kind, overlay: &str) -> Self {
        let aurora = Aurora::start(&lab, kind);
        let user = rig::make_user(&lab).await;
        let table = format!("CREATE TABLE {user}.r (id INT PRIMARY KEY, n INT)");
        lab.writer().execute(table).await.unwrap();
        lab.wait_caught_up().await.unwrap();
        let [writer, reader] = aurora.addresses() else {
            panic!("one writer and one reader");
        };
        let blueprint = Blueprint::new(&user, *writer, &[*reader])
            .with("[server_tls]\nmode = \"disabled\"")
            .with(overlay);
        let proxy = Proxy::start(lab.sandbox(), |addresses| blueprint.render(addresses));
        let proxy = proxy.await.unwrap();
        Self {
            lab,
            proxy,
            user,
            _aurora: aurora,
        }
    }

    async fn connect(&self) -> Conn {
        let options = driver_options(self.proxy.address(), &self.user, PASSWORD);
        Conn::new(Opts::from(options.db_name(Some(&self.user))))
            .await
            .unwrap()
    }
}

/// What SHOW ISTHMUS TOPOLOGY says of how the reader is followed.
async fn chosen(conn: &mut Conn) -> (String, String) {
    let mut found = None;
    until("the source is chosen", async || {
        let rows: Vec<Row> = conn.query("SHOW ISTHMUS TOPOLOGY").await.unwrap();
        let row = rows.iter().find(|row| {
            let name: Option<String> = row.get("name");
            name.as_deref() == Some("virginia")
        });
        let row = row.unwrap();
        let source: Option<String> = row.get("source").unwrap();
        found = source.zip(row.get("source_reason").unwrap());
        found.is_some()
    })
    .await;
    found.unwrap()
}

async fn place(conn: &mut Conn) -> String {
    conn.query_first(WHERE).await.unwrap().unwrap()
}

async fn back_on_the_reader(conn: &mut Conn) {
    until("reads are back on the reader", async || {
        // Each read on the writer begins the wait anew.
        tokio::time::sleep(Duration::from_millis(500)).await;
        place(conn).await == "reader"
    })
    .await;
}

async fn writes_are_read(kind: Kind, table: &str) {
    let lab = dedicated(Options::default()).await;
    for source in ["auto", "aurora"] {
        let overlay = format!("[consistency]\nsource = \"{source}\"\non_stale = \"writer\"");
        let stand = Stand::start(lab.clone(), kind, &overlay).await;
        let mut conn = stand.connect().await;
        let (source, reason) = chosen(&mut conn).await;
        assert_eq!(source, "aurora", "{reason}");
        assert!(reason.contains(table), "{reason}");
        let figure = format!(
            "isthmus_reader_source_info{{endpoint=\"virginia\",source=\"aurora\",reason=\"{reason}\"}}"
        );
        until("the status shows it", async || {
            let figures: Vec<(String, f64)> = conn.query("SHOW ISTHMUS STATUS").await.unwrap();
            figures.contains(&(figure.clone(), 1.0))
        })
        .await;
        back_on_the_reader(&mut conn).await;

        for n in 0..3 {
            lab.stop_replication().await.unwrap();
            let insert = format!("INSERT INTO r VALUES ({n}, {n})");
            conn.query_drop(insert).await.unwrap();
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(700) {
                assert_eq!(place(&mut conn).await, "writer");
            }
            // Another session has written nothing and does not pay.
            assert_eq!(place(&mut stand.connect().await).await, "reader");
            lab.start_replication().await.unwrap();
            back_on_the_reader(&mut conn).await;
            let shown: Option<u32> = conn.query_first("SELECT MAX(n) FROM r").await.unwrap();
            assert_eq!(shown, Some(n));
        }
    }
}

#[tokio::test]
async fn a_global_database_is_followed_by_lsn() {
    writes_are_read(Kind::Global, "aurora_global_db_instance_status").await;
}

#[tokio::test]
async fn a_cluster_is_followed_by_lag() {
    writes_are_read(Kind::Cluster, "replica_host_status").await;
}

#[tokio::test]
async fn the_lag_behind_another_volume_proves_nothing() {
    let lab = dedicated(Options::default()).await;
    let stand = Stand::start(lab.clone(), Kind::Old, "").await;
    let mut conn = stand.connect().await;
    let (source, reason) = chosen(&mut conn).await;
    assert_eq!(source, "fixed", "{reason}");
    assert!(reason.contains("does not tell how far"), "{reason}");

    // Who insists on it reads from the writer after a write.
    let overlay = "[consistency]\nsource = \"aurora\"\non_stale = \"writer\"";
    let stand = Stand::start(lab, Kind::Old, overlay).await;
    stand
        .proxy
        .logged("the source aurora does not work")
        .await
        .unwrap();
    let mut conn = stand.connect().await;
    assert_eq!(place(&mut conn).await, "reader");
    conn.query_drop("INSERT INTO r VALUES (1, 1)")
        .await
        .unwrap();
    stand.lab.wait_caught_up().await.unwrap();
    assert_eq!(place(&mut conn).await, "writer");
}

#[tokio::test]
async fn a_heartbeat_is_preferred() {
    let lab = dedicated(Options::default()).await;
    let stand = Stand::start(lab.clone(), Kind::Global, "").await;
    let output = rig::setup(
        stand.proxy.config(),
        &["--user", "root", "--password-env", "ROOT"],
    );
    assert!(output.status.success(), "{output:?}");
    let report = String::from_utf8(output.stdout).unwrap();
    for grant in report.lines().filter(|line| line.starts_with("GRANT")) {
        lab.writer().execute(grant).await.unwrap();
    }
    lab.wait_caught_up().await.unwrap();
    let stand = Stand::start(lab, Kind::Global, "").await;
    let (source, reason) = chosen(&mut stand.connect().await).await;
    assert_eq!(source, "heartbeat", "{reason}");
    assert!(reason.contains("readers of Aurora"), "{reason}");
}
