//! A client that says on the wire whatever a test wants.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use imago_proto::{
    Frame, Limits, LogicPacket, Opcode, Packet, command,
    msg::{LoginReq, MessageReq},
    tcp, ws,
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::Server;

/// How long a raw client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a raw client received.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A packet.
    Packet(Packet),
    /// A close frame with its code.
    Close(Option<u16>),
    /// The end of the connection.
    End,
}

/// A stream that carries a client's bytes.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A client without manners, on WebSocket or plain TCP.
pub struct RawClient {
    stream: Box<dyn Stream>,
    framing: Framing,
    buffer: BytesMut,
}

enum Framing {
    Ws(ws::Decoder),
    Tcp(tcp::Decoder),
}

impl RawClient {
    /// Connects and upgrades.
    ///
    /// # Panics
    /// When the gateway does not upgrade.
    pub async fn connect(gateway: &Server) -> Self {
        Self::connect_to(&gateway.address("ws")).await
    }

    /// Connects to `host:port` and upgrades.
    ///
    /// # Panics
    /// When the gateway does not upgrade.
    pub async fn connect_to(address: &str) -> Self {
        Self::connect_at(address, "/any?thing").await
    }

    /// Connects to `host:port` and upgrades with this path and query.
    ///
    /// # Panics
    /// When the gateway does not upgrade.
    pub async fn connect_at(address: &str, target: &str) -> Self {
        Self::upgrade(TcpStream::connect(address).await.expect("it listens"), target).await
    }

    /// Upgrades a stream with this path and query.
    ///
    /// # Panics
    /// When the gateway does not upgrade.
    pub async fn upgrade(
        mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        target: &str,
    ) -> Self {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: imago\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, stream.read_u8()).await.expect("it answers");
            head.push(byte.expect("it answers in whole"));
        }
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let framing = Framing::Ws(ws::Decoder::new(ws::Peer::Server, Limits::default()));
        Self { stream: Box::new(stream), framing, buffer: BytesMut::new() }
    }

    /// Connects to the TCP port.
    ///
    /// # Panics
    /// When the gateway does not listen.
    pub async fn connect_tcp(gateway: &Server) -> Self {
        let stream = TcpStream::connect(gateway.address("tcp")).await.expect("it listens");
        let framing = Framing::Tcp(tcp::Decoder::new(Limits::default()));
        Self { stream: Box::new(stream), framing, buffer: BytesMut::new() }
    }

    /// Connects and logs in with a token.
    pub async fn login(gateway: &Server, token: &str) -> Self {
        let mut client = Self::connect(gateway).await;
        client.send_login(token).await;
        let answer = client.packet().await;
        assert_eq!(answer.header.status, 0, "login refused");
        client
    }

    /// Sends a login request, sequence 1.
    pub async fn send_login(&mut self, token: &str) {
        let login = LoginReq { token: token.to_owned(), ..LoginReq::default() };
        self.request(command::LOGIN_SIGNIN, 1, "", &login).await;
    }

    /// Sends a request.
    pub async fn request(&mut self, command: &str, sequence: u32, dest: &str, body: &impl Message) {
        let packet = LogicPacket::request(command, sequence, dest, body.encode_to_vec().into());
        self.frame(Opcode::Binary, packet.encode()).await;
    }

    /// Sends a text message to an account.
    pub async fn talk(&mut self, sequence: u32, dest: &str, body: &str) {
        let talk = MessageReq { r#type: 1, body: body.to_owned(), ..MessageReq::default() };
        self.request(command::CHAT_USER_TALK, sequence, dest, &talk).await;
    }

    /// Sends a frame, masked on WebSocket.
    ///
    /// # Panics
    /// When it is too long for TCP.
    pub async fn frame(&mut self, opcode: Opcode, payload: Bytes) {
        let (frame, mut bytes) = (Frame { opcode, payload }, BytesMut::new());
        match self.framing {
            Framing::Ws(_) => ws::encode_masked(&frame, [9, 8, 7, 6], &mut bytes),
            Framing::Tcp(_) => tcp::encode(&frame, &mut bytes).expect("the frame is not too long"),
        }
        self.bytes(&bytes).await;
    }

    /// Sends bytes as they are; a connection that is closed already takes none.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// What comes next.
    ///
    /// # Panics
    /// When nothing comes.
    pub async fn next(&mut self) -> Received {
        loop {
            let frame = match &mut self.framing {
                Framing::Ws(decoder) => decoder.decode(&mut self.buffer),
                Framing::Tcp(decoder) => decoder.decode(&mut self.buffer),
            };
            match frame.expect("gateways send frames") {
                Some(frame) if frame.opcode == Opcode::Close => {
                    return Received::Close(ws::close_code(&frame.payload));
                }
                Some(frame) if frame.opcode == Opcode::Binary => {
                    let packet = Packet::decode(frame.payload).expect("gateways send packets");
                    return Received::Packet(packet);
                }
                Some(_) => {}
                None => {
                    let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
                    if !matches!(read.expect("something comes"), Ok(1..)) {
                        return Received::End;
                    }
                }
            }
        }
    }

    /// The next packet, which must be a request's answer or a push.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn packet(&mut self) -> LogicPacket {
        match self.next().await {
            Received::Packet(Packet::Logic(packet)) => packet,
            other => panic!("expected a packet, got {other:?}"),
        }
    }

    /// Reads until the connection is closed; gives the code of the close frame, if one came.
    pub async fn closed(&mut self) -> Option<u16> {
        let mut code = None;
        loop {
            match self.next().await {
                Received::Packet(_) => {}
                Received::Close(given) => code = given,
                Received::End => return code,
            }
        }
    }
}
