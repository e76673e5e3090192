//! Events of the account's groups.

use imago_proto::{
    Account, GroupId, LogicPacket, command,
    msg::{GroupCreateNotify, GroupJoinNotify, GroupQuitNotify},
};
use prost::Message;
use tokio::sync::broadcast::{self, error::RecvError};

/// Something happened to a group of the client's account. An event is a hint to look again: one may come
/// twice, and what happens while the client is away is not told later.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A group was created, with the client's account in it.
    GroupCreated {
        /// Its id.
        group: GroupId,
        /// Its members.
        members: Vec<Account>,
    },
    /// An account, perhaps the client's own, has joined a group.
    GroupJoined {
        /// Its id.
        group: GroupId,
        /// The account.
        account: Account,
    },
    /// An account, perhaps the client's own, has left a group.
    GroupLeft {
        /// Its id.
        group: GroupId,
        /// The account.
        account: Account,
    },
    /// This number of events was dropped, because the application did not take them in time.
    Missed(u64),
}

impl Event {
    /// The event that a push tells of, if it tells of one.
    pub(crate) fn of(push: &LogicPacket) -> Option<Self> {
        let body = push.body.clone();
        match push.header.command.as_str() {
            command::CHAT_GROUP_CREATE => {
                let GroupCreateNotify { group_id, members } = Message::decode(body).ok()?;
                let members = members.into_iter().map(Account::from).collect();
                Some(Self::GroupCreated { group: group_id.into(), members })
            }
            command::CHAT_GROUP_JOIN => {
                let GroupJoinNotify { group_id, account } = Message::decode(body).ok()?;
                Some(Self::GroupJoined { group: group_id.into(), account: account.into() })
            }
            command::CHAT_GROUP_QUIT => {
                let GroupQuitNotify { group_id, account } = Message::decode(body).ok()?;
                Some(Self::GroupLeft { group: group_id.into(), account: account.into() })
            }
            _ => None,
        }
    }
}

/// The events from the moment on that this was made. See [`Client::events`](crate::Client::events).
#[derive(Debug)]
pub struct Events {
    queue: broadcast::Receiver<Event>,
}

impl Events {
    pub(crate) fn new(queue: broadcast::Receiver<Event>) -> Self {
        Self { queue }
    }

    /// The next event; `None` when the client is closed. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.queue.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}
