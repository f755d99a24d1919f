//! Tokens in web applications, as docs/tokens.md shows them: a POST through the proxy in one region,
//! and the GET that follows through the proxy in another. The programs are in tests/drivers/tokens.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use isthmus_lab::{Flavor, Options, Proxy};
use isthmus_tests::rig::{Blueprint, PASSWORD, Rig, dedicated, until};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long an application may take to start or to answer.
const LIMIT: Duration = Duration::from_secs(60);

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/tokens")
}

fn cache() -> PathBuf {
    let cache = std::env::var_os("ISTHMUS_CACHE");
    cache.unwrap_or_else(|| "/var/cache/isthmus".into()).into()
}

/// An application that serves HTTP.
struct App {
    address: SocketAddr,
    _process: Child,
}

impl App {
    async fn start(mut command: Command, rig: &Rig, proxy: SocketAddr) -> Self {
        let mut process = command
            .current_dir(programs())
            .env("DB_HOST", proxy.ip().to_string())
            .env("DB_PORT", proxy.port().to_string())
            .env("DB_USER", &rig.user)
            .env("DB_PASSWORD", PASSWORD)
            .env("DB_SCHEMA", &rig.schema)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("scripts/setup drivers installs it: {error}"));
        let mut line = String::new();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        tokio::time::timeout(LIMIT, out.read_line(&mut line))
            .await
            .unwrap()
            .unwrap();
        let port: u16 = line.trim().parse().unwrap();
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            _process: process,
        }
    }

    /// A request with a cookie: the cookie that the answer sets, and the answer.
    async fn request(&self, method: &str, path: &str, cookie: &str) -> (Option<String>, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: album\r\nContent-Length: 0\r\nCookie: {cookie}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        tokio::time::timeout(LIMIT, reading).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200"), "{answer}");
        let mut lines = head.lines();
        let cookie = lines.find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_cookie = name.eq_ignore_ascii_case("set-cookie");
            is_cookie.then(|| value.split(';').next().unwrap().trim().to_owned())
        });
        (cookie, body.to_owned())
    }
}

async fn what_was_posted_is_seen_elsewhere(name: &str, command: impl Fn() -> Command) {
    for flavor in Flavor::ALL {
        let lab = dedicated(Options {
            flavor,
            ..Options::default()
        })
        .await;
        for source in ["gtid", "heartbeat"] {
            let overlay = format!("[consistency]\nsource = \"{source}\"\non_stale = \"writer\"");
            let rig = Rig::start_on(lab.clone(), &overlay).await;
            rig.set_up_heartbeat().await;
            let table =
                "CREATE TABLE photos (id BIGINT AUTO_INCREMENT PRIMARY KEY, title VARCHAR(50))";
            rig.prepare_data(&[table]).await;
            // The proxy in the writer's region has no reader.
            let blueprint = Blueprint::new(&rig.user, lab.writer().address(), &[])
                .with(&overlay)
                .with("region = \"tokyo\"");
            let tokyo = Proxy::start(lab.sandbox(), |addresses| blueprint.render(addresses));
            let tokyo = tokyo.await.unwrap();
            let near = App::start(command(), &rig, tokyo.address()).await;
            let far = App::start(command(), &rig, rig.proxy.address()).await;

            let context = format!("{name}, {flavor}, {source}");
            lab.stop_replication().await.unwrap();
            let (cookie, answer) = near.request("POST", "/photos?title=cat", "").await;
            assert_eq!(answer, "added", "{context}");
            let cookie = cookie.unwrap_or_else(|| panic!("no cookie: {context}"));
            assert!(cookie.starts_with("isthmus_after="), "{cookie}, {context}");
            // Somebody else reads the past, and whoever shows the cookie does not.
            let (_, answer) = far.request("GET", "/photos", "").await;
            assert_eq!(answer, "0", "{context}");
            let (_, answer) = far.request("GET", "/photos", &cookie).await;
            assert_eq!(answer, "1", "{context}");
            // Nobody can make one up.
            let made_up = "isthmus_after=m.3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77";
            let (_, answer) = near.request("GET", "/photos", made_up).await;
            assert_eq!(answer, "1", "{context}");
            lab.start_replication().await.unwrap();
            until("everybody sees it", async || {
                far.request("GET", "/photos", "").await.1 == "1"
            })
            .await;
            let (_, answer) = far.request("GET", "/photos", &cookie).await;
            assert_eq!(answer, "1", "{context}");
        }
    }
}

#[tokio::test]
async fn django() {
    what_was_posted_is_seen_elsewhere("Django", || {
        let mut command = Command::new(cache().join("python/bin/python"));
        command.arg("app.py");
        command
    })
    .await;
}

#[tokio::test]
async fn node() {
    what_was_posted_is_seen_elsewhere("Node", || {
        let mut command = Command::new("node");
        command.arg("app.js");
        command.env("NODE_PATH", cache().join("node/node_modules"));
        command
    })
    .await;
}

#[tokio::test]
async fn active_record() {
    what_was_posted_is_seen_elsewhere("ActiveRecord", || {
        let mut command = Command::new("ruby");
        command.arg("app.rb");
        command
    })
    .await;
}

#[test]
fn the_document_shows_what_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("docs/tokens.md")).unwrap();
    for file in [
        "read_your_writes.py",
        "read_your_writes.js",
        "read_your_writes.rb",
    ] {
        let text = std::fs::read_to_string(programs().join(file)).unwrap();
        assert!(
            document.contains(text.trim()),
            "{file} is not in docs/tokens.md as it is"
        );
    }
}
