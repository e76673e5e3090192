//! One client of a run: sends at its pace, and counts what it receives.

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use imago_proto::{
    LogicPacket, command,
    msg::{Cursor, MessageAckReq, MessageReq},
};
use prost::Message;
use tokio::sync::{Mutex, Semaphore};

use super::{
    connect::Connection,
    glance::Glance,
    pace::{Pace, Pacer},
    wire::{Reader, Writer},
};
use crate::measure::{
    run::Run,
    seen::{Seen, Tally},
    stamp::Stamp,
};

/// Messages that a receiver acknowledges in one go.
const ACK_EVERY: u64 = 200;

/// What a client sends.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    /// `chat.user.talk` or `chat.group.talk`.
    pub(crate) command: &'static str,
    /// Account or group.
    pub(crate) dest: String,
    pub(crate) pace: Pace,
    /// Bytes of each message's body.
    pub(crate) size: usize,
}

/// A client that takes part in a run.
pub(crate) struct Client {
    number: usize,
    run: Arc<Run>,
    reader: Reader,
    /// Shared by messages and acknowledgements.
    writer: Mutex<Writer>,
    /// Room in the window.
    room: Semaphore,
}

impl Client {
    pub(crate) fn new(number: usize, run: Arc<Run>, (reader, writer): Connection) -> Self {
        Self { number, run, reader, writer: Mutex::new(writer), room: Semaphore::new(0) }
    }

    /// Takes part until the run is over and everything has arrived.
    pub(crate) async fn run(self, sending: Option<Sending>) -> anyhow::Result<Tally> {
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
    let mut inbox = Inbox::new(number);
    let mut ended = pin!(run.ended());
    loop {
        let packet = tokio::select! {
            biased;
            packet = reader.message() => packet?,
            () = &mut ended => return Ok(inbox.tally()),
        };
        match Glance::at(&packet)? {
            Glance::Answer { is_ack: true, .. } | Glance::Other => {}
            Glance::Message(push) if !push.is_of(&run.mark) => {}
            Glance::Answer { sequence, status, .. } => {
                run.answered(number, due(sequence, run), status);
                room.add_permits(1);
            }
            Glance::Message(push) => {
                if inbox.take(push.body, run)?.is_multiple_of(ACK_EVERY) {
                    writer.lock().await.send([ack(push.conversation()?, push.seq)]).await?;
                }
            }
        }
    }
}

/// What one client received, each message once.
pub(crate) struct Inbox {
    client: usize,
    seen: Seen,
    received: u64,
}

impl Inbox {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, seen: Seen::default(), received: 0 }
    }

    /// Counts a message; says the how manieth it is.
    pub(crate) fn take(&mut self, body: &[u8], run: &Run) -> anyhow::Result<u64> {
        let stamp = Stamp::read(body).context("a message without a stamp")?;
        if self.seen.is_new(stamp.sender, stamp.number) {
            run.delivered(self.client, stamp.due);
            self.received += 1;
        }
        Ok(self.received)
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally { again: self.seen.again, late: self.seen.late }
    }
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
    let talk = message(stamp.body(sending.size), mark);
    request(sending.command, sequence(stamp.due), &sending.dest, &talk)
}

/// A message of the run with this mark.
pub(crate) fn message(body: String, mark: &str) -> MessageReq {
    MessageReq { r#type: 1, body, extra: mark.to_owned(), ..MessageReq::default() }
}

/// Says something to an account or a group, or to the server.
pub(crate) fn request(command: &str, sequence: u32, dest: &str, body: &impl Message) -> Bytes {
    LogicPacket::request(command, sequence, dest, body.encode_to_vec().into()).encode()
}

/// Says how far a conversation has been received.
pub(crate) fn ack(conversation: String, seq: u64) -> Bytes {
    let cursors = vec![Cursor { conversation, seq }];
    let ack = MessageAckReq { message_id: 0, cursors };
    request(command::CHAT_TALK_ACK, 0, "", &ack)
}
