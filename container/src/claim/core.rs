//! The rule by which exactly one of two servers with one id stays, as a pure state machine.
//!
//! Each life of an id has a [`Claim`], which stands in its entry: a generation, one more than the
//! highest that it read before it registered, and its incarnation. A life that sees a claim that
//! outranks its own cannot know whether that one lives, or died right after it registered. So it raises
//! its own above it, once, and writes its entry again. The other one, if it lives, sees that the claim
//! has risen: only a life that lives can raise its claim. Then it gives way. So, of a server that works
//! and one that comes later, and could not find out that the first one lives, the later one ends.
//!
//! A life that was cut off — it stood still, or could not read the registry, or reach its peers — gives way
//! at once where it finds that its id was taken over meanwhile.
//!
//! At most one of two ends: a life ends only when it sees a claim that outranks its own, and raises its
//! own no more after that, so the other one cannot see itself outranked. At least one ends while both
//! see each other: of two claims one outranks the other, and whom it outranks raises or ends.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use imago_proto::Incarnation;

use super::{Claim, Listed, Rival};

/// How long a life that was cut off takes into account that its id may have been taken over: longer than
/// registries take to tell (Eureka's caches: half a minute).
const DOUBT: Duration = Duration::from_secs(60);
/// How long a life without any link is refused for the same rival before it believes that: longer than the
/// registry mostly takes to tell.
const REFUSED_LONG: Duration = Duration::from_secs(10);
/// Refusals that are further apart are not of one time: several attempts to link fit in between.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// Rivals that are remembered. Overflow policy: those that the registry does not show are forgotten.
const REMEMBERED: usize = 64;

/// A peer refuses a link, because it has one with another life of the id, which answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) holder: Incarnation,
    /// Where the holder is, for people.
    pub(crate) address: String,
    /// This life has a link elsewhere.
    pub(crate) has_links: bool,
}

/// Refusals in a row.
#[derive(Clone, Copy, Debug)]
struct Refused {
    holder: Incarnation,
    since: Instant,
    last: Instant,
}

/// What a life has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Stay,
    /// Write the entry, with the claim of now: this one is in its place, or outranked it.
    Write(Rival),
    /// End: this one holds the id.
    End(Rival),
}

/// One life's view of its id.
#[derive(Clone, Debug)]
pub(crate) struct ClaimCore {
    own: Claim,
    /// Generations of the others that it found at its start.
    found: BTreeMap<Incarnation, u64>,
    /// Highest generations of all others since.
    known: BTreeMap<Incarnation, u64>,
    /// The registry has shown the own entry.
    was_listed: bool,
    doubt_until: Option<Instant>,
    refused: Option<Refused>,
}

// === impl ClaimCore ===

impl ClaimCore {
    /// The claim of a life that found these others under its id, none of which lives.
    pub(crate) fn new(incarnation: Incarnation, dead: &[Rival]) -> Self {
        let found: BTreeMap<_, _> =
            dead.iter().map(|rival| (rival.claim.incarnation, rival.claim.generation)).collect();
        let highest = found.values().copied().max().unwrap_or_default();
        let own = Claim { generation: highest.saturating_add(1), incarnation };
        Self {
            own,
            known: found.clone(),
            found,
            was_listed: false,
            doubt_until: None,
            refused: None,
        }
    }

    /// What is to stand in the own entry.
    pub(crate) fn generation(&self) -> u64 {
        self.own.generation
    }

    /// This process stood still, or could not read the registry, or reach its peers, until `now`.
    pub(crate) fn cut_off(&mut self, now: Instant) {
        self.doubt_until = Some(now + DOUBT);
    }

    /// The registry shows this.
    pub(crate) fn see(&mut self, listed: &Listed, now: Instant) -> Step {
        self.forget_the_gone(listed);
        let mut step = Step::Stay;
        for rival in &listed.rivals {
            match self.judge(rival, listed.has_own, now) {
                Step::Stay => {}
                Step::Write(rival) => step = Step::Write(rival),
                end @ Step::End(_) => return end,
            }
        }
        self.was_listed |= listed.has_own;
        step
    }

    /// Returns whether the holder that a peer names holds the id. One that has no links serves no client,
    /// so that it does no harm where it ends.
    pub(crate) fn refused(&mut self, refusal: &Refusal, now: Instant) -> bool {
        let holder = refusal.holder;
        let outranks = |generation: &u64| {
            Claim { generation: *generation, incarnation: holder }.outranks(self.own)
        };
        let may_be_replaced = self.known.get(&holder).is_none_or(outranks);
        let is_one_row = |row: &Refused| row.holder == holder && now - row.last < REFUSED_PAUSE;
        let since = self.refused.filter(is_one_row).map_or(now, |row| row.since);
        self.refused = (!refusal.has_links).then_some(Refused { holder, since, last: now });
        let is_refused_long = !refusal.has_links && now - since >= REFUSED_LONG;
        is_refused_long || (may_be_replaced && self.is_in_doubt(now))
    }

    fn judge(&mut self, rival: &Rival, has_own: bool, now: Instant) -> Step {
        let Claim { generation, incarnation } = rival.claim;
        let before = self.known.get(&incarnation).copied();
        self.known.insert(incarnation, before.unwrap_or_default().max(generation));
        let (is_new, has_risen) = (before.is_none(), before.is_some_and(|old| old < generation));
        if rival.claim.outranks(self.own) {
            if has_risen || self.is_in_doubt(now) {
                return Step::End(rival.clone());
            }
            self.own.generation = generation.saturating_add(1);
            return Step::Write(rival.clone());
        }
        if has_own {
            return Step::Stay;
        }
        if is_new && self.is_in_doubt(now) {
            return Step::End(rival.clone());
        }
        // What was there before is shown until the own entry is. Anything else was written over it.
        let was_there = self.found.get(&incarnation) == Some(&generation);
        if was_there && !self.was_listed { Step::Stay } else { Step::Write(rival.clone()) }
    }

    fn is_in_doubt(&self, now: Instant) -> bool {
        self.doubt_until.is_some_and(|until| now < until)
    }

    fn forget_the_gone(&mut self, listed: &Listed) {
        if self.known.len() < REMEMBERED {
            return;
        }
        self.known.retain(|incarnation, _| {
            listed.rivals.iter().any(|rival| rival.claim.incarnation == *incarnation)
        });
    }
}

#[cfg(test)]
mod tests;
