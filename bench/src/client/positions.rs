//! How far a client has each conversation without a hole.

use std::collections::{BTreeMap, BTreeSet};

use imago_proto::msg::{Cursor, MessagePush};

/// The conversations of one client.
#[derive(Debug, Default)]
pub(crate) struct Positions(BTreeMap<String, Position>);

/// One conversation.
#[derive(Debug, Default)]
struct Position {
    /// All up to here is known.
    through: u64,
    /// Known behind a hole.
    beyond: BTreeSet<u64>,
}

impl Positions {
    /// A message is known, pushed or sent. Says whether it is a new one.
    pub(crate) fn know(&mut self, conversation: &str, seq: u64) -> bool {
        let position = self.0.entry(conversation.to_owned()).or_default();
        if seq <= position.through || !position.beyond.insert(seq) {
            return false;
        }
        position.advance();
        true
    }

    /// A page of `chat.sync` names all that follows our positions: what it leaves out below its
    /// newest message of a conversation is nothing to wait for.
    pub(crate) fn page(&mut self, messages: &[MessagePush]) {
        for message in messages {
            let position = self.0.entry(message.conversation.clone()).or_default();
            position.through = position.through.max(message.seq);
            position.beyond = position.beyond.split_off(&(position.through + 1));
            position.advance();
        }
    }

    /// For the server, to go on from there.
    pub(crate) fn cursors(&self) -> Vec<Cursor> {
        let known = self.0.iter().filter(|(_, position)| position.through > 0);
        let cursor = |(conversation, position): (&String, &Position)| Cursor {
            conversation: conversation.clone(),
            seq: position.through,
        };
        known.map(cursor).collect()
    }
}

impl Position {
    fn advance(&mut self) {
        while self.beyond.remove(&(self.through + 1)) {
            self.through += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(positions: &Positions) -> Option<u64> {
        positions.cursors().first().map(|cursor| cursor.seq)
    }

    fn page(positions: &mut Positions, seqs: &[u64]) {
        let message = |seq: &u64| MessagePush {
            conversation: "c".to_owned(),
            seq: *seq,
            ..MessagePush::default()
        };
        positions.page(&seqs.iter().map(message).collect::<Vec<_>>());
    }

    #[test]
    fn a_cursor_stops_before_a_hole() {
        let mut positions = Positions::default();
        for seq in [1, 2, 4, 5] {
            assert!(positions.know("c", seq));
        }
        assert_eq!(through(&positions), Some(2));
        assert!(!positions.know("c", 4) && !positions.know("c", 1));
        assert!(positions.know("c", 3));
        assert_eq!(through(&positions), Some(5));
    }

    #[test]
    fn a_page_closes_the_holes_below_its_newest_message() {
        let mut positions = Positions::default();
        assert!(positions.know("c", 57) && positions.know("c", 60));
        assert_eq!(through(&positions), None, "the server goes on from what it knows");
        page(&mut positions, &[55, 58]);
        assert_eq!(through(&positions), Some(58));
        assert!(positions.know("c", 59));
        assert_eq!(through(&positions), Some(60));
    }
}
