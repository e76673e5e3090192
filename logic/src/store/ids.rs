//! Names, keys and ids that every SQL store gives alike.

use std::fmt::Write;

use imago_proto::{Account, App, ConversationId, GroupId, Seq};

/// Bytes of a conversation's id.
const ID_MAX: usize = 21;

/// Bytes that lengths take at the end of a key.
const LENGTHS_MAX: usize = 12;

/// Smallest message id (docs/wire.md, "Messages").
pub(super) const FIRST_ID: i64 = 10_001;

/// What a conversation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Direct,
    Group,
}

impl Kind {
    /// From whether a conversation's `a` is empty: that of a group is.
    pub(super) fn of(a_is_empty: bool) -> Self {
        if a_is_empty { Self::Group } else { Self::Direct }
    }

    fn letter(self) -> char {
        match self {
            Self::Direct => 'd',
            Self::Group => 'g',
        }
    }

    /// The id of the group whose conversation that row is.
    pub(super) fn group(self, row: i64) -> Option<GroupId> {
        (self == Self::Group).then(|| group_id(row))
    }
}

/// A conversation as clients name it; that of a group has the group's id.
pub(super) fn conversation_id(kind: Kind, row: i64) -> ConversationId {
    let mut id = String::with_capacity(ID_MAX);
    id.push(kind.letter());
    // Writing to a string never fails.
    let _ = write!(id, "{row}");
    ConversationId::from(id)
}

/// The id of the group whose conversation that row is.
pub(super) fn group_id(row: i64) -> GroupId {
    GroupId::from(conversation_id(Kind::Group, row).as_str())
}

/// The row that a client's name of a conversation stands for.
pub(super) fn conversation_row(id: &str) -> Option<(Kind, i64)> {
    let kind = match id.chars().next()? {
        'd' => Kind::Direct,
        'g' => Kind::Group,
        _ => return None,
    };
    let row = id.get(1..)?.parse().ok()?;
    // One name for each row.
    (conversation_id(kind, row).as_str() == id).then_some((kind, row))
}

/// The row of a group's conversation.
pub(super) fn group_row(group: &GroupId) -> Option<i64> {
    conversation_row(group.as_str()).filter(|(kind, _)| *kind == Kind::Group).map(|(_, row)| row)
}

/// The two sides of a direct conversation in the order in which they are stored.
pub(super) fn sides<'a>(one: &'a Account, other: &'a Account) -> (&'a Account, &'a Account) {
    if one <= other { (one, other) } else { (other, one) }
}

/// No two requests share a key, whatever characters the names have: the lengths at the end tell the
/// parts. The request comes first: gateways count theirs, and clients' ids mostly begin with the time
/// (UUID version 7), so that keys of the same moment are neighbours in an index.
pub(super) fn request_key(app: &App, caller: &Account, request: &str) -> String {
    let (app, caller) = (app.as_str(), caller.as_str());
    // One piece of memory, large enough from the start.
    let mut key = String::with_capacity(request.len() + app.len() + caller.len() + LENGTHS_MAX);
    key.extend([request, app, caller]);
    // Writing to a string never fails.
    let _ = write!(key, "|{}:{}", request.len(), app.len());
    key
}

/// A sequence as databases hold it.
pub(super) fn signed(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// A sequence out of a database.
pub(super) fn seq(number: i64) -> Seq {
    Seq(number.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_no_key() {
        let key =
            |app, caller, request| request_key(&App::from(app), &Account::from(caller), request);
        assert_eq!(key("app", "me", "c:1:web"), key("app", "me", "c:1:web"));
        assert_ne!(key("app", "me", "1"), key("ap", "pme", "1"));
        assert_ne!(key("app", "me", "1"), key("1app", "me", ""));
        assert_ne!(key("a", "me", "1a"), key("aa", "me", "1"));
        assert_ne!(key("a", "b|1:1", ""), key("a", "b", ""));
    }

    #[test]
    fn each_row_has_one_name() {
        for (id, row) in [
            ("d1", Some((Kind::Direct, 1))),
            ("g27", Some((Kind::Group, 27))),
            ("d01", None),
            ("d+1", None),
            ("x1", None),
            ("d", None),
            ("", None),
            ("é1", None),
            ("d99999999999999999999", None),
        ] {
            assert_eq!(conversation_row(id), row, "{id}");
        }
        assert_eq!(group_row(&GroupId::from("g27")), Some(27));
        assert_eq!(group_row(&GroupId::from("d27")), None);
    }
}
