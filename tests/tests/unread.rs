//! A client that leaves its answer unread keeps neither its session nor a backend connection for
//! ever.

#![allow(clippy::unwrap_used)]

use isthmus_lab::Flavor;
use isthmus_protocol::command::Command;
use isthmus_tests::rig::{Rig, until};
use isthmus_tests::wire::Client;
use mysql_async::prelude::Queryable;

const SESSIONS: &str = "SHOW ISTHMUS SESSIONS";

/// A client in the middle of an answer that is larger than all buffers.
async fn who_reads_nothing(rig: &Rig, set: Option<&str>) -> (Client, u32) {
    let mut client = rig.wire().await;
    if let Some(set) = set {
        client.query(set).await.unwrap().expect_ok();
    }
    let id = client.greeting.connection_id;
    let endless = "/* isthmus:writer */ WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
                   SELECT REPEAT('x', 10000) FROM n, n AS other";
    let mut command = vec![Command::Query as u8];
    command.extend_from_slice(endless.as_bytes());
    client.send(0, &command).await.unwrap();
    (client, id)
}

async fn has_session(rig: &Rig, id: u32) -> bool {
    let mut other = rig.connect().await;
    let sessions: Vec<mysql_async::Row> = other.query(SESSIONS).await.unwrap();
    sessions.iter().any(|row| row.get("id") == Some(id))
}

async fn until_it_is_gone(rig: &Rig, id: u32) {
    until("the session has ended", async || {
        !has_session(rig, id).await
    })
    .await;
    until("nothing runs on the writer", async || {
        let running = rig.processes(rig.lab.writer()).await;
        !running.iter().flatten().any(|sql| sql.contains("REPEAT"))
    })
    .await;
}

async fn it_can_be_killed(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let (_client, id) = who_reads_nothing(&rig, None).await;
    until("it runs", async || {
        let running = rig.processes(rig.lab.writer()).await;
        running.iter().flatten().any(|sql| sql.contains("REPEAT"))
    })
    .await;
    let mut killer = rig.connect().await;
    killer.query_drop(format!("KILL {id}")).await.unwrap();
    until_it_is_gone(&rig, id).await;
}

async fn it_has_its_net_write_timeout(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let set = "SET net_write_timeout = 2";
    let (_client, id) = who_reads_nothing(&rig, Some(set)).await;
    until_it_is_gone(&rig, id).await;
}

isthmus_tests::on_both! {
    it_can_be_killed
    it_has_its_net_write_timeout
}
