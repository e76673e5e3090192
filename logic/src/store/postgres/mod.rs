//! Messages in a PostgreSQL database, which the logic servers of many machines share.

mod ack;
mod append;
mod columns;
mod enter;
mod failure;
mod groups;
mod history;
mod node;
mod options;
mod pool;
mod probe;
mod prune;
mod queue;
mod reads;
mod rows;
mod schema;
mod tls;
mod turns;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use deadpool_postgres::Object;
use imago_proto::{Account, App, ConversationId, GroupId, Seq, link::Mark};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::options::PostgresOptions;
pub(crate) use self::options::is_url;
use self::{
    ack::{Ack, Acknowledge},
    append::Append,
    enter::Enter,
    failure::Failure,
    groups::Change,
    node::Node,
    pool::Pools,
    probe::Slot,
    queue::{Bounds, Queue},
};
use super::{
    Activity, Appended, ConversationRef, Created, Device, Given, Group, History, Listing,
    MemberChange, Members, MessageStore, NewGroup, NewMessage, Overview, Owed, Page, Range, Result,
    StoreError, Stored, atomic_instant::AtomicInstant,
};

/// How long one try of a read, or of a group's change, may take.
const TRY_MAX: Duration = Duration::from_secs(5);
/// How long an operation is tried again while the database is away: less than a caller waits.
const PATIENCE: Duration = Duration::from_secs(3);
/// Batches of messages under way at once.
const APPENDS: usize = 4;

/// A store in a PostgreSQL database, of version 12 or later. Dropping it ends its tasks and
/// connections.
///
/// Each operation is one statement, which is one transaction and one round trip. Nothing in the database
/// therefore waits for a server that freezes or vanishes. Connections have no state, so that each transaction
/// may use another one (PgBouncer in transaction mode).
#[derive(Clone)]
pub struct PostgresStore {
    pools: Pools,
    messages: Arc<Queue<Append>>,
    acks: Arc<Queue<Acknowledge>>,
    logins: Arc<Queue<Enter>>,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests look at its number"))]
    node: Arc<Node>,
    _keeper: Arc<DropGuard>,
    slot: Slot,
    last_write: Arc<AtomicInstant>,
}

impl PostgresStore {
    /// Waits for the database, brings its schema up to date, and leases the number of a node.
    ///
    /// # Errors
    /// When the database cannot be used, or was written by a later version.
    pub async fn open(options: &PostgresOptions) -> Result<Self> {
        let open = |failure: Failure| StoreError::Open {
            url: options.shown(),
            reason: failure.text().to_owned(),
        };
        let pools = Pools::open(options).await.map_err(open)?;
        let node = Arc::new(Node::new());
        renew(&pools, &node).await.map_err(open)?;
        let ended = CancellationToken::new();
        tokio::spawn(ended.clone().run_until_cancelled_owned(keep(pools.clone(), node.clone())));
        let bounds = Bounds { queue: options.queue, batch: options.batch, at_once: 1 };
        let messages = Queue::start(
            Append::new(node.clone()),
            pools.writes.clone(),
            Bounds { at_once: APPENDS, ..bounds },
        );
        let acks = Queue::start(Acknowledge, pools.writes.clone(), bounds);
        let logins = Queue::start(Enter, pools.writes.clone(), bounds);
        Ok(Self {
            pools,
            messages: Arc::new(messages),
            acks: Arc::new(acks),
            logins: Arc::new(logins),
            node,
            _keeper: Arc::new(ended.drop_guard()),
            slot: Slot::random(),
            last_write: Arc::default(),
        })
    }
}

/// Renews the lease of the node's number until it is cancelled.
async fn keep(pools: Pools, node: Arc<Node>) {
    loop {
        sleep(node::RENEW).await;
        if let Err(failure) = renew(&pools, &node).await {
            let error = failure.text();
            tracing::warn!(error, number = node.number(), "cannot renew the node's number");
        }
    }
}

