//! The sessions of a gateway, and what the connection of each can be told.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use imago_container::{LaneOwner, Request, unix_nanos};
use imago_proto::{
    Account, App, ChannelId, Limits, LogicPacket, SessionId, Stamp, Status, command, link,
    msg::{Header, LoginReq, LoginResp},
};
use prost::Message;
use tokio::runtime::Handle;

use crate::{
    auth::Identity,
    delivery::Delivery,
    gateway::Shared,
    ledger::Ledger,
    metrics,
    outbox::{Close, Outbox, code},
};

/// Time between a kickout notice and the close (client wire, section 0.6).
const KICK_DELAY: Duration = Duration::from_millis(500);

/// Bytes of a channel id that a client may name: those that a gateway makes are shorter.
const CHANNEL_MAX: usize = 512;

/// A login as a client sends it.
pub(crate) struct Login<'a> {
    pub(crate) request: &'a LoginReq,
    pub(crate) header: &'a Header,
    /// Address the client connected from.
    pub(crate) remote: String,
    /// When it came, among all logins.
    pub(crate) order: Stamp,
}

/// One client that has shown who it is.
pub(crate) struct Client {
    pub(crate) session: link::Session,
    pub(crate) outbox: Arc<Outbox>,
    /// What it was given; locked while that is queued.
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) delivery: Arc<Delivery>,
    /// Sequence and destination of its login request.
    login: (u32, String),
    /// A request was refused that may be tried again later.
    was_refused: AtomicBool,
}

// === impl Client ===

impl Client {
    /// Tells the client that a newer login took its place, and ends its connection.
    pub(crate) fn kick(&self, notice: Bytes) {
        let close = Close { after: KICK_DELAY, ..Close::new(code::NORMAL, "logged in elsewhere") };
        self.outbox.kick(|| self.login_answer(), notice, close);
    }

    /// The answer to a login that is over before a logic server answers it.
    fn login_answer(&self) -> Bytes {
        let (sequence, dest) = self.login.clone();
        let command = command::LOGIN_SIGNIN.to_owned();
        let header = Header { command, sequence, dest, ..Header::default() };
        let channel_id = self.session.channel_id.clone();
        let body = LoginResp { channel_id, account: self.session.account.clone() };
        let body = body.encode_to_vec().into();
        LogicPacket::response(header, &self.session.channel_id, Status::Success, body).encode()
    }

    /// Whether a request was refused since the last time that may be tried again later.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused.load(Ordering::Relaxed) && self.was_refused.swap(false, Ordering::Relaxed)
    }

    /// The answer to a request that no logic server gives.
    fn refusal(&self, request: &Request, status: Status, why: &str) -> Bytes {
        let header = Header {
            command: request.command.clone(),
            sequence: request.sequence,
            dest: request.dest.clone(),
            ..Header::default()
        };
        refusal(header, &self.session.channel_id, status, why)
    }

    /// Whether this is the request that the client is let in by.
    fn is_login(&self, request: &Request) -> bool {
        request.command == command::LOGIN_SIGNIN && !self.outbox.is_logged_in()
    }
}

/// A response that carries an `ErrorResp`.
pub(crate) fn refusal(request: Header, channel: &str, status: Status, why: &str) -> Bytes {
    metrics::refused(status);
    LogicPacket::refusal(request, channel, status, why).encode()
}

impl LaneOwner for Client {
    fn answered(&self, request: &Request, reply: link::Reply, packet: Bytes) {
        if packet.len() > Limits::OUTBOUND_PAYLOAD {
            tracing::warn!(command = request.command, bytes = packet.len(), "answer too large");
            return self.refused(request, Status::SystemException, "the answer is too large");
        }
        let succeeded = reply.status == Status::Success.code();
        match request.command.as_str() {
            _ if self.is_login(request) && succeeded => self.login_answered(reply.mark, packet),
            _ if self.is_login(request) => {
                self.outbox.finish(Some(packet), Close::new(code::POLICY, "login refused"));
            }
            command::LOGIN_SIGNOUT if succeeded => {
                self.outbox.finish(Some(packet), Close::new(code::NORMAL, "signed out"));
            }
            _ => self.answer(reply, packet),
        }
    }

    fn refused(&self, request: &Request, status: Status, why: &str) {
        let packet = self.refusal(request, status, why);
        if self.is_login(request) {
            let close = Close::new(code::TRY_LATER, "login not possible now");
            return self.outbox.finish(Some(packet), close);
        }
        self.was_refused.store(true, Ordering::Relaxed);
        self.outbox.push(packet);
    }
}

/// All sessions of a gateway.
pub(crate) struct Sessions {
    clients: DashMap<SessionId, Arc<Client>, RandomState>,
    /// Sessions of each account.
    accounts: Mutex<HashMap<(App, Account), usize>>,
    per_account_max: usize,
    next: AtomicU64,
    pub(crate) delivery: Arc<Delivery>,
}

impl Sessions {
    pub(crate) fn new(per_account_max: usize) -> Self {
        Self {
            clients: DashMap::default(),
            accounts: Mutex::default(),
            per_account_max,
            next: AtomicU64::new(1),
            delivery: Arc::default(),
        }
    }

    /// Opens a session whose login has this stamp; `None` where the account has too many.
    pub(crate) fn open(
        &self,
        identity: Identity,
        Login { request, header, remote, order }: Login<'_>,
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
            age: 0,
            order: order.0,
            replaces: replaced(request),
        };
        let login = (header.sequence, header.dest.clone());
        let client = Arc::new(Client {
            session,
            outbox,
            ledger: Mutex::default(),
            delivery: self.delivery.clone(),
            login,
            was_refused: AtomicBool::new(false),
        });
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
        self.delivery.redelivery.ended(id.0);
        client.outbox.end().iter().for_each(|outbox| outbox.wake());
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

    /// Does something with a session, if it still lives, without a share in it. `use_it` must not come
    /// back to these sessions: its part of the table is locked.
    pub(crate) fn with(&self, id: SessionId, use_it: impl FnOnce(&Client)) {
        if let Some(client) = self.clients.get(&id) {
            use_it(&client);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.clients.iter().map(|client| client.key().0).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.clients.iter().map(|client| client.value().clone()).collect()
    }
}

/// A session for as long as its connection lives: taken out of the table, and out of every logic
/// server's directory, however the connection ends.
pub(crate) struct SessionGuard {
    id: SessionId,
    shared: Arc<Shared>,
}

// === impl SessionGuard ===

impl SessionGuard {
    pub(crate) fn new(id: SessionId, shared: &Arc<Shared>) -> Self {
        Self { id, shared: shared.clone() }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.shared.sessions.close(self.id);
        // Without a runtime the process ends, and the links with it.
        if let Ok(runtime) = Handle::try_current() {
            let (handle, id) = (self.shared.handle.clone(), self.id);
            self.shared.tasks.spawn_on(async move { handle.session_down(id).await }, &runtime);
        }
    }
}

/// `<service id>_<account>_<random>`, without commas.
fn channel_id(gateway: &str, account: &Account) -> ChannelId {
    let account = account.as_str().replace(',', "-");
    ChannelId::made(gateway, &account, rand::random())
}

/// The session that a client had before. A name that no session can have is ignored.
fn replaced(request: &LoginReq) -> String {
    let name = Some(&request.replaces).filter(|name| name.len() <= CHANNEL_MAX);
    name.cloned().unwrap_or_default()
}

/// Texts that a client names of itself are kept short: every logic server holds them.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
