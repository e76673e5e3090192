//! Logic servers whose message store can be read but not written: what is durable is answered, what
//! would have to be stored is refused, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use imago_proto::{
    LogicPacket, command,
    msg::{
        ConversationsReq, ConversationsResp, Cursor, ErrorResp, GroupCreateReq, GroupCreateResp,
        GroupGetReq, GroupGetResp, HistoryReq, HistoryResp, MessageAckReq, MessageContentReq,
        MessageContentResp, MessageIndexReq, MessageIndexResp, MessagePush, MessageReq, SyncReq,
        SyncResp,
    },
};
use imago_tests::{PostgresServer, RawClient, Server, SmallDisk, World, eventually};
use prost::Message;

/// How long a client waits for an answer that needs no commit.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Messages that bob has not acknowledged.
const MESSAGES: usize = 5;

/// A client that passes over pushes.
struct Caller {
    client: RawClient,
    sequence: u32,
}

impl Caller {
    async fn login(world: &World, gateway: &Server, account: &str) -> Self {
        Self { client: RawClient::login(gateway, &world.token(account)).await, sequence: 1 }
    }

    async fn call(&mut self, command: &str, dest: &str, body: &impl Message) -> LogicPacket {
        self.sequence += 1;
        let started = Instant::now();
        self.client.request(command, self.sequence, dest, body).await;
        loop {
            let answer = self.client.packet().await;
            if answer.header.sequence == self.sequence {
                assert!(started.elapsed() < AT_ONCE, "{command} took {:?}", started.elapsed());
                return answer;
            }
        }
    }

    async fn reads<T: Message + Default>(&mut self, command: &str, body: &impl Message) -> T {
        let answer = self.call(command, "", body).await;
        assert_eq!(answer.header.status, 0, "{command}: {}", why(&answer));
        T::decode(answer.body).unwrap()
    }

    async fn is_refused(&mut self, command: &str, dest: &str, body: &impl Message) {
        let answer = self.call(command, dest, body).await;
        assert_eq!(answer.header.status, 300, "{command}");
        let why = why(&answer);
        assert!(why.contains("message store") || why.contains("busy"), "{command}: {why}");
    }
}

fn why(answer: &LogicPacket) -> String {
    ErrorResp::decode(answer.body.clone()).unwrap_or_default().message
}

