//! Runtime of an Imago server: it registers itself, links with its peers, grows from Young to
//! Adult, takes part in the traffic, and leaves without losing a message.
//!
//! `gateway` and `logic` are built on this crate; [`GatewayRole`] and [`LogicRole`] are the seam.

mod build_info;
mod claim;
pub mod cli;
mod config;
mod container;
mod error;
mod forward;
mod hlc;
pub mod io;
mod library_log;
mod link;
mod log_context;
mod metrics;
pub mod monitor;
mod open_files;
pub mod promotion;
mod role;
mod roster;
mod runtime;
pub mod scheduling;
pub mod selector;
pub mod settings;
mod slots;
pub mod telemetry;

pub use build_info::{COMMIT, VERSION};
pub use claim::Clash;
pub use config::{ContainerConfig, ServerInfo, naming_url};
pub use container::{Container, ContainerBuilder};
pub use error::Error;
pub use forward::{ForwardConfig, Lane};
pub use imago_kit::unix_nanos;
pub use link::LinkConfig;
pub use log_context::{LogContext, in_log_context};
pub use metrics::metrics_recorder;
pub use open_files::{FILES_RESERVED, raise_open_files};
pub use role::{GatewayRole, LaneOwner, LogicRole, PeerId, Request, Route};
pub use runtime::{Backoff, GatewayHandle, LogicHandle, Redelivery, Trouble};
pub use slots::{Slot, Slots};
