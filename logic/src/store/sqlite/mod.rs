//! Messages in a SQLite file, which several processes of one machine may share.

mod commit;
mod devices;
mod failure;
mod groups;
mod history;
mod migrations;
mod overlay;
mod owed;
mod probe;
mod readers;
mod reads;
mod schema;
mod writes;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use imago_kit::Redacted;
use imago_proto::{Account, App, ConversationId, GroupId, Seq, link::Mark};
use rusqlite::{Connection, OpenFlags};
use tokio::time::timeout;

use self::{
    commit::{Batch, UnindexedHeads, Writer},
    overlay::Overlay,
    owed::Ask,
    readers::{Reader, Readers},
};
use super::{
    Activity, Appended, ConversationRef, Created, Device, Given, Group, History, Listing,
    MemberChange, Members, MessageStore, NewGroup, NewMessage, Overview, Owed, Page, Range, Result,
    StoreError, Stored, atomic_instant::AtomicInstant,
};

/// How long a read waits for the index of the tail before it reads through the [`Overlay`].
const INDEX_PATIENCE: Duration = Duration::from_millis(250);
/// How long reads use the overlay at once after one of them has waited in vain.
const INDEX_PAUSE: Duration = Duration::from_millis(500);

/// How a file is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The database file. It is created with its folder where it is missing.
    pub path: PathBuf,
    /// Most writes that share one commit.
    pub batch: usize,
    /// Writes that may wait. Overflow policy: [`StoreError::Busy`].
    pub queue: usize,
    /// Threads that read.
    pub readers: usize,
}

impl SqliteOptions {
    /// Creates the options of a file, with the default bounds.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), batch: 256, queue: 8192, readers: 2 }
    }

    /// Reads `sqlite://path`.
    ///
    /// # Errors
    /// When the URL names no SQLite file.
    pub fn parse(url: &str) -> Result<Self> {
        let open = |reason: &str| StoreError::Open {
            url: Redacted(url).to_string(),
            reason: reason.to_owned(),
        };
        let path = url.strip_prefix("sqlite://").ok_or_else(|| open("expected sqlite://path"))?;
        // A URL of another kind of database whose scheme was changed holds its password.
        let holds_secret = !path.starts_with('/') && Redacted(url).holds_secret();
        if path.is_empty() || path.starts_with(':') || holds_secret {
            return Err(open("expected the path of a file after sqlite://"));
        }
        if path.contains('?') {
            return Err(open("parameters, what follows ?: not used"));
        }
        if path.contains('#') {
            return Err(open("fragment, what follows #: not used"));
        }
        if path.split('/').next().is_some_and(|first| first.contains('@')) {
            return Err(open(
                "user or password, what stands before @: not used; ./ goes before a name with @ in it",
            ));
        }
        Ok(Self::new(path))
    }

    /// Checks that the path is not that of a folder.
    pub(super) fn check(&self) -> Result<()> {
        if self.path.is_dir() {
            let url = format!("sqlite://{}", self.path.display());
            let reason = "expected the path of a file, this is a folder".to_owned();
            return Err(StoreError::Open { url, reason });
        }
        Ok(())
    }
}

/// A store in a SQLite file. One thread writes, in batches that share a commit, and others read.
/// Dropping the store ends the threads.
#[derive(Clone)]
pub struct SqliteStore {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
    last_write: Arc<AtomicInstant>,
    /// See [`INDEX_PATIENCE`]. With zero, reads never write.
    index_patience: Duration,
    /// When a read last waited for the index in vain.
    last_timeout: Arc<AtomicInstant>,
}

