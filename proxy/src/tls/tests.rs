//! Handshakes over a socket pair, for each mode against each kind of certificate.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// A CA and server certificates of different kinds, in files.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Files {
            folder: tempfile::tempdir().unwrap(),
        };
        let (ca, ca_key) = authority("MySQL_Server_9.7.4_Auto_Generated_CA_Certificate");
        let (stranger, _) = authority("Somebody else");
        let ca_cert = ca.self_signed(&ca_key).unwrap();
        files.write("ca.pem", &ca_cert.pem());
        let stranger_key = KeyPair::generate().unwrap();
        files.write(
            "stranger.pem",
            &stranger.self_signed(&stranger_key).unwrap().pem(),
        );
        let issuer = Issuer::new(ca, ca_key);
        // As mysqld makes it at its first start: X.509 v3, CA:FALSE, a common name, no other names.
        let mut mysql = named("MySQL_Server_9.7.4_Auto_Generated_Server_Certificate");
        mysql.is_ca = IsCa::ExplicitNoCa;
        files.server("mysql", &mysql, &issuer);
        let mut named = named("db");
        named.subject_alt_names = vec![SanType::DnsName("db.test".try_into().unwrap())];
        files.server("named", &named, &issuer);
        let mut expired = named.clone();
        expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
        files.server("expired", &expired, &issuer);
        files
    }

    fn server(&self, name: &str, params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn listen(&self, name: &str) -> ListenTls {
        ListenTls {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            client_ca: None,
        }
    }
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params, KeyPair::generate().unwrap())
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Whether a client in this mode accepts the server `listen` under the name `db.test`.
async fn accepts(mode: &ServerTls, listen: &ListenTls) -> bool {
    let acceptor = TlsAcceptor::from(server_config(listen).unwrap());
    let connector = TlsConnector::from(client_config(mode).unwrap().unwrap());
    let (client, server) = tokio::io::duplex(1 << 16);
    let (client, server) = tokio::join!(
        connector.connect(server_name("db.test").unwrap(), client),
        acceptor.accept(server)
    );
    client.is_ok() && server.is_ok()
}

#[tokio::test]
async fn each_mode_demands_what_it_says() {
    let files = Files::new();
    let verify_ca = |name| ServerTls::VerifyCa {
        ca: files.path(name),
    };
    let identity = |name| ServerTls::VerifyIdentity {
        ca: files.path(name),
    };
    let cases = [
        (ServerTls::Preferred, "mysql", true),
        (ServerTls::Required, "mysql", true),
        (ServerTls::Required, "expired", true),
        (verify_ca("ca.pem"), "mysql", true),
        (verify_ca("ca.pem"), "named", true),
        (verify_ca("ca.pem"), "expired", false),
        (verify_ca("stranger.pem"), "mysql", false),
        (identity("ca.pem"), "named", true),
        (identity("ca.pem"), "mysql", false),
        (identity("stranger.pem"), "named", false),
    ];
    for (mode, server, expected) in cases {
        let seen = accepts(&mode, &files.listen(server)).await;
        assert_eq!(seen, expected, "{mode:?} {server}");
    }
}

#[tokio::test]
async fn a_client_ca_demands_a_certificate() {
    let files = Files::new();
    let mut listen = files.listen("named");
    listen.client_ca = Some(files.path("ca.pem"));
    assert!(!accepts(&ServerTls::Required, &listen).await);
}

#[test]
fn no_configuration_where_tls_is_disabled() {
    assert!(client_config(&ServerTls::Disabled).unwrap().is_none());
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let files = Files::new();
    files.write("empty.pem", "");
    files.write(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let cases = [
        ("nowhere.pem", "named.key", "nowhere.pem: cannot be read"),
        ("empty.pem", "named.key", "empty.pem: holds no certificate"),
        ("named.pem", "nowhere.key", "nowhere.key: cannot be read"),
        ("named.pem", "named.pem", "named.pem: holds no private key"),
        ("named.pem", "locked.pem", "locked.pem: the key is locked"),
        (
            "named.pem",
            "mysql.key",
            "mysql.key: is not the key of the certificate in",
        ),
    ];
    for (certificate, key, expected) in cases {
        let listen = ListenTls {
            certificate: files.path(certificate),
            key: files.path(key),
            client_ca: None,
        };
        let error = server_config(&listen).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
    let ca = files.path("empty.pem");
    let error = client_config(&ServerTls::VerifyCa { ca }).unwrap_err();
    assert!(
        error.to_string().contains("holds no certificate"),
        "{error}"
    );
}

#[test]
fn names_of_servers() {
    for good in ["db", "db.test", "my_db.internal", "10.0.0.1", "::1"] {
        assert!(server_name(good).is_ok(), "{good}");
    }
    for bad in ["", "a b", "-"] {
        assert!(server_name(bad).is_err(), "{bad}");
    }
}
