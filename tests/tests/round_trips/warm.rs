//! Connections are made before they are needed, so that nobody waits for TCP, TLS and a login over
//! the ocean.

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_lab::{Lab, Options};
use isthmus_tests::Flavor;
use isthmus_tests::rig::{Rig, code, dedicated, http, shared, until};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};

/// So long that a machine that dawdles does not look like one more trip.
const FAR: Duration = Duration::from_millis(400);

/// A rig with a writer that is far away.
async fn far(lab: Arc<Lab>, overlay: &str) -> Rig {
    // Its own questions cross the same line.
    let overlay = format!("{overlay}\n[monitor]\ntimeout = \"10s\"\n[timeouts]\nconnect = \"20s\"");
    let rig = Rig::prepare(lab, &overlay).await;
    rig.ready().await;
    rig.prepare_data(&["CREATE TABLE t (a INT)"]).await;
    rig.writer.set_round_trip(FAR);
    rig
}

async fn figure(rig: &Rig, name: &str) -> f64 {
    let (_, text) = http(rig.proxy.admin_address(), "GET", "/metrics").await;
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.map_or(0.0, |value| value.trim().parse().unwrap())
}

async fn made_ahead(rig: &Rig) -> f64 {
    let name = "isthmus_backend_connections_made_ahead_total{endpoint=\"tokyo\"}";
    figure(rig, name).await
}

/// How many statements for the writer have found no connection that was ready.
async fn waits(rig: &Rig) -> f64 {
    figure(
        rig,
        "isthmus_borrow_duration_seconds_count{endpoint=\"tokyo\"}",
    )
    .await
}

/// How many connections to the writer were closed for this reason.
async fn closed(rig: &Rig, reason: &str) -> f64 {
    let name = format!(
        "isthmus_backend_connections_closed_total{{endpoint=\"tokyo\",reason=\"{reason}\"}}"
    );
    figure(rig, &name).await
}

/// Lets all of them write at the same time; how long each took.
async fn burst(sessions: Vec<Conn>) -> Vec<Duration> {
    let insert = |mut session: Conn| async move {
        let start = Instant::now();
        session
            .query_drop("INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        start.elapsed()
    };
    let inserts: Vec<_> = sessions
        .into_iter()
        .map(|session| tokio::spawn(insert(session)))
        .collect();
    let mut times = Vec::new();
    for insert in inserts {
        times.push(insert.await.unwrap());
    }
    times
}

/// Returns when so many connections lead to the writer.
async fn has_connections(rig: &Rig, count: usize) {
    until("the writer has the connections", async || {
        rig.processes(rig.lab.writer()).await.len() == count
    })
    .await;
}

async fn a_burst_waits_for_no_connection(flavor: Flavor) {
    let rig = far(shared(flavor).await, "[pool]\nmin_idle = 3").await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(rig.connect().await);
    }
    until("three connections are made ahead", async || {
        made_ahead(&rig).await >= 3.0
    })
    .await;
    expect_no_wait(&rig, sessions).await;
}

/// Lets all of them write at the same time, over connections that are ready.
async fn expect_no_wait(rig: &Rig, sessions: Vec<Conn>) {
    let before = waits(rig).await;
    for took in burst(sessions).await {
        assert!(took >= FAR, "{took:?}");
    }
    assert_eq!(waits(rig).await, before, "statements have waited");
}

/// All that were ready in the evening have been replaced since, and those that are ready now have
/// crossed the ocean for TLS and the login already.
async fn a_burst_after_a_quiet_night_waits_for_no_connection(flavor: Flavor) {
    let overlay = "[pool]\nmin_idle = 3\nmax_life = \"4s\"\n[server_tls]\nmode = \"required\"";
    let rig = far(shared(flavor).await, overlay).await;
    // The night is short, and not worth waiting for.
    rig.writer.set_round_trip(Duration::ZERO);
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(rig.connect().await);
    }
    until("all have been replaced twice", async || {
        closed(&rig, "age").await >= 6.0
    })
    .await;
    rig.writer.set_round_trip(FAR);
    expect_no_wait(&rig, sessions).await;
}

