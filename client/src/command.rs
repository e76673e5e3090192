//! Which commands the client speaks itself.

use imago_proto::command as c;

/// Returns whether this is a command of the client's own: its requests have methods, and its pushes come as messages
/// or events.
pub(crate) fn is_own(command: &str) -> bool {
    matches!(
        command,
        c::LOGIN_SIGNIN
            | c::LOGIN_SIGNOUT
            | c::CHAT_USER_TALK
            | c::CHAT_GROUP_TALK
            | c::CHAT_TALK_ACK
            | c::CHAT_OFFLINE_INDEX
            | c::CHAT_OFFLINE_CONTENT
            | c::CHAT_GROUP_CREATE
            | c::CHAT_GROUP_JOIN
            | c::CHAT_GROUP_QUIT
            | c::CHAT_GROUP_DETAIL
            | c::CHAT_GROUP_MEMBERS
            | c::CHAT_SYNC
            | c::CHAT_HISTORY
            | c::CHAT_CONVERSATIONS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_commands_of_the_wire_are_own_ones_and_no_others() {
        let source = include_str!("../../proto/src/command.rs");
        let names = source.lines().filter_map(|line| line.split('"').nth(1));
        let unknown: Vec<_> = names.clone().filter(|name| !is_own(name)).collect();
        assert_eq!(unknown, [""; 0]);
        assert!(names.count() >= 15);
        assert!(!is_own("my.shout") && !is_own("chat") && !is_own(""));
    }
}
