//! Errors of the database, and whether the work may succeed later.

use tokio_postgres::{Error, error::SqlState};

use super::super::StoreError;

/// Why an operation failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The operation may succeed on a new connection. Whether it was done is unknown.
    Again(String),
    /// The operation fails on any connection: the database refuses one of its values.
    Bad(String),
    /// The database refuses the operation for a longer time.
    Refused(String),
}

impl Failure {
    /// Creates the failure of a wait that took too long.
    pub(super) fn late(what: &str) -> Self {
        Self::Again(format!("{what} took too long"))
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Again(text) | Self::Bad(text) | Self::Refused(text) => text,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.text().to_owned())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = describe(&error);
        let Some(state) = error.code() else {
            // Nothing of the database's own: the connection broke, or a value does not fit its type.
            let is_local =
                !error.is_closed() && error.to_string().starts_with("error serializing parameter");
            return if is_local { Self::Bad(text) } else { Self::Again(text) };
        };
        if text.contains("statement pooling") {
            return Self::Refused(format!(
                "{text}: the pooler gives each statement another connection, expected pool_mode = transaction or session"
            ));
        }
        if is_passing(state) {
            return Self::Again(text);
        }
        // Data exception, integrity violation, program limit (PostgreSQL 15, appendix A).
        match state.code().get(..2) {
            Some("22" | "23" | "54") => Self::Bad(text),
            _ => Self::Refused(text),
        }
    }
}

/// Returns whether a connection was refused for the settings that it asked for at its start, as poolers do
/// (PgBouncer: "unsupported startup parameter").
pub(super) fn refuses_settings(error: &Error) -> bool {
    error.as_db_error().is_some_and(|said| {
        said.message().contains("startup parameter")
            || (*said.code() == SqlState::FEATURE_NOT_SUPPORTED
                && said.message().contains("options"))
    })
}

/// Returns whether an error is transient (PostgreSQL 15, appendix A).
fn is_passing(state: &SqlState) -> bool {
    // Connection exception, transaction rollback, operator intervention (restart, cancel).
    let class = state.code().get(..2);
    matches!(class, Some("08" | "40" | "57"))
        || [
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::LOCK_NOT_AVAILABLE,
            // Of a message id, or of a request under way elsewhere: the next try gives another one,
            // and finds the other.
            SqlState::UNIQUE_VIOLATION,
            // A primary that has become a standby; a new connection finds the new primary.
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(state)
}

/// Returns the error with its cause, in one line. Neither has the password.
pub(super) fn describe(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
