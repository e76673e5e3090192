//! A logic server's role that answers as the tests need it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use imago_container::{LogicHandle, LogicRole, PeerId};
use imago_proto::{
    LogicPacket, SessionId, Status, command,
    link::{Forward, Mark, Missing, Place, Push, Redelivered, Reply, Session},
    msg::{Header, KickoutNotify, LoginResp},
};
use prost::Message;
use tokio::sync::Semaphore;

/// Commands: `test.echo` gives the body back, `test.late` does so when [`release`] allows it,
/// `test.large` answers 2 MiB, `test.silent` nothing; a login of the account `unlucky` is
/// answered 300, one of `mute` nothing. Messages, acknowledgements and listings are answered with
/// what the test has [noted](Self::note) for them.
///
/// [`release`]: Self::release
pub(crate) struct FakeLogic {
    pub(crate) naming: String,
    handle: Mutex<Option<LogicHandle>>,
    sessions: Mutex<HashMap<u64, (PeerId, Session)>>,
    forwards: Mutex<Vec<(Forward, Bytes)>>,
    released: Arc<Semaphore>,
    /// What the next answers to a command, or to a login, tell the gateway.
    notes: Mutex<HashMap<String, VecDeque<Reply>>>,
    /// What is pushed to whom behind the next answer to a message.
    behind: Mutex<Option<(Vec<String>, Place)>>,
    /// Redeliveries that were asked for.
    asked: Mutex<Vec<Missing>>,
    /// How long it stands still before it takes a session in.
    still: Mutex<Duration>,
}

