//! What a session has by name on its connection keeps that connection, however it was taken, and
//! not a statement longer.

#![allow(clippy::unwrap_used)]

use isthmus_lab::Flavor;
use isthmus_tests::beside::holds;
use isthmus_tests::on_both;
use isthmus_tests::rig::Rig;
use mysql_async::prelude::Queryable as _;

/// Statements of one session, each with what the session holds behind it.
type Walk = &'static [(&'static str, &'static [&'static str])];

async fn walk(rig: &Rig, walk: Walk) {
    let mut session = rig.connect().await;
    for (statement, expected) in walk {
        let statement = statement.replace("SCHEMA", &rig.schema);
        session.query_drop(&statement).await.unwrap();
        assert_eq!(holds(&mut session).await, *expected, "{statement}");
    }
}

async fn what_is_taken_is_held(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await;
    walk(
        &rig,
        &[
            ("HANDLER SCHEMA.t OPEN AS h", &["handler"]),
            ("HANDLER h READ FIRST", &["handler"]),
            ("HANDLER h CLOSE", &[]),
        ],
    )
    .await;
    walk(
        &rig,
        &[
            ("DO GET_LOCK('a', 1)", &["user_lock"]),
            ("EXPLAIN SELECT RELEASE_LOCK('a')", &["user_lock"]),
            ("EXPLAIN SELECT RELEASE_ALL_LOCKS()", &["user_lock"]),
            ("DO RELEASE_LOCK('a')", &[]),
        ],
    )
    .await;
    if flavor == Flavor::Mariadb {
        walk(
            &rig,
            &[
                ("CREATE TEMPORARY SEQUENCE s", &["temporary_table"]),
                ("DROP SEQUENCE s", &[]),
                (
                    "EXECUTE IMMEDIATE 'SELECT GET_LOCK(''a'', 1)'",
                    &["user_lock"],
                ),
                ("SELECT RELEASE_LOCK('a')", &[]),
            ],
        )
        .await;
    }
}

async fn tables_are_in_the_schema_that_they_were_made_in(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&[&format!("CREATE DATABASE {}_other", rig.schema)])
        .await;
    walk(
        &rig,
        &[
            (
                "CREATE TEMPORARY TABLE t (a INT); USE SCHEMA_other",
                &["temporary_table"],
            ),
            ("DROP TEMPORARY TABLE IF EXISTS t", &["temporary_table"]),
            ("DROP TEMPORARY TABLE SCHEMA.t", &[]),
            ("PREPARE made FROM 'CREATE TEMPORARY TABLE t (a INT)'", &[]),
            ("USE SCHEMA", &[]),
            ("EXECUTE made", &["temporary_table"]),
            ("DROP TEMPORARY TABLE IF EXISTS t", &["temporary_table"]),
            ("USE SCHEMA_other", &["temporary_table"]),
            ("DROP TEMPORARY TABLE t", &[]),
        ],
    )
    .await;
}

on_both! {
    what_is_taken_is_held
    tables_are_in_the_schema_that_they_were_made_in
}
