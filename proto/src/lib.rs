//! Wire format of an Imago cluster, sans-IO: what a client and a gateway, and a gateway and a
//! logic server, say to each other, as bytes.
//!
//! Nothing in this crate opens a socket or reads a clock. Decoders take a buffer and say what is
//! in it; the owner of the socket feeds them.

pub mod close;
pub mod command;
mod frame;
mod id;
mod limits;
mod link_frame;
mod mark;
mod packet;
mod session_batch;
mod stamp;
mod status;
pub mod tcp;
pub mod ws;

pub use frame::{Frame, FrameError, Opcode};
pub use id::{
    Account, App, ChannelId, ConversationId, GroupId, Incarnation, Seq, ServiceId, SessionId,
};
pub use limits::Limits;
pub use link_frame::{LinkDecoder, LinkError, LinkFrame};
pub use mark::COMMIT_UNKNOWN;
pub use packet::{BasicCode, BasicPacket, LogicPacket, Packet, PacketError};
pub use session_batch::{
    ChannelView, EncodedSessions, SessionBatch, SessionReader, SessionView, ToldSession,
    session_views,
};
pub use stamp::Stamp;
pub use status::Status;

/// Messages on the client's wire, generated from `proto/client.proto`.
pub mod msg {
    #![allow(missing_docs, clippy::all)]
    include!("generated/imago.client.v1.rs");
}

/// Messages on the inner link, generated from `proto/link.proto`.
pub mod link {
    #![allow(missing_docs, clippy::all)]
    include!("generated/imago.link.v1.rs");
}
