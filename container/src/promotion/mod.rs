//! How a server grows from Young to Adult: two pure state machines, one for each side of a link.
//!
//! A gateway waits for every logic server whose flag is up, a logic server for every gateway, and
//! both write their own flag before they look: of a joining pair at least one sees the other, as
//! in Dekker's algorithm. No clock, socket or task is inside; the runtime feeds events and
//! carries out actions, and the model test feeds them in every order.

mod fitness;
mod gateway;
mod gateway_links;
mod logic;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use fitness::Fitness;
pub use gateway::{GatewayAction, GatewayCore, GatewayEvent, GatewayPhase};
pub use logic::{LogicAction, LogicCore, LogicEvent, LogicPhase};

use imago_proto::ServiceId;

use crate::PeerId;

/// Times that promotion depends on. None of them promotes by itself.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a peer may be critical in the registry before it counts as gone: longer than one
    /// check interval, because a restarted agent shows healthy servers as critical until then.
    pub critical_grace: Duration,
    /// After how long a logic server promotes without gateways it cannot reach, if it has links
    /// with a majority.
    pub exclude_after: Duration,
    /// How often a degraded gateway asks for redelivery.
    pub redeliver_interval: Duration,
    /// How long a gateway may be without a link with a grown-up logic server before it hands its clients
    /// over.
    pub isolated: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            critical_grace: Duration::from_secs(15),
            exclude_after: Duration::from_secs(30),
            redeliver_interval: Duration::from_secs(5),
            isolated: Duration::from_secs(5),
        }
    }
}

/// A gateway as the registry shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRecord {
    /// Which life of which gateway.
    pub peer: PeerId,
    /// It drains: nobody needs to wait for it.
    pub leaving: bool,
    /// Since when its health check fails.
    pub critical_since: Option<Instant>,
}

/// A logic server as the registry shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicRecord {
    /// Which life of which server.
    pub peer: PeerId,
    /// It is Adult, or about to be.
    pub flag_up: bool,
    /// It drains.
    pub leaving: bool,
    /// Since when its health check fails.
    pub critical_since: Option<Instant>,
    /// Gateways that it promoted without.
    pub excluded: Vec<ServiceId>,
}

/// Whether a peer has failed its check for longer than the grace.
fn is_gone(critical_since: Option<Instant>, grace: Duration, now: Instant) -> bool {
    critical_since.is_some_and(|since| now.saturating_duration_since(since) > grace)
}
