//! Starts a gateway: listeners, registry, container.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use imago_container::{Container, cli::announce_ports, telemetry};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    GatewayConfig,
    accept::{self, Transport},
    auth::{Authenticator, JwtAuthenticator},
    gateway::{Doors, Gateway, Shared},
    limit::{AcceptAll, Acceptor, RateLimit, TokenBuckets},
    metrics,
    session::Sessions,
};

/// The parts of a gateway that its user may replace.
pub struct Extensions {
    /// Finds out who a client is.
    pub authenticator: Arc<dyn Authenticator>,
    /// Looks at connections before anything is read.
    pub acceptor: Arc<dyn Acceptor>,
    /// Limits how fast clients send.
    pub rate_limit: Arc<dyn RateLimit>,
}

impl Extensions {
    /// The defaults: JSON Web Tokens, everybody may connect, token buckets.
    pub fn of(config: &GatewayConfig) -> Self {
        let secret = config.jwt_secret.as_bytes();
        Self {
            authenticator: Arc::new(JwtAuthenticator::new(secret, &config.algorithms)),
            acceptor: Arc::new(AcceptAll),
            rate_limit: Arc::new(TokenBuckets::new(
                config.messages_per_second,
                config.message_burst,
                config.global_messages_per_second,
            )),
        }
    }
}

/// Runs a gateway until `shutdown`, then drains. When it listens, one line of JSON on standard
/// output says where.
///
/// # Errors
/// When a port or the registry cannot be used.
pub async fn serve(
    config: GatewayConfig,
    extensions: Extensions,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let ws = listen("listen.ws", config.listen_ws).await?;
    let tcp = listen("listen.tcp", config.listen_tcp).await?;
    let monitor = TcpListener::bind(config.monitor)
        .await
        .with_context(|| format!("monitor.listen: cannot listen on {}", config.monitor))?;
    let ws_at = ws.as_ref().map(TcpListener::local_addr).transpose()?;
    let tcp_at = tcp.as_ref().map(TcpListener::local_addr).transpose()?;
    let monitor_at = monitor.local_addr()?;
    telemetry::metrics_recorder();
    metrics::describe();
    let naming = imago_naming::open(&config.naming).await.context("naming.url")?;

    let (service, id) = (config.info.service.clone(), config.info.id.to_string());
    let port = ws_at.or(tcp_at).map_or(0, |address| address.port());
    let listeners = [(ws, Transport::WebSocket), (tcp, Transport::Tcp)];
    let container = Container::builder(config.info)
        .config(config.container)
        .cluster(&config.cluster, config.secret.as_bytes())
        .naming(naming)
        .depends_on(&config.logic_service)
        .selector(config.selector)
        .monitor(monitor, config.admin_token)
        .gateway(port, protocol(ws_at, tcp_at), move |handle| {
            let shared = Arc::new(Shared {
                handle,
                sessions: Arc::new(Sessions::new(config.limits.connections_per_account)),
                authenticator: extensions.authenticator,
                acceptor: extensions.acceptor,
                rate_limit: extensions.rate_limit,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                doors: watch::Sender::new(Doors::Young),
                limits: config.limits,
            });
            let permits = Arc::new(Semaphore::new(shared.limits.connections));
            for (listener, transport) in listeners {
                if let Some(listener) = listener {
                    let accepting =
                        accept::run(listener, transport, shared.clone(), permits.clone());
                    shared.tasks.spawn(accepting);
                }
            }
            Arc::new(Gateway { shared, batch: config.drain_batch, pause: config.drain_pause })
        })
        .build()?;
    announce_ports(&service, &id, &[("ws", ws_at), ("tcp", tcp_at), ("monitor", Some(monitor_at))]);
    container.run(shutdown).await?;
    Ok(())
}

async fn listen(key: &str, address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    Ok(Some(listener.with_context(|| format!("{key}: cannot listen on {address}"))?))
}

/// What the registry says of the listeners.
fn protocol(ws: Option<SocketAddr>, tcp: Option<SocketAddr>) -> &'static str {
    match (ws, tcp) {
        (Some(_), Some(_)) => "ws,tcp",
        (Some(_), None) => "ws",
        _ => "tcp",
    }
}
