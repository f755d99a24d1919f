//! The HTTP server.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::Metrics;
use super::request_origin::may_change;

/// Connections served at a time; beyond that a new one takes the place of an old one.
const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last, with its one request and response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// The pause after an accept failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a reload brings: sentences about what has changed, or what is wrong.
pub type ReloadFuture = Pin<Box<dyn Future<Output = Result<Vec<String>, String>> + Send>>;

/// What the server shows and calls.
pub struct AdminState {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/readyz`: whether clients can be served, or why not.
    pub ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// For `POST /api/reload`: applies the configuration file as it is now. It runs to its end
    /// even if the one who asked hangs up.
    pub reload: Box<dyn Fn() -> ReloadFuture + Send + Sync>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

/// Serves `listener` until the future is dropped. Connections under way are dropped with it.
///
/// | request | answer |
/// | --- | --- |
/// | `GET /metrics` | OpenMetrics text |
/// | `GET /healthz` | 200: the process is alive |
/// | `GET /readyz` | 200, or 503 with the reason |
/// | `POST /api/reload` | 200 `{"applied":true,"changes":[…]}` or 422 `{"applied":false,"error":"…"}` |
pub async fn serve(listener: TcpListener, state: Arc<AdminState>) {
    serve_within(listener, state, HEAD_TIMEOUT).await;
}

async fn serve_within(listener: TcpListener, state: Arc<AdminState>, head_timeout: Duration) {
    let mut guests = Guests::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let has_asked = Arc::new(AtomicBool::new(false));
                let state = state.clone();
                guests.welcome(
                    has_asked.clone(),
                    serve_connection(stream, state, has_asked, head_timeout),
                );
            }
            Err(error) => pause(error).await,
        }
    }
}

/// The connections, the oldest first. Clients that say nothing, or read nothing, must not keep
/// operators out: nobody waits for a place.
#[derive(Default)]
struct Guests {
    connections: VecDeque<Guest>,
    tasks: tokio::task::JoinSet<()>,
}

struct Guest {
    /// Whether the head of its request is there.
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Guests {
    fn welcome(
        &mut self,
        has_asked: Arc<AtomicBool>,
        serving: impl Future<Output = ()> + Send + 'static,
    ) {
        while self.tasks.try_join_next().is_some() {}
        self.connections.retain(|guest| !guest.task.is_finished());
        if self.connections.len() >= MAX_CONNECTIONS {
            self.send_one_away();
        }
        let task = self.tasks.spawn(serving);
        self.connections.push_back(Guest { has_asked, task });
    }

    /// The one that has been silent for longest; the oldest if all have asked something.
    fn send_one_away(&mut self) {
        let mut guests = self.connections.iter();
        let is_silent = |guest: &Guest| !guest.has_asked.load(Ordering::Relaxed);
        let index = guests.position(is_silent).unwrap_or_default();
        if let Some(guest) = self.connections.remove(index) {
            guest.task.abort();
        }
    }
}

async fn pause(error: io::Error) {
    tracing::warn!("the admin server cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// One request, so that no bound on idle connections is needed; Prometheus connects again.
async fn serve_connection(
    stream: TcpStream,
    state: Arc<AdminState>,
    has_asked: Arc<AtomicBool>,
    head_timeout: Duration,
) {
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        let state = state.clone();
        async move { Ok::<_, Infallible>(respond(&request, &state).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a request to the admin server failed: {error}"),
        Err(_) => tracing::debug!("a request to the admin server took too long"),
    }
}

/// Bodies of requests are never read: no request needs one.
async fn respond<B>(request: &Request<B>, state: &AdminState) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/metrics" if is_read => metrics(state),
        "/healthz" if is_read => answer(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" if is_read => ready(state),
        "/metrics" | "/healthz" | "/readyz" => not_allowed("GET, HEAD"),
        "/api/reload" if request.method() != Method::POST => not_allowed("POST"),
        "/api/reload" if !may_change(request.headers()) => answer(
            StatusCode::FORBIDDEN,
            TEXT,
            "a page from elsewhere may not reload the configuration\n",
        ),
        "/api/reload" => reload(state).await,
        _ => answer(StatusCode::NOT_FOUND, TEXT, "nothing here\n"),
    }
}

fn metrics(state: &AdminState) -> Response<Full<Bytes>> {
    match state.metrics.encode() {
        Ok(text) => answer(StatusCode::OK, OPEN_METRICS, text),
        Err(error) => answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            TEXT,
            format!("the metrics cannot be written: {error}\n"),
        ),
    }
}

fn ready(state: &AdminState) -> Response<Full<Bytes>> {
    match (state.ready)() {
        Ok(()) => answer(StatusCode::OK, TEXT, "ready\n"),
        Err(reason) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
    }
}

async fn reload(state: &AdminState) -> Response<Full<Bytes>> {
    let outcome = match tokio::spawn((state.reload)()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            return json(
                StatusCode::INTERNAL_SERVER_ERROR,
                &serde_json::json!({ "applied": false, "error": "the reload broke off" }),
            );
        }
    };
    match outcome {
        Ok(changes) => json(
            StatusCode::OK,
            &serde_json::json!({ "applied": true, "changes": changes }),
        ),
        Err(error) => json(
            StatusCode::UNPROCESSABLE_ENTITY,
            &serde_json::json!({ "applied": false, "error": error }),
        ),
    }
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    answer(status, JSON, format!("{value}\n"))
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = answer(
        StatusCode::METHOD_NOT_ALLOWED,
        TEXT,
        format!("only {methods}\n"),
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
