//! The client's wire with as little as possible around it, so that the servers are measured and
//! not the load.

use std::io::ErrorKind;

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use imago_proto::{
    Frame, Limits, LogicPacket, Opcode, Packet, Status, command,
    msg::{Flag, LoginReq},
    ws,
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

/// Room for what one read takes: some messages, and not much where ten thousand clients read.
pub(super) const READ: usize = 4096;

/// A client's reading side.
pub(super) struct Reader {
    socket: OwnedReadHalf,
    decoder: ws::Decoder,
    buffer: BytesMut,
}

/// A client's writing side.
pub(super) struct Writer {
    socket: OwnedWriteHalf,
}

/// Connects a WebSocket on which nobody has said anything.
pub(super) async fn open(url: &str) -> anyhow::Result<(Reader, Writer)> {
    let request = url.into_client_request().with_context(|| format!("{url}: expected ws://…"))?;
    let (host, port) = (request.uri().host().unwrap_or_default(), request.uri().port_u16());
    let stream = TcpStream::connect((host, port.unwrap_or(80))).await;
    let stream = stream.with_context(|| format!("cannot connect to {url}"))?;
    stream.set_nodelay(true)?;
    let (socket, _) = client_async(request, stream).await.with_context(|| url.to_owned())?;
    // Servers say nothing before the client does, so nothing is left in the library's buffer.
    let (read, write) = socket.into_inner().into_split();
    let decoder = ws::Decoder::new(ws::Peer::Server, Limits::default());
    Ok((Reader { socket: read, decoder, buffer: BytesMut::new() }, Writer { socket: write }))
}

/// Connects and logs in.
pub(super) async fn connect(url: &str, token: &str) -> anyhow::Result<(Reader, Writer)> {
    let (mut reader, mut writer) = open(url).await?;
    let login = LoginReq { token: token.to_owned(), ..LoginReq::default() };
    let login = LogicPacket::request(command::LOGIN_SIGNIN, 1, "", login.encode_to_vec().into());
    writer.send([login.encode()]).await?;
    let answer = reader.next().await?;
    if answer.header.status != Status::Success.code() {
        bail!("login refused with status {}", answer.header.status);
    }
    Ok((reader, writer))
}

/// Reads what has arrived, up to `room` bytes. Zero bytes: the other side has closed.
pub(super) async fn fill(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    room: usize,
) -> anyhow::Result<usize> {
    // Otherwise an empty buffer grows by a few bytes, and each message takes several reads.
    buffer.reserve(room);
    Ok(socket.read_buf(buffer).await?)
}

impl Reader {
    /// The next request's answer or push.
    pub(super) async fn next(&mut self) -> anyhow::Result<LogicPacket> {
        loop {
            if let Packet::Logic(packet) = Packet::decode(self.message().await?)? {
                return Ok(packet);
            }
        }
    }

    /// The next message, whatever it says.
    pub(super) async fn message(&mut self) -> anyhow::Result<Bytes> {
        loop {
            while let Some(frame) = self.decoder.decode(&mut self.buffer)? {
                match frame.opcode {
                    Opcode::Close => {
                        let code =
                            frame.payload.has_remaining().then(|| ws::close_code(&frame.payload));
                        bail!("closed by the gateway, code {}", code.flatten().unwrap_or_default());
                    }
                    Opcode::Binary => return Ok(frame.payload),
                    _ => {}
                }
            }
            if fill(&mut self.socket, &mut self.buffer, READ).await? == 0 {
                bail!("connection closed by the gateway");
            }
        }
    }
}

impl Writer {
    /// Sends packets in one write.
    pub(super) async fn send(
        &mut self,
        packets: impl IntoIterator<Item = Bytes>,
    ) -> anyhow::Result<()> {
        self.socket.write_all(&masked(packets)).await?;
        Ok(())
    }

    /// The same; says whether the connection took all of it at once.
    pub(super) async fn send_at_once(
        &mut self,
        packets: impl IntoIterator<Item = Bytes>,
    ) -> anyhow::Result<bool> {
        let bytes = masked(packets);
        let taken = match self.socket.try_write(&bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            taken => taken?,
        };
        let rest = bytes.get(taken..).unwrap_or_default();
        self.socket.write_all(rest).await?;
        Ok(rest.is_empty())
    }
}

fn masked(packets: impl IntoIterator<Item = Bytes>) -> BytesMut {
    let mut bytes = BytesMut::new();
    for packet in packets {
        // The key hides nothing from anybody on this machine; any will do.
        ws::encode_masked(&Frame::binary(packet), [1, 2, 3, 4], &mut bytes);
    }
    bytes
}

/// Whether a packet is a push.
pub(super) fn is_push(packet: &LogicPacket) -> bool {
    packet.header.flag() == Flag::Push
}
