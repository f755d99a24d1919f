//! TLS on both sides in all its modes, and the ways to prove a password, with it and without.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use isthmus_lab::{Certificates, Flavor, Options};
use isthmus_protocol::auth::caching_sha2::{FULL_AUTH, REQUEST_PUBLIC_KEY};
use isthmus_protocol::auth::xor_with_nonce;
use isthmus_protocol::command::Command;
use isthmus_protocol::handshake::AuthSwitch;
use isthmus_tests::rig::{
    Blueprint, PASSWORD, Rig, WHERE, code, dedicated, make_user, shared, until,
};
use isthmus_tests::wire::{Answer, Client};
use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, ClientIdentity, Conn, Opts, SslOpts};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const ON_WRITER: &str = "/* isthmus:writer */ ";
const ON_READER: &str = "/* isthmus:reader */ ";

/// Whether the connection from the proxy to the writer is encrypted, as the server sees it.
const CIPHER: &str = "SHOW SESSION STATUS LIKE 'Ssl_cipher'";

fn listen(certificates: &Certificates, more: &str) -> String {
    format!(
        "[listen]\ntls = {{ certificate = {:?}, key = {:?}{more} }}\n",
        certificates.server, certificates.server_key
    )
}

fn trusting(authority: &Path) -> SslOpts {
    SslOpts::default()
        .with_root_certs(vec![authority.to_owned().into()])
        .with_disable_built_in_roots(true)
}

async fn connect(rig: &Rig, ssl: Option<SslOpts>) -> mysql_async::Result<Conn> {
    Conn::new(Opts::from(rig.options().ssl_opts(ssl))).await
}

#[tokio::test]
async fn clients_with_and_without_tls() {
    let lab = shared(Flavor::Mysql).await;
    let certificates = lab.certificates();

    // A listener without a certificate has no TLS to offer.
    let rig = Rig::start(Flavor::Mysql, "").await;
    connect(&rig, None).await.unwrap();
    assert!(
        connect(&rig, Some(trusting(&certificates.authority)))
            .await
            .is_err()
    );

    for plugin in ["caching_sha2_password", "mysql_native_password"] {
        let overlay = listen(certificates, "") + &format!("auth_plugin = \"{plugin}\"\n");
        let rig = Rig::start(Flavor::Mysql, &overlay).await;
        connect(&rig, None)
            .await
            .unwrap()
            .query_drop("SELECT 1")
            .await
            .unwrap();
        let mut conn = connect(&rig, Some(trusting(&certificates.authority)))
            .await
            .unwrap();
        let place: Option<String> = conn.query_first(WHERE).await.unwrap();
        assert_eq!(place.as_deref(), Some("reader"));
        // More than one TLS record, in both directions.
        let long = "x".repeat(3_000_000);
        let back: Option<String> = conn.exec_first("SELECT ?", (&long,)).await.unwrap();
        assert!(back == Some(long));
        let stranger = connect(&rig, Some(trusting(&certificates.stranger))).await;
        assert!(
            stranger.is_err(),
            "a client that does not trust the certificate"
        );
        let wrong = Conn::new(Opts::from(
            rig.options()
                .pass(Some("wrong"))
                .ssl_opts(Some(trusting(&certificates.authority))),
        ));
        assert_eq!(code(wrong.await), 1045, "{plugin}");
    }

    let rig = Rig::start(
        Flavor::Mysql,
        &(listen(certificates, "") + "tls_required = true\n"),
    )
    .await;
    assert_eq!(code(connect(&rig, None).await), 3159);
    connect(&rig, Some(trusting(&certificates.authority)))
        .await
        .unwrap();
}

#[tokio::test]
async fn clients_show_certificates() {
    let lab = shared(Flavor::Mysql).await;
    let certificates = lab.certificates();
    let client_ca = format!(", client_ca = {:?}", certificates.authority);
    let rig = Rig::start(Flavor::Mysql, &listen(certificates, &client_ca)).await;
    let bare = trusting(&certificates.authority);
    assert!(
        connect(&rig, Some(bare.clone())).await.is_err(),
        "without a certificate"
    );
    let identity = ClientIdentity::new(
        certificates.client.clone().into(),
        certificates.client_key.clone().into(),
    );
    let mut conn = connect(&rig, Some(bare.with_client_identity(Some(identity))))
        .await
        .unwrap();
    conn.query_drop("SELECT 1").await.unwrap();
}

