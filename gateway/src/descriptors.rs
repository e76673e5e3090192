//! How many clients the system lets a gateway hold: each takes a file descriptor.
//!
//! Where clients took the last one, the monitor port could accept no health check, and no link could be
//! dialled.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for all else: links, registry, listeners, clients that wait for a place.
const OTHERS: usize = 256;

/// Raises the limit of open files as far as the system allows, and returns how many clients fit beside
/// `monitor` connections of the monitor port.
pub(crate) fn clients(configured: usize, monitor: usize) -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where that is refused, the limit is what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = getrlimit(Resource::Nofile).current;
    let fit = fitting(configured, files, OTHERS + monitor);
    if fit < configured {
        tracing::info!(
            configured,
            fit,
            files,
            "the limit of open files is below limits.connections"
        );
    }
    fit
}

/// `None` for `files`: no limit.
fn fitting(configured: usize, files: Option<u64>, others: usize) -> usize {
    let Some(files) = files else { return configured };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    configured.min(files.saturating_sub(others).max(files / 2)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_all_else() {
        assert_eq!(fitting(1000, None, 512), 1000);
        assert_eq!(fitting(1000, Some(4096), 512), 1000);
        assert_eq!(fitting(100_000, Some(20_000), 512), 19_488);
        // However few there are, some clients get in.
        assert_eq!(fitting(100_000, Some(256), 512), 128);
        assert_eq!(fitting(100_000, Some(0), 512), 1);
    }
}
