//! What a store knows of the devices of an account: how far each has acknowledged.

use imago_proto::{Account, App, ConversationId, Seq, link::Mark};

use super::{Envelope, Stored};

/// A device of an account. Sessions that name none share the unnamed one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Tenant.
    pub app: App,
    /// Whose it is.
    pub account: Account,
    /// What its sessions call it; empty for the unnamed one.
    pub name: Box<str>,
}

/// Part of a conversation that a device was given: the sequences `from..=to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Which conversation.
    pub conversation: ConversationId,
    /// The first one; 0 where the device has everything before `to`, as clients say that know
    /// positions.
    pub from: Seq,
    /// The last one.
    pub to: Seq,
}

/// Messages from others that a device has not acknowledged, without what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Of each conversation in the order of its sequences; across conversations by message id as far
    /// as that allows.
    pub messages: Vec<Envelope>,
    /// What a device that has the list was given with it: of each conversation in the list all from
    /// the device's cursor on up to the last one listed, the account's own messages included.
    pub given: Vec<Given>,
}

/// Messages that a device misses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// Of each conversation in the order of its sequences; own ones too.
    pub messages: Vec<Stored>,
    /// What was committed before these were read.
    pub mark: Mark,
}
