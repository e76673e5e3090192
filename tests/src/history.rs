//! The history checker: what was sent, answered and received, and whether that keeps the promises.

use std::collections::{HashMap, HashSet};

/// How a request ended for its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted, at this place of its conversation.
    Accepted {
        /// The conversation.
        conversation: String,
        /// The place.
        seq: u64,
    },
    /// Refused or unknown, with the words.
    Failed(String),
}

#[derive(Clone, Debug)]
struct Sent {
    from: String,
    to: String,
    number: u64,
    outcome: Option<Outcome>,
}

/// Everything that clients sent, were answered and received, in the order it happened to each.
#[derive(Clone, Debug, Default)]
pub struct History {
    sent: Vec<Sent>,
    received: HashMap<String, Vec<(String, u64)>>,
    /// Who gets the messages to a group.
    groups: HashMap<String, Vec<String>>,
}

impl History {
    /// From now on, what is sent to this name is for all of these but its sender.
    pub fn group(&mut self, name: &str, members: impl IntoIterator<Item = String>) {
        self.groups.insert(name.into(), members.into_iter().collect());
    }

    /// A client sends its message of this number; numbers of one sender rise.
    pub fn sends(&mut self, from: &str, to: &str, number: u64) {
        let sent = Sent { from: from.into(), to: to.into(), number, outcome: None };
        self.sent.push(sent);
    }

    /// A client learns how its message ended.
    ///
    /// # Panics
    /// When it was not sent, or ended before.
    pub fn ends(&mut self, from: &str, number: u64, outcome: Outcome) {
        let sent = self.sent.iter_mut().find(|sent| sent.from == from && sent.number == number);
        let sent = sent.expect("only what was sent can end");
        assert!(sent.outcome.is_none(), "{from}'s message {number} ended twice");
        sent.outcome = Some(outcome);
    }

    /// A client's application receives a message.
    pub fn receives(&mut self, by: &str, from: &str, number: u64) {
        self.received.entry(by.into()).or_default().push((from.into(), number));
    }

    /// How many messages were accepted.
    pub fn accepted(&self) -> usize {
        let accepted = |sent: &&Sent| matches!(sent.outcome, Some(Outcome::Accepted { .. }));
        self.sent.iter().filter(accepted).count()
    }

    /// How many receipts the accepted messages make.
    pub fn expected(&self) -> usize {
        let accepted = |sent: &&Sent| matches!(sent.outcome, Some(Outcome::Accepted { .. }));
        self.sent.iter().filter(accepted).map(|sent| self.receivers(sent).len()).sum()
    }

    fn receivers<'a>(&'a self, sent: &'a Sent) -> Vec<&'a str> {
        match self.groups.get(&sent.to) {
            None => vec![&sent.to],
            Some(members) => {
                members.iter().filter(|name| **name != sent.from).map(String::as_str).collect()
            }
        }
    }

    /// How many messages were received.
    pub fn received(&self) -> usize {
        self.received.values().map(Vec::len).sum()
    }

    /// Words of the requests that did not succeed.
    pub fn failures(&self) -> Vec<&str> {
        let outcomes = self.sent.iter().filter_map(|sent| sent.outcome.as_ref());
        outcomes
            .filter_map(|outcome| match outcome {
                Outcome::Failed(words) => Some(words.as_str()),
                Outcome::Accepted { .. } => None,
            })
            .collect()
    }

