//! A gateway, a logic server that answers as it is told, and clients that speak bytes.

mod client;
mod logic;

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use imago_container::{Container, ContainerConfig, ServerInfo};
use imago_kit::jwt::{EncodingKey, Header, encode};
use imago_kit::settings::Settings;
use imago_proto::{command, msg::LoginReq};
use prost::Message;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use client::{Client, Received, tcp_header};
pub(crate) use logic::{FakeLogic, notice};

use crate::{
    Builder, DEFAULT_CONFIG, Gateway, GatewayConfig, accept::Entrance, context::ConnectionContext,
};

pub(crate) const JWT_SECRET: &str = "jwt-1sNzdiSgnNuxyq2g7xml2JvLArU";
const CLUSTER_SECRET: &str = "a secret of this test cluster";
/// No limit that a test could reach.
pub(crate) const FAST: &[(&str, &str)] =
    &[("limits.messages_per_second", "1000000"), ("limits.message_burst", "1000000")];
/// Longer than anything here takes, on however busy a machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The default configuration with the secrets, free ports, and what a test changes.
pub(crate) fn config(changes: &[(&str, &str)]) -> GatewayConfig {
    let mut secrets = tempfile::NamedTempFile::new().unwrap();
    write!(
        secrets,
        "cluster.secret = {CLUSTER_SECRET:?}\nauth.jwt_secret = {JWT_SECRET:?}\n\
         listen.ws = \"127.0.0.1:0\"\nlisten.tcp = \"127.0.0.1:0\"\n"
    )
    .unwrap();
    let changes: Vec<_> =
        changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let settings =
        Settings::load(DEFAULT_CONFIG, imago_container::PROGRAMS, Some(secrets.path()), &changes)
            .unwrap();
    GatewayConfig::read(settings).unwrap()
}

pub(crate) fn token(account: &str) -> String {
    let claims = json!({ "acc": account, "app": "kim", "exp": 4_102_444_800_u64 });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).unwrap()
}

pub(crate) fn login(token: &str) -> LoginReq {
    LoginReq { token: token.to_owned(), ..LoginReq::default() }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// One gateway, one logic server. Dropping it ends both.
pub(crate) struct World {
    pub(crate) ws: std::net::SocketAddr,
    pub(crate) tcp: std::net::SocketAddr,
    pub(crate) logic: Arc<FakeLogic>,
    pub(crate) context: Arc<ConnectionContext>,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) gateway: JoinHandle<anyhow::Result<()>>,
    pub(crate) leave: CancellationToken,
    pub(crate) leave_logic: CancellationToken,
    logic_task: Mutex<Option<JoinHandle<Result<(), imago_container::Error>>>>,
    _end: [DropGuard; 2],
}

impl World {
    /// Both up and Adult.
    pub(crate) async fn start(changes: &[(&str, &str)]) -> Self {
        Self::start_with(changes, |builder| builder).await
    }

    pub(crate) async fn start_with(
        changes: &[(&str, &str)],
        extend: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let world = Self::start_young(changes, extend).await;
        world.start_logic().await;
        let mut doors = world.context.life.doors.subscribe();
        let open = doors.wait_for(|doors| *doors == crate::lifecycle::Doors::Open);
        tokio::time::timeout(PATIENCE, open).await.unwrap().unwrap();
        world
    }

    /// A gateway without a logic server.
    pub(crate) async fn start_young(
        changes: &[(&str, &str)],
        extend: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let mut config = config(changes);
        let naming = format!("memory://{:016x}", rand::random::<u64>());
        config.naming = naming.clone().into();
        let logic = Arc::new(FakeLogic::new(naming));
        let gateway = extend(Gateway::builder(config)).build().await.unwrap();
        let at = |name| gateway.address(name).unwrap().socket_addr().unwrap();
        let (leave, leave_logic) = (CancellationToken::new(), CancellationToken::new());
        Self {
            ws: at("ws"),
            tcp: at("tcp"),
            context: gateway.entrance.context.clone(),
            entrance: gateway.entrance.clone(),
            logic,
            gateway: tokio::spawn(gateway.run(leave.clone())),
            logic_task: Mutex::default(),
            _end: [leave.clone().drop_guard(), leave_logic.clone().drop_guard()],
            leave,
            leave_logic,
        }
    }

    pub(crate) async fn start_logic(&self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let role = self.logic.clone();
        let container = Container::builder(ServerInfo::new("chat", ""))
            .config(ContainerConfig::default())
            .cluster("imago", CLUSTER_SECRET.as_bytes())
            .naming(imago_naming::open(&self.logic.naming).await.unwrap())
            .depends_on("gateway")
            .logic(listener, move |handle| {
                role.set_handle(handle);
                role
            })
            .build()
            .unwrap();
        let running = tokio::spawn(container.run(self.leave_logic.clone()));
        *self.logic_task.lock().unwrap() = Some(running);
    }

    /// Ends the logic server and its links at once, and starts another one with the same role.
    pub(crate) async fn restart_logic(&self) {
        if let Some(running) = self.logic_task.lock().unwrap().take() {
            running.abort();
        }
        eventually("its links are lost", || !self.context.handle.has_adult()).await;
        self.start_logic().await;
        eventually("another is there", || self.context.handle.has_adult()).await;
    }

    /// A client that has logged in over TCP.
    pub(crate) async fn client(&self, account: &str) -> Client {
        let mut client = Client::tcp(self.tcp).await;
        client.log_in(account).await;
        client
    }
}

/// The body of a login request.
pub(crate) fn login_body(token: &str) -> Vec<u8> {
    login(token).encode_to_vec()
}

pub(crate) const LOGIN: &str = command::LOGIN_SIGNIN;
