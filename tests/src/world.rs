//! A cluster of its own for one test.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use imago_client::Client;
use imago_kit::jwt::{EncodingKey, Header, encode};
use imago_naming::{Gossip, GossipOptions};
use serde_json::json;
use tempfile::TempDir;

use crate::{ConsulAgent, Server, program};

/// Has all servers run with clocks that are wrong by this number of seconds.
const CLOCKS: &str = "IMAGO_TEST_CLOCKS";
/// Secret that the world's tokens are signed with.
const JWT_SECRET: &str = "jwt-secret-of-this-test-world";
/// Secret of the world's cluster.
pub(crate) const CLUSTER_SECRET: &str = "cluster-secret-of-this-test-world";

/// A registry, a folder and secrets for one test's servers.
pub struct World {
    folder: TempDir,
    registry: Registry,
    /// Servers whose clocks were chosen.
    clocks: AtomicU32,
}

enum Registry {
    Consul(ConsulAgent),
    Gossip(Gossip),
}

impl World {
    /// A world whose servers find each other through a real Consul agent.
    pub async fn consul() -> Self {
        Self::with(Registry::Consul(ConsulAgent::start().await))
    }

    /// The same, with more configuration of the agent, in HCL.
    pub async fn consul_with(configuration: &str) -> Self {
        Self::with(Registry::Consul(ConsulAgent::start_with(configuration).await))
    }

    /// A world whose servers gossip.
    ///
    /// # Panics
    /// When no UDP port is free.
    pub async fn gossip() -> Self {
        Self::gossip_at(Ipv4Addr::LOCALHOST).await
    }

    /// A world whose servers gossip, with its seed at this address.
    ///
    /// # Panics
    /// When no UDP port is free there.
    pub async fn gossip_at(address: impl Into<IpAddr>) -> Self {
        let options = GossipOptions {
            listen: (address.into(), 0).into(),
            advertise: None,
            seeds: Vec::new(),
            cluster: "imago".to_owned(),
        };
        Self::with(Registry::Gossip(Gossip::join(options).await.expect("a UDP port is free")))
    }

