//! When the servers are well again after an overload.

use std::time::Duration;

/// What is looked at as one.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);
/// Windows in a row that have to be well.
const IN_A_ROW: usize = 5;
/// A p99 up to this is well whatever it was before: below it, chance and the machine decide.
const SMALL: Duration = Duration::from_millis(20);

/// The requests that were due in one window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Until they were accepted, since they were due.
    pub(crate) p99: Duration,
    /// Refused, not sent or not answered.
    pub(crate) failed: u64,
}

/// The p99 that counts as well, of what it was before.
pub(crate) fn bound(before: Duration) -> Duration {
    (before * 2).max(SMALL)
}

/// Time from the first window until the first of several in a row that are all well, or of all
/// that are left where these are fewer; `None` where the last one is not.
pub(crate) fn recovery(windows: &[Window], bound: Duration) -> Option<Duration> {
    let is_well = |window: &Window| window.p99 <= bound && window.failed == 0;
    let from =
        (0..windows.len()).find(|from| windows.iter().skip(*from).take(IN_A_ROW).all(is_well))?;
    Some(WINDOW * u32::try_from(from).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn windows(p99: &[u32]) -> Vec<Window> {
        p99.iter().map(|p99| Window { p99: *p99 * MS, failed: 0 }).collect()
    }

    #[test]
    fn it_is_well_from_where_several_windows_in_a_row_are() {
        let slow_twice = windows(&[900, 500, 8, 9, 700, 9, 9, 9, 9, 9, 800]);
        assert_eq!(recovery(&slow_twice, 10 * MS), Some(500 * MS));
        assert_eq!(recovery(&windows(&[9, 9, 9]), 10 * MS), Some(Duration::ZERO));
        assert_eq!(recovery(&windows(&[9, 90]), 10 * MS), None);
        assert_eq!(recovery(&[], 10 * MS), None);
    }

    #[test]
    fn a_refusal_is_not_well_however_quick() {
        let mut windows = windows(&[1, 1, 1, 1, 1, 1, 1, 1]);
        windows[1].failed = 1;
        assert_eq!(recovery(&windows, 10 * MS), Some(200 * MS));
    }

    #[test]
    fn twice_of_before_is_well_and_so_is_little() {
        assert_eq!(bound(50 * MS), 100 * MS);
        assert_eq!(bound(MS), 20 * MS);
    }
}
