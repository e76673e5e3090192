//! A gateway of an Imago cluster: holds the clients, checks who they are, forwards their requests
//! in order, and pushes what is for them.
//!
//! Own authentication, admission, rate limits or selection: change [`Extensions`] and
//! [`GatewayConfig`], then [`serve`].

mod accept;
mod answers;
mod auth;
pub mod cli;
mod config;
mod connection;
mod delivery;
mod descriptors;
mod fan_out;
mod gateway;
mod ledger;
mod limit;
mod memory;
mod metrics;
mod outbox;
mod read_buffer;
mod redelivery;
mod role;

mod codec;
mod session;
mod start_line;
#[cfg(test)]
mod tests;
mod upgrade;

pub use auth::{Authenticator, HmacAlgorithm, Identity, JwtAuthenticator, Unauthorized};
pub use config::{ClientLimits, DEFAULT_CONFIG, GatewayConfig, SECRET_MIN};
pub use gateway::{Extensions, Server, serve};
pub use limit::{AcceptAll, Acceptor, ConnectionRate, RateLimit, TokenBuckets};
