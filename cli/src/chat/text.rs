//! Lines as they are shown.

use imago_client::{GroupId, Message};

pub(super) use imago_local::printable;

/// A message as `account` reads it.
pub(super) fn message(
    message: &Message,
    account: &str,
    label: impl Fn(&GroupId) -> String,
) -> String {
    let sender = match message.sender.as_str() {
        sender if sender == account && message.group.is_some() => "you".to_owned(),
        sender => printable(sender),
    };
    let from = match (&message.group, &message.sent_to) {
        (Some(group), _) => format!("[{}] {sender}", label(group)),
        (None, Some(to)) => format!("you to {}", printable(to.as_str())),
        (None, None) => sender,
    };
    format!("{} {from}: {}", clock(message.send_time), printable(&message.body))
}

/// Time of day in UTC.
fn clock(unix_nanos: i64) -> String {
    let seconds = unix_nanos.div_euclid(1_000_000_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use imago_client::Seq;

    use super::*;

    #[test]
    fn the_clock_shows_the_time_of_day() {
        assert_eq!(clock(1_700_000_000_123_456_789), "22:13:20Z");
    }

    #[test]
    fn messages_say_where_they_are_from() {
        let direct = Message {
            message_id: 1,
            conversation: "c".into(),
            seq: Seq(1),
            sender: "alice".into(),
            sent_to: None,
            group: None,
            send_time: 0,
            kind: 1,
            body: "hi".into(),
            extra: String::new(),
        };
        let shown = |one: &Message| message(one, "bob", |id| format!("name of {id}"));
        assert_eq!(shown(&direct), "00:00:00Z alice: hi");
        let group = Message { group: Some("g1".into()), ..direct.clone() };
        assert_eq!(shown(&group), "00:00:00Z [name of g1] alice: hi");
        let own = Message { sender: "bob".into(), ..group };
        assert_eq!(shown(&own), "00:00:00Z [name of g1] you: hi");
        let copy = Message { sent_to: Some("carol".into()), ..direct };
        assert_eq!(shown(&copy), "00:00:00Z you to carol: hi");
    }
}
