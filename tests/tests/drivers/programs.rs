//! Drivers of other languages, and sqlx: the programs in `tests/drivers`, each run with the
//! writer and with the proxy.

use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use isthmus_lab::{APP, Flavor};
use isthmus_tests::Stage;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// How long one program may run.
const LIMIT: Duration = Duration::from_secs(300);

/// How long a program may take to be compiled with all that it depends on.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// The names of the checks, those last that only a driver of its own has something to show for,
/// and not what stands upon one.
const CHECKS: [&str; 12] = [
    "connect",
    "connect with TLS",
    "migrations",
    "types",
    "transactions",
    "bulk insert",
    "errors",
    "big results",
    "prepared statements",
    "big packets",
    "several results",
    "local files",
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

/// A program of a language, to be run in its folder.
fn program(language: &str, interpreter: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(interpreter);
    command
        .current_dir(programs().join(language))
        .args(arguments);
    command
}

/// Compiles a program.
async fn build(mut compiler: Command) {
    let name = format!("{:?}", compiler.as_std().get_program());
    let done = tokio::time::timeout(BUILD_LIMIT, compiler.kill_on_drop(true).output()).await;
    let done = done.unwrap_or_else(|_| panic!("{name} does not end within {BUILD_LIMIT:?}"));
    let done = done.unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
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
    let statements =
        format!("DROP DATABASE IF EXISTS {schema}; CREATE DATABASE {schema} CHARACTER SET utf8mb4");
    stage.lab.writer().execute(statements).await.unwrap();
    stage.caught_up().await;
}

/// Runs a program with the writer and with the proxy, and compares. It does all checks but those
/// that it lacks.
async fn same_outcome(stage: &Stage, name: &str, lacks: &[&str], command: impl Fn() -> Command) {
    let schema = format!("driver_{name}");
    let mut seen = Vec::new();
    for (place, address) in [
        ("writer", stage.lab.writer().address()),
        ("proxy", stage.proxy.address()),
    ] {
        empty(stage, &schema).await;
        let mut command = command();
        command
            .env("DB_HOST", address.ip().to_string())
            .env("DB_PORT", address.port().to_string())
            .env("DB_USER", APP.user)
            .env("DB_PASSWORD", APP.password)
            .env("DB_SCHEMA", &schema)
            .env("DB_CA", &stage.lab.certificates().authority)
            .env("DB_FLAVOR", stage.flavor().name())
            .env("LC_ALL", "C.UTF-8");
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
    let mut expected: Vec<&str> = CHECKS
        .into_iter()
        .filter(|check| !lacks.contains(check))
        .collect();
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

/// What ORMs leave to the drivers under them.
const ORM: &[&str] = &[
    "prepared statements",
    "big packets",
    "several results",
    "local files",
];

/// What an ORM leaves that can prepare statements.
const PREPARING_ORM: &[&str] = &["big packets", "several results", "local files"];

async fn python(stage: &Stage, name: &str, lacks: &[&str], arguments: &[&str]) {
    let python = installed("python/bin/python");
    same_outcome(stage, name, lacks, || program("python", &python, arguments)).await;
}

async fn node(stage: &Stage, name: &str, lacks: &[&str], file: &str) {
    let command = || {
        let mut command = program("node", "node", &[file]);
        command.env("NODE_PATH", installed("node/node_modules"));
        command
    };
    same_outcome(stage, name, lacks, command).await;
}

/// Debian's programs, which have Debian's drivers, and not others of the same name.
async fn debian(stage: &Stage, name: &str, lacks: &[&str], language: &str, arguments: &[&str]) {
    let interpreter = format!("/usr/bin/{language}");
    same_outcome(stage, name, lacks, || {
        program(language, &interpreter, arguments)
    })
    .await;
}

isthmus_tests::on_each_flavor! {
    async fn c_libmariadb(stage) {
        let target = TempDir::new().unwrap();
        let driver = target.path().join("driver");
        let mut compiler = program("c", "sh", &["-c", "cc -std=gnu11 -o $0 driver.c $(mariadb_config --cflags --libs)"]);
        compiler.arg(&driver);
        build(compiler).await;
        same_outcome(stage, "libmariadb", &[], || program("c", &driver, &[])).await;
    }

    async fn go_sql_driver(stage) {
        let target = TempDir::new().unwrap();
        let driver = target.path().join("driver");
        let mut compiler = program("go", "go", &["build", "-o"]);
        compiler
            .arg(&driver)
            .arg("driver.go")
            // Debian installs libraries as sources, in the way that was usual before modules.
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode")
            .env("GOCACHE", installed("go"));
        build(compiler).await;
        same_outcome(stage, "go", &[], || program("go", &driver, &[])).await;
    }

    async fn java_mariadb_connector(stage) {
        let arguments = [
            "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", "/usr/share/java/mariadb-java-client.jar", "Driver.java",
        ];
        same_outcome(stage, "java", &[], || program("java", "java", &arguments)).await;
    }

    async fn node_mysql2(stage) {
        node(stage, "node_mysql2", &[], "mysql2.js").await;
    }

    async fn node_sequelize(stage) {
        node(stage, "sequelize", PREPARING_ORM, "sequelize.js").await;
    }

    async fn perl_dbd_mysql(stage) {
        debian(stage, "dbd_mysql", &[], "perl", &["dbi.pl", "mysql"]).await;
    }

    async fn perl_dbd_mariadb(stage) {
        debian(stage, "dbd_mariadb", &[], "perl", &["dbi.pl", "MariaDB"]).await;
    }

    async fn php_mysqli(stage) {
        debian(stage, "mysqli", &[], "php", &["-d", "mysqli.allow_local_infile=1", "mysqli.php"]).await;
    }

    async fn php_pdo(stage) {
        debian(stage, "pdo", &[], "php", &["pdo.php"]).await;
    }

    async fn python_django(stage) {
        python(stage, "django", ORM, &["django_orm.py"]).await;
    }

    async fn python_mysql_connector(stage) {
        python(stage, "connector", &[], &["dbapi.py", "mysql.connector"]).await;
    }

    async fn python_mysql_connector_in_c(stage) {
        python(stage, "connector_in_c", &[], &["dbapi.py", "_mysql_connector"]).await;
    }

    async fn python_mysqlclient(stage) {
        python(stage, "mysqlclient", &["prepared statements"], &["dbapi.py", "mysqlclient"]).await;
    }

    async fn python_pymysql(stage) {
        python(stage, "pymysql", &["prepared statements"], &["dbapi.py", "pymysql"]).await;
    }

    async fn python_sqlalchemy(stage) {
        for driver in ["pymysql", "mysqldb", "mysqlconnector"] {
            python(stage, &format!("sqlalchemy_{driver}"), ORM, &["sqlalchemy_orm.py", driver]).await;
        }
    }

    async fn ruby_active_record(stage) {
        debian(stage, "active_record", PREPARING_ORM, "ruby", &["active_record.rb"]).await;
    }

    async fn ruby_mysql2(stage) {
        debian(stage, "ruby_mysql2", &[], "ruby", &["mysql2.rb"]).await;
    }

    async fn rust_sqlx(stage) {
        let target = installed("rust");
        let mut compiler = program("rust", env!("CARGO"), &["build", "--quiet", "--locked", "--target-dir"]);
        compiler.arg(&target);
        build(compiler).await;
        let driver = target.join("debug/driver");
        same_outcome(stage, "sqlx", &["local files"], || program("rust", &driver, &[])).await;
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