/// Connections that were made at once end one after the other, and others are there before.
async fn what_was_made_together_does_not_end_together(flavor: Flavor) {
    const MANY: usize = 40;
    let overlay = format!("[pool]\nmin_idle = {MANY}\nmax_connections = 200\nmax_life = \"20s\"");
    let rig = Rig::start(flavor, &overlay).await;
    let _session = rig.connect().await;
    has_connections(&rig, MANY).await;
    let mut ends = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while ends.len() < MANY {
        assert!(Instant::now() < deadline, "only {} ended", ends.len());
        let count = closed(&rig, "age").await as usize;
        ends.resize(count, Instant::now());
        let ready = rig.processes(rig.lab.writer()).await.len();
        // Some are being replaced, the more the slower this machine is.
        assert!(ready >= MANY / 2, "{ready} are ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Up to two seconds apart, and looked after once a second.
    let within = |start: &Instant| {
        let moment = *start..*start + Duration::from_millis(500);
        ends.iter().filter(|end| moment.contains(*end)).count()
    };
    let most = ends.iter().map(within).max().unwrap();
    assert!(most <= MANY * 3 / 4, "{most} of {MANY} at once");
}

/// After a restart of the server, or of what lies in between, they come back one after the other.
async fn what_broke_at_once_does_not_come_back_at_once(flavor: Flavor) {
    const MANY: usize = 6;
    let rig = far(shared(flavor).await, &format!("[pool]\nmin_idle = {MANY}")).await;
    rig.writer.set_round_trip(Duration::ZERO);
    let _session = rig.connect().await;
    has_connections(&rig, MANY).await;
    rig.writer.set_round_trip(FAR);
    rig.writer.reset_connections().await;
    let mut before = rig.writer.traffic().connections;
    // Each of them takes several trips. The monitor's own may be among them.
    let end = Instant::now() + FAR * 12;
    while Instant::now() < end {
        tokio::time::sleep(FAR * 2).await;
        let now = rig.writer.traffic().connections;
        assert!(now - before <= 3, "{} at once", now - before);
        before = now;
    }
    rig.writer.set_round_trip(Duration::ZERO);
    has_connections(&rig, MANY).await;
}

async fn what_nobody_uses_does_not_grow(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    // Several times the interval at which connections are looked after.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(rig.processes(rig.lab.writer()).await.len(), 0);
    let mut session = rig.connect().await;
    has_connections(&rig, 2).await;
    for _ in 0..10 {
        session.query_drop("DO RELEASE_ALL_LOCKS()").await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    // Two are ready beside the one that was in use.
    let count = rig.processes(rig.lab.writer()).await.len();
    assert!((2..=3).contains(&count), "{count} connections");
    let (status, changes) = rig
        .reload(&rig.blueprint.clone().with("[pool]\nmin_idle = 5"))
        .await;
    assert_eq!(status, 200, "{changes}");
    has_connections(&rig, 5).await;
    let fewer = "[pool]\nmin_idle = 1\nidle_timeout = \"1s\"";
    rig.reload(&rig.blueprint.clone().with(fewer)).await;
    has_connections(&rig, 1).await;
    let none = "[pool]\nmin_idle = 0\nidle_timeout = \"1s\"";
    rig.reload(&rig.blueprint.clone().with(none)).await;
    has_connections(&rig, 0).await;
}

async fn connections_are_replaced_before_they_end(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    let writer = lab.writer();
    writer
        .execute("SET GLOBAL wait_timeout = 10")
        .await
        .unwrap();
    let rig = Rig::start_on(lab.clone(), "[pool]\nmin_idle = 2").await;
    let session = rig.connect().await;
    has_connections(&rig, 2).await;
    until("both are replaced", async || {
        let ready = rig.processes(writer).await.len();
        assert!(ready >= 2, "{ready} are ready");
        closed(&rig, "wait_timeout").await >= 2.0
    })
    .await;
    assert_eq!(
        closed(&rig, "broken").await,
        0.0,
        "the server closed one first"
    );
    drop(session);
    let short = "[pool]\nmin_idle = 2\nmax_life = \"8s\"";
    writer
        .execute("SET GLOBAL wait_timeout = 28800")
        .await
        .unwrap();
    rig.reload(&rig.blueprint.clone().with(short)).await;
    let _session = rig.connect().await;
    has_connections(&rig, 2).await;
    until("both are replaced for their age", async || {
        let ready = rig.processes(writer).await.len();
        assert!(ready >= 2, "{ready} are ready");
        closed(&rig, "age").await >= 2.0
    })
    .await;
}

async fn a_server_that_refuses_is_not_pestered(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let change = format!("ALTER USER {}@'%' IDENTIFIED BY 'another'", rig.user);
    rig.lab.writer().execute(change).await.unwrap();
    rig.lab.wait_caught_up().await.unwrap();
    // The driver asks the server something when it has logged in.
    let refused = Conn::new(Opts::from(rig.options())).await;
    assert_eq!(code(refused), 1045);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let failures = "isthmus_backend_connect_failures_total{endpoint=\"tokyo\"}";
    let failures = figure(&rig, failures).await;
    assert!(
        (1.0..=6.0).contains(&failures),
        "{failures} in five seconds"
    );
}

async fn the_second_connection_resumes_the_session_of_tls(flavor: Flavor) {
    let overlay = "[pool]\nmin_idle = 0\n[server_tls]\nmode = \"required\"\n\
                   [monitor]\ninterval = \"1h\"\n[consistency]\nsource = \"fixed\"";
    let rig = Rig::start(flavor, overlay).await;
    let connect = async |lock: &str| {
        let mut session = rig.connect().await;
        let before = rig.writer.traffic();
        let lock = format!("SELECT GET_LOCK(CONCAT(DATABASE(), '{lock}'), 1)");
        session.query_drop(lock).await.unwrap();
        let traffic = rig.writer.traffic() - before;
        assert_eq!(traffic.connections, 1);
        (session, traffic.to_client.bytes)
    };
    let (_first, with_certificate) = connect("a").await;
    let (mut second, without) = connect("b").await;
    // MariaDB 10.11 does not count it, but sends no certificate either.
    assert!(
        without + 500 < with_certificate,
        "{with_certificate} bytes, then {without}"
    );
    if flavor == Flavor::Mysql {
        let query = "SHOW STATUS LIKE 'Ssl_sessions_reused'";
        let reused: Option<(String, String)> = second.query_first(query).await.unwrap();
        assert_eq!(reused.unwrap().1, "1");
    }
}

isthmus_tests::on_both! {
    a_burst_waits_for_no_connection
    a_burst_after_a_quiet_night_waits_for_no_connection
    what_was_made_together_does_not_end_together
    what_broke_at_once_does_not_come_back_at_once
    what_nobody_uses_does_not_grow
    connections_are_replaced_before_they_end
    a_server_that_refuses_is_not_pestered
    the_second_connection_resumes_the_session_of_tls
}
