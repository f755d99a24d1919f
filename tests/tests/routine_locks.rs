//! User locks that routines take: never another session's, and the session's own from the second
//! time on.

#![allow(clippy::unwrap_used)]

use isthmus_lab::Flavor;
use isthmus_tests::rig::{Rig, until};
use isthmus_tests::wire::{Answer, Client};

const ON_WRITER: &str = "/* isthmus:writer */ ";

/// How a session learns that it has lost a lock.
const LOST: u16 = 3169;

/// Makes routines around a lock whose name is the schema's.
async fn prepare(rig: &Rig) -> [Client; 2] {
    let schema = &rig.schema;
    let routines = format!(
        "CREATE PROCEDURE {schema}.takes() DO GET_LOCK(DATABASE(), 0);
         CREATE PROCEDURE {schema}.passes() DO GET_LOCK(DATABASE(), 0), RELEASE_LOCK(DATABASE());
         CREATE PROCEDURE {schema}.idles() DO 0;
         CREATE FUNCTION {schema}.taken() RETURNS INT DETERMINISTIC RETURN GET_LOCK(DATABASE(), 0)"
    );
    rig.lab.writer().execute(&routines).await.unwrap();
    [rig.wire().await, rig.wire().await]
}

async fn is_free(client: &mut Client) -> bool {
    let sql = format!("{ON_WRITER}SELECT IS_FREE_LOCK(DATABASE())");
    client.query(&sql).await.unwrap().value() == "1"
}

/// Whether `SHOW ISTHMUS SESSION` has a hold.
async fn is_held(client: &mut Client) -> bool {
    match client.query("SHOW ISTHMUS SESSION").await.unwrap() {
        Answer::Rows(rows) => rows.iter().any(|row| row[0].as_deref() == Some("hold")),
        other => panic!("{other:?}"),
    }
}

/// What the server has to say when it ends the connection.
async fn last_words(client: &mut Client) -> u16 {
    let packet = client.receive().await.unwrap();
    assert_eq!((packet.sequence, packet.payload[0]), (0, 0xFF));
    assert!(client.closed().await.unwrap().is_empty());
    u16::from_le_bytes([packet.payload[1], packet.payload[2]])
}

async fn a_lock_is_lost_once_and_then_kept(flavor: Flavor) {
    for (call, end) in [
        ("CALL takes()", None),
        ("SELECT taken()", None),
        ("SELECT taken() + 1 FROM (SELECT 1) AS one", Some("COMMIT")),
    ] {
        let rig = Rig::start(flavor, "").await;
        let [mut first, mut second] = prepare(&rig).await;
        if let Some(end) = end {
            first.query("BEGIN").await.unwrap().expect_ok();
            first.query(call).await.unwrap();
            first.query(end).await.unwrap().expect_ok();
        } else {
            first.query(call).await.unwrap();
        }
        assert_eq!(last_words(&mut first).await, LOST, "{call}");
        assert!(is_free(&mut second).await, "{call}");

        let mut owner = rig.wire().await;
        owner.query(call).await.unwrap();
        assert!(is_held(&mut owner).await, "{call}");
        assert!(!is_free(&mut second).await, "{call}");
        owner.query("SELECT 1").await.unwrap();
        owner.say_goodbye().await;
        until("the lock is free", async || is_free(&mut second).await).await;

        let mut owner = rig.wire().await;
        owner.query(call).await.unwrap();
        owner.query("SELECT RELEASE_ALL_LOCKS()").await.unwrap();
        assert!(!is_held(&mut owner).await, "{call}");
    }
}

async fn a_prepared_call_is_known_too(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let [mut first, mut second] = prepare(&rig).await;
    let execute = |id: u32| [&[0x17][..], &id.to_le_bytes(), &[0, 1, 0, 0, 0]].concat();
    let id = second.prepare("SELECT taken()").await;
    first.query("SELECT taken()").await.unwrap();
    assert_eq!(last_words(&mut first).await, LOST);
    second.command(&execute(id)).await.unwrap();
    assert!(is_held(&mut second).await);
}

async fn other_routines_cost_no_trip_and_hold_nothing(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let [mut client, _] = prepare(&rig).await;
    client.query("SELECT 1").await.unwrap();
    for call in ["CALL idles()", "CALL passes()"] {
        for _ in 0..3 {
            client.query(call).await.unwrap();
            assert!(!is_held(&mut client).await, "{call}");
        }
        let last = client.query("SHOW ISTHMUS LAST").await.unwrap();
        let Answer::Rows(rows) = last else {
            panic!("{last:?}")
        };
        assert_eq!(rows[0][5].as_deref(), Some("1"), "{call}: {rows:?}");
    }
}

async fn a_lock_of_ones_own_is_not_asked_about(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let [mut owner, mut other] = prepare(&rig).await;
    let own = "SELECT GET_LOCK(DATABASE(), 0)";
    assert_eq!(owner.query(own).await.unwrap().value(), "1");
    owner.query("CALL idles()").await.unwrap().expect_ok();
    owner.query("BEGIN").await.unwrap().expect_ok();
    owner.query("CALL idles()").await.unwrap().expect_ok();
    owner.query("COMMIT").await.unwrap().expect_ok();
    assert!(!is_free(&mut other).await);
}

isthmus_tests::on_both! {
    a_lock_is_lost_once_and_then_kept
    a_prepared_call_is_known_too
    other_routines_cost_no_trip_and_hold_nothing
    a_lock_of_ones_own_is_not_asked_about
}
