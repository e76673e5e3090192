//! Configuration of a gateway.

use std::{net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use imago_container::{
    ContainerConfig, ServerInfo, naming_url,
    selector::{self, Selector},
};
use imago_kit::{Secret, SecretUrl};
use imago_kit::{
    settings::{Settings, SettingsError},
    telemetry::LogConfig,
};
use imago_naming::Registries;

use crate::auth::HmacAlgorithm;

/// The default configuration, every key explained; what is compiled in is what is shipped.
pub const DEFAULT_CONFIG: &str = imago_container::GATEWAY_DEFAULTS;

/// Bytes of a secret at least, for the cluster and for tokens.
pub const SECRET_MIN: usize = 16;

/// Time that a connection has to log in before another may replace it: some round trips over a slow
/// network.
pub(crate) const LOGIN_GRACE: Duration = Duration::from_secs(1);

/// Bounds on what clients may do.
#[derive(Clone, Debug)]
pub struct ClientLimits {
    /// Clients connected at a time. Overflow policy: they wait in the listener's backlog.
    pub connections: usize,
    /// Connections that have not logged in. Overflow policy: the oldest of the address with the most
    /// is closed.
    pub unauthenticated: usize,
    /// Largest packet of a client that has not logged in, in bytes.
    pub login_packet: usize,
    /// Connections of one account. Overflow policy: the longest silent one makes room.
    pub connections_per_account: usize,
    /// Silence after which a connection makes room for another one of its account.
    pub silent_after: Duration,
    /// Largest packet of a client, in bytes.
    pub packet: usize,
    /// Packets that may wait for one client. Overflow policy: it is cut off.
    pub queue_messages: usize,
    /// Bytes that may wait for one client. Overflow policy: it is cut off.
    pub queue_bytes: usize,
    /// Bytes of packets that have not arrived in whole, of all clients. Overflow policy: those who wait
    /// the longest for the rest are closed.
    pub input_total: usize,
    /// Bytes that may wait for all clients. Overflow policy: those with the most are cut off.
    pub queue_total: usize,
    /// Time to log in.
    pub login_timeout: Duration,
    /// Whether a connection goes on after its [`Identity`](crate::Identity) has expired.
    pub keep_expired: bool,
    /// Silence after which a client counts as gone.
    pub read_timeout: Duration,
    /// How long a client may take nothing.
    pub write_timeout: Duration,
}

/// Everything a gateway is told.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Who it is.
    pub info: ServerInfo,
    /// Bounds of its container.
    pub container: ContainerConfig,
    /// Name of the cluster.
    pub cluster: String,
    /// Secret of the cluster.
    pub secret: Secret,
    /// URL of the registry.
    pub naming: SecretUrl,
    /// Backends that open it, by scheme.
    pub registries: Registries,
    /// Name of the logic servers' service.
    pub logic_service: String,
    /// Where WebSocket clients connect.
    pub listen_ws: Option<SocketAddr>,
    /// Where TCP clients connect.
    pub listen_tcp: Option<SocketAddr>,
    /// Where its monitor port listens.
    pub monitor: SocketAddr,
    /// Token for the monitor port's `/admin` routes.
    pub admin_token: Option<Secret>,
    /// Secret that tokens are signed with.
    pub jwt_secret: Secret,
    /// Algorithms that tokens may be signed by.
    pub algorithms: Vec<HmacAlgorithm>,
    /// Audiences of which tokens name one; none: tokens name no audience.
    pub audience: Vec<String>,
    /// Issuers whose tokens are accepted; none: all.
    pub issuer: Vec<String>,
    /// How far the clock of an issuer may be off.
    pub leeway: Duration,
    /// Bounds on what clients may do.
    pub limits: ClientLimits,
    /// Requests a second of one client.
    pub messages_per_second: NonZeroU32,
    /// Requests that one client may send at once.
    pub message_burst: NonZeroU32,
    /// Requests a second of all clients.
    pub global_messages_per_second: Option<NonZeroU32>,
    /// How a logic server is chosen.
    pub selector: Arc<dyn Selector>,
    /// Clients handed over at a time.
    pub drain_batch: usize,
    /// Pause between these, jittered by half.
    pub drain_pause: Duration,
    /// How it logs.
    pub log: LogConfig,
}

impl GatewayConfig {
    /// Reads all keys.
    ///
    /// # Errors
    /// With everything that is wrong, in one go.
    pub fn read(settings: Settings) -> Result<Self, SettingsError> {
        Self::read_with(settings, Registries::default())
    }

