//! What a gateway is told beside the packet of an answer.

use std::sync::Arc;

use imago_proto::link;

/// What the gateway is told with an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Notes {
    /// The session's own message that the request stored.
    pub(crate) place: Option<Arc<link::Place>>,
    /// What the answer gives the session, in its order.
    pub(crate) given: Vec<link::Given>,
    /// Of a login: what was committed before.
    pub(crate) mark: Option<link::Mark>,
    /// How far the session's device has acknowledged.
    pub(crate) acked: Vec<link::Given>,
}
