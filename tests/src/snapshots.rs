//! What a registry's subscriber sees.

use std::time::Duration;

use imago_naming::{Snapshot, Subscription};
use tokio::time::timeout;

/// Waits for a snapshot of which `condition` is true, and gives it; `always` is true of all before.
///
/// # Panics
/// When none comes, or `always` is not true, with `what` was waited for.
pub async fn sees(
    subscription: &mut Subscription,
    what: &str,
    condition: impl Fn(&Snapshot) -> bool,
    always: impl Fn(&Snapshot) -> bool,
) -> Snapshot {
    let seen = async {
        let mut snapshot = subscription.current_and_seen();
        while !condition(&snapshot) {
            assert!(always(&snapshot), "before {what}: {snapshot:?}");
            snapshot = subscription.changed().await;
        }
        snapshot
    };
    let seen = timeout(Duration::from_secs(30), seen).await;
    seen.unwrap_or_else(|_| panic!("not seen: {what}"))
}

/// Ids of all instances, healthy or not.
pub fn ids(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.instances.iter().map(|instance| instance.service.id.as_str()).collect()
}
