//! A push of a stored message, as ledgers look at it.

use std::sync::Arc;
use std::{cell::OnceCell, hash::BuildHasher, sync::LazyLock};

use foldhash::fast::RandomState;
use imago_proto::link::Place;

/// A stored message that is pushed to some sessions. What is the same for all receivers is made once.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(super) place: &'a Place,
    /// Part of a redelivery.
    pub(super) again: bool,
    pub(super) hash: u64,
    name: OnceCell<Arc<str>>,
}

// === impl Message ===

impl<'a> Message<'a> {
    /// Returns `None` for a place without a position, which nothing is known of.
    pub(crate) fn new(place: &'a Place, again: bool) -> Option<Self> {
        let hash = hash_of(&place.conversation);
        (place.seq > 0).then(|| Self { place, again, hash, name: OnceCell::new() })
    }

    pub(crate) fn place(&self) -> &'a Place {
        self.place
    }

    pub(crate) fn is_again(&self) -> bool {
        self.again
    }

    /// Name of the conversation, shared by all ledgers that first hear of it by this message.
    pub(super) fn name(&self) -> &Arc<str> {
        self.name.get_or_init(|| self.place.conversation.as_str().into())
    }
}

/// Hash of a conversation's name. Clients have a say in names, so each process hashes its own way.
pub(super) fn hash_of(name: &str) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    STATE.hash_one(name)
}
