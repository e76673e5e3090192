//! What a container is told of itself and of its limits.

use std::time::Duration;

use imago_kit::SecretUrl;
use imago_naming::Registries;
use imago_proto::{Incarnation, ServiceId};
use rand::RngExt;

use crate::{LinkConfig, PeerId, monitor::MonitorConfig, promotion::Timing};
use imago_kit::settings::Settings;

/// Who a server is, for the registry and its peers.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// Name of the service, for example `chat`.
    pub service: String,
    /// Id, unique in the registry. May be used again after a restart.
    pub id: ServiceId,
    /// Which life of it: random, new with every process.
    pub incarnation: Incarnation,
    /// Host or IP address under which the others reach this server.
    pub address: String,
    /// Port under which the others reach this server; 0: the one it listens on.
    pub port: u16,
    /// Zone for zone-aware selection, or empty.
    pub zone: String,
    /// Words to be found by.
    pub tags: Vec<String>,
    /// Share among the servers of its zone, 1 or more.
    pub weight: u32,
    /// Public domain name of a gateway, or empty.
    pub domain: String,
}

impl ServerInfo {
    /// A server with a new incarnation. An empty id becomes `<service>-<random>`.
    pub fn new(service: impl Into<String>, id: &str) -> Self {
        let service = service.into();
        let incarnation = Incarnation(rand::rng().random());
        let id = if id.is_empty() {
            format!("{service}-{:08x}", rand::rng().random::<u32>())
        } else {
            id.to_owned()
        };
        Self {
            service,
            id: ServiceId::from(id),
            incarnation,
            address: "127.0.0.1".to_owned(),
            port: 0,
            zone: String::new(),
            tags: Vec::new(),
            weight: 1,
            domain: String::new(),
        }
    }

    /// Reads the `service` section. Errors are collected in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let service = settings.text("service.name");
        let id = settings.text("service.id");
        let mut info = Self::new(service, &id);
        for (key, value) in [("service.name", &info.service), ("service.id", &id)] {
            if value.contains([',', '/', ' ', '_']) || value.len() > 64 {
                settings.reject(
                    key,
                    "expected at most 64 characters without comma, slash, space or underscore",
                );
            }
        }
        if info.service.is_empty() {
            settings.reject("service.name", "expected a name");
        }
        info.address = settings.host("service.address");
        info.port = settings.integer("service.port", 0..=u16::MAX);
        info.zone = settings.text("service.zone");
        info.tags = settings.list("service.tags");
        info.weight = settings.integer("service.weight", 1..=1000);
        info
    }

    /// Id and incarnation.
    pub fn peer(&self) -> PeerId {
        PeerId { service_id: self.id.clone(), incarnation: self.incarnation }
    }
}

/// Reads the URL of the registry, and checks it by its backend in `registries`. Errors are collected in
/// `settings`.
pub fn naming_url(settings: &mut Settings, registries: &Registries) -> SecretUrl {
    let url = settings.url("naming.url");
    if let Err(error) = registries.check(url.expose()) {
        settings.reject("naming.url", &error.to_string());
    }
    url
}

/// Limits and times of a container.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// When peers count as gone or are given up.
    pub timing: Timing,
    /// How often a waiting server says what it waits for.
    pub warn_after: Duration,
    /// Bounds of links.
    pub link: LinkConfig,
    /// Bounds of the monitor port.
    pub monitor: MonitorConfig,
    /// How requests are forwarded (gateways).
    pub forward: ForwardConfig,
    /// Redelivery is asked for after a random part of this (gateways).
    pub redeliver_jitter: Duration,
    /// How long a leaving server may take to finish.
    pub drain_timeout: Duration,
}

impl Default for ContainerConfig {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            warn_after: Duration::from_secs(5),
            link: LinkConfig::default(),
            monitor: MonitorConfig::default(),
            forward: ForwardConfig::default(),
            redeliver_jitter: Duration::from_millis(500),
            drain_timeout: Duration::from_secs(15),
        }
    }
}

/// How requests are forwarded.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// How long a request waits for an Adult server before it is answered 302.
    pub hold: Duration,
    /// How many requests of all sessions may wait for an Adult server. Overflow: answered "busy".
    pub held: usize,
    /// How long a request waits for its answer before it is answered 300.
    pub timeout: Duration,
    /// How long requests may wait behind a standing queue of a server; at most half of `timeout`
    /// counts. What would wait longer is answered "busy".
    pub patience: Duration,
    /// The delay that is no queue, and that the patience falls to where refusals go on.
    pub delay: Duration,
    /// How many servers a request is sent to before it is given up.
    pub attempts: u32,
    /// Unanswered requests of one session before its connection is read no further.
    pub window: usize,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(2),
            held: 10_000,
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(2),
            delay: Duration::from_millis(250),
            attempts: 3,
            window: 64,
        }
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl ContainerConfig {
    /// Reads the sections that both kinds of server have. Errors are collected in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let mut config = Self::default();
        config.timing.critical_grace =
            settings.duration("promotion.critical_grace", secs(1)..=secs(600));
        config.timing.exclude_after =
            settings.duration("promotion.exclude_after", secs(1)..=secs(3600));
        config.warn_after = settings.duration("promotion.warn_after", millis(100)..=secs(600));
        config.link = LinkConfig {
            queue_frames: settings.integer("link.queue_frames", 16..=1_000_000),
            queue_bytes: settings.bytes("link.queue_bytes", 64 << 10..=4 << 30),
            ping_interval: settings.duration("link.ping_interval", millis(50)..=secs(60)),
            ping_timeout: settings.duration("link.ping_timeout", millis(200)..=secs(300)),
            dial_timeout: settings.duration("link.dial_timeout", millis(50)..=secs(60)),
            handshakes: settings.integer("link.handshakes", 16..=65_536),
            frame_max: settings.bytes("link.frame_max", 1 << 20..=64 << 20),
            park: settings.duration("link.park", Duration::ZERO..=secs(600)),
        };
        if config.link.ping_timeout < config.link.ping_interval * 2 {
            settings.reject("link.ping_timeout", "expected at least twice link.ping_interval");
        }
        config.monitor = MonitorConfig::read(settings);
        config.drain_timeout = settings.duration("drain.timeout", millis(100)..=secs(600));
        config
    }

    /// Reads the sections that only gateways have.
    pub fn read_gateway(settings: &mut Settings) -> Self {
        let mut config = Self::read(settings);
        config.forward = ForwardConfig {
            hold: settings.duration("forward.hold", Duration::ZERO..=secs(60)),
            held: settings.integer("forward.held", 0..=10_000_000),
            timeout: settings.duration("forward.timeout", millis(100)..=secs(300)),
            patience: settings.duration("forward.patience", millis(1)..=secs(300)),
            delay: settings.duration("forward.delay", millis(1)..=secs(300)),
            attempts: settings.integer("forward.attempts", 1..=100),
            window: settings.integer("forward.window", 1..=65_536),
        };
        config.timing.isolated = settings.duration("forward.isolated", millis(100)..=secs(3600));
        config.redeliver_jitter = settings.duration("redeliver.jitter", Duration::ZERO..=secs(60));
        config.timing.redeliver_interval =
            settings.duration("redeliver.interval", millis(100)..=secs(600));
        config
    }
}
