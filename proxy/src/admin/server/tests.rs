//! Requests over a real socket.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A server whose answers the test decides.
struct Admin {
    address: SocketAddr,
    ready: Arc<Mutex<Result<(), String>>>,
    reload: Arc<Mutex<Result<Vec<String>, String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Admin {
    async fn start() -> Admin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ready = Arc::new(Mutex::new(Ok(())));
        let reload = Arc::new(Mutex::new(Ok(Vec::new())));
        let (ready_answer, reload_answer) = (ready.clone(), reload.clone());
        let state = AdminState {
            metrics: Arc::new(Metrics::new()),
            ready: Box::new(move || ready_answer.lock().unwrap().clone()),
            reload: Box::new(move || {
                let answer = reload_answer.lock().unwrap().clone();
                Box::pin(async move { answer })
            }),
        };
        let task = tokio::spawn(serve(listener, Arc::new(state)));
        Admin {
            address,
            ready,
            reload,
            task,
        }
    }

    /// Sends `method path` with `headers` and returns the whole answer.
    async fn ask(&self, request: &str, headers: &str) -> String {
        let host = self.address;
        self.send(&format!(
            "{request} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
        ))
        .await
    }

    async fn send(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses early may reset the connection.
        let _ = stream.write_all(bytes.as_bytes()).await;
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let admin = Admin::start().await;
    let answer = admin.ask("GET /metrics", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(OPEN_METRICS), "{answer}");
    assert!(
        answer.contains("isthmus_client_connections 0\n"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn health_and_readiness() {
    let admin = Admin::start().await;
    assert!(
        admin
            .ask("GET /healthz", "")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        admin
            .ask("GET /readyz", "")
            .await
            .starts_with("HTTP/1.1 200")
    );
    *admin.ready.lock().unwrap() = Err("the writer tokyo does not answer".to_owned());
    let answer = admin.ask("GET /readyz", "").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.ends_with("the writer tokyo does not answer\n"),
        "{answer}"
    );
    let head = admin.ask("HEAD /readyz", "").await;
    assert!(
        head.starts_with("HTTP/1.1 503") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_reload_says_what_it_did() {
    let admin = Admin::start().await;
    *admin.reload.lock().unwrap() = Ok(vec!["pool.max_life 30m → 1h".to_owned()]);
    let answer = admin.ask("POST /api/reload", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("{\"applied\":true,\"changes\":[\"pool.max_life 30m → 1h\"]}\n"));
    *admin.reload.lock().unwrap() = Err("isthmus.toml:3:1: \"oops\"".to_owned());
    let answer = admin.ask("POST /api/reload", "Content-Length: 0\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    let expected = "{\"applied\":false,\"error\":\"isthmus.toml:3:1: \\\"oops\\\"\"}\n";
    assert!(answer.ends_with(expected), "{answer}");
}

#[tokio::test]
async fn pages_from_elsewhere_may_not_reload() {
    let admin = Admin::start().await;
    let answer = admin
        .ask("POST /api/reload", "Origin: http://evil.test\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let own = format!("Origin: http://{}\r\n", admin.address);
    let answer = admin.ask("POST /api/reload", &own).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let admin = Admin::start().await;
    let answer = admin.ask("GET /api/reload", "").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("allow: POST\r\n"), "{answer}");
    let answer = admin.ask("POST /metrics", "").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let answer = admin.ask("GET /", "").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn a_request_is_bounded() {
    let admin = Admin::start().await;
    let long = format!("X-Long: {}\r\n", "x".repeat(2 * MAX_HEAD));
    let answer = admin.ask("GET /healthz", &long).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        admin
            .ask("GET /healthz", "")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_reload_runs_to_its_end_though_the_client_hangs_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let started = Arc::new(tokio::sync::Notify::new());
    let proceed = Arc::new(tokio::sync::Notify::new());
    let ended = Arc::new(AtomicBool::new(false));
    let done = Arc::new(tokio::sync::Notify::new());
    let handles = (
        started.clone(),
        proceed.clone(),
        ended.clone(),
        done.clone(),
    );
    let state = AdminState {
        metrics: Arc::new(Metrics::new()),
        ready: Box::new(|| Ok(())),
        reload: Box::new(move || {
            let (started, proceed, ended, done) = handles.clone();
            Box::pin(async move {
                started.notify_one();
                proceed.notified().await;
                ended.store(true, Ordering::SeqCst);
                done.notify_one();
                Ok(Vec::new())
            })
        }),
    };
    let task = tokio::spawn(serve(listener, Arc::new(state)));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("POST /api/reload HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    started.notified().await;
    drop(stream);
    task.abort();
    let _ = task.await;
    proceed.notify_one();
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, done.notified())
        .await
        .unwrap();
    assert!(ended.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_silent_client_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let state = AdminState {
        metrics: Arc::new(Metrics::new()),
        ready: Box::new(|| Ok(())),
        reload: Box::new(|| Box::pin(async { Ok(Vec::new()) })),
    };
    client.write_all(b"GET /healthz HT").await.unwrap();
    let has_asked = Arc::default();
    let timeout = Duration::from_millis(20);
    let serving = serve_connection(stream, Arc::new(state), has_asked, timeout);
    let patience = CONNECTION_TIMEOUT / 2;
    assert!(tokio::time::timeout(patience, serving).await.is_ok());
}

#[tokio::test]
async fn silent_clients_do_not_keep_others_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = AdminState {
        metrics: Arc::new(Metrics::new()),
        ready: Box::new(|| Ok(())),
        reload: Box::new(|| Box::pin(async { Ok(Vec::new()) })),
    };
    let patience = Duration::from_secs(3600);
    let serving = tokio::spawn(serve_within(listener, Arc::new(state), patience));
    let mut silent = Vec::new();
    for _ in 0..2 * MAX_CONNECTIONS {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /healthz HT").await.unwrap();
        silent.push(client);
    }
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let asking = client.read_to_string(&mut answer);
    let asked = tokio::time::timeout(CONNECTION_TIMEOUT, asking).await;
    asked.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The first of them had to go, the last may go on.
    let mut rest = Vec::new();
    let first = silent[0].read_to_end(&mut rest);
    let ended = tokio::time::timeout(CONNECTION_TIMEOUT, first).await;
    assert!(ended.is_ok(), "the first one is still there");
    let last = silent.last_mut().unwrap();
    last.write_all(b"TP/1.0\r\n\r\n").await.unwrap();
    let asking = last.read_to_string(&mut answer);
    asking.await.unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
    serving.abort();
}
