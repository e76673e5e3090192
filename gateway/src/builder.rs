//! Puts a gateway together: its own parts, and where none are given, those of the configuration.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::{Context, bail, ensure};
use imago_container::{Container, Slots, metrics_recorder, selector::Selector};
use imago_kit::{cli::unless_ended, raise_open_files};
use imago_naming::Naming;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    GatewayConfig,
    accept::{Entrance, Listener},
    auth::{Authenticator, JwtAuthenticator},
    config::LOGIN_GRACE,
    context::ConnectionContext,
    descriptors,
    gateway::Gateway,
    lifecycle::Lifecycle,
    limit::{AcceptAll, Acceptor, RateLimit, TokenBuckets},
    memory::Memory,
    metrics,
    role::{HandOver, Role},
    session::Sessions,
    start_line::StartLine,
    transport::{Address, Tcp, Transport, WebSocket},
};

/// Characters of the name of a transport at most.
const NAME_MAX: usize = 16;
/// Names in the announcement on standard output that are no transport's.
const RESERVED: [&str; 3] = ["service", "id", "monitor"];

/// Puts a [`Gateway`] together. Each part that is not given is as the configuration says.
#[must_use]
pub struct Builder {
    config: GatewayConfig,
    naming: Option<Arc<dyn Naming>>,
    authenticator: Option<Arc<dyn Authenticator>>,
    acceptor: Arc<dyn Acceptor>,
    rate_limit: Option<Arc<dyn RateLimit>>,
    listeners: Vec<Box<dyn Listener>>,
}

impl Builder {
    pub(crate) fn new(config: GatewayConfig) -> Self {
        Self {
            config,
            naming: None,
            authenticator: None,
            acceptor: Arc::new(AcceptAll),
            rate_limit: None,
            listeners: Vec::new(),
        }
    }

    /// Uses this registry. Default: the one at `naming.url`.
    pub fn naming(mut self, naming: Arc<dyn Naming>) -> Self {
        self.naming = Some(naming);
        self
    }

