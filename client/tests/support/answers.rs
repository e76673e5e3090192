//! What the test server answers.

use bytes::Bytes;
use imago_proto::{
    LogicPacket, Status, command,
    msg::{
        ConversationsReq, GroupCreateNotify, GroupCreateReq, GroupCreateResp, GroupGetReq,
        GroupJoinNotify, GroupJoinReq, GroupQuitNotify, GroupQuitReq, HistoryReq, MessageAckReq,
        MessageContentReq, MessageIndexReq, MessagePush, MessageReq, SyncReq,
    },
};
use prost::Message as _;

use super::{World, connection::Out};

type Answer = (Status, Bytes);

impl World {
    /// The answer, or none.
    pub(super) fn answer(
        &mut self,
        account: &str,
        number: u64,
        request: &LogicPacket,
    ) -> Option<Answer> {
        let (command, body) = (request.header.command.as_str(), request.body.clone());
        let is_talk = matches!(command, command::CHAT_USER_TALK | command::CHAT_GROUP_TALK);
        if !is_talk && command != command::CHAT_TALK_ACK {
            self.asked.push(command.to_owned());
        }
        if command == command::CHAT_TALK_ACK {
            self.store.ack(account, MessageAckReq::decode(body).unwrap());
            return success(&());
        }
        let answer = match self.fault(command) {
            Some(status) => (status, Bytes::new()),
            None if is_talk => self.talk(account, number, request)?,
            None => self
                .look_up(account, command, body.clone())
                .or_else(|| self.change_group(account, command, body))
                .or_else(|| success(&()))?,
        };
        let is_change = command.starts_with("chat.group") && command != command::CHAT_GROUP_DETAIL;
        if answer.0 == Status::Success && (is_talk || is_change) && self.goes_wrong(number) {
            return None;
        }
        Some(answer)
    }

    fn fault(&mut self, command: &str) -> Option<Status> {
        let code = match command {
            command::CHAT_USER_TALK | command::CHAT_GROUP_TALK => self.faults.talks.pop_front()?,
            command::CHAT_SYNC | command::CHAT_HISTORY | command::CHAT_CONVERSATIONS
                if self.faults.old =>
            {
                301
            }
            command::CHAT_SYNC | command::CHAT_OFFLINE_INDEX => self.faults.listings.pop_front()?,
            _ => return None,
        };
        Status::from_code(code)
    }

    fn look_up(&mut self, account: &str, command: &str, body: Bytes) -> Option<Answer> {
        match command {
            command::CHAT_OFFLINE_INDEX => {
                let request = MessageIndexReq::decode(body).unwrap();
                assert_eq!(request.message_id, 0, "this would acknowledge");
                success(&self.store.index(account))
            }
            command::CHAT_OFFLINE_CONTENT => {
                let request = MessageContentReq::decode(body).unwrap();
                success(&self.store.contents(&request.message_ids))
            }
            command::CHAT_SYNC => {
                success(&self.store.sync(account, &SyncReq::decode(body).unwrap()))
            }
            command::CHAT_HISTORY => {
                let found = self.store.history(account, &HistoryReq::decode(body).unwrap());
                found.map_or(refused(Status::Unauthorized), |found| success(&found))
            }
            command::CHAT_CONVERSATIONS => {
                success(&self.store.list(account, &ConversationsReq::decode(body).unwrap()))
            }
            command::CHAT_GROUP_DETAIL | command::CHAT_GROUP_MEMBERS => {
                let request = GroupGetReq::decode(body).unwrap();
                let found = self.store.detail(account, &request.group_id, request.skip);
                found.map_or(refused(Status::Unauthorized), |found| success(&found))
            }
            _ => None,
        }
    }

    fn change_group(&mut self, account: &str, command: &str, body: Bytes) -> Option<Answer> {
        match command {
            command::CHAT_GROUP_CREATE => {
                let request = GroupCreateReq::decode(body).unwrap();
                let group_id = self.store.create(account, request);
                let members = self.store.members(&group_id);
                let notify = GroupCreateNotify { group_id: group_id.clone(), members };
                self.notify(command, &group_id, &notify);
                success(&GroupCreateResp { group_id })
            }
            command::CHAT_GROUP_JOIN => {
                let GroupJoinReq { account: who, group_id, .. } =
                    GroupJoinReq::decode(body).unwrap();
                let status = self.store.join(account, &who, &group_id);
                let notify = GroupJoinNotify { group_id: group_id.clone(), account: who };
                self.notify(command, &group_id, &notify);
                refused(status)
            }
            command::CHAT_GROUP_QUIT => {
                let GroupQuitReq { account: who, group_id, .. } =
                    GroupQuitReq::decode(body).unwrap();
                let notify = GroupQuitNotify { group_id: group_id.clone(), account: who.clone() };
                self.notify(command, &group_id, &notify);
                refused(self.store.quit(&who, &group_id))
            }
            _ => None,
        }
    }

    fn notify(&self, command: &str, group: &str, body: &impl prost::Message) {
        let packet = LogicPacket::push(command, group, body.encode_to_vec().into());
        let members = self.store.members(group);
        for session in self.sessions.iter().filter(|s| members.contains(&s.account)) {
            let _ = session.out.send(Out::Packet(packet.encode()));
        }
    }

    fn talk(&mut self, account: &str, number: u64, packet: &LogicPacket) -> Option<Answer> {
        let dest = packet.header.dest.as_str();
        let request = MessageReq::decode(packet.body.clone()).unwrap();
        if packet.header.command == command::CHAT_GROUP_TALK {
            if !self.store.members(dest).iter().any(|member| member == account) {
                return refused(Status::Unauthorized);
            }
            let (resp, push) = self.store.append_to(dest, account, request);
            for member in self.store.members(dest) {
                self.push(&member, Some(number), &push);
            }
            return success(&resp);
        }
        let (resp, mut push) = self.store.append(account, dest, request);
        if dest != account {
            self.push(dest, None, &push);
        }
        push.peer = dest.to_owned();
        self.push(account, Some(number), &push);
        success(&resp)
    }

    /// Whether what was done is not answered.
    fn goes_wrong(&mut self, number: u64) -> bool {
        self.talks += 1;
        if self.faults.cut_every.is_some_and(|every| self.talks.is_multiple_of(every)) {
            for session in self.sessions.extract_if(.., |s| s.number == number) {
                let _ = session.out.send(Out::Cut);
            }
            return true;
        }
        let swallowed = self.faults.swallowed > 0;
        self.faults.swallowed = self.faults.swallowed.saturating_sub(1);
        swallowed
    }

    pub(super) fn push(&mut self, account: &str, except: Option<u64>, push: &MessagePush) {
        let (command, dest) = match push.group.as_str() {
            "" => (command::CHAT_USER_TALK, account),
            group => (command::CHAT_GROUP_TALK, group),
        };
        let packet = LogicPacket::push(command, dest, push.encode_to_vec().into());
        for session in self.sessions.iter().filter(|s| s.account == account) {
            if Some(session.number) == except {
                continue;
            }
            self.pushes += 1;
            if self.faults.lose_every.is_some_and(|every| self.pushes.is_multiple_of(every)) {
                continue;
            }
            for _ in 0..=usize::from(self.faults.double) {
                let _ = session.out.send(Out::Packet(packet.encode()));
            }
        }
    }
}

fn success(body: &impl prost::Message) -> Option<Answer> {
    Some((Status::Success, body.encode_to_vec().into()))
}

fn refused(status: Status) -> Option<Answer> {
    Some((status, Bytes::new()))
}
