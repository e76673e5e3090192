//! What one session was given, what waits for it, and what it has acknowledged: decides which pushes
//! its client gets, and in which order.
//!
//! Pure: what it decides follows from what it is told. Of each conversation it keeps a *floor*:
//! everything up to it was given to the session, or is not for it. A push that does not follow on its
//! floor waits until what is missing has come, by itself or by a redelivery.

mod floors;
mod held;
mod message;
mod ranges;
#[cfg(test)]
mod tests;
mod unacked;

use std::sync::Arc;

use imago_proto::{
    COMMIT_UNKNOWN,
    link::{Given, Mark, Place},
};

pub(crate) use self::message::Message;
use self::{
    floors::Floors,
    held::{HeldPushes, Waiting},
    unacked::{Id, Unacked},
};
use crate::outbox::Packet;

/// Bytes of what one session was given that a frame carries.
const GIVEN_BYTES_MAX: usize = 256 << 10;

/// The ledger of a session. A session without messages costs no more than this.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    since: Since,
    kept: Option<Box<Kept>>,
}

/// What a session was there for.
#[derive(Debug, Default)]
enum Since {
    /// The login is not answered: what comes waits for the mark.
    #[default]
    LoggingIn,
    /// What the mark covers is not missing; without one, nothing is covered.
    Mark(Option<Mark>),
}

#[derive(Debug, Default)]
struct Kept {
    floors: Floors,
    held: HeldPushes,
    unacked: Unacked,
    /// Redeliveries asked for.
    asks: u32,
    /// How many had been when that was asked for which the mark is of: floors that were moved before
    /// need not be told again.
    covered: u32,
}

/// What became of a floor.
enum Moved {
    /// It was moved. The name that is kept of the conversation.
    To(Arc<str>),
    /// It had passed the message before.
    Before,
    /// Something is missing.
    No,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was given, with what waited for it.
    Given,
    /// It was given before, or waits already.
    Duplicate,
    /// It waits, and nothing did before: a redelivery is due unless the hole fills soon.
    Hole,
    /// It waits, as others do.
    Held,
    /// It has no room to wait: a redelivery is due.
    Dropped,
}

/// What a redelivery of a session is to bring.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Missing {
    /// Not known before the login is answered.
    Unknown,
    /// Nothing waits.
    Nothing,
    /// What the mark does not cover and the session does not have.
    Since { mark: Option<Mark>, have: Vec<Given> },
}

/// Which command a message id came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckBy {
    /// `chat.talk.ack`: mostly the id of a push.
    Talk,
    /// `chat.offline.index`: mostly the last id of the page before.
    Index,
}

/// Takes packets for the client in their order.
pub(crate) trait Hand: FnMut(Packet) {}
impl<T: FnMut(Packet)> Hand for T {}

// === impl Ledger ===

impl Ledger {
    /// A message is pushed to the session.
    pub(crate) fn push(
        &mut self,
        message: &Message<'_>,
        packet: &Packet,
        hand: &mut impl Hand,
    ) -> Verdict {
        let kept = self.kept.get_or_insert_default();
        let place = message.place;
        match kept.move_floor(&self.since, message) {
            Moved::To(name) => {
                hand(packet.clone());
                kept.unacked.add(Id::push(place.message_id), name, place.seq, place.seq);
                kept.release(&self.since, &place.conversation, message.hash, hand);
                Verdict::Given
            }
            Moved::Before => Verdict::Duplicate,
            Moved::No => match (kept.hold(message, Some(packet)), &self.since) {
                (Verdict::Hole, Since::LoggingIn) => Verdict::Held,
                (verdict, _) => verdict,
            },
        }
    }

