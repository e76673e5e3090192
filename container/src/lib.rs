//! Runtime of an Imago server: it registers itself, links with its peers, grows from Young to
//! Adult, takes part in the traffic, and leaves without losing a message.
//!
//! `gateway` and `logic` are built on this crate; [`GatewayRole`] and [`LogicRole`] are the seam.

mod claim;
pub mod cli;
mod clock;
mod config;
mod container;
mod error;
mod forward;
mod hlc;
pub mod io;
mod link;
mod log_context;
mod meter;
mod metrics;
pub mod monitor;
pub mod promotion;
mod recorder;
mod role;
mod roster;
mod runtime;
pub mod scheduling;
pub mod selector;
pub mod settings;
mod slots;
pub mod telemetry;

pub use claim::Clash;
pub use clock::unix_nanos;
pub use config::{ContainerConfig, ServerInfo};
pub use container::{Container, ContainerBuilder};
pub use error::Error;
pub use forward::{ForwardConfig, Lane};
pub use link::LinkConfig;
pub use log_context::{LogContext, in_log_context};
pub use meter::{HotCounter, HotGauge, HotHistogram};
pub use recorder::{Recorded, metrics_recorder};
pub use role::{GatewayRole, LaneOwner, LogicRole, PeerId, Request, Route};
pub use runtime::{Backoff, GatewayHandle, LogicHandle, Redelivery, Trouble};
pub use slots::{Slot, Slots};
