//! The URL of a store, and its options.

use std::{fmt, sync::Arc};

use imago_kit::Redacted;

use super::{
    MessageStore, Result, StoreError,
    null::NullStore,
    postgres::{self, PostgresOptions, PostgresStore},
    sqlite::{SqliteOptions, SqliteStore},
};

/// The kind of a store, with its options.
#[derive(Clone, Debug)]
pub enum StoreOptions {
    /// A SQLite file.
    Sqlite(SqliteOptions),
    /// A PostgreSQL database.
    Postgres(Box<PostgresOptions>),
    /// No storage: see [`NullStore`].
    Null,
}

impl StoreOptions {
    /// Reads `sqlite://…`, `postgres://…` or `null://`.
    ///
    /// # Errors
    /// When the URL names no store. The text never has a password.
    pub fn parse(url: &str) -> Result<Self> {
        if postgres::is_url(url) {
            PostgresOptions::parse(url).map(|options| Self::Postgres(Box::new(options)))
        } else if url.starts_with("sqlite:") {
            SqliteOptions::parse(url).map(Self::Sqlite)
        } else if url == "null://" {
            Ok(Self::Null)
        } else {
            Err(StoreError::Open {
                url: Redacted(url).to_string(),
                reason: "expected sqlite://FILE or postgres://USER@HOST/DATABASE".to_owned(),
            })
        }
    }

    /// Checks the files that the URL names.
    ///
    /// # Errors
    /// When a file cannot be read, or has no usable content.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Postgres(options) => options.check(),
            Self::Sqlite(options) => options.check(),
            Self::Null => Ok(()),
        }
    }

    /// Sets the writes of one commit, the writes that may wait, and the number of readers.
    pub fn bound(&mut self, batch: usize, queue: usize, readers: usize) {
        let (own_batch, own_queue, own_readers) = match self {
            Self::Sqlite(options) => (&mut options.batch, &mut options.queue, &mut options.readers),
            Self::Postgres(options) => {
                (&mut options.batch, &mut options.queue, &mut options.readers)
            }
            Self::Null => return,
        };
        (*own_batch, *own_queue, *own_readers) = (batch, queue, readers);
    }

    /// Opens the store, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be used, or was written by a later version.
    pub async fn open(&self) -> Result<Arc<dyn MessageStore>> {
        match self {
            Self::Postgres(options) => Ok(Arc::new(PostgresStore::open(options).await?)),
            Self::Null => {
                tracing::warn!("store.url is null://: messages are accepted and NOT kept");
                Ok(Arc::new(NullStore::default()))
            }
            Self::Sqlite(options) => {
                let options = options.clone();
                let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&options)).await;
                let opened = opened.map_err(|error| StoreError::Failed(error.to_string()))?;
                Ok(Arc::new(opened?))
            }
        }
    }
}

/// Shows the URL without user and password.
impl fmt::Display for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(options) => write!(f, "sqlite://{}", options.path.display()),
            Self::Postgres(options) => f.write_str(&options.shown()),
            Self::Null => f.write_str("null://"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_decides() {
        assert!(matches!(StoreOptions::parse("sqlite://x.db"), Ok(StoreOptions::Sqlite(_))));
        for url in ["postgres://imago@db/imago", "postgresql://imago@db/imago"] {
            assert!(matches!(StoreOptions::parse(url), Ok(StoreOptions::Postgres(_))), "{url}");
        }
        assert!(matches!(StoreOptions::parse("null://"), Ok(StoreOptions::Null)));
        for (url, shown) in [
            ("sqlite:///var/x.db", "sqlite:///var/x.db"),
            ("postgres://me:hunter2@db/x?application_name=hunter2", "postgres://db:5432/x"),
            ("null://", "null://"),
        ] {
            assert_eq!(StoreOptions::parse(url).unwrap().to_string(), shown);
        }
        for url in ["mysql://me:hunter2@db/x", "hunter2", ""] {
            let text = StoreOptions::parse(url).unwrap_err().to_string();
            assert!(text.contains("sqlite://FILE or postgres://"), "{text}");
        }
        let text = StoreOptions::parse("mysql://me:hunter2@db/x").unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }
}
