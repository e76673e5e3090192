//! A client that is cut off now and then, comes back, and misses nothing.

use std::{convert::Infallible, future::pending, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use imago_proto::{
    LogicPacket, Status, command,
    msg::{MessageAckReq, MessagePush, MessageReq, MessageResp, SyncReq, SyncResp},
};
use prost::Message;
use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    counts::{Counts, Way},
    got::{Got, Taken},
    handle::Handle,
};
use crate::{
    client::{
        connect::{Connection, pauses},
        failure::Ended,
        outbox::{IsSent, Outbox, sequence},
        pace::Pacer,
        positions::Positions,
        talker::{Sending, message, request},
        wire::{self, Reader, Writer, is_push},
    },
    measure::{run::Run, seen::Tally, stamp::Stamp},
};

/// Messages after which a receiver acknowledges.
const ACK_EVERY: u64 = 200;
/// Messages in a page that is asked for: as many as there may be.
const PAGE: u32 = 500;
/// How long what is on its way has to arrive after the end: more than without cuts, because what was
/// sent again makes a queue.
const GRACE: Duration = Duration::from_secs(60);
/// How long a client waits before it sends again what was refused for now.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client tries to come back.
const PATIENCE: Duration = Duration::from_secs(30);

/// One client.
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) run: Arc<Run>,
    pub(super) counts: Arc<Counts>,
    pub(super) url: String,
    pub(super) token: String,
    pub(super) account: String,
    pub(super) sending: Sending,
    pub(super) away: Duration,
    pub(super) handle: Arc<Handle>,
}

/// The way to the gateway, while there is one.
struct Line {
    writer: Writer,
    cut: CancellationToken,
}

/// What outlives a connection, shared by sending and receiving.
#[derive(Default)]
struct Sent {
    outbox: Outbox,
    line: AsyncMutex<Option<Line>>,
}

/// Why a client reads no further.
enum End {
    /// The run is over, and everything has arrived.
    Over,
    /// It was cut off by us.
    Cut,
    /// Or not by us.
    Lost(String),
}

// === impl Client ===

impl Client {
    /// Takes part until the run is over and everything has arrived.
    pub(super) async fn run(self, connection: Connection) -> anyhow::Result<Tally> {
        let (sent, room) = (Sent::default(), Semaphore::new(0));
        let ((), tally) =
            tokio::try_join!(self.send(&sent, &room), self.live(connection, &sent, &room))?;
        Ok(tally)
    }

    async fn send(&self, sent: &Sent, room: &Semaphore) -> anyhow::Result<()> {
        let mut pacer = Pacer::new(self.sending.pace, self.number, &self.run, room);
        while let Some((message, due)) = pacer.next().await? {
            let stamp = Stamp { sender: self.number, number: message, due };
            // Who comes back sends all that is in the outbox: it goes in while none does.
            let mut line = sent.line.lock().await;
            let is_sent = if line.is_some() { IsSent::Now } else { IsSent::Later };
            sent.outbox.add(stamp, is_sent);
            if let Some(Line { writer, cut }) = line.as_mut() {
                tokio::select! {
                    // Where it fails, the reader notices as well.
                    _ = writer.send([self.talk(stamp)]) => {}
                    () = cut.cancelled() => {}
                }
            }
        }
        Ok(())
    }

    /// Receives over one connection after the other.
    async fn live(
        &self,
        mut connection: Connection,
        sent: &Sent,
        room: &Semaphore,
    ) -> anyhow::Result<Tally> {
        let mut got = Got::default();
        let mut ended = pin!(self.run.ended_within(GRACE));
        loop {
            let cut = CancellationToken::new();
            self.handle.set(Some(cut.clone()));
            let end = tokio::select! {
                biased;
                end = self.connected(connection, sent, room, &mut got, &cut) => end?,
                () = &mut ended => End::Over,
            };
            self.handle.set(None);
            // Lets go of the line, should it be sending.
            cut.cancel();
            sent.line.lock().await.take();
            match end {
                End::Over => return Ok(Tally { again: got.seen.again, late: got.seen.late }),
                End::Cut => sleep(self.away).await,
                End::Lost(why) => self.counts.failed(why),
            }
            connection = self.come_back().await?;
        }
    }

    async fn come_back(&self) -> anyhow::Result<Connection> {
        let begun = Instant::now();
        let mut pauses = pauses();
        loop {
            let tried = Instant::now();
            match wire::connect(&self.url, &self.token).await {
                Ok(connection) => {
                    self.counts.reconnected(tried.elapsed());
                    return Ok(connection);
                }
                Err(not_in) if begun.elapsed() > PATIENCE => {
                    return Err(not_in).with_context(|| format!("not back within {PATIENCE:?}"));
                }
                Err(not_in) => self.counts.failed(not_in.failure),
            }
            sleep(pauses.next_delay()).await;
        }
    }

    /// Fetches what was missed, sends again what has no answer, and goes on.
    async fn connected(
        &self,
        (mut reader, writer): Connection,
        sent: &Sent,
        room: &Semaphore,
        got: &mut Got,
        cut: &CancellationToken,
    ) -> anyhow::Result<End> {
        let sync = sync_request(&got.positions);
        // Both at once: a client that does not read may not be read either.
        let begin = async {
            let mut line = sent.line.lock().await;
            let mut writer = writer;
            let mut packets = vec![sync];
            for waiting in sent.outbox.send_all() {
                if waiting.was_sent {
                    self.counts.repeated();
                }
                packets.push(self.talk(waiting.stamp));
            }
            if writer.send(packets).await.is_ok() {
                *line = Some(Line { writer, cut: cut.clone() });
            }
            drop(line);
            pending::<Infallible>().await
        };
        tokio::select! {
            end = self.read(&mut reader, sent, room, got) => end,
            () = cut.cancelled() => Ok(End::Cut),
            never = begin => match never {},
        }
    }

