//! Property: whatever is lost, doubled or reordered on the way, and whenever listings are taken,
//! the application gets each message from others exactly once and in order.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::{super::*, listed, message};

/// Entries of a listing in this world.
const PAGE: usize = 5;
/// Conversations that one request may name.
const POSITIONS: usize = 2;
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Another account sends; the push is lost, or waits to be delivered as often as it says.
    Other { conversation: usize, copies: usize },
    /// We send; the receipt comes or is lost, another device's copy is pushed or not.
    Own { conversation: usize, receipt: bool, copy: bool },
    /// Some waiting push arrives.
    Push(usize),
    /// The server takes the listing that was asked for, or one is asked for: a page of
    /// everything, or what an old server lists.
    List { old: bool },
    /// A batch is fetched.
    Fetch,
    /// The listing or fetch under way is lost with the connection.
    Break,
    /// The application takes a message, and consumes it or not.
    Take { consume: bool },
    /// The server learns the cursors, or their request is lost.
    Ack { arrives: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let conversation = 0..NAMES.len();
    prop_oneof![
        4 => (conversation.clone(), 0usize..3)
            .prop_map(|(conversation, copies)| Step::Other { conversation, copies }),
        2 => (conversation, any::<bool>(), any::<bool>())
            .prop_map(|(conversation, receipt, copy)| Step::Own { conversation, receipt, copy }),
        4 => any::<usize>().prop_map(Step::Push),
        2 => any::<bool>().prop_map(|old| Step::List { old }),
        2 => Just(Step::Fetch),
        1 => Just(Step::Break),
        3 => any::<bool>().prop_map(|consume| Step::Take { consume }),
        1 => any::<bool>().prop_map(|arrives| Step::Ack { arrives }),
    ]
}

/// What a conversation on the server holds: who sent each message, and our cursor.
#[derive(Default)]
struct Log {
    /// Position among all messages, and whether another account sent it.
    messages: Vec<(usize, bool)>,
    cursor: u64,
}

/// What was asked of the server.
enum Asked {
    /// A page past these.
    Page(Vec<(ConversationId, Seq)>),
    Listing,
}

#[derive(Default)]
struct World {
    logs: BTreeMap<&'static str, Log>,
    sent: usize,
    wire: Vec<Message>,
    asked: Option<Asked>,
    fetching: Vec<Listed>,
    full: bool,
    /// A full page is consumed and acknowledged before the next is asked for.
    draining: bool,
    delivered: BTreeMap<String, Vec<u64>>,
    /// The newest of each conversation that the application has, own copies included.
    newest: BTreeMap<ConversationId, Seq>,
}

fn own_message(name: &str, seq: u64) -> Message {
    Message { sender: "me".into(), sent_to: Some("bob".into()), ..message(name, seq) }
}

impl World {
    fn step(&mut self, inbox: &mut Inbox, step: Step) {
        match step {
            Step::Other { conversation, copies } => {
                let (name, seq) = self.append(conversation, true);
                self.wire.extend(std::iter::repeat_n(message(name, seq), copies));
            }
            Step::Own { conversation, receipt, copy } => {
                let (name, seq) = self.append(conversation, false);
                if receipt {
                    inbox.own(&name.into(), Seq(seq));
                } else if copy {
                    self.wire.push(own_message(name, seq));
                }
            }
            Step::Push(_) if self.wire.is_empty() => {}
            Step::Push(which) => {
                let push = self.wire.swap_remove(which % self.wire.len());
                inbox.pushed(push);
            }
            Step::List { old } => self.list(inbox, old),
            Step::Fetch => self.fetch(inbox),
            Step::Break => {
                (self.asked, self.draining) = (None, false);
                self.fetching.clear();
            }
            Step::Take { consume } => self.take(inbox, consume),
            Step::Ack { arrives } => self.ack(inbox, arrives),
        }
    }

    fn append(&mut self, conversation: usize, from_other: bool) -> (&'static str, u64) {
        self.sent += 1;
        let name = NAMES[conversation];
        let log = self.logs.entry(name).or_default();
        log.messages.push((self.sent, from_other));
        (name, log.messages.len() as u64)
    }

    fn list(&mut self, inbox: &mut Inbox, old: bool) {
        let is_busy = !self.fetching.is_empty() || (self.draining && !inbox.is_drained());
        match self.asked.take() {
            None if is_busy => {}
            None => {
                inbox.listing_begins();
                self.asked = Some(match old {
                    true => Asked::Listing,
                    false => Asked::Page(inbox.positions(POSITIONS)),
                });
            }
            Some(Asked::Page(positions)) => self.answer_page(inbox, &positions),
            Some(Asked::Listing) => self.answer_listing(inbox),
        }
    }

