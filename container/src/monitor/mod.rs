//! The monitor port: what people, registries and collectors ask a running server.

mod report;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use report::{PeerReport, PeersReport, SelfReport, Waiting};

use crate::telemetry;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

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
}

/// Serves the monitor port until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    source: Arc<dyn MonitorSource>,
    admin_token: Option<String>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let monitor = Monitor { source, admin_token: admin_token.map(Into::into) };
    let app = Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route(
            "/peers",
            get(|State(monitor): State<Monitor>| async move { Json(monitor.source.peers()) }),
        )
        .route("/metrics", get(metrics))
        .route("/admin/promotion/exclude/{gateway}", post(exclude))
        .fallback(unknown)
        .layer(middleware::from_fn(within_time))
        .with_state(monitor);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "no answer in time"),
    }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

async fn unknown() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "expected GET /health, /ready, /peers, /metrics, or POST /admin/promotion/exclude/{gateway}",
    )
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

async fn metrics() -> Response {
    let Some(recorder) = telemetry::metrics_recorder() else {
        return refuse(StatusCode::NOT_FOUND, "this process brought a metrics recorder of its own");
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], recorder.render()).into_response()
}

async fn exclude(
    State(monitor): State<Monitor>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(gateway): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(why) = monitor.admit(remote, &headers) {
        return refuse(StatusCode::FORBIDDEN, why);
    }
    match monitor.source.exclude(&gateway) {
        Ok(()) => (StatusCode::ACCEPTED, Json(json!({ "excluded": gateway }))).into_response(),
        Err(why) => refuse(StatusCode::CONFLICT, &why),
    }
}

impl Monitor {
    /// With a token: only who knows it. Without: only callers on this machine.
    fn admit(&self, remote: SocketAddr, headers: &HeaderMap) -> Result<(), &'static str> {
        let Some(token) = &self.admin_token else {
            let local = remote.ip().to_canonical().is_loopback();
            return if local {
                Ok(())
            } else {
                Err("expected a caller on this machine, or monitor.admin_token to be configured")
            };
        };
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        if bool::from(given.ct_eq(token.as_bytes())) {
            Ok(())
        } else {
            Err("expected the header Authorization: Bearer with monitor.admin_token")
        }
    }
}
