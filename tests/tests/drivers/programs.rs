//! Drivers of other languages: the programs in `tests/drivers`, each run with the
//! writer and with the proxy.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use isthmus_lab::{APP, Flavor};
use isthmus_tests::Stage;
use serde_json::Value;
use tokio::process::Command;

/// How long one program may run.
const LIMIT: Duration = Duration::from_secs(180);

/// What every driver can do.
const CHECKS: [&str; 9] = [
    "big packets",
    "big results",
    "connect",
    "connect with TLS",
    "errors",
    "local files",
    "several results",
    "transactions",
    "types",
];

/// What a program printed.
struct Output {
    out: String,
    errors: String,
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers")
}

fn installed(path: &str) -> PathBuf {
    let cache = std::env::var_os("ISTHMUS_CACHE").unwrap_or_else(|| "/var/cache/isthmus".into());
    Path::new(&cache).join(path)
}

/// Runs a program to its end.
async fn run(mut command: Command, input: Option<&Path>) -> (bool, Output) {
    let input = match input {
        Some(path) => Stdio::from(File::open(path).unwrap()),
        None => Stdio::null(),
    };
    let program = format!("{:?}", command.as_std().get_program());
    let running = command.stdin(input).kill_on_drop(true).output();
    let done = tokio::time::timeout(LIMIT, running).await;
    let done = done.unwrap_or_else(|_| panic!("{program} does not end within {LIMIT:?}"));
    let done = done.unwrap_or_else(|error| {
        panic!("cannot run {program} (scripts/setup drivers installs it): {error}")
    });
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let output = Output {
        out: text(done.stdout),
        errors: text(done.stderr),
    };
    (done.status.success(), output)
}

/// An empty schema. The same program finds the same name twice, because messages
/// of errors contain it.
async fn empty(stage: &Stage, schema: &str) {
    let statements = format!("DROP DATABASE IF EXISTS {schema}; CREATE DATABASE {schema}");
    stage.lab.writer().execute(statements).await.unwrap();
    stage.caught_up().await;
}