impl SqliteStore {
    /// Opens the file, and brings its schema up to date. Blocks the thread.
    ///
    /// # Errors
    /// When the file cannot be used, or was written by a later version.
    pub fn open(options: &SqliteOptions) -> Result<Self> {
        let url = format!("sqlite://{}", options.path.display());
        let open = |reason: String| StoreError::Open { url: Redacted(&url).to_string(), reason };
        if let Some(folder) = options.path.parent().filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder)
                .map_err(|error| open(format!("cannot make the folder: {error}")))?;
        }
        let connect = || -> Result<Connection> {
            let connection =
                Connection::open(&options.path).map_err(|error| open(error.to_string()))?;
            schema::prepare(&connection).map_err(|error| open(error.to_string()))?;
            Ok(connection)
        };
        let mut first = connect()?;
        schema::migrate(&mut first).map_err(open)?;
        let reader = || -> Result<Reader> {
            let connection = connect()?;
            let prepare = || -> rusqlite::Result<Overlay> {
                schema::forbid_writes(&connection)?;
                let flags = OpenFlags::default()
                    - OpenFlags::SQLITE_OPEN_READ_WRITE
                    - OpenFlags::SQLITE_OPEN_CREATE;
                let flags = flags | OpenFlags::SQLITE_OPEN_READ_ONLY;
                let overlay = Connection::open_with_flags(&options.path, flags)?;
                schema::prepare(&overlay)?;
                Overlay::new(overlay)
            };
            let overlay = prepare().map_err(|error| open(error.to_string()))?;
            Ok(Reader::new(connection, overlay))
        };
        let readers = (0..options.readers.max(1)).map(|_| reader()).collect::<Result<Vec<_>>>()?;
        let no_thread = |error: std::io::Error| open(format!("cannot start a thread: {error}"));
        Ok(Self {
            writer: Arc::new(
                Writer::start(first, options.queue, options.batch).map_err(no_thread)?,
            ),
            readers: Arc::new(Readers::start(readers).map_err(no_thread)?),
            last_write: Arc::default(),
            index_patience: INDEX_PATIENCE,
            last_timeout: Arc::default(),
        })
    }
}

impl SqliteStore {
    /// Runs a read by conversation and sequence, which sees every commit of before the call. The tail is
    /// indexed first, or read through the overlay where that fails.
    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&Connection) -> rusqlite::Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let read = Arc::new(read);
        let first = read.clone();
        let found = self
            .readers
            .run(move |db| if commit::is_indexed(db)? { first(db).map(Some) } else { Ok(None) });
        if let Some(found) = found.await? {
            return Ok(found);
        }
        if self.is_indexed_in_time().await {
            self.readers.run(move |db| read(db)).await
        } else {
            self.readers.run_overlaid(move |db, _| read(db)).await
        }
    }

    /// Indexes the tail. Returns whether that succeeded within [`INDEX_PATIENCE`].
    async fn is_indexed_in_time(&self) -> bool {
        let is_pause = self.last_timeout.get().is_some_and(|last| last.elapsed() < INDEX_PAUSE);
        if is_pause || self.index_patience.is_zero() {
            return false;
        }
        let indexed = timeout(self.index_patience, self.index_tail()).await;
        let is_indexed = indexed.is_ok_and(|indexed| indexed.is_ok());
        if !is_indexed {
            self.last_timeout.set_now();
        }
        is_indexed
    }

    /// Indexes the tail.
    async fn index_tail(&self) -> Result<()> {
        self.writer.run(|batch| batch.indexed().map(|_| ())).await
    }
}

