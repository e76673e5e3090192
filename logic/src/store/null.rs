//! A store that keeps nothing, to measure the cost of everything but storage.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use imago_kit::unix_nanos;
use imago_proto::{Account, App, ConversationId, GroupId, Seq, link::Mark};

use super::{
    Activity, Appended, ConversationRef, Created, Denied, Device, Given, Group, History, Listing,
    MemberChange, Members, MessageStore, NewGroup, NewMessage, Overview, Owed, Page, Range, Result,
    Stored, Target,
};

/// Accepts every message to an account and drops it. A repeat is a new message, messages have no
/// conversation and no sequence, and groups do not exist. For measurements only.
#[derive(Debug, Default)]
pub struct NullStore {
    last_id: AtomicI64,
}

impl NullStore {
    fn next_id(&self) -> i64 {
        let now = unix_nanos();
        let last = self.last_id.fetch_max(now, Ordering::Relaxed);
        if last < now { now } else { self.last_id.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

#[async_trait]
impl MessageStore for NullStore {
    async fn append(&self, message: NewMessage) -> Result<Appended> {
        if let Target::Group(_) = message.target {
            return Err(Denied::UnknownGroup.into());
        }
        let id = self.next_id();
        Ok(Appended {
            message_id: id,
            send_time: id,
            conversation: ConversationId::from(""),
            seq: Seq(0),
            after: 0,
            members: 0,
            repeat_of: None,
        })
    }

    async fn enter(&self, _: &Device) -> Result<Mark> {
        Ok(Mark::up_to(u64::MAX - 1))
    }

    async fn ack(&self, _: &Device, _: Vec<Given>) -> Result<Vec<(ConversationId, Seq)>> {
        Ok(Vec::new())
    }

    async fn index(&self, _: &Device, _: Page) -> Result<Listing> {
        Ok(Listing::default())
    }

    async fn contents(&self, _: &App, _: &Account, ids: Vec<i64>) -> Result<Vec<Option<Stored>>> {
        Ok(ids.iter().map(|_| None).collect())
    }

    async fn sync(
        &self,
        _: &Device,
        _: Vec<(ConversationId, Seq)>,
        _: usize,
    ) -> Result<Vec<Stored>> {
        Ok(Vec::new())
    }

    async fn owed(&self, _: &Device, _: &Mark, _: Vec<Given>, _: usize) -> Result<Owed> {
        Ok(Owed { messages: Vec::new(), mark: Mark::up_to(u64::MAX - 1) })
    }

    async fn history(
        &self,
        _: &App,
        _: &Account,
        _: ConversationRef,
        _: Range,
        _: usize,
    ) -> Result<Option<History>> {
        Ok(None)
    }

    async fn conversations(
        &self,
        _: &App,
        _: &Account,
        _: Option<Activity>,
        _: usize,
    ) -> Result<Vec<Overview>> {
        Ok(Vec::new())
    }

    async fn create_group(&self, _: NewGroup, _: usize) -> Result<Created> {
        Err(Denied::Full.into())
    }

    async fn join_group(&self, _: MemberChange, _: usize) -> Result<()> {
        Err(Denied::UnknownGroup.into())
    }

    async fn quit_group(&self, _: MemberChange) -> Result<()> {
        Err(Denied::UnknownGroup.into())
    }

    async fn group(&self, _: &App, _: &GroupId) -> Result<Option<Group>> {
        Ok(None)
    }

    async fn members(&self, _: &App, _: &GroupId) -> Result<Option<Members>> {
        Ok(None)
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn probe_reading(&self) -> Result<()> {
        Ok(())
    }

    async fn prune(&self, _: i64) -> Result<usize> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise() {
        let store = NullStore::default();
        let ids: Vec<i64> = (0..10_000).map(|_| store.next_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "each id is above the one before");
        assert!(ids.first().is_some_and(|first| *first > 10_000));
    }
}
