//! Which of two servers with one id holds it.
//!
//! An id may be used again: a server that starts after one that has died takes the id over, although the
//! dead one's entry still stands in the registry. But of two servers that live at once, exactly one
//! stays, and the other one ends with an error that says what to change. Before it registers, a server
//! reads what stands under its id and [asks](probe) whether that process lives: if so, it ends. What
//! that cannot tell, [`ClaimCore`] decides from what the registry shows later. No clocks of two machines
//! are compared, and nothing but reads and writes of a registry is needed.

mod core;
mod error;
mod probe;

use imago_kit::{LogLimit, authority};
use imago_naming::{Health, Instance, ServiceRegistration, ServiceState, meta_key};
use imago_proto::{Incarnation, ServiceId};

pub use self::error::Clash;
pub(crate) use self::{
    core::{ClaimCore, Refusal, Step},
    probe::{Prober, is_alive},
};

/// What a server says for itself where another one has its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// One more than that of the life that it took the id over from.
    pub(crate) generation: u64,
    pub(crate) incarnation: Incarnation,
}

impl Claim {
    /// Of two lives that took over from each other, the later one stays. Of two that started without
    /// seeing each other, that with the lower incarnation does: a number at random, but the same one
    /// for both.
    pub(crate) fn outranks(self, other: Self) -> bool {
        let rank = |claim: Self| (claim.generation, std::cmp::Reverse(claim.incarnation));
        rank(self) > rank(other)
    }
}

/// Another life of an id, as the registry shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rival {
    pub(crate) claim: Claim,
    /// `host:port` of its service.
    pub(crate) address: String,
    /// URL that answers while it lives.
    pub(crate) health_url: Option<String>,
    /// It drains, and will be gone.
    pub(crate) is_leaving: bool,
}

/// What a registry shows under one id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) has_own: bool,
    pub(crate) rivals: Vec<Rival>,
}

impl Listed {
    /// What stands under the id of the server with this incarnation. Entries without an incarnation are
    /// none of ours.
    pub(crate) fn of(instances: &[Instance], id: &ServiceId, own: Incarnation) -> Self {
        let entries = instances.iter().map(|instance| &instance.service);
        let lives = entries.filter(|entry| entry.id == id.as_str()).filter_map(rival);
        let (ours, rivals): (Vec<_>, Vec<_>) =
            lives.partition(|life| life.claim.incarnation == own);
        Self { has_own: !ours.is_empty(), rivals }
    }
}

fn rival(entry: &ServiceRegistration) -> Option<Rival> {
    Some(Rival {
        claim: claim_of(entry)?,
        address: authority(&entry.address, entry.port),
        health_url: entry.meta(meta_key::HEALTH_URL).map(ToOwned::to_owned),
        is_leaving: entry.state() == ServiceState::Leaving,
    })
}

/// The claim in an entry; `None` for one that is not a server of ours.
pub(crate) fn claim_of(entry: &ServiceRegistration) -> Option<Claim> {
    let incarnation = entry.meta(meta_key::INCARNATION)?.parse().ok()?;
    let generation = entry.meta(meta_key::GENERATION).and_then(|number| number.parse().ok());
    Some(Claim { generation: generation.unwrap_or_default(), incarnation })
}

/// Tells people of ids that stand in a registry twice.
#[derive(Debug)]
pub(crate) struct ClashLog(LogLimit);

impl Default for ClashLog {
    fn default() -> Self {
        Self(LogLimit::every(std::time::Duration::from_secs(60)))
    }
}

impl ClashLog {
    /// Logs a pair of healthy entries under one id, which are sorted by it.
    pub(crate) fn look(&self, instances: &[Instance]) {
        for pair in instances.windows(2) {
            let [a, b] = pair else { continue };
            let is_healthy = |instance: &Instance| instance.health == Health::Passing;
            if a.service.id == b.service.id && is_healthy(a) && is_healthy(b) {
                self.warn(&a.service, &b.service);
            }
        }
    }

    fn warn(&self, a: &ServiceRegistration, b: &ServiceRegistration) {
        let (Some(first), Some(second)) = (claim_of(a), claim_of(b)) else { return };
        if first.incarnation == second.incarnation {
            return;
        }
        let Some(more) = self.0.allow(&a.id) else { return };
        tracing::warn!(
            service = %a.id,
            first = %first.incarnation,
            first_address = authority(&a.address, a.port),
            second = %second.incarnation,
            second_address = authority(&b.address, b.port),
            "two entries in the registry have one service.id: if both servers live, one of them ends{more}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(incarnation: u64, generation: Option<&str>) -> Instance {
        let mut service = ServiceRegistration::new("gateway-1", "gateway", "::1", 80)
            .with_meta(meta_key::INCARNATION, Incarnation(incarnation).to_string());
        if let Some(generation) = generation {
            service = service.with_meta(meta_key::GENERATION, generation);
        }
        Instance { service, health: Health::Passing }
    }

    #[test]
    fn own_entries_and_those_of_others_are_told_apart_by_their_incarnations() {
        let mut stranger = entry(3, None);
        stranger.service.meta.clear();
        let mut other = entry(4, None);
        other.service.id = "gateway-2".into();
        let instances = [entry(1, Some("7")), entry(2, Some("x")), stranger, other];
        let listed = Listed::of(&instances, &"gateway-1".into(), Incarnation(1));
        assert!(listed.has_own);
        let [rival] = &listed.rivals[..] else { panic!("{listed:?}") };
        assert_eq!(rival.claim, Claim { generation: 0, incarnation: Incarnation(2) });
        assert_eq!(rival.address, "[::1]:80");
        assert!(!Listed::of(&instances, &"gateway-1".into(), Incarnation(9)).has_own);
    }

    #[test]
    fn of_any_two_lives_exactly_one_outranks_the_other() {
        let claims: Vec<Claim> = (0..3)
            .flat_map(|generation| {
                (0..3).map(move |number| Claim { generation, incarnation: Incarnation(number) })
            })
            .collect();
        for a in &claims {
            for b in &claims {
                assert_eq!(a.outranks(*b) ^ b.outranks(*a), a != b, "{a:?} and {b:?}");
            }
        }
    }
}
