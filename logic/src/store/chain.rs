//! Messages of one sender to one receiver that are on their way to the store at the same time.

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use foldhash::fast::RandomState;

/// Keeps the order of messages that do not wait for each other: once one of them has failed, those
/// that come after it are not stored either, or they would overtake its next try.
///
/// A store asks [`is_broken`](Self::is_broken) when it is about to write a message, and calls
/// [`break_off`](Self::break_off) when one has failed, before it writes any later one.
#[derive(Clone, Debug, Default)]
pub struct Chain(Arc<AtomicBool>);

impl PartialEq for Chain {
    /// All are alike: a chain is no part of what a message says.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Chain {}

impl Chain {
    /// Whether a message has failed.
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// A message has failed.
    pub fn break_off(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Breaks the chain off when it is dropped, unless the message was stored.
    #[must_use]
    pub(crate) fn watch(&self) -> Watch {
        Watch { chain: self.clone(), stored: false }
    }
}

/// See [`Chain::watch`].
#[derive(Debug)]
pub(crate) struct Watch {
    chain: Chain,
    stored: bool,
}

impl Watch {
    /// The message was stored.
    pub(crate) fn stored(mut self) {
        self.stored = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.stored {
            self.chain.break_off();
        }
    }
}

/// The chains of one session, by the hash of command and destination: two that have one hash share a
/// chain, which keeps more order than is asked for.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    hasher: RandomState,
    /// Few: as many as a session has requests under way.
    chains: Vec<(u64, Chain)>,
}

impl Chains {
    /// The chain of a request.
    pub(crate) fn of(&mut self, command: &str, dest: &str) -> Chain {
        let hash = self.hasher.hash_one((command, dest));
        if let Some((_, chain)) = self.chains.iter().find(|(of, _)| *of == hash) {
            return chain.clone();
        }
        let chain = Chain::default();
        self.chains.push((hash, chain.clone()));
        chain
    }

    /// Nothing is under way any more.
    pub(crate) fn clear(&mut self) {
        self.chains.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_given_up_breaks_its_own_chain_off() {
        let mut chains = Chains::default();
        chains.of("talk", "ann").watch().stored();
        assert!(!chains.of("talk", "ann").is_broken());
        drop(chains.of("talk", "ann").watch());
        assert!(chains.of("talk", "ann").is_broken());
        assert!(!chains.of("talk", "bob").is_broken());
        chains.clear();
        assert!(!chains.of("talk", "ann").is_broken());
    }
}
