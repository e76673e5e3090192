//! Starts a gateway: listeners, registry, container.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use imago_container::{Container, metrics_recorder};
use imago_kit::{
    cli::{announce_ports, unless_ended},
    raise_open_files,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    GatewayConfig, accept,
    auth::{Authenticator, JwtAuthenticator},
    codec::Transport,
    descriptors,
    limit::{AcceptAll, Acceptor, RateLimit, TokenBuckets},
    metrics,
    redelivery::Redelivery,
    role::{Gateway, Pace, Shared},
    start_line::StartLine,
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
        let jwt = JwtAuthenticator::new(config.jwt_secret.as_bytes(), &config.algorithms)
            .audience(&config.audience)
            .issuer(&config.issuer)
            .leeway(config.leeway);
        Self {
            authenticator: Arc::new(jwt),
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
    // On a worker: what its start waits for mostly runs there, and the thread that waits for the end
    // of the program would have to be woken for each step.
    AbortOnDropHandle::new(tokio::spawn(run(config, extensions, shutdown))).await?
}

async fn run(
    config: GatewayConfig,
    extensions: Extensions,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (service, id) = (config.info.service.clone(), config.info.id.to_string());
    let starting = Server::bind(config, extensions);
    let Some(server) = unless_ended(&shutdown, starting).await? else { return Ok(()) };
    let monitor = Some(server.monitor());
    let ports = [("ws", server.ws()), ("tcp", server.tcp()), ("monitor", monitor)];
    announce_ports(&service, &id, &ports);
    server.run(shutdown).await
}

/// A gateway that listens, and does not run yet.
pub struct Server {
    container: Container,
    pub(crate) shared: Arc<Shared>,
    listeners: Vec<(TcpListener, Transport)>,
    ws: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    monitor: SocketAddr,
    /// Clients that there are open files for.
    clients: usize,
}

// === impl Server ===

impl Server {
    /// Binds the listeners, and logs which gateway has started. Clients that connect wait in the backlog
    /// until the doors open.
    ///
    /// # Errors
    /// When a port or the registry cannot be used.
    pub async fn bind(config: GatewayConfig, extensions: Extensions) -> anyhow::Result<Self> {
        let open_files = raise_open_files();
        let ws = listen("listen.ws", config.listen_ws).await?;
        let tcp = listen("listen.tcp", config.listen_tcp).await?;
        let monitor = TcpListener::bind(config.monitor)
            .await
            .with_context(|| format!("monitor.listen: cannot listen on {}", config.monitor))?;
        let ws_at = ws.as_ref().map(TcpListener::local_addr).transpose()?;
        let tcp_at = tcp.as_ref().map(TcpListener::local_addr).transpose()?;
        let monitor_at = monitor.local_addr()?;
        metrics_recorder();
        metrics::show();
        let naming = imago_naming::open(config.naming.expose()).await.context("naming.url")?;

        let port = ws_at.or(tcp_at).map_or(0, |address| address.port());
        let start_line = StartLine::of(&config, port, naming.describe());
        let redeliver_interval = config.container.timing.redeliver_interval;
        let pace = Pace { batch: config.drain_batch, pause: config.drain_pause };
        // The container makes the role, and with it what the connections share.
        let made = Arc::new(OnceLock::new());
        let slot = made.clone();
        let monitor_connections = config.container.monitor.connections;
        let container = Container::builder(config.info)
            .config(config.container)
            .cluster(&config.cluster, config.secret.as_bytes())
            .naming(naming)
            .depends_on(&config.logic_service)
            .selector(config.selector)
            .monitor(monitor, config.admin_token)
            .gateway(port, protocol(ws_at, tcp_at), move |handle| {
                let shared = slot.get_or_init(|| Shared::new(handle, extensions, config.limits));
                Arc::new(Gateway { shared: shared.clone(), pace, redeliver_interval })
            })
            .build()?;
        let shared = made.get().cloned().context("the container made no gateway")?;
        let listeners = [(ws, Transport::WebSocket), (tcp, Transport::Tcp)];
        let listeners = listeners
            .into_iter()
            .filter_map(|(listener, transport)| Some((listener?, transport)))
            .collect();
        let (ws, tcp, monitor) = (ws_at, tcp_at, monitor_at);
        let clients =
            descriptors::clients(shared.limits.connections, open_files, monitor_connections);
        start_line.log([ws, tcp, Some(monitor)], clients, open_files);
        Ok(Self { container, shared, listeners, ws, tcp, monitor, clients })
    }

    /// Where WebSocket clients connect.
    pub fn ws(&self) -> Option<SocketAddr> {
        self.ws
    }

    /// Where TCP clients connect.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// Where the monitor port is.
    pub fn monitor(&self) -> SocketAddr {
        self.monitor
    }

    /// Runs until `shutdown`, then drains. Nothing of it is left running after that, or when the
    /// future is dropped.
    ///
    /// # Errors
    /// When the container cannot run.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let shared = self.shared;
        let _stop = shared.stop.clone().drop_guard();
        let permits = Arc::new(Semaphore::new(self.clients));
        for (listener, transport) in self.listeners {
            let accepting = accept::run(listener, transport, shared.clone(), permits.clone());
            shared.tasks.spawn(shared.stop.clone().run_until_cancelled_owned(accepting));
        }
        // Not among the tasks that a drain waits for: it serves clients to the last.
        let _redelivery = AbortOnDropHandle::new(tokio::spawn(Redelivery::run(shared.clone())));
        self.container.run(shutdown).await?;
        Ok(())
    }
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
