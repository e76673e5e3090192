//! The sessions of a gateway, and what the connection of each can be told.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use dashmap::DashMap;
use imago_container::{GatewayHandle, LaneOwner, Request};
use imago_proto::{
    Account, App, ChannelId, LogicPacket, SessionId, Status, command, link,
    msg::{ErrorResp, Header, LoginReq},
};
use prost::Message;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::Identity,
    metrics,
    outbox::{Close, Outbox, code},
};

/// One client that has shown who it is.
pub(crate) struct Client {
    pub(crate) session: link::Session,
    pub(crate) outbox: Arc<Outbox>,
    /// Cancelled when the client is to be handed over to another gateway.
    pub(crate) leave: CancellationToken,
}

impl Client {
    /// The answer to a request that no logic server gives.
    fn refusal(&self, request: &Request, status: Status, why: &str) -> Bytes {
        let header = Header {
            command: request.command.clone(),
            sequence: request.sequence,
            dest: request.dest.clone(),
            ..Header::default()
        };
        refusal(&header, &self.session.channel_id, status, why)
    }
}

/// A response that carries an `ErrorResp`.
pub(crate) fn refusal(request: &Header, channel: &str, status: Status, why: &str) -> Bytes {
    metrics::refused(status);
    let body = ErrorResp { message: why.to_owned() }.encode_to_vec();
    LogicPacket::response(request, channel, status, body.into()).encode()
}

impl LaneOwner for Client {
    fn answered(&self, request: &Request, status: u32, packet: Bytes) {
        let succeeded = status == Status::Success.code();
        match request.command.as_str() {
            command::LOGIN_SIGNIN if !self.outbox.is_logged_in() => {
                if succeeded {
                    self.outbox.login_answered(packet);
                } else {
                    self.outbox.finish(Some(packet), Close::new(code::POLICY, "login refused"));
                }
            }
            command::LOGIN_SIGNOUT if succeeded => {
                self.outbox.finish(Some(packet), Close::new(code::NORMAL, "signed out"));
            }
            _ => self.outbox.push(packet),
        }
    }

    fn refused(&self, request: &Request, status: Status, why: &str) {
        let packet = self.refusal(request, status, why);
        if self.outbox.is_logged_in() {
            self.outbox.push(packet);
        } else {
            self.outbox.finish(Some(packet), Close::new(code::TRY_LATER, "login not possible now"));
        }
    }
}

/// All sessions of a gateway.
pub(crate) struct Sessions {
    clients: DashMap<SessionId, Arc<Client>>,
    /// Sessions of each account.
    accounts: Mutex<HashMap<(App, Account), usize>>,
    per_account_max: usize,
    next: AtomicU64,
}

impl Sessions {
    pub(crate) fn new(per_account_max: usize) -> Self {
        Self {
            clients: DashMap::new(),
            accounts: Mutex::default(),
            per_account_max,
            next: AtomicU64::new(1),
        }
    }

    /// Opens a session; `None` where the account has too many.
    pub(crate) fn open(
        &self,
        identity: Identity,
        request: &LoginReq,
        remote: String,
        outbox: Arc<Outbox>,
        gateway: &str,
    ) -> Option<Arc<Client>> {
        if !self.count_in(&identity) {
            return None;
        }
        let id = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        let session = link::Session {
            id: id.0,
            channel_id: channel_id(gateway, &identity.account).to_string(),
            account: identity.account.to_string(),
            app: identity.app.to_string(),
            device: identity.device,
            login_time: unix_nanos(),
            zone: cut(&request.zone),
            isp: cut(&request.isp),
            tags: request.tags.iter().take(16).map(|tag| cut(tag)).collect(),
            remote,
        };
        let client = Arc::new(Client { session, outbox, leave: CancellationToken::new() });
        self.clients.insert(id, client.clone());
        metrics::session_opened();
        Some(client)
    }

    fn count_in(&self, identity: &Identity) -> bool {
        let key = (identity.app.clone(), identity.account.clone());
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = accounts.entry(key).or_default();
        if *count >= self.per_account_max {
            return false;
        }
        *count += 1;
        true
    }

    fn close(&self, id: SessionId) {
        let Some((_, client)) = self.clients.remove(&id) else { return };
        metrics::session_closed();
        let session = &client.session;
        let key = (App::from(session.app.as_str()), Account::from(session.account.as_str()));
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = accounts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                accounts.remove(&key);
            }
        }
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Client>> {
        self.clients.get(&id).map(|client| client.value().clone())
    }

    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.clients.iter().map(|client| *client.key()).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.clients.iter().map(|client| client.value().clone()).collect()
    }
}

/// A session for as long as its connection lives: taken out of the table, and out of every logic
/// server's directory, however the connection ends.
pub(crate) struct SessionGuard {
    pub(crate) id: SessionId,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) handle: GatewayHandle,
    pub(crate) tasks: TaskTracker,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.sessions.close(self.id);
        let (handle, id) = (self.handle.clone(), self.id);
        self.tasks.spawn(async move { handle.session_down(id).await });
    }
}

/// `<service id>_<account>_<random>`, without commas.
fn channel_id(gateway: &str, account: &Account) -> ChannelId {
    let account = account.as_str().replace(',', "-");
    ChannelId::from(format!("{gateway}_{account}_{:016x}", rand::random::<u64>()))
}

/// Texts that a client names of itself are kept short: every logic server holds them.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

fn unix_nanos() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
