//! A logic server's role that answers as the tests need it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use imago_container::{LogicHandle, LogicRole, PeerId};
use imago_proto::{
    LogicPacket, SessionId, Status, command,
    link::{Forward, Reply, Session},
    msg::{Header, KickoutNotify, LoginResp},
};
use prost::Message;
use tokio::sync::Semaphore;

/// Commands: `test.echo` gives the body back, `test.late` does so when [`release`] allows it,
/// `test.large` answers 2 MiB, `test.silent` nothing; a login of the account `unlucky` is
/// answered 300, one of `mute` nothing.
///
/// [`release`]: Self::release
pub(crate) struct FakeLogic {
    pub(crate) naming: String,
    handle: OnceLock<LogicHandle>,
    sessions: Mutex<HashMap<u64, (PeerId, Session)>>,
    forwards: Mutex<Vec<(Forward, Bytes)>>,
    released: Arc<Semaphore>,
}

impl FakeLogic {
    pub(crate) fn new(naming: String) -> Self {
        Self {
            naming,
            handle: OnceLock::new(),
            sessions: Mutex::default(),
            forwards: Mutex::default(),
            released: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) fn set_handle(&self, handle: LogicHandle) {
        assert!(self.handle.set(handle).is_ok(), "one logic server a world");
    }

    fn handle(&self) -> &LogicHandle {
        self.handle.get().unwrap()
    }

    /// Sessions that the gateway has told of.
    pub(crate) fn accounts(&self) -> Vec<String> {
        self.sessions.lock().unwrap().values().map(|(_, session)| session.account.clone()).collect()
    }

    pub(crate) fn session_of(&self, account: &str) -> Option<(PeerId, Session)> {
        let sessions = self.sessions.lock().unwrap();
        sessions.values().find(|(_, session)| session.account == account).cloned()
    }

    /// Requests of a command, with their bodies.
    pub(crate) fn forwards(&self, command: &str) -> Vec<(Forward, Bytes)> {
        let forwards = self.forwards.lock().unwrap();
        forwards.iter().filter(|(forward, _)| forward.command == command).cloned().collect()
    }

    /// Lets so many late answers go.
    pub(crate) fn release(&self, count: usize) {
        self.released.add_permits(count);
    }

    pub(crate) fn push(&self, account: &str, body: impl Into<Bytes>) {
        let (gateway, session) = self.session_of(account).unwrap();
        let packet = LogicPacket::push("test.push", account, body.into()).encode();
        self.handle().push(&gateway, vec![session.id], packet);
    }

    /// To all sessions of the one gateway, in one frame.
    pub(crate) fn push_to_all(&self, body: impl Into<Bytes>) {
        let packet = LogicPacket::push("test.push", "", body.into()).encode();
        let sessions = self.sessions.lock().unwrap();
        let Some((gateway, _)) = sessions.values().next() else { return };
        self.handle().push(gateway, sessions.keys().copied().collect(), packet);
    }

    pub(crate) fn kick(&self, account: &str) {
        let (gateway, session) = self.session_of(account).unwrap();
        self.handle().kick(&gateway, SessionId(session.id), notice(&session.channel_id));
    }

    fn answer(&self, account: &str, forward: &Forward, body: Bytes) -> Option<(Status, Bytes)> {
        Some(match (forward.command.as_str(), account) {
            (command::LOGIN_SIGNIN, "mute") | ("test.silent", _) => return None,
            (command::LOGIN_SIGNIN, "unlucky") => (Status::SystemException, Bytes::new()),
            (command::LOGIN_SIGNIN, _) => {
                let (_, session) = self.sessions.lock().unwrap().get(&forward.session)?.clone();
                let login = LoginResp { channel_id: session.channel_id, account: session.account };
                (Status::Success, login.encode_to_vec().into())
            }
            (command::LOGIN_SIGNOUT | "test.echo" | "test.late", _) => (Status::Success, body),
            ("test.large", _) => (Status::Success, vec![0; 2 << 20].into()),
            _ => (Status::NotImplemented, Bytes::new()),
        })
    }
}

/// A kickout notice, as logic servers make it.
pub(crate) fn notice(channel_id: &str) -> Bytes {
    let notify = KickoutNotify { channel_id: channel_id.to_owned() };
    LogicPacket::push(command::LOGIN_SIGNIN, "", notify.encode_to_vec().into()).encode()
}

#[async_trait]
impl LogicRole for FakeLogic {
    fn sync_begin(&self, _: &PeerId) {}

    fn session_up(&self, gateway: &PeerId, session: Session) {
        self.sessions.lock().unwrap().insert(session.id, (gateway.clone(), session));
    }

    fn session_down(&self, _: &PeerId, session: SessionId) {
        self.sessions.lock().unwrap().remove(&session.0);
    }

    fn sync_end(&self, _: &PeerId) {}

    fn gateway_gone(&self, _: &PeerId) {}

    fn forward(&self, gateway: &PeerId, request: Forward, body: Bytes) {
        self.forwards.lock().unwrap().push((request.clone(), body.clone()));
        let session = self.sessions.lock().unwrap().get(&request.session).cloned();
        let Some((_, session)) = session else { return };
        let Some((status, body)) = self.answer(&session.account, &request, body) else { return };
        let header = Header {
            command: request.command.clone(),
            sequence: request.sequence,
            dest: request.dest.clone(),
            ..Header::default()
        };
        let packet = LogicPacket::response(header, &session.channel_id, status, body).encode();
        let reply = Reply {
            request: request.request,
            session: request.session,
            status: status.code(),
            ..Reply::default()
        };
        let (handle, gateway) = (self.handle().clone(), gateway.clone());
        let released = self.released.clone();
        tokio::spawn(async move {
            if request.command == "test.late" {
                released.acquire_owned().await.unwrap().forget();
            }
            handle.reply(&gateway, reply, packet).await;
        });
    }

    fn redeliver(&self, _: &PeerId, _: Vec<Missing>) {}

    async fn idle(&self) {}
}
