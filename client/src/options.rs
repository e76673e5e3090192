//! Options of a client.

use std::time::Duration;

use imago_proto::msg::LoginReq;

use crate::{backoff::Backoff, transport::Endpoint};

/// The party that acknowledges messages, after which the server does not deliver them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckMode {
    /// The client itself, for a message when the application asks the stream for the next one.
    #[default]
    OnConsumption,
    /// The application, by [`Client::ack`](crate::Client::ack). Where more than 2000 messages are
    /// waiting on a server without `chat.sync`, further ones come only once the first are
    /// acknowledged.
    Manual,
}

/// Everything the parts of a client are configured with.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) gateways: Vec<Endpoint>,
    pub(crate) login: LoginReq,
    pub(crate) acks: AckMode,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) talk_deadline: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) pong_timeout: Duration,
    pub(crate) backoff: Backoff,
    /// Messages that wait for the application before pushes are left to a later sync.
    pub(crate) queue: usize,
    /// First gateway to try.
    pub(crate) first: usize,
}
