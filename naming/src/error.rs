//! What can go wrong with a registry.

/// Result of a registry operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of a registry operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL of a backend cannot be used: what in it, and what was expected.
    #[error("{0}")]
    Url(String),
    /// A field of a registration cannot be sent to the registry.
    #[error("service registration: {field}: {reason}")]
    Invalid {
        /// Name of the field, for example `meta.zone`.
        field: String,
        /// What is allowed and what came.
        reason: String,
    },
    /// The registry refused the request, and will refuse it again.
    #[error("registry refused: {0}")]
    Refused(String),
    /// The registry did not answer, or not in a usable way; may work later.
    #[error("registry unavailable: {0}")]
    Unavailable(String),
    /// A registration did not become visible in time.
    #[error("registration of {service_id} is not visible after {waited:?}: {why}")]
    NotVisible {
        /// Id of the registered service.
        service_id: String,
        /// How long it was looked for.
        waited: std::time::Duration,
        /// What the last read of the registry showed in its place, or why it failed.
        why: String,
    },
}
