//! A store that fails.

use async_trait::async_trait;
use imago_proto::{Account, App, ConversationId, GroupId, Seq, link::Mark};
use parking_lot::Mutex;

use crate::store::{
    Activity, Appended, ConversationRef, Created, Device, Given, Group, History, Listing,
    MemberChange, Members, MessageStore, NewGroup, NewMessage, Overview, Owed, Page, Range, Result,
    StoreError, Stored,
};

/// A store whose disk is full: every call fails.
#[derive(Default)]
pub(crate) struct Broken {
    /// The members of every group, once they are set.
    pub(crate) members: Mutex<Option<Members>>,
}

fn broken<T>() -> Result<T> {
    Err(StoreError::Failed("database or disk is full: /secret/path".to_owned()))
}

#[async_trait]
impl MessageStore for Broken {
    async fn append(&self, _: NewMessage) -> Result<Appended> {
        broken()
    }
    async fn enter(&self, _: &Device) -> Result<Mark> {
        broken()
    }
    async fn ack(&self, _: &Device, _: Vec<Given>) -> Result<Vec<(ConversationId, Seq)>> {
        broken()
    }
    async fn index(&self, _: &Device, _: Page) -> Result<Listing> {
        broken()
    }
    async fn contents(&self, _: &App, _: &Account, _: Vec<i64>) -> Result<Vec<Option<Stored>>> {
        broken()
    }
    async fn sync(
        &self,
        _: &Device,
        _: Vec<(ConversationId, Seq)>,
        _: usize,
    ) -> Result<Vec<Stored>> {
        broken()
    }
    async fn owed(&self, _: &Device, _: &Mark, _: Vec<Given>, _: usize) -> Result<Owed> {
        broken()
    }
    async fn history(
        &self,
        _: &App,
        _: &Account,
        _: ConversationRef,
        _: Range,
        _: usize,
    ) -> Result<Option<History>> {
        broken()
    }
    async fn conversations(
        &self,
        _: &App,
        _: &Account,
        _: Option<Activity>,
        _: usize,
    ) -> Result<Vec<Overview>> {
        broken()
    }
    async fn create_group(&self, _: NewGroup, _: usize) -> Result<Created> {
        broken()
    }
    async fn join_group(&self, _: MemberChange, _: usize) -> Result<()> {
        broken()
    }
    async fn quit_group(&self, _: MemberChange) -> Result<()> {
        broken()
    }
    async fn group(&self, _: &App, _: &GroupId) -> Result<Option<Group>> {
        broken()
    }
    async fn members(&self, _: &App, _: &GroupId) -> Result<Option<Members>> {
        match &*self.members.lock() {
            Some(members) => Ok(Some(members.clone())),
            None => broken(),
        }
    }
    async fn probe(&self) -> Result<()> {
        broken()
    }
    async fn probe_reading(&self) -> Result<()> {
        broken()
    }
    async fn prune(&self, _: i64) -> Result<usize> {
        broken()
    }
}
