//! A cache of the members of groups.

use std::sync::Arc;

use imago_proto::{App, GroupId};
use quick_cache::{Weighter, sync::Cache};

use crate::store::{Members, MessageStore, Result};

/// Members in all cached groups together: about 100 MB at most. Overflow policy: the groups used least
/// recently are read again.
const MEMBERS_MAX: u64 = 1_000_000;
/// Estimated number of cached groups.
const GROUPS_GUESSED: usize = 10_000;

type Key = (App, GroupId);

/// The lists of groups with recent messages.
pub(crate) struct MemberLists {
    lists: Cache<Key, Arc<Members>, Size>,
}

/// Weighs a list by its members, plus its own cost.
#[derive(Clone)]
struct Size;

impl Weighter<Key, Arc<Members>> for Size {
    fn weight(&self, _: &Key, members: &Arc<Members>) -> u64 {
        members.since.len() as u64 + 4
    }
}

impl Default for MemberLists {
    fn default() -> Self {
        Self { lists: Cache::with_weighter(GROUPS_GUESSED, MEMBERS_MAX, Size) }
    }
}

impl MemberLists {
    /// Returns a list of at least this version, with which a message was stored. It is read from the store
    /// only if the cached one is older: see [`Members`].
    pub(crate) async fn at(
        &self,
        store: &dyn MessageStore,
        app: &App,
        group: &GroupId,
        version: u64,
    ) -> Result<Option<Arc<Members>>> {
        let key = (app.clone(), group.clone());
        if let Some(known) = self.lists.get(&key).filter(|known| known.version >= version) {
            return Ok(Some(known));
        }
        let Some(read) = store.members(app, group).await? else { return Ok(None) };
        let read = Arc::new(read);
        // It may replace a newer list, which is then read again.
        self.lists.insert(key, read.clone());
        Ok(Some(read))
    }
}
