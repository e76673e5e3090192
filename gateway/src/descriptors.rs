//! How many clients the system lets a gateway hold: each takes a file descriptor.
//!
//! Where clients took the last one, the monitor port could accept no health check, and no link could be
//! dialled.

use imago_kit::FILES_RESERVED;

/// Returns how many clients fit into `open_files` beside `monitor` connections of the monitor port, and
/// warns where these are fewer than configured.
pub(crate) fn clients(configured: usize, open_files: Option<u64>, monitor: usize) -> usize {
    let fit = fitting(configured, open_files, FILES_RESERVED + monitor);
    if fit < configured {
        tracing::warn!(
            configured,
            fit,
            open_files,
            "the limit of open files leaves room for fewer clients than limits.connections: raise it \
             (LimitNOFILE of systemd, ulimit -n), or lower limits.connections"
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
