//! Who gets the messages of a group, remembered.

use std::sync::Arc;

use imago_proto::{App, GroupId};
use quick_cache::{Weighter, sync::Cache};

use crate::store::{Members, MessageStore, Result};

/// Members of all remembered groups together: about 100 MB at most. Overflow policy: groups that
/// were not used for long are read again.
const MEMBERS_MAX: u64 = 1_000_000;
/// Groups among them, as far as can be guessed.
const GROUPS_GUESSED: usize = 10_000;

type Key = (App, GroupId);

/// The lists of the groups that are talked in.
pub(crate) struct MemberLists {
    lists: Cache<Key, Arc<Members>, Size>,
}

/// A list weighs as many as are in it, and a little itself.
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
    /// The list that a message met which was stored with this version, or a later one. Read only
    /// where the remembered one is older: see [`Members`].
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
        // One that was read later may be there already; the older of the two is read again.
        self.lists.insert(key, read.clone());
        Ok(Some(read))
    }
}
