//! Why a logic server cannot do its work, as it says itself.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;

/// Why a logic server cannot do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The reason, in words for people.
    pub why: String,
    /// The last moment at which it could.
    pub since: Instant,
}

// === impl Trouble ===

impl Trouble {
    /// The reason with its age.
    pub(crate) fn text(&self) -> String {
        format!("{}, for {:.1} s", self.why, self.since.elapsed().as_secs_f64())
    }
}

/// The present trouble of a server, if it has any. Cheap to clone: all clones tell the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct TroubleCell(Arc<Mutex<Option<Trouble>>>);

// === impl TroubleCell ===

impl TroubleCell {
    pub(crate) fn set(&self, trouble: Option<Trouble>) {
        *self.0.lock() = trouble;
    }

    pub(crate) fn get(&self) -> Option<Trouble> {
        self.0.lock().clone()
    }
}
