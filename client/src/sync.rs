//! Where a synchronisation is: page after page of messages, or with old servers a listing, then the
//! contents of what it names, in batches.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::{Error, inbox::Listed};

/// Messages in a page that is asked for.
pub(crate) const SYNC_PAGE: usize = 200;
/// Entries of an old server's full page: the server may have more
/// (docs/wire.md, "Acknowledgement and sync").
pub(crate) const PAGE: usize = 2000;
/// Contents in one request. With bodies and extras at their limits, 40 of them stay under the
/// 1 MiB of a frame.
pub(crate) const BATCH: usize = 40;

/// Phase of a synchronisation.
#[derive(Debug, Default)]
pub(crate) enum Phase {
    /// Nothing to do, or waiting for a timer.
    #[default]
    Idle,
    /// To be begun as soon as the application has made room.
    Wanted,
    /// The page, or the listing, is asked for.
    Listing,
    /// There is more to fetch, when there is room.
    Fetching {
        /// To be fetched.
        left: VecDeque<Listed>,
        /// Whether the listing was full.
        full: bool,
        /// Whether it named anything new.
        progress: bool,
    },
    /// A batch is asked for.
    Batch {
        /// What is asked for.
        batch: Vec<Listed>,
        /// To be fetched after it.
        left: VecDeque<Listed>,
        /// Whether the listing was full.
        full: bool,
    },
    /// The listing was full: the next one shows when this one is consumed and acknowledged.
    Draining {
        /// Whether it named anything new.
        progress: bool,
    },
}

/// A caller that waits for a synchronisation.
pub(crate) type Waiter = oneshot::Sender<Result<(), Error>>;

/// A synchronisation, and the callers that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    pub(crate) phase: Phase,
    /// Came before the running listing began.
    pub(crate) served: Vec<Waiter>,
    /// To be served by the next.
    pub(crate) waiting: Vec<Waiter>,
    /// Failures in a row.
    pub(crate) failures: u32,
}

impl Sync {
    /// A listing begins: it serves all callers that have asked until now.
    pub(crate) fn begin(&mut self) {
        self.phase = Phase::Listing;
        self.served.append(&mut self.waiting);
    }

    /// Everything listed has been fetched.
    pub(crate) fn fetched(&mut self) {
        self.failures = 0;
        for waiter in self.served.drain(..) {
            // The caller may have stopped waiting.
            let _ = waiter.send(Ok(()));
        }
    }

    /// The next listing also serves the callers that this one could not.
    pub(crate) fn failed(&mut self) {
        self.failures += 1;
        self.waiting.append(&mut self.served);
        self.phase = Phase::Idle;
    }
}
