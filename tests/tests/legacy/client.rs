//! A client as old as the protocol: it numbers its requests, and takes the first frame for the
//! answer to its login.

use std::collections::{HashSet, VecDeque};

use imago_proto::{
    BasicPacket, LogicPacket, Opcode, Packet, command,
    msg::{Flag, Header},
};
use imago_tests::{RawClient, Received, Server};
use prost::Message;

use crate::messages::{ErrorResp, LoginReq, LoginResp, MessagePush, MessageReq, MessageResp};

/// Where a client connects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Port {
    WebSocket,
    Tcp,
}

pub(crate) struct Legacy {
    raw: RawClient,
    pub(crate) channel: String,
    account: String,
    sequence: u32,
    pushes: VecDeque<LogicPacket>,
    /// Messages that were pushed: what is not acknowledged may be pushed again.
    seen: HashSet<i64>,
}

impl Legacy {
    pub(crate) async fn connect(gateway: &Server, port: Port) -> Self {
        let raw = match port {
            Port::WebSocket => RawClient::connect(gateway).await,
            Port::Tcp => RawClient::connect_tcp(gateway).await,
        };
        let (pushes, seen) = (VecDeque::new(), HashSet::new());
        Self { raw, channel: String::new(), account: String::new(), sequence: 0, pushes, seen }
    }

    pub(crate) async fn login(gateway: &Server, port: Port, token: &str, account: &str) -> Self {
        let mut client = Self::connect(gateway, port).await;
        client.send_login(token).await;
        let first = client.raw.packet().await;
        let answer = LoginResp::decode(first.body).unwrap();
        assert_eq!(answer.account, account);
        assert!(!answer.channel_id.is_empty() && !answer.channel_id.contains(','));
        assert_eq!(first.header.channel_id, answer.channel_id);
        client.channel = answer.channel_id;
        client.account = answer.account;
        let header = first.header;
        assert_eq!(header, client.response(command::LOGIN_SIGNIN, "", 0));
        client
    }

    pub(crate) async fn send_login(&mut self, token: &str) {
        let tags = vec!["web".to_owned()];
        let login = LoginReq { token: token.to_owned(), tags, ..LoginReq::default() };
        self.send(command::LOGIN_SIGNIN, "", &login).await;
    }

    pub(crate) async fn send(&mut self, command: &str, dest: &str, body: &impl Message) {
        self.sequence += 1;
        self.raw.request(command, self.sequence, dest, body).await;
    }

    /// The header that the answer to the latest request has to have.
    fn response(&self, command: &str, dest: &str, status: u32) -> Header {
        Header {
            command: command.to_owned(),
            channel_id: self.channel.clone(),
            sequence: self.sequence,
            flag: Flag::Response.into(),
            status,
            dest: dest.to_owned(),
            meta: Vec::new(),
        }
    }

    /// The next answer; pushes before it are kept.
    async fn answer(&mut self) -> LogicPacket {
        loop {
            let packet = self.raw.packet().await;
            if packet.header.flag != i32::from(Flag::Push) {
                return packet;
            }
            self.keep(packet);
        }
    }

    fn keep(&mut self, packet: LogicPacket) {
        let talks = [command::CHAT_USER_TALK, command::CHAT_GROUP_TALK];
        if talks.contains(&packet.header.command.as_str()) {
            let id = MessagePush::decode(packet.body.clone()).unwrap().message_id;
            if !self.seen.insert(id) {
                return;
            }
        }
        self.pushes.push_back(packet);
    }

    /// Asks; gives the answer, whose status has to be this one.
    async fn asks(
        &mut self,
        command: &str,
        dest: &str,
        body: &impl Message,
        status: u32,
    ) -> LogicPacket {
        self.send(command, dest, body).await;
        let answer = self.answer().await;
        assert_eq!(answer.header, self.response(command, dest, status), "{:?}", answer.body);
        answer
    }

    /// Asks for what is not refused.
    pub(crate) async fn ask<A: Message + Default>(
        &mut self,
        command: &str,
        dest: &str,
        body: &impl Message,
    ) -> A {
        A::decode(self.asks(command, dest, body, 0).await.body).unwrap()
    }

    /// Asks for what has to be refused, with words.
    pub(crate) async fn refused(
        &mut self,
        status: u32,
        command: &str,
        dest: &str,
        body: &impl Message,
    ) {
        let answer = self.asks(command, dest, body, status).await;
        let why = ErrorResp::decode(answer.body).unwrap().message;
        assert!(!why.is_empty(), "{command}");
    }

    /// As [`Self::refused`]; gives the body as it is.
    pub(crate) async fn refused_with<A: Message + Default>(
        &mut self,
        status: u32,
        command: &str,
        body: &impl Message,
    ) -> A {
        A::decode(self.asks(command, "", body, status).await.body).unwrap()
    }

    /// Keeps the connection, as old clients do it.
    pub(crate) async fn pings(&mut self) {
        self.raw.frame(Opcode::Binary, BasicPacket::PING.encode()).await;
        let pong = Received::Packet(Packet::Basic(BasicPacket::PONG));
        assert_eq!(self.raw.next().await, pong);
    }

    pub(crate) async fn talk(&mut self, command: &str, dest: &str, body: &str) -> MessageResp {
        let talk = MessageReq { kind: 1, body: body.to_owned(), ..MessageReq::default() };
        self.ask(command, dest, &talk).await
    }

    /// Sends so many messages, a window at a time; gives their ids.
    pub(crate) async fn flood(&mut self, dest: &str, count: u32) -> Vec<i64> {
        const WINDOW: u32 = 50;
        let mut ids = Vec::new();
        for start in (0..count).step_by(WINDOW as usize) {
            let end = count.min(start + WINDOW);
            for number in start..end {
                self.raw.talk(self.sequence + 1 + number, dest, &number.to_string()).await;
            }
            for number in start..end {
                let answer = self.answer().await;
                let expected = (self.sequence + 1 + number, 0);
                assert_eq!((answer.header.sequence, answer.header.status), expected);
                ids.push(MessageResp::decode(answer.body).unwrap().message_id);
            }
        }
        self.sequence += count;
        ids
    }

    /// The next push, which has to be of this command, to this destination.
    pub(crate) async fn push<P: Message + Default>(&mut self, command: &str, dest: &str) -> P {
        while self.pushes.is_empty() {
            let packet = self.raw.packet().await;
            assert_eq!(packet.header.flag, i32::from(Flag::Push), "{packet:?}");
            self.keep(packet);
        }
        let packet = self.pushes.pop_front().unwrap();
        let header = &packet.header;
        let told = (header.command.as_str(), header.dest.as_str(), header.status);
        assert_eq!(told, (command, dest, 0), "to {}", self.account);
        assert!(header.meta.is_empty());
        P::decode(packet.body).unwrap()
    }

    /// A refusal before anybody is logged in: the status, and the code of the end.
    pub(crate) async fn turned_away(&mut self) -> (u32, Option<u16>) {
        let answer = self.raw.packet().await;
        let why = ErrorResp::decode(answer.body).unwrap().message;
        // A bad token's reason is in the close frame alone.
        assert_eq!(why.is_empty(), answer.header.status == 105, "{why}");
        assert_eq!(answer.header.flag, i32::from(Flag::Response));
        (answer.header.status, self.raw.closed().await)
    }

    /// The end, which has to come next, and its code.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        assert_eq!(self.pushes, []);
        match self.raw.next().await {
            Received::Packet(packet) => panic!("expected the end, got {packet:?}"),
            Received::Close(code) => {
                assert_eq!(self.raw.next().await, Received::End);
                code
            }
            Received::End => None,
        }
    }
}
