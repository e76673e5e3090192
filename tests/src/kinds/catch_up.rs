//! What a client of old asks for after its login: a state machine without IO.

use std::collections::{BTreeMap, BTreeSet};

use imago_proto::msg::{MessageContent, MessageIndex};

/// Contents in one request.
const CONTENTS: usize = 100;

/// What is to be asked for next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The index past this id.
    Index(i64),
    /// These contents.
    Contents(Vec<i64>),
}

/// Follows the index to its end, and fetches the contents of what was listed, also what was listed
/// in an earlier session: an index is asked for past a listed id, which acknowledges it.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// The index is to be asked for past this id; none at its end.
    past: Option<i64>,
    listed: BTreeMap<i64, MessageIndex>,
    /// Asked for, and not answered.
    is_asking: bool,
    /// Came already: not fetched again.
    has: BTreeSet<i64>,
}

impl CatchUp {
    /// A new session begins.
    pub(super) fn logged_in(&mut self) {
        self.past = Some(0);
        self.is_asking = false;
    }

    /// A message came by itself.
    pub(super) fn pushed(&mut self, id: i64) {
        self.has.insert(id);
        self.listed.remove(&id);
    }

    /// What to ask for now, if nothing is asked for already.
    pub(super) fn wish(&mut self) -> Option<Wish> {
        if self.is_asking {
            return None;
        }
        let wish = match self.past {
            Some(past) => Wish::Index(past),
            None if self.listed.is_empty() => return None,
            None => Wish::Contents(self.listed.keys().copied().take(CONTENTS).collect()),
        };
        self.is_asking = true;
        Some(wish)
    }

    /// The index was answered; `None` for an error.
    pub(super) fn indexed(&mut self, entries: Option<Vec<MessageIndex>>) {
        self.is_asking = false;
        let Some(entries) = entries else { return };
        self.past = entries.last().map(|entry| entry.message_id);
        let new = entries.into_iter().filter(|entry| !self.has.contains(&entry.message_id));
        self.listed.extend(new.map(|entry| (entry.message_id, entry)));
    }

    /// Contents were answered; gives what came with them. `None` for an error.
    pub(super) fn fetched(
        &mut self,
        contents: Option<Vec<MessageContent>>,
    ) -> Vec<(MessageIndex, MessageContent)> {
        self.is_asking = false;
        let mut came = Vec::new();
        for content in contents.unwrap_or_default() {
            if let Some(index) = self.listed.remove(&content.message_id) {
                self.has.insert(content.message_id);
                came.push((index, content));
            }
        }
        came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(message_id: i64) -> MessageIndex {
        MessageIndex { message_id, ..MessageIndex::default() }
    }

    #[test]
    fn it_follows_the_index_to_its_end_and_fetches_what_did_not_come_otherwise() {
        let mut catch_up = CatchUp::default();
        assert_eq!(catch_up.wish(), None);
        catch_up.logged_in();
        assert_eq!(catch_up.wish(), Some(Wish::Index(0)));
        assert_eq!(catch_up.wish(), None, "one request at a time");
        catch_up.indexed(Some(vec![index(1), index(2)]));
        assert_eq!(catch_up.wish(), Some(Wish::Index(2)));
        catch_up.indexed(None);
        assert_eq!(catch_up.wish(), Some(Wish::Index(2)), "an error is asked again");
        catch_up.pushed(1);
        catch_up.indexed(Some(Vec::new()));
        assert_eq!(catch_up.wish(), Some(Wish::Contents(vec![2])));
        // The connection was lost: the listed one is not forgotten.
        catch_up.logged_in();
        assert_eq!(catch_up.wish(), Some(Wish::Index(0)));
        catch_up.indexed(Some(Vec::new()));
        assert_eq!(catch_up.wish(), Some(Wish::Contents(vec![2])));
        let content = MessageContent { message_id: 2, ..MessageContent::default() };
        assert_eq!(catch_up.fetched(Some(vec![content])).len(), 1);
        assert_eq!(catch_up.wish(), None);
    }
}
