//! What a handler knows of its request, and what it can do.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use imago_proto::{Account, LogicPacket, link::Forward};
use prost::Message;

use crate::{Session, SessionDirectory, store::MessageStore};

/// One request on its way through a handler. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    session: Arc<Session>,
    request: Forward,
    directory: Arc<dyn SessionDirectory>,
    store: Arc<dyn MessageStore>,
    pushes: Mutex<Vec<Push>>,
}

/// A packet for all sessions of an account, but for one.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) account: Account,
    pub(crate) except_caller: bool,
    pub(crate) packet: Bytes,
}

impl Context {
    pub(crate) fn new(
        session: Arc<Session>,
        request: Forward,
        directory: Arc<dyn SessionDirectory>,
        store: Arc<dyn MessageStore>,
    ) -> Self {
        let pushes = Mutex::default();
        Self { inner: Arc::new(Inner { session, request, directory, store, pushes }) }
    }

    /// The caller's session: account, app, device, channel, gateway.
    pub fn session(&self) -> &Session {
        &self.inner.session
    }

    /// Command of the request.
    pub fn command(&self) -> &str {
        &self.inner.request.command
    }

    /// The client's number of the request.
    pub fn sequence(&self) -> u32 {
        self.inner.request.sequence
    }

    /// Destination of the request: an account, or a group.
    pub fn dest(&self) -> &str {
        &self.inner.request.dest
    }

    /// The key of this request for idempotent writes: the same however often a gateway sends it.
    /// With a client's own id also the same however often the client sends it, on any gateway.
    pub fn request_key(&self, client_id: &str) -> String {
        let session = self.session();
        if client_id.is_empty() {
            format!("g:{}:{}", session.gateway.incarnation, self.inner.request.request)
        } else {
            format!("c:{}:{client_id}", session.device)
        }
    }

    /// All sessions of an account of the caller's app.
    pub async fn locate(&self, account: &Account) -> Vec<Arc<Session>> {
        self.inner.directory.locate(&self.session().app, account).await
    }

    /// The message store.
    pub fn store(&self) -> &dyn MessageStore {
        &*self.inner.store
    }

    /// Pushes a message to all sessions of an account, once the caller has its answer. Dropped
    /// where the handler refuses the request.
    pub fn push(&self, command: &str, account: &Account, body: &impl Message) {
        self.plan(command, account, body, false);
    }

    /// As [`push`](Self::push), but not to the calling session.
    pub fn push_to_others(&self, command: &str, account: &Account, body: &impl Message) {
        self.plan(command, account, body, true);
    }

    fn plan(&self, command: &str, account: &Account, body: &impl Message, except_caller: bool) {
        let packet = LogicPacket::push(command, account.as_str(), body.encode_to_vec().into());
        let push = Push { account: account.clone(), except_caller, packet: packet.encode() };
        self.inner.pushes.lock().unwrap_or_else(PoisonError::into_inner).push(push);
    }

    pub(crate) fn take_pushes(&self) -> Vec<Push> {
        std::mem::take(&mut self.inner.pushes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
