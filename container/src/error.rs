//! What keeps a container from running.

use crate::Clash;

/// Error of building or running a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A part of the container was not given.
    #[error("container has no {0}")]
    Missing(&'static str),
    /// The address under which the others are to reach this server is none.
    #[error("address of the server: {0}")]
    Address(&'static str),
    /// Another server holds this one's id.
    #[error(transparent)]
    Clash(#[from] Box<Clash>),
    /// A listener cannot be used.
    #[error("listener: {0}")]
    Listener(#[source] std::io::Error),
}

impl From<Clash> for Error {
    fn from(clash: Clash) -> Self {
        Self::Clash(Box::new(clash))
    }
}
