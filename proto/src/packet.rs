//! The two kinds of packet on the client's wire: `LogicPacket` and `BasicPacket`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{
    Limits, Status, command,
    msg::{ErrorResp, Flag, Header},
};

/// Magic of a [`LogicPacket`].
const LOGIC_MAGIC: u32 = 0xc311_a365;
/// Magic of a [`BasicPacket`].
const BASIC_MAGIC: u32 = 0xc315_a765;

/// Code of a [`BasicPacket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BasicCode {
    /// Asks for a pong, which shows that the other side is alive.
    Ping,
    /// Answer to a ping.
    Pong,
    /// A code of a later version: ignored.
    Other(u16),
}

impl BasicCode {
    const fn code(self) -> u16 {
        match self {
            Self::Ping => 1,
            Self::Pong => 2,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Ping,
            2 => Self::Pong,
            other => Self::Other(other),
        }
    }
}

/// Heartbeat packet, answered by the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicPacket {
    /// What it asks or answers.
    pub code: BasicCode,
    /// At most 65,535 bytes; empty in every packet that we send.
    pub body: Bytes,
}

impl BasicPacket {
    /// Every ping is answered with this, whatever its body.
    pub const PONG: Self = Self { code: BasicCode::Pong, body: Bytes::new() };
    /// What a client sends to keep its connection.
    pub const PING: Self = Self { code: BasicCode::Ping, body: Bytes::new() };
}

/// A request, response or push: a header that a gateway reads, and a body that only handlers do.
#[derive(Clone, Debug, PartialEq)]
pub struct LogicPacket {
    /// Command, channel, sequence, status, destination.
    pub header: Header,
    /// A protobuf message that depends on the command; a slice of the received buffer.
    pub body: Bytes,
}

impl LogicPacket {
    /// A client's request.
    pub fn request(command: &str, sequence: u32, dest: &str, body: Bytes) -> Self {
        let header =
            Header { command: command.into(), sequence, dest: dest.into(), ..Header::default() };
        Self { header, body }
    }

    /// The answer to `request`, sent to `channel_id`.
    pub fn response(request: Header, channel_id: &str, status: Status, body: Bytes) -> Self {
        let header = Header {
            channel_id: channel_id.into(),
            flag: Flag::Response.into(),
            status: status.code(),
            meta: Vec::new(),
            ..request
        };
        Self { header, body }
    }

    /// The answer that refuses `request`, with words for its developer. Old clients read a list out
    /// of the answer to an offline index, whatever its status, so there it is an empty one.
    pub fn refusal(request: Header, channel_id: &str, status: Status, why: &str) -> Self {
        let body = match request.command.as_str() {
            command::CHAT_OFFLINE_INDEX => Bytes::new(),
            _ => ErrorResp { message: why.to_owned() }.encode_to_vec().into(),
        };
        Self::response(request, channel_id, status, body)
    }

    /// A push of `command` to `dest`: the receiver's account, or a group id for group talk.
    pub fn push(command: &str, dest: &str, body: Bytes) -> Self {
        let header = Header {
            command: command.into(),
            flag: Flag::Push.into(),
            dest: dest.into(),
            ..Header::default()
        };
        Self { header, body }
    }

    /// Bytes this packet takes on the wire.
    pub fn encoded_len(&self) -> usize {
        12 + self.header.encoded_len() + self.body.len()
    }
}

/// Anything a client or gateway may send in one binary frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    /// A request, response or push.
    Logic(LogicPacket),
    /// A heartbeat.
    Basic(BasicPacket),
}

/// Why bytes are not a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Neither magic.
    #[error("expected the magic c311a365 or c315a765, got {0:08x}")]
    Magic(u32),
    /// Fewer bytes than the packet says it has.
    #[error("packet ends after {have} bytes, expected {need}")]
    Truncated {
        /// Bytes that the packet says it has, up to where it was read.
        need: u64,
        /// Bytes there are.
        have: usize,
    },
    /// More bytes than the packet says it has.
    #[error("{0} bytes follow the packet, expected none")]
    Trailing(usize),
    /// A header over [`Limits::HEADER`].
    #[error("header of {announced} bytes is over the limit of {limit}")]
    HeaderTooLarge {
        /// What the peer announced, in bytes.
        announced: usize,
        /// What is accepted, in bytes.
        limit: usize,
    },
    /// The header is no protobuf `Header`.
    #[error("header does not decode: {0}")]
    Header(prost::DecodeError),
}

