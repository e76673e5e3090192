//! A gateway of an Imago cluster: holds the clients, checks who they are, forwards their requests
//! in order, and pushes what is for them.
//!
//! Own authentication, admission, rate limits, selection, registry or transport: give it to the
//! [`Builder`] of a [`Gateway`].

mod accept;
mod answers;
mod auth;
mod builder;
pub mod cli;
mod codec;
mod config;
mod connection;
mod context;
mod delivery;
mod descriptors;
mod fan_out;
mod gateway;
mod ledger;
mod lifecycle;
mod limit;
mod memory;
mod metrics;
mod outbox;
mod read_buffer;
mod redelivery;
mod role;
mod session;
mod start_line;
#[cfg(test)]
mod tests;
mod transport;
mod upgrade;

pub use auth::{AuthError, Authenticator, Credentials, HmacAlgorithm, Identity, JwtAuthenticator};
pub use builder::Builder;
pub use config::{ClientLimits, DEFAULT_CONFIG, GatewayConfig, SECRET_MIN};
pub use gateway::Gateway;
pub use limit::{AcceptAll, Acceptor, ConnectionRate, RateLimit, TokenBuckets};
pub use transport::{Address, Framing, Tcp, TlsPeer, Transport, WebSocket, unread};
pub use upgrade::UpgradeRequest;
