//! Connections: opened when they are needed, kept, and replaced when they break.

use std::time::{Duration, Instant};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    Timeouts,
};
use imago_container::Backoff;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

use super::{
    failure::Failure,
    options::{PostgresOptions, Tls},
    schema, tls,
};

/// Connections that write: one for messages, one for acknowledgements, and two for groups.
const WRITERS: usize = 4;
/// How long anybody waits for a connection: for a free one, and for it to be made.
const WAIT: Duration = Duration::from_secs(4);
/// How long a server that starts waits for a database that does not answer.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// Durable, whatever the database's default is: a commit returns after its log is on disk
/// (PostgreSQL 15, 20.5.1). Every statement looks rows up by keys, but statistics that are older than
/// the rows make the planner read whole tables: measured, half the messages a second. Compiling a
/// statement takes longer than running these does.
const SETUP: &str = "SET synchronous_commit = on; SET enable_seqscan = off; \
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; \
    SET statement_timeout = '20s'";

/// Between tries: soon at first, so that a restart of the database is hardly noticed.
pub(super) fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(20), Duration::from_secs(1))
}

/// The connections of a store.
#[derive(Clone, Debug)]
pub(super) struct Pools {
    pub(super) reads: Pool,
    pub(super) writes: Pool,
}

impl Pools {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, String> {
        Ok(Self { reads: pool(options, options.readers)?, writes: pool(options, WRITERS)? })
    }

    /// Waits for the database, and brings its schema up to date.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        let (started, mut backoff) = (Instant::now(), backoff());
        loop {
            let failure = match self.migrate().await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if !matches!(failure, Failure::Again(_)) || started.elapsed() > START_PATIENCE {
                return Err(failure);
            }
            tracing::warn!(error = failure.text(), "the database does not answer, trying again");
            sleep(backoff.next_delay()).await;
        }
    }

    async fn migrate(&self) -> Result<(), Failure> {
        let mut connection = get(&self.writes).await?;
        let client: &mut Client = &mut connection;
        schema::migrate(client).await
    }
}

fn pool(options: &PostgresOptions, size: usize) -> Result<Pool, String> {
    let config = options.config.clone();
    let manage = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match &options.tls {
        Tls::Off => Manager::from_config(config, NoTls, manage),
        Tls::Verified { roots } => {
            Manager::from_config(config, tls::connector(roots.as_deref())?, manage)
        }
    };
    let set_up = Hook::async_fn(|client: &mut deadpool_postgres::ClientWrapper, _| {
        Box::pin(async move { client.batch_execute(SETUP).await.map_err(HookError::Backend) })
    });
    Pool::builder(manager)
        .max_size(size.max(1))
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait: Some(WAIT), create: Some(WAIT), recycle: Some(WAIT) })
        .post_create(set_up)
        .build()
        .map_err(|error| error.to_string())
}

/// A connection that works, as far as one knows before using it.
pub(super) async fn get(pool: &Pool) -> Result<Object, Failure> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => Failure::from(error),
        PoolError::PostCreateHook(HookError::Backend(error)) => Failure::from(error),
        PoolError::Timeout(_) => Failure::late("waiting for a connection"),
        other => Failure::Again(other.to_string()),
    })
}
