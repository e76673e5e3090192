//! Names of the commands on the client's wire.

/// First packet of every connection; also the command of a kickout notice.
pub const LOGIN_SIGNIN: &str = "login.signin";
/// Ends the session, then the connection.
pub const LOGIN_SIGNOUT: &str = "login.signout";
/// A message to one account.
pub const CHAT_USER_TALK: &str = "chat.user.talk";
/// A message to a group.
pub const CHAT_GROUP_TALK: &str = "chat.group.talk";
/// Acknowledges messages up to one.
pub const CHAT_TALK_ACK: &str = "chat.talk.ack";
/// Lists what the caller has not acknowledged.
pub const CHAT_OFFLINE_INDEX: &str = "chat.offline.index";
/// Fetches messages by their ids.
pub const CHAT_OFFLINE_CONTENT: &str = "chat.offline.content";
/// Creates a group.
pub const CHAT_GROUP_CREATE: &str = "chat.group.create";
/// Adds an account to a group.
pub const CHAT_GROUP_JOIN: &str = "chat.group.join";
/// Removes an account from a group.
pub const CHAT_GROUP_QUIT: &str = "chat.group.quit";
/// Describes a group.
pub const CHAT_GROUP_DETAIL: &str = "chat.group.detail";
/// Lists the members of a group.
pub const CHAT_GROUP_MEMBERS: &str = "chat.group.members";
/// Lists what the caller has not got yet, of all its conversations.
pub const CHAT_SYNC: &str = "chat.sync";
/// Lists messages of one conversation, back or forth from a sequence.
pub const CHAT_HISTORY: &str = "chat.history";
/// Lists the caller's conversations.
pub const CHAT_CONVERSATIONS: &str = "chat.conversations";