fn text(body: &str) -> MessageReq {
    MessageReq { r#type: 1, body: body.to_owned(), ..MessageReq::default() }
}

/// A cluster with one logic server, in which ann has talked to bob.
struct Scene {
    world: World,
    logic: Server,
    gateway: Server,
    ann: Caller,
    group: String,
}

impl Scene {
    async fn begin(store: &str) -> Self {
        let world = World::gossip().await;
        let logic = world.logic("logic-1", &[("store.url", store)]).await;
        let gateway = world.gateway("gateway-1", &[]).await;
        logic.ready().await;
        gateway.ready().await;
        let mut ann = Caller::login(&world, &gateway, "ann").await;
        let new = GroupCreateReq {
            name: "team".to_owned(),
            members: vec!["bob".to_owned()],
            ..GroupCreateReq::default()
        };
        let made: GroupCreateResp = ann.reads(command::CHAT_GROUP_CREATE, &new).await;
        for number in 0..MESSAGES {
            let body = text(&format!("message {number}"));
            let answer = ann.call(command::CHAT_USER_TALK, "bob", &body).await;
            assert_eq!(answer.header.status, 0, "{}", why(&answer));
        }
        Self { world, logic, gateway, ann, group: made.group_id }
    }

    async fn is(&self, state: &str) {
        let what = format!("logic-1 is {state}");
        eventually(Duration::from_secs(20), &what, || async {
            let peers = self.gateway.monitor().peers().await.ok()?.peers;
            peers.iter().any(|peer| peer.state == state).then_some(())
        })
        .await;
    }

    /// What ann and bob can do while nothing can be stored.
    async fn reads_are_answered_and_writes_refused(&mut self) {
        self.ann.is_refused(command::CHAT_USER_TALK, "bob", &text("lost")).await;
        let mut bob = Caller::login(&self.world, &self.gateway, "bob").await;
        let synced: SyncResp = bob.reads(command::CHAT_SYNC, &SyncReq::default()).await;
        assert_eq!(bodies(&synced.messages), MESSAGES);
        let index = MessageIndexReq::default();
        let listed: MessageIndexResp = bob.reads(command::CHAT_OFFLINE_INDEX, &index).await;
        assert_eq!(listed.indexes.len(), MESSAGES);
        let message_ids = listed.indexes.iter().map(|message| message.message_id).collect();
        let wanted = MessageContentReq { message_ids };
        let read: MessageContentResp = bob.reads(command::CHAT_OFFLINE_CONTENT, &wanted).await;
        assert_eq!(read.contents[0].body, "message 0");
        let with_ann = HistoryReq { peer: "ann".to_owned(), ..HistoryReq::default() };
        let history: HistoryResp = bob.reads(command::CHAT_HISTORY, &with_ann).await;
        assert_eq!(bodies(&history.messages), MESSAGES);
        let all = ConversationsReq::default();
        let all: ConversationsResp = bob.reads(command::CHAT_CONVERSATIONS, &all).await;
        assert_eq!(all.conversations.iter().map(|one| one.unread).sum::<u32>(), 5);
        let group = GroupGetReq { group_id: self.group.clone(), skip: 0 };
        let members: GroupGetResp = bob.reads(command::CHAT_GROUP_MEMBERS, &group).await;
        assert_eq!(members.members.len(), 2);

        let conversation = synced.messages[0].conversation.clone();
        let cursors = vec![Cursor { conversation, seq: MESSAGES as u64 }];
        let ack = MessageAckReq { cursors, ..MessageAckReq::default() };
        bob.is_refused(command::CHAT_TALK_ACK, "", &ack).await;
        let again: SyncResp = bob.reads(command::CHAT_SYNC, &SyncReq::default()).await;
        assert_eq!(again, synced, "the cursor is where it was");
    }

    /// What was refused goes through now.
    async fn all_is_well(&mut self) {
        self.logic.ready().await;
        self.is("adult").await;
        let answer = self.ann.call(command::CHAT_USER_TALK, "bob", &text("at last")).await;
        assert_eq!(answer.header.status, 0, "{}", why(&answer));
        let mut bob = Caller::login(&self.world, &self.gateway, "bob").await;
        let synced: SyncResp = bob.reads(command::CHAT_SYNC, &SyncReq::default()).await;
        assert_eq!(synced.messages.len(), MESSAGES + 1);
        assert_eq!(synced.messages[MESSAGES].body, "at last");
        let last = &synced.messages[MESSAGES];
        let cursors = vec![Cursor { conversation: last.conversation.clone(), seq: last.seq }];
        let ack = MessageAckReq { cursors, ..MessageAckReq::default() };
        assert_eq!(bob.call(command::CHAT_TALK_ACK, "", &ack).await.header.status, 0);
        let rest: SyncResp = bob.reads(command::CHAT_SYNC, &SyncReq::default()).await;
        assert_eq!(rest.messages, []);
    }
}

/// How many of these are ann's first ones, in their order.
fn bodies(messages: &[MessagePush]) -> usize {
    let is_next =
        |(number, message): &(usize, &MessagePush)| message.body == format!("message {number}");
    assert!(messages.iter().enumerate().all(|entry| is_next(&entry)), "{messages:?}");
    messages.len()
}

fn sqlite(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("imago.db").display())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_disk_what_is_stored_is_read() {
    let Some(disk) = SmallDisk::mount(8) else { return };
    let mut scene = Scene::begin(&sqlite(disk.folder())).await;
    disk.fill();
    scene.reads_are_answered_and_writes_refused().await;
    scene.is("unfit").await;
    scene.reads_are_answered_and_writes_refused().await;
    let (_, why) = scene.logic.monitor().ready().await.unwrap();
    assert!(why.contains("cannot be written, only read"), "{why}");
    assert!(why.contains("free some space on the disk"), "{why}");
    disk.free();
    scene.all_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_limit_on_file_sizes_what_is_stored_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::begin(&sqlite(folder.path())).await;
    scene.logic.limit_file_size(Some(0));
    scene.reads_are_answered_and_writes_refused().await;
    scene.is("unfit").await;
    scene.reads_are_answered_and_writes_refused().await;
    scene.logic.limit_file_size(None);
    scene.all_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_database_that_takes_no_writes_what_is_stored_is_read() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let database = url.rsplit_once('/').unwrap().1;
    let mut scene = Scene::begin(&url).await;
    let set = |is_on: &'static str| {
        format!("ALTER DATABASE {database} SET default_transaction_read_only = {is_on}")
    };
    let cut = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    server.run_sql("postgres", &set("on")).await;
    server.run_sql("postgres", &cut).await;
    scene.is("unfit").await;
    scene.reads_are_answered_and_writes_refused().await;
    server.run_sql("postgres", &set("off")).await;
    server.run_sql("postgres", &cut).await;
    scene.all_is_well().await;
}
