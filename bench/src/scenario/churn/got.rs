//! What a client has received, over all of its connections.

use anyhow::Context;
use imago_proto::msg::MessagePush;
use tokio::time::Instant;

use crate::{
    client::positions::Positions,
    measure::{seen::Seen, stamp::Stamp},
};

/// What a client has received so far.
#[derive(Default)]
pub(super) struct Got {
    pub(super) seen: Seen,
    pub(super) positions: Positions,
    pub(super) received: u64,
    /// Refused for now: to be sent again.
    pub(super) again: Vec<u32>,
    /// The page asked for was refused for now.
    pub(super) sync_again: bool,
    /// When that is sent, or the page asked for, again.
    pub(super) again_at: Option<Instant>,
}

/// What a message is that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It counts.
    New(Stamp),
    /// It came before, or is not of this run, or our own.
    Known,
    /// It came before, from another place of the conversation: it was stored twice.
    Twice,
}

impl Got {
    /// Takes a message, for an account of the run with this mark.
    pub(super) fn take(
        &mut self,
        push: &MessagePush,
        account: &str,
        mark: &str,
    ) -> anyhow::Result<Taken> {
        let is_new_place = self.positions.know(&push.conversation, push.seq);
        if push.sender == account || push.extra != mark {
            return Ok(Taken::Known);
        }
        let stamp = Stamp::read(push.body.as_bytes()).context("a message without a stamp")?;
        if self.seen.is_new(stamp.sender, stamp.number) {
            self.received += 1;
            return Ok(Taken::New(stamp));
        }
        Ok(if is_new_place { Taken::Twice } else { Taken::Known })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn push(sender: &str, seq: u64, number: u64) -> MessagePush {
        MessagePush {
            body: Stamp { sender: 7, number, due: Duration::ZERO }.body(40),
            extra: "run".to_owned(),
            sender: sender.to_owned(),
            conversation: "c".to_owned(),
            seq,
            ..MessagePush::default()
        }
    }

    #[test]
    fn a_message_counts_once_and_one_that_was_stored_twice_is_found() {
        let mut got = Got::default();
        let mut take = |push: &MessagePush| got.take(push, "anna", "run").unwrap();
        assert!(matches!(take(&push("bert", 1, 0)), Taken::New(_)));
        assert_eq!(take(&push("bert", 1, 0)), Taken::Known, "pushed and synced");
        assert_eq!(take(&push("bert", 2, 0)), Taken::Twice);
        assert_eq!(take(&push("anna", 3, 1)), Taken::Known, "our own");
        let of_another_run = MessagePush { extra: "walk".into(), ..push("bert", 4, 1) };
        assert_eq!(take(&of_another_run), Taken::Known);
        assert_eq!(got.received, 1);
    }
}
