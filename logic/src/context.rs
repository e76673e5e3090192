//! The context of a request, through which handlers act.

use std::{fmt::Display, sync::Arc};

use bytes::Bytes;
use imago_kit::LogContext;
use imago_proto::{
    Account, GroupId, LogicPacket, Seq,
    link::{self, Forward},
};
use parking_lot::{Mutex, MutexGuard};
use prost::Message;

use crate::{
    Session, SessionDirectory,
    members::MemberLists,
    notes::Notes,
    store::{Chain, Device, MessageStore, StoreState},
};

/// Rules for groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRules {
    /// Largest number of members in a group.
    pub members_max: usize,
    /// Accounts that are not members of a group may talk to it.
    pub open_talk: bool,
}

impl Default for GroupRules {
    fn default() -> Self {
        Self { members_max: 10_000, open_talk: false }
    }
}

/// Services that all handlers of a server share.
pub(crate) struct Services {
    pub(crate) directory: Arc<dyn SessionDirectory>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) store_state: Arc<StoreState>,
    pub(crate) members: MemberLists,
    pub(crate) groups: GroupRules,
}

/// One request on its way through a handler. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    session: Arc<Session>,
    request: Forward,
    chain: Chain,
    services: Arc<Services>,
    outcome: Mutex<Outcome>,
}

/// The effects of a request beside the body of its answer.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Packets to push, in order.
    pub(crate) pushes: Vec<Push>,
    pub(crate) notes: Notes,
}

/// A packet that goes out after the answer.
pub(crate) struct Push {
    pub(crate) to: Receivers,
    /// Position of a stored message; `None` for any other packet.
    pub(crate) place: Option<Arc<link::Place>>,
    pub(crate) packet: Planned,
}

/// The bytes of a push.
pub(crate) enum Planned {
    Packet(Bytes),
    /// Encoded only if it has receivers.
    Message(Box<dyn FnOnce() -> Bytes + Send>),
}

impl Planned {
    pub(crate) fn encode(self) -> Bytes {
        match self {
            Self::Packet(packet) => packet,
            Self::Message(encode) => encode(),
        }
    }
}

/// The receivers of a push.
#[derive(Clone, Debug)]
pub(crate) enum Receivers {
    /// All sessions that the account has when the push is sent.
    Account(Account),
    /// All sessions of the account except the calling one.
    Others(Account),
    /// All sessions of these accounts except the calling one.
    Accounts(Vec<Account>),
    /// All sessions of the members that see a message of a group, except the calling one.
    Members {
        group: GroupId,
        /// Version of the members when the message was stored.
        version: u64,
        /// Sequence of the message: accounts that have joined since do not see it.
        seq: Seq,
    },
    /// These sessions.
    Sessions(Vec<Arc<Session>>),
}

impl LogContext for Inner {
    fn fields(&self, field: &mut dyn FnMut(&'static str, &dyn Display)) {
        field("channel", &self.session.channel());
        field("command", &self.request.command);
        field("seq", &self.request.sequence);
    }
}

impl Context {
    pub(crate) fn new(
        session: Arc<Session>,
        request: Forward,
        chain: Chain,
        services: Arc<Services>,
    ) -> Self {
        let outcome = Mutex::default();
        Self { inner: Arc::new(Inner { session, request, chain, services, outcome }) }
    }

    /// Returns the fields of its log lines.
    pub(crate) fn log_context(&self) -> Arc<dyn LogContext> {
        self.inner.clone()
    }

    pub(crate) fn request(&self) -> &Forward {
        &self.inner.request
    }

    /// Returns the caller's session: account, app, device, channel, gateway.
    pub fn session(&self) -> &Session {
        &self.inner.session
    }

    /// Returns the chain of the session's overlapping requests to the same destination.
    pub fn chain(&self) -> &Chain {
        &self.inner.chain
    }

    /// Returns the caller's device, as stores know it.
    pub fn device(&self) -> Device {
        self.session().into()
    }

    /// Returns the command of the request.
    pub fn command(&self) -> &str {
        &self.inner.request.command
    }

    /// Returns the client's number of the request.
    pub fn sequence(&self) -> u32 {
        self.inner.request.sequence
    }

    /// Returns the destination of the request: an account, or a group.
    pub fn dest(&self) -> &str {
        &self.inner.request.dest
    }

    /// Returns the idempotency key of this request, which is the same for all tries of a gateway. With a
    /// client's own id, it is also the same for all tries of the client, through any gateway.
    pub fn request_key(&self, client_id: &str) -> String {
        let session = self.session();
        if client_id.is_empty() {
            return format!("g:{}:{}", session.gateway.incarnation, self.inner.request.request);
        }
        // A colon in a device name must not look like the one behind it.
        match session.device() {
            device if device.contains(['%', ':']) => {
                let device = device.replace('%', "%25").replace(':', "%3a");
                ["c:", &device, ":", client_id].concat()
            }
            device => ["c:", device, ":", client_id].concat(),
        }
    }

