//! Selectors that know nothing of accounts.

use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt;

use super::{Candidate, Selector, hash};
use crate::Route;

/// One server after the other, whatever their weights.
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: AtomicUsize,
}

impl Selector for RoundRobin {
    fn pick(&self, candidates: &[Candidate], _: &Route) -> Option<usize> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        turn.checked_rem(candidates.len())
    }
}

/// Any server, by weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Selector for Random {
    fn pick(&self, candidates: &[Candidate], _: &Route) -> Option<usize> {
        // Rendezvous with a random key is a weighted draw.
        hash::best(candidates.iter().enumerate(), rand::rng().random())
    }
}

/// The server that owes this gateway the fewest answers; among equals by rendezvous hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastPending;

impl Selector for LeastPending {
    fn pick(&self, candidates: &[Candidate], route: &Route) -> Option<usize> {
        let least = candidates.iter().map(|candidate| candidate.pending).min()?;
        let equals = candidates.iter().enumerate().filter(|(_, other)| other.pending == least);
        hash::best(equals, hash::key_of(route))
    }
}
