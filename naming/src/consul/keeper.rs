//! Keeps own registrations alive: makes lost ones again, and passes TTL checks.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use super::{Shared, options::Check};

/// Runs until the backend is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let options = &shared.api.options;
    let mut verify = interval(options.verify_interval);
    let mut pass = interval(options.ttl / 3);
    for timer in [&mut verify, &mut pass] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            _ = verify.tick() => tokio::select! {
                () = verify_all(&shared) => {}
                () = shared.stop.cancelled() => return,
            },
            _ = pass.tick(), if options.check == Check::Ttl => tokio::select! {
                () = pass_all(&shared) => {}
                () = shared.stop.cancelled() => return,
            },
            () = shared.stop.cancelled() => return,
        }
    }
}

async fn verify_all(shared: &Shared) {
    let ids: Vec<String> = shared.registered().keys().cloned().collect();
    for id in ids {
        match shared.api.has(&id).await {
            Ok(true) => {}
            Ok(false) => register_again(shared, &id).await,
            Err(error) => {
                tracing::debug!(service = id, %error, "cannot look for the own registration")
            }
        }
    }
}

async fn register_again(shared: &Shared, id: &str) {
    // Deregistered meanwhile: stays so.
    let Some(service) = shared.registered().get(id).cloned() else { return };
    let registered = shared.api.register(&service).await;
    if let Some(more) = shared.log.allow(&format!("lost {id} {}", registered.is_ok())) {
        match registered {
            Ok(()) => {
                tracing::warn!(
                    service = id,
                    "consul had lost this registration, made it again{more}"
                )
            }
            Err(error) => {
                tracing::warn!(service = id, %error, "consul lost this registration, and does not take it again{more}")
            }
        }
    }
    if !shared.registered().contains_key(id)
        && let Err(error) = shared.api.deregister(id).await
    {
        tracing::warn!(service = id, %error, "cannot deregister");
    }
}

async fn pass_all(shared: &Shared) {
    let ids: Vec<String> = shared.registered().keys().cloned().collect();
    for id in ids {
        if let Err(error) = shared.api.pass(&id).await {
            // Consul answers 500 for a check that it does not know.
            tracing::debug!(service = id, %error, "cannot pass the check");
            if matches!(shared.api.has(&id).await, Ok(false)) {
                register_again(shared, &id).await;
            }
        }
    }
}
