//! One client of an overload: it writes what is due whatever the servers do, for as long as its
//! connection takes it.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use imago_proto::command;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use crate::{
    client::{
        connect::Connection,
        glance::Glance,
        talker::{ack, message, request},
        unanswered::{Asked, Unanswered},
        wire::{Reader, Writer},
    },
    measure::stamp,
};

/// Messages written in one go at most.
const BATCH: usize = 64;
/// Messages that a receiver acknowledges in one go.
const ACK_EVERY: u64 = 200;

/// A client that talks to another, and hears a third.
pub(super) struct Client {
    pub(super) number: usize,
    /// To whom it talks.
    pub(super) dest: String,
    /// Bytes of each message's body.
    pub(super) size: usize,
    pub(super) ledger: Arc<Ledger>,
    /// Everything has arrived, or had its time to.
    pub(super) end: CancellationToken,
}

/// What both halves of a client know.
#[derive(Default)]
struct State {
    unanswered: Unanswered,
    /// How far it has received: told with the next messages that it sends, because a receiver that
    /// waited for room to tell it could not read meanwhile.
    ack: Option<(String, u64)>,
}

impl Client {
    /// Takes part until the end.
    pub(super) async fn run(self, connection: Connection) -> anyhow::Result<()> {
        // Both stay until the end: when the one were dropped, the other would find it closed.
        let (mut reader, mut writer) = connection;
        let state = Mutex::default();
        let talks = self.talk(&mut writer, &state);
        let hears = self.hear(&mut reader, &state);
        tokio::try_join!(talks, hears)?;
        Ok(())
    }

    async fn talk(&self, writer: &mut Writer, state: &Mutex<State>) -> anyhow::Result<()> {
        let mut schedule = self.ledger.plan.due(self.number).peekable();
        let (mut number, mut packets) = (0_u64, Vec::with_capacity(BATCH + 1));
        while let Some(first) = schedule.peek() {
            sleep_until(self.ledger.moment(*first)).await;
            let now = self.ledger.now();
            if let Some((conversation, seq)) = lock(state).ack.take() {
                packets.push(ack(conversation, seq));
            }
            while packets.len() < BATCH
                && let Some(due) = schedule.next_if(|due| *due <= now)
            {
                let asked = Asked { due, written: self.ledger.now() };
                let Some(sequence) = lock(state).unanswered.push(asked) else {
                    self.ledger.not_sent(due);
                    continue;
                };
                let talk = message(body(number, asked, self.size), &self.ledger.mark);
                packets.push(request(command::CHAT_USER_TALK, sequence, &self.dest, &talk));
                self.ledger.sent(due);
                number += 1;
            }
            if !writer.send_at_once(packets.drain(..)).await? {
                // The gateway did not read: what came due meanwhile was not offered to it.
                let now = self.ledger.now();
                while let Some(due) = schedule.next_if(|due| *due <= now) {
                    self.ledger.not_sent(due);
                }
            }
        }
        Ok(())
    }

    async fn hear(&self, reader: &mut Reader, state: &Mutex<State>) -> anyhow::Result<()> {
        let (mut received, mut next) = (0_u64, 0);
        let mut end = pin!(self.end.cancelled());
        loop {
            let packet = tokio::select! {
                biased;
                packet = reader.message() => packet?,
                () = &mut end => return Ok(()),
            };
            match Glance::at(&packet)? {
                Glance::Answer { is_ack: true, .. } | Glance::Other => {}
                Glance::Answer { sequence, status, .. } => {
                    let asked = lock(state).unanswered.take(sequence);
                    let asked = asked.context("an answer to nothing that was asked")?;
                    self.ledger.answered(self.number, asked, status);
                }
                Glance::Message(push) if !push.is_of(&self.ledger.mark) => {}
                Glance::Message(push) => {
                    let read = read(push.body);
                    let (number, asked) = read.context("a message without a stamp")?;
                    if number < next {
                        self.ledger.again();
                        continue;
                    }
                    self.ledger.delivered(self.number, asked);
                    (received, next) = (received + 1, number + 1);
                    if received.is_multiple_of(ACK_EVERY) {
                        lock(state).ack = Some((push.conversation()?, push.seq));
                    }
                }
            }
        }
    }
}

/// What is in it stays whole whatever panicked while it was locked.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a message says: the how manieth of its sender it is, when it was due and when written.
fn body(number: u64, asked: Asked, size: usize) -> String {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    stamp::write([number, micros(asked.due), micros(asked.written)], size)
}

fn read(body: &[u8]) -> Option<(u64, Asked)> {
    let [number, due, written] = stamp::read(body)?;
    let (due, written) = (Duration::from_micros(due), Duration::from_micros(written));
    Some((number, Asked { due, written }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back_and_fits_the_smallest_size() {
        let hour = Duration::from_secs(3600);
        let asked = Asked { due: hour, written: hour + Duration::from_micros(1) };
        let body = body(9_999_999, asked, stamp::SIZE_MIN);
        assert_eq!(body.len(), stamp::SIZE_MIN);
        assert_eq!(read(body.as_bytes()), Some((9_999_999, asked)));
        assert_eq!(read(b"hello"), None);
    }
}