async fn renew(pools: &Pools, node: &Node) -> Result<(), Failure> {
    let client = pool::get(&pools.writes).await?;
    let renewed = timeout(TRY_MAX, node.renew(&client)).await;
    let renewed = renewed.unwrap_or_else(|_| Err(Failure::late("an answer of the database")));
    if renewed.is_err() {
        drop(Object::take(client));
    }
    renewed
}

/// Runs an operation on a connection of a pool, and again on another one after a transient failure. It is a
/// macro because the futures of closures that borrow their connection cannot be required to be `Send`.
macro_rules! insist {
    ($pool:expr, |$client:ident| $work:expr) => {{
        let (started, mut backoff) = (Instant::now(), pool::backoff());
        loop {
            let attempt = async {
                let $client = pool::get($pool).await?;
                let done = timeout(TRY_MAX, $work).await;
                let late = || Err(Failure::late("an answer of the database"));
                let done = done.unwrap_or_else(|_| late());
                if done.is_err() {
                    // The connection may be in an unknown state.
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
        let appended = self.messages.run(message).await??;
        if appended.repeat_of.is_none() {
            self.last_write.set_now();
        }
        Ok(appended)
    }

    async fn enter(&self, device: &Device) -> Result<Mark> {
        self.logins.run(device.clone()).await
    }

    async fn ack(&self, device: &Device, given: Vec<Given>) -> Result<Vec<(ConversationId, Seq)>> {
        self.acks.run(Ack { device: device.clone(), given }).await
    }

    async fn index(&self, device: &Device, page: Page) -> Result<Listing> {
        insist!(&self.pools.reads, |client| reads::index(&client, device, page))
    }

    async fn contents(
        &self,
        app: &App,
        account: &Account,
        ids: Vec<i64>,
    ) -> Result<Vec<Option<Stored>>> {
        insist!(&self.pools.reads, |client| reads::contents(&client, app, account, &ids))
    }

    async fn sync(
        &self,
        device: &Device,
        cursors: Vec<(ConversationId, Seq)>,
        limit: usize,
    ) -> Result<Vec<Stored>> {
        insist!(&self.pools.reads, |client| reads::sync(&client, device, &cursors, limit))
    }

    async fn owed(
        &self,
        device: &Device,
        mark: &Mark,
        have: Vec<Given>,
        limit: usize,
    ) -> Result<Owed> {
        insist!(&self.pools.reads, |client| reads::owed(&client, device, mark, &have, limit))
    }

    async fn history(
        &self,
        app: &App,
        account: &Account,
        conversation: ConversationRef,
        range: Range,
        limit: usize,
    ) -> Result<Option<History>> {
        insist!(&self.pools.reads, |client| history::history(
            &client,
            app,
            account,
            &conversation,
            range,
            limit
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
        Ok(insist!(&self.pools.writes, |client| groups::create(&client, &group, members_max))??)
    }

    async fn join_group(&self, change: MemberChange, members_max: usize) -> Result<()> {
        let join = Change::Join { most: members_max };
        Ok(insist!(&self.pools.writes, |client| groups::change(&client, &change, join))??)
    }

    async fn quit_group(&self, change: MemberChange) -> Result<()> {
        Ok(insist!(&self.pools.writes, |client| groups::change(&client, &change, Change::Quit))??)
    }

    async fn group(&self, app: &App, group: &GroupId) -> Result<Option<Group>> {
        insist!(&self.pools.reads, |client| groups::group(&client, app, group))
    }

    async fn members(&self, app: &App, group: &GroupId) -> Result<Option<Members>> {
        insist!(&self.pools.reads, |client| groups::members(&client, app, group))
    }

    async fn probe(&self) -> Result<()> {
        Ok(self.slot.probe(&self.pools.writes).await?)
    }

    async fn probe_reading(&self) -> Result<()> {
        Ok(probe::read(&self.pools.reads).await?)
    }

    fn last_write(&self) -> Option<Instant> {
        self.last_write.get()
    }

    async fn prune(&self, below: i64) -> Result<usize> {
        insist!(&self.pools.writes, |client| prune::prune(&client, below))
    }
}

#[cfg(test)]
mod tests;
