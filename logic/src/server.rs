//! Runs a logic server: listeners, store, registry, container.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use imago_container::{Container, metrics_recorder};
use imago_kit::{
    cli::{announce_ports, unless_ended},
    raise_open_files, unix_nanos,
};
use tokio::net::TcpListener;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use crate::{
    LogicConfig, Router, directory, metrics,
    service::{Dependencies, LogicService},
    start_line::StartLine,
    store::{MessageStore, StoreState, StoreWatch},
};

/// Name of the gateways' service.
const GATEWAY_SERVICE: &str = "gateway";
/// Pause between two removals of old messages.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// Runs a logic server with these handlers until `shutdown`, then drains. Once it listens, it prints its
/// addresses as one line of JSON on standard output.
///
/// # Errors
/// When a port, the store or the registry cannot be used.
pub async fn serve(
    config: LogicConfig,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // Runs on a worker, like most of what the start waits for: the main thread would be woken at each step.
    AbortOnDropHandle::new(tokio::spawn(run(config, router, shutdown))).await?
}

async fn run(
    config: LogicConfig,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let open_files = raise_open_files();
    let listen = |key: &'static str, address: SocketAddr| async move {
        TcpListener::bind(address)
            .await
            .with_context(|| format!("{key}: cannot listen on {address}"))
    };
    let link = listen("listen.link", config.listen).await?;
    let monitor = listen("monitor.listen", config.monitor).await?;
    let (link_at, monitor_at) = (link.local_addr()?, monitor.local_addr()?);
    let ports = [("link", Some(link_at)), ("monitor", Some(monitor_at))];
    let joining =
        async { config.registries.open(config.naming.expose()).await.context("naming.url") };
    let preparing = async {
        metrics_recorder();
        metrics::show();
        config.store.open().await.context("store.url")
    };
    // The registry is asked first: it answers while the rest is prepared.
    let starting = async { tokio::try_join!(biased; joining, preparing) };
    let Some((naming, store)) = unless_ended(&shutdown, starting).await? else { return Ok(()) };

    metrics::store_fit(true);
    let start_line = StartLine::of(&config, link_at, monitor_at, naming.describe());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (old_messages, retention) = (store.clone(), config.retention);
    let patience = config.patience;
    let (limits, groups) = (config.limits, config.groups);
    let (sessions, cluster) = (config.directory, config.cluster.clone());
    let (service_tasks, service_stop) = (tasks.clone(), stop.clone());
    let service = config.info.service.clone();
    let id = config.info.id.to_string();
    let container = Container::builder(config.info)
        .config(config.container)
        .cluster(&config.cluster, config.secret.as_bytes())
        .naming(naming)
        .depends_on(GATEWAY_SERVICE)
        .monitor(monitor, config.admin_token)
        .logic(link, move |handle| {
            let (outlet, store_state) = (Arc::new(handle), Arc::<StoreState>::default());
            let (tasks, stop) = (&service_tasks, &service_stop);
            let directory = directory::open(sessions, &cluster, tasks, stop);
            let watch = StoreWatch {
                store: store.clone(),
                state: store_state.clone(),
                patience,
                sink: outlet.clone(),
            };
            tasks.spawn(watch.run(stop.clone()));
            let dependencies = Dependencies { outlet, directory, store, store_state };
            Arc::new(LogicService::new(router, dependencies, limits, groups, tasks, stop))
        })
        .build()?;
    tasks.spawn(prune(old_messages, retention, stop.clone()));
    start_line.log(open_files);
    announce_ports(&service, &id, &ports);
    let ended = container.run(shutdown).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(ended?)
}

/// Removes messages older than the retention, a few at a time, until stopped. Ids are not below send times, so
/// that a lower id means an older message.
async fn prune(store: Arc<dyn MessageStore>, retention: Duration, stop: CancellationToken) {
    loop {
        let retention = i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX);
        let below = unix_nanos().saturating_sub(retention).max(0);
        let pruned = tokio::select! {
            pruned = store.prune(below) => pruned,
            () = stop.cancelled() => return,
        };
        let pause = match pruned {
            Ok(0) => PRUNE_INTERVAL,
            Ok(messages) => {
                metrics::pruned(messages);
                Duration::from_millis(100)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot remove old messages");
                PRUNE_INTERVAL
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}
