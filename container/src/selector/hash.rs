//! Rendezvous hashing: a session stays with its server while others come and go.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use super::{Candidate, Selector};
use crate::Route;

/// Highest random weight of server and account (Thaler and Ravishankar 1998, "Using name-based
/// mappings to increase hit rates"), with weights after Schindelhauer and Schomaker 2005
/// ("Weighted distributed hash tables"): the score of a server is `-weight / ln(h)`, `h` uniform
/// in (0, 1). Adding or removing a server moves only the sessions that it gets or had.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hash;

impl Selector for Hash {
    fn pick(&self, candidates: &[Candidate], route: &Route) -> Option<usize> {
        let key = key_of(route);
        best(candidates.iter().enumerate(), key)
    }
}

/// One number for the account of a session.
pub(super) fn key_of(route: &Route) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(route.app.as_str().as_bytes());
    // Accounts of two apps never share a key by where the border lies.
    hash.update(&[0]);
    hash.update(route.account.as_str().as_bytes());
    hash.digest()
}

/// One number for all accounts of an app.
pub(super) fn key_of_app(route: &Route) -> u64 {
    xxh3_64(route.app.as_str().as_bytes())
}

/// The candidate with the highest score; of equal ones the first.
pub(super) fn best<'a>(
    candidates: impl Iterator<Item = (usize, &'a Candidate)>,
    key: u64,
) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for (index, candidate) in candidates {
        let score = score(candidate.service_id.as_str(), candidate.weight, key);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, index));
        }
    }
    best.map(|(_, index)| index)
}

/// Score of a name with a weight under a key.
pub(super) fn score(name: &str, weight: u32, key: u64) -> f64 {
    let hash = xxh3_64_with_seed(name.as_bytes(), key);
    // 53 bits, the precision of a double, shifted by half a step so that 0 < h < 1.
    let uniform = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight.max(1)) / uniform.ln()
}
