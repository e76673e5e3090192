//! People with devices on two gateways, and what they ask for and hear.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use imago_proto::{
    LogicPacket, Status, command, link,
    msg::{
        Cursor, ErrorResp, GroupCreateReq, GroupCreateResp, GroupGetReq, GroupGetResp,
        GroupJoinReq, GroupQuitReq, MessageAckReq, MessageReq, MessageResp, SyncReq, SyncResp,
    },
};
use prost::Message;

use super::text;
use crate::{
    GroupRules, WorkLimits, handlers,
    store::sqlite::{SqliteOptions, SqliteStore},
    support::{Broken, World, gateway, session},
};

/// A session: its gateway, and its number there.
pub(super) type Device = (&'static str, u64);

pub(super) const ANN: Device = ("a", 1);
pub(super) const ANN_PHONE: Device = ("a", 2);
pub(super) const BOB: Device = ("a", 3);
/// The same number as another session has on the other gateway.
pub(super) const BOB_PHONE: Device = ("b", 2);
pub(super) const CID: Device = ("b", 9);
/// In no group, unless a test says so.
pub(super) const DAN: Device = ("b", 10);
/// Accounts of another app, with names that this app has too.
pub(super) const OTHER_ANN: Device = ("a", 20);
pub(super) const OTHER_BOB: Device = ("b", 21);

/// A push: gateway, sessions, packet.
pub(super) type Pushed = (String, Vec<u64>, LogicPacket);

pub(super) struct Scene {
    pub(super) world: World,
    heard: AtomicUsize,
}

fn of_other_app(session: link::Session) -> link::Session {
    link::Session { app: "other".to_owned(), ..session }
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::ruled(GroupRules { members_max: 10_000, open_talk: false })
    }

    pub(super) fn ruled(groups: GroupRules) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&SqliteOptions::new(folder.path().join("imago.db"))).unwrap();
        let (router, limits) = (handlers::router(), WorkLimits::default());
        Self::of(World::ruled(Arc::new(store), folder, router, limits, groups))
    }

    /// Creates a scene whose store fails every call.
    pub(super) fn broken() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::of(World::on(
            Arc::<Broken>::default(),
            folder,
            handlers::router(),
            WorkLimits::default(),
        ))
    }

    fn of(world: World) -> Self {
        let on_a = [
            session(ANN.1, "ann", ""),
            session(ANN_PHONE.1, "ann", "phone"),
            session(BOB.1, "bob", ""),
            of_other_app(session(OTHER_ANN.1, "ann", "")),
        ];
        let on_b = [
            session(BOB_PHONE.1, "bob", "phone"),
            session(CID.1, "cid", ""),
            session(DAN.1, "dan", ""),
            of_other_app(session(OTHER_BOB.1, "bob", "")),
        ];
        world.link(&gateway("a"), &on_a);
        world.link(&gateway("b"), &on_b);
        Self { world, heard: AtomicUsize::new(0) }
    }

    /// Returns the answer to a raw body.
    pub(super) async fn raw(
        &self,
        (at, number): Device,
        command: &str,
        dest: &str,
        body: Bytes,
    ) -> LogicPacket {
        let request = self.world.forward((&gateway(at), number), command, dest, body);
        self.world.answer(request).await
    }

    /// Sends a request that must succeed.
    pub(super) async fn ask<Resp: Message + Default>(
        &self,
        who: Device,
        command: &str,
        dest: &str,
        body: &impl Message,
    ) -> Resp {
        let answer = self.raw(who, command, dest, body.encode_to_vec().into()).await;
        assert_eq!(answer.header.status, Status::Success.code(), "{answer:?}");
        assert_eq!((answer.header.command.as_str(), answer.header.flag), (command, 1));
        Resp::decode(answer.body).unwrap()
    }

    /// Sends a request that must be refused, and must not be pushed.
    pub(super) async fn refused(
        &self,
        who: Device,
        command: &str,
        dest: &str,
        body: &impl Message,
    ) -> (Status, String) {
        self.pushes().await;
        let answer = self.raw(who, command, dest, body.encode_to_vec().into()).await;
        let status = Status::from_code(answer.header.status).unwrap();
        assert_ne!(status, Status::Success, "{command} is not refused");
        assert!(self.pushes().await.is_empty(), "a refused {command} was pushed");
        (status, ErrorResp::decode(answer.body).unwrap().message)
    }

    /// A group of these, and of who makes it; its members have heard of it.
    pub(super) async fn group(&self, owner: Device, members: &[&str]) -> String {
        let new = GroupCreateReq { members: strings(members), ..GroupCreateReq::default() };
        let made: GroupCreateResp = self.ask(owner, command::CHAT_GROUP_CREATE, "", &new).await;
        self.pushes().await;
        made.group_id
    }

    pub(super) async fn join(&self, caller: Device, account: &str, group: &str) {
        let change = joining(account, group);
        let () = self.ask(caller, command::CHAT_GROUP_JOIN, "", &change).await;
    }

    pub(super) async fn quit(&self, caller: Device, account: &str, group: &str) {
        let change = quitting(account, group);
        let () = self.ask(caller, command::CHAT_GROUP_QUIT, "", &change).await;
    }

    /// Sends a text to a group.
    pub(super) async fn say(&self, who: Device, group: &str, body: &str) -> MessageResp {
        self.ask(who, command::CHAT_GROUP_TALK, group, &text(body)).await
    }

    /// Sends a text to an account.
    pub(super) async fn tell(&self, who: Device, account: &str, body: &str) -> MessageResp {
        self.ask(who, command::CHAT_USER_TALK, account, &text(body)).await
    }

    pub(super) async fn sync(&self, who: Device, cursors: &[Cursor], limit: u32) -> SyncResp {
        let asked = SyncReq { cursors: cursors.to_vec(), limit };
        self.ask(who, command::CHAT_SYNC, "", &asked).await
    }

    pub(super) async fn acknowledge(&self, who: Device, message_id: i64, cursors: &[Cursor]) {
        let ack = MessageAckReq { message_id, cursors: cursors.to_vec() };
        let () = self.ask(who, command::CHAT_TALK_ACK, "", &ack).await;
    }

    pub(super) async fn detail(&self, who: Device, group: &str) -> GroupGetResp {
        let asked = GroupGetReq { group_id: group.to_owned(), skip: 0 };
        self.ask(who, command::CHAT_GROUP_DETAIL, "", &asked).await
    }

    /// Returns the members of a group, in the order of joining.
    pub(super) async fn members(&self, who: Device, group: &str) -> Vec<String> {
        let asked = GroupGetReq { group_id: group.to_owned(), skip: 0 };
        let found: GroupGetResp = self.ask(who, command::CHAT_GROUP_MEMBERS, "", &asked).await;
        found.members.into_iter().map(|member| member.account).collect()
    }

    /// Returns what was pushed since the last call, sorted by gateway and sessions.
    pub(super) async fn pushes(&self) -> Vec<Pushed> {
        let all = self.world.pushes().await;
        let heard = self.heard.swap(all.len(), Ordering::SeqCst);
        let mut new = all[heard..].to_vec();
        new.sort_by_key(|(to, sessions, _)| (to.clone(), sessions.clone()));
        new
    }

    /// Asserts that just these devices hear of something, in one frame for each gateway, under
    /// this command and destination. Gives the one body.
    pub(super) async fn heard_by<Body: Message + Default + PartialEq>(
        &self,
        devices: &[Device],
        command: &str,
        dest: &str,
    ) -> Body {
        let pushes = self.pushes().await;
        let to: Vec<_> = pushes.iter().map(|(to, some, _)| (to.as_str(), some.clone())).collect();
        assert_eq!(to, frames(devices));
        let mut bodies = pushes.into_iter().map(|(_, _, packet)| {
            let header = &packet.header;
            let seen = (header.command.as_str(), header.dest.as_str(), header.flag, header.status);
            assert_eq!(seen, (command, dest, 2, 0));
            Body::decode(packet.body).unwrap()
        });
        let body = bodies.next().expect("it was not pushed");
        assert!(bodies.all(|other| other == body), "not all hear the same");
        body
    }
}

