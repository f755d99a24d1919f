//! Real clients, compressing or not, in front of connections that are compressed or not.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use isthmus_lab::Flavor;
use isthmus_tests::rig::{PASSWORD, Rig};
use mysql_async::prelude::Queryable;
use mysql_async::{Compression, Conn, Opts};
use tokio::process::Command;

/// How long one program may run.
const LIMIT: Duration = Duration::from_secs(180);
const BACKENDS: [&str; 3] = ["off", "zlib", "zstd"];

/// A file for LOAD DATA, and a script that ends in a statement of more than 16 MiB.
fn workplace() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..50_000)
        .map(|number| format!("{number}\ttext {number}\n"))
        .collect();
    std::fs::write(directory.path().join("lines.tsv"), lines).unwrap();
    let day = std::fs::read_to_string(programs().join("day.sql")).unwrap();
    let big = format!("SELECT LENGTH('{}');\n", "x".repeat(17 << 20));
    std::fs::write(directory.path().join("day.sql"), day + &big).unwrap();
    directory
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/compression")
}

fn installed(path: &str) -> PathBuf {
    let cache = std::env::var_os("ISTHMUS_CACHE").unwrap_or_else(|| "/var/cache/isthmus".into());
    Path::new(&cache).join(path)
}

/// Runs a program in an empty schema; returns what it printed, and its errors.
async fn run(
    rig: &Rig,
    workplace: &Path,
    mut command: Command,
    input: Option<&Path>,
) -> (bool, String, String) {
    let empty = format!("DROP DATABASE {0}; CREATE DATABASE {0}", rig.schema);
    rig.lab.writer().execute(empty).await.unwrap();
    rig.lab.wait_caught_up().await.unwrap();
    let input = match input {
        Some(path) => Stdio::from(File::open(path).unwrap()),
        None => Stdio::null(),
    };
    let program = format!("{:?}", command.as_std());
    let running = command
        .current_dir(workplace)
        .stdin(input)
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(LIMIT, running).await;
    let done = done.unwrap_or_else(|_| panic!("{program} does not end within {LIMIT:?}"));
    let done = done.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (done.status.success(), text(done.stdout), text(done.stderr))
}

fn command_line(rig: &Rig, flavor: Flavor, address: SocketAddr, more: &[&str]) -> Command {
    let mut command = Command::from(flavor.client_command().unwrap());
    command
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--user={}", rig.user))
        .arg(format!("--password={PASSWORD}"))
        .args([
            "--batch",
            "--force",
            "--comments",
            "--max-allowed-packet=64M",
            "--local-infile=1",
        ])
        .args(match flavor {
            Flavor::Mysql => &["--ssl-mode=DISABLED", "--get-server-public-key"][..],
            Flavor::Mariadb => &["--skip-ssl"],
        })
        .args(more)
        .arg(&rig.schema);
    command
}

/// A day of a command-line client in all combinations, each the same as without a proxy and
/// without compression.
async fn command_line_clients(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let workplace = workplace();
    let script = workplace.path().join("day.sql");
    let modes: &[&[&str]] = match flavor {
        Flavor::Mysql => &[
            &["--compression-algorithms=uncompressed"],
            &["--compression-algorithms=zlib"],
            &[
                "--compression-algorithms=zstd",
                "--zstd-compression-level=7",
            ],
        ],
        Flavor::Mariadb => &[&[], &["--compress"]],
    };
    let day = async |address, mode: &[&str]| {
        let command = command_line(&rig, flavor, address, mode);
        run(&rig, workplace.path(), command, Some(&script)).await
    };
    let direct = day(rig.lab.writer().address(), modes[0]).await;
    for expected in [
        "50000\t1249975000\ttext 9999",
        "8999\ttext 8999",
        "\n17825792\n",
    ] {
        assert!(direct.1.contains(expected), "no {expected:?}: {}", direct.2);
    }
    for backend in BACKENDS {
        let blueprint = rig.blueprint.clone().with_endpoints("compression", backend);
        assert_eq!(rig.reload(&blueprint).await.0, 200);
        for mode in modes {
            let proxied = day(rig.proxy.address(), mode).await;
            let what = format!("{mode:?} to the proxy, {backend} to the servers");
            assert_eq!(proxied.2, direct.2, "{what}");
            let different = proxied
                .1
                .lines()
                .zip(direct.1.lines())
                .find(|(a, b)| a != b);
            assert_eq!(different, None, "{what}");
            assert_eq!(proxied.1.len(), direct.1.len(), "{what}");
        }
    }
}

