//! Devices of an account, and what each has acknowledged or misses.

use imago_proto::{Account, App, ConversationId, Seq, link::Mark};

use super::{Envelope, Stored};

/// A device of an account. Sessions that name no device share the unnamed one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Tenant.
    pub app: App,
    /// Its account.
    pub account: Account,
    /// The name that its sessions give; empty for the unnamed device.
    pub name: Box<str>,
}

/// A part of a conversation that a device was given: the sequences `from..=to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The conversation.
    pub conversation: ConversationId,
    /// The first sequence; 0 where the device has everything before `to`, which clients report that know
    /// sequences.
    pub from: Seq,
    /// The last sequence.
    pub to: Seq,
}

/// Messages from others that a device has not acknowledged, without their contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The messages, ordered as in [`MessageStore::sync`](super::MessageStore::sync).
    pub messages: Vec<Envelope>,
    /// The parts that a device is given by the list: of each conversation, everything from the device's
    /// cursor up to the last message listed, the account's own messages included.
    pub given: Vec<Given>,
}

/// Messages that a device misses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// The messages, ordered as in [`MessageStore::sync`](super::MessageStore::sync).
    pub messages: Vec<Stored>,
    /// The mark of everything committed before these were read.
    pub mark: Mark,
}
