//! Who else sees a session's writes: by scope, by key, and by token from one proxy to another in
//! another region.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_lab::{Flavor, Lab, Options, Proxy};
use isthmus_tests::on_both;
use isthmus_tests::rig::{Blueprint, PASSWORD, Rig, WHERE, code, dedicated, driver_options, until};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

on_both! {
    a_scope_says_who_else_sees_a_write
    who_is_told_of_a_write_sees_it
    a_token_goes_from_region_to_region
}

async fn place(conn: &mut Conn) -> String {
    conn.query_first(WHERE).await.unwrap().unwrap()
}

async fn lab(flavor: Flavor) -> Arc<Lab> {
    dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await
}

async fn back_on_the_reader(conn: &mut Conn) {
    until("reads are back on the reader", async || {
        place(conn).await == "reader"
    })
    .await;
}

async fn a_scope_says_who_else_sees_a_write(flavor: Flavor) {
    let lab = lab(flavor).await;
    for (scope, own, other_user) in [
        ("session", "reader", "reader"),
        ("key", "reader", "reader"),
        ("user", "writer", "reader"),
        ("global", "writer", "writer"),
    ] {
        let overlay = format!("[consistency]\non_stale = \"writer\"\nscope = \"{scope}\"");
        let rig = Rig::start_on(lab.clone(), &overlay).await;
        rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
            .await;
        let second = isthmus_tests::rig::make_user(&lab).await;
        let blueprint = rig.blueprint.clone().with_user(&second);
        assert_eq!(rig.reload(&blueprint).await.0, 200);
        let mut writer = rig.connect().await;
        let mut same_user = rig.connect().await;
        let options = driver_options(rig.proxy.address(), &second, PASSWORD);
        let mut other = Conn::new(Opts::from(options)).await.unwrap();
        for conn in [&mut writer, &mut same_user, &mut other] {
            back_on_the_reader(conn).await;
        }
        lab.stop_replication().await.unwrap();
        writer
            .query_drop("/* isthmus:key=ann */ INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        assert_eq!(place(&mut writer).await, "writer", "{scope}");
        assert_eq!(place(&mut same_user).await, own, "{scope}");
        assert_eq!(place(&mut other).await, other_user, "{scope}");
        let by_key = async |conn: &mut Conn, key: &str| -> String {
            let read = format!("/* isthmus:key={key} */ {WHERE}");
            conn.query_first(read).await.unwrap().unwrap()
        };
        if scope == "key" {
            let mut third = rig.connect().await;
            assert_eq!(by_key(&mut third, "bob").await, "reader");
            assert_eq!(by_key(&mut third, "ann").await, "writer");
            // What the driver sends by itself shows no key.
            third
                .query_drop("START TRANSACTION READ ONLY")
                .await
                .unwrap();
            assert_eq!(place(&mut third).await, "writer");
            third.query_drop("COMMIT").await.unwrap();
        }
        lab.start_replication().await.unwrap();
        for conn in [&mut writer, &mut same_user, &mut other] {
            back_on_the_reader(conn).await;
        }
    }
}

/// The client whose write was acknowledged tells another one, which reads at once.
async fn who_is_told_of_a_write_sees_it(flavor: Flavor) {
    let rig = Rig::start(flavor, "[consistency]\nscope = \"user\"").await;
    rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await;
    let (mut teller, mut told) = (rig.wire().await, rig.wire().await);
    for id in 0..1000 {
        let insert = format!("INSERT INTO t VALUES ({id})");
        teller.query(&insert).await.unwrap().expect_ok();
        let read = format!("SELECT COUNT(*) FROM t WHERE id = {id}");
        assert_eq!(told.query(&read).await.unwrap().value(), "1", "{id}");
    }
}

/// A proxy in the writer's region, which has no reader.
async fn proxy_in_tokyo(rig: &Rig, overlay: &str) -> Proxy {
    let writer = rig.lab.writer().address();
    let blueprint = Blueprint::new(&rig.user, writer, &[])
        .with(overlay)
        .with("region = \"tokyo\"");
    Proxy::start(rig.lab.sandbox(), |addresses| blueprint.render(addresses))
        .await
        .unwrap()
}

async fn a_token_goes_from_region_to_region(flavor: Flavor) {
    let lab = lab(flavor).await;
    for source in ["gtid", "heartbeat"] {
        let overlay =
            format!("[consistency]\non_stale = \"wait\"\nmax_wait = \"1s\"\nsource = \"{source}\"");
        let rig = Rig::start_on(lab.clone(), &overlay).await;
        rig.set_up_heartbeat().await;
        rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
            .await;
        let tokyo = proxy_in_tokyo(&rig, &overlay).await;
        let options =
            driver_options(tokyo.address(), &rig.user, PASSWORD).db_name(Some(&rig.schema));
        let mut post = Conn::new(Opts::from(options)).await.unwrap();
        let mut get = rig.connect().await;
        back_on_the_reader(&mut get).await;

        for id in 0..4 {
            lab.stop_replication().await.unwrap();
            post.query_drop(format!("INSERT INTO t VALUES ({id})"))
                .await
                .unwrap();
            if id >= 2 {
                // It has seen more than it has written, maybe.
                post.query_drop("SELECT * FROM t").await.unwrap();
            }
            let token: String = post
                .query_first("SELECT @isthmus_token")
                .await
                .unwrap()
                .unwrap();
            assert!(
                token.len() < 200 && !token.contains([' ', '\'', '\n']),
                "{token}"
            );
            assert_eq!(place(&mut get).await, "reader");
            let read = "SELECT COUNT(*), (SELECT name FROM sign.post) FROM t";
            let read = match id % 2 {
                0 => {
                    let set = format!("SET @isthmus_after = '{token}'");
                    get.query_drop(set).await.unwrap();
                    read.to_owned()
                }
                _ => format!("/* isthmus:after={token} */ {read}"),
            };
            let shown: (i32, String) = get.query_first(&read).await.unwrap().unwrap();
            assert_eq!(shown, (id + 1, "writer".into()), "{token}");
            lab.start_replication().await.unwrap();
            back_on_the_reader(&mut get).await;

            // What has long arrived is not waited for.
            let mut late = rig.connect().await;
            back_on_the_reader(&mut late).await;
            let start = Instant::now();
            late.query_drop(format!("SET @isthmus_after = '{token}'"))
                .await
                .unwrap();
            let shown: (i32, String) = late.query_first(&read).await.unwrap().unwrap();
            assert_eq!(shown, (id + 1, "reader".into()), "{token}");
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }
}

/// MySQL shows what a transaction has written a moment before its GTID counts as executed. Until
/// then somebody owns it.
#[tokio::test]
async fn a_token_has_what_can_be_seen_and_does_not_count_as_executed_yet() {
    let overlay = "[consistency]\non_stale = \"wait\"\nmax_wait = \"300ms\"";
    let rig = Rig::start_on(lab(Flavor::Mysql).await, overlay).await;
    let (mut post, mut get) = (rig.connect().await, rig.connect().await);
    back_on_the_reader(&mut get).await;
    let mut owner = rig.lab.writer().connect_root().await.unwrap();
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    owner
        .query_drop(format!("SET gtid_next = '{uuid}:7'"))
        .await
        .unwrap();
    owner.query_drop("BEGIN").await.unwrap();
    post.query_drop("SET sql_mode = 'NO_BACKSLASH_ESCAPES', sql_select_limit = 0")
        .await
        .unwrap();
    let show = format!("/* isthmus:writer */ {WHERE} LIMIT 1");
    post.query_drop(show).await.unwrap();
    let asking = post.query_first("SELECT @isthmus_token").await;
    let token: String = asking.unwrap().unwrap();
    assert!(
        token.contains(uuid) && !token.contains([' ', '\'', '\n']),
        "{token}"
    );
    let show = format!("/* isthmus:after={token} */ {WHERE}");
    let shown: String = get.query_first(&show).await.unwrap().unwrap();
    assert_eq!(shown, "writer");
    // It commits, and the reader gets it.
    owner.query_drop("COMMIT").await.unwrap();
    owner.query_drop("SET gtid_next = AUTOMATIC").await.unwrap();
    until("the reader has it", async || {
        get.query_first::<String, _>(&show).await.unwrap().unwrap() == "reader"
    })
    .await;
}

#[tokio::test]
async fn a_token_that_cannot_be_reached_ends_on_the_writer() {
    let rig = Rig::start(
        Flavor::Mysql,
        "[consistency]\non_stale = \"wait\"\nmax_wait = \"300ms\"",
    )
    .await;
    let mut conn = rig.connect().await;
    for wrong in ["x", "m.x", "q.1", &format!("d.{}", "0-1-1,".repeat(1000))] {
        let set = conn
            .query_drop(format!("SET @isthmus_after = '{wrong}'"))
            .await;
        assert_eq!(code(set), 1231, "{wrong}");
    }
    conn.query_drop("SET @isthmus_after = ''").await.unwrap();
    back_on_the_reader(&mut conn).await;
    // No server has ever had that transaction.
    let never = "m.3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77";
    conn.query_drop(format!("SET @isthmus_after = '{never}'"))
        .await
        .unwrap();
    let start = Instant::now();
    // From the writer, or from the reader after the writer has been asked and does not know it.
    place(&mut conn).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    // It holds nobody up for long.
    back_on_the_reader(&mut conn).await;
    // Without a proxy, a token is a variable like any other.
    let mut direct = rig.direct_writer().await;
    direct.query_drop("SET @isthmus_after = 'x'").await.unwrap();
    let token: Option<Option<String>> = direct.query_first("SELECT @isthmus_token").await.unwrap();
    assert_eq!(token, Some(None));
}
