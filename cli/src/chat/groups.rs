//! The groups that the user has to do with, by name and id.

use std::collections::BTreeMap;

use imago_client::{Client, Conversation, Error, GroupId, Place};

use super::text::printable;

/// Pages of conversations that are looked through.
const PAGES: usize = 20;

/// Names of groups. Grows with the groups of the account.
#[derive(Debug, Default)]
pub(super) struct Groups {
    names: BTreeMap<GroupId, String>,
}

impl Groups {
    pub(super) fn learn(&mut self, id: GroupId, name: String) {
        self.names.insert(id, name);
    }

    pub(super) fn knows(&self, id: &GroupId) -> bool {
        self.names.contains_key(id)
    }

    /// The group that the user means: by its id, then by its name; what is neither may be the id
    /// of a group that the server knows. `Err` says why it cannot be told.
    pub(super) fn find(&self, typed: &str) -> Result<GroupId, String> {
        if let Some((id, _)) = self.names.get_key_value(typed) {
            return Ok(id.clone());
        }
        let named: Vec<&GroupId> = self.named(typed).collect();
        match named.as_slice() {
            [] => Ok(GroupId::from(typed)),
            [id] => Ok((*id).clone()),
            _ => {
                let ids: Vec<_> = named.iter().map(|id| printable(id.as_str())).collect();
                let ids = ids.join(", ");
                Err(format!(
                    "{} groups are called {}: say which, {ids}",
                    named.len(),
                    printable(typed)
                ))
            }
        }
    }

    /// What a group is called on the screen: its name, and its id where the name alone would be
    /// another's, too.
    pub(super) fn label(&self, id: &GroupId) -> String {
        let shown = printable(id.as_str());
        match self.names.get(id).map(String::as_str) {
            None | Some("") => shown,
            Some(name) if self.named(name).count() > 1 || self.names.contains_key(name) => {
                format!("{} {shown}", printable(name))
            }
            Some(name) => printable(name),
        }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &GroupId> {
        self.names.iter().filter(move |(_, known)| *known == name).map(|(id, _)| id)
    }
}

/// The groups among the account's conversations, also those it has left: the latest active first.
pub(super) async fn fetch(client: &Client) -> Result<Vec<(GroupId, Conversation)>, Error> {
    let mut groups = Vec::new();
    let mut page = None;
    for _ in 0..PAGES {
        let found = client.conversations(page.as_deref()).await?;
        groups.extend(found.conversations.into_iter().filter_map(|one| match &one.place {
            Place::Group(id) => Some((id.clone(), one)),
            _ => None,
        }));
        page = found.next;
        if page.is_none() {
            break;
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_id_then_by_name() {
        let mut groups = Groups::default();
        for (id, name) in [("g1", "team"), ("g2", "all"), ("g3", "all"), ("g4", "g1"), ("g5", "")] {
            groups.learn(id.into(), name.to_owned());
        }
        assert_eq!(groups.find("team"), Ok("g1".into()));
        assert_eq!(groups.find("g1"), Ok("g1".into()), "no name takes the place of an id");
        assert_eq!(groups.find("g99"), Ok("g99".into()));
        assert!(groups.find("all").unwrap_err().ends_with("g2, g3"));
        let label = |id: &str| groups.label(&id.into());
        assert_eq!([label("g1"), label("g2"), label("g4")], ["team", "all g2", "g1 g4"]);
        assert_eq!([label("g5"), label("g99")], ["g5", "g99"]);
    }
}
