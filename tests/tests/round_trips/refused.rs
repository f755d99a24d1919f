//! A server refuses what the client was told of as done. None does in earnest, so a link misspells a
//! word on its way: the statement that follows gets the error, and leaves nothing.

use std::sync::Arc;

use isthmus_lab::{Direction, Proxy};
use isthmus_tests::rig::{code, until};
use isthmus_tests::{Flavor, Stage, connect, garbling, set, shared_stage};
use mysql_async::prelude::Queryable as _;
use tokio::sync::watch;

use crate::column;

/// The word that a link to the writer ends with another letter than was sent.
type Word = Arc<watch::Sender<&'static str>>;

fn misspell(word: &str, bytes: &mut [u8]) {
    if !word.is_empty()
        && let Some(at) = bytes
            .windows(word.len())
            .position(|part| part == word.as_bytes())
    {
        bytes[at + word.len() - 1] = b'_';
    }
}

async fn misspelling(stage: &Stage, schema: &str) -> (Proxy, Word) {
    stage.schema(schema).await;
    let table = format!("CREATE TABLE {schema}.t (a INT)");
    stage.lab.writer().execute(table).await.unwrap();
    stage.caught_up().await;
    let word = Arc::new(watch::Sender::new(""));
    let current = word.clone();
    let address = garbling(stage.lab.writer().address(), move |direction, bytes| {
        if direction == Direction::ToServer {
            misspell(*current.borrow(), bytes);
        }
    })
    .await
    .to_string();
    let proxy = stage.another_proxy(|config| {
        let endpoints = config.get_mut("endpoints").unwrap().as_array_mut().unwrap();
        let writer = endpoints[0].as_table_mut().unwrap();
        writer.insert("address".into(), address.clone().into());
        set(config, "server_tls.mode", "disabled");
        set(config, "pool.max_connections", 1);
    });
    let proxy = proxy.await;
    // Until the writer is known nothing is deferred.
    let mut session = connect(proxy.address(), |options| options).await;
    session.query_drop("DO RELEASE_ALL_LOCKS()").await.unwrap();
    (proxy, word)
}

async fn the_statement_behind_gets_the_error(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let (proxy, word) = misspelling(stage, "trips_misspelt").await;
    let session = async || {
        connect(proxy.address(), |options| {
            options.db_name(Some("trips_misspelt"))
        })
        .await
    };
    let insert = "INSERT INTO t VALUES (99)";
    let days: [(&[&str], &str); 5] = [
        (&["BEGIN", "SAVEPOINT a"], "SAVEPOINT `a`"),
        (&["BEGIN", insert, "SAVEPOINT a"], "SAVEPOINT `a`"),
        (
            &["BEGIN", insert, "SAVEPOINT a", "RELEASE SAVEPOINT a"],
            "RELEASE SAVEPOINT",
        ),
        (&["SET time_zone = '+03:00'"], "time_zone"),
        (&["SET time_zone = '+03:00'", "BEGIN"], "time_zone"),
    ];
    for (before, misspelt) in days {
        for is_binary in [false, true] {
            let what = format!("{before:?}, {misspelt}, binary {is_binary}");
            let mut a = session().await;
            let insert = a.prep("INSERT INTO t VALUES (?)").await.unwrap();
            for sql in before {
                a.query_drop(*sql).await.unwrap();
            }
            word.send_replace(misspelt);
            let result = match is_binary {
                true => a.exec_drop(&insert, (1,)).await,
                false => a.query_drop("INSERT INTO t VALUES (1)").await,
            };
            let error = code(result);
            // Unknown variable, or an error of syntax.
            assert!(matches!(error, 1193 | 1064), "{what}: {error}");
            word.send_replace("");
            // Whether the session goes on or not, that has left nothing to commit.
            let _ = a.query_drop("COMMIT").await;
            drop(a);
            let mut other = session().await;
            until("the writer is there again", async || {
                let locking = "SELECT 1 FROM t FOR UPDATE";
                other.query_drop(locking).await.is_ok()
            })
            .await;
            let rows = "SELECT CAST(a AS CHAR) FROM trips_misspelt.t";
            let rows = column(stage.lab.writer(), rows).await;
            assert_eq!(rows, [""; 0], "{what}");
        }
    }
}

async fn a_refused_beginning_is_told_as_a_loss(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let (proxy, word) = misspelling(stage, "trips_not_begun").await;
    let mut a = connect(proxy.address(), |options| {
        options.db_name(Some("trips_not_begun"))
    })
    .await;
    a.query_drop("BEGIN").await.unwrap();
    word.send_replace("START TRANSACTION");
    let error = a.query_drop("INSERT INTO t VALUES (1)").await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("it may or may not have run"), "{error}");
    let next = a.query_drop("INSERT INTO t VALUES (2)").await;
    next.expect_err("the session is over");
}

isthmus_tests::on_both! {
    the_statement_behind_gets_the_error
    a_refused_beginning_is_told_as_a_loss
}
