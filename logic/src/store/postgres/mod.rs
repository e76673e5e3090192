//! Messages in a PostgreSQL database, which the logic servers of many machines share.

mod ack;
mod append;
mod columns;
mod failure;
mod groups;
mod history;
mod locks;
mod options;
mod pool;
mod prune;
mod queue;
mod reads;
mod rows;
mod schema;
mod tls;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use deadpool_postgres::Object;
use imago_proto::{Account, App, ConversationId, GroupId, Seq, link::Mark};
use tokio::time::{sleep, timeout};

pub use self::options::PostgresOptions;
pub(crate) use self::options::is_url;
use self::{
    ack::{Ack, Acknowledge},
    append::Append,
    failure::Failure,
    pool::Pools,
    queue::Queue,
};
use super::{
    Activity, Appended, Created, Device, Given, Group, History, Listing, MemberChange, Members,
    MessageStore, NewGroup, NewMessage, Overview, Owed, Page, Place, Range, Result, StoreError,
    Stored,
};

/// How long one try of a read, or of a group's change, may take.
const TRY_MAX: Duration = Duration::from_secs(10);
/// How long it is tried again while the database is away: less than anybody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A store in a PostgreSQL database, of version 12 or later. Dropping it ends its tasks and
/// connections.
#[derive(Clone)]
pub struct PostgresStore {
    pools: Pools,
    messages: Arc<Queue<Append>>,
    acks: Arc<Queue<Acknowledge>>,
}

impl PostgresStore {
    /// Connects, waiting a while for a database that does not answer yet, and brings its schema up
    /// to date.
    ///
    /// # Errors
    /// When the database cannot be used, or was written by a later version.
    pub async fn open(options: &PostgresOptions) -> Result<Self> {
        let open = |reason: String| StoreError::Open { url: options.shown(), reason };
        let pools = Pools::new(options).map_err(open)?;
        pools.prepare().await.map_err(|failure| open(failure.text().to_owned()))?;
        let (queue, batch) = (options.queue, options.batch);
        let messages = Queue::start(Append::new(), pools.writes.clone(), queue, batch);
        let acks = Queue::start(Acknowledge, pools.writes.clone(), queue, batch);
        Ok(Self { pools, messages: Arc::new(messages), acks: Arc::new(acks) })
    }
}

/// Does something with a connection of a pool, again on another one where it fails by what ends by
/// itself. A macro, as closures that borrow their connection cannot promise to be `Send` yet.
macro_rules! insist {
    ($pool:expr, |$client:ident| $work:expr) => {{
        let (started, mut backoff) = (Instant::now(), pool::backoff());
        loop {
            let attempt = async {
                #[allow(unused_mut, reason = "only changes of groups need it")]
                let mut $client = pool::get($pool).await?;
                let done = timeout(TRY_MAX, $work).await;
                let late = || Err(Failure::late("an answer of the database"));
                let done = done.unwrap_or_else(|_| late());
                if done.is_err() {
                    // It may be in the midst of something.
                    drop(Object::take($client));
                }
                done
            };
            match attempt.await {
                Err(Failure::Again(_)) if started.elapsed() < PATIENCE => {
                    sleep(backoff.next_delay()).await;
                }
                done => break done.map_err(StoreError::from),
            }
        }
    }};
}

#[async_trait]
impl MessageStore for PostgresStore {
    async fn append(&self, message: NewMessage) -> Result<Appended> {
        Ok(self.messages.run(message).await??)
    }

    async fn enter(&self, device: &Device) -> Result<Mark> {
        Err(StoreError::Failed(format!("{device:?}")))
    }

    async fn ack(&self, _: &Device, _: Vec<Given>) -> Result<Vec<(ConversationId, Seq)>> {
        Err(StoreError::Failed(String::new()))
    }

    async fn index(&self, _: &Device, _: Page) -> Result<Listing> {
        Err(StoreError::Failed(String::new()))
    }

    async fn contents(&self, _: &App, _: &Account, _: Vec<i64>) -> Result<Vec<Option<Stored>>> {
        Err(StoreError::Failed(String::new()))
    }

    async fn sync(
        &self,
        _: &Device,
        _: Vec<(ConversationId, Seq)>,
        _: usize,
    ) -> Result<Vec<Stored>> {
        Err(StoreError::Failed(String::new()))
    }

    async fn owed(&self, _: &Device, _: &Mark, _: Vec<Given>, _: usize) -> Result<Owed> {
        Err(StoreError::Failed(String::new()))
    }

    async fn history(
        &self,
        app: &App,
        account: &Account,
        place: Place,
        range: Range,
        limit: usize,
    ) -> Result<Option<History>> {
        insist!(&self.pools.reads, |client| history::history(
            &client, app, account, &place, range, limit
        ))
    }

    async fn conversations(
        &self,
        app: &App,
        account: &Account,
        before: Option<Activity>,
        limit: usize,
    ) -> Result<Vec<Overview>> {
        insist!(&self.pools.reads, |client| history::conversations(
            &client, app, account, before, limit
        ))
    }

    async fn create_group(&self, group: NewGroup, members_max: usize) -> Result<Created> {
        Ok(insist!(&self.pools.writes, |client| groups::create(&mut client, &group, members_max))??)
    }

    async fn join_group(&self, change: MemberChange, members_max: usize) -> Result<()> {
        Ok(insist!(&self.pools.writes, |client| groups::join(&mut client, &change, members_max))??)
    }

    async fn quit_group(&self, change: MemberChange) -> Result<()> {
        Ok(insist!(&self.pools.writes, |client| groups::quit(&mut client, &change))??)
    }

    async fn group(&self, app: &App, group: &GroupId) -> Result<Option<Group>> {
        insist!(&self.pools.reads, |client| groups::group(&client, app, group))
    }

    async fn members(&self, app: &App, group: &GroupId) -> Result<Option<Members>> {
        insist!(&self.pools.reads, |client| groups::members(&client, app, group))
    }

    async fn prune(&self, below: i64) -> Result<usize> {
        insist!(&self.pools.writes, |client| prune::prune(&client, below))
    }
}

#[cfg(test)]
mod tests;