    /// Returns all sessions of an account of the caller's app.
    pub async fn locate(&self, account: &Account) -> Vec<Arc<Session>> {
        self.inner.services.directory.locate(&self.session().app, account).await
    }

    /// Returns the message store.
    pub fn store(&self) -> &dyn MessageStore {
        &*self.inner.services.store
    }

    /// Returns whether the message store works.
    pub(crate) fn store_state(&self) -> &StoreState {
        &self.inner.services.store_state
    }

    /// Returns the rules for groups.
    pub fn groups(&self) -> GroupRules {
        self.inner.services.groups
    }

    /// Pushes a message to all sessions of an account, after the answer is sent. The push is dropped if the
    /// handler refuses the request.
    pub fn push(&self, command: &str, account: &Account, body: &impl Message) {
        self.plan(Receivers::Account(account.clone()), command, account.as_str(), body);
    }

    /// As [`push`](Self::push), except to the calling session.
    pub fn push_to_others(&self, command: &str, account: &Account, body: &impl Message) {
        self.plan(Receivers::Others(account.clone()), command, account.as_str(), body);
    }

    /// As [`push`](Self::push), to all sessions of several accounts, except to the calling session.
    pub fn push_to_accounts(
        &self,
        command: &str,
        dest: &str,
        accounts: Vec<Account>,
        body: &impl Message,
    ) {
        self.plan(Receivers::Accounts(accounts), command, dest, body);
    }

    /// Pushes a stored message of a conversation as [`push`](Self::push) does, to these receivers.
    pub(crate) fn push_message(
        &self,
        to: Receivers,
        place: Arc<link::Place>,
        dest: &str,
        body: &impl Message,
    ) {
        let packet = Planned::Packet(LogicPacket::encode_push(self.command(), dest, body));
        self.outcome().pushes.push(Push { to, place: Some(place), packet });
    }

    /// As [`push`](Self::push), to [located](Self::locate) sessions of any accounts, with any destination in
    /// the header.
    pub fn push_to_sessions(
        &self,
        command: &str,
        dest: &str,
        sessions: Vec<Arc<Session>>,
        body: &impl Message,
    ) {
        self.plan(Receivers::Sessions(sessions), command, dest, body);
    }

    /// Pushes a stored message to the other sessions of an account. It is encoded only if there are any,
    /// which is rare.
    pub(crate) fn push_message_to_any_others<M: Message + 'static>(
        &self,
        account: &Account,
        place: Arc<link::Place>,
        body: M,
    ) {
        // The context itself would be a cycle: its pushes may never be taken.
        let (command, dest) = (self.command().to_owned(), account.clone());
        let encode = move || LogicPacket::encode_push(&command, dest.as_str(), &body);
        let packet = Planned::Message(Box::new(encode));
        let to = Receivers::Others(account.clone());
        self.outcome().pushes.push(Push { to, place: Some(place), packet });
    }

    fn plan(&self, to: Receivers, command: &str, dest: &str, body: &impl Message) {
        let packet = Planned::Packet(LogicPacket::encode_push(command, dest, body));
        self.outcome().pushes.push(Push { to, place: None, packet });
    }

    /// Adds to what the gateway is told with the answer.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Notes)) {
        note(&mut self.outcome().notes);
    }

    pub(crate) fn take_outcome(&self) -> Outcome {
        std::mem::take(&mut self.outcome())
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.inner.outcome.lock()
    }
}

#[cfg(test)]
mod tests {
    use imago_proto::msg::MessagePush;

    use super::*;
    use crate::{
        DevicePolicy,
        directory::Replicated,
        store::null::NullStore,
        support::{gateway, session},
    };

    #[test]
    fn a_request_whose_pushes_are_never_taken_leaves_nothing_behind() {
        let services = Services {
            directory: Arc::new(Replicated::new(DevicePolicy::default())),
            store: Arc::new(NullStore::default()),
            store_state: Arc::default(),
            members: MemberLists::default(),
            groups: GroupRules::default(),
        };
        let session = Session::from_link(&gateway("a"), &session(1, "ann", ""));
        let ctx = Context::new(
            Arc::new(session),
            Forward::default(),
            Chain::default(),
            Arc::new(services),
        );
        let inner = Arc::downgrade(&ctx.inner);
        ctx.push_message_to_any_others(
            &Account::from("ann"),
            Arc::default(),
            MessagePush::default(),
        );
        drop(ctx);
        assert!(inner.upgrade().is_none());
    }
}