/// Runs a program with the writer and with the proxy, and compares.
async fn checks_pass(stage: &Stage, language: &str, command: impl Fn() -> Command, more: &[&str]) {
    let schema = format!("driver_{language}");
    let mut seen = Vec::new();
    for (place, address) in [
        ("writer", stage.lab.writer().address()),
        ("proxy", stage.proxy.address()),
    ] {
        empty(stage, &schema).await;
        let mut command = command();
        command
            .current_dir(programs().join(language))
            .env("DB_HOST", address.ip().to_string())
            .env("DB_PORT", address.port().to_string())
            .env("DB_USER", APP.user)
            .env("DB_PASSWORD", APP.password)
            .env("DB_SCHEMA", &schema)
            .env("DB_CA", &stage.lab.certificates().authority)
            .env("DB_FLAVOR", stage.flavor().name());
        let (success, output) = run(command, None).await;
        assert!(
            success,
            "with the {place}, after\n{}\n{}",
            output.out, output.errors
        );
        let lines: Vec<Value> = output
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        seen.push(lines);
    }
    let (direct, proxied) = (&seen[0], &seen[1]);
    let mut names: Vec<&str> = proxied
        .iter()
        .map(|line| line["check"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let mut expected = [&CHECKS[..], more].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (proxied, direct) in proxied.iter().zip(direct) {
        assert_eq!(proxied, direct);
    }
}

/// The ways in which a client is made to use TLS or not.
fn tls_arguments(client: Flavor, authority: &Path) -> [Vec<String>; 2] {
    let authority = format!("--ssl-ca={}", authority.display());
    let (without, with) = match client {
        Flavor::Mysql => (
            &["--ssl-mode=DISABLED", "--get-server-public-key"][..],
            "--ssl-mode=VERIFY_IDENTITY",
        ),
        Flavor::Mariadb => (&["--skip-ssl"][..], "--ssl-verify-server-cert"),
    };
    [
        without
            .iter()
            .map(|&argument| argument.to_owned())
            .collect(),
        vec![authority, with.to_owned()],
    ]
}

fn client(client: Flavor, address: SocketAddr, schema: &str, tls: &[String]) -> Command {
    let mut command = Command::from(client.client_command().unwrap());
    command
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--user={}", APP.user))
        .arg(format!("--password={}", APP.password))
        .arg("--default-character-set=utf8mb4")
        .arg("--max-allowed-packet=64M")
        .arg("--local-infile=1")
        .args(["--batch", "--force", "--comments", "--column-names"])
        .args(tls)
        .arg(schema);
    command
}

/// Runs the script with a command-line client, directly and through the proxy.
async fn script_gives_the_same(stage: &Stage, flavor: Flavor) {
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (0..50_000)
        .map(|number| format!("{number}\ttext {number}\n"))
        .collect();
    std::fs::write(directory.path().join("lines.tsv"), lines).unwrap();
    // The script, and a statement of more than 16 MiB.
    let script = std::fs::read_to_string(programs().join("cli/script.sql")).unwrap();
    let big = format!("SELECT LENGTH('{}');\n", "x".repeat(17 << 20));
    let file = directory.path().join("script.sql");
    std::fs::write(&file, script + &big).unwrap();

    let schema = format!("client_{flavor}");
    for tls in tls_arguments(flavor, &stage.lab.certificates().authority) {
        let mut seen = Vec::new();
        for address in [stage.lab.writer().address(), stage.proxy.address()] {
            empty(stage, &schema).await;
            let mut command = client(flavor, address, &schema, &tls);
            command.current_dir(directory.path());
            let (_, output) = run(command, Some(&file)).await;
            seen.push(output);
        }
        let (direct, proxied) = (&seen[0], &seen[1]);
        assert_eq!(proxied.errors, direct.errors, "with {tls:?}");
        for code in [1064, 1146, 1054, 1062, 1049, 1305, 1644, 1243] {
            assert!(
                direct.errors.contains(&format!("ERROR {code}")),
                "no {code} in {}",
                direct.errors
            );
        }
        let different = proxied
            .out
            .lines()
            .zip(direct.out.lines())
            .find(|(proxied, direct)| proxied != direct);
        assert_eq!(different, None, "with {tls:?}");
        assert_eq!(proxied.out.len(), direct.out.len(), "with {tls:?}");
        for expected in [
            "海峡 🌉",
            "50000\t49999\ttext 9999",
            "\n17825792\n",
            "some datasome data",
        ] {
            assert!(
                direct.out.contains(expected),
                "no {expected:?} with {tls:?}"
            );
        }
    }
}

isthmus_tests::on_each_flavor! {
    async fn python_pymysql(stage) {
        let command = || {
            let mut command = Command::new(installed("python/bin/python"));
            command.arg("driver.py");
            command
        };
        checks_pass(stage, "python", command, &[]).await;
    }

    async fn node_mysql2(stage) {
        let command = || {
            let mut command = Command::new("node");
            command.arg("driver.js").env("NODE_PATH", installed("node/node_modules"));
            command
        };
        checks_pass(stage, "node", command, &["prepared statements"]).await;
    }

    async fn ruby_mysql2(stage) {
        let command = || {
            // Debian's Ruby, which has the driver.
            let mut command = Command::new("/usr/bin/ruby");
            command.arg("driver.rb");
            command
        };
        checks_pass(stage, "ruby", command, &["prepared statements"]).await;
    }

    async fn mysql_command_line_client(stage) {
        if stage.flavor() == Flavor::Mysql {
            script_gives_the_same(stage, Flavor::Mysql).await;
        } else {
            // MySQL's client has lost the plugin that it needs to log in to MariaDB. It
            // can log in to the proxy.
            empty(stage, "client_mysql").await;
            for tls in tls_arguments(Flavor::Mysql, &stage.lab.certificates().authority) {
                let mut direct = client(Flavor::Mysql, stage.lab.writer().address(), "client_mysql", &tls);
                direct.args(["--execute", "SELECT 1"]);
                assert!(!run(direct, None).await.0, "it can log in: compare it as on MySQL");
                let mut proxied = client(Flavor::Mysql, stage.proxy.address(), "client_mysql", &tls);
                proxied.args(["--execute", "/* isthmus:reader */ SELECT server, DATABASE() FROM app.here"]);
                let (success, output) = run(proxied, None).await;
                assert!(success, "{}", output.errors);
                assert_eq!(output.out, "server\tDATABASE()\nreader\tclient_mysql\n");
            }
        }
    }

    async fn mariadb_command_line_client(stage) {
        script_gives_the_same(stage, Flavor::Mariadb).await;
    }
}
