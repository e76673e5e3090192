//! Waits for conditions.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it has not after `deadline`, with `what` was waited for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + deadline;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < until, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