    fn with(registry: Registry) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { folder, registry, clocks: AtomicU32::new(0) }
    }

    /// The world's Consul agent.
    ///
    /// # Panics
    /// When it has none.
    pub fn agent(&mut self) -> &mut ConsulAgent {
        match &mut self.registry {
            Registry::Consul(agent) => agent,
            Registry::Gossip(_) => panic!("this world gossips"),
        }
    }

    /// URL of the registry for servers.
    pub fn naming(&self) -> String {
        match &self.registry {
            // Registrations that a restarted agent lost are found missing soon.
            Registry::Consul(agent) => format!("consul://{}?verify_interval=1s", agent.address()),
            Registry::Gossip(seed) => {
                let listen = SocketAddr::new(seed.address().ip(), 0);
                format!("gossip://{listen}?seed={}", seed.address())
            }
        }
    }

    /// The folder of its servers, removed with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a logic server; `settings` come on top.
    pub async fn logic(&self, id: &str, settings: &[(&str, &str)]) -> Server {
        self.logic_by(&program("logic").display().to_string(), id, settings).await
    }

    /// Starts a logic server by another program.
    pub async fn logic_by(&self, path: &str, id: &str, settings: &[(&str, &str)]) -> Server {
        self.start_logic(path, id, settings, &pairs(&self.clock())).await
    }

    /// Starts a logic server whose wall clock is ahead by `seconds`, behind where they are negative; its
    /// timers are as those of the others.
    ///
    /// # Panics
    /// When libfaketime is not installed.
    pub async fn logic_ahead(&self, id: &str, seconds: i64, settings: &[(&str, &str)]) -> Server {
        let logic = program("logic").display().to_string();
        self.start_logic(&logic, id, settings, &pairs(&ahead_by(seconds))).await
    }

    /// What gives the next server its clock: that of this machine, or with `IMAGO_TEST_CLOCKS=SECONDS`
    /// one that is ahead by so much, and one that is behind, by turns.
    fn clock(&self) -> Vec<(&'static str, String)> {
        let Ok(seconds) = std::env::var(CLOCKS) else { return Vec::new() };
        let seconds: i64 = seconds.parse().expect("IMAGO_TEST_CLOCKS is a number of seconds");
        let is_ahead = self.clocks.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        ahead_by(if is_ahead { seconds } else { -seconds }).into()
    }

    async fn start_logic(
        &self,
        path: &str,
        id: &str,
        settings: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Server {
        let store = format!("sqlite://{}", self.folder.path().join("imago.db").display());
        let base =
            [("service.id", id), ("naming.url", &self.naming()), ("listen.link", "127.0.0.1:0")];
        // One with a user in it is taken only from the environment.
        let (stores, settings): (Vec<_>, Vec<_>) =
            settings.iter().copied().partition(|(key, _)| *key == "store.url");
        let store = stores.last().map_or(&*store, |(_, url)| url);
        let secrets = [("IMAGO_CLUSTER__SECRET", CLUSTER_SECRET), ("IMAGO_STORE__URL", store)];
        let environment = [&secrets, environment].concat();
        let settings = over(&base, &settings);
        Server::start(path.as_ref(), id, self.folder.path(), &settings, &environment).await
    }

    /// Starts a gateway; `settings` come on top.
    pub async fn gateway(&self, id: &str, settings: &[(&str, &str)]) -> Server {
        self.gateway_by(&program("gateway").display().to_string(), id, settings).await
    }

    /// Starts a gateway by another program.
    pub async fn gateway_by(&self, path: &str, id: &str, settings: &[(&str, &str)]) -> Server {
        self.start_gateway(path, id, settings, &pairs(&self.clock())).await
    }

    /// Starts a gateway by another program, with these variables in its environment.
    pub async fn gateway_told(
        &self,
        path: &str,
        id: &str,
        settings: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Server {
        self.start_gateway(path, id, settings, environment).await
    }

    /// Starts a gateway whose wall clock is ahead by `seconds`, behind where they are negative; its timers
    /// are as those of the others.
    ///
    /// # Panics
    /// When libfaketime is not installed.
    pub async fn gateway_ahead(&self, id: &str, seconds: i64, settings: &[(&str, &str)]) -> Server {
        let gateway = program("gateway").display().to_string();
        self.start_gateway(&gateway, id, settings, &pairs(&ahead_by(seconds))).await
    }

    async fn start_gateway(
        &self,
        path: &str,
        id: &str,
        settings: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Server {
        let base = [
            ("service.id", id),
            ("naming.url", &self.naming()),
            ("listen.ws", "127.0.0.1:0"),
            ("listen.tcp", "127.0.0.1:0"),
            ("limits.messages_per_second", "100000"),
            ("limits.message_burst", "100000"),
        ];
        let secrets =
            [("IMAGO_CLUSTER__SECRET", CLUSTER_SECRET), ("IMAGO_AUTH__JWT_SECRET", JWT_SECRET)];
        let environment = [&secrets, environment].concat();
        let settings = over(&base, settings);
        Server::start(path.as_ref(), id, self.folder.path(), &settings, &environment).await
    }

    /// Starts a server that is told everything by its environment.
    pub async fn server(&self, name: &str, id: &str, environment: &[(&str, &str)]) -> Server {
        Server::start(&program(name), id, self.folder.path(), &[], environment).await
    }

    /// A file with the secret that tokens are signed with, for programs that make their own.
    ///
    /// # Panics
    /// When the temporary folder cannot be written.
    pub fn secret_file(&self) -> PathBuf {
        let file = self.folder.path().join("jwt-secret");
        std::fs::write(&file, JWT_SECRET).expect("the temporary folder can be written");
        file
    }

    /// A token for an account, good for a day.
    pub fn token(&self, account: &str) -> String {
        self.token_for(account, "imago", "")
    }

    /// A token for an account of an app on a device, good for a day.
    ///
    /// # Panics
    /// When the clock is before 1970.
    pub fn token_for(&self, account: &str, app: &str, device: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
        let expires = (now + Duration::from_secs(86_400)).as_secs();
        let claims = json!({ "acc": account, "app": app, "device": device, "exp": expires });
        let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
        encode(&Header::default(), &claims, &key).expect("claims can be signed")
    }

    /// Connects a client by our SDK.
    ///
    /// # Panics
    /// When it cannot log in.
    pub async fn client(&self, account: &str, gateways: &[&Server]) -> Client {
        let urls: Vec<String> = gateways.iter().map(|gateway| gateway.ws()).collect();
        let client = Client::builder(urls)
            .token(self.token(account))
            .backoff(Duration::from_millis(50), Duration::from_secs(1))
            .talk_deadline(Duration::from_secs(60))
            .connect_timeout(Duration::from_secs(20))
            .connect()
            .await;
        client.unwrap_or_else(|error| panic!("{account} cannot log in: {error}"))
    }
}

/// The environment of a program whose wall clock is ahead by `seconds`.
fn ahead_by(seconds: i64) -> [(&'static str, String); 3] {
    [
        ("LD_PRELOAD", faketime()),
        ("FAKETIME", format!("{seconds:+}s")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

fn pairs<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment.iter().map(|(name, value)| (*name, &**value)).collect()
}

/// Where Debian keeps the library that gives programs another time.
fn faketime() -> String {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib can be read");
    let libraries = folders.flatten().map(|of| of.path().join("faketime/libfaketimeMT.so.1"));
    let library = libraries.into_iter().find(|library| library.exists());
    let library = library.expect("libfaketime is not installed: run scripts/install-faketime");
    library.display().to_string()
}

fn over(base: &[(&str, &str)], settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let all = base.iter().chain(settings);
    all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
