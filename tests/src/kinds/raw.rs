//! Devices that speak on the wire themselves: naive ones, and those of old.

use std::{collections::HashMap, io, time::Duration};

use bytes::Bytes;
use imago_proto::{
    LogicPacket, Packet, command,
    msg::{
        ErrorResp, Flag, MessageAckReq, MessageContentReq, MessageContentResp, MessageIndexReq,
        MessageIndexResp, MessagePush, MessageReq, MessageResp,
    },
};
use prost::Message;
use rand::RngExt;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    Kind, Order, Spec, To,
    catch_up::{CatchUp, Wish},
    connection::Connection,
};
use crate::{Arrival, Chronicle, DeviceId, Ending};

/// Pause before it connects again, in milliseconds: at random, as many are lost at once.
const PAUSES: std::ops::Range<u64> = 50..400;
/// Pings of clients of old come every 10 to 55 s; what is lost silently is to be noticed in a test.
const PING: Duration = Duration::from_secs(5);
/// Silence after which a connection counts as lost. Longer than a gateway is frozen for.
const SILENCE: Duration = Duration::from_secs(60);
/// How often one that acknowledges nothing looks whether there is something to do.
const IDLE: Duration = Duration::from_secs(1);

/// What an answer is to.
enum Asked {
    Talk(u64, oneshot::Sender<Ending>),
    Index,
    Contents,
    Ack,
}

/// A device with its present connection.
struct Life<'a> {
    id: DeviceId,
    chronicle: &'a Chronicle,
    is_old: bool,
    connection: Connection,
    catch_up: &'a mut CatchUp,
    sequence: u32,
    asked: HashMap<u32, Asked>,
    /// Id of the message that came last, and of the one that was acknowledged last.
    newest: i64,
    acked: i64,
}

/// Lives until it is dropped.
pub(super) async fn live(
    spec: Spec,
    token: String,
    id: DeviceId,
    chronicle: &Chronicle,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut catch_up = CatchUp::default();
    let is_old = matches!(spec.kind, Kind::Old(_));
    for door in spec.doors.iter().cycle() {
        let opened = Connection::open(door, spec.transport, &token).await;
        if let Ok(connection) = opened {
            catch_up.logged_in();
            chronicle.logs_in(id);
            let mut life = Life {
                id,
                chronicle,
                is_old,
                connection,
                catch_up: &mut catch_up,
                sequence: 1,
                asked: HashMap::new(),
                newest: 0,
                acked: 0,
            };
            // How it ended does not matter to who connects again.
            let _ = life.run(spec.kind, &mut orders).await;
            life.ends();
        }
        let pause = rand::rng().random_range(PAUSES);
        sleep(Duration::from_millis(pause)).await;
    }
}

