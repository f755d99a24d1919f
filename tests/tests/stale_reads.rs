//! `stale_reads = "when_writer_is_down"`: an old state rather than none, said in a warning, and for
//! nobody else.

#![allow(clippy::unwrap_used)]

use isthmus_lab::{Flavor, Options};
use isthmus_tests::on_both;
use isthmus_tests::rig::{PASSWORD, Rig, code, dedicated, driver_options, make_user, until};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

on_both! {
    an_old_state_comes_with_a_warning
}

const COUNT: &str = "SELECT COUNT(*) FROM t";

async fn last_reason(conn: &mut Conn) -> String {
    let row: mysql_async::Row = conn
        .query_first("SHOW ISTHMUS LAST")
        .await
        .unwrap()
        .unwrap();
    row.get("reason").unwrap()
}

async fn an_old_state_comes_with_a_warning(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    for on_stale in ["writer", "fastest", "wait"] {
        let overlay = format!(
            "[consistency]\non_stale = \"{on_stale}\"\nmax_wait = \"200ms\"\n\
             [pool]\nborrow_timeout = \"1s\""
        );
        let rig = Rig::start_on(lab.clone(), &overlay).await;
        rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
            .await;
        let strict = make_user(&lab).await;
        let blueprint = rig.blueprint.clone().with_user(&strict).with_user_setting(
            &rig.user,
            "stale_reads",
            "when_writer_is_down",
        );
        let (status, answer) = rig.reload(&blueprint).await;
        assert_eq!(status, 200, "{answer}");
        let mut lenient = rig.connect().await;
        let options = driver_options(rig.proxy.address(), &strict, PASSWORD);
        let options = options.db_name(Some(&rig.schema));
        let mut strict = Conn::new(Opts::from(options)).await.unwrap();

        lab.stop_replication().await.unwrap();
        for (id, conn) in [&mut lenient, &mut strict].into_iter().enumerate() {
            let insert = format!("INSERT INTO t VALUES ({id})");
            conn.query_drop(insert).await.unwrap();
            let count: Option<usize> = conn.query_first(COUNT).await.unwrap();
            assert_eq!(count, Some(id + 1));
            assert_eq!(conn.get_warnings(), 0);
        }
        rig.writer.cut().await;

        // Noticed when the writer is asked.
        let count: Option<u32> = lenient.query_first(COUNT).await.unwrap();
        assert_eq!(count, Some(0), "{on_stale}");
        assert_eq!(lenient.get_warnings(), 1);
        let warnings: Vec<(String, u16, String)> = lenient.query("SHOW WARNINGS").await.unwrap();
        let (level, number, text) = &warnings[0];
        assert_eq!((level.as_str(), *number), ("Warning", 1105));
        assert!(text.contains("stale_reads"), "{text}");
        assert_eq!(warnings.len(), 1);
        let warnings: Option<u32> = lenient.query_first("SELECT @@warning_count").await.unwrap();
        assert_eq!(warnings, Some(1));
        let count: Option<u32> = lenient.exec_first(COUNT, ()).await.unwrap();
        assert_eq!(count, Some(0));
        assert_eq!(lenient.get_warnings(), 1);
        assert!(
            last_reason(&mut lenient)
                .await
                .contains("writer cannot be reached")
        );
        lenient
            .query_drop("START TRANSACTION READ ONLY")
            .await
            .unwrap();
        for _ in 0..2 {
            let count: Option<u32> = lenient.query_first(COUNT).await.unwrap();
            assert_eq!(count, Some(0));
            assert_eq!(lenient.get_warnings(), 1);
        }
        lenient.query_drop("COMMIT").await.unwrap();
        // What is for the writer has no other place.
        let write = lenient.query_drop("INSERT INTO t VALUES (9)").await;
        assert_eq!(code(write), 9501);
        let fresh = lenient.query_drop(format!("/* isthmus:fresh */ {COUNT}"));
        assert_eq!(code(fresh.await), 9501);

        // The other user gets an error.
        assert_eq!(code(strict.query_drop(COUNT).await), 9501);
        let (_, metrics) =
            isthmus_tests::rig::http(rig.proxy.admin_address(), "GET", "/metrics").await;
        assert!(metrics.contains("isthmus_stale_reads_total 5"), "{metrics}");

        rig.writer.restore().await;
        until("the writer is asked again", async || {
            let count: Option<u32> = lenient.query_first(COUNT).await.unwrap();
            count == Some(2)
        })
        .await;
        assert_eq!(lenient.get_warnings(), 0);
        let warnings: Vec<mysql_async::Row> = lenient.query("SHOW WARNINGS").await.unwrap();
        assert!(warnings.is_empty());
        lab.start_replication().await.unwrap();
        until("the reader is asked again", async || {
            let count: Option<u32> = strict.query_first(COUNT).await.unwrap();
            assert_eq!(count, Some(2));
            let row: Option<mysql_async::Row> =
                strict.query_first("SHOW ISTHMUS LAST").await.unwrap();
            row.unwrap().get::<String, _>("route").unwrap() == "reader"
        })
        .await;
    }
}
