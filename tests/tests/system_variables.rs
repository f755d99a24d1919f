//! Every system variable that a session can set follows it to another connection with the value
//! that it would have on a direct one, byte for byte, and shows in nobody else's.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use isthmus_lab::Flavor;
use isthmus_tests::rig::{PASSWORD, Rig};
use isthmus_tests::wire::{Answer, Client};

/// Values for variables that are neither switches nor numbers nor known by a common name.
const VALUES: [(&str, &str); 12] = [
    ("default_collation_for_utf8mb4", "'utf8mb4_general_ci'"),
    ("default_master_connection", r#"'it''s "one" \\ name'"#),
    ("default_master_connection", "'123'"),
    ("innodb_ft_user_stopword_table", "'SCHEMA/words'"),
    ("max_session_mem_used", "1073741824"),
    ("optimizer_switch", "'index_merge=off'"),
    ("rand_seed1", "12345"),
    ("rand_seed2", "12345"),
    ("session_track_system_variables", "'time_zone,sql_mode'"),
    ("sql_mode", "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"),
    ("system_versioning_asof", "'2020-01-01 00:00:00'"),
    ("time_zone", "'+09:30'"),
];

/// Some of these change most of the others.
const COMMON: [&str; 11] = [
    "0",
    "1",
    "'OFF'",
    "'ON'",
    "'latin1'",
    "'latin1_bin'",
    "'MyISAM'",
    "'de_DE'",
    "'/tmp'",
    "4096",
    "65536",
];

/// Variables that change what the statements behind them may do: the limits of time are shorter than
/// a busy machine needs to answer.
const ALONE: [&str; 4] = [
    "transaction_read_only",
    "tx_read_only",
    "max_execution_time",
    "max_statement_time",
];

/// Variables that keep the connection, because they count for the next statement or for one
/// connection only, or since what they do cannot be undone by another SET.
const HELD: [&str; 17] = [
    "autocommit",
    "gtid_domain_id",
    "gtid_next",
    "gtid_seq_no",
    "identity",
    "insert_id",
    "last_insert_id",
    "original_commit_timestamp",
    "pseudo_replica_mode",
    "pseudo_slave_mode",
    "pseudo_thread_id",
    "rand_seed1",
    "rand_seed2",
    "server_id",
    "skip_replication",
    "sql_log_bin",
    "timestamp",
];

/// Variables that no value is found for: without Galera, a query cache or another engine there is
/// none, some can be set only to what they are already, and a GTID belongs to one session at a time.
const FIXED: [&str; 11] = [
    "external_table_storage_engine",
    "gtid_next",
    "max_allowed_packet",
    "max_user_connections",
    "net_buffer_length",
    "query_cache_type",
    "resultset_metadata",
    "wsrep_gtid_seq_no",
    "wsrep_on",
    "wsrep_trx_fragment_size",
    "wsrep_trx_fragment_unit",
];

/// Variables whose values are never the same twice, are the proxy's own, or the server's.
const INCOMPARABLE: [&str; 6] = [
    "max_relay_log_size",
    "pseudo_thread_id",
    "rand_seed1",
    "rand_seed2",
    "sql_slave_skip_counter",
    "timestamp",
];

/// What reads otherwise than on a direct connection: the servers report NULL as nothing.
const NULL_OR_EMPTY: [(&str, &str); 2] = [
    ("external_table_secondary_storage_engine", "''"),
    ("session_track_system_variables", "NULL"),
];

const ON_WRITER: &str = "/* isthmus:writer */ ";
const ON_READER: &str = "/* isthmus:reader */ ";

/// A variable and the values that it takes, in SQL.
struct Variable {
    name: String,
    values: Vec<String>,
}

/// What a value reads as, in hexadecimal digits, or the number of the error.
type Reading = Result<Option<String>, u16>;

async fn read(client: &mut Client, hint: &str, name: &str) -> Reading {
    let question = format!("{hint}SELECT HEX(CAST(@@SESSION.{name} AS BINARY))");
    match client.query(&question).await.unwrap() {
        Answer::Rows(mut rows) => Ok(rows.remove(0).remove(0)),
        Answer::Err(refusal) => Err(refusal.code),
        Answer::Ok => panic!("{name} has no rows"),
    }
}

async fn set(client: &mut Client, name: &str, value: &str) -> Result<(), u16> {
    match client
        .query(&format!("SET SESSION {name} = {value}"))
        .await
        .unwrap()
    {
        Answer::Err(refusal) => Err(refusal.code),
        _ => Ok(()),
    }
}

/// A rig whose user may set everything.
async fn rig(flavor: Flavor) -> Rig {
    let overlay = "[pool]\nmax_connections = 1\nborrow_timeout = \"2s\"";
    let rig = Rig::start(flavor, overlay).await;
    let grant = format!("GRANT ALL ON *.* TO {}@'%'", rig.user);
    rig.lab.writer().execute(grant).await.unwrap();
    rig.prepare_data(&["CREATE TABLE words (value VARCHAR(30)) ENGINE = InnoDB"])
        .await;
    rig
}

async fn log_in_directly(rig: &Rig) -> Client {
    Client::log_in(rig.lab.writer().address(), &rig.user, PASSWORD, &rig.schema).await
}

/// The variables of the server, with values that differ from what they begin with.
async fn variables(rig: &Rig) -> Vec<Variable> {
    let mut direct = log_in_directly(rig).await;
    let Answer::Rows(rows) = direct.query("SHOW SESSION VARIABLES").await.unwrap() else {
        panic!("no variables");
    };
    let mut variables = Vec::new();
    for row in rows {
        let name = row[0].as_ref().unwrap().to_ascii_lowercase();
        if let Some(values) = values(rig, &name).await {
            assert!(
                !values.is_empty() || FIXED.contains(&name.as_str()),
                "{name} has no value to try: add one to the table"
            );
            variables.push(Variable { name, values });
        }
    }
    assert!(variables.len() > 140, "{} variables", variables.len());
    variables
}

/// Values that change the variable; `None` for one that no session can set.
async fn values(rig: &Rig, name: &str) -> Option<Vec<String>> {
    let mut direct = log_in_directly(rig).await;
    let initial = read(&mut direct, "", name).await.ok()?;
    let mut given = Vec::new();
    for (_, value) in VALUES.iter().filter(|(known, _)| *known == name) {
        let value = value.replace("SCHEMA", &rig.schema);
        assert_eq!(set(&mut direct, name, &value).await, Ok(()), "{name}");
        given.push(value);
    }
    if !given.is_empty() {
        return Some(given);
    }
    let text = direct.query(&format!("SELECT @@SESSION.{name}")).await;
    let Answer::Rows(rows) = text.unwrap() else {
        panic!("{name} cannot be read");
    };
    let text = rows[0][0].clone().unwrap_or_default();
    let mut candidates = Vec::new();
    if let Ok(number) = text.parse::<u64>() {
        candidates.extend([number.saturating_add(1), number / 2].map(|n| n.to_string()));
    } else if let Ok(number) = text.parse::<f64>() {
        candidates.push((number + 1.5).to_string());
    }
    candidates.extend(COMMON.map(str::to_owned));
    for value in candidates {
        match set(&mut direct, name, &value).await {
            // Read only, or not a session's.
            Err(1228 | 1229 | 1238) => return None,
            Err(_) => {}
            Ok(()) if read(&mut direct, "", name).await == Ok(initial.clone()) => {}
            Ok(()) => return Some(vec![value]),
        }
    }
    Some(Vec::new())
}

async fn holds(client: &mut Client) -> BTreeSet<String> {
    let Answer::Rows(rows) = client.query("SHOW ISTHMUS SESSION").await.unwrap() else {
        panic!("the proxy does not say what it holds");
    };
    rows.into_iter()
        .filter(|row| row[0].as_deref() == Some("hold"))
        .filter_map(|row| row[1].clone())
        .collect()
}

async fn each_follows_its_session(flavor: Flavor) {
    let rig = rig(flavor).await;
    let mut wrong = Vec::new();
    let mut held = BTreeSet::new();
    for Variable { name, values } in variables(&rig).await {
        let mut direct = log_in_directly(&rig).await;
        let initial = read(&mut direct, "", &name).await;
        let mut proxied = rig.wire().await;
        let again = values.last().cloned();
        let special = ["NULL", "''", "DEFAULT"].map(str::to_owned);
        for value in values.into_iter().chain(special).chain(again) {
            let expected = set(&mut direct, &name, &value).await;
            let seen = set(&mut proxied, &name, &value).await;
            if seen != expected {
                wrong.push(format!("SET {name} = {value}: {seen:?}, not {expected:?}"));
            }
            if INCOMPARABLE.contains(&name.as_str()) {
                continue;
            }
            let expected = read(&mut direct, "", &name).await;
            for hint in [ON_WRITER, ON_READER] {
                let seen = read(&mut proxied, hint, &name).await;
                let is_exempt = NULL_OR_EMPTY.contains(&(name.as_str(), value.as_str()));
                if seen != expected && !is_exempt {
                    wrong.push(format!(
                        "{hint}{name} = {value}: {seen:?}, not {expected:?}"
                    ));
                }
            }
        }
        if !holds(&mut proxied).await.is_empty() {
            held.insert(name.clone());
        }
        drop(proxied);
        if !INCOMPARABLE.contains(&name.as_str()) {
            let mut other = rig.wire().await;
            for hint in [ON_WRITER, ON_READER] {
                let seen = read(&mut other, hint, &name).await;
                if seen != initial {
                    wrong.push(format!("{hint}{name} of another session: {seen:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unlisted: Vec<_> = held
        .iter()
        .filter(|name| !HELD.contains(&name.as_str()))
        .collect();
    assert!(unlisted.is_empty(), "keep a connection: {unlisted:?}");
}

/// A session may set all of them.
async fn all_follow_their_session(flavor: Flavor) {
    let rig = rig(flavor).await;
    let mut direct = log_in_directly(&rig).await;
    let mut proxied = rig.wire().await;
    let mut names = Vec::new();
    for Variable { name, values } in variables(&rig).await {
        let is_alone = ALONE.contains(&name.as_str())
            || HELD.contains(&name.as_str())
            || INCOMPARABLE.contains(&name.as_str());
        let Some(value) = values.first().filter(|_| !is_alone) else {
            continue;
        };
        let expected = set(&mut direct, &name, value).await;
        let seen = set(&mut proxied, &name, value).await;
        assert_eq!(seen, expected, "SET {name} = {value}");
        names.push(name);
    }
    assert_eq!(holds(&mut proxied).await, BTreeSet::new());
    let mut wrong = Vec::new();
    for name in names {
        let expected = read(&mut direct, "", &name).await;
        for hint in [ON_WRITER, ON_READER] {
            let seen = read(&mut proxied, hint, &name).await;
            if seen != expected {
                wrong.push(format!("{hint}{name}: {seen:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What one variable is depends on others, and on the order in which they were set.
async fn some_depend_on_others(flavor: Flavor) {
    let rig = rig(flavor).await;
    let mut cases: Vec<(&[&str], &[&str])> = vec![
        (
            &[
                "collation_server = 'latin1_bin'",
                "character_set_server = 'utf8mb4'",
            ],
            &["collation_server", "character_set_server"],
        ),
        (
            &[
                "character_set_server = 'latin1'",
                "collation_server = 'utf8mb4_bin'",
            ],
            &["collation_server", "character_set_server"],
        ),
        (&["character_set_server = 'latin1'"], &["collation_server"]),
        (
            &["collation_server = 'latin1_bin'"],
            &["character_set_server"],
        ),
    ];
    if flavor == Flavor::Mariadb {
        const MOMENT: &str = "system_versioning_asof = '2024-01-01 00:00:00'";
        cases.extend([
            (
                &["time_zone = '+09:00'", MOMENT][..],
                &["system_versioning_asof"][..],
            ),
            (
                &[MOMENT, "time_zone = '+05:00'"],
                &["system_versioning_asof"],
            ),
        ]);
    }
    for (sets, names) in cases {
        let (mut direct, mut proxied) = (log_in_directly(&rig).await, rig.wire().await);
        for set in sets {
            let set = format!("SET SESSION {set}");
            for client in [&mut direct, &mut proxied] {
                client.query(&set).await.unwrap().expect_ok();
            }
        }
        let mut other = rig.wire().await;
        other
            .query("SET collation_server = 'utf8mb4_unicode_ci', time_zone = '-03:00'")
            .await
            .unwrap()
            .expect_ok();
        for name in names {
            let expected = read(&mut direct, "", name).await;
            for hint in [ON_WRITER, ON_READER] {
                read(&mut other, hint, name).await.unwrap();
                let seen = read(&mut proxied, hint, name).await;
                assert_eq!(seen, expected, "{hint}{name} after {sets:?}");
            }
        }
    }
}

/// The limits of an account are no settings of its sessions, though they read so.
#[tokio::test]
async fn a_routine_sets_no_limits() {
    let rig = Rig::start(Flavor::Mariadb, "[pool]\nmax_connections = 1").await;
    let limit = format!("ALTER USER {}@'%' WITH MAX_USER_CONNECTIONS 50", rig.user);
    rig.lab.writer().execute(limit).await.unwrap();
    rig.prepare_data(&["CREATE PROCEDURE idles() DO 0"]).await;
    let (mut client, mut other) = (rig.wire().await, rig.wire().await);
    client.query("CALL idles()").await.unwrap().expect_ok();
    for hint in [ON_WRITER, ON_READER] {
        for session in [&mut client, &mut other] {
            let one = session.query(&format!("{hint}SELECT 1")).await;
            assert_eq!(one.unwrap().value(), "1", "{hint}");
        }
    }
}

isthmus_tests::on_both! {
    each_follows_its_session
    all_follow_their_session
    some_depend_on_others
}