    /// The session's own message was stored, and its answer is on its way to the client.
    pub(crate) fn own(&mut self, place: &Place, hand: &mut impl Hand) -> Verdict {
        let Some(message) = Message::new(place, false) else { return Verdict::Duplicate };
        let kept = self.kept.get_or_insert_default();
        let (moved, seq) = (kept.move_floor(&self.since, &message), place.seq);
        match moved {
            Moved::To(name) => {
                kept.unacked.add(Id::NONE, name, seq, seq);
                kept.release(&self.since, &place.conversation, message.hash, hand);
                Verdict::Given
            }
            Moved::Before => Verdict::Duplicate,
            Moved::No => {
                kept.unacked.add(Id::NONE, message.name().clone(), seq, seq);
                kept.hold(&message, None)
            }
        }
    }

    /// The login is answered. Returns whether anything waits for a redelivery.
    pub(crate) fn logged_in(&mut self, mark: Option<Mark>, hand: &mut impl Hand) -> bool {
        self.since = Since::Mark(mark);
        let Some(kept) = &mut self.kept else { return false };
        kept.look_again(&self.since, hand, |_| true);
        !kept.held.is_empty()
    }

    /// What was missing when it was asked for has been pushed. Returns whether anything waits that
    /// came since.
    pub(crate) fn redelivered(&mut self, mark: Mark, hand: &mut impl Hand) -> bool {
        self.since = Since::Mark(Some(mark));
        let Some(kept) = &mut self.kept else { return false };
        kept.covered = kept.asks;
        // A message of which is not known what it comes after was stored before it was pushed a
        // second time: where it was missing, the redelivery has brought it, or will.
        kept.look_again(&self.since, hand, |waiting| waiting.after != COMMIT_UNKNOWN);
        !kept.held.is_empty()
    }

    /// What a redelivery is to bring, where one is due: always, or only while anything waits.
    pub(crate) fn missing(&mut self, always: bool) -> Missing {
        let Since::Mark(mark) = &self.since else { return Missing::Unknown };
        let mark = mark.clone();
        match &mut self.kept {
            Some(kept) if always || !kept.held.is_empty() => {
                Missing::Since { mark, have: kept.ask() }
            }
            None if always => Missing::Since { mark, have: Vec::new() },
            _ => Missing::Nothing,
        }
    }

    /// An answer on its way to the client gives these, each acknowledged with its message id.
    pub(crate) fn gave(&mut self, given: &[Given]) {
        if given.is_empty() {
            return;
        }
        let kept = self.kept.get_or_insert_default();
        kept.unacked.begin_answer();
        for given in given {
            kept.gave(given);
        }
    }

    /// What a message id acknowledges.
    pub(crate) fn acks(&self, message_id: i64, by: AckBy) -> Vec<Given> {
        let Some(kept) = &self.kept else { return Vec::new() };
        match by {
            AckBy::Talk => kept.unacked.up_to_push(message_id),
            AckBy::Index => kept.unacked.up_to_answer(message_id),
        }
    }

    /// How many bytes of pushes wait, where that has changed since the last time.
    pub(crate) fn held_change(&mut self) -> Option<usize> {
        self.kept.as_mut()?.held.change()
    }

    /// The cursors of the session's device have come that far.
    pub(crate) fn acked(&mut self, cursors: &[Given]) {
        let Some(kept) = &mut self.kept else { return };
        for cursor in cursors {
            kept.unacked.passed(&cursor.conversation, cursor.to);
        }
    }
}

// === impl Since ===

impl Since {
    /// Whether nothing is missing between a conversation's floor and a message; `seq` is not 0.
    fn follows(&self, floor: Option<u64>, seq: u64, after: u64) -> bool {
        let Self::Mark(mark) = self else { return false };
        floor.is_some_and(|floor| floor == seq - 1)
            || after == 0
            || mark.as_ref().is_some_and(|mark| mark.covers(after))
    }
}

// === impl Kept ===

