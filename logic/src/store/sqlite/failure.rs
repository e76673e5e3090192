//! Errors of the database, with advice for what the machine causes.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use rusqlite::{Error, ErrorCode};

use super::super::{Denied, StoreError};

/// The result of a write that the database takes: what it gives, or why the caller may not do it.
pub(super) type Allowed<T> = rusqlite::Result<Result<T, Denied>>;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Failed(describe(&error)),
        }
    }
}

/// Returns the error, with advice where the machine is the cause.
pub(super) fn describe(error: &Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "free some space on the disk of the database file",
        Some(ErrorCode::ReadOnly) => {
            "let this server write the database file and its folder: check their owner, their rights, \
             and whether the disk is mounted read-only"
        }
        Some(ErrorCode::SystemIoFailure) => {
            "check the disk of the database file: the system's log, mount options, quotas, and the \
             limit on file sizes (ulimit -f)"
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "let this server use the folder of the database file, and open enough files (ulimit -n)"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the database file is damaged: restore a copy"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

/// Pause before the same reason is logged again.
const COMPLAINT: Duration = Duration::from_secs(10);

thread_local! {
    /// The last warning of the thread, and its time.
    static LAST: RefCell<Option<(String, Instant)>> = const { RefCell::new(None) };
}

/// Logs a failed commit, at most once in [`COMPLAINT`] for the same reason.
pub(super) fn complain(error: &str, writes: usize) {
    if LAST.with_borrow_mut(|last| is_news(last, error, Instant::now())) {
        tracing::warn!(error, writes, "cannot commit");
    } else {
        tracing::debug!(error, writes, "cannot commit");
    }
}

fn is_news(last: &mut Option<(String, Instant)>, error: &str, now: Instant) -> bool {
    let is_old = last
        .as_ref()
        .is_some_and(|(text, at)| text == error && now.saturating_duration_since(*at) < COMPLAINT);
    if !is_old {
        *last = Some((error.to_owned(), now));
    }
    !is_old
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_the_machine_causes_is_said_with_what_to_do() {
        for (code, words) in [
            (ffi::SQLITE_FULL, "free some space"),
            (ffi::SQLITE_READONLY, "mounted read-only"),
            (ffi::SQLITE_IOERR_WRITE, "ulimit -f"),
            (ffi::SQLITE_CANTOPEN, "the folder of"),
            (ffi::SQLITE_CORRUPT, "restore a copy"),
        ] {
            let error = Error::SqliteFailure(ffi::Error::new(code), None);
            let text = StoreError::from(error).to_string();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_reason_is_told_again_after_a_while_and_another_one_at_once() {
        let (mut last, now) = (None, Instant::now());
        assert!(is_news(&mut last, "full", now));
        assert!(!is_news(&mut last, "full", now + COMPLAINT / 2));
        assert!(is_news(&mut last, "broken", now + COMPLAINT / 2));
        assert!(is_news(&mut last, "broken", now + COMPLAINT * 2));
    }

    #[test]
    fn a_lock_that_others_hold_is_busy() {
        let error = Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None);
        assert!(matches!(StoreError::from(error), StoreError::Busy));
    }
}