    /// Everything that breaks a promise.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut places = HashSet::new();
        let got = self.got();
        for sent in &self.sent {
            let name = format!("{}'s message {} to {}", sent.from, sent.number, sent.to);
            match &sent.outcome {
                None => faults.push(format!("{name} was never answered")),
                Some(Outcome::Accepted { conversation, seq }) => {
                    if !places.insert((conversation, seq)) {
                        faults.push(format!("{name} shares place {seq} of {conversation}"));
                    }
                }
                Some(Outcome::Failed(_)) => {}
            }
            let is_accepted = matches!(sent.outcome, Some(Outcome::Accepted { .. }));
            for receiver in self.receivers(sent) {
                let times = got.get(&(receiver, sent.from.as_str(), sent.number)).copied();
                match times.unwrap_or(0) {
                    0 if is_accepted => {
                        faults.push(format!("{name} was accepted and is missing at {receiver}"));
                    }
                    0 | 1 => {}
                    times => faults.push(format!("{name} came {times} times to {receiver}")),
                }
            }
        }
        self.strangers(&mut faults);
        self.disorder(&mut faults);
        faults
    }

    fn got(&self) -> HashMap<(&str, &str, u64), usize> {
        let mut got = HashMap::new();
        for (by, messages) in &self.received {
            for (from, number) in messages {
                *got.entry((by.as_str(), from.as_str(), *number)).or_default() += 1;
            }
        }
        got
    }

    /// Messages that nobody sent to whom they came.
    fn strangers(&self, faults: &mut Vec<String>) {
        let sent: HashSet<_> = self
            .sent
            .iter()
            .flat_map(|sent| {
                let receivers = self.receivers(sent).into_iter();
                receivers.map(|receiver| (receiver, sent.from.as_str(), sent.number))
            })
            .collect();
        for (by, from, number) in self.got().into_keys() {
            if !sent.contains(&(by, from, number)) {
                faults.push(format!("{by} received message {number} that {from} did not send"));
            }
        }
    }

    /// Messages of one sender to one receiver that came out of order.
    fn disorder(&self, faults: &mut Vec<String>) {
        for (by, messages) in &self.received {
            let mut last: HashMap<&str, u64> = HashMap::new();
            for (from, number) in messages {
                if let Some(before) = last.insert(from, *number)
                    && before > *number
                {
                    faults.push(format!("{by} received {from}'s message {number} after {before}"));
                }
            }
        }
    }

    /// Fails the test where a promise is broken.
    ///
    /// # Panics
    /// With the first faults.
    pub fn assert_clean(&self) {
        let faults = self.faults();
        assert!(
            faults.is_empty(),
            "{} faults, such as {:#?}",
            faults.len(),
            faults.get(..faults.len().min(10))
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(seq: u64) -> Outcome {
        Outcome::Accepted { conversation: "d1".into(), seq }
    }

    /// Two messages, sent and received as they should be.
    fn clean() -> History {
        let mut history = History::default();
        for number in 1..=2 {
            history.sends("a", "b", number);
            history.ends("a", number, accepted(number));
            history.receives("b", "a", number);
        }
        history
    }

    #[test]
    fn a_clean_history_passes_and_a_refused_message_may_be_missing() {
        let mut history = clean();
        history.sends("a", "b", 3);
        history.ends("a", 3, Outcome::Failed("busy".into()));
        history.assert_clean();
        assert_eq!(history.failures(), ["busy"]);
    }

    fn fault(history: &History) -> String {
        let faults = history.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].clone()
    }

    #[test]
    fn a_groups_message_is_for_all_but_its_sender() {
        let mut history = History::default();
        history.group("g1", ["a", "b", "c"].map(String::from));
        history.sends("a", "g1", 1);
        history.ends("a", 1, accepted(1));
        assert_eq!(history.expected(), 2);
        history.receives("b", "a", 1);
        assert!(fault(&history).contains("missing at c"));
        history.receives("c", "a", 1);
        history.assert_clean();
        history.receives("a", "a", 1);
        assert!(fault(&history).contains("did not send"));
    }

    #[test]
    fn each_broken_promise_is_found() {
        let mut missing = clean();
        missing.sends("a", "b", 3);
        missing.ends("a", 3, accepted(3));
        assert!(fault(&missing).contains("missing"));

        let mut twice = clean();
        twice.receives("b", "a", 2);
        assert!(fault(&twice).contains("2 times"));

        let mut silent = clean();
        silent.sends("a", "b", 3);
        assert!(fault(&silent).contains("never answered"));

        let mut stranger = clean();
        stranger.receives("c", "a", 1);
        assert!(fault(&stranger).contains("did not send"));

        let mut disorder = History::default();
        for number in [1, 2] {
            disorder.sends("a", "b", number);
            disorder.ends("a", number, accepted(number));
        }
        disorder.receives("b", "a", 2);
        disorder.receives("b", "a", 1);
        assert!(fault(&disorder).contains("after 2"));

        let mut shared = History::default();
        for number in [1, 2] {
            shared.sends("a", "b", number);
            shared.ends("a", number, accepted(7));
            shared.receives("b", "a", number);
        }
        assert!(fault(&shared).contains("shares place 7"));
    }
}
