//! The monitor port: what people, registries and collectors ask a running server.

mod admin;
mod connection;
mod report;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, future::pending, io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use connection::{BoundedListener, Bounds, Caller};
pub use report::{PeerReport, PeersReport, SelfReport, Waiting};

use crate::recorder::{Recorded, metrics_recorder};

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
    /// Has a logic server promote without this gateway (`promotion.md`, step 5).
    ///
    /// # Errors
    /// When that makes no sense here, with the reason.
    fn exclude(&self, gateway: &str) -> Result<(), String>;
}

#[derive(Clone)]
struct Monitor {
    source: Arc<dyn MonitorSource>,
    admin_token: Option<Arc<str>>,
    recorder: Option<Recorded>,
}

/// Serves the monitor port until `stop`. From the call on, not only from the first poll, metrics
/// are recorded.
pub(crate) fn serve(
    listener: TcpListener,
    source: Arc<dyn MonitorSource>,
    admin_token: Option<String>,
    stop: CancellationToken,
) -> impl Future<Output = io::Result<()>> + Send {
    // An empty token would admit everybody who sends an empty one.
    let admin_token = admin_token.filter(|token| !token.is_empty()).map(Into::into);
    let monitor = Monitor { source, admin_token, recorder: metrics_recorder() };
    serve_within(Bounds::default(), listener, monitor, stop)
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
    Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/peers", get(peers))
        .route("/metrics", get(metrics))
        .route("/admin/promotion/exclude/{gateway}", post(exclude))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(one_request))
        .with_state(monitor)
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
    let Some(recorder) = &monitor.recorder else {
        return refuse(StatusCode::NOT_FOUND, "this process brought a metrics recorder of its own");
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], recorder.render()).into_response()
}

async fn exclude(
    State(monitor): State<Monitor>,
    ConnectInfo(Caller(remote)): ConnectInfo<Caller>,
    headers: HeaderMap,
    gateway: Result<Path<String>, PathRejection>,
) -> Response {
    if let Err(refused) = admin::admit(monitor.admin_token.as_deref(), remote, &headers) {
        tracing::warn!(%remote, why = refused.why(), "admin request refused");
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