impl Kept {
    /// Moves a conversation's floor to a message, where nothing is missing in between.
    fn move_floor(&mut self, since: &Since, message: &Message<'_>) -> Moved {
        let &Place { seq, after, .. } = message.place;
        let mut is_before = false;
        let name = self.floors.move_if(message, self.asks, |floor| {
            is_before = floor.is_some_and(|floor| seq <= floor);
            !is_before && (message.again || since.follows(floor, seq, after))
        });
        match name {
            Some(name) => Moved::To(name),
            None if is_before => Moved::Before,
            None => Moved::No,
        }
    }

    fn hold(&mut self, message: &Message<'_>, packet: Option<&Packet>) -> Verdict {
        if self.held.contains(message) {
            return Verdict::Duplicate;
        }
        let was_empty = self.held.is_empty();
        if !self.held.add(Waiting::new(message, packet)) {
            return Verdict::Dropped;
        }
        if was_empty { Verdict::Hole } else { Verdict::Held }
    }

    /// A conversation's floor was moved: what waited for that goes, what it has passed is dropped.
    fn release(&mut self, since: &Since, name: &str, hash: u64, hand: &mut impl Hand) {
        while !self.held.is_empty() {
            let floor = self.floors.get(name, hash);
            let may_go = |waiting: &Waiting| {
                is_passed(floor, waiting) || since.follows(floor, waiting.seq, waiting.after)
            };
            let Some(waiting) = self.held.take_first_if(name, may_go) else { return };
            if !is_passed(floor, &waiting) {
                self.give(waiting, hand);
            }
        }
    }

    /// There is another mark: looks at everything that waits.
    fn look_again(&mut self, since: &Since, hand: &mut impl Hand, keep: impl Fn(&Waiting) -> bool) {
        for waiting in self.held.take() {
            let floor = self.floors.get(&waiting.name, waiting.hash);
            if is_passed(floor, &waiting) {
                continue;
            }
            if since.follows(floor, waiting.seq, waiting.after) {
                self.give(waiting, hand);
            } else if keep(&waiting) {
                // It had room before.
                self.held.add(waiting);
            }
        }
    }

    fn give(&mut self, waiting: Waiting, hand: &mut impl Hand) {
        let Waiting { name, hash, seq, message_id, packet, .. } = waiting;
        self.floors.set(&name, hash, seq, self.asks);
        if let Some(packet) = packet {
            hand(packet);
            self.unacked.add(Id::push(message_id), name, seq, seq);
        }
    }

    fn gave(&mut self, given: &Given) {
        let name = match self.floors.name(&given.conversation) {
            Some(name) => name.clone(),
            None => given.conversation.as_str().into(),
        };
        self.unacked.add_answered(given.message_id, name, given.from, given.to);
    }

    /// What the session has that the mark does not cover.
    fn ask(&mut self) -> Vec<Given> {
        self.asks = self.asks.wrapping_add(1);
        let given =
            |name: &str, from, to| Given { conversation: name.to_owned(), from, to, message_id: 0 };
        let floors = self.floors.iter().filter(|floor| floor.asks >= self.covered);
        let own = self.held.iter().filter(|waiting| waiting.packet.is_none());
        let own = own.map(|own| given(&own.name, own.seq, own.seq));
        bounded(own.chain(floors.map(|floor| given(&floor.name, 0, floor.seq))))
    }
}

/// As many as a frame may carry beside others. Overflow policy: the others are not told. What a
/// session has and does not say is pushed again, and dropped as a duplicate; what an acknowledgement
/// leaves out stays in the ledger for the next one.
fn bounded(given: impl Iterator<Item = Given>) -> Vec<Given> {
    let mut bytes = 0;
    let fits = |given: &Given| {
        bytes += weight(given);
        bytes <= GIVEN_BYTES_MAX
    };
    given.take_while(fits).collect()
}

/// About how many bytes of a frame it takes.
pub(crate) fn weight(given: &Given) -> usize {
    given.conversation.len() + 24
}

fn is_passed(floor: Option<u64>, waiting: &Waiting) -> bool {
    floor.is_some_and(|floor| waiting.seq <= floor)
}