impl FakeLogic {
    pub(crate) fn new(naming: String) -> Self {
        Self {
            naming,
            handle: Mutex::default(),
            sessions: Mutex::default(),
            forwards: Mutex::default(),
            released: Arc::new(Semaphore::new(0)),
            still: Mutex::default(),
            notes: Mutex::default(),
            behind: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    pub(crate) fn set_handle(&self, handle: LogicHandle) {
        *self.handle.lock().unwrap() = Some(handle);
    }

    fn handle(&self) -> LogicHandle {
        self.handle.lock().unwrap().clone().unwrap()
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

    /// Lets this number of late answers go.
    pub(crate) fn release(&self, count: usize) {
        self.released.add_permits(count);
    }

    /// Has the next answer to a command tell this.
    pub(crate) fn note(&self, command: &str, note: Reply) {
        self.notes.lock().unwrap().entry(command.to_owned()).or_default().push_back(note);
    }

    pub(crate) fn push(&self, account: &str, body: impl Into<Bytes>) {
        self.push_as(&[account], Push::default(), body);
    }

    /// A message of a conversation.
    pub(crate) fn push_message(&self, account: &str, place: &Place) {
        let push = Push { place: Some(place.clone()), ..Push::default() };
        self.push_as(&[account], push, body_of(place));
    }

    /// The same as part of a redelivery.
    pub(crate) fn push_again(&self, account: &str, place: &Place) {
        let push = Push { place: Some(place.clone()), again: true, ..Push::default() };
        self.push_as(&[account], push, body_of(place));
    }

    /// To the sessions of some accounts, in one frame.
    pub(crate) fn push_as(&self, accounts: &[&str], push: Push, body: impl Into<Bytes>) {
        let sessions = accounts.iter().map(|account| self.session_of(account).unwrap());
        let (gateways, sessions): (Vec<_>, Vec<_>) = sessions.unzip();
        let sessions = sessions.iter().map(|session| session.id).collect();
        let packet = LogicPacket::push("test.push", "", body.into()).encode();
        self.handle().push(&gateways[0], Push { sessions, ..push }, packet);
    }

    /// To all sessions of the one gateway, in one frame.
    pub(crate) fn push_to_all(&self, body: impl Into<Bytes>) {
        let packet = LogicPacket::push("test.push", "", body.into()).encode();
        let sessions = self.sessions.lock().unwrap();
        let Some((gateway, _)) = sessions.values().next() else { return };
        let push = Push { sessions: sessions.keys().copied().collect(), ..Push::default() };
        self.handle().push(gateway, push, packet);
    }

    /// Redeliveries that were asked for and not taken yet, sorted by conversation.
    pub(crate) fn take_asked(&self) -> Vec<Missing> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        for missing in &mut asked {
            missing.have.sort_by(|a, b| a.conversation.cmp(&b.conversation));
        }
        asked
    }

    /// Stands still for this time before it takes each session in.
    pub(crate) fn stand_still(&self, still: Duration) {
        *self.still.lock().unwrap() = still;
    }

    /// Waits for the next question for a redelivery.
    pub(crate) async fn next_asked(&self) -> Missing {
        super::eventually("a redelivery is asked for", || !self.asked.lock().unwrap().is_empty())
            .await;
        let mut asked = self.take_asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    pub(crate) async fn redelivered(&self, account: &str, mark: Option<Mark>) {
        let session = self.session_of(account).unwrap().1.id;
        self.redelivered_session(session, mark).await;
    }

    pub(crate) async fn redelivered_session(&self, session: u64, mark: Option<Mark>) {
        let gateway = self.sessions.lock().unwrap()[&session].0.clone();
        let way = self.handle().redelivery(&gateway).unwrap();
        way.done(Redelivered { session, mark }).await;
    }

    /// Answers a login that was not.
    pub(crate) async fn answer_login(&self, account: &str, mark: Option<Mark>) {
        let (gateway, session) = self.session_of(account).unwrap();
        let logins = self.forwards(command::LOGIN_SIGNIN);
        let (login, _) = logins.iter().find(|(login, _)| login.session == session.id).unwrap();
        let header = Header { command: command::LOGIN_SIGNIN.into(), ..Header::default() };
        let packet = LogicPacket::response(header, "", Status::Success, Bytes::new()).encode();
        let reply = Reply { request: login.request, session: session.id, mark, ..Reply::default() };
        self.handle().reply(&gateway, reply, packet).await;
    }

    /// Pushes a message behind the next answer to a message.
    pub(crate) fn push_behind_next(&self, accounts: &[&str], place: &Place) {
        let accounts = accounts.iter().map(|account| (*account).to_owned()).collect();
        *self.behind.lock().unwrap() = Some((accounts, place.clone()));
    }

    /// Says that pushes may be missing at sessions of these accounts; none: at all.
    pub(crate) fn owe(&self, accounts: &[&str]) {
        let sessions = accounts.iter().map(|account| self.session_of(account).unwrap().1.id);
        let gateway = self.sessions.lock().unwrap().values().next().unwrap().0.clone();
        self.handle().owed(&gateway, sessions.collect());
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
            (command, _) if command.starts_with("chat.") => (Status::Success, body),
            ("test.large", _) => (Status::Success, vec![0; 2 << 20].into()),
            _ => (Status::NotImplemented, Bytes::new()),
        })
    }
}

/// What a pushed message says.
pub(crate) fn body_of(place: &Place) -> String {
    format!("{}{}", place.conversation, place.seq)
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
        let still = *self.still.lock().unwrap();
        std::thread::sleep(still);
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
        let mut notes = self.notes.lock().unwrap();
        let note = notes.get_mut(&request.command).and_then(VecDeque::pop_front);
        let reply = Reply {
            request: request.request,
            session: request.session,
            status: status.code(),
            ..note.unwrap_or_default()
        };
        let (handle, gateway) = (self.handle(), gateway.clone());
        let behind = reply.place.as_ref().and_then(|_| self.behind.lock().unwrap().take());
        let behind = behind.map(|(accounts, place)| {
            let ids = accounts.iter().map(|account| self.session_of(account).unwrap().1.id);
            let packet = LogicPacket::push("test.push", "", body_of(&place).into()).encode();
            (Push { sessions: ids.collect(), place: Some(place), again: false }, packet)
        });
        let released = self.released.clone();
        tokio::spawn(async move {
            if request.command == "test.late" {
                released.acquire_owned().await.unwrap().forget();
            }
            handle.reply(&gateway, reply, packet).await;
            if let Some((push, packet)) = behind {
                handle.push(&gateway, push, packet);
            }
        });
    }

    fn redeliver(&self, _: &PeerId, missing: Vec<Missing>) {
        self.asked.lock().unwrap().extend(missing);
    }

    async fn idle(&self) {}
}
