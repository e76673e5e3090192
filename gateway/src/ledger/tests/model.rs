//! Whole lives of a session, in random order: a store, pushes that get lost or overtake each other,
//! redeliveries that are cut off. The client gets each message once and in order, and in the end all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::{collection::vec, prelude::*};

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    /// An account sends a message: another one, or the session's own.
    Message {
        conversation: usize,
        own: bool,
        is_repeat: bool,
    },
    /// One of the pushes and answers that are on their way arrives, or is lost. Each server's arrive
    /// in their order.
    Arrive {
        server: usize,
    },
    Lose {
        server: usize,
    },
    /// The client acknowledges the last message that it got.
    Ack,
    /// The same by position.
    AckPosition {
        conversation: usize,
    },
    /// The gateway asks a server for a redelivery.
    Ask {
        server: usize,
    },
    /// The redelivery of a server is cut off, with what of it is on its way.
    Cut {
        server: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let server = 0..2_usize;
    prop_oneof![
        8 => (0..NAMES.len(), any::<bool>(), prop::bool::weighted(0.1)).prop_map(
            |(conversation, own, is_repeat)| Step::Message { conversation, own, is_repeat }
        ),
        12 => server.clone().prop_map(|server| Step::Arrive { server }),
        2 => server.clone().prop_map(|server| Step::Lose { server }),
        2 => Just(Step::Ack),
        1 => (0..NAMES.len()).prop_map(|conversation| Step::AckPosition { conversation }),
        2 => server.clone().prop_map(|server| Step::Ask { server }),
        1 => server.prop_map(|server| Step::Cut { server }),
    ]
}

/// What is on its way over a link.
#[derive(Clone, Debug)]
enum Frame {
    Push { place: Place, again: bool },
    Answer(Place),
    Login(Mark),
    Redelivered(Mark),
}

#[derive(Default)]
struct World {
    session: Session,
    /// Commits of each conversation's messages, in the order of their sequences.
    stored: BTreeMap<&'static str, Vec<u64>>,
    commits: u64,
    /// Cursors of the device.
    cursors: BTreeMap<&'static str, u64>,
    links: [VecDeque<Frame>; 2],
    sent: usize,
    /// What was committed at the login.
    login: u64,
    got: BTreeMap<&'static str, Vec<u64>>,
    /// The same, own messages too, which the client knows by their answers.
    known: BTreeSet<(&'static str, u64)>,
    last_id: i64,
}

impl World {
    fn name(name: &str) -> &'static str {
        NAMES.into_iter().find(|known| *known == name).unwrap()
    }

    fn store(&mut self, name: &'static str) -> Place {
        self.commits += 1;
        let commit = self.commits;
        let commits = self.stored.entry(name).or_default();
        let after = commits.last().copied().unwrap_or_default();
        commits.push(commit);
        let message_id = i64::try_from(commit).unwrap();
        let seq = commits.len() as u64;
        Place { conversation: name.to_owned(), seq, message_id, after }
    }

    fn commit(&self, name: &str, seq: u64) -> u64 {
        self.stored[name][usize::try_from(seq).unwrap() - 1]
    }

    fn message(&mut self, name: &'static str, own: bool, is_repeat: bool) {
        let mut place = self.store(name);
        self.sent += 1;
        let link = self.sent % 2;
        if is_repeat {
            place.after = COMMIT_UNKNOWN;
        }
        let again = false;
        self.links[link].push_back(if own {
            Frame::Answer(place)
        } else {
            Frame::Push { place, again }
        });
    }

    /// Reads what is missing, as a store does, and queues it.
    fn ask(&mut self, server: usize) {
        let Missing::Since { mark, have } = self.session.ledger.missing(true) else { return };
        let mark = mark.unwrap_or_default();
        for (name, commits) in &self.stored {
            let cursor = self.cursors.get(name).copied().unwrap_or_default();
            for (seq, commit) in (1..).zip(commits) {
                let is_had =
                    have.iter().any(|have| have.conversation == *name && have.contains(seq));
                if seq > cursor && !mark.covers(*commit) && !is_had {
                    let message_id = i64::try_from(*commit).unwrap();
                    let conversation = (*name).to_owned();
                    let place = Place { conversation, seq, message_id, after: COMMIT_UNKNOWN };
                    self.links[server].push_back(Frame::Push { place, again: true });
                }
            }
        }
        self.links[server].push_back(Frame::Redelivered(Mark::up_to(self.commits)));
    }

    fn arrive(&mut self, server: usize) {
        let Some(frame) = self.links[server].pop_front() else { return };
        match frame {
            Frame::Push { place, again } => drop(self.session.push_place(&place, again)),
            Frame::Answer(place) => {
                self.known.insert((Self::name(&place.conversation), place.seq));
                let Session { ledger, got } = &mut self.session;
                ledger.own(&place, &mut client(got));
            }
            Frame::Login(mark) => drop(self.session.log_in(Some(mark))),
            Frame::Redelivered(mark) => {
                let Session { ledger, got } = &mut self.session;
                ledger.redelivered(mark, &mut client(got));
            }
        }
        self.read();
    }

