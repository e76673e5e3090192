//! A client of the wire's bytes, in either framing, and over anything that carries bytes.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use imago_proto::{
    Frame, Limits, LogicPacket, Opcode, Packet, Status,
    msg::{ErrorResp, LoginResp},
    tcp, ws,
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{LOGIN, PATIENCE, login_body, token};
use crate::transport::Framing;

/// Anything that carries bytes.
pub(crate) trait Pipe: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Pipe for T {}

pub(crate) struct Client {
    pub(crate) stream: Box<dyn Pipe>,
    framing: Framing,
    buffer: BytesMut,
    ws: ws::Decoder,
    tcp: tcp::Decoder,
    sequence: u32,
}

/// What a client gets.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    Packet(Packet),
    Pong(Bytes),
    /// The code, where the transport has one.
    Close(Option<u16>),
    /// The end of the connection.
    End,
}

impl Client {
    pub(crate) fn over(stream: impl Pipe + 'static, framing: Framing) -> Self {
        let limits = Limits { payload: 8 << 20 };
        Self {
            stream: Box::new(stream),
            framing,
            buffer: BytesMut::new(),
            ws: ws::Decoder::new(ws::Peer::Server, limits),
            tcp: tcp::Decoder::new(limits),
            sequence: 0,
        }
    }

    pub(crate) async fn tcp(at: SocketAddr) -> Self {
        Self::over(TcpStream::connect(at).await.unwrap(), Framing::LengthPrefixed)
    }

    pub(crate) async fn ws(at: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = "GET /any/path?x=1 HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        Self::over(stream, Framing::WebSocket)
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send_frame(&mut self, opcode: Opcode, payload: impl Into<Bytes>) {
        let bytes = self.frame(opcode, payload);
        self.send_bytes(&bytes).await;
    }

    /// The bytes of a frame.
    pub(crate) fn frame(&self, opcode: Opcode, payload: impl Into<Bytes>) -> BytesMut {
        let frame = Frame { opcode, payload: payload.into() };
        let mut bytes = BytesMut::new();
        match self.framing {
            Framing::WebSocket => ws::encode_masked(&frame, [1, 2, 3, 4], &mut bytes),
            Framing::LengthPrefixed => tcp::encode(&frame, &mut bytes).unwrap(),
        }
        bytes
    }

    /// Sends a request; its sequence number.
    pub(crate) async fn request(&mut self, command: &str, body: impl Into<Bytes>) -> u32 {
        self.sequence += 1;
        let packet = LogicPacket::request(command, self.sequence, "dest", body.into());
        self.send_frame(Opcode::Binary, packet.encode()).await;
        self.sequence
    }

    pub(crate) async fn recv(&mut self) -> Received {
        timeout(PATIENCE, self.recv_patiently()).await.expect("nothing received in time")
    }

    /// As [`recv`](Self::recv), however long it takes.
    pub(crate) async fn recv_patiently(&mut self) -> Received {
        loop {
            let decoded = match self.framing {
                Framing::WebSocket => self.ws.decode(&mut self.buffer),
                Framing::LengthPrefixed => self.tcp.decode(&mut self.buffer),
            };
            if let Some(frame) = decoded.unwrap() {
                return match frame.opcode {
                    Opcode::Binary => Received::Packet(Packet::decode(frame.payload).unwrap()),
                    Opcode::Pong => Received::Pong(frame.payload),
                    Opcode::Close => Received::Close(ws::close_code(&frame.payload)),
                    other => panic!("a server never sends {other:?}"),
                };
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Received::End,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn recv_logic(&mut self) -> LogicPacket {
        match self.recv().await {
            Received::Packet(Packet::Logic(packet)) => packet,
            other => panic!("expected a packet, got {other:?}"),
        }
    }

    /// A refusal's status and words.
    pub(crate) async fn recv_refusal(&mut self) -> (u32, String) {
        let packet = self.recv_logic().await;
        (packet.header.status, ErrorResp::decode(packet.body).unwrap().message)
    }

    /// The close frame, with its code where there is one, and then the end.
    pub(crate) async fn expect_close(&mut self, code: u16) {
        let expected = (self.framing == Framing::WebSocket).then_some(code);
        assert_eq!(self.recv().await, Received::Close(expected));
        assert_eq!(self.recv().await, Received::End);
    }

    /// Logs in; its channel id.
    pub(crate) async fn log_in(&mut self, account: &str) -> String {
        let sequence = self.request(LOGIN, login_body(&token(account))).await;
        let answer = self.recv_logic().await;
        assert_eq!((answer.header.status, answer.header.sequence), (0, sequence));
        let answer = LoginResp::decode(answer.body).unwrap();
        assert_eq!(answer.account, account);
        answer.channel_id
    }

    /// Sends a request and expects its body back.
    pub(crate) async fn echo(&mut self, text: &str) {
        let sequence = self.request("test.echo", text.to_owned()).await;
        let answer = self.recv_logic().await;
        assert_eq!(answer.header.status, Status::Success.code());
        assert_eq!((answer.header.sequence, &answer.body[..]), (sequence, text.as_bytes()));
    }
}

/// Returns the header of a length-prefixed frame that announces `len` bytes.
pub(crate) fn tcp_header(len: u32) -> BytesMut {
    let mut bytes = BytesMut::from(&[2_u8][..]);
    bytes.put_u32(len);
    bytes
}