    /// Lets this find out who clients are. Default: [`JwtAuthenticator`] with the keys under `auth`.
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.authenticator = Some(authenticator);
        self
    }

    /// Lets this look at connections before anything is read from them. Default: [`AcceptAll`].
    pub fn acceptor(mut self, acceptor: Arc<dyn Acceptor>) -> Self {
        self.acceptor = acceptor;
        self
    }

    /// Limits by this how fast clients send. Default: [`TokenBuckets`] with the keys under `limits`.
    pub fn rate_limit(mut self, rate_limit: Arc<dyn RateLimit>) -> Self {
        self.rate_limit = Some(rate_limit);
        self
    }

    /// Chooses logic servers by this. Default: as `forward.selector` says.
    pub fn selector(mut self, selector: Arc<dyn Selector>) -> Self {
        self.config.selector = selector;
        self
    }

    /// Serves the clients of this transport, too. Those of `listen.ws` and `listen.tcp` come before it,
    /// unless the configuration has neither.
    pub fn listen(mut self, transport: impl Transport) -> Self {
        self.listeners.push(Box::new(transport));
        self
    }

    /// Binds the ports, joins the registry, and logs which gateway has started. Clients that connect wait
    /// in the listeners' queues until [`Gateway::run`] opens the doors.
    ///
    /// # Errors
    /// When a port or the registry cannot be used, there is no transport, or two have the same name.
    pub async fn build(mut self) -> anyhow::Result<Gateway> {
        let open_files = raise_open_files();
        let listeners = self.bind().await?;
        let addresses: Vec<_> = listeners.iter().map(|it| (it.label(), it.bound_to())).collect();
        check_names(&addresses)?;
        let config = self.config;
        let monitor = listen("monitor.listen", config.monitor).await?;
        let monitor_at = monitor.local_addr()?;
        metrics_recorder();
        metrics::show();
        let (naming, registry) = match self.naming {
            Some(naming) => (naming.clone(), naming.describe()),
            None => {
                let naming = config.registries.open(config.naming.expose()).await;
                (naming.context("naming.url")?, config.naming.to_string())
            }
        };
        let port = addresses.iter().find_map(|(_, address)| address.socket_addr());
        let port = port.map_or(0, |address| address.port());
        let protocols: Vec<&str> = addresses.iter().map(|(name, _)| name.as_str()).collect();
        let start_line = StartLine::of(&config, port, [registry, naming.describe()]);
        let authenticator = self.authenticator.unwrap_or_else(|| Arc::new(tokens(&config)));
        let rate_limit = self.rate_limit.unwrap_or_else(|| Arc::new(buckets(&config)));

        let limits = config.limits;
        let sessions = Sessions::new(limits.connections_per_account, limits.silent_after);
        let role = Role {
            sessions: Arc::new(sessions),
            fan_out: Arc::default(),
            memory: Memory::new(limits.input_total, limits.queue_total),
            life: Arc::new(Lifecycle::new()),
            hand_over: HandOver { batch: config.drain_batch, pause: config.drain_pause },
            redeliver_interval: config.container.timing.redeliver_interval,
        };
        let parts = role.clone();
        let (service, id) = (config.info.service.clone(), config.info.id.to_string());
        let monitor_connections = config.container.monitor.connections;
        let handle = Arc::new(OnceLock::new());
        let made = handle.clone();
        let container = Container::builder(config.info)
            .config(config.container)
            .cluster(&config.cluster, config.secret.as_bytes())
            .naming(naming)
            .depends_on(&config.logic_service)
            .selector(config.selector)
            .monitor(monitor, config.admin_token)
            .gateway(port, &protocols.join(","), move |handle| {
                made.get_or_init(|| handle);
                Arc::new(role)
            })
            .build()?;
        let clients = descriptors::clients(limits.connections, open_files, monitor_connections);
        start_line.log(&addresses, monitor_at, clients, open_files);
        let entrance = Entrance {
            acceptor: self.acceptor,
            permits: Arc::new(Semaphore::new(clients)),
            unauthenticated: Slots::new(
                limits.unauthenticated,
                LOGIN_GRACE,
                metrics::unauthenticated,
            ),
            context: Arc::new(ConnectionContext {
                handle: handle.get().cloned().context("the container made no gateway")?,
                sessions: parts.sessions,
                fan_out: parts.fan_out,
                authenticator,
                rate_limit,
                limits,
                memory: parts.memory,
                life: parts.life,
            }),
        };
        let (entrance, monitor) = (Arc::new(entrance), monitor_at);
        Ok(Gateway { container, entrance, listeners, addresses, monitor, service, id })
    }

    /// Builds the gateway, tells by one line of JSON on standard output where it listens, and runs it
    /// until `shutdown`.
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`Gateway::run`].
    pub async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        // On a worker: what its start waits for mostly runs there, and the thread that waits for the end
        // of the program would have to be woken for each step.
        let serving = async move {
            let Some(gateway) = unless_ended(&shutdown, self.build()).await? else {
                return Ok(());
            };
            gateway.announce();
            gateway.run(shutdown).await
        };
        AbortOnDropHandle::new(tokio::spawn(serving)).await?
    }

    /// Returns the listeners of the configuration, and the others behind them.
    async fn bind(&mut self) -> anyhow::Result<Vec<Box<dyn Listener>>> {
        let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
        if let Some(address) = self.config.listen_ws {
            listeners.push(Box::new(WebSocket::new(listen("listen.ws", address).await?)?));
        }
        if let Some(address) = self.config.listen_tcp {
            listeners.push(Box::new(Tcp::new(listen("listen.tcp", address).await?)?));
        }
        listeners.append(&mut self.listeners);
        Ok(listeners)
    }
}

async fn listen(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("{key}: cannot listen on {address}"))
}

/// Checks the names of the transports: the registry and the announcement have them.
fn check_names(addresses: &[(String, Address)]) -> anyhow::Result<()> {
    ensure!(!addresses.is_empty(), "expected a transport, or one of listen.ws and listen.tcp");
    for (at, (name, _)) in addresses.iter().enumerate() {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_name = (1..=NAME_MAX).contains(&name.len()) && name.chars().all(is_plain);
        if !is_name || RESERVED.contains(&name.as_str()) {
            bail!(
                "transport {name:?}: expected a name of 1 to {NAME_MAX} lower-case letters and digits, \
                 and none of {}",
                RESERVED.join(", ")
            );
        }
        let is_taken = addresses.iter().take(at).any(|(other, _)| other == name);
        ensure!(!is_taken, "transport {name:?}: expected a name that no other transport has");
    }
    Ok(())
}

fn tokens(config: &GatewayConfig) -> JwtAuthenticator {
    JwtAuthenticator::new(config.jwt_secret.as_bytes(), &config.algorithms)
        .audience(&config.audience)
        .issuer(&config.issuer)
        .leeway(config.leeway)
}

fn buckets(config: &GatewayConfig) -> TokenBuckets {
    TokenBuckets::new(
        config.messages_per_second,
        config.message_burst,
        config.global_messages_per_second,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_have_names_of_their_own() {
        let addresses = |names: &[&str]| -> Vec<_> {
            names.iter().map(|name| ((*name).to_owned(), Address::named("x"))).collect()
        };
        assert!(check_names(&addresses(&["ws", "tcp", "unix2"])).is_ok());
        for names in [
            &[][..],
            &["ws", "ws"],
            &["id"],
            &[""],
            &["Unix"],
            &["a,b"],
            &["x".repeat(17).as_str()],
        ] {
            assert!(check_names(&addresses(names)).is_err(), "{names:?}");
        }
    }
}
