//! How a gateway chooses the logic server of a session.

mod hash;
mod simple;
#[cfg(test)]
mod tests;
mod zone;

use std::sync::Arc;

use imago_proto::ServiceId;

pub use hash::Hash;
pub use simple::{LeastPending, Random, RoundRobin};
pub use zone::{Spread, Zone, ZoneRules};

use crate::Route;
use imago_kit::settings::Settings;

/// A server that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub service_id: ServiceId,
    /// Its zone, or empty.
    pub zone: Arc<str>,
    /// Its share of the traffic, 1 or more.
    pub weight: u32,
    /// Requests that it has not answered to this gateway.
    pub pending: usize,
}

/// Picks one server.
pub trait Selector: Send + Sync + 'static {
    /// Index of the server for this session; `None` where there is none. `candidates` are sorted
    /// by id, so every gateway sees them in the same order.
    fn pick(&self, candidates: &[Candidate], route: &Route) -> Option<usize>;
}

/// Reads the `selector` section. Errors are collected in `settings`.
pub fn read(settings: &mut Settings) -> Arc<dyn Selector> {
    let kinds = ["hash", "round_robin", "random", "least_pending", "zone"];
    let kind = settings.choice("selector.kind", &kinds);
    let rules = ZoneRules::read(settings);
    match kind.as_str() {
        "round_robin" => Arc::new(RoundRobin::default()),
        "random" => Arc::new(Random),
        "least_pending" => Arc::new(LeastPending),
        "zone" => Arc::new(Zone::new(rules)),
        _ => Arc::new(Hash),
    }
}
