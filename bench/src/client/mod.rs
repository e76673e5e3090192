//! Clients: what connects, logs in, sends and receives.

pub(crate) mod connect;
pub(crate) mod crowd;
pub(crate) mod failure;
pub(crate) mod glance;
pub(crate) mod outbox;
pub(crate) mod pace;
pub(crate) mod positions;
pub(crate) mod talker;
pub(crate) mod target;
pub(crate) mod tokens;
pub(crate) mod unanswered;
pub(crate) mod wire;
