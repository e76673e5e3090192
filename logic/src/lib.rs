//! A logic server of an Imago cluster: runs the handlers, knows every session of every gateway,
//! and keeps the messages.
//!
//! Own commands: [`handlers::router`]`().handle("my.command", my_handler)`, then [`serve`].

pub mod cli;
mod config;
mod context;
mod directory;
pub mod handlers;
mod layer;
mod members;
mod metrics;
mod notes;
mod router;
mod server;
mod service;
mod start_line;
pub mod store;
#[cfg(test)]
mod support;

pub use config::{DEFAULT_CONFIG, LogicConfig, SECRET_MIN};
pub use context::{Context, GroupRules};
pub use directory::{
    DevicePolicy, DirectoryConfig, DirectoryCore, DirectoryKind, Kick, RedisDirectory,
    RedisOptions, Replicated, Session, SessionDirectory,
};
pub use layer::{Layer, Recover, Timing};
pub use router::{Handler, Reject, Router};
pub use server::serve;
pub use service::WorkLimits;
