//! Packets on the client's wire.

use bytes::Bytes;
use imago_proto::{Limits, Packet, PacketError};

/// One packet.
pub fn packet(data: &[u8]) {
    let Ok(packet) = Packet::decode(Bytes::copy_from_slice(data)) else { return };
    let encoded = packet.encode();
    if let Packet::Logic(logic) = &packet {
        assert_eq!(encoded.len(), logic.encoded_len());
        assert!(logic.body.len() + 12 <= data.len(), "a body that was not sent");
        // A number that was cut short on the wire is longer in our encoding.
        if logic.encoded_len() - 12 - logic.body.len() > Limits::HEADER {
            return;
        }
    }
    assert_eq!(Packet::decode(encoded.clone()).as_ref(), Ok(&packet), "encoded again");
    for cut in [0, encoded.len() / 2, encoded.len() - 1] {
        let part = Packet::decode(encoded.slice(..cut));
        assert!(matches!(part, Err(PacketError::Truncated { .. })), "{cut} bytes: {part:?}");
    }
    let longer = Packet::decode([&*encoded, b"!"].concat().into());
    assert_eq!(longer, Err(PacketError::Trailing(1)));
}