#[async_trait]
impl MessageStore for SqliteStore {
    async fn append(&self, message: NewMessage) -> Result<Appended> {
        let chain = message.chain.clone();
        let append = move |batch: &mut Batch<'_>| {
            if message.chain.is_broken() {
                return Ok(Err(StoreError::Overtaking));
            }
            Ok(writes::append(batch, &message)?.map_err(StoreError::from))
        };
        let appended = self.writer.run_in_chain(chain, append).await??;
        if appended.repeat_of.is_none() {
            self.last_write.set_now();
        }
        Ok(appended)
    }

    async fn enter(&self, device: &Device) -> Result<Mark> {
        let known = device.clone();
        if let Some(mark) =
            self.readers.run(move |db| devices::enter_without_writing(db, &known)).await?
        {
            return Ok(mark);
        }
        let device = device.clone();
        self.writer.run(move |batch| devices::enter(batch, &device)).await
    }

    async fn ack(&self, device: &Device, given: Vec<Given>) -> Result<Vec<(ConversationId, Seq)>> {
        let (device, parts) = (device.clone(), devices::parts(&given));
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.run(move |batch| devices::ack(batch, &device, &parts)).await
    }

    async fn index(&self, device: &Device, page: Page) -> Result<Listing> {
        let device = device.clone();
        self.read(move |db| reads::index(db, &device, page)).await
    }

    async fn contents(
        &self,
        app: &App,
        account: &Account,
        ids: Vec<i64>,
    ) -> Result<Vec<Option<Stored>>> {
        let (app, account) = (app.clone(), account.clone());
        self.readers.run(move |db| reads::contents(db, &app, &account, &ids)).await
    }

    async fn sync(
        &self,
        device: &Device,
        cursors: Vec<(ConversationId, Seq)>,
        limit: usize,
    ) -> Result<Vec<Stored>> {
        let device = device.clone();
        self.read(move |db| reads::sync(db, &device, &cursors, limit)).await
    }

    async fn owed(
        &self,
        device: &Device,
        mark: &Mark,
        have: Vec<Given>,
        limit: usize,
    ) -> Result<Owed> {
        let ask = Arc::new(Ask::new(device.clone(), mark.clone(), &have, limit));
        let first = ask.clone();
        let found = self.readers.run_with_heads(move |db, heads| {
            heads.catch_up(db)?;
            first.owed(db, heads)
        });
        if let Some(owed) = found.await? {
            return Ok(owed);
        }
        let found = if self.is_indexed_in_time().await {
            self.readers.run(move |db| ask.owed(db, &UnindexedHeads::ignored(db)?)).await?
        } else {
            self.readers.run_overlaid(move |db, heads| ask.owed(db, heads)).await?
        };
        // `None` stands for unindexed messages, of which these reads have none.
        Ok(found.unwrap_or_default())
    }

    async fn history(
        &self,
        app: &App,
        account: &Account,
        conversation: ConversationRef,
        range: Range,
        limit: usize,
    ) -> Result<Option<History>> {
        let (app, account) = (app.clone(), account.clone());
        let read = move |db: &Connection| {
            history::history(db, &app, &account, &conversation, range, limit)
        };
        self.read(read).await
    }

    async fn conversations(
        &self,
        app: &App,
        account: &Account,
        before: Option<Activity>,
        limit: usize,
    ) -> Result<Vec<Overview>> {
        let (app, account) = (app.clone(), account.clone());
        let read = move |db: &Connection| history::conversations(db, &app, &account, before, limit);
        self.read(read).await
    }

    async fn create_group(&self, group: NewGroup, members_max: usize) -> Result<Created> {
        Ok(self.writer.run(move |batch| groups::create(batch, &group, members_max)).await??)
    }

    async fn join_group(&self, change: MemberChange, members_max: usize) -> Result<()> {
        Ok(self.writer.run(move |batch| groups::join(batch, &change, members_max)).await??)
    }

    async fn quit_group(&self, change: MemberChange) -> Result<()> {
        Ok(self.writer.run(move |batch| groups::quit(batch, &change)).await??)
    }

    async fn group(&self, app: &App, group: &GroupId) -> Result<Option<Group>> {
        let (app, group) = (app.clone(), group.clone());
        self.readers.run(move |db| groups::group(db, &app, &group)).await
    }

    async fn members(&self, app: &App, group: &GroupId) -> Result<Option<Members>> {
        let (app, group) = (app.clone(), group.clone());
        self.readers.run(move |db| groups::members(db, &app, &group)).await
    }

    async fn probe(&self) -> Result<()> {
        self.writer.run(probe::probe).await
    }

    async fn probe_reading(&self) -> Result<()> {
        self.readers.run(|db| commit::is_indexed(db).map(|_| ())).await
    }

    fn last_write(&self) -> Option<Instant> {
        self.last_write.get()
    }

    async fn prune(&self, below: i64) -> Result<usize> {
        self.writer.run(move |batch| writes::prune(batch, below)).await
    }
}

#[cfg(test)]
mod tests;
