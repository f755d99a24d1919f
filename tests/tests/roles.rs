//! SET ROLE follows its session, keeps no connection, and gives nobody else its rights.

#![allow(clippy::unwrap_used)]

use isthmus_lab::Flavor;
use isthmus_protocol::command::Command;
use isthmus_tests::rig::{PASSWORD, Rig};
use isthmus_tests::wire::{Answer, Client, Refusal};

const ON_WRITER: &str = "/* isthmus:writer */ ";

async fn roles(client: &mut Client, hint: &str) -> Option<String> {
    let question = format!("{hint}SELECT CURRENT_ROLE()");
    let Answer::Rows(rows) = client.query(&question).await.unwrap() else {
        panic!("no roles");
    };
    rows[0][0].clone()
}

/// What a statement answers but for its rows: only errors tell.
async fn say(client: &mut Client, statement: &str) -> Option<(u16, String)> {
    match client.query(statement).await.unwrap() {
        Answer::Err(Refusal { code, message, .. }) => Some((code, message)),
        Answer::Ok | Answer::Rows(_) => None,
    }
}

async fn roles_follow_their_session(flavor: Flavor) {
    let overlay = "[pool]\nmax_connections = 1\nborrow_timeout = \"5s\"";
    let rig = Rig::start(flavor, overlay).await;
    let [one, two, missing] = ["one", "two", "missing"].map(|name| format!("{}_{name}", rig.user));
    for statement in [
        format!("REVOKE CREATE VIEW ON *.* FROM {}", rig.user),
        format!("CREATE ROLE {one}"),
        format!("CREATE ROLE {two}"),
        format!("GRANT CREATE VIEW ON {}.* TO {one}", rig.schema),
        format!("GRANT {one} TO {}", rig.user),
        format!("GRANT {two} TO {}", rig.user),
    ] {
        rig.lab.writer().execute(statement).await.unwrap();
    }
    rig.lab.wait_caught_up().await.unwrap();
    drop(rig.direct_writer().await);
    let address = rig.lab.writer().address();
    let mut direct = Client::log_in(address, &rig.user, PASSWORD, &rig.schema).await;
    let mut proxied = rig.wire().await;
    let mut other = rig.wire().await;
    let mut statements = vec![
        format!("SET ROLE {one}"),
        format!("CREATE VIEW {}.seen AS SELECT 1", rig.schema),
        format!("SET ROLE {missing}"),
        "SET ROLE NONE".into(),
        format!("SET ROLE `{two}`"),
        format!("CREATE VIEW {}.unseen AS SELECT 1", rig.schema),
    ];
    if flavor == Flavor::Mysql {
        statements.extend([
            "SET ROLE ALL".to_owned(),
            format!("SET ROLE {two}, {one}"),
            format!("SET ROLE ALL EXCEPT {one}"),
            "SET ROLE DEFAULT".into(),
            format!("SET ROLE {one}"),
        ]);
    }
    for statement in &statements {
        // Both would make the same view.
        let drop_view = format!("DROP VIEW IF EXISTS {}.seen", rig.schema);
        let expected = say(&mut direct, statement).await;
        if statement.starts_with("CREATE") {
            rig.lab.writer().execute(drop_view).await.unwrap();
        }
        assert_eq!(say(&mut proxied, statement).await, expected, "{statement}");
        let expected = roles(&mut direct, "").await;
        for hint in [ON_WRITER, "", ON_WRITER] {
            let seen = roles(&mut proxied, hint).await;
            assert_eq!(seen, expected, "{hint}after {statement}");
            let nobodys = roles(&mut other, hint).await.unwrap_or_default();
            assert!(
                matches!(nobodys.as_str(), "" | "NONE"),
                "{statement}: {nobodys}"
            );
        }
        let create = format!("CREATE VIEW {}.theft AS SELECT 1", rig.schema);
        assert_eq!(
            say(&mut other, &create).await.map(|(code, _)| code),
            Some(1142)
        );
    }
    let Answer::Rows(facts) = proxied.query("SHOW ISTHMUS SESSION").await.unwrap() else {
        panic!("the proxy says nothing");
    };
    assert!(facts.iter().all(|fact| fact[0].as_deref() != Some("hold")));

    // A reset leaves the role, a change of user does not.
    for client in [&mut direct, &mut proxied] {
        let reset = client.command(&[Command::ResetConnection as u8]).await;
        reset.unwrap().expect_ok();
    }
    let expected = roles(&mut direct, "").await;
    assert_eq!(roles(&mut proxied, ON_WRITER).await, expected);
    for client in [&mut direct, &mut proxied] {
        let change = client.change_to(&rig.user, PASSWORD, &rig.schema);
        client
            .change_user(&change, PASSWORD)
            .await
            .unwrap()
            .unwrap();
    }
    // MariaDB would keep the role even then.
    let roles_now = roles(&mut proxied, ON_WRITER).await.unwrap_or_default();
    assert!(matches!(roles_now.as_str(), "" | "NONE"), "{roles_now}");
    if flavor == Flavor::Mysql {
        assert_eq!(roles(&mut direct, "").await.as_deref(), Some("NONE"));
    }

    // Whatever has held the connection, and however it ends.
    for ending in [
        "SELECT @x := 1",
        "BEGIN",
        "CREATE TEMPORARY TABLE mine (id INT)",
    ] {
        let mut holder = rig.wire().await;
        for statement in [format!("SET ROLE {one}").as_str(), ending] {
            holder.query(statement).await.unwrap().expect_ok();
        }
        drop(holder);
        for hint in [ON_WRITER, ""] {
            let nobodys = roles(&mut other, hint).await.unwrap_or_default();
            assert!(
                matches!(nobodys.as_str(), "" | "NONE"),
                "{ending}: {nobodys}"
            );
        }
    }
}

