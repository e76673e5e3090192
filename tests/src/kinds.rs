//! Devices of three kinds that talk and listen, and write down in a chronicle what they see.

mod catch_up;
mod connection;
mod raw;
mod sdk;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Chronicle, DeviceId, Ending, Promise, Server, World};

/// Orders that wait for a device. Overflow policy: the caller waits.
const ORDERS: usize = 64;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Our SDK.
    Sdk,
    /// Reads what is pushed, connects again when its connection ends; acknowledges and asks nothing.
    Naive,
    /// As the clients of old: acknowledges the id that it received last, in this interval; asks after
    /// each login for the index of what it missed, and for the contents.
    Old(Duration),
}

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket.
    WebSocket,
    /// Plain TCP.
    Tcp,
}

/// Where a gateway lets clients in.
#[derive(Clone, Debug)]
pub struct Door {
    /// `host:port` for WebSocket.
    pub ws: String,
    /// `host:port` for TCP.
    pub tcp: String,
}

impl From<&Server> for Door {
    fn from(gateway: &Server) -> Self {
        Self { ws: gateway.address("ws"), tcp: gateway.address("tcp") }
    }
}

/// A device to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its account.
    pub account: String,
    /// Its name, different for each device of the account. May be empty.
    pub device: String,
    /// How it behaves.
    pub kind: Kind,
    /// How it connects.
    pub transport: Transport,
    /// Gateways; it goes to the next one when one is lost. The SDK begins with any.
    pub doors: Vec<Door>,
}

/// Whom a message is for.
#[derive(Clone, Debug)]
pub enum To {
    /// An account.
    Account(String),
    /// A group.
    Group(String),
}

impl To {
    fn name(&self) -> &str {
        match self {
            Self::Account(name) | Self::Group(name) => name,
        }
    }
}

/// A message that a device is to send.
struct Order {
    to: To,
    number: u64,
    body: String,
    ended: oneshot::Sender<Ending>,
}

/// A device that runs until it is dropped.
pub struct Device {
    id: DeviceId,
    account: String,
    chronicle: Chronicle,
    orders: mpsc::Sender<Order>,
    _stop: DropGuard,
    running: CancellationToken,
}

impl Device {
    /// Starts a device, or starts it again; it is online once it can be.
    pub fn start(world: &World, spec: Spec, chronicle: &Chronicle) -> Self {
        let promise = match spec.kind {
            Kind::Sdk => Promise::Everything,
            Kind::Naive => Promise::WhileConnected,
            Kind::Old(_) => Promise::FromOthers,
        };
        let id = chronicle.starts(&spec.account, &spec.device, promise);
        let token = world.token_for(&spec.account, "imago", &spec.device);
        let account = spec.account.clone();
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (stop, running) = (CancellationToken::new(), CancellationToken::new());
        let (ends, ended) = (stop.clone(), running.clone().drop_guard());
        let told = chronicle.clone();
        tokio::spawn(async move {
            let _ended = ended;
            let living = async {
                match spec.kind {
                    Kind::Sdk => sdk::live(spec, token, id, &told, inbox).await,
                    Kind::Naive | Kind::Old(_) => raw::live(spec, token, id, &told, inbox).await,
                }
            };
            ends.run_until_cancelled(living).await;
            told.loses(id);
        });
        let chronicle = chronicle.clone();
        Self { id, account, chronicle, orders, _stop: stop.drop_guard(), running }
    }

    /// Its number in the chronicle.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// Its account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Waits until it is logged in.
    ///
    /// # Panics
    /// When it is not soon.
    pub async fn online(self) -> Self {
        let what = format!("device {} of {} is online", self.id, self.account);
        crate::eventually(Duration::from_secs(30), &what, || async {
            self.chronicle.is_online(self.id).then_some(())
        })
        .await;
        self
    }

    /// Has it send a message; messages are sent in the order of the calls. The receiver is told how
    /// that ended; the chronicle is told, too.
    ///
    /// # Panics
    /// When the device has ended.
    pub async fn send(&self, to: &To) -> oneshot::Receiver<Ending> {
        let (number, body) = self.chronicle.sends(self.id, to.name());
        let (ended, ending) = oneshot::channel();
        let order = Order { to: to.clone(), number, body, ended };
        let is_sent = self.orders.send(order).await.is_ok();
        assert!(is_sent, "device {} of {} has ended", self.id, self.account);
        ending
    }

    /// Has it send a message, and waits for the end of that.
    ///
    /// # Panics
    /// When the device has ended.
    pub async fn talk(&self, to: &To) -> Ending {
        self.send(to).await.await.unwrap_or(Ending::Lost)
    }

    /// Has it send a message that has to be accepted; gives its conversation and sequence.
    ///
    /// # Panics
    /// When it is not accepted.
    pub async fn says(&self, to: &To) -> (String, u64) {
        match self.talk(to).await {
            Ending::Accepted { conversation, seq } => (conversation, seq),
            other => panic!("{} says something to {to:?}: {other:?}", self.account),
        }
    }

    /// Ends the process, without a good-bye.
    pub async fn stop(self) {
        let running = self.running.clone();
        drop(self);
        running.cancelled().await;
    }
}