    /// The client reads: each message once, and in order.
    fn read(&mut self) {
        for packet in std::mem::take(&mut self.session.got) {
            let text = String::from_utf8(packet.to_vec()).unwrap();
            let (name, seq) = text.split_at(1);
            let (name, seq) = (Self::name(name), seq.parse().unwrap());
            let got = self.got.entry(name).or_default();
            assert!(got.last().is_none_or(|last| *last < seq), "{name}{seq} after {got:?}");
            got.push(seq);
            // Nothing of the time since the login is missing before it.
            for before in 1..seq {
                let is_known = self.commit(name, before) <= self.login
                    || before <= self.cursors.get(name).copied().unwrap_or_default()
                    || self.known.contains(&(name, before));
                assert!(is_known, "{name}{before} is missing before {name}{seq}");
            }
            self.known.insert((name, seq));
            self.last_id = i64::try_from(self.commit(name, seq)).unwrap();
        }
    }

    /// As a store does: over what begins at most one past the cursor.
    fn ack(&mut self, given: Vec<Given>) {
        let mut reached = Vec::new();
        for Given { conversation, from, to, .. } in given {
            let name = Self::name(&conversation);
            for seq in from.max(1)..=to {
                let is_known =
                    self.known.contains(&(name, seq)) || self.commit(name, seq) <= self.login;
                assert!(is_known, "{name}{seq} was never given");
            }
            let cursor = self.cursors.entry(name).or_default();
            if from <= *cursor + 1 {
                *cursor = to.max(*cursor);
            }
            reached.push(Given { conversation, from: 0, to: *cursor, message_id: 0 });
        }
        self.session.ledger.acked(&reached);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Message { conversation, own, is_repeat } => {
                self.message(NAMES[conversation], own, is_repeat);
            }
            Step::Arrive { server } => self.arrive(server),
            // Answers and logins are asked for until they come.
            Step::Lose { server } => {
                if let Some(Frame::Push { again: false, .. }) = self.links[server].front() {
                    self.links[server].pop_front();
                }
            }
            Step::Ack => {
                let given = self.session.ledger.acks(self.last_id, AckBy::Talk);
                self.ack(given);
            }
            Step::AckPosition { conversation } => {
                let name = NAMES[conversation];
                let first = 1 + self.cursors.get(name).copied().unwrap_or_default();
                let is_known = |seq: &u64| {
                    self.known.contains(&(name, *seq))
                        || self.stored.get(name).is_some_and(|commits| {
                            commits.get(*seq as usize - 1).is_some_and(|it| *it <= self.login)
                        })
                };
                if let Some(last) = (first..).take_while(is_known).last() {
                    self.ack(vec![given(name, 0, last)]);
                }
            }
            Step::Ask { server } => self.ask(server),
            Step::Cut { server } => {
                let link = &mut self.links[server];
                link.retain(|frame| {
                    !matches!(frame, Frame::Push { again: true, .. } | Frame::Redelivered(_))
                });
            }
        }
    }

    /// Everything arrives, then a redelivery that is not cut off.
    fn finish(&mut self) {
        for server in [0, 1] {
            while !self.links[server].is_empty() {
                self.arrive(server);
            }
        }
        self.ask(0);
        while !self.links[0].is_empty() {
            self.arrive(0);
        }
        assert_eq!(self.session.ledger.missing(false), Missing::Nothing, "something waits");
        for (name, commits) in &self.stored {
            for (seq, commit) in (1..).zip(commits) {
                let cursor = self.cursors.get(name).copied().unwrap_or_default();
                let is_there =
                    *commit <= self.login || seq <= cursor || self.known.contains(&(*name, seq));
                assert!(is_there, "{name}{seq} never came");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_client_gets_each_message_once_in_order_and_in_the_end_all(
        before in vec(0..NAMES.len(), 0..5),
        early in vec(step(), 0..6),
        steps in vec(step(), 0..80),
    ) {
        let mut world = World::default();
        for conversation in before {
            world.store(NAMES[conversation]);
        }
        world.login = world.commits;
        world.links[0].push_back(Frame::Login(Mark::up_to(world.commits)));
        // What the session itself does, it does after its login.
        let is_early = |step: &&Step| matches!(
            step,
            Step::Message { own: false, .. } | Step::Arrive { server: 1 } | Step::Lose { server: 1 }
        );
        early.iter().filter(is_early).for_each(|step| world.step(step));
        world.arrive(0);
        steps.iter().for_each(|step| world.step(step));
        world.finish();
    }
}