impl Packet {
    /// Reads one whole packet. The body is a slice of `bytes`, not a copy.
    ///
    /// # Errors
    /// When `bytes` are not exactly one packet; nothing is allocated for announced lengths.
    pub fn decode(mut bytes: Bytes) -> Result<Self, PacketError> {
        let have = bytes.len();
        match take_u32(&mut bytes, have)? {
            LOGIC_MAGIC => {
                let header_bytes = take_header(&mut bytes, have)?;
                let body = take_block(&mut bytes, have)?;
                expect_end(&bytes)?;
                let header = Header::decode(header_bytes).map_err(PacketError::Header)?;
                Ok(Self::Logic(LogicPacket { header, body }))
            }
            BASIC_MAGIC => {
                if bytes.len() < 4 {
                    return Err(PacketError::Truncated { need: 8, have });
                }
                let code = BasicCode::from_code(bytes.get_u16());
                let len = usize::from(bytes.get_u16());
                if bytes.len() < len {
                    return Err(PacketError::Truncated { need: 8 + len as u64, have });
                }
                let body = bytes.split_to(len);
                expect_end(&bytes)?;
                Ok(Self::Basic(BasicPacket { code, body }))
            }
            other => Err(PacketError::Magic(other)),
        }
    }

    /// The bytes of this packet.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Logic(packet) => packet.encode(),
            Self::Basic(packet) => packet.encode(),
        }
    }
}

impl LogicPacket {
    /// The bytes of this packet.
    pub fn encode(&self) -> Bytes {
        encode(&self.header, self.body.len(), |place| place.put_slice(&self.body))
    }

    /// The bytes of a [`push`](Self::push), without a copy of its body.
    pub fn encode_push(command: &str, dest: &str, body: &impl Message) -> Bytes {
        let Self { header, .. } = Self::push(command, dest, Bytes::new());
        encode(&header, body.encoded_len(), |place| body.encode_raw(place))
    }
}

fn encode(header: &Header, body_len: usize, put_body: impl FnOnce(&mut &mut [u8])) -> Bytes {
    let header_len = header.encoded_len();
    let mut out = vec![0; 12 + header_len + body_len];
    // Into a slice, because a buffer that can grow checks that for every byte.
    let mut place = out.as_mut_slice();
    place.put_u32(LOGIC_MAGIC);
    // Lengths fit: both parts come from frames or handlers capped far below 4 GiB.
    place.put_u32(header_len as u32);
    header.encode_raw(&mut place);
    place.put_u32(body_len as u32);
    put_body(&mut place);
    out.into()
}

impl BasicPacket {
    /// The bytes of this packet; a body over 65,535 bytes is cut there.
    pub fn encode(&self) -> Bytes {
        let len = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
        let mut out = BytesMut::with_capacity(8 + usize::from(len));
        out.put_u32(BASIC_MAGIC);
        out.put_u16(self.code.code());
        out.put_u16(len);
        out.put_slice(&self.body.slice(..usize::from(len)));
        out.freeze()
    }
}

fn take_u32(bytes: &mut Bytes, whole: usize) -> Result<u32, PacketError> {
    if bytes.len() < 4 {
        let need = (whole - bytes.len()) as u64 + 4;
        return Err(PacketError::Truncated { need, have: whole });
    }
    Ok(bytes.get_u32())
}

fn take_header(bytes: &mut Bytes, whole: usize) -> Result<Bytes, PacketError> {
    let header = take_block(bytes, whole)?;
    if header.len() > Limits::HEADER {
        let announced = header.len();
        return Err(PacketError::HeaderTooLarge { announced, limit: Limits::HEADER });
    }
    Ok(header)
}

fn take_block(bytes: &mut Bytes, whole: usize) -> Result<Bytes, PacketError> {
    let len = take_u32(bytes, whole)? as usize;
    if bytes.len() < len {
        let need = (whole - bytes.len()) as u64 + len as u64;
        return Err(PacketError::Truncated { need, have: whole });
    }
    Ok(bytes.split_to(len))
}

fn expect_end(bytes: &Bytes) -> Result<(), PacketError> {
    if bytes.is_empty() { Ok(()) } else { Err(PacketError::Trailing(bytes.len())) }
}
