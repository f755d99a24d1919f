//! Compressed connections to the servers: negotiated, counted, and changed by a reload.

use std::path::Path;
use std::sync::Arc;

use isthmus_lab::{Flavor, Options};
use isthmus_tests::rig::{Rig, dedicated, http};
use isthmus_tests::wire::Answer;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub(super) fn trusting(authority: &Path) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// How the server sees the connection that the statement runs on.
async fn seen(rig: &Rig) -> String {
    let mut client = rig.wire().await;
    let sql = "/* isthmus:writer */ SHOW SESSION STATUS LIKE 'Compression%'";
    let Answer::Rows(rows) = client.query(sql).await.unwrap() else {
        panic!("no rows")
    };
    let value = |name: &str| {
        let row = rows.iter().find(|row| row[0].as_deref() == Some(name));
        row.and_then(|row| row[1].clone()).unwrap_or_default()
    };
    format!(
        "{} {}",
        value("Compression"),
        value("Compression_algorithm")
    )
}

/// A figure of the writer's, from /metrics.
async fn figure(rig: &Rig, name: &str, direction: &str) -> u64 {
    let (_, metrics) = http(rig.proxy.admin_address(), "GET", "/metrics").await;
    let start = format!("isthmus_{name}{{endpoint=\"tokyo\",direction=\"{direction}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    // There is none before the endpoint is first used.
    line.map_or(0, |count| count.parse().unwrap())
}

async fn negotiated_and_counted(flavor: Flavor) {
    // Those that are made ahead would count too, when they are there.
    let rig = Rig::start(flavor, "[pool]\nmin_idle = 0").await;
    let cases = match flavor {
        Flavor::Mysql => [
            ("off", "OFF "),
            ("zstd", "ON zstd"),
            ("zlib", "ON zlib"),
            ("off", "OFF "),
        ],
        // It does not know zstd, and does not name the algorithm.
        Flavor::Mariadb => [
            ("off", "OFF "),
            ("zstd", "OFF "),
            ("zlib", "ON "),
            ("off", "OFF "),
        ],
    };
    for (compression, expected) in cases {
        let blueprint = rig
            .blueprint
            .clone()
            .with_endpoints("compression", compression);
        assert_eq!(rig.reload(&blueprint).await.0, 200);
        let before = figure(&rig, "backend_uncompressed_bytes_total", "received").await;
        assert_eq!(seen(&rig).await, expected, "{compression}");
        let after = figure(&rig, "backend_uncompressed_bytes_total", "received").await;
        assert_eq!(after > before, expected.starts_with("ON"), "{compression}");
    }
    let complaints = rig.proxy.log().matches("does not offer zstd").count();
    match flavor {
        Flavor::Mysql => assert_eq!(complaints, 0),
        Flavor::Mariadb => assert!(
            (1..=2).contains(&complaints),
            "once for each endpoint: {complaints}"
        ),
    }
}

/// A sizeable statement and a sizeable result are smaller on their way, in both directions.
async fn it_saves_bytes(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let blueprint = rig.blueprint.clone().with_endpoints("compression", "zlib");
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let mut client = rig.wire().await;
    let sql = format!("/* isthmus:writer */ SELECT '{}'", "text".repeat(100_000));
    assert_eq!(client.query(&sql).await.unwrap().value().len(), 400_000);
    for direction in ["sent", "received"] {
        let packets = figure(&rig, "backend_uncompressed_bytes_total", direction).await;
        let frames = figure(&rig, "backend_compressed_bytes_total", direction).await;
        assert!(
            packets > 400_000 && frames < 40_000,
            "{packets} in {frames}"
        );
    }
    let status = client.query("SHOW ISTHMUS STATUS").await.unwrap();
    let Answer::Rows(rows) = status else {
        panic!("no rows")
    };
    let names: Vec<_> = rows.iter().filter_map(|row| row[0].as_deref()).collect();
    for name in [
        "isthmus_backend_uncompressed_bytes_total",
        "isthmus_backend_compressed_bytes_total",
    ] {
        assert!(
            names.iter().any(|known| known.starts_with(name)),
            "{names:?}"
        );
    }
}

/// With TLS around it, and a server that has been told to offer none.
#[tokio::test]
async fn within_tls_and_without_an_offer() {
    let options = Options {
        arguments: vec!["--protocol-compression-algorithms=zlib,uncompressed".into()],
        ..Options::default()
    };
    let rig = Rig::start_on(
        dedicated(options).await,
        "[server_tls]\nmode = \"required\"",
    )
    .await;
    for (compression, expected) in [("zlib", "ON zlib"), ("zstd", "OFF ")] {
        let blueprint = rig
            .blueprint
            .clone()
            .with_endpoints("compression", compression);
        assert_eq!(rig.reload(&blueprint).await.0, 200);
        assert_eq!(seen(&rig).await, expected);
        let mut client = rig.wire().await;
        let sql = "/* isthmus:writer */ SHOW SESSION STATUS LIKE 'Ssl_cipher'";
        let Answer::Rows(rows) = client.query(sql).await.unwrap() else {
            panic!("no rows")
        };
        assert_ne!(rows[0][1].as_deref(), Some(""));
    }
    rig.proxy.logged("does not offer zstd").await.unwrap();
}

isthmus_tests::on_both! {
    negotiated_and_counted
    it_saves_bytes
}
