//! Gateways with a logic server behind them: real links, real sockets, and a role that does what
//! the tests need of a logic server.

mod bounds;
mod delivery;
mod doors;
mod fan_out;
mod identity;
mod limits;
mod sessions;
pub(crate) mod support;
mod traffic;
mod transports;