fn wire_tls(authority: &Path) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The full exchange of caching_sha2_password: the client's first answer says nothing, so the
/// password itself has to come, inside TLS or hidden with the proxy's key.
#[tokio::test]
async fn the_full_exchange() {
    let lab = shared(Flavor::Mysql).await;
    let rig = Rig::start(Flavor::Mysql, &listen(lab.certificates(), "")).await;
    for is_tls in [false, true] {
        for (password, expected) in [(PASSWORD, None), ("wrong", Some(1045)), ("", Some(1045))] {
            let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
            if is_tls {
                client = client
                    .start_tls(wire_tls(&lab.certificates().authority))
                    .await
                    .unwrap();
            }
            let nonce = client.greeting.nonce;
            let login = client.login(&rig.user, vec![7; 32], None);
            let mut payload = Vec::new();
            login.encode(&mut payload).unwrap();
            client.send_next(&payload).await.unwrap();
            assert_eq!(client.receive_next().await.unwrap().payload, [1, FULL_AUTH]);
            let clear = [password.as_bytes(), &[0]].concat();
            if is_tls {
                client.send_next(&clear).await.unwrap();
            } else {
                client.send_next(&[REQUEST_PUBLIC_KEY]).await.unwrap();
                let pem = client.receive_next().await.unwrap().payload;
                let hidden = xor_with_nonce(&clear, &nonce);
                let hidden = isthmus::rsa::encrypt_with_pem(&pem[1..], &hidden).unwrap();
                client.send_next(&hidden).await.unwrap();
            }
            match (client.finish_login("").await.unwrap(), expected) {
                (Ok(()), None) => client.query(WHERE).await.unwrap().expect_ok(),
                (Err(refusal), Some(code)) => assert_eq!(refusal.code, code),
                (other, _) => panic!("tls: {is_tls}, password {password:?}: {other:?}"),
            }
        }
    }
    // The password in clear text without TLS is taken from nobody, though it is the right one.
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    let login = client.login(&rig.user, vec![7; 32], None);
    let mut payload = Vec::new();
    login.encode(&mut payload).unwrap();
    client.send_next(&payload).await.unwrap();
    client.receive_next().await.unwrap();
    client
        .send_next(&[PASSWORD.as_bytes(), &[0]].concat())
        .await
        .unwrap();
    assert_eq!(
        client.finish_login("").await.unwrap().unwrap_err().code,
        1045
    );
}

/// One that reads nothing has its net_write_timeout, and TLS's goodbye does not wait for it.
#[tokio::test]
async fn a_tls_client_that_reads_nothing() {
    let lab = shared(Flavor::Mysql).await;
    let rig = Rig::start(Flavor::Mysql, &listen(lab.certificates(), "")).await;
    let client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    let config = wire_tls(&lab.certificates().authority);
    let mut client = client.start_tls(config).await.unwrap();
    let login = client.authenticate(&rig.user, PASSWORD, None);
    login.await.unwrap().unwrap();
    let set = "SET net_write_timeout = 1";
    client.query(set).await.unwrap().expect_ok();
    let id = client.greeting.connection_id.to_string();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
                   SELECT REPEAT('x', 10000) FROM n, n AS other";
    let command = [&[Command::Query as u8], endless.as_bytes()].concat();
    client.send(0, &command).await.unwrap();
    let mut other = rig.wire().await;
    until("the session has ended", async || {
        let Answer::Rows(rows) = other.query("SHOW ISTHMUS SESSIONS").await.unwrap() else {
            panic!("no sessions");
        };
        !rows.iter().any(|row| row[0].as_ref() == Some(&id))
    })
    .await;
}

/// A client in TLS that vanishes while its statement runs is noticed like any other.
#[tokio::test]
async fn a_tls_client_that_vanishes() {
    let lab = shared(Flavor::Mysql).await;
    let rig = Rig::start(Flavor::Mysql, &listen(lab.certificates(), "")).await;
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    client = client
        .start_tls(wire_tls(&lab.certificates().authority))
        .await
        .unwrap();
    client
        .authenticate(&rig.user, PASSWORD, None)
        .await
        .unwrap()
        .unwrap();
    let sleep = format!("{ON_WRITER}SELECT SLEEP(100)");
    client
        .send(0, &isthmus_tests::wire::query_payload(&sleep))
        .await
        .unwrap();
    let runs = async || {
        rig.processes(lab.writer())
            .await
            .into_iter()
            .flatten()
            .any(|sql| sql.contains("SLEEP"))
    };
    until("the statement runs", async || runs().await).await;
    // With TLS's goodbye, which comes before the end of the connection.
    client.say_goodbye().await;
    until("the statement ends", async || !runs().await).await;
}

