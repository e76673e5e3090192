//! The client's wire with as little as possible around it, so that the servers are measured and
//! not the load.

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use imago_proto::{
    Frame, Limits, LogicPacket, Opcode, Packet, Status, command,
    msg::{Flag, LoginReq},
    ws,
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

/// A logged-in client's reading side.
pub(super) struct Reader {
    socket: OwnedReadHalf,
    decoder: ws::Decoder,
    buffer: BytesMut,
}

/// A logged-in client's writing side.
pub(super) struct Writer {
    socket: OwnedWriteHalf,
}

/// Connects and logs in.
pub(super) async fn connect(url: &str, token: &str) -> anyhow::Result<(Reader, Writer)> {
    let request = url.into_client_request().with_context(|| format!("{url}: expected ws://…"))?;
    let (host, port) = (request.uri().host().unwrap_or_default(), request.uri().port_u16());
    let stream = TcpStream::connect((host, port.unwrap_or(80))).await;
    let stream = stream.with_context(|| format!("cannot connect to {url}"))?;
    stream.set_nodelay(true)?;
    let (socket, _) = client_async(request, stream).await.with_context(|| url.to_owned())?;
    // The server says nothing before the login, so nothing is left in the library's buffer.
    let (read, write) = socket.into_inner().into_split();
    let decoder = ws::Decoder::new(ws::Peer::Server, Limits::default());
    let mut reader = Reader { socket: read, decoder, buffer: BytesMut::new() };
    let mut writer = Writer { socket: write };
    let login = LoginReq { token: token.to_owned(), ..LoginReq::default() };
    let login = LogicPacket::request(command::LOGIN_SIGNIN, 1, "", login.encode_to_vec().into());
    writer.send([login.encode()]).await?;
    let answer = reader.next().await?;
    if answer.header.status != Status::Success.code() {
        bail!("login refused with status {}", answer.header.status);
    }
    Ok((reader, writer))
}

impl Reader {
    /// The next request's answer or push.
    pub(super) async fn next(&mut self) -> anyhow::Result<LogicPacket> {
        loop {
            while let Some(frame) = self.decoder.decode(&mut self.buffer)? {
                match frame.opcode {
                    Opcode::Close => {
                        let code =
                            frame.payload.has_remaining().then(|| ws::close_code(&frame.payload));
                        bail!("closed by the gateway, code {}", code.flatten().unwrap_or_default());
                    }
                    Opcode::Binary => {
                        if let Packet::Logic(packet) = Packet::decode(frame.payload)? {
                            return Ok(packet);
                        }
                    }
                    _ => {}
                }
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
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
        let mut bytes = BytesMut::new();
        for packet in packets {
            // The key hides nothing from anybody on this machine; any will do.
            ws::encode_masked(&Frame::binary(packet), [1, 2, 3, 4], &mut bytes);
        }
        self.socket.write_all(&bytes).await?;
        Ok(())
    }
}

/// Whether a packet is a push.
pub(super) fn is_push(packet: &LogicPacket) -> bool {
    packet.header.flag() == Flag::Push
}