    async fn read(
        &self,
        reader: &mut Reader,
        sent: &Sent,
        room: &Semaphore,
        got: &mut Got,
    ) -> anyhow::Result<End> {
        loop {
            tokio::select! {
                packet = reader.next() => match packet {
                    Ok(packet) if packet.header.status == Status::SessionNotFound.code() => {
                        return Ok(End::Lost("status 404: the session is not known".to_owned()));
                    }
                    Ok(packet) => self.on(packet, sent, room, got).await?,
                    Err(Ended::Wrong(why)) => bail!("the gateway sent what is no packet: {why}"),
                    Err(ended) => return Ok(End::Lost(ended.to_string())),
                },
                () = until(got.again_at) => self.try_again(sent, got).await,
            }
        }
    }

    /// Sends again what was refused for now.
    async fn try_again(&self, sent: &Sent, got: &mut Got) {
        let mut packets = Vec::new();
        got.again_at = None;
        if std::mem::take(&mut got.sync_again) {
            packets.push(sync_request(&got.positions));
        }
        for sequence in got.again.drain(..) {
            if let Some(stamp) = sent.outbox.get(sequence) {
                self.counts.repeated();
                packets.push(self.talk(stamp));
            }
        }
        if !packets.is_empty() {
            put(sent, packets).await;
        }
    }

    async fn on(
        &self,
        packet: LogicPacket,
        sent: &Sent,
        room: &Semaphore,
        got: &mut Got,
    ) -> anyhow::Result<()> {
        let header = &packet.header;
        if is_push(&packet) {
            if header.command == command::CHAT_USER_TALK {
                let push = MessagePush::decode(packet.body)?;
                self.got(&push, Way::Push, got)?;
                self.acknowledge(sent, got).await;
            }
            return Ok(());
        }
        let is_later = [Status::SystemException, Status::ServiceNotFound]
            .map(Status::code)
            .contains(&header.status);
        if is_later {
            got.again_at.get_or_insert_with(|| Instant::now() + PAUSE);
        }
        match header.command.as_str() {
            command::CHAT_USER_TALK if is_later => got.again.push(header.sequence),
            command::CHAT_USER_TALK => self.answered(packet, sent, room, got)?,
            command::CHAT_SYNC if is_later => got.sync_again = true,
            command::CHAT_SYNC => self.synced(packet, sent, got).await?,
            _ => {}
        }
        Ok(())
    }

    fn answered(
        &self,
        packet: LogicPacket,
        sent: &Sent,
        room: &Semaphore,
        got: &mut Got,
    ) -> anyhow::Result<()> {
        let Some(stamp) = sent.outbox.answered(packet.header.sequence) else { return Ok(()) };
        let status = packet.header.status;
        self.run.answered(self.number, stamp.due, status);
        room.add_permits(1);
        if status == Status::Success.code() {
            let stored = MessageResp::decode(packet.body)?;
            got.positions.know(&stored.conversation, stored.seq);
        }
        Ok(())
    }

    async fn synced(&self, packet: LogicPacket, sent: &Sent, got: &mut Got) -> anyhow::Result<()> {
        if packet.header.status != Status::Success.code() {
            bail!("{} was refused with status {}", command::CHAT_SYNC, packet.header.status);
        }
        let SyncResp { messages, more } = SyncResp::decode(packet.body)?;
        for message in &messages {
            self.got(message, Way::Sync, got)?;
        }
        got.positions.page(&messages);
        if more {
            put(sent, vec![sync_request(&got.positions)]).await;
        }
        Ok(())
    }

    /// A message came.
    fn got(&self, push: &MessagePush, way: Way, got: &mut Got) -> anyhow::Result<()> {
        match got.take(push, &self.account, &self.run.mark)? {
            Taken::New(stamp) => {
                self.run.delivered(self.number, stamp.due);
                self.counts.came(way);
            }
            Taken::Twice => self.counts.twice(),
            Taken::Known => {}
        }
        Ok(())
    }

    async fn acknowledge(&self, sent: &Sent, got: &Got) {
        if got.received > 0 && got.received.is_multiple_of(ACK_EVERY) {
            let ack = MessageAckReq { message_id: 0, cursors: got.positions.cursors() };
            put(sent, vec![request(command::CHAT_TALK_ACK, 0, "", &ack)]).await;
        }
    }

    fn talk(&self, stamp: Stamp) -> Bytes {
        let mark = &self.run.mark;
        let talk = MessageReq {
            client_message_id: format!("{mark}-{}", stamp.number),
            ..message(stamp.body(self.sending.size), mark)
        };
        request(self.sending.command, sequence(stamp), &self.sending.dest, &talk)
    }
}

/// Sends, where there is a line and nothing else is sent. What is lost is made up for at the next
/// login.
async fn put(sent: &Sent, packets: Vec<Bytes>) {
    if let Some(Line { writer, cut }) = sent.line.lock().await.as_mut() {
        tokio::select! {
            _ = writer.send(packets) => {}
            () = cut.cancelled() => {}
        }
    }
}

fn sync_request(positions: &Positions) -> Bytes {
    let sync = SyncReq { cursors: positions.cursors(), limit: PAGE };
    request(command::CHAT_SYNC, 0, "", &sync)
}

/// Resolves then, or never.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
