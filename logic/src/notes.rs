//! Notes for the gateway beside the packet of an answer.

use std::sync::Arc;

use imago_proto::link;

/// What the gateway learns with an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Notes {
    /// The session's own message that the request stored.
    pub(crate) place: Option<Arc<link::Place>>,
    /// The parts that the answer gives the session, in order.
    pub(crate) given: Vec<link::Given>,
    /// For a login, the mark of everything committed before.
    pub(crate) mark: Option<link::Mark>,
    /// The cursors of the session's device.
    pub(crate) acked: Vec<link::Given>,
}
