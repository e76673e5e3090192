//! What the connections of a gateway use.

use std::sync::Arc;

use imago_container::GatewayHandle;

use crate::{
    auth::Authenticator, config::ClientLimits, fan_out::FanOut, lifecycle::Lifecycle,
    limit::RateLimit, memory::Memory, session::Sessions,
};

/// What each connection of a gateway uses. The role and the listeners have parts of it.
pub(crate) struct ConnectionContext {
    pub(crate) handle: GatewayHandle,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) fan_out: Arc<FanOut>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) rate_limit: Arc<dyn RateLimit>,
    pub(crate) limits: ClientLimits,
    /// What all connections hold together.
    pub(crate) memory: Arc<Memory>,
    pub(crate) life: Arc<Lifecycle>,
}