/// MySQL's client in front of MariaDB, which it cannot log in to directly, with what MariaDB
/// cannot do itself. The client does not go on without it.
#[tokio::test]
async fn zstd_in_front_of_mariadb() {
    let rig = Rig::start(Flavor::Mariadb, "").await;
    let workplace = workplace();
    let mode = [
        "--compression-algorithms=zstd",
        "--execute=SELECT REPEAT('text', 5000)",
    ];
    let command = command_line(&rig, Flavor::Mysql, rig.proxy.address(), &mode);
    let (success, out, errors) = run(&rig, workplace.path(), command, None).await;
    assert!(success && out.contains(&"text".repeat(5000)), "{errors}");
}

/// Drivers with implementations of their own.
async fn drivers(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let blueprint = rig.blueprint.clone().with_endpoints("compression", "zlib");
    assert_eq!(rig.reload(&blueprint).await.0, 200);
    let workplace = workplace();
    let python = installed("python/bin/python");
    let python = python.to_str().unwrap();
    let file = |name: &str| programs().join(name).to_str().unwrap().to_owned();
    let programs: [(&str, Vec<String>); 5] = [
        ("node", vec![file("node.js")]),
        (
            "php",
            vec!["-dmysqli.allow_local_infile=1".into(), file("mysqli.php")],
        ),
        (python, vec![file("python.py"), "mysqlclient".into()]),
        (python, vec![file("python.py"), "connector".into()]),
        (
            python,
            vec![file("python.py"), "connector without TLS".into()],
        ),
    ];
    for (program, arguments) in programs {
        let day = async |address: SocketAddr| {
            let mut command = Command::new(program);
            command
                .args(&arguments)
                .env("DB_HOST", address.ip().to_string())
                .env("DB_PORT", address.port().to_string())
                .env("DB_USER", &rig.user)
                .env("DB_PASSWORD", PASSWORD)
                .env("DB_SCHEMA", &rig.schema)
                .env("NODE_PATH", installed("node/node_modules"));
            run(&rig, workplace.path(), command, None).await
        };
        drop(rig.direct_writer().await);
        let direct = day(rig.lab.writer().address()).await;
        assert!(
            direct.0,
            "{program} {arguments:?} directly: {}\n{}",
            direct.1, direct.2
        );
        let proxied = day(rig.proxy.address()).await;
        assert!(
            proxied.0,
            "{program} {arguments:?}: {}\n{}",
            proxied.1, proxied.2
        );
        assert_eq!(proxied.1, direct.1, "{program} {arguments:?}");
    }
}

/// A driver of Rust's: prepared statements, long values, results that are not read to their end.
async fn mysql_async_compressing(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    for backend in BACKENDS {
        let blueprint = rig.blueprint.clone().with_endpoints("compression", backend);
        assert_eq!(rig.reload(&blueprint).await.0, 200);
        let options = rig.options().compression(Compression::fast());
        let mut conn = Conn::new(Opts::from(options)).await.unwrap();
        conn.query_drop("DROP TABLE IF EXISTS t").await.unwrap();
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, v LONGBLOB)")
            .await
            .unwrap();
        for (id, size) in [(1, 10), (2, 5000), (3, (17 << 20) + 3)] {
            let value: Vec<u8> = (0..size)
                .map(|n: u32| (n.wrapping_mul(n) >> 7) as u8)
                .collect();
            conn.exec_drop("INSERT INTO t VALUES (?, ?)", (id, value))
                .await
                .unwrap();
        }
        let sums: Vec<(i32, String)> = conn
            .exec("SELECT id, SHA2(v, 256) FROM t ORDER BY id", ())
            .await
            .unwrap();
        for (id, sum) in sums {
            let (value, again): (Vec<u8>, String) = conn
                .exec_first("SELECT v, SHA2(v, 256) FROM t WHERE id = ?", (id,))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(again, sum, "{id} with {backend}");
            let told: Option<String> = conn
                .exec_first("SELECT SHA2(?, 256)", (value,))
                .await
                .unwrap();
            assert_eq!(told, Some(sum), "{id} with {backend}");
        }
        let unread = conn
            .query_iter("SELECT a.id, b.v FROM t a, t b")
            .await
            .unwrap();
        drop(unread);
        let count: Option<u32> = conn.query_first("SELECT COUNT(*) FROM t").await.unwrap();
        assert_eq!(count, Some(3));
        conn.disconnect().await.unwrap();
    }
}

isthmus_tests::on_both! {
    command_line_clients
    drivers
    mysql_async_compressing
}
