//! COM_CHANGE_USER, packet by packet as on a direct connection: with every way to prove a password,
//! whatever the client claims first, and with nothing of the old session in the new one.

#![allow(clippy::unwrap_used)]

use isthmus_lab::Flavor;
use isthmus_protocol::auth::Plugin;
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::handshake::{AuthSwitch, ChangeUser};
use isthmus_protocol::ok::OkPacket;
use isthmus_tests::rig::{PASSWORD, Rig, make_user};
use isthmus_tests::wire::{Answer, Client, Packet, Refusal, USUAL};

const ON_WRITER: &str = "/* isthmus:writer */ ";

/// What tells one packet of an authentication from another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// To this plugin, with a nonce of this length, which may be the one of the greeting.
    Switch(String, usize, bool),
    More(Vec<u8>),
    Key,
    Ok(String),
    Err(u16, String, String),
}

fn said(packet: &Packet, nonce: &[u8]) -> (u8, Said) {
    let said = match packet.payload.as_slice() {
        [0x00, ..] => Said::Ok(format!("{:?}", OkPacket::parse(&packet.payload, true))),
        [0xFE, ..] => {
            let switch = AuthSwitch::parse(&packet.payload).unwrap();
            let is_old = switch.data.starts_with(nonce);
            Said::Switch(switch.plugin, switch.data.len(), is_old)
        }
        [0x01, b'-', ..] => Said::Key,
        [0x01, rest @ ..] => Said::More(rest.to_vec()),
        [0xFF, a, b, _, state @ ..] => {
            let (state, message) = state.split_at(5);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Said::Err(u16::from_le_bytes([*a, *b]), text(state), text(message))
        }
        other => panic!("not a part of a login: {other:?}"),
    };
    (packet.sequence, said)
}

/// What a client claims, and what it can prove.
struct Case {
    what: &'static str,
    /// Whether the user is the other one of the rig, instead of nobody.
    is_known: bool,
    schema: Option<&'static str>,
    password: &'static str,
    /// The plugin that it names; `None` for none.
    plugin: Option<&'static str>,
    /// Whether its first answer is right for the greeting.
    is_right_at_first: bool,
    collation: u16,
}

const USUAL_CASE: Case = Case {
    what: "the right password",
    is_known: true,
    schema: None,
    password: PASSWORD,
    plugin: Some("caching_sha2_password"),
    is_right_at_first: true,
    collation: 45,
};

fn cases(flavor: Flavor) -> Vec<Case> {
    // utf8mb4_0900_as_cs; utf8mb4_unicode_520_nopad_ci.
    let large = match flavor {
        Flavor::Mysql => 278,
        Flavor::Mariadb => 1270,
    };
    let mut cases = vec![
        USUAL_CASE,
        Case {
            what: "the other plugin",
            plugin: Some("mysql_native_password"),
            ..USUAL_CASE
        },
        Case {
            what: "a plugin that nobody has",
            plugin: Some("no_such_plugin"),
            ..USUAL_CASE
        },
        Case {
            what: "no plugin",
            plugin: None,
            ..USUAL_CASE
        },
        Case {
            what: "an answer to another question",
            is_right_at_first: false,
            ..USUAL_CASE
        },
        Case {
            what: "a large collation id",
            collation: large,
            ..USUAL_CASE
        },
        Case {
            what: "no such collation",
            collation: 9999,
            ..USUAL_CASE
        },
        Case {
            what: "a schema",
            schema: Some("information_schema"),
            ..USUAL_CASE
        },
        Case {
            what: "an unknown schema",
            schema: Some("nowhere"),
            ..USUAL_CASE
        },
        Case {
            what: "a wrong password",
            password: "wrong",
            ..USUAL_CASE
        },
        Case {
            what: "no password",
            password: "",
            ..USUAL_CASE
        },
    ];
    if flavor == Flavor::Mariadb {
        // MySQL makes up a plugin from the name of a user that it does not know.
        cases.push(Case {
            what: "an unknown user",
            is_known: false,
            ..USUAL_CASE
        });
    }
    cases
}

/// What a client hears, and how the connection is afterwards.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    transcript: Vec<(u8, Said)>,
    refusal: Option<(u16, String)>,
    /// The new session, or that the connection is closed.
    session: Option<Answer>,
}

async fn change(client: &mut Client, case: &Case, user: &str) -> Outcome {
    let plugin = Plugin::from_name(&client.greeting.auth_plugin).unwrap();
    let mut answer = plugin.response(case.password.as_bytes(), &client.greeting.nonce);
    if !case.is_right_at_first {
        answer.reverse();
    }
    let change = ChangeUser {
        user: if case.is_known { user } else { "nobody" }.into(),
        auth_response: answer,
        database: case.schema.map(Into::into),
        collation: case.collation,
        auth_plugin: case.plugin.map(Into::into),
        attributes: vec![(b"program_name".to_vec(), b"change".to_vec())],
    };
    let result: Result<(), Refusal> = client.change_user(&change, case.password).await.unwrap();
    let question = format!(
        "{ON_WRITER}SELECT CURRENT_USER(), DATABASE(), @@collation_connection, \
         @@character_set_client, @@character_set_results, @@autocommit, @a, @@sql_mode, LAST_INSERT_ID()"
    );
    let session = client.query(&question).await.ok();
    let mut transcript: Vec<_> = client
        .transcript
        .iter()
        .map(|packet| said(packet, &client.greeting.nonce))
        .collect();
    // The key is shown anew; what follows depends on whose cache knows the password.
    transcript.retain(|(_, said)| !matches!(said, Said::Key));
    Outcome {
        transcript,
        refusal: result.err().map(|refusal| (refusal.code, refusal.state)),
        session,
    }
}