    fn answer_page(&mut self, inbox: &mut Inbox, positions: &[(ConversationId, Seq)]) {
        let mut all = Vec::new();
        for (name, log) in &self.logs {
            let named = positions.iter().find(|(id, _)| id.as_str() == *name);
            let cursor = named.map_or(log.cursor, |(_, seq)| seq.0);
            for (seq, (position, from_other)) in (1..).zip(&log.messages) {
                let message = if *from_other { message(name, seq) } else { own_message(name, seq) };
                if seq > cursor {
                    all.push((*position, message));
                }
            }
        }
        all.sort_by_key(|(position, _)| *position);
        self.full = all.len() > PAGE;
        all.truncate(PAGE);
        let entry = |(_, message): (_, Message)| {
            // Some of our own we know to be sent from here.
            match message.sent_to.is_some() && message.seq.0.is_multiple_of(2) {
                true => Entry::Own(message.conversation, message.seq),
                false => Entry::Message(message),
            }
        };
        let progress = inbox.page(all.into_iter().map(entry).collect(), self.full);
        // As long as nothing new comes, it is waited until more is acknowledged.
        self.draining = self.full && !progress;
    }

    fn answer_listing(&mut self, inbox: &mut Inbox) {
        let mut all: Vec<(usize, Listed)> = Vec::new();
        for (name, log) in &self.logs {
            for (seq, (position, from_other)) in (1..).zip(&log.messages) {
                if *from_other && seq > log.cursor {
                    all.push((*position, listed(name, seq)));
                }
            }
        }
        all.sort_by_key(|(position, _)| *position);
        all.truncate(PAGE);
        self.full = all.len() == PAGE;
        let listing = all.into_iter().map(|(_, listed)| listed).collect();
        self.fetching = inbox.listed(listing, self.full);
        self.draining = self.full;
    }

    fn fetch(&mut self, inbox: &mut Inbox) {
        for listed in self.fetching.drain(..self.fetching.len().min(2)) {
            inbox.fetched(message(listed.conversation.as_str(), listed.seq));
        }
    }

    fn take(&mut self, inbox: &mut Inbox, consume: bool) {
        let Some(message) = inbox.next() else { return };
        let before = self.newest.insert(message.conversation.clone(), message.seq);
        assert!(before < Some(message.seq), "out of order");
        if message.sent_to.is_none() {
            let name = message.conversation.to_string();
            self.delivered.entry(name).or_default().push(message.seq.0);
        }
        if consume {
            inbox.consumed(&message.conversation, message.seq);
        }
    }

    fn ack(&mut self, inbox: &mut Inbox, arrives: bool) {
        let cursors = inbox.take_cursors(2);
        if !arrives {
            return inbox.ack_failed(cursors);
        }
        for (id, seq) in &cursors {
            let log = self.logs.get_mut(id.as_str()).unwrap();
            assert!(seq.0 <= log.messages.len() as u64, "acknowledged what does not exist");
            log.cursor = log.cursor.max(seq.0);
        }
        inbox.acked(&cursors);
    }

    /// The network works from now on, and the application consumes everything.
    fn settle(&mut self, inbox: &mut Inbox, old: bool) {
        self.step(inbox, Step::Break);
        for _ in 0..200 {
            self.list(inbox, old);
            self.list(inbox, old);
            while !self.fetching.is_empty() {
                self.fetch(inbox);
            }
            while let Some(push) = self.wire.pop() {
                inbox.pushed(push);
            }
            while inbox.has_ready() {
                self.take(inbox, true);
            }
            for (conversation, seq) in &self.newest {
                inbox.consumed(conversation, *seq);
            }
            if inbox.is_crowded(POSITIONS) {
                inbox.settle();
            }
            while inbox.is_dirty() {
                self.ack(inbox, true);
            }
            if !self.full && !inbox.needs_listing() {
                return;
            }
        }
        panic!("does not settle: {inbox:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_message_exactly_once_and_in_order(
        history in vec((0..NAMES.len(), any::<bool>()), 0..12),
        acked in any::<bool>(),
        steps in vec(step(), 0..120),
        ready in 2usize..6,
        held in 1usize..6,
        old in any::<bool>(),
    ) {
        let mut world = World::default();
        for (conversation, from_other) in history {
            world.append(conversation, from_other);
        }
        // An earlier life of this client may have acknowledged a part.
        for log in world.logs.values_mut().filter(|_| acked) {
            log.cursor = log.messages.len() as u64 / 2;
        }
        let start: BTreeMap<_, _> = world.logs.iter().map(|(name, log)| (*name, log.cursor)).collect();
        let mut inbox = Inbox::new(InboxLimits { ready, held });
        for step in steps {
            world.step(&mut inbox, step);
            prop_assert!(inbox.held <= held + PAGE);
            prop_assert!(inbox.ready.len() <= ready + held + 2 * PAGE + 1);
        }
        world.settle(&mut inbox, old);
        for (name, log) in &world.logs {
            let start = start.get(name).copied().unwrap_or_default();
            let expected: Vec<u64> = (1..)
                .zip(&log.messages)
                .filter(|(seq, (_, from_other))| *from_other && *seq > start)
                .map(|(seq, _)| seq)
                .collect();
            let delivered = world.delivered.get(*name).cloned().unwrap_or_default();
            prop_assert_eq!(delivered, expected, "conversation {}", name);
        }
    }
}
