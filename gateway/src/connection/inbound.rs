//! What a client sends: frames, packets, requests.

use bytes::Bytes;
use imago_container::Request;
use imago_proto::{
    BasicCode, BasicPacket, Frame, FrameError, LogicPacket, Opcode, Packet, Status, command,
    msg::{Header, MessageIndexReq},
    ws,
};
use prost::Message;

use super::Connection;
use crate::{
    ledger::AckBy,
    memory::Holder,
    metrics,
    outbox::{Close, code},
    session::{Client, refusal},
    transport::Transport,
    upgrade::UpgradeRequest,
};

impl<T: Transport> Connection<T> {
    /// Handles what has arrived, for as long as more may be taken.
    pub(super) async fn take_packets(&mut self) {
        let mut has_taken = false;
        while self.may_read() {
            match self.codec.decode(&mut self.input.bytes) {
                Ok(Some(frame)) => {
                    self.times.heard = self.times.turn;
                    // Between the pieces of a message there may be pings without end.
                    has_taken |= !frame.opcode.is_control();
                    self.frame(frame).await;
                }
                Ok(None) => {
                    if !self.input.is_full {
                        self.backlog.clear(self.times.turn);
                    }
                    break;
                }
                Err(error) => self.refuse_frame(&error),
            }
        }
        self.input.settle();
        let upgrade = self.before_login.as_ref().and_then(|it| it.upgrade.as_ref());
        let kept = upgrade.map_or(0, UpgradeRequest::len);
        let held = self.input.held() + self.codec.held() + kept;
        self.outbox.footprint().set_input(held, has_taken);
    }

    /// The stream cannot be read any further.
    fn refuse_frame(&self, error: &FrameError) {
        tracing::debug!(remote = %self.remote, %error, "not a frame");
        metrics::protocol_error();
        let close = match error {
            FrameError::TooLarge { .. } => Close::new(code::TOO_BIG, "packet too large"),
            FrameError::Utf8 => Close::new(code::NO_UTF8, "not UTF-8"),
            _ => Close::new(code::PROTOCOL, "not a frame"),
        };
        self.outbox.finish(None, close);
    }

    async fn frame(&mut self, frame: Frame) {
        match frame.opcode {
            Opcode::Ping => self.outbox.push_frame(self.codec.pong(frame.payload)),
            Opcode::Close => {
                // The answer to a close frame repeats its code (RFC 6455 §5.5.1).
                let code = ws::close_code(&frame.payload).unwrap_or(code::NORMAL);
                self.outbox.finish(None, Close::new(code, ""));
            }
            Opcode::Pong | Opcode::Continuation => {}
            Opcode::Binary | Opcode::Text if frame.payload.is_empty() => {}
            Opcode::Binary | Opcode::Text => self.packet(frame).await,
        }
    }

    async fn packet(&mut self, Frame { opcode, payload }: Frame) {
        // A text may hold a packet, which is no UTF-8; one that holds none is a text (RFC 6455 §8.1).
        let text = (opcode == Opcode::Text).then(|| payload.clone());
        match Packet::decode(payload) {
            Ok(Packet::Basic(packet)) => {
                if packet.code == BasicCode::Ping {
                    self.outbox.push(BasicPacket::PONG.encode());
                }
            }
            Ok(Packet::Logic(packet)) => self.request(packet).await,
            Err(error) => {
                tracing::debug!(remote = %self.remote, %error, "not a packet");
                metrics::protocol_error();
                let is_broken = text.is_some_and(|text| str::from_utf8(&text).is_err());
                let close = match is_broken {
                    true => Close::new(code::NO_UTF8, "not UTF-8"),
                    false => Close::new(code::PROTOCOL, "not a packet"),
                };
                self.outbox.finish(None, close);
            }
        }
    }

    async fn request(&mut self, packet: LogicPacket) {
        metrics::request();
        let LogicPacket { header, body } = packet;
        let Some(online) = &self.online else {
            // Boxed: it happens once, and a client keeps no room for it.
            return Box::pin(self.log_in(header, body)).await;
        };
        tracing::trace!(command = header.command, seq = header.sequence, "request");
        if !self.rate.admit() {
            let why = "too many messages a second, slow down";
            return self.refuse(header, Status::SystemException, why);
        }
        if header.command == command::LOGIN_SIGNIN {
            return self.refuse(header, Status::InvalidCommand, "already logged in");
        }
        let request = acking(&online.client, request_of(header, body));
        if self.is_overdue {
            // A lane that has no room is not read on: without this, what is too much would wait in
            // the socket, for any time, and never be told that it is.
            return online.lane.refuse(&request);
        }
        online.lane.submit(request);
    }

    /// Refuses one request; the connection goes on.
    fn refuse(&self, header: Header, status: Status, why: &str) {
        let channel = self.online.as_ref().map(|online| online.client.session.channel_id.as_str());
        self.outbox.push(refusal(header, channel.unwrap_or_default(), status, why));
    }
}

/// Finds out what a request's message id acknowledges. A body that does not decode goes on as it is:
/// the logic server refuses it.
fn acking(client: &Client, request: Request) -> Request {
    let by = match request.command.as_str() {
        command::CHAT_TALK_ACK => AckBy::Talk,
        command::CHAT_OFFLINE_INDEX => AckBy::Index,
        _ => return request,
    };
    // The id has the same field in both; what else there is, is skipped.
    match MessageIndexReq::decode(&*request.body) {
        Ok(MessageIndexReq { message_id }) if message_id > 0 => {
            Request { acked: client.acks(message_id, by), ..request }
        }
        _ => request,
    }
}

/// What a client says of its channel and in metas is never believed: it goes no further.
pub(super) fn request_of(header: Header, body: Bytes) -> Request {
    Request {
        command: header.command,
        sequence: header.sequence,
        dest: header.dest,
        body,
        acked: Vec::new(),
    }
}