    /// Reads all keys; `naming.url` may have the schemes of `registries`.
    ///
    /// # Errors
    /// With everything that is wrong, in one go.
    pub fn read_with(
        mut settings: Settings,
        registries: Registries,
    ) -> Result<Self, SettingsError> {
        let s = &mut settings;
        let (secs, millis) = (Duration::from_secs, Duration::from_millis);
        let mut info = ServerInfo::read(s);
        info.domain = s.optional_host("service.domain");
        let admin_token = s.optional_secret("monitor.admin_token", 16);
        let one = NonZeroU32::MIN;
        let config = Self {
            info,
            container: ContainerConfig::read_gateway(s),
            cluster: s.text("cluster.name"),
            secret: s.secret("cluster.secret", SECRET_MIN),
            naming: naming_url(s, &registries),
            registries,
            logic_service: s.text("forward.service"),
            listen_ws: s.address("listen.ws"),
            listen_tcp: s.address("listen.tcp"),
            monitor: s.address("monitor.listen").unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))),
            admin_token,
            jwt_secret: s.secret("auth.jwt_secret", SECRET_MIN),
            algorithms: read_algorithms(s),
            audience: read_names(s, "auth.audience"),
            issuer: read_names(s, "auth.issuer"),
            leeway: s.duration("auth.leeway", Duration::ZERO..=secs(300)),
            limits: ClientLimits {
                connections: s.integer("limits.connections", 1..=10_000_000),
                unauthenticated: s.integer("limits.unauthenticated", 1..=1_000_000),
                login_packet: s.bytes("limits.login_packet", 1024..=1 << 20),
                connections_per_account: s.integer("limits.connections_per_account", 1..=100_000),
                silent_after: s.duration("limits.silent_after", Duration::ZERO..=secs(86_400)),
                packet: s.bytes("limits.packet", 1024..=64 << 20),
                queue_messages: s.integer("limits.queue_messages", 8..=1_000_000),
                queue_bytes: s.bytes("limits.queue_bytes", 16 << 10..=1 << 30),
                input_total: s.bytes("limits.input_total", 1 << 20..=1 << 40),
                queue_total: s.bytes("limits.queue_total", 1 << 20..=1 << 40),
                login_timeout: s.duration("auth.login_timeout", millis(100)..=secs(300)),
                keep_expired: s.flag("auth.keep_expired"),
                read_timeout: s.duration("limits.read_timeout", millis(100)..=secs(86_400)),
                write_timeout: s.duration("limits.write_timeout", millis(100)..=secs(300)),
            },
            messages_per_second: s.integer("limits.messages_per_second", one..=rate(1_000_000)),
            message_burst: s.integer("limits.message_burst", one..=rate(1_000_000)),
            global_messages_per_second: NonZeroU32::new(
                s.integer("limits.global_messages_per_second", 0..=100_000_000),
            ),
            selector: selector::read(s),
            drain_batch: s.integer("drain.batch", 1..=100_000),
            drain_pause: s.duration("drain.pause", Duration::ZERO..=secs(60)),
            log: LogConfig::read(s),
        };
        if config.limits.packet > config.container.link.frame_max / 2 {
            s.reject("limits.packet", "expected at most half of link.frame_max");
        }
        if config.limits.input_total < config.limits.packet {
            s.reject("limits.input_total", "expected at least limits.packet");
        }
        if config.limits.queue_total < config.limits.queue_bytes {
            s.reject("limits.queue_total", "expected at least limits.queue_bytes");
        }
        if config.listen_ws.is_none() && config.listen_tcp.is_none() {
            s.reject("listen.ws", "expected at least one of listen.ws and listen.tcp");
        }
        settings.finish()?;
        Ok(config)
    }
}

fn rate(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

fn read_algorithms(settings: &mut Settings) -> Vec<HmacAlgorithm> {
    let names = settings.list("auth.algorithms");
    let algorithms: Vec<_> =
        names.iter().filter_map(|name| HmacAlgorithm::from_name(name)).collect();
    if algorithms.is_empty() || algorithms.len() != names.len() {
        settings.reject("auth.algorithms", "expected some of HS256, HS384, HS512");
    }
    algorithms
}

fn read_names(settings: &mut Settings, key: &str) -> Vec<String> {
    let names = settings.list(key);
    if names.iter().any(|name| name.trim().is_empty()) {
        settings.reject(key, "expected names that are not empty");
    }
    names
}
