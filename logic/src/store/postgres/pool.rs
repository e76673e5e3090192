//! Connections: opened when they are needed, kept, and replaced when they break.

use std::time::{Duration, Instant};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use imago_kit::Backoff;
use tokio::time::sleep;
use tokio_postgres::{Client, Config, NoTls};

use super::{
    failure::{Failure, describe, refuses_settings},
    options::{PostgresOptions, Tls},
    schema, tls,
};

/// Connections that write: five for messages, two for acknowledgements, one for logins, and two for
/// changes of groups, the lease of the node's number, and pruning.
const WRITERS: usize = 10;
/// How long a caller waits for a connection: for a free one, and for it to be made.
const WAIT: Duration = Duration::from_secs(4);
/// How long a server that starts waits for a database that does not answer.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// Pauses between tries: short at first, so that a restart of the database is hardly noticed.
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
    /// Waits for the database, and brings its schema up to date.
    pub(super) async fn open(options: &PostgresOptions) -> Result<Self, Failure> {
        let (started, mut backoff) = (Instant::now(), backoff());
        let mut config = options.limited();
        loop {
            let failure = match Self::try_open(options, &config).await {
                Ok(pools) => return Ok(pools),
                Err(Refusal::Settings(text)) if config != options.config => {
                    tracing::info!(
                        error = text,
                        "a pooler before the database takes no time limits from here: set \
                         statement_timeout and idle_in_transaction_session_timeout for this user"
                    );
                    config = options.config.clone();
                    continue;
                }
                Err(Refusal::Settings(text)) => Failure::Refused(text),
                Err(Refusal::Other(failure)) => failure,
            };
            if !matches!(failure, Failure::Again(_)) || started.elapsed() > START_PATIENCE {
                return Err(failure);
            }
            tracing::warn!(error = failure.text(), "the database does not answer, trying again");
            sleep(backoff.next_delay()).await;
        }
    }

    async fn try_open(options: &PostgresOptions, config: &Config) -> Result<Self, Refusal> {
        let reads = pool(config, &options.tls, options.readers)?;
        let writes = pool(config, &options.tls, WRITERS)?;
        let mut connection = match writes.get().await {
            Err(PoolError::Backend(error)) if refuses_settings(&error) => {
                return Err(Refusal::Settings(describe(&error)));
            }
            other => other.map_err(unavailable)?,
        };
        let client: &mut Client = &mut connection;
        schema::migrate(client).await?;
        Ok(Self { reads, writes })
    }
}

/// Why the database cannot be used.
enum Refusal {
    /// The database refuses the settings of the connection.
    Settings(String),
    Other(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

fn pool(config: &Config, tls: &Tls, size: usize) -> Result<Pool, Failure> {
    let config = config.clone();
    let manage = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match tls {
        Tls::Off => Manager::from_config(config, NoTls, manage),
        Tls::Verified { roots } => {
            let tls = tls::connector(roots.as_deref()).map_err(Failure::Refused)?;
            Manager::from_config(config, tls, manage)
        }
    };
    Pool::builder(manager)
        .max_size(size.max(1))
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait: Some(WAIT), create: Some(WAIT), recycle: Some(WAIT) })
        .build()
        .map_err(|error| Failure::Refused(error.to_string()))
}

/// Returns a connection that has not failed yet.
pub(super) async fn get(pool: &Pool) -> Result<Object, Failure> {
    pool.get().await.map_err(unavailable)
}

fn unavailable(error: PoolError) -> Failure {
    match error {
        PoolError::Backend(error) => Failure::from(error),
        PoolError::Timeout(_) => Failure::late("waiting for a connection"),
        other => Failure::Again(other.to_string()),
    }
}
