//! The monitor port: what people, registries and collectors ask a running server.

mod admin;
mod config;
mod connection;
mod hosts;
mod report;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, future::pending, io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use imago_kit::{LogLimit, Recorded, Secret};
use imago_proto::Incarnation;
use serde_json::json;
use tokio::{net::TcpListener, sync::Mutex};
use tokio_util::sync::CancellationToken;

pub use config::MonitorConfig;
use connection::{BoundedListener, Bounds, Caller};
use hosts::Hosts;
pub use report::{LinkFailure, PeerReport, PeersReport, SelfReport, Waiting};

use crate::{metrics as meters, metrics_recorder};

/// How often refused admin requests of one address are logged.
const REFUSED_LOG: Duration = Duration::from_secs(60);

/// Header of `/health` that tells which life of its id a server is.
pub(crate) const INCARNATION_HEADER: &str = "imago-incarnation";
const ROUTES: &str =
    "GET /health, GET /ready, GET /peers, GET /metrics, POST /admin/promotion/exclude/{gateway}";

/// What a server tells of itself on its monitor port.
pub trait MonitorSource: Send + Sync + 'static {
    /// Whether the server does its work.
    ///
    /// # Errors
    /// With the reasons, in words that say what to do.
    fn ready(&self) -> Result<(), Vec<String>>;
    /// The server and all of its peers.
    fn peers(&self) -> PeersReport;
    /// Has a logic server promote without this gateway (docs/promotion.md, "Exclusion").
    ///
    /// # Errors
    /// When that makes no sense here, with the reason.
    fn exclude(&self, gateway: &str) -> Result<(), String>;
}

#[derive(Clone)]
struct Monitor {
    source: Arc<dyn MonitorSource>,
    life: Incarnation,
    admin_token: Option<Arc<Secret>>,
    recorder: Option<Recorded>,
    hosts: Hosts,
    /// Held while metrics are written out: else those who ask for them in numbers would stand in the
    /// runtime's queue before a health check.
    rendering: Arc<Mutex<()>>,
    refused: Arc<LogLimit>,
}

impl Monitor {
    fn new(
        source: Arc<dyn MonitorSource>,
        life: Incarnation,
        admin_token: Option<Secret>,
        hosts: Hosts,
    ) -> Self {
        // An empty token would admit everybody who sends an empty one.
        let admin_token = admin_token.filter(|token| !token.is_empty()).map(Arc::new);
        let recorder = metrics_recorder();
        let refused = Arc::new(LogLimit::every(REFUSED_LOG));
        Self { source, life, admin_token, recorder, hosts, rendering: Arc::default(), refused }
    }
}

/// Serves the monitor port until `stop`. From the call on, not only from the first poll, metrics
/// are recorded. `address` is where others reach this machine.
pub(crate) fn serve(
    listener: TcpListener,
    source: Arc<dyn MonitorSource>,
    life: Incarnation,
    admin_token: Option<Secret>,
    config: &MonitorConfig,
    address: &str,
    stop: CancellationToken,
) -> impl Future<Output = io::Result<()>> + Send + use<> {
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy();
    let hosts = config.hosts.iter().map(String::as_str).chain([address, &*machine]);
    let monitor = Monitor::new(source, life, admin_token, Hosts::new(hosts));
    let bounds = Bounds { connections: config.connections, ..Bounds::default() };
    serve_within(bounds, listener, monitor, stop)
}

async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    monitor: Monitor,
    stop: CancellationToken,
) -> io::Result<()> {
    let end = CancellationToken::new();
    // Axum spawns a task for each connection: none outlives this future.
    let _end_all = end.clone().drop_guard();
    let listener = BoundedListener::new(listener, &bounds, end.clone());
    let app = routes(monitor).into_make_service_with_connect_info::<Caller>();
    let server = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        served = server.into_future() => served,
        never = end_after(&stop, bounds.grace, &end) => match never {},
    }
}

/// Ends connections that are still open some time after the stop.
async fn end_after(
    stop: &CancellationToken,
    grace: Duration,
    end: &CancellationToken,
) -> Infallible {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
    end.cancel();
    pending().await
}

fn routes(monitor: Monitor) -> Router {
    let meant = middleware::from_fn_with_state(monitor.clone(), only_meant);
    // What tells of the cluster, or changes it.
    let guarded = Router::new()
        .route("/peers", get(peers))
        .route("/admin/promotion/exclude/{gateway}", post(exclude))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(meant);
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(one_request))
        .layer(middleware::from_fn(asked))
        .with_state(monitor)
}

/// From now on, the connection has the time of a request.
async fn asked(ConnectInfo(caller): ConnectInfo<Caller>, request: Request, next: Next) -> Response {
    caller.asked();
    next.run(request).await
}

/// Answers only who asks for this machine by one of its names.
async fn only_meant(State(monitor): State<Monitor>, request: Request, next: Next) -> Response {
    if monitor.hosts.admit(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    meters::misdirected();
    let why = "expected an IP address, localhost, service.address, or the machine's name as the Host: \
               name others in monitor.hosts";
    refuse(StatusCode::MISDIRECTED_REQUEST, why)
}

/// Each connection serves one request: then no idle one holds a place, and none is cut between two
/// requests.
async fn one_request(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

async fn unknown() -> Response {
    refuse(StatusCode::NOT_FOUND, &format!("expected one of {ROUTES}"))
}

async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("expected one of {ROUTES}"))
}

/// Tells the life, too: a server that finds an entry under its id asks whether its process lives.
async fn health(State(monitor): State<Monitor>) -> Response {
    ([(INCARNATION_HEADER, monitor.life.to_string())], "ok\n").into_response()
}

async fn ready(State(monitor): State<Monitor>) -> Response {
    match monitor.source.ready() {
        Ok(()) => Json(json!({ "ready": true })).into_response(),
        Err(reasons) => {
            let body = Json(json!({ "ready": false, "reasons": reasons }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn peers(State(monitor): State<Monitor>) -> Json<PeersReport> {
    Json(monitor.source.peers())
}

async fn metrics(State(monitor): State<Monitor>) -> Response {
    let Some(recorder) = monitor.recorder.clone() else {
        return refuse(StatusCode::NOT_FOUND, "this process brought a metrics recorder of its own");
    };
    let turn = monitor.rendering.lock_owned().await;
    let render = move || {
        let _turn = turn;
        recorder.render()
    };
    // Before Linux 6.2, each open file takes time, for which a worker would do nothing else.
    let Ok(text) = tokio::task::spawn_blocking(render).await else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "cannot show the metrics");
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn exclude(
    State(monitor): State<Monitor>,
    ConnectInfo(Caller { remote, .. }): ConnectInfo<Caller>,
    headers: HeaderMap,
    gateway: Result<Path<String>, PathRejection>,
) -> Response {
    if let Err(refused) = admin::admit(monitor.admin_token.as_deref(), remote, &headers) {
        if let Some(more) = monitor.refused.allow(&format!("{} {}", remote.ip(), refused.why())) {
            tracing::warn!(%remote, why = refused.why(), "admin request refused{more}");
        }
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (challenge, refuse(refused.status(), refused.why())).into_response();
    }
    let Ok(Path(gateway)) = gateway else {
        return refuse(StatusCode::BAD_REQUEST, "expected a gateway's id in UTF-8");
    };
    match monitor.source.exclude(&gateway) {
        Ok(()) => {
            tracing::warn!(%remote, peer = %gateway, "an operator excludes a gateway");
            (StatusCode::ACCEPTED, Json(json!({ "excluded": gateway }))).into_response()
        }
        Err(why) => refuse(StatusCode::CONFLICT, &why),
    }
}
