//! Pushes again what a gateway's sessions have not acknowledged, after something broke.

use std::sync::Arc;

use dashmap::{DashMap, mapref::entry::Entry};
use imago_container::{LogicHandle, PeerId};
use imago_proto::{LogicPacket, command, msg::MessagePush};
use prost::Message;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Replicated, Session, metrics,
    store::{MessageStore, Stored},
};

/// Messages older than a session by more than this are not pushed: its client fetches them when it
/// logs in. The slack covers clocks of gateways and logic servers that differ.
const SLACK_NANOS: i64 = 60_000_000_000;
/// Messages read at a time.
const PAGE: usize = 200;
/// Messages pushed to one session in one go; the rest shows up as a gap, which its client fetches.
const SESSION_MAX: usize = 10_000;

/// Redelivers for one gateway at a time.
#[derive(Clone)]
pub(super) struct Redelivery {
    handle: LogicHandle,
    directory: Arc<Replicated>,
    store: Arc<dyn MessageStore>,
    /// Gateways being served, and whether they asked again meanwhile.
    running: Arc<DashMap<PeerId, bool>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Redelivery {
    pub(super) fn new(
        handle: LogicHandle,
        directory: Arc<Replicated>,
        store: Arc<dyn MessageStore>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self { handle, directory, store, running: Arc::default(), tasks, stop }
    }

    /// Starts a run for a gateway, or has one more run follow the present one.
    pub(super) fn ask(&self, gateway: &PeerId) {
        match self.running.entry(gateway.clone()) {
            Entry::Occupied(mut again) => {
                again.insert(true);
            }
            Entry::Vacant(entry) => {
                entry.insert(false);
                let (redelivery, gateway) = (self.clone(), gateway.clone());
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = redelivery.run(&gateway) => {}
                        () = redelivery.stop.cancelled() => {}
                    }
                });
            }
        }
    }

    async fn run(&self, gateway: &PeerId) {
        loop {
            let mut messages = 0;
            for session in self.directory.sessions_of(gateway) {
                messages += self.redeliver(&session).await;
            }
            metrics::redelivered(messages);
            tracing::info!(%gateway, messages, "redelivered");
            if self.running.remove_if(gateway, |_, again| !*again).is_some() {
                return;
            }
            self.running.insert(gateway.clone(), false);
        }
    }

    async fn redeliver(&self, session: &Session) -> usize {
        let since = session.login_time.saturating_sub(SLACK_NANOS);
        let (mut past, mut pushed) = (0, 0);
        while pushed < SESSION_MAX {
            let unread =
                self.store.unread_since(&session.app, &session.account, since, past, PAGE).await;
            let unread = match unread {
                Ok(unread) => unread,
                Err(error) => {
                    tracing::warn!(%error, "cannot read what to redeliver");
                    return pushed;
                }
            };
            let Some(last) = unread.last() else { return pushed };
            past = last.message_id;
            pushed += unread.len();
            for message in unread {
                self.push(session, message);
            }
        }
        pushed
    }

    fn push(&self, session: &Session, message: Stored) {
        let push = MessagePush {
            message_id: message.message_id,
            r#type: message.content.kind,
            body: message.content.body,
            extra: message.content.extra,
            sender: message.sender.to_string(),
            send_time: message.send_time,
            conversation: message.conversation.to_string(),
            seq: message.seq.0,
            peer: String::new(),
        };
        let dest = session.account.as_str();
        let packet = LogicPacket::push(command::CHAT_USER_TALK, dest, push.encode_to_vec().into());
        self.handle.push(&session.gateway, vec![session.id.0], packet.encode());
    }
}
