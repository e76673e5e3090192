//! The sessions of a gateway, and what the connection of each can be told.

mod accounts;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use imago_container::{LaneOwner, Request};
use imago_kit::unix_nanos;
use imago_proto::{
    Account, App, ChannelId, Limits, LogicPacket, SessionId, Stamp, Status, command, link,
    msg::{Header, LoginReq, LoginResp},
};
use prost::Message;
use tokio::time::Instant;

pub(crate) use self::accounts::Crowded;
use self::accounts::{Accounts, Seen};
use crate::{
    auth::Identity,
    delivery::Delivery,
    ledger::Ledger,
    metrics,
    outbox::{Close, Outbox, code},
};

/// Time between a kickout notice and the close (docs/wire.md, "Login").
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
    /// Another connection of the account has its place.
    is_replaced: AtomicBool,
    /// When something last came from it, in milliseconds of the gateway's life.
    heard: AtomicU32,
}

// === impl Client ===

impl Client {
    /// Tells the client that a newer login took its place, and ends its connection.
    pub(crate) fn kick(&self, notice: Bytes) {
        let close = Close { after: KICK_DELAY, ..Close::new(code::NORMAL, "logged in elsewhere") };
        self.outbox.kick(|| self.login_answer(), notice, close);
    }

    /// Ends the connection, once the client has its answers, for another one of its account.
    fn replace(&self) {
        tracing::info!(channel = self.session.channel_id, "silent, replaced by a newer connection");
        metrics::session_replaced();
        self.is_replaced.store(true, Ordering::Relaxed);
        self.outbox.leave();
    }

    /// Whether another connection of the account has its place.
    pub(crate) fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Relaxed)
    }

    /// Something has come from the client.
    pub(crate) fn hear(&self, millis: u32) {
        self.heard.store(millis, Ordering::Relaxed);
    }

    fn silence(&self, now: u32) -> Duration {
        Duration::from_millis(now.wrapping_sub(self.heard.load(Ordering::Relaxed)).into())
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
    accounts: Accounts,
    next: AtomicU64,
    start: Instant,
    pub(crate) delivery: Arc<Delivery>,
}

impl Sessions {
    /// Up to `most` sessions of one account; those make room for others that were silent for as long as
    /// `silent_after`.
    pub(crate) fn new(most: usize, silent_after: Duration) -> Self {
        Self {
            clients: DashMap::default(),
            accounts: Accounts::new(most, silent_after),
            next: AtomicU64::new(1),
            start: Instant::now(),
            delivery: Arc::default(),
        }
    }

    /// Milliseconds of the gateway's life. They wrap after 49 days: only differences count.
    pub(crate) fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.start).as_millis() as u32
    }

    /// Opens a session whose login has this stamp. Where its account has too many, the longest silent one
    /// makes room.
    pub(crate) fn open(
        &self,
        identity: &Identity,
        Login { request, header, remote, order }: &Login<'_>,
        outbox: Arc<Outbox>,
        gateway: &str,
    ) -> Result<Arc<Client>, Crowded> {
        let id = SessionId(self.next.fetch_add(1, Ordering::Relaxed));
        let (now, left) = (self.millis(Instant::now()), replaced(request));
        let look = |id: SessionId| {
            let client = self.clients.get(&id)?;
            let is_left = !left.is_empty() && client.session.channel_id == left;
            Some(Seen { silence: client.silence(now), is_left })
        };
        let account = (identity.app.clone(), identity.account.clone());
        if let Some(silent) = self.accounts.enter(account, id, look)? {
            self.with(silent, Client::replace);
        }
        let session = link::Session {
            id: id.0,
            channel_id: channel_id(gateway, &identity.account).to_string(),
            account: identity.account.to_string(),
            app: identity.app.to_string(),
            device: identity.device.clone(),
            login_time: unix_nanos(),
            zone: cut(&request.zone),
            isp: cut(&request.isp),
            tags: request.tags.iter().take(16).map(|tag| cut(tag)).collect(),
            remote: remote.clone(),
            age: 0,
            order: order.0,
            replaces: left,
        };
        let login = (header.sequence, header.dest.clone());
        let client = Arc::new(Client {
            session,
            outbox,
            ledger: Mutex::default(),
            delivery: self.delivery.clone(),
            login,
            was_refused: AtomicBool::new(false),
            is_replaced: AtomicBool::new(false),
            heard: AtomicU32::new(now),
        });
        self.clients.insert(id, client.clone());
        metrics::session_opened();
        Ok(client)
    }

    /// Takes a session out; one that is gone already changes nothing.
    pub(crate) fn close(&self, id: SessionId) {
        let Some((_, client)) = self.clients.remove(&id) else { return };
        metrics::session_closed();
        self.delivery.redelivery.ended(id.0);
        client.outbox.end().iter().for_each(|outbox| outbox.wake());
        let session = &client.session;
        let key = (App::from(session.app.as_str()), Account::from(session.account.as_str()));
        self.accounts.leave(&key, id);
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
