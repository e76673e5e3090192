//! The order of messages of one sender to one receiver that are stored at the same time.

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use foldhash::fast::RandomState;

/// Keeps the order of messages that do not wait for each other. Once one of them has failed, later ones are
/// not stored either, because they would overtake its retry.
///
/// A store asks [`is_broken`](Self::is_broken) when it is about to write a message, and calls
/// [`break_off`](Self::break_off) when one has failed, before it writes any later one.
#[derive(Clone, Debug, Default)]
pub struct Chain(Arc<AtomicBool>);

impl PartialEq for Chain {
    /// All chains are equal: a chain is no part of a message's content.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Chain {}

impl Chain {
    /// Returns whether a message has failed.
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Records that a message has failed.
    pub fn break_off(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Returns a guard that breaks the chain off when it is dropped, unless the message was stored.
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
    /// Records that the message was stored.
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

/// The chains of one session, by the hash of command and destination. Destinations with an equal hash share
/// a chain, which only keeps more order.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    hasher: RandomState,
    /// Few entries: as many as a session has requests under way.
    chains: Vec<(u64, Chain)>,
}

impl Chains {
    /// Returns the chain of a request.
    pub(crate) fn of(&mut self, command: &str, dest: &str) -> Chain {
        let hash = self.hasher.hash_one((command, dest));
        if let Some((_, chain)) = self.chains.iter().find(|(of, _)| *of == hash) {
            return chain.clone();
        }
        let chain = Chain::default();
        self.chains.push((hash, chain.clone()));
        chain
    }

    /// Removes all chains. Callers have no requests under way.
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
