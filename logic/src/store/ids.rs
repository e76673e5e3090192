//! Names, keys and ids that all SQL stores share.

use std::fmt::Write;

use imago_proto::{Account, App, ConversationId, GroupId, Seq};

/// Bytes of a conversation's id.
const ID_MAX: usize = 21;

/// Bytes of the lengths at the end of a key.
const LENGTHS_MAX: usize = 12;

/// Smallest message id (docs/wire.md, "Messages").
pub(super) const FIRST_ID: i64 = 10_001;

/// The kind of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Direct,
    Group,
}

impl Kind {
    /// Returns the kind by whether the column `a` is empty, as it is for a group.
    pub(super) fn of(a_is_empty: bool) -> Self {
        if a_is_empty { Self::Group } else { Self::Direct }
    }

    fn letter(self) -> char {
        match self {
            Self::Direct => 'd',
            Self::Group => 'g',
        }
    }

    /// Returns the id of the group whose conversation has this row.
    pub(super) fn group(self, row: i64) -> Option<GroupId> {
        (self == Self::Group).then(|| group_id(row))
    }
}

/// Returns the id by which clients name a conversation. The conversation of a group has the group's id.
pub(super) fn conversation_id(kind: Kind, row: i64) -> ConversationId {
    let mut id = String::with_capacity(ID_MAX);
    id.push(kind.letter());
    // Writing to a string never fails.
    let _ = write!(id, "{row}");
    ConversationId::from(id)
}

/// Returns the id of the group whose conversation has this row.
pub(super) fn group_id(row: i64) -> GroupId {
    GroupId::from(conversation_id(Kind::Group, row).as_str())
}

/// Parses a client's id of a conversation into its row.
pub(super) fn conversation_row(id: &str) -> Option<(Kind, i64)> {
    let kind = match id.chars().next()? {
        'd' => Kind::Direct,
        'g' => Kind::Group,
        _ => return None,
    };
    let row = id.get(1..)?.parse().ok()?;
    // Each row has exactly one id.
    (conversation_id(kind, row).as_str() == id).then_some((kind, row))
}

/// Returns the row of a group's conversation.
pub(super) fn group_row(group: &GroupId) -> Option<i64> {
    conversation_row(group.as_str()).filter(|(kind, _)| *kind == Kind::Group).map(|(_, row)| row)
}

/// Returns the two sides of a direct conversation in the order in which they are stored.
pub(super) fn sides<'a>(one: &'a Account, other: &'a Account) -> (&'a Account, &'a Account) {
    if one <= other { (one, other) } else { (other, one) }
}

/// Returns the key of a request. Different requests have different keys, for any characters in the names,
/// because the lengths of the parts stand at the end. The request comes first, so that keys of the same
/// moment are neighbours in an index: gateways count their requests, and clients' ids mostly begin with the
/// time (UUID version 7).
pub(super) fn request_key(app: &App, caller: &Account, request: &str) -> String {
    let (app, caller) = (app.as_str(), caller.as_str());
    // Allocates once.
    let mut key = String::with_capacity(request.len() + app.len() + caller.len() + LENGTHS_MAX);
    key.extend([request, app, caller]);
    // Writing to a string never fails.
    let _ = write!(key, "|{}:{}", request.len(), app.len());
    key
}

/// Converts a sequence to the type of databases.
pub(super) fn signed(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// Converts a sequence from the type of databases.
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