impl Life<'_> {
    /// Runs until the connection ends.
    async fn run(&mut self, kind: Kind, orders: &mut mpsc::Receiver<Order>) -> io::Result<()> {
        let pause = if let Kind::Old(pause) = kind { pause } else { IDLE };
        let (mut tick, mut ping) = (interval(pause), interval(PING));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                packet = self.connection.next() => {
                    heard = Instant::now();
                    if let Packet::Logic(packet) = packet? {
                        self.packet(packet).await?;
                    }
                }
                Some(order) = orders.recv() => self.order(order).await?,
                _ = tick.tick() => self.tick().await?,
                _ = ping.tick() => self.connection.ping().await?,
                () = sleep_until(heard + SILENCE) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    async fn ask(
        &mut self,
        command: &str,
        dest: &str,
        body: &impl Message,
        asked: Asked,
    ) -> io::Result<()> {
        self.sequence += 1;
        self.asked.insert(self.sequence, asked);
        self.connection.request(command, self.sequence, dest, body).await
    }

    async fn order(&mut self, order: Order) -> io::Result<()> {
        let Order { to, number, body, ended } = order;
        let (command, dest) = match &to {
            To::Account(name) => (command::CHAT_USER_TALK, name),
            To::Group(name) => (command::CHAT_GROUP_TALK, name),
        };
        let talk = MessageReq { r#type: 1, body, ..MessageReq::default() };
        self.ask(command, dest, &talk, Asked::Talk(number, ended)).await
    }

    async fn tick(&mut self) -> io::Result<()> {
        if !self.is_old {
            return Ok(());
        }
        if self.newest != self.acked {
            self.acked = self.newest;
            let ack = MessageAckReq { message_id: self.newest, ..MessageAckReq::default() };
            self.ask(command::CHAT_TALK_ACK, "", &ack, Asked::Ack).await?;
        }
        // Also what was answered with an error.
        self.wish().await
    }

    async fn wish(&mut self) -> io::Result<()> {
        match self.is_old.then(|| self.catch_up.wish()).flatten() {
            None => Ok(()),
            Some(Wish::Index(message_id)) => {
                let index = MessageIndexReq { message_id };
                self.ask(command::CHAT_OFFLINE_INDEX, "", &index, Asked::Index).await
            }
            Some(Wish::Contents(message_ids)) => {
                let contents = MessageContentReq { message_ids };
                self.ask(command::CHAT_OFFLINE_CONTENT, "", &contents, Asked::Contents).await
            }
        }
    }

    async fn packet(&mut self, packet: LogicPacket) -> io::Result<()> {
        let LogicPacket { header, body } = packet;
        if header.flag() == Flag::Push {
            let talks = [command::CHAT_USER_TALK, command::CHAT_GROUP_TALK];
            if talks.contains(&header.command.as_str()) {
                self.push(body);
            }
            return Ok(());
        }
        let Some(asked) = self.asked.remove(&header.sequence) else {
            self.chronicle.faults(self.id, "an answer to nothing, or a second one");
            return Ok(());
        };
        match asked {
            Asked::Talk(number, ended) => {
                let ending = ending(header.status, body);
                self.chronicle.ends(self.id, number, ending.clone());
                // The one who ordered it may not wait.
                let _ = ended.send(ending);
            }
            Asked::Index => {
                let entries = decoded(header.status, body);
                let is_fine = entries.is_some();
                self.catch_up.indexed(entries.map(|answer: MessageIndexResp| answer.indexes));
                if is_fine {
                    self.wish().await?;
                }
            }
            Asked::Contents => {
                let contents = decoded(header.status, body);
                let contents = contents.map(|answer: MessageContentResp| answer.contents);
                let is_fine = contents.is_some();
                for (index, content) in self.catch_up.fetched(contents) {
                    let (conversation, seq) = (index.conversation, index.seq);
                    let body = content.body;
                    self.chronicle.arrives(self.id, Arrival { conversation, seq, body });
                }
                if is_fine {
                    self.wish().await?;
                }
            }
            Asked::Ack => {}
        }
        // "Log in again."
        if header.status == 404 { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }

    fn push(&mut self, body: Bytes) {
        let Ok(push) = MessagePush::decode(body) else {
            return self.chronicle.faults(self.id, "a push that does not decode");
        };
        self.newest = push.message_id;
        self.catch_up.pushed(push.message_id);
        let MessagePush { conversation, seq, body, .. } = push;
        self.chronicle.arrives(self.id, Arrival { conversation, seq, body });
    }

    /// What was not answered will not be.
    fn ends(&mut self) {
        self.chronicle.loses(self.id);
        for asked in self.asked.drain().map(|(_, asked)| asked) {
            if let Asked::Talk(number, ended) = asked {
                self.chronicle.ends(self.id, number, Ending::Lost);
                let _ = ended.send(Ending::Lost);
            }
        }
    }
}

fn ending(status: u32, body: Bytes) -> Ending {
    if status != 0 {
        let why = ErrorResp::decode(body).unwrap_or_default().message;
        return Ending::Refused(format!("{status} {why}"));
    }
    match MessageResp::decode(body) {
        Ok(MessageResp { conversation, seq, .. }) => Ending::Accepted { conversation, seq },
        Err(error) => Ending::Refused(format!("answered, but {error}")),
    }
}

fn decoded<A: Message + Default>(status: u32, body: Bytes) -> Option<A> {
    (status == 0).then(|| A::decode(body).ok()).flatten()
}
