//! Bounds on what a peer may announce, checked before anything is allocated for it.

/// Bytes a decoder accepts in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of one frame or reassembled message, in bytes.
    pub payload: usize,
}

impl Limits {
    /// Cap on a client's packet unless configured otherwise: 1 MiB (docs/wire.md, "Framing").
    pub const DEFAULT_PAYLOAD: usize = 1 << 20;

    /// Cap on what we send in one frame to a client: less than 1 MiB, because old clients have
    /// buffers of that size.
    pub const OUTBOUND_PAYLOAD: usize = (1 << 20) - 1;

    /// Cap on the header of a packet: 16 KiB. A decoded header takes up to thirty times its bytes
    /// (an empty meta is two bytes on the wire), and it is decoded before the login.
    pub const HEADER: usize = 16 << 10;
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload: Self::DEFAULT_PAYLOAD }
    }
}
