//! Tokens that clients hear of by session tracking, without a statement of their own.

#![allow(clippy::unwrap_used)]

use isthmus_lab::{Flavor, Options};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::ok::OkPacket;
use isthmus_protocol::session_track::{Change, changes};
use isthmus_tests::on_both;
use isthmus_tests::rig::{PASSWORD, Rig, dedicated, until};
use isthmus_tests::wire::{Client, USUAL, query_payload};
use mysql_async::prelude::Queryable;

on_both! {
    who_asks_for_it_is_told_a_token
}

const LIST: &str = "SET SESSION session_track_system_variables = ";

/// Runs a statement without rows; the variables that its answer tells of.
async fn heard(client: &mut Client, sql: &str) -> Vec<(String, String)> {
    client.send(0, &query_payload(sql)).await.unwrap();
    let packet = client.receive().await.unwrap();
    assert_eq!(packet.payload[0], 0, "{sql}: {packet:?}");
    let ok = OkPacket::parse(&packet.payload, true).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    changes(ok.session_state)
        .filter_map(|change| match change.unwrap() {
            Change::Variable { name, value } => Some((text(name), text(value))),
            _ => None,
        })
        .collect()
}

async fn token(client: &mut Client, sql: &str) -> Option<String> {
    let heard = heard(client, sql).await;
    let mut tokens = heard
        .into_iter()
        .filter(|(name, _)| name == "isthmus_token");
    tokens.next().map(|(_, token)| token)
}

async fn log_in(rig: &Rig, capabilities: Capabilities) -> Client {
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    client.capabilities = capabilities;
    let login = client.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
    login.await.unwrap().unwrap();
    client
}

async fn who_asks_for_it_is_told_a_token(flavor: Flavor) {
    let lab = dedicated(Options {
        flavor,
        ..Options::default()
    })
    .await;
    for (source, form) in [
        ("gtid", if flavor == Flavor::Mysql { "m." } else { "d." }),
        ("fixed", "w."),
        ("heartbeat", "h."),
    ] {
        let overlay = format!("[consistency]\nsource = \"{source}\"\non_stale = \"writer\"");
        let rig = Rig::start_on(lab.clone(), &overlay).await;
        rig.set_up_heartbeat().await;
        rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
            .await;
        let tracking = USUAL.union(Capabilities::SESSION_TRACK);
        let mut client = log_in(&rig, tracking).await;
        // Nobody hears of it who does not ask.
        assert_eq!(token(&mut client, "INSERT INTO t VALUES (1)").await, None);

        let ask = format!("{LIST}'time_zone, isthmus_token'");
        heard(&mut client, &ask).await;
        let zone = heard(&mut client, "SET time_zone = '+01:00'").await;
        assert_eq!(zone, [("time_zone".to_owned(), "+01:00".to_owned())]);
        lab.wait_caught_up().await.unwrap();
        lab.stop_replication().await.unwrap();
        let first = token(&mut client, "INSERT INTO t VALUES (2)")
            .await
            .unwrap();
        // Where the servers have GTIDs, they are exact whatever the source is.
        let gtid = if flavor == Flavor::Mysql { "m." } else { "d." };
        assert!(first.starts_with(gtid), "{source}: {first}");
        // What changes nothing has no GTID.
        let nothing = token(&mut client, "DELETE FROM t WHERE id = 77").await;
        match (nothing, source) {
            (None, "gtid") => {}
            (Some(token), _) => assert!(token.starts_with(form), "{source}: {token}"),
            (None, _) => panic!("no token by {source}"),
        }

        let mut other = rig.connect().await;
        let count = "SELECT COUNT(*) FROM t";
        let seen: Option<u32> = other.query_first(count).await.unwrap();
        assert_eq!(seen, Some(1), "{source}");
        if source != "fixed" {
            let show = format!("SET @isthmus_after = '{first}'");
            other.query_drop(show).await.unwrap();
            let seen: Option<u32> = other.query_first(count).await.unwrap();
            assert_eq!(seen, Some(2), "{source}");
        }
        lab.start_replication().await.unwrap();
        lab.wait_caught_up().await.unwrap();

        // Inside a transaction, its end tells.
        assert_eq!(token(&mut client, "BEGIN").await, None);
        assert_eq!(token(&mut client, "INSERT INTO t VALUES (3)").await, None);
        assert!(token(&mut client, "COMMIT").await.is_some());
        // Added to what there is, and taken out of it.
        heard(&mut client, &format!("{LIST}'autocommit'")).await;
        assert_eq!(token(&mut client, "INSERT INTO t VALUES (4)").await, None);
        let add = format!("{LIST}CONCAT(@@session_track_system_variables, ',isthmus_token')");
        heard(&mut client, &add).await;
        assert!(
            token(&mut client, "INSERT INTO t VALUES (5)")
                .await
                .is_some()
        );
        let autocommit = heard(&mut client, "SET autocommit = 1").await;
        assert!(
            autocommit.iter().any(|(name, _)| name == "autocommit"),
            "{autocommit:?}"
        );

        // A client that has not negotiated it cannot be told.
        let mut plain = log_in(&rig, USUAL).await;
        plain.query(&ask).await.unwrap();
        plain.query("INSERT INTO t VALUES (6)").await.unwrap();
        until("the reader has it all", async || {
            let seen: Option<u32> = other.query_first(count).await.unwrap();
            seen == Some(6)
        })
        .await;
        let mut root = lab.writer().connect_root().await.unwrap();
        root.query_drop(format!("DROP TABLE {}.t", rig.schema))
            .await
            .unwrap();
    }
}