/// A session in a schema that only its role may use goes on without the role, as far as names say
/// where they belong.
async fn a_schema_that_only_the_role_may_use(flavor: Flavor) {
    let overlay = "[pool]\nmax_connections = 1\nborrow_timeout = \"5s\"";
    let rig = Rig::start(flavor, overlay).await;
    let (role, theirs) = (format!("{}_role", rig.user), format!("{}_theirs", rig.user));
    for statement in [
        format!("CREATE DATABASE {theirs}"),
        format!("CREATE TABLE {}.t (id INT)", rig.schema),
        format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM {}", rig.user),
        format!("GRANT INSERT, SELECT ON {}.* TO {}", rig.schema, rig.user),
        format!("CREATE ROLE {role}"),
        format!("GRANT ALL ON {theirs}.* TO {role}"),
        format!("GRANT {role} TO {}", rig.user),
    ] {
        rig.lab.writer().execute(statement).await.unwrap();
    }
    rig.lab.wait_caught_up().await.unwrap();
    let address = rig.lab.writer().address();
    let mut direct = Client::log_in(address, &rig.user, PASSWORD, &rig.schema).await;
    let mut proxied = rig.wire().await;
    let mut other = rig.wire().await;
    for statement in [
        format!("SET ROLE {role}"),
        format!("USE {theirs}"),
        "SET ROLE NONE".into(),
        format!("INSERT INTO {}.t VALUES (1)", rig.schema),
        format!("SELECT * FROM {}.t", rig.schema),
        format!("USE {}", rig.schema),
        "SELECT * FROM t".into(),
        format!("USE {theirs}"),
        format!("SET ROLE {role}"),
        format!("USE {theirs}"),
    ] {
        let expected = say(&mut direct, &statement).await;
        assert_eq!(say(&mut proxied, &statement).await, expected, "{statement}");
        // The connections of the pool are in another schema from now on.
        for hint in [ON_WRITER, ""] {
            let question = format!("{hint}SELECT COUNT(*) FROM t");
            assert_eq!(say(&mut other, &question).await, None);
        }
    }
    let cleaning = format!("DROP DATABASE {theirs}");
    rig.lab.writer().execute(cleaning).await.unwrap();
}

/// A routine finds the statements that its session has prepared with a role, also where the schema is
/// one that only the role may use.
async fn a_routine_finds_what_a_role_has_prepared(flavor: Flavor) {
    let overlay = "[pool]\nmax_connections = 1\nborrow_timeout = \"5s\"";
    let rig = Rig::start(flavor, overlay).await;
    let (role, theirs) = (format!("{}_role", rig.user), format!("{}_theirs", rig.user));
    for statement in [
        format!("CREATE DATABASE {theirs}"),
        format!("CREATE PROCEDURE {theirs}.p() EXECUTE x"),
        format!("CREATE ROLE {role}"),
        format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM {}", rig.user),
        format!("GRANT SELECT ON {}.* TO {}", rig.schema, rig.user),
        format!("GRANT ALL ON {theirs}.* TO {role}"),
        format!("GRANT {role} TO {}", rig.user),
    ] {
        rig.lab.writer().execute(statement).await.unwrap();
    }
    rig.lab.wait_caught_up().await.unwrap();
    let mut client = rig.wire().await;
    let mut other = rig.wire().await;
    for statement in [
        format!("SET ROLE {role}"),
        format!("USE {theirs}"),
        "PREPARE x FROM 'SELECT 5'".into(),
    ] {
        assert_eq!(say(&mut client, &statement).await, None, "{statement}");
    }
    let elsewhere = format!("{ON_WRITER}SELECT 1");
    assert_eq!(say(&mut other, &elsewhere).await, None);
    assert_eq!(client.query("CALL p()").await.unwrap().value(), "5");

    let cleaning = format!("DROP DATABASE {theirs}");
    rig.lab.writer().execute(cleaning).await.unwrap();
}

/// What a session has set with a role, it takes back with that role alone.
#[tokio::test]
async fn a_privileged_variable_is_nobody_elses_trouble() {
    let rig = Rig::start(Flavor::Mysql, "[pool]\nmax_connections = 1").await;
    let role = format!("{}_ops", rig.user);
    for statement in [
        format!(
            "REVOKE IF EXISTS SESSION_VARIABLES_ADMIN, SYSTEM_VARIABLES_ADMIN ON *.* FROM {}",
            rig.user
        ),
        format!("CREATE ROLE {role}"),
        format!("GRANT SESSION_VARIABLES_ADMIN ON *.* TO {role}"),
        format!("GRANT {role} TO {}", rig.user),
    ] {
        rig.lab.writer().execute(statement).await.unwrap();
    }
    rig.lab.wait_caught_up().await.unwrap();
    drop(rig.direct_writer().await);
    let (mut client, mut other) = (rig.wire().await, rig.wire().await);
    let read = format!("{ON_WRITER}SELECT @@sql_require_primary_key");
    for statement in [
        format!("SET ROLE {role}"),
        "SET SESSION sql_require_primary_key = ON".to_owned(),
    ] {
        client.query(&statement).await.unwrap().expect_ok();
    }
    assert_eq!(client.query(&read).await.unwrap().value(), "1");
    assert_eq!(other.query(&read).await.unwrap().value(), "0");
}

isthmus_tests::on_both! {
    roles_follow_their_session
    a_schema_that_only_the_role_may_use
    a_routine_finds_what_a_role_has_prepared
}
