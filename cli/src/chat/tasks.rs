//! What is asked of the server for the user, beside the chat that goes on.

use futures::{StreamExt, stream};
use imago_client::{Client, Error, Group, GroupId, NewGroup, Place, Range};

use super::{
    groups,
    text::{message, printable},
};

/// Groups that are asked about at a time.
const AT_A_TIME: usize = 8;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// To be shown.
    pub(super) lines: Vec<String>,
    /// A group that was heard of.
    pub(super) group: Option<(GroupId, String)>,
}

impl Done {
    pub(super) fn line(line: String) -> Self {
        Self { lines: vec![line], group: None }
    }

    /// What came of `what`, which has failed.
    fn failed(what: &str, error: &Error) -> Self {
        Self::line(format!("✗ {}: {}", printable(what), printable(&error.to_string())))
    }

    /// The result, or that `what` has failed.
    fn of(what: &str, done: Result<Self, Error>) -> Self {
        done.unwrap_or_else(|error| Self::failed(what, &error))
    }
}

pub(super) async fn say(client: Client, to: Place, label: String, text: String) -> Done {
    let sent = match to {
        Place::Group(group) => client.group_talk(group, text).await,
        Place::With(account) => client.talk(account.as_str(), text).await,
        Place::Conversation(_) => return Done::default(),
    };
    let sent = sent.map(|receipt| Done::line(format!("✓ to {label} (number {})", receipt.seq)));
    Done::of(&format!("to {label}"), sent)
}

pub(super) async fn create(client: Client, name: String, members: Vec<String>, open: bool) -> Done {
    let group = NewGroup::new(name.clone(), members);
    let group = if open { group.open() } else { group };
    let created = client.group_create(group).await;
    let created = created.map(|id| Done {
        lines: vec![format!("✓ made the group {} ({})", printable(&name), printable(id.as_str()))],
        group: Some((id, name.clone())),
    });
    Done::of(&format!("/group create {name}"), created)
}

/// Brings an account into a group; the user, if it is the user's.
pub(super) async fn join(client: Client, group: GroupId, account: String) -> Done {
    let what = if account == client.session().account {
        format!("/join {group}")
    } else {
        format!("/group add {group} {account}")
    };
    let joined = async {
        client.group_add(group.clone(), account.clone()).await?;
        let name = client.group(group.clone()).await?.name;
        let line = format!("✓ {} is in {} now", printable(&account), titled(&group, &name));
        Ok(Done { lines: vec![line], group: Some((group.clone(), name)) })
    };
    Done::of(&what, joined.await)
}

pub(super) async fn leave(client: Client, group: GroupId, label: String) -> Done {
    let left = client.group_quit(group.clone()).await;
    Done::of(&format!("/leave {group}"), left.map(|()| Done::line(format!("✓ left {label}"))))
}

pub(super) async fn who(client: Client, group: GroupId) -> Done {
    let found = client.group(group.clone()).await.map(|found| {
        let name = |account: &str| match account == found.owner.as_str() {
            true => format!("{} (owner)", printable(account)),
            false => printable(account),
        };
        let names: Vec<_> = found.members.iter().map(|m| name(m.account.as_str())).collect();
        let line = format!("in {}: {}", titled(&group, &found.name), names.join(", "));
        Done { lines: vec![line], group: Some((group.clone(), found.name)) }
    });
    Done::of(&format!("/who {group}"), found)
}

/// The groups that the user is in.
pub(super) async fn list(client: Client) -> Done {
    let listed = async {
        let account = client.session().account;
        let found = groups::fetch(&client).await?;
        let ask = |(id, conversation)| {
            let client = client.clone();
            async move { (client.group(GroupId::clone(&id)).await, conversation) }
        };
        let mut lines = Vec::new();
        let mut asked = stream::iter(found.into_iter().map(ask)).buffered(AT_A_TIME);
        while let Some((group, conversation)) = asked.next().await {
            match group {
                Ok(group) if is_in(&group, &account) => lines.push(format!(
                    "{}: {} in it, {} unread",
                    titled(&group.id, &group.name),
                    group.members.len(),
                    conversation.unread
                )),
                // It was left.
                Ok(_) | Err(Error::Rejected { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if lines.is_empty() {
            lines.push("you are in no group: /group create NAME MEMBER… makes one".to_owned());
        }
        Ok(Done { lines, group: None })
    };
    Done::of("/groups", listed.await)
}

fn is_in(group: &Group, account: &str) -> bool {
    group.members.iter().any(|member| member.account.as_str() == account)
}

pub(super) async fn history(client: Client, place: Place, label: String, number: u32) -> Done {
    let account = client.session().account;
    let found = client.history(place, Range::Latest, number).await;
    let found = found.map(|history| {
        let count = history.messages.len();
        let title = match count {
            0 => format!("-- nothing was said with {label} yet"),
            _ => format!("-- the last {count} with {label}"),
        };
        let mut lines = vec![title];
        // One conversation: its group, if it is one, has one label.
        let group = label.trim_start_matches('#');
        let shown = history.messages.iter().map(|one| message(one, &account, |_| group.to_owned()));
        lines.extend(shown);
        Done { lines, group: None }
    });
    Done::of("/history", found)
}

/// A group by name and id.
pub(super) fn titled(id: &GroupId, name: &str) -> String {
    format!("{} ({})", printable(name), printable(id.as_str()))
}
