//! Puts a container together and runs it.

use std::{net::SocketAddr, sync::Arc};

use imago_kit::{Secret, authority, check_reachable};
use imago_naming::Naming;
use imago_proto::Incarnation;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ContainerConfig, Error, GatewayHandle, GatewayRole, LogicHandle, LogicRole, ServerInfo,
    gateway_side::{self, GatewayRuntime},
    link::Credentials,
    logic_side::{self, Acceptor, LogicRuntime},
    monitor::{self, MonitorConfig, MonitorSource},
    runtime::Common,
    selector::{self, Selector},
};

type NewGateway = Box<dyn FnOnce(GatewayHandle) -> Arc<dyn GatewayRole> + Send>;
type NewLogic = Box<dyn FnOnce(LogicHandle) -> Arc<dyn LogicRole> + Send>;

enum Kind {
    Gateway { port: u16, protocol: String, new: NewGateway },
    Logic { listener: TcpListener, new: NewLogic },
}

/// A server of the cluster: registered, linked, promoted and drained by itself. A process may hold
/// several.
pub struct Container {
    runner: Runner,
    source: Arc<dyn MonitorSource>,
    monitor: Option<(TcpListener, Option<Secret>)>,
    monitor_config: MonitorConfig,
    address: String,
    incarnation: Incarnation,
    tasks: TaskTracker,
    stop: CancellationToken,
}

enum Runner {
    Gateway(Box<GatewayRuntime>, Arc<dyn GatewayRole>),
    Logic(Box<LogicRuntime>, Box<Acceptor>, Arc<dyn LogicRole>),
}

/// Collects what a [`Container`] needs.
#[must_use]
pub struct ContainerBuilder {
    info: ServerInfo,
    config: ContainerConfig,
    credentials: Option<Credentials>,
    naming: Option<Arc<dyn Naming>>,
    peer_service: Option<String>,
    selector: Option<Arc<dyn Selector>>,
    monitor: Option<(TcpListener, Option<Secret>)>,
    kind: Option<Kind>,
}

impl Container {
    /// Begins a container for this server.
    pub fn builder(info: ServerInfo) -> ContainerBuilder {
        ContainerBuilder {
            info,
            config: ContainerConfig::default(),
            credentials: None,
            naming: None,
            peer_service: None,
            selector: None,
            monitor: None,
            kind: None,
        }
    }

    /// Runs until `shutdown`, then drains. Nothing of it is left running when this returns, or is
    /// dropped before.
    ///
    /// # Errors
    /// When another server of the registry holds the id of this one.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let _stop = self.stop.clone().drop_guard();
        if let Some((listener, admin_token)) = self.monitor {
            let (config, address) = (&self.monitor_config, &self.address);
            let (source, life, stop) = (self.source, self.incarnation, self.stop.clone());
            let monitor =
                monitor::serve(listener, source, life, admin_token, config, address, stop);
            self.tasks.spawn(async move {
                if let Err(error) = monitor.await {
                    tracing::error!(%error, "monitor port failed");
                }
            });
        }
        match self.runner {
            Runner::Gateway(runtime, role) => runtime.run(role, shutdown).await,
            Runner::Logic(runtime, acceptor, role) => runtime.run(*acceptor, role, shutdown).await,
        }
    }
}

impl ContainerBuilder {
    /// Limits and times; the defaults otherwise.
    pub fn config(mut self, config: ContainerConfig) -> Self {
        self.config = config;
        self
    }

    /// Name and secret of the cluster, the same on all of its servers.
    pub fn cluster(mut self, name: &str, secret: &[u8]) -> Self {
        self.credentials = Some(Credentials { cluster: name.into(), secret: secret.into() });
        self
    }

    /// The registry.
    pub fn naming(mut self, naming: Arc<dyn Naming>) -> Self {
        self.naming = Some(naming);
        self
    }

    /// Name of the service at the other end of the links: a gateway dials it, a logic server
    /// waits for all of its instances before it grows up.
    pub fn depends_on(mut self, service: &str) -> Self {
        self.peer_service = Some(service.to_owned());
        self
    }

    /// How a gateway chooses a logic server; [`selector::Hash`] otherwise.
    pub fn selector(mut self, selector: Arc<dyn Selector>) -> Self {
        self.selector = Some(selector);
        self
    }

    /// Serves the monitor port. Without an admin token, the `/admin` routes answer only callers
    /// on the same machine.
    pub fn monitor(mut self, listener: TcpListener, admin_token: Option<Secret>) -> Self {
        self.monitor = Some((listener, admin_token));
        self
    }

    /// Makes this a gateway. `port` and `protocol` (for example `ws,tcp`) are what clients use.
    pub fn gateway(
        mut self,
        port: u16,
        protocol: &str,
        new: impl FnOnce(GatewayHandle) -> Arc<dyn GatewayRole> + Send + 'static,
    ) -> Self {
        self.kind = Some(Kind::Gateway { port, protocol: protocol.to_owned(), new: Box::new(new) });
        self
    }

    /// Makes this a logic server with this listener for links.
    pub fn logic(
        mut self,
        listener: TcpListener,
        new: impl FnOnce(LogicHandle) -> Arc<dyn LogicRole> + Send + 'static,
    ) -> Self {
        self.kind = Some(Kind::Logic { listener, new: Box::new(new) });
        self
    }

    /// Puts the container together. Nothing runs before [`Container::run`].
    ///
    /// # Errors
    /// When a part is missing, a listener has no address, or the server's own address is none that
    /// others reach.
    pub fn build(self) -> Result<Container, Error> {
        let credentials = self.credentials.ok_or(Error::Missing("cluster name and secret"))?;
        let naming = self.naming.ok_or(Error::Missing("registry"))?;
        let peer_service = self.peer_service.ok_or(Error::Missing("service that it depends on"))?;
        let kind = self.kind.ok_or(Error::Missing("role: gateway or logic"))?;
        check_reachable(&self.info.address).map_err(Error::Address)?;
        let monitor_at = self.monitor.as_ref().map(|(listener, _)| listener.local_addr());
        let monitor_at = monitor_at.transpose().map_err(Error::Listener)?;
        let (monitor_config, address) = (self.config.monitor.clone(), self.info.address.clone());
        let incarnation = self.info.incarnation;
        let common = Common {
            health_url: monitor_at.map(|at| health_url(&self.info, at)),
            info: self.info,
            config: self.config,
            credentials,
            naming,
            peer_service,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let (tasks, stop) = (common.tasks.clone(), common.stop.clone());
        let (runner, source): (_, Arc<dyn MonitorSource>) = match kind {
            Kind::Gateway { port, protocol, new } => {
                let selector = self.selector.unwrap_or_else(|| Arc::new(selector::Hash));
                let (runtime, handle) = gateway_side::gateway(common, port, protocol, selector);
                let source = runtime.report.clone();
                (Runner::Gateway(Box::new(runtime), new(handle)), source)
            }
            Kind::Logic { listener, new } => {
                let (runtime, acceptor, handle) = logic_side::logic(common, listener)?;
                let source = runtime.report.clone();
                (Runner::Logic(Box::new(runtime), Box::new(acceptor), new(handle)), source)
            }
        };
        let monitor = self.monitor;
        Ok(Container { runner, source, monitor, monitor_config, address, incarnation, tasks, stop })
    }
}

/// Where a registry on another machine asks for our health.
fn health_url(info: &ServerInfo, monitor: SocketAddr) -> String {
    let host = match monitor.ip() {
        ip if ip.is_unspecified() => info.address.clone(),
        ip => ip.to_string(),
    };
    format!("http://{}/health", authority(&host, monitor.port()))
}