/// The endpoints' configuration: both servers with these TLS settings, reached by this host.
fn endpoints(rig: &Rig, host: &str, tls: &str) -> Blueprint {
    let endpoint = |name: &str, port: u16, role: &str, region: &str| {
        format!(
            "[[endpoints]]\nname = \"{name}\"\naddress = \"{host}:{port}\"\nrole = \"{role}\"\nregion = \"{region}\"\n"
        )
    };
    let text = format!(
        "{}{}[server_tls]\n{tls}\n[pool]\nborrow_timeout = \"3s\"\n",
        endpoint("tokyo", rig.writer.address().port(), "writer", "tokyo"),
        endpoint(
            "virginia",
            rig.reader.address().port(),
            "reader",
            "virginia"
        )
    );
    rig.blueprint.clone().with(&text)
}

async fn servers_with_tls(flavor: Flavor) {
    let lab = shared(flavor).await;
    let (own, stranger) = (&lab.certificates().authority, &lab.certificates().stranger);
    let verify = |mode: &str, ca: &Path| format!("mode = \"{mode}\"\nca = {ca:?}");
    // Mode, host, and whether the connection is encrypted; `None` if there must be none.
    let cases = [
        ("mode = \"disabled\"".to_owned(), "127.0.0.1", Some(false)),
        ("mode = \"preferred\"".into(), "127.0.0.1", Some(true)),
        ("mode = \"required\"".into(), "127.0.0.1", Some(true)),
        (verify("verify-ca", own), "127.0.0.1", Some(true)),
        (verify("verify-ca", stranger), "127.0.0.1", None),
        // An address that leads there too, but is not in the certificate.
        (verify("verify-ca", own), "0.0.0.0", Some(true)),
        (verify("verify-identity", own), "127.0.0.1", Some(true)),
        (verify("verify-identity", own), "localhost", Some(true)),
        (verify("verify-identity", own), "0.0.0.0", None),
        (verify("verify-identity", stranger), "127.0.0.1", None),
    ];
    let rig = Rig::start(flavor, "").await;
    for (tls, host, expected) in cases {
        let what = format!("{flavor}: {tls}, {host}");
        let (status, body) = rig.reload(&endpoints(&rig, host, &tls)).await;
        assert_eq!(status, 200, "{what}: {body}");
        let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        client
            .authenticate(&rig.user, PASSWORD, None)
            .await
            .unwrap()
            .unwrap();
        let cipher = client.query(&format!("{ON_WRITER}{CIPHER}")).await.unwrap();
        match (cipher, expected) {
            (Answer::Rows(rows), Some(is_encrypted)) => {
                let cipher = rows[0][1].clone().unwrap_or_default();
                assert_eq!(
                    !cipher.is_empty(),
                    is_encrypted,
                    "{what}: cipher {cipher:?}"
                );
                // What the writer has shown, the reader may not have yet.
                let place = client.query(&format!("{ON_READER}{WHERE}")).await.unwrap();
                assert_eq!(place.value(), "reader", "{what}");
            }
            (Answer::Err(refusal), None) => {
                assert_eq!(refusal.code, 9501, "{what}: {refusal:?}");
                assert!(
                    refusal.message.contains("certificate"),
                    "{what}: {refusal:?}"
                );
                let read = client.query(WHERE).await.unwrap();
                assert_eq!(read.code(), 9501, "{what}: the reader");
            }
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn servers_with_tls_on_mysql() {
    servers_with_tls(Flavor::Mysql).await;
}

#[tokio::test]
async fn servers_with_tls_on_mariadb() {
    servers_with_tls(Flavor::Mariadb).await;
}

/// Servers that have no TLS: preferred goes without, required does not.
async fn servers_without_tls(flavor: Flavor) {
    let arguments = match flavor {
        // Its replication insists on TLS, so that the servers lose it later.
        Flavor::Mysql => Vec::new(),
        Flavor::Mariadb => vec!["--skip-ssl".into()],
    };
    let lab = dedicated(Options {
        flavor,
        arguments,
        ..Options::default()
    })
    .await;
    if flavor == Flavor::Mysql {
        for server in lab.servers() {
            server
                .execute("SET GLOBAL ssl_cert = '/nowhere.pem'")
                .await
                .unwrap();
            server
                .execute("ALTER INSTANCE RELOAD TLS NO ROLLBACK ON ERROR")
                .await
                .unwrap();
        }
    }
    let rig = Rig::start_on(lab.clone(), "").await;
    for (mode, works) in [("preferred", true), ("disabled", true), ("required", false)] {
        let tls = format!("mode = \"{mode}\"");
        assert_eq!(rig.reload(&endpoints(&rig, "127.0.0.1", &tls)).await.0, 200);
        let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        client
            .authenticate(&rig.user, PASSWORD, None)
            .await
            .unwrap()
            .unwrap();
        match client
            .query("CREATE TABLE IF NOT EXISTS sign.t (id INT)")
            .await
            .unwrap()
        {
            Answer::Ok => assert!(works, "{flavor}: {mode} went without"),
            Answer::Err(refusal) => {
                assert!(
                    !works && refusal.code == 9501,
                    "{flavor}, {mode}: {refusal:?}"
                );
                assert!(
                    ["TLS", "SSL"]
                        .iter()
                        .any(|word| refusal.message.contains(word)),
                    "{flavor}, {mode}: {refusal:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    // A user whom the server has never seen: the password needs the full exchange, without TLS.
    let name = make_user(&lab).await;
    assert_eq!(
        rig.reload(&rig.blueprint.clone().with_user(&name)).await.0,
        200
    );
    let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
    client
        .authenticate(&name, PASSWORD, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(client.query(WHERE).await.unwrap().value(), "reader");
    client
        .query(&format!("{ON_WRITER}SELECT 1"))
        .await
        .unwrap()
        .expect_ok();
}

#[tokio::test]
async fn servers_without_tls_on_mysql() {
    servers_without_tls(Flavor::Mysql).await;
}

#[tokio::test]
async fn servers_without_tls_on_mariadb() {
    servers_without_tls(Flavor::Mariadb).await;
}

/// Each user proves the password in their own way, whatever the servers do on their side.
#[tokio::test]
async fn users_have_plugins_of_their_own() {
    for flavor in Flavor::ALL {
        let rig = Rig::start(flavor, "").await;
        let name = make_user(&rig.lab).await;
        let users = format!(
            "[[users]]\nname = \"{}\"\npassword = \"{PASSWORD}\"\n\
             [[users]]\nname = \"{name}\"\npassword = \"{PASSWORD}\"\nauth_plugin = \"mysql_native_password\"\n\
             [[users]]\nname = \"other\"\npassword = \"another\"\nauth_plugin = \"mysql_native_password\"\n\
             backend_user = \"{name}\"\nbackend_password = \"{PASSWORD}\"\n",
            rig.user
        );
        assert_eq!(rig.reload(&rig.blueprint.clone().with(&users)).await.0, 200);
        let options = |user: &str, password: &str| {
            Opts::from(
                rig.options()
                    .user(Some(user))
                    .pass(Some(password))
                    .db_name(None::<String>),
            )
        };
        for (user, password) in [
            (rig.user.as_str(), PASSWORD),
            (&name, PASSWORD),
            ("other", "another"),
        ] {
            let mut conn = Conn::new(options(user, password)).await.unwrap();
            let place: Option<String> = conn.query_first(WHERE).await.unwrap();
            assert_eq!(place.as_deref(), Some("reader"), "{user}");
            assert_eq!(
                code(Conn::new(options(user, "wrong")).await),
                1045,
                "{user}"
            );
        }
        let mut other = Conn::new(options("other", "another")).await.unwrap();
        let who: Option<String> = other.query_first("SELECT CURRENT_USER()").await.unwrap();
        assert_eq!(who, Some(format!("{name}@%")));
    }
}

/// The same exchange in COM_CHANGE_USER.
#[tokio::test]
async fn the_full_exchange_of_another_user() {
    let lab = shared(Flavor::Mysql).await;
    let rig = Rig::start(Flavor::Mysql, &listen(lab.certificates(), "")).await;
    for (is_tls, password) in [
        (false, PASSWORD),
        (false, "wrong"),
        (true, PASSWORD),
        (true, "wrong"),
    ] {
        let mut client = Client::connect(rig.proxy.address()).await.unwrap().unwrap();
        if is_tls {
            let config = wire_tls(&lab.certificates().authority);
            client = client.start_tls(config).await.unwrap();
        }
        let login = client.authenticate(&rig.user, PASSWORD, Some(&rig.schema));
        login.await.unwrap().unwrap();
        let mut payload = Vec::new();
        let change = client.change_to(&rig.user, PASSWORD, &rig.schema);
        change.encode(client.capabilities, &mut payload).unwrap();
        client.begin_command(&payload).await.unwrap();
        let switch = client.receive_next().await.unwrap();
        let nonce = AuthSwitch::parse(&switch.payload).unwrap().nonce().unwrap();
        client.send_next(&[7; 32]).await.unwrap();
        assert_eq!(client.receive_next().await.unwrap().payload, [1, FULL_AUTH]);
        let mut answer = [password.as_bytes(), &[0]].concat();
        if !is_tls {
            client.send_next(&[REQUEST_PUBLIC_KEY]).await.unwrap();
            let pem = client.receive_next().await.unwrap().payload;
            let hidden = xor_with_nonce(&answer, &nonce);
            answer = isthmus::rsa::encrypt_with_pem(&pem[1..], &hidden).unwrap();
        }
        client.send_next(&answer).await.unwrap();
        match client.finish_login("").await.unwrap() {
            Ok(()) => {
                assert_eq!(password, PASSWORD, "tls: {is_tls}");
                client.query(WHERE).await.unwrap().expect_ok();
            }
            Err(refusal) => {
                assert_eq!((password, refusal.code), ("wrong", 1045), "tls: {is_tls}");
                client.closed().await.unwrap();
            }
        }
    }
}

/// COM_CHANGE_USER, with TLS and without, between users of both plugins: nothing of the old
/// session is left.
#[tokio::test]
async fn the_user_changes() {
    for flavor in Flavor::ALL {
        let lab = shared(flavor).await;
        let overlay = listen(lab.certificates(), "")
            + "[pool]\nmax_connections = 1\nborrow_timeout = \"5s\"\n";
        let rig = Rig::start(flavor, &overlay).await;
        let name = make_user(&lab).await;
        let users = format!(
            "[[users]]\nname = \"{}\"\npassword = \"{PASSWORD}\"\n\
             [[users]]\nname = \"{name}\"\npassword = \"{PASSWORD}\"\nauth_plugin = \"mysql_native_password\"\n",
            rig.user
        );
        assert_eq!(rig.reload(&rig.blueprint.clone().with(&users)).await.0, 200);
        for ssl in [None, Some(trusting(&lab.certificates().authority))] {
            let mut conn = connect(&rig, ssl.clone()).await.unwrap();
            conn.query_drop("CREATE TABLE IF NOT EXISTS t (id INT)")
                .await
                .unwrap();
            for statement in [
                "SET sql_mode = 'ANSI'",
                "SET @x = 1",
                "CREATE TEMPORARY TABLE mine (id INT)",
                "BEGIN",
                "INSERT INTO t VALUES (1)",
            ] {
                conn.query_drop(statement).await.unwrap();
            }
            let to = |user: &str, schema: &str, password: &str| {
                ChangeUserOpts::default()
                    .with_user(Some(user.to_owned()))
                    .with_db_name(Some(schema.to_owned()))
                    .with_pass(Some(password.to_owned()))
            };
            conn.change_user(to(&name, &name, PASSWORD)).await.unwrap();
            let state: Option<(String, String, Option<u32>, bool)> = conn
                .query_first(format!(
                    "{ON_WRITER}SELECT CURRENT_USER(), DATABASE(), @x, @@sql_mode LIKE '%ANSI%'"
                ))
                .await
                .unwrap();
            assert_eq!(
                state,
                Some((format!("{name}@%"), name.clone(), None, false))
            );
            let left: Option<u32> = conn
                .query_first(format!("{ON_WRITER}SELECT COUNT(*) FROM {}.t", rig.schema))
                .await
                .unwrap();
            assert_eq!(left, Some(0), "the transaction was rolled back");
            assert_eq!(
                code(
                    conn.query_drop(format!("INSERT INTO {}.mine VALUES (1)", rig.schema))
                        .await
                ),
                1146
            );

            conn.change_user(to(&rig.user, &rig.schema, PASSWORD))
                .await
                .unwrap();
            let schema: Option<String> = conn.query_first("SELECT DATABASE()").await.unwrap();
            assert_eq!(schema.as_ref(), Some(&rig.schema));
            assert_eq!(
                code(conn.change_user(to(&name, &name, "wrong")).await),
                1045
            );
            assert!(
                conn.query_drop("SELECT 1").await.is_err(),
                "it goes on after a refusal"
            );
            let mut conn = connect(&rig, ssl).await.unwrap();
            assert_eq!(
                code(conn.change_user(to(&rig.user, "nowhere", PASSWORD)).await),
                1049
            );
        }
    }
}
