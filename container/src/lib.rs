//! Runtime of an Imago server: it registers itself, links with its peers, grows from Young to
//! Adult, takes part in the traffic, and leaves without losing a message.
//!
//! `gateway` and `logic` are built on this crate; [`GatewayRole`] and [`LogicRole`] are the seam.

mod claim;
mod config;
mod container;
mod defaults;
mod error;
mod gateway_side;
mod hlc;
mod link;
mod logic_side;
mod metrics;
pub mod monitor;
pub mod promotion;
mod role;
mod runtime;
pub mod selector;
mod slots;
#[cfg(test)]
mod tests;

pub use claim::Clash;
pub use config::{ContainerConfig, ForwardConfig, ServerInfo, naming_url};
pub use container::{Container, ContainerBuilder};
pub use defaults::{GATEWAY_DEFAULTS, LOGIC_DEFAULTS, PROGRAMS};
pub use error::Error;
pub use gateway_side::{GatewayHandle, Lane};
pub use link::LinkConfig;
pub use logic_side::{LogicHandle, Redelivery, Trouble};
pub use metrics::metrics_recorder;
pub use role::{GatewayRole, LaneOwner, LogicRole, PeerId, Request, Route, SyncBatch};
pub use slots::{Slot, Slots};
