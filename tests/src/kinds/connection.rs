//! A connection to a gateway that reports trouble in place of ending the test.

use std::{io, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use imago_proto::{
    BasicCode, BasicPacket, Frame, Limits, LogicPacket, Opcode, Packet, command, msg::LoginReq,
    tcp, ws,
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Door, Transport};

/// Time to connect, and to be let in. A gateway that holds a login waits for a logic server.
const CONNECT: Duration = Duration::from_secs(15);
/// Time that a write may take: more than any gateway is frozen for.
const WRITE: Duration = Duration::from_secs(90);
/// What HTTP says before the frames begin, at most.
const HEAD_MAX: usize = 4 << 10;

pub(super) struct Connection {
    stream: TcpStream,
    framing: Framing,
    buffer: BytesMut,
}

enum Framing {
    Ws(ws::Decoder),
    Tcp(tcp::Decoder),
}

impl Connection {
    /// Connects and logs in.
    pub(super) async fn open(door: &Door, transport: Transport, token: &str) -> io::Result<Self> {
        let opened = timeout(CONNECT, async {
            let mut connection = Self::connect(door, transport).await?;
            let login = LoginReq { token: token.to_owned(), ..LoginReq::default() };
            connection.request(command::LOGIN_SIGNIN, 1, "", &login).await?;
            match connection.next().await? {
                Packet::Logic(answer) if answer.header.status == 0 => Ok(connection),
                other => Err(io::Error::other(format!("login refused: {other:?}"))),
            }
        });
        opened.await?
    }

    async fn connect(door: &Door, transport: Transport) -> io::Result<Self> {
        let mut buffer = BytesMut::new();
        let Transport::WebSocket = transport else {
            let stream = TcpStream::connect(&door.tcp).await?;
            let framing = Framing::Tcp(tcp::Decoder::new(Limits::default()));
            return Ok(Self { stream, framing, buffer });
        };
        let mut stream = TcpStream::connect(&door.ws).await?;
        let request = "GET / HTTP/1.1\r\nHost: imago\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if buffer.len() > HEAD_MAX || stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::Error::other("no upgrade to WebSocket"));
            }
        };
        if !buffer.starts_with(b"HTTP/1.1 101") {
            return Err(io::Error::other("upgrade to WebSocket refused"));
        }
        buffer.advance(end);
        let framing = Framing::Ws(ws::Decoder::new(ws::Peer::Server, Limits::default()));
        Ok(Self { stream, framing, buffer })
    }

    pub(super) async fn request(
        &mut self,
        command: &str,
        sequence: u32,
        dest: &str,
        body: &impl Message,
    ) -> io::Result<()> {
        let packet = LogicPacket::request(command, sequence, dest, body.encode_to_vec().into());
        self.send(packet.encode()).await
    }

    pub(super) async fn ping(&mut self) -> io::Result<()> {
        let ping = BasicPacket { code: BasicCode::Ping, body: Bytes::new() };
        self.send(ping.encode()).await
    }

    async fn send(&mut self, payload: Bytes) -> io::Result<()> {
        let (frame, mut bytes) = (Frame { opcode: Opcode::Binary, payload }, BytesMut::new());
        match self.framing {
            Framing::Ws(_) => ws::encode_masked(&frame, [9, 8, 7, 6], &mut bytes),
            Framing::Tcp(_) => tcp::encode(&frame, &mut bytes).map_err(io::Error::other)?,
        }
        timeout(WRITE, self.stream.write_all(&bytes)).await?
    }

    /// What comes next; an error for the end. Cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Packet> {
        loop {
            let frame = match &mut self.framing {
                Framing::Ws(decoder) => decoder.decode(&mut self.buffer),
                Framing::Tcp(decoder) => decoder.decode(&mut self.buffer),
            };
            match frame.map_err(io::Error::other)? {
                Some(frame) if frame.opcode == Opcode::Binary => {
                    return Packet::decode(frame.payload).map_err(io::Error::other);
                }
                Some(frame) if frame.opcode == Opcode::Close => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Some(_) => {}
                None => {
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }
}
