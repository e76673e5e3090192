//! Clients on plain TCP: they chat, and misbehave as hopelessly as those on WebSocket.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use imago_proto::{
    Frame, Limits, LogicPacket, Opcode, Packet, command,
    msg::{LoginReq, MessagePush, MessageReq},
    tcp,
};
use imago_tests::{RawClient, Server, World};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A client on plain TCP without manners.
struct Tcp {
    stream: TcpStream,
    received: BytesMut,
}

impl Tcp {
    async fn connect(gateway: &Server) -> Self {
        let stream = TcpStream::connect(gateway.address("tcp")).await.unwrap();
        Self { stream, received: BytesMut::new() }
    }

    async fn login(gateway: &Server, token: &str) -> Self {
        let mut client = Self::connect(gateway).await;
        let login = LoginReq { token: token.to_owned(), ..LoginReq::default() };
        client.request(command::LOGIN_SIGNIN, 1, "", &login).await;
        assert_eq!(client.packet().await.header.status, 0);
        client
    }

    async fn request(&mut self, command: &str, sequence: u32, dest: &str, body: &impl Message) {
        let packet = LogicPacket::request(command, sequence, dest, body.encode_to_vec().into());
        self.frame(Opcode::Binary, packet.encode()).await;
    }

    async fn frame(&mut self, opcode: Opcode, payload: Bytes) {
        let mut bytes = BytesMut::new();
        tcp::encode(&Frame { opcode, payload }, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = tcp::Decoder::new(Limits::default()).decode(&mut self.received).unwrap();
            if frame.is_some() {
                return frame;
            }
            let read = timeout(Duration::from_secs(15), self.stream.read_buf(&mut self.received));
            if !matches!(read.await.expect("something comes"), Ok(1..)) {
                return None;
            }
        }
    }

    async fn packet(&mut self) -> LogicPacket {
        match Packet::decode(self.next().await.unwrap().payload).unwrap() {
            Packet::Logic(packet) => packet,
            other => panic!("expected a packet, got {other:?}"),
        }
    }

    /// Reads to the end of the connection.
    async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_on_tcp_and_websocket_chat_whatever_others_send() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[("limits.read_timeout", "2s")]).await;
    logic.ready().await;
    gateway.ready().await;
    let token = world.token("mallory");

    // 4 GiB - 1 are announced.
    let mut client = Tcp::login(&gateway, &token).await;
    client.stream.write_all(&[2, 0xff, 0xff, 0xff, 0xff, 1, 2]).await.unwrap();
    client.closed().await;

    // Another magic; an unknown opcode; a text frame that holds no packet.
    let mut client = Tcp::login(&gateway, &token).await;
    client.frame(Opcode::Binary, Bytes::from_static(b"\xca\xfe\xba\xbe0123456789")).await;
    client.closed().await;
    let mut client = Tcp::login(&gateway, &token).await;
    client.stream.write_all(&[7, 0, 0, 0, 0]).await.unwrap();
    client.closed().await;
    let mut client = Tcp::login(&gateway, &token).await;
    client.frame(Opcode::Text, Bytes::from_static(b"hello?")).await;
    client.closed().await;

    // Half a packet and silence, after the login: the read timeout ends it, on both transports.
    let mut half = Tcp::login(&gateway, &token).await;
    half.stream.write_all(&[2, 0, 0, 0, 40, 0xc3, 0x11]).await.unwrap();
    let mut half_too = RawClient::login(&gateway, &world.token("mallory-too")).await;
    half_too.bytes(&[0x82, 0xa6, 1, 2, 3, 4, 0xc2]).await;
    half.closed().await;
    half_too.closed().await;

    let mut alice = Tcp::login(&gateway, &world.token("alice")).await;
    let mut bob = RawClient::login(&gateway, &world.token("bob")).await;
    alice.stream.write_all(&[9, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(alice.next().await.unwrap().opcode, Opcode::Pong);
    let hello = MessageReq { r#type: 1, body: "hello".into(), ..MessageReq::default() };
    alice.request(command::CHAT_USER_TALK, 2, "bob", &hello).await;
    assert_eq!(alice.packet().await.header.status, 0);
    let push = MessagePush::decode(bob.packet().await.body).unwrap();
    assert_eq!((push.sender.as_str(), push.body.as_str()), ("alice", "hello"));
    bob.talk(2, "alice", "hello too").await;
    let push = MessagePush::decode(alice.packet().await.body).unwrap();
    assert_eq!((push.sender.as_str(), push.body.as_str()), ("bob", "hello too"));
}
