//! Accounts and privileges that a client changes: who connects from then on finds what a new
//! connection to a server finds.

#![allow(clippy::unwrap_used)]

use isthmus_lab::{Flavor, Options};
use isthmus_tests::on_both;
use isthmus_tests::rig::{self, PASSWORD, Rig, code, driver_options, until};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};

on_both! {
    privileges_are_those_of_a_new_login
}

/// A rig with servers of its own, whose user may do everything.
async fn rig_of(flavor: Flavor) -> Rig {
    let lab = rig::dedicated(Options {
        flavor,
        ..Options::default()
    });
    let rig = Rig::start_on(lab.await, "").await;
    let grant = format!("GRANT ALL ON *.* TO {}@'%' WITH GRANT OPTION", rig.user);
    rig.lab.writer().execute(grant).await.unwrap();
    rig
}

async fn privileges_are_those_of_a_new_login(flavor: Flavor) {
    let rig = rig_of(flavor).await;
    let blueprint = rig.blueprint.clone().with_user("guest");
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let mut admin = rig.connect().await;
    for statement in [
        format!("CREATE USER guest@'%' IDENTIFIED BY '{PASSWORD}'"),
        "CREATE TABLE t (id INT)".into(),
        "CREATE DATABASE other".into(),
        "CREATE TABLE other.t (id INT)".into(),
        "GRANT SELECT ON *.* TO guest@'%'".into(),
    ] {
        admin.query_drop(statement).await.unwrap();
    }
    let guest = async || {
        let options = driver_options(rig.proxy.address(), "guest", PASSWORD);
        Conn::new(Opts::from(options)).await.unwrap()
    };
    let (read, insert) = (
        "SELECT COUNT(*) FROM other.t",
        "INSERT INTO other.t VALUES (1)",
    );
    // A reader may still be behind, and says no until it is not.
    until("a reader lets the guest read", async || {
        guest().await.query_drop(read).await.is_ok()
    })
    .await;
    assert_eq!(code(guest().await.query_drop(insert).await), 1142);

    admin
        .query_drop("GRANT INSERT ON *.* TO guest@'%'")
        .await
        .unwrap();
    guest().await.query_drop(insert).await.unwrap();
    admin
        .query_drop("REVOKE INSERT ON *.* FROM guest@'%'")
        .await
        .unwrap();
    assert_eq!(code(guest().await.query_drop(insert).await), 1142);
    admin
        .query_drop("REVOKE SELECT ON *.* FROM guest@'%'")
        .await
        .unwrap();
    until("no reader lets the guest read any more", async || {
        guest().await.query_drop(read).await.is_err()
    })
    .await;
    // One connection might still be there.
    for _ in 0..20 {
        assert_eq!(code(guest().await.query_drop(read).await), 1142);
    }
}