/// Returns one frame for each gateway, with its sessions.
fn frames(devices: &[Device]) -> Vec<(&'static str, Vec<u64>)> {
    let mut frames: Vec<(&'static str, Vec<u64>)> = Vec::new();
    let mut devices = devices.to_vec();
    devices.sort_unstable();
    for (gateway, number) in devices {
        match frames.last_mut() {
            Some((last, sessions)) if *last == gateway => sessions.push(number),
            _ => frames.push((gateway, vec![number])),
        }
    }
    frames
}

pub(super) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub(super) fn joining(account: &str, group: &str) -> GroupJoinReq {
    let (account, group_id) = (account.to_owned(), group.to_owned());
    GroupJoinReq { account, group_id, ..GroupJoinReq::default() }
}

pub(super) fn quitting(account: &str, group: &str) -> GroupQuitReq {
    let (account, group_id) = (account.to_owned(), group.to_owned());
    GroupQuitReq { account, group_id, ..GroupQuitReq::default() }
}

/// Creates a text with the client's own id.
pub(super) fn keyed(body: &str, key: &str) -> MessageReq {
    MessageReq { client_message_id: key.to_owned(), ..text(body) }
}

pub(super) fn cursor(conversation: &str, seq: u64) -> Cursor {
    Cursor { conversation: conversation.to_owned(), seq }
}

/// Returns the bodies of the messages of an answer.
pub(super) fn bodies(messages: &[imago_proto::msg::MessagePush]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_str()).collect()
}
