//! A server refuses what the client was told of as done. None does in earnest, so a link misspells a
//! word on its way: the statement that follows gets the error, and leaves nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use isthmus_tests::rig::{code, until};
use isthmus_tests::{Flavor, Stage, connect, set, shared_stage};
use mysql_async::prelude::Queryable as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::column;

/// A link to a server that ends a word with another letter than was sent.
struct Misspelling {
    address: SocketAddr,
    word: Arc<watch::Sender<&'static str>>,
}

impl Misspelling {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let word = Arc::new(watch::Sender::new(""));
        let current = word.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(target).await.unwrap();
                tokio::spawn(pass_on(client, server, current.clone()));
            }
        });
        Self { address, word }
    }
}

async fn pass_on(client: TcpStream, server: TcpStream, word: Arc<watch::Sender<&'static str>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let len = from_client.read(&mut buffer).await?;
            if len == 0 {
                return to_server.shutdown().await;
            }
            let bytes = &mut buffer[..len];
            let word = *word.borrow();
            if !word.is_empty()
                && let Some(at) = bytes
                    .windows(word.len())
                    .position(|part| part == word.as_bytes())
            {
                bytes[at + word.len() - 1] = b'_';
            }
            to_server.write_all(bytes).await?;
        }
    };
    let back = tokio::io::copy(&mut from_server, &mut to_client);
    let _ = tokio::join!(there, back);
}

async fn misspelling(stage: &Stage, schema: &str) -> (isthmus_lab::Proxy, Misspelling) {
    stage.schema(schema).await;
    let table = format!("CREATE TABLE {schema}.t (a INT)");
    stage.lab.writer().execute(table).await.unwrap();
    stage.caught_up().await;
    let link = Misspelling::start(stage.lab.writer().address()).await;
    let address = link.address.to_string();
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
    (proxy, link)
}

async fn the_statement_behind_gets_the_error(flavor: Flavor) {
    let stage = shared_stage(flavor).await;
    let (proxy, link) = misspelling(stage, "trips_misspelt").await;
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
    for (before, word) in days {
        for is_binary in [false, true] {
            let what = format!("{before:?}, {word}, binary {is_binary}");
            let mut a = session().await;
            let insert = a.prep("INSERT INTO t VALUES (?)").await.unwrap();
            for sql in before {
                a.query_drop(*sql).await.unwrap();
            }
            link.word.send_replace(word);
            let result = match is_binary {
                true => a.exec_drop(&insert, (1,)).await,
                false => a.query_drop("INSERT INTO t VALUES (1)").await,
            };
            let error = code(result);
            // Unknown variable, or an error of syntax.
            assert!(matches!(error, 1193 | 1064), "{what}: {error}");
            link.word.send_replace("");
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
    let (proxy, link) = misspelling(stage, "trips_not_begun").await;
    let mut a = connect(proxy.address(), |options| {
        options.db_name(Some("trips_not_begun"))
    })
    .await;
    a.query_drop("BEGIN").await.unwrap();
    link.word.send_replace("START TRANSACTION");
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
