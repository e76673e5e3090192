//! Follows one service by blocking queries, for all of its subscribers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, interval, sleep};

use super::{NEEDED, Read, Shared, backoff};
use crate::{Instance, pace::Pace};

/// How often a watch looks whether it still has subscribers.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Reads that may follow each other without a pause after a quiet time: changes of a promotion come in
/// bursts.
const READS_AT_ONCE: u32 = 10;
/// Time between further reads: a service that changes without end, or answers without an index to wait
/// behind, cost no more.
const READ_INTERVAL: Duration = Duration::from_millis(250);

/// Runs until the service has no subscribers any more.
pub(super) async fn run(shared: Arc<Shared>, service: String, first: Vec<Instance>, index: u64) {
    shared.watches.fetch_add(1, Ordering::SeqCst);
    tokio::select! {
        () = follow(&shared, &service, first, index) => {}
        () = unwanted(&shared, &service) => {}
        () = shared.stop.cancelled() => {}
    }
    shared.watches.fetch_sub(1, Ordering::SeqCst);
}

async fn unwanted(shared: &Shared, service: &str) {
    let mut look = interval(LOOK_INTERVAL);
    while !shared.retire(service) {
        look.tick().await;
    }
}

async fn follow(shared: &Shared, service: &str, first: Vec<Instance>, mut index: u64) {
    let mut backoff = backoff();
    let mut pace = Pace::new(READS_AT_ONCE, READ_INTERVAL);
    let mut doubt = Doubt { had_any: !first.is_empty(), empty_since: None };
    loop {
        pace.turn().await;
        match shared.read(service, Some(index)).await {
            Ok(read) => {
                backoff.reset();
                if read.index == 0
                    && let Some(more) = shared.log.allow("index")
                {
                    tracing::warn!(
                        service,
                        "answers have no X-Consul-Index: reading again and again instead of waiting for changes{more}"
                    );
                }
                // After a restart of the agent the index begins again; waiting behind the old one
                // would sleep through every change.
                index = if read.index < index { 0 } else { read.index };
                let grace = shared.api.options.empty_grace;
                if doubt.believes(&read.instances, grace, Instant::now()) {
                    shared.publish(service, read.instances, read.index);
                } else {
                    shared.hub.fail(service, &doubted(&read));
                    // The list may stay as it is, so no blocking query would wake us in time.
                    index = 0;
                    sleep((grace / 10).min(Duration::from_millis(500))).await;
                }
            }
            Err(error) => {
                shared.hub.fail(service, &error.to_string());
                index = 0;
                sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// Why a sudden empty list is doubted.
fn doubted(read: &Read) -> String {
    let perhaps = if read.is_filtered {
        format!("it leaves out what the token may not read: {NEEDED}")
    } else {
        format!("a lost registration, or a missing permission, where {NEEDED}?")
    };
    format!("consul lists no instance all of a sudden: {perhaps}; keeping the last list for now")
}

/// Doubts a list that is suddenly empty: an agent that restarted has no registrations, and one
/// without a token that may read answers 200 with an empty list.
struct Doubt {
    had_any: bool,
    empty_since: Option<Instant>,
}

impl Doubt {
    fn believes(&mut self, instances: &[Instance], grace: Duration, now: Instant) -> bool {
        if !instances.is_empty() {
            self.had_any = true;
            self.empty_since = None;
            return true;
        }
        let since = *self.empty_since.get_or_insert(now);
        !self.had_any || now.saturating_duration_since(since) >= grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Health, ServiceRegistration};

    fn one_instance() -> Vec<Instance> {
        let service = ServiceRegistration::new("a", "chat", "host", 1);
        vec![Instance { service, health: Health::Passing }]
    }

    #[test]
    fn a_sudden_empty_list_is_believed_only_after_its_grace() {
        let grace = Duration::from_secs(15);
        let now = Instant::now();
        let mut doubt = Doubt { had_any: true, empty_since: None };
        assert!(!doubt.believes(&[], grace, now));
        assert!(!doubt.believes(&[], grace, now + grace / 2));
        // An instance shows up: the next empty list is doubted from its own beginning.
        assert!(doubt.believes(&one_instance(), grace, now + grace / 2));
        assert!(!doubt.believes(&[], grace, now + grace));
        assert!(!doubt.believes(&[], grace, now + grace * 2 - Duration::from_millis(1)));
        assert!(doubt.believes(&[], grace, now + grace * 2));
    }

    #[test]
    fn a_list_that_was_empty_from_the_start_is_believed() {
        let mut doubt = Doubt { had_any: false, empty_since: None };
        assert!(doubt.believes(&[], Duration::from_secs(15), Instant::now()));
    }
}
