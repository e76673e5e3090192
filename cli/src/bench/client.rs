//! One client of a run: sends at its pace, and counts what it receives.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use imago_proto::{
    LogicPacket, Status, command,
    msg::{Cursor, MessageAckReq, MessagePush, MessageReq},
};
use prost::Message;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    connect::Connection,
    pace::{LOOK, Pace, Pacer},
    run::Run,
    seen::Seen,
    stamp::Stamp,
    wire::{Reader, Writer, is_push},
};

/// Messages that a receiver acknowledges in one go.
const ACK_EVERY: u64 = 200;
/// How long what is on its way has to arrive after the end.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// What a client sends.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    /// `chat.user.talk` or `chat.group.talk`.
    pub(super) command: &'static str,
    /// Account or group.
    pub(super) dest: String,
    pub(super) pace: Pace,
    /// Bytes of each message's body.
    pub(super) size: usize,
}

/// What one client counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) again: u64,
    pub(super) late: u64,
}

/// A client that takes part in a run.
pub(super) struct Client {
    number: usize,
    run: Arc<Run>,
    reader: Reader,
    /// Shared by messages and acknowledgements.
    writer: Mutex<Writer>,
    /// Room in the window.
    room: Semaphore,
}

impl Client {
    pub(super) fn new(number: usize, run: Arc<Run>, (reader, writer): Connection) -> Self {
        Self { number, run, reader, writer: Mutex::new(writer), room: Semaphore::new(0) }
    }

    /// Takes part until the run is over and everything has arrived.
    pub(super) async fn run(self, sending: Option<Sending>) -> anyhow::Result<Tally> {
        let Self { number, run, mut reader, writer, room } = self;
        let sends = async {
            match &sending {
                Some(sending) => send(number, &run, &writer, &room, sending).await,
                None => Ok(()),
            }
        };
        let receives = receive(number, &run, &mut reader, &writer, &room);
        let ((), tally) = tokio::try_join!(sends, receives)?;
        Ok(tally)
    }
}

async fn send(
    number: usize,
    run: &Run,
    writer: &Mutex<Writer>,
    room: &Semaphore,
    sending: &Sending,
) -> anyhow::Result<()> {
    let mut pacer = Pacer::new(sending.pace, number, run, room);
    while let Some((message, due)) = pacer.next().await? {
        let stamp = Stamp { sender: number, number: message, due };
        writer.lock().await.send([talk(sending, stamp, &run.mark)]).await?;
    }
    Ok(())
}

async fn receive(
    number: usize,
    run: &Run,
    reader: &mut Reader,
    writer: &Mutex<Writer>,
    room: &Semaphore,
) -> anyhow::Result<Tally> {
    let mut seen = Seen::default();
    let mut received = 0_u64;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut give_up = None;
    loop {
        let packet = tokio::select! {
            packet = reader.next() => packet?,
            _ = look.tick() => {
                if run.is_over() {
                    let give_up = *give_up.get_or_insert_with(|| Instant::now() + GRACE);
                    if run.is_settled() || Instant::now() >= give_up {
                        return Ok(Tally { again: seen.again, late: seen.late });
                    }
                }
                continue;
            }
        };
        if is_push(&packet) {
            let Some((push, stamp)) = measured(packet, run)? else { continue };
            if !seen.is_new(stamp.sender, stamp.number) {
                continue;
            }
            run.delivered(number, stamp.due);
            received += 1;
            if received.is_multiple_of(ACK_EVERY) {
                writer.lock().await.send([ack(push.conversation, push.seq)]).await?;
            }
        } else if packet.header.command != command::CHAT_TALK_ACK {
            run.answered(number, due(packet.header.sequence, run), packet.header.status);
            room.add_permits(1);
        }
    }
}

/// A pushed message of this run; other pushes (a group's news, messages of an earlier run) are not
/// counted.
fn measured(packet: LogicPacket, run: &Run) -> anyhow::Result<Option<(MessagePush, Stamp)>> {
    let is_talk = [command::CHAT_USER_TALK, command::CHAT_GROUP_TALK]
        .contains(&packet.header.command.as_str());
    if !is_talk {
        return Ok(None);
    }
    let push = MessagePush::decode(packet.body)?;
    if push.extra != run.mark {
        return Ok(None);
    }
    let stamp = Stamp::read(&push.body).context("a message without a stamp")?;
    Ok(Some((push, stamp)))
}

/// A request's sequence number is when it was due: the low 32 bits of microseconds, which come
/// round after 71 minutes.
fn sequence(due: Duration) -> u32 {
    (due.as_micros() & u128::from(u32::MAX)) as u32
}

fn due(sequence_of: u32, run: &Run) -> Duration {
    let now = run.now();
    let ago = sequence(now).wrapping_sub(sequence_of);
    now.saturating_sub(Duration::from_micros(u64::from(ago)))
}

fn talk(sending: &Sending, stamp: Stamp, mark: &str) -> Bytes {
    let body = message(sending, stamp, mark).encode_to_vec().into();
    LogicPacket::request(sending.command, sequence(stamp.due), &sending.dest, body).encode()
}

/// A message of a run.
pub(super) fn message(sending: &Sending, stamp: Stamp, mark: &str) -> MessageReq {
    let body = stamp.body(sending.size);
    MessageReq { r#type: 1, body, extra: mark.to_owned(), ..MessageReq::default() }
}

fn ack(conversation: String, seq: u64) -> Bytes {
    let cursors = vec![Cursor { conversation, seq }];
    let ack = MessageAckReq { message_id: 0, cursors };
    LogicPacket::request(command::CHAT_TALK_ACK, 0, "", ack.encode_to_vec().into()).encode()
}

/// Whether an answer says that the message was accepted.
pub(super) fn is_accepted(status: u32) -> bool {
    status == Status::Success.code()
}
