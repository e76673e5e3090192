//! The messages that old clients know, by the tables of the client's wire: no field from 100 on.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LoginReq {
    #[prost(string, tag = "1")]
    pub(crate) token: String,
    #[prost(string, tag = "2")]
    pub(crate) isp: String,
    #[prost(string, tag = "3")]
    pub(crate) zone: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) tags: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LoginResp {
    #[prost(string, tag = "1")]
    pub(crate) channel_id: String,
    #[prost(string, tag = "2")]
    pub(crate) account: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KickoutNotify {
    #[prost(string, tag = "1")]
    pub(crate) channel_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageReq {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(string, tag = "2")]
    pub(crate) body: String,
    #[prost(string, tag = "3")]
    pub(crate) extra: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageResp {
    #[prost(int64, tag = "1")]
    pub(crate) message_id: i64,
    #[prost(int64, tag = "2")]
    pub(crate) send_time: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessagePush {
    #[prost(int64, tag = "1")]
    pub(crate) message_id: i64,
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
    #[prost(string, tag = "3")]
    pub(crate) body: String,
    #[prost(string, tag = "4")]
    pub(crate) extra: String,
    #[prost(string, tag = "5")]
    pub(crate) sender: String,
    #[prost(int64, tag = "6")]
    pub(crate) send_time: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageAckReq {
    #[prost(int64, tag = "1")]
    pub(crate) message_id: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupCreateReq {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) avatar: String,
    #[prost(string, tag = "3")]
    pub(crate) introduction: String,
    #[prost(string, tag = "4")]
    pub(crate) owner: String,
    #[prost(string, repeated, tag = "5")]
    pub(crate) members: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupCreateResp {
    #[prost(string, tag = "1")]
    pub(crate) group_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupCreateNotify {
    #[prost(string, tag = "1")]
    pub(crate) group_id: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) members: Vec<String>,
}

/// `GroupJoinReq` and `GroupQuitReq`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupChangeReq {
    #[prost(string, tag = "1")]
    pub(crate) account: String,
    #[prost(string, tag = "2")]
    pub(crate) group_id: String,
}

/// `GroupJoinNotify` and `GroupQuitNotify`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupChangeNotify {
    #[prost(string, tag = "1")]
    pub(crate) group_id: String,
    #[prost(string, tag = "2")]
    pub(crate) account: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupGetReq {
    #[prost(string, tag = "1")]
    pub(crate) group_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Member {
    #[prost(string, tag = "1")]
    pub(crate) account: String,
    #[prost(string, tag = "2")]
    pub(crate) alias: String,
    #[prost(string, tag = "3")]
    pub(crate) avatar: String,
    #[prost(int64, tag = "4")]
    pub(crate) join_time: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupGetResp {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) avatar: String,
    #[prost(string, tag = "4")]
    pub(crate) introduction: String,
    #[prost(string, tag = "5")]
    pub(crate) owner: String,
    #[prost(message, repeated, tag = "6")]
    pub(crate) members: Vec<Member>,
    #[prost(int64, tag = "7")]
    pub(crate) created_at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageIndexReq {
    #[prost(int64, tag = "1")]
    pub(crate) message_id: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageIndex {
    #[prost(int64, tag = "1")]
    pub(crate) message_id: i64,
    #[prost(int32, tag = "2")]
    pub(crate) direction: i32,
    #[prost(int64, tag = "3")]
    pub(crate) send_time: i64,
    #[prost(string, tag = "4")]
    pub(crate) account_b: String,
    #[prost(string, tag = "5")]
    pub(crate) group: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageIndexResp {
    #[prost(message, repeated, tag = "1")]
    pub(crate) indexes: Vec<MessageIndex>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageContentReq {
    #[prost(int64, repeated, tag = "1")]
    pub(crate) message_ids: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageContent {
    #[prost(int64, tag = "1")]
    pub(crate) message_id: i64,
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
    #[prost(string, tag = "3")]
    pub(crate) body: String,
    #[prost(string, tag = "4")]
    pub(crate) extra: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageContentResp {
    #[prost(message, repeated, tag = "1")]
    pub(crate) contents: Vec<MessageContent>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ErrorResp {
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}