/// Fills a session with what must not be left of it.
const OLD: [&str; 6] = [
    "SET NAMES latin1, sql_mode = 'ANSI', autocommit = 0",
    "SET @a = 5",
    "CREATE TEMPORARY TABLE mine (id INT)",
    "INSERT INTO t (who) VALUES (1)",
    "DO GET_LOCK(CONCAT(DATABASE(), '_lock'), 0)",
    "PREPARE mine FROM 'SELECT 1'",
];

async fn as_on_a_direct_connection(flavor: Flavor) {
    let overlay = match flavor {
        Flavor::Mysql => "[listen]\nauth_plugin = \"caching_sha2_password\"",
        Flavor::Mariadb => "[listen]\nauth_plugin = \"mysql_native_password\"",
    };
    let rig = Rig::start(flavor, overlay).await;
    rig.prepare_data(&["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, who INT)"])
        .await;
    let other = make_user(&rig.lab).await;
    let writer = rig.lab.writer().address();
    for user in [&rig.user, &other] {
        // So that the server's cache knows the password.
        drop(Client::log_in(writer, user, PASSWORD, user).await);
    }
    let blueprint = rig.blueprint.clone().with_user(&other);
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let mut wrong = Vec::new();
    for case in cases(flavor) {
        let mut outcomes = Vec::new();
        for address in [writer, rig.proxy.address()] {
            let mut client = Client::connect(address).await.unwrap().unwrap();
            client.capabilities = USUAL | Capabilities::CONNECT_ATTRS | Capabilities::SESSION_TRACK;
            let login = client.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
            login.await.unwrap().unwrap();
            for statement in OLD {
                client.query(statement).await.unwrap().expect_ok();
            }
            let prepared = client.prepare("SELECT 1").await;
            let outcome = change(&mut client, &case, &other).await;
            if outcome.refusal.is_none() {
                let lock = format!("{ON_WRITER}SELECT IS_FREE_LOCK('{}_lock')", rig.schema);
                assert_eq!(client.query(&lock).await.unwrap().value(), "1");
                let table = format!("{ON_WRITER}SELECT COUNT(*) FROM {}.t", rig.schema);
                assert_eq!(client.query(&table).await.unwrap().value(), "0");
                let mine = format!("{ON_WRITER}SELECT * FROM {}.mine", rig.schema);
                assert_eq!(client.query(&mine).await.unwrap().code(), 1146);
                assert_eq!(client.query("EXECUTE mine").await.unwrap().code(), 1243);
                let reset = [&[0x1A], &prepared.to_le_bytes()[..]].concat();
                assert_eq!(client.command(&reset).await.unwrap().code(), 1243);
            }
            outcomes.push(outcome);
        }
        if flavor == Flavor::Mariadb && outcomes[0].refusal.is_some() {
            // It goes on as the user before. The proxy ends the connection, as MySQL does.
            outcomes[0].session = None;
        }
        if outcomes[0] != outcomes[1] {
            wrong.push(format!(
                "{}:\ndirect  {:?}\nproxied {:?}",
                case.what, outcomes[0], outcomes[1]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What COM_SET_OPTION has set is left as it is.
async fn the_option_stays(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let same = ChangeUser {
        user: rig.user.as_bytes().to_vec(),
        auth_response: Vec::new(),
        database: None,
        collation: 45,
        auth_plugin: None,
        attributes: Vec::new(),
    };
    for address in [rig.lab.writer().address(), rig.proxy.address()] {
        for (option, code) in [(0, 0), (1, 1064)] {
            let mut client = Client::connect(address).await.unwrap().unwrap();
            client
                .capabilities
                .set(Capabilities::MULTI_STATEMENTS, option != 0);
            let login = client.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
            login.await.unwrap().unwrap();
            client.command(&[0x1B, option, 0]).await.unwrap();
            client.change_user(&same, PASSWORD).await.unwrap().unwrap();
            let script = client.query("DO 1; DO 2").await.unwrap();
            let refused = match script {
                Answer::Err(refusal) => refusal.code,
                _ => 0,
            };
            assert_eq!(refused, code, "{option} at {address}");
        }
    }
}

/// A client that knows no plugins cannot be asked by one.
async fn without_plugins(flavor: Flavor) {
    let overlay = "[listen]\nauth_plugin = \"mysql_native_password\"";
    let rig = Rig::start(flavor, overlay).await;
    let other = make_user(&rig.lab).await;
    let blueprint = rig.blueprint.clone().with_user(&other).with_user_setting(
        &other,
        "auth_plugin",
        "caching_sha2_password",
    );
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    for (user, code) in [(&rig.user, None), (&other, Some(1251))] {
        let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        client.capabilities.remove(Capabilities::PLUGIN_AUTH);
        let login = client.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
        login.await.unwrap().unwrap();
        let native = Plugin::MysqlNativePassword;
        let change = ChangeUser {
            user: user.as_bytes().to_vec(),
            auth_response: native.response(PASSWORD.as_bytes(), &client.greeting.nonce),
            database: None,
            collation: 45,
            auth_plugin: None,
            attributes: Vec::new(),
        };
        let changed = client.change_user(&change, PASSWORD).await.unwrap();
        assert_eq!(changed.err().map(|refusal| refusal.code), code);
        let mut login = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        login.capabilities.remove(Capabilities::PLUGIN_AUTH);
        let refused = login.authenticate(user, PASSWORD, None).await.unwrap();
        assert_eq!(refused.err().map(|refusal| refusal.code), code);
    }
}

isthmus_tests::on_both! {
    as_on_a_direct_connection
    the_option_stays
    without_plugins
}
